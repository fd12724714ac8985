//! Epochs: which rows and plans their steps take, and what is measured in them.

use super::lanes::{self};
use super::{Gradient, Metrics, Trainer};
use crate::error::{Error, Result, range};
use crate::plan::{PlanId, Program};
use std::ops::{ControlFlow, Range};

impl<P: Program> Trainer<P> {
    /// Accumulates the gradients of `batches` batches for each step. The last step of an epoch takes the batches that are left.
    /// If the recipe takes the mean, it is the mean over batches, in which a smaller last batch counts like the others. Default
    /// 1.
    ///
    /// # Errors
    /// `batches` is 0, or above 1 with a recipe that does not accumulate so many (see
    /// [`Recipe::accumulate`](crate::Recipe::accumulate)); or another number after an epoch has begun.
    pub fn micro_batches(&mut self, batches: usize) -> Result<()> {
        range::require(batches >= 1, "micro_batches", batches, "at least 1")?;
        let accumulates = self.optimizer.stepper().accumulate_plan().is_some();
        range::require(accumulates || batches == 1, "micro_batches", batches, "1 where the recipe does not accumulate")?;
        let fits = !accumulates || self.optimizer.stepper().accumulate_plan_of(batches - 1).is_some();
        range::require(fits, "micro_batches", batches, "at most as many as the recipe's tree of sums has")?;
        if self.step > 0 && batches != self.micro {
            return Err(Error::order("micro_batches", "it has to come before an epoch begins"));
        }
        self.micro = batches;
        self.sequence_all();
        Ok(())
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train.batches.div_ceil(self.micro)
    }

    /// Steps run so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Epochs that are complete.
    pub fn epochs(&self) -> u64 {
        self.epoch
    }

    /// The rows in the order in which a lane takes them in an epoch, which is counted from 0: a function of the lane's seed and
    /// the number of the epoch alone.
    ///
    /// # Errors
    /// A lane that does not exist.
    pub fn order(&self, lane: usize, epoch: u64) -> Result<Vec<u32>> {
        let of = self.lane(lane)?;
        let mut order = vec![0; of.train.len()];
        lanes::put_order(of.seed, epoch, &of.train, &mut order);
        Ok(order)
    }

    /// The plans that a step runs; the last step of an epoch may run others. On the GPU,
    /// [`GpuProgram::dispatches`](crate::gpu::GpuProgram::dispatches) says how many kernels each of them takes.
    pub fn step_plans(&self) -> &[PlanId] {
        &self.sequences[0]
    }

    /// Runs an epoch, or what is left of one that was broken off, and returns each lane's training loss and scores, measured in
    /// its steps. `progress` is called after each step with the number of steps made in the epoch, and may break it off; the
    /// next call goes on there.
    ///
    /// # Errors
    /// A lost device.
    pub fn epoch(&mut self, progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        self.epoch_by(1, progress)
    }

    /// [`Trainer::epoch`] without `progress`: a submission takes as many steps as suit the device.
    ///
    /// # Errors
    /// As for [`Trainer::epoch`]; [`Error::Partly`] says how many steps were made before.
    pub fn whole_epoch(&mut self) -> Result<Vec<Metrics>> {
        self.epoch_by(usize::MAX, |_| ControlFlow::Continue(()))
    }

    /// [`Trainer::epoch`] where `progress` is called after every `every` steps and at the end. A submission takes as many steps
    /// in between as suit the device. The bits are the same.
    ///
    /// # Errors
    /// As for [`Trainer::whole_epoch`]; `every` of 0.
    pub fn epoch_by(&mut self, every: usize, mut progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        range::require(every >= 1, "steps between two looks", every, "at least 1")?;
        let (epoch, steps) = (self.epoch, self.steps_per_epoch());
        while self.epoch == epoch {
            self.stretch(every - self.step % every)?;
            let done = if self.epoch == epoch { self.step } else { steps };
            let looks = done.is_multiple_of(every) || done == steps;
            if looks && progress(done).is_break() {
                break;
            }
        }
        self.metrics()
    }

