//! The parts of a model: layers, shapes, parameters, memory, operations.

use super::{Model, Places, Recorded, Slots, Tape};
use crate::error::Result;
use crate::plan::{BufferId, Kind, Layout, Plan};
use std::fmt;

/// A layer as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Its name, preceded by those of the layers around it.
    pub name: String,
    /// Its kind: [`Model::kind`].
    pub kind: String,
    /// The shape of its output.
    pub shape: Vec<usize>,
    /// Elements of its parameters, including those of layers inside it.
    pub parameters: usize,
}

/// Layers of a model with their shapes and numbers of parameters, the memory of a training step, and the operations of a
/// forward pass. [`fmt::Display`] makes a table of it.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Nonlinearity, Sequential, Summary};
/// use thalweg::plan::Kind;
///
/// let model = Sequential::perceptron(64, &[32], 10, Nonlinearity::Relu);
/// let summary = Summary::of(&model, &[16, 64], Kind::Float)?;
/// assert_eq!(summary.parameters, 64 * 32 + 32 + 32 * 10 + 10);
/// assert!(summary.to_string().contains("2      Linear         [16, 10]"));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The layers in the order in which they were recorded; a layer that contains others comes after them.
    pub layers: Vec<Line>,
    /// Elements of all parameters that are trained.
    pub parameters: usize,
    /// Elements of parameters that are frozen, and of buffers.
    pub untrained: usize,
    /// Bytes of intermediate values of a training step in single precision, per lane.
    pub bytes: usize,
    /// The same if each value had memory of its own.
    pub bytes_without_reuse: usize,
    /// Floating-point operations of a forward pass: two per multiplication and addition of a product, one per other function.
    pub flops: usize,
}

impl Summary {
    /// Of a model for an input of such a shape, whose first dimension is that of the samples.
    ///
    /// # Errors
    /// The first mistake of the recording.
    pub fn of(model: &(impl Model + ?Sized), shape: &[usize], kind: Kind) -> Result<Self> {
        let (tape, _, flops) = recorded(Tape::evaluation(), model, shape, kind, false)?;
        let layers = tape.lines();
        let (tape, Recorded { slots, unshared, .. }, _) = recorded(Tape::training(), model, shape, kind, true)?;
        let all: usize = tape.parameters().iter().map(|parameter| parameter.len()).sum();
        let parameters =
            tape.parameters().iter().filter(|parameter| !parameter.is_frozen()).map(|parameter| parameter.len()).sum();
        let buffers = tape.buffers()?.tensors().iter().map(|tensor| tensor.len()).sum::<usize>();
        let untrained = all - parameters + buffers;
        Ok(Self { layers, parameters, untrained, bytes: 4 * slots, bytes_without_reuse: 4 * unshared, flops })
    }
}

/// Records the model alone on an input, and, if asked for, the gradient of the sum of its output.
fn recorded(
    mut tape: Tape,
    model: &(impl Model + ?Sized),
    shape: &[usize],
    kind: Kind,
    backward: bool,
) -> Result<(Tape, Recorded, usize)> {
    let (mut layout, mut plan, len) = (Layout::new(1), Plan::default(), shape.iter().product());
    let x = match kind {
        Kind::Index => {
            let id = layout.indices("input", len);
            tape.indices(layout.whole(id), shape)
        }
        _ => {
            let id = layout.floats("input", len);
            tape.input(layout.whole(id), shape)
        }
    };
    let output = model.forward(&mut tape, &x);
    let loss = output.sum(&[]);
    if backward {
        tape.backward(&loss);
    }
    let (arena, buffers) = (tape.arena()?, tape.buffers()?);
    let [params, grads] = ["params", "grads"].map(|name| layout.arena(name, &arena));
    let of_buffers: BufferId = layout.arena("buffers", &buffers);
    let shared = tape.shared()?;
    let of_shared = layout.shared_floats("shared parameters", shared.len());
    let [key, out] = [("key", 2), ("output", output.len())];
    let key = layout.indices(key.0, key.1);
    let out = layout.floats(out.0, out.1);
    let places = Places {
        params: (&arena, params),
        grads: backward.then_some(grads),
        buffers: Some((&buffers, of_buffers)),
        shared: (!shared.tensors().is_empty()).then_some((&shared, of_shared)),
        key: Some(layout.whole(key)),
    };
    let out = layout.whole(out);
    let recorded = tape.record(&mut layout, &mut plan, &places, &mut Slots::default(), &[(&output, out)])?;
    let flops = tape.flops();
    Ok((tape, recorded, flops))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |of: &dyn Fn(&Line) -> usize, least: usize| self.layers.iter().map(of).max().unwrap_or(0).max(least);
        let (name, kind) = (widest(&|line| line.name.len(), 5), widest(&|line| line.kind.len(), 13));
        writeln!(f, "{:name$}  {:kind$}  {:<16}  parameters", "layer", "kind", "output")?;
        for line in &self.layers {
            let shape = format!("{:?}", line.shape);
            writeln!(f, "{:name$}  {:kind$}  {shape:<16}  {}", line.name, line.kind, line.parameters)?;
        }
        writeln!(f, "{} parameters are trained, {} numbers are not", self.parameters, self.untrained)?;
        writeln!(f, "{} bytes of values in a training step, {} without reuse", self.bytes, self.bytes_without_reuse)?;
        write!(f, "{} floating-point operations forward", self.flops)
    }
}
