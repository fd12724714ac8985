//! Twins of what waits for the device, for programs that must not wait, as those in a browser.
//!
//! Everything else of an optimizer waits only where the host does not know how far the device is: steps far ahead of it, `set_params` with
//! an average, `set_all_params` with one, and `set_applied`. After [`Optimizer::catch_up_async`] none of them does.

use super::stepper::{Buffers, names, not_asked};
use super::{Lane, Optimizer, Report, TensorReport};
use crate::error::Result;
use crate::gpu::GpuProgram;
use crate::plan::BufferId;

impl Lane<'_, GpuProgram> {
    /// [`Optimizer::params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn params_async(&self, tensor: &str) -> Result<Vec<f32>> {
        self.read_async(self.stepper.buffers.params, tensor).await
    }

    /// [`Optimizer::averaged`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn averaged_async(&self, tensor: &str) -> Result<Vec<f32>> {
        self.read_async(self.average_buffer()?, tensor).await
    }

    /// [`Optimizer::slow`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn slow_async(&self, tensor: &str) -> Result<Vec<f32>> {
        self.read_async(self.slow_buffer()?, tensor).await
    }

    /// [`Optimizer::state`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn state_async(&self, tensor: &str, plane: &str) -> Result<Vec<f32>> {
        match self.stack(tensor)? {
            Some((buffer, stack)) => stack.plane(self.program.read_async(buffer, self.lane).await?, plane),
            None => {
                let id = self.stepper.plane(tensor, plane)?;
                let Some(half) = self.stepper.recipe.state.half() else { return self.read_async(id, tensor).await };
                let tensor = self.stepper.arena.tensor(tensor)?;
                let bits = self.program.read_halves_async(id, self.lane).await?;
                Ok(super::planes::floats(half, &bits[tensor.offset..][..tensor.len()]))
            }
        }
    }

    /// [`Optimizer::half`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn half_async(&self, tensor: &str) -> Result<Vec<u16>> {
        let half = self.stepper.half_buffer()?;
        if let Some(kind) = self.stepper.recipe.half.filter(|_| self.stepper.is_fresh()) {
            return Ok(super::planes::halves(kind, &self.params_async(tensor).await?));
        }
        let tensor = self.stepper.arena.tensor(tensor)?;
        Ok(self.program.read_halves_async(half, self.lane).await?[tensor.offset..][..tensor.len()].to_vec())
    }

    /// [`Optimizer::inspection`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn inspection_async(&self) -> Result<Vec<TensorReport>> {
        let Buffers { grad_norms, change_norms, .. } = self.stepper.buffers;
        let asked = grad_norms.zip(change_norms).filter(|_| self.stepper.plans.inspect.is_some());
        let (grads, changes) = asked.ok_or_else(|| not_asked("inspection", "inspect"))?;
        let grads = self.program.read_async(grads, self.lane).await?;
        let changes = self.program.read_async(changes, self.lane).await?;
        Ok(TensorReport::all(&names(&self.stepper.arena), &grads, &changes))
    }

    /// [`Optimizer::report`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn report_async(&self) -> Result<Report> {
        let counts = self.program.read_indices_async(self.stepper.buffers.counts, self.lane).await?;
        let scalars = self.program.read_async(self.stepper.buffers.scalars, self.lane).await?;
        Ok(Report::of(&counts, &scalars, &self.stepper.buffers.domains))
    }

    async fn read_async(&self, buffer: BufferId, tensor: &str) -> Result<Vec<f32>> {
        let tensor = self.stepper.arena.tensor(tensor)?;
        self.program.read_range_async(buffer, self.lane, tensor.offset..tensor.offset + tensor.len()).await
    }
}

/// Calls for the only lane, as their twins without `_async`; those of lane `k` are calls of `optimizer.lane(k)?`.
impl Optimizer<GpuProgram> {
    /// [`Optimizer::params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn params_async(&mut self, tensor: &str) -> Result<Vec<f32>> {
        self.only("params_async")?.params_async(tensor).await
    }

    /// [`Optimizer::averaged`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn averaged_async(&mut self, tensor: &str) -> Result<Vec<f32>> {
        self.only("averaged_async")?.averaged_async(tensor).await
    }

    /// [`Optimizer::slow`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn slow_async(&mut self, tensor: &str) -> Result<Vec<f32>> {
        self.only("slow_async")?.slow_async(tensor).await
    }

    /// [`Optimizer::state`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn state_async(&mut self, tensor: &str, plane: &str) -> Result<Vec<f32>> {
        self.only("state_async")?.state_async(tensor, plane).await
    }

    /// [`Optimizer::half`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn half_async(&mut self, tensor: &str) -> Result<Vec<u16>> {
        self.only("half_async")?.half_async(tensor).await
    }

    /// [`Optimizer::inspection`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn inspection_async(&mut self) -> Result<Vec<TensorReport>> {
        self.only("inspection_async")?.inspection_async().await
    }

    /// [`Optimizer::report`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn report_async(&mut self) -> Result<Report> {
        self.only("report_async")?.report_async().await
    }

    /// [`Optimizer::all_params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn all_params_async(&mut self) -> Result<Vec<Vec<f32>>> {
        let mut lanes = Vec::new();
        for lane in 0..self.stepper.recipe.lanes() {
            lanes.push(self.program.read_async(self.stepper.buffers.params, lane).await?);
        }
        Ok(lanes)
    }

    /// [`Optimizer::flush`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn flush_async(&mut self) -> Result<()> {
        self.program.settle_async().await?;
        self.stepper.take_in(&mut self.program)
    }

    /// Learns what the device has done, so that steps and settings that would have waited for it do not.
    ///
    /// # Errors
    /// A lost device.
    pub async fn catch_up_async(&mut self) -> Result<()> {
        // What is under way may be old, and leave no room for a new request.
        for _ in 0..2 {
            if !self.stepper.is_caught_up() {
                self.stepper.request(&mut self.program)?;
                self.flush_async().await?;
            }
        }
        Ok(())
    }
}
