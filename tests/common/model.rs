//! An optimizer over a flat list of parameters that is cut into tensors.

use super::groups::of_group;
use super::numbers::as_floats;
use std::borrow::Cow;
use thalweg::plan::{Arena, BufferId, Engine, Half, Program, Tensor, Values};
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
            self.optimizer.lane(lane).expect("a lane").set_params(name, &part).expect("parameters that fit");
        }
    }

    pub fn set_grads(&mut self, lane: usize, values: &[f32]) {
        for (name, part) in parts(&self.tensors, values) {
            self.optimizer.lane(lane).expect("a lane").set_grads(name, &part).expect("gradients that fit");
        }
    }

    pub fn step(&mut self) {
        self.optimizer.step().expect("a step");
    }

    pub fn steps(&mut self, count: usize) {
        self.optimizer.steps(count).expect("steps");
    }

    pub fn params(&mut self, lane: usize) -> Vec<P::Float> {
        let params = self.optimizer.params_buffer();
        let all = self.optimizer.program_mut().read(params, lane).expect("parameters");
        let tensors = self.optimizer.arena().tensors().iter();
        tensors.map(|tensor| &all[tensor.offset..][..tensor.len()]).collect::<Vec<_>>().concat()
    }

    /// The planes by name.
    pub fn planes(&mut self, lane: usize) -> Vec<(&'static str, Vec<P::Float>)> {
        self.arrays(lane).split_off(1)
    }

    /// Parameters, then the planes, tensor after tensor. All are read at once, since every read waits for the device.
    pub fn arrays(&mut self, lane: usize) -> Vec<(&'static str, Vec<P::Float>)> {
        let tensors = self.optimizer.arena().tensors().to_vec();
        let plane =
            |name| tensors.iter().map(|tensor| self.optimizer.stepper().plane(&tensor.name, name).expect("a plane")).collect();
        let planes = self.planes.iter().map(|&name| (name, plane(name)));
        let params = ("params", vec![self.optimizer.params_buffer(); tensors.len()]);
        let arrays: Vec<(_, Vec<BufferId>)> = std::iter::once(params).chain(planes).collect();

        let mut buffers: Vec<BufferId> = Vec::new();
        for &buffer in arrays.iter().flat_map(|(_, buffers)| buffers) {
            if !buffers.contains(&buffer) {
                buffers.push(buffer);
            }
        }
        let read = self.optimizer.program_mut().read_all(&buffers).expect("parameters and planes");
        let whole = |of: &[BufferId]| {
            let mut all = Vec::with_capacity(tensors.iter().map(Tensor::len).sum());
            for (tensor, buffer) in tensors.iter().zip(of) {
                let place = buffers.iter().position(|other| other == buffer).expect("a buffer that was read");
                let range = tensor.offset..tensor.offset + tensor.len();
                match &read[place] {
                    Values::Floats(lanes) => all.extend_from_slice(&lanes[lane][range]),
                    // Planes of 16 bits.
                    Values::Halves(lanes) => {
                        all.extend(lanes[lane][range].iter().map(|&bits| P::Float::of(Half::Bf16.value(bits).into())));
                    }
                    Values::Indices(_) => panic!("a buffer of indices"),
                }
            }
            all
        };
        arrays.iter().map(|(name, buffers)| (*name, whole(buffers))).collect()
    }

    pub fn report(&mut self, lane: usize) -> Report {
        self.optimizer.lane(lane).expect("a lane").report().expect("a report")
    }
}

/// The values of each tensor, as the engine's floats.
fn parts<'a, F: Real>(tensors: &'a [(String, usize)], values: &'a [f32]) -> impl Iterator<Item = (&'a str, Cow<'a, [F]>)> {
    assert_eq!(tensors.iter().map(|(_, len)| len).sum::<usize>(), values.len(), "as many values as parameters");
    let mut rest = values;
    tensors.iter().map(move |(name, len)| {
        let (part, after) = rest.split_at(*len);
        rest = after;
        (name.as_str(), as_floats(part))
    })
}
