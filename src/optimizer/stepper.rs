//! Makes the steps of a recorded recipe.

use super::hyper_rows::Scheduled;
use super::recipe::Recipe;
use super::recorded::{Buffers, Kept, Plans};
use super::telemetry::Log;
use crate::error::{Error, Result, range};
use crate::plan::{ALIGN, Arena, BufferId, Counter, PlanId, Program, Scalar, Tag, Tensor};
use crate::rule::Real;
use std::sync::Arc;

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
    pub(super) scheduled: Vec<Scheduled>,
    /// What is asked for: counters, scalars, norms of tensors if the recipe inspects, and the buffer of losses if there is one.
    pub(super) watched: Vec<BufferId>,
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
    /// Whether pieces of a sum were put in that nothing has ended.
    pub(super) open_sum: bool,
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
            open_sum: false,
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
        if count > 0 {
            self.check_sum_ended("step")?;
        }
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

    /// Groups of each lane.
    pub(super) fn groups(&self) -> usize {
        self.recipe.groups.len()
    }

    pub(super) fn check_lane(&self, lane: usize) -> Result<()> {
        let lanes = self.recipe.lanes();
        range::require(lane < lanes, "lane", lane, &format!("below {lanes}"))
    }

    /// Whether all that is kept beside the parameters is still a copy of them: what the caller puts into slices of its own
    /// before the first step is in the parameters alone.
    pub(super) fn is_unused(&self) -> bool {
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
