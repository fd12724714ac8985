//! Training a network on a data set, in two plans: the gradient of a batch, and the step along it.

mod model;

use crate::data::Dataset;
use crate::error::{Error, Result, range};
use crate::nn::{Network, Pass};
use crate::op::{Gather, Tally, Tick};
use crate::optimizer::{Optimizer, Recipe, Report};
use crate::plan::{Blueprint, BufferId, Engine, Kind, Layout, Loss, NONE, Op, Plan, PlanId, Program, Role, View};
use crate::rule::Real;
use std::ops::ControlFlow;

/// Rows that an evaluation looks at together.
const EVALUATION_ROWS: usize = 256;

/// Means over the rows of an epoch or a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction of rows whose largest logit is their label's.
    pub accuracy: f64,
}

/// How many rows a step takes, and what becomes of the rows that fill no batch.
///
/// A number is a batch of so many rows, and keeps the last, smaller batch.
///
/// # Examples
///
/// ```
/// use thalweg::Batch;
///
/// assert_eq!(Batch::from(64).steps(150), 3);
/// assert_eq!(Batch { rows: 64, drop_last: true }.steps(150), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Rows per step, at least 1. More than there are is all of them.
    pub rows: usize,
    /// Whether an epoch leaves out the rows that fill no batch. Else they are a last batch, smaller than the others, whose step
    /// follows the mean over its own rows.
    pub drop_last: bool,
}

impl From<usize> for Batch {
    fn from(rows: usize) -> Self {
        Self { rows, drop_last: false }
    }
}

impl Batch {
    /// Steps of an epoch over so many rows of data.
    pub fn steps(self, rows: usize) -> usize {
        let batch = self.rows.clamp(1, rows.max(1));
        if self.drop_last { rows / batch } else { rows.div_ceil(batch) }
    }

    /// Rows of the last batch, if it is smaller than the others and kept.
    fn rest(self, rows: usize) -> Option<usize> {
        let rest = rows % self.rows;
        (rest > 0 && !self.drop_last).then_some(rest)
    }
}

/// Trains a classifier, in one lane or many.
///
/// Every epoch shuffles the training rows and takes them batch by batch, the last batch being smaller where the rows do not fill it,
/// as in PyTorch and Keras; see [`Batch`]. All lanes see the same batches and start from the same weights.
///
/// # Examples
///
/// ```
/// use thalweg::{AdamW, Recipe, Trainer, cpu::Cpu, data::Dataset, nn::Network, plan::Activation};
/// use std::ops::ControlFlow;
///
/// // Is the first number the larger one?
/// let pairs: Vec<(f32, f32)> = (0..200).map(|i| ((i * 7 % 13) as f32 / 13.0, (i * 5 % 11) as f32 / 11.0)).collect();
/// let labels = pairs.iter().map(|(a, b)| u32::from(a > b)).collect();
/// let data = Dataset::new(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect(), 2, labels)?;
///
/// let network = Network::perceptron(2, &[16], 2, Activation::Relu)?;
/// let recipe = Recipe::new(AdamW { lr: 0.01, ..Default::default() });
/// let mut trainer = Trainer::new(&Cpu::<f32>::default(), &network, recipe, &data, &data, 20, 1)?;
/// for _ in 0..30 {
///     trainer.epoch(|_| ControlFlow::Continue(()))?;
/// }
/// assert!(trainer.evaluate()?[0].accuracy > 0.95);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer<P> {
    optimizer: Optimizer<P>,
    plans: Plans,
    lanes: usize,
    /// Parameters to evaluate with, where they are others than those at which gradients are taken.
    evaluated: Option<BufferId>,
    train: Feed,
    test: Feed,
    random: fastrand::Rng,
    steps: usize,
}

/// Plans of a trainer beside those of its optimizer.
#[derive(Debug, Clone, Copy)]
struct Plans {
    /// Picks a batch; its loss and gradient.
    gradient: PlanId,
    /// That of the last, smaller batch, where there is one.
    last: Option<PlanId>,
    /// Picks a batch of the test data; its loss.
    evaluate: PlanId,
}

/// A data set on the device, the order in which its rows are taken, and the sums over what was taken.
#[derive(Debug)]
struct Feed {
    features: BufferId,
    labels: BufferId,
    order: BufferId,
    clock: BufferId,
    tally: BufferId,
    rows: usize,
    batch: usize,
    batches: usize,
    /// Rows that all batches together hold.
    taken: usize,
}

/// Buffers between the layers of a training step, in the order in which they are asked for. Another recording of fewer rows takes
/// their beginnings.
#[derive(Debug, Default)]
struct Between(Vec<BufferId>);

