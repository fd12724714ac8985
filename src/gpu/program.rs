//! Plans prepared on a device.

use super::borrowed::Borrowed;
use super::bucket::TWO_CHUNKS;
use super::device::Gpu;
use super::kernel::Access;
use super::launch::{Bound, Launch, UNIFORM};
use super::memory::Memory;
use super::readback::{Copy, Readback};
use super::slice::Window;
use super::{
    bulk, centralise, combine, control, copy_lanes, dots, factored, factors, gate, join_rows, norm, operation, orthogonal,
    readback, room, update,
};
use crate::error::{Error, Result, Unit};
use crate::op::MatMul;
use crate::plan::{
    Answer, Blueprint, Buffer, BufferId, Engine, Kind, Layout, Machine, Op, Operation, Plan, PlanId, Program, Reading, Role,
    Tag, Values, check_even, check_plans,
};
use bytemuck::Pod;
use std::ops::Range;
use std::sync::Arc;

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

/// A plan's launches, ready to be encoded.
#[derive(Debug)]
struct Prepared {
    launches: Vec<Ready>,
}

/// A launch, ready to be encoded.
#[derive(Debug)]
struct Ready {
    pipeline: Arc<wgpu::ComputePipeline>,
    group: wgpu::BindGroup,
    grid: [u32; 3],
    /// About how much it does: trips of loops, over all threads.
    work: u64,
}

impl Ready {
    fn encode(&self, pass: &mut wgpu::ComputePass) {
        let [x, y, z] = self.grid;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Prepared {
    fn new(gpu: &Gpu, layout: &Layout, plan: &Plan, memory: &Memory) -> Result<Self> {
        let mut launches = Vec::new();
        for op in plan.ops() {
            let made = launches_of(gpu, op, layout, memory)?;
            made.iter().filter(|launch| !launch.is_empty()).try_for_each(|launch| check_loops(gpu, op, launch))?;
            launches.extend(made);
        }
        launches.retain(|launch| !launch.is_empty());
        launches.iter().try_for_each(|launch| check_windows(gpu, launch))?;
        let params = params_buffer(gpu, &launches)?;
        let bound = launches.iter().enumerate().map(|(index, launch)| {
            let pipeline = gpu.pipeline(&launch.kernel)?;
            let group = gpu.scoped(launch.kernel.name, 0, || bind(gpu, &pipeline, launch, &params, index))?;
            Ok(Ready { pipeline, group, grid: launch.grid, work: work(launch) })
        });
        Ok(Self { launches: bound.collect::<Result<_>>()? })
    }

    fn encode(&self, pass: &mut wgpu::ComputePass) {
        self.launches.iter().for_each(|launch| launch.encode(pass));
    }
}

fn launches_of<'a>(gpu: &Gpu, op: &Op, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let lanes = layout.lanes();
    let one = |launch: Result<Launch<'a>>| launch.map(|launch| vec![launch]);
    match op {
        Op::Operation(op) => operation::launches(op, gpu, layout, memory),
        Op::Norm(op) => norm::norm(op, memory),
        Op::Control(op) => one(control::control(op, layout, memory)),
        Op::Factors(op) => factors::factors(op, layout, memory),
        Op::Gate(op) => one(gate::gate(op, layout, memory)),
        Op::Centralise(op) => centralise::centralise(op, memory),
        Op::Orthogonalise(op) => orthogonal::orthogonalise(op, gpu, layout, memory),
        Op::Update(op) => update::update(op, gpu, layout, memory),
        Op::Dots(op) => dots::dots(op, memory),
        Op::Join { kind, input, output } => one(join_rows::join_rows(*kind, [input, output], lanes, memory)),
        Op::Combine(op) => combine::combine(op, memory),
        Op::Factored(op) => factored::factored(op, lanes, memory),
        Op::CopyLanes(op) => copy_lanes::copy_lanes(op, lanes, memory),
    }
}

/// Loops on a software driver end silently after this many iterations of one invocation (Mesa 22.3).
const CPU_TRIPS: u64 = 65_535;

fn check_loops(gpu: &Gpu, op: &Op, launch: &Launch) -> Result<()> {
    if gpu.is_cpu() && launch.trips > CPU_TRIPS {
        let what = match op {
            Op::Operation(op) if op.operation().name() == <MatMul as Operation>::NAME => op.operation().described(),
            _ => format!("the kernel '{}'", launch.kernel.name),
        };
        return Err(Error::limit(what, launch.trips, CPU_TRIPS, Unit::Turns));
    }
    Ok(())
}

/// WebGPU refuses a dispatch with two writable windows that overlap, and does nothing.
fn check_windows(gpu: &Gpu, launch: &Launch) -> Result<()> {
    if gpu.device.limits().max_storage_buffer_binding_size < TWO_CHUNKS {
        return Ok(());
    }
    let written = launch.buffers.iter().zip(&launch.kernel.bindings).filter(|(_, access)| **access == Access::Write);
    let windows: Vec<&Window> = written
        .filter_map(|(bound, _)| match bound {
            Bound::Window(window) => Some(*window),
            _ => None,
        })
        .collect();
    let overlap = windows.iter().enumerate().any(|(i, window)| windows[..i].iter().any(|other| window.touches(other, 1)));
    let name = launch.kernel.name;
    if overlap { Err(Error::shape(format!("windows of '{name}'"), "none that overlap", "two that do")) } else { Ok(()) }
}

/// The uniforms of all launches in one buffer.
fn params_buffer(gpu: &Gpu, launches: &[Launch]) -> Result<wgpu::Buffer> {
    let size = (launches.len().max(1) * UNIFORM) as u64;
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: Some("params"), size, usage, mapped_at_creation: false };
    gpu.scoped("params", size, || {
        let buffer = gpu.device.create_buffer(&descriptor);
        let mut bytes = vec![0; size as usize];
        for (slot, launch) in bytes.chunks_exact_mut(UNIFORM).zip(launches) {
            slot[..launch.params.len()].copy_from_slice(&launch.params);
        }
        gpu.queue.write_buffer(&buffer, 0, &bytes);
        buffer
    })
}

