//! What a recipe needs in a blueprint: its buffers.

use super::domain::{Domain, ordered};
use super::kernels::{Kernel, scratch};
use super::recipe::Recipe;
use super::recorded::Buffers;
use crate::plan::{Arena, Blueprint, BufferId, Chunk, Counter, Norm, NormKind, Op, Role, SLOTS, Scalar};
use crate::rule::{HyperRow, Layerwise};
use std::ops::Range;

/// An arena of directions, and the norms and factors of each tensor's.
pub(super) type Directions = (BufferId, [BufferId; 2]);

/// What micro-batches, or an ascent, need beside a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    /// The rows of its update.
    pub current: BufferId,
    /// The sum of micro-batches, or the parameters from before an ascent.
    pub array: BufferId,
    /// Micro-batches in the sum.
    pub count: BufferId,
    /// Partial norms of what comes in, and their kind, where it is measured.
    pub norm: Option<(BufferId, NormKind)>,
}

/// A recipe with the buffers that it declared.
#[derive(Debug)]
pub(super) struct Recorder<'a> {
    pub recipe: &'a Recipe,
    pub arena: &'a Arena,
    pub params: BufferId,
    pub grads: BufferId,
    /// All chunks, domain after domain, and what each domain has of them.
    pub chunks: Vec<Chunk>,
    pub domains: Vec<Range<usize>>,
    /// Of each group.
    pub domain_of: Vec<usize>,
    pub partials: BufferId,
    /// Of the same chunks, where norms of gradients are trusted or steps inspected.
    pub params_partials: Option<BufferId>,
    pub rows: BufferId,
    /// Steps for which there are rows.
    pub slots: usize,
    pub current: BufferId,
    pub counts: BufferId,
    pub scalars: BufferId,
    pub frozen: BufferId,
    pub loss: BufferId,
    pub kernels: Vec<Kernel>,
    /// Norms and factors of each tensor's gradient.
    pub tensors: Option<[BufferId; 2]>,
    /// Where a rule takes two passes.
    pub directions: Option<Directions>,
    /// Each tensor's change, its partial norms, and its norms and factors, where steps are inspected.
    pub changes: Option<(BufferId, BufferId, [BufferId; 2])>,
    pub memory: Option<BufferId>,
    pub scratch: Option<[BufferId; 4]>,
    pub side: Option<Side>,
    /// Sums of micro-batches by their level in the tree, up to that of all; one where gradients are added up in turn.
    pub levels: Vec<BufferId>,
    /// The rows of an update that joins sums, where they are a tree.
    pub joins: Option<BufferId>,
    /// Partial norms of the elements that a parted recipe moves, and their chunks.
    pub part: Option<(BufferId, Vec<Chunk>)>,
    pub average: Option<BufferId>,
    pub slow: Option<BufferId>,
    pub half: Option<BufferId>,
}

impl<'a> Recorder<'a> {
    /// Declares what a checked recipe needs.
    pub(super) fn new(
        recipe: &'a Recipe,
        blueprint: &mut Blueprint,
        arena: &'a Arena,
        params: BufferId,
        grads: BufferId,
    ) -> Self {
        let (groups, tensors) = (recipe.groups.len(), arena.tensors().len());
        let domains: Vec<Domain> = recipe.groups.iter().map(|group| group.domain).collect();
        let (chunks, domains, domain_of) = ordered(&domains, arena);
        let slots = slots(recipe.lanes(), groups);
        let partials = |blueprint: &mut Blueprint, name: &str, kind: NormKind| {
            blueprint.floats(name, kind.partials(chunks.len()), Role::Scratch)
        };
        let step_partials = partials(blueprint, "partials", recipe.norm().unwrap_or(NormKind::Max));
        // Reports are made of norms.
        let measured = |blueprint: &mut Blueprint, what: &str| {
            let norms = blueprint.floats(&format!("norms of {what}"), 2 * tensors, Role::Counter);
            [norms, blueprint.floats(&format!("factors of {what}"), 2 * tensors, Role::Scratch)]
        };
        let kernels = Kernel::all(recipe, blueprint, arena);
        let trusts = kernels.iter().any(Kernel::measures_gradients);
        let measures = recipe.bounds_tensors() || recipe.inspect || trusts;
        let two_passes = kernels.iter().any(|kernel| kernel.directions.is_some());
        let remembers = recipe.rules().any(|(_, _, rule)| rule.layerwise() != Layerwise::No);
        let drops = recipe.accumulation.is_some_and(|accumulation| accumulation.drop_bad);
        let side = recipe.accumulation.map(|_| ("sum", drops.then_some(NormKind::Max)));
        let side = side.or(recipe.rho.as_ref().map(|_| ("before", Some(NormKind::L2))));
        let side = side.map(|(name, kind)| Side {
            current: blueprint.floats("row of a sum or an ascent", groups * HyperRow::LEN, Role::Scratch),
            array: blueprint.arena(name, arena, Role::State),
            count: blueprint.indices("micro-batches", 1, Role::Counter),
            norm: kind.map(|kind| (partials(blueprint, "partials of a micro-batch or an ascent", kind), kind)),
        });
        let below = recipe.accumulation.map_or(0, |accumulation| accumulation.order.levels() - 1);
        let sum = side.filter(|_| recipe.accumulation.is_some()).map(|side| side.array);
        let waiting = (0..below).map(|level| blueprint.arena(&format!("sum of {}", 1 << level), arena, Role::State));
        let levels: Vec<BufferId> = waiting.chain(sum).collect();
        Self {
            recipe,
            arena,
            params,
            grads,
            partials: step_partials,
            params_partials: (trusts || recipe.inspect).then(|| partials(blueprint, "partials of parameters", NormKind::L2)),
            rows: blueprint.floats("rows", slots * groups * HyperRow::LEN, Role::Hyper),
            slots,
            current: blueprint.floats("current", groups * HyperRow::LEN, Role::Scratch),
            counts: blueprint.indices("counts", Counter::LEN + groups, Role::Counter),
            scalars: blueprint.floats("scalars", Scalar::len(domains.len()), Role::Counter),
            frozen: blueprint.indices("frozen", groups, Role::Counter),
            loss: blueprint.floats("loss", 1, Role::Data),
            tensors: measures.then(|| measured(blueprint, "gradients")),
            directions: two_passes
                .then(|| (blueprint.arena("direction", arena, Role::Scratch), measured(blueprint, "directions"))),
            changes: recipe.inspect.then(|| {
                let partials = partials(blueprint, "partials of changes", NormKind::L2);
                (blueprint.arena("change", arena, Role::Scratch), partials, measured(blueprint, "changes"))
            }),
            memory: remembers.then(|| blueprint.floats("memory", tensors, Role::State)),
            scratch: scratch(blueprint, &kernels),
            kernels,
            side,
            joins: (levels.len() > 1).then(|| blueprint.floats("row of a join", groups * HyperRow::LEN, Role::Hyper)),
            levels,
            part: recipe.part.as_ref().map(|own| {
                let chunks: Vec<Chunk> = chunks.iter().filter(|chunk| own.contains(&chunk.start)).copied().collect();
                let kind = recipe.norm().unwrap_or(NormKind::Max);
                (blueprint.floats("partials of a part", kind.partials(chunks.len()), Role::Scratch), chunks)
            }),
            average: recipe.average.as_ref().map(|_| blueprint.arena("average", arena, Role::State)),
            slow: recipe.lookahead.as_ref().map(|_| blueprint.arena("slow", arena, Role::State)),
            half: recipe.half.map(|_| blueprint.half_arena("half", arena, Role::Scratch)),
            chunks,
            domains,
            domain_of,
        }
    }

