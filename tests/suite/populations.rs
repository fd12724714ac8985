//! Jobs of a sweep as lanes: each has the results of a trainer of its own.

use crate::common::engines;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use thalweg::checkpoint::{Element, Tensors, read, write};
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, Fold, KFold};
use thalweg::nn::{BatchNorm1d, LaneDropout, Linear, Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::sweep::{
    Coordinate, Goal, Halving, Job, Point, PopulationBased, Random, SearchSpace, Strategy, Study, Sweep, Table, Train,
};
use thalweg::train::{Look, Metric, Population, Setup};
use thalweg::{Adam, Recipe, Result, Sgd, Trainer};

fn data() -> Dataset {
    crate::training::classes(26)
}

fn folds() -> Vec<Fold> {
    (KFold { folds: 3, shuffle: Some(1), ..Default::default() }).split(26).expect("folds")
}

fn number(job: &Job, name: &str) -> Option<f64> {
    job.point.get(name).and_then(Coordinate::as_f64)
}

fn setup(job: &Job) -> Result<Setup> {
    let lr = number(job, "lr").unwrap_or(0.01);
    let model = Sequential::new()
        .then(Linear::new(4, number(job, "hidden").map_or(8, |hidden| hidden as usize)))
        .then(BatchNorm1d::new(number(job, "hidden").map_or(8, |hidden| hidden as usize)))
        .then(LaneDropout { p: 0.0 })
        .then(Nonlinearity::Tanh)
        .then(Linear::new(number(job, "hidden").map_or(8, |hidden| hidden as usize), 3));
    let recipe = match number(job, "momentum") {
        Some(momentum) => Recipe::new(Sgd { lr, momentum, ..Default::default() }).clip_norm(10.0 * lr),
        None => Recipe::new(Adam { lr, ..Default::default() }).scale("lr", Cosine::new(1.0, 40)),
    };
    let p = number(job, "p").unwrap_or(0.25);
    let batch = number(job, "batch").map_or(6, |batch| batch as usize).into();
    let buffers = vec![("2.p".into(), vec![p])];
    Ok(Setup { batch, seed: job.seed.unwrap_or(3), buffers, ..Setup::new(model, recipe) })
}

fn job(trial: u64, fold: Option<u64>, seed: Option<u64>, values: &[(&str, f64)]) -> Job {
    let point = values.iter().fold(Point::new(), |point, (name, value)| point.with(name, Coordinate::Float(*value)));
    Job { trial, fold, seed, point }
}

/// The metric and the state of a job that a trainer of its own has trained.
fn alone<E: Engine>(engine: &E, data: &Dataset, folds: &[Fold], job: &Job, steps: usize) -> Result<(f64, Trainer<E::Program>)> {
    let setup = setup(job)?;
    let mut trainer =
        Trainer::builder(&*setup.model, setup.recipe).train(data).batch(setup.batch).seed(setup.seed).standardise();
    trainer = match job.fold {
        Some(fold) => trainer.fold(0, &folds[fold as usize]),
        None => trainer.validation(data),
    };
    for (name, values) in &setup.buffers {
        trainer = trainer.buffer(0, name, values);
    }
    let mut trainer = trainer.build(engine)?;
    trainer.advance(steps)?;
    Ok((trainer.evaluate()?[0].loss, trainer))
}

/// Jobs that differ in everything.
fn jobs() -> Vec<Job> {
    vec![
        job(0, Some(0), Some(1), &[("lr", 0.01)]),
        job(0, Some(1), Some(1), &[("lr", 0.01)]),
        job(0, Some(2), Some(2), &[("lr", 0.02), ("p", 0.5)]),
        job(1, Some(0), Some(1), &[("lr", 0.1), ("momentum", 0.5)]),
        job(2, Some(0), Some(1), &[("lr", 0.3), ("momentum", 0.9)]),
        // Without momentum the rule has another kernel.
        job(3, Some(0), Some(1), &[("lr", 0.3), ("momentum", 0.0)]),
        job(4, Some(1), Some(4), &[("lr", 0.01), ("hidden", 5.0)]),
        job(5, Some(1), Some(4), &[("lr", 0.01), ("batch", 7.0)]),
        job(6, None, None, &[("lr", 0.03)]),
        job(7, None, None, &[("lr", 0.01), ("p", 0.0)]),
    ]
}

#[test]
fn a_job_is_what_a_trainer_of_its_own_makes_of_it() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (data, folds, all) = (data(), folds(), jobs());
        let mut population = Population::new(engine, &data, setup).folds(folds.clone()).validation(&data).standardise();
        // Some stop, some go on, and those that come later start from the beginning.
        let calls: [(&[usize], u64); 4] =
            [(&[0, 1, 2, 3, 4, 6], 3), (&[0, 2, 4, 5, 6, 7, 8], 8), (&[2, 9, 8, 4], 17), (&[2], 17)];
        let mut made: BTreeMap<usize, u64> = BTreeMap::new();
        for (which, steps) in calls {
            let now: Vec<Job> = which.iter().map(|&index| all[index].clone()).collect();
            let found = population.train(&now, steps)?;
            for (&index, found) in which.iter().zip(found) {
                made.insert(index, steps);
                let (expected, mut trainer) = alone(engine, &data, &folds, &all[index], steps as usize)?;
                assert_eq!(found, expected, "{}, job {index} after {steps} steps", engine.describe());
                let state = population.state(&all[index]).expect("a state");
                for (name, array) in trainer.state_dict()?.iter() {
                    assert_eq!(state.get(name), Some(array), "{}, job {index}: {name}", engine.describe());
                }
            }
        }
        assert_eq!(population.model_steps(), made.values().sum::<u64>());
        population.forget(&[2]);
        assert!(population.state(&all[4]).is_none() && population.state(&all[3]).is_some());
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

/// A copy goes on as the original would, but with the settings of its own point.
#[test]
fn a_copy_goes_on_from_the_other_with_its_own_settings() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let (data, folds) = (data(), folds());
        let of = |trial, lr, p| job(trial, Some(1), None, &[("lr", lr), ("p", p)]);
        let mut population = Population::new(&engine, &data, setup).folds(folds.clone()).standardise();
        population.train(&[of(0, 0.01, 0.1), of(1, 0.3, 0.4)], 7)?;
        population.copy(0, 1)?;
        let found = population.train(&[of(0, 0.01, 0.1), of(1, 0.02, 0.3)], 12)?;
        let (_, mut winner) = alone(&engine, &data, &folds, &of(0, 0.01, 0.1), 7)?;
        for (found, lr, p) in [(found[0], 0.01, 0.1), (found[1], 0.02, 0.3)] {
            let (_, mut other) = alone(&engine, &data, &folds, &of(1, lr, p), 0)?;
            let (mut state, own) = (winner.state_dict()?, other.state_dict()?);
            for (name, array) in own.iter().filter(|(name, _)| name.starts_with("setting.") || *name == "buffer.2.p") {
                state.insert(name, array.clone());
            }
            other.load_state_dict(&state)?;
            other.advance(5)?;
            assert_eq!(found, other.evaluate()?[0].loss, "{}", engine.name);
        }
        assert_ne!(found[0], found[1]);
        assert!(population.copy(5, 0).is_err());
    }
    Ok(())
}

