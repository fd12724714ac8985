//! From a recipe to operations of plans.

use super::domain::{Domain, ordered};
use super::kernels::{Batch, Kernel, scratch};
use super::modifier::{Accumulation, Clip};
use super::recipe::Recipe;
use super::side::{Ascend, Sum};
use super::state::kept;
use super::stepper::{Buffers, Plans, Stepper};
use crate::error::{Error, Result};
use crate::plan::{
    Arena, Blueprint, BufferId, Centralise, Chunk, Control, Counter, Extras, Factored, Factors, Gate, GateKind, Micro, Norm,
    NormKind, NormOf, Op, Orthogonalise, Plan, Role, SLOTS, Scalar, Span, Stream, StreamOf, TensorBound, TensorChunks, Trust,
    Update, UpdateKind,
};
use crate::rule::{AnyRule, HyperRow, Layerwise};
use std::ops::Range;

/// An arena of directions, and the norms and factors of each tensor's.
type Directions = (BufferId, [BufferId; 2]);

/// What micro-batches, or an ascent, need beside a step.
#[derive(Debug, Clone, Copy)]
struct Side {
    /// The rows of its update.
    current: BufferId,
    /// The sum of micro-batches, or the parameters from before an ascent.
    array: BufferId,
    /// Micro-batches in the sum.
    count: BufferId,
    /// Partial norms of what comes in, and their kind, where it is measured.
    norm: Option<(BufferId, NormKind)>,
}

/// A recipe with the buffers that it declared.
#[derive(Debug)]
struct Recorder<'a> {
    recipe: &'a Recipe,
    arena: &'a Arena,
    params: BufferId,
    grads: BufferId,
    /// All chunks, domain after domain, and what each domain has of them.
    chunks: Vec<Chunk>,
    domains: Vec<Range<usize>>,
    /// Of each group.
    domain_of: Vec<usize>,
    partials: BufferId,
    /// Of the same chunks, where norms of gradients are trusted or steps inspected.
    params_partials: Option<BufferId>,
    rows: BufferId,
    /// Steps for which there are rows.
    slots: usize,
    current: BufferId,
    counts: BufferId,
    scalars: BufferId,
    frozen: BufferId,
    loss: BufferId,
    kernels: Vec<Kernel>,
    /// Norms and factors of each tensor's gradient.
    tensors: Option<[BufferId; 2]>,
    /// Where a rule takes two passes.
    directions: Option<Directions>,
    /// Each tensor's change, its partial norms, and its norms and factors, where steps are inspected.
    changes: Option<(BufferId, BufferId, [BufferId; 2])>,
    memory: Option<BufferId>,
    scratch: Option<[BufferId; 4]>,
    side: Option<Side>,
    /// Sums of micro-batches by their level in the tree, up to that of all; one where gradients are added up in turn.
    levels: Vec<BufferId>,
    /// The rows of an update that joins sums, where they are a tree.
    joins: Option<BufferId>,
    /// Partial norms of the elements that a parted recipe moves, and their chunks.
    part: Option<(BufferId, Vec<Chunk>)>,
    average: Option<BufferId>,
    slow: Option<BufferId>,
    half: Option<BufferId>,
}

