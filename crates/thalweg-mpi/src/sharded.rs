//! Steps that all ranks make together, while each rank has the state of a part of the parameters.

use crate::error::Result;
use crate::exchange::ranges;
use crate::identity::Identity;
use crate::parallel::{Float, Optimized, Sums, digest, save};
use crate::world::{Datum, World};
use std::ops::Range;
use std::path::Path;
use thalweg::checkpoint::Element;
use thalweg::plan::{Arena, BufferId, Program};
use thalweg::{Optimizer, Real};

/// [`DataParallel`](crate::DataParallel) with the optimizer's state in parts (ZeRO-1): each rank has all parameters and
/// gradients, but the planes, averages and slow weights of only its own range of the arena.
///
/// In a step, the rank that owns a range sums its gradients and moves its parameters; then all parameters go to all ranks.
/// Norms are joined from those of chunks, so clipping, skipping, parameters and state have the bits of `DataParallel` with
/// [`Reduce::Exact`]. The optimizer's recipe must have the rank's part ([`Recipe::part`](thalweg::Recipe::part) with
/// [`part`]), which refuses rules and modifiers that need numbers of whole tensors.
///
/// Planes are declared in full. On the CPU engine only the part that a rank touches takes memory, so its state takes a part of
/// the memory, also from the first step on. On a GPU it takes all of the memory.
#[derive(Debug)]
pub struct Sharded<'w, O: Optimized> {
    steps: ShardedSums<'w, Float<O>>,
    of: O,
}

/// The range of the arena that this rank moves, where states are in parts.
pub fn part(world: &World, arena: &Arena) -> Range<usize> {
    ranges(arena, world.ranks())[world.rank()].clone()
}

impl<'w, O: Optimized> Sharded<'w, O> {
    /// As [`DataParallel::new`](crate::DataParallel::new).
    ///
    /// # Errors
    /// As for [`DataParallel::new`](crate::DataParallel::new); [`Error::Rank`](crate::Error::Rank) if the recipe of any rank
    /// does not have the rank's part.
    pub fn new(world: &'w World, mut of: O, micro_batches: usize, identity: Identity) -> Result<Self> {
        Ok(Self { steps: ShardedSums::new(world, of.optimizer_mut(), micro_batches, identity)?, of })
    }

    /// The optimizer.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer<O::Program> {
        self.of.optimizer_mut()
    }

    /// The optimizer, or the trainer that has it.
    pub fn of(&self) -> &O {
        &self.of
    }

    /// The optimizer, or the trainer that has it, for changes that all ranks make alike.
    pub fn of_mut(&mut self) -> &mut O {
        &mut self.of
    }

    /// As [`DataParallel::step`](crate::DataParallel::step).
    ///
    /// # Errors
    /// As for [`DataParallel::step`](crate::DataParallel::step).
    pub fn step(&mut self, gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>) -> Result<()> {
        self.step_of(self.steps.sums.micro_batches(), gradient)
    }

    /// As [`DataParallel::step_of`](crate::DataParallel::step_of).
    ///
    /// # Errors
    /// As for [`DataParallel::step_of`](crate::DataParallel::step_of).
    pub fn step_of(&mut self, micro_batches: usize, gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>) -> Result<()> {
        self.steps.step(&mut self.of, micro_batches, Ok(()), gradient)
    }

    /// As [`DataParallel::check`](crate::DataParallel::check).
    ///
    /// # Errors
    /// As for [`DataParallel::check`](crate::DataParallel::check).
    pub fn check(&mut self) -> Result<[u8; 32]> {
        self.steps.sums.compare(digest(self.of.optimizer_mut()))
    }

    /// Rank 0 writes a checkpoint, as [`DataParallel::save`](crate::DataParallel::save). It is the same as that of one program,
    /// so any number of ranks can read it, sharded or not. All state is sent to all ranks first.
    ///
    /// # Errors
    /// As for [`DataParallel::save`](crate::DataParallel::save).
    pub fn save(&mut self, file: impl AsRef<Path>) -> Result<()>
    where
        Float<O>: Element,
    {
        self.join_state()?;
        save(self.steps.world, self.of.optimizer_mut(), file)
    }

    /// Sends all parts of the state to all ranks.
    ///
    /// # Errors
    /// As for [`DataParallel::step`](crate::DataParallel::step).
    pub fn join_state(&mut self) -> Result<()> {
        self.steps.join_state(self.of.optimizer_mut())
    }
}

