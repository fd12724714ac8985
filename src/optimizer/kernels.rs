//! Groups that share a kernel, and what each kernel needs beside the others.

use super::recipe::Recipe;
use crate::plan::{Arena, Blueprint, BufferId, Chunk, Moments, NormKind, Role, Span, Tensor, TensorChunks};
use crate::rule::{AnyRule, Layerwise, Orthogonal};

/// What makes a rule's kernel: two rules with the same share one.
pub(super) type Key = (&'static str, Vec<(&'static str, bool)>, Vec<usize>);

pub(super) fn kernel(rule: &dyn AnyRule) -> Key {
    (rule.name(), rule.overrides(), rule.planes())
}

impl Recipe {
    /// The groups of each kernel, in the order of their first groups.
    pub(super) fn kernels(&self) -> Vec<Vec<usize>> {
        let mut kernels: Vec<(Key, Vec<usize>)> = Vec::new();
        for group in 0..self.groups.len() {
            let name = kernel(self.rule(0, group));
            match kernels.iter_mut().find(|(known, _)| *known == name) {
                Some((_, groups)) => groups.push(group),
                None => kernels.push((name, vec![group])),
            }
        }
        kernels.into_iter().map(|(_, groups)| groups).collect()
    }

    /// Whether second moments of these groups are kept by rows and columns: where all tensors are vectors there is nothing to
    /// gain.
    pub(super) fn factors(&self, groups: &[usize], arena: &Arena) -> bool {
        let own = |tensor: &Tensor| groups.contains(&tensor.group) && tensor.shape.len() >= 2;
        self.rule(0, groups[0]).factored() && arena.tensors().iter().any(own)
    }
}

/// The groups of one kernel with what is declared for them alone.
#[derive(Debug)]
pub(super) struct Kernel {
    pub groups: Vec<usize>,
    /// A rule of theirs: they differ in numbers only.
    pub rule: Box<dyn AnyRule>,
    /// The planes that the rule uses, by their place among its names.
    pub planes: Vec<(usize, BufferId)>,
    /// In the place of planes, and partial sums.
    pub moments: Option<(Moments, BufferId)>,
    /// The chunks of its tensors, in the order of sums.
    pub chunks: Vec<Chunk>,
    /// Its tensors, with their places among these chunks.
    pub tensors: Vec<TensorChunks>,
    /// Partial norms of directions, in rules of two passes.
    pub directions: Option<BufferId>,
    /// Partial norms of parameters, in rules of two passes that trust them.
    pub params: Option<BufferId>,
    /// Matrices to be made orthogonal: all of one shape, or as many as their scratch has room for.
    pub batches: Vec<Batch>,
}

impl Kernel {
    /// The kernels of a checked recipe.
    pub(super) fn all(recipe: &Recipe, blueprint: &mut Blueprint, arena: &Arena) -> Vec<Self> {
        let (mut kernels, mut planes) = (Vec::new(), Planes::default());
        for (index, groups) in recipe.kernels().into_iter().enumerate() {
            let named = |what: &str| if index == 0 { what.to_string() } else { format!("{what} of kernel {index}") };
            let rule = recipe.rule(0, groups[0]).boxed();
            let own = |group: usize| groups.contains(&group);
            let mut chunks = arena.chunks();
            chunks.retain(|chunk| own(chunk.group));
            let mut tensors = arena.parts(&chunks);
            tensors.retain(|part| own(part.group));
            let factored = recipe.factors(&groups, arena);
            let planes = if factored { Vec::new() } else { planes.of(recipe, &*rule, blueprint, arena) };
            let moments = factored.then(|| {
                let stacks = Moments::stacks(arena, |tensor| own(tensor.group));
                let partials =
                    blueprint.floats(&named("partials of second moments"), Moments::partials(&stacks), Role::Scratch);
                let buffer = blueprint.floats(&named("second moments"), Moments::len(&stacks), Role::State);
                (Moments { buffer, stacks }, partials)
            });
            let (after, count) = (rule.layerwise() == Layerwise::After, chunks.len());
            let mut partials = |what: &str, kind: NormKind| blueprint.floats(&named(what), kind.partials(count), Role::Scratch);
            let directions = match recipe.cautious {
                true => Some(partials("partials of directions", NormKind::Count)),
                false => after.then(|| partials("partials of directions", NormKind::L2)),
            };
            let params = after.then(|| partials("partials of parameters", NormKind::L2));
            let batches = batches(recipe, arena, &groups);
            kernels.push(Self { groups, rule, planes, moments, chunks, tensors, directions, params, batches });
        }
        kernels
    }

