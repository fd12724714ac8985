//! Asking and telling, and samplers that do not use results.

use std::collections::BTreeSet;

use thalweg::sweep::{Coordinate, Goal, Grid, Latin, Outcome, Point, Random, Sampler, SearchSpace, Sobol, Study, Tpe, Trial};

const SPACE: &str = "x=uniform:0:1; rule=choice:adam,sgd; momentum=uniform:0:1 if rule=sgd; n=int:1:3";

fn space() -> SearchSpace {
    SPACE.parse().expect("a space")
}

fn study(sampler: impl Sampler + 'static) -> Study {
    Study::new(space(), Goal::Minimize, sampler)
}

fn x(trial: &Trial) -> f64 {
    trial.point.get("x").and_then(Coordinate::as_f64).expect("a number")
}

fn points(trials: Vec<Trial>) -> Vec<Point> {
    trials.into_iter().map(|trial| trial.point).collect()
}

#[test]
fn a_seed_gives_the_same_points_in_batches_of_any_size() {
    fn check<S: Sampler + 'static>(sampler: impl Fn(u64) -> S) {
        let whole = points(study(sampler(1)).ask(40).expect("trials"));
        let mut parts = study(sampler(1));
        let parts: Vec<Point> = [7, 1, 32].into_iter().flat_map(|n| points(parts.ask(n).expect("trials"))).collect();
        assert_eq!(parts, whole);
        assert_ne!(points(study(sampler(2)).ask(40).expect("trials")), whole);
        assert!(whole.iter().all(|point| space().check(point).is_ok()));
        let distinct: BTreeSet<String> = whole.iter().map(Point::to_string).collect();
        assert_eq!(distinct.len(), 40);
    }
    check(|seed| Random { seed });
    check(|seed| Latin { samples: 16, seed });
    check(|seed| Sobol { seed });
    check(|seed| Tpe { seed, ..Default::default() });
}

#[test]
fn random_points_are_spread_evenly() {
    let trials = study(Random { seed: 3 }).ask(4000).expect("trials");
    let mean = trials.iter().map(x).sum::<f64>() / 4000.0;
    // The deviation of the mean is 0.0046.
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
    let sgd = trials.iter().filter(|trial| trial.point.get("momentum").is_some()).count();
    assert!((1850..2150).contains(&sgd), "{sgd}");
}

#[test]
fn each_part_of_a_latin_hypercube_has_one_point() {
    let trials = study(Latin { samples: 20, seed: 5 }).ask(40).expect("trials");
    for cube in trials.chunks(20) {
        let parts: BTreeSet<usize> = cube.iter().map(|trial| (x(trial) * 20.0) as usize).collect();
        assert_eq!(parts.len(), 20);
        let sgd = cube.iter().filter(|trial| trial.point.get("momentum").is_some()).count();
        assert_eq!(sgd, 10);
    }
    let order = |cube: &[Trial]| cube.iter().map(|trial| (x(trial) * 20.0) as usize).collect::<Vec<_>>();
    assert_ne!(order(&trials[..20]), order(&trials[20..]));
    assert!(study(Latin { samples: 0, seed: 0 }).ask(1).is_err());
}

#[test]
fn sobol_fills_every_part_of_a_plane() {
    let mut study = Study::new("x=uniform:0:1; y=uniform:0:1".parse().expect("a space"), Goal::Minimize, Sobol { seed: 9 });
    let trials = study.ask(64).expect("trials");
    // 64 points: one in each of 8 × 8 squares, as the first two dimensions are a (0, 2)-sequence.
    let squares: BTreeSet<(usize, usize)> = trials
        .iter()
        .map(|trial| (x(trial), trial.point.get("y").and_then(Coordinate::as_f64).expect("a number")))
        .map(|(x, y)| ((8.0 * x) as usize, (8.0 * y) as usize))
        .collect();
    assert_eq!(squares.len(), 64);
}

#[test]
fn many_parameters_and_points_go_beyond_the_tables_of_sobol() {
    let names = (0..300).map(|i| thalweg::sweep::Parameter::new(&format!("p{i}"), "uniform:0:1".parse().expect("a domain")));
    let space = SearchSpace::new(names).expect("a space");
    let history = thalweg::sweep::History { goal: Goal::Minimize, trials: &[] };
    let at = |number: u64| Sobol { seed: 0 }.suggest(&space, &history, number).expect("a point").expect("a point");
    let distinct: BTreeSet<String> = at(5).iter().map(|(_, value)| value.to_string()).collect();
    assert!(distinct.len() > 295, "{}", distinct.len());
    assert_ne!(at(5), at(5 + (1 << 16)));
}

