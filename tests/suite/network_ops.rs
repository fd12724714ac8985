//! Layers and losses: every engine against the oracle.

use crate::common::bench::Bench;
use crate::common::compare::assert_close;
use crate::common::engines::{self, AnyEngine};
use crate::common::numbers::doubles;
use crate::common::oracle::EPSILON;
use thalweg::cpu::Cpu;
use thalweg::op::Tally;
use thalweg::plan::{Activation, Loss, NONE, Op};

const SIZES: [usize; 7] = [1, 2, 63, 64, 65, 257, 5000];
const LANES: [usize; 2] = [1, 3];
const FUNCTIONS: [Activation; 3] = [Activation::Relu, Activation::Gelu, Activation::Tanh];

/// One list of numbers per lane, with the values at the edges first.
fn inputs(lanes: usize, len: usize) -> Vec<Vec<f64>> {
    let edges = [0.0, -0.0, 1e-6, -1e-6, 9.5, -9.5, 30.0, -30.0, 1e4, -1e4, 1e20, -1e20, f32::MIN_POSITIVE, 0.1, -0.1, -3.0];
    let edges = edges.map(f64::from);
    let mut inputs: Vec<Vec<f64>> = (0..lanes as u64).map(|lane| doubles(lane, len)).collect();
    inputs.iter_mut().for_each(|values| values.iter_mut().zip(edges).for_each(|(value, edge)| *value = edge));
    inputs
}

/// Runs on the engines and compares each output with the oracle's, within `bound` of lane, output and element.
fn agree(engines: &[AnyEngine], what: &str, bench: &Bench, bound: impl Fn(usize, usize, usize) -> f64) {
    let expected = bench.run(&Cpu::<f64>::default());
    for engine in engines {
        for (lane, (found, expected)) in bench.run(engine).iter().zip(&expected).enumerate() {
            for (output, (found, expected)) in found.iter().zip(expected).enumerate() {
                let what = format!("{}, {what}, lane {lane}, output {output}", engine.name);
                assert_close(&what, found, expected, |i| bound(lane, output, i));
            }
        }
    }
}

/// f32 costs a few roundings of the function's own size, and the size is that of the argument (ReLU, GELU) or 1 (tanh): GPUs
/// compute tanh from exponentials, and the error function to 1.5e-7, that is 1.3 units.
#[test]
fn activations_agree() {
    let engines = engines::all();
    for f in FUNCTIONS {
        for lanes in LANES {
            for len in SIZES {
                let x = inputs(lanes, len);
                let mut bench = Bench::new(lanes);
                let (input, output) = (bench.input("input", x.clone()), bench.output("output", len));
                bench.push(Op::Activate { f, input, output });
                let size = |lane: usize, i: usize| match f {
                    Activation::Tanh => 1.0,
                    _ => x[lane][i].abs(),
                };
                agree(&engines, &format!("{f:?} of {len}"), &bench, |lane, _, i| 4.0 * EPSILON * size(lane, i));
            }
        }
    }
}

/// A derivative is at most about 1, and so is every term of it.
#[test]
fn derivatives_agree() {
    let engines = engines::all();
    for f in FUNCTIONS {
        for lanes in LANES {
            for len in SIZES {
                let grads: Vec<Vec<f64>> = (0..lanes as u64).map(|lane| doubles(10 + lane, len)).collect();
                let mut bench = Bench::new(lanes);
                let (input, grad) = (bench.input("input", inputs(lanes, len)), bench.input("grad", grads.clone()));
                let output = bench.output("output", len);
                bench.push(Op::ActivateGrad { f, input, grad, output });
                let bound = |lane: usize, _, i: usize| 8.0 * EPSILON * grads[lane][i].abs();
                agree(&engines, &format!("derivative of {f:?} of {len}"), &bench, bound);
            }
        }
    }
}

/// A sum of n terms in any order loses about √n units of the sum of their sizes.
fn sum_cost<'a>(terms: impl Iterator<Item = &'a f64>) -> f64 {
    let (count, sizes) = terms.fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x.abs()));
    EPSILON * (f64::sqrt(count) + 2.0) * sizes
}

#[test]
fn sums_of_rows_agree() {
    let engines = engines::all();
    for lanes in LANES {
        for (rows, columns) in [(1, 1), (1, 65), (7, 64), (64, 10), (333, 3), (5000, 1), (0, 5)] {
            let x: Vec<Vec<f64>> = (0..lanes as u64).map(|lane| doubles(lane, rows * columns)).collect();
            let mut bench = Bench::new(lanes);
            let (input, output) = (bench.input("input", x.clone()), bench.output("output", columns));
            bench.push(Op::SumRows { input, output, rows });
            let bound = |lane: usize, _, column: usize| sum_cost(x[lane].iter().skip(column).step_by(columns));
            agree(&engines, &format!("{rows} × {columns}"), &bench, bound);
        }
    }
}

