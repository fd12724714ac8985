//! Micro-batches and their sums: one by one, and as parts of a tree that several machines share.

use super::modifier::SumOrder;
use super::stepper::{Stepper, not_asked};
use crate::error::{Error, Result, range};
use crate::plan::{ALIGN, BufferId, PlanId, Program};
use crate::rule::{HyperRow, Real};
use std::ops::Range;

/// Zeros that are written at a time, whole blocks.
const PIECE: usize = 1024 * ALIGN;

impl Stepper {
    /// The plan that adds a micro-batch to the sum, where the recipe accumulates: the first of a step, where there is a tree of
    /// sums.
    pub fn accumulate_plan(&self) -> Option<PlanId> {
        self.accumulate_plan_of(0)
    }

    /// The plan that adds the `number`-th micro-batch of a step, from 0 on, where the recipe accumulates this many. Only a tree
    /// of sums ([`SumOrder::Tree`]) has more than one.
    pub fn accumulate_plan_of(&self, number: usize) -> Option<PlanId> {
        let order = self.recipe.accumulation?.order;
        (number < order.most()).then(|| self.plans.accumulate[order.joins(number)])
    }

    /// The order in which gradients of micro-batches are added up, where the recipe accumulates.
    pub fn sum_order(&self) -> Option<SumOrder> {
        self.recipe.accumulation.map(|accumulation| accumulation.order)
    }

    /// Adds the gradients as they are to the sum that the next step uses; see
    /// [`Recipe::accumulate`](super::Recipe::accumulate).
    ///
    /// # Errors
    /// A recipe that does not accumulate, more micro-batches than the recipe's tree has, or a lost device.
    pub fn accumulate<P: Program>(&mut self, program: &mut P) -> Result<()> {
        let plan = self.accumulation()?;
        self.ahead += 1;
        program.run(plan, 1)
    }

    /// The plan of the next micro-batch.
    pub(super) fn accumulation(&self) -> Result<PlanId> {
        self.order()?;
        self.check_sum_ended("accumulate")?;
        self.accumulate_plan_of(self.ahead).ok_or_else(|| self.full())
    }

    fn order(&self) -> Result<SumOrder> {
        Ok(self.recipe.accumulation.ok_or_else(|| not_asked("accumulate", "accumulate"))?.order)
    }

    fn full(&self) -> Error {
        let most = self.recipe.accumulation.map_or(0, |accumulation| accumulation.order.most());
        Error::order("accumulate", format!("a step has at most {most} micro-batches, as its tree of sums"))
    }

    /// Refuses what would add to pieces of a sum.
    pub(super) fn check_sum_ended(&self, call: &str) -> Result<()> {
        match self.open_sum {
            true => Err(Error::order(call, "end_sum or drop_sum has to come after pieces of a sum")),
            false => Ok(()),
        }
    }

    /// Checks that micro-batches come in the order of their numbers, where their sums are a tree.
    pub(super) fn check_numbers(&self, plans: &[PlanId], count: usize) -> Result<()> {
        if self.buffers.joins.is_none() || count == 0 {
            return Ok(());
        }
        let own = plans.iter().filter(|plan| self.plans.accumulate.contains(plan));
        for (number, plan) in (self.ahead..).zip(own) {
            if count > 1 && self.ahead > 0 {
                let rule = "micro-batches since the last step belong to one step, which is made alone";
                return Err(Error::order(format!("run, {count} times"), rule));
            }
            let expected = self.accumulate_plan_of(number).ok_or_else(|| self.full())?;
            if *plan != expected {
                let rule = format!("micro-batch {number} of a step has the plan accumulate_plan_of({number})");
                return Err(Error::order("accumulate", rule));
            }
        }
        Ok(())
    }

    /// The rows of an update that joins two sums: live in all groups, since frozen ones have added nothing.
    pub(super) fn write_join_rows<P: Program>(&self, program: &mut P, lane: usize) -> Result<()> {
        let Some(joins) = self.buffers.joins else { return Ok(()) };
        let mut rows = vec![P::Float::of(0.0); self.groups() * HyperRow::LEN];
        for row in rows.chunks_exact_mut(HyperRow::LEN) {
            [HyperRow::LIVE, HyperRow::SCALE, HyperRow::DECAY].iter().for_each(|&at| row[at] = P::Float::of(1.0));
            // No bound on what is added.
            row[HyperRow::MAX_VALUE] = P::Float::of(f64::INFINITY);
        }
        program.write(joins, lane, 0, &rows)
    }

