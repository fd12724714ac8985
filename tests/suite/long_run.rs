//! Many steps: memory stays as it is. On Linux only, which tells a process its memory.

use crate::common::engines;
use crate::common::numbers::numbers;
use thalweg::cpu::Cpu;
use thalweg::gpu::{BorrowedTensor, Gpu, GpuOptions, Slice};
use thalweg::plan::SLOTS;
use thalweg::{Adam, Optimizer, Recipe, Result, wgpu};

const LEN: usize = 64;
/// Steps of a long run, and of a submission.
const STEPS: usize = 100_000;
const BLOCK: usize = 20;

fn recipe() -> Recipe {
    Recipe::new(Adam { lr: 1e-3, ..Default::default() }).clip_norm(1.0)
}

/// Resident memory of this process in KiB. A system that does not tell it is a failure: the tests here would prove nothing.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status tells the memory of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    line.and_then(|size| size.trim().parse().ok()).unwrap_or_else(|| panic!("/proc/self/status has no VmRSS: {status}"))
}

/// Takes 10⁵ steps. After the first 10⁴ memory must not grow with their number: not by more than 512 KiB in each half of them, 11
/// bytes per step. In one half it may grow by more: what was ever in use at once is kept by drivers, and a device that falls behind
/// needs more of it, once.
fn run(what: &str, mut step: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let (first, half) = (STEPS / 10, STEPS * 11 / 20);
    (0..first).try_for_each(&mut step)?;
    let mut grown = Vec::new();
    for mut half in [first..half, half..STEPS] {
        let before = resident();
        half.try_for_each(&mut step)?;
        grown.push(resident().saturating_sub(before));
    }
    assert!(grown.iter().any(|grown| *grown <= 512), "{what}: {STEPS} steps took {grown:?} KiB, one half after the other");
    Ok(())
}

/// Lets a device make more encoders than a run uses at a time. wgpu keeps as many encoders for later as were ever in use at
/// once, which are more on a busy device. From here on their number stays the same.
fn make_encoders(gpu: &Gpu) {
    let encoders: Vec<_> = (0..SLOTS).map(|_| gpu.device().create_command_encoder(&Default::default())).collect();
    drop(encoders);
}

/// What a device holds when it is idle.
fn held(gpu: &Gpu) -> String {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device");
    format!("{:#?}", gpu.device().get_internal_counters().hal)
}

#[test]
fn the_counters_of_a_device_count() {
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
        optimizer.set_grads("w", &grads)?;
        optimizer.step()
    })?;
    assert_moved(&optimizer.params("w")?);
    assert_eq!(optimizer.report()?.applied as usize, STEPS);
    Ok(())
}

/// In blocks of steps, without work of the host between them.
#[test]
fn memory_stays_flat_on_the_gpu() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let mut optimizer = Optimizer::new(&gpu, recipe(), &[("w", &[LEN])])?;
    optimizer.telemetry_every(100);
    optimizer.set_grads("w", &numbers(1, LEN))?;
    make_encoders(&gpu);
    let mut before = String::new();
    run("GPU", |step| {
        if step == STEPS / 10 {
            before = held(&gpu);
        }
        if step % BLOCK == 0 { optimizer.steps(BLOCK) } else { Ok(()) }
    })?;
    assert_eq!(held(&gpu), before);
    assert_moved(&optimizer.params("w")?);
    assert_eq!(optimizer.report()?.applied as usize, STEPS);
    assert!(optimizer.poll()?.len() >= 200, "telemetry came all the while");
    Ok(())
}

/// Several steps per submission, as in a program that collects commands.
#[test]
fn memory_stays_flat_with_steps_in_the_hosts_encoder() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 8 * LEN as u64, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let slice = |offset| Slice { buffer: buffer.clone(), offset, len: LEN };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![LEN], params: slice(0), grads: slice(4 * LEN as u64) };
    let mut optimizer = Optimizer::borrowing(&gpu, recipe(), &[tensor])?;
    optimizer.telemetry_every(100);
    optimizer.set_grads("w", &numbers(1, LEN))?;
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
    assert_moved(&optimizer.params("w")?);
    assert_eq!(optimizer.report()?.applied as usize, STEPS);
    Ok(())
}