    /// Makes `steps` steps, if need be over the ends of epochs. The bits are those of whole epochs.
    ///
    /// # Errors
    /// As for [`Trainer::whole_epoch`].
    pub fn advance(&mut self, steps: usize) -> Result<()> {
        let mut left = steps;
        while left > 0 {
            left -= self.stretch(left)?;
        }
        Ok(())
    }

    /// Each lane's training loss and scores, measured so far in the current epoch, or in the last complete one if no other has
    /// begun.
    ///
    /// # Errors
    /// A lost device.
    pub fn metrics(&mut self) -> Result<Vec<Metrics>> {
        let rows = self.rows_met();
        self.train.metrics(self.optimizer.program_mut(), |_| rows)
    }

    /// Rows of the epoch at hand that were met, or of the last one where none has begun.
    pub(super) fn rows_met(&self) -> usize {
        let met = if self.step == 0 { self.taken } else { self.step * self.micro * self.train.batch };
        self.taken.min(met)
    }

    /// Makes up to `count` steps of the epoch at hand that are alike; returns how many.
    pub(super) fn stretch(&mut self, count: usize) -> Result<usize> {
        if self.streams {
            return Err(Error::order("an epoch", "the batches of this trainer come from a stream: Trainer::stream takes them"));
        }
        self.take_back()?;
        if self.step == 0 {
            self.begin()?;
        }
        let [common, end] = &self.sequences;
        let left = self.steps_per_epoch() - self.step;
        // The last step of an epoch may run other plans.
        let alike = if common == end { left } else { left - 1 };
        let (plans, count) = if alike > 0 { (common, count.min(alike)) } else { (end, count.min(1)) };
        let run = self.optimizer.run(plans, count);
        let made = match &run {
            Ok(()) => count,
            Err(Error::Partly { made, .. }) => *made as usize,
            Err(_) => 0,
        };
        self.count(made);
        run.map(|()| made)
    }

    /// Counts steps of the epoch at hand.
    pub(super) fn count(&mut self, made: usize) {
        self.steps += made;
        self.step += made;
        if self.step == self.steps_per_epoch() {
            (self.epoch, self.step) = (self.epoch + 1, 0);
        }
    }

    /// Shuffles the rows for the current epoch.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.write_order()?;
        self.train.reset(self.optimizer.program_mut())
    }

    /// Writes the order of rows in the epoch at hand.
    pub(super) fn write_order(&mut self) -> Result<()> {
        let (lanes, epoch) = (&self.lanes, self.epoch);
        let order = |lane: usize, places: &mut [u32]| lanes::put_order(lanes[lane].seed, epoch, &lanes[lane].train, places);
        self.train.write_order(self.optimizer.program_mut(), order)
    }

    /// Decides which plans a step runs.
    pub(super) fn sequence_all(&mut self) {
        let (steps, batches) = (self.steps_per_epoch(), self.train.batches);
        let common = self.sequence(0..self.micro.min(batches));
        let end = self.sequence(steps.saturating_sub(1) * self.micro..batches);
        self.sequences = [common, end];
    }

    /// The plans of a step over these batches of an epoch.
    fn sequence(&self, batches: Range<usize>) -> Vec<PlanId> {
        let (stepper, mut plans) = (self.optimizer.stepper(), Vec::new());
        for (number, batch) in batches.enumerate() {
            let gradient = self.gradient_of(batch);
            plans.push(gradient.pick);
            plans.extend(gradient.moves);
            plans.extend(stepper.accumulate_plan_of(number));
            plans.extend(stepper.ascend_plan());
            plans.extend(gradient.again);
        }
        plans.push(stepper.step_plan());
        plans
    }

    /// The plans of a batch of an epoch, by its number.
    pub(super) fn gradient_of(&self, batch: usize) -> Gradient {
        let whole = (batch + 1) * self.train.batch <= self.taken;
        self.plans.last.filter(|_| !whole).unwrap_or(self.plans.whole)
    }
}
