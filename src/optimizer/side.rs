//! Updates that are no steps: sums of micro-batches, and ascents. They are rules of their own, which are in no registry.

use super::recorder::{Recorder, Side};
use crate::plan::{BufferId, Extras, Gate, GateKind, Op, Plan, Stream, StreamOf, Update, UpdateKind};
use crate::rule::{AnyRule, BoundsChecks, HyperRow, Real, Rule};
use crate::settings;

/// Whatever only a registered rule would need.
macro_rules! nameless {
    () => {
        fn lr(&self) -> f64 {
            1.0
        }

        fn hyper(&self, _t: u64) -> [f64; 1] {
            [0.0]
        }
    };
}

settings! {
    /// The sum of micro-batches: x is the sum so far, d the gradient of one. A step leaves it at 0.
    pub struct Sum {}
}

impl Rule for Sum {
    type Hyper<F: Real> = [F; 1];
    type State<F: Real> = [F; 0];
    const NAME: &'static str = "sum";
    const FORMULA: &'static str = "x = x + d";
    const HYPER: &'static [&'static str] = &["none"];
    const STATE: &'static [&'static str] = &[];
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const WGSL: &'static str = "struct Hyper { none: f32 }
struct State { none: f32 }
fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x + d; }";
    nameless!();

    #[inline(always)]
    fn update<F: Real>(&self, _: &[F; 1], x: F, d: F, _: &mut [F; 0]) -> F {
        x + d
    }
}

settings! {
    /// The ascent of sharpness-aware minimisation: parameters are remembered, then go up the gradient.
    pub struct Ascend {}
}

impl Rule for Ascend {
    type Hyper<F: Real> = [F; 1];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "ascend";
    const FORMULA: &'static str = "before = x;  x = x + d, or x where it stays";
    const HYPER: &'static [&'static str] = &["stays"];
    const STATE: &'static [&'static str] = &["before"];
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const WGSL: &'static str = "struct Hyper { stays: f32 }
struct State { before: T }
fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).before = x;
    return select(x + d, x, h.stays != 0.0);
}";
    nameless!();

    #[inline(always)]
    fn update<F: Real>(&self, &[stays]: &[F; 1], x: F, d: F, [before]: &mut [F; 1]) -> F {
        *before = x;
        if stays != F::zero() { x } else { x + d }
    }
}

impl Recorder<'_> {
    /// The plan that measures the part of the gradient that a parted recipe moves.
    pub(super) fn norm_of_part(&self) -> Option<Plan> {
        let ((partials, chunks), kind) = self.part.as_ref().zip(self.recipe.norm())?;
        let mut plan = Plan::default();
        plan.push(self.norm(kind, self.source(), chunks, *partials));
        Some(plan)
    }

    /// The plans that add a micro-batch, by how many joins follow: the sum, where there is no tree.
    pub(super) fn accumulate(&self) -> Vec<Plan> {
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
    pub(super) fn join(&self, plan: &mut Plan, joins: usize) {
        let Some(row) = self.joins else { return };
        for pair in self.levels.windows(2).take(joins) {
            let extras = Extras { zero_grads: true, ..Default::default() };
            plan.push(Op::Update(self.side_update(Sum {}.into(), [pair[1], pair[0]], Vec::new(), row, extras)));
        }
    }

    /// The plan that goes up the gradient.
    pub(super) fn ascend(&self) -> Option<Plan> {
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
