//! Second moments by rows and columns: engines against the oracle, over shapes around a vec4, a tile and a chunk.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines::{self, AnyEngine, AnyProgram};
use crate::common::numbers::numbers;
use crate::common::oracle::EPSILON;
use crate::common::refusal::assert_error;
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, Program};
use thalweg::{Adafactor, Clip, Decay, Optimizer, Real, Recipe};

const SHAPES: [(&str, &[usize]); 9] = [
    ("one", &[1, 1]),
    ("bias", &[70]),
    ("odd", &[3, 5]),
    ("tile", &[64, 64]),
    ("stack", &[2, 3, 5]),
    ("none", &[0, 4]),
    ("wide", &[7, 4099]),
    ("scalar", &[]),
    ("tall", &[5000, 3]),
];
const STEPS: u64 = 4;
const STATE: [&str; 3] = ["v", "row_var", "col_var"];

fn recipe(lanes: usize) -> Recipe {
    let rule = |k: usize| Adafactor { lr: 0.05 * (k + 1) as f64, weight_decay: 0.1, ..Default::default() };
    Recipe::population((0..lanes).map(rule)).skip_bad()
}

/// Parameters and state of all lanes after all steps.
fn train<E: Engine>(engine: &E, lanes: usize, shapes: &[(&str, &[usize])]) -> Vec<(String, Vec<E::Float>)> {
    let mut optimizer = Optimizer::new(engine, recipe(lanes), shapes).expect("an optimizer");
    for t in 0..=STEPS {
        for (seed, (lane, (name, shape))) in (0..lanes).flat_map(|lane| shapes.iter().map(move |s| (lane, s))).enumerate() {
            let values = |seed: u64| floats::<E>(&numbers(seed, shape.iter().product()));
            match t {
                0 => optimizer.lane(lane).and_then(|mut lane| lane.set_params(name, &values(seed as u64))),
                _ => optimizer.lane(lane).and_then(|mut lane| lane.set_grads(name, &values(100 * t + seed as u64))),
            }
            .expect("values that fit");
        }
        if t > 0 {
            optimizer.step().expect("a step");
        }
    }
    arrays(&mut optimizer, lanes, shapes)
}

fn floats<E: Engine>(values: &[f32]) -> Vec<E::Float> {
    values.iter().map(|&x| E::Float::of(f64::from(x))).collect()
}

fn arrays<P: Program>(optimizer: &mut Optimizer<P>, lanes: usize, shapes: &[(&str, &[usize])]) -> Vec<(String, Vec<P::Float>)> {
    let mut arrays = Vec::new();
    for (lane, (name, _)) in (0..lanes).flat_map(|lane| shapes.iter().map(move |shape| (lane, shape))) {
        arrays
            .push((format!("{name} of lane {lane}"), optimizer.lane(lane).expect("a lane").params(name).expect("parameters")));
        for plane in STATE {
            arrays.push((
                format!("{plane} of {name} of lane {lane}"),
                optimizer.lane(lane).expect("a lane").state(name, plane).expect("state"),
            ));
        }
    }
    arrays
}

#[test]
fn engines_agree_with_the_oracle() {
    for lanes in [1, 3] {
        let expected = train(&Cpu::<f64>::default(), lanes, &SHAPES);
        for engine in engines::all() {
            for ((name, found), (_, expected)) in train(&engine, lanes, &SHAPES).iter().zip(&expected) {
                // The error of a step is a share of the step, which is at most half of the parameter's size. Sums are of
                // squares, so they do not cancel.
                if !expected.is_empty() {
                    let what = format!("{}, {name}, {lanes} lanes", engine.name);
                    assert_close(&what, found, expected, |i| 32.0 * EPSILON * expected[i].abs().max(0.1));
                }
            }
        }
    }
}

#[test]
fn a_tensor_does_not_notice_the_others_nor_lanes() {
    for engine in [engines::cpu(), engines::gpu()] {
        let all = train(&engine, 3, &SHAPES);
        // Seeds count tensors, so the first tensors of the first lane have the same seeds when they are alone.
        let alone = train(&engine, 1, &SHAPES[..5]);
        for ((name, found), (_, expected)) in all.iter().zip(&alone).filter(|(_, (_, expected))| !expected.is_empty()) {
            assert_same_bits(&format!("{}, {name}", engine.name), found, expected);
        }
    }
}

