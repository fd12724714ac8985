//! `thalweg predict` and `thalweg evaluate`: a trained model on rows of data.

use crate::Usage;
use crate::data::{self, RowArgs};
use crate::engine::{EngineArgs, Picked};
use crate::keep::{columns, scaler};
use crate::recipe::recipe;
use crate::resume::{Given, split};
use crate::train::{Args as TrainArgs, MAX_THREADS};
use crate::{numbers::whole, out};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thalweg::Trainer;
use thalweg::checkpoint::{Folder, Tensors, read};
use thalweg::data::csv::Form;
use thalweg::data::{Dataset, Scaler};
use thalweg::plan::Engine;
use thalweg::train::Confusion;

/// The options of a model and where it runs.
#[derive(Debug, clap::Args)]
pub struct ModelFile {
    /// A file of `train --save`, a checkpoint, or a folder of checkpoints, of which the best one is used
    #[arg(long, value_name = "FILE|DIR")]
    model: PathBuf,

    #[command(flatten)]
    engine: EngineArgs,

    /// Threads of the CPU engine [default: one per core]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MAX_THREADS), allow_negative_numbers = true)]
    threads: Option<usize>,

    /// Print only warnings and errors on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Predict classes with a trained model
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg predict --model model.safetensors --data new.csv
  thalweg predict --model run/ --data new.csv --proba --out predictions.csv

A CSV file has the columns of the training data, by name where these had a header; the label's may be missing. Scaling and the names of the
classes are part of the model's file. The output has a line for each row of the data.")]
pub struct Args {
    #[command(flatten)]
    file: ModelFile,

    #[command(flatten)]
    rows: RowArgs,

    /// Write the predictions as CSV into this file [default: standard output]
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,

    /// Also give the probability of each class
    #[arg(long)]
    proba: bool,

    /// Print one JSON object per row instead of CSV
    #[arg(long)]
    json: bool,
}

/// Measure a trained model on labelled data
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg evaluate --model model.safetensors
  thalweg evaluate --model model.safetensors --data test.csv --json

Without --data the model is measured on the test part of the run's own data, which are read again.")]
pub struct EvaluateArgs {
    #[command(flatten)]
    file: ModelFile,

    #[command(flatten)]
    rows: RowArgs,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// A model that was read.
struct Model {
    path: PathBuf,
    args: TrainArgs,
    tensors: Tensors,
    scaler: Scaler,
    form: Option<Form>,
    classes: Vec<String>,
    inputs: usize,
    outputs: usize,
}

impl Model {
    fn open(path: &Path) -> Result<Self> {
        let (path, tensors) = if path.is_dir() { of_folder(path)? } else { (path.into(), read(path)?) };
        Self::of(&path, tensors).with_context(|| path.display().to_string())
    }

    fn of(path: &Path, tensors: Tensors) -> Result<Self> {
        let args = Given::of_file(&tensors)?.parse()?;
        let (own, tensors) = split(tensors);
        let text = |name: &str| -> Result<Value> {
            let text =
                own.texts.get(name).ok_or_else(|| anyhow!("it has no text '{name}': it is not a model of the command line"))?;
            serde_json::from_str(text).with_context(|| format!("its text '{name}' cannot be read"))
        };
        let model = text("model")?;
        let width = |name: &str| model[name].as_u64().map(|width| width as usize).context("its widths cannot be read");
        let classes = text("classes")?;
        let names = classes.as_array().into_iter().flatten().map(|name| name.as_str().unwrap_or_default().to_string());
        let (inputs, outputs) = (width("inputs")?, width("outputs")?);
        let scaler = scaler(&own)?;
        if scaler.shift.len() != inputs {
            bail!("it scales {} features, and its model has {inputs}", scaler.shift.len());
        }
        let mut classes: Vec<String> = names.collect();
        classes.extend((classes.len()..outputs).map(|class| class.to_string()));
        Ok(Self { path: path.into(), args, tensors, scaler, form: columns(&own)?, classes, inputs, outputs })
    }

    /// Logits of rows of features, which are scaled first.
    fn logits(&self, file: &ModelFile, mut data: Dataset) -> Result<Vec<f32>> {
        if data.width != self.inputs {
            bail!("the data have {} features, and the model of {} has {}", data.width, self.path.display(), self.inputs);
        }
        self.scaler.apply(&mut data)?;
        match file.engine.pick(file.quiet, file.threads)? {
            Picked::Gpu(gpu) => self.run(&*gpu, &data.features),
            Picked::Cpu(cpu) => self.run(&cpu, &data.features),
        }
    }

    fn run<E: Engine<Float = f32>>(&self, engine: &E, features: &[f32]) -> Result<Vec<f32>> {
        let rule = self.args.recipe.rule()?;
        let others = self.args.recipe.others(&*rule)?;
        let recipe = recipe(&*rule, others.as_deref(), self.args.recipe.clip_norm, self.args.recipe.state)?;
        let model = self.args.model.perceptron(self.inputs, self.outputs);
        // A trainer needs data, although this one does not train.
        let none = Dataset::new(vec![0.0; self.inputs], self.inputs, vec![self.outputs.saturating_sub(1) as u32])?;
        let mut trainer = Trainer::builder(&model, recipe).train(&none).build(engine)?;
        trainer.load_model(&self.tensors).map_err(|error| anyhow!("{}: {error}", self.path.display()))?;
        Ok(trainer.predict(0, features)?)
    }

