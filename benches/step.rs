//! What a step costs the host and the CPU engine: `cargo bench`. GPU against CPU is `thalweg bench`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::Engine;
use thalweg::{AdamW, Optimizer, Recipe};

/// An optimizer over `count` tensors of 64 elements.
fn optimizer<E: Engine>(engine: &E, count: usize) -> Optimizer<E::Program> {
    let names: Vec<String> = (0..count).map(|i| format!("tensor {i}")).collect();
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[64][..])).collect();
    Optimizer::new(engine, Recipe::new(AdamW::default()).clip_norm(1.0), &tensors).expect("default settings")
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

/// The host's time to encode a GPU step; it must not grow with the number of tensors.
fn gpu_encode(criterion: &mut Criterion) {
    let Ok(gpu) = Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() }) else {
        return eprintln!("no adapter: the encoding of GPU steps is not timed");
    };
    let mut group = criterion.benchmark_group("encode clip + adamw, GPU");
    for count in [3, 1_000, 3_000] {
        let optimizer = optimizer(&gpu, count);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                optimizer.program().encode(0, &mut encoder);
                encoder
            })
        });
    }
    group.finish();
}

criterion_group!(benches, cpu_step, gpu_encode);
criterion_main!(benches);
