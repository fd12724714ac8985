//! L-BFGS: its oracle against PyTorch's trajectories (tests/golden/lbfgs.jsonl, written by tests/golden/lbfgs.py with PyTorch
//! 2.15), both engines on the way to known minima, and losses that are not finite.

use crate::common::compare::assert_close;
use crate::common::engines;
use crate::common::numbers::numbers;
use serde_json::Value;
use thalweg::cpu::Cpu;
use thalweg::op::{Expr, Map, MatMul};
use thalweg::plan::{Arena, Blueprint, CHUNK, Engine, Layout, Plan, Program, Role, View};
use thalweg::{Error, Evaluation, Lbfgs, LbfgsSettings, LbfgsStop, LineSearch, Real, Result};

const WOLFE: LineSearch = LineSearch::StrongWolfe;

/// Relative to the movement from the start to a recorded step, while both make the same decisions, which the counts of
/// evaluations and iterations show. Sums in another order differ by 1e-16 each, and a curved valley amplifies that: the worst
/// difference that was seen, after 39 iterations, is 1.4e-11.
const TOLERANCE: f64 = 1e-9;

/// A loss with its gradient.
trait Problem {
    fn at(&self, x: &[f64]) -> (f64, Vec<f64>);
}

/// Σ 100·(x′ − x²)² + (1 − x)² over neighbours.
struct Rosenbrock;

impl Problem for Rosenbrock {
    fn at(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let (mut loss, mut g) = (0.0, vec![0.0; x.len()]);
        for i in 1..x.len() {
            let (valley, rest) = (x[i] - x[i - 1] * x[i - 1], 1.0 - x[i - 1]);
            loss += 100.0 * valley * valley + rest * rest;
            g[i] += 200.0 * valley;
            g[i - 1] -= 400.0 * valley * x[i - 1] + 2.0 * rest;
        }
        (loss, g)
    }
}

/// ½·Σ scale·(x − shift)².
struct Quadratic {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Problem for Quadratic {
    fn at(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let g: Vec<f64> = (0..x.len()).map(|i| self.scale[i] * (x[i] - self.shift[i])).collect();
        (0.5 * (0..x.len()).map(|i| g[i] * (x[i] - self.shift[i])).sum::<f64>(), g)
    }
}

/// The mean of ln(1 + exp(z)) − label·z with z = row·x, and ½·l2·Σ x².
struct Logistic {
    rows: Vec<Vec<f64>>,
    labels: Vec<f64>,
    l2: f64,
}

impl Problem for Logistic {
    fn at(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let n = self.rows.len() as f64;
        let mut loss = 0.5 * self.l2 * x.iter().map(|x| x * x).sum::<f64>();
        let mut g: Vec<f64> = x.iter().map(|x| self.l2 * x).collect();
        for (row, label) in self.rows.iter().zip(&self.labels) {
            let z: f64 = row.iter().zip(x).map(|(a, x)| a * x).sum();
            loss += (z.exp().ln_1p() - label * z) / n;
            let residual = (1.0 / (1.0 + (-z).exp()) - label) / n;
            g.iter_mut().zip(row).for_each(|(g, a)| *g += residual * a);
        }
        (loss, g)
    }
}

/// |x − 0.3| + ½·x² + 3/2·y² + ½·x·y, which has no slope at x = 0.3.
struct Kink;

impl Problem for Kink {
    fn at(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let (x, y) = (x[0], x[1]);
        let sign = if x == 0.3 { 0.0 } else { (x - 0.3).signum() };
        ((x - 0.3).abs() + 0.5 * x * x + 1.5 * y * y + 0.5 * x * y, vec![sign + x + 0.5 * y, 3.0 * y + 0.5 * x])
    }
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn counts(value: &Value) -> Vec<usize> {
    value.as_array().expect("an array").iter().map(|x| x.as_u64().expect("a count") as usize).collect()
}

fn problem(name: &str, data: &Value) -> Box<dyn Problem> {
    match name {
        "quadratic" => Box::new(Quadratic { scale: floats(&data["scale"]), shift: floats(&data["shift"]) }),
        "logistic" => Box::new(Logistic {
            rows: data["rows"].as_array().expect("rows").iter().map(floats).collect(),
            labels: floats(&data["labels"]),
            l2: data["l2"].as_f64().expect("a number"),
        }),
        "kink" => Box::new(Kink),
        _ => Box::new(Rosenbrock),
    }
}

fn settings(kwargs: &Value) -> LbfgsSettings {
    let mut settings = LbfgsSettings::default();
    for (name, value) in kwargs.as_object().expect("settings") {
        let count = || value.as_u64().expect("a count") as usize;
        match name.as_str() {
            "lr" => settings.lr = value.as_f64().expect("a number"),
            "max_iter" => settings.max_iter = count(),
            "max_eval" => settings.max_eval = Some(count()),
            "history_size" => settings.history_size = count(),
            "line_search_fn" => settings.line_search = WOLFE,
            other => panic!("{other}"),
        }
    }
    settings
}

/// Computes a problem's loss and gradient in f64 whatever the engine's floats.
fn closure<'a, P: Program>(problem: &'a dyn Problem) -> impl FnMut(&mut Evaluation<P>) -> Result<f64> + 'a {
    move |point| {
        let x: Vec<f64> = point.params("x")?.into_iter().map(Real::as_f64).collect();
        let (loss, g) = problem.at(&x);
        let g: Vec<P::Float> = g.into_iter().map(P::Float::of).collect();
        point.set_grads("x", &g)?;
        Ok(loss)
    }
}

