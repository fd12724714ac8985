//! A sweep: asks for trials, has them trained as its strategy says, and keeps the table.

use super::halving::{Bracket, Halving, Hyperband};
use super::point::Point;
use super::population::PopulationBased;
use super::stopping::{FoldStopping, MedianStopping, Patience, Score};
use super::study::{Outcome, Study, Trial};
use super::table::{Record, Status, Table};
use crate::error::{Error, Result, range};

/// One training that a sweep wants: a trial on a fold, from a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The trial.
    pub trial: u64,
    /// The fold to validate on, if the sweep has folds.
    pub fold: Option<u64>,
    /// The seed to start from, if the sweep has seeds.
    pub seed: Option<u64>,
    /// The values of its parameters. A population changes them between calls.
    pub point: Point,
}

/// What trains the jobs of a sweep: one after the other, or as lanes of a population.
///
/// A closure that takes jobs and steps implements it.
pub trait Train {
    /// Trains each job on until it has made `steps` steps in all, and returns the metric of each.
    ///
    /// A job of an earlier call, with the same trial, fold and seed, goes on where it was; different jobs may be at different
    /// steps. One that the trainer does not know starts from the beginning, also where a sweep is resumed. The result of a job
    /// must not depend on the other jobs of the call.
    ///
    /// # Errors
    ///
    /// An error ends the sweep. For a job that went wrong by itself, return a metric that is not finite instead.
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>>;

    /// The most jobs of a call, at least 1: as many as there is memory for. If there are more, they are trained in waves, which
    /// changes no result.
    fn capacity(&self) -> usize {
        usize::MAX
    }

    /// All jobs of trial `to` take over the parameters and the state of those of trial `from`, fold by fold and seed by seed.
    ///
    /// # Errors
    ///
    /// By default, that this trainer cannot copy. Only population-based training copies.
    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        Err(Error::setting(
            "strategy",
            "population",
            &format!("one without copies of lanes ({from} → {to}): this trainer has none"),
        ))
    }

    /// These trials are not trained any further, so what is kept for them may be dropped.
    fn forget(&mut self, trials: &[u64]) {
        let _ = trials;
    }
}

impl<F: FnMut(&[Job], u64) -> Result<Vec<f64>>> Train for F {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        self(jobs, steps)
    }
}

/// Which trials are stopped early.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Stopping {
    /// Those that are worse than the median of others.
    Median(MedianStopping),
    /// Those that have not improved for some time.
    Patience(Patience),
}

/// How a sweep spends its steps.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Strategy {
    /// Every trial is trained to the end.
    Plain {
        /// Steps of a trial.
        steps: u64,
    },
    /// Trials are scored at regular steps, and some are stopped.
    Stopping {
        /// Steps of a trial that is not stopped.
        steps: u64,
        /// Steps between scores, at least 1.
        every: u64,
        /// Which are stopped.
        rule: Stopping,
    },
    /// Folds are trained one after the other, and after each fold those trials are stopped that are clearly worse than the
    /// best.
    ///
    /// The best is the best of the trials that have all their folds. Before there is one, it is the trial of the batch with the
    /// best mean so far.
    Folds {
        /// Steps of a trial on each fold.
        steps: u64,
        /// Which are stopped.
        rule: FoldStopping,
    },
    /// One bracket of successive halving.
    Halving(Halving),
    /// All brackets of Hyperband side by side.
    Hyperband(Hyperband),
    /// Population-based training: all trials are members.
    Population {
        /// Steps of each member.
        steps: u64,
        /// Steps between rounds, at least 1.
        every: u64,
        /// Which members take over which.
        rule: PopulationBased,
    },
}

