//! Elements that are left out while training.

use super::{Init, Model, Tape, Value};
use crate::error::range;
use crate::op::Expr;

/// Sets elements to 0 with probability p while training, and divides the others by 1 − p. Each step and each layer has its own
/// mask: a function of the lane's key, the step and the layer alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// At least 0 and below 1.
    pub p: f64,
}

impl Model for Dropout {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(error) = range::fraction("dropout", self.p) {
            return tape.fail(error);
        }
        if !tape.is_training() || self.p == 0.0 {
            return x.clone();
        }
        let random = tape.uniform(x.shape());
        let p = self.p;
        tape.map(&[x, &random], |of| Expr::number(p).less_equal(of[1].clone()).select(of[0].clone() / (1.0 - p), 0.0))
    }
}

/// [`Dropout`] with a probability per lane: the untrained buffer `p`, which starts at [`LaneDropout::p`] and which
/// [`TrainerBuilder::buffer`](crate::train::TrainerBuilder::buffer) sets for a lane. It has to be at least 0 and below 1 in
/// every lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneDropout {
    /// At least 0 and below 1.
    pub p: f64,
}

impl Model for LaneDropout {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(error) = range::fraction("dropout", self.p) {
            return tape.fail(error);
        }
        if !tape.is_training() {
            return x.clone();
        }
        let (random, p) = (tape.uniform(x.shape()), tape.buffer("p", &[1], Init::Constant(self.p)));
        tape.map(&[x, &random, &p], |of| {
            let kept = of[2].clone().less_equal(of[1].clone());
            kept.select(of[0].clone() / (1.0 - of[2].clone()), 0.0)
        })
    }
}
