//! Every rule on three tasks with known results: the handwritten digits, Rosenbrock's valley, and a quadratic of condition
//! 10,000. The library's tests check the rules with these settings; the program `thalweg-catalogue` draws their descents.

pub mod descent;
pub mod digits;
mod entries;

pub use entries::{CATALOGUE, Entry, Run, entries, entry, with};
