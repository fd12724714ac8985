//! Networks: values on a tape, layers, losses, start values.
//!
//! A [`Model`] records itself on a [`Tape`]; [`Criterion`] makes a loss of its output, [`Tape::backward`] the gradient by all parameters, and
//! [`Tape::record`] operations of a plan. [`Trainer`](crate::Trainer) does all of that.
//!
//! A [`Network`] is an older way, a list of linear layers and activations without a tape. It declares its parameters in an arena, and
//! records its forward and backward pass as operations on views. Samples are rows.

mod channels;
mod conv;
mod init;
mod layer;
mod layers;
mod losses;
mod pool;
mod summary;
mod tape;

pub use channels::{BatchNorm2d, ChannelDropout, GroupNorm, InstanceNorm};
pub use conv::{Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Padding, Upsample};
pub use init::Init;
pub use layer::Layer;
pub use layers::{
    BatchNorm1d, Dropout, Embedding, Flatten, LaneDropout, LayerNorm, Linear, Model, Nonlinearity, Reshape, Residual, RmsNorm,
    Sequential,
};
pub use losses::{AbsoluteError, BinaryCrossEntropy, Criterion, CrossEntropy, Huber, KlDivergence, SquaredError, Terms};
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d,
};
pub use summary::{Line, Summary};
pub use tape::{Declared, Places, Recorded, Slots, Tape, Value};

use crate::error::{Error, Result};
use crate::plan::{Activation, Arena, BufferId, Layout, MatMul, Op, Plan, View};

/// Layers, one after the other.
///
/// # Examples
///
/// ```
/// use thalweg::{nn::Network, plan::Activation};
///
/// let network = Network::perceptron(64, &[32], 10, Activation::Relu)?;
/// let names: Vec<String> = network.arena()?.tensors().iter().map(|tensor| tensor.name.clone()).collect();
/// assert_eq!(names, ["0.weight", "0.bias", "2.weight", "2.bias"]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    layers: Vec<Layer>,
}

/// What a forward pass leaves for the backward pass: the input of each layer, then the output of the last.
#[derive(Debug, Clone)]
pub struct Pass {
    values: Vec<View>,
    rows: usize,
}

impl Pass {
    /// The network's output.
    pub fn output(&self) -> View {
        self.values[self.values.len() - 1]
    }
}

impl Network {
    /// A network of these layers.
    ///
    /// # Errors
    /// [`Error::Empty`] without a linear layer or with one of no inputs or outputs, [`Error::Shape`] where a layer's inputs are
    /// not the outputs before it.
    pub fn new(layers: impl IntoIterator<Item = Layer>) -> Result<Self> {
        let layers: Vec<Layer> = layers.into_iter().collect();
        let mut width = None;
        for (index, layer) in layers.iter().enumerate() {
            let &Layer::Linear { inputs, outputs } = layer else { continue };
            if inputs == 0 || outputs == 0 {
                return Err(Error::Empty { what: format!("layer {index}, {inputs} inputs and {outputs} outputs,") });
            }
            match width {
                Some(width) if width != inputs => {
                    return Err(Error::shape(format!("inputs of layer {index}"), width, inputs));
                }
                _ => width = Some(outputs),
            }
        }
        if width.is_none() {
            return Err(Error::Empty { what: "the list of linear layers".into() });
        }
        Ok(Self { layers })
    }

    /// Linear layers with an activation between each two: a perceptron with `hidden` widths.
    ///
    /// # Errors
    /// A width of 0.
    pub fn perceptron(inputs: usize, hidden: &[usize], outputs: usize, f: Activation) -> Result<Self> {
        let widths: Vec<usize> = [inputs].into_iter().chain(hidden.iter().copied()).chain([outputs]).collect();
        let linear = widths.windows(2).map(|pair| Layer::Linear { inputs: pair[0], outputs: pair[1] });
        Self::new(linear.flat_map(|layer| [layer, Layer::Activation(f)]).take(2 * widths.len() - 3))
    }

    /// Elements of one sample.
    pub fn inputs(&self) -> usize {
        let linear = self.layers.iter().find_map(|layer| layer.widths());
        linear.map_or(0, |(inputs, _)| inputs)
    }

    /// Elements of the output for one sample.
    pub fn outputs(&self) -> usize {
        let linear = self.layers.iter().rev().find_map(|layer| layer.widths());
        linear.map_or(0, |(_, outputs)| outputs)
    }

