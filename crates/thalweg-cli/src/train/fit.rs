//! Training itself: epochs to an end, with looks at the rows that are kept back.

use super::{Args, End};
use crate::keep::Keeper;
use crate::machines::Machines;
use crate::past::{Past, Watch};
use crate::rates::{self, Follower, Starts};
use crate::record::{Record, Tested};
use crate::report::{Epoch, Report};
use crate::score::{Aim, Measures, Score};
use crate::stop;
use crate::tensorboard::EventFile;
use anyhow::Result;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use thalweg::data::Dataset;
use thalweg::nn::Sequential;
use thalweg::plan::{Engine, Program};
use thalweg::{Batch, Recipe, Trainer};

/// What is trained on what, up to which step.
pub struct Work<'a, M> {
    pub machines: &'a M,
    /// What has to be the same on all machines, by name.
    pub same: [(&'static str, String); 4],
    pub args: &'a Args,
    pub model: &'a Sequential,
    /// Whether its features are indices.
    pub takes_indices: bool,
    pub recipe: Recipe,
    pub starts: Starts,
    pub batch: Batch,
    pub train: &'a Dataset,
    /// What is looked at after each epoch: rows that validate, or the test rows.
    pub held: &'a Dataset,
    pub test: &'a Dataset,
    pub measures: Measures,
    pub past: Option<Past>,
    pub goal: u64,
}

/// Where a run tells how it goes.
pub struct Outputs<'a> {
    pub report: &'a mut Report,
    pub keeper: &'a mut Keeper,
    pub events: Option<EventFile>,
}

impl<M: Machines> Work<'_, M> {
    /// Trains to the end. `last` is the last whole epoch.
    pub fn fit<E: Engine<Float = f32>>(
        self,
        engine: &E,
        mut follower: Option<&mut Follower>,
        record: &mut Record,
        mut outputs: Outputs,
        last: &mut Option<Epoch>,
    ) -> Result<End> {
        let Self { machines, args, recipe, starts, batch, measures, goal, takes_indices, .. } = self;
        let trainer = Trainer::builder(self.model, recipe).train(self.train).validation(self.held).batch(batch).seed(args.seed);
        let trainer = if takes_indices { trainer.index_features() } else { trainer };
        let standardises = measures.aim == Aim::Numbers && !args.raw_targets;
        let trainer = if standardises { trainer.standardise_targets() } else { trainer };
        let stopping = args.stopping(measures.aim);
        let trainer = stopping.map_or(trainer.clone(), |stopping| trainer.early_stopping(stopping));
        let built = machines.builder(trainer).and_then(|builder| Ok(builder.build(engine)?));
        let mut trainer = machines.agree("engines", built)?;
        machines.prepare(&mut trainer)?;
        if let Some(follower) = &follower {
            follower.set(&mut trainer)?;
        }
        outputs.report.data(&record.data.clone(), record)?;
        outputs.report.start(trainer.steps_per_epoch());
        let (mut history, mut spent) = (Vec::new(), Duration::ZERO);
        if let Some(past) = self.past {
            past.load(&mut trainer)?;
            if past.had_plateau {
                // Another schedule starts from the rates that were given, not from those that had fallen.
                rates::set(&mut trainer, &starts, 1.0)?;
            }
            (history, spent) = (past.history, past.spent);
            history.iter().for_each(|done| {
                record.epoch(*done);
            });
            *last = history.last().copied();
            outputs.report.before(&history, trainer.steps());
            if let Some(follower) = &mut follower {
                follower.replay(history.iter().map(|epoch| epoch.held.loss));
                follower.set(&mut trainer)?;
            }
        }
        let mut watch = Watch::new(&args.keep.watch, &mut trainer)?;
        machines.begin(&mut trainer, &self.same)?;
        let ended = loop {
            if trainer.steps() as u64 >= goal || trainer.has_stopped() {
                break End::Done;
            }
            let (epochs, start) = (trainer.epochs(), Instant::now());
            let (before, mut due) = (epochs * trainer.steps_per_epoch() as u64, false);
            let met = machines.epoch(&mut trainer, &mut |done| {
                outputs.report.step();
                let step = before + done as u64;
                due = outputs.keeper.is_due(step);
                let pause = due || watch.is_some() || step >= goal || stop::asked().is_some();
                if pause { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            spent += start.elapsed();
            if let Some(watch) = &mut watch {
                watch.look(machines, &mut trainer, outputs.report)?;
            }
            if trainer.epochs() > epochs {
                let found = machines.evaluate(&mut trainer)?;
                trainer.observe(&found)?;
                let [train, held] = [met[0], found[0]].map(Score::from);
                let (epoch, seconds) = (trainer.epochs() as usize, spent.as_secs_f64());
                let done = Epoch { epoch, train, held, steps: trainer.steps(), seconds };
                let is_best = record.epoch(done);
                *last = Some(done);
                history.push(done);
                outputs.epoch(done, record)?;
                if let Some(follower) = &mut follower {
                    follower.epoch(&mut trainer, held.loss)?;
                }
                if !done.is_finite() && !args.keep_going {
                    return Ok(End::NotFinite);
                }
                if is_best {
                    outputs.keeper.best(machines, &mut trainer, &history, seconds)?;
                }
            }
            // A signal may have come to some machines alone.
            let signal = machines.most(stop::asked().unwrap_or(0) as u64)?;
            if signal > 0 {
                break End::Stopped(signal as i32);
            }
            // The clock of the first machine decides.
            if machines.most(due.into())? > 0 {
                outputs.keeper.checkpoint(machines, &mut trainer, &history, spent.as_secs_f64())?;
            }
        };
        outputs.keeper.end(machines, &mut trainer, &history, spent.as_secs_f64())?;
        let tests = measures.validates || outputs.report.has_files();
        if machines.most(tests.into())? > 0 {
            record.tested = tested(machines, &mut trainer, stopping.is_some(), self.test)?;
        }
        Ok(ended)
    }
}

/// What the model says of the test rows in the end, if that is finite: the best one where it was kept.
fn tested<P: Program<Float = f32>>(
    machines: &impl Machines,
    trainer: &mut Trainer<P>,
    keeps_best: bool,
    test: &Dataset,
) -> Result<Option<Tested>> {
    if keeps_best {
        trainer.restore_best()?;
    }
    let outputs = machines.predict(trainer, &test.features)?;
    if !outputs.iter().all(|output| output.is_finite()) {
        return Ok(None);
    }
    Ok(Some(Tested { score: Score::of(&outputs, test)?, outputs }))
}

impl Outputs<'_> {
    fn epoch(&mut self, done: Epoch, record: &Record) -> Result<()> {
        if let Some(events) = &mut self.events {
            let Epoch { train, held, steps, .. } = done;
            let Measures { aim, .. } = record.measures;
            let rate = record.rates.at(steps.saturating_sub(1) as u64);
            let mut values = Vec::new();
            for (part, score) in [("train", train), (record.measures.held(), held)] {
                values.extend(aim.names().iter().map(|name| format!("{part}/{name}")).zip(score.values(aim)));
            }
            values.extend(rate.map(|rate| ("rate".to_string(), rate)));
            let values: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            events.scalars(steps as u64, &values)?;
        }
        self.report.epoch(done, record)
    }
}
