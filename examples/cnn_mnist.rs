//! Convolutional networks learn to read digits from few examples, and augmentation helps: each image is moved a little,
//! otherwise in every step, on the device. Lanes of one program have the same seeds with and without it. Pictures show what the
//! first convolution looks for, and the worst mistakes.
//!
//! `cargo run --release --example cnn_mnist -- [FOLDER] [PICTURE.svg]`: FOLDER has the four files of MNIST, of which the first
//! 2,000 images are learned; without one, 200 of the 1,797 digits of 8 × 8 pixels that the crate carries are learned, and the
//! others tested. Expected: the mean accuracy over three seeds is higher with augmentation than without, and at least 96.5 %
//! (97 % of MNIST). Augmentation needs few examples and many epochs: after 25 epochs on the small digits, or after 5 on 8,000
//! images of MNIST, it does not help yet.
//!
//! On the GPU for the small images a step takes 64 dispatches, however many lanes there are.

use anyhow::{Result, ensure};
use std::fmt::Write;
use std::path::Path;
use thalweg::cpu::Cpu;
use thalweg::data::{self, Dataset, Scaler};
use thalweg::nn::{
    Augment, BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Nonlinearity, Reshape, Sequential,
};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::{AdamW, Recipe, Trainer};

const SEEDS: [u64; 3] = [1, 2, 3];
const FILTERS: usize = 8;
const RATE: f64 = 4e-3;

/// Two convolutions, for images of `side` × `side` pixels; large ones are halved after the first, all after the second. For
/// large ones the second is wider, and a layer stands before the last.
fn model(side: usize, shift: f64) -> Sequential {
    let model = Sequential::new().then(Reshape(vec![1, side, side])).named("augment", Augment { shift, ..Augment::default() });
    let conv = Conv2d::new(1, FILTERS, [3, 3]).padded([1, 1]);
    let model = model.named("first", conv).named("norm", BatchNorm2d::new(FILTERS)).then(Nonlinearity::Relu);
    let large = side > 16;
    let (model, side) = if large { (model.then(MaxPool2d::new([2, 2])), side / 2) } else { (model, side) };
    let filters = if large { 32 } else { 16 };
    let conv = Conv2d::new(FILTERS, filters, [3, 3]).padded([1, 1]);
    let model = model.then(conv).then(BatchNorm2d::new(filters)).then(Nonlinearity::Relu);
    let model = model.then(MaxPool2d::new([2, 2])).then(Flatten).then(Dropout { p: 0.3 });
    let width = filters * (side / 2) * (side / 2);
    if large {
        return model
            .then(Linear::new(width, 128))
            .then(BatchNorm1d::new(128))
            .then(Nonlinearity::Relu)
            .then(Linear::new(128, 10));
    }
    model.then(Linear::new(width, 10))
}

/// Training and test part, scaled, and how long to train.
pub fn digits(folder: Option<&str>) -> Result<(Dataset, Dataset, usize)> {
    let (mut train, mut test, epochs) = match folder {
        Some(folder) => {
            let (train, test) = data::idx::read_directory(folder)?;
            let few: Vec<usize> = (0..train.rows().min(2000)).collect();
            (train.rows_at(&few)?, test, 25)
        }
        None => {
            let all = data::digits();
            let (test, train) = all.split(200.0 / all.rows() as f64, 1)?;
            (train, test, 80)
        }
    };
    let scale = Scaler::range(&train)?;
    scale.apply(&mut train)?;
    scale.apply(&mut test)?;
    Ok((train, test, epochs))
}

/// Lanes with these seeds; the first `moved` of them have augmentation.
pub fn trainer<E: Engine>(
    engine: &E,
    [train, test]: [&Dataset; 2],
    epochs: usize,
    seeds: &[u64],
    moved: usize,
) -> Result<Trainer<E::Program>> {
    let side = train.width.isqrt();
    let model = model(side, if side > 16 { 2.0 } else { 1.0 });
    let steps = epochs * train.rows().div_ceil(32);
    let recipe = Recipe::new(AdamW { lr: RATE, ..Default::default() }).schedule("lr", Cosine::new(RATE, steps as u64));
    let mut trainer = Trainer::builder(&model, recipe).train(train).validation(test).batch(32).seeds(seeds);
    for lane in moved..seeds.len() {
        trainer = trainer.buffer(lane, "augment.strength", &[0.0]);
    }
    Ok(trainer.build(engine)?)
}

