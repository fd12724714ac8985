//! From a recipe to operations of plans.

use super::group::Group;
use super::modifier::{Accumulation, Clip};
use super::recipe::Recipe;
use super::side::{Ascend, Sum};
use super::state::kept;
use super::stepper::{Buffers, Plans, Stepper};
use crate::error::{Error, Result};
use crate::plan::{
    Arena, Blueprint, BufferId, Centralise, Control, Counter, Extras, Factored, Factors, Gate, GateKind, Micro, Moments, Norm,
    NormKind, NormOf, Op, Orthogonalise, Pass, Plan, Role, SLOTS, Scalar, Span, TensorBound, Trust, Update,
};
use crate::rule::{AnyRule, Layerwise, Orthogonal, Row};

/// Partial norms, per-tensor norms and factors of one array.
#[derive(Debug, Clone, Copy)]
struct Measured {
    partials: BufferId,
    norms: BufferId,
    factors: BufferId,
}

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
    partials: BufferId,
    params_partials: Option<BufferId>,
    rows: BufferId,
    current: BufferId,
    counts: BufferId,
    scalars: BufferId,
    frozen: BufferId,
    loss: BufferId,
    planes: Vec<(usize, BufferId)>,
    /// In the place of planes, and partial sums.
    moments: Option<(Moments, BufferId)>,
    /// Of each tensor's gradient.
    tensors: Option<Measured>,
    /// Of each tensor's direction, in rules of two passes.
    directions: Option<(BufferId, Measured)>,
    /// Of each tensor's change, where steps are inspected.
    changes: Option<(BufferId, Measured)>,
    memory: Option<BufferId>,
    /// Matrices to be made orthogonal: all of one shape, or as many as their scratch has room for.
    batches: Vec<Batch>,
    scratch: Option<[BufferId; 4]>,
    side: Option<Side>,
    average: Option<BufferId>,
    slow: Option<BufferId>,
    half: Option<BufferId>,
}

impl Recipe {
    /// Records this recipe into a blueprint, for parameters and gradients laid out as `arena`: the buffers that it needs, and its plans.
    /// These are `step`, and where the recipe asks for it `accumulate`, `ascend` and `inspected step`.
    ///
    /// # Errors
    /// A setting out of its range, settings that have no meaning together, no tensors, lanes or groups whose kernels would differ, a group
    /// without tensors, other lanes than the blueprint's, or another recipe that is recorded there under the same names (see
    /// [`Blueprint::set_prefix`]).
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
        let plans = Plans {
            step: blueprint.add("step", recorder.step(None))?,
            accumulate: recorder.accumulate().map(|plan| blueprint.add("accumulate", plan)).transpose()?,
            ascend: recorder.ascend().map(|plan| blueprint.add("ascend", plan)).transpose()?,
            inspect: recipe.inspect.then(|| blueprint.add("inspected step", recorder.step(Some(Inspected)))).transpose()?,
        };
        let (buffers, kept) = (recorder.buffers(), kept(blueprint, &arena, first, params));
        Stepper::new(recipe, arena, plans, buffers, kept)
    }

    /// This recipe and its arena as they are recorded, if all is well. Where a rule has other numbers for tensors that are no matrices,
    /// each group becomes two.
    pub(super) fn checked(&self, arena: &Arena) -> Result<(Self, Arena)> {
        let (mut recipe, arena) = self.settled(arena)?;
        recipe.check(&arena)?;
        let matrices = arena.tensors().iter().filter(|tensor| tensor.shape.len() == 2).count();
        let others = arena.tensors().len() - matrices;
        if recipe.rule(0, 0).others().is_none() || others == 0 {
            return Ok((recipe, arena));
        }
        let others = |group: &Group| {
            let rules = group.rules.iter().filter_map(|rule| rule.others()).collect();
            Group { rules, ..group.clone() }
        };
        // Rows that no tensor would use are left out.
        let parts = |group: Group| if matrices > 0 { vec![group.clone(), others(&group)] } else { vec![others(&group)] };
        recipe.groups = recipe.groups.into_iter().flat_map(parts).collect();
        if matrices == 0 {
            return Ok((recipe, arena));
        }
        recipe.parts = 2;
        Ok((recipe, arena.matrices_apart()))
    }
}

