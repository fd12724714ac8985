//! Supplies a recorded recipe with hyper rows, ahead of the device.

use super::hyper_rows::Scheduled;
use super::recipe::Recipe;
use super::report::Report;
use super::telemetry::{Log, Telemetry};
use crate::error::{Error, Result, range};
use crate::plan::{ALIGN, Arena, BufferId, Counter, Kind, Moments, PlanId, Program, Scalar, Tag, Tensor, Values};
use crate::rule::{AnyRule, HyperRow, Real};
use std::sync::Arc;

/// Steps between two requests for the device's counters, at most. Steps in between are handed over at once, and the engine cuts
/// them by what is good for the device.
const ASK_EVERY: u64 = 128;
/// Rows that are written at a time.
const BLOCK: u64 = 64;
/// Start values of a plane that are written at a time, whole blocks.
const PIECE: usize = 1024 * ALIGN;

/// The host's side of a recorded recipe.
///
/// The device picks the row of a step by its own count of applied steps, which the host knows late. So the host keeps the rows
/// of every step that may come next: from the last count that has arrived, to that count plus the steps run since. The bits are
/// those of a host that waits for the count every step.
#[derive(Debug, Clone)]
pub struct Stepper {
    pub(super) recipe: Recipe,
    /// The tensors with their groups.
    pub(super) arena: Arena,
    pub(super) plans: Plans,
    pub(super) buffers: Buffers,
    /// What snapshots keep.
    pub(super) kept: Vec<Kept>,
    /// By lane, then by group: the recipe's rules.
    scheduled: Vec<Scheduled>,
    /// What is asked for: counters, scalars, norms of tensors if the recipe inspects, and the buffer of losses if there is one.
    watched: Vec<BufferId>,
    /// The tag of its requests, by which it finds the answers.
    pub(super) tag: Tag,
    pub(super) log: Log,
    /// Steps run so far.
    pub(super) run: u64,
    /// Steps run when the newest known counters were asked for.
    pub(super) known_at: u64,
    /// By lane, then by group: the newest known count of applied steps.
    pub(super) applied: Vec<u64>,
    /// By lane, then by group: rows are written up to this step.
    pub(super) written: Vec<u64>,
    /// By lane: the newest known number of bad steps in a row, and that of the last error about it.
    pub(super) bad: Vec<[u32; 2]>,
    /// By lane, then by group: whether it is frozen.
    pub(super) frozen: Vec<bool>,
    /// Recorded steps that are no longer counted, since they will not be submitted.
    pub(super) forgotten: u64,
    /// Micro-batches, or an ascent, since the last step.
    pub(super) ahead: usize,
}

/// The plans of a recorded recipe.
#[derive(Debug, Clone)]
pub(super) struct Plans {
    pub step: PlanId,
    /// By the number of joins that follow.
    pub accumulate: Vec<PlanId>,
    /// The norm of the part that a parted recipe moves.
    pub part: Option<PlanId>,
    pub ascend: Option<PlanId>,
    pub inspect: Option<PlanId>,
}

impl Plans {
    fn is_step(&self, plan: PlanId) -> bool {
        plan == self.step || self.inspect == Some(plan)
    }
}

/// The buffers of a recorded recipe that the host writes or reads.
#[derive(Debug, Clone)]
pub(super) struct Buffers {
    pub params: BufferId,
    pub grads: BufferId,
    pub rows: BufferId,
    /// Steps for which there are rows.
    pub slots: usize,
    pub counts: BufferId,
    pub scalars: BufferId,
    /// The groups of each norm among the scalars.
    pub domains: Arc<[Arc<[String]>]>,
    pub frozen: BufferId,
    /// A loss that the host or the caller's plans may keep there.
    pub loss: BufferId,
    /// Of each group, with the planes' indices in its rule's list of names.
    pub planes: Vec<Vec<(usize, BufferId)>>,
    /// The average of the parameters.
    pub average: Option<BufferId>,
    /// Slow weights.
    pub slow: Option<BufferId>,
    /// The copy of the parameters in 16 bits.
    pub half: Option<BufferId>,
    /// The parameters from before an ascent.
    pub before: Option<BufferId>,
    /// Partial norms of the part that a parted recipe moves, and those of all; the first elements of the chunks of all.
    pub part: Option<[BufferId; 2]>,
    pub chunks: Vec<usize>,
    /// Sums of micro-batches: by their level in the tree, or one. The last one is that of all.
    pub levels: Vec<BufferId>,
    /// The rows of an update that joins sums.
    pub joins: Option<BufferId>,
    /// The number of micro-batches in the sum.
    pub micro: Option<BufferId>,
    /// Norms of each tensor's gradient, two floats per tensor.
    pub grad_norms: Option<BufferId>,
    /// Norms of each tensor's last inspected change, and of its parameters.
    pub change_norms: Option<BufferId>,
    /// Second moments by rows and columns in the place of a plane, with the groups that have them.
    pub moments: Vec<(Vec<usize>, Moments)>,
}

