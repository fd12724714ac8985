//! What is trained: the options of a model, and the layers that they stand for.

mod augment;
mod description;
mod layers;
mod size;
mod spec;
mod steps;

pub use augment::NAMES as AUGMENT;
pub use description::{Built, Description, OfLanes};
pub use size::Size;

use crate::Usage;
use crate::names;
use crate::numbers::{real, whole};
use crate::settings::Scheduled;
use anyhow::{Context, Result};
use augment::AugmentArgs;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thalweg::data::Dataset;
use thalweg::range;

/// More is a slip of the finger: two such layers have four thousand million weights.
pub const MAX_WIDTH: u64 = 1 << 16;
/// An image is halved after a convolution while its shorter side has so many pixels.
const HALVED_FROM: usize = 8;
/// An image whose shorter side is at most so long keeps its size after the first of several convolutions.
const SMALL_IMAGE: usize = 16;
/// Outputs of the linear layer between the convolutions and the last layer.
const CNN_LINEAR: usize = 128;
/// With it five epochs over 8,000 images of 28 × 28 end at 99.1 % of 2,000 test images, the mean over five parts of MNIST and two
/// seeds.
const CNN_RATE: f64 = 2e-3;

/// The options of a model.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// What is trained: a perceptron (`mlp`), one linear layer, convolutions over images (`cnn`), a recurrent network over
    /// sequences (`lstm`), attention over sequences (`transformer`), or the layers of a TOML file
    #[arg(long, value_name = "mlp|linear|cnn|lstm|transformer|FILE.toml", default_value = "mlp")]
    pub model: Kind,

    /// Widths, layer after layer: of hidden layers (mlp), channels of convolutions (cnn), of recurrent layers (lstm), of
    /// blocks, which are all alike (transformer) [default: 128,64; cnn: 32,64,64; lstm: 64; transformer: 32,32]
    #[arg(
        long,
        value_name = "N,N,…",
        value_delimiter = ',',
        value_parser = whole::<usize>(1..=MAX_WIDTH),
        allow_negative_numbers = true
    )]
    pub hidden: Option<Vec<usize>>,

    /// What follows each hidden layer or convolution, and what is within a block of a transformer [default: relu; transformer:
    /// gelu]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "relu|gelu|tanh|silu|sigmoid|elu|leaky-relu")]
    pub activation: Option<Nonlinearity>,

    /// The share of values that is dropped while training: behind each hidden layer (mlp) or recurrent layer (lstm), behind the
    /// convolutions (cnn), within blocks (transformer) [default: 0; cnn: 0.25]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    pub dropout: Option<f64>,

    #[command(flatten)]
    pub augment: AugmentArgs,

    /// The shape of an image that a row of a table is: lines and columns, or channels, lines and columns [default: that of IDX
    /// files; a square]
    #[arg(long, value_name = "N,N[,N]", value_delimiter = ',', value_parser = whole::<usize>(1..=MAX_WIDTH))]
    pub image: Vec<usize>,

    /// Columns of a table that belong to one step of a sequence: a row is one sequence, all columns of its first step, then
    /// those of the second, and so on [default: 1; of an image its columns]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MAX_WIDTH), allow_negative_numbers = true)]
    pub step_columns: Option<usize>,
}

/// The choices of `--model`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Mlp,
    Linear,
    Cnn,
    Lstm,
    Transformer,
    File(PathBuf),
}

impl Kind {
    const NAMED: [(&'static str, Self); 5] = [
        ("mlp", Self::Mlp),
        ("linear", Self::Linear),
        ("cnn", Self::Cnn),
        ("lstm", Self::Lstm),
        ("transformer", Self::Transformer),
    ];

    /// As it was given.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            kind => Self::NAMED.iter().find(|(_, named)| named == kind).map_or(String::new(), |(name, _)| (*name).into()),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMED.each_ref().map(|(name, _)| *name);
        match names::find("model", text, &known, names::MODELS) {
            Ok(name) => Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind).ok_or_else(String::new),
            Err(_) if text.contains(['.', '/', '\\']) => Ok(Self::File(text.into())),
            Err(error) => Err(format!("{error}; a file is given with its ending: {text}.toml")),
        }
    }
}