/// A sweep over the trials of a [`Study`].
///
/// # Examples
///
/// Successive halving over learning rates on the loss x², whose gradient is 2 x:
///
/// ```
/// use std::collections::HashMap;
/// use thalweg::sweep::{Goal, Halving, Job, Random, SearchSpace, Status, Strategy, Study, Sweep, Table};
///
/// let space: SearchSpace = "lr=log:1e-3:10".parse()?;
/// let mut study = Study::new(space.clone(), Goal::Minimize, Random { seed: 1 });
/// let mut table = Table::new(space, Goal::Minimize);
/// let mut models: HashMap<u64, (f64, u64)> = HashMap::new();
/// let mut train = |jobs: &[Job], steps: u64| {
///     let loss = |job: &Job| {
///         let lr = job.point.get("lr").and_then(|lr| lr.as_f64()).unwrap();
///         let (x, made) = models.entry(job.trial).or_insert((1.0, 0));
///         (*made..steps).for_each(|_| *x -= lr * 2.0 * *x);
///         *made = steps;
///         *x * *x
///     };
///     Ok(jobs.iter().map(loss).collect())
/// };
/// let sweep = Sweep { trials: 27, ..Sweep::new(Strategy::Halving(Halving { min_steps: 3, max_steps: 81, eta: 3 })) };
/// sweep.run(&mut study, &mut table, &mut train, |_| Ok(()))?;
/// let complete = table.summaries().iter().filter(|summary| summary.status == Status::Complete).count();
/// assert_eq!((table.summaries().len(), complete), (27, 1));
/// assert!(table.best().unwrap().mean < 1e-9);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Sweep {
    /// How steps are spent.
    pub strategy: Strategy,
    /// Trials in all, at least 1; 64 unless set.
    #[cfg_attr(feature = "serde", serde(default = "trials"))]
    pub trials: usize,
    /// How many trials the sampler is asked for at a time, before it knows their results; at least 1, 32 by default. Halving,
    /// Hyperband and populations ask for all at once.
    #[cfg_attr(feature = "serde", serde(default = "batch"))]
    pub batch: usize,
    /// Each trial is trained once for every fold; 0, for no folds, unless set.
    #[cfg_attr(feature = "serde", serde(default))]
    pub folds: u64,
    /// Each trial is trained once from every seed; once, if there are no seeds, which is the default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub seeds: Vec<u64>,
}

/// Trials of a sweep unless set.
fn trials() -> usize {
    64
}

/// Trials that are asked for at a time unless set.
fn batch() -> usize {
    32
}

