//! Averages, slow weights and 16-bit copies start as the parameters, and follow them even if a step is skipped.

use crate::common::engines;
use crate::common::groups::{GROUPS, grouped_by};
use thalweg::cpu::Cpu;
use thalweg::gpu::{BorrowedTensor, GpuOptions, Slice};
use thalweg::plan::{Arena, Engine, Half, Program};
use thalweg::{Average, Lookahead, Optimizer, Real, Recipe, Sgd, wgpu};

const AVERAGES: [Average; 3] =
    [Average::Ema { decay: 0.5 }, Average::Swa { start: 1, every: 1 }, Average::Swa { start: 3, every: 2 }];

fn sgd() -> Sgd {
    Sgd { lr: 1.0, ..Default::default() }
}

fn bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|&x| Half::F16.bits(x)).collect()
}

fn singles<F: Real>(values: Vec<F>) -> Vec<f32> {
    values.into_iter().map(|x| x.as_f64() as f32).collect()
}

fn write<P: Program>(optimizer: &mut Optimizer<P>, tensor: &str, params: &[f32], grads: &[f32]) {
    let of = |values: &[f32]| values.iter().map(|&x| P::Float::of(f64::from(x))).collect::<Vec<_>>();
    optimizer.set_params(tensor, &of(params)).expect("parameters");
    optimizer.set_grads(tensor, &of(grads)).expect("gradients");
}

fn frozen_groups<E: Engine>(engine: &E) {
    for average in AVERAGES {
        let mut arena = Arena::default();
        arena.add("a", &[2]).expect("a tensor");
        arena.add("b", &[2]).expect("a tensor");
        let recipe = grouped_by([sgd(), sgd()], |name| usize::from(name == "b")).average(average).half_copy(Half::F16);
        let mut optimizer = Optimizer::over(engine, recipe, arena).expect("an optimizer");
        write(&mut optimizer, "a", &[1.0, 2.0], &[0.5, 0.5]);
        write(&mut optimizer, "b", &[3.0, 4.0], &[0.5, 0.5]);
        assert_eq!(singles(optimizer.averaged("b").expect("an average")), [3.0, 4.0], "at the start");
        optimizer.freeze(GROUPS[1], true).expect("a group");
        optimizer.steps(2).expect("steps");
        assert_eq!(singles(optimizer.averaged("b").expect("an average")), [3.0, 4.0], "{}, {average:?}", engine.describe());
        // Parameters are set before the first step that counts.
        write(&mut optimizer, "b", &[5.0, 6.0], &[0.5, 0.5]);
        assert_eq!(singles(optimizer.averaged("b").expect("an average")), [5.0, 6.0], "{}, {average:?}", engine.describe());
        optimizer.step().expect("a step");
        assert_eq!(optimizer.half("b").expect("a copy"), bits(&[5.0, 6.0]));
        optimizer.freeze(GROUPS[1], false).expect("a group");
        optimizer.step().expect("a step");
        assert_eq!(singles(optimizer.averaged("b").expect("an average")), [4.5, 5.5], "{}, {average:?}", engine.describe());
    }
}

#[test]
fn a_frozen_group_has_its_average_and_copy() {
    frozen_groups(&Cpu::<f64>::default());
    frozen_groups(&engines::cpu());
    frozen_groups(&engines::gpu());
}

fn slow_weights<E: Engine>(engine: &E) {
    let recipe = Recipe::new(sgd()).lookahead(Lookahead { steps: 2, alpha: 0.5 });
    let mut optimizer = Optimizer::new(engine, recipe, &[("x", &[1])]).expect("an optimizer");
    write(&mut optimizer, "x", &[100.0], &[1.0]);
    optimizer.step().expect("a step");
    write(&mut optimizer, "x", &[8.0], &[1.0]);
    optimizer.step().expect("a step");
    // Half of the way from 8 to 7.
    assert_eq!(singles(optimizer.params("x").expect("parameters")), [7.5], "{}", engine.describe());
}

#[test]
fn slow_weights_follow_parameters_that_are_set() {
    slow_weights(&Cpu::<f64>::default());
    slow_weights(&engines::cpu());
    slow_weights(&engines::gpu());
}

#[test]
fn an_average_keeps_its_memory_when_parameters_are_set_in_mid_run() {
    for engine in [engines::cpu(), engines::gpu()] {
        let recipe = Recipe::new(sgd()).average(Average::Ema { decay: 0.5 });
        let mut optimizer = Optimizer::new(&engine, recipe, &[("x", &[1])]).expect("an optimizer");
        write(&mut optimizer, "x", &[2.0], &[1.0]);
        optimizer.step().expect("a step");
        write(&mut optimizer, "x", &[8.0], &[1.0]);
        assert_eq!(optimizer.averaged("x").expect("an average"), [1.0], "{}", engine.name);
        optimizer.step().expect("a step");
        assert_eq!(optimizer.averaged("x").expect("an average"), [4.0], "{}", engine.name);
    }
}

#[test]
fn a_skipped_first_step_over_lent_slices_leaves_average_and_copy_as_the_parameters() {
    for average in AVERAGES {
        let recipe = Recipe::new(sgd()).skip_bad().average(average).half_copy(Half::F16);
        let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[2])]).expect("an optimizer");
        let (mut x, mut g) = (vec![3.0, 4.0], vec![f32::NAN, 1.0]);
        optimizer.step_over(&mut [&mut x], &mut [&mut g]).expect("a step");
        assert_eq!(optimizer.averaged("x").expect("an average"), [3.0, 4.0], "{average:?}");
        assert_eq!(optimizer.half("x").expect("a copy"), bits(&[3.0, 4.0]));
    }
}

#[test]
fn a_skipped_first_step_over_slices_leaves_average_and_copy_as_the_parameters() {
    let gpu = engines::open(GpuOptions::default());
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = || {
        let descriptor = wgpu::BufferDescriptor { label: None, size: 512, usage, mapped_at_creation: false };
        Slice { buffer: gpu.device().create_buffer(&descriptor), offset: 4, len: 2 }
    };
    for average in AVERAGES {
        let (params, grads) = (buffer(), buffer());
        gpu.queue().write_buffer(&params.buffer, 4, bytemuck::cast_slice(&[3.0f32, 4.0]));
        gpu.queue().write_buffer(&grads.buffer, 4, bytemuck::cast_slice(&[f32::NAN, 1.0]));
        let tensor = BorrowedTensor { name: "x".into(), shape: vec![2], params, grads };
        let recipe = Recipe::new(sgd()).skip_bad().average(average).half_copy(Half::F16);
        let mut optimizer = Optimizer::borrowing(&gpu, recipe, &[tensor]).expect("an optimizer");
        for when in ["before", "after"] {
            assert_eq!(optimizer.averaged("x").expect("an average"), [3.0, 4.0], "{when}, {average:?}");
            assert_eq!(optimizer.half("x").expect("a copy"), bits(&[3.0, 4.0]), "{when}");
            optimizer.step().expect("a step");
        }
        assert_eq!(optimizer.averaged("x").expect("an average"), [3.0, 4.0], "{average:?}");
    }
}
