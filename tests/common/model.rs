//! An optimizer over a flat list of parameters that is cut into tensors.

use super::groups::of_group;
use thalweg::plan::{Arena, Engine, Program};
use thalweg::{AnyRule, Optimizer, Real, Recipe, Report};

/// An optimizer whose parameters are given and taken as one list, tensor after tensor.
pub struct Model<P: Program> {
    pub optimizer: Optimizer<P>,
    /// Names and lengths of the tensors.
    tensors: Vec<(String, usize)>,
    planes: Vec<&'static str>,
}

impl<P: Program> Model<P> {
    /// Tensors of these lengths, all in one group.
    pub fn new<E: Engine<Program = P>>(engine: &E, recipe: Recipe, rule: &dyn AnyRule, lengths: &[usize]) -> Self {
        let groups: Vec<(usize, usize)> = lengths.iter().map(|&len| (len, 0)).collect();
        Self::grouped(engine, recipe, rule, &groups)
    }

    /// Tensors by length and group, for a recipe of [`grouped`](super::groups::grouped).
    pub fn grouped<E: Engine<Program = P>>(engine: &E, recipe: Recipe, rule: &dyn AnyRule, tensors: &[(usize, usize)]) -> Self {
        let mut arena = Arena::default();
        for (i, &(len, group)) in tensors.iter().enumerate() {
            arena.add(&of_group(&format!("tensor {i}"), group), &[len]).expect("names that differ");
        }
        let tensors = arena.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.len())).collect();
        let planes = rule.planes().into_iter().map(|plane| rule.state_names()[plane]).collect();
        let optimizer = Optimizer::over(engine, recipe, arena).unwrap_or_else(|error| panic!("{}: {error}", engine.describe()));
        Self { optimizer, tensors, planes }
    }

    pub fn set_params(&mut self, lane: usize, values: &[f32]) {
        for (name, part) in parts(&self.tensors, values) {
            self.optimizer.set_params(lane, name, &part).expect("parameters that fit");
        }
    }

    pub fn set_grads(&mut self, lane: usize, values: &[f32]) {
        for (name, part) in parts(&self.tensors, values) {
            self.optimizer.set_grads(lane, name, &part).expect("gradients that fit");
        }
    }

    pub fn step(&mut self) {
        self.optimizer.step().expect("a step");
    }

    pub fn steps(&mut self, count: usize) {
        self.optimizer.steps(count).expect("steps");
    }

    pub fn params(&mut self, lane: usize) -> Vec<P::Float> {
        let Self { optimizer, tensors, .. } = self;
        joined(tensors.iter().map(|(name, _)| optimizer.params(lane, name).expect("parameters")))
    }

    /// The planes by name.
    pub fn planes(&mut self, lane: usize) -> Vec<(&'static str, Vec<P::Float>)> {
        let Self { optimizer, tensors, planes } = self;
        let mut plane = |plane| joined(tensors.iter().map(|(name, _)| optimizer.state(lane, name, plane).expect("a plane")));
        planes.iter().map(|&name| (name, plane(name))).collect()
    }

    /// Parameters, then the planes.
    pub fn arrays(&mut self, lane: usize) -> Vec<(&'static str, Vec<P::Float>)> {
        let params = self.params(lane);
        std::iter::once(("params", params)).chain(self.planes(lane)).collect()
    }

    pub fn report(&mut self, lane: usize) -> Report {
        self.optimizer.report(lane).expect("a report")
    }
}

/// The values of all tensors in one list. A single tensor's are not copied.
fn joined<F: Real>(mut parts: impl Iterator<Item = Vec<F>>) -> Vec<F> {
    let mut all = parts.next().unwrap_or_default();
    parts.for_each(|part| all.extend_from_slice(&part));
    all
}

/// The values of each tensor, as the engine's floats.
fn parts<'a, F: Real>(tensors: &'a [(String, usize)], values: &'a [f32]) -> impl Iterator<Item = (&'a str, Vec<F>)> {
    assert_eq!(tensors.iter().map(|(_, len)| len).sum::<usize>(), values.len(), "as many values as parameters");
    let mut rest = values;
    tensors.iter().map(move |(name, len)| {
        let (part, after) = rest.split_at(*len);
        rest = after;
        (name.as_str(), part.iter().map(|&x| F::of(f64::from(x))).collect())
    })
}