    /// Whether its rule trusts norms of the gradient.
    pub(super) fn measures_gradients(&self) -> bool {
        self.rule.layerwise() == Layerwise::Before
    }

    /// Its tensors' places in the arena, or those of its groups.
    pub(super) fn spans(&self, arena: &Arena, by_tensor: bool) -> Vec<Span> {
        let own = arena.spans().into_iter().filter(|span| self.groups.contains(&span.group));
        if by_tensor { own.collect() } else { Arena::joined(own) }
    }
}

/// Buffers of planes. Kernels share them, since no tensor is of two kernels.
#[derive(Default)]
struct Planes(Vec<(BufferId, Vec<&'static str>)>);

impl Planes {
    /// The planes of a rule: where another rule keeps a plane of that name, else in any buffer that is left, else in a new one.
    fn of(&mut self, recipe: &Recipe, rule: &dyn AnyRule, blueprint: &mut Blueprint, arena: &Arena) -> Vec<(usize, BufferId)> {
        let (names, planes) = (rule.state_names(), rule.planes());
        let mut own: Vec<(usize, Option<usize>)> = planes.into_iter().map(|plane| (plane, None)).collect();
        for alike in [true, false] {
            for at in 0..own.len() {
                let name = names[own[at].0];
                let free = |(slot, (_, held)): &(usize, &(BufferId, Vec<&str>))| {
                    let taken = own.iter().any(|(_, taken)| *taken == Some(*slot));
                    !taken && (!alike || held.contains(&name))
                };
                if own[at].1.is_none() {
                    own[at].1 = self.0.iter().enumerate().find(free).map(|(slot, _)| slot);
                }
            }
        }
        let declared = own.into_iter().map(|(plane, slot)| {
            let slot = slot.unwrap_or_else(|| {
                let name = format!("plane {}", names[plane]);
                let declared = match recipe.state.half() {
                    None => blueprint.arena(&name, arena, Role::State),
                    Some(_) => blueprint.half_arena(&name, arena, Role::State),
                };
                self.0.push((declared, Vec::new()));
                self.0.len() - 1
            });
            let (id, held) = &mut self.0[slot];
            held.push(names[plane]);
            (plane, *id)
        });
        declared.collect()
    }
}

/// Matrices of one shape that are made orthogonal together.
#[derive(Debug)]
pub(super) struct Batch {
    pub rows: usize,
    pub columns: usize,
    pub how: Orthogonal,
    /// First element in the arena, and place among the tensors' norms.
    pub matrices: Vec<[usize; 2]>,
}

/// Elements of one buffer of scratch over all lanes: 128 MiB, WebGPU's default for a binding.
const SCRATCH: usize = 1 << 25;

fn batches(recipe: &Recipe, arena: &Arena, groups: &[usize]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let own = |tensor: &&Tensor| groups.contains(&tensor.group) && !tensor.is_empty();
    for tensor in arena.tensors().iter().filter(own) {
        let (&[rows, columns], Some(how)) = (&tensor.shape[..], recipe.rule(0, tensor.group).orthogonal()) else { continue };
        let most = (SCRATCH / (tensor.len() * recipe.lanes())).max(1);
        let alike =
            |batch: &&mut Batch| (batch.rows, batch.columns, batch.how) == (rows, columns, how) && batch.matrices.len() < most;
        let matrix = [tensor.offset, tensor.rank];
        match batches.iter_mut().find(alike) {
            Some(batch) => batch.matrices.push(matrix),
            None => batches.push(Batch { rows, columns, how, matrices: vec![matrix] }),
        }
    }
    batches
}

/// Declares what the largest batch needs; all use it, one after the other.
pub(super) fn scratch(blueprint: &mut Blueprint, kernels: &[Kernel]) -> Option<[BufferId; 4]> {
    let batches = || kernels.iter().flat_map(|kernel| &kernel.batches);
    let largest = |size: fn(&Batch) -> usize| batches().map(|batch| batch.matrices.len() * size(batch)).max();
    let (all, squares) = (largest(|batch| batch.rows * batch.columns)?, largest(|batch| batch.rows.min(batch.columns).pow(2))?);
    let mut declare = |name: &str, len: usize| blueprint.floats(name, len, Role::Scratch);
    Some([
        declare("matrices", all),
        declare("next matrices", all),
        declare("squares", squares),
        declare("polynomials", squares),
    ])
}
