//! The time of a step on the host and on the CPU engine: `cargo bench`; the host's part alone: `cargo bench -- encode`.
//! Allocations are measured by tests/allocations.rs, and GPU against CPU by `thalweg bench`.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::time::Instant;
use thalweg::cpu::Cpu;
use thalweg::gpu::{BorrowedTensor, Gpu, GpuOptions, GpuProgram, Slice};
use thalweg::plan::{Engine, PlanId};
use thalweg::wgpu::{BufferDescriptor, BufferUsages};
use thalweg::{AdamW, Optimizer, Recipe};

/// An optimizer over `count` tensors of 64 elements.
fn optimizer<E: Engine>(engine: &E, count: usize) -> Optimizer<E::Program> {
    let names: Vec<String> = (0..count).map(|i| format!("tensor {i}")).collect();
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[64][..])).collect();
    Optimizer::new(engine, Recipe::new(AdamW::default()).clip_norm(1.0), &tensors).expect("default settings")
}

/// The same over slices of one buffer.
fn borrowing(gpu: &Gpu, count: usize) -> Optimizer<GpuProgram> {
    let size = 2 * 256 * count as u64;
    let descriptor = BufferDescriptor { label: None, size, usage: BufferUsages::STORAGE, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let slice = |i: usize| Slice { buffer: buffer.clone(), offset: 256 * i as u64, len: 64 };
    let tensor = |i| BorrowedTensor { name: format!("tensor {i}"), shape: vec![64], params: slice(i), grads: slice(count + i) };
    let tensors: Vec<BorrowedTensor> = (0..count).map(tensor).collect();
    Optimizer::borrowing(gpu, Recipe::new(AdamW::default()).clip_norm(1.0), &tensors).expect("default settings")
}

/// Clip and AdamW on the CPU engine.
fn cpu_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clip + adamw, CPU");
    for count in [3, 3_000, 65_536] {
        let mut optimizer = optimizer(&Cpu::<f32>::default(), count);
        group.throughput(Throughput::Elements(64 * count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| b.iter(|| optimizer.step().expect("a step")));
    }
    group.finish();
}

/// The host's time to record a GPU step: all that [`Optimizer::step`] does before its submission, except the rows, which are
/// written every 64 steps. It must not grow with the number of tensors. The goal is 25 µs.
fn gpu_encode(criterion: &mut Criterion) {
    let Ok(gpu) = Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() }) else {
        return eprintln!("no adapter: the encoding of GPU steps is not timed");
    };
    let mut group = criterion.benchmark_group("encode clip + adamw, GPU");
    for count in [1, 1_000, 20_000] {
        let optimizer = optimizer(&gpu, count);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                optimizer.program().encode(PlanId::FIRST, &mut encoder).expect("the step");
                encoder
            })
        });
    }
    group.finish();
}

/// How many steps are recorded in a row: the host runs ahead of the device, as in training. After every submission, a software
/// driver leaves the processor's caches cold, which a real device does not.
const AHEAD: usize = 16;

/// [`Optimizer::encode_step`] over slices of one buffer, with its check of the device, its requests and its rows, then
/// `finish`. What was recorded is submitted between the timings. A mean is taken, so that work which only one step of many does
/// counts too.
fn gpu_encode_step(criterion: &mut Criterion) {
    let Ok(gpu) = Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() }) else { return };
    let mut group = criterion.benchmark_group("encode_step clip + adamw, GPU");
    // On a software driver, the device's work between the timings takes long.
    group.sample_size(20).sampling_mode(SamplingMode::Flat);
    for count in [1, 1_000, 20_000] {
        let mut optimizer = borrowing(&gpu, count);
        let mut commands = Vec::with_capacity(AHEAD);
        let mut steps = || {
            // Wait for the device: if it shares the processor, its work would be timed too.
            optimizer.program().wait().expect("a device");
            let start = Instant::now();
            for _ in 0..AHEAD {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                optimizer.encode_step(&mut encoder).expect("a step");
                commands.push(encoder.finish());
            }
            let elapsed = start.elapsed();
            gpu.queue().submit(commands.drain(..));
            elapsed / AHEAD as u32
        };
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| steps()).sum())
        });
    }
    group.finish();
}

criterion_group!(benches, cpu_step, gpu_encode, gpu_encode_step);
criterion_main!(benches);