/// A lane that goes wrong has the metric NaN and does not affect the others.
#[test]
fn a_job_that_goes_wrong_disturbs_no_other() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let (data, folds) = (data(), folds());
        let of = |trial, lr: f64| job(trial, Some(0), None, &[("lr", lr)]);
        let all = [of(0, 0.1), of(1, 3e38), of(2, 0.2)];
        for strict in [false, true] {
            let setup = |job: &Job| {
                let recipe = Recipe::new(Sgd { lr: number(job, "lr").unwrap_or(0.0), ..Default::default() });
                // With a bound on bad steps, the lane itself returns an error.
                let recipe = if strict { recipe.skip_bad().max_bad_steps(2) } else { recipe };
                Ok(Setup::new(Linear::new(4, 3), recipe))
            };
            let mut population = Population::new(&engine, &data, setup);
            population = population.folds(folds.clone()).standardise().metric(Metric::Accuracy);
            let found = population.train(&all, 80)?;
            assert!(found[1].is_nan() && found[0].is_finite() && found[2].is_finite(), "{}: {found:?}", engine.name);
            let right = population.train(&[of(3, 0.1), of(4, 0.2)], 80)?;
            assert_eq!([found[0], found[2]], right[..], "{}", engine.name);
        }
    }
    Ok(())
}

