//! The training examples: a step takes as many dispatches on the GPU as the header says, whatever the number of lanes, and what
//! they read from files is learned.

#![expect(
    dead_code,
    clippy::duplicate_mod,
    reason = "examples have a main function of their own, and each reads its tables by itself"
)]

#[path = "../../examples/adaptive_rates.rs"]
mod adaptive_rates;
#[path = "../../examples/batch_norm.rs"]
mod batch_norm;
#[path = "../../examples/char_transformer.rs"]
mod char_transformer;
#[path = "../../examples/cnn_digits.rs"]
mod cnn_digits;
#[path = "../../examples/cnn_mnist.rs"]
mod cnn_mnist;
#[path = "../../examples/custom_layer.rs"]
mod custom_layer;
#[path = "../../examples/grid_search.rs"]
mod grid_search;
#[path = "../../examples/linear_regression.rs"]
mod linear_regression;
#[path = "../../examples/mlp_digits.rs"]
mod mlp_digits;
#[path = "../../examples/outside_sampler.rs"]
mod outside_sampler;
#[path = "../../examples/population_training.rs"]
mod population_training;
#[path = "../../examples/regularisation.rs"]
mod regularisation;
#[path = "../../examples/rnn_clipping.rs"]
mod rnn_clipping;
#[path = "../../examples/schedules_compared.rs"]
mod schedules_compared;
#[path = "../../examples/series.rs"]
mod series;

use crate::common::engines;
use crate::data::{gzip, idx_file};
use thalweg::cpu::Cpu;
use thalweg::data::digits;
use thalweg::gpu::{GpuOptions, GpuProgram};
use thalweg::plan::PlanId;
use thalweg::{Optimizer, Recipe, Sgd, Trainer};

type Trained = anyhow::Result<Trainer<GpuProgram>>;

fn dispatches(optimizer: &Optimizer<GpuProgram>, plans: &[PlanId]) -> usize {
    plans.iter().map(|&plan| optimizer.program().dispatches(plan)).sum()
}

fn of(trainer: &Trainer<GpuProgram>) -> usize {
    dispatches(trainer.optimizer(), trainer.step_plans())
}

/// Seeds of lanes that share their rows, and of lanes that do not, beside one lane.
const SEEDS: [&[u64]; 3] = [&[1], &[1, 1], &[1, 2, 3]];

/// What the headers of examples do not say of these counts, each of some lanes.
#[derive(Default)]
struct Unsaid(Vec<String>);

impl Unsaid {
    fn check(&mut self, example: &str, counts: impl IntoIterator<Item = anyhow::Result<usize>>) -> anyhow::Result<()> {
        let counts = counts.into_iter().collect::<anyhow::Result<Vec<usize>>>()?;
        assert!(counts.len() > 1 && counts.iter().all(|count| *count == counts[0]), "{example}: {counts:?}");
        let text = std::fs::read_to_string(format!("{}/../examples/{example}.rs", env!("CARGO_MANIFEST_DIR")))?;
        let header: String = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let said = format!(" {} dispatches", counts[0]);
        if !header.contains(&said) {
            self.0.push(format!("{example} takes{said} per step"));
        }
        Ok(())
    }

    /// Of a trainer for each list of seeds.
    fn of_seeds(&mut self, example: &str, trainer: impl Fn(&[u64]) -> Trained) -> anyhow::Result<()> {
        self.check(example, SEEDS.iter().map(|seeds| trainer(seeds).map(|trainer| of(&trainer))))
    }
}

