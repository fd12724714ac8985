//! From settings to plans: the gradient of a batch, an evaluation, a prediction.

use super::builder::Settled;
use super::copies::Copies;
use super::feed::{Feed, Feeding, Picked, Table};
use super::predict::Predictor;
use super::probe::{Probe, forward, target};
use super::ranks::OnRanks;
use super::start::Start;
use super::stopping::Best;
use super::task::{Columns, Measured, Task};
use super::{Gradient, Plans, Statistics, Trainer};
use crate::data::Scaler;
use crate::error::{Error, Result};
use crate::nn::{Apart, Model, Places, Slots, Tape, Value};
use crate::op::StepKey;
use crate::optimizer::Optimizer;
use crate::plan::{Blueprint, Engine, Kind, Layout, Plan, PlanId, Program, Role, Scalar, View};
use crate::rule::Real;

/// Records everything, loads it, and writes the start values.
pub(super) fn record<E: Engine>(engine: &E, settled: &Settled) -> Result<Trainer<E::Program>> {
    let Settled { recipe, train, validation, task, block, .. } = settled;
    let (model, batch, own, rows) = (settled.model, settled.batch, &settled.lanes, settled.lanes[0].train.len());
    let mut blueprint = Blueprint::new(own.len());
    let scaling = Scaling::declare(blueprint.layout_mut(), &settled.scalers, "features");
    let of_targets = Scaling::declare(blueprint.layout_mut(), &settled.target_scalers, "targets");

    // The first recording tells parameters and outputs; then there is a loss scale to record with.
    let (indices, weighted) = (settled.indices, settled.weights.is_some());
    let table = Table::declare(&mut blueprint, "training", train, indices, weighted);
    let probe = Probe::of(model, &mut blueprint, task, &table, batch.rows, scaling)?;
    let columns = Columns { weighted: probe.columns.weighted || weighted, ..probe.columns };
    // What the task says of its targets comes before what its loss says of shapes.
    task.check("training", train, &probe.output)?;
    let (arena, buffers) = (probe.tape.arena()?, probe.tape.buffers()?);
    let shared = settled.shares_training();
    let steps = batch.steps(rows);
    let feeding =
        Feeding { what: "training", table, batch: batch.rows, batches: steps, shared, weighted, padded: false, columns };
    let mut feed = Feed::declare(&mut blueprint, feeding);
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let statistics = blueprint.arena("statistics", &buffers, Role::State);
    // The base of adapters, which is nobody's state: it never changes.
    let base = probe.tape.shared()?;
    let of_base = (!base.tensors().is_empty()).then(|| blueprint.layout_mut().shared_floats("shared parameters", base.len()));
    let keys = blueprint.indices("keys", 2, Role::State);
    let words = blueprint.indices("key of the step", 2, Role::Scratch);
    let stepper = recipe.record(&mut blueprint, &arena, params, grads)?;
    let of = |buffer, len| View { buffer, offset: 0, len };
    let places = Places {
        params: (&arena, params),
        grads: Some(grads),
        buffers: Some((&buffers, statistics)),
        shared: of_base.map(|id| (&base, id)),
        key: Some(of(words, 2)),
    };
    let scale = View { buffer: stepper.scalars(), offset: Scalar::LossScale as usize, len: 1 };
    let scale = recipe.scales_loss().then_some(scale);
    // Samples read the loss here. With weights it is not the mean of its terms.
    let loss = of(stepper.loss_buffer(), 1);
    let weighted_loss = columns.weighted.then_some(loss);
    if weighted_loss.is_none() {
        feed.mean = loss;
    }

    let slots = Slots::default();
    let mut recorder = Recorder { model, task, columns: probe.columns, places, slots, scaling, of_targets, apart: None };
    // Each micro-batch of a step draws its own numbers.
    let micro = stepper.accumulate_plan().map(|_| blueprint.buffer("micro-batches")).transpose()?;
    let applied = of(blueprint.buffer("counts")?, 1);
    let step_key = StepKey { key: of(keys, 2), step: applied, micro: micro.map(|id| of(id, 1)), out: of(words, 2) };
    let drawn = probe.tape.is_random().then_some(&step_key);
    let on_ranks = settled.on_ranks.then(|| {
        if stepper.accumulate_plan().is_none() {
            return Err(Error::missing("a trainer on ranks", "micro-batches", ".accumulate(Accumulation::default())"));
        }
        recorder.apart = apart(&mut blueprint, &probe.tape)?;
        Ok(OnRanks { changes: recorder.apart.map(|apart| apart.changes), micro: drawn.and(micro) })
    });
    let on_ranks = on_ranks.transpose()?;
    let step = Step { scale, weighted_loss, drawn, ascends: stepper.ascend_plan().is_some() };
    let mut gradient = |name: &str, rows| recorder.gradient(&mut blueprint, &feed, name, rows, step);
    let whole = gradient("gradient", batch.rows)?;
    let last = batch.rest(rows).map(|rows| gradient("gradient of the last batch", rows)).transpose()?;

    let evaluated = stepper.averages().then(|| blueprint.arena("evaluated params", &arena, Role::Scratch));
    recorder.places = Places { params: (&arena, evaluated.unwrap_or(params)), grads: None, ..places };
    let held = validation.map(|data| {
        let same = std::ptr::eq(data, *train);
        let table = if same { table } else { Table::declare(&mut blueprint, "validation", data, indices, false) };
        task.check("validation", data, &probe.output)?;
        recorder.held(&mut blueprint, table, settled)
    });
    let (mut held, evaluate) = held.transpose()?.unzip();
    let predictor = recorder.predictor(&mut blueprint, &table, *block)?;
    let copies = settled.copies.then(|| Copies::record(&mut blueprint, feed.tally)).transpose()?;

    let mut optimizer = Optimizer::load(engine, &blueprint, stepper)?;
    let statistics = Statistics { arena: buffers, id: statistics, keys };
    let mut start = Start { program: optimizer.program_mut(), settled };
    start.rows(&table, &mut feed, held.as_mut())?;
    start.scalings([(scaling, &settled.scalers), (of_targets, &settled.target_scalers)])?;
    start.lanes(&probe.tape, params, of_base, &statistics)?;
    let best = statistics.arena.len();
    let mut trainer = Trainer {
        optimizer,
        plans: Plans { whole, last, evaluate },
        lanes: own.clone(),
        evaluated,
        taken: rows.min(batch.rows * steps),
        train: feed,
        validation: held,
        predictor,
        statistics,
        base: of_base.map(|id| (base, id)),
        epoch: 0,
        step: 0,
        steps: 0,
        micro: 1,
        streams: settled.streams,
        sequences: [Vec::new(), Vec::new()],
        best: settled.stopping.map_or_else(Vec::new, |_| vec![Best::new(arena.len(), best); own.len()]),
        stopping: settled.stopping,
        aside: None,
        copies,
        on_ranks,
    };
    trainer.sequence_all();
    Ok(trainer)
}

