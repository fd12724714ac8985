//! `thalweg sweep`: a search for the settings of a training run.

mod args;
mod curves;
mod cut;
mod design;
mod file;
mod folder;
mod groups;
mod live;
mod metric;
mod pictures;
mod preset;
mod progress;
mod result;
mod rungs;
mod said;
mod space;
mod told;
mod trainer;
mod waves;

pub use args::Args;

use crate::data::Data;
use crate::engine::Picked;
use crate::machines::Machines;
use crate::report::{Voice, note};
use crate::score::Aim;
use crate::{Interrupted, Usage, limits, stop};
use anyhow::{Result, bail};
use cut::Cut;
use design::Design;
use folder::Folder;
use progress::Progress;
use result::Outcome;
use said::Said;
use serde_json::json;
use std::cell::RefCell;
use std::ffi::OsString;
use std::path::Path;
use thalweg::plan::Engine;
use thalweg::sweep::Table;
use told::Told;
use trainer::Jobs;
use waves::Waves;

/// Runs the command.
pub fn run(machines: &impl Machines, args: &Args, given: &[OsString]) -> Result<()> {
    let (mut args, is_first) = (file::complete(args, given)?, machines.number() == 0);
    if !machines.is_alone() && args.strategy == args::Strategy::Population {
        let reason = "its members copy each other, and lanes are not copied from machine to machine";
        return Err(Usage(format!("--strategy population runs on one machine: {reason}")).into());
    }
    if !is_first {
        (args.quiet, args.json, args.out) = (true, false, None);
    }
    args.engine.check(args.threads)?;
    let design = Design::new(&args)?;
    stop::listen()?;
    let indices = design.base.model.table_rows()?;
    let Data { train, test, read, .. } = args.data.load(args.seed, indices, args.quiet)?;
    args.settle_metric(Aim::of(&train))?;
    let cells = train.features.len() + test.features.len();
    design.base.check_memory(&design.space, &train, cells, args.data.memory())?;
    let cut = Cut::new(train, test, read, indices.is_some(), args.folds, args.seed)?;
    let opened = match &args.out {
        Some(out) => Folder::new(out, &args, &design, &cut),
        None => Ok((None, Table::new(design.space.clone(), args.metric().goal()))),
    };
    let (folder, table) = machines.agree("the folder of the sweep", opened)?;
    let table = of_first(machines, table)?;
    let engine = machines.agree("engines", args.engine.pick(args.quiet, args.threads))?;
    let waves = machines.agree("the memory for lanes", Waves::new(&args, &design, &cut, &engine))?;
    let voice = if is_first { Voice::new(args.json, args.quiet) } else { Voice::Silent };
    let progress = Progress::new(voice, (args.metric(), args.unit()), &design.sweep, folder, table.clone());
    let names = (engine.name(), engine.adapter());
    let work = Work { machines, args: &args, design, cut: &cut, waves, progress: RefCell::new(progress), table, names };
    match &engine {
        #[cfg(feature = "gpu")]
        Picked::Gpu(gpu) => work.sweep(&**gpu),
        Picked::Cpu(cpu) => work.sweep(cpu),
    }
}

/// The table of the first machine, which may go on with an interrupted sweep, on all machines.
fn of_first(machines: &impl Machines, table: Table) -> Result<Table> {
    let text = machines.texts(table.json_lines())?.swap_remove(0);
    if machines.number() == 0 {
        return Ok(table);
    }
    let name = Path::new("the table of the first machine");
    Ok(Table::read_json_lines(&text, name, table.space().clone(), table.goal())?.0)
}

/// A sweep that is about to begin.
struct Work<'a, M> {
    machines: &'a M,
    args: &'a Args,
    design: Design,
    cut: &'a Cut,
    waves: Waves,
    progress: RefCell<Progress>,
    table: Table,
    /// Engine and adapter.
    names: (&'static str, String),
}

