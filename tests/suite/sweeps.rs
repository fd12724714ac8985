//! Whole sweeps with formulas as trainers: which trials are trained, stopped, copied and written, in waves and resumed.

use std::collections::BTreeMap;
use std::path::Path;

use thalweg::sweep::{
    Coordinate, FoldStopping, Goal, Grid, Halving, Hyperband, Job, MedianStopping, Outcome, Patience, Point, PopulationBased,
    Random, SearchSpace, Status, Stopping, Strategy, Study, Sweep, Table, Tpe, Train,
};
use thalweg::{Error, Result};

fn space() -> SearchSpace {
    "lr=log:1e-4:1; rule=choice:adam,sgd".parse().expect("a space")
}

fn number(point: &Point, name: &str) -> f64 {
    point.get(name).and_then(Coordinate::as_f64).expect("a number")
}

/// The loss grows with the distance of the rate from 0.1 and falls with more steps; rates from 0.8 on fail.
fn loss(job: &Job, steps: u64) -> f64 {
    let lr = number(&job.point, "lr");
    let place = 0.01 * job.fold.unwrap_or(0) as f64 + 0.001 * job.seed.unwrap_or(0) as f64;
    if lr > 0.8 { f64::NAN } else { (lr / 0.1).ln().abs() + 1.0 / steps as f64 + place }
}

/// A trainer with a capacity, which fails after a number of calls.
struct Formula {
    room: usize,
    calls: usize,
    jobs: Vec<usize>,
}

impl Formula {
    fn new(room: usize, calls: usize) -> Self {
        Self { room, calls, jobs: Vec::new() }
    }
}

impl Train for Formula {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        assert!(jobs.len() <= self.room);
        if self.jobs.len() == self.calls {
            return Err(Error::Empty { what: "the battery".into() });
        }
        self.jobs.push(jobs.len());
        Ok(jobs.iter().map(|job| loss(job, steps)).collect())
    }

    fn capacity(&self) -> usize {
        self.room
    }
}

fn study() -> Study {
    Study::new(space(), Goal::Minimize, Tpe { seed: 5, startup: 4, ..Default::default() })
}

fn run(sweep: &Sweep, trainer: &mut Formula) -> (Table, Study) {
    let (mut study, mut table) = (study(), Table::new(space(), Goal::Minimize));
    sweep.run(&mut study, &mut table, trainer, |_| Ok(())).expect("a sweep");
    (table, study)
}

