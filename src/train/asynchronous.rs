//! Twins of what waits for the device, for programs that must not wait, as those in a browser.

use super::fit::{Epoch, lanes_of};
use super::stopping::Best;
use super::stream::without_r2;
use super::{Metrics, Trainer};
#[cfg(feature = "checkpoint")]
use crate::checkpoint::{Loaded, Tensors};
use crate::data::Dataset;
use crate::error::{Result, range};
use crate::gpu::GpuProgram;
use crate::optimizer::{Report, State, StateView};
use crate::plan::Program;
use std::ops::ControlFlow;

/// Steps after which the device is asked how far it is, at most.
const STEPS: usize = 64;

impl Trainer<GpuProgram> {
    /// [`Trainer::whole_epoch`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn whole_epoch_async(&mut self) -> Result<Vec<Metrics>> {
        self.epoch_by_async(usize::MAX, |_| ControlFlow::Continue(())).await
    }

    /// [`Trainer::epoch`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn epoch_async(&mut self, progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        self.epoch_by_async(1, progress).await
    }

    /// [`Trainer::epoch_by`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn epoch_by_async(
        &mut self,
        every: usize,
        mut progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Metrics>> {
        range::require(every >= 1, "steps between two looks", every, "at least 1")?;
        let (epoch, steps) = (self.epoch, self.steps_per_epoch());
        while self.epoch == epoch {
            self.stretch_async(every - self.step % every).await?;
            let done = if self.epoch == epoch { self.step } else { steps };
            let looks = done.is_multiple_of(every) || done == steps;
            if looks && progress(done).is_break() {
                break;
            }
        }
        self.metrics_async().await
    }

    /// [`Trainer::advance`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn advance_async(&mut self, steps: usize) -> Result<()> {
        let mut left = steps;
        while left > 0 {
            left -= self.stretch_async(left).await?;
        }
        Ok(())
    }

    /// Makes up to `count` steps of the epoch at hand that are alike; returns how many.
    async fn stretch_async(&mut self, count: usize) -> Result<usize> {
        // What the caller did before may have left the device behind.
        self.optimizer.catch_up_async().await?;
        let made = self.stretch(count.min(self.steps_at_once()))?;
        self.optimizer.catch_up_async().await?;
        Ok(made)
    }

    /// Steps that wait for nothing once the host knows of all before.
    fn steps_at_once(&self) -> usize {
        STEPS.min(self.optimizer.stepper().room())
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

    /// [`Trainer::state_dict`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn state_dict_async(&mut self) -> Result<State<f32>> {
        let state = self.optimizer.state_dict_async().await?;
        let found = self.optimizer.program().read_all_async(&[self.statistics.id, self.train.tally]).await?;
        Ok(self.state_with(state, &found))
    }

    /// [`Trainer::load_state_dict`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_state_dict_async(&mut self, state: &State<f32>) -> Result<()> {
        self.load_view_async(&state.view()).await
    }

    async fn load_view_async(&mut self, state: &StateView<'_, f32>) -> Result<()> {
        let own = self.take_up(state)?;
        if own.restored {
            self.restore_async(&own.best).await?;
        }
        self.go_on(own)
    }

    /// [`Trainer::fit`] without a wait. `each` must not wait either.
    ///
    /// # Errors
    /// As there.
    pub async fn fit_async(
        &mut self,
        epochs: u64,
        mut each: impl FnMut(&mut Self, &Epoch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        while self.epoch < epochs && !self.has_stopped() {
            let train = self.whole_epoch_async().await?;
            let validation = if self.validation.is_some() { self.evaluate_async().await? } else { Vec::new() };
            self.observe_async(&validation).await?;
            let epoch = Epoch { number: self.epoch, steps: self.steps, train, validation };
            if each(self, &epoch)?.is_break() {
                break;
            }
        }
        if self.keeps_best() { self.restore_best_async().await } else { Ok(()) }
    }

    /// [`Trainer::observe`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn observe_async(&mut self, validation: &[Metrics]) -> Result<()> {
        let better = self.improved(validation)?;
        if !better.is_empty() {
            let params = self.optimizer.all_eval_params_async().await?;
            let buffers = lanes_of(self.optimizer.program().read_all_async(&[self.statistics.id]).await?);
            self.keep_best(&better, &params, &buffers);
        }
        Ok(())
    }

    /// [`Trainer::restore_best`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn restore_best_async(&mut self) -> Result<()> {
        self.check_keeps_best()?;
        let best = std::mem::take(&mut self.best);
        let restored = self.restore_async(&best).await;
        self.best = best;
        restored
    }

    async fn restore_async(&mut self, best: &[Best]) -> Result<()> {
        self.refresh_async().await?;
        let needed = self.needed_to_restore();
        let found = lanes_of(self.optimizer.program().read_all_async(needed.as_slice()).await?);
        // Where there is an average, setting parameters asks how far the device is.
        self.optimizer.catch_up_async().await?;
        self.put_back(best, found)
    }

    /// [`Trainer::stream`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn stream_async(&mut self, batches: impl IntoIterator<Item = Dataset>) -> Result<Vec<Metrics>> {
        self.start_stream()?;
        let (mut batches, mut seen) = (batches.into_iter(), 0);
        loop {
            let filled = self.fill(&mut batches)?;
            let mut left = filled;
            while left > 0 {
                let now = left.min(self.steps_at_once());
                self.optimizer.catch_up_async().await?;
                self.step_through(now)?;
                left -= now;
            }
            seen += filled * self.train.batch;
            if filled < self.train.batches {
                break;
            }
        }
        let found = self.optimizer.program().read_all_async(&[self.train.tally]).await?;
        Ok(without_r2(self.train.metrics_of(found, |_| seen)))
    }

    /// [`Trainer::copy_lanes`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn copy_lanes_async(&mut self, pairs: &[(usize, usize)]) -> Result<()> {
        let plan = self.prepare_copies(pairs)?;
        self.optimizer.copy_lanes_async(plan, pairs).await?;
        self.follow_copies(pairs)
    }

    /// [`Trainer::shared`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn shared_async(&mut self, name: &str) -> Result<Vec<f32>> {
        let (id, range) = self.shared_place(name)?;
        self.optimizer.program().read_range_async(id, 0, range).await
    }

    /// Makes the parameters to evaluate with.
    async fn refresh_async(&mut self) -> Result<()> {
        let Some(evaluated) = self.evaluated.filter(|_| self.aside.is_none()) else { return Ok(()) };
        let all = self.optimizer.all_eval_params_async().await?;
        let program = self.optimizer.program_mut();
        all.iter().enumerate().try_for_each(|(lane, params)| program.write(evaluated, lane, 0, params))
    }
}

