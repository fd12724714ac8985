//! Inner products and linear combinations of vectors against plain sums: sizes around a chunk, as many vectors as one launch
//! takes and more, alone and in lanes, whole and cut, on every engine.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::numbers::doubles;
use crate::common::oracle::EPSILON;
use thalweg::cpu::Cpu;
use thalweg::plan::{
    Arena, Blueprint, BufferId, CHUNK, Chunk, Combine, Dots, Engine, Layout, NormKind, Op, Plan, PlanId, Program, View,
};
use thalweg::{Real, Result};

fn arena(tensors: &[usize]) -> Arena {
    let mut arena = Arena::default();
    for (i, &len) in tensors.iter().enumerate() {
        arena.add(&format!("tensor {i}"), &[len]).expect("names that differ");
    }
    arena
}

/// The elements of a vector of a lane.
fn vector(index: usize, lane: usize, len: usize) -> Vec<f64> {
    doubles((100 * lane + index) as u64, len)
}

/// The coefficients of a lane.
fn coefficients(lane: usize, len: usize) -> Vec<f64> {
    doubles(7000 + lane as u64, len)
}

/// Left and right vectors, and terms: the first `left`, the `right` after the first, and the first `terms`.
#[derive(Debug, Clone, Copy)]
struct Counts {
    left: usize,
    right: usize,
    terms: usize,
}

/// By lane: the products, and the combination's elements without padding.
fn run<E: Engine>(engine: &E, tensors: &[usize], counts: Counts, lanes: &[usize]) -> Vec<[Vec<E::Float>; 2]> {
    let Counts { left, right, terms } = counts;
    let arena = arena(tensors);
    let mut layout = Layout::new(lanes.len());
    let vectors: Vec<BufferId> =
        (0..terms.max(left).max(1 + right)).map(|i| layout.arena(&format!("vector {i}"), &arena)).collect();
    let (output, chunks) = (layout.arena("output", &arena), arena.chunks());
    let partials = layout.floats("partials", left * right * chunks.len() + 2);
    let products = layout.floats("products", left * right + 2);
    let weights = layout.floats("coefficients", terms + 3);
    let inside = |buffer, offset, len| View { buffer, offset, len };
    let (sums, joined) = (inside(partials, 1, left * right * chunks.len()), inside(products, 1, left * right));
    let mut plan = Plan::default();
    plan.push(Op::Dots(Dots::new(vectors[..left].into(), vectors[1..1 + right].into(), chunks, sums)));
    plan.push(Op::Join { kind: NormKind::L2, input: sums, output: joined });
    plan.push(Op::Combine(Combine::new(vectors[..terms].into(), inside(weights, 3, terms), output)));
    let mut program = engine.load(&Blueprint::of(&layout, &[plan])).unwrap_or_else(|e| panic!("{}: {e}", engine.describe()));

    let len = tensors.iter().sum();
    let float = |values: Vec<f64>| values.into_iter().map(E::Float::of).collect::<Vec<_>>();
    let nan = |len| vec![E::Float::of(f64::NAN); len];
    for (place, &lane) in lanes.iter().enumerate() {
        for (index, &id) in vectors.iter().enumerate() {
            let values = float(vector(index, lane, len));
            let mut start = 0;
            for tensor in arena.tensors() {
                program.write(id, place, tensor.offset, &values[start..][..tensor.len()]).expect("a tensor");
                start += tensor.len();
            }
        }
        program.write(weights, place, 3, &float(coefficients(lane, terms))).expect("coefficients");
        for id in [output, partials, products] {
            program.write(id, place, 0, &nan(layout.buffer(id).expect("a buffer").len)).expect("what is to be overwritten");
        }
    }
    program.run(PlanId::FIRST, 1).expect("a run");
    let mut result = |lane| {
        let products = program.read(products, lane).expect("products");
        let around = [products[0], products[1 + left * right]];
        assert!(around.into_iter().all(num_traits::Float::is_nan), "written outside of the view");
        let output = program.read(output, lane).expect("an output");
        let elements = arena.tensors().iter().flat_map(|tensor| output[tensor.offset..][..tensor.len()].to_vec()).collect();
        let padding =
            arena.tensors().iter().flat_map(|tensor| &output[tensor.offset + tensor.len()..][..(64 - tensor.len() % 64) % 64]);
        assert!(padding.into_iter().all(|&x| x == E::Float::of(0.0)), "padding stays 0");
        [products[1..1 + left * right].to_vec(), elements]
    };
    (0..lanes.len()).map(&mut result).collect()
}

