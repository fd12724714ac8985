//! The files that a run leaves: the model at its end, and checkpoints during it.

use crate::Usage;
use crate::machines::Machines;
use crate::report::{Epoch, note};
use crate::resume::{ARGUMENTS, Given, RUN, SCALER};
use crate::score::{Aim, Score};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use thalweg::checkpoint::{Due, Every, Folder, Saver, Tensors, write};
use thalweg::data::csv::Form;
use thalweg::data::{Dataset, Scaler};
use thalweg::plan::Program;
use thalweg::{Error, Trainer};

/// The options of the files that a run leaves.
#[derive(Debug, Clone, clap::Args)]
pub struct KeepArgs {
    /// Where to write the trained model, for `predict`, `evaluate` and --resume: at the end of the run, even if a signal ends
    /// it
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    /// Where to keep checkpoints on the way, written in the background: the last ones and the best by accuracy, or R², on the
    /// rows that validate
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,

    /// How often to write a checkpoint: a number of steps, or of seconds such as 60s
    #[arg(long, value_name = "N|Ns", default_value = "60s", value_parser = every)]
    pub every: Every,

    /// How many of the last checkpoints are kept
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = crate::numbers::whole::<usize>(1..=1 << 20))]
    pub keep: usize,

    /// Resume a run from a file of --save or --checkpoint, or from a folder of checkpoints, which also gets the new ones.
    /// Settings come from the file. --epochs or --until may extend the run; options about where it runs and writes (--engine,
    /// --out, --save …) have to be given again
    #[arg(long, value_name = "DIR|FILE")]
    pub resume: Option<PathBuf>,

    /// End at this step, counted from the start of the run. With --resume, start from the last checkpoint before it
    #[arg(long, value_name = "STEP", value_parser = crate::numbers::whole::<u64>(1..=1 << 48))]
    pub until: Option<u64>,

    /// Print the loss and the norm of this tensor, such as `0.weight` or `state.0.weight.exp_avg`, after every step, to look
    /// into a run again. No checkpoints are written. May be repeated
    #[arg(long, value_name = "NAME")]
    pub watch: Vec<String>,

    /// A folder for TensorBoard's event files
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

fn every(text: &str) -> Result<Every, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

