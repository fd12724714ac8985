//! `thalweg predict` and `thalweg evaluate`: a trained model on rows of data.

use crate::Usage;
use crate::data::{self, Data, RowArgs, as_numbers};
use crate::engine::{EngineArgs, Picked};
use crate::keep::{DATA, aim, columns, fingerprint, scaler, target_scaler};
use crate::model::{Description, OfLanes};
use crate::recipe::recipe;
use crate::resume::Given;
use crate::score::{Aim, Score, class as class_of};
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

/// Predict classes or numbers with a trained model
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg predict --model model.safetensors --data new.csv
  thalweg predict --model run/ --data new.csv --proba --out predictions.csv

A CSV file has the columns of the training data, by name where these had a header; the label's may be missing. Scaling and the names of the
classes are part of the model's file. The output has a line for each row of the data; with --missing drop only for those that are complete,
and each line begins with the number of its row.")]
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
    target_scaler: Option<Scaler>,
    form: Option<Form>,
    aim: Aim,
    classes: Vec<String>,
    description: Description,
    /// What the run's data were.
    data: String,
    /// The rows of the table in which features are looked up, if they are indices.
    indices: Option<u32>,
}

impl Model {
    fn open(path: &Path) -> Result<Self> {
        let (path, tensors) = if path.is_dir() { of_folder(path)? } else { (path.into(), read(path)?) };
        Self::of(&path, tensors).with_context(|| path.display().to_string())
    }

    fn of(path: &Path, tensors: Tensors) -> Result<Self> {
        let args = Given::of_file(&tensors)?.parse()?;
        let text = |name: &str| -> Result<Value> {
            let text = tensors
                .texts
                .get(name)
                .ok_or_else(|| anyhow!("it has no text '{name}': it is not a model of the command line"))?;
            serde_json::from_str(text).with_context(|| format!("its text '{name}' cannot be read"))
        };
        let model = text("model")?;
        let description = match Description::of_json(&model, path)? {
            Some(description) => description,
            None => args.model.perceptron_of(&model, path)?,
        };
        let classes = text("classes")?;
        let names = classes.as_array().into_iter().flatten().map(|name| name.as_str().unwrap_or_default().to_string());
        let (inputs, outputs) = (description.inputs(), description.outputs);
        let (scaler, target_scaler, aim) = (scaler(&tensors)?, target_scaler(&tensors)?, aim(&tensors));
        if scaler.shift.len() != inputs {
            bail!("it scales {} features, and its model has {inputs}", scaler.shift.len());
        }
        let mut classes: Vec<String> = names.collect();
        if aim == Aim::Classes {
            classes.extend((classes.len()..outputs).map(|class| class.to_string()));
        }
        let (form, indices) = (columns(&tensors)?, description.table_rows()?);
        let data = tensors.texts.get(DATA).cloned().unwrap_or_default();
        Ok(Self { data, path: path.into(), args, tensors, scaler, target_scaler, form, aim, classes, description, indices })
    }

    /// What the model says of rows of features, which are scaled first: logits, or numbers in the units of the data.
    fn outputs(&self, file: &ModelFile, mut data: Dataset) -> Result<Vec<f32>> {
        let inputs = self.description.inputs();
        if data.width != inputs {
            bail!("the data have {} features, and the model of {} has {inputs}", data.width, self.path.display());
        }
        self.scaler.apply(&mut data)?;
        let mut outputs = match file.engine.pick(file.quiet, file.threads)? {
            #[cfg(feature = "gpu")]
            Picked::Gpu(gpu) => self.run(&*gpu, &data.features),
            Picked::Cpu(cpu) => self.run(&cpu, &data.features),
        }?;
        if let Some(Scaler { shift, divisor }) = &self.target_scaler {
            for row in outputs.chunks_exact_mut(shift.len().max(1)) {
                let unscaled =
                    row.iter().zip(shift.iter().zip(divisor)).map(|(&y, (shift, divisor))| f64::from(y) * divisor + shift);
                let unscaled: Vec<f32> = unscaled.map(|y| y as f32).collect();
                row.copy_from_slice(&unscaled);
            }
        }
        Ok(outputs)
    }

    fn run<E: Engine<Float = f32>>(&self, engine: &E, features: &[f32]) -> Result<Vec<f32>> {
        let rule = self.args.recipe.rule(&self.args.model)?;
        let others = self.args.recipe.others(&*rule)?;
        let recipe = recipe(&*rule, others.as_deref(), self.args.recipe.clip_norm, self.args.recipe.state)?;
        let (inputs, outputs) = (self.description.inputs(), self.description.outputs);
        // A trainer has data; this one does not train. Normalisation by the batch asks for more than one row.
        let none = match self.aim {
            Aim::Classes => Dataset::new(vec![0.0; 2 * inputs], inputs, vec![outputs.saturating_sub(1) as u32; 2])?,
            Aim::Numbers => Dataset::regression(vec![0.0; 2 * inputs], inputs, vec![0.0; 2 * outputs], outputs)?,
        };
        let model = self.description.build(OfLanes::default())?.model;
        let trainer = Trainer::builder(&model, recipe).train(&none);
        let trainer = if self.indices.is_some() { trainer.index_features() } else { trainer };
        let mut trainer = trainer.build(engine)?;
        trainer.load_model(&self.tensors).map_err(|error| anyhow!("{}: {error}", self.path.display()))?;
        Ok(trainer.predict(0, features)?)
    }

