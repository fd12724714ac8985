//! Descriptions of layers: which settings each kind has, and what is said of them.

use super::augment::NAMES as AUGMENT;
use crate::Usage;
use crate::names;
use anyhow::Result;
use serde_json::{Map, Value};
use thalweg::Error;

const CONVOLUTION: &[&str] = &["outputs", "kernel", "stride", "padding", "dilation", "groups", "bias", "inputs"];
const POOL: &[&str] = &["kernel", "stride", "padding", "ceil_mode"];
const RECURRENT: &[&str] = &["hidden", "layers", "both_directions", "dropout", "bias", "inputs"];

/// Kinds of layers, and their settings. Each has a name as well.
const KINDS: &[(&str, &[&str])] = &[
    ("linear", &["outputs", "bias", "inputs"]),
    ("embedding", &["rows", "width", "padding"]),
    ("conv1d", CONVOLUTION),
    ("conv2d", CONVOLUTION),
    ("max_pool1d", POOL),
    ("max_pool2d", POOL),
    ("avg_pool1d", POOL),
    ("avg_pool2d", POOL),
    ("global_avg_pool", &[]),
    ("global_max_pool", &[]),
    ("batch_norm", &["features", "eps", "momentum"]),
    ("layer_norm", &["eps"]),
    ("rms_norm", &["eps"]),
    ("group_norm", &["groups", "eps"]),
    ("instance_norm", &["eps"]),
    ("dropout", &["p"]),
    ("channel_dropout", &["p"]),
    ("relu", &[]),
    ("leaky_relu", &["slope"]),
    ("elu", &["alpha"]),
    ("gelu", &[]),
    ("gelu_tanh", &[]),
    ("silu", &[]),
    ("tanh", &[]),
    ("sigmoid", &[]),
    ("softplus", &[]),
    ("flatten", &[]),
    ("reshape", &["shape"]),
    ("residual", &["layers"]),
    ("rnn", RECURRENT),
    ("lstm", RECURRENT),
    ("gru", RECURRENT),
    ("last_step", &[]),
    ("mean_of_steps", &[]),
    ("attention", &["heads", "causal", "dropout", "bias"]),
    ("transformer_block", &["heads", "feed_forward", "activation", "norm_first", "causal", "dropout"]),
    ("positions", &["learned"]),
    ("augment", &AUGMENT),
];

/// Whether a layer has a number of outputs of its own.
pub fn has_outputs(layer: &Value) -> bool {
    let kind = layer["kind"].as_str().and_then(|name| kind(name).ok());
    kind.is_some_and(|(_, settings)| settings.contains(&"outputs"))
}

/// A kind by its name, with its settings.
pub fn kind(name: &str) -> Result<&'static (&'static str, &'static [&'static str]), Error> {
    let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let found = names::find("kind of layer", name, &known, names::LAYERS)?;
    KINDS.iter().find(|(name, _)| *name == found).ok_or_else(|| Error::unknown("kind of layer", name, &known))
}

/// A layer that is to be made.
pub struct Spec {
    pub kind: &'static str,
    place: usize,
    pub settings: Map<String, Value>,
    /// Outputs where the layer does not say how many it has.
    pub outputs: Option<usize>,
}

impl Spec {
    /// Reads a layer; all names are brought to those that are known here.
    pub fn new(layer: &Value, place: usize) -> Result<Self> {
        let wrong = |reason: String| Usage(format!("layer {place}: {reason}"));
        let Value::Object(object) = layer else { return Err(wrong("not a table".into()).into()) };
        let named = object.get("kind").and_then(Value::as_str);
        let named = named.ok_or_else(|| wrong("it has no kind, such as kind = \"linear\"".into()))?;
        let (kind, known) = kind(named).map_err(|error| wrong(error.to_string()))?;
        let mut settings = Map::new();
        for (key, value) in object.iter().filter(|(key, _)| *key != "kind") {
            let all: Vec<&str> = known.iter().chain(&["name"]).copied().collect();
            let own = names::find("setting", key, &all, names::LAYER_SETTINGS);
            let own = own.map_err(|error| Usage(format!("layer {place} ({kind}): {error}")))?;
            if settings.insert(own.into(), value.clone()).is_some() {
                return Err(Usage(format!("layer {place} ({kind}): {own} is given twice")).into());
            }
        }
        Ok(Self { kind, place, settings, outputs: None })
    }

    /// The name that it has, or its place.
    pub fn name(&self) -> String {
        self.settings.get("name").and_then(Value::as_str).map_or_else(|| self.place.to_string(), String::from)
    }

    /// What is wrong with it.
    pub fn wrong(&self, reason: impl ToString) -> anyhow::Error {
        Usage(format!("layer {} ({}): {}", self.name(), self.kind, reason.to_string())).into()
    }

    /// A number of things, at least 0; what may be 0 is said by the layer itself.
    pub fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.settings.get(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.wrong(format!("it has no {key}"))),
            (Some(value), _) => {
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                let number = number.ok_or_else(|| self.wrong(format!("{key} = {value} is no whole number from 0 on")))?;
                Ok(number as usize)
            }
        }
    }

    /// Sizes along axes: a number for all of them, or a list.
    pub fn pair<const N: usize>(&self, key: &str, default: Option<usize>) -> Result<[usize; N]> {
        match self.settings.get(key) {
            Some(Value::Array(_)) => {
                let sizes = self.sizes(key)?;
                let wrong = || self.wrong(format!("{key} has {} numbers, and there are {N} axes", sizes.len()));
                <[usize; N]>::try_from(&sizes[..]).map_err(|_| wrong())
            }
            _ => Ok([self.size(key, default)?; N]),
        }
    }

    pub fn pair_or<const N: usize>(&self, key: &str, default: [usize; N]) -> Result<[usize; N]> {
        if self.settings.contains_key(key) { self.pair(key, None) } else { Ok(default) }
    }

    pub fn sizes(&self, key: &str) -> Result<Vec<usize>> {
        let list = self.settings.get(key).and_then(Value::as_array);
        let list = list.ok_or_else(|| self.wrong(format!("{key} is a list of whole numbers, such as [1, 28, 28]")))?;
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).map(|number| number as usize);
        let wrong = || self.wrong(format!("{key} is a list of whole numbers, such as [1, 28, 28]"));
        list.iter().map(|value| number(value).ok_or_else(wrong)).collect()
    }

    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        let value = self
            .settings
            .get(key)
            .map(|value| value.as_f64().ok_or_else(|| self.wrong(format!("{key} = {value} is no number"))));
        Ok(value.transpose()?.unwrap_or(default))
    }

    pub fn switch(&self, key: &str, default: bool) -> Result<bool> {
        let value = self
            .settings
            .get(key)
            .map(|value| value.as_bool().ok_or_else(|| self.wrong(format!("{key} = {value} is neither true nor false"))));
        Ok(value.transpose()?.unwrap_or(default))
    }

    pub fn text(&self, key: &str) -> Result<Option<String>> {
        let text =
            |value: &Value| value.as_str().map(String::from).ok_or_else(|| self.wrong(format!("{key} = {value} is no text")));
        self.settings.get(key).map(text).transpose()
    }
}
