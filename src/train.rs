//! Training a network on a data set, in two plans: the gradient of a batch, and the step along it.

mod model;

use crate::data::Dataset;
use crate::error::{Error, Result, range};
use crate::nn::{Network, Pass};
use crate::op::{Expr, Gather, Map, Tally, Tick};
use crate::optimizer::{Optimizer, Recipe, Report};
use crate::plan::{Blueprint, BufferId, Engine, Kind, Layout, Loss, NONE, Op, Plan, PlanId, Program, Role, Scalar, View};
use crate::rule::Real;
use std::ops::{ControlFlow, Range};

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
    /// Batches that a step takes.
    micro: usize,
}

/// Plans of a trainer beside those of its optimizer.
#[derive(Debug, Clone, Copy)]
struct Plans {
    whole: Gradient,
    /// That of the last, smaller batch, where there is one.
    last: Option<Gradient>,
    /// Picks a batch of the test data; its loss.
    evaluate: PlanId,
}

/// The plans of a batch's gradient.
#[derive(Debug, Clone, Copy)]
struct Gradient {
    /// Picks a batch; its loss and gradient.
    pick: PlanId,
    /// Loss and gradient of the batch that was picked, once more, where the recipe ascends in between.
    again: Option<PlanId>,
}

/// A data set on the device, the order in which its rows are taken, and the sums over what was taken.
#[derive(Debug)]
struct Feed {
    features: BufferId,
    labels: BufferId,
    order: BufferId,
    clock: BufferId,
    tally: BufferId,
    /// Mean loss and accuracy of the batch.
    means: [View; 2],
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
            means: [(); 2].map(|()| {
                let id = layout.floats(&format!("{what} mean"), 1);
                layout.whole(id)
            }),
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
    fn record_loss(
        &self,
        plan: &mut Plan,
        logits: View,
        labels: View,
        counts: bool,
        place: &mut dyn FnMut(&str, usize) -> View,
    ) -> View {
        let rows = labels.len;
        let [losses, hits, grad] =
            [("losses", rows), ("hits", rows), ("gradient of logits", logits.len)].map(|(name, len)| place(name, len));
        let scale = 1.0 / rows as f64;
        plan.push(Op::Loss(Loss::CrossEntropy { logits, labels, losses, hits, grad, scale }));
        for (offset, (terms, mean)) in [losses, hits].into_iter().zip(self.means).enumerate().filter(|_| counts) {
            plan.operate(Tally { terms, sum: View { buffer: self.tally, offset, len: 1 }, mean });
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
        let batch = Batch { rows: batch.rows.min(train.rows()), ..batch };
        let (lanes, arena) = (recipe.lanes(), network.arena()?);
        let mut blueprint = Blueprint::new(lanes);
        let params = blueprint.arena("params", &arena, Role::Params);
        let grads = blueprint.arena("grads", &arena, Role::Grads);
        let stepper = recipe.record(&mut blueprint, &arena, params, grads)?;

        let mut feed = Feed::declare(&mut blueprint, "training", train, batch.rows, batch.steps(train.rows()));
        // Where samples look for the loss.
        feed.means[0].buffer = stepper.loss_buffer();
        let picked = feed.declare_batch(blueprint.layout_mut(), train.width);
        let scale =
            recipe.scales_loss().then(|| View { buffer: stepper.scalars(), offset: Scalar::LossScale as usize, len: 1 });
        let (step, mut between) = (Step { network, params, grads, feed: &feed, picked, scale }, Between::default());
        let mut gradients = |blueprint: &mut Blueprint, name: &str, rows| {
            let mut add = |name: &str, again| {
                let (mut plan, layout) = (Plan::default(), blueprint.layout_mut());
                step.record(&mut plan, rows, again, &mut between.places(layout))?;
                blueprint.add(name, plan)
            };
            let pick = add(name, false)?;
            let again = stepper.ascend_plan().map(|_| add(&format!("{name} again"), true)).transpose()?;
            Ok::<Gradient, Error>(Gradient { pick, again })
        };
        let whole = gradients(&mut blueprint, "gradient", batch.rows)?;
        let last = batch.rest(train.rows()).map(|rows| gradients(&mut blueprint, "gradient of the last batch", rows));
        let last = last.transpose()?;

        let evaluated = stepper.averages().then(|| blueprint.arena("evaluated params", &arena, Role::Scratch));
        let rows = EVALUATION_ROWS.min(test.rows());
        let mut look = Plan::default();
        let test_feed = Feed::declare(&mut blueprint, "test", test, rows, test.rows().div_ceil(rows));
        let picked = test_feed.declare_batch(blueprint.layout_mut(), test.width);
        let (mut between, at) = (Between::default(), evaluated.unwrap_or(params));
        let evaluation = Step { network, params: at, grads, feed: &test_feed, picked, scale: None };
        evaluation.record_loss(&mut look, rows, false, &mut between.places(blueprint.layout_mut()))?;
        let plans = Plans { whole, last, evaluate: blueprint.add("evaluate", look)? };

        let mut optimizer = Optimizer::load(engine, &blueprint, stepper)?;
        let program = optimizer.program_mut();
        feed.upload(program, train)?;
        test_feed.upload(program, test)?;
        test_feed.write_order(program, 0..test.rows() as u32)?;
        let initial: Vec<P::Float> = network.initial(seed)?.into_iter().map(P::Float::of).collect();
        (0..lanes).try_for_each(|lane| program.write(params, lane, 0, &initial))?;
        let random = fastrand::Rng::with_seed(seed);
        Ok(Self { optimizer, plans, lanes, evaluated, train: feed, test: test_feed, random, steps: 0, micro: 1 })
    }

    /// Makes each step out of so many batches, whose gradients are accumulated; the last step of an epoch takes what is left. Where the
    /// recipe takes the mean, it is over batches, a smaller last one among them. Default 1.
    ///
    /// # Errors
    /// A recipe that does not accumulate (see [`Recipe::accumulate`]), or none.
    pub fn micro_batches(&mut self, batches: usize) -> Result<()> {
        range::require(batches >= 1, "micro_batches", batches, "at least 1")?;
        let accumulates = self.optimizer.stepper().accumulate_plan().is_some();
        range::require(accumulates || batches == 1, "micro_batches", batches, "1 where the recipe does not accumulate")?;
        let fits = !accumulates || self.optimizer.stepper().accumulate_plan_of(batches - 1).is_some();
        range::require(fits, "micro_batches", batches, "as many as the recipe's tree of sums has, or fewer")?;
        self.micro = batches;
        Ok(())
    }

    /// The optimizer, with all that a recipe can do: samples, averages, freezing, state. Its program has the trainer's plans as well.
    pub fn optimizer(&self) -> &Optimizer<P> {
        &self.optimizer
    }

    /// The optimizer, to be changed. Steps belong to [`Trainer::epoch`].
    ///
    /// # Examples
    ///
    /// The loss of each step, from samples that nothing waits for:
    ///
    /// ```
    /// use thalweg::{Recipe, Sgd, Trainer, cpu::Cpu, data::Dataset, nn::Network, plan::Activation};
    ///
    /// let data = Dataset::new(vec![0.0, 0.5, 1.0, 1.5], 1, vec![0, 0, 1, 1])?;
    /// let network = Network::perceptron(1, &[4], 2, Activation::Relu)?;
    /// let recipe = Recipe::new(Sgd { lr: 0.1, ..Default::default() });
    /// let mut trainer = Trainer::new(&Cpu::<f32>::default(), &network, recipe, &data, &data, 2, 1)?;
    /// trainer.optimizer_mut().watch_loss();
    /// trainer.optimizer_mut().telemetry_every(1);
    /// let mean = trainer.whole_epoch()?[0].loss;
    /// let losses: Vec<f64> = trainer.optimizer_mut().poll()?.iter().filter_map(|sample| sample.loss).collect();
    /// assert!((mean - (losses[0] + losses[1]) / 2.0).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn optimizer_mut(&mut self) -> &mut Optimizer<P> {
        &mut self.optimizer
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train.batches.div_ceil(self.micro)
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
    pub fn epoch(&mut self, progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        self.epoch_by(1, progress)
    }

    /// [`Trainer::epoch`] that nobody looks into: as many steps go into one submission as is good for the device.
    ///
    /// # Errors
    /// As for [`Trainer::epoch`]; [`Error::Partly`] says how many steps were made before.
    pub fn whole_epoch(&mut self) -> Result<Vec<Metrics>> {
        self.epoch_by(usize::MAX, |_| ControlFlow::Continue(()))
    }

    /// [`Trainer::epoch`] where `progress` hears of every so many steps, and of the end; those in between go into one submission as far
    /// as is good for the device. The bits are the same.
    ///
    /// # Errors
    /// As for [`Trainer::whole_epoch`]; `every` of 0.
    pub fn epoch_by(&mut self, every: usize, mut progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        range::require(every >= 1, "steps between two looks", every, "at least 1")?;
        let mut order: Vec<u32> = (0..self.train.rows as u32).collect();
        self.random.shuffle(&mut order);
        self.train.write_order(self.optimizer.program_mut(), order)?;
        self.train.reset(self.optimizer.program_mut(), self.lanes)?;
        let (steps, batches) = (self.steps_per_epoch(), self.train.batches);
        let common = self.sequence(0..self.micro.min(batches));
        let end = self.sequence(steps.saturating_sub(1) * self.micro..batches);
        let mut done = 0;
        while done < steps {
            let until = every - done % every;
            // The last step may be another.
            let alike = steps - done - usize::from(end != common);
            let (plans, now) = if alike > 0 { (&common, until.min(alike)) } else { (&end, 1) };
            self.optimizer.run(plans, now)?;
            done += now;
            self.steps += now;
            let looks = done.is_multiple_of(every) || done == steps;
            if looks && progress(done).is_break() {
                break;
            }
        }
        let rows = self.train.taken.min(done * self.micro * self.train.batch);
        self.train.metrics(self.optimizer.program_mut(), self.lanes, rows)
    }

    /// The plans of a step over these batches of an epoch.
    fn sequence(&self, batches: Range<usize>) -> Vec<PlanId> {
        let (stepper, mut plans) = (self.optimizer.stepper(), Vec::new());
        for (number, batch) in batches.enumerate() {
            let whole = (batch + 1) * self.train.batch <= self.train.taken;
            let gradient = self.plans.last.filter(|_| !whole).unwrap_or(self.plans.whole);
            plans.push(gradient.pick);
            plans.extend(stepper.accumulate_plan_of(number));
            plans.extend(stepper.ascend_plan());
            plans.extend(gradient.again);
        }
        plans.push(stepper.step_plan());
        plans
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

/// What a step over a batch is recorded of.
struct Step<'a> {
    network: &'a Network,
    params: BufferId,
    grads: BufferId,
    feed: &'a Feed,
    /// Where the batch's features and labels are.
    picked: (BufferId, BufferId),
    /// The loss scale, where the recipe has one.
    scale: Option<View>,
}

/// Where a recording finds buffers between its operations, by name and length.
type Place<'a> = dyn FnMut(&str, usize) -> View + 'a;

impl Step<'_> {
    /// Records the picking of a batch, of which the first `rows` rows go through the network, and their loss; or the loss of the batch
    /// that was picked once more, which is not counted. Returns what the forward pass leaves and the gradient by the logits.
    fn record_loss(&self, plan: &mut Plan, rows: usize, again: bool, place: &mut Place) -> Result<(Pass, View)> {
        let (width, picked) = (self.network.inputs(), self.picked);
        if !again {
            self.feed.record(plan, picked, width);
        }
        let [features, labels] =
            [(picked.0, rows * width), (picked.1, rows)].map(|(buffer, len)| View { buffer, offset: 0, len });
        let pass = self.network.forward_into(plan, self.params, features, rows, place)?;
        let grad = self.feed.record_loss(plan, pass.output(), labels, !again, place);
        Ok((pass, grad))
    }

    /// Records [`Step::record_loss`] and the gradient by the parameters, of the loss times its scale.
    fn record(&self, plan: &mut Plan, rows: usize, again: bool, place: &mut Place) -> Result<()> {
        let (pass, mut grad) = self.record_loss(plan, rows, again, place)?;
        if let Some(scale) = self.scale {
            let scaled = place("scaled gradient of logits", grad.len);
            let times = Map::new(&[grad.len]).input(grad, &[1]).input(scale, &[0]);
            plan.operate(times.output(scaled, Expr::input(0) * Expr::input(1)));
            grad = scaled;
        }
        self.network.backward_into(plan, self.params, self.grads, &pass, grad, place)
    }
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
