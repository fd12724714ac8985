//! Steps that all ranks make together, while each rank has the state of a part of the parameters.

use crate::error::Result;
use crate::exchange::ranges;
use crate::identity::Identity;
use crate::parallel::{DataParallel, Reduce};
use crate::world::{Datum, World};
use std::ops::Range;
use std::path::Path;
use thalweg::checkpoint::Element;
use thalweg::plan::{Arena, BufferId, Program};
use thalweg::{Optimizer, Real};

/// [`DataParallel`] with the optimizer's state in parts (ZeRO-1): each rank has all parameters and gradients, but the planes,
/// averages and slow weights of only its own range of the arena.
///
/// In a step, the rank that owns a range sums its gradients and moves its parameters; then all parameters go to all ranks.
/// Norms are joined from those of chunks, so clipping, skipping, parameters and state have the bits of [`DataParallel`] with
/// [`Reduce::Exact`]. The optimizer's recipe must have the rank's part ([`Recipe::part`](thalweg::Recipe::part) with
/// [`Sharded::part`]), which refuses rules and modifiers that need numbers of whole tensors.
///
/// Planes are declared in full. On the CPU engine only the part that a rank touches takes memory, so its state takes a part of
/// the memory, also from the first step on. On a GPU it takes all of the memory.
#[derive(Debug)]
pub struct Sharded<'w, P: Program> {
    ranks: DataParallel<'w, P>,
    world: &'w World,
    ranges: Vec<Range<usize>>,
    mine: Vec<P::Float>,
    whole: Vec<P::Float>,
}

impl<'w, P: Program> Sharded<'w, P>
where
    P::Float: Datum,
{
    /// The range of the arena that this rank moves.
    pub fn part(world: &World, arena: &Arena) -> Range<usize> {
        ranges(arena, world.ranks())[world.rank()].clone()
    }

    /// As [`DataParallel::new`].
    ///
    /// # Errors
    /// As for [`DataParallel::new`]; [`Error::Rank`](crate::Error::Rank) if the recipe of any rank does not have the rank's
    /// part.
    pub fn new(world: &'w World, optimizer: Optimizer<P>, micro_batches: usize, identity: Identity) -> Result<Self> {
        let ranges = ranges(optimizer.arena(), world.ranks());
        let own = ranges[world.rank()].clone();
        let parted = match optimizer.stepper().moving() == Some(&own) {
            true => Ok(()),
            false => Err(format!("the recipe has to have the part {own:?} of this rank")),
        };
        world.agree("parts", parted)?;
        let (mine, whole) = (vec![P::Float::of(0.0); own.len()], vec![P::Float::of(0.0); optimizer.arena().len()]);
        let ranks = DataParallel::new(world, optimizer, micro_batches, Reduce::Exact, identity)?;
        Ok(Self { ranks, world, ranges, mine, whole })
    }

    /// The optimizer.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer<P> {
        self.ranks.optimizer_mut()
    }

    /// As [`DataParallel::step`].
    ///
    /// # Errors
    /// As for [`DataParallel::step`].
    pub fn step(&mut self, gradient: impl FnMut(&mut Optimizer<P>, usize) -> thalweg::Result<()>) -> Result<()> {
        let counts = self.ranks.sum_own(gradient);
        let counts = self.world.agree("gradients of micro-batches", counts)?;
        let counts = self.ranks.count_all(&counts)?;
        let start = self.ranges[self.world.rank()].start;
        for (lane, &count) in counts.iter().enumerate() {
            let (optimizer, sum) = self.ranks.scatter(lane)?;
            let (stepper, program) = optimizer.stepper_and_program();
            let put = stepper.put_part(program, lane, start, sum, count);
            self.world.agree("sums", put)?;
            self.join_norms(lane)?;
        }
        let stepped = self.ranks.optimizer_mut().step();
        self.world.agree("steps", stepped)?;
        let params = self.ranks.optimizer().params_buffer();
        self.whole_of(params)
    }

    /// Sends the partial norms of all ranks to all ranks.
    fn join_norms(&mut self, lane: usize) -> Result<()> {
        let (stepper, program) = self.ranks.optimizer_mut().stepper_and_program();
        let counts: Vec<usize> = self.ranges.iter().map(|range| stepper.norms_of(range)).collect();
        let measured = stepper.measure_part(program, lane);
        let mut own = self.world.agree("norms", measured)?;
        let mut all = vec![P::Float::of(0.0); counts.iter().sum()];
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
    fn whole_of(&mut self, buffer: BufferId) -> Result<()> {
        let counts: Vec<usize> = self.ranges.iter().map(Range::len).collect();
        let start = self.ranges[self.world.rank()].start;
        let lanes = self.ranks.optimizer().stepper().recipe().lanes();
        for lane in 0..lanes {
            let program = self.ranks.optimizer_mut().program_mut();
            program.read_to(buffer, lane, start, &mut self.mine)?;
            self.world.gather_all("parts of a buffer", &mut self.mine, &mut self.whole, &counts)?;
            self.ranks.optimizer_mut().program_mut().write(buffer, lane, 0, &self.whole)?;
        }
        Ok(())
    }

    /// As [`DataParallel::check`].
    ///
    /// # Errors
    /// As for [`DataParallel::check`].
    pub fn check(&mut self) -> Result<[u8; 32]> {
        self.ranks.check()
    }

    /// Rank 0 writes a checkpoint, as [`DataParallel::save`]. It is the same as that of one program, so any number of ranks can
    /// read it, sharded or not. All state is sent to all ranks first.
    ///
    /// # Errors
    /// As for [`DataParallel::save`].
    pub fn save(&mut self, file: impl AsRef<Path>) -> Result<()>
    where
        P::Float: Element,
    {
        for buffer in self.ranks.optimizer().stepper().moved() {
            self.whole_of(buffer)?;
        }
        self.ranks.save(file)
    }
}