    /// Probabilities of the classes of a row.
    fn probabilities(logits: &[f32]) -> Vec<f64> {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.max(x.into()));
        let terms: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - largest).exp()).collect();
        let sum: f64 = terms.iter().sum();
        terms.into_iter().map(|term| term / sum).collect()
    }

    /// The cross-entropy, also where the label's probability is too small for a number.
    fn loss(logits: &[f32], label: usize) -> f64 {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.max(x.into()));
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        largest + sum.ln() - f64::from(logits[label])
    }

    /// The place of the first largest logit; NaN is larger than all numbers.
    fn class(logits: &[f32]) -> usize {
        let larger = |best: usize, at: usize| logits[at] > logits[best] || logits[at].is_nan() && !logits[best].is_nan();
        (1..logits.len()).fold(0, |best, at| if larger(best, at) { at } else { best })
    }
}

/// The best checkpoint of a folder, or the newest if there is no best one.
fn of_folder(path: &Path) -> Result<(PathBuf, Tensors)> {
    if let Ok(tensors) = Folder::best(path) {
        return Ok((path.join("best.safetensors"), tensors));
    }
    let (step, tensors) = Folder::newest(path)?;
    Ok((Folder::file(path, step), tensors))
}

/// Runs `predict`.
pub fn run(args: &Args) -> Result<()> {
    let Args { file, rows, proba, json, .. } = args;
    file.engine.check(file.threads)?;
    let model = Model::open(&file.model)?;
    let data = rows.features(model.form.as_ref(), &model.scaler.shift, file.quiet)?;
    let logits = model.logits(file, data)?;
    let mut text = String::new();
    if !json {
        text += "prediction";
        for class in model.classes.iter().filter(|_| *proba) {
            write!(text, ",{}", cell(class))?;
        }
        text.push('\n');
    }
    for (row, logits) in logits.chunks_exact(model.outputs).enumerate() {
        let (class, all) = (&model.classes[Model::class(logits)], Model::probabilities(logits));
        if *json {
            let mut object = json!({ "row": row + 1, "prediction": class });
            if *proba {
                object["probabilities"] = model.classes.iter().cloned().zip(all.iter().map(|&p| json!(p))).collect();
            }
            writeln!(text, "{object}")?;
        } else {
            text += &cell(class);
            all.iter().filter(|_| *proba).try_for_each(|p| write!(text, ",{p}"))?;
            text.push('\n');
        }
    }
    match &args.out {
        Some(file) => out::replace(file, text.as_bytes()),
        None => Ok(io::stdout().lock().write_all(text.as_bytes())?),
    }
}

/// A cell of a CSV file.
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

/// Runs `evaluate`.
pub fn evaluate(args: &EvaluateArgs) -> Result<()> {
    let EvaluateArgs { file, rows, json } = args;
    file.engine.check(file.threads)?;
    let model = Model::open(&file.model)?;
    let data = match rows.is_given() {
        true => rows.labelled(model.form.as_ref(), &model.scaler.shift, file.quiet)?,
        false => {
            let data = model.args.own_data(file.quiet)?;
            if data.read.source == data::STDIN {
                return Err(Usage("the run read its data from standard input: give --data".into()).into());
            }
            data.test
        }
    };
    if let Some(&label) = data.labels.iter().find(|&&label| label as usize >= model.outputs) {
        bail!("the data have the class {label}, and the model of {} has {} classes", model.path.display(), model.outputs);
    }
    let (labels, logits) = (data.labels.clone(), model.logits(file, data)?);
    let rows: Vec<&[f32]> = logits.chunks_exact(model.outputs).collect();
    let loss = |(logits, label): (&&[f32], &u32)| Model::loss(logits, *label as usize);
    let loss = rows.iter().zip(&labels).map(loss).sum::<f64>() / labels.len().max(1) as f64;
    let predicted: Vec<u32> = rows.iter().map(|logits| Model::class(logits) as u32).collect();
    let confusion = Confusion::of(&labels, &predicted, model.outputs)?;
    let mut out = io::stdout().lock();
    let (accuracy, f1) = (confusion.accuracy(), confusion.macro_f1());
    if *json {
        let class = |(class, name): (usize, &String)| {
            let rows: u64 = confusion.counts[class].iter().sum();
            let (precision, recall) = (confusion.precision(class), confusion.recall(class));
            json!({ "name": name, "rows": rows, "precision": precision, "recall": recall, "f1": confusion.f1(class) })
        };
        let classes: Vec<Value> = model.classes.iter().enumerate().map(class).collect();
        let loss = if loss.is_finite() { json!(loss) } else { json!(loss.to_string()) };
        let object = json!({
            "model": model.path.display().to_string(),
            "rows": labels.len(),
            "loss": loss,
            "accuracy": accuracy,
            "macro_f1": f1,
            "classes": classes,
            "confusion": confusion.counts,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "accuracy {:.2} %, loss {loss:.4}, macro F1 {f1:.4} on {} rows", 100.0 * accuracy, labels.len())?;
    for (class, name) in model.classes.iter().enumerate() {
        let rows: u64 = confusion.counts[class].iter().sum();
        let (precision, recall) = (100.0 * confusion.precision(class), 100.0 * confusion.recall(class));
        writeln!(out, "  {}: {rows} rows, precision {precision:.2} %, recall {recall:.2} %", data::shown(name))?;
    }
    Ok(())
}