impl Sweep {
    /// A sweep with 64 trials in batches of 32, without folds and seeds.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, trials: trials(), batch: batch(), folds: 0, seeds: Vec::new() }
    }

    /// Checks the settings against each other and against the space of the study.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for settings out of their ranges, [`Error::Duplicate`] for a seed that is given twice, and those of
    /// the strategy.
    pub fn check(&self, study: &Study) -> Result<()> {
        range::require(self.trials > 0, "trials", self.trials, "at least 1")?;
        range::require(self.batch > 0, "batch", self.batch, "at least 1")?;
        for (i, seed) in self.seeds.iter().enumerate() {
            if self.seeds[..i].contains(seed) {
                return Err(Error::Duplicate { kind: "seed".into(), name: seed.to_string() });
            }
        }
        let spaced = |steps: u64, every: u64| {
            range::require(every > 0, "every", every, "at least 1")?;
            range::require(
                steps > 0 && steps.is_multiple_of(every),
                "steps",
                steps,
                &format!("a multiple of every = {every}, above 0"),
            )
        };
        match &self.strategy {
            Strategy::Plain { steps } => range::require(*steps > 0, "steps", steps, "at least 1"),
            Strategy::Stopping { steps, every, rule } => {
                spaced(*steps, *every)?;
                if let Stopping::Patience(patience) = rule { patience.check() } else { Ok(()) }
            }
            Strategy::Folds { steps, rule } => {
                range::require(*steps > 0, "steps", steps, "at least 1")?;
                range::require(self.folds >= 2, "folds", self.folds, "at least 2, as they are compared")?;
                rule.check()
            }
            Strategy::Halving(halving) => halving.bracket(self.trials).map(|_| ()),
            Strategy::Hyperband(hyperband) => hyperband.brackets_of(self.trials).map(|_| ()),
            Strategy::Population { steps, every, rule } => spaced(*steps, *every).and_then(|()| rule.check(study.space())),
        }
    }

    /// Folds and seeds of a trial.
    fn places(&self) -> Vec<Place> {
        let folds = if self.folds == 0 { vec![None] } else { (0..self.folds).map(Some).collect() };
        folds.into_iter().flat_map(|fold| self.places_of(fold)).collect()
    }

    /// The seeds of a fold.
    fn places_of(&self, fold: Option<u64>) -> Vec<Place> {
        let seeds = self.seeds.iter().map(|&seed| (fold, Some(seed)));
        if self.seeds.is_empty() { vec![(fold, None)] } else { seeds.collect() }
    }

    /// Runs the sweep. `written` is called with every row of the table as it comes, to be appended to a file; later rows take
    /// the place of earlier ones of the same trial, fold, seed and rung.
    ///
    /// A table with rows continues an interrupted run of the same sweep: trainings whose results it has are not repeated, and
    /// everything goes on as it would have without the interruption. The study has to be new then, with the same points
    /// enqueued. Population-based training needs a trainer whose lanes are as they were at the beginning of the interrupted
    /// round.
    ///
    /// # Errors
    ///
    /// Those of [`Sweep::check`], of the sampler, the trainer and `written`; those of [`Study::resume`] for a table of another
    /// space; and [`Error::Shape`] if the trainer returns another number of metrics. The table keeps the rows that it has.
    pub fn run(
        &self,
        study: &mut Study,
        table: &mut Table,
        trainer: &mut (impl Train + ?Sized),
        written: impl FnMut(&Record) -> Result<()>,
    ) -> Result<()> {
        self.check(study)?;
        if study.trials().is_empty() && !table.records().is_empty() {
            study.resume(table.trials())?;
        }
        let mut run = Run { sweep: self, places: self.places(), study, table, trainer, written };
        match &self.strategy {
            Strategy::Plain { steps } => run.batches(*steps, *steps, None),
            Strategy::Stopping { steps, every, rule } => run.batches(*steps, *every, Some(*rule)),
            Strategy::Folds { steps, rule } => run.folds(*steps, rule),
            Strategy::Halving(halving) => run.brackets(vec![halving.bracket(self.trials)?]),
            Strategy::Hyperband(hyperband) => run.brackets(hyperband.brackets_of(self.trials)?),
            Strategy::Population { steps, every, rule } => run.population(*steps, *every, rule),
        }
    }
}

/// A fold and a seed.
type Place = (Option<u64>, Option<u64>);

/// The parts of a run.
struct Run<'a, T: ?Sized, W> {
    sweep: &'a Sweep,
    /// The folds and seeds on which trials are trained now.
    places: Vec<Place>,
    study: &'a mut Study,
    table: &'a mut Table,
    trainer: &'a mut T,
    written: W,
}

