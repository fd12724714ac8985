//! Jobs of ranks on this machine, under `mpirun`.

mod command;
#[cfg(feature = "gpu")]
mod gpu;
mod jobs;
mod ranks;