/// Plain sums, and the sums of absolute values, relative to which errors are measured.
fn plain(len: usize, counts: Counts, lane: usize) -> [[Vec<f64>; 2]; 2] {
    let Counts { left, right, terms } = counts;
    let vectors: Vec<Vec<f64>> = (0..terms.max(left).max(1 + right)).map(|i| vector(i, lane, len)).collect();
    let dot = |l: usize, r: usize, f: fn(f64) -> f64| (0..len).map(|i| f(vectors[l][i] * vectors[r][i])).sum::<f64>();
    let dots = |f| (0..left).flat_map(|l| (1..1 + right).map(move |r| (l, r))).map(|(l, r)| dot(l, r, f)).collect();
    let c = coefficients(lane, terms);
    let sum = |i: usize, f: fn(f64) -> f64| (0..terms).map(|k| f(c[k] * vectors[k][i])).sum::<f64>();
    let sums = |f: fn(f64) -> f64| (0..len).map(|i| sum(i, f)).collect();
    let same: fn(f64) -> f64 = |x| x;
    [[dots(same), dots(f64::abs)], [sums(same), sums(f64::abs)]]
}

/// How far products and sums may be off, relative to the sum of their terms' sizes.
fn bounds(epsilon: f64, counts: Counts) -> [f64; 2] {
    // A product, and the sums of chunks and over them: two to three times up to 64 terms in a row, whose errors mostly cancel.
    // In f64 it is the plain sum, of up to 70,000 terms in a row, that is off, by 1e-13 at most. Then a product and a sum per
    // term.
    [f64::max(32.0 * epsilon, 1e-13), (1.0 + counts.terms as f64) * epsilon]
}

fn agrees<F: Real>(what: &str, found: &[Vec<F>; 2], len: usize, counts: Counts, lane: usize, epsilon: f64) {
    let bounds = bounds(epsilon, counts);
    for (name, (found, ([expected, sizes], bound))) in
        ["products", "sums"].iter().zip(found.iter().zip(plain(len, counts, lane).iter().zip(bounds)))
    {
        assert_close(&format!("{what}, {name}"), found, expected, |i| bound * sizes[i]);
    }
}

#[test]
fn every_engine_has_the_plain_sums() {
    let mut engines = engines::all_and_small();
    let sizes = [1, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1];
    let several = [vec![CHUNK - 1, 0, 1, CHUNK + 1, 70], vec![17 * CHUNK + 5], vec![9 * CHUNK, 8 * CHUNK + 1, 3]];
    let counts = [(1, 1, 1), (2, 4, 6), (3, 5, 7), (1, 9, 13)].map(|(left, right, terms)| Counts { left, right, terms });
    for (case, tensors) in sizes.into_iter().map(|len| vec![len]).chain(several).enumerate() {
        let (len, counts) = (tensors.iter().sum(), [counts[case % 4], counts[(case + 1) % 4]]);
        for counts in counts {
            let what = format!("{tensors:?}, {counts:?}");
            let found = run(&Cpu::<f64>::default(), &tensors, counts, &[0]);
            agrees(&format!("oracle, {what}"), &found[0], len, counts, 0, f64::EPSILON);
            for engine in &mut engines {
                let lanes = run(engine, &tensors, counts, &[0, 1, 2]);
                for (lane, found) in lanes.iter().enumerate() {
                    let what = format!("{}, {what}, lane {lane}", engine.name);
                    agrees(&what, found, len, counts, lane, EPSILON);
                    if lane == 2 {
                        let alone = run(engine, &tensors, counts, &[lane]).swap_remove(0);
                        found.iter().zip(&alone).for_each(|(found, alone)| assert_same_bits(&what, found, alone));
                    }
                }
            }
        }
    }
}

