//! Checks of error messages.

use super::engines;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::plan::{Blueprint, Engine, Layout, Operation, Plan};
use thalweg::{Optimizer, Recipe, Result};

/// An optimizer of one small tensor, if the recipe is accepted.
pub fn optimizer(recipe: Recipe) -> Result<Optimizer<CpuProgram<f32>>> {
    Optimizer::new(&Cpu::default(), recipe, &[("w", &[2, 3])])
}

/// The result must be an error with exactly this message.
#[track_caller]
pub fn assert_error<T>(result: Result<T>, message: &str) {
    match result {
        Ok(_) => panic!("no error, expected: {message}"),
        Err(error) => assert_eq!(error.to_string(), message),
    }
}

/// Every engine must refuse the operation with exactly this message.
#[track_caller]
pub fn operation_is_refused(layout: &Layout, operation: impl Operation, message: &str) {
    let mut plan = Plan::default();
    plan.operate(operation);
    for engine in [engines::cpu(), engines::gpu()] {
        let error = engine.load(&Blueprint::of(layout, &[plan.clone()])).map(drop).unwrap_err();
        assert_eq!(error.to_string(), message, "{}", engine.name);
    }
}