fn start<E: Engine>(engine: &E, settings: LbfgsSettings, x: &[f64]) -> Lbfgs<E::Program> {
    let mut lbfgs = Lbfgs::new(engine, settings, &[("x", &[x.len()])]).unwrap_or_else(|e| panic!("{}: {e}", engine.describe()));
    let x: Vec<E::Float> = x.iter().map(|&x| E::Float::of(x)).collect();
    lbfgs.set_params("x", &x).expect("parameters that fit");
    lbfgs
}

#[test]
fn trajectories_are_those_of_pytorch() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/lbfgs.jsonl")).expect("a file");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let header = lines.next().expect("a header");
    let mut cases = 0;
    for case in lines {
        let name = case["problem"].as_str().expect("a name");
        let data = &header["problems"][name];
        let (problem, from) = (problem(name, data), floats(&data["start"]));
        let mut lbfgs = start(&Cpu::<f64>::default(), settings(&case["kwargs"]), &from);
        let (mut evaluations, mut iterations) = (Vec::new(), Vec::new());
        for (step, expected) in case["params"].as_array().expect("steps").iter().map(floats).enumerate() {
            let what = format!("{name} {}, step {step}", case["kwargs"]);
            let report = lbfgs.step(closure(&*problem)).expect("a step");
            let count = |counts: &mut Vec<usize>, more| counts.push(counts.last().unwrap_or(&0) + more);
            count(&mut evaluations, report.evaluations);
            count(&mut iterations, report.iterations);
            let movement = from.iter().zip(&expected).fold(0.0, |far: f64, (a, b)| far.max((a - b).abs()));
            let found = lbfgs.params("x").expect("parameters");
            assert_close(&what, &found, &expected, |_| TOLERANCE * movement);
            let loss = case["loss"][step].as_f64().expect("a loss");
            assert_close(&what, &[report.first_loss], &[loss], |_| TOLERANCE * loss.max(1.0));
        }
        assert_eq!(evaluations, counts(&case["evaluations"]), "{name} {}", case["kwargs"]);
        assert_eq!(iterations, counts(&case["iterations"]), "{name} {}", case["kwargs"]);
        cases += 1;
    }
    assert_eq!(cases, 25);
}

/// Makes steps until a tolerance ends one.
fn minimize<P: Program>(lbfgs: &mut Lbfgs<P>, problem: &dyn Problem) -> LbfgsStop {
    for _ in 0..20 {
        let stop = lbfgs.step(closure(problem)).expect("a step").stop;
        if !matches!(stop, LbfgsStop::Iterations | LbfgsStop::Evaluations) {
            return stop;
        }
    }
    panic!("no end after 20 steps");
}

/// On the valley's floor the loss is at least a fifth of the squared distance from the minimum, and a step ends when the loss
/// changes by less than 1e-9. So less than 1e-3 of a way of 2 is left, and ten times that is allowed.
#[test]
fn every_engine_reaches_the_end_of_the_valley() {
    fn check<E: Engine>(engine: &E, history_size: usize) {
        let settings = LbfgsSettings { line_search: WOLFE, history_size, ..Default::default() };
        let mut lbfgs = start(engine, settings, &[-1.2, 1.0, -0.7, 0.4, 1.3, -0.2, 0.1, 0.9]);
        let stop = minimize(&mut lbfgs, &Rosenbrock);
        assert_ne!(stop, LbfgsStop::NotFinite, "{}", engine.describe());
        assert_close(&engine.describe(), &lbfgs.params("x").expect("parameters"), &[1.0; 8], |_| 1e-2);
    }
    for history_size in [1, 5, 6] {
        check(&Cpu::<f64>::default(), history_size);
        engines::all_and_small().iter().for_each(|engine| check(engine, history_size));
    }
}

