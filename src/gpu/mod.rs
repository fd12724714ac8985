//! The GPU engine: plans become pipelines, bind groups and dispatch sizes once; running one encodes them, and no more.

mod bucket;
mod bulk;
mod device;
mod doubt;
mod factored;
mod foreign;
mod kernel;
mod matmul;
mod memory;
mod operation;
mod orthogonal;
mod part;
mod program;
mod pulse;
mod readback;
mod remedy;
mod step;
#[cfg(test)]
mod tests;
mod update;
mod vectors;

pub use device::{Gpu, GpuOptions, adapters, request_adapters};
pub use foreign::{Foreign, Slice, SliceTensor};
pub use matmul::product_variant;
pub use program::GpuProgram;
