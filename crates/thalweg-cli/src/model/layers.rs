//! Layers by name: how each is made of its settings.

use super::augment::NAMES as AUGMENT;
use super::spec::{Spec, has_outputs, kind};
use super::steps::{LastStep, MeanOfSteps};
use crate::names;
use anyhow::Result;
use serde_json::Value;
use thalweg::nn::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, Attention, Augment, AvgPool1d, AvgPool2d,
    BatchNorm1d, BatchNorm2d, Cell, ChannelDropout, Conv1d, Conv2d, Dropout, Embedding, Flatten, GroupNorm, InstanceNorm,
    LaneAugment, LaneDropout, LayerNorm, Linear, MaxPool1d, MaxPool2d, Model, Nonlinearity, Padding, Positions, Recurrent,
    Reshape, Residual, RmsNorm, Sequential, Tape, TransformerBlock,
};

/// Rows of an embedding's table at most: the numbers of more would not be exact in single precision.
const MOST_ROWS: u32 = 1 << 24;

/// How layers take a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// As it is.
    Row,
    /// As channels, lines and columns.
    Image,
    /// As steps and values.
    Sequence,
}

/// How the first of some layers that minds takes a row.
pub fn needs(layers: &[Value]) -> Needs {
    let kinds = layers.iter().filter_map(|layer| kind(layer["kind"].as_str()?).ok());
    for (kind, _) in kinds {
        match *kind {
            "conv2d" | "max_pool2d" | "avg_pool2d" | "augment" => return Needs::Image,
            "rnn" | "lstm" | "gru" | "attention" | "transformer_block" | "positions" | "last_step" | "mean_of_steps" => {
                return Needs::Sequence;
            }
            "embedding" | "flatten" | "reshape" | "conv1d" => return Needs::Row,
            _ => {}
        }
    }
    Needs::Row
}

/// The rows of the table that the first layer looks rows up in, if it does: then features are numbers of these.
pub fn table_rows(layers: &[Value]) -> Result<Option<u32>> {
    let Some(first) = layers.first() else { return Ok(None) };
    let spec = Spec::new(first, 0)?;
    if spec.is_embedding() { spec.rows().map(Some) } else { Ok(None) }
}

/// A convolution over as many axes as its type has, with the settings of a table.
macro_rules! convolution {
    ($spec:expr, $layer:ident, $channels:expr) => {
        $layer {
            stride: $spec.pair("stride", Some(1))?,
            padding: $spec.padding()?,
            dilation: $spec.pair("dilation", Some(1))?,
            groups: $spec.size("groups", Some(1))?,
            bias: $spec.switch("bias", true)?,
            ..$layer::new(
                $spec.size("inputs", Some($channels))?,
                $spec.size("outputs", $spec.outputs)?,
                $spec.pair("kernel", None)?,
            )
        }
    };
}

impl Spec {
    /// The layer with a probability of each lane, if it is dropout. Until lanes get theirs it is 0, whatever the layer says: so
    /// lanes that differ in it alone have one model.
    pub fn lane_dropout(&self) -> Option<Result<Box<dyn Model>>> {
        let layer = || {
            self.number("p", 0.5)?;
            Ok(Box::new(LaneDropout { p: 0.0 }) as Box<dyn Model>)
        };
        (self.kind == "dropout").then(layer)
    }

    /// The layer with strengths of each lane, if it is augmentation: as many kinds as it has settings.
    pub fn lane_augment(&self) -> Option<Box<dyn Model>> {
        let [shift, crop, flip, noise] = AUGMENT.map(|name| self.settings.contains_key(name));
        (self.kind == "augment").then(|| Box::new(LaneAugment { shift, crop, flip, noise }) as Box<dyn Model>)
    }

    /// Whether it looks rows of a table up, which only the first layer can.
    pub fn is_embedding(&self) -> bool {
        self.kind == "embedding"
    }

    /// The rows of an embedding's table.
    fn rows(&self) -> Result<u32> {
        let rows = self.size("rows", None)?;
        let fits = u32::try_from(rows).ok().filter(|rows| (1..=MOST_ROWS).contains(rows));
        fits.ok_or_else(|| self.wrong(format!("rows = {rows} is out of range: from 1 to {MOST_ROWS}")))
    }

    fn embedding(&self) -> Result<Embedding> {
        let rows = self.rows()?;
        let padding = self.settings.contains_key("padding").then(|| self.size("padding", None)).transpose()?;
        if let Some(row) = padding.filter(|row| *row >= rows as usize) {
            return Err(self.wrong(format!("padding = {row} is out of range: below {rows}, the rows of the table")));
        }
        let layer = Embedding::new(rows as usize, self.size("width", None)?);
        Ok(Embedding { padding: padding.map(|row| row as u32), ..layer })
    }

