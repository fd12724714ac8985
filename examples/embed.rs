//! An optimizer inside a program that computes its own gradients: it fits a cubic polynomial to sin(x) on [−π, π].
//!
//! `cargo run --example embed -- [auto|cpu|gpu]`; by default a real GPU if there is one, else the CPU engine. Expected: a mean
//! squared error below 0.005; the best cubic has 0.0044.

use anyhow::{Result, ensure};
use std::f32::consts::PI;
use thalweg::plan::Engine;
use thalweg::{Adam, AnyEngine, Optimizer, Recipe};

const POINTS: usize = 200;

/// The mean squared error of a polynomial, and its gradient by the coefficients. Your own program has its own function here.
fn loss_and_gradient(coefficients: &[f32]) -> (f32, Vec<f32>) {
    let (mut loss, mut gradient) = (0.0, vec![0.0; coefficients.len()]);
    for i in 0..POINTS {
        let x = PI * (2.0 * i as f32 / (POINTS - 1) as f32 - 1.0);
        let value = coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
        let error = value - x.sin();
        loss += error * error / POINTS as f32;
        let mut power = 2.0 * error / POINTS as f32;
        for slope in &mut gradient {
            *slope += power;
            power *= x;
        }
    }
    (loss, gradient)
}

fn fit<E: Engine<Float = f32>>(engine: &E) -> Result<f32> {
    let recipe = Recipe::new(Adam { lr: 0.02, ..Default::default() }).clip_norm(10.0);
    let mut optimizer = Optimizer::new(engine, recipe, &[("coefficients", &[4])])?;
    for step in 0..2000 {
        let (loss, gradient) = loss_and_gradient(&optimizer.params("coefficients")?);
        optimizer.set_grads("coefficients", &gradient)?;
        optimizer.step()?;
        if step % 500 == 0 {
            println!("step {step}: loss {loss:.5}");
        }
    }
    let coefficients = optimizer.params("coefficients")?;
    let loss = loss_and_gradient(&coefficients).0;
    let report = optimizer.report()?;
    println!("{coefficients:.4?}: loss {loss:.5} after {} steps, {} of them clipped", report.applied, report.clipped);
    Ok(loss)
}

fn main() -> Result<()> {
    let engine = AnyEngine::by_name(&std::env::args().nth(1).unwrap_or("auto".into()))?;
    println!("{}", engine.describe());
    let loss = fit(&engine)?;
    // The best cubic leaves a mean squared error of 0.0044.
    ensure!(loss < 0.005, "the fit ended at {loss}");
    Ok(())
}
