//! A rule, its settings per lane and group, and clipping, over the tensors of an arena, on either engine.
//!
//! [`Recipe`] says what to do; [`Recipe::record`] turns it into operations of a plan; the [`Stepper`] that comes back keeps the
//! device supplied with hyper rows. [`Optimizer`] is all three around parameters and gradients of its own.

#[cfg(feature = "gpu")]
mod borrowed_buffers;
#[cfg(feature = "cpu")]
mod borrowed_memory;
mod changes;
mod check;
mod counters;
mod domain;
mod eval;
#[cfg(feature = "serde")]
mod file;
#[cfg(feature = "checkpoint")]
mod fitting;
mod follower;
#[cfg(feature = "checkpoint")]
mod fresh;
mod group;
mod hyper_rows;
mod join;
mod kernels;
mod lane;
mod modifier;
mod part;
mod pieces;
mod planes;
mod recipe;
mod record;
mod recorded;
mod recorder;
mod report;
mod restore;
mod rows;
#[cfg(feature = "checkpoint")]
mod saved;
mod schedules;
mod settle;
mod side;
mod snapshot;
mod state;
mod stepper;
mod sums;
mod telemetry;
#[cfg(feature = "checkpoint")]
mod torch;
mod view;
mod watch;
#[cfg(feature = "checkpoint")]
mod weights;

#[cfg(feature = "checkpoint")]
pub(crate) use fitting::{Fitting, Found, parts_of};
pub use group::{Rules, Select};
pub use lane::Lane;
pub use modifier::{Accumulation, Average, Clip, Lookahead, SumOrder};
pub use recipe::Recipe;
pub use report::{Report, SetNorm, TensorReport};
#[cfg(feature = "checkpoint")]
pub(crate) use saved::RULES;
pub use schedules::Schedules;
#[cfg(feature = "checkpoint")]
pub(crate) use state::Expected;
pub use state::{State, StateArray, StateValues};
pub use stepper::Stepper;
pub use telemetry::Telemetry;
pub(crate) use view::StateView;
#[cfg(feature = "checkpoint")]
pub(crate) use view::{ArrayView, StateKind, ValuesView};

use crate::error::Result;
use crate::plan::{Arena, Blueprint, BufferId, Engine, Layout, PlanId, Program, Role};

/// An optimizer on an engine. Parameters and gradients lie in an arena of its own ([`Optimizer::new`]), in buffers of the
/// caller (`Optimizer::borrowing`), or for each step in slices of the caller's memory (`Optimizer::step_over`).
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
    /// ascent before a step that needs one, so that `count` cannot be more than 1. [`Error::Partly`](crate::Error::Partly) says
    /// how many steps are made, if some are.
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

    /// Forgets the micro-batches since the last step, for another try of a step: [`Stepper::drop_sum`].
    ///
    /// # Errors
    /// As for [`Stepper::drop_sum`].
    pub fn drop_sum(&mut self) -> Result<()> {
        self.stepper.drop_sum(&mut self.program)
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

    /// The buffer of the copy in 16 bits, laid out as the arena, for access through [`Optimizer::program`]. Over slices of the
    /// caller it is filled by the first step, even if that is skipped.
    ///
    /// # Errors
    /// A recipe without a copy.
    pub fn half_buffer(&self) -> Result<BufferId> {
        self.stepper.half_buffer()
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
        self.stepper.restore_but(&mut self.program, state, &[], others)
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
    /// A lost device, or [`Error::Timeout`](crate::Error::Timeout).
    pub fn flush(&mut self) -> Result<()> {
        self.stepper.flush(&mut self.program)
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

// Here, since documentation has what a type does in the order of the source: first the calls, then their twins.
mod only_lane;

mod all_lanes;

#[cfg(feature = "gpu")]
mod asynchronous;