    /// The layer, for what has such a shape.
    pub fn layer(&self, shape: &[usize]) -> Result<Box<dyn Model>> {
        let last = shape.last().copied().unwrap_or(0);
        let channels = shape.get(1).copied().unwrap_or(0);
        let one = shape.len() == 3;
        Ok(match self.kind {
            "linear" => {
                let layer = Linear::new(self.size("inputs", Some(last))?, self.size("outputs", self.outputs)?);
                Box::new(Linear { bias: self.switch("bias", true)?, ..layer })
            }
            "embedding" => Box::new(self.embedding()?),
            "conv1d" => Box::new(convolution!(self, Conv1d, channels)),
            "conv2d" => Box::new(convolution!(self, Conv2d, channels)),
            "max_pool1d" | "avg_pool1d" => self.pool_1d()?,
            "max_pool2d" | "avg_pool2d" => self.pool_2d()?,
            "global_avg_pool" if one => flat(AdaptiveAvgPool1d { out: [1] }),
            "global_avg_pool" => flat(AdaptiveAvgPool2d { out: [1, 1] }),
            "global_max_pool" if one => flat(AdaptiveMaxPool1d { out: [1] }),
            "global_max_pool" => flat(AdaptiveMaxPool2d { out: [1, 1] }),
            "batch_norm" => {
                let norm = BatchNorm1d::new(self.size("features", Some(channels))?);
                let [eps, momentum] = [self.number("eps", norm.eps)?, self.number("momentum", norm.momentum)?];
                let norm = BatchNorm1d { eps, momentum, ..norm };
                if shape.len() == 4 { Box::new(BatchNorm2d(norm)) } else { Box::new(norm) }
            }
            "layer_norm" => {
                let norm = LayerNorm::new(&[last]);
                Box::new(LayerNorm { eps: self.number("eps", norm.eps)?, ..norm })
            }
            "rms_norm" => {
                let norm = RmsNorm::new(&[last]);
                Box::new(RmsNorm { eps: self.number("eps", norm.eps)?, ..norm })
            }
            "group_norm" => {
                let norm = GroupNorm::new(self.size("groups", None)?, channels);
                Box::new(GroupNorm { eps: self.number("eps", norm.eps)?, ..norm })
            }
            "instance_norm" => {
                let norm = InstanceNorm::new(channels);
                Box::new(InstanceNorm { eps: self.number("eps", norm.eps)?, ..norm })
            }
            // As lanes have it, so that a lane of a sweep has the bits of the model alone.
            "dropout" => Box::new(Dropout { p: f64::from(self.number("p", 0.5)? as f32) }),
            "channel_dropout" => Box::new(ChannelDropout { p: self.number("p", 0.5)? }),
            "flatten" => Box::new(Flatten),
            "reshape" => Box::new(Reshape(self.sizes("shape")?)),
            "residual" => Box::new(Residual(self.inner(shape)?)),
            "rnn" | "lstm" | "gru" => Box::new(self.recurrent(last)?),
            "last_step" => Box::new(LastStep),
            "mean_of_steps" => Box::new(MeanOfSteps),
            "attention" => Box::new(self.attention(last)?),
            "transformer_block" => {
                let feed_forward = self.size("feed_forward", Some(4 * last))?;
                let block = TransformerBlock::new(last, 1, feed_forward);
                let activation = self.text("activation")?.map_or(Ok(Nonlinearity::Gelu), |name| self.function(&name))?;
                let (norm_first, dropout) = (self.switch("norm_first", true)?, self.number("dropout", 0.0)?);
                Box::new(TransformerBlock { attention: self.attention(last)?, activation, norm_first, dropout, ..block })
            }
            "positions" if self.switch("learned", true)? => Box::new(Positions::Learned { places: channels }),
            "positions" => Box::new(Positions::Sinusoidal),
            "augment" => {
                let of = |name: &str| self.number(name, 0.0);
                Box::new(Augment { shift: of("shift")?, crop: of("crop")?, flip: of("flip")?, noise: of("noise")? })
            }
            name => Box::new(self.function(name)?),
        })
    }