/// Room for what untrained buffers change by, where any do.
fn apart(blueprint: &mut Blueprint, tape: &Tape) -> Result<Option<Apart>> {
    let len = tape.changes()?;
    if len == 0 {
        return Ok(None);
    }
    let changes = blueprint.floats("changes of statistics", len, Role::Data);
    let changes = blueprint.layout().whole(changes);
    let moved = blueprint.arena("changed statistics", &tape.buffers()?, Role::Scratch);
    Ok(Some(Apart { changes, moved }))
}

/// Mean and divisor of each feature or target, in the place of which lanes may have their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaling {
    shift: View,
    divisor: View,
}

impl Scaling {
    pub fn declare(layout: &mut Layout, scalers: &[Scaler], of: &str) -> Option<Self> {
        let width = scalers.first()?.shift.len();
        let mut declare = |name: &str| {
            let name = format!("{name} of {of}");
            let id = if scalers.len() == 1 { layout.shared_floats(&name, width) } else { layout.floats(&name, width) };
            layout.whole(id)
        };
        Some(Self { shift: declare("means"), divisor: declare("deviations") })
    }

    fn values(self, tape: &mut Tape) -> [Value; 2] {
        [self.shift, self.divisor].map(|view| tape.input(view, &[view.len]))
    }

    /// `(x − mean) / deviation`.
    pub fn apply(self, tape: &mut Tape, x: &Value) -> Value {
        let [shift, divisor] = self.values(tape);
        tape.map(&[x, &shift, &divisor], |of| (of[0].clone() - of[1].clone()) / of[2].clone())
    }