/// What each file of a run says about the run.
pub struct About {
    texts: Vec<(&'static str, String)>,
    scaler: Scaler,
    /// That of numbers that are learned.
    target_scaler: Option<Scaler>,
    aim: Aim,
}

impl About {
    pub fn new(
        given: &Given,
        parts: &[&Dataset],
        (scaler, target_scaler): (Scaler, Option<Scaler>),
        objects: [(&'static str, Option<Value>); 2],
        aim: Aim,
    ) -> Self {
        let classes = parts.first().map(|train| train.class_names.clone()).unwrap_or_default();
        let mut texts = vec![
            (ARGUMENTS, given.text()),
            ("classes", json!(classes).to_string()),
            ("task", aim.task().into()),
            (DATA, fingerprint(parts)),
        ];
        texts.extend(objects.into_iter().filter_map(|(name, object)| Some((name, object?.to_string()))));
        Self { texts, scaler, target_scaler, aim }
    }

    /// Adds it to a trainer's tensors.
    fn tensors(&self, mut tensors: Tensors, history: &[Epoch], seconds: f64) -> Result<Tensors> {
        tensors.texts.extend(self.texts.iter().map(|(name, text)| (name.to_string(), text.clone())));
        let rows: Vec<f64> = history.iter().flat_map(|epoch| epoch.row(self.aim)).collect();
        tensors.put(&format!("{RUN}epochs"), &[history.len(), columns_of(self.aim)], &rows)?;
        tensors.put(&format!("{RUN}seconds"), &[], &[seconds])?;
        let Scaler { shift, divisor } = &self.scaler;
        tensors.put(&format!("{SCALER}shift"), &[shift.len()], shift)?;
        tensors.put(&format!("{SCALER}divisor"), &[divisor.len()], divisor)?;
        if let Some(Scaler { shift, divisor }) = &self.target_scaler {
            tensors.put(&format!("{TARGET_SCALER}shift"), &[shift.len()], shift)?;
            tensors.put(&format!("{TARGET_SCALER}divisor"), &[divisor.len()], divisor)?;
        }
        Ok(tensors)
    }
}

/// The text that identifies the data of a run.
pub const DATA: &str = "data";

/// What begins the names of the scaling of numbers that are learned.
const TARGET_SCALER: &str = "scaler.target_";

/// Numbers of rows and a hash of all cells, labels and targets, of the training part, those that validate if there are any, and
/// the test part.
pub fn fingerprint(parts: &[&Dataset]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bits: u32| hash = (hash ^ u64::from(bits)).wrapping_mul(0x0100_0000_01b3);
    for data in parts {
        data.features.iter().for_each(|x| add(x.to_bits()));
        data.labels.iter().for_each(|&label| add(label));
        data.targets.iter().for_each(|x| add(x.to_bits()));
    }
    let rows: Vec<String> = parts.iter().map(|part| part.rows().to_string()).collect();
    let width = parts.first().map_or(0, |part| part.width);
    match &rows[..] {
        [train, held, test] => {
            format!("{train} training rows, {held} validation rows, {test} test rows, {width} features, hash {hash:016x}")
        }
        _ => format!("{} rows, {width} features, hash {hash:016x}", rows.join(" training rows, ") + " test"),
    }
}

/// Numbers of an epoch in a file.
fn columns_of(aim: Aim) -> usize {
    3 + 2 * aim.names().len()
}

/// The epochs of a file, and the seconds that training took.
pub fn history(own: &Tensors, aim: Aim) -> Result<(Vec<Epoch>, f64)> {
    let rows: Vec<f64> = own.get(&format!("{RUN}epochs"))?;
    let seconds = own.get::<f64>(&format!("{RUN}seconds"))?.first().copied().unwrap_or(0.0);
    let (columns, measures) = (columns_of(aim), aim.names().len());
    let epoch = |row: &[f64]| {
        let (train, held) = (Score::of_values(&row[1..=measures]), Score::of_values(&row[1 + measures..=2 * measures]));
        Epoch { epoch: row[0] as usize, train, held, steps: row[columns - 2] as usize, seconds: row[columns - 1] }
    };
    Ok((rows.chunks_exact(columns).map(epoch).collect(), seconds))
}

/// The scaling of a file.
pub fn scaler(own: &Tensors) -> Result<Scaler> {
    scaler_at(own, SCALER)
}

/// The scaling of numbers that were learned, if they were scaled.
pub fn target_scaler(own: &Tensors) -> Result<Option<Scaler>> {
    own.find(&format!("{TARGET_SCALER}shift")).map(|_| scaler_at(own, TARGET_SCALER)).transpose()
}

fn scaler_at(own: &Tensors, prefix: &str) -> Result<Scaler> {
    let of = |name: &str| own.get::<f64>(&format!("{prefix}{name}"));
    Ok(Scaler { shift: of("shift")?, divisor: of("divisor")? })
}

/// What a file's run learns.
pub fn aim(own: &Tensors) -> Aim {
    if own.texts.get("task").is_some_and(|task| task == Aim::Numbers.task()) { Aim::Numbers } else { Aim::Classes }
}

/// The columns of a CSV file as JSON.
pub fn columns_json(form: &Form) -> Value {
    let Form { header, columns, label, features, classes, .. } = form;
    json!({ "header": header, "columns": columns, "label": label, "features": features, "classes": classes })
}

/// The columns that a file has, if its run was trained on a CSV file.
pub fn columns(own: &Tensors) -> Result<Option<Form>> {
    let Some(text) = own.texts.get("columns") else { return Ok(None) };
    let value: Value = serde_json::from_str(text)?;
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|text| text.as_str().map(String::from)).collect()
    };
    let number = |value: &Value| value.as_u64().map(|number| number as usize);
    let feature = |value: &Value| Some((number(&value[0])?, texts(&value[1])?));
    let form = || {
        let mut form = Form::default();
        form.header = if value["header"].is_null() { None } else { Some(texts(&value["header"])?) };
        (form.columns, form.label) = (number(&value["columns"])?, number(&value["label"])?);
        form.features = value["features"].as_array()?.iter().map(feature).collect::<Option<_>>()?;
        form.classes = texts(&value["classes"])?;
        let inside = form.features.iter().all(|(column, _)| *column < form.columns) && form.label < form.columns;
        let named = form.header.as_ref().is_none_or(|names| names.len() == form.columns);
        (inside && named).then_some(form)
    };
    form().map(Some).ok_or_else(|| anyhow!("its columns cannot be read"))
}

/// Writes the files of a run. Machines of a job have one each, and call it together; the first one knows what is to be written.
pub struct Keeper {
    about: About,
    save: Option<PathBuf>,
    saver: Option<Saver>,
    /// Where all machines write checkpoints, each its part, and how many are kept.
    parts: Option<(PathBuf, usize)>,
    /// Whether the first machine keeps checkpoints, and saves the model at the end.
    keeps: bool,
    saves: bool,
    due: Due,
    /// The step of the newest checkpoint.
    newest: Option<u64>,
    /// The first failure to write.
    failure: Option<anyhow::Error>,
    /// Whether failures are noted here.
    notes: bool,
}

impl Keeper {
    /// Opens the folder, so that a folder that cannot be written stops the run before it starts. `start` is the step from which
    /// a run goes on.
    pub fn new(machines: &impl Machines, args: &KeepArgs, about: About, start: u64) -> Result<Self> {
        let folder = match (&args.checkpoint, &args.resume) {
            _ if !args.watch.is_empty() => None,
            (Some(folder), _) => Some(folder),
            (None, Some(resumed)) if resumed.is_dir() => Some(resumed),
            _ => None,
        };
        let same =
            |folder: &Path| args.resume.as_deref().is_some_and(|resumed| resumed == folder || resumed.parent() == Some(folder));
        let opened = folder.map(|folder| open(machines, folder, args.keep, same(folder))).transpose();
        let saver = machines.agree("the folder of checkpoints", opened)?;
        if let Some(folder) = args.save.as_ref().and_then(|save| save.parent()).filter(|folder| !folder.as_os_str().is_empty())
            && !folder.is_dir()
        {
            return Err(Usage(format!("--save: {} is no folder", folder.display())).into());
        }
        let parts = machines.parts(folder.map(PathBuf::as_path))?.map(|folder| (folder, args.keep));
        let keeps = machines.most(saver.is_some().into())? > 0;
        let saves = machines.most(args.save.is_some().into())? > 0;
        let (due, notes) = (Due::new(args.every, start), machines.number() == 0);
        Ok(Self { about, save: args.save.clone(), saver, parts, keeps, saves, due, newest: None, failure: None, notes })
    }

