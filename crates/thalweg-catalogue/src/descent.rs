//! Functions with a known minimum, on which rules are tried.

use crate::Entry;
use thalweg::op::MatMul;
use thalweg::plan::{Arena, Blueprint, Engine, Plan, Program, Role, View};
use thalweg::{Optimizer, Real, Result};

/// Steps with the parameters after them, including the first and the last step.
pub type Path = Vec<(usize, Vec<f64>)>;

/// Where Rosenbrock's function has its minimum.
pub const ROSENBROCK: [f64; 2] = [1.0, 1.0];

/// (1 − x)² + 100·(y − x²)²: a bent valley with a flat floor.
pub fn rosenbrock_value(at: &[f64]) -> f64 {
    (1.0 - at[0]).powi(2) + 100.0 * (at[1] - at[0] * at[0]).powi(2)
}

pub fn rosenbrock_gradient(at: &[f64]) -> [f64; 2] {
    let above = at[1] - at[0] * at[0];
    [-2.0 * (1.0 - at[0]) - 400.0 * at[0] * above, 200.0 * above]
}

/// Runs a rule on Rosenbrock's function from (−1.2, 1), and records `looks` times the parameters that the rule evaluates with.
/// The host computes the gradient of each step.
pub fn rosenbrock<E: Engine>(engine: &E, entry: &Entry, looks: usize) -> Result<Path> {
    let run = &entry.rosenbrock;
    // A matrix of one row, for rules that take only matrices.
    let mut optimizer = Optimizer::new(engine, run.recipe(entry.rule, run.length)?, &[("x", &[1, 2])])?;
    let mut at = vec![-1.2, 1.0];
    optimizer.set_params("x", &floats(&at))?;
    let mut path = vec![(0, at.clone())];
    for look in 1..=looks {
        let (from, to) = (run.length * (look - 1) / looks, run.length * look / looks);
        for _ in from..to {
            optimizer.set_grads("x", &floats(&rosenbrock_gradient(&at)))?;
            optimizer.step()?;
            at = doubles(&optimizer.params("x")?);
        }
        path.push((to, doubles(&optimizer.eval_params("x")?)));
    }
    Ok(path)
}

/// The number of parameters of the quadratic: two eigenvalues per decade, both ends included. It is not a multiple of 4, the
/// width of a vector on the GPU.
pub const SIZE: usize = 9;

/// Where the quadratic has its minimum. Its component along every eigenvector is between 0.7 and 1.3.
pub const QUADRATIC: [f64; SIZE] = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0];

/// ½·(x − x*)ᵀ·A·(x − x*), x* being [`QUADRATIC`].
pub fn quadratic_value(x: &[f64]) -> f64 {
    let error: Vec<f64> = x.iter().zip(QUADRATIC).map(|(x, minimum)| x - minimum).collect();
    0.5 * dot(&product(&error), &error)
}

/// A·x, where A = H·Λ·H: Λ has the eigenvalues, from 0.01 to 100, and H = 1 − 2/n reflects. A diagonal A would be too easy: its
/// condition does not matter to a rule that scales each parameter by itself.
pub fn product(x: &[f64]) -> Vec<f64> {
    let reflected = |x: &[f64]| -> Vec<f64> {
        let shift = 2.0 / SIZE as f64 * x.iter().sum::<f64>();
        x.iter().map(|x| x - shift).collect()
    };
    let scaled: Vec<f64> = reflected(x).iter().enumerate().map(|(k, x)| x * 10f64.powf(k as f64 / 2.0 - 2.0)).collect();
    reflected(&scaled)
}

/// A, row by row.
fn matrix() -> Vec<f64> {
    let unit = |i| std::array::from_fn(|j| if i == j { 1.0 } else { 0.0 });
    (0..SIZE).flat_map(|i| product(&unit(i) as &[f64; SIZE])).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Runs a rule on the quadratic from −x*, with the gradient A·x − A·x* computed on the device, and records the parameters
/// `looks` times. Gradients are taken at these; a rule that evaluates elsewhere comes to the same minimum.
pub fn quadratic<E: Engine>(engine: &E, entry: &Entry, looks: usize) -> Result<Path> {
    let run = &entry.quadratic;
    let mut arena = Arena::default();
    arena.add("x", &[3, 3])?;
    let (mut blueprint, mut plan) = (Blueprint::new(1), Plan::default());
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let layout = blueprint.layout_mut();
    let (a, shift) = (layout.shared_floats("A", SIZE * SIZE), layout.shared_floats("−A·x*", SIZE));
    let [x, gradient] = [params, grads].map(|buffer| View { buffer, offset: 0, len: SIZE });
    // A is symmetric, so a row times A is the same.
    let multiply = MatMul::new(x, layout.whole(a), gradient, 1, SIZE, SIZE);
    plan.operate(multiply.bias(layout.whole(shift)));
    let gradient = blueprint.add("gradient", plan)?;
    let mut stepper = run.recipe(entry.rule, run.length)?.record(&mut blueprint, &arena, params, grads)?;

    let mut program = engine.load(&blueprint)?;
    stepper.start(&mut program)?;
    program.write(a, 0, 0, &floats(&matrix()))?;
    program.write(shift, 0, 0, &floats(&product(&QUADRATIC.map(|x| -x))))?;
    let mut path = vec![(0, QUADRATIC.map(|x| -x).to_vec())];
    program.write(params, 0, 0, &floats(&path[0].1))?;
    for look in 1..=looks {
        let (from, to) = (run.length * (look - 1) / looks, run.length * look / looks);
        stepper.run(&mut program, &[gradient, stepper.step_plan()], to - from)?;
        path.push((to, doubles(&program.read(params, 0)?[..SIZE])));
    }
    Ok(path)
}

fn floats<F: Real>(values: &[f64]) -> Vec<F> {
    values.iter().map(|&x| F::of(x)).collect()
}

fn doubles<F: Real>(values: &[F]) -> Vec<f64> {
    values.iter().map(|x| x.as_f64()).collect()
}

/// The Euclidean distance of a path's end from a point; NaN if the path diverged.
pub fn distance(path: &Path, to: &[f64]) -> f64 {
    path[path.len() - 1].1.iter().zip(to).map(|(x, to)| (x - to).powi(2)).sum::<f64>().sqrt()
}