/// An inner product that misses an element is wrong by its whole value, since both vectors are 1 in one place only.
#[test]
fn every_element_counts_once() {
    let tensors = [CHUNK - 1, 1, CHUNK + 1, 70];
    let arena = arena(&tensors);
    for engine in engines::all_and_small() {
        let mut layout = Layout::new(1);
        let [a, b] = ["a", "b"].map(|name| layout.arena(name, &arena));
        let partials = layout.floats("partials", arena.chunks().len());
        let product = layout.floats("product", 1);
        let mut plan = Plan::default();
        let sums = layout.whole(partials);
        plan.push(Op::Dots(Dots::new(vec![a], vec![b], arena.chunks(), sums)));
        plan.push(Op::Join { kind: NormKind::L2, input: sums, output: layout.whole(product) });
        let mut program = engine.load(&Blueprint::of(&layout, &[plan])).expect("a program");
        let edges = [0, 1, 63, 64, CHUNK - 2, CHUNK - 1, CHUNK];
        for tensor in arena.tensors() {
            for place in edges.into_iter().filter(|&edge| edge < tensor.len()) {
                for (id, value) in [(a, 3.0), (b, -5.0)] {
                    program.write(id, 0, 0, &vec![0.0; arena.len()]).expect("zeros");
                    program.write(id, 0, tensor.offset + place, &[value]).expect("an element");
                }
                program.run(PlanId::FIRST, 1).expect("a run");
                assert_eq!(program.read(product, 0), Ok(vec![-15.0]), "{}, {} {place}", engine.name, tensor.name);
            }
        }
    }
}

/// Rows of any length, one of them with NaN, one with infinity.
#[test]
fn joining_adds_or_takes_the_largest_and_keeps_what_is_not_finite() {
    for columns in [0, 1, 2, 255, 256, 257, 1000] {
        for kind in [NormKind::L2, NormKind::L1, NormKind::Max] {
            let mut rows: Vec<Vec<f64>> = (0..5).map(|row| doubles(row, columns).into_iter().map(f64::abs).collect()).collect();
            if columns > 0 {
                rows[1][columns / 2] = f64::NAN;
                rows[3][columns - 1] = f64::INFINITY;
            }
            let joined = |row: &Vec<f64>| match kind {
                NormKind::Max => row.iter().fold(0.0, |a: f64, &b| if b > a || b.is_nan() { b } else { a }),
                NormKind::L2 | NormKind::L1 | NormKind::Count => row.iter().sum(),
            };
            let expected: Vec<f64> = rows.iter().map(joined).collect();
            for engine in engines::all() {
                let mut layout = Layout::new(1);
                let (input, output) = (layout.floats("input", 5 * columns + 3), layout.floats("output", 9));
                let mut plan = Plan::default();
                let view = |buffer, offset, len| View { buffer, offset, len };
                plan.push(Op::Join { kind, input: view(input, 3, 5 * columns), output: view(output, 2, 5) });
                let mut program = engine.load(&Blueprint::of(&layout, &[plan])).expect("a program");
                let values: Vec<f32> = rows.concat().into_iter().map(|x| x as f32).collect();
                program.write(input, 0, 3, &values).expect("values");
                program.write(output, 0, 0, &[7.0; 9]).expect("values");
                program.run(PlanId::FIRST, 1).expect("a run");
                let found = program.read(output, 0).expect("an output");
                let what = format!("{}, {kind:?}, {columns} columns", engine.name);
                assert_eq!([&found[..2], &found[7..]].concat(), [7.0; 4], "{what}");
                let finite = |x: &f64| if x.is_finite() { *x } else { -1.0 };
                let numbers: Vec<f64> = found[2..7].iter().map(|&x| finite(&f64::from(x))).collect();
                let expected: Vec<f64> = expected.iter().map(finite).collect();
                assert_close(&what, &numbers, &expected, |i| 32.0 * EPSILON * expected[i].abs());
            }
        }
    }
}

