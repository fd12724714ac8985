//! Losses at the edges: logits that are equal, far apart or not finite, rows without a label; every engine against the oracle.

use crate::common::compare::assert_close;
use crate::common::engines;
use crate::common::numbers::doubles;
use crate::common::oracle::EPSILON;
use crate::common::taped::{Input, Results, Taped, record};
use thalweg::cpu::Cpu;
use thalweg::nn::{Criterion, CrossEntropy, SquaredError, Tape};
use thalweg::plan::NONE;

/// Logits with rows at the edges: all equal, far apart, and one with two equal largest.
fn logits(rows: usize, classes: usize) -> Vec<f64> {
    let mut logits = doubles(0, rows * classes);
    for (row, logits) in logits.chunks_exact_mut(classes).enumerate() {
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
    logits
}

/// The mean loss over all rows; the loss of each row, and whether it is a hit.
fn entropy(z: &[f64], labels: &[u32]) -> Taped {
    let (rows, classes) = (labels.len(), z.len() / labels.len());
    let inputs = [Input::Floats(vec![rows, classes], z.to_vec()), Input::Indices(vec![rows], labels.to_vec())];
    let taped = record(2, Tape::training(), &inputs, true, |tape, of| {
        let criterion = CrossEntropy { ignored: Some(NONE), ..Default::default() };
        let losses = criterion.terms(tape, &of[0], &of[1]).losses;
        vec![losses.mean(&[]), losses, of[0].first_max(1).equals(&of[1])]
    });
    taped.expect("a recording")
}

/// The mean loss over all rows; the loss of each element.
fn squares(p: &[f64], t: &[f64], columns: usize) -> Taped {
    let shape = vec![p.len() / columns, columns];
    let inputs = [Input::Floats(shape.clone(), p.to_vec()), Input::Floats(shape, t.to_vec())];
    let taped = record(2, Tape::training(), &inputs, true, |tape, of| {
        let losses = SquaredError.terms(tape, &of[0], &of[1]).losses;
        vec![losses.mean(&[]), losses]
    });
    taped.expect("a recording")
}

/// The results of every engine, and those of the oracle.
fn runs(taped: &Taped) -> (Results, Vec<(&'static str, Results)>) {
    let of = |mut lanes: Vec<Results>| {
        assert_eq!(format!("{:?}", lanes[0]), format!("{:?}", lanes[1]), "lanes with the same numbers");
        lanes.swap_remove(0)
    };
    let engines = engines::all().into_iter().map(|engine| (engine.name, of(taped.run(&engine, 1, 1))));
    (of(taped.run(&Cpu::<f64>::default(), 1, 1)), engines.collect())
}

#[test]
fn cross_entropy_agrees_at_the_edges() {
    for (rows, classes) in [(1, 1), (1, 2), (63, 10), (64, 3), (65, 10), (257, 2), (20, 1000)] {
        let z = logits(rows, classes);
        let labels: Vec<u32> = (0..rows).map(|row| if row % 11 == 10 { NONE } else { (row * 7 % classes) as u32 }).collect();
        let (right, found) = runs(&entropy(&z, &labels));
        let sums = f64::sqrt(classes as f64);
        let spread = |row: usize| {
            let row = &z[row * classes..][..classes];
            row.iter().copied().fold(f64::MIN, f64::max) - row.iter().copied().fold(f64::MAX, f64::min)
        };
        for (name, found) in found {
            let what = format!("{name}, {rows} × {classes}");
            // A loss is a difference of logits beside a logarithm of at most the number of classes; a softmax is at most 1, and
            // its exponent, which has that logarithm in it, is off by a few units of 8.
            assert_close(&what, &found.outputs[1], &right.outputs[1], |i| EPSILON * (4.0 + sums + spread(i)));
            assert_eq!(found.outputs[2], right.outputs[2], "{what}: hits");
            let bound = EPSILON * (16.0 + sums) / rows as f64;
            assert_close(&what, &found.of_inputs[0], &right.of_inputs[0], |_| bound);
            for row in (0..rows).filter(|row| labels[*row] == NONE) {
                assert_eq!(found.outputs[1][row], 0.0, "{what}: a row without a label");
                assert!(found.of_inputs[0][row * classes..][..classes].iter().all(|x| *x == 0.0), "{what}");
            }
        }
    }
}

#[test]
fn squared_error_agrees() {
    for (rows, columns) in [(1, 1), (63, 1), (64, 3), (65, 1), (257, 10), (3, 1000)] {
        let (p, t) = (doubles(1, rows * columns), doubles(9, rows * columns));
        let (right, found) = runs(&squares(&p, &t, columns));
        let size = |i: usize| p[i].abs() + t[i].abs();
        for (name, found) in found {
            let what = format!("{name}, {rows} × {columns}");
            assert_close(&what, &found.outputs[1], &right.outputs[1], |i| EPSILON * 4.0 * size(i).powi(2));
            let bound = |i| EPSILON * 8.0 * size(i) / (rows * columns) as f64;
            assert_close(&what, &found.of_inputs[0], &right.of_inputs[0], bound);
        }
    }
}

#[test]
fn losses_keep_nan_and_infinity() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let values = [bad, 1.0, 2.0, 3.0];
        for taped in [entropy(&values, &[0, 1]), squares(&values, &[0.0; 4], 2)] {
            let (right, found) = runs(&taped);
            let places = |results: &Results| {
                let all = results.outputs[..2].iter().chain(&results.of_inputs).flatten();
                all.map(|x| !x.is_finite()).collect::<Vec<bool>>()
            };
            assert!(places(&right)[0], "{bad}: {right:?}");
            for (name, found) in found {
                assert_eq!(places(&found), places(&right), "{name}, {bad}: {found:?}, not {right:?}");
            }
        }
    }
}
