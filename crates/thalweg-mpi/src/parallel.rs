//! Steps that all ranks make together.

use crate::all_reduce::AllReduce;
use crate::error::{Error, Result};
use crate::exchange::{Exchange, Reduction, Scatter};
use crate::flight::Tag;
use crate::gathering::Gathering;
use crate::identity::{Identity, processor};
use crate::world::{Datum, World};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use thalweg::checkpoint::Element;
use thalweg::plan::{Arena, Program};
use thalweg::tree::share;
use thalweg::{Optimizer, Real, SumOrder, Trainer};

/// How the sums of ranks are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduce {
    /// In a tree over the numbers of micro-batches. The bits are the same for any number of ranks, and for one program that
    /// accumulates with [`SumOrder::Tree`].
    #[default]
    Exact,
    /// By MPI's all-reduce, in an order that MPI chooses: another number of ranks gives other bits. All ranks of a job still
    /// have the same bits, if MPI gives them the same result.
    Fast,
}

impl std::str::FromStr for Reduce {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact),
            "fast" => Ok(Self::Fast),
            other => Err(format!("reduce is {other}, expected exact or fast")),
        }
    }
}

/// An optimizer whose steps are shared by the ranks of a job: each rank computes the gradients of some micro-batches, and all
/// ranks make the same step with the sum.
///
/// Every rank has all parameters and all state. Every rank decides about a step (norm, clip, loss scale, skip) from the same
/// sum, so the decisions are the same: a gradient that is not finite on one rank skips the step on all.
///
/// # Examples
///
/// ```no_run
/// use thalweg::{Accumulation, Optimizer, Recipe, Sgd, SumOrder, cpu::Cpu};
/// use thalweg_mpi::{DataParallel, Identity, Reduce, World};
///
/// let world = World::start()?;
/// let tree = Accumulation { order: SumOrder::Tree { micro_batches: 8 }, ..Default::default() };
/// let recipe = Recipe::new(Sgd { lr: 0.1, ..Default::default() }).accumulate(tree);
/// let optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[1])])?;
/// let mut ranks = DataParallel::new(&world, optimizer, 8, Reduce::Exact, Identity::default())?;
/// // The gradient of micro-batch `number`: here (w − number)² / 2.
/// ranks.step(|optimizer, number| {
///     let w = optimizer.params("w")?[0];
///     optimizer.set_grads("w", &[w - number as f32])
/// })?;
/// # Ok::<(), thalweg_mpi::Error>(())
/// ```
#[derive(Debug)]
pub struct DataParallel<'w, O: Optimized> {
    sums: Sums<'w, Float<O>>,
    of: O,
}

/// The floats that an optimizer computes with.
pub(crate) type Float<O> = <<O as Optimized>::Program as Program>::Float;

/// What has an optimizer: one by itself, or a trainer.
pub trait Optimized {
    /// The optimizer's program.
    type Program: Program<Float: Datum>;

    /// The optimizer.
    fn optimizer(&self) -> &Optimizer<Self::Program>;

    /// The optimizer, to change it.
    fn optimizer_mut(&mut self) -> &mut Optimizer<Self::Program>;
}

impl<P: Program<Float: Datum>> Optimized for Optimizer<P> {
    type Program = P;

    fn optimizer(&self) -> &Optimizer<P> {
        self
    }

    fn optimizer_mut(&mut self) -> &mut Optimizer<P> {
        self
    }
}

impl<P: Program<Float: Datum>> Optimized for Trainer<P> {
    type Program = P;

    fn optimizer(&self) -> &Optimizer<P> {
        Trainer::optimizer(self)
    }

    fn optimizer_mut(&mut self) -> &mut Optimizer<P> {
        Trainer::optimizer_mut(self)
    }
}

