//! Ask and tell: trials, their outcomes, and the contract of samplers.

use std::collections::VecDeque;
use std::fmt::Debug;

use super::point::{Coordinate, Point};
use super::space::SearchSpace;
use crate::error::{Error, Result};

/// How many trials may be missing when a search is resumed, in addition to as many as there are.
const MOST_MISSING: u64 = 1 << 10;

/// Whether the metric should become small, such as a loss, or large, such as an accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Goal {
    /// Small is good.
    #[default]
    Minimize,
    /// Large is good.
    Maximize,
}

impl Goal {
    /// The number that should become small: the metric or its negative; infinity, the worst, for a metric that is not finite.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::sweep::Goal;
    ///
    /// assert_eq!(Goal::Maximize.cost(0.9), -0.9);
    /// assert_eq!(Goal::Maximize.cost(f64::NAN), f64::INFINITY);
    /// ```
    pub fn cost(self, metric: f64) -> f64 {
        match self {
            _ if !metric.is_finite() => f64::INFINITY,
            Self::Minimize => metric,
            Self::Maximize => -metric,
        }
    }

    /// The indices of the metrics from the best to the worst; of equal ones the earlier first.
    pub(crate) fn ranking(self, metrics: impl IntoIterator<Item = f64>) -> Vec<usize> {
        // With 0 added, as -0 would come before 0.
        let costs: Vec<f64> = metrics.into_iter().map(|metric| self.cost(metric) + 0.0).collect();
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        order
    }
}

/// The outcome of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Nothing yet.
    Running,
    /// It was trained to the end, with this metric.
    Complete(f64),
    /// It was stopped early.
    Stopped {
        /// Steps that it had made.
        step: u64,
        /// Its metric then.
        metric: f64,
    },
    /// Its metric was not finite.
    Failed,
}

/// One setting of the parameters, tried or about to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its number: trials are counted from 0 in the order in which they are asked for.
    pub id: u64,
    /// Its values.
    pub point: Point,
    /// Its outcome.
    pub outcome: Outcome,
}

/// What a sampler may look at.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Whether metrics should be small or large.
    pub goal: Goal,
    /// All trials so far by number, those that run among them.
    pub trials: &'a [Trial],
}

/// Says which point to try next.
///
/// Those of this crate are [`Grid`](super::Grid), [`Random`](super::Random), [`Latin`](super::Latin), [`Sobol`](super::Sobol)
/// and [`Tpe`](super::Tpe). They remember nothing: a suggestion depends on the settings, its number and the history alone, so
/// that a search which is resumed from its table goes on as if it had never stopped.
///
/// # Examples
///
/// Any other sampler is one method:
///
/// ```
/// use thalweg::sweep::{Goal, History, Point, Sampler, SearchSpace, Study};
///
/// #[derive(Debug)]
/// struct Halves;
///
/// impl Sampler for Halves {
///     fn suggest(&mut self, _: &SearchSpace, _: &History<'_>, number: u64) -> thalweg::Result<Option<Point>> {
///         Ok(Some(Point::new().with("x", 0.5_f64.powi(number as i32))))
///     }
/// }
///
/// let mut study = Study::new("x=uniform:0:1".parse()?, Goal::Minimize, Halves);
/// assert_eq!(study.ask(3)?[2].point.to_string(), "x=0.25");
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait Sampler: Debug + Send {
    /// The point to try as suggestion number `number`, counted from 0; `None` if there is none left.
    ///
    /// # Errors
    ///
    /// Settings that do not fit the space.
    fn suggest(&mut self, space: &SearchSpace, history: &History<'_>, number: u64) -> Result<Option<Point>>;
}

/// A search: asks a sampler for points, and is told their metrics.
///
/// Any number of trials may run at a time, and they may be told in any order.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, Outcome, Point, Random, Study};
///
/// let mut study = Study::new("lr=log:1e-4:1; momentum=uniform:0:0.9".parse()?, Goal::Minimize, Random { seed: 7 });
/// // A setting that is known to be good comes first; what it leaves open is sampled.
/// study.enqueue(Point::new().with("lr", 0.1))?;
/// for trial in study.ask(8)? {
///     let lr = trial.point.get("lr").and_then(|lr| lr.as_f64()).unwrap();
///     study.tell(trial.id, (lr.ln() - 0.1_f64.ln()).powi(2))?;
/// }
/// // A metric that is not a number is no reason to stop: the trial has failed.
/// let next = study.ask(1)?[0].id;
/// study.tell(next, f64::NAN)?;
/// assert_eq!(study.trials()[8].outcome, Outcome::Failed);
/// assert_eq!(study.best().map(|best| best.id), Some(0));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Study {
    space: SearchSpace,
    goal: Goal,
    sampler: Box<dyn Sampler>,
    trials: Vec<Trial>,
    /// Points to try before those of the sampler.
    known: VecDeque<Point>,
    /// Points that the sampler has suggested.
    suggested: u64,
    /// Trials of a resumed search that were running.
    again: VecDeque<usize>,
}

impl Study {
    /// A search without trials.
    pub fn new(space: SearchSpace, goal: Goal, sampler: impl Sampler + 'static) -> Self {
        let (trials, known, again) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Self { space, goal, sampler: Box::new(sampler), trials, known, suggested: 0, again }
    }

    /// A point to try before those of the sampler, after others that were enqueued. Parameters that it leaves open are sampled.
    ///
    /// # Errors
    ///
    /// Those of [`SearchSpace::check`], but for missing values.
    pub fn enqueue(&mut self, point: Point) -> Result<()> {
        self.space.complete(&point, |parameter| Ok(parameter.domain.at(0.5)))?;
        self.known.push_back(point);
        Ok(())
    }

