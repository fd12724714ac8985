//! What changes between steps: settings, frozen groups, counts, the loss scale, lanes that take over others.

use super::stepper::{Stepper, not_asked};
use crate::error::{Result, range};
use crate::plan::{Counter, PlanId, Program, Scalar, Tag};
use crate::rule::{AnyRule, Real};

impl Stepper {
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

    /// Changes a number among a rule's settings, from the next step that is run on; what was run before keeps the old value,
    /// also where the device is behind. A schedule of [`Recipe::scale`](super::Recipe::scale) multiplies the new value. If one
    /// of [`Recipe::schedule`](super::Recipe::schedule) sets it, this is an error.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown), a value out of its range, one that makes another kernel (momentum where there
    /// was none), a setting that only the start of a run uses, or a lane or a group that does not exist.
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

    /// Goes on as if each of a lane's groups had applied this many steps: bias corrections, schedules and averages follow. The
    /// counters of [`Stepper::report`] stay. Waits for the device.
    ///
    /// # Errors
    /// A lane or a group that does not exist, or a lost device.
    pub fn set_applied<P: Program>(&mut self, program: &mut P, lane: usize, group: &str, steps: u64) -> Result<()> {
        self.check_lane(lane)?;
        let group = self.recipe.group_named(group)?;
        self.know(program)?;
        self.tag = Tag::new();
        let index = lane * self.recipe.groups.len() + group;
        (self.applied[index], self.written[index]) = (steps, steps);
        // The device counts in 32 bits.
        program.write_indices(self.buffers.counts, lane, Counter::LEN + group, &[steps as u32])
    }

    /// Sets a lane's loss scale, which is finite and above 0.
    ///
    /// # Errors
    /// A recipe without a loss scale, a value out of its range, a lane that does not exist, or a lost device.
    pub fn set_loss_scale<P: Program>(&self, program: &mut P, lane: usize, scale: f64) -> Result<()> {
        if self.recipe.loss_scale.is_none() {
            return Err(not_asked("set_loss_scale", "loss_scale"));
        }
        range::positive("loss_scale", scale)?;
        program.write(self.buffers.scalars, lane, Scalar::LossScale as usize, &[P::Float::of(scale)])
    }
}