/// Six iterations over one tensor or several, so large that the last ones are cut where bindings are small.
#[test]
fn every_engine_goes_the_oracles_way_over_arenas_of_any_size() {
    fn run<E: Engine>(engine: &E, tensors: &[usize], line_search: LineSearch) -> Vec<E::Float> {
        let settings = LbfgsSettings { line_search, history_size: 3, max_iter: 6, max_eval: Some(20), ..Default::default() };
        let names: Vec<String> = (0..tensors.len()).map(|i| format!("tensor {i}")).collect();
        let shapes: Vec<[usize; 1]> = tensors.iter().map(|&len| [len]).collect();
        let tensors: Vec<(&str, &[usize])> = names.iter().zip(&shapes).map(|(name, shape)| (&name[..], &shape[..])).collect();
        let mut lbfgs = Lbfgs::new(engine, settings, &tensors).unwrap_or_else(|e| panic!("{}: {e}", engine.describe()));
        // Half of the sum of curvatures, between 1 and 3, times squared distances, divided by the number of elements.
        let len: usize = shapes.iter().map(|[len]| len).sum();
        let report = lbfgs.step(|point| {
            let mut loss = 0.0;
            for (seed, (name, [n])) in names.iter().zip(&shapes).enumerate() {
                let x = point.params(name)?;
                let targets = numbers(seed as u64, *n);
                let curvature = |i: usize| 1.0 + (i * 7 % 11) as f64 / 5.0;
                let g = (0..*n).map(|i| curvature(i) * (x[i].as_f64() - f64::from(targets[i])) / (len as f64).sqrt());
                let g: Vec<f64> = g.collect();
                loss += (0..*n).map(|i| 0.5 * g[i] * (x[i].as_f64() - f64::from(targets[i]))).sum::<f64>();
                let g: Vec<E::Float> = g.into_iter().map(E::Float::of).collect();
                point.set_grads(name, &g)?;
            }
            Ok(loss)
        });
        assert_eq!(report.expect("a step").iterations, 6, "{}", engine.describe());
        names.iter().flat_map(|name| lbfgs.params(name).expect("parameters")).collect()
    }
    let engines = engines::all_and_small();
    for tensors in [vec![CHUNK - 1], vec![CHUNK, 65, 1], vec![5 * CHUNK + 3, 0, 12 * CHUNK, 7]] {
        for line_search in [LineSearch::None, WOLFE] {
            let expected = run(&Cpu::<f64>::default(), &tensors, line_search);
            for engine in &engines {
                let what = format!("{}, {tensors:?}, {line_search:?}", engine.name);
                // Elements move by 0.5 to 2. The first movement changes gradients by a 4,000th, and they have a resolution of
                // 6e-8. So their difference is off by 2.4e-4, and with it everything after it. The worst error that was seen is
                // half of that.
                let found = run(engine, &tensors, line_search);
                assert_close(&what, &found, &expected, |i| 1e-3 * expected[i].abs().max(0.5));
            }
        }
    }
}