/// The sums of ranks that each move a part, for steps of an optimizer that somebody else holds.
#[derive(Debug)]
pub(crate) struct ShardedSums<'w, F> {
    pub sums: Sums<'w, F>,
    world: &'w World,
    ranges: Vec<Range<usize>>,
    mine: Vec<F>,
    whole: Vec<F>,
}

impl<'w, F: Datum + Real> ShardedSums<'w, F> {
    /// As [`Sharded::new`].
    pub fn new<P: Program<Float = F>>(
        world: &'w World,
        optimizer: &mut Optimizer<P>,
        micro_batches: usize,
        identity: Identity,
    ) -> Result<Self> {
        let ranges = ranges(optimizer.arena(), world.ranks());
        let own = ranges[world.rank()].clone();
        let parted = match optimizer.stepper().moving() == Some(&own) {
            true => Ok(()),
            false => Err(format!("the recipe has to have the part {own:?} of this rank")),
        };
        world.agree("parts", parted)?;
        let zeros = |len: usize| vec![F::of(0.0); len];
        let (mine, whole) = (zeros(own.len()), zeros(optimizer.arena().len()));
        Ok(Self { sums: Sums::of_parts(world, optimizer, micro_batches, identity)?, world, ranges, mine, whole })
    }

    /// As [`Sharded::step_of`]. A rank that could not begin says why, and the step is made by none.
    pub fn step<O: Optimized<Program: Program<Float = F>>>(
        &mut self,
        of: &mut O,
        micro_batches: usize,
        begun: thalweg::Result<()>,
        gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>,
    ) -> Result<()> {
        let put = self.sums.sum(of, micro_batches, begun, gradient)?;
        let (optimizer, put) = (of.optimizer_mut(), self.world.agree("sums", put));
        let lanes = optimizer.stepper().recipe().lanes();
        let ready = put.and_then(|()| (0..lanes).try_for_each(|lane| self.join_norms(optimizer, lane)));
        if ready.is_err() {
            // No rank makes the step, so all may try it again.
            optimizer.drop_sum()?;
        }
        ready?;
        let stepped = optimizer.step();
        self.world.agree("steps", stepped)?;
        let params = optimizer.params_buffer();
        self.whole_of(optimizer, params)
    }

    /// Sends the partial norms of all ranks to all ranks.
    fn join_norms<P: Program<Float = F>>(&self, optimizer: &mut Optimizer<P>, lane: usize) -> Result<()> {
        let (stepper, program) = optimizer.stepper_and_program();
        let counts: Vec<usize> = self.ranges.iter().map(|range| stepper.norms_of(range)).collect();
        let measured = stepper.measure_part(program, lane);
        let mut own = self.world.agree("norms", measured)?;
        let mut all = vec![F::of(0.0); counts.iter().sum()];
        if all.is_empty() {
            return Ok(());
        }
        self.world.gather_all("norms", &mut own, &mut all, &counts)?;
        let mut rest = &all[..];
        for (range, count) in self.ranges.iter().zip(counts) {
            let (norms, behind) = rest.split_at(count);
            stepper.put_norms(program, lane, range, norms)?;
            rest = behind;
        }
        Ok(())
    }

    /// Sends all of a buffer that is laid out as the arena to all ranks, each part from the rank that moves it.
    fn whole_of<P: Program<Float = F>>(&mut self, optimizer: &mut Optimizer<P>, buffer: BufferId) -> Result<()> {
        let counts: Vec<usize> = self.ranges.iter().map(Range::len).collect();
        let start = self.ranges[self.world.rank()].start;
        for lane in 0..optimizer.stepper().recipe().lanes() {
            optimizer.program_mut().read_to(buffer, lane, start, &mut self.mine)?;
            self.world.gather_all("parts of a buffer", &mut self.mine, &mut self.whole, &counts)?;
            optimizer.program_mut().write(buffer, lane, 0, &self.whole)?;
        }
        Ok(())
    }

    /// As [`Sharded::join_state`].
    pub fn join_state<P: Program<Float = F>>(&mut self, optimizer: &mut Optimizer<P>) -> Result<()> {
        let moved = optimizer.stepper().moved();
        moved.into_iter().try_for_each(|buffer| self.whole_of(optimizer, buffer))
    }
}
