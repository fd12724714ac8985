//! Models on a tape, trained to a known result by an optimizer's own plans: lanes are as alone, engines agree, and randomness
//! depends on keys only.

use crate::common::engines;
use std::ops::ControlFlow;
use thalweg::cpu::Cpu;
use thalweg::nn::{
    BatchNorm1d, Criterion, CrossEntropy, Dropout, Linear, Model, Nonlinearity, Places, Sequential, Slots, SquaredError,
    Summary, Tape,
};
use thalweg::op::StepKey;
use thalweg::plan::{Blueprint, Engine, Kind, Plan, PlanId, Program, Role};
use thalweg::{Adam, Optimizer, Real, Recipe, Sgd, Trainer};

/// Two spirals of points in the plane, which no line can separate.
fn spirals(count: usize) -> (Vec<f64>, Vec<u32>) {
    let point = |i: usize| {
        let (turn, label) = ((i / 2) as f64 / count as f64 * 9.0 + 0.5, i % 2);
        let angle = turn + label as f64 * std::f64::consts::PI;
        ([turn.sqrt() * angle.cos(), turn.sqrt() * angle.sin()], label as u32)
    };
    let points: Vec<([f64; 2], u32)> = (0..count).map(point).collect();
    (points.iter().flat_map(|(x, _)| *x).collect(), points.iter().map(|(_, label)| *label).collect())
}

fn model() -> Sequential {
    Sequential::new()
        .then(Linear::new(2, 32))
        .then(BatchNorm1d::new(32))
        .then(Nonlinearity::Silu)
        .then(Linear::new(32, 32))
        .then(Nonlinearity::Gelu)
        .then(Dropout { p: 0.05 })
        .then(Linear::new(32, 2))
}

/// What a training ends with, per lane: losses of some steps, hits in evaluation, parameters, running statistics.
#[derive(Debug, Clone, PartialEq)]
struct End {
    losses: Vec<f64>,
    hits: f64,
    params: Vec<f64>,
    buffers: Vec<f64>,
}

