//! Whole training steps: of networks, and of populations whose lanes each have their own rate, seed and order of batches.

use super::engine::Timed;
use super::networks::{NETWORKS, Network};
use super::row::{Row, spread};
use anyhow::Result;
use serde_json::json;
use std::io::Write;
use std::time::Instant;
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::{Engine, Program};
use thalweg::{Adam, Recipe, Trainer};

/// Lanes, and the width of the hidden layer.
const POPULATIONS: [(usize, usize); 4] = [(16, 32), (64, 32), (256, 32), (64, 128)];

/// Lanes of a population of convolutional networks.
const LANES: usize = 32;

/// Rows of a step of a population.
const BATCH: usize = 64;

/// Something that is trained.
#[derive(Clone, Copy)]
pub enum Training {
    Network(&'static Network),
    Population {
        lanes: usize,
        hidden: usize,
    },
    /// [`LANES`] of a network, each with its own seed and order of batches, beside one alone.
    Lanes(&'static Network),
}

impl Training {
    /// All that can be timed.
    pub fn all() -> Vec<Self> {
        let populations = POPULATIONS.iter().map(|&(lanes, hidden)| Self::Population { lanes, hidden });
        let lanes = NETWORKS.iter().filter(|network| network.name.ends_with("cnn")).map(Self::Lanes);
        NETWORKS.iter().map(Self::Network).chain(populations).chain(lanes).collect()
    }

    /// The name of the row.
    pub fn name(&self) -> String {
        match self {
            Self::Network(network) => format!("network {}", network.name),
            Self::Population { lanes, hidden } => format!("population {lanes} {hidden}"),
            Self::Lanes(network) => format!("population {LANES} {}", network.name),
        }
    }

    fn data(&self) -> Result<Dataset> {
        Ok(match self {
            Self::Network(network) | Self::Lanes(network) => network.data()?,
            Self::Population { .. } => {
                let digits = digits();
                // Whole batches.
                let rows: Vec<usize> = (0..digits.rows() / BATCH * BATCH).collect();
                digits.rows_at(&rows)?
            }
        })
    }

    /// The trainer, or that with which it is compared: lanes of one seed, which share weights and batches, or one lane alone.
    fn trainer<E: Engine>(&self, engine: &E, data: &Dataset, compared: bool) -> Result<Trainer<E::Program>> {
        match *self {
            Self::Network(network) => {
                let model = (network.model)();
                let trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(data).batch(network.batch);
                Ok(trainer.build(engine)?)
            }
            Self::Population { lanes, hidden } => {
                let model = Sequential::perceptron(data.width, &[hidden], data.classes, Nonlinearity::Relu);
                let rate = |lane: usize| 1e-4 * 1e3_f64.powf(lane as f64 / lanes as f64);
                let recipes = (0..lanes).map(|lane| Recipe::new(Adam { lr: rate(lane), ..Default::default() }));
                let seeds: Vec<u64> = (0..lanes as u64).map(|lane| if compared { 0 } else { lane }).collect();
                let trainer = Trainer::builder(&model, Recipe::join(recipes)?).train(data).batch(BATCH).seeds(&seeds);
                Ok(trainer.copies().build(engine)?)
            }
            Self::Lanes(network) => {
                let (model, seeds) = ((network.model)(), Vec::from_iter(0..if compared { 1 } else { LANES as u64 }));
                let trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(data).batch(network.batch);
                Ok(trainer.seeds(&seeds).build(engine)?)
            }
        }
    }

    /// Times it: a repetition is an epoch.
    pub fn row<E: Engine<Float = f32>>(&self, engine: &E, reps: u32) -> Result<Row>
    where
        E::Program: Timed,
    {
        let data = self.data()?;
        let mut own = self.trainer(engine, &data, false)?;
        let mut compared = match self {
            Self::Network(_) => None,
            Self::Population { .. } | Self::Lanes(_) => Some(self.trainer(engine, &data, true)?),
        };
        let (mut samples, mut beside) = (Vec::new(), Vec::new());
        for rep in 0..=reps {
            let sample = epoch(&mut own)?;
            let other = compared.as_mut().map(epoch).transpose()?;
            if rep > 0 {
                samples.push(sample);
                beside.extend(other);
            }
        }
        let (ms, min_ms, max_ms) = spread(samples);
        let mut row = json!({
            "engine": E::Program::ENGINE, "adapter": engine.describe(), "reps": reps,
            "ms": ms, "min_ms": min_ms, "max_ms": max_ms,
        });
        match *self {
            Self::Network(network) => {
                row["what"] = self.name().into();
                row["batch"] = network.batch.into();
            }
            Self::Population { lanes, hidden } => {
                let rate = |ms: f64| lanes as f64 / ms * 1e3;
                let alike = rate(spread(beside).0);
                let copy_ms = copy(&mut own, reps)?;
                let fields = json!({
                    "what": "population", "lanes": lanes, "hidden": hidden, "batch": BATCH,
                    "model_steps_per_s": rate(ms), "alike_model_steps_per_s": alike, "of_alike": rate(ms) / alike,
                    "copy_ms": copy_ms, "copy_steps": copy_ms / ms,
                });
                row.as_object_mut().into_iter().zip(fields.as_object()).for_each(|(row, fields)| row.extend(fields.clone()));
            }
            Self::Lanes(network) => {
                let alone_ms = spread(beside).0;
                let fields = json!({
                    "what": self.name(), "lanes": LANES, "batch": network.batch,
                    "alone_ms": alone_ms, "of_alone": LANES as f64 * alone_ms / ms,
                });
                row.as_object_mut().into_iter().zip(fields.as_object()).for_each(|(row, fields)| row.extend(fields.clone()));
            }
        }
        Ok(Row::of(row))
    }

    /// Times an epoch for every line on stdin.
    pub fn in_turns<E: Engine<Float = f32>>(&self, engine: &E) -> Result<()> {
        let data = self.data()?;
        let mut trainer = self.trainer(engine, &data, false)?;
        let mut stdin = std::io::stdin().lock();
        while super::engine::skip_line(&mut stdin)? {
            let ms = epoch(&mut trainer)?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{ms}")?;
            out.flush()?;
        }
        Ok(())
    }
}

/// Milliseconds in which the first lane is copied over all others, until the device is done.
fn copy<P: Program>(trainer: &mut Trainer<P>, reps: u32) -> Result<f64> {
    let pairs: Vec<(usize, usize)> = (1..trainer.lanes()).map(|lane| (0, lane)).collect();
    let mut samples = Vec::new();
    for _ in 0..=reps {
        let start = Instant::now();
        trainer.copy_lanes(&pairs)?;
        trainer.report(0)?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(spread(samples.split_off(1)).0)
}

/// Milliseconds of a step, from an epoch to whose end this waits.
fn epoch<P: Program>(trainer: &mut Trainer<P>) -> Result<f64> {
    let (start, steps) = (Instant::now(), trainer.steps_per_epoch());
    trainer.advance(steps)?;
    trainer.metrics()?;
    Ok(start.elapsed().as_secs_f64() * 1e3 / steps as f64)
}