    /// The parameters: `weight` (outputs × inputs) and `bias` (outputs) of each linear layer, named as PyTorch's `Sequential`
    /// names them.
    ///
    /// # Errors
    /// A layer of more than 2^38 weights.
    pub fn arena(&self) -> Result<Arena> {
        let mut arena = Arena::default();
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some((inputs, outputs)) = layer.widths() {
                arena.add(&format!("{index}.weight"), &[outputs, inputs])?;
                arena.add(&format!("{index}.bias"), &[outputs])?;
            }
        }
        Ok(arena)
    }

    /// Start values for all parameters, laid out as the arena: uniform between ±1/√inputs, as PyTorch's `Linear`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or as for [`Network::arena`].
    pub fn initial(&self, seed: u64) -> Result<Vec<f64>> {
        let arena = self.arena()?;
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut values, bytes) = (Vec::new(), 8 * arena.len() as u64);
        values.try_reserve_exact(arena.len()).map_err(|_| Error::OutOfMemory { what: "start values".into(), bytes })?;
        values.resize(arena.len(), 0.0);
        let mut tensors = arena.tensors().iter();
        for (inputs, _) in self.layers.iter().filter_map(Layer::widths) {
            let bound = (inputs as f64).sqrt().recip();
            for tensor in tensors.by_ref().take(2) {
                let values = &mut values[tensor.offset..][..tensor.len()];
                values.iter_mut().for_each(|value| *value = bound * (2.0 * random.f64() - 1.0));
            }
        }
        Ok(values)
    }

    /// Records the forward pass of `rows` samples and declares its intermediate values.
    ///
    /// # Errors
    /// [`Error::Shape`] if the input does not hold `rows` samples.
    pub fn forward(&self, layout: &mut Layout, plan: &mut Plan, params: BufferId, input: View, rows: usize) -> Result<Pass> {
        self.forward_into(plan, params, input, rows, &mut |name, len| declare(layout, name, len))
    }

    /// [`Network::forward`] with intermediate values where `place` says, which is asked for them by name and length.
    pub(crate) fn forward_into(
        &self,
        plan: &mut Plan,
        params: BufferId,
        input: View,
        rows: usize,
        place: &mut dyn FnMut(&str, usize) -> View,
    ) -> Result<Pass> {
        if rows.checked_mul(self.inputs()) != Some(input.len) {
            let expected = format!("{rows} rows of {}", self.inputs());
            return Err(Error::shape("the network's input", expected, format!("{} elements", input.len)));
        }
        let arena = self.arena()?;
        let mut values = vec![input];
        for (index, layer) in self.layers.iter().enumerate() {
            let input = values[index];
            let len = layer.widths().map_or(Some(input.len), |(_, outputs)| rows.checked_mul(outputs));
            let len = len.ok_or_else(|| Error::shape(format!("rows of layer {index}"), "fewer", rows))?;
            let output = place(&format!("output of layer {index}"), len);
            plan.push(match *layer {
                Layer::Activation(f) => Op::Activate { f, input, output },
                Layer::Linear { inputs, outputs } => {
                    let weight = arena.tensor(&format!("{index}.weight"))?.view(params);
                    let bias = Some(arena.tensor(&format!("{index}.bias"))?.view(params));
                    Op::MatMul(MatMul { bias, trans_b: true, ..MatMul::new(input, weight, output, rows, inputs, outputs) })
                }
            });
            values.push(output);
        }
        Ok(Pass { values, rows })
    }

    /// Records the backward pass: from the loss's gradient by the output to that by every parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] if `grad` is not as long as the output.
    pub fn backward(
        &self,
        layout: &mut Layout,
        plan: &mut Plan,
        params: BufferId,
        grads: BufferId,
        pass: &Pass,
        grad: View,
    ) -> Result<()> {
        self.backward_into(plan, params, grads, pass, grad, &mut |name, len| declare(layout, name, len))
    }

    /// [`Network::backward`] with intermediate values where `place` says, as in [`Network::forward_into`].
    pub(crate) fn backward_into(
        &self,
        plan: &mut Plan,
        params: BufferId,
        grads: BufferId,
        pass: &Pass,
        grad: View,
        place: &mut dyn FnMut(&str, usize) -> View,
    ) -> Result<()> {
        if grad.len != pass.output().len {
            return Err(Error::shape("the gradient of the output", pass.output().len, grad.len));
        }
        let arena = self.arena()?;
        let mut grad = grad;
        let first = self.layers.iter().position(|layer| layer.widths().is_some()).unwrap_or(0);
        for (index, layer) in self.layers.iter().enumerate().skip(first).rev() {
            let input = pass.values[index];
            if let Layer::Linear { inputs, outputs } = *layer {
                let rows = pass.rows;
                let weight = arena.tensor(&format!("{index}.weight"))?.view(grads);
                let bias = arena.tensor(&format!("{index}.bias"))?.view(grads);
                let product = MatMul::new(grad, input, weight, outputs, rows, inputs);
                plan.push(Op::MatMul(MatMul { trans_a: true, ..product }));
                plan.push(Op::SumRows { input: grad, output: bias, rows });
            }
            if index == first {
                break;
            }
            let output = place(&format!("gradient of layer {index}"), input.len);
            plan.push(match *layer {
                Layer::Activation(f) => Op::ActivateGrad { f, input, grad, output },
                Layer::Linear { inputs, outputs } => {
                    let weight = arena.tensor(&format!("{index}.weight"))?.view(params);
                    Op::MatMul(MatMul::new(grad, weight, output, pass.rows, outputs, inputs))
                }
            });
            grad = output;
        }
        Ok(())
    }
}

/// Declares a buffer of each lane.
fn declare(layout: &mut Layout, name: &str, len: usize) -> View {
    let id = layout.floats(name, len);
    layout.whole(id)
}
