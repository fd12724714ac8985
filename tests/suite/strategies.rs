//! Strategies: which trials go on, stop, or are copied.

use thalweg::sweep::{
    Bracket, Coordinate, FoldStopping, Goal, Halving, Hyperband, MedianStopping, Patience, Point, PopulationBased, Score,
    SearchSpace,
};

fn rungs(bracket: &Bracket) -> Vec<(usize, u64)> {
    bracket.rungs.iter().map(|rung| (rung.trials, rung.steps)).collect()
}

#[test]
fn rungs_are_those_of_the_papers() {
    let halving = Halving { min_steps: 1, max_steps: 81, eta: 3 };
    assert_eq!(rungs(&halving.bracket(81).expect("a bracket")), [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]);
    assert_eq!(rungs(&halving.bracket(5).expect("a bracket")), [(5, 1), (1, 3), (1, 9), (1, 27), (1, 81)]);
    // Hyperband's table for R = 81 and η = 3.
    let brackets = Hyperband(halving).brackets().expect("brackets");
    let found: Vec<Vec<(usize, u64)>> = brackets.iter().map(rungs).collect();
    let expected = [
        vec![(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        vec![(34, 3), (11, 9), (3, 27), (1, 81)],
        vec![(15, 9), (5, 27), (1, 81)],
        vec![(8, 27), (2, 81)],
        vec![(5, 81)],
    ];
    assert_eq!(found, expected);
    // Ranges that are not a power of η: the last rung has all steps, the first at least `min_steps`.
    let odd = Halving { min_steps: 10, max_steps: 1000, eta: 4 };
    assert_eq!(rungs(&odd.bracket(64).expect("a bracket")), [(64, 16), (16, 63), (4, 250), (1, 1000)]);
    let single = Halving { min_steps: 7, max_steps: 7, eta: 2 };
    assert_eq!(rungs(&single.bracket(3).expect("a bracket")), [(3, 7)]);
    let huge = Halving { min_steps: 1, max_steps: u64::MAX, eta: u64::MAX };
    assert_eq!(rungs(&huge.bracket(3).expect("a bracket")), [(3, 1), (1, u64::MAX)]);
}

#[test]
fn brackets_share_out_any_number_of_trials() {
    let hyperband = Hyperband(Halving { min_steps: 1, max_steps: 81, eta: 3 });
    let shares = |trials: usize| -> Vec<usize> {
        hyperband.brackets_of(trials).expect("brackets").iter().map(|bracket| bracket.rungs[0].trials).collect()
    };
    assert_eq!(shares(5), [1, 1, 1, 1, 1]);
    for trials in [6, 50, 143, 256, 1000] {
        assert_eq!(shares(trials).iter().sum::<usize>(), trials);
        assert!(shares(trials).is_sorted_by(|a, b| a >= b), "{:?}", shares(trials));
    }
    assert_eq!(shares(143), [81, 34, 15, 8, 5]);
    assert_eq!(shares(256), [145, 61, 27, 14, 9]);
    assert_eq!(
        hyperband.brackets_of(4).unwrap_err().to_string(),
        "trials = 4 is out of range: at least 5, one for each bracket"
    );
}

#[test]
fn settings_of_halving_are_checked() {
    let refused = |halving: Halving| halving.bracket(3).unwrap_err().to_string();
    let plain = Halving::default();
    assert_eq!(refused(Halving { min_steps: 0, ..plain }), "min_steps = 0 is out of range: at least 1");
    assert_eq!(
        refused(Halving { max_steps: 4, min_steps: 5, ..plain }),
        "max_steps = 4 is out of range: at least min_steps = 5"
    );
    assert_eq!(refused(Halving { eta: 1, ..plain }), "eta = 1 is out of range: at least 2");
    assert_eq!(plain.bracket(0).unwrap_err().to_string(), "trials = 0 is out of range: at least 1");
}

#[test]
fn the_best_are_promoted_and_what_failed_is_not() {
    let bracket = Halving { min_steps: 1, max_steps: 9, eta: 3 }.bracket(9).expect("a bracket");
    let results = [(8, 0.3), (3, f64::NAN), (5, 0.1), (1, 0.3), (7, f64::NEG_INFINITY), (2, 0.2), (4, 0.9), (6, 0.8), (0, 0.7)];
    assert_eq!(bracket.promoted(0, Goal::Minimize, &results), [5, 2, 1]);
    assert_eq!(bracket.promoted(0, Goal::Maximize, &results), [4, 6, 0]);
    // The result is the same for any order.
    let mut turned = results;
    turned.reverse();
    assert_eq!(bracket.promoted(0, Goal::Minimize, &turned), [5, 2, 1]);
    assert_eq!(bracket.promoted(1, Goal::Minimize, &[(5, 0.5), (2, 0.5), (1, 0.6)]), [2]);
    assert_eq!(bracket.promoted(0, Goal::Minimize, &[(0, f64::NAN), (1, 3.0)]), [1]);
    assert!(bracket.promoted(2, Goal::Minimize, &[(2, 0.1)]).is_empty());
    assert!(bracket.promoted(0, Goal::Minimize, &[(0, f64::NAN), (1, f64::NAN)]).is_empty());
}

fn scores(curves: &[&[f64]]) -> Vec<Score> {
    let trials = curves.iter().zip(0..);
    trials.flat_map(|(curve, trial)| curve.iter().zip(1..).map(move |(&metric, step)| Score { trial, step, metric })).collect()
}

#[test]
fn the_median_of_running_means_stops() {
    // Running means at step 3: 2, 4, 6; their median 4.
    let curves: [&[f64]; 4] = [&[3.0, 2.0, 1.0], &[4.0, 4.0, 4.0], &[6.0, 6.0, 6.0], &[9.0, 4.5, 9.0]];
    let rule = MedianStopping::default();
    assert!(rule.stops(Goal::Minimize, &scores(&curves), 3, 3));
    // The best score of the trial counts, not the newest; and it stops only if it is worse, not if equal.
    let mut better = curves;
    better[3] = &[9.0, 4.0, 9.0];
    assert!(!rule.stops(Goal::Minimize, &scores(&better), 3, 3));
    // Of four others the mean of the two in the middle: 3, 5.
    let five: [&[f64]; 5] = [&[1.0], &[3.0], &[5.0], &[9.0], &[4.0]];
    assert!(!rule.stops(Goal::Minimize, &scores(&five), 4, 1));
    let five: [&[f64]; 5] = [&[1.0], &[3.0], &[5.0], &[9.0], &[4.1]];
    assert!(rule.stops(Goal::Minimize, &scores(&five), 4, 1));
    let negative: Vec<Score> = scores(&curves).into_iter().map(|score| Score { metric: -score.metric, ..score }).collect();
    assert!(rule.stops(Goal::Maximize, &negative, 3, 3));
    // No trial is stopped before the grace, and scores before it are in no mean.
    let late = MedianStopping { grace: 2, ..rule };
    assert!(!late.stops(Goal::Minimize, &scores(&curves), 3, 1) && late.stops(Goal::Minimize, &scores(&curves), 3, 2));
    let fast: [&[f64]; 4] = [&[100.0, 1.0], &[100.0, 1.0], &[100.0, 1.0], &[2.0, 2.0]];
    assert!(late.stops(Goal::Minimize, &scores(&fast), 3, 2) && !rule.stops(Goal::Minimize, &scores(&fast), 3, 2));
    // Trials with fewer steps do not count, and with too few others no trial stops.
    let short: [&[f64]; 4] = [&[3.0, 2.0], &[4.0, 4.0, 4.0], &[6.0, 6.0, 6.0], &[9.0, 9.0, 9.0]];
    assert!(!rule.stops(Goal::Minimize, &scores(&short), 3, 3));
    assert!(MedianStopping { min_trials: 2, ..rule }.stops(Goal::Minimize, &scores(&short), 3, 3));
    assert!(!MedianStopping { min_trials: 0, ..rule }.stops(Goal::Minimize, &[], 3, 3));
}

#[test]
fn a_failed_trial_stops_and_is_no_excuse() {
    let rule = MedianStopping::default();
    let curves: [&[f64]; 5] = [&[1.0], &[f64::NAN], &[f64::NAN], &[f64::NAN], &[7.0]];
    assert!(rule.stops(Goal::Minimize, &scores(&curves), 1, 1));
    // The median of others that failed is infinite.
    assert!(!rule.stops(Goal::Minimize, &scores(&curves), 4, 1));
    assert!(Patience::default().stops(Goal::Minimize, &[1.0, f64::NAN]));
    let best = [(0, 0.5), (1, 0.5), (2, 0.5)];
    assert!(FoldStopping::default().stops(Goal::Minimize, &[(0, f64::NAN)], &best));
}

#[test]
fn folds_stop_as_in_optuna() {
    for case in crate::common::golden_lines("fold_stopping") {
        let folds = |name: &str| -> Vec<(usize, f64)> {
            let pairs = case[name].as_array().expect("pairs");
            pairs.iter().map(|pair| (pair[0].as_u64().expect("a fold") as usize, pair[1].as_f64().expect("a metric"))).collect()
        };
        let goal = if case["maximize"] == true { Goal::Maximize } else { Goal::Minimize };
        let rule = FoldStopping { p: case["p"].as_f64().expect("a probability"), ..Default::default() };
        assert_eq!(rule.stops(goal, &folds("own"), &folds("best")), case["stops"] == true, "{case}");
    }
    assert!(FoldStopping { p: f64::NAN, ..Default::default() }.check().is_err());
}

#[test]
fn a_trial_without_progress_ends_after_its_patience() {
    let stops = |patience: usize, min_delta: f64, curve: &[f64]| Patience { patience, min_delta }.stops(Goal::Minimize, curve);
    assert!(!stops(3, 0.0, &[]) && !stops(3, 0.0, &[1.0, 1.0, 1.0]) && stops(3, 0.0, &[1.0, 1.0, 1.0, 1.0]));
    assert!(!stops(2, 0.0, &[3.0, 2.0, 2.0, 1.0]) && stops(2, 0.0, &[3.0, 2.0, 2.0, 2.0]));
    // Improvements that are each too small add up to one that is large enough.
    assert!(!stops(2, 0.5, &[3.0, 2.7, 2.4, 2.2]));
    assert!(stops(2, 0.5, &[3.0, 2.9, 2.8]));
    assert!(!Patience { patience: 2, min_delta: 0.0 }.stops(Goal::Maximize, &[0.1, 0.2, 0.3]));
    assert!(Patience { min_delta: -1.0, ..Default::default() }.check().is_err());
    assert!(Patience { min_delta: f64::NAN, ..Default::default() }.check().is_err());
}

fn space() -> SearchSpace {
    "lr=log:1e-4:1; decay=uniform:0:1; n=int:1:9; width=logint:8:512; d=step:0:0.5:0.1; h=choice:16,32,64; kind=choice:a,b; \
     extra=uniform:5:6 if kind=b"
        .parse()
        .expect("a space")
}

fn point(lr: f64) -> Point {
    let values = Point::new().with("lr", lr).with("decay", 0.5).with("n", 5).with("width", 64).with("d", 0.2);
    values.with("h", 32).with("kind", "a")
}

#[test]
fn losers_take_over_winners() {
    let rule = PopulationBased::exploring(["lr"]);
    let points: Vec<Point> = (1..=8).map(|i| point(i as f64 * 0.01)).collect();
    let metrics = [0.5, 0.1, 0.9, 0.2, f64::NAN, 0.3, 0.2, f64::INFINITY];
    let exploits = rule.exploits(&space(), Goal::Minimize, 0, &points, &metrics).expect("exploits");
    // A quarter of 8: the two that failed. The best are 1, and 3 before 6.
    assert_eq!(exploits.iter().map(|exploit| exploit.to).collect::<Vec<_>>(), [4, 7]);
    assert!(exploits.iter().all(|exploit| [1, 3].contains(&exploit.from)));
    // If more than a quarter failed, all of them are losers, and no others are.
    let many = [f64::NAN, 0.1, f64::NAN, f64::NAN, f64::NAN, 0.3, f64::NAN, f64::NAN];
    let exploits = rule.exploits(&space(), Goal::Minimize, 0, &points, &many).expect("exploits");
    assert_eq!(exploits.iter().map(|exploit| exploit.to).collect::<Vec<_>>(), [0, 2, 3, 4, 6, 7]);
    assert!(exploits.iter().all(|exploit| [1, 5].contains(&exploit.from)));
    assert!(rule.exploits(&space(), Goal::Minimize, 0, &points, &[f64::NAN; 8]).expect("nothing").is_empty());
    assert!(rule.exploits(&space(), Goal::Minimize, 0, &points[..1], &[0.5]).expect("nothing").is_empty());
    let three = rule.exploits(&space(), Goal::Maximize, 0, &points[..3], &[0.5, 0.1, 0.9]).expect("an exploit");
    assert_eq!((three.len(), three[0].from, three[0].to), (1, 2, 1));
    // The same seed and round give the same result; another round gives another one.
    let again = |round: u64| rule.exploits(&space(), Goal::Minimize, round, &points, &metrics).expect("exploits");
    assert_eq!(again(3), again(3));
    assert!((0..20).any(|round| again(round)[0].from != again(0)[0].from));
    assert!((0..20).any(|round| again(round)[0].point != again(0)[0].point));
}

#[test]
fn parameters_move_in_their_own_scale_within_their_domain() {
    let names = ["lr", "decay", "n", "width", "d", "h"];
    let rule = PopulationBased { resample: 0.0, ..PopulationBased::exploring(names) };
    let moved = |start: &Point, round: u64| {
        let points = [start.clone(), start.clone()];
        rule.exploits(&space(), Goal::Minimize, round, &points, &[0.0, 1.0]).expect("an exploit").remove(0).point
    };
    let seen = |start: &Point, name: &str| {
        let mut seen: Vec<f64> =
            (0..40).map(|round| moved(start, round).get(name).and_then(Coordinate::as_f64).expect("a number")).collect();
        seen.sort_by(f64::total_cmp);
        seen.dedup();
        seen
    };
    let close = |found: Vec<f64>, expected: &[f64]| {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-12), "{found:?}");
    };
    let middle = point(0.01);
    close(seen(&middle, "lr"), &[0.008, 0.012]);
    close(seen(&middle, "decay"), &[0.4, 0.6]);
    close(seen(&middle, "n"), &[4.0, 6.0]);
    close(seen(&middle, "width"), &[51.0, 77.0]);
    close(seen(&middle, "d"), &[0.1, 0.3]);
    close(seen(&middle, "h"), &[16.0, 64.0]);
    let edge = middle.with("lr", 1.0).with("decay", 0.0).with("n", 9).with("width", 8).with("d", 0.5).with("h", 64);
    close(seen(&edge, "lr"), &[0.8, 1.0]);
    close(seen(&edge, "decay"), &[0.0, 0.1]);
    close(seen(&edge, "n"), &[8.0, 9.0]);
    close(seen(&edge, "width"), &[8.0, 10.0]);
    close(seen(&edge, "d"), &[0.4, 0.5]);
    close(seen(&edge, "h"), &[32.0, 64.0]);
    // Parameters that are not explored stay the same.
    assert!((0..40).all(|round| moved(&edge, round).get("kind") == Some(&Coordinate::from("a"))));
}

