//! A rule, its settings per lane and group, and clipping, over the tensors of an arena, on either engine.
//!
//! [`Recipe`] says what to do; [`Recipe::record`] turns it into operations of a plan; the [`Stepper`] that comes back keeps the
//! device supplied with hyper rows. [`Optimizer`] is all three around parameters and gradients of its own.

#[cfg(feature = "gpu")]
mod borrowed_buffers;
#[cfg(feature = "cpu")]
mod borrowed_memory;
mod check;
mod domain;
#[cfg(feature = "serde")]
mod file;
mod group;
mod hyper_rows;
mod join;
mod kernels;
mod lane;
mod modifier;
mod part;
mod planes;
mod recipe;
mod record;
mod report;
#[cfg(feature = "checkpoint")]
mod saved;
mod settle;
mod side;
mod state;
mod stepper;
mod sums;
mod telemetry;
#[cfg(feature = "checkpoint")]
mod torch;
mod view;
#[cfg(feature = "checkpoint")]
mod weights;

pub use group::{Rules, Select};
pub use lane::Lane;
pub use modifier::{Accumulation, Average, Clip, Lookahead, SumOrder};
pub use recipe::{Recipe, Schedules};
pub use report::{Report, SetNorm, TensorReport};
#[cfg(feature = "checkpoint")]
pub(crate) use saved::{Fitting, Found, RULES, parts_of};
#[cfg(feature = "checkpoint")]
pub(crate) use state::Expected;
pub use state::{State, StateArray, StateValues};
pub use stepper::Stepper;
pub use telemetry::Telemetry;
pub(crate) use view::StateView;
#[cfg(feature = "checkpoint")]
pub(crate) use view::{ArrayView, StateKind, ValuesView};

use crate::error::{Error, Result};
use crate::plan::{Arena, Blueprint, BufferId, Engine, Layout, PlanId, Program, Role, Values};
use crate::rule::{AnyRule, Real};
use stepper::Buffers;

/// An optimizer on an engine. Parameters and gradients lie in an arena of its own ([`Optimizer::new`]), in buffers of the caller
/// (`Optimizer::borrowing`), or for each step in slices of the caller's memory (`Optimizer::step_over`).
///
/// # Examples
///
/// Descend on (w − 3)², whose gradient is 2·(w − 3):
///
/// ```
/// use thalweg::{Adam, Optimizer, Recipe, cpu::Cpu};
///
/// let recipe = Recipe::new(Adam { lr: 0.1, ..Default::default() }).clip_norm(1.0);
/// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[1])])?;
/// for _ in 0..300 {
///     let w = optimizer.params("w")?;
///     optimizer.set_grads("w", &[2.0 * (w[0] - 3.0)])?;
///     optimizer.step()?;
/// }
/// assert!((optimizer.params("w")?[0] - 3.0).abs() < 1e-2);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Optimizer<P> {
    stepper: Stepper,
    program: P,
}

/// Elements beyond which memory is asked for before lists of an arena's parts are made.
const MANY: usize = 1 << 27;

/// Records a recipe with parameters and gradients of its own.
fn recorded(recipe: &Recipe, arena: &Arena) -> Result<(Blueprint, Stepper)> {
    let mut blueprint = Blueprint::new(recipe.lanes());
    let params = blueprint.arena("params", arena, Role::Params);
    let grads = blueprint.arena("grads", arena, Role::Grads);
    let stepper = recipe.record(&mut blueprint, arena, params, grads)?;
    Ok((blueprint, stepper))
}

impl<P: Program> Optimizer<P> {
    /// An optimizer for tensors given by name and shape; parameters and gradients start at 0.
    ///
    /// # Errors
    /// A setting out of its range, no tensors, a name given twice, or what the engine refuses.
    pub fn new<E: Engine<Program = P>>(engine: &E, recipe: Recipe, tensors: &[(&str, &[usize])]) -> Result<Self> {
        let mut arena = Arena::default();
        for (name, shape) in tensors {
            arena.add(name, shape)?;
        }
        Self::over(engine, recipe, arena)
    }