#[cfg(feature = "checkpoint")]
impl Trainer<GpuProgram> {
    /// [`Trainer::tensors`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn tensors_async(&mut self) -> Result<Tensors> {
        let mut tensors = Tensors::default();
        self.tensors_into_async(&mut tensors).await?;
        Ok(tensors)
    }

    /// [`Trainer::tensors_into`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn tensors_into_async(&mut self, tensors: &mut Tensors) -> Result<()> {
        let found = self.optimizer.program().read_all_async(&[self.statistics.id, self.train.tally]).await?;
        let own = self.state_with(State::default(), &found);
        self.optimizer.tensors_beside_async(own, tensors).await?;
        self.put_cut(tensors);
        Ok(())
    }

    /// [`Trainer::load_tensors`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_tensors_async(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let (state, loaded) = self.checked(tensors)?;
        self.load_view_async(&state).await?;
        loaded.warn();
        Ok(loaded)
    }

    /// [`Trainer::load_tensors_lenient`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_tensors_lenient_async(&mut self, tensors: &Tensors) -> Result<Loaded> {
        self.optimizer.catch_up_async().await?;
        let fitting = self.fitting(tensors);
        let own = if fitting.needs_state() { self.state_dict_async().await? } else { State::default() };
        let taken = match self.state_over(&fitting, &own) {
            Some(state) => self.load_view_async(&state).await,
            None => Ok(()),
        };
        self.take_alone(taken, fitting, tensors)
    }

    /// [`Trainer::load_model`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_model_async(&mut self, tensors: &Tensors) -> Result<Loaded> {
        self.optimizer.catch_up_async().await?;
        let (loaded, best) = self.take_model(tensors)?;
        if !best.is_empty() {
            self.restore_async(&best).await?;
        }
        Ok(loaded)
    }

    /// [`Trainer::weights`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn weights_async(&mut self, lane: usize) -> Result<Tensors> {
        let params = self.eval_params_async(lane).await?;
        let buffers = self.optimizer.program().read_async(self.statistics.id, lane).await?;
        self.weights_with(&params, &buffers)
    }

    /// [`Trainer::load_weights`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_weights_async(&mut self, weights: &Tensors) -> Result<Loaded> {
        self.optimizer.catch_up_async().await?;
        self.load_weights(weights)
    }

    /// [`Trainer::load_weights_lenient`] without a wait.
    ///
    /// # Errors
    /// As there.
    pub async fn load_weights_lenient_async(&mut self, weights: &Tensors) -> Result<Loaded> {
        self.optimizer.catch_up_async().await?;
        self.load_weights_lenient(weights)
    }
}
