//! Twins of what waits for the device, for programs that must not wait, as those in a browser.

use super::{Evaluation, Lbfgs, LbfgsReport};
#[cfg(feature = "checkpoint")]
use crate::checkpoint::Tensors;
use crate::error::Result;
use crate::gpu::GpuProgram;

impl Lbfgs<GpuProgram> {
    /// [`Lbfgs::step`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn step_async(
        &mut self,
        mut closure: impl AsyncFnMut(&mut Evaluation<'_, GpuProgram>) -> Result<f64>,
    ) -> Result<LbfgsReport> {
        let Self { arena, params, grads, stepper, program } = self;
        let closure =
            async |program: &mut GpuProgram| closure(&mut Evaluation { arena, params: *params, grads: *grads, program }).await;
        stepper.step_async(program, closure).await
    }

    /// [`Lbfgs::params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn params_async(&mut self, tensor: &str) -> Result<Vec<f32>> {
        self.point().params_async(tensor).await
    }

    /// [`Lbfgs::tensors`] without a wait. [`Lbfgs::load_tensors`] waits for nothing.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "checkpoint")]
    pub async fn tensors_async(&mut self) -> Result<Tensors> {
        let mut found = Vec::new();
        for (name, buffer) in self.kept(self.stepper.history.sg.len()) {
            found.push((name, self.program.read_async(buffer, 0).await?));
        }
        self.tensors_of(&found)
    }
}

impl Evaluation<'_, GpuProgram> {
    /// [`Evaluation::params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn params_async(&mut self, tensor: &str) -> Result<Vec<f32>> {
        let tensor = self.arena.tensor(tensor)?;
        self.program.read_range_async(self.params, 0, tensor.offset..tensor.offset + tensor.len()).await
    }
}
