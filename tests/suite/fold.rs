//! Reductions: compared with plain sums within a running error bound; the same bits for a row alone and among others; NaN and
//! infinity; sizes.

use crate::common::engines;
use crate::common::refusal::operation_is_refused;
use fastrand::Rng;
use thalweg::Real;
use thalweg::cpu::Cpu;
use thalweg::op::{Expr, Fold, Reduction};
use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program, View};

const REDUCTIONS: [Reduction; 5] =
    [Reduction::Sum, Reduction::Max, Reduction::FirstMax, Reduction::LogSumExp, Reduction::Moments];

/// Around chunks of 256 and spans of 4,096; primes, odd ones, 0 and 1.
const SIZES: [usize; 15] = [0, 1, 2, 3, 17, 127, 255, 256, 257, 1_031, 4_095, 4_096, 4_097, 8_193, 20_011];

/// All reductions of rows on an engine, lane by lane: per lane six numbers per row, one list after the other. `columns` lays
/// rows side by side.
fn reduced<E: Engine>(engine: &E, lanes: &[Vec<f64>], rows: usize, folded: usize, columns: bool) -> Vec<Vec<Vec<f64>>> {
    let mut layout = Layout::new(lanes.len());
    let x = layout.floats("x", rows * folded);
    let strides = if columns { [1, rows] } else { [folded, 1] };
    let (mut plan, mut outputs) = (Plan::default(), Vec::new());
    for reduction in REDUCTIONS {
        let count = reduction.results();
        let ids: Vec<_> = (0..count).map(|_| layout.floats("y", rows)).collect();
        let views: Vec<View> = ids.iter().map(|id| layout.whole(*id)).collect();
        let fold = Fold::new(&[rows], &[folded]).input(layout.whole(x), &strides).output(reduction, &views, Expr::input(0));
        let scratch = layout.floats("scratch", fold.scratch_len());
        plan.operate(if fold.scratch_len() > 0 { fold.scratch(layout.whole(scratch)) } else { fold });
        outputs.push(ids);
    }
    let mut program = engine.load(&Blueprint::of(&layout, &[plan])).expect("a program");
    for (lane, values) in lanes.iter().enumerate() {
        let values: Vec<E::Float> = (0..rows * folded)
            .map(|place| if columns { values[place % rows * folded + place / rows] } else { values[place] })
            .map(E::Float::of)
            .collect();
        program.write(x, lane, 0, &values).expect("inputs");
    }
    program.run(PlanId::FIRST, 1).expect("a run");
    let mut read = |lane, id| program.read(id, lane).expect("values").into_iter().map(Real::as_f64).collect::<Vec<f64>>();
    let mut lane = |lane| {
        let mut lists = Vec::new();
        for (reduction, ids) in REDUCTIONS.iter().zip(&outputs) {
            let mut found: Vec<Vec<f64>> = ids.iter().map(|id| read(lane, *id)).collect();
            if *reduction == Reduction::LogSumExp {
                let rest = found.swap_remove(1);
                found[0].iter_mut().zip(rest).for_each(|(largest, rest)| *largest += rest);
            }
            lists.extend(found);
        }
        lists
    };
    (0..lanes.len()).map(&mut lane).collect()
}

fn numbers(rng: &mut Rng, count: usize) -> Vec<f64> {
    (0..count).map(|_| f64::from(rng.f32() * 4.0 - 2.0)).collect()
}

/// The six numbers of a row in f64, and how far an engine in `f32` may be off each. An element takes part in at most 256
/// additions of its chunk, and in one per chunk and span.
fn right(row: &[f64]) -> [[f64; 2]; 6] {
    let (n, eps) = (row.len() as f64, f64::from(f32::EPSILON));
    let additions = 256f64.min(n) + 20.0 + n / 4_096.0;
    let sum: f64 = row.iter().sum();
    let sizes: f64 = row.iter().map(|x| x.abs()).sum();
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let place = row.iter().position(|x| *x == largest).map_or(f64::NAN, |place| place as f64);
    let powers: f64 = row.iter().map(|x| (x - largest).exp()).sum();
    let log_sum = if row.is_empty() { f64::NEG_INFINITY } else { largest + powers.ln() };
    let mean = sum / n;
    let squares: f64 = row.iter().map(|x| (x - mean) * (x - mean)).sum();
    let of_mean = additions * eps * (sizes / n);
    [
        [sum, additions * eps * sizes],
        [largest, 0.0],
        [place, 0.0],
        // The sum of powers is off by a share, its logarithm by as much; then a rounding of the result.
        [log_sum, (additions + 8.0) * eps + 2.0 * eps * log_sum.abs()],
        [mean, of_mean],
        [squares, (2.0 * additions + 8.0) * eps * squares + n * (of_mean * of_mean + 2.0 * of_mean * eps * 2.0)],
    ]
}

