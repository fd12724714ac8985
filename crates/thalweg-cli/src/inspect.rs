//! `thalweg inspect`: what is in a file of tensors.

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thalweg::checkpoint::{Folder, StoredTensor, Tensors, Writer, read_any};

const EXAMPLES: &str = "\
Examples:
  thalweg inspect model.safetensors
  thalweg inspect run/ --json

Parameters after the last step are param.NAME. With --patience best.param.NAME are those of the best epoch, with which
predict and evaluate work.
A folder stands for its newest checkpoint. A file that is damaged is an error; one with values that are not finite is not.";

/// Show the tensors of a checkpoint or another safetensors file: shapes, norms, values that are not finite, counters and
/// settings
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A safetensors file, or a folder of checkpoints
    #[arg(value_name = "FILE|DIR")]
    file: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let file = Opened::open(&args.file)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", file.json())?
    } else {
        write!(out, "{}", file.text())?
    }
    Ok(())
}

/// A file that was read.
pub struct Opened {
    pub path: PathBuf,
    writer: Writer,
    pub tensors: Tensors,
}

impl Opened {
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let (step, tensors) = Folder::newest(path)?;
            return Ok(Self { path: Folder::file(path, step), writer: Writer::Thalweg, tensors });
        }
        let (tensors, writer) = read_any(path)?;
        Ok(Self { path: path.into(), writer, tensors })
    }

    fn text(&self) -> String {
        let bytes: usize = self.tensors.iter().map(|(_, tensor)| tensor.bytes.len()).sum();
        let by = match self.writer {
            Writer::Thalweg => "of Thalweg, its hash is right",
            Writer::Other => "of another program, without a hash",
        };
        let mut text = format!("{}: {by}; {} tensors, {bytes} bytes\n", self.path.display(), self.tensors.len());
        for (name, value) in &self.tensors.texts {
            text += &format!("  {name}: {value}\n");
        }
        let (numbers, arrays): (Vec<_>, Vec<_>) = self.tensors.iter().partition(|(name, tensor)| is_number(name, tensor));
        let mut table = vec![["tensor", "type", "shape", "norm", "least", "largest", ""].map(String::from)];
        table.extend(arrays.iter().map(|(name, tensor)| {
            let Look { norm, least, largest, bad } = Look::at(tensor);
            let bad = bad.map(|(place, value)| format!("not finite from {} on: {value}", at(place, &tensor.shape)));
            let short = |x: f64| format!("{x:.6e}");
            let range = if tensor.is_empty() { [String::new(), String::new()] } else { [short(least), short(largest)] };
            let [least, largest] = range;
            let (shape, dtype) = (format!("{:?}", tensor.shape), tensor.dtype.name().to_string());
            [name.to_string(), dtype, shape, short(norm), least, largest, bad.unwrap_or_default()]
        }));
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        for row in table.iter().filter(|_| !arrays.is_empty()) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text += &format!("  {}\n", cells.join("  ").trim_end());
        }
        for (name, tensor) in numbers {
            text += &format!("  {name} = {}\n", shown(tensor));
        }
        text
    }

    fn json(&self) -> Value {
        let texts: Map<String, Value> = self.tensors.texts.iter().map(|(name, text)| (name.clone(), parsed(text))).collect();
        let tensor = |(name, tensor): (&str, &StoredTensor)| {
            let Look { norm, least, largest, bad } = Look::at(tensor);
            json!({
                "name": name,
                "type": tensor.dtype.name(),
                "shape": tensor.shape,
                "norm": number(norm),
                "least": if tensor.is_empty() { Value::Null } else { number(least) },
                "largest": if tensor.is_empty() { Value::Null } else { number(largest) },
                "first_not_finite": bad.map(|(place, value)| json!({ "element": index(place, &tensor.shape), "value": number(value) })),
            })
        };
        let (numbers, arrays): (Vec<_>, Vec<_>) = self.tensors.iter().partition(|(name, tensor)| is_number(name, tensor));
        let numbers: Map<String, Value> = numbers.into_iter().map(|(name, tensor)| (name.into(), values(tensor))).collect();
        json!({
            "file": self.path.display().to_string(),
            "writer": if self.writer == Writer::Thalweg { "thalweg" } else { "other" },
            "texts": texts,
            "tensors": arrays.into_iter().map(tensor).collect::<Vec<_>>(),
            "numbers": numbers,
        })
    }
}

/// Whether a tensor is a counter or a setting, which is shown by its values.
fn is_number(name: &str, tensor: &StoredTensor) -> bool {
    let known = ["setting.", "host.", "trainer.", "lbfgs."].iter().any(|kind| name.starts_with(kind));
    tensor.len() <= 64 && (known || !tensor.dtype.is_float() || ["scalars", "counts", "frozen"].contains(&name))
}

/// A text of a file: parsed as JSON if it is an object or a list.
fn parsed(text: &str) -> Value {
    let value = serde_json::from_str(text).ok().filter(|value: &Value| value.is_object() || value.is_array());
    value.unwrap_or_else(|| text.into())
}

/// A number for JSON. JSON has no infinity and no NaN, so they become texts.
pub fn number(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { json!(x.to_string()) }
}

fn values(tensor: &StoredTensor) -> Value {
    let all: Vec<Value> = tensor.numbers().map(|x| if tensor.dtype.is_float() { number(x) } else { json!(x as i64) }).collect();
    match (&all[..], tensor.shape.is_empty()) {
        ([only], true) => only.clone(),
        _ => all.into(),
    }
}

fn shown(tensor: &StoredTensor) -> String {
    let all: Vec<String> = tensor.numbers().map(|x| x.to_string()).collect();
    if tensor.shape.is_empty() { all.concat() } else { format!("[{}]", all.join(", ")) }
}

/// Figures about the elements of a tensor.
struct Look {
    /// The root of the sum of squares.
    norm: f64,
    least: f64,
    largest: f64,
    /// The first element that is not finite.
    bad: Option<(usize, f64)>,
}

impl Look {
    fn at(tensor: &StoredTensor) -> Self {
        let (mut least, mut largest) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut bad = None;
        for (place, x) in tensor.numbers().enumerate() {
            (least, largest) = (least.min(x), largest.max(x));
            if !x.is_finite() && bad.is_none() {
                bad = Some((place, x));
            }
        }
        // Squares of very large and very small numbers are out of the range of floats, so elements are divided by the largest.
        let unit = least.abs().max(largest.abs());
        let norm = match (tensor.is_empty(), bad) {
            (true, _) => 0.0,
            (_, Some(_)) => f64::NAN,
            _ if unit == 0.0 => 0.0,
            _ => unit * tensor.numbers().map(|x| (x / unit).powi(2)).sum::<f64>().sqrt(),
        };
        Self { norm, least, largest, bad }
    }
}

/// The root of the sum of squares.
pub fn norm(tensor: &StoredTensor) -> f64 {
    Look::at(tensor).norm
}

/// The index of an element along each dimension.
pub fn index(place: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = place;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&side| {
            let at = rest % side.max(1);
            rest /= side.max(1);
            at
        })
        .collect();
    index.reverse();
    index
}

fn at(place: usize, shape: &[usize]) -> String {
    format!("{:?}", index(place, shape))
}
