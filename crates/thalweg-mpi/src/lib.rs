//! Thalweg on many machines: data-parallel training over MPI, with the same bits on any number of ranks.
//!
//! The chapter `guide::machines` of the library says how to run it, what is exact, and what it costs.

mod error;
mod exchange;
mod identity;
mod parallel;
mod perceptron;
mod sharded;
mod world;

pub use error::{Error, Result};
pub use exchange::{Exchange, ranges};
pub use identity::{Identity, processor};
pub use parallel::{DataParallel, Reduce, digest};
pub use perceptron::Perceptron;
pub use sharded::Sharded;
pub use world::{Datum, PATIENCE, World};