#[test]
fn reductions_are_those_of_plain_loops_on_every_engine() {
    let engines = [engines::cpu(), engines::gpu()];
    let mut rng = Rng::with_seed(1);
    for folded in SIZES {
        for (rows, columns) in [(1, false), (3, false), (11, true)] {
            let x = numbers(&mut rng, rows * folded);
            let oracle = reduced(&Cpu::<f64>::default(), std::slice::from_ref(&x), rows, folded, columns);
            let found: Vec<_> = engines
                .iter()
                .map(|engine| (engine.name, reduced(engine, std::slice::from_ref(&x), rows, folded, columns)))
                .collect();
            for row in 0..rows {
                let right = right(&x[row * folded..(row + 1) * folded]);
                for (index, [right, bound]) in right.into_iter().enumerate() {
                    // Without elements the mean is NaN and the sum of squares is 0.
                    let right = if folded == 0 && index == 5 { 0.0 } else { right };
                    let near = |found: f64, bound: f64| {
                        found == right || (found - right).abs() <= bound || (found.is_nan() && right.is_nan())
                    };
                    let double = oracle[0][index][row];
                    assert!(near(double, 1e-6 * bound), "oracle: {double}, not {right}: number {index} of {folded}");
                    for (name, found) in &found {
                        let found = found[0][index][row];
                        assert!(
                            near(found, bound),
                            "{name}: {found}, not {right} ± {bound:e}: number {index} of {folded}, row {row}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_among_others_and_in_lanes() {
    let mut rng = Rng::with_seed(2);
    for engine in [engines::cpu(), engines::gpu()] {
        for folded in [1, 10, 100, 257, 5_000] {
            let lanes: Vec<Vec<f64>> = (0..3).map(|_| numbers(&mut rng, 9 * folded)).collect();
            let together = reduced(&engine, &lanes, 9, folded, false);
            for (lane, values) in lanes.iter().enumerate() {
                let alone = reduced(&engine, std::slice::from_ref(values), 9, folded, false);
                let bits = |lists: &[Vec<f64>]| lists.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&together[lane]), bits(&alone[0]), "{}: lane {lane}, {folded}", engine.name);
                for row in [0, 8] {
                    let alone = reduced(&engine, &[values[row * folded..(row + 1) * folded].to_vec()], 1, folded, false);
                    for (number, alone) in alone[0].iter().enumerate() {
                        let (alone, found) = (alone[0], together[lane][number][row]);
                        assert_eq!(alone.to_bits(), found.to_bits(), "{}: row {row}, {folded}, number {number}", engine.name);
                    }
                }
            }
        }
    }
}

/// More rows than lie side by side at a time, and enough work for several threads.
#[test]
fn short_rows_have_the_same_bits_shared_by_threads() {
    const ROWS: usize = 14_003;
    let mut rng = Rng::with_seed(5);
    for (folded, columns) in [(10, false), (10, true), (3, false), (16, false)] {
        let values = numbers(&mut rng, ROWS * folded);
        let of = |threads, values: &[f64], rows| {
            let lists = reduced(&Cpu::<f32>::with_threads(threads), &[values.to_vec()], rows, folded, columns).swap_remove(0);
            lists.into_iter().map(|list| list.into_iter().map(f64::to_bits).collect()).collect::<Vec<Vec<u64>>>()
        };
        let one = of(1, &values, ROWS);
        for threads in [2, 3] {
            assert!(of(threads, &values, ROWS) == one, "{threads} threads, rows of {folded}, in columns: {columns}");
        }
        // Sums of rows that lie in columns are made in another order than those of a row alone.
        for row in [0, 255, 256, 600, ROWS - 1].into_iter().filter(|_| !columns) {
            let alone = of(1, &values[row * folded..(row + 1) * folded], 1);
            assert!(alone.iter().zip(&one).all(|(alone, all)| alone[0] == all[row]), "row {row} of {folded}");
        }
    }
}

#[test]
fn nan_and_infinity_are_seen_by_every_reduction() {
    const INF: f64 = f64::INFINITY;
    for engine in engines::all() {
        for folded in [4, 300, 5_000] {
            for at in [0, 2, folded - 1] {
                let reduce = |special: &[(usize, f64)], others: f64| {
                    let mut row = vec![others; folded];
                    special.iter().for_each(|&(at, value)| row[at] = value);
                    let numbers = reduced(&engine, &[row], 1, folded, false).swap_remove(0);
                    std::array::from_fn::<f64, 6, _>(|number| numbers[number][0])
                };
                let what = format!("{}: {folded}, {at}", engine.name);
                let nan = reduce(&[(at, f64::NAN), (1, INF)], 0.5);
                assert!(nan[2] == at as f64 && [0, 1, 3, 4, 5].iter().all(|&number| nan[number].is_nan()), "{what}: {nan:?}");
                let [sum, max, place, log_sum, mean, squares] = reduce(&[(at, INF)], 0.5);
                assert_eq!([sum, max, place, log_sum], [INF, INF, at as f64, INF], "{what}");
                assert!(!mean.is_finite() && !squares.is_finite(), "{what}: {mean}, {squares}");
                let [sum, max, place, log_sum, ..] = reduce(&[(at, -INF)], 0.5);
                let others = 0.5 + ((folded - 1) as f64).ln();
                assert_eq!([sum, max, place], [-INF, 0.5, if at == 0 { 1.0 } else { 0.0 }], "{what}");
                assert!((log_sum - others).abs() < 1e-5, "{what}: {log_sum}, not {others}");
                let [_, max, place, log_sum, ..] = reduce(&[], -INF);
                assert_eq!([max, place, log_sum], [-INF, 0.0, -INF], "{what}");
                // Larger than any exponential of its own.
                let [.., log_sum, _, _] = reduce(&[], 1e4);
                assert!((log_sum - 1e4 - (folded as f64).ln()).abs() < 2e-3, "{what}: {log_sum}");
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_errors() {
    let mut layout = Layout::new(1);
    let [x, y, long] = [6, 2, 5_000].map(|len| layout.floats("buffer", len)).map(|id| layout.whole(id));
    let refused = |fold: Fold, message: &str| operation_is_refused(&layout, fold, message);
    let fold = || Fold::new(&[2], &[3]);
    refused(fold().input(x, &[4, 1]).sum(y, Expr::input(0)), "x0 of fold (buffer buffer): 6 found, 7 elements expected");
    refused(fold().input(x, &[3, 1]).sum(x, Expr::input(0)), "y0 of fold (buffer buffer): 6 found, 2 elements expected");
    refused(fold().input(x, &[3, 1]).sum(y, Expr::input(1)), "fold.inputs = 1 is out of range: at least 2");
    refused(fold().input(x, &[3, 1]), "fold.outputs = 0 is out of range: at least 1");
    let two_stages = Fold::new(&[2], &[5_000]).input(long, &[0, 1]).sum(y, Expr::input(0));
    refused(two_stages, "fold.scratch = 0 is out of range: at least 8");
}

#[test]
fn five_dimensions_and_missing_views_are_refused() {
    let mut layout = Layout::new(1);
    let [x, y, z] = ["x", "y", "z"].map(|name| layout.floats(name, 1)).map(|id| layout.whole(id));
    let fold = |kept: &[usize], folded: &[usize]| Fold::new(kept, folded).input(x, &[1]);
    let sum = |kept: &[usize], folded: &[usize]| fold(kept, folded).sum(y, Expr::input(0));
    operation_is_refused(&layout, sum(&[1, 1], &[1, 1, 1]), "fold.dimensions = 5 is out of range: at most 4");
    operation_is_refused(&layout, sum(&[], &[1; 5]), "fold.dimensions = 5 is out of range: at most 4");
    let moments = |views: &[View]| fold(&[1], &[1]).output(Reduction::Moments, views, Expr::input(0));
    operation_is_refused(&layout, moments(&[y]), "fold.views of an output = 1 is out of range: exactly 2");
    operation_is_refused(&layout, moments(&[y, z, x]), "fold.views of an output = 3 is out of range: exactly 2");
}
