//! A model as data: layers as a TOML file has them, and as a saved model keeps them.

use super::layers;
use super::spec::{self, Spec};
use crate::Usage;
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use thalweg::nn::{Reshape, Sequential, Tape};
use thalweg::plan::Layout;

/// Rows with which shapes are tried. Normalisation by the batch needs more than one.
const ROWS: usize = 2;

/// Layers over rows of data, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Where it was read, for messages.
    pub source: String,
    /// The shape in which the layers take a row.
    pub input: Vec<usize>,
    /// Layers, each an object.
    pub layers: Vec<Value>,
    /// Numbers that the last layer gives for a row.
    pub outputs: usize,
}

/// What lanes of one model have numbers of their own for.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfLanes {
    pub dropout: bool,
    pub augment: bool,
}

/// A model that was made of a description.
#[derive(Debug)]
pub struct Built {
    pub model: Sequential,
    /// The buffers with the probabilities of dropout, where lanes have their own.
    pub dropouts: Vec<String>,
    /// The buffers with the strengths of augmentation, where lanes have their own.
    pub augments: Vec<String>,
    /// Elements of all parameters.
    pub parameters: u128,
    /// The most elements that a row has between two layers.
    pub widest: usize,
    /// Elements of the last dimension of a row before the first layer and after each that has parameters.
    pub widths: Vec<usize>,
}

/// The layers of a TOML file: a list of tables `[[layers]]`.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let wrong = |reason: String| Usage(format!("{}: {reason}", path.display()));
    let file: Value = toml::from_str(&text).map_err(|error| wrong(crate::one_line(error.to_string().lines())))?;
    let Value::Object(mut file) = file else { return Err(wrong("no table".into()).into()) };
    if let Some(key) = file.keys().find(|key| *key != "layers") {
        return Err(wrong(thalweg::Error::unknown("key", key, &["layers"]).to_string()).into());
    }
    match file.remove("layers") {
        Some(Value::Array(layers)) if !layers.is_empty() => Ok(layers),
        _ => Err(wrong("layers are a list of tables, which begin with [[layers]]".into()).into()),
    }
}

impl Description {
    /// Features of a row.
    pub fn inputs(&self) -> usize {
        self.input.iter().product()
    }

    /// The rows of the table in which the first layer looks features up, if it does.
    pub fn table_rows(&self) -> Result<Option<u32>> {
        layers::table_rows(&self.layers).map_err(|error| Usage(format!("{}: {error}", self.source)).into())
    }

    /// Makes the layers, each of which finds its number of inputs from what comes before it; the last one has as many outputs
    /// as are wanted, unless it says otherwise. All shapes are tried.
    pub fn build(&self, lanes: OfLanes) -> Result<Built> {
        self.try_build(lanes).map_err(|error| Usage(format!("{}: {error}", self.source)).into())
    }