#[test]
fn vectors_that_do_not_fit_are_refused() {
    let (arena, other) = (arena(&[100]), arena(&[64, 30]));
    let mut layout = Layout::new(1);
    let [a, b] = ["a", "b"].map(|name| layout.arena(name, &arena));
    let (cut, short) = (layout.arena("cut", &other), layout.floats("short", 64));
    let (one, two) = (layout.floats("one", 1), layout.floats("two", 2));
    let shared = layout.shared_floats("shared", 1);
    let whole = |id| layout.whole(id);
    let check = |op: Op| -> Result<()> {
        let mut plan = Plan::default();
        plan.push(op);
        plan.check(&layout)
    };
    let dots = |left: &[BufferId], right: &[BufferId], chunks: Vec<Chunk>, partials: View| {
        Op::Dots(Dots::new(left.to_vec(), right.to_vec(), chunks, partials))
    };
    let all = || arena.chunks();
    let combine = |terms: &[BufferId], coefficients: View| Op::Combine(Combine::new(terms.to_vec(), coefficients, b));
    let chunk = |start, len| vec![Chunk { start, len, ..arena.chunks()[0] }];
    assert_eq!(check(dots(&[a], &[b], all(), whole(one))), Ok(()));
    assert_eq!(check(combine(&[a], whole(one))), Ok(()));
    assert_eq!(check(Op::Join { kind: NormKind::Max, input: whole(two), output: whole(one) }), Ok(()));
    let chunks = "chunks of at most 4096 elements that start at multiples of 64 expected";
    let cases = [
        (dots(&[], &[], all(), whole(one)), "the vectors of inner products is empty".to_string()),
        (dots(&[a], &[short], all(), whole(one)), "short: 64 found, 128 elements expected".into()),
        (dots(&[a], &[cut], all(), whole(one)), "cut: another found, the arena of a expected".into()),
        (dots(&[a], &[b], all(), whole(two)), "two: 2 found, 1 elements expected".into()),
        (
            dots(&[a], &[b], all(), View { buffer: b, offset: 0, len: 1 }),
            "b: one buffer for both found, an output apart from its inputs expected".into(),
        ),
        (dots(&[a], &[b], chunk(64, 65), whole(one)), format!("a: 65 from element 64 on found, {chunks}")),
        (dots(&[a], &[b], chunk(32, 8), whole(one)), format!("a: 8 from element 32 on found, {chunks}")),
        (dots(&[a], &[b], chunk(0, 4097), whole(one)), format!("a: 4097 from element 0 on found, {chunks}")),
        (combine(&[], whole(one)), "the terms of a linear combination is empty".into()),
        (combine(&[short], whole(one)), "b: 128 found, 64 elements expected".into()),
        (combine(&[b], whole(one)), "b: one buffer for both found, an output apart from its inputs expected".into()),
        (combine(&[a], whole(two)), "two: 2 found, 1 elements expected".into()),
        (combine(&[a], whole(shared)), "shared: Shared found, Lane expected".into()),
        (
            Op::Join { kind: NormKind::L2, input: whole(one), output: whole(two) },
            "one: 1 found, a multiple of 2 elements expected".into(),
        ),
        (
            Op::Join { kind: NormKind::L2, input: whole(one), output: whole(one) },
            "one: one buffer for both found, an output apart from its inputs expected".into(),
        ),
    ];
    for (op, message) in cases {
        assert_eq!(check(op).expect_err(&message).to_string(), message);
    }
}
