//! Products of matrices against the oracle.

use crate::common::bench::Bench;
use crate::common::compare::assert_close;
use crate::common::engines::{self, AnyEngine};
use crate::common::numbers::doubles;
use crate::common::oracle::EPSILON;
use thalweg::Error;
use thalweg::cpu::Cpu;
use thalweg::op::{MatMul, Strides};
use thalweg::plan::{Blueprint, Engine, Layout, Plan, View};

/// m, k, n: 0 and 1, below, at and above the usual tiles, long and flat.
const SHAPES: [(usize, usize, usize); 15] = [
    (1, 1, 1),
    (1, 0, 3),
    (2, 3, 4),
    (1, 64, 10),
    (7, 5, 3),
    (8, 8, 8),
    (15, 17, 16),
    (16, 16, 16),
    (17, 15, 33),
    (64, 64, 10),
    (63, 65, 64),
    (128, 3, 130),
    (3, 1000, 2),
    (5, 600, 20),
    (70, 129, 67),
];

/// A product. The bits of `variant` mean: A transposed, B transposed, with a bias, added to the previous values.
fn bench(lanes: usize, shape: (usize, usize, usize), variant: usize, shared: bool) -> Bench {
    batch_bench(lanes, 1, shape, variant, shared)
}

/// Likewise, of a whole batch.
fn batch_bench(lanes: usize, batch: usize, (m, k, n): (usize, usize, usize), variant: usize, shared: bool) -> Bench {
    let [trans_a, trans_b, biased, accumulate] = [1, 2, 4, 8].map(|bit| variant & bit != 0);
    let per_lane = |seed: u64, len| -> Vec<Vec<f64>> { (0..lanes as u64).map(|lane| doubles(10 * seed + lane, len)).collect() };
    let (a, b) = (per_lane(1, batch * m * k), per_lane(2, batch * k * n));
    let (bias, before) = (per_lane(3, n), per_lane(4, batch * m * n));
    let mut bench = Bench::new(lanes);
    let left = if shared { bench.shared("a", &a[0]) } else { bench.input("a", a.clone()) };
    let right = bench.input("b", b.clone());
    let bias_view: Option<View> = biased.then(|| bench.input("bias", bias.clone()));
    let c = if accumulate { bench.read_and_written("c", before.clone()) } else { bench.output("c", batch * m * n) };
    let product = MatMul::new(left, right, c, m, k, n);
    let product = product.bias(bias_view).transposed(trans_a, trans_b).accumulate(accumulate).batch(batch);
    bench.operate(product);
    bench
}

/// A sum of k products is off by about √k units of the sum of their sizes. Each is at most 4, and so are bias and previous
/// value together.
fn bound(k: usize) -> f64 {
    EPSILON * (f64::sqrt(k as f64) + 2.0) * (4.0 * k as f64 + 4.0)
}

fn agree(engines: &[AnyEngine], lanes: usize, batch: usize, shared: bool) {
    for shape in SHAPES {
        for variant in 0..16 {
            let bench = batch_bench(lanes, batch, shape, variant, shared);
            let expected = bench.run(&Cpu::<f64>::default());
            for engine in engines {
                for (lane, (found, expected)) in bench.run(engine).iter().zip(&expected).enumerate() {
                    let what =
                        format!("{}, {shape:?}, variant {variant:#06b}, lane {lane} of {lanes}, batch {batch}", engine.name);
                    assert_close(&what, &found[0], &expected[0], |_| bound(shape.1));
                }
            }
        }
    }
}

/// Products of one lane, of three, of three that share a factor, and of batches. They are one test, since every test is a
/// process that has to compile the kernels.
#[test]
fn products_of_lanes_and_of_batches_agree() {
    let engines = engines::all();
    for (lanes, batch, shared) in [(1, 1, false), (3, 1, false), (3, 1, true), (2, 3, true)] {
        agree(&engines, lanes, batch, shared);
    }
}

/// The matrices of a batch are those of as many lanes, one after the other.
fn a_batch_is_as_many_lanes<E: Engine>(name: &str, engine: &E)
where
    E::Float: Into<f64>,
{
    for (shape, variant) in SHAPES.into_iter().flat_map(|shape| [0, 1, 2, 3, 8].map(|variant| (shape, variant))) {
        let (m, k, n) = shape;
        let [trans_a, trans_b, _, accumulate] = [1, 2, 4, 8].map(|bit| variant & bit != 0);
        let lanes = bench(3, shape, variant, false).run(engine);
        let all = |seed: u64, len| (0..3).flat_map(|lane| doubles(10 * seed + lane, len)).collect::<Vec<f64>>();
        let mut bench = Bench::new(1);
        let (a, b) = (bench.input("a", vec![all(1, m * k)]), bench.input("b", vec![all(2, k * n)]));
        let c = bench.read_and_written("c", vec![all(4, m * n)]);
        let product = MatMul::new(a, b, c, m, k, n).transposed(trans_a, trans_b).accumulate(accumulate);
        bench.operate(product.batch(3));
        let exact = |values: &[E::Float]| values.iter().map(|&x| x.into()).collect::<Vec<f64>>();
        let (found, expected) = (exact(&bench.run(engine)[0][0]), exact(&lanes.concat().concat()));
        assert_eq!(found.len(), 3 * m * n);
        assert!(found == expected, "{name}, {shape:?}, variant {variant:#06b}");
    }
}