#[test]
fn a_skipped_and_a_frozen_step_leave_everything_alone() {
    let check = |engine: &AnyEngine| {
        let shapes: [(&str, &[usize]); 2] = [("w", &[5, 70]), ("b", &[3])];
        let mut optimizer: Optimizer<AnyProgram> = Optimizer::new(engine, recipe(1), &shapes).expect("an optimizer");
        let mut grads = numbers(1, 350);
        let step = |optimizer: &mut Optimizer<AnyProgram>, grads: &[f32]| {
            optimizer.set_grads("w", grads).expect("gradients");
            optimizer.step().expect("a step");
            arrays(optimizer, 1, &shapes)
        };
        let before = step(&mut optimizer, &grads);
        grads[17] = f32::NAN;
        assert_eq!(step(&mut optimizer, &grads), before, "{}: skipped", engine.name);
        grads[17] = 9.0;
        optimizer.freeze("default", true).expect("a group");
        assert_eq!(step(&mut optimizer, &grads), before, "{}: frozen", engine.name);
        optimizer.freeze("default", false).expect("a group");
        assert_ne!(step(&mut optimizer, &grads), before, "{}", engine.name);
    };
    engines::all_and_small().iter().for_each(check);
}

#[test]
fn the_moments_of_a_matrix_are_readable_before_the_first_step() {
    for engine in engines::all() {
        let shapes: [(&str, &[usize]); 1] = [("w", &[2, 2, 3])];
        let mut optimizer: Optimizer<AnyProgram> = Optimizer::new(&engine, recipe(1), &shapes).expect("an optimizer");
        assert_eq!(optimizer.state("w", "v").expect("moments"), [0.0; 12], "{}", engine.name);
        optimizer.set_state("w", "row_var", &[1.0, 3.0, 0.0, 0.0]).expect("moments of rows");
        optimizer.set_state("w", "col_var", &[2.0, 4.0, 0.0, 1.0, 1.0, 1.0]).expect("moments of columns");
        let expected = [1.0, 2.0, 0.0, 3.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(optimizer.state("w", "v").expect("moments"), expected, "{}", engine.name);
    }
}

/// Segments are cut between matrices where each of them fits into a binding.
#[test]
fn matrices_that_fit_into_a_binding_each_are_stepped_in_several_segments() {
    let shapes: [(&str, &[usize]); 4] = [("a", &[150, 150]), ("b", &[100, 150]), ("c", &[3]), ("d", &[150, 150])];
    let run = |engine: &AnyEngine| {
        let mut optimizer: Optimizer<AnyProgram> =
            Optimizer::new(engine, recipe(1).centralise(), &shapes).expect("an optimizer");
        for (seed, (name, shape)) in shapes.iter().enumerate() {
            optimizer.set_grads(name, &numbers(seed as u64, shape.iter().product())).expect("gradients");
        }
        optimizer.step().expect("a step");
        arrays(&mut optimizer, 1, &shapes)
    };
    assert_eq!(run(&engines::small_bindings()), run(&engines::gpu()));
}

#[test]
fn what_rows_and_columns_cannot_do_is_refused() {
    let shapes: [(&str, &[usize]); 1] = [("w", &[2, 3])];
    let refused = |recipe: Recipe, message: &str| {
        assert_error(Optimizer::new(&Cpu::<f32>::default(), recipe, &shapes), message);
    };
    let coupled = Recipe::new(Adafactor::default()).weight_decay(Decay::Coupled(0.1));
    refused(
        coupled,
        "a coupled weight decay of the recipe cannot be combined with matrices under adafactor: the means of rows and columns are those of the gradient alone",
    );
    let message = "clip_value cannot be combined with matrices under adafactor: their means are taken before the bound";
    refused(recipe(1).clip(Clip::Value(1.0)), message);
    refused(
        recipe(1).l1(0.1),
        "l1 cannot be combined with matrices under adafactor: their means are those of the gradient alone",
    );
    let message = "clip_tensor cannot be combined with matrices under adafactor: the rule bounds their step itself";
    refused(recipe(1).clip(Clip::Tensor { max: 1.0, kind: Default::default() }), message);
    let large: [(&str, &[usize]); 1] = [("w", &[400, 400])];
    let error = Optimizer::new(&engines::small_bindings(), recipe(1), &large).err().expect("a matrix in several segments");
    assert!(error.to_string().contains("a matrix of 400 × 400 elements of the buffer 'grads' needs"), "{error}");
}
