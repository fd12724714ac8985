//! Every test of the library but those of allocations, in one binary: wgpu is linked once.

#[path = "../common/mod.rs"]
mod common;

mod architecture;
mod batches;
mod compare;
mod control;
mod data;
mod descent;
mod device_loss;
mod errors;
mod extremes;
mod factored;
mod freezing;
mod golden;
mod gradients;
mod groups;
mod guards;
mod host;
mod lanes;
mod lbfgs;
mod lent;
mod long_run;
mod loss_scaling;
mod map;
mod matmul;
mod modifiers;
mod muon;
mod network_ops;
mod norms;
mod operations;
mod parallel;
mod parity;
mod ring;
mod scheduled;
mod schedules;
mod sensitivity;
mod settings;
mod sizes;
mod skips;
mod slices;
mod switches;
mod telemetry;
mod terms;
mod threads;
mod vectors;
