//! Two groups with settings of their own are two separate optimizers.

use crate::common::compare::assert_same_bits;
use crate::common::engines::{self, AnyEngine, AnyProgram};
use crate::common::groups::{GROUPS, grouped, of_group};
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::{options, siblings, with};
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, PlanId};
use thalweg::{Adagrad, Adam, AnyRule, Optimizer, Recipe, Select};

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

/// Compares a model with tensors of both groups with a model of each group alone.
fn are_apart<E: Engine>(
    engine: &E,
    what: &str,
    recipe: Recipe,
    alone: [Recipe; 2],
    rules: &[Box<dyn AnyRule>; 2],
    lane: usize,
) {
    let len = LENGTHS.iter().sum();
    let tensors: Vec<(usize, usize)> = LENGTHS.into_iter().enumerate().map(|(tensor, len)| (len, group(tensor))).collect();
    let lanes = recipe.lanes();
    let mut both = Model::grouped(engine, recipe, &*rules[0], &tensors);
    let mut alone = [0, 1].map(|wanted| {
        let own: Vec<(usize, usize)> = tensors.iter().filter(|(_, group)| *group == wanted).map(|(len, _)| (*len, 0)).collect();
        Model::grouped(engine, alone[wanted].clone(), &*rules[wanted], &own)
    });
    (0..lanes).for_each(|lane| both.set_params(lane, &numbers(lane as u64, len)));
    alone.iter_mut().enumerate().for_each(|(group, model)| model.set_params(0, &pick(&numbers(lane as u64, len), group)));
    for t in 1..=STEPS {
        (0..lanes).for_each(|lane| both.set_grads(lane, &numbers(100 * t + lane as u64, len)));
        both.step();
        for (group, model) in alone.iter_mut().enumerate() {
            model.set_grads(0, &pick(&numbers(100 * t + lane as u64, len), group));
            model.step();
        }
    }
    let params = both.params(lane);
    for (wanted, model) in alone.iter_mut().enumerate() {
        let what = format!("{}, {what}, group {wanted}", engine.describe());
        assert_same_bits(&what, &pick(&params, wanted), &model.params(0));
        let names = tensors.iter().enumerate().filter(|(_, (_, group))| *group == wanted);
        for plane in rules[wanted].planes().into_iter().map(|plane| rules[wanted].state_names()[plane]) {
            let of = |(tensor, (_, group)): (usize, &(usize, usize))| {
                let name = of_group(&format!("tensor {tensor}"), *group);
                both.optimizer.lane(lane).expect("a lane").state(&name, plane).expect("a plane")
            };
            let found: Vec<_> = names.clone().flat_map(of).collect();
            let expected = model.planes(0).into_iter().find(|(name, _)| *name == plane).expect("a plane").1;
            assert_same_bits(&format!("{what}, {plane}"), &found, &expected);
        }
    }
}

/// Rules of other kernels, with planes of other names, initial values and passes; one of them has no plane at all.
#[test]
fn groups_of_any_two_rules_are_two_optimizers() {
    let pairs = [
        ("sgd", "lr=0.05", "sgd", "lr=0.05 momentum=0.9"),
        ("adam", "lr=0.02", "adagrad", "lr=0.05 initial_accumulator_value=0.5"),
        ("lion", "lr=0.02", "adam", "lr=0.02 amsgrad=true"),
        ("lamb", "lr=0.02", "rmsprop", "lr=0.02 alpha=0.9 momentum=0.9 centered=true"),
        ("lars", "lr=0.05 momentum=0.9 weight_decay=0.1", "novograd", "lr=0.02"),
        ("sgd", "lr=0.05 momentum=0.9", "lamb", "lr=0.02"),
        ("adan", "lr=0.02", "sgd", "lr=0.05"),
    ];
    fn check<E: Engine>(engine: &E, (first, settings, second, others): (&str, &str, &str, &str)) {
        let rules = [with(first, settings), with(second, others)];
        let [a, b] = rules.clone();
        let what = format!("{first} and {second}");
        are_apart(engine, &what, grouped(rules.clone()), [Recipe::new(a), Recipe::new(b)], &rules, 0);
    }
    for pair in pairs {
        check(&Cpu::<f64>::default(), pair);
        engines::all_and_small().iter().for_each(|engine| check(engine, pair));
    }
}

