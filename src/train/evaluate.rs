//! Evaluation: what is measured on validation rows, and outputs for rows of features.

use super::feed::Feed;
use super::{Metrics, Trainer, stopping};
use crate::error::{Error, Result};
use crate::optimizer::Optimizer;
use crate::plan::{PlanId, Program};
use crate::rule::Real;

impl<P: Program> Trainer<P> {
    /// Each lane's loss and scores on its validation rows, with the parameters that the rule is to be evaluated with:
    /// [`Rule::eval`](crate::Rule::eval). Rows are evaluated in blocks of a fixed size, so that the outputs for a row do not
    /// depend on other rows.
    ///
    /// # Errors
    /// No validation data ([`TrainerBuilder::validation`](super::TrainerBuilder::validation)), or a lost device.
    pub fn evaluate(&mut self) -> Result<Vec<Metrics>> {
        self.refresh()?;
        let feed = Self::run_validation(&self.validation, self.plans.evaluate, &mut self.optimizer)?;
        feed.metrics(self.optimizer.program_mut(), |lane| self.lanes[lane].validation.len())
    }

    /// Measures on the validation rows; what feeds them has the sums then.
    pub(super) fn run_validation<'a>(
        feed: &'a Option<Feed>,
        plan: Option<PlanId>,
        optimizer: &mut Optimizer<P>,
    ) -> Result<&'a Feed> {
        let (feed, plan) = Self::held(feed, plan)?;
        let program = optimizer.program_mut();
        feed.reset(program)?;
        program.run(plan, feed.batches)?;
        Ok(feed)
    }

    /// What feeds the validation rows, and the plan that measures a block of them.
    pub(super) fn held(feed: &Option<Feed>, plan: Option<PlanId>) -> Result<(&Feed, PlanId)> {
        feed.as_ref().zip(plan).ok_or_else(|| Error::missing("an evaluation", "data", ".validation(&data)"))
    }

    /// The outputs of a lane's model for rows of features, row after row: logits if it classifies.
    ///
    /// # Errors
    /// Features that do not fill rows, a lane that does not exist, or a lost device.
    pub fn predict(&mut self, lane: usize, features: &[f32]) -> Result<Vec<P::Float>> {
        self.lane(lane)?;
        self.refresh()?;
        Ok(self.predictor.predict(&mut self.optimizer, &[lane], features)?.swap_remove(0))
    }

    /// [`Trainer::predict`] for all lanes.
    ///
    /// # Errors
    /// As for [`Trainer::predict`].
    pub fn predict_all(&mut self, features: &[f32]) -> Result<Vec<Vec<P::Float>>> {
        self.refresh()?;
        let lanes: Vec<usize> = (0..self.lanes.len()).collect();
        self.predictor.predict(&mut self.optimizer, &lanes, features)
    }

    /// The class of the first largest output of each row, for [`Confusion::of`](super::Confusion::of) and the like. NaN is
    /// larger than all numbers.
    ///
    /// # Errors
    /// As for [`Trainer::predict`].
    pub fn predict_classes(&mut self, lane: usize, features: &[f32]) -> Result<Vec<u32>> {
        let logits = self.predict(lane, features)?;
        Ok(self.classes(&logits))
    }

    /// The class of the first largest output of each row.
    pub(super) fn classes(&self, logits: &[P::Float]) -> Vec<u32> {
        let largest = |row: &[P::Float]| {
            let mut best = 0;
            for (class, logit) in row.iter().map(|logit| logit.as_f64()).enumerate().skip(1) {
                let held = row[best].as_f64();
                if logit > held || logit.is_nan() && !held.is_nan() {
                    best = class;
                }
            }
            best as u32
        };
        logits.chunks_exact(self.predictor.outputs.max(1)).map(largest).collect()
    }

    /// Computes the parameters to evaluate with, where they are not those at which gradients are taken.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let Some(evaluated) = self.evaluated.filter(|_| self.aside.is_none()) else { return Ok(()) };
        let all = self.optimizer.all_eval_params()?;
        let program = self.optimizer.program_mut();
        all.iter().enumerate().try_for_each(|(lane, params)| program.write(evaluated, lane, 0, params))
    }

    /// Gives lanes back the running statistics with which steps go on, where those of their best epoch are in the place.
    pub(super) fn take_back(&mut self) -> Result<()> {
        let (id, program) = (self.statistics.id, self.optimizer.program_mut());
        let mut aside = self.aside.take().into_iter().flatten().enumerate();
        aside.try_for_each(|(lane, values)| program.write(id, lane, 0, &stopping::floats(&values)))
    }
}
