//! Two groups with settings of their own are two separate optimizers.

use crate::common::compare::assert_same_bits;
use crate::common::engines::{self, AnyEngine, AnyProgram};
use crate::common::groups::grouped;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::{options, siblings};
use thalweg::{Adagrad, AnyRule, Recipe};

const STEPS: u64 = 10;
/// Tensors alternate between the groups; lengths are around the blocks in which groups are stored, and one is cut in small
/// bindings.
const LENGTHS: [usize; 8] = [1, 64, 65, 130, 0, 63, 40_000, 1000];

fn group(tensor: usize) -> usize {
    tensor % 2
}

/// The values of the tensors of one group, out of those of all tensors.
fn pick<T: Copy>(all: &[T], wanted: usize) -> Vec<T> {
    let mut rest = all;
    let mut picked = Vec::new();
    for (tensor, len) in LENGTHS.into_iter().enumerate() {
        let (part, after) = rest.split_at(len);
        rest = after;
        if group(tensor) == wanted {
            picked.extend_from_slice(part);
        }
    }
    picked
}

fn both(engine: &AnyEngine, rules: &[Box<dyn AnyRule>]) -> Model<AnyProgram> {
    let tensors: Vec<(usize, usize)> = LENGTHS.into_iter().enumerate().map(|(tensor, len)| (len, group(tensor))).collect();
    Model::grouped(engine, grouped(rules.iter().cloned()), &*rules[0], &tensors)
}

fn alone(engine: &AnyEngine, rules: &[Box<dyn AnyRule>], wanted: usize) -> Model<AnyProgram> {
    let tensors = LENGTHS.into_iter().enumerate().filter(|(tensor, _)| group(*tensor) == wanted);
    let lengths: Vec<usize> = tensors.map(|(_, len)| len).collect();
    Model::new(engine, Recipe::new(rules[wanted].clone()), &*rules[wanted], &lengths)
}

#[test]
fn two_groups_are_two_optimizers() {
    let len = LENGTHS.iter().sum();
    for engine in engines::all_and_small() {
        for (name, rule) in options() {
            let [_, slow, fast] = siblings(&*rule);
            let rules = [slow, fast];
            let mut both = both(&engine, &rules);
            let mut alone = [0, 1].map(|group| alone(&engine, &rules, group));
            both.set_params(0, &numbers(0, len));
            alone.iter_mut().enumerate().for_each(|(group, model)| model.set_params(0, &pick(&numbers(0, len), group)));
            for t in 1..=STEPS {
                let grads = numbers(t, len);
                both.set_grads(0, &grads);
                both.step();
                for (group, model) in alone.iter_mut().enumerate() {
                    model.set_grads(0, &pick(&grads, group));
                    model.step();
                }
            }
            for (group, model) in alone.iter_mut().enumerate() {
                for ((array, found), (_, expected)) in both.arrays(0).iter().zip(model.arrays(0)) {
                    let what = format!("{}, {name}, group {group}, {array}", engine.name);
                    assert_same_bits(&what, &pick(found, group), &expected);
                }
            }
        }
    }
}

/// The norm that clips is that of all groups together.
#[test]
fn groups_share_one_norm() {
    for engine in engines::all_and_small() {
        let rules = siblings(&*options()[0].1);
        let tensors = [(1, 0), (1, 1)];
        let recipe = grouped(rules[..2].iter().cloned()).clip_norm(2.5);
        let mut model = Model::grouped(&engine, recipe, &*rules[0], &tensors);
        model.set_grads(0, &[3.0, 4.0]);
        model.step();
        let report = model.report(0);
        assert_eq!((report.norm, report.clipped), (5.0, 1), "{}", engine.name);
        // lr · g / 2, less the 1e-6 beside the norm.
        let expected = [rules[0].lr() * -1.5, rules[1].lr() * -2.0];
        crate::common::compare::assert_close(engine.name, &model.params(0), &expected, |i| 1e-6 * expected[i].abs());
    }
}

/// Planes that start at a number of their group are filled in pieces.
#[test]
fn long_planes_start_at_the_numbers_of_their_groups() {
    let rules = [0.25, 0.5].map(|initial| Adagrad { initial_accumulator_value: initial, ..Default::default() });
    let lengths = [(70_001, 0), (3, 1), (65_536, 1), (1, 0)];
    for engine in [engines::cpu(), engines::gpu()] {
        let mut model = Model::grouped(&engine, grouped(rules.clone()), &rules[0], &lengths);
        let (_, plane) = model.planes(0).swap_remove(0);
        let expected =
            lengths.iter().flat_map(|&(len, group)| std::iter::repeat_n([0.25, 0.5][group], len)).collect::<Vec<f32>>();
        assert_same_bits(engine.name, &plane, &expected);
    }
}