impl<'w, O: Optimized> DataParallel<'w, O> {
    /// Shares the steps of an optimizer, which has to be the same on all ranks. A step has `micro_batches` micro-batches, and
    /// the recipe has to accumulate with [`SumOrder::Tree`].
    ///
    /// First the ranks are compared: version, settings, model, start values, and what the caller adds, such as the data. With
    /// [`Reduce::Exact`] the engines are compared too, since the rounding of products depends on the processor's vector
    /// instructions and caches, or on the adapter and its driver.
    ///
    /// # Errors
    /// [`Error::TooManyRanks`], [`Error::Differs`], [`Error::Unshared`] for a recipe that does not accumulate in a tree of at
    /// least `micro_batches` micro-batches, or an error of the engine; each on all ranks.
    pub fn new(world: &'w World, mut of: O, micro_batches: usize, reduce: Reduce, identity: Identity) -> Result<Self> {
        Ok(Self { sums: Sums::new(world, of.optimizer_mut(), micro_batches, reduce, identity)?, of })
    }

    /// The micro-batches of this rank.
    pub fn micro_batches(&self) -> Range<usize> {
        share(self.sums.micro_batches, self.sums.world.ranks(), self.sums.world.rank())
    }

    /// The optimizer, or the trainer that has it.
    pub fn of(&self) -> &O {
        &self.of
    }

    /// The optimizer, or the trainer that has it, for changes that all ranks make alike.
    pub fn of_mut(&mut self) -> &mut O {
        &mut self.of
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer<O::Program> {
        self.of.optimizer()
    }

    /// The optimizer, for changes that all ranks make alike.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer<O::Program> {
        self.of.optimizer_mut()
    }

    /// Bytes of this rank's buffers for the exchange, besides those of the optimizer.
    pub fn bytes(&self) -> usize {
        self.sums.bytes()
    }

    /// Makes a step. `gradient` writes the gradient of the micro-batch with the given number into the optimizer's buffer of
    /// gradients; it is called only for this rank's micro-batches.
    ///
    /// # Errors
    /// [`Error::Rank`] on all ranks if `gradient`, or the engine, fails on one while it adds up: no rank has made the step then,
    /// and all may try it again. [`Error::NoAnswer`].
    pub fn step(&mut self, gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>) -> Result<()> {
        self.sums.step(&mut self.of, self.sums.micro_batches, Ok(()), gradient)
    }

    /// [`DataParallel::step`] with fewer micro-batches, as at the end of an epoch. There may be fewer of them than ranks.
    ///
    /// # Errors
    /// As for [`DataParallel::step`]; [`Error::Unshared`] for more micro-batches than a step has, or none.
    pub fn step_of(&mut self, micro_batches: usize, gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>) -> Result<()> {
        self.sums.step(&mut self.of, micro_batches, Ok(()), gradient)
    }

    /// Rank 0 writes a checkpoint for all ranks ([`Optimizer::save_file`]). State is the same on all ranks, so any number of
    /// ranks can go on from it with [`Optimizer::load_file`].
    ///
    /// # Errors
    /// [`Error::Rank`] on all ranks if it cannot be written.
    pub fn save(&mut self, file: impl AsRef<Path>) -> Result<()>
    where
        Float<O>: Element,
    {
        save(self.sums.world, self.of.optimizer_mut(), file)
    }

    /// Compares the parameters of all ranks, and returns their digest.
    ///
    /// # Errors
    /// [`Error::Diverged`] on all ranks, [`Error::Rank`] if the engine fails on one, or [`Error::NoAnswer`].
    pub fn check(&mut self) -> Result<[u8; 32]> {
        let own = digest(self.of.optimizer_mut());
        self.sums.compare(own)
    }
}

/// Lets rank 0 write the file of an optimizer that has all state.
pub(crate) fn save<P: Program<Float: Element>>(
    world: &World,
    optimizer: &mut Optimizer<P>,
    file: impl AsRef<Path>,
) -> Result<()> {
    let saved = if world.rank() == 0 { optimizer.save_file(file) } else { Ok(()) };
    world.agree("the checkpoint", saved)
}

/// The sums of ranks, for steps of an optimizer that somebody else holds.
#[derive(Debug)]
pub(crate) struct Sums<'w, F> {
    world: &'w World,
    micro_batches: usize,
    lanes: usize,
    reduction: Box<dyn Reduction<F> + 'w>,
    steps: u64,
}

