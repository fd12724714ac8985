//! `thalweg train`: from arguments to a trained model.

mod args;
mod end;
mod fit;

pub use args::{Args, EPOCHS, MAX_THREADS};

use crate::data::{self, Data};
use crate::engine::Picked;
use crate::keep::{About, Keeper, columns_json, fingerprint};
use crate::machines::{ADAPTER, Alone, Machines};
use crate::model::{Description, Kind, OfLanes, Size};
use crate::past::Past;
use crate::rates;
use crate::recipe::{DEFAULT, OTHERS, recipe};
use crate::record::Record;
use crate::report::{Report, Voice};
use crate::resume::{Given, Resumed, command};
use crate::score::{Aim, Measures};
use crate::settings::Scheduled;
use crate::tensorboard::EventFile;
use crate::{Usage, limits, pictures, stop};
use anyhow::{Context, Result};
use clap::FromArgMatches;
use fit::{Outputs, Work};
use thalweg::data::Scaler;
use thalweg::{AnyRule, Batch};

/// How training ended.
enum End {
    Done,
    Stopped(i32),
    NotFinite,
}

/// Runs the command.
pub fn run(machines: &impl Machines, args: Args, given: Given) -> Result<()> {
    let Some(path) = args.keep.resume.clone() else { return train(machines, args, &given, None) };
    // There has to be a step to look at.
    let latest = args.keep.until.map(|until| until - u64::from(!args.keep.watch.is_empty()));
    let (resumed, args, given) = Resumed::open(machines, &path, latest, &given)?;
    train(machines, args, &given, Some(resumed))
}

/// Trains by these options, which are those of the command, and says nothing but what is wrong.
pub fn silently(arguments: &[String]) -> Result<()> {
    let matches = command().no_binary_name(true).try_get_matches_from(arguments)?;
    let args = Args { silent: true, quiet: true, ..Args::from_arg_matches(&matches)? };
    train(&Alone, args, &Given::of(&matches), None)
}

