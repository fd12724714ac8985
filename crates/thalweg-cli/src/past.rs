//! The past of a resumed run, and `--watch`, which looks into a run again.

use crate::Usage;
use crate::keep::{DATA, fingerprint, history};
use crate::machines::Machines;
use crate::report::{Epoch, Report, note};
use crate::resume::{Given, Resumed};
use crate::score::Measures;
use crate::settings::Scheduled;
use crate::train::{Args, EPOCHS};
use anyhow::{Result, anyhow};
use std::path::PathBuf;
use std::time::Duration;
use thalweg::checkpoint::{Element, Tensors};
use thalweg::data::Dataset;
use thalweg::plan::Program;
use thalweg::{Error, Trainer};

/// The past of a resumed run.
pub struct Past {
    path: PathBuf,
    /// The trainer's state; none if the run starts from its beginning.
    tensors: Option<Tensors>,
    engine: String,
    /// Whether its learning rates followed the loss.
    pub had_plateau: bool,
    pub history: Vec<Epoch>,
    pub spent: Duration,
}

impl Past {
    /// Checks that the run in a file can go on to step `goal` with these data. `steps` are those of --epochs.
    pub fn of(
        resumed: &Resumed,
        given: &Given,
        args: &Args,
        (parts, measures): (&[&Dataset], Measures),
        (goal, steps): (u64, u64),
    ) -> Result<Self> {
        let Resumed { path, tensors, own, arguments } = resumed;
        let named = |error: Error| anyhow!("{}: {error}", path.display());
        let (expected, found) = (own.texts.get(DATA).cloned().unwrap_or_default(), fingerprint(parts));
        if expected != found {
            return Err(
                Usage(format!("the resumed run has learned from other data: {expected} in its file, {found} now")).into()
            );
        }
        let done = tensors.as_ref().map_or(Ok(0), steps_of).map_err(named)?;
        if done >= goal {
            let text = format!(
                "{} is at step {done}, and the run ends at step {goal}: --epochs N with more epochs, or --until STEP, extends it",
                path.display()
            );
            return Err(Usage(text).into());
        }
        // The schedule's length follows from --epochs.
        let epochs = arguments.text_of("epochs").map_or(Ok(EPOCHS), |text| text.parse())?;
        let extended = goal > steps || args.epochs != epochs;
        let anew = given.text_of("schedule") != arguments.text_of("schedule");
        if let Some(schedule) = args.recipe.schedule.as_ref().filter(|_| extended && !anew)
            && schedule.follows_run(steps)
        {
            let text = format!(
                "the schedule {} took its length from the run that goes on, which is to be longer: give --schedule anew, with the length \
                 that it is to have",
                schedule.name
            );
            return Err(Usage(text).into());
        }
        let engine = own.texts.get("engine").cloned().unwrap_or_default();
        let (history, spent) = match tensors {
            Some(_) => history(own, measures.aim).map_err(|error| anyhow!("{}: {error}", path.display()))?,
            None => (Vec::new(), 0.0),
        };
        let spent = Duration::try_from_secs_f64(spent).unwrap_or_default();
        let schedule = arguments.text_of("schedule").and_then(|text| text.parse::<Scheduled>().ok()?.named().ok());
        let had_plateau = schedule.is_some_and(|schedule| schedule.is_plateau());
        Ok(Self { path: path.clone(), tensors: tensors.clone(), engine, had_plateau, history, spent })
    }

    /// The steps that were made.
    pub fn steps(&self) -> u64 {
        self.tensors.as_ref().and_then(|tensors| steps_of(tensors).ok()).unwrap_or(0)
    }

    /// Notes that bits may differ on another engine.
    pub fn check_engine(&self, engine: &str, quiet: bool) {
        if self.tensors.is_some() && self.engine != engine && !quiet {
            note(&format!(
                "the run was made on the {} engine and is resumed on the {engine} engine: the bits of later steps may differ",
                self.engine
            ));
        }
    }

    /// Brings a trainer to the state of the run.
    pub fn load<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>) -> Result<()> {
        let Some(tensors) = &self.tensors else {
            note(&format!("no checkpoint is old enough, so the run of {} is repeated from its start", self.path.display()));
            return Ok(());
        };
        let loaded = trainer.load_tensors(tensors).map_err(|error| anyhow!("{}: {error}", self.path.display()))?;
        for (name, place) in &loaded.not_finite {
            note(&format!("warning: {}: {name} is not finite from element {place} on", self.path.display()));
        }
        Ok(())
    }
}

/// Steps that the run of a file has made.
fn steps_of(tensors: &Tensors) -> Result<u64, Error> {
    Ok(tensors.get::<u64>("trainer.steps")?.first().copied().unwrap_or(0))
}

/// The tensors of `--watch`.
pub struct Watch {
    /// Each name as it was given, and as it is in files.
    names: Vec<(String, String)>,
}

impl Watch {
    /// # Errors
    /// A name that no tensor has.
    pub fn new<P: Program>(names: &[String], trainer: &mut Trainer<P>) -> Result<Option<Self>>
    where
        P::Float: Element,
    {
        if names.is_empty() {
            return Ok(None);
        }
        let tensors = trainer.tensors()?;
        let found = |name: &String| {
            let forms = [name.clone(), format!("param.{name}"), format!("buffer.{name}")];
            let known: Vec<&str> = tensors.iter().map(|(name, _)| name.strip_prefix("param.").unwrap_or(name)).collect();
            let place = forms.into_iter().find(|form| tensors.find(form).is_some());
            let place = place.ok_or_else(|| Usage(Error::unknown("tensor", name, &known).to_string()))?;
            Ok((name.clone(), place))
        };
        let names = names.iter().map(found).collect::<Result<_>>()?;
        trainer.optimizer_mut().watch_loss();
        trainer.optimizer_mut().telemetry_every(1);
        Ok(Some(Self { names }))
    }

    /// Prints the last step's loss and the norms after it.
    pub fn look<P: Program<Float = f32>>(
        &mut self,
        machines: &impl Machines,
        trainer: &mut Trainer<P>,
        report: &mut Report,
    ) -> Result<()> {
        let Some(tensors) = machines.tensors(trainer, Tensors::default())? else { return Ok(()) };
        trainer.optimizer_mut().flush()?;
        let loss = trainer.optimizer_mut().poll()?.last().and_then(|sample| sample.loss);
        let norm =
            |(name, place): &(String, String)| (name.clone(), tensors.find(place).map_or(f64::NAN, crate::inspect::norm));
        let norms: Vec<(String, f64)> = self.names.iter().map(norm).collect();
        report.watched(trainer.steps() as u64, loss, &norms)
    }
}
