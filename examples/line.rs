//! The textbook line: y = 2x at x = 1…5, full-batch gradient descent on slope and intercept from zero.
//!
//! The same plan on either engine: `cargo run --example line -- [oracle|auto|cpu|gpu]`, the oracle by default.

use anyhow::Result;
use thalweg::cpu::Cpu;
use thalweg::nn::{Layer, Network};
use thalweg::plan::{Blueprint, Engine, Loss, Op, Plan, Program, Role};
use thalweg::{AnyEngine, Real, Recipe, Sgd};

const XS: [f64; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];

/// Records the gradient on all points and a step along it, runs both 1,000 times, and returns slope and intercept.
fn descend<E: Engine>(engine: &E) -> thalweg::Result<(E::Float, E::Float)> {
    let network = Network::new([Layer::Linear { inputs: 1, outputs: 1 }])?;
    let arena = network.arena()?;
    let mut blueprint = Blueprint::new(1);
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let layout = blueprint.layout_mut();
    let (x, y) = (layout.shared_floats("x", XS.len()), layout.shared_floats("y", XS.len()));
    let (losses, grad) = (layout.floats("losses", XS.len()), layout.floats("gradient", XS.len()));
    let [x_view, y_view, losses, grad] = [x, y, losses, grad].map(|id| layout.whole(id));

    let mut plan = Plan::default();
    let pass = network.forward(layout, &mut plan, params, x_view, XS.len())?;
    plan.push(Op::Loss(Loss::SquaredError {
        predictions: pass.output(),
        targets: y_view,
        losses,
        grad,
        // Half the mean, so that the gradient is Σ (prediction − target)·x / n.
        scale: 0.5 / XS.len() as f64,
    }));
    network.backward(layout, &mut plan, params, grads, &pass, grad)?;
    let gradient = blueprint.add("gradient", plan)?;
    let recipe = Recipe::new(Sgd { lr: 0.01, ..Default::default() });
    let mut stepper = recipe.record(&mut blueprint, &arena, params, grads)?;

    let mut program = engine.load(&blueprint)?;
    stepper.start(&mut program)?;
    program.write(x, 0, 0, &XS.map(E::Float::of))?;
    program.write(y, 0, 0, &XS.map(|x| E::Float::of(2.0 * x)))?;
    stepper.run(&mut program, &[gradient, stepper.step_plan()], 1000)?;
    let params = program.read(params, 0)?;
    Ok((params[arena.tensor("0.weight")?.offset], params[arena.tensor("0.bias")?.offset]))
}

fn main() -> Result<()> {
    let engine = std::env::args().nth(1).unwrap_or("oracle".into());
    let (slope, intercept) = match engine.as_str() {
        "oracle" => descend(&Cpu::<f64>::default())?,
        name => both(descend(&AnyEngine::by_name(name)?)?),
    };
    println!("slope {slope}, intercept {intercept}");
    let expected = (1.9737548787242036, 0.09475321533750963);
    let bound = if engine == "oracle" { 1e-12 } else { 1e-4 };
    anyhow::ensure!((slope - expected.0).abs() <= bound && (intercept - expected.1).abs() <= bound, "expected {expected:?}");
    Ok(())
}

fn both((a, b): (f32, f32)) -> (f64, f64) {
    (a.into(), b.into())
}