    fn try_build(&self, lanes: OfLanes) -> Result<Built> {
        let (mut tape, shape) = (Tape::evaluation(), [ROWS, self.inputs()]);
        let mut x = match layers::table_rows(&self.layers)? {
            Some(_) => {
                let mut layout = Layout::new(1);
                let input = layout.indices("input", shape.iter().product());
                tape.indices(layout.whole(input), &shape)
            }
            None => tape.constant(&shape, 0.0),
        };
        let widths = vec![self.inputs()];
        let mut built = Built {
            model: Sequential::new(),
            dropouts: Vec::new(),
            augments: Vec::new(),
            parameters: 0,
            widest: self.inputs(),
            widths,
        };
        if let [_, _, ..] = self.input[..] {
            let layer = Reshape(self.input.clone());
            x = tape.layer("input", &layer, &x);
            built.model = built.model.named("input", layer);
        }
        let last = self.layers.iter().rposition(spec::has_outputs);
        for (i, layer) in self.layers.iter().enumerate() {
            let mut spec = Spec::new(layer, i)?;
            spec.outputs = (last == Some(i)).then_some(self.outputs);
            if i > 0 && spec.is_embedding() {
                return Err(spec.wrong("it looks up the features themselves, so it is the first layer"));
            }
            let name = spec.name();
            let layer = if let Some(layer) = spec.lane_dropout().filter(|_| lanes.dropout) {
                built.dropouts.push(format!("{name}.p"));
                layer?
            } else if let Some(layer) = spec.lane_augment().filter(|_| lanes.augment) {
                built.augments.push(format!("{name}.strengths"));
                layer
            } else {
                spec.layer(x.shape())?
            };
            x = tape.layer(&name, &*layer, &x);
            tape.check().map_err(|error| spec.wrong(error.to_string().trim_start_matches(&format!("{name}: "))))?;
            built.model = built.model.named(&name, layer);
        }
        if *x.shape() != [ROWS, self.outputs] {
            let shape: Vec<String> = x.shape()[1..].iter().map(usize::to_string).collect();
            let found = format!("[samples, {}]", shape.join(", "));
            return Err(thalweg::Error::shape("output of the model", format!("[samples, {}]", self.outputs), found).into());
        }
        built.parameters = tape.parameters().iter().map(|parameter| parameter.len() as u128).sum();
        for line in tape.lines() {
            built.widest = built.widest.max(line.shape[1..].iter().product());
            built.widths.extend(line.shape.last().filter(|_| line.parameters > 0));
        }
        Ok(built)
    }

    /// For the file of a model.
    pub fn json(&self) -> Value {
        json!({ "inputs": self.inputs(), "outputs": self.outputs, "input": self.input, "layers": self.layers })
    }

    /// That of a model's file; none of one that was saved when there were perceptrons alone.
    pub fn of_json(value: &Value, source: &Path) -> Result<Option<Self>> {
        let Some(layers) = value.get("layers") else { return Ok(None) };
        let number = |value: &Value| value.as_u64().map(|number| number as usize);
        let read = || {
            let input = value["input"].as_array()?.iter().map(number).collect::<Option<Vec<_>>>()?;
            let outputs = number(&value["outputs"])?;
            Some(Self { source: source.display().to_string(), input, layers: layers.as_array()?.clone(), outputs })
        };
        read().context("its layers cannot be read").map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(p: f64, shift: f64, lanes: OfLanes) -> String {
        let augment = json!({ "kind": "augment", "shift": shift, "name": "moved" });
        let dropout = json!({ "kind": "dropout", "p": p, "name": "dropped" });
        let linear = json!({ "kind": "linear", "outputs": 3 });
        let layers = vec![augment, json!({ "kind": "flatten" }), linear, dropout, json!({ "kind": "linear" })];
        let description = Description { source: "a test".into(), input: vec![1, 2, 2], layers, outputs: 2 };
        let built = description.build(lanes).expect("a model");
        assert_eq!(built.dropouts, if lanes.dropout { vec!["dropped.p"] } else { vec![] });
        assert_eq!(built.augments, if lanes.augment { vec!["moved.strengths"] } else { vec![] });
        format!("{:?}", built.model)
    }

    /// A population trains what has one model in one program.
    #[test]
    fn lanes_that_differ_in_numbers_of_their_own_have_one_model() {
        let (dropout, augment) = (OfLanes { dropout: true, augment: false }, OfLanes { dropout: false, augment: true });
        assert_eq!(model(0.1, 1.0, dropout), model(0.4, 1.0, dropout));
        assert_ne!(model(0.1, 1.0, dropout), model(0.1, 2.0, dropout));
        assert_eq!(model(0.1, 1.0, augment), model(0.1, 0.0, augment));
        assert_ne!(model(0.1, 1.0, augment), model(0.4, 1.0, augment));
        assert_ne!(model(0.1, 1.0, OfLanes::default()), model(0.1, 2.0, OfLanes::default()));
    }
}
