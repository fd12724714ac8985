//! What steps did, as it comes back some steps later.

use super::Report;
use crate::plan::{Answer, Scalar};
use crate::rule::Real;
use std::collections::VecDeque;

/// Samples that wait to be polled, each of all lanes; further ones push the oldest out.
pub(super) const KEPT: usize = 256;

/// A lane after a step, without the host having waited for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Telemetry {
    /// Steps run by then, from 1: the applied ones and the skipped ones.
    pub step: u64,
    /// The lane.
    pub lane: usize,
    /// Its counters, and the scalars of that step.
    pub report: Report,
    /// What the buffer of losses held, if the host named one: see [`Stepper::watch_loss`](super::Stepper::watch_loss).
    pub loss: Option<f64>,
}

/// Samples on their way from the device's answers to the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// Steps from one sample to the next; 0 for no samples.
    pub every: u64,
    samples: VecDeque<Telemetry>,
    /// The step of the newest sample.
    last: u64,
}

impl Log {
    /// Whether a sample is due after `run` steps.
    pub fn due(&self, run: u64) -> bool {
        self.every > 0 && run.is_multiple_of(self.every)
    }

    /// Steps until a sample is due.
    pub fn ahead(&self, run: u64) -> Option<u64> {
        (self.every > 0).then(|| self.every - run % self.every)
    }

    /// Keeps an answer about step `step`, the first in each span of `every` steps; it may be late by some, if somebody else
    /// submits the steps.
    pub fn record<F: Real>(&mut self, step: u64, lanes: usize, answer: &Answer<F>) {
        if self.every == 0 || step / self.every <= self.last / self.every {
            return;
        }
        self.last = step;
        let excess = (self.samples.len() + lanes).saturating_sub(KEPT * lanes);
        self.samples.drain(..excess.min(self.samples.len()));
        let (scalars, losses) = answer.floats.split_at(lanes * Scalar::LEN);
        let (scalars, counts) = (scalars.chunks_exact(Scalar::LEN), answer.indices.chunks_exact(answer.indices.len() / lanes));
        let width = losses.len() / lanes;
        for (lane, (counts, scalars)) in counts.zip(scalars).enumerate() {
            let loss = losses.get(lane * width).map(|loss| loss.as_f64());
            self.samples.push_back(Telemetry { step, lane, report: Report::of(counts, scalars), loss });
        }
    }

    /// Gives out all samples, the oldest first.
    pub fn drain(&mut self) -> Vec<Telemetry> {
        self.samples.drain(..).collect()
    }
}