impl Recipe {
    /// Records this recipe into a blueprint, for parameters and gradients laid out as `arena`: the buffers that it needs, and
    /// its plans. These are `step`, and where the recipe asks for it `accumulate`, `ascend` and `inspected step`.
    ///
    /// # Errors
    /// A setting out of its range, settings that have no meaning together, no tensors, lanes or groups whose kernels would
    /// differ, a group without tensors, other lanes than the blueprint's, or another recipe that is recorded there under the
    /// same names (see [`Blueprint::set_prefix`]).
    pub fn record(&self, blueprint: &mut Blueprint, arena: &Arena, params: BufferId, grads: BufferId) -> Result<Stepper> {
        if arena.tensors().is_empty() {
            return Err(Error::Empty { what: "the list of tensors".into() });
        }
        let (recipe, arena) = self.checked(arena)?;
        if blueprint.layout().lanes() != recipe.lanes() {
            return Err(Error::shape("lanes of a recipe", blueprint.layout().lanes(), recipe.lanes()));
        }
        let first = blueprint.layout().buffers().len();
        let recorder = Recorder::new(&recipe, blueprint, &arena, params, grads);
        let mut plans = Plans {
            step: blueprint.add("step", recorder.step(None))?,
            accumulate: Vec::new(),
            part: None,
            ascend: recorder.ascend().map(|plan| blueprint.add("ascend", plan)).transpose()?,
            inspect: recipe.inspect.then(|| blueprint.add("inspected step", recorder.step(Some(Inspected)))).transpose()?,
        };
        for (joins, plan) in recorder.accumulate().into_iter().enumerate() {
            let name = if joins == 0 { "accumulate".into() } else { format!("accumulate and join {joins}") };
            plans.accumulate.push(blueprint.add(&name, plan)?);
        }
        plans.part = recorder.norm_of_part().map(|plan| blueprint.add("norm of a part", plan)).transpose()?;
        let (buffers, kept) = (recorder.buffers(), kept(blueprint, &arena, first, params));
        Stepper::new(recipe, arena, plans, buffers, kept)
    }

    /// This recipe and its arena as they are recorded, if all is well.
    fn checked(&self, arena: &Arena) -> Result<(Self, Arena)> {
        let (recipe, arena) = self.settled(arena)?;
        recipe.check(&arena)?;
        Ok((recipe, arena))
    }
}

