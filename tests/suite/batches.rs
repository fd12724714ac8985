//! Batches are picked exactly, on every engine, and metrics are means over the rows.

use crate::common::compare::assert_close;
use crate::common::engines;
use crate::common::numbers::numbers;
use std::ops::ControlFlow;
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn::{Linear, Model, Nonlinearity, Sequential, Tape};
use thalweg::op::{Gather, Tick};
use thalweg::plan::{Blueprint, BufferId, Engine, Layout, NONE, Plan, PlanId, Program};
use thalweg::{Batch, Real, Recipe, ScheduleFree, Sgd, Trainer};

const ROWS: usize = 5;
const BATCHES: usize = 3;

/// A table of `table_rows` rows, and an order over it with [`NONE`] and a row beyond the table.
fn order(table_rows: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..ROWS * BATCHES).map(|i| (i * 7 % table_rows) as u32).collect();
    order[3] = NONE;
    order[ROWS] = NONE;
    order[2 * ROWS + 1] = table_rows as u32;
    order
}

/// The contents of the batch, row by row.
fn expected<T: Copy>(table: &[T], width: usize, batch: usize, fill: T) -> Vec<T> {
    let order = order(table.len() / width);
    let row = |&index: &u32| match table.chunks_exact(width).nth(index as usize) {
        Some(row) => row.to_vec(),
        None => vec![fill; width],
    };
    order[batch * ROWS..][..ROWS].iter().flat_map(row).collect()
}

/// A plan that picks a batch and advances the clock.
fn plan(gather: Gather) -> Plan {
    let mut plan = Plan::default();
    let clock = gather.clock;
    plan.operate(gather);
    plan.operate(Tick { clock });
    plan
}

fn declare(layout: &mut Layout, table: BufferId, out: BufferId, width: usize) -> Gather {
    let order = layout.shared_indices("order", ROWS * BATCHES);
    let clock = layout.shared_indices("clock", 1);
    let kind = layout.buffer(table).expect("a table").kind;
    let [table, order, clock, out] = [table, order, clock, out].map(|id| layout.whole(id));
    Gather { table, order, clock, out, kind, width, rows: ROWS, batches: BATCHES }
}

#[test]
fn rows_of_floats_are_picked_in_turn() {
    for engine in engines::all() {
        for lanes in [1, 3] {
            for (table_rows, width) in [(4, 1), (9, 13), (40, 64), (3, 300)] {
                let table: Vec<f32> = (0..table_rows * width).map(|i| i as f32 + 0.5).collect();
                let mut layout = Layout::new(lanes);
                let (from, out) = (layout.shared_floats("table", table.len()), layout.shared_floats("out", ROWS * width));
                let gather = declare(&mut layout, from, out, width);
                let (order_id, clock) = (gather.order.buffer, gather.clock.buffer);
                let mut program = engine.load(&Blueprint::of(&layout, &[plan(gather)])).expect("a program");
                program.write(from, 0, 0, &table).expect("a table");
                program.write(out, 0, 0, &vec![f32::NAN; ROWS * width]).expect("an output");
                program.write_indices(order_id, 0, 0, &order(table_rows)).expect("an order");
                // After the last batch the first one comes again.
                for t in 0..BATCHES + 2 {
                    program.run(PlanId::FIRST, 1).expect("a run");
                    let found = program.read(out, lanes - 1).expect("a batch");
                    assert_eq!(found, expected(&table, width, t % BATCHES, 0.0), "{}, step {t}, width {width}", engine.name);
                    assert_eq!(program.read_indices(clock, 0).expect("a clock"), [t as u32 + 1], "{}", engine.name);
                }
            }
        }
    }
}

