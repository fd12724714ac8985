//! `thalweg diff`: where two files differ.

use crate::Differ;
use crate::inspect::{Opened, index, number};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use thalweg::checkpoint::{StoredTensor, Tensors};

const EXAMPLES: &str = "\
Examples:
  thalweg diff a.safetensors b.safetensors
  thalweg diff run-1/ run-2/ --json

A folder stands for its newest checkpoint. Exit codes: 0 the files hold the same bits; 1 they differ, or one cannot be read; 2 wrong usage.";

/// Compare two checkpoints or other safetensors files: the first tensor and element that differ, and the largest difference
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A safetensors file, or a folder of checkpoints
    #[arg(value_name = "FILE|DIR")]
    first: PathBuf,

    /// The file or folder to compare it with
    #[arg(value_name = "FILE|DIR")]
    second: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let (first, second) = (Opened::open(&args.first)?, Opened::open(&args.second)?);
    let found = Differences::of(&first.tensors, &second.tensors);
    let mut out = io::stdout().lock();
    if args.json {
        let mut object = found.json();
        (object["first"], object["second"]) =
            (first.path.display().to_string().into(), second.path.display().to_string().into());
        writeln!(out, "{object}")?;
    } else {
        write!(out, "{}", found.text())?;
    }
    if found.is_empty() { Ok(()) } else { Err(Differ.into()) }
}

/// What differs between two files.
struct Differences {
    /// Texts by name, as they are in each.
    texts: Vec<(String, [Option<String>; 2])>,
    /// Tensors by name.
    tensors: Vec<(String, Difference)>,
}

/// How a tensor differs.
enum Difference {
    OnlyFirst,
    OnlySecond,
    /// Type or shape.
    Form([String; 2]),
    Values {
        index: Vec<usize>,
        values: [f64; 2],
        elements: usize,
        largest: f64,
        of: usize,
    },
}

impl Differences {
    fn of(first: &Tensors, second: &Tensors) -> Self {
        let names = |all: &Tensors| all.iter().map(|(name, _)| name.to_string()).collect::<BTreeSet<_>>();
        let known: Vec<String> = names(first).union(&names(second)).cloned().collect();
        let of = |name: String| Some((name.clone(), Difference::of(first.find(&name), second.find(&name))?));
        let keys = first.texts.keys().chain(second.texts.keys()).collect::<BTreeSet<_>>();
        let text = |key: &String| (key.clone(), [first, second].map(|tensors| tensors.texts.get(key).cloned()));
        let texts = keys.into_iter().map(text).filter(|(_, [first, second])| first != second).collect();
        Self { texts, tensors: known.into_iter().filter_map(of).collect() }
    }

    fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.tensors.is_empty()
    }

    fn text(&self) -> String {
        if self.is_empty() {
            return "the files hold the same bits\n".into();
        }
        let mut text = String::new();
        for (name, [first, second]) in &self.texts {
            let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".into());
            text += &format!("{name}: {} in the first, {} in the second\n", shown(first), shown(second));
        }
        for (name, difference) in &self.tensors {
            text += &match difference {
                Difference::OnlyFirst => format!("{name}: in the first alone\n"),
                Difference::OnlySecond => format!("{name}: in the second alone\n"),
                Difference::Form([first, second]) => format!("{name}: {first} in the first, {second} in the second\n"),
                Difference::Values { index, values: [first, second], elements, largest, of } => format!(
                    "{name}: first at {index:?}, {first} in the first, {second} in the second; {elements} of {of} elements differ, at most \
                     by {largest:e}\n"
                ),
            };
        }
        text
    }

    fn json(&self) -> Value {
        let texts: Map<String, Value> = self.texts.iter().map(|(name, both)| (name.clone(), json!(both))).collect();
        let tensor = |(name, difference): &(String, Difference)| {
            let mut object = match difference {
                Difference::OnlyFirst => json!({ "how": "first alone" }),
                Difference::OnlySecond => json!({ "how": "second alone" }),
                Difference::Form(both) => json!({ "how": "form", "form": both }),
                Difference::Values { index, values, elements, largest, of } => json!({
                    "how": "values",
                    "element": index,
                    "values": values.map(number),
                    "elements": of,
                    "differing": elements,
                    "largest": number(*largest),
                }),
            };
            object["name"] = name.clone().into();
            object
        };
        let differ = |difference: &Difference| if let Difference::Values { largest, .. } = difference { *largest } else { 0.0 };
        // NaN counts as larger than any number, so that it is not lost.
        let largest = self.tensors.iter().map(|(_, d)| differ(d)).fold(0.0, |a: f64, b| if !(b <= a) { b } else { a });
        json!({
            "same": self.is_empty(),
            "texts": texts,
            "tensors": self.tensors.iter().map(tensor).collect::<Vec<_>>(),
            "largest": number(largest),
        })
    }
}

impl Difference {
    fn of(first: Option<&StoredTensor>, second: Option<&StoredTensor>) -> Option<Self> {
        let (first, second) = match (first, second) {
            (Some(first), Some(second)) => (first, second),
            (Some(_), None) => return Some(Self::OnlyFirst),
            (None, _) => return Some(Self::OnlySecond),
        };
        if (first.dtype, &first.shape) != (second.dtype, &second.shape) {
            return Some(Self::Form([first, second].map(|tensor| format!("{} {:?}", tensor.dtype.name(), tensor.shape))));
        }
        let size = first.dtype.size();
        let elements = first.bytes.chunks_exact(size).zip(second.bytes.chunks_exact(size));
        let differing: Vec<usize> = elements.enumerate().filter(|(_, (a, b))| a != b).map(|(place, _)| place).collect();
        let &place = differing.first()?;
        let mut found: Option<[f64; 2]> = None;
        let mut largest = 0.0f64;
        let mut places = differing.iter().peekable();
        for (at, (a, b)) in first.numbers().zip(second.numbers()).enumerate() {
            if places.next_if(|&&place| place == at).is_none() {
                continue;
            }
            found.get_or_insert([a, b]);
            let difference = (a - b).abs();
            // A NaN stays the largest.
            if !(difference <= largest) && !largest.is_nan() {
                largest = difference;
            }
        }
        let index = index(place, &first.shape);
        let values = found.unwrap_or_default();
        Some(Self::Values { index, values, elements: differing.len(), largest, of: first.len() })
    }
}
