//! Operations by contract: both halves agree, a lane is the operation alone, and what does not fit is refused.

use crate::common::bench::Bench;
use crate::common::compare::assert_close;
use crate::common::engines;
use crate::common::numbers::doubles;
use crate::common::oracle::EPSILON;
use crate::common::refusal::operation_is_refused;
use thalweg::cpu::Cpu;
use thalweg::gpu::GpuOptions;
use thalweg::op::{self, Gather, Tally};
use thalweg::plan::{
    Blueprint, Case, Dispatch, Engine, Kind, Layout, Operands, Operation, Plan, PlanId, Program, Use, View, Views,
};
use thalweg::{Error, Real, Result};

/// Of one operation alone, if `THALWEG_OPERATION` names it.
#[test]
fn every_operation_agrees_on_all_engines() {
    let (oracle, single) = (Cpu::<f64>::default(), Cpu::<f32>::default());
    let only = std::env::var("THALWEG_OPERATION").ok();
    for lanes in [1, 3] {
        let mut cases = op::cases(lanes);
        cases.retain(|case| only.as_deref().is_none_or(|name| name == case.operated().operation().name()));
        assert!(cases.len() > if only.is_some() { 0 } else { 6 }, "{} cases", cases.len());
        for engine in engines::all() {
            for case in &cases {
                case.compare(&oracle, &single, &engine)
                    .unwrap_or_else(|error| panic!("{}: {error}, {:?}", engine.name, case.operated().operation()));
            }
        }
    }
}

/// y = scale · x, wrong in one half or the other.
#[derive(Debug, Clone)]
struct Scale {
    x: View,
    y: View,
    on_the_gpu: f32,
    text: &'static str,
    /// Whether the first element is infinite.
    endless: bool,
}

const TEXT: &str = "
    @compute @workgroup_size(64)
    fn scale(@builtin(global_invocation_id) id: vec3u) {
        if id.x < op.len { put_y(id.z, id.x, op.by * x(id.z, id.x)); }
    }";

impl Operation for Scale {
    const NAME: &'static str = "scale";