#[test]
fn explored_points_are_of_the_space() {
    let rule = PopulationBased { resample: 0.5, ..PopulationBased::exploring(["kind", "lr", "width", "d"]) };
    let mut points = vec![point(0.1), point(0.5)];
    let mut kinds = std::collections::BTreeSet::new();
    for round in 0..200 {
        let exploit = rule.exploits(&space(), Goal::Minimize, round, &points, &[0.0, 1.0]).expect("an exploit").remove(0);
        space().check(&exploit.point).expect("a point of the space");
        kinds.insert(exploit.point.get("kind").expect("a kind").to_string());
        points[0] = exploit.point;
    }
    assert_eq!(kinds.len(), 2);
}

#[test]
fn settings_of_populations_are_checked() {
    let refused = |rule: PopulationBased| rule.exploits(&space(), Goal::Minimize, 0, &[], &[]).unwrap_err().to_string();
    let plain = PopulationBased::exploring(["lr"]);
    assert_eq!(refused(PopulationBased::default()), "the list of parameters to explore is empty");
    assert!(refused(PopulationBased::exploring(["lrr"])).ends_with("did you mean lr?"));
    assert_eq!(
        refused(PopulationBased { quantile: 0.6, ..plain.clone() }),
        "quantile = 0.6 is out of range: above 0 and at most 0.5"
    );
    assert_eq!(refused(PopulationBased { resample: -0.1, ..plain.clone() }), "resample = -0.1 is out of range: from 0 to 1");
    assert_eq!(refused(PopulationBased { step: 1.0, ..plain.clone() }), "step = 1 is out of range: above 0 and below 1");
    let lengths = plain.exploits(&space(), Goal::Minimize, 0, &[point(0.1)], &[]).unwrap_err().to_string();
    assert_eq!(lengths, "metrics: 0 found, 1 of so many points expected");
}