/// A square of grey pixels from 0 to 1 at a place, in SVG.
fn square(svg: &mut String, [left, top]: [usize; 2], size: usize, pixels: &[f32]) -> Result<()> {
    let side = pixels.len().isqrt().max(1);
    let pixel = size as f64 / side as f64;
    for (i, grey) in pixels.iter().enumerate() {
        let (x, y) = (left as f64 + (i % side) as f64 * pixel, top as f64 + (i / side) as f64 * pixel);
        let grey = (255.0 * (1.0 - grey.clamp(0.0, 1.0))) as u8;
        writeln!(
            svg,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{pixel:.1}" height="{pixel:.1}" fill="rgb({grey},{grey},{grey})"/>"#
        )?;
    }
    Ok(())
}

/// The kernels of the first convolution above the mistakes of which the model is surest.
fn draw(kernels: &[f32], mistakes: &[(f32, usize, u32, u32)], test: &Dataset) -> Result<String> {
    let mut svg = String::from(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="760" height="270" font-family="sans-serif" font-size="13">"#,
    );
    svg += "<rect width=\"760\" height=\"270\" fill=\"white\"/>\n<text x=\"16\" y=\"22\">what the first convolution looks for</text>\n";
    let largest = kernels.iter().fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    for (i, kernel) in kernels.chunks(9).enumerate() {
        let grey: Vec<f32> = kernel.iter().map(|x| 0.5 + 0.5 * x / largest).collect();
        square(&mut svg, [16 + 92 * i, 34], 72, &grey)?;
    }
    svg += "<text x=\"16\" y=\"140\">the worst mistakes: what it is, and what it is taken for</text>\n";
    for (i, &(_, row, label, taken)) in mistakes.iter().take(8).enumerate() {
        square(&mut svg, [16 + 92 * i, 152], 72, test.row(row).unwrap_or_default())?;
        writeln!(svg, r#"<text x="{}" y="244">{label} → {taken}</text>"#, 34 + 92 * i)?;
    }
    Ok(svg + "</svg>\n")
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.iter().find(|argument| Path::new(argument).is_dir());
    let (train, test, epochs) = digits(folder.map(String::as_str))?;
    // The same seeds with augmentation and without.
    let seeds = [SEEDS, SEEDS].concat();
    let mut trainer = trainer(&Cpu::<f32>::default(), [&train, &test], epochs, &seeds, SEEDS.len())?;
    for _ in 0..epochs {
        trainer.whole_epoch()?;
    }
    let accuracies: Vec<f64> = trainer.evaluate()?.iter().filter_map(|lane| lane.accuracy).collect();
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let (moved, still) = (mean(&accuracies[..SEEDS.len()]), mean(&accuracies[SEEDS.len()..]));
    println!("{} images to train on, {} to test on", train.rows(), test.rows());
    println!("mean accuracy with augmentation {:.2} %, without {:.2} %", 100.0 * moved, 100.0 * still);
    ensure!(moved > still && moved >= if folder.is_some() { 0.97 } else { 0.965 }, "augmentation helps");

    let logits = trainer.predict(0, &test.features)?;
    let taken = trainer.predict_classes(0, &test.features)?;
    let rows = logits.chunks(10).zip(test.labels.iter().zip(&taken)).enumerate();
    let wrong = rows.filter(|(_, (_, (label, taken)))| label != taken);
    let mut mistakes: Vec<(f32, usize, u32, u32)> = wrong
        .map(|(row, (logits, (&label, &taken)))| (logits[taken as usize] - logits[label as usize], row, label, taken))
        .collect();
    mistakes.sort_by(|a, b| b.0.total_cmp(&a.0));
    if let Some((_, _, label, taken)) = mistakes.first() {
        println!("{} mistakes; the worst: {label} taken for {taken}", mistakes.len());
    }
    if let Some(path) = arguments.iter().find(|argument| argument.ends_with(".svg")) {
        let kernels = trainer.optimizer_mut().lane(0)?.params("first.weight")?;
        std::fs::write(path, draw(&kernels, &mistakes, &test)?)?;
    }
    Ok(())
}
