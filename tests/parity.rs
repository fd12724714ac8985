//! Every rule on every engine against the oracle, parameters and planes after every step.

mod common;

use common::compare::close;
use common::engines::{self, AnyEngine, AnyProgram};
use common::model::Model;
use common::numbers::{STEPS, gradient, numbers};
use common::options::options;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::{AnyRule, Recipe};

/// What one step may cost in f32, in units of its resolution, relative to the change of a parameter. A rule computes its step in
/// about ten operations from scalars that were rounded once; WGSL allows a division 2.5 ULP and a root about as much; clipping
/// adds what the norm is off by. The worst that was seen is a third of this.
const STEP_COST: f64 = 32.0;
/// The same for a plane, relative to its size. The worst that was seen is a third of this, where a clipped gradient is squared.
const PLANE_COST: f64 = 16.0;
const EPSILON: f64 = f32::EPSILON as f64;

/// The oracle beside what an f32 engine may be off by, which grows with every step.
struct Oracle {
    model: Model<CpuProgram<f64>>,
    /// Parameters, then planes.
    arrays: Vec<(&'static str, Vec<f64>)>,
    bounds: Vec<Vec<f64>>,
}

impl Oracle {
    fn new(recipe: &Recipe, rule: &dyn AnyRule, tensors: &[usize], params: &[f32]) -> Self {
        let mut model = Model::new(&Cpu::<f64>::default(), recipe.clone(), rule, tensors);
        model.set_params(0, params);
        let arrays = model.arrays(0);
        let bounds = arrays.iter().map(|(_, array)| vec![0.0; array.len()]).collect();
        Self { model, arrays, bounds }
    }

    /// A step, and its cost: a parameter is rounded when it is decayed and when it is moved, of which twice is allowed, and its
    /// movement is off by [`STEP_COST`]; a plane is off by [`PLANE_COST`] of what it holds before or after.
    fn step(&mut self, grads: &[f32]) {
        self.model.set_grads(0, grads);
        self.model.step();
        let after = self.model.arrays(0);
        for (array, ((bounds, (_, old)), (_, new))) in self.bounds.iter_mut().zip(&self.arrays).zip(&after).enumerate() {
            for ((bound, old), new) in bounds.iter_mut().zip(old).zip(new) {
                let size = old.abs().max(new.abs());
                *bound += EPSILON * if array == 0 { 2.0 * size + STEP_COST * (new - old).abs() } else { PLANE_COST * size };
            }
        }
        self.arrays = after;
    }

    /// Compares another engine's arrays with these, allowing `times` the cost.
    fn agrees<P: thalweg::plan::Program>(&self, other: &mut Model<P>, times: f64) -> Result<(), String> {
        let arrays = other.arrays(0);
        assert_eq!(arrays.len(), self.arrays.len());
        for (((name, found), (_, expected)), bounds) in arrays.iter().zip(&self.arrays).zip(&self.bounds) {
            if let Ok(_) = std::env::var("MEASURE") {
                let mut w=(0.0,0); for i in 0..expected.len() { let r=(f64::from(found_f(&found[i]))-expected[i]).abs()/bounds[i]; if r>w.0 {w=(r,i)} }
                if w.0>0.15 { println!("RATIO {:.3} {name} i={} exp={} bound={}", w.0,w.1, expected[w.1], bounds[w.1]); }
            } else
            if !expected.is_empty() {
                close(found, expected, |i| times * bounds[i]).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        Ok(())
    }
}

/// One tensor, and several with one among them that is empty.
fn cuts(len: usize) -> [Vec<usize>; 2] {
    [vec![len], vec![len / 3, 0, len / 2, len - len / 3 - len / 2]]
}

/// The norm of most gradients is above this, of the one that is zero below.
fn max_norm(len: usize) -> f64 {
    (len as f64).sqrt().max(0.1)
}

fn engines_agree_with_the_oracle(engines: &[AnyEngine], sizes: &[usize]) {
    for &len in sizes {
        let params = numbers(1, len);
        let grads: Vec<Vec<f32>> = (1..=STEPS).map(|t| gradient(2, t, len)).collect();
        for (name, rule) in options() {
            for tensors in cuts(len) {
                for clip in [false, true] {
                    let recipe = Recipe::new(rule.clone());
                    let recipe = if clip { recipe.clip_norm(max_norm(len)) } else { recipe };
                    let mut oracle = Oracle::new(&recipe, &*rule, &tensors, &params);
                    let start = |engine: &AnyEngine| -> Model<AnyProgram> {
                        let mut model = Model::new(engine, recipe.clone(), &*rule, &tensors);
                        model.set_params(0, &params);
                        model
                    };
                    let mut models: Vec<Model<AnyProgram>> = engines.iter().map(start).collect();
                    for (t, grads) in grads.iter().enumerate() {
                        oracle.step(grads);
                        let expected = oracle.model.report(0);
                        for (engine, model) in engines.iter().zip(&mut models) {
                            let what = format!("{}, {name}, tensors {tensors:?}, clip {clip}, step {}", engine.name, t + 1);
                            model.set_grads(0, grads);
                            model.step();
                            oracle.agrees(model, 1.0).unwrap_or_else(|error| panic!("{what}: {error}"));
                            let found = model.report(0);
                            let counts = |r: &thalweg::Report| (r.applied, r.skipped, r.clipped);
                            assert_eq!(counts(&found), counts(&expected), "{what}");
                            // A norm's sum is a tree, so its cost hardly grows with its length.
                            let scalars = [found.norm, found.coefficient];
                            close(&scalars, &[expected.norm, expected.coefficient], |i| {
                                8.0 * EPSILON * [expected.norm, expected.coefficient][i]
                            })
                            .unwrap_or_else(|error| panic!("{what}, norm and coefficient: {error}"));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn engines_agree_around_a_block() {
    engines_agree_with_the_oracle(&engines::all(), &[0, 1, 63, 64, 65, 255, 257]);
}

#[test]
fn engines_agree_below_a_chunk() {
    engines_agree_with_the_oracle(&engines::all(), &[4095]);
}

#[test]
fn engines_agree_above_a_chunk() {
    engines_agree_with_the_oracle(&engines::all(), &[70_001]);
}

#[test]
fn the_cpu_agrees_above_a_million() {
    engines_agree_with_the_oracle(&[engines::cpu()], &[(1 << 20) + 3]);
}

#[test]
fn the_gpu_agrees_above_a_million() {
    engines_agree_with_the_oracle(&[engines::gpu()], &[(1 << 20) + 3]);
}
fn found_f<F: thalweg::Real>(x:&F)->f32{x.as_f64() as f32}
