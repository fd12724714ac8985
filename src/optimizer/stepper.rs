//! Supplies a recorded recipe with hyper rows, ahead of the device.

use super::Recipe;
use crate::error::{Error, Result};
use crate::plan::{ALIGN, BufferId, Counter, Program, SLOTS, Scalar};
use crate::rule::{Real, Row};

/// A lane's counters and the scalars of its last step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Steps that changed the parameters.
    pub applied: u32,
    /// Steps that did nothing, since their gradient's norm was not finite.
    pub skipped: u32,
    /// Applied steps whose gradient was scaled down.
    pub clipped: u32,
    /// The last gradient's global norm before clipping; 0 without clipping.
    pub norm: f64,
    /// The factor that clipping put on it; 1 without clipping.
    pub coefficient: f64,
}

/// Steps between two requests for the device's counters.
const ASK_EVERY: u64 = 32;
/// Rows that are written at a time, at least.
const BLOCK: u64 = 64;

/// The host's side of a recorded recipe.
///
/// The device picks the row of a step by its own count of applied steps, which the host knows late. So the host keeps the rows of
/// every step that may come next: from the last count that has arrived, to that count plus the steps run since. The bits are
/// those of a host that waits for the count every step.
#[derive(Debug, Clone)]
pub struct Stepper {
    recipe: Recipe,
    len: usize,
    rows: BufferId,
    counts: BufferId,
    scalars: BufferId,
    planes: Vec<(usize, BufferId)>,
    groups: Option<(BufferId, Vec<u32>)>,
    /// Steps run so far.
    run: u64,
    /// Steps run when the newest known counters were asked for.
    known_at: u64,
    /// By lane: the newest known count of applied steps.
    applied: Vec<u64>,
    /// By lane: rows are written up to this step.
    written: Vec<u64>,
}

impl Stepper {
    pub(super) fn new(
        recipe: Recipe,
        len: usize,
        rows: BufferId,
        counts: BufferId,
        scalars: BufferId,
        planes: Vec<(usize, BufferId)>,
        groups: Option<(BufferId, Vec<u32>)>,
    ) -> Self {
        let zeros = vec![0; recipe.lanes()];
        Self { recipe, len, rows, counts, scalars, planes, groups, run: 0, known_at: 0, applied: zeros.clone(), written: zeros }
    }

    /// Fills what must not start at zero. Call it once, after the plan was loaded.
    ///
    /// # Errors
    /// A lost device.
    pub fn start<P: Program>(&mut self, program: &mut P) -> Result<()> {
        if let Some((table, groups)) = &self.groups {
            program.write_indices(*table, 0, 0, groups)?;
        }
        for (lane, rules) in self.recipe.rules.iter().enumerate() {
            for &(plane, id) in &self.planes {
                let initial: Vec<P::Float> = rules.iter().map(|rule| P::Float::of(rule.initial(plane))).collect();
                if initial.iter().all(|&initial| initial == P::Float::of(0.0)) {
                    continue;
                }
                let values: Vec<P::Float> = match &self.groups {
                    None => vec![initial[0]; self.len],
                    Some((_, groups)) => groups.iter().flat_map(|&group| [initial[group as usize]; ALIGN]).collect(),
                };
                program.write(id, lane, 0, &values)?;
            }
        }
        Ok(())
    }

    /// Runs a plan that holds this recipe's operations once, `count` times.
    ///
    /// # Errors
    /// A lost device.
    pub fn run<P: Program>(&mut self, program: &mut P, plan: usize, count: usize) -> Result<()> {
        let mut left = count as u64;
        while left > 0 {
            // A request every so often keeps what is known close enough to what is run.
            let now = left.min(ASK_EVERY - self.run % ASK_EVERY);
            self.supply(program, now)?;
            program.run(plan, now as usize)?;
            self.run += now;
            left -= now;
            if self.run.is_multiple_of(ASK_EVERY) {
                program.request(self.counts, self.run)?;
            }
        }
        Ok(())
    }

