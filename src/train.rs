//! Training a network on a data set: the whole step (batch, forward, loss, backward, optimizer) is one plan.

use crate::data::Dataset;
use crate::error::{Error, Result, range};
use crate::nn::Network;
use crate::optimizer::{Recipe, Report, Stepper};
use crate::plan::{Arena, BufferId, Engine, Gather, Layout, Loss, NONE, Op, Plan, Program, View};
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

/// Trains a classifier, in one lane or many.
///
/// Every epoch shuffles the training rows and takes as many whole batches as there are; the rest of the rows wait for the next
/// shuffle. All lanes see the same batches and start from the same weights.
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
    program: P,
    stepper: Stepper,
    lanes: usize,
    arena: Arena,
    params: BufferId,
    /// Parameters to evaluate with, where they are others than those at which gradients are taken.
    evaluated: Option<BufferId>,
    train: Feed,
    test: Feed,
    random: fastrand::Rng,
    steps: usize,
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
}

impl Feed {
    fn declare(layout: &mut Layout, what: &str, data: &Dataset, batch: usize, batches: usize) -> Self {
        Self {
            features: layout.shared_floats(&format!("{what} features"), data.features.len()),
            labels: layout.shared_indices(&format!("{what} labels"), data.rows()),
            order: layout.shared_indices(&format!("{what} order"), batch * batches),
            clock: layout.shared_indices(&format!("{what} clock"), 1),
            tally: layout.floats(&format!("{what} tally"), 2),
            rows: data.rows(),
            batch,
            batches,
        }
    }

    /// Records the picking of a batch; returns its features and labels.
    fn record(&self, layout: &mut Layout, plan: &mut Plan, width: usize) -> (View, View) {
        let features = layout.shared_floats("batch features", self.batch * width);
        let labels = layout.shared_indices("batch labels", self.batch);
        let &Self { order, clock, batch: rows, batches, .. } = self;
        plan.push(Op::Gather(Gather { table: self.features, order, clock, out: features, width, rows, batches }));
        plan.push(Op::Gather(Gather { table: self.labels, order, clock, out: labels, width: 1, rows, batches }));
        (layout.whole(features), layout.whole(labels))
    }

    /// Records the loss of a batch and the sums over it; returns the gradient by the logits.
    fn record_loss(&self, layout: &mut Layout, plan: &mut Plan, logits: View, labels: View) -> View {
        let [losses, hits, grad] = [("losses", self.batch), ("hits", self.batch), ("gradient of logits", logits.len)]
            .map(|(name, len)| layout.floats(name, len))
            .map(|id| layout.whole(id));
        let scale = 1.0 / self.batch as f64;
        plan.push(Op::Loss(Loss::CrossEntropy { logits, labels, losses, hits, grad, scale }));
        for (offset, input) in [losses, hits].into_iter().enumerate() {
            plan.push(Op::Tally { input, output: View { buffer: self.tally, offset, len: 1 } });
        }
        grad
    }

