//! A rule, its settings per lane and group, and clipping, over the tensors of an arena, on either engine.
//!
//! [`Recipe`] says what to do; [`Recipe::record`] turns it into operations of a plan; the [`Stepper`] that comes back keeps the
//! device supplied with hyper rows. [`Optimizer`] is all three around parameters and gradients of its own.

mod recipe;
mod slices;
mod stepper;
mod telemetry;

pub use recipe::{Clip, Recipe};
pub use stepper::{Report, Stepper};
pub use telemetry::Telemetry;

use crate::error::{Error, Result};
use crate::plan::{Arena, BufferId, Engine, Layout, Plan, Program};

/// An optimizer that owns an arena of parameters and gradients on an engine.
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
///     let w = optimizer.params(0, "w")?;
///     optimizer.set_grads(0, "w", &[2.0 * (w[0] - 3.0)])?;
///     optimizer.step()?;
/// }
/// assert!((optimizer.params(0, "w")?[0] - 3.0).abs() < 1e-2);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Optimizer<P> {
    arena: Arena,
    params: BufferId,
    grads: BufferId,
    loss: BufferId,
    stepper: Stepper,
    program: P,
}

impl<P: Program> Optimizer<P> {
    /// An optimizer for tensors given by name and shape, all in one group; parameters and gradients start at 0.
    ///
    /// # Errors
    /// A setting out of its range, no tensors, a name given twice, or what the engine refuses.
    pub fn new<E: Engine<Program = P>>(engine: &E, recipe: Recipe, tensors: &[(&str, &[usize])]) -> Result<Self> {
        let mut arena = Arena::default();
        for (name, shape) in tensors {
            arena.add(name, shape, 0)?;
        }
        Self::over(engine, recipe, arena)
    }

    /// An optimizer for the tensors of an arena, with their groups.
    ///
    /// # Errors
    /// As for [`Optimizer::new`].
    pub fn over<E: Engine<Program = P>>(engine: &E, recipe: Recipe, arena: Arena) -> Result<Self> {
        if arena.tensors().is_empty() {
            return Err(Error::Empty { what: "the list of tensors".into() });
        }
        let mut layout = Layout::new(recipe.lanes());
        let (params, grads) = (layout.arena("params", &arena), layout.arena("grads", &arena));
        let loss = layout.floats("loss", 1);
        let mut plan = Plan::default();
        let mut stepper = recipe.record(&mut layout, &mut plan, &arena, params, grads)?;
        let mut program = engine.load(&layout, &[plan])?;
        stepper.start(&mut program)?;
        Ok(Self { arena, params, grads, loss, stepper, program })
    }

    /// One step of all lanes, from the gradients as they are now. Does not wait for the device.
    ///
    /// # Errors
    /// A lost device.
    pub fn step(&mut self) -> Result<()> {
        self.steps(1)
    }

    /// `count` steps with the same gradients.
    ///
    /// # Errors
    /// A lost device.
    pub fn steps(&mut self, count: usize) -> Result<()> {
        self.stepper.run(&mut self.program, 0, count)
    }

    /// A lane's parameters.
    ///
    /// # Errors
    /// [`Error::Unknown`], a lane that does not exist, or a lost device.
    pub fn params(&mut self, lane: usize, tensor: &str) -> Result<Vec<P::Float>> {
        self.read(self.params, lane, tensor)
    }

    /// Sets a lane's parameters.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Shape`] if there are not as many values as the tensor has elements, a lane that does not
    /// exist, or a lost device.
    pub fn set_params(&mut self, lane: usize, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.write(self.params, lane, tensor, values)
    }

    /// Sets a lane's gradients.
    ///
    /// # Errors
    /// As for [`Optimizer::set_params`].
    pub fn set_grads(&mut self, lane: usize, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.write(self.grads, lane, tensor, values)
    }

    /// A plane of a lane's state, by the name it has in the rule.
    ///
    /// # Errors
    /// As for [`Optimizer::params`].
    pub fn state(&mut self, plane: &str, lane: usize, tensor: &str) -> Result<Vec<P::Float>> {
        self.read(self.stepper.plane(plane)?, lane, tensor)
    }

    /// A lane's counters, norm and clip coefficient after the last step. Waits for the device.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn report(&mut self, lane: usize) -> Result<Report> {
        self.stepper.report(&mut self.program, lane)
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
    /// optimizer.set_grads(0, "w", &[3.0, 4.0])?;
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
        self.stepper.watch_loss(self.loss);
        self.loss
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

    /// Freezes or thaws a group of a lane, from the next step on. A frozen group does not move: no decay, no moments, no count of
    /// steps; its gradient is no part of the norm.
    ///
    /// # Errors
    /// A lane or a group that does not exist, or a lost device.
    pub fn freeze(&mut self, lane: usize, group: usize, frozen: bool) -> Result<()> {
        self.stepper.freeze(&mut self.program, lane, group, frozen)
    }

    /// The tensors and their places.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The buffer of parameters, for access through [`Optimizer::program`].
    pub fn params_buffer(&self) -> BufferId {
        self.params
    }

    /// The buffer of gradients, for access through [`Optimizer::program`].
    pub fn grads_buffer(&self) -> BufferId {
        self.grads
    }

    /// The program on the engine; its only plan is the step.
    pub fn program(&self) -> &P {
        &self.program
    }

    /// The program on the engine, to be changed.
    pub fn program_mut(&mut self) -> &mut P {
        &mut self.program
    }

    fn read(&mut self, buffer: BufferId, lane: usize, tensor: &str) -> Result<Vec<P::Float>> {
        let tensor = self.arena.tensor(tensor)?;
        let all = self.program.read(buffer, lane)?;
        Ok(all[tensor.offset..][..tensor.len()].to_vec())
    }

    fn write(&mut self, buffer: BufferId, lane: usize, tensor: &str, values: &[P::Float]) -> Result<()> {
        let tensor = self.arena.tensor(tensor)?;
        if values.len() != tensor.len() {
            let expected = format!("{} elements", tensor.len());
            return Err(Error::shape(format!("tensor '{}'", tensor.name), expected, values.len()));
        }
        self.program.write(buffer, lane, tensor.offset, values)
    }
}
