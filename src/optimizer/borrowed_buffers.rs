//! An optimizer over buffers that the host program owns.

use super::{Optimizer, Recipe, recorded};
use crate::error::Result;
use crate::gpu::{Borrowed, BorrowedTensor, Gpu, GpuProgram};

impl Optimizer<GpuProgram> {
    /// An optimizer whose parameters and gradients are slices of the caller's buffers, on the caller's device (see
    /// [`Gpu::from_wgpu`]); only the planes are its own. Slices may share buffers, and start at any multiple of 4 bytes.
    ///
    /// # Errors
    /// What is wrong with a slice, naming its tensor; a setting out of its range; what the device refuses.
    pub fn borrowing(gpu: &Gpu, recipe: Recipe, tensors: &[BorrowedTensor]) -> Result<Self> {
        Self::borrowing_lanes(gpu, recipe, &[tensors.to_vec()])
    }

    /// [`Optimizer::borrowing`] for a population: the tensors of each lane, the same in name and shape. Lanes in one pair of
    /// buffers cost one dispatch; a pair of buffers for each lane costs one for each.
    ///
    /// # Errors
    /// As for [`Optimizer::borrowing`]; lanes that are not as many as the recipe's, or whose tensors differ.
    pub fn borrowing_lanes(gpu: &Gpu, recipe: Recipe, lanes: &[Vec<BorrowedTensor>]) -> Result<Self> {
        let borrowed = Borrowed::new(lanes)?;
        let (mut blueprint, stepper) = recorded(&recipe, borrowed.arena())?;
        for id in [stepper.buffers.params, stepper.buffers.grads] {
            blueprint.borrow(id);
        }
        Self::start(gpu.load_over(&blueprint, borrowed)?, stepper)
    }

    /// The limits that a host has to ask for when it makes the device: [`Gpu::required_limits`].
    pub fn required_limits() -> wgpu::Limits {
        Gpu::required_limits()
    }

    /// The features that a host has to ask for when it makes the device: [`Gpu::required_features`].
    pub fn required_features() -> wgpu::Features {
        Gpu::required_features()
    }

    /// Records one step into the caller's encoder and submits nothing. Encoders have to be submitted in the order in which
    /// steps were recorded. It waits for the device only if the device is about [`SLOTS`](crate::plan::SLOTS) steps behind, or
    /// before it returns an error about a setting.
    ///
    /// The step's numbers, and whether a group is frozen, are looked up on the device when the step runs. So [`Optimizer::set`]
    /// and [`Optimizer::freeze`] reach recorded steps that are not yet submitted: submit first, then change.
    ///
    /// # Errors
    /// A lost device; a setting that its schedule takes out of its range; [`Error::NotSubmitted`](crate::Error::NotSubmitted)
    /// once [`SLOTS`](crate::plan::SLOTS) recorded steps wait for their submission. See [`Optimizer::forget_recorded`] for
    /// encoders that are dropped.
    pub fn encode_step(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        self.program.alive()?;
        let plan = self.stepper.plans.step;
        self.stepper.check_ahead(&[plan], 1)?;
        self.stepper.before_encoding(&mut self.program)?;
        self.program.encode(plan, encoder)?;
        self.stepper.ahead = 0;
        Ok(())
    }

    /// Forgets every recorded step that was not submitted, and the micro-batches or the ascent recorded since the last step.
    /// Waits for the device, whose counters tell which steps were submitted.
    ///
    /// The optimizer cannot see that an encoder was dropped: its step counts as one that may still be submitted, and at most
    /// [`SLOTS`](crate::plan::SLOTS) such steps are allowed. Call this after encoders were dropped, and do not submit later
    /// what was recorded before.
    ///
    /// # Errors
    /// A lost device, or [`Error::Timeout`](crate::Error::Timeout).
    pub fn forget_recorded(&mut self) -> Result<()> {
        self.stepper.forget(&mut self.program)?;
        self.stepper.ahead = 0;
        Ok(())
    }

    /// [`Optimizer::accumulate`] into the caller's encoder.
    ///
    /// # Errors
    /// As for [`Optimizer::accumulate`].
    pub fn encode_accumulate(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        self.program.alive()?;
        let plan = self.stepper.accumulation()?;
        self.stepper.ahead += 1;
        self.program.encode(plan, encoder)
    }

    /// [`Optimizer::ascend`] into the caller's encoder.
    ///
    /// # Errors
    /// As for [`Optimizer::ascend`].
    pub fn encode_ascend(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        self.program.alive()?;
        let plan = self.stepper.ascent()?;
        self.stepper.ahead += 1;
        self.program.encode(plan, encoder)
    }
}
