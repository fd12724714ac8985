//! Optimizers that each move a part of the arena, as ranks with sharded state do: together they have the bits of one that moves
//! all of it.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::numbers::gradient;
use crate::common::refusal::assert_error;
use crate::common::started::started;
use std::ops::Range;
use thalweg::cpu::Cpu;
use thalweg::plan::{CHUNK, Engine, LossScale, NormKind, Program};
use thalweg::{
    Accumulation, Adam, AnyRule, Average, Clip, Lamb, Lookahead, Muon, Optimizer, Real, Recipe, RmsProp, Sgd, StateValues,
};

/// Several chunks, a vector, and rows.
const TENSORS: &[(&str, &[usize])] = &[("a", &[3 * CHUNK + 5]), ("b", &[70]), ("c", &[5, 2_000])];
const LANES: usize = 2;
const STEPS: usize = 5;

/// Each lane's gradient of a step, laid out as the arena; where bad ones are skipped, that of the second lane is not finite in
/// step 3.
fn sums<E: Engine>(optimizer: &Optimizer<E::Program>, step: usize, skips: bool) -> Vec<Vec<E::Float>> {
    let of_lane = |lane: usize| {
        let mut sum = vec![E::Float::of(0.0); optimizer.arena().len()];
        for tensor in optimizer.arena().tensors() {
            let grads = gradient((10 * lane + tensor.rank) as u64, step, tensor.len());
            let own = &mut sum[tensor.offset..][..tensor.len()];
            own.iter_mut().zip(grads).for_each(|(sum, g)| *sum = E::Float::of(g.into()));
        }
        if skips && step == 2 && lane == 1 {
            sum[optimizer.arena().len() - 200] = E::Float::of(f64::NAN);
        }
        sum
    };
    (0..LANES).map(of_lane).collect()
}

/// A step of several optimizers with a part each.
fn step<E: Engine>(all: &mut [Optimizer<E::Program>], parts: &[Range<usize>], sums: &[Vec<E::Float>]) {
    for (optimizer, part) in all.iter_mut().zip(parts) {
        let (stepper, program) = optimizer.stepper_and_program();
        for (lane, sum) in sums.iter().enumerate() {
            stepper.put_sum_piece(program, lane, part.start, &sum[part.clone()]).expect("a piece");
        }
        stepper.end_sum(program, &[1; LANES]).expect("a sum");
    }
    for lane in 0..sums.len() {
        let mut norms = Vec::new();
        for (optimizer, part) in all.iter_mut().zip(parts) {
            let (stepper, program) = optimizer.stepper_and_program();
            norms.push(stepper.measure_part(program, lane).expect("norms"));
            assert_eq!(norms[norms.len() - 1].len(), stepper.norms_of(part));
        }
        for optimizer in all.iter_mut() {
            let (stepper, program) = optimizer.stepper_and_program();
            for (part, norms) in parts.iter().zip(&norms) {
                stepper.put_norms(program, lane, part, norms).expect("norms");
            }
        }
    }
    all.iter_mut().for_each(|optimizer| optimizer.step().expect("a step"));
}

/// What optimizers with a part each hold together, buffer by buffer and lane by lane.
fn together<E: Engine>(all: &mut [Optimizer<E::Program>], parts: &[Range<usize>]) -> Vec<E::Float> {
    let mut values = Vec::new();
    for buffer in 0..all[0].stepper().moved().len() {
        for lane in 0..LANES {
            for (optimizer, part) in all.iter_mut().zip(parts) {
                // Each has ids of its own.
                let buffer = optimizer.stepper().moved()[buffer];
                values.extend(optimizer.program_mut().read_range(buffer, lane, part.clone()).expect("a buffer"));
            }
        }
    }
    values
}

fn report<P: Program>(optimizer: &mut Optimizer<P>, lane: usize) -> thalweg::Report {
    optimizer.lane(lane).expect("a lane").report().expect("a report")
}

fn recipes() -> Vec<(&'static str, Recipe)> {
    let group = |name: &str| usize::from(name == "b");
    let [sgd, adam]: [Box<dyn AnyRule>; 2] =
        [Sgd { lr: 0.1, momentum: 0.9, ..Default::default() }.into(), Adam { lr: 0.01, ..Default::default() }.into()];
    let population = |rule: &dyn AnyRule| Recipe::population((0..LANES).map(|_| rule.boxed()));
    vec![
        ("plain", population(&*adam)),
        ("clipped", population(&*sgd).clip_norm(0.5)),
        ("skipped", population(&*adam).skip_bad().average(Average::Ema { decay: 0.9 })),
        ("by another norm", population(&*sgd).clip(Clip::Norm { max: 2.0, kind: NormKind::L1 })),
        ("by value", population(&*sgd).clip(Clip::Value(0.3)).lookahead(Lookahead { steps: 2, alpha: 0.5 })),
        ("scaled", population(&*adam).loss_scale(LossScale { init: 4.0, interval: 2, ..Default::default() })),
        ("groups", {
            let rules = [vec![sgd.clone(); LANES], vec![adam.clone(); LANES]];
            let [all, other] = rules;
            Recipe::population(all)
                .group("group 1", move |tensor| group(&tensor.name) == 1, other)
                .clip_norm_of(["group 1"], 0.1)
                .clip_norm(0.5)
        }),
    ]
}

