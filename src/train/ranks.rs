//! Steps whose micro-batches several machines (*ranks*) share: the gradient of one of them, and what else it leaves.

use super::probe::arena;
use super::{Trainer, TrainerBuilder};
use crate::error::{Error, Result, range};
use crate::plan::{Arena, BufferId, PlanId, Program, Values, View};
use crate::rule::Real;
use std::ops::Range;

/// What a trainer needs whose micro-batches several machines share.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnRanks {
    /// What running statistics change by in a batch, where there are any.
    pub changes: Option<View>,
    /// The number of micro-batches in the sum, where random numbers are drawn by it.
    pub micro: Option<BufferId>,
}

impl TrainerBuilder<'_> {
    /// Moves only a part of the parameters, where machines share the state of the optimizer
    /// ([`Recipe::part`](crate::Recipe::part)): `own` names it, a range of the arena that consists of whole chunks. Default: all
    /// of them.
    ///
    /// # Errors
    /// Those of [`TrainerBuilder::build`] that come before there is an arena.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::Linear;
    /// use thalweg::{Accumulation, AdamW, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::new(vec![0.0, 1.0], 1, vec![0, 1])?;
    /// let model = Linear::new(1, 2);
    /// let recipe = Recipe::new(AdamW::default()).accumulate(Accumulation::default());
    /// let builder = Trainer::builder(&model, recipe).train(&data).part(|arena| 0..arena.len())?;
    /// let trainer = builder.build(&Cpu::<f32>::default())?;
    /// assert_eq!(trainer.optimizer().stepper().moving(), Some(&(0..trainer.optimizer().arena().len())));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn part(mut self, own: impl FnOnce(&Arena) -> Range<usize>) -> Result<Self> {
        let arena = arena(&self.clone().settled()?)?;
        self.recipe = self.recipe.part(own(&arena));
        Ok(self)
    }
}

