//! A plan's launches with their pipelines and bindings, ready to be encoded.

use super::bucket::TWO_CHUNKS;
use super::device::Gpu;
use super::kernel::Access;
use super::launch::{Bound, Launch, UNIFORM};
use super::memory::Memory;
use super::slice::Window;
use super::{
    centralise, combine, control, copy_lanes, dots, factored, factors, gate, join_rows, norm, operation, orthogonal, update,
};
use crate::error::{Error, Result, Unit};
use crate::op::MatMul;
use crate::plan::{Layout, Op, Operation, Plan};
use std::sync::Arc;

/// A plan's launches, ready to be encoded.
#[derive(Debug)]
pub(super) struct Prepared {
    pub launches: Vec<Ready>,
}

/// A launch, ready to be encoded.
#[derive(Debug)]
pub(super) struct Ready {
    pipeline: Arc<wgpu::ComputePipeline>,
    group: wgpu::BindGroup,
    grid: [u32; 3],
    /// About how much it does: trips of loops, over all threads.
    pub work: u64,
}

impl Ready {
    pub fn encode(&self, pass: &mut wgpu::ComputePass) {
        let [x, y, z] = self.grid;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Prepared {
    pub fn new(gpu: &Gpu, layout: &Layout, plan: &Plan, memory: &Memory) -> Result<Self> {
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

    pub fn encode(&self, pass: &mut wgpu::ComputePass) {
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

/// Threads of a workgroup, at most.
const GROUP: u64 = 256;

/// About how much a launch does.
fn work(launch: &Launch) -> u64 {
    let groups: u64 = launch.grid.iter().map(|&groups| u64::from(groups)).product();
    groups.saturating_mul(GROUP).saturating_mul(1 + launch.trips)
}
