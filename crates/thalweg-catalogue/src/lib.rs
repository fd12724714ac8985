//! Every rule on three tasks with a known end: the handwritten digits, Rosenbrock's valley, and a quadratic of condition 10,000.
//! The library's tests hold the rules to these settings; the program `thalweg-catalogue` draws the ways down.

pub mod descent;
pub mod digits;
mod entries;

pub use entries::{CATALOGUE, Entry, Run, entries, entry, with};