fn train(machines: &impl Machines, mut args: Args, given: &Given, resumed: Option<Resumed>) -> Result<()> {
    if machines.number() > 0 {
        args.tell_nothing();
    }
    let rule = args.recipe.rule(&args.model)?;
    let others = args.recipe.others(&*rule)?;
    let recipe = recipe(&*rule, others.as_deref(), args.recipe.clip_norm, args.recipe.state)?;
    args.engine.check(args.threads)?;
    args.check()?;
    let named = args.schedule().map(Scheduled::named).transpose();
    args.recipe.schedule = named.map_err(|error| Usage(error.to_string()))?;
    stop::listen()?;
    // A file keeps the layers of its run, wherever those came from.
    let kept = resumed.as_ref().map(|resumed| resumed.description()).transpose()?.flatten();
    let indices = kept.as_ref().map_or_else(|| args.model.table_rows(), Description::table_rows)?;
    let data = args.own_data(indices, args.quiet)?;
    let (Data { train, validation, test, read }, scaler) = args.scaled(data, indices)?;
    let measures = Measures { aim: Aim::of(&train), validates: validation.is_some() };
    let batch = Batch { rows: args.batch.min(train.rows()), drop_last: args.drop_last };
    let description: Description = match kept {
        Some(description) => description,
        None => args.model.description(&train, Aim::outputs(&train))?,
    };
    let built = description.build(OfLanes::default())?;
    let parts: Vec<_> = [Some(&train), validation.as_ref(), Some(&test)].into_iter().flatten().collect();
    let cells = parts.iter().map(|part| part.features.len()).sum();
    let size = Size::of(&description, &built, &*rule, batch.rows, args.data.memory())?;
    size.check(&args.model.options(), &*rule, cells, args.data.memory())?;
    let steps_per_epoch = batch.steps(train.rows());
    // Less than 2⁶⁴: there are less than 2³² rows, and no more epochs.
    let steps = args.epochs as u64 * steps_per_epoch as u64;
    let goal = args.keep.until.unwrap_or(steps);
    let past =
        resumed.as_ref().map(|resumed| Past::of(resumed, given, &args, (&parts, measures), (goal, steps))).transpose()?;
    let groups: Vec<(&str, &dyn AnyRule)> =
        std::iter::once((DEFAULT, &*rule)).chain(others.as_deref().map(|rule| (OTHERS, rule))).collect();
    let (recipe, mut follower, rates) = rates::scheduled(recipe, &groups, args.recipe.schedule.as_ref(), (steps, args.epochs))?;
    let of_machine = machines.batch(batch)?;
    let out = args.out(measures)?;
    let engine = machines.agree("engines", args.engine.pick(args.quiet, args.threads))?;
    let (lr, parameters, model) = (rates::lr(&*rule), built.parameters, args.model.model.name());
    let run = data::Run { steps_per_epoch, batch: batch.rows, model, parameters, rule: rule.name(), lr, engine: engine.name() };
    let settings = args.settings(&*rule, others.as_deref(), batch.rows);
    let columns = read.form.as_ref().map(columns_json);
    let data = data::Summary { read, run };
    let (adapter, kept_best) = (engine.adapter(), args.patience.is_some());
    let mut record =
        Record { settings, data, measures, rates, engine: engine.name(), adapter, best: None, tested: None, kept_best };
    let epochs = args.keep.until.map_or(args.epochs, |until| until.div_ceil(steps_per_epoch.max(1) as u64) as usize);
    let voice = if args.silent { Voice::Silent } else { Voice::new(args.json, args.quiet) };
    let mut report = Report::new(voice, epochs, out);
    let target_scaler = match measures.aim == Aim::Numbers && !args.raw_targets {
        true => Some(Scaler::of_targets(&train)?),
        false => None,
    };
    let about = About::new(
        given,
        &parts,
        (scaler, target_scaler),
        [("model", Some(description.json())), ("columns", columns)],
        measures.aim,
    );
    if let Some(past) = &past {
        past.check_engine(engine.name(), args.quiet);
    }
    let start = past.as_ref().map_or(0, Past::steps);
    let mut keeper = Keeper::new(machines, &args.keep, about, start)?;
    let events = args.keep.tensorboard.as_ref().map(|folder| EventFile::create(folder, start)).transpose()?;
    let outputs = Outputs { report: &mut report, keeper: &mut keeper, events };
    let held = validation.as_ref().unwrap_or(&test);
    let starts = rates::starts(&groups);
    let same = [
        ("options", given.text()),
        ("layers", description.json().to_string()),
        ("data", fingerprint(&parts)),
        (ADAPTER, engine.identity()),
    ];
    let work = Work {
        machines,
        same,
        args: &args,
        model: &built.model,
        takes_indices: indices.is_some(),
        recipe: machines.recipe(recipe),
        starts,
        batch: of_machine,
        train: &train,
        held,
        test: &test,
        measures,
        past,
        goal,
    };
    let mut last = None;
    let ended = match &engine {
        #[cfg(feature = "gpu")]
        Picked::Gpu(gpu) => work.fit(&**gpu, follower.as_mut(), &mut record, outputs, &mut last),
        Picked::Cpu(cpu) => work.fit(cpu, follower.as_mut(), &mut record, outputs, &mut last),
    };
    report.close();
    // Layers of a perceptron have numbers; those of others have names.
    let widths = if matches!(args.model.model, Kind::Mlp | Kind::Linear) { &built.widths[..] } else { &[] };
    let ended = ended.map_err(|error| limits::explain(error, widths, batch.rows));
    if let (Some(tested), Some(_), true) = (&record.tested, &last, report.has_files()) {
        let (name, picture) = pictures::of_test(&tested.outputs, &test, &record.title(last.as_ref()))
            .context("cannot draw what was predicted")?;
        report.picture(name, &picture);
    }
    let finished = end::finish(ended, &record, &mut report, last);
    // What could not be kept is the last to be told, and not where the run itself failed.
    let kept = keeper.finish();
    finished.and(kept)
}
