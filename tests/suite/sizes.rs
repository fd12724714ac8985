//! Arenas and tensors larger than a binding have the results of the oracle in all elements.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::numbers::numbers;
use crate::common::oracle::EPSILON;
use thalweg::cpu::Cpu;
use thalweg::gpu::{BorrowedTensor, GpuOptions, Slice};
use thalweg::plan::Program;
use thalweg::{Optimizer, Real, Recipe, Result, Sgd, wgpu};

/// Numbers that repeat after an odd length, so that a misplaced element has another value.
fn pattern(seed: u64, len: usize) -> Vec<f32> {
    let numbers = numbers(seed, 65_521);
    (0..len).map(|i| numbers[i % numbers.len()]).collect()
}

fn recipe() -> Recipe {
    Recipe::new(Sgd { lr: 0.5, weight_decay: 0.01, ..Default::default() }).clip_norm(1_000.0)
}

/// One clipped step from these parameters.
fn step<P: Program>(optimizer: &mut Optimizer<P>, params: &[f32], grads: &[f32]) -> Result<(Vec<P::Float>, f64)> {
    let floats = |values: &[f32]| values.iter().map(|&x| P::Float::of(f64::from(x))).collect::<Vec<_>>();
    optimizer.set_params("w", &floats(params))?;
    optimizer.set_grads("w", &floats(grads))?;
    optimizer.step()?;
    let report = optimizer.report()?;
    assert_eq!((report.applied, report.clipped), (1, 1));
    Ok((optimizer.params("w")?, report.norm))
}

/// Compares with the oracle. The coefficient has the error of a sum of so many squares, and the parameter is rounded twice.
fn check<P: Program<Float = f32>>(what: &str, optimizer: &mut Optimizer<P>, len: usize) -> Result<Vec<f32>> {
    let (params, grads) = (pattern(1, len), pattern(2, len));
    let mut oracle = Optimizer::new(&Cpu::<f64>::default(), recipe(), &[("w", &[len])])?;
    let (expected, norm) = step(&mut oracle, &params, &grads)?;
    drop(oracle);
    let (found, found_norm) = step(optimizer, &params, &grads)?;
    assert_close(what, &[found_norm], &[norm], |_| 16.0 * EPSILON * norm);
    let movement = |i: usize| (expected[i] - f64::from(params[i])).abs();
    assert_close(what, &found, &expected, |i| EPSILON * (2.0 * expected[i].abs() + 32.0 * movement(i)));
    Ok(found)
}

/// 300 MiB per role where a binding has 128.
#[test]
fn an_arena_of_several_segments_equals_the_oracle() -> Result<()> {
    let gpu = engines::open(GpuOptions { default_limits: true, ..Default::default() });
    let len = 75 << 20;
    let mut optimizer = Optimizer::new(&gpu, recipe(), &[("w", &[len])])?;
    for buffer in [optimizer.params_buffer(), optimizer.grads_buffer()] {
        assert_eq!(optimizer.program().buffers(buffer).count(), 3);
    }
    check("300 MiB", &mut optimizer, len).map(drop)
}

/// 160 MiB in one buffer of the program. Where nothing is summed, the bits of the f32 engines agree; here they are compared
/// with the oracle, and slices with an arena.
#[test]
fn a_foreign_tensor_larger_than_a_binding_equals_the_oracle() -> Result<()> {
    let gpu = engines::open(GpuOptions { default_limits: true, ..Default::default() });
    let len = 40 << 20;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 4 * len as u64, usage, mapped_at_creation: false };
    let slice = || Slice { buffer: gpu.device().create_buffer(&descriptor), offset: 0, len };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![len], params: slice(), grads: slice() };
    let slices = check("slices", &mut Optimizer::borrowing(&gpu, recipe(), &[tensor])?, len)?;
    let mut owned = Optimizer::new(&gpu, recipe(), &[("w", &[len])])?;
    let (owned, _) = step(&mut owned, &pattern(1, len), &pattern(2, len))?;
    assert_same_bits("slices and an arena", &slices, &owned);
    Ok(())
}
