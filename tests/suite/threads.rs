//! One device and many threads, each with its own optimizer: none is affected by the others.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::{gradient, numbers};
use crate::common::options::options;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::{Recipe, Report, Sgd};

/// Sizes differ from thread to thread, so that a mix-up is noticed.
fn len(thread: usize) -> usize {
    3_000 + 700 * thread
}

/// The run of a thread, with its own rule and gradients, and reads in between. Returns parameters, planes and the report.
fn run(gpu: &Gpu, thread: usize) -> (Vec<Vec<f32>>, Report) {
    let rules = options();
    let (_, rule) = &rules[2 * thread % rules.len()];
    let mut model = Model::new(gpu, Recipe::new(rule.clone()).clip_norm(1.0), &**rule, &[len(thread)]);
    model.set_params(0, &numbers(thread as u64, len(thread)));
    let mut arrays = Vec::new();
    for round in 0..20 {
        model.set_grads(0, &gradient(thread as u64, 1 + round % 7, len(thread)));
        model.steps(5);
        arrays.push(model.params(0));
    }
    arrays.extend(model.planes(0).into_iter().map(|(_, plane)| plane));
    (arrays, model.report(0))
}

#[test]
fn threads_that_share_a_device_get_what_each_gets_alone() {
    let gpu = engines::open(GpuOptions::default());
    let alone: Vec<_> = (0..8).map(|thread| run(&gpu, thread)).collect();
    // A new device, so that several threads also make pipelines at once.
    let shared = engines::open(GpuOptions::default());
    let start = std::sync::Barrier::new(8);
    let together: Vec<_> = std::thread::scope(|scope| {
        let spawn = |thread| {
            let (gpu, start) = (shared.clone(), &start);
            scope.spawn(move || {
                start.wait();
                run(&gpu, thread)
            })
        };
        let threads: Vec<_> = (0..8).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for (thread, ((found, report), (expected, expected_report))) in together.iter().zip(&alone).enumerate() {
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_same_bits(&format!("thread {thread}, array {i}"), found, expected);
        }
        assert_eq!(report, expected_report, "thread {thread}");
        assert_eq!(report.applied, 100);
    }
}

/// A poll by one thread may receive the answer for which another one waits, and pass it on a moment later.
#[test]
fn reads_of_many_threads_all_arrive() {
    let gpu = engines::open(GpuOptions::default());
    let read = &|thread: usize| {
        let rule = Sgd::default();
        let mut model = Model::new(&gpu, Recipe::new(rule.clone()), &rule, &[10]);
        for round in 0..300 {
            let expected = numbers((1000 * thread + round) as u64, 10);
            model.set_params(0, &expected);
            assert_same_bits(&format!("thread {thread}, read {round}"), &model.params(0), &expected);
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|thread| drop(scope.spawn(move || read(thread)))));
}
