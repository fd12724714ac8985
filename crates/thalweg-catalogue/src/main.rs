//! Runs every rule on the three tasks, on the CPU engine. Prints a table of when to take which rule, and draws the ways down.
//!
//! `cargo run --release -p thalweg-catalogue -- [FILE.svg]`, by default `examples/catalogue.svg`; `-- --check` draws nothing and
//! compares the table with that of `src/guide/rules.md` instead.

mod table;

use anyhow::{Result, ensure};
use table::Row;
use thalweg::cpu::Cpu;
use thalweg_catalogue::descent::{Path, quadratic, quadratic_value, rosenbrock, rosenbrock_value};
use thalweg_catalogue::digits::{Epoch, train};
use thalweg_catalogue::{Entry, entries};
use thalweg_chart::plotters::prelude::*;
use thalweg_chart::{Area, Axis, Chart, FONT, Line, picture};

const PANEL: u32 = 400;
const SIZE: (u32, u32) = (3 * PANEL + 120, 420);
/// A point has at least this times the step of the one before.
const STRIDE: f64 = 1.06;
/// Losses below this are drawn as this: single precision has arrived.
const FLOOR: f64 = 1e-9;

/// What a rule did.
struct Outcome {
    entry: &'static Entry,
    digits: Vec<Epoch>,
    rosenbrock: Path,
    quadratic: Path,
}

fn main() -> Result<()> {
    let file = std::env::args().nth(1).unwrap_or("examples/catalogue.svg".into());
    let cpu = Cpu::<f32>::default();
    let outcome = |entry: &'static Entry| -> Result<Outcome> {
        Ok(Outcome {
            entry,
            digits: train(&cpu, entry)?,
            rosenbrock: rosenbrock(&cpu, entry, entry.rosenbrock.length)?,
            quadratic: quadratic(&cpu, entry, entry.quadratic.length)?,
        })
    };
    let outcomes = entries().into_iter().map(outcome).collect::<Result<Vec<_>>>()?;
    let rows: Vec<Row> = outcomes.iter().map(Row::of).collect();
    print!("{}", table::markdown(&rows));
    if file == "--check" {
        let differences = table::differences(include_str!("../../../src/guide/rules.md"), &rows);
        ensure!(differences.is_empty(), "src/guide/rules.md does not have this table:\n{}", differences.join("\n"));
    } else {
        std::fs::write(file, draw(&outcomes)?)?;
    }
    Ok(())
}

/// Three panels of loss against step, and the names of the lines.
fn draw(outcomes: &[Outcome]) -> Result<String> {
    let panel = |title, points: &dyn Fn(&Outcome) -> Vec<(f64, f64)>| {
        let line = |(index, outcome): (usize, &Outcome)| Line {
            name: outcome.entry.rule.into(),
            color: color(index, outcomes.len()),
            points: thinned(points(outcome)),
        };
        let lines = outcomes.iter().enumerate().map(line).collect();
        Chart { title, steps: "step", x: Axis::Log, y: Axis::Log, key: None, lines }
    };
    let digits = |epoch: &Epoch| (epoch.steps as f64, epoch.train.loss);
    let panels = [
        panel("Digits: training loss", &|outcome| outcome.digits.iter().map(digits).collect()),
        panel("Rosenbrock's valley", &|outcome| losses(&outcome.rosenbrock, rosenbrock_value)),
        panel("Quadratic of condition 10,000", &|outcome| losses(&outcome.quadratic, quadratic_value)),
    ];
    picture(SIZE, |area| {
        let (charts, key) = area.split_horizontally(3 * PANEL);
        for (area, panel) in charts.split_evenly((1, 3)).iter().zip(&panels) {
            panel.draw(area)?;
        }
        legend(&key, &panels[0].lines)
    })
}

/// A colour of its own for each line: hues around the wheel, light and dark in turn.
fn color(index: usize, count: usize) -> RGBColor {
    let (red, green, blue) = HSLColor(index as f64 / count as f64, 0.8, [0.35, 0.55][index % 2]).to_backend_color().rgb;
    RGBColor(red, green, blue)
}

/// The function's values at a path's points.
fn losses(path: &Path, value: fn(&[f64]) -> f64) -> Vec<(f64, f64)> {
    // Not by `max`, which would make NaN the best of all losses.
    let floored = |loss: f64| if loss < FLOOR { FLOOR } else { loss };
    path.iter().map(|(step, at)| (*step as f64, floored(value(at)))).collect()
}

/// As many points as a logarithmic axis can show, the last one among them.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (index, &point) in points.iter().enumerate() {
        let far = kept.last().is_none_or(|(step, _)| point.0 >= STRIDE * step);
        if point.0 > 0.0 && (far || index == points.len() - 1) {
            kept.push(point);
        }
    }
    kept
}

/// The lines' names below each other.
fn legend(area: &Area, lines: &[Line]) -> Result<()> {
    for (index, line) in lines.iter().enumerate() {
        let y = 40 + 17 * index as i32;
        area.draw(&PathElement::new([(0, y + 7), (18, y + 7)], line.color.stroke_width(3)))?;
        area.draw(&Text::new(line.name.as_str(), (24, y), (FONT, 13)))?;
    }
    Ok(())
}
