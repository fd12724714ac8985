//! Programs on a device.

use super::borrowed::Borrowed;
use super::device::Gpu;
use super::memory::Memory;
use super::prepared::Prepared;
use super::readback::Readback;
use super::{bulk, readback, room};
use crate::error::{Error, Result};
use crate::plan::{
    Answer, Blueprint, Buffer, BufferId, Engine, Kind, Layout, Machine, PlanId, Program, Role, Tag, Values, check_even,
    check_plans,
};
use bytemuck::Pod;
use std::ops::Range;

impl Engine for Gpu {
    type Float = f32;
    type Program = GpuProgram;

    fn load(&self, blueprint: &Blueprint) -> Result<GpuProgram> {
        room::check(self, blueprint)?;
        let memory = Memory::new(self, blueprint.layout());
        self.load_into(blueprint, memory.map_err(|(error, given)| room::of_population(error, blueprint.layout(), given))?)
    }

    fn describe(&self) -> String {
        let info = self.info();
        format!("GPU, {} ({:?}, {} {})", info.name, info.backend, info.driver, info.driver_info)
    }
}

impl Gpu {
    /// [`Engine::load`] over the caller's slices: they take the place of the buffers of parameters and gradients that the
    /// blueprint borrows ([`Blueprint::borrow`]).
    ///
    /// # Errors
    /// As for [`Engine::load`]; a blueprint that borrows anything but one buffer of parameters and one of gradients; other
    /// lengths or lanes than those of the slices; a buffer that this device does not know.
    pub fn load_over(&self, blueprint: &Blueprint, borrowed: Borrowed) -> Result<GpuProgram> {
        let (layout, [params, grads]) = (blueprint.layout(), of_caller(blueprint)?);
        if layout.lanes() != borrowed.lanes() {
            return Err(Error::shape("lanes of slices", layout.lanes(), borrowed.lanes()));
        }
        [params, grads].into_iter().try_for_each(|id| layout.check_arena(id, borrowed.arena()))?;
        borrowed.check_device(self)?;
        room::check(self, blueprint)?;
        self.load_into(blueprint, Memory::over(self, layout, [params, grads], borrowed)?)
    }

    fn load_into(&self, blueprint: &Blueprint, memory: Memory) -> Result<GpuProgram> {
        let (layout, plans) = (blueprint.layout(), blueprint.plans());
        let plans = plans.iter().map(|plan| Prepared::new(self, layout, plan, &memory)).collect::<Result<_>>()?;
        Ok(GpuProgram {
            gpu: self.clone(),
            layout: layout.clone(),
            memory,
            plans,
            readback: Readback::default(),
            answer: Answer::default(),
            indices: Vec::new(),
        })
    }
}

/// The borrowed buffers of parameters and of gradients.
fn of_caller(blueprint: &Blueprint) -> Result<[BufferId; 2]> {
    let of = |role| blueprint.buffers().filter(move |buffer| buffer.borrowed && buffer.role == role).map(|buffer| buffer.id);
    let (params, grads): (Vec<BufferId>, Vec<BufferId>) = (of(Role::Params).collect(), of(Role::Grads).collect());
    match (&params[..], &grads[..], blueprint.buffers().filter(|buffer| buffer.borrowed).count()) {
        (&[params], &[grads], 2) => Ok([params, grads]),
        (params, grads, all) => {
            let found = format!("{} and {} of {all}", params.len(), grads.len());
            Err(Error::shape("borrowed buffers", "one of parameters and one of gradients", found))
        }
    }
}

/// What still goes into a submission: enough to hide its cost, little enough that the device does other work in between, and
/// that no watchdog takes it for hung. A single launch is never cut.
struct Budget {
    dispatches: usize,
    work: u64,
    empty: bool,
}

impl Budget {
    /// 2^33 trips take some 10 ms on a device of 10^12 operations per second.
    const FULL: Self = Self { dispatches: 1_000, work: 1 << 33, empty: true };

    fn takes(&mut self, work: u64) -> bool {
        let fits = self.empty || (self.dispatches > 0 && work <= self.work);
        if fits {
            *self = Self { dispatches: self.dispatches - 1, work: self.work.saturating_sub(work), empty: false };
        }
        fits
    }
}

/// A program on the GPU engine.
#[derive(Debug)]
pub struct GpuProgram {
    pub(super) gpu: Gpu,
    pub(super) layout: Layout,
    pub(super) memory: Memory,
    pub(super) plans: Vec<Prepared>,
    pub(super) readback: Readback,
    /// The last answer that was given out.
    answer: Answer<f32>,
    /// Where indices are made before they are written; its memory is used again.
    indices: Vec<u32>,
}

impl GpuProgram {
    /// The device buffers of a declared buffer, lane after lane: several where one would exceed the limit of a binding, none of
    /// a buffer of another layout. In a buffer of one piece, element `i` of lane `k` is at `k · stride + i`, with
    /// [`Buffer::stride`](crate::plan::Buffer::stride).
    pub fn buffers(&self, id: BufferId) -> impl Iterator<Item = &wgpu::Buffer> {
        self.memory.find(id).into_iter().flat_map(|found| &found.segments).map(|segment| &segment.buffer)
    }

    /// Records one run of a plan into the caller's encoder; submits nothing and waits for nothing.
    ///
    /// # Errors
    /// A plan that does not exist; then nothing is recorded.
    pub fn encode(&self, plan: PlanId, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        check_plans(&[plan], self.plans.len())?;
        self.plans[plan.0].encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        Ok(())
    }

    /// Dispatches of one run of a plan; none of a plan that does not exist.
    pub fn dispatches(&self, plan: PlanId) -> usize {
        self.plans.get(plan.0).map_or(0, |plan| plan.launches.len())
    }

