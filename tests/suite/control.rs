//! The norm and the control of a step, without the update: they overwrite everything, whatever was there before.

use crate::common::compare::assert_close;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::oracle::EPSILON;
use thalweg::cpu::Cpu;
use thalweg::plan::{
    Arena, Blueprint, BufferId, CHUNK, Control, Counter, Engine, Layout, Norm, NormKind, Op, Plan, PlanId, Program, SLOTS,
    Scalar,
};
use thalweg::{AnyRule, HyperRow, Real, Recipe, Sgd};

const LANES: usize = 2;
const GROUPS: usize = 2;

struct Step {
    layout: Layout,
    plan: Plan,
    grads: BufferId,
    partials: BufferId,
    rows: BufferId,
    current: BufferId,
    counts: BufferId,
    scalars: BufferId,
    without_norm: Control,
}

fn step(len: usize) -> Step {
    let (mut layout, mut arena) = (Layout::new(LANES), Arena::default());
    arena.add("all", &[len]).expect("the only tensor");
    let chunks = arena.chunks();
    let of_chunks = chunks.len();
    let (grads, partials) = (layout.arena("grads", &arena), layout.floats("partials", NormKind::L2.partials(chunks.len())));
    let rows = layout.floats("rows", SLOTS * GROUPS * HyperRow::LEN);
    let current = layout.floats("current", GROUPS * HyperRow::LEN);
    let (counts, scalars) = (layout.indices("counts", Counter::LEN + GROUPS), layout.floats("scalars", Scalar::LEN));
    let frozen = layout.indices("frozen", GROUPS);
    let mut plan = Plan::default();
    let kind = NormKind::L2;
    plan.push(Op::Norm(Norm::new(kind, grads, chunks, partials, frozen)));
    let mut control = Control::new(rows, SLOTS, current, [counts, scalars, frozen]);
    (control.skip_bad, control.groups, control.domain_of) = (true, GROUPS, vec![0; GROUPS]);
    control.domains = std::iter::once(0..of_chunks).collect();
    let without_norm = control.clone();
    control.norm = Some((partials, kind));
    plan.push(Op::Control(control));
    Step { layout, plan, grads, partials, rows, current, counts, scalars, without_norm }
}

/// The rows of the first step, one per group.
fn rows() -> Vec<f64> {
    let group = |group: usize| {
        let rule = Sgd { lr: 0.5 + group as f64, momentum: 0.5, weight_decay: 0.25, ..Default::default() };
        let mut row = rule.hyper_row(1);
        row.0[HyperRow::MAX_NORM] = 10.0;
        row.0[HyperRow::MAX_VALUE] = 2.0;
        row.0[HyperRow::MAX_TENSOR] = 3.0;
        row.0
    };
    (0..GROUPS).flat_map(group).collect()
}

/// Partial sums, current rows and scalars of each lane after one step from buffers full of NaN.
fn run<E: Engine>(engine: &E, len: usize) -> Vec<[Vec<f64>; 3]> {
    let step = step(len);
    let mut program = engine.load(&Blueprint::of(&step.layout, std::slice::from_ref(&step.plan))).expect("a program");
    let of = |values: &[f64]| values.iter().map(|&x| E::Float::of(x)).collect::<Vec<_>>();
    for lane in 0..LANES {
        let grads: Vec<f64> = numbers(lane as u64, len).into_iter().map(|x| f64::from(x) * [1.0, 1e-3][lane]).collect();
        program.write(step.grads, lane, 0, &of(&grads)).expect("gradients");
        for (group, row) in rows().chunks(HyperRow::LEN).enumerate() {
            program.write(step.rows, lane, group * SLOTS * HyperRow::LEN, &of(row)).expect("rows");
        }
        program.write(step.scalars, lane, 0, &of(&[f64::NAN, f64::NAN, 1.0])).expect("scalars");
        for id in [step.partials, step.current] {
            let nan = vec![f64::NAN; step.layout.buffer(id).expect("a buffer").len];
            program.write(id, lane, 0, &of(&nan)).expect("NaN");
        }
    }
    program.run(PlanId::FIRST, 1).expect("a run");
    let applied = [1, 0, 0, 0, 0, 0, 1, 1];
    let clipped = [1, 0, 1, 0, 0, 0, 1, 1];
    let lane = |lane| {
        let mut read = |id| program.read(id, lane).expect("floats").into_iter().map(E::Float::as_f64).collect::<Vec<f64>>();
        let arrays = [step.partials, step.current, step.scalars].map(&mut read);
        let expected = if arrays[2][Scalar::Norm as usize] > 10.0 { clipped } else { applied };
        assert_eq!(program.read_indices(step.counts, lane).expect("counts"), expected, "{}", engine.describe());
        arrays
    };
    (0..LANES).map(lane).collect()
}

