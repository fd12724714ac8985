//! Rows of the table, as text or JSON.

use super::engine::{Pair, Sample, Timed};
use super::work::{Size, Work};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use thalweg::plan::Engine;

/// One row: what was timed, where, and how fast it was.
pub struct Row(Value);

/// Median, smallest and largest.
pub fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

impl Row {
    /// A row of whole training steps.
    pub fn of(row: Value) -> Self {
        Self(row)
    }

    fn new<E: Engine<Float = f32>>(engine: &E, work: &Work, samples: &[Sample]) -> Self
    where
        E::Program: Timed,
    {
        let (ms, min_ms, max_ms) = spread(samples.iter().map(|sample| sample.ms).collect());
        let (wall_ms, ..) = spread(samples.iter().map(|sample| sample.wall_ms).collect());
        Self(json!({
            "what": work.what, "engine": E::Program::ENGINE, "adapter": engine.describe(),
            "ms": ms, "min_ms": min_ms, "max_ms": max_ms, "wall_ms": wall_ms, "reps": samples.len(),
        }))
    }

    /// A row of a work that moves bytes, with the fastest copy so far.
    pub fn stream<E: Engine<Float = f32>>(engine: &E, work: &Work, pair: &Pair, table: &mut Table) -> Self
    where
        E::Program: Timed,
    {
        let mut row = Self::new(engine, work, &pair.own);
        if let Size::Elements(n) = work.size {
            row.0["n"] = n.into();
        }
        let times = |samples: &[Sample]| spread(samples.iter().map(|sample| sample.ms).collect());
        let (own, own_fastest, _) = times(&pair.own);
        let own = work.amount() / own * 1e-6;
        // Copies with the same engine, size and number of arrays are compared with each other; the row that is a copy itself is
        // one of them.
        let mut copy = pair.copy_bytes / times(&pair.copy).1 * 1e-6;
        if work.what == "copy" {
            copy = copy.max(work.amount() / own_fastest * 1e-6);
        }
        let copy = table.fastest(format!("{} {} {:?} {}", E::Program::ENGINE, row.0["n"], work.streams, pair.copy_bytes), copy);
        row.0["gbps"] = own.into();
        row.0["copy_gbps"] = copy.into();
        row.0["of_copy"] = (own / copy).into();
        row
    }

    /// A row of a matrix product.
    pub fn product<E: Engine<Float = f32>>(engine: &E, work: &Work, samples: &[Sample]) -> Self
    where
        E::Program: Timed,
    {
        let mut row = Self::new(engine, work, samples);
        if let Size::Product { m, k, n, batch } = work.size {
            for (name, size) in [("m", m), ("k", k), ("n", n), ("batch", batch)] {
                row.0[name] = size.into();
            }
        }
        row.0["gflops"] = (work.amount() / row.0["ms"].as_f64().unwrap_or(f64::NAN) * 1e-6).into();
        row
    }

    fn text(&self) -> String {
        let number = |name: &str| self.0[name].as_f64().unwrap_or(f64::NAN);
        let has = |name: &str| self.0.get(name).is_some();
        let size = match self.0.get("m") {
            Some(m) => format!("{m}×{}×{} ×{}", self.0["k"], self.0["n"], self.0["batch"]),
            None if has("hidden") => format!("{} lanes, {} wide", self.0["lanes"], self.0["hidden"]),
            None if has("lanes") => format!("{} lanes, batch {}", self.0["lanes"], self.0["batch"]),
            None if has("batch") => format!("batch {}", self.0["batch"]),
            None => self.0["n"].to_string(),
        };
        let rate = match () {
            _ if has("gbps") => format!("{:7.1} GB/s {:4.0} % of copy", number("gbps"), 100.0 * number("of_copy")),
            _ if has("gflops") => format!("{:7.1} GFLOP/s", number("gflops")),
            _ if has("of_alone") => format!("{:.2} of one after the other", number("of_alone")),
            _ if has("lanes") => {
                let (rate, alike, copy) = (number("model_steps_per_s"), number("of_alike"), number("copy_steps"));
                format!("{rate:7.0} model-steps/s, {alike:.2} of lanes that are alike; a copy over all: {copy:.2} steps")
            }
            _ => format!("{:7.0} steps/s", 1e3 / number("ms")),
        };
        format!(
            "{:<26} {:<4} {:>18} {:>9.3} ms ({:.3}–{:.3}) {rate}",
            self.0["what"].as_str().unwrap_or_default(),
            self.0["engine"].as_str().unwrap_or_default(),
            size,
            number("ms"),
            number("min_ms"),
            number("max_ms"),
        )
    }
}

/// Prints rows as they come.
pub struct Table {
    json: bool,
    adapters: Vec<String>,
    /// The fastest copy of each kind, in GB/s.
    copies: HashMap<String, f64>,
}

impl Table {
    pub fn new(json: bool) -> Self {
        Self { json, adapters: Vec::new(), copies: HashMap::new() }
    }

    /// The fastest copy of a kind in this run, this one included.
    fn fastest(&mut self, kind: String, gbps: f64) -> f64 {
        let fastest = self.copies.entry(kind).or_insert(gbps);
        *fastest = fastest.max(gbps);
        *fastest
    }

    pub fn push(&mut self, row: &Row) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let adapter = row.0["adapter"].as_str().unwrap_or_default().to_string();
        if !self.json && self.adapters.is_empty() {
            writeln!(out, "% of copy: bytes per second, compared with the fastest copy of as many arrays in this run")?;
        }
        if !self.json && !self.adapters.contains(&adapter) {
            writeln!(out, "{} is {adapter}", row.0["engine"].as_str().unwrap_or_default())?;
            self.adapters.push(adapter);
        }
        if self.json {
            writeln!(out, "{}", row.0)?
        } else {
            writeln!(out, "{}", row.text())?
        }
        Ok(())
    }
}