/// Least squares: the products of the forward and the backward pass are a plan of the same program, and nothing but the losses
/// is read.
#[test]
fn a_plan_on_the_device_can_be_the_closure() {
    const ROWS: usize = 40;
    const COLUMNS: usize = 5;
    fn check<E: Engine>(engine: &E) {
        let mut layout = Layout::new(1);
        let mut arena = Arena::default();
        arena.add("w", &[COLUMNS]).expect("a name");
        let (params, grads) = (layout.arena("params", &arena), layout.arena("grads", &arena));
        let (table, targets) = (layout.shared_floats("table", ROWS * COLUMNS), layout.shared_floats("targets", ROWS));
        let [predictions, losses, errors] = ["predictions", "losses", "errors"].map(|name| layout.floats(name, ROWS));
        let weights = |buffer| View { buffer, offset: 0, len: COLUMNS };
        let mut pass = Plan::default();
        let whole = |id| layout.whole(id);
        pass.operate(MatMul::new(whole(table), weights(params), whole(predictions), ROWS, COLUMNS, 1));
        let difference = Expr::input(0) - Expr::input(1);
        for (out, expr) in [(losses, difference.clone().square()), (errors, difference * (2.0 / ROWS as f64))] {
            let map = Map::new(&[ROWS]).input(whole(predictions), &[1]).input(whole(targets), &[1]);
            pass.operate(map.output(whole(out), expr));
        }
        let backward = MatMul::new(whole(table), whole(errors), weights(grads), COLUMNS, ROWS, 1);
        pass.operate(backward.transposed(true, false));
        let mut blueprint = Blueprint::from(layout);
        let pass = blueprint.add("gradient", pass).expect("a name");
        let settings = LbfgsSettings { line_search: WOLFE, history_size: 4, ..Default::default() };
        let mut stepper = settings.record(&mut blueprint, &arena, params, grads).expect("settings in range");
        let mut program = engine.load(&blueprint).unwrap_or_else(|e| panic!("{}: {e}", engine.describe()));

        let (rows, w) = (numbers(3, ROWS * COLUMNS), [0.5, -1.0, 2.0, 0.25, -0.75]);
        let dot = |row: &[f32]| row.iter().zip(w).map(|(&a, w)| f64::from(a) * w).sum::<f64>();
        let float = |x: f64| E::Float::of(x);
        let values: Vec<E::Float> = rows.iter().map(|&x| float(f64::from(x))).collect();
        program.write(table, 0, 0, &values).expect("rows");
        let values: Vec<E::Float> = rows.chunks(COLUMNS).map(|row| float(dot(row))).collect();
        program.write(targets, 0, 0, &values).expect("targets");
        let report = stepper.step(&mut program, |program| {
            program.run(pass, 1)?;
            Ok(program.read(losses, 0)?.into_iter().map(Real::as_f64).sum::<f64>() / ROWS as f64)
        });
        let report = report.expect("a step");
        assert!(report.loss < 1e-6 * report.first_loss, "{}: {report:?}", engine.describe());
        let found = &program.read(params, 0).expect("parameters")[..COLUMNS];
        // A millionth of the loss is left. It is the square of the distance that is left, times a curvature of at least 1.
        assert_close(&engine.describe(), found, &w, |_| 4e-3);
    }
    check(&Cpu::<f64>::default());
    engines::all().iter().for_each(check);
}

#[test]
fn parameters_from_outside_start_anew() {
    let settings = LbfgsSettings { line_search: WOLFE, max_iter: 7, ..Default::default() };
    let from = [-1.2, 1.0];
    let mut fresh = start(&Cpu::<f64>::default(), settings.clone(), &from);
    let mut used = start(&Cpu::<f64>::default(), settings, &[3.0, -2.0]);
    used.step(closure(&Rosenbrock)).expect("a step");
    used.set_params("x", &from).expect("parameters that fit");
    for _ in 0..2 {
        let reports = [&mut fresh, &mut used].map(|lbfgs| lbfgs.step(closure(&Rosenbrock)).expect("a step"));
        assert_eq!(reports[0], reports[1]);
        assert_eq!(fresh.params("x"), used.params("x"));
    }
}

/// −ln(1 − x) − 3·x, which is defined below 1 and has its minimum at 2/3.
struct Barrier;

impl Problem for Barrier {
    fn at(&self, x: &[f64]) -> (f64, Vec<f64>) {
        (-(1.0 - x[0]).ln() - 3.0 * x[0], vec![1.0 / (1.0 - x[0]) - 3.0])
    }
}

#[test]
fn a_line_search_stays_where_the_loss_is_a_number() {
    fn check<E: Engine>(engine: &E) {
        let settings = LbfgsSettings { line_search: WOLFE, lr: 5.0, history_size: 4, ..Default::default() };
        let mut lbfgs = start(engine, settings, &[0.0]);
        let stop = minimize(&mut lbfgs, &Barrier);
        assert_ne!(stop, LbfgsStop::NotFinite, "{}", engine.describe());
        // A change of the loss below 1e-9, at a curvature of 9.
        assert_close(&engine.describe(), &lbfgs.params("x").expect("a parameter"), &[2.0 / 3.0], |_| 1e-4);
    }
    check(&Cpu::<f64>::default());
    engines::all().iter().for_each(check);
}