    /// An optimizer for the tensors of an arena.
    ///
    /// # Errors
    /// As for [`Optimizer::new`].
    pub fn over<E: Engine<Program = P>>(engine: &E, recipe: Recipe, arena: Arena) -> Result<Self> {
        if arena.len() > MANY {
            // Whether one lane fits; how many do is known when all of it is recorded.
            let mut layout = Layout::new(1);
            for name in ["params", "grads"] {
                layout.floats(name, arena.len());
            }
            engine.check_room(&layout)?;
        }
        let (blueprint, stepper) = recorded(&recipe, &arena)?;
        Self::load(engine, &blueprint, stepper)
    }

    /// An optimizer over a blueprint into which its recipe was recorded ([`Recipe::record`]), and which may have further plans:
    /// [`Optimizer::run`] runs them.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn load<E: Engine<Program = P>>(engine: &E, blueprint: &Blueprint, stepper: Stepper) -> Result<Self> {
        Self::start(engine.load(blueprint)?, stepper)
    }

    fn start(mut program: P, mut stepper: Stepper) -> Result<Self> {
        stepper.start(&mut program)?;
        Ok(Self { stepper, program })
    }

    /// One step of all lanes, from the gradients as they are now. Does not wait for the device.
    ///
    /// # Errors
    /// As for [`Optimizer::steps`].
    pub fn step(&mut self) -> Result<()> {
        self.steps(1)
    }

    /// `count` steps with the same gradients.
    ///
    /// # Errors
    /// A lost device; a setting that its schedule takes out of its range in a step that may be the next; no micro-batch or no
    /// ascent before a step that needs one, so that `count` cannot be more than 1. [`Error::Partly`] says how many steps are
    /// made, if some are.
    pub fn steps(&mut self, count: usize) -> Result<()> {
        self.stepper.steps(&mut self.program, count)
    }

    /// Runs plans of the blueprint one after the other, the last of which is a step, and repeats the sequence `count` times:
    /// [`Stepper::run`].
    ///
    /// # Errors
    /// As for [`Stepper::run`].
    pub fn run(&mut self, plans: &[PlanId], count: usize) -> Result<()> {
        self.stepper.run(&mut self.program, plans, count)
    }

    /// Adds the gradients as they are now to the sum that the next step uses; see [`Recipe::accumulate`].
    ///
    /// # Errors
    /// A recipe that does not accumulate, more micro-batches than the recipe's tree has, or a lost device.
    pub fn accumulate(&mut self) -> Result<()> {
        self.stepper.accumulate(&mut self.program)
    }

    /// Takes out the sum of the micro-batches since the last step, for a machine that joins it with others:
    /// [`Stepper::take_sum`].
    ///
    /// # Errors
    /// As for [`Stepper::take_sum`].
    pub fn take_sum(&mut self, sums: &mut [Vec<P::Float>]) -> Result<Vec<u32>> {
        self.stepper.take_sum(&mut self.program, sums)
    }

    /// The stepper and its program, for calls of [`Stepper`] that want both.
    pub fn stepper_and_program(&mut self) -> (&mut Stepper, &mut P) {
        (&mut self.stepper, &mut self.program)
    }

    /// Puts in the sum of a step's micro-batches, made elsewhere: [`Stepper::put_sum`].
    ///
    /// # Errors
    /// As for [`Stepper::put_sum`].
    pub fn put_sum(&mut self, sums: &[Vec<P::Float>], counts: &[u32]) -> Result<()> {
        self.stepper.put_sum(&mut self.program, sums, counts)
    }

    /// Moves the parameters up the gradient; the next step wants the gradient from there. See [`Recipe::sam`].
    ///
    /// The step then starts from the parameters as they were before the ascent. [`Optimizer::set_params`] in between replaces
    /// these as well; what the host itself writes into the buffer of parameters in between is lost with the step.
    ///
    /// # Errors
    /// A recipe that does not ascend, a second ascent before the step, or a lost device.
    pub fn ascend(&mut self) -> Result<()> {
        self.stepper.ascend(&mut self.program)
    }

    /// A step that also finds how far each tensor moves; see [`Recipe::inspect`]. Its bits are those of [`Optimizer::step`].
    ///
    /// # Errors
    /// A recipe that does not inspect, or as for [`Optimizer::steps`].
    pub fn step_inspected(&mut self) -> Result<()> {
        self.stepper.step_inspected(&mut self.program)
    }

    /// What the last step found of each tensor, in the order in which they were given. Waits for the device.
    ///
    /// # Errors
    /// A recipe that does not inspect, a population ([`Optimizer::lane`]), or a lost device.
    pub fn inspection(&mut self) -> Result<Vec<TensorReport>> {
        self.only("inspection")?.inspection()
    }

    /// The average of the parameters; the parameters themselves before the first step that counts. See [`Recipe::average`].
    ///
    /// # Errors
    /// A recipe without an average, [`Error::Unknown`], a population ([`Optimizer::lane`]), or a lost device.
    pub fn averaged(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.only("averaged")?.averaged(tensor)
    }

    /// The bits of the copy of the parameters in 16 bits. See [`Recipe::half_copy`].
    ///
    /// # Errors
    /// A recipe without a copy, [`Error::Unknown`], a population ([`Optimizer::lane`]), or a lost device.
    pub fn half(&mut self, tensor: &str) -> Result<Vec<u16>> {
        self.only("half")?.half(tensor)
    }

    /// The buffer of the copy in 16 bits, laid out as the arena, for access through [`Optimizer::program`]. Over slices of the
    /// caller it is filled by the first step, even if that is skipped.
    ///
    /// # Errors
    /// A recipe without a copy.
    pub fn half_buffer(&self) -> Result<BufferId> {
        self.stepper.half_buffer()
    }

    /// The parameters.
    ///
    /// # Errors
    /// [`Error::Unknown`], a population ([`Optimizer::lane`]), or a lost device.
    pub fn params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.only("params")?.params(tensor)
    }

    /// The parameters to evaluate with, by [`Rule::eval`](crate::Rule::eval): those of [`Optimizer::params`], unless the rule
    /// keeps others beside them, as [`ScheduleFree`](crate::ScheduleFree) does.
    ///
    /// # Errors
    /// As for [`Optimizer::params`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Optimizer, Recipe, ScheduleFree, cpu::Cpu};
    ///
    /// let recipe = Recipe::new(ScheduleFree { lr: 0.1, ..Default::default() });
    /// let mut optimizer = Optimizer::new(&Cpu::<f64>::default(), recipe, &[("w", &[1])])?;
    /// optimizer.set_grads("w", &[-1.0])?;
    /// optimizer.steps(2)?;
    /// // The average of 0.1 and 0.2; gradients are taken a little ahead of it.
    /// assert!((optimizer.eval_params("w")?[0] - 0.15).abs() < 1e-6);
    /// assert!((optimizer.params("w")?[0] - 0.155).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn eval_params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.only("eval_params")?.eval_params(tensor)
    }

    /// [`Optimizer::eval_params`] of all tensors, laid out as the arena.
    ///
    /// # Errors
    /// A population ([`Optimizer::lane`]), or a lost device.
    pub fn eval_arena(&mut self) -> Result<Vec<P::Float>> {
        self.only("eval_arena")?.eval_arena()
    }

    /// Sets the parameters, and what is kept beside them: the copy in 16 bits, slow weights, and an average into which no step
    /// has counted yet. Only with an average it may wait for the device. Between an ascent and its step (see [`Recipe::sam`]),
    /// the step starts from the new parameters.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Shape`] if there are not as many values as the tensor has elements, a population
    /// ([`Optimizer::lane`]), or a lost device.
    pub fn set_params(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.only("set_params")?.set_params(tensor, values)
    }

    /// Sets the gradients.
    ///
    /// # Errors
    /// As for [`Optimizer::set_params`].
    pub fn set_grads(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.only("set_grads")?.set_grads(tensor, values)
    }

    /// A plane of the state, by the name it has in the rule. Where a rule keeps matrices by rows and columns, as
    /// [`Adafactor`](crate::Adafactor) does, these are `row_var` and `col_var`, empty for vectors.
    ///
    /// # Errors
    /// As for [`Optimizer::params`].
    pub fn state(&mut self, tensor: &str, plane: &str) -> Result<Vec<P::Float>> {
        self.only("state")?.state(tensor, plane)
    }

    /// Sets a plane of the state, by the name it has in the rule. Where a rule keeps matrices by rows and columns these are
    /// `row_var` and `col_var`, or `v` for vectors.
    ///
    /// # Errors
    /// As for [`Optimizer::set_params`]; an unknown plane.
    pub fn set_state(&mut self, tensor: &str, plane: &str, values: &[P::Float]) -> Result<()> {
        self.only("set_state")?.set_state(tensor, plane, values)
    }

    /// Slow weights: see [`Recipe::lookahead`].
    ///
    /// # Errors
    /// A recipe without a lookahead, [`Error::Unknown`], a population ([`Optimizer::lane`]), or a lost device.
    pub fn slow(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.only("slow")?.slow(tensor)
    }

    /// Sets the slow weights. The first step starts from slow weights that are the parameters, whatever they are set to:
    /// [`Optimizer::set_applied`] tells that there were others.
    ///
    /// # Errors
    /// As for [`Optimizer::slow`] and [`Optimizer::set_params`].
    pub fn set_slow(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.only("set_slow")?.set_slow(tensor, values)
    }

    /// Sets the average of the parameters. Before a step has counted, the next one makes the average anew from the parameters:
    /// [`Optimizer::set_applied`] tells how far it is.
    ///
    /// # Errors
    /// As for [`Optimizer::averaged`] and [`Optimizer::set_params`].
    pub fn set_averaged(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.only("set_averaged")?.set_averaged(tensor, values)
    }

    /// Goes on as if a group had applied this many steps: [`Stepper::set_applied`].
    ///
    /// # Errors
    /// As for [`Stepper::set_applied`].
    ///
    /// # Examples
    ///
    /// Adam's first step with state from elsewhere:
    ///
    /// ```
    /// use thalweg::{Adam, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let new = || Optimizer::new(&Cpu::<f64>::default(), Recipe::new(Adam::default()), &[("w", &[1])]);
    /// let (mut old, mut new) = (new()?, new()?);
    /// old.set_grads("w", &[0.5])?;
    /// old.steps(7)?;
    /// new.set_params("w", &old.params("w")?)?;
    /// let state = old.state_dict()?;
    /// for plane in ["m", "v"] {
    ///     let thalweg::StateValues::Floats(values) = &state.get(&format!("state.w.{plane}")).unwrap().values else { panic!() };
    ///     new.set_state("w", plane, &values[0])?;
    /// }
    /// new.set_applied("default", 7)?;
    /// new.set_grads("w", &[0.5])?;
    /// (old.step()?, new.step()?);
    /// assert_eq!(old.params("w")?, new.params("w")?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set_applied(&mut self, group: &str, steps: u64) -> Result<()> {
        self.only("set_applied")?.set_applied(group, steps)
    }

    /// Sets the loss scale, finite and above 0.
    ///
    /// # Errors
    /// A recipe without a loss scale, a value out of its range, a population ([`Optimizer::lane`]), or a lost device.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        self.only("set_loss_scale")?.set_loss_scale(scale)
    }

    /// All that the run has come to, of all lanes. Waits for the device, once.
    ///
    /// # Errors
    /// As for [`Stepper::snapshot`].
    pub fn state_dict(&mut self) -> Result<State<P::Float>> {
        self.stepper.snapshot(&mut self.program)
    }

    /// Takes a run up where [`Optimizer::state_dict`] was taken, here or in another optimizer of the same recipe and tensors,
    /// on an engine of the same float type: the steps that follow have the bits that they would have had there. Gradients are
    /// not set.
    ///
    /// # Errors
    /// As for [`Stepper::restore`].
    pub fn load_state_dict(&mut self, state: &State<P::Float>) -> Result<()> {
        self.stepper.restore(&mut self.program, state)
    }

    /// Gives a lane the rules of a recipe with the same groups.
    pub(crate) fn set_rules(&mut self, lane: usize, recipe: &Recipe) -> Result<()> {
        recipe.rules().try_for_each(|(_, group, rule)| self.stepper.set_rule(lane, &recipe.groups[group].name, rule.boxed()))
    }

    /// Runs a plan in which lanes take over others.
    pub(crate) fn copy_lanes(&mut self, plan: PlanId, pairs: &[(usize, usize)]) -> Result<()> {
        self.stepper.copy_lanes(&mut self.program, plan, pairs)
    }

    /// [`Optimizer::load_state_dict`] of a state that has others' arrays of these names beside the optimizer's.
    pub(crate) fn load_view(&mut self, state: &StateView<'_, P::Float>, others: &[String]) -> Result<()> {
        self.stepper.restore_but(&mut self.program, state, None, others)
    }

    /// The parameters of all lanes, each laid out as [`Optimizer::arena`]. Waits for the device, once.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn all_params(&mut self) -> Result<Vec<Vec<P::Float>>> {
        match self.program.read_all(&[self.stepper.buffers.params])?.pop() {
            Some(Values::Floats(lanes)) => Ok(lanes),
            _ => Ok(Vec::new()),
        }
    }

    /// [`Optimizer::eval_arena`] of all lanes. Waits for the device, once.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn all_eval_params(&mut self) -> Result<Vec<Vec<P::Float>>> {
        self.stepper.eval_all(&mut self.program)
    }

    /// Sets the parameters of all lanes, each laid out as [`Optimizer::arena`], with what is kept beside them, as
    /// [`Optimizer::set_params`] does; what lies between tensors is 0. Waits for the device at most once, and only where there
    /// is an average.
    ///
    /// # Errors
    /// Other lanes, arenas of another length, something between tensors, or a lost device.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
    ///
    /// let tensors: [(&str, &[usize]); 2] = [("w", &[2]), ("b", &[1])];
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Sgd::default()), &tensors)?;
    /// let mut all = optimizer.all_params()?;
    /// let start = optimizer.arena().tensor("b")?.offset;
    /// all[0][start] = 7.0;
    /// optimizer.set_all_params(&all)?;
    /// assert_eq!(optimizer.params("b")?, [7.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set_all_params(&mut self, lanes: &[Vec<P::Float>]) -> Result<()> {
        self.check_all("parameters", lanes)?;
        let Buffers { params, before, slow, average, .. } = self.stepper.buffers;
        if average.is_some() {
            self.stepper.know(&mut self.program)?;
        }
        let half = self.stepper.recipe.half.zip(self.stepper.buffers.half);
        for (lane, values) in lanes.iter().enumerate() {
            for id in [Some(params), before, slow].into_iter().flatten() {
                self.program.write(id, lane, 0, values)?;
            }
            for tensor in average.iter().flat_map(|_| self.stepper.arena.tensors()) {
                // Nothing is under way, so this does not wait.
                if let (Some(average), true) = (average, self.stepper.average_is_copy(&mut self.program, lane, tensor)?) {
                    self.program.write(average, lane, tensor.offset, &values[tensor.offset..][..tensor.len()])?;
                }
            }
            if let Some((kind, id)) = half {
                self.program.write_halves(id, lane, 0, &planes::halves(kind, values))?;
            }
        }
        Ok(())
    }

    /// Sets the gradients of all lanes, each laid out as [`Optimizer::arena`]; what lies between tensors is 0. Does not wait.
    ///
    /// # Errors
    /// Other lanes, arenas of another length, something between tensors, or a lost device.
    pub fn set_all_grads(&mut self, lanes: &[Vec<P::Float>]) -> Result<()> {
        self.check_all("gradients", lanes)?;
        let grads = self.stepper.buffers.grads;
        lanes.iter().enumerate().try_for_each(|(lane, values)| self.program.write(grads, lane, 0, values))
    }

    /// Checks that there is an arena for each lane. What pads tensors has to stay 0, since updates run over it.
    fn check_all(&self, what: &str, lanes: &[Vec<P::Float>]) -> Result<()> {
        let (expected, len) = (self.stepper.recipe.lanes(), self.stepper.arena.len());
        if lanes.len() != expected {
            return Err(Error::shape(format!("lanes of {what}"), expected, lanes.len()));
        }
        let tensors = self.stepper.arena.tensors();
        for values in lanes {
            if values.len() != len {
                return Err(Error::shape(format!("a lane's {what}"), format!("{len} elements"), values.len()));
            }
            let ends = tensors.iter().skip(1).map(|next| next.offset).chain([len]);
            for (tensor, end) in tensors.iter().zip(ends) {
                if let Some(found) = values[tensor.offset + tensor.len()..end].iter().find(|&&x| x != P::Float::of(0.0)) {
                    return Err(Error::shape(format!("{what} behind tensor '{}'", tensor.name), "0", found));
                }
            }
        }
        Ok(())
    }

    /// The counters, norm and clip coefficient after the last step. Waits for the device.
    ///
    /// # Errors
    /// A population ([`Optimizer::lane`]), or a lost device.
    pub fn report(&mut self) -> Result<Report> {
        self.only("report")?.report()
    }

    /// Takes a sample of every lane every `steps` steps, which [`Optimizer::poll`] gives out some steps later; 0 for none, the
    /// default. A sample costs one small copy on the device and a submission: every step is affordable where steps are large.
    ///
    /// Samples that nobody polls (those older than the last 256), and those asked for while eight others are under way, are
    /// dropped; nothing ever waits for them. With steps that the host submits itself, a sample is of the last step that was
    /// submitted when the next one is recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
    ///
    /// let recipe = Recipe::new(Sgd::default()).clip_norm(1.0);
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("w", &[2])])?;
    /// optimizer.telemetry_every(10);
    /// optimizer.set_grads("w", &[3.0, 4.0])?;
    /// optimizer.steps(20)?;
    /// optimizer.flush()?;
    /// let samples = optimizer.poll()?;
    /// assert_eq!(samples.iter().map(|sample| sample.step).collect::<Vec<_>>(), [10, 20]);
    /// assert_eq!((samples[1].report.norm, samples[1].report.clipped), (5.0, 20));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn telemetry_every(&mut self, steps: u64) {
        self.stepper.telemetry_every(steps);
    }

    /// Lets samples carry each lane's loss, and returns the buffer of one float per lane that the host keeps it in: by
    /// [`Program::write`], or on a GPU by a copy into the program's [`buffers`](crate::gpu::GpuProgram::buffers).
    pub fn watch_loss(&mut self) -> BufferId {
        self.stepper.watch_loss(self.stepper.buffers.loss);
        self.stepper.buffers.loss
    }

    /// The samples that have arrived since the last call, the oldest first, a step's lanes in order. Never waits.
    ///
    /// # Errors
    /// A lost device, once everything that the host had by then is given out.
    pub fn poll(&mut self) -> Result<Vec<Telemetry>> {
        self.stepper.poll(&mut self.program)
    }

    /// Waits for every sample that is under way; [`Optimizer::poll`] gives them out.
    ///
    /// # Errors
    /// A lost device, or [`Error::Timeout`].
    pub fn flush(&mut self) -> Result<()> {
        self.stepper.flush(&mut self.program)
    }

    /// Changes a number among the settings of a group, from the next step on, without a new pipeline. It may also reach every
    /// step that is recorded into an encoder and not yet submitted: call it when all of them are submitted.
    ///
    /// # Errors
    /// [`Error::Unknown`], a value out of its range, one that makes another kernel (momentum where there was none), a setting
    /// that only the start of a run uses ([`Rule::INITIAL`](crate::Rule::INITIAL)), a population ([`Optimizer::lane`]), or a
    /// group that does not exist.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
    ///
    /// let recipe = Recipe::new(Sgd { lr: 1.0, ..Default::default() });
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[1])])?;
    /// optimizer.set_grads("x", &[1.0])?;
    /// optimizer.steps(2)?;
    /// optimizer.set("default", "lr", 0.25)?;
    /// optimizer.step()?;
    /// assert_eq!(optimizer.params("x")?, [-2.25]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set(&mut self, group: &str, setting: &str, value: f64) -> Result<()> {
        self.only("set")?.set(group, setting, value)
    }

    /// Gives a group all numbers of a rule, from the next step on, as [`Optimizer::set`] does for one. If one of them is
    /// refused, none is changed. Numbers that stay as they were are not checked, so a setting that a schedule sets may be among
    /// them.
    ///
    /// # Errors
    /// Another rule, or as for [`Optimizer::set`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let adamw = AdamW { lr: 1e-3, ..Default::default() };
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(adamw.clone()), &[("w", &[2])])?;
    /// optimizer.set_rule("default", AdamW { lr: 1e-4, weight_decay: 0.1, ..adamw })?;
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set_rule(&mut self, group: &str, rule: impl Into<Box<dyn AnyRule>>) -> Result<()> {
        self.only("set_rule")?.set_rule(group, rule)
    }

    /// Freezes or thaws a group, from the next step on. A frozen group does not move: no decay, no moments, no count of
    /// steps; its gradient is no part of the norm. While all groups are frozen, steps count as frozen in
    /// [`Optimizer::report`].
    ///
    /// As [`Optimizer::set`], it also reaches every step that is recorded into an encoder and not yet submitted: whether a
    /// group is frozen is looked up on the device when the step runs. Call it when all recorded steps are submitted.
    ///
    /// # Errors
    /// A population ([`Optimizer::lane`]), or a group that does not exist; a lost device. Also a group to be thawed whose
    /// settings a schedule has taken out of their range in a step that is recorded and not yet submitted: it stays frozen.
    pub fn freeze(&mut self, group: &str, frozen: bool) -> Result<()> {
        self.only("freeze")?.freeze(group, frozen)
    }

    /// What supplies the program with hyper rows; it names the plans.
    pub fn stepper(&self) -> &Stepper {
        &self.stepper
    }

    /// The tensors and their places.
    pub fn arena(&self) -> &Arena {
        &self.stepper.arena
    }

    /// The buffer of parameters, for access through [`Optimizer::program`].
    pub fn params_buffer(&self) -> BufferId {
        self.stepper.buffers.params
    }

    /// The buffer of gradients, for access through [`Optimizer::program`].
    pub fn grads_buffer(&self) -> BufferId {
        self.stepper.buffers.grads
    }

    /// The buffer of each lane's scalars, in the order of [`Scalar`](crate::plan::Scalar): a loss has to be multiplied by the
    /// loss scale among them where the recipe has one.
    pub fn scalars_buffer(&self) -> BufferId {
        self.stepper.scalars()
    }

    /// The program on the engine.
    pub fn program(&self) -> &P {
        &self.program
    }

    /// The program on the engine, to be changed.
    pub fn program_mut(&mut self) -> &mut P {
        &mut self.program
    }
}

// The last, since documentation has what a type does in the order of the source: first the calls, then their twins.
#[cfg(feature = "gpu")]
mod asynchronous;
