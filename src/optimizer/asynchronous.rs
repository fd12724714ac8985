//! Twins of what waits for the device, for programs that must not wait, as those in a browser.
//!
//! Everything else of an optimizer waits only where the host does not know how far the device is: steps far ahead of it,
//! `set_params` with an average, `set_all_params` with one, and `set_applied`. After [`Optimizer::catch_up_async`] none of them
//! does. The same holds for a [`Stepper`], after [`Stepper::catch_up_async`].

use super::planes::floats;
use super::recorded::Buffers;
use super::stepper::{Stepper, names, not_asked};
use super::{Lane, Optimizer, Report, State, TensorReport};
#[cfg(feature = "checkpoint")]
use crate::checkpoint::{Loaded, Tensors};
use crate::error::Result;
use crate::gpu::GpuProgram;
use crate::plan::{BufferId, PlanId, Tensor, Values};
use std::ops::Range;

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
                let (id, tensor) = (self.stepper.plane(tensor, plane)?, self.stepper.arena.tensor(tensor)?);
                self.stepper.plane_async(self.program, id, self.lane, tensor.offset..tensor.offset + tensor.len()).await
            }
        }
    }

    /// [`Optimizer::half`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn half_async(&self, tensor: &str) -> Result<Vec<u16>> {
        let half = self.stepper.half_buffer()?;
        if let Some(kind) = self.stepper.recipe.half.filter(|_| self.stepper.is_unused()) {
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
        self.stepper.report_async(self.program, self.lane).await
    }

    /// [`Optimizer::eval_params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn eval_params_async(&self, tensor: &str) -> Result<Vec<f32>> {
        let tensor = self.stepper.arena.tensor(tensor)?;
        Ok(self.eval_arena_async().await?[tensor.offset..][..tensor.len()].to_vec())
    }

    /// [`Optimizer::eval_arena`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn eval_arena_async(&self) -> Result<Vec<f32>> {
        let mut params = self.program.read_async(self.stepper.buffers.params, self.lane).await?;
        self.stepper.eval_async(self.program, self.lane, self.stepper.arena.tensors(), &mut params).await?;
        Ok(params)
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

    /// [`Optimizer::eval_params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn eval_params_async(&mut self, tensor: &str) -> Result<Vec<f32>> {
        self.only("eval_params_async")?.eval_params_async(tensor).await
    }

    /// [`Optimizer::eval_arena`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn eval_arena_async(&mut self) -> Result<Vec<f32>> {
        self.only("eval_arena_async")?.eval_arena_async().await
    }

    /// [`Optimizer::all_params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn all_params_async(&mut self) -> Result<Vec<Vec<f32>>> {
        match self.program.read_all_async(&[self.stepper.buffers.params]).await?.pop() {
            Some(Values::Floats(lanes)) => Ok(lanes),
            _ => Ok(Vec::new()),
        }
    }

    /// [`Optimizer::all_eval_params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn all_eval_params_async(&mut self) -> Result<Vec<Vec<f32>>> {
        let found = self.program.read_all_async(&self.stepper.eval_buffers()).await?;
        self.stepper.eval_of(found)
    }

    /// [`Optimizer::state_dict`] without a wait. [`Optimizer::load_state_dict`] waits for nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn state_dict_async(&mut self) -> Result<State<f32>> {
        self.stepper.snapshot_async(&self.program).await
    }

    /// [`Optimizer::take_sum`] without a wait. [`Optimizer::put_sum`] waits for nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn take_sum_async(&mut self, sums: &mut [Vec<f32>]) -> Result<Vec<u32>> {
        self.stepper.take_sum_async(&mut self.program, sums).await
    }

    /// [`Optimizer::forget_recorded`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn forget_recorded_async(&mut self) -> Result<()> {
        self.catch_up_async().await?;
        self.stepper.forget_unmade();
        self.stepper.ahead = 0;
        Ok(())
    }

    /// [`Optimizer::copy_lanes`] without a wait.
    pub(crate) async fn copy_lanes_async(&mut self, plan: PlanId, pairs: &[(usize, usize)]) -> Result<()> {
        self.flush_async().await?;
        self.catch_up_async().await?;
        self.copy_lanes(plan, pairs)
    }

    /// [`Optimizer::flush`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn flush_async(&mut self) -> Result<()> {
        self.stepper.flush_async(&mut self.program).await
    }

    /// Learns what the device has done, so that steps and settings that would have waited for it do not.
    ///
    /// # Errors
    /// A lost device.
    pub async fn catch_up_async(&mut self) -> Result<()> {
        self.stepper.catch_up_async(&mut self.program).await
    }
}