/// The choices of `--activation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Nonlinearity {
    #[default]
    Relu,
    Gelu,
    Tanh,
    Silu,
    Sigmoid,
    Elu,
    LeakyRelu,
}

impl Nonlinearity {
    /// Its name as a layer.
    pub fn layer(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().replace('-', "_"))
    }
}

impl ModelArgs {
    /// Widths of layers: as they were given, or those of the kind of model.
    pub fn hidden(&self) -> Vec<usize> {
        let default: &[usize] = match self.model {
            Kind::Mlp => &[128, 64],
            Kind::Cnn => &[32, 64, 64],
            Kind::Lstm => &[64],
            Kind::Transformer => &[32, 32],
            Kind::Linear | Kind::File(_) => &[],
        };
        self.hidden.clone().unwrap_or_else(|| default.to_vec())
    }

    /// The function between layers: as it was given, or that of the kind of model.
    pub fn activation(&self) -> Nonlinearity {
        let default = if self.model == Kind::Transformer { Nonlinearity::Gelu } else { Nonlinearity::Relu };
        self.activation.unwrap_or(default)
    }

    /// The share that is dropped: as it was given, or that of the kind of model.
    pub fn dropout(&self) -> f64 {
        self.dropout.unwrap_or(if self.model == Kind::Cnn { 0.25 } else { 0.0 })
    }

    /// The rate for a rule where none is given, if it is not the rule's own. Convolutions with norms bear a higher one, and as
    /// it falls to 0 over the run they need it in a short run.
    pub fn rate(&self, rule: &str) -> Option<f64> {
        (self.model == Kind::Cnn && matches!(rule, "adam" | "adamw")).then_some(CNN_RATE)
    }

    /// The schedule where none is given: rates of perceptrons stay, others fall to 0 over the run.
    pub fn schedule(&self) -> Option<Scheduled> {
        match self.model {
            Kind::Mlp | Kind::Linear | Kind::File(_) => None,
            Kind::Cnn | Kind::Lstm | Kind::Transformer => Some(Scheduled { name: "cosine".into(), settings: Vec::new() }),
        }
    }

    /// The options that make a model large, as they are given.
    pub fn options(&self) -> String {
        let hidden: Vec<String> = self.hidden().iter().map(usize::to_string).collect();
        match self.model {
            Kind::Mlp => format!("--hidden {}", hidden.join(",")),
            Kind::Linear | Kind::File(_) => format!("--model {}", self.model.name()),
            _ => format!("--model {} --hidden {}", self.model.name(), hidden.join(",")),
        }
    }

    /// The options of `train` that make this model.
    pub fn arguments(&self) -> Vec<String> {
        let hidden: Vec<String> = self.hidden().iter().map(usize::to_string).collect();
        let mut arguments = Vec::new();
        if self.model != Kind::Mlp {
            arguments.push(format!("--model={}", self.model.name()));
        }
        if !matches!(self.model, Kind::Linear | Kind::File(_)) {
            arguments.push(format!("--hidden={}", hidden.join(",")));
            if self.model != Kind::Lstm {
                arguments.push(format!("--activation={}", self.activation().layer().replace('_', "-")));
            }
            arguments.extend(self.dropped().map(|_| format!("--dropout={}", self.dropout())));
        }
        arguments.extend(self.augment.given().map(|(name, strength)| format!("--{name}={strength}")));
        if !self.image.is_empty() {
            let sizes: Vec<String> = self.image.iter().map(usize::to_string).collect();
            arguments.push(format!("--image={}", sizes.join(",")));
        }
        arguments.extend(self.step_columns.map(|columns| format!("--step-columns={columns}")));
        arguments
    }