/// The steps that the watch hears of are those up to the mistake, once.
#[test]
fn a_job_that_goes_wrong_alone_is_trained_once() -> Result<()> {
    let (engine, data, looks) = (engines::cpu(), data(), Cell::new(0));
    let setup = |_: &Job| {
        let recipe = Recipe::new(Sgd { lr: 3e38, ..Default::default() }).skip_bad().max_bad_steps(2);
        Ok(Setup { batch: data.rows().into(), ..Setup::new(Linear::new(4, 3), recipe) })
    };
    let watch = |_: &Look| {
        looks.set(looks.get() + 1);
        ControlFlow::Continue(())
    };
    let mut population = Population::new(&engine, &data, setup).validation(&data).watch(watch);
    assert!(population.train(&[job(0, None, None, &[])], 80)?[0].is_nan());
    let once = looks.replace(0);
    assert!(once > 0);
    // In company all start together, and then each alone.
    assert!(population.train(&[1, 2].map(|trial| job(trial, None, None, &[])), 80)?.iter().all(|metric| metric.is_nan()));
    assert_eq!(looks.get(), 3 * once);
    Ok(())
}

/// Strategies run over a population as over trainers one by one, in waves of any size.
#[test]
fn a_sweep_over_a_population_is_one_over_single_trainers() -> Result<()> {
    let (engine, data, folds) = (engines::cpu(), data(), folds());
    let space: SearchSpace = "lr=log:1e-3:1; momentum=uniform:0.1:0.9".parse()?;
    let halving = Strategy::Halving(Halving { min_steps: 2, max_steps: 8, eta: 2 });
    let rule = PopulationBased { quantile: 0.25, seed: 2, ..PopulationBased::exploring(["lr"]) };
    let population = Strategy::Population { steps: 8, every: 4, rule };
    for strategy in [halving, population] {
        let sweep = Sweep { trials: 4, folds: 2, ..Sweep::new(strategy.clone()) };
        let run = |most: usize| {
            let mut study = Study::new(space.clone(), Goal::Minimize, Random { seed: 4 });
            let mut table = Table::new(space.clone(), Goal::Minimize);
            let mut population = Population::new(&engine, &data, setup).folds(folds.clone()).standardise().at_most(most);
            sweep.run(&mut study, &mut table, &mut population, |_| Ok(()))?;
            Ok::<String, thalweg::Error>(table.csv())
        };
        let expected = run(1)?;
        assert_eq!(run(usize::MAX)?, expected);
        assert_eq!(run(3)?, expected);
    }
    Ok(())
}