impl<T: Train + ?Sized, W: FnMut(&Record) -> Result<()>> Run<'_, T, W> {
    /// Trains trials in batches, and scores them every `every` steps.
    fn batches(&mut self, steps: u64, every: u64, rule: Option<Stopping>) -> Result<()> {
        let mut start = 0;
        while let Some(mut live) = self.batch(start)? {
            start = start.saturating_add(self.sweep.batch);
            for (rung, at) in (1..=steps / every).map(|i| i * every).enumerate() {
                let metrics = self.train(&live, rung as u64, at, &[])?;
                let scored: Vec<(Trial, f64)> = live.into_iter().zip(metrics).collect();
                live = Vec::new();
                for (trial, metric) in scored {
                    if at == steps || !metric.is_finite() {
                        self.finish(&trial, rung as u64, at, metric, Status::Complete)?;
                    } else if rule.is_some_and(|rule| self.stops(rule, trial.id, at)) {
                        self.finish(&trial, rung as u64, at, metric, Status::Stopped)?;
                    } else {
                        live.push(trial);
                    }
                }
            }
        }
        Ok(())
    }

    /// The trials of the batch that begins with number `start` which have no outcome yet; `None` if the sweep is to have no
    /// more trials.
    fn batch(&mut self, start: usize) -> Result<Option<Vec<Trial>>> {
        let end = self.asked(start.saturating_add(self.sweep.batch).min(self.sweep.trials))?;
        let live = |batch: &[Trial]| batch.iter().filter(|trial| trial.outcome == Outcome::Running).cloned().collect();
        Ok((start < end).then(|| live(&self.study.trials()[start..end])))
    }

    /// Whether a trial stops at this step, by the scores in the table.
    fn stops(&self, rule: Stopping, trial: u64, step: u64) -> bool {
        let goal = self.study.goal();
        let scores = self.scores();
        match rule {
            Stopping::Median(rule) => rule.stops(goal, &scores, trial, step),
            Stopping::Patience(rule) => {
                let mut own: Vec<&Score> = scores.iter().filter(|score| score.trial == trial && score.step <= step).collect();
                own.sort_by_key(|score| score.step);
                rule.stops(goal, &own.iter().map(|score| score.metric).collect::<Vec<f64>>())
            }
        }
    }

    /// The mean of each trial at each step over its folds and seeds, where it has all of them.
    fn scores(&self) -> Vec<Score> {
        let mut sums: std::collections::BTreeMap<(u64, u64), Vec<f64>> = std::collections::BTreeMap::new();
        for record in self.table.records() {
            let metric = if record.status == Status::Failed { Some(f64::NAN) } else { record.metric };
            if let Some(metric) = metric {
                sums.entry((record.trial, record.steps)).or_default().push(metric);
            }
        }
        let runs = self.places.len();
        let whole = sums.into_iter().filter(|(_, metrics)| metrics.len() == runs);
        whole.map(|((trial, step), metrics)| Score { trial, step, metric: mean(&metrics) }).collect()
    }

    /// Trains trials in batches, fold after fold.
    fn folds(&mut self, steps: u64, rule: &FoldStopping) -> Result<()> {
        let mut start = 0;
        self.places = self.sweep.places_of(Some(0));
        while let Some(mut live) = self.batch(start)? {
            start = start.saturating_add(self.sweep.batch);
            for fold in 0..self.sweep.folds {
                self.places = self.sweep.places_of(Some(fold));
                let means = self.train(&live, 0, steps, &[])?;
                let best = self.best_folds(fold, &live, &means);
                let scored: Vec<(Trial, f64)> = live.into_iter().zip(means).collect();
                live = Vec::new();
                for (trial, mean) in scored {
                    // In a resumed sweep the trial may have gone on already.
                    let next = Record { fold: Some(fold + 1), seed: self.places[0].1, ..Record::new(&trial) };
                    let goes_on = self.table.own(&next).is_some();
                    if fold + 1 == self.sweep.folds || !mean.is_finite() {
                        self.finish(&trial, 0, steps, mean, Status::Complete)?;
                    } else if !goes_on && rule.stops(self.study.goal(), &self.fold_metrics(trial.id, fold + 1), &best) {
                        self.finish(&trial, 0, steps, mean, Status::Stopped)?;
                    } else {
                        live.push(trial);
                    }
                }
            }
            self.places = self.sweep.places_of(Some(0));
        }
        Ok(())
    }

    /// The metrics on each fold of the best trial that has all folds, or else of the best live trial.
    fn best_folds(&self, fold: u64, live: &[Trial], means: &[f64]) -> Vec<(usize, f64)> {
        let best = self.study.best().map(|best| best.id);
        let first = || self.study.goal().ranking(means.iter().copied()).first().map(|&i| live[i].id);
        match best {
            Some(best) => self.fold_metrics(best, self.sweep.folds),
            None => first().map_or_else(Vec::new, |first| self.fold_metrics(first, fold + 1)),
        }
    }

    /// The mean metric of a trial on each of the first folds over its seeds.
    fn fold_metrics(&self, trial: u64, folds: u64) -> Vec<(usize, f64)> {
        let metric = |fold: u64| {
            let own = self.table.rows_of(trial).filter(|record| record.fold == Some(fold));
            let metrics: Vec<f64> = own.map(|record| record.metric.unwrap_or(f64::NAN)).collect();
            (!metrics.is_empty()).then(|| (fold as usize, mean(&metrics)))
        };
        (0..folds).filter_map(metric).collect()
    }

    /// Brackets side by side: rungs that end at the same step are trained together.
    fn brackets(&mut self, brackets: Vec<Bracket>) -> Result<()> {
        let end = self.asked(self.sweep.trials)?;
        let mut live = dealt(&self.study.trials()[..end], &brackets);
        for steps in ends(&brackets) {
            // The brackets that have a rung here, and its number in each.
            let rung_of = |bracket: &Bracket| bracket.rungs.iter().position(|rung| rung.steps == steps);
            let here = brackets.iter().enumerate().filter_map(|(b, bracket)| rung_of(bracket).map(|rung| (b, rung)));
            let here: Vec<(usize, usize)> = here.collect();
            let of = |&(b, rung): &(usize, usize)| live[b].iter().map(move |trial| (trial.clone(), rung as u64));
            let jobs: Vec<(Trial, u64)> = here.iter().flat_map(of).collect();
            let mut metrics = self.train_at(&jobs, steps, &[])?.into_iter();
            for (b, rung) in here {
                let scored = std::mem::take(&mut live[b]).into_iter().zip(metrics.by_ref()).collect();
                live[b] = self.promoted(&brackets[b], rung, steps, scored)?;
            }
        }
        Ok(())
    }

    /// The trials of a bracket that go on from a rung; all others are finished.
    fn promoted(&mut self, bracket: &Bracket, rung: usize, steps: u64, scored: Vec<(Trial, f64)>) -> Result<Vec<Trial>> {
        let results: Vec<(u64, f64)> = scored.iter().map(|(trial, metric)| (trial.id, *metric)).collect();
        let promoted = bracket.promoted(rung, self.study.goal(), &results);
        let status = if rung + 1 == bracket.rungs.len() { Status::Complete } else { Status::Stopped };
        let mut live = Vec::new();
        for (trial, metric) in scored {
            match promoted.contains(&trial.id) {
                true => live.push(trial),
                false => self.finish(&trial, rung as u64, steps, metric, status)?,
            }
        }
        Ok(live)
    }

    /// Population-based training: a rung is a round.
    fn population(&mut self, steps: u64, every: u64, rule: &PopulationBased) -> Result<()> {
        let end = self.asked(self.sweep.trials)?;
        let mut members = self.study.trials()[..end].to_vec();
        let mut parents: Vec<Option<u64>> = vec![None; members.len()];
        let rounds = steps / every;
        for round in 0..rounds {
            let at = (round + 1) * every;
            let metrics = self.train(&members, round, at, &parents)?;
            parents.fill(None);
            if round + 1 == rounds {
                for (trial, metric) in members.iter().zip(&metrics) {
                    self.finish(trial, round, at, *metric, Status::Complete)?;
                }
                break;
            }
            let points: Vec<Point> = members.iter().map(|member| member.point.clone()).collect();
            for exploit in rule.exploits(self.study.space(), self.study.goal(), round, &points, &metrics)? {
                let from = members[exploit.from].id;
                members[exploit.to].point = exploit.point;
                parents[exploit.to] = Some(from);
                // In a resumed sweep it may have been copied and trained already.
                let next = Record { rung: round + 1, ..Record::new(&members[exploit.to]) };
                let mut rows = self.places.iter().map(|&(fold, seed)| Record { fold, seed, ..next.clone() });
                if !rows.all(|row| self.known(&row)) {
                    self.trainer.copy(from, next.trial)?;
                }
            }
        }
        Ok(())
    }

    /// Asks until there are `n` trials, or the sampler has no more; returns how many there are.
    ///
    /// The rows of each are written at once: a resumed sweep must not ask for it again, when the sampler would know more.
    fn asked(&mut self, n: usize) -> Result<usize> {
        while self.study.trials().len() < n {
            let asked = self.study.ask(1)?;
            if asked.is_empty() {
                break;
            }
            for trial in asked {
                self.begin(&trial, 0, None)?;
            }
        }
        Ok(self.study.trials().len().min(n))
    }

    /// The rows of a trial at a rung that have no result yet. Those that are not in the table are written.
    fn begin(&mut self, trial: &Trial, rung: u64, parent: Option<u64>) -> Result<Vec<Record>> {
        let rows = self.places.iter().map(|&(fold, seed)| Record { parent, fold, seed, rung, ..Record::new(trial) });
        let missing: Vec<Record> = rows.filter(|row| !self.known(row)).collect();
        for row in &missing {
            if self.table.own(row).is_none() {
                self.write(row.clone())?;
            }
        }
        Ok(missing)
    }

    fn train(&mut self, trials: &[Trial], rung: u64, steps: u64, parents: &[Option<u64>]) -> Result<Vec<f64>> {
        let trials: Vec<(Trial, u64)> = trials.iter().map(|trial| (trial.clone(), rung)).collect();
        self.train_at(&trials, steps, parents)
    }

    /// Trains trials to these steps, each to its own rung, and returns the mean metric of each over folds and seeds: NaN if one
    /// has failed.
    fn train_at(&mut self, trials: &[(Trial, u64)], steps: u64, parents: &[Option<u64>]) -> Result<Vec<f64>> {
        let mut missing = Vec::new();
        for (i, (trial, rung)) in trials.iter().enumerate() {
            missing.extend(self.begin(trial, *rung, parents.get(i).copied().flatten())?);
        }
        let capacity = self.trainer.capacity().max(1);
        for wave in missing.chunks(capacity) {
            let job = |row: &Record| Job { trial: row.trial, fold: row.fold, seed: row.seed, point: row.point.clone() };
            let metrics = self.trainer.train(&wave.iter().map(job).collect::<Vec<Job>>(), steps)?;
            if metrics.len() != wave.len() {
                return Err(Error::shape("metrics of the trainer", wave.len(), metrics.len()));
            }
            for (row, metric) in wave.iter().zip(metrics) {
                self.write(row.clone().scored(steps, metric, Status::Running))?;
            }
        }
        Ok(trials.iter().map(|(trial, rung)| self.mean(trial.id, *rung)).collect())
    }

    /// The mean metric of a trial at a rung over folds and seeds, up to the fold that is trained now; NaN if one has failed.
    fn mean(&self, trial: u64, rung: u64) -> f64 {
        let last = self.places.last().and_then(|(fold, _)| *fold);
        // In the order of the table's own summaries, so that the bits are the same.
        let own = self.table.rows_of(trial).filter(|own| own.rung == rung && own.fold <= last);
        mean(&own.map(|record| record.metric.unwrap_or(f64::NAN)).collect::<Vec<f64>>())
    }

    /// Whether the table has the result of this row.
    fn known(&self, row: &Record) -> bool {
        self.table.own(row).is_some_and(|own| own.metric.is_some() || own.status == Status::Failed)
    }

    /// Ends a trial in the table, for the sampler and for the trainer.
    fn finish(&mut self, trial: &Trial, rung: u64, steps: u64, metric: f64, status: Status) -> Result<()> {
        let own = self.table.rows_of(trial.id).filter(|own| own.rung == rung && own.metric.is_some());
        let own: Vec<Record> = own.cloned().collect();
        for row in own {
            self.write(Record { status, ..row })?;
        }
        self.trainer.forget(&[trial.id]);
        // In a resumed sweep the study may know the outcome already.
        let running = self.study.trials().get(trial.id as usize).is_some_and(|trial| trial.outcome == Outcome::Running);
        match status {
            _ if !running => Ok(()),
            Status::Stopped => self.study.tell_stopped(trial.id, steps, metric),
            _ => self.study.tell(trial.id, metric),
        }
    }

    fn write(&mut self, row: Record) -> Result<()> {
        self.table.push(row.clone())?;
        (self.written)(&row)
    }
}

/// The trials of each bracket, in order, as many as its first rung has.
fn dealt(trials: &[Trial], brackets: &[Bracket]) -> Vec<Vec<Trial>> {
    let mut rest = trials.iter().cloned();
    brackets.iter().map(|bracket| rest.by_ref().take(bracket.rungs[0].trials).collect()).collect()
}

/// The steps at which rungs end, in rising order.
fn ends(brackets: &[Bracket]) -> Vec<u64> {
    let mut ends: Vec<u64> = brackets.iter().flat_map(|bracket| &bracket.rungs).map(|rung| rung.steps).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

fn mean(metrics: &[f64]) -> f64 {
    metrics.iter().sum::<f64>() / metrics.len() as f64
}
