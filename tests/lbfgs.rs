//! L-BFGS: its oracle against PyTorch's trajectories (tests/golden/lbfgs.jsonl, written by tests/golden/lbfgs.py with PyTorch 2.15),
//! both engines on the way to known minima, and what happens where a loss is no number.

mod common;

use common::compare::assert_close;
use common::engines;
use common::numbers::numbers;
use serde_json::Value;
use thalweg::cpu::Cpu;
use thalweg::plan::{
    Activation, Arena, CHUNK, Engine, Layout, Loss, MatMul, Op, Plan, Program,
};
use thalweg::{Error, Evaluation, Lbfgs, LbfgsReport, LbfgsSettings, LbfgsStop, LineSearch, Real, Result};

const WOLFE: LineSearch = LineSearch::StrongWolfe;

/// Of the movement from the start to a recorded step.
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
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/lbfgs.jsonl")).expect("a file");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let header = lines.next().expect("a header");
    let (mut cases, mut worst) = (0, 0.0);
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
            let error = found.iter().zip(&expected).fold(0.0, |far: f64, (a, b)| far.max((a - b).abs()));
            println!("{what}: {:e} {report:?}", error / movement);
            worst = f64::max(worst, error / movement);
            assert_close(&what, &found, &expected, |_| TOLERANCE * movement);
            let loss = case["loss"][step].as_f64().expect("a loss");
            assert_close(&what, &[report.first_loss], &[loss], |_| TOLERANCE);
        }
        assert_eq!(evaluations, counts(&case["evaluations"]), "{name} {}", case["kwargs"]);
        assert_eq!(iterations, counts(&case["iterations"]), "{name} {}", case["kwargs"]);
        cases += 1;
    }
    println!("worst {worst:e}");
    assert_eq!(cases, 22);
}
