//! What the first machine tells of the trainings of all.

use super::progress::Progress;
use crate::machines::Machines;
use std::cell::RefCell;
use thalweg::sweep::{Job, Train};
use thalweg::{Error, Result};

/// Trains the jobs of a sweep, and sends to the first machine what the others have met on the way.
pub struct Told<'a, M> {
    pub machines: &'a M,
    pub train: Box<dyn Train + 'a>,
    pub progress: &'a RefCell<Progress>,
}

impl<M: Machines> Train for Told<'_, M> {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        let metrics = self.train.train(jobs, steps)?;
        if self.machines.is_alone() {
            return Ok(metrics);
        }
        let first = self.machines.number() == 0;
        let own = if first { String::new() } else { self.progress.borrow_mut().handed_over() };
        let texts = self.machines.texts(own).map_err(|error| Error::order("a sweep on machines", format!("{error:#}")))?;
        if first {
            texts.iter().skip(1).for_each(|text| self.progress.borrow_mut().take_over(text));
        }
        Ok(metrics)
    }

    fn capacity(&self) -> usize {
        self.train.capacity()
    }

    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        self.train.copy(from, to)
    }

    fn forget(&mut self, trials: &[u64]) {
        self.train.forget(trials);
    }
}