    fn upload<P: Program>(&self, program: &mut P, data: &Dataset) -> Result<()> {
        let features: Vec<P::Float> = data.features.iter().map(|&x| P::Float::of(x.into())).collect();
        program.write(self.features, 0, 0, &features)?;
        program.write_indices(self.labels, 0, 0, &data.labels)
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
    /// Records and loads everything: data, network, and the recipe's step. A batch larger than the data is all of the data.
    ///
    /// # Errors
    /// Data that do not fit the network, a batch of 0, settings out of their range, or what the engine refuses.
    pub fn new<E: Engine<Program = P>>(
        engine: &E,
        network: &Network,
        recipe: Recipe,
        train: &Dataset,
        test: &Dataset,
        batch: usize,
        seed: u64,
    ) -> Result<Self> {
        check(network, train, test, batch)?;
        range::require(!recipe.scales_loss(), "loss_scale", "given", "not in a trainer, whose loss has no scale")?;
        let (lanes, arena) = (recipe.lanes(), network.arena()?);
        let mut layout = Layout::new(lanes);
        let (params, grads) = (layout.arena("params", &arena), layout.arena("grads", &arena));

        let batch = batch.min(train.rows());
        let mut step = Plan::default();
        let feed = Feed::declare(&mut layout, "training", train, batch, train.rows() / batch);
        let (features, labels) = feed.record(&mut layout, &mut step, train.width);
        let pass = network.forward(&mut layout, &mut step, params, features, batch)?;
        let grad = feed.record_loss(&mut layout, &mut step, pass.output(), labels);
        network.backward(&mut layout, &mut step, params, grads, &pass, grad)?;
        let mut stepper = recipe.record(&mut layout, &mut step, &arena, params, grads)?;
        step.push(Op::Tick(feed.clock));

        let evaluated = stepper.averages().then(|| layout.arena("evaluated params", &arena));
        let rows = EVALUATION_ROWS.min(test.rows());
        let mut look = Plan::default();
        let test_feed = Feed::declare(&mut layout, "test", test, rows, test.rows().div_ceil(rows));
        let (features, labels) = test_feed.record(&mut layout, &mut look, test.width);
        let pass = network.forward(&mut layout, &mut look, evaluated.unwrap_or(params), features, rows)?;
        test_feed.record_loss(&mut layout, &mut look, pass.output(), labels);
        look.push(Op::Tick(test_feed.clock));

        let mut program = engine.load(&layout, &[step, look])?;
        stepper.start(&mut program)?;
        feed.upload(&mut program, train)?;
        test_feed.upload(&mut program, test)?;
        let slots = (test_feed.batch * test_feed.batches) as u32;
        let order: Vec<u32> = (0..slots).map(|i| if (i as usize) < test.rows() { i } else { NONE }).collect();
        program.write_indices(test_feed.order, 0, 0, &order)?;
        let initial: Vec<P::Float> = network.initial(seed)?.into_iter().map(P::Float::of).collect();
        (0..lanes).try_for_each(|lane| program.write(params, lane, 0, &initial))?;
        let random = fastrand::Rng::with_seed(seed);
        Ok(Self { program, stepper, lanes, arena, params, evaluated, train: feed, test: test_feed, random, steps: 0 })
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
        order.truncate(self.train.batch * self.train.batches);
        self.program.write_indices(self.train.order, 0, 0, &order)?;
        self.train.reset(&mut self.program, self.lanes)?;
        let mut done = 0;
        while done < self.train.batches {
            self.stepper.run(&mut self.program, 0, 1)?;
            done += 1;
            if progress(done).is_break() {
                break;
            }
        }
        self.steps += done;
        self.train.metrics(&mut self.program, self.lanes, done * self.train.batch)
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
                self.program.write(evaluated, lane, 0, &params)?;
            }
        }
        self.test.reset(&mut self.program, self.lanes)?;
        self.program.run(1, self.test.batches)?;
        self.test.metrics(&mut self.program, self.lanes, self.test.rows)
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
    /// let mut plateau = ReduceLrOnPlateau { lr: 0.1, patience: 3, ..Default::default() }.start()?;
    /// for _ in 0..100 {
    ///     trainer.epoch(|_| ControlFlow::Continue(()))?;
    ///     let lr = plateau.step(trainer.evaluate()?[0].loss);
    ///     trainer.set(0, 0, "lr", lr)?;
    /// }
    /// assert!(plateau.lr() < 0.1);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set(&mut self, lane: usize, group: usize, setting: &str, value: f64) -> Result<()> {
        self.stepper.set(lane, group, setting, value)
    }

    /// A lane's parameters, at which gradients are taken, laid out as the network's arena.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn params(&mut self, lane: usize) -> Result<Vec<P::Float>> {
        self.program.read(self.params, lane)
    }

    /// A lane's parameters to evaluate with, laid out as the network's arena.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn eval_params(&mut self, lane: usize) -> Result<Vec<P::Float>> {
        let mut params = self.params(lane)?;
        self.stepper.eval(&mut self.program, lane, self.arena.tensors(), &mut params)?;
        Ok(params)
    }

    /// A lane's counters, norm and clip coefficient after the last step.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn report(&mut self, lane: usize) -> Result<Report> {
        self.stepper.report(&mut self.program, lane)
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