    /// Whether the data of the run are still the same, so that its test rows are those that it has not learned from.
    fn check_own(&self, data: &Data) -> Result<()> {
        let (data, _) = self.args.scaled(data.clone(), self.indices)?;
        let parts: Vec<_> = [Some(&data.train), data.validation.as_ref(), Some(&data.test)].into_iter().flatten().collect();
        let now = fingerprint(&parts);
        if now == self.data {
            return Ok(());
        }
        let path = self.path.display();
        let text = format!("{path}: the data of its run are others now: {} in the file, {now} read; give --data", self.data);
        Err(Usage(text).into())
    }

    /// Probabilities of the classes of a row.
    fn probabilities(logits: &[f32]) -> Vec<f64> {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.max(x.into()));
        let terms: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - largest).exp()).collect();
        let sum: f64 = terms.iter().sum();
        terms.into_iter().map(|term| term / sum).collect()
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
    if let Some(out) = &args.out {
        check_out(out, [Some(&*model.path), rows.path()])?;
    }
    let (data, numbers) = rows.features(model.form.as_ref(), &model.scaler.shift, model.indices, file.quiet)?;
    if *proba && model.aim == Aim::Numbers {
        return Err(Usage("--proba: the model predicts numbers, which have no probabilities".into()).into());
    }
    let logits = model.outputs(file, data)?;
    let mut text = String::new();
    if !json {
        text += if rows.drops() { "row,prediction" } else { "prediction" };
        for class in model.classes.iter().filter(|_| *proba) {
            write!(text, ",{}", cell(class))?;
        }
        text.push('\n');
    }
    for (row, logits) in numbers.into_iter().zip(logits.chunks_exact(model.description.outputs)) {
        if rows.drops() && !json {
            write!(text, "{},", row + 1)?;
        }
        if model.aim == Aim::Numbers {
            let line =
                if *json { json!({ "row": row + 1, "prediction": logits[0] }).to_string() } else { logits[0].to_string() };
            writeln!(text, "{line}")?;
            continue;
        }
        let (class, all) = (&model.classes[class_of(logits)], Model::probabilities(logits));
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

/// Whether predictions may be written into a file: it is none of those that are read.
fn check_out(out: &Path, read: [Option<&Path>; 2]) -> Result<()> {
    let whole = |path: &Path| path.canonicalize().ok();
    let Some(place) = whole(out) else { return Ok(()) };
    match read.into_iter().flatten().find(|path| whole(path).as_ref() == Some(&place)) {
        Some(_) => {
            Err(Usage(format!("--out {}: this file is read, and would be lost: give another one", out.display())).into())
        }
        None => Ok(()),
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
        true => rows.labelled(model.form.as_ref(), &model.scaler.shift, model.indices, file.quiet)?,
        false => {
            let data = model.args.own_data(model.indices, file.quiet)?;
            if data.read.source == data::STDIN {
                return Err(Usage("the run read its data from standard input: give --data".into()).into());
            }
            model.check_own(&data)?;
            data.test
        }
    };
    let mut data = data;
    if model.aim == Aim::Numbers {
        as_numbers(&mut data);
        return evaluate_numbers(&model, file, data, *json);
    }
    let classes = model.description.outputs;
    if let Some(&label) = data.labels.iter().find(|&&label| label as usize >= classes) {
        bail!("the data have the class {label}, and the model of {} has {classes} classes", model.path.display());
    }
    let (labels, logits) =
        (data.labels.clone(), model.outputs(file, Dataset { classes, class_names: Vec::new(), ..data.clone() })?);
    let score = Score::of(&logits, &Dataset { classes, ..data })?;
    let loss = score.loss;
    let predicted: Vec<u32> = logits.chunks_exact(classes).map(|logits| class_of(logits) as u32).collect();
    let confusion = Confusion::of(&labels, &predicted, classes)?;
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

/// Measures a model that predicts numbers.
fn evaluate_numbers(model: &Model, file: &ModelFile, data: Dataset, json: bool) -> Result<()> {
    let outputs = model.outputs(file, data.clone())?;
    let score = Score::of(&outputs, &data)?;
    let mut out = io::stdout().lock();
    if json {
        let mut object = json!({ "model": model.path.display().to_string(), "rows": data.rows(), "rmse": score.loss.sqrt() });
        score.put(model.aim, "", &mut object);
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "{} on {} rows", score.said(model.aim), data.rows())?;
    }
    Ok(())
}
