//! Many steps: memory stays as it is, and nothing waits for the device.

use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::with;
use std::ops::Range;
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions, Slice, SliceTensor};
use thalweg::plan::{Answer, Blueprint, BufferId, Engine, PlanId, Program, SLOTS, Tag, Values};
use thalweg::{Adam, Optimizer, Recipe, Result, wgpu};

const LEN: usize = 64;
/// Steps of a long run, and of a submission.
const STEPS: usize = 100_000;
const BLOCK: usize = 20;

fn recipe() -> Recipe {
    Recipe::new(Adam { lr: 1e-3, ..Default::default() }).clip_norm(1.0)
}

/// Resident memory of this process in bytes. A system that does not tell it is a failure: the tests here would prove nothing.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc/self/statm tells the memory of this process");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    // Linux counts pages; 4 KiB is the smallest that there is.
    4096 * pages.unwrap_or_else(|| panic!("/proc/self/statm has no second number: {statm}"))
}

/// Takes 10⁵ steps; after the first 10⁴, memory must not grow by more than 1 MiB.
fn run(what: &str, mut step: impl FnMut(usize) -> Result<()>) -> Result<()> {
    (0..STEPS / 10).try_for_each(&mut step)?;
    let before = resident();
    (STEPS / 10..STEPS).try_for_each(&mut step)?;
    let grown = resident().saturating_sub(before);
    assert!(grown <= 1 << 20, "{what}: {STEPS} steps took {} KiB", grown >> 10);
    Ok(())
}

/// Lets a device make more encoders than a run has under way at a time. wgpu keeps encoders for later, as many as were ever under way
/// at once, which is more on a device that is busy; from here on their number stays.
fn make_encoders(gpu: &Gpu) {
    let encoders: Vec<_> = (0..SLOTS).map(|_| gpu.device().create_command_encoder(&Default::default())).collect();
    drop(encoders);
}

/// What a device holds once it has nothing to do.
fn held(gpu: &Gpu) -> String {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device");
    format!("{:#?}", gpu.device().get_internal_counters().hal)
}

#[test]
fn counters_count() {
    let gpu = engines::open(GpuOptions::default());
    let before = held(&gpu);
    let usage = wgpu::BufferUsages::STORAGE;
    let buffer = wgpu::BufferDescriptor { label: None, size: 64, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&buffer);
    assert_ne!(held(&gpu), before);
    drop(buffer);
    assert_eq!(held(&gpu), before);
}

#[track_caller]
fn assert_moved(params: &[f32]) {
    assert!(params.iter().all(|x| x.is_finite() && *x != 0.0), "{params:?}");
}

#[test]
fn memory_stays_flat_on_the_cpu() -> Result<()> {
    let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe(), &[("w", &[LEN])])?;
    optimizer.telemetry_every(100);
    let grads = numbers(1, LEN);
    run("CPU", |_| {
        optimizer.set_grads(0, "w", &grads)?;
        optimizer.step()
    })?;
    assert_moved(&optimizer.params(0, "w")?);
    assert_eq!(optimizer.report(0)?.applied as usize, STEPS);
    Ok(())
}

/// In blocks, as a device is used that has no host work between its steps.
#[test]
fn memory_stays_flat_on_the_gpu() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let mut optimizer = Optimizer::new(&gpu, recipe(), &[("w", &[LEN])])?;
    optimizer.telemetry_every(100);
    optimizer.set_grads(0, "w", &numbers(1, LEN))?;
    make_encoders(&gpu);
    let mut before = String::new();
    run("GPU", |step| {
        if step == STEPS / 10 {
            before = held(&gpu);
        }
        if step % BLOCK == 0 { optimizer.steps(BLOCK) } else { Ok(()) }
    })?;
    assert_eq!(held(&gpu), before);
    assert_moved(&optimizer.params(0, "w")?);
    assert_eq!(optimizer.report(0)?.applied as usize, STEPS);
    assert!(optimizer.poll()?.len() >= 200, "telemetry came all the while");
    Ok(())
}