impl Stepper {
    /// [`Stepper::report`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn report_async(&self, program: &GpuProgram, lane: usize) -> Result<Report> {
        let counts = program.read_indices_async(self.buffers.counts, lane).await?;
        let scalars = program.read_async(self.buffers.scalars, lane).await?;
        Ok(Report::of(&counts, &scalars, &self.buffers.domains))
    }

    /// [`Stepper::eval`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn eval_async(&self, program: &GpuProgram, lane: usize, tensors: &[Tensor], params: &mut [f32]) -> Result<()> {
        let mut planes = Vec::new();
        for id in self.planes() {
            planes.push((id, self.plane_async(program, id, lane, 0..self.arena.len()).await?));
        }
        let counts = program.read_indices_async(self.buffers.counts, lane).await?;
        self.eval_lane(lane, tensors, params, &planes, &counts)
    }

    /// A part of a plane, however it is kept.
    async fn plane_async(&self, program: &GpuProgram, id: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<f32>> {
        match self.recipe.state.half() {
            None => program.read_range_async(id, lane, range).await,
            Some(half) => Ok(floats(half, &program.read_halves_async(id, lane).await?[range])),
        }
    }

    /// [`Stepper::snapshot`] without a wait. [`Stepper::restore`] waits for nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn snapshot_async(&mut self, program: &GpuProgram) -> Result<State<f32>> {
        let found = program.read_all_async(&self.kept_but(&[])).await?;
        Ok(self.snapshot_of(found, &[]))
    }

    /// [`Stepper::take_sum`] without a wait. [`Stepper::put_sum`] waits for nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn take_sum_async(&mut self, program: &mut GpuProgram, sums: &mut [Vec<f32>]) -> Result<Vec<u32>> {
        let (level, count) = self.sum_to_take(sums)?;
        let mut counts = Vec::with_capacity(sums.len());
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = program.read_range_async(level, lane, 0..sum.len()).await?;
            counts.push(program.read_indices_async(count, lane).await?[0]);
        }
        self.clear_sum(program, level, count)?;
        Ok(counts)
    }

    /// [`Stepper::measure_part`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn measure_part_async(&mut self, program: &mut GpuProgram, lane: usize) -> Result<Vec<f32>> {
        match self.start_measuring(program)? {
            Some(own) => program.read_async(own, lane).await,
            None => Ok(Vec::new()),
        }
    }

    /// [`Stepper::flush`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn flush_async(&mut self, program: &mut GpuProgram) -> Result<()> {
        program.settle_async().await?;
        self.take_in(program)
    }

    /// Learns what the device has done, so that steps and settings that would have waited for it do not.
    ///
    /// # Errors
    /// A lost device.
    pub async fn catch_up_async(&mut self, program: &mut GpuProgram) -> Result<()> {
        // What is under way may be old, and leave no room for a new request.
        for _ in 0..2 {
            if !self.is_caught_up() {
                self.request(program)?;
                self.flush_async(program).await?;
            }
        }
        Ok(())
    }
}

#[cfg(feature = "checkpoint")]
impl Optimizer<GpuProgram> {
    /// [`Optimizer::weights`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn weights_async(&mut self, lane: usize) -> Result<Tensors> {
        let params = self.program.read_async(self.stepper.buffers.params, lane).await?;
        self.weights_with(&params)
    }

    /// [`Optimizer::load_weights`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_weights_async(&mut self, weights: &Tensors) -> Result<Loaded> {
        self.catch_up_async().await?;
        self.load_weights(weights)
    }

    /// [`Optimizer::load_weights_lenient`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_weights_lenient_async(&mut self, weights: &Tensors) -> Result<Loaded> {
        self.catch_up_async().await?;
        self.load_weights_lenient(weights)
    }

    /// [`Optimizer::tensors`] without a wait. [`Optimizer::load_tensors`] waits for nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn tensors_async(&mut self) -> Result<Tensors> {
        let mut tensors = Tensors::default();
        self.tensors_into_async(&mut tensors).await?;
        Ok(tensors)
    }

    /// [`Optimizer::tensors_into`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn tensors_into_async(&mut self, tensors: &mut Tensors) -> Result<()> {
        self.tensors_beside_async(State::default(), tensors).await
    }

    /// [`Optimizer::tensors_into_async`] with arrays of others beside.
    pub(crate) async fn tensors_beside_async(&mut self, beside: State<f32>, tensors: &mut Tensors) -> Result<()> {
        let mut old = std::mem::take(tensors);
        let pieces = self.stepper.float_pieces();
        let read_so: Vec<BufferId> = pieces.iter().map(|(id, _)| *id).collect();
        let rest = self.program.read_all_async(&self.stepper.kept_but(&read_so)).await?;
        let rest = self.stepper.snapshot_of(rest, &read_so);
        let mut found = self.rooms(&pieces, &mut old)?;
        self.program.read_parts_async(&mut self.readings(&pieces, &mut found)).await?;
        self.put_all(found, rest, beside, tensors)
    }

    /// [`Optimizer::load_tensors_lenient`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_tensors_lenient_async(&mut self, tensors: &Tensors) -> Result<Loaded> {
        self.catch_up_async().await?;
        let fitting = self.fitting_alone(tensors);
        let own = if fitting.needs_state() { self.state_dict_async().await? } else { State::default() };
        self.take_fitting(fitting, &own, tensors)
    }

    /// [`Optimizer::export`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn export_async(&mut self, lane: usize) -> Result<Tensors> {
        let mut file = Tensors::default();
        self.stepper.check_lane(lane)?;
        self.catch_up_async().await?;
        for tensor in self.arena().tensors().to_vec() {
            let params = self.lane(lane)?.params_async(&tensor.name).await?;
            self.export_known(lane, &tensor, &params, &mut file)?;
            for plane in self.planes_of(&tensor) {
                let values = self.lane(lane)?.state_async(&tensor.name, &plane.own).await?;
                file.put(&plane.file_name(&tensor), &plane.shape, &values)?;
            }
        }
        Ok(file)
    }

    /// [`Optimizer::import`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn import_async(&mut self, tensors: &Tensors) -> Result<()> {
        self.catch_up_async().await?;
        self.import(tensors)
    }
}
