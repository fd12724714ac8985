//! Jobs of ranks on this machine, under `mpirun`.

mod command;
mod jobs;
mod ranks;
