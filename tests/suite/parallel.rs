//! The CPU engine has the same bits with any number of threads: parts that threads take end in the middle of tensors.

use crate::common::compare::assert_same_bits;
use crate::common::groups::grouped_by;
use crate::common::numbers::numbers;
use rayon::prelude::*;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::plan::{Arena, Program};
use thalweg::{Adafactor, Adam, Average, Lamb, Lars, Muon, Optimizer, Recipe, Select};

/// Shapes and groups. A part has 32,768 elements.
const TENSORS: [(&[usize], usize); 7] =
    [(&[20_000], 0), (&[0], 1), (&[150, 201], 1), (&[7], 0), (&[70_000], 1), (&[128, 128], 0), (&[3], 1)];

/// The parameters after three steps on `threads` threads.
fn run(recipe: &Recipe, threads: usize) -> Vec<Vec<f32>> {
    let mut arena = Arena::default();
    for (i, (shape, _)) in TENSORS.iter().enumerate() {
        arena.add(&i.to_string(), shape).expect("every number once");
    }
    let mut optimizer: Optimizer<CpuProgram<f32>> =
        Optimizer::over(&Cpu::with_threads(threads), recipe.clone(), arena).expect("an optimizer");
    let lens = TENSORS.iter().map(|(shape, _)| shape.iter().product::<usize>()).enumerate();
    for (i, len) in lens.clone() {
        optimizer.set_params(&i.to_string(), &numbers(i as u64, len)).expect("parameters");
    }
    for t in 1..=3 {
        for (i, len) in lens.clone() {
            optimizer.set_grads(&i.to_string(), &numbers(100 * t + i as u64, len)).expect("gradients");
        }
        optimizer.step().expect("a step");
    }
    lens.map(|(i, _)| optimizer.params(&i.to_string()).expect("parameters")).collect()
}