impl Between {
    /// Where a recording finds its buffers; those that are missing are declared.
    fn places<'a>(&'a mut self, layout: &'a mut Layout) -> impl FnMut(&str, usize) -> View + 'a {
        let mut asked = 0;
        move |name, len| {
            if asked == self.0.len() {
                self.0.push(layout.floats(name, len));
            }
            asked += 1;
            View { buffer: self.0[asked - 1], offset: 0, len }
        }
    }
}

impl Feed {
    fn declare(blueprint: &mut Blueprint, what: &str, data: &Dataset, batch: usize, batches: usize) -> Self {
        let taken = data.rows().min(batch * batches);
        let layout = blueprint.layout_mut();
        let feed = Self {
            features: layout.shared_floats(&format!("{what} features"), data.features.len()),
            labels: layout.shared_indices(&format!("{what} labels"), data.rows()),
            order: layout.shared_indices(&format!("{what} order"), batch * batches),
            clock: layout.shared_indices(&format!("{what} clock"), 1),
            tally: layout.floats(&format!("{what} tally"), 2),
            rows: data.rows(),
            batch,
            batches,
            taken,
        };
        for id in [feed.features, feed.labels, feed.order, feed.clock, feed.tally] {
            blueprint.mark(id, Role::Data);
        }
        feed
    }

    /// Declares where a batch goes: its features and labels.
    fn declare_batch(&self, layout: &mut Layout, width: usize) -> (BufferId, BufferId) {
        let features = layout.shared_floats("batch features", self.batch * width);
        (features, layout.shared_indices("batch labels", self.batch))
    }

    /// Records the picking of a batch; the next one will be the batch after it.
    fn record(&self, plan: &mut Plan, (features, labels): (BufferId, BufferId), width: usize) {
        let &Self { batch: rows, batches, .. } = self;
        let whole = |buffer, len| View { buffer, offset: 0, len };
        let (order, clock) = (whole(self.order, batches * rows), whole(self.clock, 1));
        let (table, out) = (whole(self.features, self.rows * width), whole(features, rows * width));
        plan.operate(Gather { table, order, clock, out, kind: Kind::Float, width, rows, batches });
        let (table, out) = (whole(self.labels, self.rows), whole(labels, rows));
        plan.operate(Gather { table, order, clock, out, kind: Kind::Index, width: 1, rows, batches });
        plan.operate(Tick { clock });
    }

    /// Records the loss of a batch and the sums over it; returns the gradient by the logits.
    fn record_loss(&self, plan: &mut Plan, logits: View, labels: View, place: &mut dyn FnMut(&str, usize) -> View) -> View {
        let rows = labels.len;
        let [losses, hits, grad] =
            [("losses", rows), ("hits", rows), ("gradient of logits", logits.len)].map(|(name, len)| place(name, len));
        let scale = 1.0 / rows as f64;
        plan.push(Op::Loss(Loss::CrossEntropy { logits, labels, losses, hits, grad, scale }));
        for (offset, terms) in [losses, hits].into_iter().enumerate() {
            plan.operate(Tally { terms, sum: View { buffer: self.tally, offset, len: 1 } });
        }
        grad
    }

    fn upload<P: Program>(&self, program: &mut P, data: &Dataset) -> Result<()> {
        let features: Vec<P::Float> = data.features.iter().map(|&x| P::Float::of(x.into())).collect();
        program.write(self.features, 0, 0, &features)?;
        program.write_indices(self.labels, 0, 0, &data.labels)
    }

    /// Writes which rows each batch takes; what is left of the last batch holds no rows.
    fn write_order<P: Program>(&self, program: &mut P, order: impl IntoIterator<Item = u32>) -> Result<()> {
        let slots = self.batch * self.batches;
        let order: Vec<u32> = order.into_iter().chain(std::iter::repeat(NONE)).take(slots).collect();
        program.write_indices(self.order, 0, 0, &order)
    }

    fn reset<P: Program>(&self, program: &mut P, lanes: usize) -> Result<()> {
        program.write_indices(self.clock, 0, 0, &[0])?;
        (0..lanes).try_for_each(|lane| program.write(self.tally, lane, 0, &[P::Float::of(0.0); 2]))
    }

    /// Means over the `rows` rows since the last reset.
    fn metrics<P: Program>(&self, program: &mut P, lanes: usize, rows: usize) -> Result<Vec<Metrics>> {
        let rows = rows.max(1) as f64;
        let lane = |lane| {
            let sums = program.read(self.tally, lane)?;
            Ok(Metrics { loss: sums[0].as_f64() / rows, accuracy: sums[1].as_f64() / rows })
        };
        (0..lanes).map(lane).collect()
    }
}