/// Two tables have the same lines; says which is the first that differs.
fn same(found: &Table, expected: &Table, what: &str) {
    let (found, expected) = (found.json_lines(), expected.json_lines());
    for (a, b) in found.lines().zip(expected.lines()) {
        assert_eq!(a, b, "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

fn sweeps() -> Vec<Sweep> {
    let halving = Halving { min_steps: 3, max_steps: 27, eta: 3 };
    let strategies = [
        Strategy::Plain { steps: 10 },
        Strategy::Stopping { steps: 12, every: 3, rule: Stopping::Median(MedianStopping::default()) },
        Strategy::Stopping { steps: 18, every: 3, rule: Stopping::Patience(Patience { patience: 2, min_delta: 0.05 }) },
        Strategy::Halving(halving),
        Strategy::Hyperband(Hyperband(halving)),
    ];
    let mut sweeps =
        strategies.map(|strategy| Sweep { trials: 12, batch: 5, folds: 2, seeds: vec![1, 4], ..Sweep::new(strategy) }).to_vec();
    let folds = Strategy::Folds { steps: 10, rule: FoldStopping { p: 0.3, min_folds: 2 } };
    sweeps.push(Sweep { trials: 12, batch: 5, folds: 4, seeds: vec![4, 9, 1], ..Sweep::new(folds) });
    sweeps
}

#[test]
fn waves_change_nothing() {
    for sweep in sweeps() {
        let (whole, _) = run(&sweep, &mut Formula::new(usize::MAX, usize::MAX));
        for room in [1, 7] {
            let mut trainer = Formula::new(room, usize::MAX);
            same(&run(&sweep, &mut trainer).0, &whole, &format!("{sweep:?} in waves of {room}"));
            assert_eq!(trainer.jobs.iter().sum::<usize>(), whole.records().len());
        }
    }
}

#[test]
fn a_sweep_that_is_resumed_ends_as_if_it_had_not_stopped() {
    for sweep in sweeps() {
        let mut trainer = Formula::new(7, usize::MAX);
        let (whole, done) = run(&sweep, &mut trainer);
        for calls in 0..trainer.jobs.len() {
            let (mut first, mut table, mut file) = (study(), Table::new(space(), Goal::Minimize), String::new());
            file += &(table.json_header() + "\n");
            let ended = sweep.run(&mut first, &mut table, &mut Formula::new(7, calls), |record| {
                file += &(Table::json_line(record) + "\n");
                Ok(())
            });
            assert_eq!(ended, Err(Error::Empty { what: "the battery".into() }));
            // The appended lines make up the table.
            let (mut read, broken) = Table::read_json_lines(&file, Path::new("t"), space(), Goal::Minimize).expect("a table");
            same(&read, &table, "read");
            assert_eq!(broken, []);
            let (mut second, mut rest) = (study(), Formula::new(7, usize::MAX));
            sweep.run(&mut second, &mut read, &mut rest, |_| Ok(())).expect("the rest");
            same(&read, &whole, &format!("{sweep:?} after {calls} calls"));
            assert_eq!(second.trials(), done.trials());
            let trained = trainer.jobs[..calls].iter().sum::<usize>() + rest.jobs.iter().sum::<usize>();
            assert_eq!(trained, trainer.jobs.iter().sum::<usize>());
        }
    }
}

#[test]
fn a_trial_gets_the_mean_of_its_folds_and_seeds() {
    let (table, study) = run(&sweeps()[0], &mut Formula::new(100, usize::MAX));
    assert_eq!(table.records().len(), 12 * 4);
    for (trial, summary) in study.trials().iter().zip(table.summaries()) {
        let lr = number(&trial.point, "lr");
        assert_eq!((trial.id, &trial.point), (summary.trial, &summary.point));
        match trial.outcome {
            Outcome::Failed => assert!(lr > 0.8 && summary.status == Status::Failed),
            Outcome::Complete(metric) => {
                // Folds 0 and 1, seeds 1 and 4.
                assert!((metric - ((lr / 0.1).ln().abs() + 0.1 + 0.005 + 0.0025)).abs() < 1e-12);
                assert_eq!((summary.runs, summary.status, summary.mean), (4, Status::Complete, metric));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(study.best().map(|best| best.id), table.best().map(|best| best.trial));
}

#[test]
fn batches_are_told_before_the_next_is_asked() {
    let asked = |batch: usize| {
        let sweep = Sweep { trials: 40, batch, ..Sweep::new(Strategy::Plain { steps: 5 }) };
        let (table, _) = run(&sweep, &mut Formula::new(100, usize::MAX));
        table.records().iter().map(|record| record.point.clone()).collect::<Vec<Point>>()
    };
    let (one, all) = (asked(1), asked(40));
    assert_eq!(one[..4], all[..4]);
    assert_ne!(one[12..], all[12..]);
}

#[test]
fn brackets_run_side_by_side() {
    let hyperband = Hyperband(Halving { min_steps: 1, max_steps: 81, eta: 3 });
    let sweep = Sweep { trials: 143, ..Sweep::new(Strategy::Hyperband(hyperband)) };
    let mut trainer = Formula::new(1000, usize::MAX);
    let mut study = Study::new(space(), Goal::Minimize, Random { seed: 2 });
    let mut table = Table::new(space(), Goal::Minimize);
    sweep.run(&mut study, &mut table, &mut trainer, |_| Ok(())).expect("a sweep");
    // One call per number of steps: 81; 27 + 34; 9 + 11 + 15; 3 + 3 + 5 + 8; 1 + 1 + 1 + 2 + 5.
    assert_eq!(trainer.jobs, [81, 61, 35, 19, 10]);
    let count = |status: Status| table.summaries().iter().filter(|summary| summary.status == status).count();
    let failed = study.trials().iter().filter(|trial| number(&trial.point, "lr") > 0.8).count();
    assert!(failed > 0);
    assert_eq!((count(Status::Complete), count(Status::Running)), (10, 0));
    assert_eq!(count(Status::Stopped) + count(Status::Failed), 133);
    // Of the first 81 the best was trained to the end.
    let far = |id: &usize| (number(&study.trials()[*id].point, "lr") / 0.1).ln().abs();
    let best = (0..81).min_by(|a, b| far(a).total_cmp(&far(b))).expect("a trial");
    assert_eq!(table.summaries()[best].status, Status::Complete);
}

#[test]
fn some_trials_are_stopped() {
    let statuses = |rule: Stopping| {
        let sweep = Sweep { trials: 30, batch: 30, ..Sweep::new(Strategy::Stopping { steps: 30, every: 5, rule }) };
        let (table, _) = run(&sweep, &mut Formula::new(100, usize::MAX));
        let count = |status: Status| table.summaries().iter().filter(|summary| summary.status == status).count();
        (count(Status::Complete), count(Status::Stopped), table.best().expect("a best trial").steps)
    };
    let (complete, stopped, steps) = statuses(Stopping::Median(MedianStopping::default()));
    assert!(complete >= 2 && stopped >= 20 && steps == 30, "{complete} {stopped}");
    // 1/5 → 1/10 → 1/15 → 1/20: no gain of 0.06 at the third score, nor at the fourth.
    let (complete, stopped, _) = statuses(Stopping::Patience(Patience { patience: 2, min_delta: 0.06 }));
    assert!(complete == 0 && stopped > 20, "{complete} {stopped}");
}

#[test]
fn trials_that_are_worse_on_each_fold_are_stopped() {
    let sweep = sweeps().pop().expect("a sweep");
    let (table, study) = run(&sweep, &mut Formula::new(100, usize::MAX));
    let mut stopped = 0;
    for summary in table.summaries() {
        let rows = table.records().iter().filter(|record| record.trial == summary.trial).count();
        match summary.status {
            Status::Complete => assert_eq!(rows, 12),
            // With 3 and 2 differences of one sign, the probabilities are 1/8 and 1/4.
            Status::Stopped => assert_eq!(rows, 6),
            Status::Failed => assert_eq!(rows, 3),
            Status::Running => panic!("{summary:?}"),
        }
        stopped += usize::from(summary.status == Status::Stopped);
    }
    assert!(stopped >= 5, "{stopped}");
    let far = |trial: &thalweg::sweep::Trial| (number(&trial.point, "lr") / 0.1).ln().abs();
    let nearest = study.trials().iter().min_by(|a, b| far(a).total_cmp(&far(b))).expect("a trial");
    assert_eq!(study.best().map(|best| best.id), Some(nearest.id));
}

#[test]
fn a_trial_that_went_on_is_not_stopped_when_resumed() {
    // Trial 0 is best after two folds, and trial 1 goes on compared with it; after four folds trial 0 is stopped. Compared with
    // trial 2 alone, trial 1 would have been stopped.
    const METRICS: [[f64; 5]; 3] = [[1.2, 0.1, 50.0, 50.0, 9.0], [1.1, 2.1, 0.5, 0.5, 1.0], [1.0, 2.0, 1.0, 0.4, 1.0]];
    let rule = FoldStopping { p: 0.3, min_folds: 2 };
    let sweep = Sweep { trials: 3, folds: 5, ..Sweep::new(Strategy::Folds { steps: 10, rule }) };
    let run = |table: &mut Table, calls: usize| {
        let mut left = calls;
        let mut trainer = |jobs: &[Job], _: u64| {
            left = left.checked_sub(1).ok_or(Error::Empty { what: "the battery".into() })?;
            Ok(jobs.iter().map(|job| METRICS[job.trial as usize][job.fold.expect("a fold") as usize]).collect())
        };
        sweep.run(&mut study(), table, &mut trainer, |_| Ok(()))
    };
    let (mut whole, mut parts) = (Table::new(space(), Goal::Minimize), Table::new(space(), Goal::Minimize));
    run(&mut whole, 9).expect("a sweep");
    let statuses: Vec<Status> = whole.summaries().iter().map(|summary| summary.status).collect();
    assert_eq!(statuses, [Status::Stopped, Status::Complete, Status::Complete]);
    assert!(run(&mut parts, 4).is_err());
    run(&mut parts, 9).expect("the rest");
    same(&parts, &whole, "resumed");
}

#[test]
fn a_sweep_survives_json() {
    let rule = PopulationBased::exploring(["lr"]);
    let population = Sweep::new(Strategy::Population { steps: 10, every: 5, rule });
    for sweep in sweeps().into_iter().chain([population]) {
        let text = serde_json::to_string(&sweep).expect("json");
        assert_eq!(serde_json::from_str::<Sweep>(&text).expect("a sweep"), sweep, "{text}");
    }
    let text = r#"{"strategy": {"hyperband": {"max_steps": 270}}, "trials": 100}"#;
    let hyperband = Hyperband(Halving { max_steps: 270, ..Default::default() });
    let sweep: Sweep = serde_json::from_str(text).expect("a sweep");
    assert_eq!(sweep, Sweep { trials: 100, ..Sweep::new(Strategy::Hyperband(hyperband)) });
    assert!(serde_json::from_str::<Sweep>(&text.replace("max_steps", "most_steps")).is_err());
}

#[test]
fn a_grid_ends_a_sweep_early() {
    let sweep = Sweep { trials: 100, batch: 8, ..Sweep::new(Strategy::Plain { steps: 5 }) };
    let mut study = Study::new(space(), Goal::Minimize, Grid::new(&space(), 6).expect("a grid"));
    let mut table = Table::new(space(), Goal::Minimize);
    sweep.run(&mut study, &mut table, &mut Formula::new(3, usize::MAX), |_| Ok(())).expect("a sweep");
    assert_eq!((study.trials().len(), table.summaries().len()), (12, 12));
}

/// Lanes whose state is a number that grows by the rate of each step.
#[derive(Default)]
struct Lanes {
    states: BTreeMap<u64, (u64, f64)>,
    copies: Vec<(u64, u64)>,
}

impl Train for Lanes {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        let advance = |job: &Job| {
            let (made, x) = self.states.entry(job.trial).or_default();
            let lr = number(&job.point, "lr");
            (*made..steps).for_each(|_| *x += lr);
            *made = steps;
            if lr > 0.99 && steps < 40 { f64::NAN } else { *x }
        };
        Ok(jobs.iter().map(advance).collect())
    }

    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        self.copies.push((from, to));
        self.states.insert(to, self.states[&from]);
        Ok(())
    }
}

#[test]
fn a_population_copies_winners_and_keeps_the_ancestors() {
    let rule = PopulationBased { resample: 0.0, ..PopulationBased::exploring(["lr"]) };
    let sweep = Sweep { trials: 8, ..Sweep::new(Strategy::Population { steps: 60, every: 10, rule }) };
    let run = || {
        let mut study = Study::new(space(), Goal::Maximize, Random { seed: 6 });
        study.enqueue(Point::new().with("lr", 1)).expect("a point");
        let (mut table, mut lanes) = (Table::new(space(), Goal::Maximize), Lanes::default());
        sweep.run(&mut study, &mut table, &mut lanes, |_| Ok(())).expect("a sweep");
        (table, lanes)
    };
    let (table, lanes) = run();
    same(&run().0, &table, "again");
    // Five rounds, two of eight lanes in each; the lane that fails is one of them, and no lane is a copy of it.
    assert_eq!(lanes.copies.len(), 10);
    assert!(lanes.copies[..2].iter().any(|&(_, to)| to == 0) && lanes.copies[..2].iter().all(|&(from, _)| from != 0));
    let copies: Vec<(u64, u64)> =
        table.records().iter().filter_map(|record| record.parent.map(|parent| (parent, record.trial))).collect();
    assert_eq!(copies, lanes.copies);
    assert_eq!(table.records().len(), 8 * 6);
    // A lane took over the state of its winner: its metric is that of the winner after ten more steps with its own rate.
    let metric = |trial: u64, rung: u64| {
        let row = table.records().iter().find(|record| (record.trial, record.rung) == (trial, rung)).expect("a row");
        (row.metric, number(&row.point, "lr"))
    };
    let copied = table.records().iter().find(|record| record.parent.is_some()).expect("a copy");
    let (from, _) = metric(copied.parent.expect("a parent"), copied.rung - 1);
    let (own, lr) = metric(copied.trial, copied.rung);
    assert!((own.expect("a metric") - from.expect("a metric") - 10.0 * lr).abs() < 1e-9);
    assert!(table.best().is_some_and(|best| best.rung == 5 && best.steps == 60));
}

#[test]
fn settings_that_make_no_sense_are_refused_before_anything_is_trained() {
    let plain = Sweep::new(Strategy::Plain { steps: 5 });
    let refused = |sweep: Sweep| {
        let mut trainer = Formula::new(1, 0);
        sweep.run(&mut study(), &mut Table::new(space(), Goal::Minimize), &mut trainer, |_| Ok(())).unwrap_err().to_string()
    };
    assert_eq!(refused(Sweep { trials: 0, ..plain.clone() }), "trials = 0 is out of range: at least 1");
    assert_eq!(refused(Sweep { batch: 0, ..plain.clone() }), "batch = 0 is out of range: at least 1");
    assert_eq!(refused(Sweep { seeds: vec![3, 3], ..plain.clone() }), "seed '3' is given twice");
    assert_eq!(refused(Sweep::new(Strategy::Plain { steps: 0 })), "steps = 0 is out of range: at least 1");
    let stopping = |steps: u64, every: u64| {
        Sweep::new(Strategy::Stopping { steps, every, rule: Stopping::Median(MedianStopping::default()) })
    };
    assert_eq!(refused(stopping(10, 0)), "every = 0 is out of range: at least 1");
    assert_eq!(refused(stopping(10, 3)), "steps = 10 is out of range: a multiple of every = 3, above 0");
    let folds = |folds: u64, p: f64| Sweep {
        folds,
        ..Sweep::new(Strategy::Folds { steps: 5, rule: FoldStopping { p, min_folds: 2 } })
    };
    assert_eq!(refused(folds(0, 0.1)), "folds = 0 is out of range: at least 2, as they are compared");
    assert_eq!(refused(folds(5, -0.1)), "p = -0.1 is out of range: from 0 to 1");
    let few = Sweep { trials: 3, ..Sweep::new(Strategy::Hyperband(Hyperband(Halving::default()))) };
    assert_eq!(refused(few), "trials = 3 is out of range: at least 5, one for each bracket");
    let rule = PopulationBased::exploring(["lrr"]);
    assert!(refused(Sweep::new(Strategy::Population { steps: 10, every: 5, rule })).ends_with("did you mean lr?"));
}

#[test]
fn too_few_metrics_of_a_trainer_are_an_error() {
    let mut short = |_: &[Job], _: u64| Ok(vec![1.0]);
    let mut table = Table::new(space(), Goal::Minimize);
    let sweep = Sweep::new(Strategy::Plain { steps: 5 });
    let error = sweep.run(&mut study(), &mut table, &mut short, |_| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), "metrics of the trainer: 1 found, 32 expected");
    let rule = PopulationBased::exploring(["lr"]);
    let sweep = Sweep { trials: 4, ..Sweep::new(Strategy::Population { steps: 10, every: 5, rule }) };
    let mut no_copies = |jobs: &[Job], _: u64| Ok(jobs.iter().map(|job| job.trial as f64).collect());
    let error = sweep.run(&mut study(), &mut Table::new(space(), Goal::Minimize), &mut no_copies, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("one without copies of lanes (0 → 3): this trainer has none"), "{error}");
}