/// A buffer that snapshots keep.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub id: BufferId,
    pub name: String,
    /// Whether it is laid out as the arena.
    pub arena: bool,
    pub kind: Kind,
    /// Elements of a lane.
    pub len: usize,
}

impl Stepper {
    /// # Errors
    /// A schedule of a setting that is no number.
    pub(super) fn new(recipe: Recipe, arena: Arena, plans: Plans, buffers: Buffers, kept: Vec<Kept>) -> Result<Self> {
        let scheduled: Vec<Scheduled> =
            recipe.rules().map(|(lane, group, rule)| recipe.scheduled(rule, lane, group)).collect::<Result<_>>()?;
        let (mut watched, mut log) = (vec![buffers.counts, buffers.scalars], Log::default());
        if let (true, Some(grads), Some(changes)) = (recipe.inspect, buffers.grad_norms, buffers.change_norms) {
            watched.extend([grads, changes]);
            log.tensors = names(&arena);
        }
        let pairs = scheduled.len();
        Ok(Self {
            bad: vec![[0; 2]; recipe.lanes()],
            recipe,
            arena,
            plans,
            buffers,
            kept,
            scheduled,
            watched,
            tag: Tag::new(),
            log,
            run: 0,
            known_at: 0,
            applied: vec![0; pairs],
            written: vec![0; pairs],
            frozen: vec![false; pairs],
            forgotten: 0,
            ahead: 0,
        })
    }

    /// Fills what must not start at zero. Call it once, after the blueprint was loaded.
    ///
    /// # Errors
    /// A lost device.
    pub fn start<P: Program>(&mut self, program: &mut P) -> Result<()> {
        let groups = self.groups();
        for lane in 0..self.recipe.lanes() {
            for id in self.planes() {
                let initial = |group: usize| {
                    let plane = self.buffers.planes[group].iter().find(|(_, own)| *own == id);
                    plane.map_or(0.0, |(plane, _)| self.recipe.rule(lane, group).initial(*plane))
                };
                let initial: Vec<P::Float> = (0..groups).map(|group| P::Float::of(initial(group))).collect();
                if initial.iter().all(|&initial| initial == P::Float::of(0.0)) {
                    continue;
                }
                // In pieces, since a list of all would take as much memory as the plane.
                // Too large for the stack.
                let mut piece: Vec<P::Float> = std::iter::repeat_n(initial[0], PIECE).collect();
                // Only several groups may start at different numbers.
                let mut blocks = (groups > 1).then(|| self.arena.groups()).into_iter().flatten();
                for start in (0..self.arena.len()).step_by(PIECE) {
                    let len = PIECE.min(self.arena.len() - start);
                    for (values, group) in piece[..len].chunks_mut(ALIGN).zip(&mut blocks) {
                        values.fill(initial[group]);
                    }
                    self.write_plane(program, id, lane, start, &piece[..len])?;
                }
            }
            let scale = self.recipe.loss_scale.as_ref().map_or(1.0, |rules| rules.of(lane).init);
            let mut scalars = vec![P::Float::of(0.0); Scalar::len(self.buffers.domains.len())];
            (0..self.buffers.domains.len()).for_each(|domain| scalars[Scalar::norm_of(domain) + 1] = P::Float::of(1.0));
            scalars[Scalar::LossScale as usize] = P::Float::of(scale);
            program.write(self.buffers.scalars, lane, 0, &scalars)?;
            self.write_join_rows(program, lane)?;
        }
        Ok(())
    }