impl<'a> Recorder<'a> {
    /// Declares what a checked recipe needs.
    fn new(recipe: &'a Recipe, blueprint: &mut Blueprint, arena: &'a Arena, params: BufferId, grads: BufferId) -> Self {
        let rule = recipe.rule(0, 0);
        let groups = recipe.groups.len();
        let (chunks, tensors) = (arena.chunks().len(), arena.tensors().len());
        let partials = |blueprint: &mut Blueprint, name: &str, kind: NormKind| {
            blueprint.floats(name, kind.partials(chunks), Role::Scratch)
        };
        let step_partials = partials(blueprint, "partials", recipe.norm().unwrap_or(NormKind::Max));
        let measured = |blueprint: &mut Blueprint, what: &str, partials: BufferId| Measured {
            partials,
            // Reports are made of them.
            norms: blueprint.floats(&format!("norms of {what}"), 2 * tensors, Role::Counter),
            factors: blueprint.floats(&format!("factors of {what}"), 2 * tensors, Role::Scratch),
        };
        let by_tensor = matches!(recipe.clip, Some(Clip::Tensor { .. } | Clip::Normalise(_)));
        let layerwise = rule.layerwise();
        let measures_grads = by_tensor || recipe.inspect || layerwise == Layerwise::Before;
        let two_passes = recipe.cautious || layerwise == Layerwise::After;
        let measures_params = layerwise != Layerwise::No || recipe.inspect;
        let batches = batches(recipe, arena);
        let scratch = scratch(blueprint, &batches);
        let drops = recipe.accumulation.is_some_and(|accumulation| accumulation.drop_bad);
        let side = recipe.accumulation.map(|_| ("sum", drops.then_some(NormKind::Max)));
        let side = side.or(recipe.rho.map(|_| ("before", Some(NormKind::L2))));
        let plane = |plane: usize, blueprint: &mut Blueprint| {
            (plane, blueprint.arena(&format!("plane {}", rule.state_names()[plane]), arena, Role::State))
        };
        let factored = recipe.factors(arena);
        let planes = if factored { Vec::new() } else { rule.planes() };
        Self {
            recipe,
            arena,
            params,
            grads,
            partials: step_partials,
            params_partials: measures_params.then(|| partials(blueprint, "partials of parameters", NormKind::L2)),
            rows: blueprint.floats("rows", SLOTS * groups * Row::LEN, Role::Hyper),
            current: blueprint.floats("current", groups * Row::LEN, Role::Scratch),
            counts: blueprint.indices("counts", Counter::LEN + groups, Role::Counter),
            scalars: blueprint.floats("scalars", Scalar::LEN, Role::Counter),
            frozen: blueprint.indices("frozen", groups, Role::Counter),
            loss: blueprint.floats("loss", 1, Role::Data),
            planes: planes.into_iter().map(|index| plane(index, blueprint)).collect(),
            moments: factored.then(|| {
                let stacks = Moments::stacks(arena);
                let partials = blueprint.floats("partials of second moments", Moments::partials(&stacks), Role::Scratch);
                (Moments { buffer: blueprint.floats("second moments", Moments::len(&stacks), Role::State), stacks }, partials)
            }),
            tensors: measures_grads.then(|| measured(blueprint, "gradients", step_partials)),
            directions: two_passes.then(|| {
                let kind = if recipe.cautious { NormKind::Count } else { NormKind::L2 };
                let partials = partials(blueprint, "partials of directions", kind);
                (blueprint.arena("direction", arena, Role::Scratch), measured(blueprint, "directions", partials))
            }),
            changes: recipe.inspect.then(|| {
                let partials = partials(blueprint, "partials of changes", NormKind::L2);
                (blueprint.arena("change", arena, Role::Scratch), measured(blueprint, "changes", partials))
            }),
            memory: (layerwise != Layerwise::No).then(|| blueprint.floats("memory", tensors, Role::State)),
            batches,
            scratch,
            side: side.map(|(name, kind)| Side {
                current: blueprint.floats("row of a sum or an ascent", groups * Row::LEN, Role::Scratch),
                array: blueprint.arena(name, arena, Role::State),
                count: blueprint.indices("micro-batches", 1, Role::Counter),
                norm: kind.map(|kind| (partials(blueprint, "partials of a micro-batch or an ascent", kind), kind)),
            }),
            average: recipe.average.map(|_| blueprint.arena("average", arena, Role::State)),
            slow: recipe.lookahead.map(|_| blueprint.arena("slow", arena, Role::State)),
            half: recipe.half.map(|_| blueprint.half_arena("half", arena, Role::Scratch)),
        }
    }

