//! L-BFGS: a quasi-Newton method for whole losses, not for samples of them.

#[cfg(feature = "gpu")]
mod asynchronous;
mod history;
mod host;
mod record;
#[cfg(feature = "checkpoint")]
mod saved;
mod search;
mod stepper;

pub use stepper::LbfgsStepper;

use crate::error::{Error, Result, range};
use crate::plan::{Arena, Blueprint, BufferId, Engine, Program, Role};

/// How far L-BFGS goes along a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineSearch {
    /// By the learning rate, whatever the loss becomes.
    #[default]
    None,
    /// To a point that satisfies the strong Wolfe conditions with c₁ = 10⁻⁴ and c₂ = 0.9, by cubic interpolation; the learning
    /// rate is where the search begins.
    StrongWolfe,
}

/// The settings of L-BFGS. The defaults are PyTorch's.
///
/// Several of them bound one [`Lbfgs::step`], which is a whole minimization: it ends with the first rule that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct LbfgsSettings {
    /// The length of a step in units of the direction, finite and above 0. Default 1. The first direction, which is the
    /// gradient itself, is shortened by min(1, 1/Σ|g|).
    pub lr: f64,
    /// Iterations (directions) of a step, at least 1. Default 20.
    pub max_iter: usize,
    /// Evaluations of the loss after which a step ends, at least 1. Default: `max_iter` · 5/4, rounded down.
    pub max_eval: Option<usize>,
    /// A step ends if max |g| is at most this; finite and at least 0. Default 10⁻⁷.
    pub tolerance_grad: f64,
    /// A step ends if a movement max |t·d| is at most this, or a change of the loss or a slope −g·d is below it; finite and at
    /// least 0. Default 10⁻⁹.
    pub tolerance_change: f64,
    /// Pairs (s, y) to keep, at least 1. Default 100. Memory for all of them is taken at once; see [`Lbfgs`].
    pub history_size: usize,
    /// How far to go along a direction. Default [`LineSearch::None`]; [`LineSearch::StrongWolfe`] is the safer choice.
    pub line_search: LineSearch,
}

impl Default for LbfgsSettings {
    fn default() -> Self {
        Self {
            lr: 1.0,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search: LineSearch::None,
        }
    }
}

