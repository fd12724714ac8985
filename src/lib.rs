//! Thalweg: an optimizer engine for any GPU, with a CPU twin.
//!
//! A training program embeds it: gradients go in, better parameters come out, on the device where they are. Clipping, and the
//! skipping of steps whose gradient is not finite, are decided there too. Many models with different settings can be trained at
//! once, as *lanes* of a population.
//!
//! # Examples
//!
//! Three lanes descend on x² from 1, each with a learning rate of its own; the gradient is 2·x:
//!
//! ```
//! use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
//!
//! let rules = [0.1, 0.25, 0.5].map(|lr| Sgd { lr, ..Default::default() });
//! let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::population(rules), &[("x", &[1])])?;
//! for lane in 0..3 {
//!     optimizer.lane(lane)?.set_params("x", &[1.0])?;
//!     optimizer.lane(lane)?.set_grads("x", &[2.0])?;
//! }
//! optimizer.step()?;
//! assert_eq!(optimizer.lane(0)?.params("x")?, [0.8]);
//! assert_eq!(optimizer.lane(1)?.params("x")?, [0.5]);
//! assert_eq!(optimizer.lane(2)?.params("x")?, [0.0]);
//! # Ok::<(), thalweg::Error>(())
//! ```
//!
//! The same runs on a GPU with what [`gpu::Gpu::new`] returns as the engine. A network with its data, trained from end to end,
//! is in the example of [`Trainer`].
//!
//! # Map
//!
//! | module | what is in it |
//! | --- | --- |
//! | the root | [`Optimizer`] with its [`Lane`]s, [`Recipe`] with its groups ([`Select`], [`Rules`]) and [`Stepper`]; the rules ([`Sgd`], [`RmsProp`], [`Adam`], [`AdamW`], [`Adagrad`], [`RAdam`], [`Adamax`], [`Adadelta`], [`NAdam`], [`Asgd`], [`Rprop`], [`Lion`], [`Lars`], [`Lamb`], [`NovoGrad`], [`AdEMAMix`], [`Adan`], [`ScheduleFree`], [`Adafactor`], [`Muon`]) and their contract [`Rule`]; [`Lbfgs`] with its [`LbfgsSettings`] and [`LbfgsStepper`]; [`Trainer`] and its [`Batch`]; [`Error`] and the [`Unit`] of its limits |
//! | `checkpoint` | files of tensors that survive a crash, and that PyTorch reads; with the feature of that name |
//! | [`schedule`] | learning rates, or other settings, as functions of the step |
//! | [`plan`] | a step as plain data: [`Layout`](plan::Layout), [`Plan`](plan::Plan), [`Op`](plan::Op), and what an [`Engine`](plan::Engine) promises |
//! | [`cpu`] | the engine over slices, in `f32`, and in `f64` as the oracle of all tests |
//! | [`gpu`] | the engine on wgpu |
//! | [`nn`] | a tape that differentiates, layers, losses, start values |
//! | [`op`] | operations of layers and of training |
//! | [`train`] | what goes with [`Trainer`]: tasks, metrics, early stopping, populations, ensembles |
//! | [`data`] | data sets, their split, folds and scaling, and readers |
//! | [`sweep`] | hyper-parameter search: spaces, samplers, strategies and the table of results |
//! | [`tree`] | sums of micro-batches that several machines share |
//! | [`error`] | the error type, and checks of settings |
//! | [`guide`] | chapters: embedding, which rule is for what, coming from other libraries, many machines |
//!
//! There are three ways in, from the outside inwards. [`Trainer`] has everything and wants a data set. [`Optimizer`] wants
//! gradients. [`Recipe::record`] appends an optimizer's operations to the caller's plan, and returns the [`Stepper`] that runs
//! it.
//!
//! # Features
//!
//! | feature | what it adds | default |
//! | --- | --- | --- |
//! | `cpu` | the CPU engine, and [`AnyEngine`] | on |
//! | `gpu` | the GPU engine, on wgpu | on |
//! | `vulkan`, `metal`, `dx12`, `webgpu` | `gpu` with that backend of wgpu; without any backend there are no adapters | on |
//! | `checkpoint` | files of tensors (safetensors) | off |
//! | `serde` | rules, schedules and recipes can be written and read by serde | off |
//! | `files` | readers for CSV and IDX files, plain or gzipped, and the digits | off |
//!
//! # The guide
//!
//! [`guide::embedding`] tells how a training program with a device of its own takes steps, [`guide::rules`] which rule is for
//! what. [`guide::from`] has ten tasks beside the same in PyTorch, optax, Keras and Burn; [`guide::machines`] is about several
//! machines.
//!
//! ARCHITECTURE.md, at the root of the repository, follows a step from call to kernel, says how to add a rule or an operation,
//! and gives the reasons for the choices made. README.md, beside it, has the command line and what is not there yet.

#![warn(missing_docs)]
#![cfg_attr(
    not(all(feature = "cpu", feature = "gpu")),
    allow(dead_code, unused_imports, reason = "some of what engines share is used by one of them alone")
)]

#[cfg(feature = "cpu")]
mod any_engine;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
#[cfg(feature = "cpu")]
pub mod cpu;
pub mod data;
pub mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod guide;
mod lbfgs;
#[cfg(any(feature = "cpu", feature = "checkpoint"))]
mod memory;
pub mod nn;
mod now;
pub mod op;
mod optimizer;
pub mod plan;
mod random;
mod rule;
mod rules;
pub mod schedule;
pub mod sweep;
mod text;
pub mod train;
pub mod tree;

#[cfg(feature = "cpu")]
pub use any_engine::{AnyEngine, AnyProgram};
pub use error::{Error, Result, Unit, range};
pub use lbfgs::{Evaluation, Lbfgs, LbfgsReport, LbfgsSettings, LbfgsStepper, LbfgsStop, LineSearch};
pub use optimizer::{
    Accumulation, Average, Clip, Lane, Lookahead, Optimizer, Recipe, Report, Rules, Schedules, Select, SetNorm, State,
    StateArray, StateValues, Stepper, SumOrder, Telemetry, TensorReport,
};
pub use plan::PerLane;
pub use rule::{
    AdjustLr, AnyRule, BoundsChecks, Configure, Decay, Floats, Function, HyperRow, Layerwise, Memory, Orthogonal, Real,
    Rounding, Rule, Setting, Settings, set,
};
pub use rules::*;
/// Makes the list of a rule's [`Settings`].
pub use smallvec::smallvec;
pub use text::Text;
pub use train::{Batch, Metrics, Trainer};
#[cfg(feature = "gpu")]
pub use wgpu;

/// The README's example.
#[cfg(all(doctest, feature = "cpu", feature = "gpu"))]
#[doc = include_str!("../README.md")]
struct Readme;
