//! The oracle of an optimizer, and how far an f32 engine may be from it.

use super::compare::close_within;
use super::model::Model;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::plan::Program;
use thalweg::{AnyRule, Real, Recipe};
use thalweg_test_loops::add_errors;

/// The error that one step may have in f32, in units of its resolution, relative to the change of a parameter. A rule computes
/// its step in about ten operations from scalars that were rounded once; WGSL allows a division 2.5 ULP and a root about as
/// much; clipping adds the error of the norm. The worst error that was seen is a third of this.
const STEP_COST: f64 = 32.0;
/// The same for a plane, relative to its size. The worst error that was seen, with a squared clipped gradient, is a third of
/// this.
const PLANE_COST: f64 = 16.0;
/// The resolution of f32.
pub const EPSILON: f64 = f32::EPSILON as f64;

/// The oracle, with the bounds for the error of an f32 engine, which grow with every step.
pub struct Oracle {
    pub model: Model<CpuProgram<f64>>,
    /// Parameters, then planes.
    pub arrays: Vec<(&'static str, Vec<f64>)>,
    /// As long as the arrays.
    pub bounds: Vec<Vec<f64>>,
}

impl Oracle {
    pub fn new(recipe: &Recipe, rule: &dyn AnyRule, tensors: &[usize], params: &[f32]) -> Self {
        let mut model = Model::new(&Cpu::<f64>::default(), recipe.clone(), rule, tensors);
        model.set_params(0, params);
        let arrays = model.arrays(0);
        let bounds = arrays.iter().map(|(_, array)| vec![0.0; array.len()]).collect();
        Self { model, arrays, bounds }
    }

    /// Makes a step, and adds its error to the bounds. A parameter is rounded when it is decayed, as is the factor, and when it
    /// is moved: 1.25 units together, of which 2 are allowed. Its movement is off by [`STEP_COST`], and a plane by
    /// [`PLANE_COST`] of its values before or after.
    pub fn step(&mut self, grads: &[f32]) {
        self.model.set_grads(0, grads);
        self.model.step();
        let after = self.model.arrays(0);
        for (array, ((bounds, (_, old)), (_, new))) in self.bounds.iter_mut().zip(&self.arrays).zip(&after).enumerate() {
            let (of_size, of_change) = if array == 0 { (2.0, STEP_COST) } else { (PLANE_COST, 0.0) };
            add_errors(bounds, old, new, of_size * EPSILON, of_change * EPSILON);
        }
        self.arrays = after;
    }

    /// Compares another engine's arrays with these.
    pub fn agrees<P: Program>(&self, other: &mut Model<P>) -> Result<(), String> {
        let arrays = other.arrays(0);
        assert_eq!(arrays.len(), self.arrays.len());
        for (((name, found), (_, expected)), bounds) in arrays.iter().zip(&self.arrays).zip(&self.bounds) {
            if !expected.is_empty() {
                close_within(found, expected, bounds).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        Ok(())
    }

    /// The share of another's parameters that are farther from these than `times` the bound.
    pub fn outside<P: Program>(&self, other: &mut Model<P>, times: f64) -> f64 {
        let (found, (_, expected)) = (other.params(0), &self.arrays[0]);
        let far = |i: &usize| !((found[*i].as_f64() - expected[*i]).abs() <= times * self.bounds[0][*i]);
        (0..expected.len()).filter(far).count() as f64 / expected.len() as f64
    }
}