/// Several steps per submission, as a host that accumulates its own commands.
#[test]
fn memory_stays_flat_with_steps_in_the_hosts_encoder() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 8 * LEN as u64, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let slice = |offset| Slice { buffer: buffer.clone(), offset, len: LEN };
    let tensor = SliceTensor { name: "w".into(), shape: vec![LEN], params: slice(0), grads: slice(4 * LEN as u64) };
    let mut optimizer = Optimizer::over_slices(&gpu, recipe(), &[tensor])?;
    optimizer.telemetry_every(100);
    optimizer.set_grads(0, "w", &numbers(1, LEN))?;
    make_encoders(&gpu);
    let mut before = String::new();
    run("encoder", |step| {
        if step == STEPS / 10 {
            before = held(&gpu);
        }
        if step % BLOCK == 0 {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            (0..BLOCK).try_for_each(|_| optimizer.encode_step(&mut encoder))?;
            gpu.queue().submit([encoder.finish()]);
        }
        Ok(())
    })?;
    assert_eq!(held(&gpu), before);
    assert_moved(&optimizer.params(0, "w")?);
    assert_eq!(optimizer.report(0)?.applied as usize, STEPS);
    Ok(())
}

/// An engine whose programs count what waits for the device.
struct Counting<E>(E);

struct CountingProgram<P> {
    inner: P,
    waits: usize,
    requests: usize,
}

impl<E: Engine> Engine for Counting<E> {
    type Float = E::Float;
    type Program = CountingProgram<E::Program>;

    fn load(&self, blueprint: &Blueprint) -> Result<Self::Program> {
        Ok(CountingProgram { inner: self.0.load(blueprint)?, waits: 0, requests: 0 })
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl<P: Program> Program for CountingProgram<P> {
    type Float = P::Float;

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        self.inner.repeat(plans, times)
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[P::Float]) -> Result<()> {
        self.inner.write(buffer, lane, offset, values)
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        self.inner.write_indices(buffer, lane, offset, values)
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<P::Float>> {
        self.waits += 1;
        self.inner.read(buffer, lane)
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<P::Float>> {
        self.waits += 1;
        self.inner.read_range(buffer, lane, range)
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.waits += 1;
        self.inner.read_indices(buffer, lane)
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.inner.read_halves(buffer, lane)
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        self.inner.write_halves(buffer, lane, offset, values)
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<P::Float>>> {
        self.waits += 1;
        self.inner.read_all(buffers)
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        self.requests += 1;
        self.inner.request(tag, buffers)
    }

    fn arrived(&mut self) -> Result<Option<&Answer<P::Float>>> {
        self.inner.arrived()
    }

    fn settle(&mut self) -> Result<()> {
        self.waits += 1;
        self.inner.settle()
    }
}

/// Waits and requests of 1,000 steps with telemetry every so many; `idle` lets the device catch up, as it does where steps take
/// less time than what lies between them.
fn count<E: Engine>(engine: E, every: u64, mut idle: impl FnMut(&E::Program) -> Result<()>) -> Result<(usize, usize)> {
    let rule = with("adam", "lr=0.01");
    let mut model = Model::new(&Counting(engine), recipe(), &*rule, &[LEN]);
    model.optimizer.telemetry_every(every);
    for step in 0..1_000 {
        model.set_grads(0, &numbers(step, LEN));
        model.step();
        model.optimizer.poll()?;
        if step % 32 == 31 {
            idle(&model.optimizer.program().inner)?;
        }
    }
    let program = model.optimizer.program();
    Ok((program.waits, program.requests))
}

#[test]
fn steps_wait_for_nothing() -> Result<()> {
    for (every, requests) in [(0, 31), (1, 1_000), (10, 100 + 31 - 6)] {
        assert_eq!(count(Cpu::<f32>::default(), every, |_| Ok(()))?, (0, requests));
        assert_eq!(count(engines::open(GpuOptions::default()), every, |program| program.wait())?, (0, requests));
    }
    Ok(())
}

/// A device that is behind by a ring of rows has to be waited for; that happens once per ring at most, never per step.
#[test]
fn a_busy_device_is_waited_for_once_per_ring_at_most() -> Result<()> {
    let (waits, requests) = count(engines::open(GpuOptions::default()), 0, |_| Ok(()))?;
    assert!(waits <= 1_000 / 128, "{waits} waits");
    assert_eq!(requests, 31 + waits);
    Ok(())
}