    /// Takes out the sum of the micro-batches since the last step, into a slice per lane, laid out as the arena; afterwards it
    /// is as if there had been no micro-batch. Returns how many are in each lane's sum: those that were not dropped. Where sums
    /// are a tree, their number has to be that of a whole node: a power of two. Waits for the device.
    ///
    /// It is what travels where several machines share the micro-batches of a step: [`Stepper::put_sum`] puts in the sum of
    /// all.
    ///
    /// # Errors
    /// A recipe that does not accumulate, no micro-batches or no whole node of them, slices of other sizes, or a lost device.
    pub fn take_sum<P: Program>(&mut self, program: &mut P, sums: &mut [Vec<P::Float>]) -> Result<Vec<u32>> {
        let (level, count) = self.sum_to_take(sums)?;
        for (lane, sum) in sums.iter_mut().enumerate() {
            program.read_to(level, lane, 0, sum)?;
        }
        self.counted(program, level, count)
    }

    /// [`Stepper::take_sum`] in pieces of the arena: `take` is given a lane, the number of a piece and its values, lane by lane
    /// and in the order of `pieces`. A piece is on the host by then, and may be sent elsewhere while the engine brings the next
    /// one. What lies in no piece is dropped.
    ///
    /// # Examples
    /// A sum that goes out and comes back in pieces:
    ///
    /// ```
    /// use thalweg::{Accumulation, Optimizer, Recipe, Sgd, cpu::Cpu};
    ///
    /// let recipe = Recipe::new(Sgd { lr: 1.0, ..Default::default() }).accumulate(Accumulation::default());
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[2])])?;
    /// optimizer.set_grads("w", &[1.0, 2.0])?;
    /// optimizer.accumulate()?;
    ///
    /// let (stepper, program) = optimizer.stepper_and_program();
    /// let (pieces, mut sent) = ([0..1, 1..2], Vec::new());
    /// let counts = stepper.take_sum_in_pieces(program, &pieces, |lane, number, values| {
    ///     sent.push((lane, pieces[number].start, values.to_vec()));
    /// })?;
    /// // Others would add theirs.
    /// for (lane, start, values) in sent {
    ///     stepper.put_sum_piece(program, lane, start, &values)?;
    /// }
    /// stepper.end_sum(program, &counts)?;
    /// optimizer.step()?;
    /// assert_eq!(optimizer.params("w")?, [-1.0, -2.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Stepper::take_sum`], and pieces beyond the arena. Some pieces may have been given out before.
    pub fn take_sum_in_pieces<P: Program>(
        &mut self,
        program: &mut P,
        pieces: &[Range<usize>],
        mut take: impl FnMut(usize, usize, &[P::Float]),
    ) -> Result<Vec<u32>> {
        let (level, count) = self.node()?;
        for lane in 0..self.recipe.lanes() {
            program.read_pieces(level, lane, pieces, &mut |number, values| take(lane, number, values))?;
        }
        self.counted(program, level, count)
    }

    /// How many micro-batches are in each lane's sum, which has been read; it begins anew.
    fn counted<P: Program>(&mut self, program: &mut P, level: BufferId, count: BufferId) -> Result<Vec<u32>> {
        let counts = (0..self.recipe.lanes()).map(|lane| Ok(program.read_indices(count, lane)?[0])).collect::<Result<_>>()?;
        self.clear_sum(program, level, count)?;
        Ok(counts)
    }

    /// Where the sum to be taken out and its numbers of micro-batches are.
    pub(super) fn sum_to_take<F>(&self, sums: &[Vec<F>]) -> Result<(BufferId, BufferId)> {
        let found = self.node()?;
        self.check_sums(sums)?;
        Ok(found)
    }

    /// Goes on as if there had been no micro-batch.
    pub(super) fn clear_sum<P: Program>(&mut self, program: &mut P, level: BufferId, count: BufferId) -> Result<()> {
        let zeros = vec![P::Float::of(0.0); PIECE.min(self.arena.len())];
        for lane in 0..self.recipe.lanes() {
            for start in (0..self.arena.len()).step_by(PIECE) {
                program.write(level, lane, start, &zeros[..PIECE.min(self.arena.len() - start)])?;
            }
            program.write_indices(count, lane, 0, &[0])?;
        }
        (self.ahead, self.open_sum) = (0, false);
        Ok(())
    }

    /// Forgets the micro-batches since the last step, and whatever was put in of a sum: it is as if there had been none. So a
    /// step can be tried again after one of its micro-batches has failed. Waits for nothing.
    ///
    /// # Errors
    /// A recipe that does not accumulate, or a lost device.
    pub fn drop_sum<P: Program>(&mut self, program: &mut P) -> Result<()> {
        let count = self.buffers.micro.ok_or_else(|| not_asked("drop_sum", "accumulate"))?;
        self.buffers.levels.clone().into_iter().try_for_each(|level| self.clear_sum(program, level, count))
    }

    /// Puts in the sum of a step's micro-batches, made elsewhere, and of how many it is, by lane; the next step uses it as if
    /// they had been accumulated here.
    ///
    /// # Errors
    /// A recipe that does not accumulate, micro-batches since the last step, slices or counts of other sizes, or a lost device.
    pub fn put_sum<P: Program>(&mut self, program: &mut P, sums: &[Vec<P::Float>], counts: &[u32]) -> Result<()> {
        self.order()?;
        self.check_sums(sums)?;
        self.check_counts(counts)?;
        sums.iter().enumerate().try_for_each(|(lane, values)| self.put_sum_piece(program, lane, 0, values))?;
        self.end_sum(program, counts)
    }

    /// Puts in a piece of a lane's sum, from element `start` of the arena on. After all pieces comes [`Stepper::end_sum`], or
    /// [`Stepper::drop_sum`] where some will not come; before it, steps and micro-batches are errors.
    ///
    /// # Errors
    /// A recipe that does not accumulate, micro-batches since the last step, values beyond the arena, or a lost device.
    pub fn put_sum_piece<P: Program>(&mut self, program: &mut P, lane: usize, start: usize, values: &[P::Float]) -> Result<()> {
        program.write(self.room_for_sum()?.0, lane, start, values)?;
        self.open_sum = true;
        Ok(())
    }

    /// Says of how many micro-batches the sum is that was put in piece by piece, by lane; the next step uses it.
    ///
    /// # Errors
    /// A recipe that does not accumulate, micro-batches since the last step, counts of other lanes, or a lost device.
    pub fn end_sum<P: Program>(&mut self, program: &mut P, counts: &[u32]) -> Result<()> {
        let (_, micro) = self.room_for_sum()?;
        self.check_counts(counts)?;
        counts.iter().enumerate().try_for_each(|(lane, &count)| program.write_indices(micro, lane, 0, &[count]))?;
        (self.ahead, self.open_sum) = (1, false);
        Ok(())
    }

    fn check_counts(&self, counts: &[u32]) -> Result<()> {
        range::require(counts.len() == self.recipe.lanes(), "counts of micro-batches", counts.len(), "one per lane")
    }

    /// Where a sum that was made elsewhere goes, and the number of its micro-batches.
    fn room_for_sum(&self) -> Result<(BufferId, BufferId)> {
        self.order()?;
        if self.ahead > 0 {
            return Err(Error::order("put_sum", "a step or take_sum has to come after micro-batches"));
        }
        self.buffers.levels.last().copied().zip(self.buffers.micro).ok_or_else(|| not_asked("put_sum", "accumulate"))
    }

    /// Where the sum of the micro-batches since the last step is, and their number.
    fn node(&self) -> Result<(BufferId, BufferId)> {
        let order = self.order()?;
        let level = match order {
            SumOrder::InTurn if self.ahead > 0 => Some(0),
            SumOrder::Tree { .. } if self.ahead.is_power_of_two() => Some(self.ahead.ilog2() as usize),
            _ => None,
        };
        let buffers = level.and_then(|level| self.buffers.levels.get(level).copied()).zip(self.buffers.micro);
        buffers.ok_or_else(|| {
            let rule = format!("it wants the micro-batches of a whole node: 1, 2, 4, …, and there are {}", self.ahead);
            Error::order("take_sum", rule)
        })
    }

    fn check_sums<F>(&self, sums: &[Vec<F>]) -> Result<()> {
        let (lanes, len) = (self.recipe.lanes(), self.arena.len());
        if sums.len() != lanes {
            return Err(Error::shape("sums of micro-batches", format!("{lanes} lanes"), sums.len()));
        }
        match sums.iter().find(|sum| sum.len() != len) {
            Some(sum) => Err(Error::shape("a sum of micro-batches", format!("{len} values"), sum.len())),
            None => Ok(()),
        }
    }
}
