//! A population that does not fit says how many lanes do, before anything is made.

use crate::common::engines;
use thalweg::cpu::{Cpu, available_memory};
use thalweg::data::digits;
use thalweg::gpu::{Gpu, adapters};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::{Blueprint, Engine, Layout};
use thalweg::wgpu::{DeviceDescriptor, Limits};
use thalweg::{
    Accumulation, Adafactor, Adam, AdamW, Average, Batch, Error, Lamb, Muon, Optimizer, Recipe, Result, Sgd, Trainer,
};

/// Asks for `asked` lanes; returns how many fit. These then do fit, and one more does not.
fn fitting<T>(what: &str, asked: usize, load: impl Fn(usize) -> Result<T>) -> usize {
    let refused = |lanes: usize| match load(lanes) {
        Err(Error::Lanes { asked, fit, .. }) if asked == lanes => fit,
        Err(error) => panic!("{what}, {lanes} lanes: {error}"),
        Ok(_) => panic!("{what}: {lanes} lanes fit"),
    };
    let fit = refused(asked);
    assert_eq!(refused(fit + 1), fit, "{what}");
    load(fit).map_or_else(|error| panic!("{what}, {fit} lanes: {error}"), drop);
    fit
}

fn optimizer<E: Engine>(engine: &E, recipe: &Recipe, lanes: usize) -> Result<Optimizer<E::Program>> {
    Optimizer::new(engine, recipe.clone().repeated(lanes), &[("w", &[256, 128]), ("b of group 1", &[128])])
}

fn trainer<E: Engine>(engine: &E, lanes: usize) -> Result<Trainer<E::Program>> {
    let (model, data) = (Sequential::perceptron(64, &[256], 10, Nonlinearity::Relu), digits());
    let recipe = Recipe::new(Adam::default()).clip_norm(1.0);
    let seeds: Vec<u64> = (0..lanes as u64).collect();
    let batch = Batch { rows: 64, drop_last: true };
    Trainer::builder(&model, recipe).train(&data).validation(&data).batch(batch).seeds(&seeds).build(engine)
}

fn recipes() -> [(&'static str, Recipe); 5] {
    let muon = Recipe::new(Muon::default()).group("others", |tensor| tensor.shape.len() < 2, Sgd::default());
    [
        ("AdamW", Recipe::new(AdamW::default()).clip_norm(1.0)),
        ("LAMB", Recipe::new(Lamb::default()).average(Average::Ema { decay: 0.9 })),
        ("Adafactor", Recipe::new(Adafactor::default()).inspect()),
        ("Muon", muon),
        ("micro-batches", Recipe::new(Adam::default()).accumulate(Accumulation::default())),
    ]
}

/// A bound on memory holds for all buffers of a program together: that of parameters, gradients, planes, rows, data and
/// batches.
#[test]
fn a_population_beyond_its_memory_says_how_many_lanes_fit() {
    let bytes = 24 << 20;
    let (single, double) = (Cpu::<f32>::default().bounded(bytes), Cpu::<f64>::default().bounded(bytes));
    let gpu = engines::open(Default::default()).bounded(bytes);
    for (name, recipe) in recipes() {
        let on_cpu = fitting(name, 1000, |lanes| optimizer(&single, &recipe, lanes));
        assert_eq!(fitting(name, 1000, |lanes| optimizer(&gpu, &recipe, lanes)), on_cpu, "{name}");
        let in_double = fitting(name, 1000, |lanes| optimizer(&double, &recipe, lanes));
        // Half as many at least, rounded down.
        assert!(in_double < on_cpu && in_double >= on_cpu / 2, "{name}: {in_double} and {on_cpu}");
    }
    let on_cpu = fitting("a trainer", 200, |lanes| trainer(&single, lanes));
    assert_eq!(fitting("a trainer", 200, |lanes| trainer(&gpu, lanes)), on_cpu);
    // So many small lanes keep few rows ahead, those that fit keep more.
    let small = |lanes| Optimizer::new(&single, Recipe::new(Adam::default()).repeated(lanes), &[("w", &[10])]);
    assert!(fitting("small lanes", 9000, small) > 500);
    // Parameters, gradients, two planes, and the rows of 256 steps, each of 32 numbers; the tensors are 32,768 and 128 numbers.
    let lane = 4 * 4 * (32_768 + 128) + 4 * 256 * 32;
    let plain = fitting("Adam", 100, |lanes| optimizer(&single, &Recipe::new(Adam::default()), lanes));
    assert!((bytes as usize / (lane + 4096)..=bytes as usize / lane).contains(&plain), "{plain}");
}

/// What does not fit even for one lane is out of memory.
#[test]
fn a_lane_beyond_the_memory_is_out_of_memory() {
    let engine = Cpu::<f32>::default().bounded(100_000);
    for lanes in [1, 7] {
        let error = optimizer(&engine, &Recipe::new(Adam::default()), lanes).expect_err("more than 100 kB").to_string();
        assert!(error.starts_with("out of memory while making a lane and what lanes share, of "), "{error}");
    }
    let bounded = engines::open(Default::default()).bounded(100_000);
    assert!(matches!(optimizer(&bounded, &Recipe::new(Adam::default()), 2), Err(Error::OutOfMemory { .. })));
}

/// Without a bound a population may take what the system has, where it says so.
#[test]
fn more_lanes_than_the_machine_has_memory_for_are_refused_at_once() {
    let mut layout = Layout::new(1 << 40);
    layout.floats("x", 1 << 20);
    let error = Cpu::<f32>::default().load(&Blueprint::of(&layout, &[])).err();
    let Some(available) = available_memory() else { return };
    let Some(Error::Lanes { asked, fit, reason }) = error else { panic!("{error:?}") };
    assert_eq!(asked, 1 << 40);
    // Other programs take memory and give it back meanwhile.
    let about = available as f64 / f64::from(4 << 20);
    assert!((fit as f64 / about - 1.0).abs() < 0.5, "{fit} of about {about}: {reason}");
}

/// Most kernels want a buffer of all lanes in one piece, so that its size bounds the lanes. Arenas are cut, and bound nothing.
#[test]
fn a_population_beyond_a_binding_says_how_many_lanes_fit() {
    let adapter = adapters().into_iter().next().expect("an adapter");
    let limit = 1 << 20;
    let required_limits = Limits { max_storage_buffer_binding_size: limit, max_buffer_size: limit, ..Gpu::required_limits() };
    let descriptor = DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    let gpu = Gpu::from_wgpu(device, queue);
    for (name, recipe) in recipes() {
        // Rows of 256 steps, each of 32 numbers; matrices of Muon's are 128 KiB.
        let expected = if name == "Muon" { 8 } else { 32 };
        assert_eq!(fitting(name, 100, |lanes| optimizer(&gpu, &recipe, lanes)), expected, "{name}");
    }
    // 256 rows of 256 hidden numbers are evaluated together.
    assert_eq!(fitting("a trainer", 100, |lanes| trainer(&gpu, lanes)), 4);
}

/// Each lane is a workgroup in a dimension of a dispatch.
#[test]
fn a_population_beyond_a_dispatch_says_how_many_lanes_fit() {
    let gpu = engines::open(Default::default());
    let most = gpu.device().limits().max_compute_workgroups_per_dimension as usize;
    let load = |lanes| {
        let mut layout = Layout::new(lanes);
        layout.floats("x", 1);
        gpu.load(&Blueprint::of(&layout, &[]))
    };
    assert_eq!(fitting("lanes", most + 10, load), most);
}