#[test]
fn rows_of_indices_are_picked_in_turn() {
    for engine in engines::all() {
        let table: Vec<u32> = (100..109).collect();
        let mut layout = Layout::new(1);
        let (from, out) = (layout.shared_indices("table", table.len()), layout.shared_indices("out", ROWS));
        let gather = declare(&mut layout, from, out, 1);
        let order_id = gather.order.buffer;
        let mut program = engine.load(&Blueprint::of(&layout, &[plan(gather)])).expect("a program");
        program.write_indices(from, 0, 0, &table).expect("a table");
        program.write_indices(out, 0, 0, &[7; ROWS]).expect("an output");
        program.write_indices(order_id, 0, 0, &order(table.len())).expect("an order");
        for t in 0..BATCHES + 2 {
            program.run(PlanId::FIRST, 1).expect("a run");
            let found = program.read_indices(out, 0).expect("a batch");
            assert_eq!(found, expected(&table, 1, t % BATCHES, NONE), "{}, step {t}", engine.name);
        }
    }
}

fn trainer<E: Engine>(
    engine: &E,
    model: &dyn Model,
    recipe: Recipe,
    [train, validation]: [&Dataset; 2],
    batch: impl Into<Batch>,
    seed: u64,
) -> Trainer<E::Program> {
    let builder = Trainer::builder(model, recipe).train(train).validation(validation).batch(batch).seed(seed);
    builder.build(engine).expect("a trainer")
}

/// Where weight and bias of a layer begin among its parameters.
fn offsets(layer: &Linear, inputs: usize) -> [usize; 2] {
    let mut tape = Tape::evaluation();
    let x = tape.constant(&[1, inputs], 0.0);
    layer.forward(&mut tape, &x);
    let arena = tape.arena().expect("an arena");
    [0, 1].map(|tensor| arena.tensors()[tensor].offset)
}

/// An evaluation takes several batches, of which the last one is filled up. Every row counts once, and a second evaluation
/// gives the same numbers.
#[test]
fn an_evaluation_is_the_mean_over_every_row() {
    let (rows, first, classes) = (300, 256, 4);
    let labels: Vec<u32> = (0..rows).map(|i| (i * i % classes) as u32).collect();
    let data = Dataset::new(numbers(1, rows * 3), 3, labels).expect("a data set");
    let part = |range: std::ops::Range<usize>| {
        let labels = data.labels[range.clone()].to_vec();
        Dataset { features: data.features[range.start * 3..range.end * 3].to_vec(), labels, ..data.clone() }
    };
    let model = Sequential::perceptron(3, &[8], classes, Nonlinearity::Tanh);
    for engine in [engines::cpu(), engines::gpu()] {
        let evaluate = |test: &Dataset| {
            let recipe = Recipe::new(Sgd::default());
            let mut trainer = trainer(&engine, &model, recipe, [&data, test], 20, 1);
            let [found, again] = [(); 2].map(|()| trainer.evaluate().expect("an evaluation")[0]);
            assert_eq!(found, again, "{}", engine.name);
            [found.loss, found.accuracy.expect("an accuracy")]
        };
        let (whole, parts) = (evaluate(&data), [evaluate(&part(0..first)), evaluate(&part(first..rows))]);
        let expected = [0, 1].map(|i| (parts[0][i] * first as f64 + parts[1][i] * (rows - first) as f64) / rows as f64);
        assert!(parts[0][1] != parts[1][1], "parts that differ");
        assert_close(engine.name, &whole, &expected, |i| 1e-5 * expected[i]);
    }
}

