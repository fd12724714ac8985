//! Forecasts of a small series, the airline passengers of Box and Jenkins: an LSTM against a linear model, both from the 13
//! months before, and both against taking next month to be as this one. Numbers are logarithms, counted from the last month of
//! the window. Each model is trained from eight seeds, as lanes of one population, and the forecast is the mean of theirs.
//!
//! `cargo run --release --example series -- [PICTURE.svg]`. Expected: over the last two years, which no model was trained on,
//! the mean error of either model is at most 0.65 of that of taking next month to be as this one.
//!
//! On the GPU a step of the LSTM takes 55 dispatches, however many lanes there are.

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn::{Cell, Linear, Model, Recurrent, Reshape, Sequential, Tape, Value};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::{AdamW, Recipe, Trainer};
use thalweg_chart::{Axis, Chart, Line, picture};

/// Thousands of passengers a month, 1949 to 1960. Source: G. Box and G. Jenkins, *Time Series Analysis*, 1970, series G.
const PASSENGERS: [f32; 144] = [
    112., 118., 132., 129., 121., 135., 148., 148., 136., 119., 104., 118., 115., 126., 141., 135., 125., 149., 170., 170.,
    158., 133., 114., 140., 145., 150., 178., 163., 172., 178., 199., 199., 184., 162., 146., 166., 171., 180., 193., 181.,
    183., 218., 230., 242., 209., 191., 172., 194., 196., 196., 236., 235., 229., 243., 264., 272., 237., 211., 180., 201.,
    204., 188., 235., 227., 234., 264., 302., 293., 259., 229., 203., 229., 242., 233., 267., 269., 270., 315., 364., 347.,
    312., 274., 237., 278., 284., 277., 317., 313., 318., 374., 413., 405., 355., 306., 271., 306., 315., 301., 356., 348.,
    355., 422., 465., 467., 404., 347., 305., 336., 340., 318., 362., 348., 363., 435., 491., 505., 404., 359., 310., 337.,
    360., 342., 406., 396., 420., 472., 548., 559., 463., 407., 362., 405., 417., 391., 419., 461., 472., 535., 622., 606.,
    508., 461., 390., 432.,
];

/// Months that a model sees, and months at the end that are forecast.
const WINDOW: usize = 13;
const HELD: usize = 24;
const STEPS: usize = 300;
const SEEDS: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// The last step of a sequence.
#[derive(Debug)]
struct LastStep;

impl Model for LastStep {
    fn forward(&self, _tape: &mut Tape, x: &Value) -> Value {
        let [samples, steps, width] = [0, 1, 2].map(|axis| x.shape().get(axis).copied().unwrap_or(1));
        x.slice(1, steps - 1..steps).reshape(&[samples, width])
    }
}

/// Windows that end before these months, and what comes next.
pub fn windows(months: std::ops::Range<usize>) -> Result<Dataset> {
    let (mut features, mut targets) = (Vec::new(), Vec::new());
    for month in months {
        let last = PASSENGERS[month - 1].ln();
        features.extend(PASSENGERS[month - WINDOW..month].iter().map(|x| x.ln() - last));
        targets.push(PASSENGERS[month].ln() - last);
    }
    Ok(Dataset::regression(features, WINDOW, targets, 1)?)
}

pub fn trainer<E: Engine>(
    engine: &E,
    train: &Dataset,
    model: &dyn Model,
    rate: f64,
    seeds: &[u64],
) -> Result<Trainer<E::Program>> {
    let recipe = Recipe::new(AdamW { lr: rate, weight_decay: 0.0, ..Default::default() });
    let recipe = recipe.clip_norm(1.0).schedule("lr", Cosine::new(rate, STEPS as u64));
    Ok(Trainer::builder(model, recipe).train(train).batch(train.rows()).standardise_targets().seeds(seeds).build(engine)?)
}

/// Passengers that a model forecasts for the last months, each from the months before it.
fn forecast(model: &dyn Model, rate: f64) -> Result<Vec<f64>> {
    let first = PASSENGERS.len() - HELD;
    let (train, held) = (windows(WINDOW..first)?, windows(first..PASSENGERS.len())?);
    let mut trainer = trainer(&Cpu::<f32>::default(), &train, model, rate, &SEEDS)?;
    trainer.advance(STEPS)?;
    let mut forecast = vec![0.0; HELD];
    for lane in 0..SEEDS.len() {
        let growth = trainer.predict(lane, &held.features)?;
        for (month, (growth, last)) in growth.iter().zip(&PASSENGERS[first - 1..]).enumerate() {
            forecast[month] += f64::from(last * growth.exp()) / SEEDS.len() as f64;
        }
    }
    Ok(forecast)
}

/// The mean distance to what came.
fn error(forecast: &[f64]) -> f64 {
    let came = &PASSENGERS[PASSENGERS.len() - HELD..];
    forecast.iter().zip(came).map(|(found, came)| (found - f64::from(*came)).abs()).sum::<f64>() / HELD as f64
}

pub fn lstm() -> Sequential {
    let model = Sequential::new().then(Reshape(vec![WINDOW, 1])).then(Recurrent::new(Cell::Lstm, 1, 12));
    model.then(LastStep).then(Linear::new(12, 1))
}

fn main() -> Result<()> {
    let first = PASSENGERS.len() - HELD;
    let as_before: Vec<f64> = PASSENGERS[first - 1..PASSENGERS.len() - 1].iter().map(|&x| x.into()).collect();
    let (linear, lstm) = (forecast(&Linear::new(WINDOW, 1), 3e-2)?, forecast(&lstm(), 3e-2)?);
    for (name, forecast) in [("as the month before", &as_before), ("linear", &linear), ("LSTM", &lstm)] {
        println!("{name:>20}: mean error {:.1} thousand passengers", error(forecast));
    }
    ensure!(error(&linear).max(error(&lstm)) <= 0.65 * error(&as_before), "both models know the seasons");
    if let Some(path) = std::env::args().nth(1) {
        let came = PASSENGERS[first - 24..].iter().map(|&x| f64::from(x));
        let from = |name: &str, color, values: &[f64]| Line {
            points: values.iter().enumerate().map(|(i, &x)| ((i + 25) as f64, x)).collect(),
            ..Line::counted(name, color, [])
        };
        let lines = vec![Line::counted("passengers", 6, came), from("linear", 1, &linear), from("LSTM", 0, &lstm)];
        let (x, y, key) = (Axis::Count(1), Axis::Linear(300.0, 600.0), true);
        let chart = Chart { title: "", steps: "month from 1957 on", values: "thousand passengers", x, y, key, lines };
        std::fs::write(path, picture((760, 400), |area| chart.draw(area))?)?;
    }
    Ok(())
}
