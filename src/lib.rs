//! Thalweg: an optimizer engine for any GPU.

pub mod data;
pub mod error;
pub mod plan;
mod rule;
mod rules;

pub use error::{Error, Result, range};
pub use rule::{AnyRule, Decay, Fixed, Real, Row, Rule, Setting, set};
pub use rules::{Adagrad, Adam, AdamW, RmsProp, Sgd, rule_by_name, rules};
pub use wgpu;