/// Arrays that are cut into parts for threads to copy, and shorter ones, from any place on.
#[test]
fn threads_copy_what_is_written_and_read() {
    const PART: usize = 1 << 19;
    let len = 3 * PART + 11;
    for (threads, offset, count) in [(1, 0, len), (3, 0, len), (3, 5, 2 * PART + 3), (2, len - PART, PART), (2, 1, 2)] {
        let engine = Cpu::<f32>::with_threads(threads);
        let recipe = Recipe::new(Adam::default());
        let mut optimizer = Optimizer::new(&engine, recipe, &[("w", &[len])]).expect("an optimizer");
        let (params, padded, values) = (optimizer.params_buffer(), optimizer.arena().len(), numbers(7, count));
        let program = optimizer.program_mut();
        program.write(params, 0, offset, &values).expect("room");
        let mut expected = vec![0.0; padded];
        expected[offset..][..count].copy_from_slice(&values);
        assert_same_bits("written", &program.read(params, 0).expect("floats"), &expected);
        let mut found = vec![f32::NAN; count];
        program.read_to(params, 0, offset, &mut found).expect("floats");
        assert_same_bits("read", &found, &values);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let adams = [0.1, 0.01].map(|lr| Adam { lr, ..Default::default() });
    let lars = [0.1, 0.01].map(|lr| Lars { lr, momentum: 0.9, ..Default::default() });
    let groups = |name: &str| TENSORS[name.parse::<usize>().expect("a number")].1;
    for (what, recipe) in [
        ("groups", grouped_by(adams.clone(), groups).clip_norm(1.0)),
        ("groups and an average", grouped_by(adams, groups).average(Average::Ema { decay: 0.9 })),
        ("LARS", grouped_by(lars, groups).clip_norm(1.0)),
        ("LAMB", Recipe::new(Lamb::default())),
        ("Adafactor", Recipe::new(Adafactor::default())),
        ("Muon", Recipe::new(Muon::default()).group_of("vectors", Select::Below(2), Adam::default())),
    ] {
        let alone = run(&recipe, 1);
        for threads in [2, 5] {
            for (i, (found, expected)) in run(&recipe, threads).iter().zip(&alone).enumerate() {
                if !expected.is_empty() {
                    assert_same_bits(&format!("{what}, {threads} threads, tensor {i}"), found, expected);
                }
            }
        }
    }
}

/// Elements that several threads share.
const LONG: usize = 150_000;

fn long(recipe: Recipe, threads: usize) -> Optimizer<CpuProgram<f32>> {
    let tensors: [(&str, &[usize]); 2] = [("vector", &[LONG]), ("matrix", &[300, 200])];
    let mut optimizer = Optimizer::new(&Cpu::with_threads(threads), recipe, &tensors).expect("an optimizer");
    for (name, len) in [("vector", LONG), ("matrix", 300 * 200)] {
        optimizer.set_grads(name, &numbers(1, len)).expect("gradients");
    }
    optimizer
}

/// Recipes that divide norms and updates, sums over rows and columns, and products of matrices among threads.
fn recipes() -> [(&'static str, Recipe); 3] {
    [
        ("Adam", Recipe::new(Adam::default()).clip_norm(1.0)),
        ("Adafactor", Recipe::new(Adafactor::default())),
        ("Muon", Recipe::new(Adam::default()).group("matrices", |tensor| tensor.shape.len() == 2, Muon::default())),
    ]
}

/// Fails if `f` does not end, instead of waiting for ever.
#[track_caller]
fn ends<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(body()));
    receiver.recv_timeout(Duration::from_secs(120)).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Steps from tasks of a parallel iterator, each behind a lock: a thread that waited inside the iterator's pool for the end of
/// its step would take the next of these tasks, which wants the lock that it holds.
#[test]
fn steps_behind_a_lock_in_a_parallel_iterator_end() {
    for ((what, recipe), threads) in recipes().into_iter().flat_map(|case| [(case.clone(), 4), (case, 8)]) {
        let mut expected = long(recipe.clone(), 1);
        expected.steps(64).expect("steps");
        let found = ends(&format!("{what}, {threads} threads"), move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let optimizer = Mutex::new(long(recipe, threads));
            pool.install(|| {
                (0..64).into_par_iter().for_each(|_| optimizer.lock().expect("a lock").step().expect("a step"));
            });
            optimizer.into_inner().expect("a lock").params("matrix").expect("parameters")
        });
        assert_same_bits(what, &found, &expected.params("matrix").expect("parameters"));
    }
}

/// A caller inside a pool whose other threads all wait for it, in joins within joins.
#[test]
fn a_step_needs_no_thread_of_the_callers_pool() {
    ends("joins", || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let optimizer = Mutex::new(long(recipes()[0].1.clone(), 4));
        let step = || optimizer.lock().expect("a lock").step().expect("a step");
        for _ in 0..20 {
            pool.install(|| rayon::join(|| rayon::join(step, step), || rayon::join(step, || pool.install(step))));
        }
        assert_eq!(optimizer.into_inner().expect("a lock").report().expect("a report").applied, 80);
    });
}

/// More callers than threads, each with a lane of its own or with several.
#[test]
fn many_optimizers_step_at_once() {
    let run = |seed: usize, threads: usize| {
        let lanes = 1 + seed % 3;
        let recipe = Recipe::population((0..lanes).map(|lane| Adam { lr: 0.01 * (1 + lane) as f64, ..Default::default() }));
        let mut optimizer =
            Optimizer::new(&Cpu::<f32>::with_threads(threads), recipe.clip_norm(1.0), &[("x", &[70_000])]).expect("one");
        for lane in 0..lanes {
            optimizer.lane(lane).expect("a lane").set_grads("x", &numbers((seed + lane) as u64, 70_000)).expect("gradients");
        }
        optimizer.steps(5).expect("steps");
        optimizer.lane(lanes - 1).expect("a lane").params("x").expect("parameters")
    };
    let found = ends("64 optimizers", move || {
        let threads: Vec<_> = (0..64).map(|seed| thread::spawn(move || run(seed, 4))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    for seed in [0, 1, 2, 63] {
        assert_same_bits(&format!("optimizer {seed}"), &found[seed], &run(seed, 1));
    }
}
