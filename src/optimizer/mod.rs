//! A rule, its settings per lane and group, and clipping, over the tensors of an arena, on either engine.
//!
//! [`Recipe`] says what to do; [`Recipe::record`] turns it into operations of a plan; the [`Stepper`] that comes back keeps the
//! device supplied with hyper rows. [`Optimizer`] is all three around parameters and gradients of its own.

mod recipe;
mod slices;
mod stepper;

pub use recipe::{Clip, Recipe};
pub use stepper::{Report, Stepper};

use crate::error::{Error, Result};
use crate::plan::{Arena, BufferId, Engine, Layout, Plan, Program};
use crate::rule::Real;

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
        let mut plan = Plan::default();
        let mut stepper = recipe.record(&mut layout, &mut plan, &arena, params, grads)?;
        let mut program = engine.load(&layout, &[plan])?;
        stepper.start(&mut program)?;
        Ok(Self { arena, params, grads, stepper, program })
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

    /// A lane's parameters to evaluate with, by [`Rule::eval`](crate::Rule::eval): those of [`Optimizer::params`], unless the rule
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
    /// optimizer.set_grads(0, "w", &[-1.0])?;
    /// optimizer.steps(2)?;
    /// // The average of 0.1 and 0.2; gradients are taken a little ahead of it.
    /// assert!((optimizer.eval_params(0, "w")?[0] - 0.15).abs() < 1e-6);
    /// assert!((optimizer.params(0, "w")?[0] - 0.155).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn eval_params(&mut self, lane: usize, tensor: &str) -> Result<Vec<P::Float>> {
        let group = self.arena.tensor(tensor)?.group;
        let mut params = self.params(lane, tensor)?;
        let rule = self.stepper.rule(&mut self.program, lane, group)?;
        let planes = rule.planes().into_iter().map(|plane| self.state(rule.state_names()[plane], lane, tensor));
        let planes = planes.collect::<Result<Vec<_>>>()?;
        let planes: Vec<&[P::Float]> = planes.iter().map(Vec::as_slice).collect();
        P::Float::eval(&*rule, &mut params, &planes);
        Ok(params)
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