#[test]
fn tallies_add_to_what_was_there() {
    let engines = engines::all();
    for lanes in LANES {
        for len in [0, 1, 63, 64, 65, 5000] {
            let x: Vec<Vec<f64>> = (0..lanes as u64).map(|lane| doubles(lane, len)).collect();
            let before: Vec<Vec<f64>> = (0..lanes).map(|lane| vec![100.0 * (lane as f64 + 1.0)]).collect();
            let mut bench = Bench::new(lanes);
            let terms = bench.input("terms", x.clone());
            let sum = bench.read_and_written("sum", before.clone());
            let mean = bench.output("mean", 1);
            bench.operate(Tally { terms, sums: sum, mean });
            agree(&engines, &format!("tally of {len}"), &bench, |lane, _, _| sum_cost(x[lane].iter().chain(&before[lane])));
        }
    }
}

/// Logits with rows at the edges: all equal, far apart, and one with two equal largest.
fn logits(lanes: usize, rows: usize, classes: usize) -> Vec<Vec<f64>> {
    let mut logits: Vec<Vec<f64>> = (0..lanes as u64).map(|lane| doubles(lane, rows * classes)).collect();
    for lane in &mut logits {
        for (row, logits) in lane.chunks_exact_mut(classes).enumerate() {
            match row % 6 {
                1 => logits.fill(0.0),
                2 => logits[row / 6 % classes] = 1e4,
                3 => logits[row / 6 % classes] = -1e4,
                4 => logits.fill(88.0),
                5 => {
                    logits[0] = 7.0;
                    logits[classes - 1] = 7.0;
                }
                _ => {}
            }
        }
    }
    logits
}

/// Labels of all classes, some beyond, some [`NONE`].
fn labels(rows: usize, classes: usize) -> Vec<u32> {
    (0..rows).map(|row| if row % 11 == 10 { NONE } else { (row * 7 % (classes + 1)) as u32 }).collect()
}

#[test]
fn cross_entropy_agrees() {
    let engines = engines::all();
    for lanes in LANES {
        for (rows, classes) in [(1, 1), (1, 2), (63, 10), (64, 3), (65, 10), (257, 2), (20, 1000)] {
            let z = logits(lanes, rows, classes);
            let scale = 1.0 / rows as f64;
            let mut bench = Bench::new(lanes);
            let (logits, labels) = (bench.input("logits", z.clone()), bench.labels("labels", &labels(rows, classes)));
            let (losses, hits) = (bench.output("losses", rows), bench.output("hits", rows));
            let grad = bench.output("grad", rows * classes);
            bench.push(Op::Loss(Loss::CrossEntropy { logits, labels, losses, hits, grad, scale }));
            // A loss is a difference of logits beside a logarithm of at most the number of classes; a softmax is at most 1, and
            // its exponent is exact to a unit of itself, which the exponential outweighs. A hit is 0 or 1.
            let sums = f64::sqrt(classes as f64);
            let spread = |lane: usize, row: usize| {
                let row = &z[lane][row * classes..][..classes];
                row.iter().copied().fold(f64::MIN, f64::max) - row.iter().copied().fold(f64::MAX, f64::min)
            };
            agree(&engines, &format!("{rows} × {classes}"), &bench, |lane, output, i| match output {
                0 => EPSILON * (4.0 + sums + spread(lane, i)),
                1 => 0.0,
                _ => EPSILON * (8.0 + sums) * scale,
            });
        }
    }
}

#[test]
fn squared_error_agrees() {
    let engines = engines::all();
    for lanes in LANES {
        for (rows, columns) in [(1, 1), (63, 1), (64, 3), (65, 1), (257, 10), (3, 1000)] {
            let p: Vec<Vec<f64>> = (0..lanes as u64).map(|lane| doubles(lane, rows * columns)).collect();
            let t = doubles(9, rows * columns);
            let scale = 1.0 / rows as f64;
            let mut bench = Bench::new(lanes);
            let (predictions, targets) = (bench.input("predictions", p.clone()), bench.shared("targets", &t));
            let (losses, grad) = (bench.output("losses", rows), bench.output("grad", rows * columns));
            bench.push(Op::Loss(Loss::SquaredError { predictions, targets, losses, grad, scale }));
            let size = |lane: usize, i: usize| p[lane][i].abs() + t[i].abs();
            agree(&engines, &format!("{rows} × {columns}"), &bench, |lane, output, i| match output {
                0 => {
                    EPSILON
                        * (4.0 + f64::sqrt(columns as f64))
                        * (0..columns).map(|c| size(lane, i * columns + c).powi(2)).sum::<f64>()
                }
                _ => EPSILON * 4.0 * scale * size(lane, i),
            });
        }
    }
}
