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

/// First parameters and gradients by seed, drawn once for all rules.
struct Data {
    len: usize,
    params: [Vec<f32>; 3],
    grads: [[Vec<f32>; CYCLE]; 3],
}

impl Data {
    fn new(len: usize) -> Self {
        let grads = |seed: u64| std::array::from_fn(|t| numbers(100 * seed + t as u64, len));
        Self { len, params: [0, 1, 2].map(|seed| numbers(1000 + seed, len)), grads: [0, 1, 2].map(grads) }
    }
}

/// Parameters and planes of each lane after all steps. Lane `k` has the parameters and gradients of seed `seeds[k]`.
fn train(
    engine: &AnyEngine,
    rules: &[Box<dyn AnyRule>],
    seeds: &[usize],
    (data, steps): (&Data, usize),
    clip: bool,
) -> Vec<Vec<(&'static str, Vec<f32>)>> {
    let len = data.len;
    let recipe = Recipe::population(rules.iter().cloned());
    // Lanes' norms are about 1.3 times this.
    let recipe = if clip { recipe.clip_norm((len as f64).sqrt()) } else { recipe };
    let mut model = Model::new(engine, recipe, &*rules[0], &[len / 2, len - len / 2]);
    for (lane, &seed) in seeds.iter().enumerate() {
        model.set_params(lane, &data.params[seed]);
    }
    for t in 0..steps {
        for (lane, &seed) in seeds.iter().enumerate() {
            model.set_grads(lane, &data.grads[seed][t % CYCLE]);
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
    let runs = [(CHUNK - 1, MANY), (CHUNK, STEPS), (CHUNK + 1, STEPS), (long, STEPS)];
    let runs = runs.map(|(len, steps)| (Data::new(len), steps));
    for (name, rule) in options() {
        let rules = siblings(&*rule);
        for (data, steps) in &runs {
            let (run, len) = ((data, *steps), data.len);
            for clip in [false, true] {
                let lanes = train(engine, &rules, &[0, 1, 2], run, clip);
                assert_ne!(lanes[0], lanes[1], "lanes with settings and gradients of their own");
                for (lane, found) in lanes.iter().enumerate() {
                    let alone = train(engine, &rules[lane..=lane], &[lane], run, clip);
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
fn a_cut_arena_is_a_whole_one([small, whole]: [&AnyEngine; 2], name: &str, rule: &dyn AnyRule, run: (&Data, usize)) {
    let lanes = |engine: &AnyEngine| train(engine, &siblings(rule), &[0, 1, 2], run, true);
    for (cut, whole) in lanes(small).iter().zip(lanes(whole)) {
        assert_same(name, cut, &whole);
    }
}

/// Over more steps than the host runs at a time.
#[test]
fn where_an_arena_is_cut_changes_no_bits() {
    let (small, gpu, data) = (engines::small_bindings(), engines::gpu(), Data::new(LONG));
    options().iter().for_each(|(name, rule)| a_cut_arena_is_a_whole_one([&small, &gpu], name, &**rule, (&data, MANY)));
}

#[test]
fn adam_takes_its_steps_in_a_cut_arena() {
    let rule = with("adam", "lr=0.02");
    a_cut_arena_is_a_whole_one([&engines::small_bindings(), &engines::gpu()], "adam", &*rule, (&Data::new(LONG), STEPS));
}

#[test]
fn the_same_run_twice_gives_the_same_bits() {
    for (engine, data) in [(engines::cpu(), Data::new(SHARED)), (engines::gpu(), Data::new(LONG))] {
        for (name, rule) in options() {
            let run = || train(&engine, &siblings(&*rule), &[0, 1, 2], (&data, STEPS), true);
            for (first, second) in run().iter().zip(run()) {
                assert_same(&format!("{}, {name}", engine.name), first, &second);
            }
        }
    }
}
