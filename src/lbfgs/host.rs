//! What a step asks of its host, which may wait for it or await it.

use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::GpuProgram;
use crate::plan::{BufferId, Program};
use crate::rule::Real;

/// Where losses and measured values come from.
pub(super) trait Host<P> {
    /// The loss of the parameters as they are; its gradient is written.
    async fn loss(&mut self, program: &mut P) -> Result<f64>;
    /// The floats of a buffer.
    async fn floats(&self, program: &mut P, buffer: BufferId) -> Result<Vec<f64>>;
}

/// Calls that wait.
pub(super) struct Waits<C>(pub C);

impl<P: Program, C: FnMut(&mut P) -> Result<f64>> Host<P> for Waits<C> {
    async fn loss(&mut self, program: &mut P) -> Result<f64> {
        (self.0)(program)
    }

    async fn floats(&self, program: &mut P, buffer: BufferId) -> Result<Vec<f64>> {
        Ok(program.read(buffer, 0)?.into_iter().map(P::Float::as_f64).collect())
    }
}

/// Calls that are awaited.
#[cfg(feature = "gpu")]
pub(super) struct Awaits<C>(pub C);

#[cfg(feature = "gpu")]
impl<C: AsyncFnMut(&mut GpuProgram) -> Result<f64>> Host<GpuProgram> for Awaits<C> {
    async fn loss(&mut self, program: &mut GpuProgram) -> Result<f64> {
        (self.0)(program).await
    }

    async fn floats(&self, program: &mut GpuProgram, buffer: BufferId) -> Result<Vec<f64>> {
        Ok(program.read_async(buffer, 0).await?.into_iter().map(f64::from).collect())
    }
}