/// A loss of NaN, an infinite loss, and a gradient with NaN or infinity in it, from the k-th evaluation on.
fn bad_from<P: Program>(first: usize, kind: usize) -> impl FnMut(&mut Evaluation<P>) -> Result<f64> {
    let mut evaluations = 0;
    move |point| {
        let loss = closure(&Rosenbrock)(point)?;
        evaluations += 1;
        if evaluations < first {
            return Ok(loss);
        }
        let bad = [f64::NAN, f64::INFINITY][kind % 2];
        if kind < 2 {
            return Ok(bad);
        }
        point.set_grads("x", &[P::Float::of(1.0), P::Float::of(bad)])?;
        Ok(loss)
    }
}

#[test]
fn parameters_stay_at_the_last_good_point() {
    fn check<E: Engine>(engine: &E) {
        for (line_search, kind) in
            [LineSearch::None, WOLFE].into_iter().flat_map(|search| (0..4).map(move |kind| (search, kind)))
        {
            let what = format!("{}, {line_search:?}, kind {kind}", engine.describe());
            let settings = LbfgsSettings { line_search, lr: 0.1, history_size: 4, max_eval: Some(12), ..Default::default() };
            let mut lbfgs = start(engine, settings.clone(), &[-1.2, 1.0]);
            let from = lbfgs.params("x").expect("parameters");
            let report = lbfgs.step(bad_from(1, kind)).expect("a step");
            assert_eq!((report.stop, report.evaluations, report.iterations), (LbfgsStop::NotFinite, 1, 0), "{what}");
            assert_eq!(lbfgs.params("x").expect("parameters"), from, "{what}");

            // One good iteration of one evaluation, then none.
            let mut good = start(engine, LbfgsSettings { max_eval: Some(2), ..settings }, &[-1.2, 1.0]);
            let reached = good.step(closure(&Rosenbrock)).expect("a step");
            assert_eq!((reached.evaluations, reached.iterations), (2, 1), "{what}");
            let report = lbfgs.step(bad_from(3, kind)).expect("a step");
            assert_eq!(lbfgs.params("x").expect("parameters"), good.params("x").expect("parameters"), "{what}");
            assert_eq!(report.loss, reached.loss, "{what}");
            let (stop, evaluations) =
                if line_search == WOLFE { (LbfgsStop::Evaluations, 13) } else { (LbfgsStop::NotFinite, 3) };
            assert_eq!((report.stop, report.evaluations, report.iterations), (stop, evaluations, 2), "{what}");

            // Once losses are finite again, it goes on.
            let report = lbfgs.step(closure(&Rosenbrock)).expect("a step");
            assert!(report.first_loss == reached.loss && report.loss < reached.loss, "{what}: {report:?}");
        }
    }
    check(&Cpu::<f64>::default());
    engines::all().iter().for_each(check);
}

#[test]
fn an_error_of_the_closure_comes_back_and_leaves_the_last_good_point() {
    let refusal = || Error::Empty { what: "the batch".into() };
    for line_search in [LineSearch::None, WOLFE] {
        let settings = LbfgsSettings { line_search, lr: 0.1, max_eval: Some(2), ..Default::default() };
        let mut good = start(&Cpu::<f64>::default(), settings.clone(), &[-1.2, 1.0]);
        good.step(closure(&Rosenbrock)).expect("a step");
        let mut lbfgs = start(&Cpu::<f64>::default(), LbfgsSettings { max_eval: None, ..settings }, &[-1.2, 1.0]);
        let mut evaluations = 0;
        let error = lbfgs.step(|point| {
            evaluations += 1;
            if evaluations == 3 { Err(refusal()) } else { closure(&Rosenbrock)(point) }
        });
        assert_eq!(error, Err(refusal()));
        assert_eq!(lbfgs.params("x"), good.params("x"), "{line_search:?}");
        let reports = [&mut good, &mut lbfgs].map(|lbfgs| lbfgs.step(closure(&Rosenbrock)).expect("a step"));
        assert_eq!(reports[0].first_loss, reports[1].first_loss, "{line_search:?}");
        assert!(reports[1].loss < reports[1].first_loss, "{line_search:?}");
    }
}

