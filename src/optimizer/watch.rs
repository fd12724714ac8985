//! What is told of steps: reports that wait for the device, and samples that nothing waits for.

use super::report::Report;
use super::stepper::Stepper;
use super::telemetry::Telemetry;
use crate::error::Result;
use crate::plan::{BufferId, Program};

impl Stepper {
    /// A lane's counters, norm and clip coefficient after the last step. Waits for the device.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn report<P: Program>(&self, program: &mut P, lane: usize) -> Result<Report> {
        let counts = program.read_indices(self.buffers.counts, lane)?;
        let scalars = program.read(self.buffers.scalars, lane)?;
        Ok(Report::of(&counts, &scalars, &self.buffers.domains))
    }

    /// Takes a sample of every lane every `steps` steps, which [`Stepper::poll`] gives out some steps later; 0 for none, the
    /// default. A sample costs one small copy on the device and a submission: every step is affordable where steps are large.
    ///
    /// Samples that nobody polls, and those asked for while several others are under way, are dropped; nothing ever waits for
    /// them.
    pub fn telemetry_every(&mut self, steps: u64) {
        self.log.every = steps;
    }

    /// The buffer of one float per lane in which samples look for the loss: see [`Stepper::watch_loss`].
    pub fn loss_buffer(&self) -> BufferId {
        self.buffers.loss
    }

    /// Lets samples carry a loss: the first element of each lane's copy of a buffer of floats in the layout that this recipe
    /// was recorded into.
    pub fn watch_loss(&mut self, loss: BufferId) {
        self.watched.truncate(if self.log.tensors.is_empty() { 2 } else { 4 });
        self.watched.push(loss);
    }

    /// The samples that have arrived since the last call, the oldest first, a step's lanes in order. Never waits.
    ///
    /// # Errors
    /// A lost device, once everything that the host had by then is given out.
    pub fn poll<P: Program>(&mut self, program: &mut P) -> Result<Vec<Telemetry>> {
        let taken = self.take_in(program);
        let samples = self.log.drain();
        if samples.is_empty() {
            taken?;
        }
        Ok(samples)
    }

    /// Waits for every sample that is under way; [`Stepper::poll`] gives them out.
    ///
    /// # Errors
    /// A lost device, or [`Error::Timeout`](crate::Error::Timeout).
    pub fn flush<P: Program>(&mut self, program: &mut P) -> Result<()> {
        program.settle()?;
        self.take_in(program)
    }
}