/// Schedule-free rules are evaluated at their average, not where gradients are taken.
#[test]
fn an_evaluation_uses_the_parameters_to_evaluate_with() {
    let data = Dataset::new(vec![0.5, -1.0, 2.0, 0.25, -0.75, 1.5], 2, vec![0, 1, 1]).expect("data");
    let model = Linear::new(2, 2);
    let offsets = offsets(&model, 2);
    // The cross-entropy of two classes, from the difference of their logits.
    let loss = |params: &[f32]| {
        let [w, b] = offsets.map(|offset| &params[offset..]);
        let logit = |x: &[f32], class: usize| f64::from(w[2 * class] * x[0] + w[2 * class + 1] * x[1] + b[class]);
        let rows = data.features.chunks_exact(2).zip(&data.labels);
        let of_row = |(x, &label): (&[f32], &u32)| (logit(x, 1 - label as usize) - logit(x, label as usize)).exp().ln_1p();
        rows.map(of_row).sum::<f64>() / 3.0
    };
    for engine in [engines::cpu(), engines::gpu()] {
        let rules = [0.5, 0.25].map(|lr| ScheduleFree { lr, ..Default::default() });
        let mut trainer = trainer(&engine, &model, Recipe::population(rules), [&data, &data], 3, 1);
        (0..4).for_each(|_| drop(trainer.epoch(|_| ControlFlow::Continue(())).expect("an epoch")));
        let found = trainer.evaluate().expect("an evaluation");
        for (lane, found) in found.iter().enumerate() {
            let expected = loss(&trainer.eval_params(lane).expect("parameters"));
            assert_close(&format!("{}, lane {lane}", engine.name), &[found.loss], &[expected], |_| 1e-6);
            let elsewhere = loss(&trainer.params(lane).expect("parameters"));
            assert!((elsewhere - expected).abs() > 1e-4, "{elsewhere} and {expected} differ");
        }
    }
}

/// A batch in which every row stands twice has the same mean.
#[test]
fn a_step_follows_the_mean_over_its_batch() {
    let rows = |times: usize| {
        let features: Vec<f32> = [0.5, -1.0, 2.0, 0.25, -0.75, 1.5].repeat(times);
        Dataset::new(features, 2, [0, 1, 1].repeat(times)).expect("data")
    };
    let model = Linear::new(2, 2);
    let after_a_step = |times: usize| {
        let (data, rule) = (rows(times), Sgd { lr: 0.5, ..Default::default() });
        let engine = Cpu::<f64>::default();
        let recipe = Recipe::new(rule);
        let mut trainer = trainer(&engine, &model, recipe, [&data, &data], 3 * times, 1);
        let before = trainer.params(0).expect("parameters");
        trainer.epoch(|_| ControlFlow::Continue(())).expect("an epoch");
        (before, trainer.params(0).expect("parameters"))
    };
    let ((before, once), (_, twice)) = (after_a_step(1), after_a_step(2));
    assert!(before != once, "the step moved something");
    // Sums in another order: a few roundings of numbers of about 1.
    assert_close("parameters", &twice, &once, |_| 16.0 * f64::EPSILON);
}

/// An independent softmax regression of two features in three classes by gradient descent. Returns parameters (weights, then
/// biases), and mean loss and accuracy over an epoch.
fn descend(data: &Dataset, batches: &[&[u32]], start: &[f64], lr: f64) -> (Vec<f64>, f64, f64) {
    let (mut params, mut loss, mut hits, mut rows) = (start.to_vec(), 0.0, 0.0, 0.0);
    for batch in batches {
        let mut step = vec![0.0; params.len()];
        for &row in *batch {
            let x = data.row(row as usize).expect("a row").iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let label = data.labels[row as usize] as usize;
            let logits: Vec<f64> = (0..3).map(|c| params[2 * c] * x[0] + params[2 * c + 1] * x[1] + params[6 + c]).collect();
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            loss += sum.ln() - logits[label];
            hits += f64::from(u8::from((0..3).all(|c| logits[c] <= logits[label])));
            rows += 1.0;
            for c in 0..3 {
                let error = (logits[c].exp() / sum - f64::from(u8::from(c == label))) / batch.len() as f64;
                (step[2 * c], step[2 * c + 1]) = (step[2 * c] + error * x[0], step[2 * c + 1] + error * x[1]);
                step[6 + c] += error;
            }
        }
        params.iter_mut().zip(&step).for_each(|(x, g)| *x -= lr * g);
    }
    (params, loss / rows, hits / rows)
}

