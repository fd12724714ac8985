//! Ready-made sweeps.

use super::args::{Args, Preset, Sampler};
use super::groups;
use super::metric::Metric;
use crate::{names, rules};
use anyhow::Result;
use thalweg::sweep::{Domain, Point, SearchSpace};

/// Rates of each rule, as factors on the rate to start from.
const FACTORS: [f64; 5] = [0.1, 0.3, 1.0, 3.0, 10.0];

/// The rates of a range test.
const RATES: &str = "log:1e-5:10";

/// Fills in the options of a preset that were not given; `is_given` says which were.
pub fn fill(args: &mut Args, is_given: impl Fn(&str) -> bool) {
    let free = |name: &str| !is_given(name);
    match args.preset {
        None => {}
        Some(Preset::LrScan) => {
            if args.space.is_empty() {
                args.space = if args.groups { groups::scan(RATES) } else { vec![format!("lr={RATES}")] };
            }
            if free("sampler") {
                args.sampler = Sampler::Grid;
            }
            if free("grid_values") {
                args.grid_values = 31;
            }
            if free("epochs") {
                args.epochs = 5;
            }
            if free("metric") {
                args.metric = Some(Metric::Loss);
            }
        }
        Some(Preset::Rules) => {
            if args.space.is_empty() {
                let names: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
                args.space = vec![format!("rule=choice:{}", names.join(",")), "lr=log:1e-7:1e3".into()];
            }
            if free("seeds") {
                args.seeds = 3;
            }
        }
        Some(Preset::Seeds) => {
            if args.space.is_empty() {
                args.space.push(format!("rule=fixed:{}", args.recipe.rule));
            }
            if free("trials") {
                args.trials = 1;
            }
            if free("seeds") {
                args.seeds = 32;
            }
        }
    }
}

/// The points that a preset tries: each rule at the same number of rates around the rate to start from, so that all have the
/// same budget.
pub fn first(args: &Args, space: &SearchSpace) -> Result<Vec<Point>> {
    if args.preset != Some(Preset::Rules) {
        return Ok(Vec::new());
    }
    let known: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
    let mut points = Vec::new();
    let rules = match &space.parameter("rule")?.domain {
        Domain::Choice(rules) => rules.clone(),
        Domain::Fixed(rule) => vec![rule.clone()],
        _ => Vec::new(),
    };
    for rule in rules {
        let name = names::find("rule", &rule.to_string(), &known, names::RULES)?;
        let start = rules::starting_rate(name);
        points.extend(FACTORS.iter().map(|factor| Point::new().with("rule", name).with("lr", start * factor)));
    }
    Ok(points)
}