#[test]
fn a_batch_has_the_bits_of_its_products() {
    a_batch_is_as_many_lanes("oracle", &Cpu::<f64>::default());
    for engine in engines::all() {
        a_batch_is_as_many_lanes(engine.name, &engine);
    }
}

/// The oracle against sums written out.
#[test]
fn the_oracle_is_the_definition() {
    for (m, k, n) in SHAPES {
        // The inputs that `bench` makes for a single lane.
        let (a, b, bias, before) = (doubles(10, m * k), doubles(20, k * n), doubles(30, n), doubles(40, m * n));
        for variant in 0..16 {
            let [trans_a, trans_b, biased, accumulate] = [1, 2, 4, 8].map(|bit| variant & bit != 0);
            let a = |i: usize, l: usize| if trans_a { a[l * m + i] } else { a[i * k + l] };
            let b = |l: usize, j: usize| if trans_b { b[j * k + l] } else { b[l * n + j] };
            let first = |i: usize| if biased { bias[i % n] } else { 0.0 } + if accumulate { before[i] } else { 0.0 };
            let sum = |i: usize| first(i) + (0..k).map(|l| a(i / n, l) * b(l, i % n)).sum::<f64>();
            let expected: Vec<f64> = (0..m * n).map(sum).collect();
            let found = &bench(1, (m, k, n), variant, false).run(&Cpu::<f64>::default())[0][0];
            assert_close(&format!("{m} × {k} × {n}, variant {variant:#06b}"), found, &expected, |_| {
                f64::EPSILON * (k as f64 + 3.0) * (4.0 * k as f64 + 4.0)
            });
        }
    }
}

#[test]
fn a_lane_has_the_bits_of_a_product_alone() {
    for engine in engines::all() {
        for shape in SHAPES {
            let lanes = bench(3, shape, 4, false).run(&engine);
            let alone = bench(1, shape, 4, false).run(&engine);
            crate::common::compare::assert_same_bits(&format!("{}, {shape:?}", engine.name), &lanes[0][0], &alone[0][0]);
        }
    }
}

/// Two samples with two heads each: q has the heads' columns side by side, k is the same for all samples.
#[test]
fn strided_products_are_those_of_matrices_that_are_copied_out() {
    const SAMPLES: usize = 2;
    const HEADS: usize = 2;
    const M: usize = 3;
    const K: usize = 4;
    const N: usize = 5;
    let (q, k) = (doubles(1, SAMPLES * M * HEADS * K), doubles(2, HEADS * N * K));
    let left = Strides { row: HEADS * K, batch: [M * HEADS * K, K] };
    let right = Strides { row: K, batch: [0, N * K] };
    // Rows of six elements, of which five are written.
    let out = Strides { row: N + 1, batch: [HEADS * M * (N + 1), M * (N + 1)] };
    for engine in engines::all() {
        let mut bench = Bench::new(1);
        let (a, b) = (bench.input("q", vec![q.clone()]), bench.input("k", vec![k.clone()]));
        let c = bench.read_and_written("c", vec![vec![7.0; SAMPLES * HEADS * M * (N + 1)]]);
        let product = MatMul::new(a, b, c, M, K, N).transposed(false, true);
        bench.operate(product.strided([SAMPLES, HEADS], [Some(left), Some(right), Some(out)]));
        let found = &bench.run(&engine)[0][0];
        let expected: Vec<f64> = (0..found.len())
            .map(|at| {
                let (column, row, product) = (at % (N + 1), at / (N + 1) % M, at / (N + 1) / M);
                let (sample, head) = (product / HEADS, product % HEADS);
                let term = |i: usize| q[(sample * M + row) * HEADS * K + head * K + i] * k[(head * N + column) * K + i];
                if column == N { 7.0 } else { (0..K).map(term).sum() }
            })
            .collect();
        assert_close(engine.name, found, &expected, |_| bound(K));
    }
}

#[test]
fn matrices_that_overlap_or_leave_their_views_are_refused() {
    let mut layout = Layout::new(1);
    let [a, b, c] = [("a", 12), ("b", 12), ("c", 12)].map(|(name, len)| layout.floats(name, len)).map(|id| layout.whole(id));
    let product = MatMul::new(a, b, c, 2, 2, 2);
    let lies = |row, batch| Some(Strides { row, batch });
    for (batch, strides, message) in [
        ([1, 1], [lies(1, [0, 0]), None, None], "matmul.row stride of a = 1 is out of range: at least 2"),
        (
            [1, 2],
            [lies(2, [0, 4]), lies(2, [0, 4]), lies(2, [0, 3])],
            "matmul.inner batch stride of c = 3 is out of range: at least 4",
        ),
        (
            [2, 1],
            [lies(2, [0, 0]), lies(2, [0, 0]), lies(4, [5, 0])],
            "matmul.outer batch stride of c = 5 is out of range: at least 6",
        ),
        ([3, 1], [lies(2, [5, 0]), None, None], "a of matmul (buffer a): 12 found, 14 elements expected"),
        ([1, usize::MAX], [lies(2, [0, 2]), None, None], ""),
    ] {
        let mut plan = Plan::default();
        plan.operate(product.clone().strided(batch, strides));
        for engine in engines::all() {
            let error = engine.load(&Blueprint::of(&layout, &[plan.clone()])).err().unwrap_or_else(|| panic!("{message}"));
            assert!(matches!(error, Error::Setting { .. } | Error::Shape { .. }), "{error}");
            assert!(message.is_empty() || error.to_string() == message, "{error}");
        }
    }
}