#[test]
fn a_watch_hears_of_epochs_changes_no_bits_and_may_end_a_call() -> Result<()> {
    let (engine, data, folds, jobs) = (engines::cpu(), data(), folds(), jobs());
    let jobs = &jobs[..2];
    let (looks, breaks) = (RefCell::new(Vec::new()), Cell::new(false));
    let watch = |look: &Look| {
        let losses: Vec<f64> = look.jobs.iter().map(|(_, metrics)| metrics.loss).collect();
        looks.borrow_mut().push((look.made, look.steps_per_epoch, look.model_steps, losses));
        if breaks.get() && look.made >= 14 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut watched = Population::new(&engine, &data, setup).folds(folds.clone()).standardise().watch(watch);
    let mut other = Population::new(&engine, &data, setup).folds(folds.clone()).standardise();
    assert_eq!(watched.train(jobs, 11)?, other.train(jobs, 11)?);
    // Three steps are an epoch of both jobs.
    let made: Vec<(usize, usize, u64)> = looks.borrow().iter().map(|&(made, epoch, steps, _)| (made, epoch, steps)).collect();
    assert_eq!(made, [(3, 3, 6), (6, 3, 6), (9, 3, 6), (11, 3, 4)]);
    let (_, mut alone) = alone(&engine, &data, &folds, &jobs[1], 6)?;
    assert_eq!(looks.borrow()[1].3[1], alone.metrics()?[0].loss);
    breaks.set(true);
    let ended = watched.train(jobs, 20).expect_err("broken off");
    assert_eq!(ended.to_string(), "training is out of order: its watch broke it off");
    assert_eq!(watched.metrics(&jobs[0]), other.metrics(&jobs[0]));
    breaks.set(false);
    assert_eq!(watched.train(jobs, 20)?, other.train(jobs, 20)?);
    Ok(())
}

/// Jobs that need programs of their own: if the watch breaks one off, those that had ended before also stay where they were
/// before the call.
#[test]
fn a_call_that_is_broken_off_leaves_all_jobs_where_they_were() -> Result<()> {
    let (engine, data, folds, jobs) = (engines::cpu(), data(), folds(), jobs());
    // Adam, and momentum of another kernel.
    let jobs = [jobs[0].clone(), jobs[3].clone()];
    let (breaks, seen) = (Cell::new(false), Cell::new(0));
    let watch = |look: &Look| {
        let second = look.jobs.iter().any(|(job, _)| job.trial == 1);
        seen.set(seen.get() + usize::from(!second && !look.jobs.is_empty()));
        if breaks.get() && second { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut watched = Population::new(&engine, &data, setup).folds(folds.clone()).standardise().watch(watch);
    let mut other = Population::new(&engine, &data, setup).folds(folds.clone()).standardise();
    assert_eq!(watched.train(&jobs, 6)?, other.train(&jobs, 6)?);
    let before = jobs.each_ref().map(|job| watched.state(job).cloned());
    breaks.set(true);
    seen.set(0);
    watched.train(&jobs, 12).expect_err("broken off");
    assert!(seen.get() > 0, "the first job was trained");
    assert!(jobs.each_ref().map(|job| watched.state(job).cloned()) == before, "and is where it was");
    breaks.set(false);
    assert_eq!(watched.train(&jobs, 12)?, other.train(&jobs, 12)?);
    Ok(())
}

#[test]
fn a_job_without_rows_to_validate_on_is_refused() {
    let (engine, data) = (engines::cpu(), data());
    let mut population = Population::new(&engine, &data, setup).folds(folds());
    let jobs = [job(0, Some(1), None, &[]), job(1, None, None, &[])];
    let error = population.train(&jobs, 3).expect_err("no rows to validate on").to_string();
    assert_eq!(error, "a population needs data to validate on, for example .validation(&data) or .folds(..)");
    assert!(population.metrics(&jobs[0]).is_none(), "nothing was trained");
    population.train(&jobs[..1], 3).expect("a fold has rows");
}

/// A population that is dropped between two calls, and one that takes up its tensors: the bits are those of one that goes on. A
/// job that is farther than it is asked to be begins anew.
#[test]
fn a_population_goes_on_from_its_tensors() -> Result<()> {
    fn check<E: Engine<Float: Element>>(engine: &E) -> Result<()> {
        let (data, folds, jobs) = (data(), folds(), jobs());
        let new = || Population::new(engine, &data, setup).folds(folds.clone()).validation(&data).standardise();
        let mut whole = new();
        whole.train(&jobs, 7)?;
        whole.copy(0, 7)?;
        let file = tempfile::NamedTempFile::new().expect("a file");
        write(file.path(), &whole.tensors()?)?;
        let mut other = new();
        other.load_tensors(&read(file.path())?)?;
        assert_eq!(other.state(&jobs[2]), whole.state(&jobs[2]));
        assert!(other.metrics(&jobs[2]).is_none());
        assert_eq!(other.train(&jobs, 12)?, whole.train(&jobs, 12)?, "{}", engine.describe());
        for job in &jobs {
            assert!(other.state(job).is_some() && other.state(job) == whole.state(job), "{}", engine.describe());
        }
        let before = new().train(&jobs[..3], 5)?;
        assert_eq!(other.train(&jobs[..3], 5)?, before, "{}", engine.describe());
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn tensors_of_no_population_are_refused() -> Result<()> {
    let (engine, data) = (engines::cpu(), data());
    let mut population = Population::new(&engine, &data, setup).folds(folds());
    fn refused<E: Engine<Float: Element>, S>(population: &mut Population<'_, E, S>, tensors: &Tensors, message: &str) {
        assert_eq!(population.load_tensors(tensors).expect_err(message).to_string(), message);
    }
    let mut tensors = Tensors::default();
    let wrong = "the text 'jobs': another text found, a list of jobs expected";
    refused(&mut population, &tensors, wrong);
    tensors.texts.insert("jobs".into(), r#"[{"trial":0,"steps":-1,"starts_from":2}]"#.into());
    refused(&mut population, &tensors, wrong);
    let jobs = jobs();
    population.train(&jobs[..2], 3)?;
    let mut tensors = population.tensors()?;
    tensors.put("0/0/1/counts/trainer.steps", &[], &[1.5f32])?;
    let wrong = "type of tensor '0/0/1/counts/trainer.steps': F32 found, U64 expected";
    let before = population.state(&jobs[0]).cloned();
    refused(&mut population, &tensors, wrong);
    assert!(population.state(&jobs[0]).cloned() == before, "nothing has changed");
    Ok(())
}
