//! Sizes and places that do not exist are errors, on either engine: never a panic, an abort, or another tensor's memory.

use crate::common::engines;
use crate::common::refusal::assert_error;
use thalweg::cpu::Cpu;
use thalweg::op::{Copy, MatMul};
use thalweg::plan::{Arena, Blueprint, Engine, Factored, Layout, Moments, Op, Plan, PlanId, Program, Stack, Tag};
use thalweg::{Adam, Error, HyperRow, Optimizer, Recipe};

const HUGE: [&[usize]; 8] = [
    &[usize::MAX],
    &[1 << 32, 1 << 32],
    &[1 << 40, 1 << 40],
    &[(1 << 62) + 1, 4],
    &[1 << 60],
    &[1 << 45],
    &[(1 << 38) + 1],
    &[1 << 40, 0, 1 << 40],
];

#[test]
fn shapes_that_no_memory_holds_are_refused_at_once() {
    for shape in HUGE {
        let mut arena = Arena::default();
        arena.add("small", &[100]).expect("a small tensor");
        let error = arena.add("w", shape).expect_err("too large").to_string();
        assert!(error.starts_with(&format!("tensor 'w': shape {shape:?} found, at most ")), "{error}");
        // A refused tensor leaves the arena as it was.
        assert_eq!((arena.len(), arena.tensors().len()), (128, 1));
        arena.add("w", &[1]).expect("the name is free");
        let new = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Adam::default()), &[("w", shape)]);
        assert!(matches!(new, Err(Error::Shape { .. })), "{shape:?}");
    }
    let mut arena = Arena::default();
    arena.add("none", &[0, 1 << 20]).expect("a tensor without elements");
    assert!(arena.is_empty());
}

#[test]
fn buffers_that_no_memory_holds_are_errors_by_name() {
    for len in [1_usize << 50, 1 << 60, 1 << 61, usize::MAX] {
        let mut layout = Layout::new(1);
        layout.floats("huge", len);
        for error in [
            Cpu::<f64>::default().load(&Blueprint::of(&layout, &[])).err(),
            Cpu::<f32>::default().load(&Blueprint::of(&layout, &[])).err(),
        ] {
            assert!(matches!(&error, Some(Error::OutOfMemory { what, .. }) if what == "huge"), "{len}: {error:?}");
        }
        let error = engines::open(Default::default()).load(&Blueprint::of(&layout, &[])).err();
        assert!(matches!(&error, Some(Error::Limit { what, .. }) if what == "the buffer 'huge'"), "{len}: {error:?}");
    }
    let mut layout = Layout::new(1 << 60);
    layout.floats("x", 1);
    let error = Cpu::<f32>::default().load(&Blueprint::of(&layout, &[])).err();
    assert!(matches!(error, Some(Error::OutOfMemory { .. } | Error::Lanes { .. })), "{error:?}");
}

/// A product of sizes that would wrap around is refused.
#[test]
fn sizes_of_operations_do_not_wrap_around() {
    let mut layout = Layout::new(1);
    let [a, b, c] = ["a", "b", "c"].map(|name| layout.floats(name, 0)).map(|id| layout.whole(id));
    for [m, k, n] in [[1 << 32, 1 << 32, 0], [1 << 63, 2, 2], [1 << 32, 1 << 32, 1 << 32]] {
        let mut plan = Plan::default();
        plan.operate(MatMul::new(a, b, c, m, k, n));
        for engine in [engines::cpu(), engines::gpu()] {
            assert!(matches!(engine.load(&Blueprint::of(&layout, &[plan.clone()])), Err(Error::Shape { .. })), "{m} {k} {n}");
        }
    }
}

/// The same for tensors whose second moments are kept by rows and columns.
#[test]
fn sizes_of_moments_do_not_wrap_around() {
    let mut layout = Layout::new(1);
    let [grads, moments, partials, current] = [("grads", 64), ("moments", 64), ("partials", 64), ("current", HyperRow::LEN)]
        .map(|(name, len)| layout.floats(name, len));
    let plain = Stack { start: 0, len: 4, matrices: 1, rows: 2, columns: 2, group: 0, first: 0 };
    let check = |stack: Stack| {
        let partials_of = Moments::partials(&[stack]);
        let mut layout = layout.clone();
        let partials = if partials_of == 64 { partials } else { layout.floats("partials", partials_of) };
        let mut plan = Plan::default();
        let moments = Moments { buffer: moments, stacks: vec![stack] };
        plan.push(Op::Factored(Factored::new(grads, current, moments, partials)));
        plan.check(&layout)
    };
    assert_eq!(check(plain), Ok(()));
    let wrong = [
        Stack { len: 0, matrices: 1 << 32, rows: 1 << 32, columns: 1, ..plain },
        Stack { len: 0, matrices: 2, rows: 1 << 63, columns: 1, ..plain },
        Stack { len: 0, matrices: 3, rows: 0, columns: 5, ..plain },
        Stack { start: usize::MAX - 1, ..plain },
        Stack { first: usize::MAX - 1, ..plain },
        Stack { start: 1 << 63, len: 1 << 63, matrices: 0, ..plain },
        Stack { first: 1 << 63, len: 1 << 63, matrices: 0, ..plain },
    ];
    for stack in wrong {
        assert!(matches!(check(stack), Err(Error::Shape { what, .. }) if what == "moments"), "{stack:?}");
    }
}

