//! What steps did, as it comes back some steps later.

use super::report::{Report, TensorReport};
use crate::plan::{Answer, Scalar};
use crate::rule::Real;
use std::collections::VecDeque;
use std::sync::Arc;

/// Samples that wait to be polled, each of all lanes; further ones push the oldest out.
pub(super) const KEPT: usize = 256;

/// A lane after a step, without the host having waited for it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Telemetry {
    /// Steps run by then, from 1: the applied ones and the skipped ones.
    pub step: u64,
    /// The lane.
    pub lane: usize,
    /// Its counters, and the scalars of that step.
    pub report: Report,
    /// What the buffer of losses held, if the host named one: see [`Stepper::watch_loss`](super::Stepper::watch_loss).
    pub loss: Option<f64>,
    /// Each tensor, in the order given, if the recipe inspects: see [`Recipe::inspect`](super::Recipe::inspect). How far it
    /// moved is that of the last inspected step.
    pub tensors: Vec<TensorReport>,
}

impl Telemetry {
    /// The first tensor whose gradient was not finite, if the recipe inspects and there is one.
    pub fn bad_tensor(&self) -> Option<&str> {
        self.tensors.iter().find(|tensor| !tensor.grad_norm.is_finite()).map(|tensor| tensor.name.as_str())
    }
}

/// Samples on their way from the device's answers to the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// Steps from one sample to the next; 0 for no samples.
    pub every: u64,
    /// Names of the tensors whose norms come with an answer, behind the scalars.
    pub tensors: Arc<[String]>,
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

    /// Keeps an answer about step `step`, the first in each span of `every` steps; it may be late by some steps if the caller
    /// submits them.
    pub fn record<F: Real>(&mut self, step: u64, lanes: usize, domains: &[Arc<[String]>], answer: &Answer<F>) {
        if self.every == 0 || step / self.every <= self.last / self.every {
            return;
        }
        self.last = step;
        let excess = (self.samples.len() + lanes).saturating_sub(KEPT * lanes);
        self.samples.drain(..excess.min(self.samples.len()));
        let (scalars, rest) = answer.floats.split_at(lanes * Scalar::len(domains.len()));
        let norms = 2 * self.tensors.len();
        let (grads, rest) = rest.split_at(lanes * norms);
        let (changes, losses) = rest.split_at(lanes * norms);
        let (scalars, counts) =
            (scalars.chunks_exact(Scalar::len(domains.len())), answer.indices.chunks_exact(answer.indices.len() / lanes));
        let width = losses.len() / lanes;
        for (lane, (counts, scalars)) in counts.zip(scalars).enumerate() {
            let loss = losses.get(lane * width).map(|loss| loss.as_f64());
            let tensors = TensorReport::all(&self.tensors, &grads[lane * norms..], &changes[lane * norms..]);
            self.samples.push_back(Telemetry { step, lane, report: Report::of(counts, scalars, domains), loss, tensors });
        }
    }

    /// Goes on after step `run`, as if the samples before it had been taken.
    pub fn restart(&mut self, run: u64) {
        self.last = run;
    }

    /// Gives out all samples, the oldest first.
    pub fn drain(&mut self) -> Vec<Telemetry> {
        self.samples.drain(..).collect()
    }
}