/// Lanes have numbers of their own in every group, whatever the groups' kernels.
#[test]
fn lanes_times_groups_are_as_many_optimizers() {
    for engine in [engines::cpu(), engines::gpu()] {
        for (first, second) in [("adam", "adam"), ("adam", "sgd"), ("lamb", "sgd")] {
            let lanes = |name: &str| [1.0, 0.5, 2.0].map(|k| with(name, &format!("lr={}", 0.02 * k)));
            let recipe =
                Recipe::population(lanes(first)).group(GROUPS[1], |tensor| tensor.name.ends_with("group 1"), lanes(second));
            for lane in 0..3 {
                let rules = [lanes(first)[lane].clone(), lanes(second)[lane].clone()];
                let alone = [Recipe::new(rules[0].clone()), Recipe::new(rules[1].clone())];
                are_apart(&engine, &format!("{first} and {second}, lane {lane}"), recipe.clone(), alone, &rules, lane);
            }
        }
    }
}

/// Each set has the norm, the bound and the bits of an optimizer that has no other tensors.
#[test]
fn sets_of_groups_are_clipped_apart() {
    for second in ["adam", "lamb"] {
        let rules = [with("adam", "lr=0.02 eps=0.1"), with(second, "lr=0.02 eps=0.1")];
        let recipe = grouped(rules.clone()).clip_norm(5.0).clip_norm_of([GROUPS[1]], 7.0);
        let alone = [Recipe::new(rules[0].clone()).clip_norm(5.0), Recipe::new(rules[1].clone()).clip_norm(7.0)];
        are_apart(&Cpu::<f64>::default(), "sets", recipe.clone(), alone.clone(), &rules, 0);
        for engine in engines::all_and_small() {
            are_apart(&engine, "sets", recipe.clone(), alone.clone(), &rules, 0);
        }
    }
}

/// A bad gradient in one set makes a bad step for all sets.
#[test]
fn a_bad_gradient_of_one_set_skips_the_step() {
    for engine in engines::all() {
        let rules = siblings(&*options()[0].1);
        let recipe = grouped(rules[..2].iter().cloned()).clip_norm(1.0).clip_norm_of([GROUPS[1]], 1.0);
        let mut model = Model::grouped(&engine, recipe, &*rules[0], &[(1, 0), (1, 1)]);
        for grads in [[f32::NAN, 4.0], [3.0, f32::INFINITY], [3.0, 4.0]] {
            model.set_grads(0, &grads);
            model.step();
        }
        let report = model.report(0);
        assert_eq!((report.applied, report.skipped, report.norm), (1, 2, 3.0), "{}", engine.name);
    }
}

/// There is one update per kernel, in whatever order the tensors lie.
#[test]
fn more_tensors_take_no_more_dispatches() {
    let gpu = engines::open(thalweg::gpu::GpuOptions::default());
    let dispatches = |tensors: &[(usize, usize)]| {
        let rules = [with("adam", "lr=0.02"), with("sgd", "lr=0.02")];
        Model::grouped(&gpu, grouped(rules.clone()).clip_norm(1.0), &*rules[0], tensors)
            .optimizer
            .program()
            .dispatches(PlanId::FIRST)
    };
    let few = dispatches(&[(10, 0), (10, 1)]);
    assert_eq!(few, 4, "norm, control and two updates");
    assert_eq!(dispatches(&[(10, 0), (10, 1), (100, 0), (1, 1), (70, 0), (9, 1)]), few);
}

/// 65,536 pairs of lanes and groups, whose rows fit into one binding of WebGPU's default size only with fewer slots.
#[test]
fn many_lanes_and_groups_have_rows_for_fewer_steps() {
    let gpu = engines::open(thalweg::gpu::GpuOptions { default_limits: true, ..Default::default() });
    const MANY: usize = 256;
    let rule = |lane: usize| Adam { lr: 0.1 / (1 + lane % 7) as f64, ..Default::default() };
    let rules = || (0..MANY).map(rule).collect::<Vec<_>>();
    let names: Vec<String> = (0..MANY).map(|index| index.to_string()).collect();
    let recipe = names[1..]
        .iter()
        .fold(Recipe::population(rules()), |recipe, name| recipe.group_of(name, Select::Named(name.clone()), rules()));
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (&name[..], &[1][..])).collect();
    let mut optimizer = Optimizer::new(&gpu, recipe, &tensors).expect("an optimizer");
    let mut alone = Model::new(&gpu, Recipe::new(rule(MANY - 1)), &rule(0), &[1]);
    optimizer.lane(MANY - 1).expect("a lane").set_grads("255", &[1.0]).expect("gradients");
    alone.set_grads(0, &[1.0]);
    // More steps than a ring has rows, which are 16 here.
    optimizer.steps(20).expect("steps");
    alone.steps(20);
    assert_eq!(optimizer.lane(MANY - 1).expect("a lane").params("255").expect("parameters"), alone.params(0));
    assert!(alone.params(0)[0] != 0.0);
    assert_eq!(optimizer.lane(MANY - 1).expect("a lane").report().expect("a report").applied, 20);
}
