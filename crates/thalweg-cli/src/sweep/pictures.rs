//! The pictures of a sweep: curves, the metric over each parameter, parallel axes, importance, descent.

use super::curves::{Curves, Key};
use super::metric::Metric;
use anyhow::Result;
use std::collections::BTreeMap;
use thalweg::sweep::{Coordinate, Domain, Parameter, Record, SearchSpace, Summary, Table};
use thalweg_chart::{
    Area, Axis, Bars, Chart, Descent, Dot, Line, Parallel, ParallelAxes, RGBColor, Scatter, Sheet, VERMILLION, captioned,
    picture, shade,
};

/// With more lines, they hide each other.
const MOST_LINES: usize = 300;
const PANEL: (u32, u32) = (320, 270);
/// The most panels in a row.
const COLUMNS: u32 = 3;
const BLUE: RGBColor = RGBColor(0, 90, 160);
const GREY: RGBColor = RGBColor(0xc4, 0xca, 0xd4);

/// What the pictures show.
pub struct Pictures<'a> {
    pub table: &'a Table,
    pub curves: &'a Curves,
    pub metric: Metric,
    /// The unit of a training's length.
    pub unit: &'static str,
    /// The importance of each parameter.
    pub importance: Option<&'a [(String, f64)]>,
}

impl Pictures<'_> {
    /// Names of files and their pictures.
    pub fn all(&self) -> Result<Vec<(&'static str, String)>> {
        let summaries: Vec<Summary> = self.table.summaries().into_iter().filter(|summary| summary.mean.is_finite()).collect();
        let Some(best) = self.table.best() else { return Ok(Vec::new()) };
        let mut all = vec![
            ("curves.svg", self.curves(&best)?),
            ("parameters.svg", self.parameters(&summaries, &best)?),
            ("parallel.svg", self.parallel(&summaries, &best)?),
        ];
        if let Some(shares) = self.importance.filter(|shares| shares.len() > 1) {
            all.push(("importance.svg", importance(shares)?));
        }
        if self.table.records().iter().any(|record| record.parent.is_some()) {
            all.push(("population.svg", self.population(&best)?));
        }
        Ok(all)
    }

    /// A metric as it is drawn: an accuracy in percent.
    fn drawn(&self, metric: f64) -> f64 {
        if self.metric == Metric::Accuracy { 100.0 * metric } else { metric }
    }

    fn metric_name(&self) -> &'static str {
        match self.metric {
            Metric::Accuracy => "accuracy in %",
            Metric::Loss => "loss",
            Metric::R2 => "R²",
            Metric::Mae => "mean absolute error",
            Metric::Rmse => "root mean squared error",
        }
    }

    fn metric_axis(&self) -> Axis {
        match self.metric {
            Metric::Accuracy | Metric::R2 => Axis::Linear(f64::MAX, f64::MIN),
            Metric::Loss | Metric::Mae | Metric::Rmse => Axis::Log,
        }
    }

    fn caption(&self, best: &Summary) -> String {
        let trials = self.table.summaries().len();
        let best = format!("best: trial {}, {} {}", best.trial, self.metric.name(), self.metric.shown(best.mean));
        format!("{trials} trials; {best}")
    }

    /// The training loss of all trials by epoch, and their metric at each evaluation.
    fn curves(&self, best: &Summary) -> Result<String> {
        let losses =
            self.curves.0.iter().map(|((trial, ..), curve)| {
                (*trial, curve.iter().map(|(&epoch, &loss)| (epoch as f64, loss)).collect::<Vec<_>>())
            });
        let losses = lines(losses.collect(), best.trial);
        let mut looks: BTreeMap<Key, Vec<(f64, f64)>> = BTreeMap::new();
        for record in self.table.records() {
            if let Some(metric) = record.metric {
                let look = (record.steps as f64, self.drawn(metric));
                looks.entry((record.trial, record.fold, record.seed)).or_default().push(look);
            }
        }
        let looks = lines(looks.into_iter().map(|((trial, ..), looks)| (trial, looks)).collect(), best.trial);
        let chart =
            |title, values, y, lines| Chart { title, steps: self.unit, values, x: Axis::Count(1), y, key: false, lines };
        let loss = chart("Training loss", "loss", Axis::Log, losses);
        let metric = chart("Validation", self.metric_name(), self.metric_axis(), looks);
        let caption = format!("{} (in colour)", self.caption(best));
        picture((900, 370), |area| {
            let charts = captioned(area, &caption)?;
            let [left, right] = thalweg_chart::beside(&charts);
            loss.draw(&left)?;
            metric.draw(&right)
        })
    }

    /// The metric over each parameter: small multiples.
    fn parameters(&self, summaries: &[Summary], best: &Summary) -> Result<String> {
        let shown: Vec<&Parameter> = self.table.space().parameters().iter().collect();
        let rows = (shown.len() as u32).div_ceil(COLUMNS).max(1);
        let caption = format!("{} (cross)", self.caption(best));
        let alike = summaries.iter().all(|summary| summary.steps == best.steps);
        let caption = if alike { caption } else { format!("{caption}; dark points had more {}", self.unit) };
        // The caption needs more width than one panel.
        let columns = (shown.len() as u32).clamp(2 - u32::from(alike), COLUMNS);
        let size = (columns * PANEL.0, rows * PANEL.1 + 30);
        let mut sheet = Sheet::new(size, PANEL, |area| captioned(area, &caption).map(|_| ()))?;
        let ground = sheet.ground(|_| Ok(()))?;
        for (i, parameter) in shown.into_iter().enumerate() {
            let i = i as u32;
            let at = (i % COLUMNS * PANEL.0, i / COLUMNS * PANEL.1 + 30);
            sheet.panel(at, &ground, |area| self.parameter(area, parameter, summaries, best))?;
        }
        Ok(sheet.finish())
    }

    fn parameter(&self, area: &Area, parameter: &Parameter, summaries: &[Summary], best: &Summary) -> Result<()> {
        let most = summaries.iter().map(|summary| summary.steps).max().unwrap_or(1).max(1) as f64;
        let names = names_of(&parameter.domain);
        let mut dots = Vec::new();
        for summary in summaries {
            let Some(value) = summary.point.get(&parameter.name) else { continue };
            let (metric, best) = (self.drawn(summary.mean), summary.trial == best.trial);
            let color = shade(0.25 + 0.6 * (summary.steps as f64 / most).sqrt());
            match &names {
                Some(names) => {
                    let row = names.iter().position(|name| *name == value.to_string()).unwrap_or(0) as f64;
                    dots.push(Dot { x: metric, y: row, color, best });
                }
                None => dots.push(Dot { x: value.as_f64().unwrap_or(f64::NAN), y: metric, color, best }),
            }
        }
        let title = &*parameter.name;
        match &names {
            Some(names) => {
                let (names_of_axes, x) = ((self.metric_name(), ""), self.metric_axis());
                Scatter { title, names: names_of_axes, x, y: Err(names), diagonal: false, dots }.draw(area)
            }
            None => {
                let (names_of_axes, x) = ((title, self.metric_name()), axis_of(&parameter.domain));
                Scatter { title: "", names: names_of_axes, x, y: Ok(self.metric_axis()), diagonal: false, dots }.draw(area)
            }
        }
    }

    /// A line for each trial across the parameters and the metric.
    fn parallel(&self, summaries: &[Summary], best: &Summary) -> Result<String> {
        let goal = self.table.goal();
        let mut ranked: Vec<&Summary> = summaries.iter().collect();
        // The best is the last, so that it is drawn over the others.
        ranked.sort_by(|a, b| goal.cost(b.mean).total_cmp(&goal.cost(a.mean)));
        ranked.retain(|summary| summary.trial != best.trial);
        let start = ranked.len().saturating_sub(MOST_LINES);
        let mut shown = ranked.split_off(start);
        let own = summaries.iter().find(|summary| summary.trial == best.trial);
        shown.extend(own);
        let means = || shown.iter().map(|summary| self.drawn(summary.mean));
        let (low, high) = (means().fold(f64::MAX, f64::min), means().fold(f64::MIN, f64::max));
        let share = |mean: f64| if high > low { (self.drawn(mean) - low) / (high - low) } else { 0.5 };
        let parameters = self.table.space().parameters();
        let count = shown.len().max(2) - 1;
        let line = |(i, summary): (usize, &&Summary)| {
            let mut places: Vec<Option<f64>> = parameters
                .iter()
                .map(|parameter| summary.point.get(&parameter.name).map(|value| parameter.domain.share(value)))
                .collect();
            places.push(Some(share(summary.mean)));
            (places, shade(i as f64 / count as f64))
        };
        let lines = shown.iter().enumerate().map(line).collect();
        let mut axes: Vec<Parallel> = parameters.iter().map(parallel).collect();
        let ends = [(0.0, low), (1.0, high)].map(|(share, metric)| (share, format!("{metric:.4}")));
        axes.push(Parallel { name: self.metric_name().into(), marks: ends.into() });
        let title = format!("{} (thick); the darker the better", self.caption(best));
        let width = 160 + 150 * axes.len() as u32;
        picture((width.max(480), 420), |area| ParallelAxes { title: &title, axes, lines }.draw(area))
    }

    /// Which members were copied over which, and how parameters changed.
    fn population(&self, best: &Summary) -> Result<String> {
        let place =
            |record: &&Record| record.fold == best_place(self.table, best).0 && record.seed == best_place(self.table, best).1;
        let records: Vec<&Record> = self.table.records().iter().filter(place).collect();
        let rounds = records.iter().map(|record| record.rung).max().unwrap_or(0) as usize + 1;
        let members = records.iter().map(|record| record.trial).max().unwrap_or(0) as usize + 1;
        let at = |member: usize, round: usize| {
            records.iter().find(|record| record.trial == member as u64 && record.rung == round as u64).copied()
        };
        let ends: Vec<f64> =
            (0..rounds).map(|round| (0..members).find_map(|m| at(m, round)).map_or(0.0, |r| r.steps as f64)).collect();
        let path = path(best.trial as usize, rounds, at);
        let copies = records.iter().filter_map(|record| {
            record
                .parent
                .filter(|_| record.rung > 0)
                .map(|parent| (record.rung as usize - 1, parent as usize, record.trial as usize))
        });
        let copies = copies.collect();
        let goal = self.table.goal();
        let costs = || records.iter().filter_map(|record| record.metric).map(|metric| goal.cost(metric));
        let (low, high) = (costs().fold(f64::MAX, f64::min), costs().fold(f64::MIN, f64::max));
        let color = |member: usize, round: usize| match at(member, round).and_then(|record| record.metric) {
            Some(metric) => shade(1.0 - (goal.cost(metric) - low) / (high - low).max(f64::MIN_POSITIVE)),
            None => GREY,
        };
        let colors = (0..members).map(|member| (0..rounds).map(|round| color(member, round)).collect()).collect();
        let names: Vec<String> = (0..members).map(|member| member.to_string()).collect();
        let title = format!("{}: its descent (thick); the darker the better", self.caption(best));
        let descent = Descent {
            title: &title,
            steps: self.unit,
            members: &names,
            rounds: ends.clone(),
            colors,
            copies,
            path: path.clone(),
        };
        let moved: Vec<&Parameter> = moved(self.table.space(), &records);
        let height = 90 + 16 * members as u32;
        let columns = COLUMNS * 320;
        let rows = (moved.len() as u32).div_ceil(COLUMNS);
        picture((columns, height + rows * PANEL.1), |area| {
            let (above, below) = area.split_vertically((height * 10) as i32);
            descent.draw(&above)?;
            for (area, parameter) in below.split_evenly((rows.max(1) as usize, COLUMNS as usize)).iter().zip(moved) {
                schedule(area, parameter, self.unit, members, &ends, &path, at)?;
            }
            Ok(())
        })
    }
}

