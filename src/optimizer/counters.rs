//! What the host knows of the steps that the device has made: counters, which come late.

use super::stepper::Stepper;
use crate::error::{Error, Result};
use crate::plan::{Counter, Program};

/// Steps between two requests for the device's counters, at most. Steps in between are handed over at once, and the engine cuts
/// them by what is good for the device.
const ASK_EVERY: u64 = 128;

impl Stepper {
    /// Steps between two requests for the device's counters.
    pub(super) fn ask_every(&self) -> u64 {
        // Half a ring, so that an answer comes before it is full.
        let most = ASK_EVERY.min(self.buffers.slots as u64 / 2);
        self.recipe.max_bad_steps.map_or(most, |steps| most.min(steps.into()))
    }

    /// An error if a lane has skipped too many steps in a row, as far as is known. It comes once, and again after as many more.
    pub(super) fn check_bad_steps<P: Program>(&mut self, program: &mut P) -> Result<()> {
        let Some(allowed) = self.recipe.max_bad_steps else { return Ok(()) };
        self.take_in(program)?;
        for (lane, [in_a_row, told]) in self.bad.iter_mut().enumerate() {
            *told = if in_a_row < told { 0 } else { *told };
            if *in_a_row - *told >= allowed {
                *told = *in_a_row;
                return Err(Error::BadSteps { lane, in_a_row: *in_a_row, allowed });
            }
        }
        Ok(())
    }

    pub(super) fn request_if_due<P: Program>(&mut self, program: &mut P) -> Result<()> {
        if self.run.is_multiple_of(self.ask_every()) || self.log.due(self.run) {
            // Fetching what has arrived makes room for the answer.
            self.take_in(program)?;
            program.request(self.tag, &self.watched)?;
        }
        Ok(())
    }

    /// Takes over all answers that have arrived.
    pub(super) fn take_in<P: Program>(&mut self, program: &mut P) -> Result<()> {
        let lanes = self.recipe.lanes();
        while let Some(answer) = program.arrived(self.tag)? {
            if let Some(step) = self.learn(&answer.indices) {
                self.log.record(step, lanes, &self.buffers.domains, answer);
            }
        }
        Ok(())
    }

    /// Waits for newer counters, unless what is known is enough.
    pub(super) fn catch_up<P: Program>(&mut self, program: &mut P, enough: impl Fn(&Self) -> bool) -> Result<()> {
        // What is under way may be old, and leave no room for a new request.
        for _ in 0..2 {
            if !enough(self) {
                program.request(self.tag, &self.watched)?;
                program.settle()?;
                self.take_in(program)?;
            }
        }
        Ok(())
    }

    /// Asks for the device's counters.
    #[cfg(feature = "gpu")]
    pub(super) fn request<P: Program>(&self, program: &mut P) -> Result<()> {
        program.request(self.tag, &self.watched)
    }

    /// Steps that can be made without a wait where the host knows of all before.
    #[cfg(feature = "gpu")]
    pub(crate) fn room(&self) -> usize {
        self.buffers.slots
    }

    /// Whether the host knows of all steps that were run.
    #[cfg(feature = "gpu")]
    pub(super) fn is_caught_up(&self) -> bool {
        self.known_at == self.run
    }

    /// Waits for the device, and learns what it has done.
    pub(super) fn know<P: Program>(&mut self, program: &mut P) -> Result<()> {
        self.catch_up(program, |stepper| stepper.known_at == stepper.run)
    }

    /// Forgets the steps that were recorded and that the device has not made: they will not be submitted. Waits for the device.
    ///
    /// # Errors
    /// A lost device, or [`Error::Timeout`].
    pub(super) fn forget<P: Program>(&mut self, program: &mut P) -> Result<()> {
        self.know(program)?;
        self.forget_unmade();
        Ok(())
    }

    /// Forgets the steps that the device has not made, as far as is known.
    pub(super) fn forget_unmade(&mut self) {
        self.forgotten += self.run - self.known_at;
        self.run = self.known_at;
    }

    /// Takes over all lanes' counters, unless they are older than what is known. Returns the number of steps that they have
    /// seen.
    pub(super) fn learn(&mut self, counts: &[u32]) -> Option<u64> {
        let groups = self.groups();
        // Every step is applied, skipped or frozen, so the counters themselves tell how many steps they have seen. The device
        // counts in 32 bits; what is new is far less, and what is old looks like a huge step.
        let seen = [Counter::Applied, Counter::Skipped, Counter::Frozen].map(|counter| counts[counter as usize]);
        let seen = seen.into_iter().fold(0u32, u32::wrapping_add);
        let new = u64::from(seen.wrapping_sub(self.known_at as u32));
        if self.known_at + new > self.run + self.forgotten {
            return None;
        }
        self.known_at += new;
        // Steps were submitted after they had been forgotten.
        self.forgotten -= self.known_at.saturating_sub(self.run);
        self.run = self.run.max(self.known_at);
        let own = counts.chunks_exact(Counter::LEN + groups).flat_map(|lane| &lane[Counter::LEN..]);
        for (known, &now) in self.applied.iter_mut().zip(own) {
            *known += u64::from(now.wrapping_sub(*known as u32));
        }
        for (bad, lane) in self.bad.iter_mut().zip(counts.chunks_exact(Counter::LEN + groups)) {
            bad[0] = lane[Counter::BadInARow as usize];
        }
        Some(self.known_at)
    }
}
