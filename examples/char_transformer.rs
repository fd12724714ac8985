//! A transformer learns to write, letter by letter: two blocks read 32 letters and say at each place which one comes next. The
//! text, William Blake's Songs of Innocence and of Experience, is part of the crate; letters are rows of an embedding, and the
//! loss is of this example's own.
//!
//! `cargo run --release --example char_transformer -- [PICTURE.svg]`. Expected: on lines that it was not trained on, a letter
//! costs at least 0.8 nats less than by how often letters are (2.2 instead of 3.1); lines that it writes are printed. So few
//! letters and epochs teach it where words and lines end; few of its words exist:
//!
//! ```text
//! Thene s lamor arsmowey t ay sovey,
//! And the theren are he omoer d thellire;
//! ```
//!
//! On the GPU a step takes 149 dispatches, however many lanes there are.

use anyhow::{Context, Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn::{
    Attention, Criterion, Embedding, LayerNorm, Linear, Positions, Sequential, Tape, Terms, TransformerBlock, Value,
};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::train::Task;
use thalweg::{AdamW, Recipe, Trainer};
use thalweg_chart::{Axis, Chart, Line, picture};

const TEXT: &str = include_str!("data/blake.txt");
/// Letters that are seen at a time.
const WINDOW: usize = 32;
const WIDTH: usize = 32;
const EPOCHS: usize = 8;
const RATE: f64 = 3e-3;

/// The cross-entropy of the next letter at each place. Targets are numbers of letters.
#[derive(Debug)]
struct NextLetter;

impl Criterion for NextLetter {
    fn terms(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Terms {
        let logs = prediction.log_softmax(2);
        let letters = tape.places(logs.shape(), 2);
        let target = target.reshape(&[target.shape(), &[1]].concat());
        let own = tape.map(&[&logs, &letters, &target], |of| {
            (of[1].clone() - of[2].clone()).abs().less(0.5).select(of[0].clone() * -1.0, 0.0)
        });
        Terms { losses: own.sum(&[2]), weights: None }
    }
}

/// Windows of a text, each with the letters that come one place later.
pub fn windows(letters: &[f32], stride: usize) -> Result<Dataset> {
    let all = || letters.windows(WINDOW + 1).step_by(stride);
    let features = all().flat_map(|window| window[..WINDOW].to_vec()).collect();
    Ok(Dataset::regression(features, WINDOW, all().flat_map(|window| window[1..].to_vec()).collect(), WINDOW)?)
}

/// Over letters of so many kinds.
pub fn trainer<E: Engine>(
    engine: &E,
    [train, test]: [&Dataset; 2],
    kinds: usize,
    seeds: &[u64],
) -> Result<Trainer<E::Program>> {
    let block = || TransformerBlock {
        attention: Attention { causal: true, ..Attention::new(WIDTH, 4) },
        ..TransformerBlock::new(WIDTH, 4, 2 * WIDTH)
    };
    let model = Sequential::new()
        .then(Embedding::new(kinds, WIDTH))
        .then(Positions::Learned { places: WINDOW })
        .then(block())
        .then(block())
        .then(LayerNorm::new(&[WIDTH]))
        .then(Linear::new(WIDTH, kinds));
    let steps = EPOCHS * train.rows().div_ceil(32);
    let recipe = Recipe::new(AdamW { lr: RATE, ..Default::default() }).clip_norm(1.0);
    let recipe = recipe.schedule("lr", Cosine::new(RATE, steps as u64));
    let trainer = Trainer::builder(&model, recipe).train(train).validation(test).task(Task::of(NextLetter));
    Ok(trainer.index_features().batch(32).evaluation_rows(32).seeds(seeds).build(engine)?)
}

/// What a letter costs, in nats, if nothing is known but how often each is.
fn by_frequency(learned: &[f32], held: &[f32], kinds: usize) -> f64 {
    let mut counts = vec![1.0; kinds];
    learned.iter().for_each(|&letter| counts[letter as usize] += 1.0);
    let all: f64 = counts.iter().sum();
    held.iter().map(|&letter| -(counts[letter as usize] / all).ln()).sum::<f64>() / held.len() as f64
}

fn main() -> Result<()> {
    let mut kinds: Vec<char> = TEXT.chars().collect();
    kinds.sort_unstable();
    kinds.dedup();
    let number = |letter: char| kinds.binary_search(&letter).map(|place| place as f32).ok().context("a letter of the text");
    let letters: Vec<f32> = TEXT.chars().map(number).collect::<Result<_>>()?;
    let (learned, held) = letters.split_at(letters.len() * 9 / 10);
    let (train, test) = (windows(learned, 10)?, windows(held, WINDOW)?);

    let mut trainer = trainer(&Cpu::<f32>::default(), [&train, &test], kinds.len(), &[1])?;
    let mut losses = [Vec::new(), Vec::new()];
    for _ in 0..EPOCHS {
        losses[0].push(trainer.whole_epoch()?[0].loss);
        losses[1].push(trainer.evaluate()?[0].loss);
    }
    let (least, chance) = (losses[1].iter().copied().fold(f64::INFINITY, f64::min), by_frequency(learned, held, kinds.len()));
    println!(
        "{} letters of {} kinds; a letter costs {least:.2} nats, {chance:.2} by how often it is",
        letters.len(),
        kinds.len()
    );

    // It goes on from a line, one letter at a time.
    let mut written: Vec<f32> = learned[..WINDOW].to_vec();
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..240 {
        let logits = trainer.predict(0, &written[written.len() - WINDOW..])?;
        let last = &logits[(WINDOW - 1) * kinds.len()..];
        let largest = last.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // A little more likely letters than it says.
        let shares: Vec<f32> = last.iter().map(|logit| ((logit - largest) / 0.7).exp()).collect();
        let mut left = random.f32() * shares.iter().sum::<f32>();
        let letter = shares.iter().position(|share| {
            left -= share;
            left <= 0.0
        });
        written.push(letter.unwrap_or(0) as f32);
    }
    println!("{}", written.iter().map(|&letter| kinds[letter as usize]).collect::<String>());
    ensure!(least <= chance - 0.8, "it knows more than how often letters are: {least}, {chance}");
    if let Some(path) = std::env::args().nth(1) {
        let names = ["training", "other lines"].into_iter().zip(losses).enumerate();
        let lines = names.map(|(i, (name, losses))| Line::counted(name, 4 * i, losses)).collect();
        let (values, y) = ("nats a letter", Axis::Linear(1.5, 3.5));
        let chart = Chart { title: "", steps: "epoch", values, x: Axis::Count(1), y, key: true, lines };
        std::fs::write(path, picture((640, 400), |area| chart.draw(area))?)?;
    }
    Ok(())
}
