//! The networks whose training steps are timed. benches/network_peers.py has the same models in PyTorch.

use thalweg::data::Dataset;
use thalweg::nn::{
    Cell, Conv2d, Flatten, Linear, MaxPool2d, Model, Nonlinearity, Recurrent, Reshape, Sequential, Tape, TransformerBlock,
    Value,
};

/// A model, and the size of its data.
pub struct Network {
    pub name: &'static str,
    /// Features of a row.
    width: usize,
    /// Rows of a batch.
    pub batch: usize,
    pub model: fn() -> Sequential,
}

/// Each is a row, named `network` and the name here.
pub const NETWORKS: [Network; 5] = [
    Network { name: "perceptron 784-128-64-10", width: 784, batch: 64, model: perceptron },
    Network { name: "cnn", width: 784, batch: 64, model: || cnn(28, 16, 32) },
    Network { name: "digits cnn", width: 64, batch: 32, model: || cnn(8, 8, 16) },
    Network { name: "lstm", width: 32 * 64, batch: 64, model: lstm },
    Network { name: "transformer block", width: 64 * 128, batch: 16, model: block },
];

const CLASSES: usize = 10;
const BATCHES: usize = 10;

impl Network {
    /// Random rows and labels: for the time of a step it does not matter what is learned.
    pub fn data(&self) -> thalweg::Result<Dataset> {
        let (rows, mut random) = (BATCHES * self.batch, fastrand::Rng::with_seed(1));
        let features = (0..rows * self.width).map(|_| random.f32()).collect();
        Dataset::new(features, self.width, (0..rows).map(|_| random.u32(0..CLASSES as u32)).collect())
    }
}

/// The last output of a recurrent layer.
#[derive(Debug, Clone)]
struct Last(Recurrent);

impl Model for Last {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let run = self.0.run(tape, x, None, None);
        run.state.h.reshape(&[x.shape()[0], self.0.hidden])
    }
}

/// The mean of a block's outputs.
#[derive(Debug, Clone)]
struct Mean(TransformerBlock);

impl Model for Mean {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.0.forward(tape, x).mean(&[1])
    }
}

fn perceptron() -> Sequential {
    Sequential::perceptron(784, &[128, 64], CLASSES, Nonlinearity::Relu)
}

fn cnn(side: usize, first: usize, second: usize) -> Sequential {
    Sequential::new()
        .then(Reshape(vec![1, side, side]))
        .then(Conv2d::new(1, first, [3, 3]).padded([1, 1]))
        .then(Nonlinearity::Relu)
        .then(MaxPool2d::new([2, 2]))
        .then(Conv2d::new(first, second, [3, 3]).padded([1, 1]))
        .then(Nonlinearity::Relu)
        .then(MaxPool2d::new([2, 2]))
        .then(Flatten)
        .then(Linear::new(second * (side / 4).pow(2), CLASSES))
}

fn lstm() -> Sequential {
    let last = Last(Recurrent::new(Cell::Lstm, 64, 128));
    Sequential::new().then(Reshape(vec![32, 64])).then(last).then(Linear::new(128, CLASSES))
}

fn block() -> Sequential {
    let mean = Mean(TransformerBlock::new(128, 4, 512));
    Sequential::new().then(Reshape(vec![64, 128])).then(mean).then(Linear::new(128, CLASSES))
}