/// Trains the model on all points for so many steps, each lane with its own rate.
fn train<E: Engine>(engine: &E, rates: &[f64], steps: usize) -> Vec<End> {
    let (points, labels) = spirals(120);
    let rows = labels.len();
    let mut blueprint = Blueprint::new(rates.len());
    let layout = blueprint.layout_mut();
    let (x, t) = (layout.shared_floats("x", points.len()), layout.shared_indices("t", rows));
    let (loss_id, hits_id) = (layout.floats("loss", 1), layout.floats("hits", 1));
    let [key, words] = ["key", "words"].map(|name| layout.indices(name, 2));
    let views = [x, t, loss_id, hits_id, key, words].map(|id| layout.whole(id));
    let [x_view, t_view, loss_view, hits_view, key_view, words_view] = views;

    let mut tape = Tape::training();
    let (input, target) = (tape.input(x_view, &[rows, 2]), tape.indices(t_view, &[rows]));
    let logits = model().forward(&mut tape, &input);
    let loss = CrossEntropy::default().mean(&mut tape, &logits, &target);
    tape.backward(&loss);
    let (arena, buffers) = (tape.arena().expect("an arena"), tape.buffers().expect("buffers"));
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let statistics = blueprint.arena("statistics", &buffers, Role::State);
    let recipe = Recipe::population(rates.iter().map(|&lr| Adam { lr, ..Default::default() }));
    let stepper = recipe.record(&mut blueprint, &arena, params, grads).expect("a stepper");
    let counts = blueprint.buffer("counts").expect("counters");
    let step = thalweg::plan::View { buffer: counts, offset: 0, len: 1 };

    let places = Places {
        params: (&arena, params),
        grads: Some(grads),
        buffers: Some((&buffers, statistics)),
        shared: None,
        key: Some(words_view),
    };
    let (mut plan, mut slots) = (Plan::default(), Slots::default());
    plan.operate(StepKey { key: key_view, step, micro: None, out: words_view });
    tape.record(blueprint.layout_mut(), &mut plan, &places, &mut slots, &[(&loss, loss_view)]).expect("a recording");
    let gradient = blueprint.add("gradient", plan).expect("a plan");

    let mut eval = Tape::evaluation();
    let (input, target) = (eval.input(x_view, &[rows, 2]), eval.indices(t_view, &[rows]));
    let logits = model().forward(&mut eval, &input);
    let hits = logits.first_max(1).equals(&target).sum(&[]);
    let mut plan = Plan::default();
    let places = Places { grads: None, ..places };
    eval.record(blueprint.layout_mut(), &mut plan, &places, &mut slots, &[(&hits, hits_view)]).expect("a recording");
    let evaluate = blueprint.add("evaluate", plan).expect("a plan");

    let mut optimizer = Optimizer::load(engine, &blueprint, stepper).expect("an optimizer");
    let program = optimizer.program_mut();
    let floats = |values: &[f64]| values.iter().map(|&x| E::Float::of(x)).collect::<Vec<_>>();
    program.write(x, 0, 0, &floats(&points)).expect("points");
    program.write_indices(t, 0, 0, &labels).expect("labels");
    for lane in 0..rates.len() {
        program.write(params, lane, 0, &floats(&tape.initial([3, 4]).expect("values"))).expect("parameters");
        program.write(statistics, lane, 0, &floats(&tape.initial_buffers().expect("values"))).expect("statistics");
        program.write_indices(key, lane, 0, &[5, 6]).expect("a key");
    }
    let mut losses = vec![Vec::new(); rates.len()];
    for at in 0..steps {
        let plans = [gradient, optimizer.stepper().step_plan()];
        optimizer.run(&plans, 1).expect("a step");
        if at % 50 == 0 || at + 1 == steps {
            for (lane, losses) in losses.iter_mut().enumerate() {
                losses.push(optimizer.program_mut().read(loss_id, lane).expect("a loss")[0].as_f64());
            }
        }
    }
    let program = optimizer.program_mut();
    program.run(evaluate, 1).expect("an evaluation");
    let mut read = |id, lane| program.read(id, lane).expect("values").into_iter().map(Real::as_f64).collect::<Vec<f64>>();
    losses
        .into_iter()
        .enumerate()
        .map(|(lane, losses)| End {
            losses,
            hits: read(hits_id, lane)[0] / rows as f64,
            params: read(params, lane),
            buffers: read(statistics, lane),
        })
        .collect()
}

#[test]
fn a_network_learns_two_spirals_on_every_engine() {
    for engine in [engines::cpu(), engines::gpu()] {
        let end = train(&engine, &[0.01], 400).swap_remove(0);
        assert!(end.hits > 0.97, "{}: {} hits, losses {:?}", engine.name, end.hits, end.losses);
    }
}

#[test]
fn lanes_train_as_alone_and_engines_agree_at_first() {
    let right = train(&Cpu::<f64>::default(), &[0.01], 1).swap_remove(0);
    for engine in [engines::cpu(), engines::gpu()] {
        let lanes = train(&engine, &[0.01, 0.003, 0.03], 20);
        for (lane, rate) in lanes.iter().zip([0.01, 0.003, 0.03]) {
            assert_eq!(*lane, train(&engine, &[rate], 20).swap_remove(0), "{}: {rate}", engine.name);
        }
        let first = lanes[0].losses[0];
        assert!((first - right.losses[0]).abs() < 2e-6, "{}: {first}, not {}", engine.name, right.losses[0]);
    }
}

#[test]
fn a_summary_counts_layers_parameters_and_memory() {
    let summary = Summary::of(&model(), &[16, 2], Kind::Float).expect("a summary");
    assert_eq!(summary.parameters, 2 * 32 + 32 + 2 * 32 + 32 * 32 + 32 + 32 * 2 + 2);
    assert_eq!(summary.untrained, 64);
    assert_eq!(summary.layers[1].kind, "BatchNorm1d");
    assert_eq!((summary.layers[3].name.as_str(), &summary.layers[3].shape[..]), ("3", &[16, 32][..]));
    assert!(summary.bytes < summary.bytes_without_reuse, "{summary}");
    assert!(summary.flops > 2 * 16 * (2 * 32 + 32 * 32 + 32 * 2), "{summary}");
}

