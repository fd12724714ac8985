//! Steps that all ranks make together.

use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::identity::{Identity, processor};
use crate::world::{Datum, World};
use std::ops::Range;
use std::path::Path;
use thalweg::checkpoint::Element;
use thalweg::plan::{Arena, Program};
use thalweg::tree::{Node, share};
use thalweg::{Optimizer, Real, SumOrder};

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
pub struct DataParallel<'w, P: Program> {
    world: &'w World,
    optimizer: Optimizer<P>,
    reduce: Reduce,
    nodes: Vec<Node>,
    exchange: Exchange<P::Float>,
    /// The sum of each node, by lane.
    own: Vec<Vec<Vec<P::Float>>>,
    /// The total, by lane.
    total: Vec<Vec<P::Float>>,
    steps: u64,
}

impl<'w, P: Program> DataParallel<'w, P>
where
    P::Float: Datum,
{
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
    pub fn new(
        world: &'w World,
        mut optimizer: Optimizer<P>,
        micro_batches: usize,
        reduce: Reduce,
        identity: Identity,
    ) -> Result<Self> {
        let (rank, ranks) = (world.rank(), world.ranks());
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
        let digest = digest(&mut optimizer);
        let digest = world.agree("start values", digest)?;
        let mut identity = Identity::default()
            .with("version", format!("thalweg-mpi {}", env!("CARGO_PKG_VERSION")))
            .with("steps", format!("{micro_batches} micro-batches, {reduce:?}"))
            // The part differs from rank to rank.
            .with_digest("settings", format!("{:?}", optimizer.stepper().recipe().clone().part(None)).as_bytes())
            .with("model", described(optimizer.arena()))
            .with("start values", format!("digest {}", blake3::Hash::from(digest).to_hex()))
            .and(identity);
        if reduce == Reduce::Exact {
            identity = identity.with("processor", processor());
        }
        identity.compare(world)?;
        let exchange = Exchange::new(world, optimizer.arena(), micro_batches);
        let nodes = Node::of(share(micro_batches, ranks, rank));
        let lanes = optimizer.stepper().recipe().lanes();
        let zeros = vec![vec![P::Float::of(0.0); optimizer.arena().len()]; lanes];
        Ok(Self { world, reduce, own: vec![zeros.clone(); nodes.len()], nodes, exchange, total: zeros, optimizer, steps: 0 })
    }

    /// The micro-batches of this rank.
    pub fn micro_batches(&self) -> Range<usize> {
        let ends = |node: &Node| node.micro_batches();
        self.nodes.first().map_or(0, |node| ends(node).start)..self.nodes.last().map_or(0, |node| ends(node).end)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer<P> {
        &self.optimizer
    }

    /// The optimizer, for changes that all ranks make alike.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer<P> {
        &mut self.optimizer
    }

    /// Bytes of this rank's buffers for the exchange, besides those of the optimizer.
    pub fn bytes(&self) -> usize {
        let sums: usize = self.own.iter().flatten().chain(&self.total).map(Vec::len).sum();
        self.exchange.bytes() + sums * size_of::<P::Float>()
    }

    /// Makes a step. `gradient` writes the gradient of the micro-batch with the given number into the optimizer's buffer of
    /// gradients; it is called only for this rank's micro-batches.
    ///
    /// # Errors
    /// [`Error::Rank`] on all ranks if `gradient`, or the engine, fails on one; [`Error::NoAnswer`].
    pub fn step(&mut self, gradient: impl FnMut(&mut Optimizer<P>, usize) -> thalweg::Result<()>) -> Result<()> {
        let counts = self.sum_own(gradient);
        let counts = self.world.agree("gradients of micro-batches", counts)?;
        let counts = self.sum_all(&counts)?;
        let step = self.optimizer.put_sum(&self.total, &counts).and_then(|()| self.optimizer.step());
        self.steps += 1;
        // All ranks have the same numbers, but an engine may fail on one of them: the others find out in the next exchange.
        step.map_err(Error::from)
    }

    /// Computes the sums of this rank's nodes; returns how many micro-batches are in them, by lane.
    pub(crate) fn sum_own(
        &mut self,
        mut gradient: impl FnMut(&mut Optimizer<P>, usize) -> thalweg::Result<()>,
    ) -> thalweg::Result<Vec<u32>> {
        let mut counts = vec![0; self.total.len()];
        for (node, sums) in self.nodes.iter().zip(&mut self.own) {
            for number in node.micro_batches() {
                gradient(&mut self.optimizer, number)?;
                self.optimizer.accumulate()?;
            }
            let own = self.optimizer.take_sum(sums)?;
            counts.iter_mut().zip(own).for_each(|(count, own)| *count += own);
        }
        Ok(counts)
    }

    /// Computes the total of all ranks; returns how many micro-batches are in it.
    fn sum_all(&mut self, counts: &[u32]) -> Result<Vec<u32>> {
        let Self { world, exchange, own, total, reduce, .. } = self;
        for (lane, total) in total.iter_mut().enumerate() {
            match reduce {
                Reduce::Exact => exchange.sum(world, own.iter().map(|lanes| &*lanes[lane]), total)?,
                Reduce::Fast => {
                    let (first, others) = own.split_at_mut(1);
                    for other in others {
                        first[0][lane].iter_mut().zip(&other[lane]).for_each(|(sum, &other)| *sum += other);
                    }
                    world.add("gradients", &mut first[0][lane], total)?;
                }
            }
        }
        self.count_all(counts)
    }

    /// How many micro-batches are in the sums of all ranks.
    pub(crate) fn count_all(&self, counts: &[u32]) -> Result<Vec<u32>> {
        let all = self.world.gather("numbers of micro-batches", counts)?;
        Ok((0..counts.len()).map(|lane| all.iter().skip(lane).step_by(counts.len()).sum()).collect())
    }

    /// The total of a lane's gradients in the range that this rank owns, together with the optimizer.
    pub(crate) fn scatter(&mut self, lane: usize) -> Result<(&mut Optimizer<P>, &[P::Float])> {
        let sum = self.exchange.scatter(self.world, self.own.iter().map(|lanes| &*lanes[lane]))?;
        Ok((&mut self.optimizer, sum))
    }

    /// Rank 0 writes a checkpoint for all ranks ([`Optimizer::save_file`]). State is the same on all ranks, so any number of
    /// ranks can go on from it with [`Optimizer::load_file`].
    ///
    /// # Errors
    /// [`Error::Rank`] on all ranks if it cannot be written.
    pub fn save(&mut self, file: impl AsRef<Path>) -> Result<()>
    where
        P::Float: Element,
    {
        let saved = if self.world.rank() == 0 { self.optimizer.save_file(file) } else { Ok(()) };
        self.world.agree("the checkpoint", saved)
    }

    /// Compares the parameters of all ranks, and returns their digest.
    ///
    /// # Errors
    /// [`Error::Diverged`] on all ranks, [`Error::Rank`] if the engine fails on one, or [`Error::NoAnswer`].
    pub fn check(&mut self) -> Result<[u8; 32]> {
        let own = digest(&mut self.optimizer);
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
