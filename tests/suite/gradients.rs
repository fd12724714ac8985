//! Gradients are what central differences give, on the oracle.

use crate::common::bench::Bench;
use crate::common::compare::assert_close;
use crate::common::numbers::doubles;
use thalweg::cpu::Cpu;
use thalweg::plan::{Activation, Loss, MatMul, NONE, Op};

/// The step of the differences. They are off by its square times a sixth of the third derivative, and by f64's resolution over it.
const H: f64 = 1e-5;
/// Ten times both, relative to the size of the values.
const TOLERANCE: f64 = 1e-9;

/// `f(x + h) − f(x − h)` over 2h, for each element of x.
fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let shifted = |i: usize, by: f64| {
        let mut x = x.to_vec();
        x[i] += by;
        f(&x)
    };
    (0..x.len()).map(|i| (shifted(i, H) - shifted(i, -H)) / (2.0 * H)).collect()
}

/// The outputs of the only lane.
fn run(bench: &Bench) -> Vec<Vec<f64>> {
    bench.run(&Cpu::<f64>::default()).swap_remove(0)
}

#[test]
fn derivatives_of_activations_are_differences() {
    // None of them within a step of 0, where ReLU has no derivative.
    let points: Vec<f64> = (-60..60).map(|i| 0.1 * f64::from(i) + 0.037).collect();
    let grads = doubles(1, points.len());
    for f in [Activation::Relu, Activation::Gelu, Activation::Tanh] {
        let mut bench = Bench::new(1);
        let (input, grad) = (bench.input("input", vec![points.clone()]), bench.input("grad", vec![grads.clone()]));
        let output = bench.output("output", points.len());
        bench.push(Op::ActivateGrad { f, input, grad, output });
        let weighted = |x: &[f64]| {
            let mut bench = Bench::new(1);
            let (input, output) = (bench.input("input", vec![x.to_vec()]), bench.output("output", x.len()));
            bench.push(Op::Activate { f, input, output });
            run(&bench)[0].iter().zip(&grads).map(|(y, grad)| y * grad).sum()
        };
        // The sum of 120 values of up to 6 is what f64 has to resolve.
        let size = 120.0 * 6.0;
        assert_close(&format!("{f:?}"), &run(&bench)[0], &differences(&points, weighted), |_| TOLERANCE * size);
    }
}

#[test]
fn the_gradient_of_cross_entropy_is_a_difference() {
    let (rows, classes, scale) = (6, 4, 0.25);
    let bench = |z: &[f64]| {
        let mut bench = Bench::new(1);
        let (logits, labels) = (bench.input("logits", vec![z.to_vec()]), bench.labels("labels", &[0, 1, 2, 3, NONE, 4]));
        let (losses, hits) = (bench.output("losses", rows), bench.output("hits", rows));
        let grad = bench.output("grad", z.len());
        bench.push(Op::Loss(Loss::CrossEntropy { logits, labels, losses, hits, grad, scale }));
        bench
    };
    let z = doubles(1, rows * classes);
    let expected = differences(&z, |z| scale * run(&bench(z))[0].iter().sum::<f64>());
    let found = &run(&bench(&z))[2];
    assert_close("gradient", found, &expected, |_| TOLERANCE * scale * rows as f64);
    assert_eq!(found[4 * classes..], [0.0; 8], "rows without a label");
}

#[test]
fn the_gradient_of_squared_error_is_a_difference() {
    let (rows, columns, scale) = (5, 3, 0.2);
    let bench = |p: &[f64]| {
        let mut bench = Bench::new(1);
        let (predictions, targets) =
            (bench.input("predictions", vec![p.to_vec()]), bench.shared("targets", &doubles(2, p.len())));
        let (losses, grad) = (bench.output("losses", rows), bench.output("grad", p.len()));
        bench.push(Op::Loss(Loss::SquaredError { predictions, targets, losses, grad, scale }));
        bench
    };
    let p = doubles(1, rows * columns);
    let expected = differences(&p, |p| scale * run(&bench(p))[0].iter().sum::<f64>());
    assert_close("gradient", &run(&bench(&p))[1], &expected, |_| TOLERANCE * scale * (16 * rows * columns) as f64);
}

/// A layer x·W + b with the loss Σ y·weights: dW = xᵀ·weights, db = the sums of its rows, dx = weights·Wᵀ.
#[test]
fn the_gradients_of_a_linear_layer_are_differences() {
    let (m, k, n) = (4, 3, 5);
    let (x, w, b, weights) = (doubles(1, m * k), doubles(2, k * n), doubles(3, n), doubles(4, m * n));
    let loss = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
        let mut bench = Bench::new(1);
        let [a, w, bias] = [("x", x), ("w", w), ("b", b)].map(|(name, values)| bench.input(name, vec![values.to_vec()]));
        let c = bench.output("y", m * n);
        bench.push(Op::MatMul(MatMul { bias: Some(bias), ..MatMul::new(a, w, c, m, k, n) }));
        run(&bench)[0].iter().zip(&weights).map(|(y, weight)| y * weight).sum()
    };
    let mut bench = Bench::new(1);
    let [x_view, w_view, dy] =
        [("x", &x), ("w", &w), ("dy", &weights)].map(|(name, values)| bench.input(name, vec![values.clone()]));
    let (dw, db, dx) = (bench.output("dw", k * n), bench.output("db", n), bench.output("dx", m * k));
    bench.push(Op::MatMul(MatMul { trans_a: true, ..MatMul::new(x_view, dy, dw, k, m, n) }));
    bench.push(Op::SumRows { input: dy, output: db, rows: m });
    bench.push(Op::MatMul(MatMul { trans_b: true, ..MatMul::new(dy, w_view, dx, m, n, k) }));
    let found = run(&bench);
    // 20 products of up to 2 · (3 · 4 + 2).
    let bound = |_| TOLERANCE * (m * n * 28) as f64;
    assert_close("dw", &found[0], &differences(&w, |w| loss(&x, w, &b)), bound);
    assert_close("db", &found[1], &differences(&b, |b| loss(&x, &w, b)), bound);
    assert_close("dx", &found[2], &differences(&x, |x| loss(x, &w, &b)), bound);
}