fn bind(gpu: &Gpu, pipeline: &wgpu::ComputePipeline, launch: &Launch, params: &wgpu::Buffer, index: usize) -> wgpu::BindGroup {
    let uniform = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: params,
        offset: (index * UNIFORM) as u64,
        size: std::num::NonZeroU64::new(launch.params.len().next_multiple_of(16) as u64),
    });
    let tables: Vec<Option<wgpu::Buffer>> = launch.buffers.iter().map(|bound| table(gpu, bound)).collect();
    let storage = launch.buffers.iter().zip(&tables).map(|(bound, table)| match (bound, table) {
        (Bound::Whole(buffer), _) => buffer.as_entire_binding(),
        (Bound::Window(window), _) => window.binding(),
        (Bound::Words(_), Some(buffer)) => buffer.as_entire_binding(),
        (Bound::Words(_), None) => unreachable!("words have a buffer"),
    });
    let entries: Vec<_> = std::iter::once(uniform)
        .chain(storage)
        .enumerate()
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding: binding as u32, resource })
        .collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(launch.kernel.name),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    })
}

/// The buffer of words that never change.
fn table(gpu: &Gpu, bound: &Bound) -> Option<wgpu::Buffer> {
    let Bound::Words(words) = bound else { return None };
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    let size = (words.len() * 4).max(16) as u64;
    let descriptor = wgpu::BufferDescriptor { label: Some("table"), size, usage, mapped_at_creation: false };
    let buffer = gpu.device.create_buffer(&descriptor);
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
    Some(buffer)
}

/// A program on the GPU engine.
#[derive(Debug)]
pub struct GpuProgram {
    gpu: Gpu,
    layout: Layout,
    memory: Memory,
    plans: Vec<Prepared>,
    readback: Readback,
    /// The last answer that was given out.
    answer: Answer<f32>,
    /// Where indices are made before they are written; its memory is used again.
    indices: Vec<u32>,
}

/// Threads of a workgroup, at most.
const GROUP: u64 = 256;