    /// What was scaled, as it was before.
    fn undo(self, tape: &mut Tape, x: &Value) -> Value {
        let [shift, divisor] = self.values(tape);
        tape.map(&[x, &shift, &divisor], |of| of[0].clone() * of[2].clone() + of[1].clone())
    }

    pub fn upload<P: Program>(self, program: &mut P, scalers: &[Scaler]) -> Result<()> {
        for (lane, scaler) in scalers.iter().enumerate() {
            for (view, values) in [(self.shift, &scaler.shift), (self.divisor, &scaler.divisor)] {
                let values: Vec<P::Float> = values.iter().map(|&x| P::Float::of(x)).collect();
                program.write(view.buffer, lane, 0, &values)?;
            }
        }
        Ok(())
    }
}

/// What a step over a batch needs besides the model and its loss.
#[derive(Debug, Clone, Copy)]
struct Step<'a> {
    /// The loss scale, where the recipe has one.
    scale: Option<View>,
    /// Where the loss goes, where it is not the mean of its terms.
    weighted_loss: Option<View>,
    /// The key of its random numbers, where any are drawn.
    drawn: Option<&'a StepKey>,
    ascends: bool,
}

/// Records plans that share the memory of intermediate values.
struct Recorder<'a> {
    model: &'a dyn Model,
    task: &'a Task,
    columns: Columns,
    places: Places<'a>,
    slots: Slots,
    scaling: Option<Scaling>,
    of_targets: Option<Scaling>,
    /// Where untrained buffers change in plans of their own.
    apart: Option<Apart>,
}