/// The fold and seed of the best trial that pictures show: its first.
fn best_place(table: &Table, best: &Summary) -> (Option<u64>, Option<u64>) {
    table.rows_of(best.trial).next().map_or((None, None), |record| (record.fold, record.seed))
}

/// For each round, the member from which the last one descends.
fn path<'a>(last: usize, rounds: usize, at: impl Fn(usize, usize) -> Option<&'a Record>) -> Vec<usize> {
    let mut path = vec![last; rounds];
    for round in (0..rounds.saturating_sub(1)).rev() {
        let next = path[round + 1];
        path[round] = at(next, round + 1).and_then(|record| record.parent).map_or(next, |parent| parent as usize);
    }
    path
}

/// The parameters that changed in some member.
fn moved<'a>(space: &'a SearchSpace, records: &[&Record]) -> Vec<&'a Parameter> {
    let values = |name: &str, trial: u64| {
        records
            .iter()
            .filter(move |record| record.trial == trial)
            .map(|record| record.point.get(name).cloned())
            .collect::<Vec<_>>()
    };
    let changes = |parameter: &&Parameter| {
        records.iter().any(|record| {
            let values = values(&parameter.name, record.trial);
            values.windows(2).any(|pair| pair[0] != pair[1])
        })
    };
    space
        .parameters()
        .iter()
        .filter(|parameter| parameter.domain.count().is_none() || !matches!(parameter.domain, Domain::Choice(_)))
        .filter(changes)
        .collect()
}

