//! The result of a sweep, as text and as JSON.

use super::args::{Args, Preset};
use super::cut::Cut;
use super::metric::Metric;
use super::progress::duration;
use super::said::Tested;
use crate::data::short;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use thalweg::sweep::{self, Goal, Point, Status, Study, Summary, Table, importance};

/// What is nearly the best: times its loss or error, and below its accuracy or R².
pub const NEAR_LOSS: f64 = 1.1;
pub const NEAR_ACCURACY: f64 = 0.02;

/// What came out of a sweep.
pub struct Outcome {
    metric: Metric,
    preset: Option<Preset>,
    pub best: Option<Summary>,
    pub trials: usize,
    /// Trials that have ended.
    pub done: usize,
    counts: [usize; 3],
    /// The importance of each parameter; none if too few trials were trained to the end.
    pub importance: Option<Vec<(String, f64)>>,
    /// The best trial of each rule, if rules were compared.
    rules: Vec<Summary>,
    /// The unit of a training's length.
    unit: &'static str,
    /// The rows by which trials were compared.
    rows: String,
    /// The smallest and the largest rate that do nearly as well as the best, if rates were scanned; and those of the other
    /// tensors.
    rates: [Option<(f64, f64)>; 2],
    /// The options with which `train` trains the best settings.
    pub train: Option<Vec<String>>,
    /// The scores of the best settings on the test data, after training on all training data.
    pub refit: Option<Tested>,
    /// The numbers of the best trials, and the scores of the mean of their models.
    pub ensemble: Option<(Vec<u64>, Tested)>,
}

impl Outcome {
    pub fn new(args: &Args, cut: &Cut, study: &Study, table: &Table) -> Self {
        let summaries = table.summaries();
        let counts = [Status::Complete, Status::Stopped, Status::Failed]
            .map(|status| summaries.iter().filter(|summary| summary.status == status).count());
        let shares = importance(study.space(), study.goal(), study.trials(), args.seed).ok();
        let names = study.space().parameters().iter().map(|parameter| parameter.name.clone());
        Self {
            metric: args.metric(),
            preset: args.preset,
            best: table.best(),
            trials: summaries.len(),
            done: counts.iter().sum(),
            counts,
            importance: shares.map(|shares| names.zip(shares).collect()),
            rules: if args.preset == Some(Preset::Rules) { best_of_rules(&summaries, table) } else { Vec::new() },
            unit: args.unit(),
            rows: cut.compared_on(),
            rates: RATES.map(|name| nearly_best(name, &summaries, table).filter(|_| args.preset == Some(Preset::LrScan))),
            train: None,
            refit: None,
            ensemble: None,
        }
    }

    /// A metric with its deviation.
    fn shown(&self, summary: &Summary) -> String {
        let mean = self.metric.shown(summary.mean);
        if summary.runs > 1 {
            format!("{mean} ± {} over {} runs", self.metric.shown(summary.deviation), summary.runs)
        } else {
            mean
        }
    }

    /// As text: the result and further notes.
    pub fn text(&self, steps: u64, seconds: f64) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(best) = &self.best {
            lines.push(format!(
                "best of {} trials: trial {}, {} {} on {} after {} {}: {}",
                self.trials,
                best.trial,
                self.metric.name(),
                self.shown(best),
                self.rows,
                best.steps,
                self.unit,
                best.point
            ));
        }
        for (rates, of) in self.rates.into_iter().zip(["", " of the others"]) {
            let Some((from, to)) = rates else { continue };
            let (from, to) = (short(from), short(to));
            lines.push(format!("rates{of} from {from} to {to} do nearly as well: {}", self.metric.near()));
        }
        for rule in &self.rules {
            let lr = rule.point.get("lr").map_or(String::new(), |lr| format!(" at lr = {lr}"));
            lines.push(format!("{}: {}{lr}", name_of_rule(&rule.point), self.shown(rule)));
        }
        if let Some(refit) = self.refit {
            lines.push(format!("trained on all training data: {}", refit.text()));
        }
        if let Some((trials, tested)) = &self.ensemble {
            lines.push(format!("mean of the best {} trials, trained on all training data: {}", trials.len(), tested.text()));
        }
        if let Some(train) = &self.train {
            let words: Vec<String> = train.iter().map(|word| quoted(word)).collect();
            lines.push(format!("to train it alone: thalweg train {}", words.join(" ")));
        }
        if let Some(shares) = self.importance.as_ref().filter(|shares| shares.len() > 1) {
            let shares: Vec<String> = shares.iter().map(|(name, share)| format!("{name} {:.0} %", 100.0 * share)).collect();
            lines.push(format!("importance (fANOVA, of the variance among trials trained to the end): {}", shares.join(", ")));
        }
        let [complete, stopped, failed] = self.counts;
        lines.push(format!(
            "{complete} trials complete, {stopped} stopped, {failed} failed; {steps} model-steps in {}",
            if seconds < 60.0 { format!("{seconds:.2} s") } else { duration(seconds) }
        ));
        lines
    }

    /// As JSON.
    pub fn json(&self, steps: u64, seconds: f64) -> Value {
        let [complete, stopped, failed] = self.counts;
        let shares = self.importance.as_ref().map(|shares| shares.iter().cloned().collect::<BTreeMap<_, _>>());
        json!({
            "best": self.best.as_ref().map(summary),
            "rules": self.rules.iter().map(summary).collect::<Vec<_>>(),
            "rates": self.rates[0].map(|(from, to)| [from, to]),
            "rates_of_others": self.rates[1].map(|(from, to)| [from, to]),
            "train": self.train,
            "refit": self.refit.map(Tested::json),
            "ensemble": self.ensemble.as_ref().map(|(trials, tested)| json!({ "trials": trials, "tested": tested.json() })),
            "trials": self.trials,
            "complete": complete,
            "stopped": stopped,
            "failed": failed,
            "importance": shares,
            "importance_method": self.importance.as_ref().map(|_| "fanova"),
            "model_steps": steps,
            "seconds": seconds,
            "preset": self.preset.as_ref().map(super::args::chosen),
        })
    }
}

