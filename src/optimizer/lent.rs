//! Steps of the CPU engine on slices that the caller lends.

use super::Optimizer;
use crate::cpu::{CpuProgram, Float};
use crate::error::Result;
use crate::plan::PlanId;

/// Steps on the caller's memory instead of the optimizer's arenas: one slice per tensor, in the order in which the tensors were given;
/// for a population those of its first lane, then those of the next, and so on.
/// Only state is kept here; the arenas of parameters and gradients stay untouched. The bits are those of the arenas.
///
/// # Examples
///
/// ```
/// use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
///
/// let recipe = Recipe::new(Sgd { lr: 0.5, ..Default::default() }).zero_grads();
/// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("weight", &[3]), ("bias", &[1])])?;
/// let (mut weight, mut bias) = (vec![1.0, 2.0, 3.0], vec![0.5]);
/// let (mut by_weight, mut by_bias) = (vec![2.0, 2.0, 2.0], vec![1.0]);
/// optimizer.step_over(&mut [&mut weight, &mut bias], &mut [&mut by_weight, &mut by_bias])?;
/// assert_eq!((weight, bias), (vec![0.0, 1.0, 2.0], vec![0.0]));
/// assert_eq!((by_weight, by_bias), (vec![0.0; 3], vec![0.0]));
/// # Ok::<(), thalweg::Error>(())
/// ```
impl<F: Float> Optimizer<CpuProgram<F>> {
    /// [`Optimizer::step`] on the caller's slices.
    ///
    /// # Errors
    /// Slices that are not as many or not as long as the tensors of all lanes, naming the tensor; or as for [`Optimizer::steps`].
    pub fn step_over<'s>(&mut self, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        // What is refused does not count as a step.
        let plan = self.stepper.plans.step;
        self.program.check_over(&self.stepper.arena, params, grads)?;
        self.stepper.check_ahead(&[plan], 1)?;
        self.stepper.before_encoding(&mut self.program)?;
        self.run_over(plan, params, grads)?;
        self.stepper.ahead = 0;
        Ok(())
    }

    /// [`Optimizer::accumulate`] of the caller's gradients.
    ///
    /// # Errors
    /// As for [`Optimizer::step_over`] and [`Optimizer::accumulate`].
    pub fn accumulate_over<'s>(&mut self, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        let plan = self.stepper.accumulation()?;
        self.run_over(plan, params, grads)?;
        self.stepper.ahead += 1;
        Ok(())
    }

    /// [`Optimizer::ascend`] on the caller's slices.
    ///
    /// # Errors
    /// As for [`Optimizer::step_over`] and [`Optimizer::ascend`].
    pub fn ascend_over<'s>(&mut self, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        let plan = self.stepper.ascent()?;
        self.run_over(plan, params, grads)?;
        self.stepper.ahead += 1;
        Ok(())
    }

    fn run_over<'s>(&mut self, plan: PlanId, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        let buffers = &self.stepper.buffers;
        self.program.run_over(plan, &self.stepper.arena, (buffers.params, params), (buffers.grads, grads))
    }
}