/// A parameter of all members over the rounds, with the descent of the best in colour.
fn schedule<'a>(
    area: &Area,
    parameter: &Parameter,
    unit: &str,
    members: usize,
    ends: &[f64],
    path: &[usize],
    at: impl Fn(usize, usize) -> Option<&'a Record>,
) -> Result<()> {
    let value = |member: usize, round: usize| at(member, round)?.point.get(&parameter.name).and_then(Coordinate::as_f64);
    let of = |member_in: &dyn Fn(usize) -> usize| -> Vec<(f64, f64)> {
        (0..ends.len()).filter_map(|round| Some((ends[round], value(member_in(round), round)?))).collect()
    };
    let mut lines: Vec<Line> =
        (0..members).map(|member| Line { name: String::new(), color: GREY, points: of(&|_| member) }).collect();
    lines.push(Line { name: String::new(), color: VERMILLION, points: of(&|round| path[round]) });
    let (x, y) = (Axis::Linear(0.0, 0.0), axis_of(&parameter.domain));
    Chart { title: &parameter.name, steps: unit, values: "", x, y, key: false, lines }.draw(area)
}

/// The curves of trials; that of the best comes last and in colour.
fn lines(mut curves: Vec<(u64, Vec<(f64, f64)>)>, best: u64) -> Vec<Line> {
    curves.sort_by_key(|(trial, _)| *trial == best);
    let stride = curves.len().div_ceil(MOST_LINES).max(1);
    let line = |(trial, points): (u64, Vec<(f64, f64)>)| Line {
        name: String::new(),
        color: if trial == best { VERMILLION } else { GREY },
        points,
    };
    // Counted from the end, so that the best is kept.
    let mut shown: Vec<Line> = curves.into_iter().rev().step_by(stride).map(line).collect();
    shown.reverse();
    shown
}

