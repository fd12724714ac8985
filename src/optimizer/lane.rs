//! One lane of an optimizer, so that calls need not name it each time.

use super::{Optimizer, Report, TensorReport};
use crate::error::{Result, range};
use crate::plan::Program;

/// A lane of an [`Optimizer`]: [`Optimizer::lane`], or [`Optimizer::only`] where there is one. Each call is that of the optimizer without
/// its lane, with the errors that it has there.
///
/// # Examples
///
/// ```
/// use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
///
/// let rules = [0.5, 0.25].map(|lr| Sgd { lr, ..Default::default() });
/// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::population(rules), &[("w", &[1])])?;
/// for lane in 0..2 {
///     optimizer.lane(lane)?.set_grads("w", &[2.0])?;
/// }
/// optimizer.step()?;
/// assert_eq!(optimizer.lane(1)?.params("w")?, [-0.5]);
/// assert!(optimizer.only().is_err());
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Lane<'a, P> {
    optimizer: &'a mut Optimizer<P>,
    lane: usize,
}

impl<P: Program> Optimizer<P> {
    /// A lane.
    ///
    /// # Errors
    /// A lane that does not exist.
    pub fn lane(&mut self, lane: usize) -> Result<Lane<'_, P>> {
        let lanes = self.stepper.recipe.lanes();
        range::require(lane < lanes, "lane", lane, &format!("below {lanes}"))?;
        Ok(Lane { optimizer: self, lane })
    }

    /// The only lane.
    ///
    /// # Errors
    /// A population of several lanes.
    pub fn only(&mut self) -> Result<Lane<'_, P>> {
        let lanes = self.stepper.recipe.lanes();
        range::require(lanes == 1, "lanes", lanes, "1 where none is named: see Optimizer::lane")?;
        self.lane(0)
    }
}

impl<P: Program> Lane<'_, P> {
    /// Its place among the lanes.
    pub fn index(&self) -> usize {
        self.lane
    }

    /// [`Optimizer::params`].
    ///
    /// # Errors
    /// As there.
    pub fn params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.optimizer.params(self.lane, tensor)
    }

    /// [`Optimizer::set_params`].
    ///
    /// # Errors
    /// As there.
    pub fn set_params(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.optimizer.set_params(self.lane, tensor, values)
    }

    /// [`Optimizer::set_grads`].
    ///
    /// # Errors
    /// As there.
    pub fn set_grads(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.optimizer.set_grads(self.lane, tensor, values)
    }

    /// [`Optimizer::eval_params`].
    ///
    /// # Errors
    /// As there.
    pub fn eval_params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.optimizer.eval_params(self.lane, tensor)
    }

    /// [`Optimizer::averaged`].
    ///
    /// # Errors
    /// As there.
    pub fn averaged(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.optimizer.averaged(self.lane, tensor)
    }

    /// [`Optimizer::half`].
    ///
    /// # Errors
    /// As there.
    pub fn half(&mut self, tensor: &str) -> Result<Vec<u16>> {
        self.optimizer.half(self.lane, tensor)
    }

    /// [`Optimizer::state`].
    ///
    /// # Errors
    /// As there.
    pub fn state(&mut self, tensor: &str, plane: &str) -> Result<Vec<P::Float>> {
        self.optimizer.state(self.lane, tensor, plane)
    }

    /// [`Optimizer::set_state`].
    ///
    /// # Errors
    /// As there.
    pub fn set_state(&mut self, tensor: &str, plane: &str, values: &[P::Float]) -> Result<()> {
        self.optimizer.set_state(self.lane, tensor, plane, values)
    }

    /// [`Optimizer::inspection`].
    ///
    /// # Errors
    /// As there.
    pub fn inspection(&mut self) -> Result<Vec<TensorReport>> {
        self.optimizer.inspection(self.lane)
    }

    /// [`Optimizer::report`].
    ///
    /// # Errors
    /// As there.
    pub fn report(&mut self) -> Result<Report> {
        self.optimizer.report(self.lane)
    }

    /// [`Optimizer::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&mut self, group: &str, setting: &str, value: f64) -> Result<()> {
        self.optimizer.set(self.lane, group, setting, value)
    }

    /// [`Optimizer::freeze`].
    ///
    /// # Errors
    /// As there.
    pub fn freeze(&mut self, group: &str, frozen: bool) -> Result<()> {
        self.optimizer.freeze(self.lane, group, frozen)
    }
}