    /// A function of each element by its name.
    fn function(&self, name: &str) -> Result<Nonlinearity> {
        Ok(match names::find("activation", name, &FUNCTIONS, names::LAYERS).map_err(|error| self.wrong(error))? {
            "relu" => Nonlinearity::Relu,
            "leaky_relu" => Nonlinearity::LeakyRelu(self.number("slope", 0.01)?),
            "elu" => Nonlinearity::Elu(self.number("alpha", 1.0)?),
            "gelu" => Nonlinearity::Gelu,
            "gelu_tanh" => Nonlinearity::GeluTanh,
            "silu" => Nonlinearity::Silu,
            "tanh" => Nonlinearity::Tanh,
            "sigmoid" => Nonlinearity::Sigmoid,
            _ => Nonlinearity::Softplus,
        })
    }

    /// The layers of a residual connection, whose output has the shape of their input.
    fn inner(&self, shape: &[usize]) -> Result<Sequential> {
        let list = self.settings.get("layers").and_then(Value::as_array);
        let list = list.ok_or_else(|| self.wrong("layers are a list, such as layers = [{ kind = \"linear\" }]"))?;
        let mut tape = Tape::evaluation();
        let (mut x, mut model) = (tape.constant(shape, 0.0), Sequential::new());
        let last = list.iter().rposition(has_outputs);
        for (i, layer) in list.iter().enumerate() {
            let mut spec = Spec::new(layer, i)?;
            // As the input has, unless it says otherwise.
            let outputs = if shape.len() > 2 && spec.kind.starts_with("conv") { shape.get(1) } else { shape.last() };
            spec.outputs = (last == Some(i)).then_some(outputs.copied()).flatten();
            let layer = spec.layer(x.shape())?;
            let name = format!("{}.{}", self.name(), spec.name());
            x = tape.layer(&name, &*layer, &x);
            tape.check().map_err(|error| spec.wrong(error.to_string().trim_start_matches(&format!("{name}: "))))?;
            model = model.named(&spec.name(), layer);
        }
        Ok(model)
    }

    fn padding<const N: usize>(&self) -> Result<Padding<N>> {
        match self.settings.get("padding") {
            Some(Value::String(word)) if word == "same" => Ok(Padding::Same),
            _ => Ok(Padding::Zeros(self.pair("padding", Some(0))?)),
        }
    }

    fn pool_1d(&self) -> Result<Box<dyn Model>> {
        let kernel: [usize; 1] = self.pair("kernel", None)?;
        let (stride, padding) = (self.pair_or("stride", kernel)?, self.pair("padding", Some(0))?);
        let ceil_mode = self.switch("ceil_mode", false)?;
        Ok(match self.kind {
            "max_pool1d" => Box::new(MaxPool1d { stride, padding, ceil_mode, ..MaxPool1d::new(kernel) }),
            _ => Box::new(AvgPool1d { stride, padding, ceil_mode, ..AvgPool1d::new(kernel) }),
        })
    }

    fn pool_2d(&self) -> Result<Box<dyn Model>> {
        let kernel: [usize; 2] = self.pair("kernel", None)?;
        let (stride, padding) = (self.pair_or("stride", kernel)?, self.pair("padding", Some(0))?);
        let ceil_mode = self.switch("ceil_mode", false)?;
        Ok(match self.kind {
            "max_pool2d" => Box::new(MaxPool2d { stride, padding, ceil_mode, ..MaxPool2d::new(kernel) }),
            _ => Box::new(AvgPool2d { stride, padding, ceil_mode, ..AvgPool2d::new(kernel) }),
        })
    }

    fn recurrent(&self, inputs: usize) -> Result<Recurrent> {
        let cell = match self.kind {
            "lstm" => Cell::Lstm,
            "gru" => Cell::Gru,
            _ => Cell::Tanh,
        };
        let layer = Recurrent::new(cell, self.size("inputs", Some(inputs))?, self.size("hidden", None)?);
        Ok(Recurrent {
            layers: self.size("layers", Some(1))?,
            both_directions: self.switch("both_directions", false)?,
            dropout: self.number("dropout", 0.0)?,
            bias: self.switch("bias", true)?,
            ..layer
        })
    }

    fn attention(&self, width: usize) -> Result<Attention> {
        let attention = Attention::new(width, self.size("heads", None)?);
        let dropout = if self.kind == "attention" { self.number("dropout", 0.0)? } else { 0.0 };
        Ok(Attention { causal: self.switch("causal", false)?, dropout, bias: self.switch("bias", true)?, ..attention })
    }
}

/// Functions of each element.
const FUNCTIONS: [&str; 9] = ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus"];

/// A pool over all of an image, of which a row of channels is left.
fn flat(pool: impl Model + 'static) -> Box<dyn Model> {
    Box::new(Sequential::new().then(pool).then(Flatten))
}
