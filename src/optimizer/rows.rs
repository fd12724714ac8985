//! Hyper rows, which the host writes ahead of the device.

use super::stepper::Stepper;
use crate::error::{Error, Result};
use crate::plan::Program;
use crate::rule::{HyperRow, Real};

/// Rows that are written at a time.
const BLOCK: u64 = 64;

impl Stepper {
    /// Brings the rows of the next `steps` steps to the device, whatever was skipped meanwhile. Returns how many of these steps
    /// have their rows: at least one of those asked for.
    ///
    /// A setting may be out of its range in a row that no step will use, since the device is past it, or since steps are
    /// skipped. So such a row is an error only where the very next step may use it, and only after the device was asked how far
    /// it is.
    pub(super) fn supply<P: Program>(&mut self, program: &mut P, steps: u64) -> Result<u64> {
        if self.covered(steps) {
            return Ok(steps);
        }
        self.take_in(program)?;
        // The device is too far behind.
        self.catch_up(program, |stepper| stepper.fits(steps))?;
        if !self.fits(steps) {
            return Err(Error::NotSubmitted { waiting: self.run - self.known_at, allowed: self.buffers.slots as u64 });
        }
        let mut refused = self.write_all(program, steps)?;
        if refused.is_some() && self.ready() < Some(steps.min(1)) && self.known_at < self.run {
            self.catch_up(program, |stepper| stepper.known_at == stepper.run)?;
            refused = self.write_all(program, steps)?;
        }
        let Some(reason) = refused else { return Ok(steps) };
        let ready = self.ready().filter(|&ready| ready >= steps.min(1));
        ready.map(|ready| ready.min(steps)).ok_or(reason)
    }

    /// The last step that may be applied by the end of the next `steps` steps.
    fn last(&self, index: usize, steps: u64) -> u64 {
        self.applied[index] + (self.run - self.known_at) + steps
    }

    fn covered(&self, steps: u64) -> bool {
        (0..self.applied.len()).all(|index| self.last(index, steps) <= self.written[index])
    }

    /// How many of the next steps have their rows; none if not even the steps run so far have them.
    fn ready(&self) -> Option<u64> {
        let ready = (0..self.applied.len()).map(|index| self.written[index].checked_sub(self.last(index, 0)));
        ready.min().flatten()
    }

    /// Whether all rows from the next step on fit into the ring.
    fn fits(&self, steps: u64) -> bool {
        self.run - self.known_at + steps <= self.buffers.slots as u64
    }

    /// Writes the missing rows of all groups of all lanes, each up to a row that is refused. Returns why the first of these is.
    fn write_all<P: Program>(&mut self, program: &mut P, steps: u64) -> Result<Option<Error>> {
        let mut refused = None;
        for index in 0..self.applied.len() {
            let found = self.write(program, index, steps)?;
            refused = refused.or(found);
        }
        Ok(refused)
    }

    /// Writes the missing rows of one group of one lane, and some more ahead as far as the ring has room and settings stay in
    /// their ranges: where a schedule takes one out, the run may end before. Returns why a row of the next `steps` steps is
    /// refused.
    fn write<P: Program>(&mut self, program: &mut P, index: usize, steps: u64) -> Result<Option<Error>> {
        let (lane, group) = (index / self.groups(), index % self.groups());
        let mut refused = None;
        let written = self.written[index].max(self.applied[index]);
        let room = self.applied[index] + self.buffers.slots as u64;
        let needed = self.last(index, steps);
        let mut last = needed.max(written + BLOCK).min(room);
        let mut first = written + 1;
        while first <= last {
            // The ring ends after its last slot.
            let slot = (first - 1) as usize % self.buffers.slots;
            let end = last.min(first + (self.buffers.slots - 1 - slot) as u64).min(first + BLOCK - 1);
            let mut rows = [P::Float::of(0.0); BLOCK as usize * HyperRow::LEN];
            for (t, row) in (first..=end).zip(rows.chunks_exact_mut(HyperRow::LEN)) {
                let (found, fits) = self.recipe.row(&mut self.scheduled[index], t);
                match fits {
                    // No step uses the numbers of a frozen group.
                    Err(reason) if !self.frozen[index] => {
                        refused = (t <= needed).then_some(reason);
                        last = t - 1;
                        break;
                    }
                    _ => row.copy_from_slice(&found.0.map(P::Float::of)),
                }
            }
            let rows = &rows[..(end.min(last) + 1 - first) as usize * HyperRow::LEN];
            program.write(self.buffers.rows, lane, (group * self.buffers.slots + slot) * HyperRow::LEN, rows)?;
            first = end + 1;
        }
        self.written[index] = written.max(last);
        Ok(refused)
    }
}