    /// The buffers that the host writes and reads.
    fn buffers(&self) -> Buffers {
        Buffers {
            params: self.params,
            grads: self.grads,
            rows: self.rows,
            counts: self.counts,
            scalars: self.scalars,
            frozen: self.frozen,
            loss: self.loss,
            planes: self.planes.clone(),
            average: self.average,
            slow: self.slow,
            half: self.half,
            before: self.recipe.rho.and(self.side).map(|side| side.array),
            grad_norms: self.tensors.map(|tensors| tensors.norms),
            change_norms: self.changes.map(|(_, measured)| measured.norms),
            moments: self.moments.as_ref().map(|(moments, _)| moments.clone()),
        }
    }

    fn groups(&self) -> usize {
        self.recipe.groups.len()
    }

    fn rule(&self) -> &dyn AnyRule {
        self.recipe.rule(0, 0)
    }

    /// The gradients that a step uses: the caller's, or the sum of micro-batches.
    fn source(&self) -> BufferId {
        self.recipe.accumulation.and(self.side).map_or(self.grads, |side| side.array)
    }

    fn spans(&self, by_tensor: bool) -> Vec<Span> {
        if by_tensor { self.arena.spans() } else { self.arena.group_spans() }
    }

    fn norm(&self, kind: NormKind, of: BufferId, partials: BufferId) -> Op {
        Op::Norm(Norm { kind, grads: of, chunks: self.arena.chunks(), partials, frozen: self.frozen })
    }

    /// The plan of a whole step. An inspected one also finds how far each tensor moves.
    fn step(&self, inspected: Option<Inspected>) -> Plan {
        let mut recorded = Plan::default();
        let plan = &mut recorded;
        if self.recipe.centralise {
            plan.push(Op::Centralise(Centralise { grads: self.source(), lines: lines(self.arena) }));
        }
        let norm = self.recipe.norm().map(|kind| (self.partials, kind));
        if let Some((partials, kind)) = norm {
            plan.push(self.norm(kind, self.source(), partials));
        }
        let &Recipe { loss_scale, accumulation, .. } = self.recipe;
        let micro = |Accumulation { mean, .. }| self.side.map(|side| Micro { count: side.count, mean });
        plan.push(Op::Control(Control {
            norm,
            skip_bad: self.recipe.guards(),
            rows: self.rows,
            current: self.current,
            counts: self.counts,
            scalars: self.scalars,
            frozen: self.frozen,
            groups: self.groups(),
            loss_scale,
            micro: accumulation.and_then(micro),
        }));
        if let Some((tensors, kind)) = self.tensors.zip(self.recipe.norm()) {
            self.measure_gradients(plan, tensors, kind);
        }
        let change = inspected.and(self.changes);
        match self.directions {
            None => plan.push(Op::Update(self.update(Pass::Whole, change.map(|(id, _)| id)))),
            Some((direction, measured)) => self.two_passes(plan, direction, measured, change.map(|(id, _)| id)),
        }
        if let Some((change, measured)) = change {
            self.measure_params(plan, self.params);
            plan.push(self.norm(NormKind::L2, change, measured.partials));
            plan.push(self.factors(measured, NormKind::L2, NormOf::Pass, TensorBound::None, Trust::None));
        }
        recorded
    }

