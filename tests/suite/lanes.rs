//! A lane of a population gives the bits of the same model trained alone.

use crate::common::compare::assert_same_bits;
use crate::common::engines::{self, AnyEngine};
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::{options, siblings, with};
use thalweg::plan::CHUNK;
use thalweg::{AnyRule, Recipe};

/// After these steps every rule has taken each of its branches: the last ones are RAdam's rectification, at step 6, and the
/// ends of warm-ups in the first lane, at step 10.
const STEPS: usize = 12;
/// More steps than the 32 after which the host asks for the device's counters.
const MANY: usize = 40;
/// The number of gradients, which are used in turns.
const CYCLE: usize = 5;
/// More than a small binding holds.
const LONG: usize = 8 * CHUNK + 1;
/// More than the CPU engine gives to one thread.
const SHARED: usize = 40_000;

/// Parameters and planes of each lane after all steps. Lane `k` has the parameters and gradients of seed `seeds[k]`.
fn train(
    engine: &AnyEngine,
    rules: &[Box<dyn AnyRule>],
    seeds: &[u64],
    (len, steps): (usize, usize),
    clip: bool,
) -> Vec<Vec<(&'static str, Vec<f32>)>> {
    let recipe = Recipe::population(rules.iter().cloned());
    // Lanes' norms are about 1.3 times this.
    let recipe = if clip { recipe.clip_norm((len as f64).sqrt()) } else { recipe };
    let mut model = Model::new(engine, recipe, &*rules[0], &[len / 2, len - len / 2]);
    let grads = seeds.iter().map(|seed| (0..CYCLE as u64).map(|t| numbers(100 * seed + t, len)).collect());
    let grads: Vec<Vec<Vec<f32>>> = grads.collect();
    for (lane, &seed) in seeds.iter().enumerate() {
        model.set_params(lane, &numbers(1000 + seed, len));
    }
    for t in 0..steps {
        for (lane, grads) in grads.iter().enumerate() {
            model.set_grads(lane, &grads[t % CYCLE]);
        }
        model.step();
    }
    (0..seeds.len()).map(|lane| model.arrays(lane)).collect()
}

fn assert_same(what: &str, found: &[(&'static str, Vec<f32>)], expected: &[(&'static str, Vec<f32>)]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_same_bits(&format!("{what}, {name}"), found, expected);
    }
}

fn a_lane_is_a_model_alone(engine: &AnyEngine, long: usize) {
    for (name, rule) in options() {
        let rules = siblings(&*rule);
        for (len, steps) in [(CHUNK - 1, MANY), (CHUNK, STEPS), (CHUNK + 1, STEPS), (long, STEPS)] {
            for clip in [false, true] {
                let lanes = train(engine, &rules, &[0, 1, 2], (len, steps), clip);
                assert_ne!(lanes[0], lanes[1], "lanes with settings and gradients of their own");
                for (lane, found) in lanes.iter().enumerate() {
                    let alone = train(engine, &rules[lane..=lane], &[lane as u64], (len, steps), clip);
                    assert_same(&format!("{name}, lane {lane} of {len}, clip {clip}"), found, &alone[0]);
                }
            }
        }
    }
}

#[test]
fn a_lane_is_a_model_alone_on_the_cpu() {
    a_lane_is_a_model_alone(&engines::cpu(), SHARED);
}

#[test]
fn a_lane_is_a_model_alone_on_the_gpu() {
    a_lane_is_a_model_alone(&engines::gpu(), LONG);
}

#[test]
fn a_lane_is_a_model_alone_in_small_bindings() {
    a_lane_is_a_model_alone(&engines::small_bindings(), LONG);
}

/// Compares lanes in an arena that is cut with those in a whole one.
fn a_cut_arena_is_a_whole_one(small: &AnyEngine, whole: &AnyEngine, name: &str, rule: &dyn AnyRule, steps: usize) {
    let run = |engine: &AnyEngine| train(engine, &siblings(rule), &[0, 1, 2], (LONG, steps), true);
    for (cut, whole) in run(small).iter().zip(run(whole)) {
        assert_same(name, cut, &whole);
    }
}

/// Over more steps than the host runs at a time.
#[test]
fn where_an_arena_is_cut_changes_no_bits() {
    let (small, gpu) = (engines::small_bindings(), engines::gpu());
    options().iter().for_each(|(name, rule)| a_cut_arena_is_a_whole_one(&small, &gpu, name, &**rule, MANY));
}

#[test]
fn adam_takes_its_steps_in_a_cut_arena() {
    let rule = with("adam", "lr=0.02");
    a_cut_arena_is_a_whole_one(&engines::small_bindings(), &engines::gpu(), "adam", &*rule, STEPS);
}

#[test]
fn the_same_run_twice_gives_the_same_bits() {
    for (engine, len) in [(engines::cpu(), SHARED), (engines::gpu(), LONG)] {
        for (name, rule) in options() {
            let run = || train(&engine, &siblings(&*rule), &[0, 1, 2], (len, STEPS), true);
            for (first, second) in run().iter().zip(run()) {
                assert_same(&format!("{}, {name}", engine.name), first, &second);
            }
        }
    }
}