impl<P: Program> Trainer<P> {
    /// Begins a step that several machines share ([`TrainerBuilder::on_ranks`](super::TrainerBuilder::on_ranks)), and returns
    /// how many micro-batches it has: the last step of an epoch may have fewer than the others.
    ///
    /// On each machine follow [`Trainer::micro_batch`] and [`Optimizer::accumulate`](crate::Optimizer::accumulate) for its own
    /// micro-batches, [`Optimizer::put_sum`](crate::Optimizer::put_sum) of the sum of all, the step, and [`Trainer::end_step`].
    /// The crate `thalweg-mpi` does that.
    ///
    /// # Errors
    /// A trainer that was not built for it, or a lost device.
    ///
    /// # Examples
    ///
    /// One machine with all four micro-batches:
    ///
    /// ```
    /// use thalweg::nn::{BatchNorm1d, Linear, Sequential};
    /// use thalweg::{Accumulation, Recipe, Sgd, SumOrder, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::new((0..32).map(|i| (i * 7 % 11) as f32).collect(), 2, (0..16).map(|i| i % 2).collect())?;
    /// let model = Sequential::new().then(Linear::new(2, 4)).then(BatchNorm1d::new(4)).then(Linear::new(4, 2));
    /// let order = SumOrder::Tree { micro_batches: 4 };
    /// let recipe = Recipe::new(Sgd { lr: 0.1, ..Default::default() }).accumulate(Accumulation { order, ..Default::default() });
    /// let new = || Trainer::builder(&model, recipe.clone()).train(&data).batch(4).on_ranks().build(&Cpu::<f32>::default());
    ///
    /// let mut shared = new()?;
    /// shared.micro_batches(4)?;
    /// let mut marks = Vec::new();
    /// for number in 0..shared.begin_step()? {
    ///     marks.extend(shared.micro_batch(number)?);
    ///     shared.optimizer_mut().accumulate()?;
    /// }
    /// shared.optimizer_mut().step()?;
    /// shared.end_step(&marks)?;
    ///
    /// let mut alone = new()?;
    /// alone.micro_batches(4)?;
    /// alone.advance(1)?;
    /// assert_eq!(shared.params(0)?, alone.params(0)?);
    /// assert_eq!(shared.predict(0, &[1.0, 2.0])?, alone.predict(0, &[1.0, 2.0])?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn begin_step(&mut self) -> Result<usize> {
        self.shares()?;
        self.take_back()?;
        if self.step == 0 {
            self.begin()?;
        }
        Ok(self.micro_batches_ahead())
    }

    /// How many floats [`Trainer::micro_batch`] returns.
    pub fn marks(&self) -> usize {
        let changes = self.on_ranks.and_then(|on_ranks| on_ranks.changes).map_or(0, |changes| changes.len);
        self.lanes.len() * (self.train.columns.count() + changes)
    }

    /// Computes the gradient of a micro-batch of the step at hand, by its number from 0 on, in the optimizer's buffer of
    /// gradients. Returns what else it leaves, lane after lane: its part of the sums over the epoch's rows, and what it changes
    /// running statistics by.
    ///
    /// Where the model draws random numbers, they follow from the number of the micro-batch.
    ///
    /// # Errors
    /// A number that the step does not have, a trainer that was not built for it, or a lost device.
    pub fn micro_batch(&mut self, number: usize) -> Result<Vec<P::Float>> {
        let (on_ranks, count) = (self.shares()?, self.micro_batches_ahead());
        range::require(number < count, "micro-batch", number, &format!("below {count}, those of the step"))?;
        let (batch, tally) = (self.step * self.micro + number, self.train.tally);
        let (gradient, lanes, program) = (self.gradient_of(batch), self.lanes.len(), self.optimizer.program_mut());
        let before = floats(program.read_all(&[tally])?);
        self.train.reset(program)?;
        self.train.seek(program, batch)?;
        match on_ranks.micro {
            Some(micro) => run_as(program, gradient.pick, (micro, number as u32), lanes)?,
            None => program.run(gradient.pick, 1)?,
        }
        let found: Vec<BufferId> = [tally].into_iter().chain(on_ranks.changes.map(|changes| changes.buffer)).collect();
        let found = floats(program.read_all(&found)?);
        for (lane, sums) in before.iter().enumerate() {
            program.write(tally, lane, 0, sums)?;
        }
        Ok((0..lanes).flat_map(|lane| found.iter().skip(lane).step_by(lanes).flatten().copied()).collect())
    }

    /// Takes what all micro-batches of the step at hand have left, in the order of their numbers, into the sums over the
    /// epoch's rows and the running statistics; and counts the step.
    ///
    /// # Errors
    /// Marks of another number, a trainer that was not built for it, or a lost device.
    pub fn end_step(&mut self, marks: &[P::Float]) -> Result<()> {
        let (on_ranks, count, len) = (self.shares()?, self.micro_batches_ahead(), self.marks());
        if marks.len() != count * len {
            return Err(Error::shape("marks of micro-batches", format!("{count} times {len} floats"), marks.len()));
        }
        let (tally, lanes, columns) = (self.train.tally, self.lanes.len(), self.train.columns.count());
        let mut sums = floats(self.optimizer.program_mut().read_all(&[tally])?);
        for (number, marks) in marks.chunks_exact(len).enumerate() {
            let moves = self.gradient_of(self.step * self.micro + number).moves;
            let program = self.optimizer.program_mut();
            for (lane, own) in marks.chunks_exact(len / lanes).enumerate() {
                let (terms, changes) = own.split_at(columns);
                sums[lane].iter_mut().zip(terms).for_each(|(sum, &term)| *sum += term);
                on_ranks.changes.map_or(Ok(()), |view| program.write(view.buffer, lane, view.offset, changes))?;
            }
            moves.map_or(Ok(()), |moves| program.run(moves, 1))?;
        }
        let program = self.optimizer.program_mut();
        sums.iter().enumerate().try_for_each(|(lane, sums)| program.write(tally, lane, 0, sums))?;
        self.count(1);
        self.train.seek(self.optimizer.program_mut(), self.step * self.micro)
    }

    /// A lane's untrained buffers, such as running statistics, one after the other.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn statistics(&mut self, lane: usize) -> Result<Vec<P::Float>> {
        self.lane(lane)?;
        self.optimizer.program_mut().read(self.statistics.id, lane)
    }

    /// Micro-batches of the step at hand: what [`Trainer::begin_step`] returns.
    pub fn micro_batches_ahead(&self) -> usize {
        self.micro.min(self.train.batches - self.step * self.micro)
    }

    fn shares(&self) -> Result<OnRanks> {
        self.on_ranks.ok_or_else(|| Error::missing("a step that machines share", "a trainer for it", ".on_ranks()"))
    }
}

/// Runs a plan while a buffer says in all lanes that a micro-batch has this number.
fn run_as<P: Program>(program: &mut P, plan: PlanId, (micro, number): (BufferId, u32), lanes: usize) -> Result<()> {
    let counts: Vec<u32> = (0..lanes).map(|lane| Ok(program.read_indices(micro, lane)?[0])).collect::<Result<_>>()?;
    (0..lanes).try_for_each(|lane| program.write_indices(micro, lane, 0, &[number]))?;
    program.run(plan, 1)?;
    counts.iter().enumerate().try_for_each(|(lane, count)| program.write_indices(micro, lane, 0, &[*count]))
}

/// The floats of buffers that were read: all lanes of the first, then all of the second.
pub(super) fn floats<F: Real>(found: Vec<Values<F>>) -> Vec<Vec<F>> {
    found.into_iter().flat_map(|values| if let Values::Floats(lanes) = values { lanes } else { Vec::new() }).collect()
}