    /// Whether a checkpoint is due at a step; if so, it counts as written. The first machine decides.
    pub fn is_due(&mut self, step: u64) -> bool {
        self.saver.is_some() && self.due.at(step)
    }

    /// Writes a checkpoint: in the background, or all machines together. A failure to write does not end the run.
    pub fn checkpoint<P: Program<Float = f32>>(
        &mut self,
        machines: &impl Machines,
        trainer: &mut Trainer<P>,
        history: &[Epoch],
        seconds: f64,
    ) -> Result<()> {
        let step = trainer.steps() as u64;
        if !self.keeps || self.newest == Some(step) {
            return Ok(());
        }
        self.newest = Some(step);
        let sent = match &self.parts {
            Some((folder, keep)) => {
                let tensors = self.about.tensors(trainer.tensors()?, history, seconds)?;
                machines.write_part(folder, *keep, step, &tensors, trainer.optimizer().arena())
            }
            None => self.write(machines, trainer, (history, seconds), |saver, tensors| saver.save_step(step, tensors)),
        };
        self.hear(sent);
        Ok(())
    }

    /// Writes the best model so far in the background.
    pub fn best<P: Program<Float = f32>>(
        &mut self,
        machines: &impl Machines,
        trainer: &mut Trainer<P>,
        history: &[Epoch],
        seconds: f64,
    ) -> Result<()> {
        if !self.keeps {
            return Ok(());
        }
        let sent = self.write(machines, trainer, (history, seconds), Saver::save_best);
        self.hear(sent);
        Ok(())
    }

    /// Hands all that a checkpoint has to the first machine's saver, in the memory of one that is written.
    fn write<P: Program<Float = f32>>(
        &mut self,
        machines: &impl Machines,
        trainer: &mut Trainer<P>,
        (history, seconds): (&[Epoch], f64),
        send: impl FnOnce(&mut Saver, Tensors) -> thalweg::Result<()>,
    ) -> Result<()> {
        let spare = self.saver.as_mut().map(Saver::spare).unwrap_or_default();
        let Some((tensors, saver)) = machines.tensors(trainer, spare)?.zip(self.saver.as_mut()) else { return Ok(()) };
        Ok(send(saver, self.about.tensors(tensors, history, seconds)?)?)
    }

    /// Writes the last checkpoint, and the file of the model.
    pub fn end<P: Program<Float = f32>>(
        &mut self,
        machines: &impl Machines,
        trainer: &mut Trainer<P>,
        history: &[Epoch],
        seconds: f64,
    ) -> Result<()> {
        self.checkpoint(machines, trainer, history, seconds)?;
        let ended = self.saver.take().map_or(Ok(()), Saver::finish);
        self.hear(ended.map_err(Into::into));
        if !self.saves {
            return Ok(());
        }
        let tensors = machines.tensors(trainer, Tensors::default())?;
        if let Some((file, tensors)) = self.save.as_ref().zip(tensors) {
            let written = write(file, &self.about.tensors(tensors, history, seconds)?);
            self.hear(written.map_err(Into::into));
        }
        Ok(())
    }

    /// Returns the first failure to write, if there was one.
    pub fn finish(&mut self) -> Result<()> {
        let ended = self.saver.take().map_or(Ok(()), Saver::finish);
        self.hear(ended.map_err(Into::into));
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Keeps the first failure, and notes it on stderr.
    fn hear(&mut self, written: Result<()>) {
        if let (Err(error), None) = (written, &self.failure) {
            if self.notes {
                note(&format!("warning: {error}; the run goes on"));
            }
            self.failure = Some(error);
        }
    }
}

/// Opens a folder of checkpoints. If it has some already, only the run that wrote them may use it.
fn open(machines: &impl Machines, folder: &Path, keep: usize, same: bool) -> Result<Saver> {
    let opened = Folder::open(folder)?.keep(keep);
    if !same && (!Folder::steps(folder)?.is_empty() || machines.newest_in_parts(folder, None)?.is_some()) {
        let folder = folder.display();
        return Err(Usage(format!(
            "{folder} has checkpoints of another run: --resume {folder} goes on with it; else give another folder"
        ))
        .into());
    }
    Ok(Saver::over(opened)?)
}