    /// The buffers that the host writes and reads.
    pub(super) fn buffers(&self) -> Buffers {
        let of_group = |group: usize| self.kernels.iter().find(|kernel| kernel.groups.contains(&group));
        let planes = (0..self.groups()).map(|group| of_group(group).map_or_else(Vec::new, |kernel| kernel.planes.clone()));
        let groups_of = |domain: usize| {
            let own = self.recipe.groups.iter().zip(&self.domain_of).filter(|(_, of)| **of == domain);
            own.map(|(group, _)| group.name.clone()).collect()
        };
        let moments = |kernel: &Kernel| Some((kernel.groups.clone(), kernel.moments.as_ref()?.0.clone()));
        Buffers {
            params: self.params,
            grads: self.grads,
            rows: self.rows,
            slots: self.slots,
            counts: self.counts,
            scalars: self.scalars,
            domains: (0..self.domains.len()).map(groups_of).collect(),
            frozen: self.frozen,
            loss: self.loss,
            planes: planes.collect(),
            average: self.average,
            slow: self.slow,
            half: self.half,
            before: self.recipe.rho.as_ref().and(self.side).map(|side| side.array),
            part: self.part.as_ref().map(|(partials, _)| [*partials, self.partials]),
            chunks: self.part.iter().flat_map(|_| self.chunks.iter().map(|chunk| chunk.start)).collect(),
            levels: self.levels.clone(),
            joins: self.joins,
            micro: self.recipe.accumulation.and(self.side).map(|side| side.count),
            grad_norms: self.tensors.map(|[norms, _]| norms),
            change_norms: self.changes.map(|(_, _, [norms, _])| norms),
            moments: self.kernels.iter().filter_map(moments).collect(),
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.recipe.groups.len()
    }

    /// The gradients that a step uses: the caller's, or the sum of micro-batches.
    pub(super) fn source(&self) -> BufferId {
        self.recipe.accumulation.and(self.side).map_or(self.grads, |side| side.array)
    }

    pub(super) fn norm(&self, kind: NormKind, of: BufferId, chunks: &[Chunk], partials: BufferId) -> Op {
        Op::Norm(Norm { kind, grads: of, chunks: chunks.to_vec(), partials, frozen: self.frozen })
    }

    /// The parameters that a step starts from: as they are, or as they were before an ascent.
    pub(super) fn start(&self) -> BufferId {
        self.recipe.rho.as_ref().and(self.side).map_or(self.params, |side| side.array)
    }
}

/// Bytes of all rows, at most: WebGPU's default for a binding.
const ROWS: usize = 128 << 20;

/// Steps for which rows are kept ahead: fewer where lanes and groups are many, down to 16 for 65,536 pairs of them.
fn slots(lanes: usize, groups: usize) -> usize {
    let room = ROWS / (4 * HyperRow::LEN) / (lanes * groups).max(1);
    let largest = room.checked_ilog2().map_or(0, |power| 1 << power);
    largest.clamp(FEWEST_SLOTS, SLOTS)
}

/// Steps for which rows are kept ahead, at least.
const FEWEST_SLOTS: usize = 16;