fn summary(summary: &Summary) -> Value {
    json!({
        "trial": summary.trial,
        "settings": settings(&summary.point),
        "mean": summary.mean,
        "deviation": summary.deviation,
        "runs": summary.runs,
        "steps": summary.steps,
        "status": summary.status.to_string(),
    })
}

/// The values of a point as an object.
pub fn settings(point: &Point) -> Map<String, Value> {
    let value = |value: &sweep::Coordinate| match value {
        sweep::Coordinate::Switch(switch) => json!(switch),
        sweep::Coordinate::Int(int) => json!(int),
        sweep::Coordinate::Float(float) => json!(float),
        sweep::Coordinate::Text(text) => json!(text),
    };
    point.iter().map(|(name, own)| (name.to_string(), value(own))).collect()
}

fn name_of_rule(point: &Point) -> String {
    point.get("rule").map_or(String::new(), ToString::to_string)
}

/// Parameters that are rates.
const RATES: [&str; 2] = ["lr", "others.lr"];

/// The range of rates around the best one, without a gap, whose metric is nearly that of the best: among the trials with a rate
/// of that name.
fn nearly_best(name: &str, summaries: &[Summary], table: &Table) -> Option<(f64, f64)> {
    let rate = |summary: &Summary| summary.point.get(name).and_then(sweep::Coordinate::as_f64);
    let best = best_of(table, usize::MAX).into_iter().find(|summary| rate(summary).is_some() && summary.mean.is_finite())?;
    let near = |summary: &Summary| match table.goal() {
        Goal::Minimize => summary.mean <= NEAR_LOSS * best.mean,
        Goal::Maximize => summary.mean >= best.mean - NEAR_ACCURACY,
    };
    let mut scanned: Vec<(f64, bool)> = summaries.iter().filter_map(|summary| Some((rate(summary)?, near(summary)))).collect();
    scanned.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = scanned.iter().position(|(lr, _)| Some(*lr) == rate(&best))?;
    let from = scanned[..at].iter().rposition(|(_, near)| !near).map_or(0, |last| last + 1);
    let to = scanned[at..].iter().position(|(_, near)| !near).map_or(scanned.len(), |first| at + first) - 1;
    Some((scanned[from].0, scanned[to].0))
}

/// A word, quoted for a shell if necessary.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=.,:/+".contains(c);
    if word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// The best trials that were trained to the end, the best first.
pub fn best_of(table: &Table, count: usize) -> Vec<Summary> {
    let goal = table.goal();
    let mut best: Vec<Summary> = table.summaries().into_iter().filter(|summary| summary.status == Status::Complete).collect();
    best.sort_by(|a, b| goal.cost(a.mean).total_cmp(&goal.cost(b.mean)));
    best.truncate(count);
    best
}

/// The best trial of each rule that was trained to the end, the best rule first.
fn best_of_rules(summaries: &[Summary], table: &Table) -> Vec<Summary> {
    let goal = table.goal();
    let mut best: BTreeMap<String, &Summary> = BTreeMap::new();
    for summary in summaries.iter().filter(|summary| summary.status == Status::Complete) {
        let own = best.entry(name_of_rule(&summary.point)).or_insert(summary);
        if goal.cost(summary.mean) < goal.cost(own.mean) {
            *own = summary;
        }
    }
    let mut best: Vec<Summary> = best.into_values().cloned().collect();
    best.sort_by(|a, b| goal.cost(a.mean).total_cmp(&goal.cost(b.mean)));
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::sweep::{Grid, Record, SearchSpace};

    #[test]
    fn rates_that_do_nearly_as_well_have_no_gap() {
        let space: SearchSpace = "lr=choice:0.001,0.01,0.1,1.0,10.0,100.0".parse().expect("a space");
        let grid = Grid::new(&space, 1).expect("a grid");
        let mut study = Study::new(space.clone(), Goal::Minimize, grid);
        let mut table = Table::new(space, Goal::Minimize);
        // The first is as good by chance, and the last is not finite.
        for (trial, loss) in study.ask(6).expect("trials").iter().zip([0.5, 0.9, 0.52, 0.5, 0.54, f64::NAN]) {
            table.push(Record::new(trial).scored(1, loss, Status::Complete)).expect("a row");
        }
        assert_eq!(table.best().map(|best| best.trial), Some(0));
        assert_eq!(nearly_best("lr", &table.summaries(), &table), Some((0.001, 0.001)));
        let trial = study.trials()[0].clone();
        table.push(Record::new(&trial).scored(1, 0.8, Status::Complete)).expect("a row");
        assert_eq!(nearly_best("lr", &table.summaries(), &table), Some((0.1, 10.0)));
    }

    #[test]
    fn words_are_quoted_where_shells_ask_for_it() {
        assert_eq!(quoted("--set=lr=1e-3"), "--set=lr=1e-3");
        assert_eq!(quoted("--data=my file's.csv"), "'--data=my file'\\''s.csv'");
    }
}
