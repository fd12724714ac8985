//! The Parzen estimator, compared with Optuna's (tests/golden/tpe.jsonl, written by tests/golden/tpe.py) and with random
//! search.

use serde_json::Value as Json;
use thalweg::sweep::tpe::{Gamma, Kernels, Mixture};
use thalweg::sweep::{Coordinate, Goal, History, Outcome, Point, Random, Sampler, SearchSpace, Study, Tpe, Trial, signed_rank};

use crate::common::golden_lines;

/// Relative to the size of a log density, or to 1; and to the size of a kernel.
const TOLERANCE: f64 = 1e-12;

fn near(found: f64, expected: f64, size: f64, what: &str) {
    assert!((found - expected).abs() <= TOLERANCE * size, "{found} for {expected}: {what}");
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn point(json: &Json) -> Point {
    json.as_object().expect("an object").iter().fold(Point::new(), |point, (name, value)| match value {
        Json::String(text) => point.with(name, text.as_str()),
        value if value.is_i64() => point.with(name, value.as_i64().expect("whole")),
        value => point.with(name, value.as_f64().expect("a number")),
    })
}

fn trial((id, json): (usize, &Json)) -> Trial {
    let outcome = match (json["value"].as_f64(), json["step"].as_u64()) {
        (Some(metric), Some(step)) => Outcome::Stopped { step, metric },
        (Some(metric), None) => Outcome::Complete(metric),
        (None, _) => Outcome::Running,
    };
    Trial { id: id as u64, point: point(&json["params"]), outcome }
}

fn compare(found: &Mixture, expected: &Json, space: &SearchSpace, probes: &[Point], what: &str) {
    let weights = numbers(&expected["weights"]);
    assert_eq!(found.weights().len(), weights.len(), "{what}");
    found.weights().iter().zip(&weights).for_each(|(&a, &b)| near(a, b, b, what));
    for (kernels, parameter) in found.kernels().zip(space.parameters()) {
        let expected = &expected["kernels"][&parameter.name];
        let what = format!("{} of {what}", parameter.name);
        let same = |found: &[f64], expected: Vec<f64>| {
            assert_eq!(found.len(), expected.len(), "{what}");
            found.iter().zip(&expected).for_each(|(&a, &b)| near(a, b, b.abs(), &what));
        };
        match kernels {
            Kernels::Normal { mu, sigma } => {
                same(mu, numbers(&expected["mu"]));
                same(sigma, numbers(&expected["sigma"]));
            }
            Kernels::Choice(rows) => {
                let expected = expected["weights"].as_array().expect("rows");
                assert_eq!(rows.len(), expected.len(), "{what}");
                rows.iter().zip(expected).for_each(|(row, expected)| same(row, numbers(expected)));
            }
            other => panic!("{other:?}"),
        }
    }
    let densities = numbers(&expected["log_density"]);
    assert_eq!(densities.len(), probes.len());
    for (probe, expected) in probes.iter().zip(densities) {
        let values: Vec<Coordinate> = probe.iter().map(|(_, value)| value.clone()).collect();
        near(found.log_density(&values), expected, expected.abs().max(1.0), &format!("{probe} of {what}"));
    }
}

#[test]
fn mixtures_are_those_of_optuna() {
    let cases = golden_lines("tpe");
    assert_eq!(cases.len(), 61);
    for (number, case) in cases.iter().enumerate() {
        let space: SearchSpace = case["space"].as_str().expect("a text").parse().expect("a space");
        let in_space = |point: Point| space.complete(&point, |_| panic!("a value is missing")).expect("a point");
        let trials: Vec<Trial> = case["trials"].as_array().expect("trials").iter().enumerate().map(trial).collect();
        let trials: Vec<Trial> = trials.into_iter().map(|trial| Trial { point: in_space(trial.point), ..trial }).collect();
        let probes: Vec<Point> = case["probes"].as_array().expect("points").iter().map(|json| in_space(point(json))).collect();
        let goal = if case["maximize"] == true { Goal::Maximize } else { Goal::Minimize };
        let gamma = if case["hyperopt"] == true { Gamma::Root } else { Gamma::Tenth };
        let tpe = Tpe { gamma, constant_liar: case["liar"] == true, ..Default::default() };
        let names: Vec<&str> = space.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
        let [below, above] = tpe.mixtures(&space, &History { goal, trials: &trials }, &names).expect("mixtures");
        compare(&below, &case["below"], &space, &probes, &format!("case {number}, below"));
        compare(&above, &case["above"], &space, &probes, &format!("case {number}, above"));
    }
}

/// The best of 100 trials, one after the other.
fn best(space: &str, sampler: impl Sampler + 'static, function: fn(&[f64]) -> f64) -> f64 {
    let mut study = Study::new(space.parse().expect("a space"), Goal::Minimize, sampler);
    for _ in 0..100 {
        let trial = study.ask(1).expect("a trial").remove(0);
        let x: Vec<f64> = trial.point.iter().map(|(_, value)| value.as_f64().expect("a number")).collect();
        study.tell(trial.id, function(&x)).expect("a running trial");
    }
    function_value(study.best().expect("a best trial"))
}

fn function_value(trial: &Trial) -> f64 {
    if let Outcome::Complete(metric) = trial.outcome { metric } else { panic!("{trial:?}") }
}

/// Over 30 seeds.
fn beats_random(space: &str, function: fn(&[f64]) -> f64) {
    let differences: Vec<f64> = (0..30)
        .map(|seed| best(space, Random { seed }, function) - best(space, Tpe { seed, ..Default::default() }, function))
        .collect();
    let p = signed_rank(&differences);
    assert!(p < 0.01, "p = {p}: {differences:?}");
}

#[test]
fn it_beats_chance_on_branin() {
    beats_random("x=uniform:-5:10; y=uniform:0:15", |x| {
        let pi = std::f64::consts::PI;
        let (a, b) = (x[0], x[1]);
        (b - 5.1 / (4.0 * pi * pi) * a * a + 5.0 / pi * a - 6.0).powi(2) + 10.0 * (1.0 - 1.0 / (8.0 * pi)) * a.cos() + 10.0
    });
}

#[test]
fn it_beats_chance_on_hartmann_6() {
    beats_random("a=uniform:0:1; b=uniform:0:1; c=uniform:0:1; d=uniform:0:1; e=uniform:0:1; f=uniform:0:1", |x| {
        const ALPHA: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
        const A: [[f64; 6]; 4] = [
            [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
            [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
            [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
            [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
        ];
        const P: [[f64; 6]; 4] = [
            [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
            [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
            [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
            [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
        ];
        let term = |i: usize| ALPHA[i] * (-(0..6).map(|j| A[i][j] * (x[j] - P[i][j]).powi(2)).sum::<f64>()).exp();
        -(0..4).map(term).sum::<f64>()
    });
}

#[test]
fn it_beats_chance_on_ackley_5() {
    let wide = "uniform:-32.768:32.768";
    beats_random(&format!("a={wide}; b={wide}; c={wide}; d={wide}; e={wide}"), |x| {
        let n = x.len() as f64;
        let root = (x.iter().map(|x| x * x).sum::<f64>() / n).sqrt();
        let waves = x.iter().map(|x| (2.0 * std::f64::consts::PI * x).cos()).sum::<f64>() / n;
        -20.0 * (-0.2 * root).exp() - waves.exp() + 20.0 + std::f64::consts::E
    });
}

#[test]
fn failed_trials_are_never_good_and_are_avoided() {
    let space: SearchSpace = "x=uniform:0:1".parse().expect("a space");
    let trial = |id: u64, x: f64, outcome: Outcome| Trial { id, point: Point::new().with("x", x), outcome };
    // All failed: the good mixture is the prior alone.
    let failed: Vec<Trial> = (0..20).map(|id| trial(id, 0.9, Outcome::Failed)).collect();
    let mixtures = |trials: &[Trial]| {
        let history = History { goal: Goal::Minimize, trials };
        Tpe::default().mixtures(&space, &history, &["x"]).expect("mixtures")
    };
    let [good, other] = mixtures(&failed);
    assert_eq!((good.weights().len(), other.weights().len()), (1, 21));
    let density = |mixture: &Mixture, x: f64| mixture.log_density(&[x.into()]);
    assert!(density(&other, 0.9) > density(&other, 0.1) + 1.0);
    // A metric of NaN is a failure, wherever it comes from.
    let mut study = Study::new(space.clone(), Goal::Maximize, Tpe::default());
    for trial in study.ask(30).expect("trials") {
        let x = trial.point.get("x").and_then(Coordinate::as_f64).expect("a number");
        study.tell(trial.id, if x > 0.5 { f64::NAN } else { x }).expect("a running trial");
    }
    let next = study.ask(20).expect("trials");
    let bad = next.iter().filter(|trial| trial.point.get("x").and_then(Coordinate::as_f64).expect("a number") > 0.5).count();
    assert!(bad <= 8, "{bad} of 20 where everything failed");
    assert!(study.best().is_some_and(|best| function_value(best) <= 0.5));
}

#[test]
fn a_batch_spreads_and_depends_on_nothing_else() {
    let ask = |seed: u64, sizes: &[usize], liar: bool| {
        let sampler = Tpe { seed, constant_liar: liar, ..Default::default() };
        let mut study = Study::new("x=uniform:0:1; rule=choice:a,b".parse().expect("a space"), Goal::Minimize, sampler);
        for trial in study.ask(20).expect("trials") {
            let x = trial.point.get("x").and_then(Coordinate::as_f64).expect("a number");
            study.tell(trial.id, (x - 0.3).powi(2)).expect("a running trial");
        }
        let batch: Vec<Trial> = sizes.iter().flat_map(|&n| study.ask(n).expect("trials")).collect();
        batch.into_iter().map(|trial| trial.point).collect::<Vec<Point>>()
    };
    let whole = ask(3, &[12], true);
    assert_eq!(ask(3, &[5, 1, 6], true), whole);
    assert_ne!(ask(4, &[12], true), whole);
    let width = |points: &[Point]| {
        let x: Vec<f64> = points.iter().map(|point| point.get("x").and_then(Coordinate::as_f64).expect("a number")).collect();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
    };
    let widths = |liar: bool| (0..10).map(|seed| width(&ask(seed, &[12], liar))).sum::<f64>();
    let (liar, honest) = (widths(true), widths(false));
    assert!(liar > 1.5 * honest, "{liar} {honest}");
}

#[test]
fn conditional_parameters_are_searched_where_they_exist() {
    let space = "rule=choice:adam,sgd; lr=log:1e-4:1; momentum=uniform:0:0.99 if rule=sgd; size=fixed:64";
    let mut study = Study::new(space.parse().expect("a space"), Goal::Minimize, Tpe::default());
    for _ in 0..60 {
        let trial = study.ask(1).expect("a trial").remove(0);
        let momentum = trial.point.get("momentum").and_then(Coordinate::as_f64);
        assert_eq!(momentum.is_some(), trial.point.get("rule").and_then(Coordinate::as_str) == Some("sgd"));
        study.tell(trial.id, momentum.map_or(1.0, |momentum| (momentum - 0.9).abs())).expect("a running trial");
    }
    let best = study.best().expect("a best trial");
    assert!((best.point.get("momentum").and_then(Coordinate::as_f64).expect("SGD") - 0.9).abs() < 0.03, "{best:?}");
}

/// Parts of random histories, written by tests/golden/tpe_groups.py.
#[test]
fn parts_of_a_space_are_those_of_optuna() {
    let space: SearchSpace =
        "a=uniform:0:1; b=uniform:0:1; c=uniform:0:1; d=uniform:0:1; e=uniform:0:1; f=uniform:0:1; g=uniform:0:1; one=fixed:1"
            .parse()
            .expect("a space");
    let cases = golden_lines("tpe_groups");
    assert_eq!(cases.len(), 20);
    for case in cases {
        let names = |json: &Json| -> Vec<String> {
            json.as_array().expect("names").iter().map(|name| name.as_str().expect("a name").into()).collect()
        };
        let trials = case["trials"].as_array().expect("trials").iter().enumerate().map(|(id, own)| {
            let point = names(own).iter().fold(Point::new(), |point, name| point.with(name, 0.5)).with("one", 1);
            Trial { id: id as u64, point, outcome: Outcome::Complete(0.0) }
        });
        let mut trials: Vec<Trial> = trials.collect();
        // A running trial does not count.
        trials.push(Trial { id: trials.len() as u64, point: Point::new().with("a", 0.5), outcome: Outcome::Running });
        let history = History { goal: Goal::Minimize, trials: &trials };
        let parts = Tpe { group: true, ..Default::default() }.parts(&space, &history);
        let mut parts: Vec<Vec<String>> =
            parts.iter().map(|part| part.iter().map(|parameter| parameter.name.clone()).collect()).collect();
        parts.sort();
        let expected: Vec<Vec<String>> = case["parts"].as_array().expect("parts").iter().map(names).collect();
        assert_eq!(parts, expected, "{case}");
    }
}

/// Both parameters of a branch are good only together: if they are searched jointly, they stay together.
#[test]
fn a_branch_is_searched_jointly_with_groups() {
    let space: SearchSpace = "kind=choice:x,y; a=uniform:0:1 if kind=x; b=uniform:0:1 if kind=x".parse().expect("a space");
    let mut trials = Vec::new();
    for id in 0..120 {
        let end = if id % 2 == 0 { 0.05 } else { 0.95 };
        let (kind, near) = (if id % 3 == 0 { "y" } else { "x" }, id % 5 == 0);
        let mut point = Point::new().with("kind", kind);
        if kind == "x" {
            let other = if near { end } else { 1.0 - end };
            point = point.with("a", end).with("b", other);
        }
        trials.push(Trial { id, point, outcome: Outcome::Complete(if near && kind == "x" { 0.0 } else { 1.0 }) });
    }
    let history = History { goal: Goal::Minimize, trials: &trials };
    let apart = |group: bool| {
        let mut tpe = Tpe { group, seed: 3, ..Default::default() };
        let distances = (120..220).filter_map(|number| {
            let point = tpe.suggest(&space, &history, number).expect("a point").expect("more");
            let value = |name: &str| point.get(name).and_then(Coordinate::as_f64);
            Some((value("a")? - value("b")?).abs())
        });
        let distances: Vec<f64> = distances.collect();
        assert!(distances.len() > 20);
        distances.iter().filter(|&&distance| distance > 0.5).count() as f64 / distances.len() as f64
    };
    assert!(apart(true) < 0.1 && apart(false) > 0.25, "{} {}", apart(true), apart(false));
}