fn importance(shares: &[(String, f64)]) -> Result<String> {
    let mut sorted = shares.to_vec();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (names, lengths): (Vec<String>, Vec<f64>) = sorted.into_iter().unzip();
    let size = (520, 100 + 26 * names.len() as u32);
    let title = "Importance of parameters by fANOVA";
    let bars = Bars {
        title,
        measure: "share of the variance that a parameter explains by itself",
        names: &names,
        lengths,
        color: BLUE,
    };
    picture(size, |area| bars.draw(area))
}

/// The values of a domain as names, if they are not numbers or are few.
fn names_of(domain: &Domain) -> Option<Vec<String>> {
    match domain {
        Domain::Choice(values) => Some(values.iter().map(Coordinate::to_string).collect()),
        Domain::Fixed(value) => Some(vec![value.to_string()]),
        _ => None,
    }
}

fn axis_of(domain: &Domain) -> Axis {
    match domain {
        Domain::LogUniform { .. } | Domain::LogInteger { .. } => Axis::Log,
        _ => Axis::Linear(f64::MAX, f64::MIN),
    }
}

/// The axis of a parameter among parallel ones.
fn parallel(parameter: &Parameter) -> Parallel {
    let domain = &parameter.domain;
    let marks = match names_of(domain) {
        Some(names) => names.iter().map(|name| (domain.share(&Coordinate::read(name)), name.clone())).collect(),
        None => [0.0, 0.5, 1.0].map(|share| (share, shown(&domain.at(share)))).into(),
    };
    Parallel { name: parameter.name.clone(), marks }
}

/// A value in few digits.
fn shown(value: &Coordinate) -> String {
    match value {
        Coordinate::Float(float) => crate::data::short(format!("{float:.2e}").parse().unwrap_or(*float)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_descends_from_whom_it_was_copied() {
        let space: SearchSpace = "lr=log:1e-3:1".parse().expect("a space");
        let mut study = thalweg::sweep::Study::new(space, thalweg::sweep::Goal::Minimize, thalweg::sweep::Random::default());
        let trials = study.ask(2).expect("trials");
        let row = |member: usize, rung: u64, parent: Option<u64>| Record { rung, parent, ..Record::new(&trials[member]) };
        // Member 1 was copied over member 0 after the first round.
        let rows = [row(0, 0, None), row(1, 0, None), row(0, 1, Some(1)), row(1, 1, None), row(0, 2, None), row(1, 2, None)];
        let at = |member: usize, round: usize| rows.iter().find(|row| (row.trial, row.rung) == (member as u64, round as u64));
        assert_eq!(path(0, 3, at), [1, 0, 0]);
        assert_eq!(path(1, 3, at), [1, 1, 1]);
    }
}
