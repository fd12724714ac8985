//! An optimizer over buffers that the host program owns.

use super::{Optimizer, Recipe};
use crate::error::{Error, Result};
use crate::gpu::{Foreign, Gpu, GpuProgram, SliceTensor};
use crate::plan::{Layout, Plan};

impl Optimizer<GpuProgram> {
    /// An optimizer whose parameters and gradients are slices of the caller's buffers, on the caller's device (see
    /// [`Gpu::from_wgpu`]); only the planes are its own. Slices may share buffers, and start at any multiple of 4 bytes.
    ///
    /// # Errors
    /// What is wrong with a slice, naming its tensor; a setting out of its range; what the device refuses.
    pub fn over_slices(gpu: &Gpu, recipe: Recipe, tensors: &[SliceTensor]) -> Result<Self> {
        if tensors.is_empty() {
            return Err(Error::Empty { what: "the list of tensors".into() });
        }
        let foreign = Foreign::new(tensors)?;
        let arena = foreign.arena().clone();
        let mut layout = Layout::new(recipe.lanes());
        let (params, grads) = (layout.arena("params", &arena), layout.arena("grads", &arena));
        let loss = layout.floats("loss", 1);
        let mut plan = Plan::default();
        let mut stepper = recipe.record(&mut layout, &mut plan, &arena, params, grads)?;
        let mut program = gpu.load_over(&layout, &[plan], [params, grads], foreign)?;
        stepper.start(&mut program)?;
        Ok(Self { arena, params, grads, loss, stepper, program })
    }

    /// Records one step into the caller's encoder: submits nothing, waits for nothing. Encoders have to be submitted in the order
    /// in which steps were recorded.
    ///
    /// # Errors
    /// A lost device, or more steps recorded than submitted by [`SLOTS`](crate::plan::SLOTS) or more.
    pub fn encode_step(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        self.program.alive()?;
        self.stepper.before_encoding(&mut self.program)?;
        self.program.encode(0, encoder);
        Ok(())
    }
}