#[test]
fn everything_is_written_and_agrees() {
    let engines = engines::all();
    for len in [64, CHUNK - 64, CHUNK, CHUNK + 64, 5 * CHUNK + 128, 300 * CHUNK] {
        let expected = run(&Cpu::<f64>::default(), len);
        for engine in &engines {
            for (lane, (found, expected)) in run(engine, len).iter().zip(&expected).enumerate() {
                for (name, (found, expected)) in ["partials", "current", "scalars"].iter().zip(found.iter().zip(expected)) {
                    // A partial sum is a tree of squares with at most 256 terms in a row; each is off by half a unit, in either
                    // direction.
                    let what = format!("{}, lane {lane} of {len}, {name}", engine.name);
                    assert_close(&what, found, expected, |i| 16.0 * EPSILON * expected[i].abs());
                }
            }
        }
    }
}

#[test]
fn without_partial_sums_every_step_is_live_and_unclipped() {
    for engine in engines::all() {
        let mut step = step(64);
        step.plan = Plan::default();
        let Step { rows: rows_id, current, counts, scalars, .. } = step;
        step.plan.push(Op::Control(step.without_norm));
        let mut program = engine.load(&Blueprint::of(&step.layout, &[step.plan])).expect("a program");
        let rows: Vec<f32> = rows().into_iter().map(|x| x as f32).collect();
        for (group, row) in rows.chunks(HyperRow::LEN).enumerate() {
            program.write(rows_id, 1, group * SLOTS * HyperRow::LEN, row).expect("rows");
        }
        program.write(step.grads, 1, 0, &[f32::NAN; 64]).expect("gradients");
        program.run(PlanId::FIRST, 1).expect("a run");
        assert_eq!(program.read(current, 1).expect("rows"), rows, "{}", engine.name);
        assert_eq!(program.read(scalars, 1).expect("scalars"), [0.0, 1.0, 0.0], "{}", engine.name);
        assert_eq!(program.read_indices(counts, 1).expect("counts"), [1, 0, 0, 0, 0, 0, 1, 1], "{}", engine.name);
    }
}

/// Compared with a plain sum, since the engines and the oracle share the code that cuts chunks.
#[test]
fn the_norm_is_that_of_every_element() {
    fn check<E: Engine>(engine: &E, tensors: &[usize]) {
        let rule = Sgd::default();
        let mut model = Model::new(engine, Recipe::new(rule.clone()).clip_norm(1.0), &rule, tensors);
        let grads = numbers(1, tensors.iter().sum());
        model.set_grads(0, &grads);
        model.step();
        let expected = grads.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let what = format!("{}, {tensors:?}", engine.describe());
        // Squares are 0.25 to 4, 1.75 in the mean: an element more or less changes the longest norm by at least 2e-6 of it.
        assert_close(&what, &[model.report(0).norm], &[expected], |_| 1e-6 * expected);
    }
    for tensors in [&[1][..], &[63, 0, 65], &[CHUNK - 1, 1], &[CHUNK + 1, CHUNK], &[2 * CHUNK + 100]] {
        check(&Cpu::<f64>::default(), tensors);
        engines::all_and_small().iter().for_each(|engine| check(engine, tensors));
    }
}

/// A norm that is as small as the constant that is added to it.
#[test]
fn the_constant_beside_the_norm_counts() {
    fn check<E: Engine>(engine: &E) {
        let rule = Sgd { lr: 1.0, ..Default::default() };
        let mut model = Model::new(engine, Recipe::new(rule.clone()).clip_norm(1e-6), &rule, &[2]);
        model.set_grads(0, &[3e-6, 4e-6]);
        model.step();
        // 1e-6 / (5e-6 + 1e-6)
        let expected = [-0.5e-6, -4e-6 / 6.0];
        assert_close(&engine.describe(), &model.params(0), &expected, |i| 8.0 * EPSILON * expected[i].abs());
        assert_eq!(model.report(0).clipped, 1, "{}", engine.describe());
    }
    check(&Cpu::<f64>::default());
    engines::all().iter().for_each(check);
}
