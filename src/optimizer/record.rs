//! From a recipe to the operations of a step.

use super::kernels::{Batch, Kernel};
use super::modifier::{Accumulation, Clip};
use super::pieces::kept;
use super::recipe::Recipe;
use super::recorded::Plans;
use super::recorder::{Directions, Recorder};
use super::stepper::Stepper;
use crate::error::{Error, Result};
use crate::plan::{
    Arena, Blueprint, BufferId, Centralise, Control, Extras, Factored, Factors, Micro, NormKind, NormOf, Op, Orthogonalise,
    Plan, Span, Stream, StreamOf, TensorBound, TensorChunks, Trust, Update, UpdateKind,
};

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

impl Recorder<'_> {
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
}

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
