//! The GPU engine: plans become pipelines, bind groups and dispatch sizes once; running one encodes them, and no more.

mod borrowed;
mod bucket;
mod bulk;
mod cache;
mod centralise;
mod combine;
mod control;
mod copy_lanes;
mod device;
mod dots;
mod doubt;
mod extent;
mod factored;
mod factors;
mod gate;
mod holder;
mod join_rows;
mod kernel;
mod launch;
mod matmul;
mod memory;
mod norm;
mod operation;
mod orthogonal;
mod pipelines;
mod prepared;
mod program;
mod pulse;
mod readback;
mod reads;
mod remedy;
mod room;
mod slice;
#[cfg(test)]
mod tests;
mod timed;
mod update;
mod update_kernel;

pub use borrowed::{Borrowed, BorrowedTensor};
pub use device::{Gpu, GpuOptions, adapters, request_adapters};
pub use matmul::product_variant;
pub use program::GpuProgram;
pub use slice::Slice;