impl<P: Program> Trainer<P> {
    /// Records and loads everything: data, network, and the recipe's step, of which a last, smaller batch has a recording of its own
    /// over the same buffers. A batch larger than the data is all of the data.
    ///
    /// # Errors
    /// Data that do not fit the network, a batch of 0, settings out of their range, or what the engine refuses.
    pub fn new<E: Engine<Program = P>>(
        engine: &E,
        network: &Network,
        recipe: Recipe,
        train: &Dataset,
        test: &Dataset,
        batch: impl Into<Batch>,
        seed: u64,
    ) -> Result<Self> {
        let batch = batch.into();
        check(network, train, test, batch.rows)?;
        if recipe.scales_loss() {
            return Err(Error::conflict("loss_scale", "a trainer", "its loss has no scale"));
        }
        let batch = Batch { rows: batch.rows.min(train.rows()), ..batch };
        let (lanes, arena) = (recipe.lanes(), network.arena()?);
        let mut blueprint = Blueprint::new(lanes);
        let params = blueprint.arena("params", &arena, Role::Params);
        let grads = blueprint.arena("grads", &arena, Role::Grads);
        let stepper = recipe.record(&mut blueprint, &arena, params, grads)?;

        let feed = Feed::declare(&mut blueprint, "training", train, batch.rows, batch.steps(train.rows()));
        let picked = feed.declare_batch(blueprint.layout_mut(), train.width);
        let mut between = Between::default();
        let mut gradients = |blueprint: &mut Blueprint, name: &str, rows| {
            let (mut plan, layout) = (Plan::default(), blueprint.layout_mut());
            record_gradients(&mut plan, network, (params, grads), &feed, picked, rows, &mut between.places(layout))?;
            blueprint.add(name, plan)
        };
        let gradient = gradients(&mut blueprint, "gradient", batch.rows)?;
        let last = batch.rest(train.rows()).map(|rows| gradients(&mut blueprint, "gradient of the last batch", rows));
        let last = last.transpose()?;

        let evaluated = stepper.averages().then(|| blueprint.arena("evaluated params", &arena, Role::Scratch));
        let rows = EVALUATION_ROWS.min(test.rows());
        let mut look = Plan::default();
        let test_feed = Feed::declare(&mut blueprint, "test", test, rows, test.rows().div_ceil(rows));
        let picked = test_feed.declare_batch(blueprint.layout_mut(), test.width);
        let (mut between, at) = (Between::default(), evaluated.unwrap_or(params));
        record_loss(&mut look, network, at, &test_feed, picked, rows, &mut between.places(blueprint.layout_mut()))?;
        let plans = Plans { gradient, last, evaluate: blueprint.add("evaluate", look)? };

        let mut optimizer = Optimizer::load(engine, &blueprint, stepper)?;
        let program = optimizer.program_mut();
        feed.upload(program, train)?;
        test_feed.upload(program, test)?;
        test_feed.write_order(program, 0..test.rows() as u32)?;
        let initial: Vec<P::Float> = network.initial(seed)?.into_iter().map(P::Float::of).collect();
        (0..lanes).try_for_each(|lane| program.write(params, lane, 0, &initial))?;
        let random = fastrand::Rng::with_seed(seed);
        Ok(Self { optimizer, plans, lanes, evaluated, train: feed, test: test_feed, random, steps: 0 })
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train.batches
    }

    /// Steps run so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Shuffles, runs an epoch, and returns each lane's training loss and accuracy, as met on the way. `progress` hears of the
    /// number of steps done, and may break the epoch off after any of them.
    ///
    /// # Errors
    /// A lost device.
    pub fn epoch(&mut self, mut progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        let mut order: Vec<u32> = (0..self.train.rows as u32).collect();
        self.random.shuffle(&mut order);
        self.train.write_order(self.optimizer.program_mut(), order)?;
        self.train.reset(self.optimizer.program_mut(), self.lanes)?;
        let (mut done, step) = (0, self.optimizer.stepper().step_plan());
        while done < self.train.batches {
            // The rows of the batches up to this one.
            let whole = (done + 1) * self.train.batch <= self.train.taken;
            let gradient = self.plans.last.filter(|_| !whole).unwrap_or(self.plans.gradient);
            self.optimizer.run(&[gradient, step], 1)?;
            done += 1;
            if progress(done).is_break() {
                break;
            }
        }
        self.steps += done;
        let rows = self.train.taken.min(done * self.train.batch);
        self.train.metrics(self.optimizer.program_mut(), self.lanes, rows)
    }

