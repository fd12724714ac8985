//! Thalweg: an optimizer engine for any GPU.

pub mod cpu;
pub mod data;
pub mod error;
pub mod gpu;
pub mod nn;
mod optimizer;
pub mod plan;
mod rule;
mod rules;
pub mod schedule;
mod train;

pub use error::{Error, Result, range};
pub use optimizer::{Optimizer, Recipe, Report, Stepper};
pub use rule::{AnyRule, Decay, Fixed, Real, Row, Rule, Setting, set};
pub use rules::{Adagrad, Adam, AdamW, RmsProp, Sgd, rule_by_name, rules};
pub use train::{Metrics, Trainer};
pub use wgpu;
