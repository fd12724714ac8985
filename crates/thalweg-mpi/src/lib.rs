//! Thalweg on many machines: data-parallel training over MPI, with the same bits on any number of ranks.
//!
//! The chapter `guide::machines` of the library says how to run it, what is exact, and what it costs.

#![cfg(feature = "mpi")]
#![warn(missing_docs)]

mod all_reduce;
mod entry;
mod error;
mod exchange;
mod flight;
mod gathering;
mod identity;
mod parallel;
mod parts;
mod sharded;
mod spread;
mod training;
mod world;

pub use all_reduce::AllReduce;
pub use entry::joined;
pub use error::{Error, Result};
pub use exchange::{Exchange, ranges};
pub use identity::{Identity, processor};
pub use parallel::{DataParallel, Optimized, Reduce, digest};
pub use parts::{Parts, read_parts};
pub use sharded::{Sharded, part};
pub use spread::Spread;
pub use training::{SharedSteps, Training};
pub use world::{Datum, PATIENCE, World};
