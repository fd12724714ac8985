//! `thalweg schedules`: the choices for `--schedule`, and their values.

use crate::Usage;
use crate::numbers::whole;
use crate::settings::{self, Pairs, Scheduled};
use anyhow::{Context, Result};
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thalweg::schedule::{Listing, ReduceLrOnPlateau, Schedule, factors};
use thalweg_chart::{Axis, Chart, Line, MAX_POINTS, RGBColor, picture};

const EXAMPLES: &str = "\
Examples:
  thalweg schedules
  thalweg schedules one_cycle pct_start=0.2 --steps 200 --plot one_cycle.svg";

const SIZE: (u32, u32) = (500, 340);
const COLOR: RGBColor = RGBColor(0x1f, 0x77, 0xb4);

/// List the schedules with formulas, settings and defaults; or print or draw the values of one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The schedule whose values to print [default: list all schedules]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Its settings
    #[arg(value_name = "KEY=VALUE,…")]
    settings: Vec<Pairs>,

    /// How many values to print. Also the length of a schedule, including its warm-up, if it needs a length and none is given
    #[arg(
        long,
        value_name = "N",
        default_value = "100",
        requires = "name",
        value_parser = whole::<u64>(1..=u64::MAX),
        allow_negative_numbers = true
    )]
    steps: u64,

    /// Draw the values into this file instead of printing them
    #[arg(long, value_name = "FILE.svg", requires = "name", conflicts_with = "json")]
    plot: Option<PathBuf>,

    /// Print one JSON object per schedule or per value instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let Some(name) = args.name else { return list(args.json) };
    if let Some(file) = args.plot.as_ref().filter(|file| !is_svg(file)) {
        let file = file.display();
        return Err(Usage(format!("--plot writes SVG, and {file} has another ending; take one that ends in .svg")).into());
    }
    let settings = args.settings.into_iter().flat_map(|Pairs(pairs)| pairs).collect();
    let scheduled = Scheduled { name, settings }.named().map_err(|error| Usage(error.to_string()))?;
    if scheduled.is_plateau() {
        return Err(Usage("plateau follows the loss of a run, so there are no values to print".into()).into());
    }
    let (scheduled, schedule) = scheduled.make(args.steps).map_err(|error| Usage(error.to_string()))?;
    match args.plot {
        None => print(&schedule, args.steps, args.json),
        Some(file) => draw(&scheduled.to_string(), &schedule, args.steps, &file),
    }
}

fn is_svg(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"))
}

fn list(json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    let listings = factors().into_iter().chain([ReduceLrOnPlateau::factor_listing()]);
    for (index, Listing { name, formula, settings, .. }) in listings.enumerate() {
        if json {
            let settings = settings::object(&settings);
            writeln!(out, "{}", json!({ "name": name, "formula": formula, "settings": settings }))?;
        } else {
            let gap = if index > 0 { "\n" } else { "" };
            let settings = settings::line(&settings);
            writeln!(out, "{gap}{name}\n  formula   {formula}\n  settings  {settings}")?;
        }
    }
    Ok(())
}

fn print(schedule: &Schedule, steps: u64, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    for step in 0..steps {
        let value = schedule.value(step);
        if json {
            writeln!(out, "{}", json!({ "step": step, "value": value }))?;
        } else {
            writeln!(out, "{step} {value}")?;
        }
    }
    Ok(())
}

fn draw(name: &str, schedule: &Schedule, steps: u64, file: &Path) -> Result<()> {
    let stride = steps.div_ceil(MAX_POINTS as u64);
    let points = (0..steps).step_by(stride as usize).chain([steps - 1]).map(|step| (step as f64, schedule.value(step)));
    let line = Line { name: name.into(), color: COLOR, points: points.collect() };
    let (x, y) = (Axis::Count(0), Axis::Linear(0.0, 0.0));
    let chart = Chart { title: name, steps: "step", values: "factor on the rate", x, y, key: false, lines: vec![line] };
    let picture = picture(SIZE, |area| chart.draw(area)).context("cannot draw the schedule")?;
    crate::out::replace(file, picture.as_bytes())
}
