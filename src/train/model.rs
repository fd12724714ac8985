//! A trainer of any model on a tape.

use super::{Batch, EVALUATION_ROWS, Feed, Gradient, Plans, Trainer};
use crate::data::Dataset;
use crate::error::{Error, Result, range};
use crate::nn::{Criterion, CrossEntropy, Model, Places, Slots, Tape, Value};
use crate::op::{StepKey, Tally};
use crate::optimizer::{Optimizer, Recipe};
use crate::plan::{Blueprint, BufferId, Engine, NONE, Plan, PlanId, Program, Role, View};
use crate::rule::Real;

impl<P: Program> Trainer<P> {
    /// A trainer of any model that makes logits, rows × classes, of rows × features: with dropout, normalisation by batches and whatever
    /// else a [`Model`] records. Its loss is the cross-entropy.
    ///
    /// All lanes start from the same weights; the random numbers of their steps are their own.
    ///
    /// # Errors
    /// Mistakes in the model's shapes; labels that are not below its classes; else as for [`Trainer::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::{BatchNorm1d, Dropout, Linear, Nonlinearity, Sequential};
    /// use thalweg::{AdamW, Recipe, Trainer, cpu::Cpu, data::Dataset};
    /// use std::ops::ControlFlow;
    ///
    /// // Is the first number the larger one?
    /// let pairs: Vec<(f32, f32)> = (0..200).map(|i| ((i * 7 % 13) as f32 / 13.0, (i * 5 % 11) as f32 / 11.0)).collect();
    /// let labels = pairs.iter().map(|(a, b)| u32::from(a > b)).collect();
    /// let data = Dataset::new(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect(), 2, labels)?;
    ///
    /// let model = Sequential::new()
    ///     .then(Linear::new(2, 16))
    ///     .then(BatchNorm1d::new(16))
    ///     .then(Nonlinearity::Silu)
    ///     .then(Dropout { p: 0.1 })
    ///     .then(Linear::new(16, 2));
    /// let recipe = Recipe::new(AdamW { lr: 0.01, ..Default::default() });
    /// let mut trainer = Trainer::of(&Cpu::<f32>::default(), &model, recipe, &data, &data, 20, 1)?;
    /// for _ in 0..30 {
    ///     trainer.epoch(|_| ControlFlow::Continue(()))?;
    /// }
    /// assert!(trainer.evaluate()?[0].accuracy > 0.95);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn of<E: Engine<Program = P>>(
        engine: &E,
        model: &(impl Model + ?Sized),
        recipe: Recipe,
        train: &Dataset,
        test: &Dataset,
        batch: impl Into<Batch>,
        seed: u64,
    ) -> Result<Self> {
        let batch = batch.into();
        check(&recipe, train, test, batch)?;
        let batch = Batch { rows: batch.rows.min(train.rows()), ..batch };
        let lanes = recipe.lanes();
        let mut blueprint = Blueprint::new(lanes);
        let mut feed = Feed::declare(&mut blueprint, "training", train, batch.rows, batch.steps(train.rows()));
        let picked = feed.declare_batch(blueprint.layout_mut(), train.width);

        let whole = Recorded::of(Tape::training(), model, picked, batch.rows, train.width)?;
        let rest = batch.rest(train.rows()).map(|rows| Recorded::of(Tape::training(), model, picked, rows, train.width));
        let (rest, classes) = (rest.transpose()?, whole.logits.shape()[1]);
        [("training", train), ("test", test)].into_iter().try_for_each(|(what, data)| check_labels(what, data, classes))?;

        let (arena, buffers) = (whole.tape.arena()?, whole.tape.buffers()?);
        let params = blueprint.arena("params", &arena, Role::Params);
        let grads = blueprint.arena("grads", &arena, Role::Grads);
        let statistics = blueprint.arena("statistics", &buffers, Role::State);
        let key = blueprint.indices("keys", 2, Role::State);
        let words = blueprint.indices("key of the step", 2, Role::Scratch);
        let stepper = recipe.record(&mut blueprint, &arena, params, grads)?;
        // Where samples look for the loss.
        feed.means[0].buffer = stepper.loss_buffer();
        let counts = blueprint.buffer("counts")?;
        let evaluated = stepper.averages().then(|| blueprint.arena("evaluated params", &arena, Role::Scratch));

        let two = |buffer| View { buffer, offset: 0, len: 2 };
        let one = |buffer| View { buffer, offset: 0, len: 1 };
        let applied = one(counts);
        // Each micro-batch of a step draws its own numbers.
        let micro = stepper.accumulate_plan().map(|_| blueprint.buffer("micro-batches").map(one)).transpose()?;
        let places = Places {
            params: (&arena, params),
            grads: Some(grads),
            buffers: Some((&buffers, statistics)),
            key: Some(two(words)),
        };
        let mut shared = Shared { feed: &feed, picked, places, slots: Slots::default() };
        let drawn = whole.tape.is_random().then(|| StepKey { key: two(key), step: applied, micro, out: two(words) });
        let mut gradients = |blueprint: &mut Blueprint, name: &str, recorded: &Recorded| {
            let pick = shared.plan(blueprint, name, recorded, drawn.clone(), false)?;
            let mut again = || shared.plan(blueprint, &format!("{name} again"), recorded, None, true);
            let again = stepper.ascend_plan().map(|_| again()).transpose()?;
            Ok::<Gradient, Error>(Gradient { pick, again })
        };
        let gradient = gradients(&mut blueprint, "gradient", &whole)?;
        let last = rest.map(|rest| gradients(&mut blueprint, "gradient of the last batch", &rest));
        let last = last.transpose()?;

        let rows = EVALUATION_ROWS.min(test.rows());
        let test_feed = Feed::declare(&mut blueprint, "test", test, rows, test.rows().div_ceil(rows));
        let picked = test_feed.declare_batch(blueprint.layout_mut(), test.width);
        let look = Recorded::of(Tape::evaluation(), model, picked, rows, test.width)?;
        let places = Places { params: (&arena, evaluated.unwrap_or(params)), grads: None, ..places };
        let mut shared = Shared { feed: &test_feed, picked, places, slots: shared.slots };
        let evaluate = shared.plan(&mut blueprint, "evaluate", &look, None, false)?;

        let mut optimizer = Optimizer::load(engine, &blueprint, stepper)?;
        let program = optimizer.program_mut();
        feed.upload(program, train)?;
        test_feed.upload(program, test)?;
        test_feed.write_order(program, 0..test.rows() as u32)?;
        let seeds = [seed as u32, (seed >> 32) as u32];
        let floats = |values: Vec<f64>| values.into_iter().map(P::Float::of).collect::<Vec<_>>();
        let (initial, start) = (floats(whole.tape.initial(seeds)?), floats(whole.tape.initial_buffers()?));
        for lane in 0..lanes {
            program.write(params, lane, 0, &initial)?;
            program.write(statistics, lane, 0, &start)?;
            program.write_indices(key, lane, 0, &crate::op::threefry(seeds, [lane as u32, 0]))?;
        }
        let (plans, random) = (Plans { whole: gradient, last, evaluate }, fastrand::Rng::with_seed(seed));
        Ok(Self { optimizer, plans, lanes, evaluated, train: feed, test: test_feed, random, steps: 0, micro: 1 })
    }
}