/// The last batch of an epoch holds the rows that are left. Its loss is the mean over its own rows, and the epoch's metrics are
/// means over all rows. With `drop_last`, these rows do not count.
#[test]
fn the_last_smaller_batch_is_a_step_like_the_others() {
    let data = Dataset::new(numbers(5, 11 * 2), 2, vec![0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 2]).expect("data");
    let model = Linear::new(2, 3);
    let [w, b] = offsets(&model, 2);
    let flat =
        |params: &[f32]| -> Vec<f64> { [&params[w..][..6], &params[b..][..3]].concat().iter().map(|&x| x.into()).collect() };
    for engine in [engines::cpu(), engines::gpu()] {
        for (batch, drop_last) in [(4, false), (4, true), (10, false), (3, false), (11, false), (50, false), (1, false)] {
            let what = format!("{}, batch {batch}, drop_last {drop_last}", engine.name);
            let batch = Batch { rows: batch, drop_last };
            let recipe = Recipe::population([0.5, 0.25].map(|lr| Sgd { lr, ..Default::default() }));
            let mut trainer = trainer(&engine, &model, recipe, [&data, &data], batch, 7);
            let start = flat(&trainer.params(0).expect("parameters"));
            let order = trainer.order(0, 0).expect("an order");
            let batches: Vec<&[u32]> =
                order.chunks(batch.rows).filter(|rows| !drop_last || rows.len() == batch.rows.min(11)).collect();
            assert_eq!((trainer.steps_per_epoch(), batch.steps(11)), (batches.len(), batches.len()), "{what}");

            let mut heard = Vec::new();
            let found = trainer.epoch(|step| {
                heard.push(step);
                ControlFlow::Continue(())
            });
            assert!(heard.into_iter().eq(1..=batches.len()), "{what}");
            for (lane, (found, lr)) in found.expect("an epoch").into_iter().zip([0.5, 0.25]).enumerate() {
                let (params, loss, accuracy) = descend(&data, &batches, &start, lr);
                let moved = params.iter().zip(&start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(moved > 0.01, "{what}: moved by {moved}");
                // Up to eleven steps, each with a few roundings of numbers of about 1.
                let after = flat(&trainer.params(lane).expect("parameters"));
                assert_close(&what, &after, &params, |_| 64.0 * f64::from(f32::EPSILON));
                assert_close(&what, &[found.loss, found.accuracy.expect("an accuracy")], &[loss, accuracy], |_| {
                    64.0 * f64::from(f32::EPSILON)
                });
                assert_eq!(trainer.report(lane).expect("a report").applied, batches.len() as u32, "{what}");
            }
        }
    }
}

/// A smaller batch uses the beginnings of buffers that a whole batch fills. The values that the whole batch left there must not
/// matter.
#[test]
fn a_smaller_batch_does_not_see_what_a_whole_one_left() {
    let labels: Vec<u32> = (0..20).map(|i| i % 3).collect();
    let data = Dataset::new(numbers(8, 20 * 5), 5, labels).expect("data");
    let model = Sequential::perceptron(5, &[17, 9], 3, Nonlinearity::Relu);
    for batch in [7, 12, 19] {
        let oracle = after_epochs(&Cpu::<f64>::default(), &model, &data, batch);
        for engine in [engines::cpu(), engines::gpu()] {
            // 6 to 9 steps of at most 0.05, each off by a few roundings.
            assert_close(engine.name, &after_epochs(&engine, &model, &data, batch), &oracle, |_| 1e-5);
        }
    }
}

/// The parameters after three epochs of clipped steps with momentum.
fn after_epochs<E: Engine>(engine: &E, model: &dyn Model, data: &Dataset, batch: usize) -> Vec<f64> {
    let recipe = Recipe::new(Sgd { lr: 0.1, momentum: 0.9, ..Default::default() }).clip_norm(0.5);
    let mut trainer = trainer(engine, model, recipe, [data, data], batch, 3);
    (0..3).for_each(|_| drop(trainer.epoch(|_| ControlFlow::Continue(())).expect("an epoch")));
    trainer.params(0).expect("parameters").into_iter().map(Real::as_f64).collect()
}