#[test]
fn a_grid_has_each_combination_once() {
    let grid = Grid::new(&space(), 3).expect("a grid");
    // 3 values of x, times adam and 3 momenta of SGD, times 3 numbers.
    assert_eq!(grid.points().len(), 3 * (1 + 3) * 3);
    assert_eq!(grid.points()[0].to_string(), "x=0.0 rule=adam n=1");
    assert_eq!(grid.points()[35].to_string(), "x=1.0 rule=sgd momentum=1.0 n=3");
    let distinct: BTreeSet<String> = grid.points().iter().map(Point::to_string).collect();
    assert_eq!(distinct.len(), 36);
    let values = |text: &str, values: usize| {
        let grid = Grid::new(&format!("x={text}").parse().expect("a space"), values).expect("a grid");
        grid.points().iter().map(|point| point.get("x").and_then(Coordinate::as_f64).expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(values("uniform:0:1", 1), [0.5]);
    assert_eq!(values("log:0.01:1", 3).iter().map(|x| (x * 1e9).round() / 1e9).collect::<Vec<_>>(), [0.01, 0.1, 1.0]);
    assert_eq!(values("logint:1:4", 9), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values("int:0:10:5", 2), [0.0, 5.0, 10.0]);
    assert_eq!(values("step:0:0.3:0.1", 9), [0.0, 0.1, 0.2, 0.3]);
    let large = Grid::new(&"a=int:1:2000; b=int:1:2000".parse().expect("a space"), 3).unwrap_err();
    assert_eq!(large.to_string(), "points of the grid = more than 1048576 is out of range: at most 1048576");
    assert!(Grid::new(&space(), 0).is_err());
}

#[test]
fn a_grid_ends_and_leaves_out_what_was_tried() {
    let grid = Grid::new(&space(), 2).expect("a grid");
    let all = grid.points().to_vec();
    let mut study = study(grid);
    study.enqueue(all[4].clone()).expect("a point");
    let mut asked = points(study.ask(7).expect("trials"));
    asked.extend(points(study.ask(100).expect("trials")));
    assert_eq!(asked.len(), all.len());
    assert_eq!(asked[0], all[4]);
    assert!(all.iter().all(|point| asked.contains(point)));
    assert!(study.ask(1).expect("nothing").is_empty());
}

#[test]
fn known_points_come_first_and_are_completed() {
    let mut study = study(Sobol { seed: 2 });
    study.enqueue(Point::new().with("rule", "sgd").with("x", 1)).expect("a point");
    study.enqueue(Point::new()).expect("a point");
    let trials = study.ask(4).expect("trials");
    assert_eq!(trials[0].point.get("x"), Some(&Coordinate::Float(1.0)));
    assert!(trials[0].point.get("momentum").is_some() && trials[0].point.get("n").is_some());
    // The sampler's own points start with its first.
    assert_eq!(points(trials)[2..], points(self::study(Sobol { seed: 2 }).ask(2).expect("trials")));
    let refused = |point: Point| self::study(Random::default()).enqueue(point).unwrap_err().to_string();
    assert_eq!(
        refused(Point::new().with("rul", "sgd")),
        "unknown parameter 'rul'; known: x, rule, momentum, n; did you mean rule?"
    );
    assert_eq!(refused(Point::new().with("x", 1.5)), "x = 1.5 is out of range: in uniform:0.0:1.0");
    assert_eq!(
        refused(Point::new().with("rule", "adam").with("momentum", 0.5)),
        "momentum = 0.5 is out of range: not set here: momentum=uniform:0.0:1.0 if rule=sgd"
    );
}

#[test]
fn reported_results_are_kept() {
    let mut study = study(Random::default());
    let ids: Vec<u64> = study.ask(6).expect("trials").iter().map(|trial| trial.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
    assert_eq!(study.best(), None);
    study.tell(3, f64::NEG_INFINITY).expect("a running trial");
    study.tell(0, 2.0).expect("a running trial");
    study.tell_stopped(1, 10, 0.5).expect("a running trial");
    study.tell(5, 1.0).expect("a running trial");
    study.tell(4, 1.0).expect("a running trial");
    let outcomes: Vec<Outcome> = study.trials().iter().map(|trial| trial.outcome).collect();
    let stopped = Outcome::Stopped { step: 10, metric: 0.5 };
    assert_eq!(
        outcomes,
        [Outcome::Complete(2.0), stopped, Outcome::Running, Outcome::Failed, Outcome::Complete(1.0), Outcome::Complete(1.0)]
    );
    // Of equal trials the one with the lower number.
    assert_eq!(study.best().map(|best| best.id), Some(4));
    assert_eq!(study.tell(4, 0.0).unwrap_err().to_string(), "trial = 4 is out of range: one that runs: it was told before");
    assert_eq!(
        study.tell(6, 0.0).unwrap_err().to_string(),
        "trial = 6 is out of range: below 6, the trials that were asked for"
    );
    assert_eq!(Goal::Maximize.cost(f64::INFINITY), f64::INFINITY);
}

#[test]
fn a_resumed_search_goes_on_as_if_it_had_not_stopped() {
    fn check<S: Sampler + 'static>(sampler: impl Fn() -> S) {
        let start = || {
            let mut study = study(sampler());
            study.enqueue(Point::new().with("x", 0.25)).expect("a point");
            study
        };
        let tell = |study: &mut Study, trials: &[Trial]| {
            trials.iter().for_each(|trial| study.tell(trial.id, (x(trial) - 0.3).abs()).expect("a running trial"));
        };
        let mut whole = start();
        for _ in 0..4 {
            let trials = whole.ask(8).expect("trials");
            tell(&mut whole, &trials);
        }
        // Interrupted in the third batch, after the results of 5 of its 8 trials.
        let mut first = start();
        for batch in 0..3 {
            let trials = first.ask(8).expect("trials");
            tell(&mut first, if batch < 2 { &trials } else { &trials[..5] });
        }
        let mut second = start();
        second.resume(first.trials().to_vec()).expect("trials of this space");
        let rest = second.ask(3).expect("trials");
        assert_eq!(rest.iter().map(|trial| trial.id).collect::<Vec<_>>(), [21, 22, 23]);
        tell(&mut second, &rest);
        let trials = second.ask(8).expect("trials");
        tell(&mut second, &trials);
        assert_eq!(second.trials(), whole.trials());
    }
    check(|| Random { seed: 4 });
    check(|| Sobol { seed: 4 });
    check(|| Latin { samples: 10, seed: 4 });
    check(|| Grid::new(&space(), 3).expect("a grid"));
    check(|| Tpe { seed: 4, ..Default::default() });
}

#[test]
fn a_missing_trial_is_made_anew() {
    let mut whole = study(Sobol { seed: 4 });
    let mut trials = whole.ask(6).expect("trials");
    for trial in &mut trials {
        trial.outcome = Outcome::Complete(1.0);
    }
    trials.remove(3);
    trials.remove(0);
    let mut again = study(Sobol { seed: 4 });
    again.resume(trials).expect("trials of this space");
    let asked: Vec<u64> = again.ask(4).expect("trials").iter().map(|trial| trial.id).collect();
    assert_eq!(asked, [0, 3, 6, 7]);
    whole.ask(2).expect("trials");
    assert_eq!(points(again.trials().to_vec()), points(whole.trials().to_vec()));
}

#[test]
fn trials_of_another_space_resume_nothing() {
    let mut other = Study::new("x=uniform:0:2".parse().expect("a space"), Goal::Minimize, Random { seed: 1 });
    other.ask(9).expect("trials");
    assert!(study(Random::default()).resume(other.trials().to_vec()).is_err());
    let mut same = study(Random { seed: 1 });
    let trials = same.ask(3).expect("trials");
    assert!(same.resume(trials.clone()).is_err());
    let twice = study(Random::default()).resume(vec![trials[1].clone(), trials[1].clone()]).unwrap_err();
    assert_eq!(twice.to_string(), "trial = 1 is out of range: above 1, the trial before it");
    let far = Trial { id: u64::MAX, ..trials[0].clone() };
    let far = study(Random::default()).resume(vec![far]).unwrap_err();
    assert_eq!(
        far.to_string(),
        "trial = 18446744073709551615 is out of range: below 1026: too many trials before it are missing"
    );
}