impl LbfgsSettings {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Setting`] with field, value and range.
    pub fn check(&self) -> Result<()> {
        range::positive("lr", self.lr)?;
        range::require(self.max_iter > 0, "max_iter", self.max_iter, "at least 1")?;
        range::require(self.evaluations() > 0, "max_eval", self.evaluations(), "at least 1")?;
        range::not_negative("tolerance_grad", self.tolerance_grad)?;
        range::not_negative("tolerance_change", self.tolerance_change)?;
        range::require(self.history_size > 0, "history_size", self.history_size, "at least 1")
    }

    fn evaluations(&self) -> usize {
        self.max_eval.unwrap_or(self.max_iter.saturating_mul(5) / 4)
    }

    /// Records what L-BFGS needs beside parameters and gradients into a blueprint, which may have plans of its own over the
    /// same buffers: a network's forward and backward pass, for one. The stepper that comes back runs the plans of L-BFGS.
    ///
    /// # Errors
    /// A setting out of its range, or a blueprint of more than one lane.
    pub fn record(&self, blueprint: &mut Blueprint, arena: &Arena, params: BufferId, grads: BufferId) -> Result<LbfgsStepper> {
        self.check()?;
        LbfgsStepper::new(self.clone(), blueprint, arena, [params, grads])
    }
}

/// Why a step of L-BFGS ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LbfgsStop {
    /// max |g| is at most `tolerance_grad`: a minimum, as far as anyone asked.
    Gradient,
    /// The direction does not lead down: g·d is above −`tolerance_change`.
    Slope,
    /// The parameters moved by no more than `tolerance_change`.
    Step,
    /// The loss changed by less than `tolerance_change`.
    Loss,
    /// `max_iter` iterations were made.
    Iterations,
    /// `max_eval` evaluations were made.
    Evaluations,
    /// The loss, a gradient or a direction is infinite or NaN. The parameters are the last ones for which they are not, if
    /// there were any.
    NotFinite,
}

/// What a step of L-BFGS did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LbfgsReport {
    /// The loss before the step, which is what PyTorch's `step` returns.
    pub first_loss: f64,
    /// The last known loss. It is that of the current parameters, except after the last of `max_iter` iterations without a line
    /// search: the loss there is not evaluated.
    pub loss: f64,
    /// Evaluations of the loss and its gradient.
    pub evaluations: usize,
    /// Iterations.
    pub iterations: usize,
    /// The rule that ended the step.
    pub stop: LbfgsStop,
}

/// L-BFGS over an arena of parameters and gradients of its own, on an engine.
///
/// From the last `history_size` pairs s = x′ − x, y = g′ − g it approximates the inverse Hessian H and goes along d = −H·g:
///
/// ```text
/// q = −g;  newest to oldest pair: α = s·q / s·y,  q −= α·y
/// d = γ·q, with γ = s·y / y·y of the newest pair
///          oldest to newest pair: β = y·d / s·y,  d += (α − β)·s
/// x += t·d
/// ```
///
/// A pair counts if s·y > 10⁻¹⁰. t is the learning rate or comes from a line search; the first direction is −g, its first t is
/// min(1, 1/Σ|g|) · lr. [`LbfgsStop`] has the rules that end a step. History and directions outlive it, so that several steps
/// are one minimization in parts.
///
/// # Where things are
///
/// Parameters, gradients and the history stay on the device: (2 · `history_size` + 7) arenas, parameters and gradients among
/// them, and a tenth of an arena for partial sums if the history is 100. With the default of 100 pairs that is 828 bytes per
/// parameter in `f32`; 10 pairs take 108, and often do. The recursion above runs on the host, in `f64`: it needs no vectors,
/// only the inner products of the history with itself, of which an iteration adds one row. So an iteration reads the history
/// twice, for the products of y and g with all of it and for d, and waits for the device twice, and once per evaluation for the
/// slope there, beside the waits of the closure.
///
/// # What it is for
///
/// Losses that are computed over all of the data. Between two samples of it, line searches and differences of gradients mean
/// nothing. (For full-batch, mini-batch and stochastic gradient descent take [`Sgd`](crate::Sgd) with gradients over all rows,
/// some, or one.)
///
/// # Differences to PyTorch
///
/// Results are those of `torch.optim.LBFGS` 2.15, whose line search may use what is left of `max_eval` (earlier versions: 25
/// evaluations). In a line search a point that is not finite counts as a loss that is too high; elsewhere the parameters go
/// back, and the step ends. A step that ended with [`LbfgsStop::Slope`] leaves no pair behind. There is no `maximize`: negate
/// loss and gradient. Setting parameters forgets the history. There is one lane.
///
/// Sources: Nocedal & Wright 2006, "Numerical Optimization", algorithms 7.4 and 3.5; Liu & Nocedal 1989, "On the limited memory
/// BFGS method for large scale optimization", Mathematical Programming 45; the recursion on inner products: Chen, Wang & Zhou
/// 2014, "Large-scale L-BFGS using MapReduce", NeurIPS 27.
///
/// # Examples
///
/// Rosenbrock's valley, 100·(b − a²)² + (1 − a)², whose minimum is at (1, 1):
///
/// ```
/// use thalweg::{Lbfgs, LbfgsSettings, LbfgsStop, LineSearch, cpu::Cpu};
///
/// let settings = LbfgsSettings { line_search: LineSearch::StrongWolfe, max_iter: 100, ..Default::default() };
/// let mut lbfgs = Lbfgs::new(&Cpu::<f64>::default(), settings, &[("x", &[2])])?;
/// lbfgs.set_params("x", &[-1.2, 1.0])?;
/// let report = lbfgs.step(|point| {
///     let x = point.params("x")?;
///     let (a, b) = (x[0], x[1]);
///     let valley = b - a * a;
///     point.set_grads("x", &[-400.0 * a * valley - 2.0 * (1.0 - a), 200.0 * valley])?;
///     Ok(100.0 * valley * valley + (1.0 - a) * (1.0 - a))
/// })?;
/// assert!(lbfgs.params("x")?.iter().all(|x| (x - 1.0).abs() < 1e-4));
/// assert!(report.evaluations < 50 && report.stop != LbfgsStop::Iterations);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Lbfgs<P> {
    arena: Arena,
    params: BufferId,
    grads: BufferId,
    stepper: LbfgsStepper,
    program: P,
}

