//! A run of a sweep: asks for trials, has them trained as its strategy says, and keeps the table.

use super::driver::{Job, Place, Stopping, Strategy, Sweep, Train, TrainAsync};
use super::halving::Bracket;
use super::point::Point;
use super::population::PopulationBased;
use super::record::{Record, Status};
use super::stopping::{FoldStopping, Score};
use super::study::{Outcome, Study, Trial};
use super::table::Table;
use crate::error::{Error, Result};
use crate::now::now;

/// What waits, where it may be awaited.
struct Waits<'a, T: ?Sized>(&'a mut T);

impl<T: Train + ?Sized> TrainAsync for Waits<'_, T> {
    async fn train_async(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        self.0.train(jobs, steps)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    async fn copy_async(&mut self, from: u64, to: u64) -> Result<()> {
        self.0.copy(from, to)
    }

    fn forget(&mut self, trials: &[u64]) {
        self.0.forget(trials);
    }
}

impl Sweep {
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
        now(self.run_async(study, table, &mut Waits(trainer), written))
    }

    /// [`Sweep::run`] with a trainer that is awaited.
    ///
    /// # Errors
    /// As there.
    pub async fn run_async(
        &self,
        study: &mut Study,
        table: &mut Table,
        trainer: &mut impl TrainAsync,
        written: impl FnMut(&Record) -> Result<()>,
    ) -> Result<()> {
        self.check(study)?;
        if study.trials().is_empty() && !table.records().is_empty() {
            study.resume(table.trials())?;
        }
        let mut run = Run { sweep: self, places: self.places(), study, table, trainer, written };
        match &self.strategy {
            Strategy::Plain { steps } => run.batches(*steps, *steps, None).await,
            Strategy::Stopping { steps, every, rule } => run.batches(*steps, *every, Some(*rule)).await,
            Strategy::Folds { steps, rule } => run.folds(*steps, rule).await,
            Strategy::Halving(halving) => run.brackets(vec![halving.bracket(self.trials)?]).await,
            Strategy::Hyperband(hyperband) => run.brackets(hyperband.brackets_of(self.trials)?).await,
            Strategy::Population { steps, every, rule } => run.population(*steps, *every, rule).await,
        }
    }
}

/// The parts of a run.
struct Run<'a, T, W> {
    sweep: &'a Sweep,
    /// The folds and seeds on which trials are trained now.
    places: Vec<Place>,
    study: &'a mut Study,
    table: &'a mut Table,
    trainer: &'a mut T,
    written: W,
}

impl<T: TrainAsync, W: FnMut(&Record) -> Result<()>> Run<'_, T, W> {
    /// Trains trials in batches, and scores them every `every` steps.
    async fn batches(&mut self, steps: u64, every: u64, rule: Option<Stopping>) -> Result<()> {
        let mut start = 0;
        while let Some(mut live) = self.batch(start)? {
            start = start.saturating_add(self.sweep.batch);
            for (rung, at) in (1..=steps / every).map(|i| i * every).enumerate() {
                let metrics = self.train(&live, rung as u64, at, &[]).await?;
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
    async fn folds(&mut self, steps: u64, rule: &FoldStopping) -> Result<()> {
        let mut start = 0;
        self.places = self.sweep.places_of(Some(0));
        while let Some(mut live) = self.batch(start)? {
            start = start.saturating_add(self.sweep.batch);
            for fold in 0..self.sweep.folds {
                self.places = self.sweep.places_of(Some(fold));
                let means = self.train(&live, 0, steps, &[]).await?;
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
    async fn brackets(&mut self, brackets: Vec<Bracket>) -> Result<()> {
        let end = self.asked(self.sweep.trials)?;
        let mut live = dealt(&self.study.trials()[..end], &brackets);
        for steps in ends(&brackets) {
            // The brackets that have a rung here, and its number in each.
            let rung_of = |bracket: &Bracket| bracket.rungs.iter().position(|rung| rung.steps == steps);
            let here = brackets.iter().enumerate().filter_map(|(b, bracket)| rung_of(bracket).map(|rung| (b, rung)));
            let here: Vec<(usize, usize)> = here.collect();
            let of = |&(b, rung): &(usize, usize)| live[b].iter().map(move |trial| (trial.clone(), rung as u64));
            let jobs: Vec<(Trial, u64)> = here.iter().flat_map(of).collect();
            let mut metrics = self.train_at(&jobs, steps, &[]).await?.into_iter();
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
    async fn population(&mut self, steps: u64, every: u64, rule: &PopulationBased) -> Result<()> {
        let end = self.asked(self.sweep.trials)?;
        let mut members = self.study.trials()[..end].to_vec();
        let mut parents: Vec<Option<u64>> = vec![None; members.len()];
        let rounds = steps / every;
        for round in 0..rounds {
            let at = (round + 1) * every;
            let metrics = self.train(&members, round, at, &parents).await?;
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
                    self.trainer.copy_async(from, next.trial).await?;
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

    async fn train(&mut self, trials: &[Trial], rung: u64, steps: u64, parents: &[Option<u64>]) -> Result<Vec<f64>> {
        let trials: Vec<(Trial, u64)> = trials.iter().map(|trial| (trial.clone(), rung)).collect();
        self.train_at(&trials, steps, parents).await
    }

    /// Trains trials to these steps, each to its own rung, and returns the mean metric of each over folds and seeds: NaN if one
    /// has failed.
    async fn train_at(&mut self, trials: &[(Trial, u64)], steps: u64, parents: &[Option<u64>]) -> Result<Vec<f64>> {
        let mut missing = Vec::new();
        for (i, (trial, rung)) in trials.iter().enumerate() {
            missing.extend(self.begin(trial, *rung, parents.get(i).copied().flatten())?);
        }
        let capacity = self.trainer.capacity().max(1);
        for wave in missing.chunks(capacity) {
            let job = |row: &Record| Job { trial: row.trial, fold: row.fold, seed: row.seed, point: row.point.clone() };
            let metrics = self.trainer.train_async(&wave.iter().map(job).collect::<Vec<Job>>(), steps).await?;
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