    /// An error once the device is lost.
    pub(crate) fn alive(&self) -> Result<()> {
        self.gpu.alive()
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// A lost device.
    pub fn wait(&self) -> Result<()> {
        self.gpu.may_wait()?;
        self.gpu.wait()
    }

    /// [`GpuProgram::wait`] for programs that must not wait.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(&self) -> Result<()> {
        readback::done(&self.gpu).await
    }

    /// [`Program::settle`] for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::settle`].
    pub async fn settle_async(&self) -> Result<()> {
        self.readback.settle_async(&self.gpu).await
    }

    pub(super) fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<()> {
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.alive()
    }

    /// Checks kind, lane and the number of elements that are to be touched.
    pub(super) fn check(&self, id: BufferId, kind: Kind, lane: usize, offset: usize, len: usize) -> Result<()> {
        self.layout.check_access(id, kind, lane, offset, len)?;
        self.gpu.alive()
    }

    fn write_all<T: Pod>(&self, id: BufferId, lane: usize, offset: usize, values: &[T]) -> Result<()> {
        self.memory.each_piece(id, self.copy(id, lane), offset, values.len(), |piece| {
            piece.check_usage(wgpu::BufferUsages::COPY_DST)?;
            self.gpu.queue.write_buffer(piece.buffer, piece.at, bytemuck::cast_slice(&values[piece.range.clone()]));
            Ok(())
        })
    }

    /// The copy that a lane uses: its own, or the only one.
    pub(super) fn copy(&self, id: BufferId, lane: usize) -> usize {
        if self.memory.get(id).lane_stride == 0 { 0 } else { lane }
    }
}

impl Program for GpuProgram {
    type Float = f32;

    fn machine(&self) -> Machine {
        Machine::new("gpu", &self.gpu.info().name)
    }

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        check_plans(plans, self.plans.len())?;
        if times == 0 {
            return Ok(());
        }
        let launches = (0..times).flat_map(|_| plans).flat_map(|plan| &self.plans[plan.0].launches);
        let mut launches = launches.peekable();
        loop {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                let mut budget = Budget::FULL;
                while let Some(launch) = launches.next_if(|launch| budget.takes(launch.work)) {
                    launch.encode(&mut pass);
                }
            }
            self.submit(encoder)?;
            if launches.peek().is_none() {
                return Ok(());
            }
        }
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[f32]) -> Result<()> {
        self.check(buffer, Kind::Float, lane, offset, values.len())?;
        self.write_all(buffer, lane, offset, values)
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        self.check(buffer, Kind::Index, lane, offset, values.len())?;
        self.write_all(buffer, lane, offset, values)
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<f32>> {
        self.check(buffer, Kind::Float, lane, 0, 0)?;
        self.read_whole(buffer, lane)
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<f32>> {
        self.check(buffer, Kind::Float, lane, 0, range.end)?;
        self.read_some(buffer, lane, range)
    }

    fn read_pieces(
        &mut self,
        buffer: BufferId,
        lane: usize,
        pieces: &[Range<usize>],
        take: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        pieces.iter().try_for_each(|piece| self.check(buffer, Kind::Float, lane, 0, piece.end))?;
        self.read_in_turn(buffer, lane, pieces, take)
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.check(buffer, Kind::Index, lane, 0, 0)?;
        self.read_whole(buffer, lane)
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.check(buffer, Kind::Half, lane, 0, 0)?;
        self.read_whole(buffer, lane)
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        self.check(buffer, Kind::Half, lane, offset, values.len())?;
        check_even(offset, values.len())?;
        self.write_all(buffer, lane, offset, values)
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<f32>>> {
        self.gpu.alive()?;
        bulk::read(&self.gpu, &self.layout, &self.memory, buffers)
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        self.layout.check_request(buffers)?;
        self.readback.request(&self.gpu, &self.memory, tag, buffers)
    }

    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<f32>>> {
        let (answer, layout, memory) = (&mut self.answer, &self.layout, &self.memory);
        let found = self.readback.oldest(&self.gpu, tag, |buffers, bytes| {
            answer.clear();
            answer.tag = tag;
            let mut rest = bytes;
            for &id in buffers {
                let (own, after) = rest.split_at(memory.get(id).segments[0].buffer.size() as usize);
                append(answer, layout.declared(id), own);
                rest = after;
            }
        })?;
        Ok(found.then_some(&self.answer))
    }

    fn fill_indices(
        &mut self,
        buffer: BufferId,
        lanes: usize,
        len: usize,
        fill: &(dyn Fn(usize, &mut [u32]) + Sync),
    ) -> Result<()> {
        let mut values = std::mem::take(&mut self.indices);
        values.resize(len, 0);
        let written = (0..lanes).try_for_each(|lane| {
            fill(lane, &mut values);
            self.write_indices(buffer, lane, 0, &values)
        });
        self.indices = values;
        written
    }

    fn settle(&mut self) -> Result<()> {
        self.readback.settle(&self.gpu)
    }
}

/// Appends a buffer's elements to an answer, without what pads its lanes.
fn append(answer: &mut Answer<f32>, declared: &Buffer, bytes: &[u8]) {
    let (words, _) = bytes.as_chunks::<4>();
    for lane in words.chunks_exact(declared.stride()) {
        let own = lane[..declared.len].iter();
        match declared.kind {
            Kind::Float => answer.floats.extend(own.map(|&word| f32::from_ne_bytes(word))),
            Kind::Index => answer.indices.extend(own.map(|&word| u32::from_ne_bytes(word))),
            Kind::Half => {}
        }
    }
}