#[test]
fn places_beyond_a_buffer_are_errors() {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut layout = Layout::new(2);
        let (floats, indices) = (layout.floats("f", 4), layout.indices("i", 4));
        let halves = layout.half_arena("h", &{
            let mut arena = Arena::default();
            arena.add("w", &[4]).expect("a tensor");
            arena
        });
        let mut program = engine.load(&Blueprint::of(&layout, &[Plan::default()])).expect("a program");
        for offset in [4, 5, 1 << 40, usize::MAX - 1, usize::MAX] {
            assert!(program.write(floats, 0, offset, &[1.0, 1.0]).is_err(), "{offset}");
            assert!(program.write_indices(indices, 0, offset, &[1, 1]).is_err(), "{offset}");
            assert!(program.read_range(floats, 0, offset..offset.saturating_add(1).max(5)).is_err(), "{offset}");
        }
        for offset in [64, 1 << 40, usize::MAX - 1] {
            assert!(program.write_halves(halves, 0, offset, &[1, 1]).is_err(), "{offset}");
        }
        for lane in [2, usize::MAX] {
            assert_error(program.read(floats, lane), &format!("lane = {lane} is out of range: below 2"));
        }
        assert_eq!(program.read(floats, 0).expect("zeros"), [0.0; 4]);
        // An empty range is allowed anywhere inside the buffer.
        assert!(program.read_range(floats, 0, 4..4).expect("nothing").is_empty());
        let backwards = std::ops::Range { start: 3, end: 1 };
        assert!(program.read_range(floats, 0, backwards).expect("nothing").is_empty());
    }
}

#[test]
fn plans_and_buffers_that_do_not_exist_are_errors() {
    let mut other = Layout::new(1);
    let ids: Vec<_> = (0..9).map(|i| other.floats(&format!("buffer {i}"), 4)).collect();
    for engine in [engines::cpu(), engines::gpu()] {
        let mut layout = Layout::new(1);
        let known = layout.floats("x", 4);
        let mut program = engine.load(&Blueprint::of(&layout, &[Plan::default()])).expect("a program");
        let many = Blueprint::of(&Layout::new(1), &vec![Plan::default(); 9]);
        for index in [1, 8] {
            let plan = many.plan(&index.to_string()).expect("a plan");
            for times in [0, 1] {
                assert_error(
                    program.repeat(&[PlanId::FIRST, plan], times),
                    &format!("plan = {index} is out of range: below 1"),
                );
                assert_error(program.run(plan, times), &format!("plan = {index} is out of range: below 1"));
            }
        }
        // One at the place of a buffer of this layout, and one beyond all of them.
        for (index, id) in [(0, ids[0]), (8, ids[8])] {
            let message = &format!("buffer = {index} of another layout is out of range: below 1, the buffers of this layout");
            assert_error(program.write(id, 0, 0, &[]), message);
            assert_error(program.write_indices(id, 0, 0, &[]), message);
            assert_error(program.write_halves(id, 0, 0, &[]), message);
            assert_error(program.read(id, 0), message);
            assert_error(program.read_range(id, 0, 0..1), message);
            assert_error(program.read_indices(id, 0), message);
            assert_error(program.read_halves(id, 0), message);
            assert_error(program.request(Tag::new(), &[known, id]), message);
            let mut plan = Plan::default();
            plan.operate(Copy { input: layout.whole(known), output: other.whole(id) });
            assert_error(engine.load(&Blueprint::of(&layout, &[plan])), message);
            let mut marked = Blueprint::from(layout.clone());
            marked.keep(id, true);
            assert_error(engine.load(&marked), message);
            assert_error(layout.buffer(id), message);
            assert_eq!(layout.whole(id).len, 0);
        }
    }
    // A copy of a layout has the same buffers.
    let copy = other.clone();
    assert_eq!(copy.buffer(ids[3]).expect("a buffer").name, "buffer 3");
}