    /// Whether the options fit each other.
    pub fn check(&self) -> Result<()> {
        range::fraction("dropout", self.dropout()).map_err(|error| Usage(error.to_string()))?;
        self.augment.check()?;
        let own = [
            ("hidden", self.hidden.is_some()),
            ("activation", self.activation.is_some()),
            ("dropout", self.dropout.is_some()),
            ("image", !self.image.is_empty()),
            ("step-columns", self.step_columns.is_some()),
        ];
        let given = own.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        let mut given = given.chain(self.augment.given().map(|(name, _)| name));
        let unused: &[&str] = match self.model {
            Kind::Mlp => &["image", "step-columns"],
            Kind::Linear => &["hidden", "activation", "dropout", "image", "step-columns"],
            Kind::Cnn => &["step-columns"],
            Kind::Lstm => &["activation", "image"],
            Kind::Transformer => &["image"],
            Kind::File(_) => &["hidden", "activation", "dropout"],
        };
        let images = self.model == Kind::Cnn;
        if let Some(name) = given.find(|name| unused.contains(name) || !images && augment::NAMES.contains(name)) {
            let own = if matches!(self.model, Kind::File(_)) { "a model of a file" } else { &*self.model.name() };
            return Err(Usage(format!("--{name} has no use for {own}")).into());
        }
        if !matches!(self.image.len(), 0 | 2 | 3) {
            return Err(Usage("--image takes lines and columns, or channels, lines and columns, such as 28,28".into()).into());
        }
        let hidden = self.hidden();
        if self.model == Kind::Transformer && hidden.iter().any(|width| *width != hidden[0]) {
            return Err(Usage("--hidden: all blocks of a transformer have the same width".into()).into());
        }
        Ok(())
    }

    /// The rows of the table in which the model looks features up, if it does. Then they are indices, and have no scale.
    pub fn table_rows(&self) -> Result<Option<u32>> {
        let Kind::File(path) = &self.model else { return Ok(None) };
        layers::table_rows(&description::read(path)?).map_err(|error| Usage(format!("{}: {error}", path.display())).into())
    }

    /// The model for rows of data like these, with so many outputs.
    pub fn description(&self, data: &Dataset, outputs: usize) -> Result<Description> {
        let (layers, source) = match &self.model {
            Kind::File(path) => (description::read(path)?, path.display().to_string()),
            _ => (Vec::new(), format!("--model {}", self.model.name())),
        };
        let needs = match &self.model {
            Kind::File(_) => layers::needs(&layers),
            Kind::Cnn => layers::Needs::Image,
            Kind::Lstm | Kind::Transformer => layers::Needs::Sequence,
            Kind::Mlp | Kind::Linear => layers::Needs::Row,
        };
        let input = match needs {
            layers::Needs::Row => vec![data.width],
            layers::Needs::Image => self.image(data)?,
            layers::Needs::Sequence => self.sequence(data)?,
        };
        let layers = match &self.model {
            Kind::File(_) => layers,
            Kind::Mlp => self.perceptron(),
            Kind::Linear => vec![json!({ "kind": "linear" })],
            Kind::Cnn => self.convolutions(&input),
            Kind::Lstm => self.recurrent(),
            Kind::Transformer => self.blocks(),
        };
        Ok(Description { source, input, layers, outputs })
    }

    /// The perceptron of a file that was saved when there were perceptrons alone.
    pub fn perceptron_of(&self, model: &Value, path: &Path) -> Result<Description> {
        let width = |name: &str| model[name].as_u64().map(|width| width as usize).context("its widths cannot be read");
        let (inputs, outputs) = (width("inputs")?, width("outputs")?);
        Ok(Description { source: path.display().to_string(), input: vec![inputs], layers: self.perceptron(), outputs })
    }

    /// Channels, lines and columns of a row.
    fn image(&self, data: &Dataset) -> Result<Vec<usize>> {
        let side = data.width.isqrt();
        let shape = match (&self.image[..], &data.shape[..]) {
            ([], []) if side * side == data.width => vec![side, side],
            ([], []) => {
                let text = format!("{} features are no square: --image LINES,COLUMNS says which image a row is", data.width);
                return Err(Usage(text).into());
            }
            ([], shape) => shape.to_vec(),
            (given, _) if given.iter().product::<usize>() == data.width => given.to_vec(),
            (given, _) => {
                let sizes: Vec<String> = given.iter().map(usize::to_string).collect();
                let pixels: usize = given.iter().product();
                let text = format!("--image {}: {pixels} pixels, and a row has {} features", sizes.join(","), data.width);
                return Err(Usage(text).into());
            }
        };
        Ok(if let [lines, columns] = shape[..] { vec![1, lines, columns] } else { shape })
    }