    /// Each lane's loss and accuracy on the test data, with the parameters that the rule is to be evaluated with:
    /// [`Rule::eval`](crate::Rule::eval).
    ///
    /// # Errors
    /// A lost device.
    pub fn evaluate(&mut self) -> Result<Vec<Metrics>> {
        if let Some(evaluated) = self.evaluated {
            for lane in 0..self.lanes {
                let params = self.eval_params(lane)?;
                self.optimizer.program_mut().write(evaluated, lane, 0, &params)?;
            }
        }
        self.test.reset(self.optimizer.program_mut(), self.lanes)?;
        self.optimizer.program_mut().run(self.plans.evaluate, self.test.batches)?;
        self.test.metrics(self.optimizer.program_mut(), self.lanes, self.test.rows)
    }

    /// Changes a number among the settings of a lane's rule, from the next step on, as
    /// [`Optimizer::set`](crate::Optimizer::set) does.
    ///
    /// # Errors
    /// As [`Optimizer::set`](crate::Optimizer::set).
    ///
    /// # Examples
    ///
    /// A learning rate that falls when the loss no longer does:
    ///
    /// ```
    /// use thalweg::{AdamW, Recipe, Trainer, cpu::Cpu, data::Dataset, nn::Network, plan::Activation};
    /// use thalweg::schedule::ReduceLrOnPlateau;
    /// use std::ops::ControlFlow;
    ///
    /// // Every row comes with either label, so the loss cannot fall below ln 2.
    /// let data = Dataset::new(vec![0.0, 0.0, 1.0, 1.0], 1, vec![0, 1, 0, 1])?;
    /// let network = Network::perceptron(1, &[4], 2, Activation::Relu)?;
    /// let recipe = Recipe::new(AdamW { lr: 0.1, ..Default::default() });
    /// let mut trainer = Trainer::new(&Cpu::<f32>::default(), &network, recipe, &data, &data, 4, 1)?;
    /// let mut plateau = ReduceLrOnPlateau { from: 0.1, patience: 3, ..Default::default() }.start()?;
    /// for _ in 0..100 {
    ///     trainer.epoch(|_| ControlFlow::Continue(()))?;
    ///     let lr = plateau.step(trainer.evaluate()?[0].loss);
    ///     trainer.set(0, "default", "lr", lr)?;
    /// }
    /// assert!(plateau.value() < 0.1);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set(&mut self, lane: usize, group: &str, setting: &str, value: f64) -> Result<()> {
        self.optimizer.set(lane, group, setting, value)
    }

    /// A lane's parameters, at which gradients are taken, laid out as the network's arena.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn params(&mut self, lane: usize) -> Result<Vec<P::Float>> {
        let params = self.optimizer.params_buffer();
        self.optimizer.program_mut().read(params, lane)
    }

    /// A lane's parameters to evaluate with, laid out as the network's arena.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn eval_params(&mut self, lane: usize) -> Result<Vec<P::Float>> {
        self.optimizer.eval_arena(lane)
    }

    /// A lane's counters, norm and clip coefficient after the last step.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn report(&mut self, lane: usize) -> Result<Report> {
        self.optimizer.report(lane)
    }
}

/// Records the picking of a batch, of which the first `rows` rows go through the network, and their loss. Returns what the forward
/// pass leaves and the gradient by the logits.
fn record_loss(
    plan: &mut Plan,
    network: &Network,
    params: BufferId,
    feed: &Feed,
    picked: (BufferId, BufferId),
    rows: usize,
    place: &mut dyn FnMut(&str, usize) -> View,
) -> Result<(Pass, View)> {
    let width = network.inputs();
    feed.record(plan, picked, width);
    let [features, labels] = [(picked.0, rows * width), (picked.1, rows)].map(|(buffer, len)| View { buffer, offset: 0, len });
    let pass = network.forward_into(plan, params, features, rows, place)?;
    let grad = feed.record_loss(plan, pass.output(), labels, place);
    Ok((pass, grad))
}

/// Records [`record_loss`] and the gradient by the parameters.
fn record_gradients(
    plan: &mut Plan,
    network: &Network,
    (params, grads): (BufferId, BufferId),
    feed: &Feed,
    picked: (BufferId, BufferId),
    rows: usize,
    place: &mut dyn FnMut(&str, usize) -> View,
) -> Result<()> {
    let (pass, grad) = record_loss(plan, network, params, feed, picked, rows, place)?;
    network.backward_into(plan, params, grads, &pass, grad, place)
}

fn check(network: &Network, train: &Dataset, test: &Dataset, batch: usize) -> Result<()> {
    for (what, data) in [("training", train), ("test", test)] {
        data.check()?;
        if data.width != network.inputs() {
            return Err(Error::shape(format!("features of the {what} data"), network.inputs(), data.width));
        }
        let above = data.labels.iter().find(|&&label| label as usize >= network.outputs());
        if let Some(label) = above {
            return Err(Error::setting(&format!("label of the {what} data"), label, &format!("below {}", network.outputs())));
        }
    }
    range::require(batch > 0, "batch", batch, "at least 1")
}
