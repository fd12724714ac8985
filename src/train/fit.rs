//! Epochs until an end, with looks at the validation data in between.

use super::Trainer;
use super::metrics::Metrics;
use super::stopping::Best;
use crate::error::{Error, Result};
use crate::plan::Program;
use crate::rule::Real;
use std::ops::ControlFlow;

/// Where a training stands after an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Its number, counted from 1.
    pub number: u64,
    /// Steps so far.
    pub steps: usize,
    /// Of each lane, as met during the epoch.
    pub train: Vec<Metrics>,
    /// Of each lane, after the epoch; empty without validation data.
    pub validation: Vec<Metrics>,
}

impl<P: Program> Trainer<P> {
    /// Trains until so many epochs are complete in all, or `each` breaks it off, or all lanes have stopped early
    /// ([`TrainerBuilder::early_stopping`](super::TrainerBuilder::early_stopping)). After each epoch the lanes are evaluated on their
    /// validation rows, if there are any, and `each` is told; it may change the trainer, such as a learning rate.
    ///
    /// Schedules go by steps; one by epochs takes [`Trainer::steps_per_epoch`] steps for each.
    ///
    /// # Errors
    /// As for [`Trainer::whole_epoch`]; those of `each`; a metric to stop by that the task does not measure.
    pub fn fit(&mut self, epochs: u64, mut each: impl FnMut(&mut Self, &Epoch) -> Result<ControlFlow<()>>) -> Result<()> {
        let running = |trainer: &Self| trainer.best.is_empty() || trainer.best.iter().any(|best| !best.stopped);
        while self.epoch < epochs && running(self) {
            let train = self.whole_epoch()?;
            let validation = if self.validation.is_some() { self.evaluate()? } else { Vec::new() };
            self.observe(&validation)?;
            let epoch = Epoch { number: self.epoch, steps: self.steps, train, validation };
            if each(self, &epoch)?.is_break() {
                break;
            }
        }
        match self.stopping {
            Some(stopping) if stopping.keep_best => self.restore_best(),
            _ => Ok(()),
        }
    }

    /// The best that a lane has been, where there is early stopping.
    ///
    /// # Errors
    /// No early stopping, or a lane that does not exist.
    pub fn best(&self, lane: usize) -> Result<&Best> {
        self.lane(lane)?;
        self.best.get(lane).ok_or_else(|| Error::missing("the best of a lane", "early stopping", ".early_stopping(…)"))
    }

    /// Keeps what is the best of its lane so far.
    fn observe(&mut self, validation: &[Metrics]) -> Result<()> {
        let Some(stopping) = self.stopping else { return Ok(()) };
        for (lane, metrics) in validation.iter().enumerate() {
            if self.best[lane].observe(&stopping, self.epoch, metrics)? && stopping.keep_best {
                let params = self.eval_params(lane)?;
                let buffers = self.optimizer.program_mut().read(self.statistics.id, lane)?;
                let [params, buffers] =
                    [params, buffers].map(|values| values.into_iter().map(Real::as_f64).collect::<Vec<f64>>());
                (self.best[lane].params, self.best[lane].buffers) = (params, buffers);
            }
        }
        Ok(())
    }

    /// Gives lanes their best parameters and running statistics back.
    ///
    /// # Errors
    /// A lost device.
    fn restore_best(&mut self) -> Result<()> {
        self.refresh()?;
        for lane in 0..self.lanes.len() {
            if self.best[lane].epoch == 0 {
                continue;
            }
            let floats = |values: &[f64]| values.iter().map(|&x| P::Float::of(x)).collect::<Vec<_>>();
            let (params, buffers) = (floats(&self.best[lane].params), floats(&self.best[lane].buffers));
            self.optimizer.program_mut().write(self.statistics.id, lane, 0, &buffers)?;
            match self.evaluated {
                // What steps go on from is not what is evaluated.
                Some(evaluated) => self.optimizer.program_mut().write(evaluated, lane, 0, &params)?,
                None => {
                    let tensors = self.optimizer.arena().tensors().to_vec();
                    for tensor in tensors {
                        let values = &params[tensor.offset..][..tensor.len()];
                        self.optimizer.lane(lane)?.set_params(&tensor.name, values)?;
                    }
                }
            }
        }
        self.restored = self.evaluated.is_some();
        Ok(())
    }
}
