//! The engines that compute in f32, each with a name, behind one type.

use std::ops::Range;
use thalweg::Result;
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions, adapters};
use thalweg::plan::{Answer, Blueprint, BufferId, CHUNK, Engine, Machine, PlanId, Program, Tag, Values};
use thalweg::wgpu::{DeviceDescriptor, Limits};

/// An engine over `f32`.
pub struct AnyEngine {
    pub name: &'static str,
    load: Load,
}

type Load = Box<dyn Fn(&Blueprint) -> Result<AnyProgram>>;

/// A program of an [`AnyEngine`].
pub struct AnyProgram(Box<dyn Program<Float = f32>>);

/// The CPU engine.
pub fn cpu() -> AnyEngine {
    erased("CPU f32", Cpu::<f32>::default())
}

/// The GPU engine with its defaults. A software driver is enough; no driver at all is a failure.
pub fn gpu() -> AnyEngine {
    erased("GPU", open(GpuOptions::default()))
}

/// The GPU engine within WebGPU's default limits, but with bindings that hold eight chunks of a norm: larger arenas are cut.
pub fn small_bindings() -> AnyEngine {
    let adapter = open(GpuOptions::default()).info().clone();
    let adapter = adapters().into_iter().find(|candidate| candidate.get_info() == adapter).expect("the same adapter again");
    let limit = 8 * CHUNK as u64 * 4;
    let required_limits = Limits { max_storage_buffer_binding_size: limit, max_buffer_size: limit, ..Default::default() };
    let descriptor = DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    erased("GPU, small bindings", Gpu::from_wgpu(device, queue))
}

/// The CPU engine, and the GPU engine as it is, with bounds checks, and within WebGPU's default limits.
pub fn all() -> Vec<AnyEngine> {
    let limited = GpuOptions { default_limits: true, ..Default::default() };
    vec![cpu(), gpu(), checked(), erased("GPU, default limits", open(limited))]
}

/// The GPU engine with bounds checks.
fn checked() -> AnyEngine {
    erased("GPU, checked", open(GpuOptions { checked: true, ..Default::default() }))
}

/// The CPU engine, and the GPU engine as it is, with bounds checks, and in [`small_bindings`], which works only for an
/// optimizer's own operations. That device has WebGPU's default limits except for the size of bindings, so a further one with
/// these limits would test nothing new: no kernel's text depends on limits, and a buffer that is not cut is launched as on a
/// device with higher limits.
pub fn all_and_small() -> Vec<AnyEngine> {
    vec![cpu(), gpu(), checked(), small_bindings()]
}

/// A device. Without an adapter this panics and says what to install: a test that is skipped silently proves nothing.
pub fn open(options: GpuOptions) -> Gpu {
    Gpu::with(&GpuOptions { allow_cpu: true, ..options }).unwrap_or_else(|error| panic!("{error}"))
}

fn erased<E: Engine<Float = f32, Program: 'static> + 'static>(name: &'static str, engine: E) -> AnyEngine {
    AnyEngine { name, load: Box::new(move |blueprint| Ok(AnyProgram(Box::new(engine.load(blueprint)?)))) }
}

impl Engine for AnyEngine {
    type Float = f32;
    type Program = AnyProgram;

    fn load(&self, blueprint: &Blueprint) -> Result<AnyProgram> {
        (self.load)(blueprint)
    }

    fn describe(&self) -> String {
        self.name.into()
    }
}

impl Program for AnyProgram {
    type Float = f32;

    fn machine(&self) -> Machine {
        self.0.machine()
    }

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        self.0.repeat(plans, times)
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[f32]) -> Result<()> {
        self.0.write(buffer, lane, offset, values)
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        self.0.write_indices(buffer, lane, offset, values)
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<f32>> {
        self.0.read(buffer, lane)
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<f32>> {
        self.0.read_range(buffer, lane, range)
    }

    fn read_pieces(
        &mut self,
        buffer: BufferId,
        lane: usize,
        pieces: &[Range<usize>],
        take: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.0.read_pieces(buffer, lane, pieces, take)
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.0.read_indices(buffer, lane)
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.0.read_halves(buffer, lane)
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        self.0.write_halves(buffer, lane, offset, values)
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<f32>>> {
        self.0.read_all(buffers)
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        self.0.request(tag, buffers)
    }

    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<f32>>> {
        self.0.arrived(tag)
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle()
    }
}
