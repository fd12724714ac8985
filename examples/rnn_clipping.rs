//! A recurrent network of ReLUs reads digits, four pixels at a step, and its gradients explode: it begins with a little more
//! than what it had the step before (Le, Jaitly and Hinton 2015 begin with just that), so that the gradient may grow at each of
//! 16 steps. Two lanes of one program have the same seed, data and rate; one clips the norm of its gradient. The norm of either
//! is kept at every step.
//!
//! `cargo run --release --example rnn_clipping -- [PICTURE.svg]`. Expected: with clipping the loss ends below 1.7; without, it
//! ends where guessing is, above 2.2, or is no number, and the largest norm on the way is over 1,000 times the bound.
//!
//! On the GPU a step takes 59 dispatches, however many lanes there are.

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, Scaler, digits};
use thalweg::nn::{Cell, Init, Linear, Model, Recurrent, Sequential, Tape, Value};
use thalweg::plan::Engine;
use thalweg::{Recipe, Sgd, Trainer};
use thalweg_chart::{Axis, Chart, Line, beside, picture};

const BOUND: f64 = 1.0;
const STEPS: usize = 240;
const HIDDEN: usize = 32;
/// What a unit has of its own value of the step before, at the start.
const START: f32 = 1.05;

/// Pixels, one at each step, to what a ReLU network has in the end.
#[derive(Debug)]
struct Reader(Recurrent);

impl Model for Reader {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let [samples, pixels] = [0, 1].map(|axis| x.shape().get(axis).copied().unwrap_or(1));
        let steps = x.reshape(&[samples, pixels / self.0.inputs, self.0.inputs]);
        let run = self.0.run(tape, &steps, None, None);
        run.state.h.reshape(&[samples, self.0.hidden])
    }
}

/// A lane for each bound on the norm.
pub fn trainer<E: Engine>(engine: &E, data: &Dataset, bounds: &[f64]) -> Result<Trainer<E::Program>> {
    let reader = Reader(Recurrent::new(Cell::Relu, 4, HIDDEN));
    let output = Linear { weight_init: Init::XavierUniform, ..Linear::new(HIDDEN, 10) };
    let model = Sequential::new().named("reader", reader).named("output", output);
    let sgd = |_: &f64| Sgd { lr: 0.1, ..Default::default() };
    let recipe = Recipe::population(bounds.iter().map(sgd)).clip_norm(bounds.to_vec());
    Ok(Trainer::builder(&model, recipe).train(data).batch(64).seed(1).build(engine)?)
}

fn main() -> Result<()> {
    let mut data = digits();
    Scaler::range(&data)?.apply(&mut data)?;
    // A bound that is never met is none, but the norm is known all the same.
    let mut trainer = trainer(&Cpu::<f32>::default(), &data, &[BOUND, 1e30])?;
    let start: Vec<f32> = (0..HIDDEN * HIDDEN).map(|i| if i % (HIDDEN + 1) == 0 { START } else { 0.0 }).collect();
    for lane in 0..2 {
        trainer.optimizer_mut().lane(lane)?.set_params("reader.weight_hh_l0", &start)?;
    }
    let (mut norms, mut losses) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..STEPS {
        trainer.advance(1)?;
        for (lane, norms) in norms.iter_mut().enumerate() {
            norms.push(trainer.report(lane)?.norm);
        }
        if trainer.steps().is_multiple_of(10) {
            let met = trainer.metrics()?;
            losses.iter_mut().zip(met).for_each(|(losses, met)| losses.push(met.loss));
        }
    }
    for (name, norms, losses) in [("clipped", &norms[0], &losses[0]), ("not clipped", &norms[1], &losses[1])] {
        let largest = norms.iter().copied().fold(0.0, f64::max);
        println!("{name:>12}: loss {:.3} in the end, largest norm {largest:.3e}", losses[losses.len() - 1]);
    }
    let ends = [0, 1].map(|lane: usize| losses[lane][losses[lane].len() - 1]);
    ensure!(ends[0] < 1.7, "with clipping it learns: {}", ends[0]);
    ensure!(!(ends[1] <= 2.2), "without clipping it does not: {}", ends[1]);
    ensure!(norms[1].iter().any(|&norm| norm > 1000.0 * BOUND || !norm.is_finite()), "gradients explode");
    if let Some(path) = std::env::args().nth(1) {
        let lines = |of: &[Vec<f64>; 2]| {
            ["clipped", "not clipped"]
                .into_iter()
                .zip(of)
                .enumerate()
                .map(|(i, (name, of))| Line::counted(name, 4 * i, of.clone()))
                .collect()
        };
        let chart =
            |values, steps, lines| Chart { title: "", steps, values, x: Axis::Count(1), y: Axis::Log, key: true, lines };
        let (norm, loss) = (chart("norm of the gradient", "step", lines(&norms)), chart("loss", "ten steps", lines(&losses)));
        std::fs::write(
            path,
            picture((1100, 400), |area| {
                let [left, right] = beside(area);
                norm.draw(&left)?;
                loss.draw(&right)
            })?,
        )?;
    }
    Ok(())
}