impl<'a> Recorder<'a> {
    /// Declares what a checked recipe needs.
    fn new(recipe: &'a Recipe, blueprint: &mut Blueprint, arena: &'a Arena, params: BufferId, grads: BufferId) -> Self {
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
    fn buffers(&self) -> Buffers {
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

    fn groups(&self) -> usize {
        self.recipe.groups.len()
    }

    /// The gradients that a step uses: the caller's, or the sum of micro-batches.
    fn source(&self) -> BufferId {
        self.recipe.accumulation.and(self.side).map_or(self.grads, |side| side.array)
    }

    fn norm(&self, kind: NormKind, of: BufferId, chunks: &[Chunk], partials: BufferId) -> Op {
        Op::Norm(Norm { kind, grads: of, chunks: chunks.to_vec(), partials, frozen: self.frozen })
    }

    /// The plan of a whole step. An inspected one also finds how far each tensor moves.
    fn step(&self, inspected: Option<Inspected>) -> Plan {
        let mut recorded = Plan::default();
        let plan = &mut recorded;
        // A step may have fewer micro-batches than the tree has room for: then some sums have no neighbour, and are joined
        // here. The sum of a parted recipe comes from elsewhere, and is whole.
        self.join(plan, if self.part.is_some() { 0 } else { self.levels.len().saturating_sub(1) });
        if self.recipe.centralise {
            plan.push(Op::Centralise(Centralise { grads: self.source(), lines: lines(self.arena) }));
        }
        let norm = self.recipe.norm().map(|kind| (self.partials, kind));
        if let Some((partials, kind)) = norm.filter(|_| self.part.is_none()) {
            plan.push(self.norm(kind, self.source(), &self.chunks, partials));
        }
        plan.push(self.control(norm));
        if let Some((measured, kind)) = self.tensors.zip(self.recipe.norm()) {
            self.measure_gradients(plan, measured, kind);
        }
        let change = inspected.and(self.changes);
        for kernel in &self.kernels {
            let change = change.map(|(id, ..)| id);
            match kernel.directions.zip(self.directions) {
                None => plan.push(Op::Update(self.update(kernel, UpdateKind::Whole, change))),
                Some(directions) => self.two_passes(plan, kernel, directions, change),
            }
        }
        if let Some((change, partials, measured)) = change {
            let params = self.params_partials.inspect(|&partials| {
                plan.push(self.norm(NormKind::L2, self.params, &self.chunks, partials));
            });
            plan.push(self.norm(NormKind::L2, change, &self.chunks, partials));
            plan.push(Op::Factors(Factors {
                params,
                ..self.factors(self.arena.parts(&self.chunks), (partials, NormKind::L2), NormOf::Direction, measured)
            }));
        }
        recorded
    }

    fn control(&self, norm: Option<(BufferId, NormKind)>) -> Op {
        let Recipe { loss_scale, accumulation, .. } = self.recipe;
        let micro = |Accumulation { mean, .. }| self.side.map(|side| Micro { count: side.count, mean });
        Op::Control(Control {
            norm,
            skip_bad: self.recipe.guards(),
            rows: self.rows,
            slots: self.slots,
            current: self.current,
            counts: self.counts,
            scalars: self.scalars,
            frozen: self.frozen,
            groups: self.groups(),
            domains: self.domains.clone(),
            domain_of: self.domain_of.clone(),
            loss_scale: loss_scale.clone(),
            micro: accumulation.and_then(micro),
        })
    }

    /// Norms of each tensor's gradient, and the factors that a clip or a rule makes of them.
    fn measure_gradients(&self, plan: &mut Plan, measured: [BufferId; 2], kind: NormKind) {
        let bound = match self.recipe.clip_kind() {
            Some(Clip::Tensor { .. }) => TensorBound::Clip,
            Some(Clip::Normalise(_)) => TensorBound::Normalise,
            _ => TensorBound::None,
        };
        let (trusting, others): (Vec<&Kernel>, Vec<&Kernel>) =
            self.kernels.iter().partition(|kernel| kernel.measures_gradients());
        let parts_of = |kernels: &[&Kernel]| {
            let own = |part: &TensorChunks| kernels.iter().any(|kernel| kernel.groups.contains(&part.group));
            self.arena.parts(&self.chunks).into_iter().filter(own).collect()
        };
        let factors = |parts| Factors { bound, ..self.factors(parts, (self.partials, kind), NormOf::Gradient, measured) };
        if let Some(partials) = self.params_partials.filter(|_| !trusting.is_empty()) {
            plan.push(self.norm(NormKind::L2, self.start(), &self.chunks, partials));
        }
        for kernel in trusting {
            let (params, memory, trust) = (self.params_partials, self.memory, Trust::Rule(kernel.rule.clone()));
            plan.push(Op::Factors(Factors { params, memory, trust, ..factors(parts_of(&[kernel])) }));
        }
        if !others.is_empty() && (self.recipe.bounds_tensors() || self.recipe.inspect) {
            plan.push(Op::Factors(factors(parts_of(&others))));
        }
    }

    /// The parameters that a step starts from: as they are, or as they were before an ascent.
    fn start(&self) -> BufferId {
        self.recipe.rho.as_ref().and(self.side).map_or(self.params, |side| side.array)
    }

    fn two_passes(&self, plan: &mut Plan, kernel: &Kernel, directions: (BufferId, Directions), change: Option<BufferId>) {
        let (partials, (direction, measured)) = directions;
        let (first, kind, trust) = if self.recipe.cautious {
            (UpdateKind::Cautious, NormKind::Count, Trust::Cautious)
        } else {
            if let Some(partials) = kernel.params {
                plan.push(self.norm(NormKind::L2, self.start(), &kernel.chunks, partials));
            }
            if let Some((moments, partials)) = kernel.moments.clone() {
                plan.push(Op::Factored(Factored { grads: self.source(), current: self.current, moments, partials }));
            }
            (UpdateKind::Direction, NormKind::L2, Trust::Rule(kernel.rule.clone()))
        };
        let mut to_direction = self.update(kernel, first, None);
        to_direction.streams.push(Stream::new(StreamOf::Direction, direction));
        plan.push(Op::Update(to_direction));
        plan.push(self.norm(kind, direction, &kernel.chunks, partials));
        let (params, memory) = (kernel.params, self.memory.filter(|_| kernel.params.is_some()));
        let factors = self.factors(kernel.tensors.clone(), (partials, kind), NormOf::Direction, measured);
        plan.push(Op::Factors(Factors { params, memory, trust, ..factors }));
        self.orthogonalise(plan, kernel, direction, measured[0]);
        let mut apply = self.update(kernel, UpdateKind::Apply, change);
        apply.extras = Extras { factors: Some(measured[1]), zero_grads: false, ..apply.extras };
        apply.spans = kernel.spans(self.arena, true);
        apply.streams.retain(|stream| !matches!(stream.of, StreamOf::Grads | StreamOf::Plane(_)));
        apply.streams.push(Stream::new(StreamOf::Grads, direction));
        plan.push(Op::Update(apply));
    }

    fn orthogonalise(&self, plan: &mut Plan, kernel: &Kernel, directions: BufferId, norms: BufferId) {
        for &Batch { rows, columns, how, ref matrices } in &kernel.batches {
            let matrices = matrices.clone();
            if let Some(scratch) = self.scratch {
                plan.push(Op::Orthogonalise(Orthogonalise { directions, norms, matrices, rows, columns, how, scratch }));
            }
        }
    }

    /// Norms of tensors, and factors of 1.
    fn factors(
        &self,
        tensors: Vec<TensorChunks>,
        partials: (BufferId, NormKind),
        of: NormOf,
        measured: [BufferId; 2],
    ) -> Factors {
        let [norms, factors] = measured;
        Factors {
            tensors,
            partials,
            of,
            params: None,
            bound: TensorBound::None,
            trust: Trust::None,
            current: self.current,
            memory: None,
            norms,
            factors,
        }
    }

    /// An update, with what goes with it.
    fn update(&self, kernel: &Kernel, kind: UpdateKind, change: Option<BufferId>) -> Update {
        let recipe = self.recipe;
        let factors = self.tensors.filter(|_| recipe.bounds_tensors() || kernel.measures_gradients());
        let extras = Extras {
            max_value: matches!(recipe.clip_kind(), Some(Clip::Value(_))),
            l1: recipe.l1.each().any(|l1| l1 != 0.0),
            factors: factors.map(|[_, factors]| factors),
            // The next sum of micro-batches starts at 0, also after a skipped step.
            zero_grads: recipe.zero_grads || recipe.accumulation.is_some(),
        };
        let moments = kernel.moments.as_ref().map(|(moments, _)| moments.clone());
        Update {
            rule: kernel.rule.clone(),
            streams: self.streams(kernel, kind, change),
            current: self.current,
            spans: self.own(kernel.spans(self.arena, extras.factors.is_some() || moments.is_some())),
            kind,
            extras,
            moments: moments.filter(|_| kind == UpdateKind::Direction),
        }
    }

    /// What an update touches.
    fn streams(&self, kernel: &Kernel, kind: UpdateKind, change: Option<BufferId>) -> Vec<Stream> {
        let recipe = self.recipe;
        let mut streams = vec![Stream::new(StreamOf::Params, self.params), Stream::new(StreamOf::Grads, self.source())];
        let plane = |&(plane, id): &(usize, BufferId)| Stream::new(StreamOf::Plane(plane), id).stored(recipe.state);
        streams.extend(kernel.planes.iter().map(plane));
        let before = recipe.rho.as_ref().and(self.side).map(|side| side.array);
        streams.extend(before.map(|id| Stream::new(StreamOf::Before, id)));
        if matches!(kind, UpdateKind::Whole | UpdateKind::Apply) {
            let beside = [(StreamOf::Slow, self.slow), (StreamOf::Average, self.average), (StreamOf::Change, change)];
            streams.extend(beside.into_iter().filter_map(|(of, id)| Some(Stream::new(of, id?))));
            let copy = self.half.zip(recipe.half);
            streams.extend(copy.map(|(id, half)| Stream::new(StreamOf::HalfCopy, id).stored(half.into())));
        }
        streams
    }

    /// What a recipe moves of these spans.
    fn own(&self, spans: Vec<Span>) -> Vec<Span> {
        let Some(own) = &self.recipe.part else { return spans };
        let cut = |span: Span| {
            let (start, end) = (span.start.max(own.start), (span.start + span.len).min(own.end));
            (start < end).then(|| Span { start, place: span.place + start - span.start, len: end - start, ..span })
        };
        spans.into_iter().filter_map(cut).collect()
    }

    /// The plan that measures the part of the gradient that a parted recipe moves.
    fn norm_of_part(&self) -> Option<Plan> {
        let ((partials, chunks), kind) = self.part.as_ref().zip(self.recipe.norm())?;
        let mut plan = Plan::default();
        plan.push(self.norm(kind, self.source(), chunks, *partials));
        Some(plan)
    }

    /// The plans that add a micro-batch, by how many joins follow: the sum, where there is no tree.
    fn accumulate(&self) -> Vec<Plan> {
        let (Some(side), Some(&first)) = (self.recipe.accumulation.and(self.side), self.levels.first()) else {
            return Vec::new();
        };
        let with_joins = |joins| {
            let mut plan = self.gate(GateKind::Accumulate { count: side.count }, side);
            let extras = Extras { zero_grads: self.recipe.zero_grads, ..Default::default() };
            plan.push(Op::Update(self.side_update(Sum {}.into(), [first, self.grads], Vec::new(), side.current, extras)));
            self.join(&mut plan, joins);
            plan
        };
        (0..self.levels.len()).map(with_joins).collect()
    }

    /// Adds the sums of the lowest levels to those above them, and leaves 0 behind. What is 0 above is only moved.
    fn join(&self, plan: &mut Plan, joins: usize) {
        let Some(row) = self.joins else { return };
        for pair in self.levels.windows(2).take(joins) {
            let extras = Extras { zero_grads: true, ..Default::default() };
            plan.push(Op::Update(self.side_update(Sum {}.into(), [pair[1], pair[0]], Vec::new(), row, extras)));
        }
    }

    /// The plan that goes up the gradient.
    fn ascend(&self) -> Option<Plan> {
        let (rho, side) = self.recipe.rho.as_ref().zip(self.side)?;
        // When maximising, SAM's worst case is downhill, so the ascent has the opposite sign.
        let sign = self.recipe.rule(0, 0).hyper_row(1).0[HyperRow::SCALE].signum();
        let signed: Vec<f64> = rho.each().map(|rho| rho * sign).collect();
        let mut plan = self.gate(GateKind::Ascend { rho: signed.into() }, side);
        let extras = Extras { zero_grads: self.recipe.zero_grads, ..Default::default() };
        plan.push(Op::Update(self.side_update(
            Ascend {}.into(),
            [self.params, self.grads],
            vec![side.array],
            side.current,
            extras,
        )));
        Some(plan)
    }

    fn gate(&self, kind: GateKind, side: Side) -> Plan {
        let mut plan = Plan::default();
        if let Some((partials, kind)) = side.norm {
            plan.push(self.norm(kind, self.grads, &self.chunks, partials));
        }
        let (norm, frozen, current) = (side.norm, self.frozen, side.current);
        plan.push(Op::Gate(Gate { kind, norm, frozen, current, groups: self.groups() }));
        plan
    }

    fn side_update(
        &self,
        rule: Box<dyn AnyRule>,
        [params, grads]: [BufferId; 2],
        planes: Vec<BufferId>,
        current: BufferId,
        extras: Extras,
    ) -> Update {
        let mut streams = vec![Stream::new(StreamOf::Params, params), Stream::new(StreamOf::Grads, grads)];
        streams.extend(planes.into_iter().enumerate().map(|(plane, id)| Stream::new(StreamOf::Plane(plane), id)));
        Update { rule, streams, current, spans: self.arena.group_spans(), kind: UpdateKind::Whole, extras, moments: None }
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

/// Says that a step is inspected.
#[derive(Debug, Clone, Copy)]
struct Inspected;

/// The rows of all tensors with two dimensions or more.
fn lines(arena: &Arena) -> Vec<[usize; 2]> {
    let of = |tensor: &crate::plan::Tensor| {
        let rows = if tensor.shape.len() >= 2 { tensor.shape[0] } else { 0 };
        let (offset, width) = (tensor.offset, tensor.len().checked_div(rows).unwrap_or(0));
        (0..rows).map(move |row| [offset + row * width, width]).filter(|[_, width]| *width > 0).collect::<Vec<_>>()
    };
    arena.tensors().iter().flat_map(of).collect()
}
