//! Runs every rule on the three tasks, on the CPU engine. Prints a table that says when to use which rule, and draws the
//! descents.
//!
//! `cargo run --release -p thalweg-catalogue -- [FILE.svg]`, by default `examples/catalogue.svg`; `-- --check` draws nothing
//! and compares the table with that of `src/guide/rules.md` instead.

mod table;

use anyhow::{Result, ensure};
use table::Row;
use thalweg::cpu::Cpu;
use thalweg_catalogue::descent::{Path, quadratic, quadratic_value, rosenbrock, rosenbrock_value};
use thalweg_catalogue::digits::{Epoch, train};
use thalweg_catalogue::{Entry, entries};
use thalweg_chart::{Axis, CAPTION as CAPTION_HEIGHT, Chart, Line, RGBColor, Sheet, captioned};

const PANEL: (u32, u32) = (290, 190);
const RULES_PER_ROW: usize = 2;
const CAPTION: &str =
    "Loss against step, both logarithmic: each rule in colour over all others, with the settings of the catalogue";
const COLOR: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const GREY: RGBColor = RGBColor(0xcf, 0xcf, 0xcf);
/// The step of a point is at least this many times that of the point before it.
const STRIDE: f64 = 1.06;
/// Smaller losses are drawn as this one, since single precision reaches no further.
const FLOOR: f64 = 1e-9;

/// The results of a rule.
struct Outcome {
    entry: &'static Entry,
    digits: Vec<Epoch>,
    rosenbrock: Path,
    quadratic: Path,
}

fn main() -> Result<()> {
    let file = std::env::args().nth(1).unwrap_or("examples/catalogue.svg".into());
    ensure!(file == "--check" || !file.starts_with('-'), "unknown option {file}; known: --check, or the file to draw");
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
    let picture = draw(&outcomes)?;
    if file == "--check" {
        let differences = table::differences(include_str!("../../../src/guide/rules.md"), &rows);
        ensure!(differences.is_empty(), "src/guide/rules.md does not have this table:\n{}", differences.join("\n"));
    } else {
        std::fs::write(file, picture)?;
    }
    Ok(())
}

/// The points of an outcome's line.
type Points<'a> = &'a dyn Fn(&Outcome) -> Vec<(f64, f64)>;

/// A row of three panels per rule: loss against step, that rule in colour, all others in grey.
fn draw(outcomes: &[Outcome]) -> Result<String> {
    let digits = |epoch: &Epoch| (epoch.steps as f64, epoch.train.loss);
    let tasks: [(&str, Points); 3] = [
        ("digits, training loss", &|outcome| outcome.digits.iter().map(digits).collect()),
        ("Rosenbrock's valley", &|outcome| losses(&outcome.rosenbrock, rosenbrock_value)),
        ("quadratic of condition 10,000", &|outcome| losses(&outcome.quadratic, quadratic_value)),
    ];
    let lines = |points: &dyn Fn(&Outcome) -> Vec<(f64, f64)>| -> Vec<Line> {
        let line = |outcome| Line { name: String::new(), color: GREY, points: thinned(points(outcome)) };
        outcomes.iter().map(line).collect()
    };
    let tasks = tasks.map(|(title, points)| (title, lines(points)));
    let rows = outcomes.len().div_ceil(RULES_PER_ROW) as u32;
    let size = (RULES_PER_ROW as u32 * 3 * PANEL.0, CAPTION_HEIGHT + rows * PANEL.1);
    let mut sheet = Sheet::new(size, PANEL, |area| captioned(area, CAPTION).map(|_| ()))?;
    for (column, (task, lines)) in (0..).zip(tasks) {
        let ground = sheet.ground(|area| chart("", lines.clone()).draw(area))?;
        for (rule, outcome) in outcomes.iter().enumerate() {
            let mut lines = lines.clone();
            lines[rule].color = COLOR;
            let title = format!("{}: {task}", outcome.entry.rule);
            let (row, group) = ((rule / RULES_PER_ROW) as u32, (rule % RULES_PER_ROW) as u32);
            let at = ((3 * group + column) * PANEL.0, CAPTION_HEIGHT + row * PANEL.1);
            sheet.panel(at, &ground, |area| chart(&title, lines).draw(area))?;
        }
    }
    Ok(sheet.finish())
}

fn chart(title: &str, lines: Vec<Line>) -> Chart<'_> {
    Chart { title, steps: "", values: "", x: Axis::Log, y: Axis::Log, key: false, lines }
}

/// The function's values at a path's points.
fn losses(path: &Path, value: fn(&[f64]) -> f64) -> Vec<(f64, f64)> {
    // Not with `max`, which would turn NaN into the best of all losses.
    let floored = |loss: f64| if loss < FLOOR { FLOOR } else { loss };
    path.iter().map(|(step, at)| (*step as f64, floored(value(at)))).collect()
}

/// As many points as a logarithmic axis can show, including the last one.
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