#[test]
fn a_step_of_an_example_takes_as_many_dispatches_as_it_says_whatever_the_lanes() -> anyhow::Result<()> {
    let (gpu, digits, mut unsaid) = (engines::open(GpuOptions::default()), digits(), Unsaid::default());
    let both = [&digits, &digits];
    unsaid.of_seeds("batch_norm", |seeds| batch_norm::trainer(&gpu, both, true, seeds))?;
    unsaid.of_seeds("mlp_digits", |seeds| mlp_digits::trainer(&gpu, both, seeds))?;
    unsaid.of_seeds("cnn_digits", |seeds| cnn_digits::trainer(&gpu, both, &cnn_digits::model(8), seeds, 5))?;
    // The last lane has no augmentation.
    unsaid.of_seeds("cnn_mnist", |seeds| cnn_mnist::trainer(&gpu, both, 2, seeds, seeds.len() - 1))?;
    let letters: Vec<f32> = (0..400).map(|i| (i * i % 41) as f32).collect();
    let windows = char_transformer::windows(&letters, 5)?;
    unsaid.of_seeds("char_transformer", |seeds| char_transformer::trainer(&gpu, [&windows; 2], 41, seeds))?;
    let diabetes = linear_regression::diabetes()?;
    let sgd = || Recipe::new(Sgd { lr: 0.1, momentum: 0.9, ..Default::default() });
    unsaid.of_seeds("linear_regression", |seeds| linear_regression::trainer(&gpu, &diabetes, diabetes.rows(), sgd(), seeds))?;
    let months = series::windows(20..60)?;
    unsaid.of_seeds("series", |seeds| series::trainer(&gpu, &months, &series::lstm(), 1e-2, seeds))?;
    unsaid.of_seeds("regularisation", |seeds| regularisation::perceptron(&gpu, both, Some(0.5), seeds))?;
    let cancer = regularisation::cancer()?;
    unsaid.of_seeds("regularisation", |seeds| regularisation::penalised(&gpu, &cancer, sgd().l1(0.1), seeds))?;
    let schedule = |seed: &u64| schedules_compared::schedules(100)[*seed as usize].1.clone();
    unsaid.of_seeds("schedules_compared", |seeds| {
        schedules_compared::trainer(&gpu, &diabetes, seeds.iter().map(schedule).collect(), seeds)
    })?;
    for (_, rule) in adaptive_rates::rules() {
        unsaid.of_seeds("adaptive_rates", |seeds| adaptive_rates::trainer(&gpu, both, &*rule, seeds))?;
    }
    let bounds: [&[f64]; 2] = [&[1.0], &[1.0, 2.0, 3.0]];
    unsaid
        .check("rnn_clipping", bounds.map(|bounds| rnn_clipping::trainer(&gpu, &digits, bounds).map(|trainer| of(&trainer))))?;
    let grid = thalweg::sweep::Grid::new(&grid_search::space()?, 2)?;
    let points = [&grid.points()[..1], grid.points()];
    unsaid.check("grid_search", points.map(|points| grid_search::trainer(&gpu, both, points).map(|trainer| of(&trainer))))?;
    let members = |count| population_training::trainer(&gpu, both, &population_training::points(count)?);
    unsaid.check("population_training", [1, 3].map(|count| members(count).map(|trainer| of(&trainer))))?;
    let rules = |count| outside_sampler::trainer(&gpu, both, vec![Sgd::default(); count]);
    unsaid.check("outside_sampler", [1, 3].map(|count| rules(count).map(|trainer| of(&trainer))))?;
    let fitted = |lanes| custom_layer::Fit::new(&gpu, lanes, 40).map(|fit| dispatches(&fit.optimizer, &fit.plans));
    unsaid.check("custom_layer", [1, 3].map(fitted))?;
    assert!(unsaid.0.is_empty(), "the headers do not say: {:#?}", unsaid.0);
    Ok(())
}

/// The four files of MNIST, with images of 28 × 28: ten classes, of which each has a bright square at a place of its own, over
/// noise.
fn write_images(folder: &std::path::Path, packed: bool) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::with_seed(6);
    for (part, rows) in [("train", 320), ("t10k", 60)] {
        let labels: Vec<u8> = (0..rows).map(|row| (row % 10) as u8).collect();
        let mut pixels = Vec::new();
        for label in labels.iter().map(|&label| usize::from(label)) {
            let [top, left] = [label / 4 * 9, label % 4 * 7];
            let bright = |i: usize| (top..top + 7).contains(&(i / 28)) && (left..left + 7).contains(&(i % 28));
            pixels.extend((0..784).map(|i| random.u8(..120) + if bright(i) { 135 } else { 0 }));
        }
        let files =
            [("images-idx3-ubyte", idx_file(&[rows, 28, 28], &pixels)), ("labels-idx1-ubyte", idx_file(&[rows], &labels))];
        for (name, content) in files {
            let (content, end) = if packed { (gzip(&content)?, ".gz") } else { (content, "") };
            std::fs::write(folder.join(format!("{part}-{name}{end}")), content)?;
        }
    }
    Ok(())
}

#[test]
fn convolutions_of_examples_learn_images_of_28_by_28_from_idx_files() -> anyhow::Result<()> {
    let read = |packed| {
        let folder = tempfile::tempdir()?;
        write_images(folder.path(), packed)?;
        cnn_mnist::digits(folder.path().to_str())
    };
    let (train, test, epochs) = read(false)?;
    assert_eq!((train.rows(), test.rows(), &train.shape[..], epochs), (320, 60, &[28, 28][..], 25));
    assert!(train.features.iter().chain(&test.features).all(|x| (0.0..=1.0).contains(x)));
    assert_eq!(read(true)?, (train.clone(), test.clone(), epochs));
    let (both, cpu) = ([&train, &test], Cpu::<f32>::default());
    // The second lane has no augmentation.
    let augmented = cnn_mnist::trainer(&cpu, both, 5, &[1, 1], 1)?;
    let plain = cnn_digits::trainer(&cpu, both, &cnn_digits::model(28), &[1], 5)?;
    for (example, mut trainer) in [("cnn_mnist", augmented), ("cnn_digits", plain)] {
        for _ in 0..5 {
            trainer.whole_epoch()?;
        }
        for lane in trainer.evaluate()? {
            assert!(lane.accuracy.is_some_and(|accuracy| accuracy >= 0.95), "{example}: {lane:?}");
        }
    }
    Ok(())
}