    /// Norms of each tensor's gradient, and the factors that a clip or a rule makes of them.
    fn measure_gradients(&self, plan: &mut Plan, tensors: Measured, kind: NormKind) {
        let trust = if self.rule().layerwise() == Layerwise::Before {
            self.measure_params(plan, self.start());
            Trust::Rule(self.rule().boxed())
        } else {
            Trust::None
        };
        let bound = match self.recipe.clip {
            Some(Clip::Tensor { .. }) => TensorBound::Clip,
            Some(Clip::Normalise(_)) => TensorBound::Normalise,
            _ => TensorBound::None,
        };
        plan.push(self.factors(tensors, kind, NormOf::Gradient, bound, trust));
    }

    fn measure_params(&self, plan: &mut Plan, params: BufferId) {
        if let Some(partials) = self.params_partials {
            plan.push(self.norm(NormKind::L2, params, partials));
        }
    }

    /// The parameters that a step starts from: as they are, or as they were before an ascent.
    fn start(&self) -> BufferId {
        self.recipe.rho.and(self.side).map_or(self.params, |side| side.array)
    }

    fn two_passes(&self, plan: &mut Plan, direction: BufferId, measured: Measured, change: Option<BufferId>) {
        let (pass, kind, trust) = if self.recipe.cautious {
            (Pass::Cautious(direction), NormKind::Count, Trust::Cautious)
        } else {
            self.measure_params(plan, self.start());
            if let Some((moments, partials)) = self.moments.clone() {
                plan.push(Op::Factored(Factored { grads: self.source(), current: self.current, moments, partials }));
            }
            (Pass::Direction(direction), NormKind::L2, Trust::Rule(self.rule().boxed()))
        };
        plan.push(Op::Update(self.update(pass, None)));
        plan.push(self.norm(kind, direction, measured.partials));
        plan.push(self.factors(measured, kind, NormOf::Pass, TensorBound::None, trust));
        self.orthogonalise(plan, direction, measured);
        let apply = self.update(Pass::Apply, change);
        let extras = Extras { factors: Some(measured.factors), zero_grads: false, ..apply.extras };
        plan.push(Op::Update(Update { grads: direction, planes: Vec::new(), spans: self.spans(true), extras, ..apply }));
    }

    fn orthogonalise(&self, plan: &mut Plan, directions: BufferId, measured: Measured) {
        for &Batch { rows, columns, how, ref matrices } in &self.batches {
            let (norms, matrices) = (measured.norms, matrices.clone());
            if let Some(scratch) = self.scratch {
                plan.push(Op::Orthogonalise(Orthogonalise { directions, norms, matrices, rows, columns, how, scratch }));
            }
        }
    }

    fn factors(&self, measured: Measured, kind: NormKind, of: NormOf, bound: TensorBound, trust: Trust) -> Op {
        let keeps = matches!(trust, Trust::Rule(_));
        Op::Factors(Factors {
            tensors: self.arena.parts(),
            partials: (measured.partials, kind),
            of,
            params: self.params_partials.filter(|_| keeps || self.recipe.inspect),
            bound,
            trust,
            current: self.current,
            memory: self.memory.filter(|_| keeps),
            norms: measured.norms,
            factors: measured.factors,
        })
    }

