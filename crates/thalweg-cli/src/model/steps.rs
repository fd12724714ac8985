//! From the steps of a sequence to one row: layers over samples × steps × values.

use thalweg::Error;
use thalweg::nn::{Model, Tape, Value};

/// The last step.
#[derive(Debug, Clone, Copy)]
pub struct LastStep;

/// The mean over steps.
#[derive(Debug, Clone, Copy)]
pub struct MeanOfSteps;

impl Model for LastStep {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        match *x.shape() {
            [samples, steps, values] if steps > 0 => x.slice(1, steps - 1..steps).reshape(&[samples, values]),
            _ => tape.fail(no_sequence("last step", x)),
        }
    }
}

impl Model for MeanOfSteps {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        match *x.shape() {
            [samples, steps, values] if steps > 0 => x.mean(&[1]).reshape(&[samples, values]),
            _ => tape.fail(no_sequence("mean of steps", x)),
        }
    }
}

fn no_sequence(of: &str, x: &Value) -> Error {
    Error::shape(format!("input of the {of}"), "[samples, steps, values]", format!("{:?}", x.shape()))
}