    /// Steps of a row, and columns of a step.
    fn sequence(&self, data: &Dataset) -> Result<Vec<usize>> {
        let columns = self.step_columns.or(data.shape.last().copied()).unwrap_or(1);
        if !data.width.is_multiple_of(columns) {
            let text =
                format!("--step-columns {columns}: the {} features of a row are not so many times a whole number", data.width);
            return Err(Usage(text).into());
        }
        Ok(vec![data.width / columns, columns])
    }

    fn dropped(&self) -> Option<Value> {
        (self.dropout() > 0.0).then(|| json!({ "kind": "dropout", "p": self.dropout() }))
    }

    fn perceptron(&self) -> Vec<Value> {
        let layer = |width: &usize| {
            let own = [json!({ "kind": "linear", "outputs": width }), json!({ "kind": self.activation().layer() })];
            own.into_iter().chain(self.dropped()).collect::<Vec<_>>()
        };
        self.hidden().iter().flat_map(layer).chain([json!({ "kind": "linear" })]).collect()
    }

    fn convolutions(&self, image: &[usize]) -> Vec<Value> {
        let (channels, mut layers) = (self.hidden(), Vec::from_iter(self.augment.layer()));
        let mut side = image[1..].iter().copied().min().unwrap_or(1);
        for (i, outputs) in channels.iter().enumerate() {
            layers.push(json!({ "kind": "conv2d", "outputs": outputs, "kernel": 3, "padding": 1 }));
            layers.extend(self.normalised());
            let first_of_several = i == 0 && channels.len() > 1;
            if side >= HALVED_FROM && (side > SMALL_IMAGE || !first_of_several) {
                layers.push(json!({ "kind": "max_pool2d", "kernel": 2 }));
                side /= 2;
            }
        }
        layers.push(json!({ "kind": "flatten" }));
        layers.extend(self.dropped());
        layers.push(json!({ "kind": "linear", "outputs": CNN_LINEAR }));
        layers.extend(self.normalised());
        layers.push(json!({ "kind": "linear" }));
        layers
    }

    /// What follows each layer of a convolutional network but the last.
    fn normalised(&self) -> [Value; 2] {
        [json!({ "kind": "batch_norm" }), json!({ "kind": self.activation().layer() })]
    }

    fn recurrent(&self) -> Vec<Value> {
        let layer = |hidden: &usize| [json!({ "kind": "lstm", "hidden": hidden })].into_iter().chain(self.dropped());
        let last = [json!({ "kind": "last_step" }), json!({ "kind": "linear" })];
        self.hidden().iter().flat_map(layer).chain(last).collect()
    }

    fn blocks(&self) -> Vec<Value> {
        let blocks = self.hidden();
        let width = blocks[0];
        let heads = [4, 2, 1].into_iter().find(|heads| width.is_multiple_of(*heads)).unwrap_or(1);
        let mut layers = vec![json!({ "kind": "linear", "outputs": width }), json!({ "kind": "positions" })];
        let block = json!({
            "kind": "transformer_block",
            "heads": heads,
            "feed_forward": 4 * width,
            "activation": self.activation().layer(),
            "dropout": self.dropout(),
        });
        layers.extend(blocks.iter().map(|_| block.clone()));
        layers.extend(["layer_norm", "mean_of_steps", "linear"].map(|kind| json!({ "kind": kind })));
        layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        model: ModelArgs,
    }

    #[test]
    fn images_are_halved_while_they_have_eight_lines() {
        let pools = |side: usize, hidden: &str| {
            let line = Line::try_parse_from(["a test", "--model=cnn", hidden]).expect("options");
            let layers = line.model.convolutions(&[1, side, side + 1]);
            layers.iter().filter(|layer| layer["kind"] == "max_pool2d").count()
        };
        let cases = [
            (224, "4,4,4", 3),
            (28, "4,4,4", 2),
            (28, "4,4", 2),
            (28, "4", 1),
            (17, "4,4,4", 2),
            (16, "4,4,4", 2),
            (16, "4,4", 1),
            (8, "4,4,4", 1),
            (8, "4", 1),
            (7, "4,4", 0),
        ];
        for (side, hidden, expected) in cases {
            assert_eq!(pools(side, &format!("--hidden={hidden}")), expected, "{side}: {hidden}");
        }
    }
}