    /// The update of a pass, with what goes with it there.
    fn update(&self, pass: Pass, change: Option<BufferId>) -> Update {
        let recipe = self.recipe;
        let moves = matches!(pass, Pass::Whole | Pass::Apply);
        let bounds = matches!(recipe.clip, Some(Clip::Tensor { .. } | Clip::Normalise(_)));
        let factors = self.tensors.filter(|_| bounds || self.rule().layerwise() == Layerwise::Before);
        let extras = Extras {
            max_value: matches!(recipe.clip, Some(Clip::Value(_))),
            l1: recipe.l1 != 0.0,
            factors: factors.map(|tensors| tensors.factors),
            // The next sum of micro-batches starts at 0, whatever became of this one.
            zero_grads: recipe.zero_grads || recipe.accumulation.is_some(),
            before: recipe.rho.and(self.side).map(|side| side.array),
            slow: self.slow.filter(|_| moves),
            average: self.average.filter(|_| moves),
            change,
            half: self.half.zip(recipe.half).filter(|_| moves),
        };
        Update {
            rule: self.rule().boxed(),
            params: self.params,
            grads: self.source(),
            planes: self.planes.iter().map(|(_, id)| *id).collect(),
            current: self.current,
            spans: self.spans(extras.factors.is_some() || self.moments.is_some()),
            pass,
            extras,
            moments: self.moments.as_ref().map(|(moments, _)| moments.clone()).filter(|_| matches!(pass, Pass::Direction(_))),
        }
    }

    /// The plan that adds a micro-batch to the sum.
    fn accumulate(&self) -> Option<Plan> {
        let side = self.recipe.accumulation.and(self.side)?;
        let mut plan = self.gate(GateKind::Accumulate { count: side.count }, side);
        let extras = Extras { zero_grads: self.recipe.zero_grads, ..Default::default() };
        plan.push(Op::Update(self.side_update(Sum {}.into(), side.array, Vec::new(), side, extras)));
        Some(plan)
    }

    /// The plan that goes up the gradient.
    fn ascend(&self) -> Option<Plan> {
        let (rho, side) = self.recipe.rho.zip(self.side)?;
        // Who maximises is wary of what lies below.
        let sign = self.rule().full_row(1).0[Row::SCALE].signum();
        let mut plan = self.gate(GateKind::Ascend { rho: rho * sign }, side);
        let extras = Extras { zero_grads: self.recipe.zero_grads, ..Default::default() };
        plan.push(Op::Update(self.side_update(Ascend {}.into(), self.params, vec![side.array], side, extras)));
        Some(plan)
    }

    fn gate(&self, kind: GateKind, side: Side) -> Plan {
        let mut plan = Plan::default();
        if let Some((partials, kind)) = side.norm {
            plan.push(self.norm(kind, self.grads, partials));
        }
        let (norm, frozen, current) = (side.norm, self.frozen, side.current);
        plan.push(Op::Gate(Gate { kind, norm, frozen, current, groups: self.groups() }));
        plan
    }

    fn side_update(
        &self,
        rule: Box<dyn AnyRule>,
        params: BufferId,
        planes: Vec<BufferId>,
        side: Side,
        extras: Extras,
    ) -> Update {
        let (grads, current, spans) = (self.grads, side.current, self.spans(false));
        Update { rule, params, grads, planes, current, spans, pass: Pass::Whole, extras, moments: None }
    }
}

/// Matrices of one shape that are made orthogonal together.
#[derive(Debug)]
struct Batch {
    rows: usize,
    columns: usize,
    how: Orthogonal,
    /// First element in the arena, and place among the tensors' norms.
    matrices: Vec<[usize; 2]>,
}

/// Elements of one buffer of scratch over all lanes: 128 MiB, WebGPU's default for a binding.
const SCRATCH: usize = 1 << 25;

fn batches(recipe: &Recipe, arena: &Arena) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for tensor in arena.tensors().iter().filter(|tensor| !tensor.is_empty()) {
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
fn scratch(blueprint: &mut Blueprint, batches: &[Batch]) -> Option<[BufferId; 4]> {
    let largest = |size: fn(&Batch) -> usize| batches.iter().map(|batch| batch.matrices.len() * size(batch)).max();
    let (all, squares) = (largest(|batch| batch.rows * batch.columns)?, largest(|batch| batch.rows.min(batch.columns).pow(2))?);
    let mut declare = |name: &str, len: usize| blueprint.floats(name, len, Role::Scratch);
    Some([
        declare("matrices", all),
        declare("next matrices", all),
        declare("squares", squares),
        declare("polynomials", squares),
    ])
}

/// That a step is inspected.
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
