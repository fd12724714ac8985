//! The textbook line: y = 2x at x = 1…5, full-batch gradient descent on slope and intercept from zero.
//!
//! The same plan on either engine: `cargo run --example line -- [oracle|auto|cpu|gpu]`, by default on the oracle. Expected: the
//! slope 1.97375 and the intercept 0.09475 of 1,000 steps.

use anyhow::Result;
use thalweg::cpu::Cpu;
use thalweg::nn::{Criterion, Linear, Model, Places, Slots, SquaredError, Tape};
use thalweg::plan::{Blueprint, Engine, Plan, Program, Role};
use thalweg::{AnyEngine, Real, Recipe, Sgd};

const XS: [f64; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];

/// Records the gradient on all points and a step along it, runs both 1,000 times, and returns slope and intercept.
fn descend<E: Engine>(engine: &E) -> thalweg::Result<(E::Float, E::Float)> {
    let mut blueprint = Blueprint::new(1);
    let layout = blueprint.layout_mut();
    let (x, y) = (layout.shared_floats("x", XS.len()), layout.shared_floats("y", XS.len()));
    let [x_view, y_view] = [x, y].map(|id| layout.whole(id));

    let mut tape = Tape::training();
    let (inputs, targets) = (tape.input(x_view, &[XS.len(), 1]), tape.input(y_view, &[XS.len(), 1]));
    let predictions = Linear::new(1, 1).forward(&mut tape, &inputs);
    // Half of the mean, so that the gradient is Σ (prediction − target)·x / n.
    let loss = &SquaredError.mean(&mut tape, &predictions, &targets) * 0.5;
    tape.backward(&loss);

    let arena = tape.arena()?;
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let (mut plan, places) = (Plan::default(), Places::new(&arena, params, Some(grads)));
    tape.record(blueprint.layout_mut(), &mut plan, &places, &mut Slots::default(), &[])?;
    let gradient = blueprint.add("gradient", plan)?;
    let recipe = Recipe::new(Sgd { lr: 0.01, ..Default::default() });
    let mut stepper = recipe.record(&mut blueprint, &arena, params, grads)?;

    let mut program = engine.load(&blueprint)?;
    stepper.start(&mut program)?;
    program.write(x, 0, 0, &XS.map(E::Float::of))?;
    program.write(y, 0, 0, &XS.map(|x| E::Float::of(2.0 * x)))?;
    stepper.run(&mut program, &[gradient, stepper.step_plan()], 1000)?;
    let params = program.read(params, 0)?;
    Ok((params[arena.tensor("weight")?.offset], params[arena.tensor("bias")?.offset]))
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