/// Least squares by descent end at the solution of the normal equations.
#[test]
fn a_linear_regression_finds_its_solution() {
    let rows = 50;
    let xs: Vec<f64> = (0..rows * 2).map(|i| ((i * 37 % 101) as f64 / 50.0) - 1.0).collect();
    let ts: Vec<f64> = xs.chunks(2).map(|x| 3.0 * x[0] - 2.0 * x[1] + 0.5).collect();
    let mut blueprint = Blueprint::new(1);
    let layout = blueprint.layout_mut();
    let (x, t) = (layout.shared_floats("x", rows * 2), layout.shared_floats("t", rows));
    let [x_view, t_view] = [x, t].map(|id| layout.whole(id));
    let mut tape = Tape::training();
    let (input, target) = (tape.input(x_view, &[rows, 2]), tape.input(t_view, &[rows, 1]));
    let prediction = Linear::new(2, 1).forward(&mut tape, &input);
    let loss = SquaredError.mean(&mut tape, &prediction, &target);
    tape.backward(&loss);
    let arena = tape.arena().expect("an arena");
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let recipe = Recipe::new(Sgd { lr: 0.3, ..Default::default() });
    let stepper = recipe.record(&mut blueprint, &arena, params, grads).expect("a stepper");
    let mut plan = Plan::default();
    let places = Places::new(&arena, params, Some(grads));
    tape.record(blueprint.layout_mut(), &mut plan, &places, &mut Slots::default(), &[]).expect("a recording");
    let gradient: PlanId = blueprint.add("gradient", plan).expect("a plan");
    let mut optimizer = Optimizer::load(&Cpu::<f64>::default(), &blueprint, stepper).expect("an optimizer");
    let program = optimizer.program_mut();
    program.write(x, 0, 0, &xs).expect("inputs");
    program.write(t, 0, 0, &ts).expect("targets");
    let plans = [gradient, optimizer.stepper().step_plan()];
    optimizer.run(&plans, 400).expect("steps");
    let found = optimizer.program_mut().read(params, 0).expect("parameters");
    let bias = arena.tensor("bias").expect("a bias").offset;
    assert!((found[0] - 3.0).abs() < 1e-9 && (found[1] + 2.0).abs() < 1e-9 && (found[bias] - 0.5).abs() < 1e-9, "{found:?}");
}

/// A trainer takes any model: every row is used, also those of a smaller last batch, and lanes train as if alone.
#[test]
fn a_trainer_takes_any_model() {
    let (points, labels) = spirals(130);
    let data = thalweg::data::Dataset::new(points.iter().map(|&x| x as f32).collect(), 2, labels).expect("data");
    let build = |model: &Sequential, recipe: Recipe| {
        let trainer = Trainer::builder(model, recipe).train(&data).validation(&data).batch(50).seed(7);
        trainer.build(&Cpu::<f32>::default())
    };
    let of = |rates: &[f64]| {
        let recipe = Recipe::population(rates.iter().map(|&lr| Adam { lr, ..Default::default() }));
        build(&model(), recipe).expect("a trainer")
    };
    let mut trainer = of(&[0.01, 0.003]);
    let mut alone = of(&[0.01]);
    for _ in 0..3 {
        let (both, one) = (trainer.epoch(|_| ControlFlow::Continue(())), alone.epoch(|_| ControlFlow::Continue(())));
        assert_eq!(both.expect("an epoch")[0], one.expect("an epoch")[0]);
    }
    assert_eq!(trainer.params(0).expect("parameters"), alone.params(0).expect("parameters"));
    assert_eq!(trainer.evaluate().expect("metrics")[0], alone.evaluate().expect("metrics")[0]);
    for _ in 0..120 {
        alone.epoch(|_| ControlFlow::Continue(())).expect("an epoch");
    }
    let end = alone.evaluate().expect("metrics")[0];
    assert!(end.accuracy > Some(0.95), "{end:?}");
    let recipe = Recipe::new(Adam::default());
    let wrong = Sequential::new().then(Linear::new(3, 2));
    let error = build(&wrong, recipe.clone()).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "0: input of a linear layer: [50, 2] found, a last dimension of 3 expected");
    let few = Sequential::new().then(Linear::new(2, 1));
    let error = build(&few, recipe).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "label of the training data = 1 is out of range: below 1");
}
