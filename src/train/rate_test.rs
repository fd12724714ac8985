//! Learning-rate range test.

use super::TrainerBuilder;
use crate::error::{Error, Result, range};
use crate::plan::Engine;

/// A learning-rate range test: a model is trained for a short time with each rate of a grid, to see between which rates a
/// longer training may choose (after Smith 2017, "Cyclical learning rates for training neural networks", where one model goes
/// through the rates). All rates are lanes of one program, which start alike and see the same batches.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Nonlinearity, Sequential};
/// use thalweg::train::RateTest;
/// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::digits};
///
/// let data = digits().rows_at(&(0..200).collect::<Vec<_>>())?;
/// let model = Sequential::perceptron(64, &[16], 10, Nonlinearity::Relu);
/// let trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(&data).standardise();
/// let curve = RateTest { rates: 8, ..RateTest::default() }.run(&Cpu::<f32>::default(), trainer)?;
/// let (from, to) = curve.near_best(1.5).unwrap();
/// assert!(1e-3 < from && from <= curve.best().unwrap() && curve.best().unwrap() <= to && to < 1.0);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateTest {
    /// The lowest rate, above 0. Default 1e-5.
    pub from: f64,
    /// The highest rate. Default 10.
    pub to: f64,
    /// Rates, evenly spread in their logarithm, both ends among them; at least 2. Default 31.
    pub rates: usize,
    /// Epochs that are trained with each, at least 1. Default 5.
    pub epochs: usize,
}

impl Default for RateTest {
    fn default() -> Self {
        Self { from: 1e-5, to: 10.0, rates: 31, epochs: 5 }
    }
}

/// Losses by learning rate, of a [`RateTest`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RateCurve {
    /// The group whose rate it is; none if all groups had it.
    pub group: Option<String>,
    /// Each rate, from the lowest, with the training loss of the last epoch. It is not finite where training went astray.
    pub points: Vec<(f64, f64)>,
}

impl RateTest {
    /// Trains with each rate as that of all groups, whatever rates they have in the recipe.
    ///
    /// # Errors
    /// Settings out of their ranges; a recipe of several lanes, or one whose rule has no `lr`; those of
    /// [`TrainerBuilder::build`], and of training.
    pub fn run<E: Engine>(&self, engine: &E, trainer: TrainerBuilder<'_>) -> Result<RateCurve> {
        let rates = self.grid()?;
        let lanes: Vec<(Option<&str>, f64)> = rates.iter().map(|rate| (None, *rate)).collect();
        let losses = self.losses(engine, trainer, &lanes)?;
        Ok(RateCurve { group: None, points: rates.into_iter().zip(losses).collect() })
    }

    /// Trains with each rate as that of one group after the other, while all other groups have those of the recipe: a curve for
    /// each of these groups. All of it is one program.
    ///
    /// # Errors
    /// As for [`RateTest::run`]; no groups, or one that the recipe does not have.
    ///
    /// # Examples
    ///
    /// Which rates suit the last layer, where the others keep theirs:
    ///
    /// ```
    /// use thalweg::nn::{Nonlinearity, Sequential};
    /// use thalweg::train::RateTest;
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::digits};
    ///
    /// let data = digits().rows_at(&(0..200).collect::<Vec<_>>())?;
    /// let model = Sequential::perceptron(64, &[16], 10, Nonlinearity::Relu);
    /// let recipe = Recipe::new(Adam::default()).group("last", |tensor| tensor.name.starts_with("2."), Adam::default());
    /// let trainer = Trainer::builder(&model, recipe).train(&data).standardise();
    /// let test = RateTest { rates: 5, epochs: 2, ..RateTest::default() };
    /// let curves = test.run_groups(&Cpu::<f32>::default(), trainer, &["default", "last"])?;
    /// assert_eq!(curves[1].group.as_deref(), Some("last"));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn run_groups<E: Engine>(&self, engine: &E, trainer: TrainerBuilder<'_>, groups: &[&str]) -> Result<Vec<RateCurve>> {
        let rates = self.grid()?;
        if groups.is_empty() {
            return Err(Error::Empty { what: "the list of groups whose rates are tested".into() });
        }
        let lanes: Vec<_> = groups.iter().flat_map(|group| rates.iter().map(move |rate| (Some(*group), *rate))).collect();
        let losses = self.losses(engine, trainer, &lanes)?;
        let curve = |(group, losses): (&&str, &[f64])| {
            let points = rates.iter().copied().zip(losses.iter().copied()).collect();
            RateCurve { group: Some(group.to_string()), points }
        };
        Ok(groups.iter().zip(losses.chunks(rates.len())).map(curve).collect())
    }

    /// The rates, from the lowest.
    fn grid(&self) -> Result<Vec<f64>> {
        range::positive("from", self.from)?;
        range::require(
            self.to.is_finite() && self.to > self.from,
            "to",
            self.to,
            &format!("finite and above from = {}", self.from),
        )?;
        range::require(self.rates >= 2, "rates", self.rates, "at least 2")?;
        range::require(self.epochs >= 1, "epochs", self.epochs, "at least 1")?;
        let (from, to, last) = (self.from.ln(), self.to.ln(), self.rates - 1);
        let at = |i: usize| match i {
            0 => self.from,
            i if i == last => self.to,
            i => (from + (to - from) * i as f64 / last as f64).exp(),
        };
        Ok((0..self.rates).map(at).collect())
    }

    /// The loss in the last epoch of each lane: a group, or all groups, with their rate.
    fn losses<E: Engine>(
        &self,
        engine: &E,
        mut trainer: TrainerBuilder<'_>,
        lanes: &[(Option<&str>, f64)],
    ) -> Result<Vec<f64>> {
        trainer.recipe = trainer.recipe.with_each("lr", lanes)?;
        let mut trainer = trainer.build(engine)?;
        trainer.advance(self.epochs.saturating_mul(trainer.steps_per_epoch()))?;
        Ok(trainer.metrics()?.into_iter().map(|lane| lane.loss).collect())
    }
}

impl RateCurve {
    /// The rate with the lowest loss, the lower one of two; none if no loss is finite.
    pub fn best(&self) -> Option<f64> {
        self.lowest().map(|at| self.points[at].0)
    }

    /// The lowest and the highest rate around the best one, without a gap, whose losses are at most `times` the lowest, at
    /// least 1.
    pub fn near_best(&self, times: f64) -> Option<(f64, f64)> {
        let at = self.lowest()?;
        let near = |(_, loss): &(f64, f64)| *loss <= times * self.points[at].1;
        let from = self.points[..at].iter().rposition(|point| !near(point)).map_or(0, |last| last + 1);
        let to = self.points[at + 1..].iter().position(|point| !near(point)).map_or(self.points.len() - 1, |first| at + first);
        Some((self.points[from].0, self.points[to].0))
    }

    /// Where the lowest loss is.
    fn lowest(&self) -> Option<usize> {
        let finite = (0..self.points.len()).filter(|&at| self.points[at].1.is_finite());
        finite.min_by(|&a, &b| self.points[a].1.total_cmp(&self.points[b].1))
    }
}