    /// Makes sure that the rows of the next `steps` steps are on the device, whatever was skipped meanwhile.
    fn supply<P: Program>(&mut self, program: &mut P, steps: u64) -> Result<()> {
        if self.covered(steps) {
            return Ok(());
        }
        // After a wait, what was requested before it arrives too: older than what is known by now.
        if let Some((tag, counts)) = program.arrived(self.counts)?.filter(|(tag, _)| *tag > self.known_at) {
            self.learn(tag, counts.chunks_exact(Counter::LEN).map(|lane| lane[Counter::Applied as usize]));
        }
        if !self.fits(steps) {
            // The device is too far behind: wait for its counters.
            let lanes = 0..self.applied.len();
            let counts = lanes.map(|lane| Ok(program.read_indices(self.counts, lane)?[Counter::Applied as usize]));
            let counts = counts.collect::<Result<Vec<_>>>()?;
            self.learn(self.run, counts.into_iter());
        }
        for lane in 0..self.applied.len() {
            self.write(program, lane, steps)?;
        }
        Ok(())
    }

    /// The last step that may be applied by the end of the next `steps` steps.
    fn last(&self, lane: usize, steps: u64) -> u64 {
        self.applied[lane] + (self.run - self.known_at) + steps
    }

    fn covered(&self, steps: u64) -> bool {
        (0..self.applied.len()).all(|lane| self.last(lane, steps) <= self.written[lane])
    }

    /// Whether all rows from the next step on fit into the ring.
    fn fits(&self, steps: u64) -> bool {
        self.run - self.known_at + steps <= SLOTS as u64
    }

    fn learn(&mut self, at: u64, applied: impl Iterator<Item = u32>) {
        self.known_at = at;
        // The device counts in 32 bits; the steps since the last answer are far fewer.
        for (known, now) in self.applied.iter_mut().zip(applied) {
            *known += u64::from(now.wrapping_sub(*known as u32));
        }
    }

    /// Writes a lane's missing rows, and some more ahead as far as the ring has room.
    fn write<P: Program>(&mut self, program: &mut P, lane: usize, steps: u64) -> Result<()> {
        let first = self.written[lane] + 1;
        let room = self.applied[lane] + SLOTS as u64;
        let last = self.last(lane, steps).max(self.written[lane] + BLOCK).min(room);
        let rules = &self.recipe.rules[lane];
        let width = rules.len() * Row::LEN;
        let mut rows = Vec::with_capacity((last.saturating_sub(self.written[lane])) as usize * width);
        let mut start = first;
        for t in first..=last {
            for rule in rules {
                let mut row = rule.full_row(t);
                row.0[Row::MAX_NORM] = self.recipe.max_norm.unwrap_or(row.0[Row::MAX_NORM]);
                rows.extend(row.0.map(P::Float::of));
            }
            // The ring ends after slot SLOTS − 1.
            if t % SLOTS as u64 == 0 || t == last {
                let slot = (start - 1) as usize % SLOTS;
                program.write(self.rows, lane, slot * width, &rows)?;
                rows.clear();
                start = t + 1;
            }
        }
        self.written[lane] = self.written[lane].max(last);
        Ok(())
    }

    /// The buffer of a plane, by its name in the rule.
    ///
    /// # Errors
    /// [`Error::Unknown`], listing the planes in use.
    pub fn plane(&self, name: &str) -> Result<BufferId> {
        let names = self.recipe.rules[0][0].state_names();
        let found = self.planes.iter().find(|(plane, _)| names[*plane] == name);
        found.map(|(_, id)| *id).ok_or_else(|| {
            let known: Vec<&str> = self.planes.iter().map(|(plane, _)| names[*plane]).collect();
            Error::unknown("plane", name, &known)
        })
    }

    /// A lane's counters, norm and clip coefficient after the last step. Waits for the device.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn report<P: Program>(&self, program: &mut P, lane: usize) -> Result<Report> {
        let counts = program.read_indices(self.counts, lane)?;
        let scalars = program.read(self.scalars, lane)?;
        Ok(Report {
            applied: counts[Counter::Applied as usize],
            skipped: counts[Counter::Skipped as usize],
            clipped: counts[Counter::Clipped as usize],
            norm: scalars[Scalar::Norm as usize].as_f64(),
            coefficient: scalars[Scalar::Coefficient as usize].as_f64(),
        })
    }
}