impl Recorder<'_> {
    /// The plans of the gradient of a batch of so many rows: once with a new batch, and once more on the same one where the
    /// recipe ascends in between.
    fn gradient(&mut self, blueprint: &mut Blueprint, feed: &Feed, name: &str, rows: usize, step: Step) -> Result<Gradient> {
        let mut tape = Tape::training();
        let measured = self.measured(&mut tape, feed, rows)?;
        let loss = match step.scale {
            Some(scale) => &measured.loss * &tape.input(scale, &[]),
            None => measured.loss.clone(),
        };
        tape.backward(&loss);
        let mut plan = Plan::default();
        feed.pick(&mut plan);
        if let Some(drawn) = step.drawn {
            plan.operate(drawn.clone());
        }
        let also = step.weighted_loss.map(|view| (&measured.loss, view));
        let mut moves = self.apart.map(|apart| (Plan::default(), apart));
        let pick = self.counted(blueprint, feed, name, plan, moves.as_mut(), (&tape, &measured, also))?;
        let moves = moves.map(|(plan, _)| blueprint.add(&format!("statistics after the {name}"), plan)).transpose()?;
        let again = step.ascends.then(|| {
            let mut plan = Plan::default();
            tape.record(blueprint.layout_mut(), &mut plan, &self.places, &mut self.slots, &[])?;
            blueprint.add(&format!("{name} again"), plan)
        });
        Ok(Gradient { pick, moves, again: again.transpose()? })
    }

    /// The plan of an evaluation, block by block.
    fn held(&mut self, blueprint: &mut Blueprint, table: Table, settled: &Settled) -> Result<(Feed, PlanId)> {
        let block = settled.block;
        let most = settled.lanes.iter().map(|lane| lane.validation.len()).max().unwrap_or(0);
        let mut tape = Tape::evaluation();
        let feeding = Feeding {
            what: "validation",
            table,
            batch: block,
            batches: most.div_ceil(block),
            shared: settled.shares_validation(),
            weighted: false,
            padded: true,
            columns: self.columns,
        };
        let feed = Feed::declare(blueprint, feeding);
        let measured = self.measured(&mut tape, &feed, block)?;
        let mut plan = Plan::default();
        feed.pick(&mut plan);
        let plan = self.counted(blueprint, &feed, "evaluate", plan, None, (&tape, &measured, None))?;
        Ok((feed, plan))
    }

    /// The plan of the outputs for a block of features that the host writes.
    fn predictor(
        &mut self,
        blueprint: &mut Blueprint,
        &Table { width, of_features: kind, .. }: &Table,
        rows: usize,
    ) -> Result<Predictor> {
        let (layout, name) = (blueprint.layout_mut(), "features to predict from");
        let features = match kind {
            Kind::Index => layout.shared_indices(name, rows * width),
            _ => layout.shared_floats(name, rows * width),
        };
        let mut tape = Tape::evaluation();
        let output = forward(&mut tape, self.model, (features, kind), [rows, width], self.scaling);
        tape.check()?;
        let output = self.of_targets.map_or_else(|| output.clone(), |scaling| scaling.undo(&mut tape, &output));
        tape.check()?;
        let outputs = output.len() / rows;
        let (mut plan, layout) = (Plan::default(), blueprint.layout_mut());
        let out = layout.floats("predictions", rows * outputs);
        tape.record(layout, &mut plan, &self.places, &mut self.slots, &[(&output, layout.whole(out))])?;
        let plan = blueprint.add("predict", plan)?;
        Ok(Predictor { features, kind, out, plan, rows, width, outputs })
    }

    /// The model on a batch of a feed, with its loss and scores.
    fn measured(&self, tape: &mut Tape, feed: &Feed, rows: usize) -> Result<Measured> {
        let Picked { features, target: targets, weights, present } = feed.picked;
        let features = (features, feed.table.of_features);
        let output = forward(tape, self.model, features, [rows, feed.table.width], self.scaling);
        let target = target(tape, targets, &feed.table, rows);
        let target = self.of_targets.map_or_else(|| target.clone(), |scaling| scaling.apply(tape, &target));
        let [weights, present] =
            [weights, present].map(|of| of.map(|buffer| tape.input(View { buffer, offset: 0, len: rows }, &[rows])));
        let measured = self.task.measure(tape, &output, &target, [weights.as_ref(), present.as_ref()]);
        tape.check()?;
        measured.check()?;
        Ok(measured)
    }

    /// Appends to a plan what was recorded, and the sums over its rows. Untrained buffers change in another plan, where one is
    /// given.
    fn counted(
        &mut self,
        blueprint: &mut Blueprint,
        feed: &Feed,
        name: &str,
        mut plan: Plan,
        moves: Option<&mut (Plan, Apart)>,
        (tape, measured, also): (&Tape, &Measured, Option<(&Value, View)>),
    ) -> Result<PlanId> {
        let layout = blueprint.layout_mut();
        let (terms, tally) = feed.counted(layout, name, measured.rows);
        let mut offset = 0;
        let column = |value| {
            let view = View { buffer: terms.buffer, offset, len: Value::len(value) };
            offset += view.len;
            (value, view)
        };
        let outputs: Vec<(&Value, View)> = measured.values.iter().map(column).chain(also).collect();
        let (places, slots) = (&self.places, &mut self.slots);
        match moves {
            Some((moves, apart)) => tape.record_apart(layout, [&mut plan, moves], places, slots, &outputs, *apart)?,
            None => tape.record(layout, &mut plan, places, slots, &outputs)?,
        };
        plan.operate(tally);
        blueprint.add(name, plan)
    }
}
