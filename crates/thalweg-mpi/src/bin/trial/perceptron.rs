//! A perceptron on the tape and its micro-batches of a data set, for steps whose gradients the caller computes.

use thalweg::data::Dataset;
use thalweg::nn::{Criterion, CrossEntropy, Linear, Model, Nonlinearity, Places, Sequential, Slots, Tape};
use thalweg::plan::{Blueprint, BufferId, Engine, Plan, PlanId, Program, Role};
use thalweg::{Optimizer, Real, Recipe, Result};

/// A perceptron on an engine, with the buffers for a micro-batch.
#[derive(Debug)]
pub struct Perceptron {
    /// Rows of a micro-batch.
    rows: usize,
    features: BufferId,
    labels: BufferId,
    gradient: PlanId,
}

impl Perceptron {
    /// A perceptron whose hidden layers have the widths `hidden`, with ReLU. Its start values follow from the seed.
    ///
    /// # Errors
    /// Sizes of 0, or an error of the recipe or the engine.
    pub fn new<E: Engine>(
        engine: &E,
        recipe: &Recipe,
        (inputs, hidden, classes): (usize, &[usize], usize),
        rows: usize,
        seed: u32,
    ) -> Result<(Self, Optimizer<E::Program>)> {
        let mut blueprint = Blueprint::new(1);
        let features = blueprint.floats("features", rows * inputs, Role::Data);
        let labels = blueprint.indices("labels", rows, Role::Data);
        let [x, t] = [features, labels].map(|id| blueprint.layout().whole(id));
        let mut model = Sequential::new();
        let widths: Vec<usize> = [inputs].into_iter().chain(hidden.iter().copied()).collect();
        for pair in widths.windows(2) {
            model = model.then(Linear::new(pair[0], pair[1])).then(Nonlinearity::Relu);
        }
        let model = model.then(Linear::new(widths[widths.len() - 1], classes));
        let mut tape = Tape::training();
        let (x, t) = (tape.input(x, &[rows, inputs]), tape.indices(t, &[rows]));
        let prediction = model.forward(&mut tape, &x);
        let loss = CrossEntropy::default().mean(&mut tape, &prediction, &t);
        tape.backward(&loss);
        let arena = tape.arena()?;
        let params = blueprint.arena("params", &arena, Role::Params);
        let grads = blueprint.arena("grads", &arena, Role::Grads);
        let stepper = recipe.record(&mut blueprint, &arena, params, grads)?;
        let mut plan = Plan::default();
        let places = Places::new(&arena, params, Some(grads));
        tape.record(blueprint.layout_mut(), &mut plan, &places, &mut Slots::default(), &[])?;
        let gradient = blueprint.add("gradient", plan)?;
        let mut optimizer = Optimizer::load(engine, &blueprint, stepper)?;
        for tensor in tape.arena()?.tensors() {
            let initial = &tape.initial([seed, 0])?[tensor.offset..][..tensor.len()];
            let initial: Vec<_> = initial.iter().map(|&x| Real::of(x)).collect();
            optimizer.set_params(&tensor.name, &initial)?;
        }
        Ok((Self { rows, features, labels, gradient }, optimizer))
    }

    /// Computes the gradient of micro-batch `number` in the optimizer's buffer. Its rows begin at `number` times the rows of a
    /// micro-batch, and continue at the start of the data after their end.
    ///
    /// # Errors
    /// Errors of the engine.
    pub fn gradient<P: Program>(&self, optimizer: &mut Optimizer<P>, data: &Dataset, number: usize) -> Result<()> {
        let picked = (0..self.rows).map(|row| (number * self.rows + row) % data.rows());
        let features: Vec<P::Float> = picked
            .clone()
            .flat_map(|row| &data.features[row * data.width..][..data.width])
            .map(|&x| P::Float::of(x.into()))
            .collect();
        let labels: Vec<u32> = picked.map(|row| data.labels[row]).collect();
        let program = optimizer.program_mut();
        program.write(self.features, 0, 0, &features)?;
        program.write_indices(self.labels, 0, 0, &labels)?;
        program.run(self.gradient, 1)
    }
}