impl<'w, F: Datum + Real> Sums<'w, F> {
    /// As [`DataParallel::new`].
    pub fn new<P: Program<Float = F>>(
        world: &'w World,
        optimizer: &mut Optimizer<P>,
        micro_batches: usize,
        reduce: Reduce,
        identity: Identity,
    ) -> Result<Self> {
        let (arena, lanes) = (optimizer.arena().clone(), optimizer.stepper().recipe().lanes());
        let reduction: Box<dyn Reduction<F> + 'w> = match reduce {
            Reduce::Exact => Box::new(Exchange::of_lanes(world, &arena, lanes)),
            Reduce::Fast => Box::new(AllReduce::of_lanes(world, arena.len(), lanes)),
        };
        Self::with(world, optimizer, micro_batches, (reduce, reduction), identity)
    }

    /// The sums of the part that this rank moves, alone.
    pub fn of_parts<P: Program<Float = F>>(
        world: &'w World,
        optimizer: &mut Optimizer<P>,
        micro_batches: usize,
        identity: Identity,
    ) -> Result<Self> {
        let scatter = Scatter::new(world, optimizer.arena(), optimizer.stepper().recipe().lanes());
        Self::with(world, optimizer, micro_batches, (Reduce::Exact, Box::new(scatter)), identity)
    }

    fn with<P: Program<Float = F>>(
        world: &'w World,
        optimizer: &mut Optimizer<P>,
        micro_batches: usize,
        (reduce, reduction): (Reduce, Box<dyn Reduction<F> + 'w>),
        identity: Identity,
    ) -> Result<Self> {
        let ranks = world.ranks();
        if ranks > micro_batches {
            return Err(Error::TooManyRanks { ranks, micro_batches });
        }
        let fits =
            matches!(optimizer.stepper().sum_order(), Some(SumOrder::Tree { micro_batches: most }) if most >= micro_batches);
        if !fits {
            let what = format!("a step of {micro_batches} micro-batches");
            let reason = "the recipe has to accumulate in a tree of at least as many (SumOrder::Tree)".into();
            return Err(Error::Unshared { what, reason });
        }
        let digest = digest(optimizer);
        let digest = world.agree("start values", digest)?;
        let mut identity = Identity::default()
            .with("version", format!("thalweg-mpi {}", env!("CARGO_PKG_VERSION")))
            .with("steps", format!("{micro_batches} micro-batches, {reduce:?}"))
            // What the caller says is easier to read than digests.
            .and(identity)
            // The part differs from rank to rank.
            .with_digest("settings", format!("{:?}", optimizer.stepper().recipe().clone().part(None)).as_bytes())
            .with("model", described(optimizer.arena()))
            .with("start values", format!("digest {}", blake3::Hash::from(digest).to_hex()));
        if reduce == Reduce::Exact {
            identity = identity.with("processor", processor());
        }
        identity.compare(world)?;
        Ok(Self { world, micro_batches, lanes: optimizer.stepper().recipe().lanes(), reduction, steps: 0 })
    }

    /// Micro-batches of a whole step.
    pub fn micro_batches(&self) -> usize {
        self.micro_batches
    }

    pub fn bytes(&self) -> usize {
        self.reduction.bytes()
    }

    /// As [`DataParallel::step_of`]. A rank that could not begin says why, and the step is made by none.
    pub fn step<O: Optimized<Program: Program<Float = F>>>(
        &mut self,
        of: &mut O,
        micro_batches: usize,
        begun: thalweg::Result<()>,
        gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>,
    ) -> Result<()> {
        self.sum(of, micro_batches, begun, gradient)??;
        let step = of.optimizer_mut().step();
        self.steps += 1;
        // All ranks have the same numbers, but an engine may fail on one of them: the others find out in the next exchange.
        step.map_err(Error::from)
    }

    /// Puts the sum of all ranks' micro-batches into the optimizer. Blocks that this rank has are on their way while it
    /// computes the rest. The inner error is one of this rank's engine, which takes the sum; all that was under way is done by
    /// then.
    pub fn sum<O: Optimized<Program: Program<Float = F>>>(
        &mut self,
        of: &mut O,
        micro_batches: usize,
        begun: thalweg::Result<()>,
        gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>,
    ) -> Result<thalweg::Result<()>> {
        if !(1..=self.micro_batches).contains(&micro_batches) {
            let what = format!("a step of {micro_batches} micro-batches");
            return Err(Error::Unshared { what, reason: format!("these ranks share 1 to {}", self.micro_batches) });
        }
        self.reduction.begin(micro_batches)?;
        let own = match begun {
            Ok(()) => self.sum_own(of, gradient)?,
            Err(error) => Err(error),
        };
        self.reduction.fill()?;
        let mut told = vec![u32::from(own.is_err())];
        told.extend(own.as_ref().map_or(&vec![0; self.lanes], |counts| counts));
        let mut all = Gathering::start(self.world, Tag::Counts, told, &vec![1 + self.lanes; self.world.ranks()])?;
        let (stepper, program) = of.optimizer_mut().stepper_and_program();
        let mut put = Ok(());
        self.world.until("gradients of micro-batches", || {
            let moved = self.reduction.poll()? | all.poll()?;
            while let Some(sum) = self.reduction.next() {
                put = std::mem::replace(&mut put, Ok(()))
                    .and_then(|()| stepper.put_sum_piece(program, sum.lane, sum.start, &sum.values));
                self.reduction.take_back(sum);
            }
            let over = self.reduction.is_over() && all.is_over();
            Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(moved) })
        })?;
        let all = all.said();
        let sum = |at: usize| all.iter().skip(at).step_by(1 + self.lanes).sum();
        if sum(0) > 0 {
            // Pieces have come in place of those that a failed rank lacks.
            let dropped = stepper.drop_sum(program);
            self.world.agree("gradients of micro-batches", own.and(dropped))?;
        }
        let counts: Vec<u32> = (1..=self.lanes).map(sum).collect();
        Ok(put.and_then(|()| stepper.end_sum(program, &counts)))
    }

    /// Computes the sums of this rank's blocks, and sends each when it is there. Returns how many micro-batches are in them, by
    /// lane, or why this rank has none; the outer error is one of the exchange.
    fn sum_own<O: Optimized<Program: Program<Float = F>>>(
        &mut self,
        of: &mut O,
        mut gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>,
    ) -> Result<thalweg::Result<Vec<u32>>> {
        let mut counts = vec![0; self.lanes];
        let (blocks, pieces) = (self.reduction.blocks().to_vec(), self.reduction.pieces().to_vec());
        for block in blocks {
            for number in block.micro_batches() {
                let summed = gradient(of, number).and_then(|()| of.optimizer_mut().accumulate());
                if let Err(error) = summed {
                    return Ok(Err(error));
                }
                self.reduction.poll()?;
            }
            let (stepper, program) = of.optimizer_mut().stepper_and_program();
            let mut sent = Ok(());
            let taken = stepper.take_sum_in_pieces(program, &pieces, |_, _, values| {
                if sent.is_ok() {
                    sent = self.reduction.give(values).and_then(|()| self.reduction.poll()).map(drop);
                }
            });
            sent?;
            match taken {
                Ok(own) => counts.iter_mut().zip(own).for_each(|(count, own)| *count += own),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(counts))
    }

    /// The digest of this rank, if all ranks have the same.
    pub fn compare(&self, own: thalweg::Result<[u8; 32]>) -> Result<[u8; 32]> {
        let own = self.world.agree("digests", own)?;
        let all = self.world.gather("digests", &own)?;
        match all.chunks_exact(own.len()).position(|other| *other != all[..own.len()]) {
            Some(rank) => Err(Error::Diverged { rank, steps: self.steps }),
            None => Ok(own),
        }
    }
}

/// A digest of all lanes' parameters.
pub fn digest<P: Program>(optimizer: &mut Optimizer<P>) -> thalweg::Result<[u8; 32]>
where
    P::Float: Datum,
{
    let (params, lanes) = (optimizer.params_buffer(), optimizer.stepper().recipe().lanes());
    let mut hasher = blake3::Hasher::new();
    for lane in 0..lanes {
        hasher.update(bytemuck::cast_slice(&optimizer.program_mut().read(params, lane)?));
    }
    Ok(hasher.finalize().into())
}

/// Names and shapes, or a digest if they do not fit into a line.
fn described(arena: &Arena) -> String {
    let tensors: Vec<String> = arena.tensors().iter().map(|tensor| format!("{} {:?}", tensor.name, tensor.shape)).collect();
    let all = tensors.join(", ");
    if all.len() <= 200 { all } else { format!("{} tensors, digest {}", tensors.len(), blake3::hash(all.as_bytes()).to_hex()) }
}