/// About how much a launch does.
fn work(launch: &Launch) -> u64 {
    let groups: u64 = launch.grid.iter().map(|&groups| u64::from(groups)).product();
    groups.saturating_mul(GROUP).saturating_mul(1 + launch.trips)
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

/// Room for what is read, and the copies that will fill it, each with its range there.
type Started<T> = (Vec<T>, Vec<(Range<usize>, Copy)>);

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

    /// Runs a plan `times` times in one submission, waits, and returns the seconds between two timestamps on the device, or
    /// nothing where the device has no timestamps.
    ///
    /// # Errors
    /// A plan that does not exist, or a lost device.
    pub fn run_timed(&mut self, plan: PlanId, times: usize) -> Result<Option<f64>> {
        match self.start_timed(plan, times)? {
            Some(stamps) => stamps.wait(&self.gpu).and_then(|()| self.seconds(&stamps)).map(Some),
            None => self.wait().map(|()| None),
        }
    }

    /// [`GpuProgram::run_timed`] for programs that must not wait.
    ///
    /// # Errors
    /// As there.
    pub async fn run_timed_async(&mut self, plan: PlanId, times: usize) -> Result<Option<f64>> {
        match self.start_timed(plan, times)? {
            Some(stamps) => {
                stamps.arrive(&self.gpu).await?;
                self.seconds(&stamps).map(Some)
            }
            None => self.wait_async().await.map(|()| None),
        }
    }

    /// Runs a plan between two timestamps, which are on their way to the host; none where the device has no timestamps.
    fn start_timed(&mut self, plan: PlanId, times: usize) -> Result<Option<Copy>> {
        check_plans(&[plan], self.plans.len())?;
        self.gpu.alive()?;
        if !self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            self.run(plan, times)?;
            return Ok(None);
        }
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
        let queries = self.gpu.device.create_query_set(&descriptor);
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved =
            self.gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false });
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
            query_set: &queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            (0..times).for_each(|_| self.plans[plan.0].encode(&mut pass));
        }
        encoder.resolve_query_set(&queries, 0..2, &resolved, 0);
        self.submit(encoder)?;
        Copy::of(&self.gpu, &resolved, 0, 16).map(Some)
    }

    /// The seconds between two timestamps.
    fn seconds(&self, stamps: &Copy) -> Result<f64> {
        let ticks: Vec<u64> = stamps.take(&self.gpu, bytemuck::pod_collect_to_vec)?;
        Ok((ticks[1] - ticks[0]) as f64 * f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9)
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

    /// [`Program::read`] for programs that must not wait, as those in a browser.
    ///
    /// # Errors
    /// As for [`Program::read`].
    pub async fn read_async(&self, buffer: BufferId, lane: usize) -> Result<Vec<f32>> {
        self.check(buffer, Kind::Float, lane, 0, 0)?;
        self.read_some_async(buffer, lane, 0..self.layout.declared(buffer).len).await
    }

    /// [`Program::read_range`] for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_range`].
    pub async fn read_range_async(&self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<f32>> {
        self.check(buffer, Kind::Float, lane, 0, range.end)?;
        self.read_some_async(buffer, lane, range).await
    }

    /// [`Program::read_indices`] for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_indices`].
    pub async fn read_indices_async(&self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.check(buffer, Kind::Index, lane, 0, 0)?;
        self.read_some_async(buffer, lane, 0..self.layout.declared(buffer).len).await
    }

    /// [`Program::read_halves`] for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_halves`].
    pub async fn read_halves_async(&self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.check(buffer, Kind::Half, lane, 0, 0)?;
        self.read_some_async(buffer, lane, 0..self.layout.declared(buffer).len).await
    }

    /// [`Program::read_all`] for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_all`].
    pub async fn read_all_async(&self, buffers: &[BufferId]) -> Result<Vec<Values<f32>>> {
        self.gpu.alive()?;
        bulk::read_async(&self.gpu, &self.layout, &self.memory, buffers).await
    }

    /// [`Program::read_parts`] for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_parts`].
    pub async fn read_parts_async(&self, parts: &mut [Reading<'_, f32>]) -> Result<()> {
        let buffers = Reading::buffers(parts);
        let found = self.read_all_async(&buffers).await?;
        Reading::fill(parts, &buffers, found)
    }

    /// [`Program::settle`] for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::settle`].
    pub async fn settle_async(&self) -> Result<()> {
        self.readback.settle_async(&self.gpu).await
    }

    fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<()> {
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.alive()
    }

    /// Checks kind, lane and the number of elements that are to be touched.
    fn check(&self, id: BufferId, kind: Kind, lane: usize, offset: usize, len: usize) -> Result<()> {
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

    fn read_whole<T: Pod>(&self, id: BufferId, lane: usize) -> Result<Vec<T>> {
        self.read_some(id, lane, 0..self.layout.declared(id).len)
    }

    fn read_some<T: Pod>(&self, id: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<T>> {
        let (mut values, copies) = self.start_read(id, lane, range)?;
        for (range, copy) in copies {
            copy.wait(&self.gpu)?;
            self.finish_read(&copy, &mut values[range])?;
        }
        Ok(values)
    }

    async fn read_some_async<T: Pod>(&self, id: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<T>> {
        let (mut values, copies) = self.start_read(id, lane, range)?;
        for (range, copy) in copies {
            copy.arrive(&self.gpu).await?;
            self.finish_read(&copy, &mut values[range])?;
        }
        Ok(values)
    }

    /// Room for a lane's elements, and the copies that will fill it, each with its range there.
    fn start_read<T: Pod>(&self, id: BufferId, lane: usize, range: Range<usize>) -> Result<Started<T>> {
        // What lies between slices reads as zero, like the padding of an arena.
        let (mut values, len) = (Vec::new(), range.len());
        let bytes = len.saturating_mul(size_of::<T>()) as u64;
        let full = |_| Error::OutOfMemory { what: self.layout.declared(id).name.clone(), bytes };
        values.try_reserve_exact(len).map_err(full)?;
        values.resize(len, T::zeroed());
        let mut copies = Vec::new();
        self.memory.each_piece(id, self.copy(id, lane), range.start, range.len(), |piece| {
            piece.check_usage(wgpu::BufferUsages::COPY_SRC)?;
            let size = (piece.range.len() * size_of::<T>()) as u64;
            copies.push((piece.range.clone(), Copy::of(&self.gpu, piece.buffer, piece.at, size)?));
            Ok(())
        })?;
        Ok((values, copies))
    }

    fn finish_read<T: Pod>(&self, copy: &Copy, values: &mut [T]) -> Result<()> {
        copy.take(&self.gpu, |bytes| values.copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, T>(bytes)))
    }

    /// The copy that a lane uses: its own, or the only one.
    fn copy(&self, id: BufferId, lane: usize) -> usize {
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
