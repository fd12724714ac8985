//! What a population asks of its trainers, which wait for the device or are awaited.

use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::GpuProgram;
use crate::optimizer::State;
use crate::plan::Program;
use crate::train::{Metrics, Trainer};

/// The calls of a [`Trainer`] that wait for the device.
pub(super) trait Host<P: Program> {
    async fn advance(trainer: &mut Trainer<P>, steps: usize) -> Result<()>;
    async fn metrics(trainer: &mut Trainer<P>) -> Result<Vec<Metrics>>;
    async fn evaluate(trainer: &mut Trainer<P>) -> Result<Vec<Metrics>>;
    async fn state_dict(trainer: &mut Trainer<P>) -> Result<State<P::Float>>;
    async fn load_state_dict(trainer: &mut Trainer<P>, state: &State<P::Float>) -> Result<()>;
    async fn copy_lanes(trainer: &mut Trainer<P>, pairs: &[(usize, usize)]) -> Result<()>;
}

/// Calls that wait.
pub(super) struct Waits;

impl<P: Program> Host<P> for Waits {
    async fn advance(trainer: &mut Trainer<P>, steps: usize) -> Result<()> {
        trainer.advance(steps)
    }

    async fn metrics(trainer: &mut Trainer<P>) -> Result<Vec<Metrics>> {
        trainer.metrics()
    }

    async fn evaluate(trainer: &mut Trainer<P>) -> Result<Vec<Metrics>> {
        trainer.evaluate()
    }

    async fn state_dict(trainer: &mut Trainer<P>) -> Result<State<P::Float>> {
        trainer.state_dict()
    }

    async fn load_state_dict(trainer: &mut Trainer<P>, state: &State<P::Float>) -> Result<()> {
        trainer.load_state_dict(state)
    }

    async fn copy_lanes(trainer: &mut Trainer<P>, pairs: &[(usize, usize)]) -> Result<()> {
        trainer.copy_lanes(pairs)
    }
}

/// Calls that are awaited.
#[cfg(feature = "gpu")]
pub(super) struct Awaits;

#[cfg(feature = "gpu")]
impl Host<GpuProgram> for Awaits {
    async fn advance(trainer: &mut Trainer<GpuProgram>, steps: usize) -> Result<()> {
        trainer.advance_async(steps).await
    }

    async fn metrics(trainer: &mut Trainer<GpuProgram>) -> Result<Vec<Metrics>> {
        trainer.metrics_async().await
    }

    async fn evaluate(trainer: &mut Trainer<GpuProgram>) -> Result<Vec<Metrics>> {
        trainer.evaluate_async().await
    }

    async fn state_dict(trainer: &mut Trainer<GpuProgram>) -> Result<State<f32>> {
        trainer.state_dict_async().await
    }

    async fn load_state_dict(trainer: &mut Trainer<GpuProgram>, state: &State<f32>) -> Result<()> {
        trainer.load_state_dict_async(state).await
    }

    async fn copy_lanes(trainer: &mut Trainer<GpuProgram>, pairs: &[(usize, usize)]) -> Result<()> {
        trainer.copy_lanes_async(pairs).await
    }
}