    /// Each buffer of planes once.
    pub(super) fn planes(&self) -> Vec<BufferId> {
        let mut ids: Vec<BufferId> = self.buffers.planes.iter().flatten().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The recipe, as it was recorded: each group has a rule per lane.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The plan of a step.
    pub fn step_plan(&self) -> PlanId {
        self.plans.step
    }

    /// The plan that goes up the gradient, where the recipe has [`Recipe::sam`].
    pub fn ascend_plan(&self) -> Option<PlanId> {
        self.plans.ascend
    }

    /// The plan of a step that also finds how far each tensor moves, where the recipe inspects.
    pub fn inspected_plan(&self) -> Option<PlanId> {
        self.plans.inspect
    }

    /// Makes `count` steps with the gradients as they are.
    ///
    /// # Errors
    /// As for [`Stepper::run`].
    pub fn steps<P: Program>(&mut self, program: &mut P, count: usize) -> Result<()> {
        self.run(program, &[self.plans.step], count)
    }

    /// Runs plans one after the other, the last of which is a step, and repeats the sequence `count` times: a gradient and the
    /// step along it. Where the recipe wants something before each step (micro-batches, an ascent), its plan is among them, or
    /// has run before if `count` is 1.
    ///
    /// # Errors
    /// A lost device; plans that are not one step, at their end; no micro-batch or no ascent before a step that needs one;
    /// micro-batches of a tree in another order than that of their numbers; a setting that its schedule takes out of its range
    /// in a step that may be the next. If some of the steps were made before, the error is [`Error::Partly`], which says how
    /// many.
    pub fn run<P: Program>(&mut self, program: &mut P, plans: &[PlanId], count: usize) -> Result<()> {
        let steps = plans.iter().filter(|plan| self.plans.is_step(**plan)).count();
        let last = plans.last().is_some_and(|plan| self.plans.is_step(*plan));
        range::require(steps == 1 && last, "steps among the plans", steps, "1, the last one")?;
        self.check_ahead(plans, count)?;
        let (asked, mut made) = (count as u64, 0);
        let run = self.run_all(program, plans, asked, &mut made);
        // `steps(0)` must not consume pending micro-batches.
        self.ahead = if made == 0 { self.ahead } else { 0 };
        run.map_err(|reason| match reason {
            // The steps that a lost device has made are lost with it.
            Error::DeviceLost { .. } => reason,
            _ if made == 0 => reason,
            _ => Error::Partly { made, asked, reason: Box::new(reason) },
        })
    }

    fn run_all<P: Program>(&mut self, program: &mut P, plans: &[PlanId], asked: u64, made: &mut u64) -> Result<()> {
        while *made < asked {
            // Regular requests keep what is known close to what is run.
            let ahead = self.ask_every() - self.run % self.ask_every();
            let now = (asked - *made).min(ahead).min(self.log.ahead(self.run).unwrap_or(ahead));
            self.check_bad_steps(program)?;
            let now = self.supply(program, now)?;
            program.repeat(plans, now as usize)?;
            self.run += now;
            *made += now;
            self.request_if_due(program)?;
        }
        Ok(())
    }

    /// Moves the parameters up the gradient; the next step wants the gradient from there. See [`Recipe::sam`].
    ///
    /// # Errors
    /// A recipe that does not ascend, a second ascent before the step, or a lost device.
    pub fn ascend<P: Program>(&mut self, program: &mut P) -> Result<()> {
        let plan = self.ascent()?;
        self.ahead += 1;
        program.run(plan, 1)
    }

    /// A step that also finds how far each tensor moves; see [`Recipe::inspect`]. Its bits are those of any step.
    ///
    /// # Errors
    /// A recipe that does not inspect, or as for [`Stepper::run`].
    pub fn step_inspected<P: Program>(&mut self, program: &mut P) -> Result<()> {
        let plan = self.plans.inspect.ok_or_else(|| not_asked("step_inspected", "inspect"))?;
        self.run(program, &[plan], 1)
    }

    pub(super) fn ascent(&self) -> Result<PlanId> {
        let plan = self.plans.ascend.ok_or_else(|| not_asked("ascend", "sam"))?;
        if self.ahead > 0 {
            return Err(Error::order("ascend", "a step has to come between two ascents"));
        }
        Ok(plan)
    }

    /// Whether `count` runs of these plans can be made: each step uses up the micro-batches or the ascent before it.
    pub(super) fn check_ahead(&self, plans: &[PlanId], count: usize) -> Result<()> {
        self.check_numbers(plans, count)?;
        for (own, what) in [(&*self.plans.accumulate, "accumulate"), (self.plans.ascend.as_slice(), "ascend")] {
            let comes = own.is_empty() || plans.iter().any(|plan| own.contains(plan));
            if comes || count == 0 || count == 1 && self.ahead > 0 {
                continue;
            }
            let call = if count == 1 { "step".into() } else { format!("steps({count})") };
            return Err(Error::order(call, format!("{what} has to come before each step")));
        }
        Ok(())
    }

    /// What has to happen before a step is recorded into the caller's encoder.
    pub(super) fn before_encoding<P: Program>(&mut self, program: &mut P) -> Result<()> {
        self.request_if_due(program)?;
        self.check_bad_steps(program)?;
        self.supply(program, 1)?;
        self.run += 1;
        Ok(())
    }

    /// Steps between two requests for the device's counters.
    fn ask_every(&self) -> u64 {
        // Half a ring, so that an answer comes before it is full.
        let most = ASK_EVERY.min(self.buffers.slots as u64 / 2);
        self.recipe.max_bad_steps.map_or(most, |steps| most.min(steps.into()))
    }

    /// An error if a lane has skipped too many steps in a row, as far as is known. It comes once, and again after as many more.
    fn check_bad_steps<P: Program>(&mut self, program: &mut P) -> Result<()> {
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

    fn request_if_due<P: Program>(&mut self, program: &mut P) -> Result<()> {
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

    /// Brings the rows of the next `steps` steps to the device, whatever was skipped meanwhile. Returns how many of these steps
    /// have their rows: at least one of those asked for.
    ///
    /// A setting may be out of its range in a row that no step will use, since the device is past it, or since steps are
    /// skipped. So such a row is an error only where the very next step may use it, and only after the device was asked how far
    /// it is.
    fn supply<P: Program>(&mut self, program: &mut P, steps: u64) -> Result<u64> {
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

    /// Waits for newer counters, unless what is known is enough.
    fn catch_up<P: Program>(&mut self, program: &mut P, enough: impl Fn(&Self) -> bool) -> Result<()> {
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

    /// Groups of each lane.
    pub(super) fn groups(&self) -> usize {
        self.recipe.groups.len()
    }

    pub(super) fn check_lane(&self, lane: usize) -> Result<()> {
        let lanes = self.recipe.lanes();
        range::require(lane < lanes, "lane", lane, &format!("below {lanes}"))
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

    /// Freezes or thaws a group of a lane, from the next step that is run on. A frozen group does not move: no decay, no
    /// moments, no count of steps; its gradient is no part of the norm.
    ///
    /// # Errors
    /// A lane or a group that does not exist; a lost device; a group to be thawed whose settings a schedule has taken out of
    /// their range in a step that is recorded and not yet submitted: it stays frozen.
    pub fn freeze<P: Program>(&mut self, program: &mut P, lane: usize, group: &str, frozen: bool) -> Result<()> {
        let group = self.recipe.group_named(group)?;
        self.check_lane(lane)?;
        let index = lane * self.groups() + group;
        let thaws = self.frozen[index] && !frozen;
        self.frozen[index] = frozen;
        if thaws {
            // Rows that were written while it was frozen may be out of range, and recorded steps that are not yet submitted use
            // them.
            self.written[index] = self.applied[index];
            if let Err(error) = self.supply(program, 0) {
                self.frozen[index] = true;
                return Err(error);
            }
        }
        program.write_indices(self.buffers.frozen, lane, group, &[u32::from(frozen)])
    }

    /// The parameters of some tensors, in a lane's whole arena, as they are to be evaluated with:
    /// [`Rule::eval`](crate::Rule::eval), with settings as they were in the last applied step. Waits for the device.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn eval<P: Program>(&self, program: &mut P, lane: usize, tensors: &[Tensor], params: &mut [P::Float]) -> Result<()> {
        let read = |id| Ok((id, self.read_plane(program, id, lane, 0..self.arena.len())?));
        let planes: Vec<(BufferId, Vec<P::Float>)> = self.planes().into_iter().map(read).collect::<Result<_>>()?;
        let counts = program.read_indices(self.buffers.counts, lane)?;
        self.eval_lane(lane, tensors, params, &planes, &counts)
    }

    /// The parameters of all lanes as they are to be evaluated with, each laid out as the arena. Waits for the device, once.
    pub(super) fn eval_all<P: Program>(&self, program: &mut P) -> Result<Vec<Vec<P::Float>>> {
        let found = program.read_all(&self.eval_buffers())?;
        self.eval_of(found)
    }

    /// What parameters to evaluate with are made of.
    pub(super) fn eval_buffers(&self) -> Vec<BufferId> {
        [&[self.buffers.params, self.buffers.counts], &self.planes()[..]].concat()
    }

    /// Parameters to evaluate with, of what [`Stepper::eval_buffers`] hold.
    pub(super) fn eval_of<F: Real>(&self, found: Vec<Values<F>>) -> Result<Vec<Vec<F>>> {
        let mut found = found.into_iter();
        let (Some(Values::Floats(mut params)), Some(Values::Indices(counts))) = (found.next(), found.next()) else {
            return Ok(Vec::new());
        };
        let lanes = |values| self.plane_lanes(values).into_iter();
        let mut all: Vec<_> = self.planes().into_iter().zip(found.map(lanes)).collect();
        for (lane, params) in params.iter_mut().enumerate() {
            let own = all.iter_mut().map(|(id, lanes)| (*id, lanes.next().unwrap_or_default())).collect::<Vec<_>>();
            self.eval_lane(lane, self.arena.tensors(), params, &own, &counts[lane])?;
        }
        Ok(params)
    }

    /// Makes a lane's parameters those to evaluate with, by its planes and counters.
    pub(super) fn eval_lane<F: Real>(
        &self,
        lane: usize,
        tensors: &[Tensor],
        params: &mut [F],
        planes: &[(BufferId, Vec<F>)],
        counts: &[u32],
    ) -> Result<()> {
        for tensor in tensors {
            // The caller's arena need not know of groups.
            let group = self.arena.tensor(&tensor.name)?.group;
            let last = u64::from(counts[Counter::LEN + group]).saturating_sub(1);
            let mut rule = self.scheduled[lane * self.groups() + group].clone();
            let rule = rule.at(&self.recipe.schedules, |schedule| schedule.value(last));
            let range = tensor.offset..tensor.offset + tensor.len();
            let own = self.buffers.planes[group].iter().filter_map(|(_, id)| planes.iter().find(|(known, _)| known == id));
            let planes: Vec<&[F]> = own.map(|(_, plane)| &plane[range.clone()]).collect();
            F::eval(rule, &mut params[range], &planes);
        }
        Ok(())
    }

    /// Whether all that is kept beside the parameters is still a copy of them: what the caller puts into slices of its own
    /// before the first step is in the parameters alone.
    pub(super) fn is_fresh(&self) -> bool {
        self.run == 0 && self.ahead == 0
    }

    /// Whether the average of a tensor's parameters is still the parameters themselves. Waits for the device where the host
    /// cannot know.
    ///
    /// # Errors
    /// A lost device.
    pub(super) fn average_is_copy<P: Program>(&self, program: &mut P, lane: usize, tensor: &Tensor) -> Result<bool> {
        let Some(average) = self.recipe.average.as_ref().map(|average| *average.of(lane)) else { return Ok(false) };
        let group = tensor.group;
        let index = lane * self.groups() + group;
        let known = self.applied.get(index).copied().unwrap_or(0);
        // Steps under way can only end it.
        if !average.is_copy(known) || self.run == self.known_at {
            return Ok(average.is_copy(known));
        }
        let counts = program.read_indices(self.buffers.counts, lane)?;
        Ok(average.is_copy(u64::from(counts[Counter::LEN + group])))
    }

    /// Whether [`Stepper::eval`] gives other parameters than those at which gradients are taken.
    pub fn averages(&self) -> bool {
        self.recipe.rules().any(|(_, _, rule)| rule.averages())
    }

    /// Changes a number among a rule's settings, from the next step that is run on; what was run before keeps the old value,
    /// also where the device is behind. A schedule of [`Recipe::scale`](super::Recipe::scale) multiplies the new value. If one
    /// of [`Recipe::schedule`](super::Recipe::schedule) sets it, this is an error.
    ///
    /// # Errors
    /// [`Error::Unknown`], a value out of its range, one that makes another kernel (momentum where there was none), a setting
    /// that only the start of a run uses, or a lane or a group that does not exist.
    pub fn set(&mut self, lane: usize, group: &str, setting: &str, value: f64) -> Result<()> {
        self.check_lane(lane)?;
        let group = self.recipe.group_named(group)?;
        let rule = self.recipe.changed(lane, group, setting, value)?;
        self.replace(lane, group, rule)
    }

    /// Gives a group of a lane all numbers of a rule, as [`Stepper::set`] does for one. If one of them is refused, none is
    /// changed.
    ///
    /// # Errors
    /// Another rule, or as for [`Stepper::set`].
    pub fn set_rule(&mut self, lane: usize, group: &str, rule: impl Into<Box<dyn AnyRule>>) -> Result<()> {
        self.check_lane(lane)?;
        let group = self.recipe.group_named(group)?;
        let rule = rule.into();
        self.recipe.check_change(lane, group, &*rule)?;
        self.replace(lane, group, rule)
    }

    fn replace(&mut self, lane: usize, group: usize, rule: Box<dyn AnyRule>) -> Result<()> {
        let index = lane * self.groups() + group;
        (self.scheduled[index], self.recipe.groups[group].rules[lane]) = (self.recipe.scheduled(&*rule, lane, group)?, rule);
        // All rows that no step has used yet are written anew. Those that steps under way use are read before the writes
        // arrive.
        self.written[index] = self.applied[index];
        Ok(())
    }

    /// Runs a plan in which lanes take over others ([`CopyLanes`](crate::plan::CopyLanes)): `pairs` names the source and the
    /// lane that changes. Counters come with it; settings stay. Waits for the device.
    pub(crate) fn copy_lanes<P: Program>(&mut self, program: &mut P, plan: PlanId, pairs: &[(usize, usize)]) -> Result<()> {
        // An answer that came later would tell of lanes as they were.
        program.settle()?;
        self.take_in(program)?;
        self.know(program)?;
        program.run(plan, 1)?;
        let groups = self.groups();
        for &(from, to) in pairs {
            self.bad[to] = self.bad[from];
            for (source, index) in (from * groups..(from + 1) * groups).zip(to * groups..) {
                (self.applied[index], self.frozen[index]) = (self.applied[source], self.frozen[source]);
                // The rows of its own settings from that step on.
                self.written[index] = self.applied[index];
            }
        }
        Ok(())
    }

    /// The buffer of one float per lane in which samples look for the loss: see [`Stepper::watch_loss`].
    pub fn loss_buffer(&self) -> BufferId {
        self.buffers.loss
    }

    /// The buffer of the copy in 16 bits.
    pub(super) fn half_buffer(&self) -> Result<BufferId> {
        self.buffers.half.ok_or_else(|| not_asked("half", "half_copy"))
    }

    /// The buffer of each lane's scalars, in the order of [`Scalar`]: among them the loss scale, by which the next loss has to
    /// be multiplied.
    pub fn scalars(&self) -> BufferId {
        self.buffers.scalars
    }

    /// The buffer of a tensor's plane, by its name in the tensor's rule. Rules of different names share buffers.
    ///
    /// # Errors
    /// [`Error::Unknown`], listing the tensors, or the planes in use.
    pub fn plane(&self, tensor: &str, name: &str) -> Result<BufferId> {
        let group = self.arena.tensor(tensor)?.group;
        let (names, planes) = (self.recipe.rule(0, group).state_names(), &self.buffers.planes[group]);
        let found = planes.iter().find(|(plane, _)| names[*plane] == name);
        found.map(|(_, id)| *id).ok_or_else(|| {
            let known: Vec<&str> = planes.iter().map(|(plane, _)| names[*plane]).collect();
            Error::unknown("plane", name, &known)
        })
    }

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
    /// A lost device, or [`Error::Timeout`].
    pub fn flush<P: Program>(&mut self, program: &mut P) -> Result<()> {
        program.settle()?;
        self.take_in(program)
    }
}

/// The tensors' names, in the order of sums.
pub(super) fn names(arena: &Arena) -> Arc<[String]> {
    let mut tensors: Vec<&Tensor> = arena.tensors().iter().collect();
    tensors.sort_by_key(|tensor| tensor.rank);
    tensors.into_iter().map(|tensor| tensor.name.clone()).collect()
}

/// A call for something that the recipe does not ask for.
pub(super) fn not_asked(call: &str, setting: &str) -> Error {
    Error::missing(call, format!("{setting} in the recipe"), format!("Recipe::{setting}"))
}