impl<M: Machines> Work<'_, M> {
    fn sweep<E: Engine<Float = f32>>(self, engine: &E) -> Result<()> {
        let Self { machines, args, design: Design { base, space, sweep, mut study }, cut, waves, progress, mut table, names } =
            self;
        let about = json!({
            "settings": args.settings(),
            "space": space.to_string(),
            "goal": args.metric().goal_name(),
            "engine": names.0,
            "adapter": names.1,
            "lanes": waves.lanes,
            "waves": waves.json(),
            "data": cut.json(),
        });
        progress.borrow_mut().begin(&about, &[cut.lines(), vec![waves.line()]].concat())?;
        let jobs = Jobs { args, base: &base, space: &space, cut, lanes: waves.lanes };
        let population = machines.spread(Box::new(jobs.population(engine, &progress)))?;
        let mut trainer = Told { machines, train: population, progress: &progress };
        let ran = sweep.run(&mut study, &mut table, &mut trainer, |record| {
            progress.borrow_mut().row(record);
            Ok(())
        });
        if machines.number() > 0 {
            // The rest is the first machine's.
            return ran.map_err(anyhow::Error::from);
        }
        let signal = stop::asked();
        let mut outcome = Outcome::new(args, cut, &study, &table);
        outcome.train = outcome.best.as_ref().and_then(|best| jobs.arguments(&best.point, best.steps));
        let last = if ran.is_ok() && signal.is_none() { last_runs(engine, jobs, &table, &mut outcome) } else { Ok(None) };
        drop(trainer);
        // Another signal may have come meanwhile.
        let signal = stop::asked();
        let mut progress = progress.into_inner();
        if let (Ok(_), None, Some(file)) = (&last, signal, &args.save_best) {
            save(args, file, outcome.train.as_deref())?;
        }
        if let Ok(Some(text)) = &last {
            progress.file("out_of_fold.csv", text);
        }
        let ran = ran.map_err(anyhow::Error::from).and(last.map(|_| ()));
        let state = match (&ran, signal) {
            (_, Some(_)) => "interrupted",
            (Ok(()), None) => "finished",
            (Err(_), None) => "failed",
        };
        let printed = progress.end(state, &outcome);
        if let Some(signal) = signal {
            let done = format!("{} of {} trials; with --out, --resume continues the sweep", outcome.done, sweep.trials);
            bail!(Interrupted { done, signal });
        }
        ran.map_err(|error| limits::explain(error, &[], base.batch))?;
        printed?;
        if outcome.best.is_none() {
            bail!("none of the {} trials has a loss that is finite: try smaller rates, or --clip-norm 1", outcome.trials);
        }
        Ok(())
    }
}

/// Lets `train` train the best settings and save the model.
fn save(args: &Args, file: &Path, train: Option<&[String]>) -> Result<()> {
    let Some(train) = train else {
        note("warning: no trial was trained to the end, so that no model is saved");
        return Ok(());
    };
    let save = format!("--save={}", file.display());
    let all: Vec<String> = train.iter().chain(&args.of_engine).cloned().chain([save]).collect();
    crate::train::silently(&all)
}

/// Trains the best settings once more, where the options ask for it: on all training data, the best several for an ensemble,
/// and on each fold; the probabilities of the folds' rows are returned as CSV.
fn last_runs<E: Engine>(engine: &E, jobs: Jobs, table: &Table, outcome: &mut Outcome) -> Result<Option<String>> {
    let (args, (train, test)) = (jobs.args, &jobs.cut.lanes);
    let Some(best) = outcome.best.clone() else { return Ok(None) };
    if args.folds > 0 && !args.no_refit {
        let Some(refit) = jobs.refit(engine, &best.point, best.steps)? else { return Ok(None) };
        outcome.refit = Some(refit.tested(test)?);
    }
    let (mut trials, mut said) = (Vec::new(), Vec::new());
    for summary in result::best_of(table, args.ensemble) {
        let Some(refit) = jobs.refit(engine, &summary.point, summary.steps)? else { return Ok(None) };
        trials.push(summary.trial);
        said.push(refit);
    }
    if !said.is_empty() {
        outcome.ensemble = Some((trials, Said::mean(said)?.tested(test)?));
    }
    if !args.out_of_fold || args.folds == 0 {
        return Ok(None);
    }
    let mut folds = Vec::new();
    for fold in jobs.cut.folds() {
        let Some(said) = jobs.of_fold(engine, &best.point, fold, best.steps)? else { return Ok(None) };
        folds.push((fold, said));
    }
    Ok(Some(Said::out_of_fold(folds, train)?))
}
