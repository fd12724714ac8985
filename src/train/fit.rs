//! Epochs up to a number of them or to an early stop, each followed by an evaluation.

use super::Trainer;
use super::metrics::Metrics;
use super::stopping::{Best, doubles, floats};
use crate::error::{Error, Result};
use crate::plan::{BufferId, Program, Values};
use std::ops::ControlFlow;

/// Where a training stands after an epoch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// Its number, counted from 1.
    pub number: u64,
    /// Steps so far.
    pub steps: usize,
    /// Each lane's loss and scores on its training rows, measured in the steps of the epoch.
    pub train: Vec<Metrics>,
    /// Each lane's loss and scores on its validation rows, after the epoch; empty without validation data.
    pub validation: Vec<Metrics>,
}

impl<P: Program> Trainer<P> {
    /// Trains until `epochs` epochs are complete, those of earlier calls included, or `each` breaks it off, or all lanes have
    /// stopped early ([`TrainerBuilder::early_stopping`](super::TrainerBuilder::early_stopping)). After each epoch the lanes
    /// are evaluated on their validation rows, if there are any, and `each` is called; it may change the trainer, for example a
    /// learning rate.
    ///
    /// Schedules count steps. For one that counts epochs, multiply by [`Trainer::steps_per_epoch`].
    ///
    /// # Errors
    /// As for [`Trainer::whole_epoch`]; those of `each`; a metric to stop by that the task does not measure.
    pub fn fit(&mut self, epochs: u64, mut each: impl FnMut(&mut Self, &Epoch) -> Result<ControlFlow<()>>) -> Result<()> {
        while self.epoch < epochs && !self.has_stopped() {
            let train = self.whole_epoch()?;
            let validation = if self.validation.is_some() { self.evaluate()? } else { Vec::new() };
            self.observe(&validation)?;
            let epoch = Epoch { number: self.epoch, steps: self.steps, train, validation };
            if each(self, &epoch)?.is_break() {
                break;
            }
        }
        if self.keeps_best() { self.restore_best() } else { Ok(()) }
    }

    /// The best epoch of a lane so far, with early stopping.
    ///
    /// # Errors
    /// No early stopping, or a lane that does not exist.
    pub fn best(&self, lane: usize) -> Result<&Best> {
        self.lane(lane)?;
        self.best.get(lane).ok_or_else(|| Error::missing("the best of a lane", "early stopping", ".early_stopping(…)"))
    }

    /// Whether all lanes have stopped early; never without early stopping.
    pub fn has_stopped(&self) -> bool {
        !self.best.is_empty() && self.best.iter().all(|best| best.stopped)
    }

    /// Takes what an evaluation has found after an epoch, and keeps what is the best of its lane so far, where there is early
    /// stopping. [`Trainer::fit`] does so; this is for those who run epochs by themselves.
    ///
    /// # Errors
    /// A metric to stop by that the task does not measure, or a lost device.
    pub fn observe(&mut self, validation: &[Metrics]) -> Result<()> {
        let better = self.improved(validation)?;
        if !better.is_empty() {
            let params = self.optimizer.all_eval_params()?;
            let buffers = lanes_of(self.optimizer.program_mut().read_all(&[self.statistics.id])?);
            self.keep_best(&better, &params, &buffers);
        }
        Ok(())
    }

    /// Takes what an evaluation has found: the lanes whose parameters are the best so far and have to be kept.
    pub(super) fn improved(&mut self, validation: &[Metrics]) -> Result<Vec<usize>> {
        let Some(stopping) = self.stopping else { return Ok(Vec::new()) };
        let mut better = Vec::new();
        for (lane, metrics) in validation.iter().enumerate() {
            if self.best[lane].observe(&stopping, self.epoch, metrics)? && stopping.keep_best {
                better.push(lane);
            }
        }
        Ok(better)
    }

    /// Keeps what these lanes are evaluated with now, out of that of all.
    pub(super) fn keep_best(&mut self, lanes: &[usize], params: &[Vec<P::Float>], buffers: &[Vec<P::Float>]) {
        for &lane in lanes {
            (self.best[lane].params, self.best[lane].buffers) = (doubles(&params[lane]), doubles(&buffers[lane]));
        }
    }

    /// Gives lanes the parameters and running statistics that were their best. [`Trainer::fit`] does so in the end. Where steps
    /// go on from other parameters than those that are evaluated, the best is only evaluated, and steps go on from where they
    /// are.
    ///
    /// # Errors
    /// No early stopping that keeps the best, or a lost device.
    pub fn restore_best(&mut self) -> Result<()> {
        self.check_keeps_best()?;
        let best = std::mem::take(&mut self.best);
        let restored = self.restore(&best);
        self.best = best;
        restored
    }

    /// # Errors
    /// No early stopping that keeps the best.
    pub(super) fn check_keeps_best(&self) -> Result<()> {
        if self.keeps_best() {
            return Ok(());
        }
        Err(Error::missing("the best of a lane", "early stopping that keeps it", ".early_stopping(…)"))
    }

    /// Whether there is early stopping that keeps the best.
    pub(super) fn keeps_best(&self) -> bool {
        self.stopping.is_some_and(|stopping| stopping.keep_best)
    }

    /// Gives lanes their best parameters and running statistics back. Where steps go on from other parameters than those that
    /// are evaluated, the best is only evaluated, and steps go on from where they are.
    ///
    /// # Errors
    /// A lost device.
    pub(super) fn restore(&mut self, best: &[Best]) -> Result<()> {
        self.refresh()?;
        let needed = self.needed_to_restore();
        let found = lanes_of(self.optimizer.program_mut().read_all(needed.as_slice())?);
        self.put_back(best, found)
    }

    /// What has to be read before the best is put back: the parameters, or the running statistics that are put aside.
    pub(super) fn needed_to_restore(&self) -> Option<BufferId> {
        match self.evaluated {
            None => Some(self.optimizer.params_buffer()),
            Some(_) => self.aside.is_none().then_some(self.statistics.id),
        }
    }

    /// Puts the best back: `found` is what [`Trainer::needed_to_restore`] names, of all lanes.
    pub(super) fn put_back(&mut self, best: &[Best], mut found: Vec<Vec<P::Float>>) -> Result<()> {
        let known = || best.iter().enumerate().filter(|(_, best)| best.epoch > 0);
        if self.evaluated.is_some() && self.aside.is_none() {
            self.aside = Some(found.iter().map(|values| doubles(values)).collect());
        }
        for (lane, best) in known() {
            self.optimizer.program_mut().write(self.statistics.id, lane, 0, &floats(&best.buffers))?;
        }
        let Some(evaluated) = self.evaluated else {
            known().for_each(|(lane, best)| found[lane] = floats(&best.params));
            return self.optimizer.set_all_params(&found);
        };
        let program = self.optimizer.program_mut();
        known().try_for_each(|(lane, best)| program.write(evaluated, lane, 0, &floats(&best.params)))
    }
}

/// The floats of the only buffer that was read, by lane; nothing where none was.
pub(super) fn lanes_of<F>(mut found: Vec<Values<F>>) -> Vec<Vec<F>> {
    match found.pop() {
        Some(Values::Floats(lanes)) => lanes,
        _ => Vec::new(),
    }
}
