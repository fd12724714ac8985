//! Steps that all ranks make together.

use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::identity::{Identity, processor};
use crate::world::{Datum, World};
use std::ops::Range;
use std::path::Path;
use thalweg::checkpoint::Element;
use thalweg::plan::{Arena, Program};
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
        let nodes = self.sums.exchange.nodes(self.sums.world.rank());
        nodes.first().map_or(0, |node| node.micro_batches().start)..nodes.last().map_or(0, |node| node.micro_batches().end)
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
    /// [`Error::Rank`] on all ranks if `gradient`, or the engine, fails on one; [`Error::NoAnswer`].
    pub fn step(&mut self, gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>) -> Result<()> {
        self.sums.step(&mut self.of, self.sums.micro_batches, gradient)
    }

    /// [`DataParallel::step`] with fewer micro-batches, as at the end of an epoch. There may be fewer of them than ranks.
    ///
    /// # Errors
    /// As for [`DataParallel::step`]; [`Error::Unshared`] for more micro-batches than a step has, or none.
    pub fn step_of(&mut self, micro_batches: usize, gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>) -> Result<()> {
        self.sums.step(&mut self.of, micro_batches, gradient)
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
    reduce: Reduce,
    micro_batches: usize,
    exchange: Exchange<F>,
    /// The sum of each node, by lane.
    own: Vec<Vec<Vec<F>>>,
    /// The total, by lane.
    total: Vec<Vec<F>>,
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
        let exchange = Exchange::new(world, optimizer.arena(), micro_batches);
        let lanes = optimizer.stepper().recipe().lanes();
        let zeros = vec![vec![F::of(0.0); optimizer.arena().len()]; lanes];
        let own = vec![zeros.clone(); exchange.nodes(world.rank()).len()];
        Ok(Self { world, reduce, micro_batches, own, exchange, total: zeros, steps: 0 })
    }

    /// Micro-batches of a whole step.
    pub fn micro_batches(&self) -> usize {
        self.micro_batches
    }

    pub fn bytes(&self) -> usize {
        let sums: usize = self.own.iter().flatten().chain(&self.total).map(Vec::len).sum();
        self.exchange.bytes() + sums * size_of::<F>()
    }

    /// As [`DataParallel::step_of`].
    pub fn step<O: Optimized<Program: Program<Float = F>>>(
        &mut self,
        of: &mut O,
        micro_batches: usize,
        gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>,
    ) -> Result<()> {
        let counts = self.sum_own(of, micro_batches, gradient)?;
        self.sum_all()?;
        let optimizer = of.optimizer_mut();
        let step = optimizer.put_sum(&self.total, &counts).and_then(|()| optimizer.step());
        self.steps += 1;
        // All ranks have the same numbers, but an engine may fail on one of them: the others find out in the next exchange.
        step.map_err(Error::from)
    }

    /// Computes the sums of this rank's nodes; returns how many micro-batches are in those of all ranks, by lane.
    pub fn sum_own<O: Optimized<Program: Program<Float = F>>>(
        &mut self,
        of: &mut O,
        micro_batches: usize,
        mut gradient: impl FnMut(&mut O, usize) -> thalweg::Result<()>,
    ) -> Result<Vec<u32>> {
        if !(1..=self.micro_batches).contains(&micro_batches) {
            let what = format!("a step of {micro_batches} micro-batches");
            return Err(Error::Unshared { what, reason: format!("these ranks share 1 to {}", self.micro_batches) });
        }
        self.exchange.share_out(micro_batches);
        let nodes = self.exchange.nodes(self.world.rank());
        let like = &self.total;
        self.own.resize_with(nodes.len(), || like.clone());
        let mut counts = vec![0; self.total.len()];
        let mut sum = || {
            for (node, sums) in nodes.iter().zip(&mut self.own) {
                for number in node.micro_batches() {
                    gradient(of, number)?;
                    of.optimizer_mut().accumulate()?;
                }
                let own = of.optimizer_mut().take_sum(sums)?;
                counts.iter_mut().zip(own).for_each(|(count, own)| *count += own);
            }
            Ok::<(), thalweg::Error>(())
        };
        let summed = sum().map(|()| counts);
        self.world.agree_on_sums("gradients of micro-batches", summed, self.total.len())
    }

    /// Computes the total of all ranks.
    fn sum_all(&mut self) -> Result<()> {
        let Self { world, exchange, own, total, reduce, .. } = self;
        for (lane, total) in total.iter_mut().enumerate() {
            match reduce {
                Reduce::Exact => exchange.sum(world, own.iter().map(|lanes| &*lanes[lane]), total)?,
                Reduce::Fast => {
                    let Some((first, others)) = own.split_first_mut() else {
                        // At the end of an epoch a rank may have nothing to add.
                        world.add("gradients", &mut vec![F::of(0.0); total.len()], total)?;
                        continue;
                    };
                    for other in others {
                        first[lane].iter_mut().zip(&other[lane]).for_each(|(sum, &other)| *sum += other);
                    }
                    world.add("gradients", &mut first[lane], total)?;
                }
            }
        }
        Ok(())
    }

    /// The total of a lane's gradients in the range that this rank owns.
    pub fn scatter(&mut self, lane: usize) -> Result<&[F]> {
        self.exchange.scatter(self.world, self.own.iter().map(|lanes| &*lanes[lane]))
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