#[test]
fn each_rule_ends_a_step() {
    let stop = |settings: LbfgsSettings, from: &[f64]| {
        start(&Cpu::<f64>::default(), settings, from).step(closure(&Rosenbrock)).expect("a step").stop
    };
    let default = LbfgsSettings { line_search: WOLFE, max_iter: 1000, ..Default::default() };
    let from = [-1.2, 1.0];
    assert_eq!(stop(default.clone(), &[1.0, 1.0]), LbfgsStop::Gradient);
    assert_eq!(stop(LbfgsSettings { max_iter: 3, max_eval: Some(50), ..default.clone() }, &from), LbfgsStop::Iterations);
    assert_eq!(stop(LbfgsSettings { max_eval: Some(5), ..default.clone() }, &from), LbfgsStop::Evaluations);
    assert_eq!(stop(default.clone(), &from), LbfgsStop::Slope);
    assert_eq!(stop(LbfgsSettings { tolerance_grad: 1.0, ..default.clone() }, &from), LbfgsStop::Gradient);
    let fixed = LbfgsSettings { line_search: LineSearch::None, ..default };
    let none = LbfgsSettings { tolerance_change: 0.0, tolerance_grad: 0.0, max_iter: 2, ..fixed.clone() };
    assert_eq!(stop(LbfgsSettings { lr: 1e-3, ..none }, &from), LbfgsStop::Evaluations);
    // The first movement is 0.001 · 216 / 304 at most, and the slope there far below −0.1.
    assert_eq!(stop(LbfgsSettings { lr: 1e-3, tolerance_change: 0.1, ..fixed.clone() }, &from), LbfgsStop::Step);
    // A slope of −10⁻⁶, a movement of 10⁻³, and a change of the loss by 0.9995 · 10⁻⁶.
    let gentle = Quadratic { scale: vec![1e-3], shift: vec![1.0] };
    let mut lbfgs = start(&Cpu::<f64>::default(), LbfgsSettings { tolerance_change: 9.998e-7, ..fixed }, &[0.0]);
    let report = lbfgs.step(closure(&gentle)).expect("a step");
    assert_eq!((report.stop, report.iterations), (LbfgsStop::Loss, 1));
}

#[test]
fn settings_out_of_range_are_refused() {
    let default = LbfgsSettings::default;
    let cases = [
        (LbfgsSettings { lr: 0.0, ..default() }, "lr = 0 is out of range: finite and above 0"),
        (LbfgsSettings { lr: f64::NAN, ..default() }, "lr = NaN is out of range: finite and above 0"),
        (LbfgsSettings { max_iter: 0, ..default() }, "max_iter = 0 is out of range: at least 1"),
        (LbfgsSettings { max_eval: Some(0), ..default() }, "max_eval = 0 is out of range: at least 1"),
        (LbfgsSettings { tolerance_grad: -1.0, ..default() }, "tolerance_grad = -1 is out of range: finite and at least 0"),
        (
            LbfgsSettings { tolerance_change: f64::INFINITY, ..default() },
            "tolerance_change = inf is out of range: finite and at least 0",
        ),
        (LbfgsSettings { history_size: 0, ..default() }, "history_size = 0 is out of range: at least 1"),
    ];
    for (settings, message) in cases {
        let error = Lbfgs::new(&Cpu::<f32>::default(), settings, &[("x", &[1])]).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
    let new = |tensors: &[(&str, &[usize])]| Lbfgs::new(&Cpu::<f32>::default(), default(), tensors).map(|_| ());
    assert_eq!(new(&[]).unwrap_err().to_string(), "the list of tensors is empty");
    assert_eq!(new(&[("x", &[1]), ("x", &[2])]).unwrap_err().to_string(), "tensor 'x' is given twice");
}

#[test]
fn settings_that_do_not_fit_are_errors() {
    let mut lbfgs = start(&Cpu::<f32>::default(), LbfgsSettings::default(), &[0.0, 0.0]);
    let error = lbfgs.set_params("x", &[1.0]).unwrap_err();
    assert_eq!(error.to_string(), "tensor 'x': 1 found, 2 elements expected");
    assert_eq!(lbfgs.params("y").unwrap_err().to_string(), "unknown tensor 'y'; known: x");
    let error = lbfgs.step(|point| point.set_grads("x", &[0.0; 3]).map(|()| 0.0)).unwrap_err();
    assert_eq!(error.to_string(), "tensor 'x': 3 found, 2 elements expected");

    let mut blueprint = Blueprint::new(2);
    let mut arena = Arena::default();
    arena.add("x", &[2]).expect("a name");
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let error = LbfgsSettings::default().record(&mut blueprint, &arena, params, grads).unwrap_err();
    assert_eq!(error.to_string(), "lanes of an L-BFGS = 2 is out of range: 1");
}