    /// Goes on from the trials of a search that was interrupted: those that were running are asked for again first.
    ///
    /// With the same settings, and the same points enqueued before, the search goes on as it would have without the
    /// interruption. Trials may be missing, for example if a line of a table was lost; they are made anew and asked for again.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if this search has trials already or numbers do not rise, those of [`SearchSpace::check`] for a point
    /// of another space, and those of [`Study::ask`] where trials are missing.
    pub fn resume(&mut self, mut trials: Vec<Trial>) -> Result<()> {
        if !self.trials.is_empty() {
            return Err(Error::setting("trials", self.trials.len(), "none before a search is resumed"));
        }
        for (i, trial) in trials.iter().enumerate() {
            let before = i.checked_sub(1).map(|before| trials[before].id);
            if before.is_some_and(|before| before >= trial.id) {
                return Err(Error::setting("trial", trial.id, &format!("above {}, the trial before it", trials[i - 1].id)));
            }
        }
        for trial in &mut trials {
            trial.point = self.space.taken(&trial.point)?;
        }
        let most = trials.len().saturating_mul(2) as u64 + MOST_MISSING;
        if let Some(last) = trials.last().filter(|last| last.id >= most) {
            return Err(Error::setting("trial", last.id, &format!("below {most}: too many trials before it are missing")));
        }
        trials.into_iter().try_for_each(|trial| self.take_over(trial))
    }

    /// A trial of an interrupted search, after those that are missing before it.
    fn take_over(&mut self, trial: Trial) -> Result<()> {
        while (self.trials.len() as u64) < trial.id {
            let Some(point) = self.next()? else {
                let allowed = format!("below {}, as the sampler has no more points", self.trials.len());
                return Err(Error::setting("trial", trial.id, &allowed));
            };
            self.again.push_back(self.trials.len());
            self.trials.push(Trial { id: self.trials.len() as u64, point, outcome: Outcome::Running });
        }
        let known = self.known.front();
        match known.is_some_and(|known| known.iter().all(|(name, value)| self.same(&trial, name, value))) {
            true => drop(self.known.pop_front()),
            false => self.suggested += 1,
        }
        if trial.outcome == Outcome::Running {
            self.again.push_back(self.trials.len());
        }
        self.trials.push(trial);
        Ok(())
    }

    fn same(&self, trial: &Trial, name: &str, value: &Coordinate) -> bool {
        let taken = self.space.parameter(name).and_then(|parameter| parameter.domain.take(name, value));
        trial.point.get(name) == taken.ok().as_ref()
    }

    /// The next `n` trials; fewer only if the sampler has no more points.
    ///
    /// # Errors
    ///
    /// Those of the sampler, and those of [`SearchSpace::check`] for a point that it suggests.
    pub fn ask(&mut self, n: usize) -> Result<Vec<Trial>> {
        let mut asked = Vec::new();
        while asked.len() < n {
            if let Some(i) = self.again.pop_front() {
                asked.push(self.trials[i].clone());
                continue;
            }
            let Some(point) = self.next()? else { break };
            let trial = Trial { id: self.trials.len() as u64, point, outcome: Outcome::Running };
            self.trials.push(trial.clone());
            asked.push(trial);
        }
        Ok(asked)
    }

    fn next(&mut self) -> Result<Option<Point>> {
        let history = History { goal: self.goal, trials: &self.trials };
        let suggested = self.sampler.suggest(&self.space, &history, self.suggested)?;
        let Some(known) = self.known.pop_front() else {
            self.suggested += u64::from(suggested.is_some());
            return suggested.map(|point| self.space.taken(&point)).transpose();
        };
        let point = self.space.complete(&known, |parameter| {
            let sampled = suggested.as_ref().and_then(|point| point.get(&parameter.name));
            Ok(sampled.cloned().unwrap_or_else(|| parameter.domain.at(0.5)))
        });
        point.map(Some)
    }

    /// Tells the metric of a trial that was trained to the end. A metric that is not finite means that it has failed.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a trial that was not asked for, or was told before.
    pub fn tell(&mut self, id: u64, metric: f64) -> Result<()> {
        self.finish(id, metric, Outcome::Complete(metric))
    }

    /// Tells the metric of a trial that was stopped after `step` steps. A metric that is not finite means that it has failed.
    ///
    /// # Errors
    ///
    /// Those of [`Study::tell`].
    pub fn tell_stopped(&mut self, id: u64, step: u64, metric: f64) -> Result<()> {
        self.finish(id, metric, Outcome::Stopped { step, metric })
    }

    fn finish(&mut self, id: u64, metric: f64, outcome: Outcome) -> Result<()> {
        let known = self.trials.len();
        let trial = usize::try_from(id).ok().and_then(|i| self.trials.get_mut(i));
        match trial {
            None => Err(Error::setting("trial", id, &format!("below {known}, the trials that were asked for"))),
            Some(trial) if trial.outcome != Outcome::Running => {
                Err(Error::setting("trial", id, "one that runs: it was told before"))
            }
            Some(trial) => {
                trial.outcome = if metric.is_finite() { outcome } else { Outcome::Failed };
                Ok(())
            }
        }
    }

    /// All trials, by number.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The space that is searched.
    pub fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// Whether metrics should be small or large.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// The trial with the best metric of those that were trained to the end; of equal ones the first.
    pub fn best(&self) -> Option<&Trial> {
        let metric = |trial: &Trial| if let Outcome::Complete(metric) = trial.outcome { metric } else { f64::NAN };
        let best = self.goal.ranking(self.trials.iter().map(metric)).first().copied()?;
        Some(&self.trials[best]).filter(|best| matches!(best.outcome, Outcome::Complete(_)))
    }
}