impl<P: Program> Lbfgs<P> {
    /// An L-BFGS for tensors given by name and shape; parameters start at 0.
    ///
    /// # Errors
    /// A setting out of its range, no tensors, a name given twice, or what the engine refuses.
    pub fn new<E: Engine<Program = P>>(engine: &E, settings: LbfgsSettings, tensors: &[(&str, &[usize])]) -> Result<Self> {
        if tensors.is_empty() {
            return Err(Error::Empty { what: "the list of tensors".into() });
        }
        let mut arena = Arena::default();
        for (name, shape) in tensors {
            arena.add(name, shape)?;
        }
        let mut blueprint = Blueprint::new(1);
        let params = blueprint.arena("params", &arena, Role::Params);
        let grads = blueprint.arena("grads", &arena, Role::Grads);
        let stepper = settings.record(&mut blueprint, &arena, params, grads)?;
        let program = engine.load(&blueprint)?;
        Ok(Self { arena, params, grads, stepper, program })
    }

    /// One step, of up to [`LbfgsSettings::max_iter`] iterations. The closure is called for each point that is tried: it
    /// returns the loss there and writes the gradient.
    ///
    /// # Errors
    /// What the closure returns, or a lost device. The parameters are then those from before the iteration, if the device
    /// lives; a further step goes on from there.
    pub fn step(&mut self, mut closure: impl FnMut(&mut Evaluation<P>) -> Result<f64>) -> Result<LbfgsReport> {
        let Self { arena, params, grads, stepper, program } = self;
        stepper.step(program, |program| closure(&mut Evaluation { arena, params: *params, grads: *grads, program }))
    }

    /// A tensor's parameters.
    ///
    /// # Errors
    /// [`Error::Unknown`], or a lost device.
    pub fn params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.point().params(tensor)
    }

    /// Sets a tensor's parameters, and forgets the history.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Shape`] if there are not as many values as the tensor has elements, or a lost device.
    pub fn set_params(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.stepper.forget();
        let buffer = self.params;
        self.point().write(buffer, tensor, values)
    }

    fn point(&mut self) -> Evaluation<'_, P> {
        Evaluation { arena: &self.arena, params: self.params, grads: self.grads, program: &mut self.program }
    }
}

/// A point at which the closure of [`Lbfgs::step`] computes loss and gradient.
#[derive(Debug)]
pub struct Evaluation<'a, P> {
    arena: &'a Arena,
    params: BufferId,
    grads: BufferId,
    program: &'a mut P,
}

impl<P: Program> Evaluation<'_, P> {
    /// A tensor's parameters at this point. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Unknown`], or a lost device.
    pub fn params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        let tensor = self.arena.tensor(tensor)?;
        self.program.read_range(self.params, 0, tensor.offset..tensor.offset + tensor.len())
    }

    /// Sets a tensor's gradient at this point.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Shape`] if there are not as many values as the tensor has elements, or a lost device.
    pub fn set_grads(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.write(self.grads, tensor, values)
    }

    fn write(&mut self, buffer: BufferId, tensor: &str, values: &[P::Float]) -> Result<()> {
        let tensor = self.arena.tensor(tensor)?;
        if values.len() != tensor.len() {
            let expected = format!("{} elements", tensor.len());
            return Err(Error::shape(format!("tensor '{}'", tensor.name), expected, values.len()));
        }
        self.program.write(buffer, 0, tensor.offset, values)
    }

    /// The tensors and their places.
    pub fn arena(&self) -> &Arena {
        self.arena
    }

    /// The buffer of parameters.
    pub fn params_buffer(&self) -> BufferId {
        self.params
    }

    /// The buffer of gradients. What lies between tensors has to stay 0.
    pub fn grads_buffer(&self) -> BufferId {
        self.grads
    }

    /// The program on the engine: slices on the CPU, device buffers on the GPU.
    pub fn program(&mut self) -> &mut P {
        self.program
    }
}