    fn operands(&self, o: &mut Operands) {
        o.read("x", self.x, self.y.len);
        o.write("y", self.y, self.y.len);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let dispatch = Dispatch::new("scale", self.text).size("len", self.y.len).number("by", self.on_the_gpu.into());
        vec![dispatch.elements(self.y.len, 64)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [x, y] = views.all()?;
        let y = y.floats_mut()?;
        y.iter_mut().zip(x.floats()?).for_each(|(y, &x)| *y = x + x);
        if self.endless {
            y[0] = F::infinity();
        }
        Ok(())
    }

    /// Right, wrong by a millionth, with an element left out, and wrong beside an infinity.
    fn cases(layout: &mut Layout) -> Vec<Self> {
        let (x, y) = (layout.floats("x", 100), layout.floats("y", 102));
        let (x, y) = (layout.whole(x), View { buffer: y, offset: 1, len: 100 });
        let left_out = "
            @compute @workgroup_size(64)
            fn scale(@builtin(global_invocation_id) id: vec3u) {
                if id.x + 1u < op.len { put_y(id.z, id.x, op.by * x(id.z, id.x)); }
            }";
        let endless = "
            @compute @workgroup_size(64)
            fn scale(@builtin(global_invocation_id) id: vec3u) {
                if id.x < op.len { put_y(id.z, id.x, select(op.by * x(id.z, id.x), op.by * 3e38, id.x == 0u)); }
            }";
        vec![
            Self { x, y, on_the_gpu: 2.0, text: TEXT, endless: false },
            Self { x, y, on_the_gpu: 2.000_002, text: TEXT, endless: false },
            Self { x, y, on_the_gpu: 2.0, text: left_out, endless: false },
            Self { x, y, on_the_gpu: 2.0, text: endless, endless: true },
            Self { x, y, on_the_gpu: 2.000_002, text: endless, endless: true },
        ]
    }
}

#[test]
fn an_operation_from_outside_runs_and_halves_that_disagree_are_found() {
    let (oracle, single) = (Cpu::<f64>::default(), Cpu::<f32>::default());
    let cases = Case::of::<Scale>(2);
    for engine in engines::all() {
        let found: Vec<Result<(), Error>> = cases.iter().map(|case| case.compare(&oracle, &single, &engine)).collect();
        assert!(found[0].is_ok(), "{}: {:?}", engine.name, found[0]);
        if engine.name != "CPU f32" {
            let message = found[1].as_ref().unwrap_err().to_string();
            assert!(message.starts_with("element 1 of y of scale in lane 0: "), "{message}");
            let message = found[2].as_ref().unwrap_err().to_string();
            assert!(message.starts_with("element 100 of y of scale in lane 0: NaN"), "{message}");
            let message = found[4].as_ref().unwrap_err().to_string();
            assert!(message.starts_with("element 2 of y of scale in lane 0: "), "{message}");
        }
        assert!(found[3].is_ok(), "{}: {:?}", engine.name, found[3]);
    }
}

#[test]
fn wgsl_that_does_not_validate_is_an_error_with_the_compilers_words() {
    let gpu = engines::open(GpuOptions::default());
    let mut layout = Layout::new(1);
    let (x, y) = (layout.floats("x", 4), layout.floats("y", 4));
    let mut plan = Plan::default();
    let text = "@compute @workgroup_size(1) fn scale() { put_z(0u, 0u, 1.0); }";
    plan.operate(Scale { x: layout.whole(x), y: layout.whole(y), on_the_gpu: 2.0, text, endless: false });
    match gpu.load(&Blueprint::of(&layout, &[plan])).map(drop) {
        Err(Error::Shader { of, line: Some(1), reason }) => {
            assert_eq!(of, "the WGSL of operation 'scale'");
            assert!(reason.starts_with("no definition in scope for identifier: `put_z`"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

/// Both engines refuse operands that do not fit, with the operation, the operand and both numbers.
#[test]
fn operands_that_do_not_fit_are_refused() {
    let mut layout = Layout::new(2);
    let (a, b) = (layout.floats("a", 8), layout.floats("b", 8));
    let (shared, indices) = (layout.shared_floats("shared", 8), layout.indices("indices", 8));
    let view = |buffer, offset, len| View { buffer, offset, len };
    let scale = |x, y| Scale { x, y, on_the_gpu: 2.0, text: TEXT, endless: false };
    let refused = |operation: Scale, message: &str| {
        let mut plan = Plan::default();
        plan.operate(operation);
        for engine in [engines::cpu(), engines::gpu()] {
            let error = engine.load(&Blueprint::of(&layout, &[plan.clone()])).map(drop).unwrap_err();
            assert_eq!(error.to_string(), message, "{}", engine.name);
        }
    };
    refused(scale(view(a, 0, 7), view(b, 0, 8)), "x of scale (buffer a): 7 found, 8 elements expected");
    refused(
        scale(view(a, 4, 8), view(b, 0, 8)),
        "x of scale (buffer a): 8 from element 4 on found, at most 8 elements expected",
    );
    let edge = view(a, usize::MAX, 8);
    let message = format!("x of scale (buffer a): 8 from element {} on found, at most 8 elements expected", usize::MAX);
    refused(scale(edge, view(b, 0, 8)), &message);
    refused(scale(view(indices, 0, 8), view(b, 0, 8)), "x of scale (buffer indices): Index found, Float expected");
    let apart = "y of scale (buffer a): the buffer of x found, a buffer of its own expected";
    refused(scale(view(a, 0, 4), view(a, 4, 4)), apart);
    let scope = "x of scale (buffer a): Lane found, shared by the lanes, like its outputs expected";
    refused(scale(view(a, 0, 8), view(shared, 0, 8)), scope);
}

#[test]
fn sizes_that_no_memory_holds_and_sizes_too_small_are_refused() {
    let mut layout = Layout::new(1);
    let (table, out) = (layout.floats("table", 4), layout.floats("out", 2));
    let (order, clock) = (layout.indices("order", 4), layout.indices("clock", 1));
    let [table, order, clock, out] = [table, order, clock, out].map(|id| layout.whole(id));
    let gather = Gather { table, order, clock, out, kind: Kind::Float, width: 1, rows: 2, batches: 2 };
    let refused = |gather: Gather, message: &str| operation_is_refused(&layout, gather, message);
    refused(Gather { batches: 0, ..gather.clone() }, "gather.batches = 0 is out of range: at least 1");
    refused(Gather { width: 0, ..gather.clone() }, "gather.width = 0 is out of range: at least 1");
    let message = format!("order of gather (buffer order): 4 found, {} elements expected", usize::MAX);
    refused(Gather { rows: usize::MAX, ..gather }, &message);
}

/// Nine views are more than a kernel can bind.
#[derive(Debug, Clone)]
struct Many(Vec<View>);

impl Operation for Many {
    const NAME: &'static str = "many";

    fn operands(&self, o: &mut Operands) {
        self.0.iter().for_each(|view| o.declare("x", *view, Kind::Float, Use::Write, view.len));
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        Vec::new()
    }

    fn run<F: Real>(&self, _views: Views<'_, F>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn more_operands_than_a_kernel_can_bind_are_refused() {
    let mut layout = Layout::new(1);
    let views = (0..9).map(|i| layout.floats(&format!("x{i}"), 4)).collect::<Vec<_>>();
    let mut plan = Plan::default();
    plan.operate(Many(views.into_iter().map(|id| layout.whole(id)).collect()));
    for engine in [engines::cpu(), engines::gpu()] {
        let error = engine.load(&Blueprint::of(&layout, &[plan.clone()])).map(drop).unwrap_err();
        let expected = "the operation 'many' needs 9 operands, at most 8 are allowed here; split the operation into several";
        assert_eq!(error.to_string(), expected, "{}", engine.name);
    }
}

/// An operation whose run takes one of its operands in some way, right or wrong.
#[derive(Debug, Clone)]
struct Taken {
    views: [View; 4],
    /// The operand that is taken, and how; all of them as so many where it is none.
    operand: usize,
    way: Option<usize>,
}

/// Names of operands, and what they were declared as; in the same order an operand is taken.
const OPERANDS: [(&str, &str); 4] =
    [("floats", "floats to read"), ("rows", "indices to read"), ("sums", "floats to write"), ("places", "indices to write")];

impl Operation for Taken {
    const NAME: &'static str = "taken";

    fn operands(&self, o: &mut Operands) {
        let [floats, rows, sums, places] = self.views;
        o.read("floats", floats, floats.len);
        o.indices("rows", rows, rows.len);
        o.write("sums", sums, sums.len);
        o.declare("places", places, Kind::Index, Use::Change, places.len);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let text = "@compute @workgroup_size(1) fn taken() { put_floats(0u, 0u, 1.0); }";
        vec![Dispatch::new("taken", text)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let Some(way) = self.way else {
            return match self.operand {
                3 => views.all::<3>().map(drop),
                4 => views.all::<4>().map(drop),
                _ => views.all::<5>().map(drop),
            };
        };
        let taken = views.list().nth(self.operand).expect("an operand");
        match way {
            0 => taken.floats().map(drop),
            1 => taken.indices().map(drop),
            2 => taken.floats_mut().map(|sums| sums.fill(F::one())),
            _ => taken.indices_mut().map(drop),
        }
    }
}

/// On the CPU when it runs, in every lane or in one, on one thread or on several; the program goes on afterwards. On the GPU
/// when it is loaded: the kernel has no function to write what was declared to be read.
#[test]
fn an_operand_that_is_taken_for_what_it_is_not_is_an_error() -> Result<()> {
    fn said<E: Engine>(engine: &E, lanes: usize, operand: usize, way: Option<usize>) -> Result<Option<String>> {
        let mut layout = Layout::new(lanes);
        let (floats, rows) = (layout.floats("a", 4), layout.indices("b", 4));
        let (sums, places) = (layout.floats("c", 4), layout.indices("d", 4));
        let views = [floats, rows, sums, places].map(|id| layout.whole(id));
        let (mut blueprint, mut plan, mut after) = (Blueprint::of(&layout, &[]), Plan::default(), Plan::default());
        plan.operate(Taken { views, operand, way });
        after.operate(op::Copy { input: views[0], output: views[2] });
        let [plan, after] = [blueprint.add("taken", plan)?, blueprint.add("after", after)?];
        let mut program = engine.load(&blueprint)?;
        program.write(floats, lanes - 1, 0, &[E::Float::of(7.0); 4])?;
        let error = program.run(plan, 3).err();
        assert!(error.iter().all(|error| matches!(error, Error::Shape { .. })), "{error:?}");
        program.run(after, 1)?;
        assert_eq!(program.read(sums, lanes - 1)?, [E::Float::of(7.0); 4]);
        Ok(error.map(|error| error.to_string()))
    }
    for lanes in [1, 3, 40] {
        for (operand, (name, declared)) in OPERANDS.into_iter().enumerate() {
            for (way, (_, asked)) in OPERANDS.into_iter().enumerate() {
                let expected = (way != operand)
                    .then(|| format!("{name} of taken, as its run takes it: {asked} found, {declared} expected"));
                for threads in [1, 4] {
                    assert_eq!(said(&Cpu::<f32>::with_threads(threads), lanes, operand, Some(way))?, expected);
                }
                assert_eq!(said(&Cpu::<f64>::default(), lanes, operand, Some(way))?, expected);
            }
        }
        for count in [3, 4, 5] {
            let expected = (count != 4).then(|| format!("operands of taken, as its run takes them: {count} found, 4 expected"));
            assert_eq!(said(&Cpu::<f32>::default(), lanes, count, None)?, expected);
        }
    }
    match said(&engines::open(GpuOptions::default()), 1, 0, Some(2)) {
        Err(Error::Shader { of, line: Some(1), reason }) => {
            assert_eq!(of, "the WGSL of operation 'taken'");
            assert!(reason.starts_with("no definition in scope for identifier: `put_floats`"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Lanes with orders and clocks of their own pick their own rows.
#[test]
fn lanes_pick_batches_of_their_own() {
    for engine in engines::all() {
        let mut layout = Layout::new(2);
        let (table, out) = (layout.shared_floats("table", 6), layout.floats("out", 2));
        let (order, clock) = (layout.indices("order", 4), layout.indices("clock", 1));
        let (total, mean, losses) = (layout.floats("total", 1), layout.floats("mean", 1), layout.whole(out));
        let mut plan = Plan::default();
        let [t, o, c] = [table, order, clock].map(|id| layout.whole(id));
        plan.operate(Gather { table: t, order: o, clock: c, out: losses, kind: Kind::Float, width: 1, rows: 2, batches: 2 });
        plan.operate(Tally { terms: losses, sums: layout.whole(total), mean: layout.whole(mean) });
        let mut program = engine.load(&Blueprint::of(&layout, &[plan])).expect("a program");
        program.write(table, 0, 0, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]).expect("a table");
        for (lane, order_of, at) in [(0, [0, 1, 2, 3], 0), (1, [5, 4, 3, 9], 1)] {
            program.write_indices(order, lane, 0, &order_of).expect("an order");
            program.write_indices(clock, lane, 0, &[at]).expect("a clock");
        }
        program.run(PlanId::FIRST, 1).expect("a run");
        assert_eq!(program.read(out, 0).expect("rows"), [1.0, 2.0], "{}", engine.name);
        assert_eq!(program.read(out, 1).expect("rows"), [8.0, 0.0], "{}", engine.name);
        assert_eq!(program.read(total, 1).expect("a sum"), [8.0], "{}", engine.name);
    }
}

/// Runs on the engines and compares each output with the oracle's, within `bound` of its lane.
fn agree(what: &str, bench: &Bench, bound: impl Fn(usize) -> f64) {
    let expected = bench.run(&Cpu::<f64>::default());
    for engine in engines::all() {
        for (lane, (found, expected)) in bench.run(&engine).iter().zip(&expected).enumerate() {
            for (found, expected) in found.iter().zip(expected) {
                assert_close(&format!("{}, {what}, lane {lane}", engine.name), found, expected, |_| bound(lane));
            }
        }
    }
}

/// A sum of n terms in any order is off by about √n units of the sum of their sizes.
fn sum_cost<'a>(terms: impl Iterator<Item = &'a f64>) -> f64 {
    let (count, sizes) = terms.fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x.abs()));
    EPSILON * (f64::sqrt(count) + 2.0) * sizes
}

#[test]
fn tallies_add_to_what_was_there() {
    for lanes in [1, 3] {
        for (columns, rows) in [(1, 0), (1, 1), (2, 63), (3, 64), (1, 65), (2, 5000)] {
            let x: Vec<Vec<f64>> = (0..lanes as u64).map(|lane| doubles(lane, columns * rows)).collect();
            let before: Vec<Vec<f64>> = (0..lanes).map(|lane| vec![100.0 * (lane as f64 + 1.0); columns]).collect();
            let mut bench = Bench::new(lanes);
            let terms = bench.input("terms", x.clone());
            let (sums, mean) = (bench.read_and_written("sums", before.clone()), bench.output("mean", 1));
            bench.operate(Tally { terms, sums, mean });
            agree(&format!("tally of {columns} × {rows}"), &bench, |lane| sum_cost(x[lane].iter().chain(&before[lane])));
        }
    }
}
