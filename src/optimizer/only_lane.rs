//! What an optimizer of one lane says without naming it; each call is one of [`Lane`](super::Lane).

use super::{Optimizer, Report, TensorReport};
use crate::error::Result;
use crate::plan::Program;
use crate::rule::AnyRule;

impl<P: Program> Optimizer<P> {
    /// What the last step found of each tensor, in the order in which they were given. Waits for the device.
    ///
    /// # Errors
    /// A recipe that does not inspect, a population ([`Optimizer::lane`]), or a lost device.
    pub fn inspection(&mut self) -> Result<Vec<TensorReport>> {
        self.only("inspection")?.inspection()
    }

    /// The average of the parameters; the parameters themselves before the first step that counts. See
    /// [`Recipe::average`](super::Recipe::average).
    ///
    /// # Errors
    /// A recipe without an average, [`Error::Unknown`](crate::Error::Unknown), a population ([`Optimizer::lane`]), or a lost
    /// device.
    pub fn averaged(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.only("averaged")?.averaged(tensor)
    }

    /// The bits of the copy of the parameters in 16 bits. See [`Recipe::half_copy`](super::Recipe::half_copy).
    ///
    /// # Errors
    /// A recipe without a copy, [`Error::Unknown`](crate::Error::Unknown), a population ([`Optimizer::lane`]), or a lost
    /// device.
    pub fn half(&mut self, tensor: &str) -> Result<Vec<u16>> {
        self.only("half")?.half(tensor)
    }

    /// The parameters.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown), a population ([`Optimizer::lane`]), or a lost device.
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
    /// has counted yet. Only with an average it may wait for the device. Between an ascent and its step (see
    /// [`Recipe::sam`](super::Recipe::sam)), the step starts from the new parameters.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown), [`Error::Shape`](crate::Error::Shape) if there are not as many values as the
    /// tensor has elements, a population ([`Optimizer::lane`]), or a lost device.
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

    /// A plane of the state, by the name it has in the rule: Adam's are `m` and `v`, which files call `exp_avg` and
    /// `exp_avg_sq`. Where a rule keeps matrices by rows and columns, as [`Adafactor`](crate::Adafactor) does, these are
    /// `row_var` and `col_var`, empty for vectors.
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

    /// Slow weights: see [`Recipe::lookahead`](super::Recipe::lookahead).
    ///
    /// # Errors
    /// A recipe without a lookahead, [`Error::Unknown`](crate::Error::Unknown), a population ([`Optimizer::lane`]), or a lost
    /// device.
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

    /// Goes on as if a group had applied this many steps: [`Stepper::set_applied`](super::Stepper::set_applied).
    ///
    /// # Errors
    /// As for [`Stepper::set_applied`](super::Stepper::set_applied).
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

    /// The counters, norm and clip coefficient after the last step. Waits for the device.
    ///
    /// # Errors
    /// A population ([`Optimizer::lane`]), or a lost device.
    pub fn report(&mut self) -> Result<Report> {
        self.only("report")?.report()
    }

    /// Changes a number among the settings of a group, from the next step on, without a new pipeline. It may also reach every
    /// step that is recorded into an encoder and not yet submitted: call it when all of them are submitted.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown), a value out of its range, one that makes another kernel (momentum where there
    /// was none), a setting that only the start of a run uses ([`Rule::INITIAL`](crate::Rule::INITIAL)), a population
    /// ([`Optimizer::lane`]), or a group that does not exist.
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
}
