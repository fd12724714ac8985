//! Twins of what waits for the device, for programs that must not wait, as those in a browser.

use super::{Metrics, Trainer};
use crate::error::Result;
use crate::gpu::GpuProgram;
use crate::optimizer::{Report, State};
use crate::plan::Program;

/// Steps after which the device is asked how far it is: rows of steps are kept ahead for more.
const STEPS: usize = 64;

impl Trainer<GpuProgram> {
    /// [`Trainer::whole_epoch`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn whole_epoch_async(&mut self) -> Result<Vec<Metrics>> {
        let left = self.steps_per_epoch() - self.step;
        self.advance_async(left).await?;
        self.metrics_async().await
    }

    /// [`Trainer::advance`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn advance_async(&mut self, steps: usize) -> Result<()> {
        let mut left = steps;
        while left > 0 {
            left -= self.stretch(left.min(STEPS))?;
            self.optimizer.catch_up_async().await?;
        }
        Ok(())
    }

    /// [`Trainer::metrics`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn metrics_async(&mut self) -> Result<Vec<Metrics>> {
        let found = self.optimizer.program().read_all_async(&[self.train.tally]).await?;
        let rows = self.rows_met();
        Ok(self.train.metrics_of(found, |_| rows))
    }

    /// [`Trainer::evaluate`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn evaluate_async(&mut self) -> Result<Vec<Metrics>> {
        self.refresh_async().await?;
        let feed = Self::run_validation(&self.validation, self.plans.evaluate, &mut self.optimizer)?;
        let found = self.optimizer.program().read_all_async(&[feed.tally]).await?;
        Ok(feed.metrics_of(found, |lane| self.lanes[lane].validation.len()))
    }

    /// [`Trainer::predict`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn predict_async(&mut self, lane: usize, features: &[f32]) -> Result<Vec<f32>> {
        self.lane(lane)?;
        self.refresh_async().await?;
        Ok(self.predictor.predict_async(self.optimizer.program_mut(), &[lane], features).await?.swap_remove(0))
    }

    /// [`Trainer::predict_all`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn predict_all_async(&mut self, features: &[f32]) -> Result<Vec<Vec<f32>>> {
        self.refresh_async().await?;
        let lanes: Vec<usize> = (0..self.lanes.len()).collect();
        self.predictor.predict_async(self.optimizer.program_mut(), &lanes, features).await
    }

    /// [`Trainer::predict_classes`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn predict_classes_async(&mut self, lane: usize, features: &[f32]) -> Result<Vec<u32>> {
        let logits = self.predict_async(lane, features).await?;
        Ok(self.classes(&logits))
    }

    /// [`Trainer::params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn params_async(&mut self, lane: usize) -> Result<Vec<f32>> {
        self.optimizer.program().read_async(self.optimizer.params_buffer(), lane).await
    }

    /// [`Trainer::eval_params`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn eval_params_async(&mut self, lane: usize) -> Result<Vec<f32>> {
        if let Some(evaluated) = self.evaluated.filter(|_| self.aside.is_some()) {
            return self.optimizer.program().read_async(evaluated, lane).await;
        }
        self.optimizer.lane(lane)?.eval_arena_async().await
    }

    /// [`Trainer::report`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn report_async(&mut self, lane: usize) -> Result<Report> {
        self.optimizer.lane(lane)?.report_async().await
    }

    /// [`Trainer::state_dict`] without a wait. [`Trainer::load_state_dict`] waits for nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn state_dict_async(&mut self) -> Result<State<f32>> {
        let state = self.optimizer.state_dict_async().await?;
        let found = self.optimizer.program().read_all_async(&[self.statistics.id, self.train.tally]).await?;
        Ok(self.state_with(state, &found))
    }

    /// Makes the parameters to evaluate with.
    async fn refresh_async(&mut self) -> Result<()> {
        let Some(evaluated) = self.evaluated.filter(|_| self.aside.is_none()) else { return Ok(()) };
        let all = self.optimizer.all_eval_params_async().await?;
        let program = self.optimizer.program_mut();
        all.iter().enumerate().try_for_each(|(lane, params)| program.write(evaluated, lane, 0, params))
    }
}