fn agree<E: Engine>(engine: &E) {
    for (name, recipe) in recipes() {
        let recipe = recipe.accumulate(Accumulation::default());
        let mut whole = [started(engine, recipe.clone(), TENSORS)];
        let all = 0..whole[0].arena().len();
        let cuts = |inner: &[usize]| {
            let bounds: Vec<usize> = [0].iter().chain(inner).copied().chain([all.end]).collect();
            bounds.windows(2).map(|pair| pair[0]..pair[1]).collect::<Vec<_>>()
        };
        let b = whole[0].arena().tensors()[1].offset;
        for parts in [cuts(&[]), cuts(&[2 * CHUNK]), cuts(&[CHUNK, CHUNK, b, b + 128 + CHUNK])] {
            let mut found: Vec<_> =
                parts.iter().map(|part| started(engine, recipe.clone().part(part.clone()), TENSORS)).collect();
            let mut whole = [started(engine, recipe.clone(), TENSORS)];
            for t in 0..STEPS {
                let sums = sums::<E>(&whole[0], t, name != "plain");
                step::<E>(&mut found, &parts, &sums);
                whole[0].put_sum(&sums, &[1; LANES]).expect("a sum");
                whole[0].step().expect("a step");
            }
            let what = format!("{name}, {} parts, {}", parts.len(), engine.describe());
            let expected = together::<E>(&mut whole, std::slice::from_ref(&all));
            assert_same_bits(&what, &together::<E>(&mut found, &parts), &expected);
            for optimizer in &mut found {
                for lane in 0..LANES {
                    let (found, expected) = (report(optimizer, lane), report(&mut whole[0], lane));
                    assert_eq!(
                        (found.applied, found.skipped, found.clipped),
                        (expected.applied, expected.skipped, expected.clipped)
                    );
                    assert_eq!(found.norm.to_bits(), expected.norm.to_bits(), "{what}");
                }
            }
        }
        whole[0].step().expect_err("no micro-batch");
    }
}

#[test]
fn parts_have_the_bits_of_a_whole() {
    agree(&Cpu::<f32>::default());
    agree(&engines::gpu());
}

/// Everything outside a part stays as it was: parameters, and planes at 0.
#[test]
fn nothing_beside_a_part_moves() {
    for engine in engines::all() {
        let recipe = Recipe::population([RmsProp::default(), RmsProp::default()]).accumulate(Accumulation::default());
        let own = CHUNK..2 * CHUNK;
        let mut optimizer = started(&engine, recipe.part(own.clone()), TENSORS);
        let before = optimizer.lane(0).expect("a lane").params("a").expect("parameters");
        let sums = sums::<engines::AnyEngine>(&optimizer, 0, false);
        step::<engines::AnyEngine>(std::slice::from_mut(&mut optimizer), std::slice::from_ref(&own), &sums);
        let after = optimizer.lane(0).expect("a lane").params("a").expect("parameters");
        for (i, (before, after)) in before.iter().zip(&after).enumerate() {
            assert_eq!(before != after, (CHUNK..2 * CHUNK).contains(&i), "{}: element {i}", engine.name);
        }
        let state = optimizer.state_dict().expect("a state");
        let StateValues::Floats(planes) = &state.get("state.a.q").expect("a plane").values else { panic!("floats") };
        assert!(planes[0].iter().enumerate().all(|(i, &v)| (v != 0.0) == (CHUNK..2 * CHUNK).contains(&i)), "{}", engine.name);
    }
}

#[test]
fn what_has_numbers_of_whole_tensors_is_refused() {
    let sgd = || Recipe::new(Sgd::default());
    let new = |recipe: Recipe| Optimizer::new(&Cpu::<f32>::default(), recipe.part(0..CHUNK), &[("x", &[2, CHUNK])]);
    for (recipe, what) in [
        (Recipe::new(Lamb::default()), "lamb"),
        (Recipe::new(thalweg::Lars::default()), "lars"),
        (Recipe::new(thalweg::Adafactor::default()), "adafactor"),
        (Recipe::new(Muon::default()), "muon"),
    ] {
        assert_error(
            new(recipe),
            &format!("{what} cannot be combined with a part of the arena: its steps need numbers of whole tensors"),
        );
    }
    let whole = "it needs numbers of whole tensors";
    for (recipe, what, reason) in [
        (sgd().cautious(), "cautious", whole),
        (sgd().centralise(), "centralise", whole),
        (sgd().inspect(), "inspect", whole),
        (sgd().sam(0.1), "sam", "its ascent needs the norm of the whole gradient before the step"),
        (sgd().half_copy(thalweg::plan::Half::F16), "half_copy", "the copy would follow the part alone"),
        (sgd().clip(Clip::Tensor { max: 1.0, kind: NormKind::L2 }), "a bound of each tensor", whole),
    ] {
        assert_error(new(recipe), &format!("{what} cannot be combined with a part of the arena: {reason}"));
    }
    for part in [1..CHUNK, 0..CHUNK + 64, 0..3 * CHUNK] {
        let message = format!("part = {part:?} is out of range: a range of the arena that begins and ends with chunks");
        let recipe = sgd().part(part);
        assert_error(Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[2, CHUNK])]), &message);
    }
    let mut plain = Optimizer::new(&Cpu::<f32>::default(), sgd(), &[("x", &[4])]).expect("an optimizer");
    let (stepper, program) = plain.stepper_and_program();
    assert_error(stepper.measure_part(program, 0), "a step of a part needs part in the recipe, for example Recipe::part");
}
