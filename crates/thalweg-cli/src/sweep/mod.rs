//! `thalweg sweep`: a search for the settings of a training run.

mod args;
mod cut;
mod design;
mod file;
mod folder;
mod pictures;
mod preset;
mod progress;
mod result;
mod space;
mod trainer;

pub use args::Args;

use crate::data::Data;
use crate::engine::Picked;
use crate::report::Voice;
use crate::{Interrupted, limits, stop};
use anyhow::{Result, bail};
use cut::Cut;
use design::Design;
use folder::Folder;
use progress::Progress;
use result::Outcome;
use serde_json::json;
use std::cell::RefCell;
use thalweg::plan::Engine;
use thalweg::sweep::Table;
use trainer::OneByOne;

/// Runs the command.
pub fn run(given: &Args) -> Result<()> {
    let args = file::complete(given)?;
    args.engine.check(args.threads)?;
    let design = Design::new(&args)?;
    stop::listen()?;
    let Data { train, test, read } = args.data.load_unscaled(args.seed, args.quiet)?;
    let (widths, cells) = ((train.width, train.classes), train.features.len() + test.features.len());
    design.base.check_memory(&design.space, widths, cells, args.data.memory())?;
    let cut = Cut::new(train, test, read, args.folds, args.seed)?;
    let (folder, table) = match &args.out {
        Some(out) => Folder::new(out, &args, &design, &cut)?,
        None => (None, Table::new(design.space.clone(), args.metric.goal())),
    };
    let engine = args.engine.pick(args.quiet, args.threads)?;
    let progress = Progress::new(Voice::new(args.json, args.quiet), args.metric, &design.sweep, folder, table.clone());
    let names = (engine.name(), engine.adapter());
    let work = Work { args: &args, design, cut: &cut, progress: RefCell::new(progress), table, names };
    match &engine {
        Picked::Gpu(gpu) => work.sweep(&**gpu),
        Picked::Cpu(cpu) => work.sweep(cpu),
    }
}

/// A sweep that is about to begin.
struct Work<'a> {
    args: &'a Args,
    design: Design,
    cut: &'a Cut,
    progress: RefCell<Progress>,
    table: Table,
    /// Engine and adapter.
    names: (&'static str, String),
}

impl Work<'_> {
    fn sweep<E: Engine>(self, engine: &E) -> Result<()> {
        let Self { args, design: Design { base, space, sweep, mut study }, cut, progress, mut table, names } = self;
        let about = json!({
            "settings": args.settings(),
            "space": space.to_string(),
            "goal": args.metric.goal_name(),
            "engine": names.0,
            "adapter": names.1,
            "data": cut.json(),
        });
        progress.borrow_mut().begin(&about, &cut.lines())?;
        let mut trainer = OneByOne::new(engine, &base, cut, args.metric, args.seed, args.epochs, &progress);
        let ran = sweep.run(&mut study, &mut table, &mut trainer, |record| {
            progress.borrow_mut().row(record);
            Ok(())
        });
        let signal = stop::asked();
        let mut outcome = Outcome::new(args, &study, &table);
        if ran.is_ok() && signal.is_none() && args.folds > 0 && !args.no_refit {
            outcome.refit = outcome.best.as_ref().map(|best| trainer.refit(&best.point, best.steps)).transpose()?.flatten();
        }
        let mut progress = progress.into_inner();
        let state = match (&ran, signal) {
            (_, Some(_)) => "interrupted",
            (Ok(()), None) => "finished",
            (Err(_), None) => "failed",
        };
        let printed = progress.end(state, &outcome);
        if let Some(signal) = signal {
            let done = format!("{} of {} trials; --resume goes on with --out", outcome.done, sweep.trials);
            bail!(Interrupted { done, signal });
        }
        ran.map_err(|error| limits::explain(error.into(), &[], base.batch))?;
        printed?;
        if outcome.best.is_none() {
            bail!("none of the {} trials has a loss that is finite: try smaller rates, or --clip-norm 1", outcome.trials);
        }
        Ok(())
    }
}