/// A model on a batch: one loss and one hit per row, and while training the gradient of their mean.
struct Recorded {
    tape: Tape,
    logits: Value,
    losses: Value,
    hits: Value,
    rows: usize,
}

impl Recorded {
    fn of(
        mut tape: Tape,
        model: &(impl Model + ?Sized),
        (features, labels): (BufferId, BufferId),
        rows: usize,
        width: usize,
    ) -> Result<Self> {
        let x = tape.input(View { buffer: features, offset: 0, len: rows * width }, &[rows, width]);
        let labels = tape.indices(View { buffer: labels, offset: 0, len: rows }, &[rows]);
        let logits = model.forward(&mut tape, &x);
        tape.check()?;
        if logits.shape().len() != 2 || logits.shape()[0] != rows {
            return Err(Error::shape("output of the model", format!("[{rows}, classes]"), format!("{:?}", logits.shape())));
        }
        // Rows of an evaluation that no data fill have no label.
        let ignored = (!tape.is_training()).then_some(NONE);
        let terms = CrossEntropy { ignored, ..Default::default() }.terms(&mut tape, &logits, &labels);
        let hits = logits.first_max(1).is_whole(&labels);
        if tape.is_training() {
            let loss = terms.mean();
            tape.backward(&loss);
        }
        Ok(Self { tape, logits, losses: terms.losses, hits, rows })
    }
}

/// What the plans of one feed share.
struct Shared<'a> {
    feed: &'a Feed,
    picked: (BufferId, BufferId),
    places: Places<'a>,
    slots: Slots,
}

impl Shared<'_> {
    /// Picks a batch, runs what was recorded, and adds up losses and hits; or runs it once more on the batch that was picked, and counts
    /// nothing.
    fn plan(
        &mut self,
        blueprint: &mut Blueprint,
        name: &str,
        recorded: &Recorded,
        drawn: Option<StepKey>,
        again: bool,
    ) -> Result<PlanId> {
        let mut plan = Plan::default();
        let width = blueprint.layout().buffer(self.picked.0).len / self.feed.batch.max(1);
        if !again {
            self.feed.record(&mut plan, self.picked, width);
        }
        if let Some(drawn) = drawn {
            plan.operate(drawn);
        }
        let layout = blueprint.layout_mut();
        let [losses, hits] = ["losses", "hits"].map(|what| layout.floats(&format!("{what} of {name}"), recorded.rows));
        let [losses, hits] = [losses, hits].map(|id| layout.whole(id));
        let outputs = [(&recorded.losses, losses), (&recorded.hits, hits)];
        recorded.tape.record(layout, &mut plan, &self.places, &mut self.slots, &outputs)?;
        for (offset, (terms, mean)) in [losses, hits].into_iter().zip(self.feed.means).enumerate().filter(|_| !again) {
            plan.operate(Tally { terms, sum: View { buffer: self.feed.tally, offset, len: 1 }, mean });
        }
        blueprint.add(name, plan)
    }
}

fn check(recipe: &Recipe, train: &Dataset, test: &Dataset, batch: Batch) -> Result<()> {
    [train, test].into_iter().try_for_each(Dataset::check)?;
    if train.width != test.width {
        return Err(Error::shape("features of the test data", train.width, test.width));
    }
    range::require(batch.rows > 0, "batch", batch.rows, "at least 1")?;
    if recipe.scales_loss() {
        return Err(Error::conflict("loss_scale", "a trainer of a model on a tape", "its loss has no scale"));
    }
    Ok(())
}

fn check_labels(what: &str, data: &Dataset, classes: usize) -> Result<()> {
    match data.labels.iter().find(|&&label| label as usize >= classes) {
        Some(label) => Err(Error::setting(&format!("label of the {what} data"), label, &format!("below {classes}"))),
        None => Ok(()),
    }
}
