//! The CPU engine has the same bits with any number of threads: parts that threads take end in the middle of tensors.

use crate::common::compare::assert_same_bits;
use crate::common::numbers::numbers;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::plan::Arena;
use thalweg::{Adafactor, Adam, Average, Lamb, Lars, Muon, Optimizer, Recipe};

/// Shapes and groups. A part has 32,768 elements.
const TENSORS: [(&[usize], usize); 7] =
    [(&[20_000], 0), (&[0], 1), (&[150, 201], 1), (&[7], 0), (&[70_000], 1), (&[128, 128], 0), (&[3], 1)];

/// Parameters after three steps in a pool of so many threads.
fn run(recipe: &Recipe, groups: usize, threads: usize) -> Vec<Vec<f32>> {
    let mut arena = Arena::default();
    for (i, (shape, group)) in TENSORS.iter().enumerate() {
        arena.add(&i.to_string(), shape, group % groups).expect("every number once");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        let mut optimizer: Optimizer<CpuProgram<f32>> =
            Optimizer::over(&Cpu::default(), recipe.clone(), arena).expect("an optimizer");
        let lens = TENSORS.iter().map(|(shape, _)| shape.iter().product::<usize>()).enumerate();
        for (i, len) in lens.clone() {
            optimizer.set_params(0, &i.to_string(), &numbers(i as u64, len)).expect("parameters");
        }
        for t in 1..=3 {
            for (i, len) in lens.clone() {
                optimizer.set_grads(0, &i.to_string(), &numbers(100 * t + i as u64, len)).expect("gradients");
            }
            optimizer.step().expect("a step");
        }
        lens.map(|(i, _)| optimizer.params(0, &i.to_string()).expect("parameters")).collect()
    })
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let adams = [0.1, 0.01].map(|lr| Adam { lr, ..Default::default() });
    let lars = [0.1, 0.01].map(|lr| Lars { lr, momentum: 0.9, ..Default::default() });
    for (what, recipe, groups) in [
        ("groups", Recipe::groups(adams.clone()).clip_norm(1.0), 2),
        ("groups and an average", Recipe::groups(adams).average(Average::Ema { decay: 0.9 }), 2),
        ("LARS", Recipe::groups(lars).clip_norm(1.0), 2),
        ("LAMB", Recipe::new(Lamb::default()), 1),
        ("Adafactor", Recipe::new(Adafactor::default()), 1),
        ("Muon", Recipe::new(Muon::default()), 1),
    ] {
        let alone = run(&recipe, groups, 1);
        for threads in [2, 5] {
            for (i, (found, expected)) in run(&recipe, groups, threads).iter().zip(&alone).enumerate() {
                if !expected.is_empty() {
                    assert_same_bits(&format!("{what}, {threads} threads, tensor {i}"), found, expected);
                }
            }
        }
    }
}
