//! One lane of an optimizer.

use super::planes::{halves, padded_halves};
use super::recorded::Buffers;
use super::stepper::{names, not_asked};
use super::{Optimizer, Report, Stepper, TensorReport};
use crate::error::{Error, Result};
use crate::plan::{ALIGN, BufferId, Program, Stack, Tensor};
use crate::rule::{AnyRule, HyperRow, Real};

/// A lane of an [`Optimizer`], from [`Optimizer::lane`]. Its calls do for one lane of a population what those of the optimizer
/// do for the only lane, with the same errors.
///
/// # Examples
///
/// ```
/// use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
///
/// let rules = [0.5, 0.25].map(|lr| Sgd { lr, ..Default::default() });
/// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::population(rules), &[("w", &[1])])?;
/// for lane in 0..2 {
///     optimizer.lane(lane)?.set_grads("w", &[2.0])?;
/// }
/// optimizer.step()?;
/// assert_eq!(optimizer.lane(1)?.params("w")?, [-0.5]);
/// assert!(optimizer.params("w").is_err());
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Lane<'a, P> {
    pub(super) stepper: &'a mut Stepper,
    pub(super) program: &'a mut P,
    pub(super) lane: usize,
}

impl<P: Program> Optimizer<P> {
    /// A lane.
    ///
    /// # Errors
    /// A lane that does not exist.
    pub fn lane(&mut self, lane: usize) -> Result<Lane<'_, P>> {
        let lanes = self.stepper.recipe.lanes();
        // The text is made only for an error: this runs in every step, when gradients come in.
        if lane >= lanes {
            return Err(Error::setting("lane", lane, &format!("below {lanes}")));
        }
        Ok(Lane { stepper: &mut self.stepper, program: &mut self.program, lane })
    }

    /// The only lane, for a call that names none.
    pub(super) fn only(&mut self, call: &str) -> Result<Lane<'_, P>> {
        let lanes = self.stepper.recipe.lanes();
        if lanes > 1 {
            return Err(Error::missing(call, format!("a lane, since there are {lanes}"), format!("lane(0)?.{call}")));
        }
        self.lane(0)
    }
}

impl<P: Program> Lane<'_, P> {
    /// Its place among the lanes.
    pub fn index(&self) -> usize {
        self.lane
    }

    /// [`Optimizer::params`].
    ///
    /// # Errors
    /// As there.
    pub fn params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.read(self.stepper.buffers.params, tensor)
    }

    /// [`Optimizer::set_params`].
    ///
    /// # Errors
    /// As there.
    pub fn set_params(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.write_padded(self.stepper.buffers.params, tensor, values)?;
        if let Some(before) = self.stepper.buffers.before {
            self.write_padded(before, tensor, values)?;
        }
        if let Some(slow) = self.stepper.buffers.slow {
            self.write_padded(slow, tensor, values)?;
        }
        if let Some(average) = self.stepper.buffers.average
            && self.stepper.average_is_copy(self.program, self.lane, self.stepper.arena.tensor(tensor)?)?
        {
            self.write_padded(average, tensor, values)?;
        }
        let Some((kind, id)) = self.stepper.recipe.half.zip(self.stepper.buffers.half) else { return Ok(()) };
        self.program.write_halves(id, self.lane, self.stepper.arena.tensor(tensor)?.offset, &padded_halves(kind, values))
    }

    /// [`Optimizer::set_grads`].
    ///
    /// # Errors
    /// As there.
    pub fn set_grads(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.write(self.stepper.buffers.grads, tensor, values)
    }

    /// [`Optimizer::eval_params`].
    ///
    /// # Errors
    /// As there.
    pub fn eval_params(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        let tensor = self.stepper.arena.tensor(tensor)?;
        let mut params = self.program.read(self.stepper.buffers.params, self.lane)?;
        self.stepper.eval(self.program, self.lane, std::slice::from_ref(tensor), &mut params)?;
        Ok(params[tensor.offset..][..tensor.len()].to_vec())
    }

    /// [`Optimizer::eval_arena`].
    ///
    /// # Errors
    /// As there.
    pub fn eval_arena(&mut self) -> Result<Vec<P::Float>> {
        let mut params = self.program.read(self.stepper.buffers.params, self.lane)?;
        self.stepper.eval(self.program, self.lane, self.stepper.arena.tensors(), &mut params)?;
        Ok(params)
    }

    /// [`Optimizer::averaged`].
    ///
    /// # Errors
    /// As there.
    pub fn averaged(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.read(self.average_buffer()?, tensor)
    }

    /// [`Optimizer::set_averaged`].
    ///
    /// # Errors
    /// As there.
    pub fn set_averaged(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        let average = self.stepper.buffers.average.ok_or_else(|| not_asked("set_averaged", "average"))?;
        self.write_padded(average, tensor, values)
    }

    /// [`Optimizer::half`].
    ///
    /// # Errors
    /// As there.
    pub fn half(&mut self, tensor: &str) -> Result<Vec<u16>> {
        let half = self.stepper.half_buffer()?;
        if let Some(kind) = self.stepper.recipe.half.filter(|_| self.stepper.is_unused()) {
            return Ok(halves(kind, &self.params(tensor)?));
        }
        let tensor = self.stepper.arena.tensor(tensor)?;
        Ok(self.program.read_halves(half, self.lane)?[tensor.offset..][..tensor.len()].to_vec())
    }

    /// [`Optimizer::slow`].
    ///
    /// # Errors
    /// As there.
    pub fn slow(&mut self, tensor: &str) -> Result<Vec<P::Float>> {
        self.read(self.slow_buffer()?, tensor)
    }

    /// [`Optimizer::set_slow`].
    ///
    /// # Errors
    /// As there.
    pub fn set_slow(&mut self, tensor: &str, values: &[P::Float]) -> Result<()> {
        let slow = self.stepper.buffers.slow.ok_or_else(|| not_asked("set_slow", "lookahead"))?;
        self.write_padded(slow, tensor, values)
    }

    /// [`Optimizer::state`].
    ///
    /// # Errors
    /// As there.
    pub fn state(&mut self, tensor: &str, plane: &str) -> Result<Vec<P::Float>> {
        match self.stack(tensor)? {
            Some((buffer, stack)) => stack.plane(self.program.read(buffer, self.lane)?, plane),
            None => {
                let (id, tensor) = (self.stepper.plane(tensor, plane)?, self.stepper.arena.tensor(tensor)?);
                self.stepper.read_plane(self.program, id, self.lane, tensor.offset..tensor.offset + tensor.len())
            }
        }
    }

    /// [`Optimizer::set_state`].
    ///
    /// # Errors
    /// As there.
    pub fn set_state(&mut self, tensor: &str, plane: &str, values: &[P::Float]) -> Result<()> {
        let place = self.stepper.arena.tensor(tensor)?;
        let factored = self.stepper.buffers.moments.iter().find(|(groups, _)| groups.contains(&place.group));
        let Some((_, moments)) = factored else {
            let id = self.stepper.plane(tensor, plane)?;
            check_len(place, values.len())?;
            return self.stepper.write_plane(self.program, id, self.lane, place.offset, values);
        };
        let stack = moments.stacks[place.rank];
        let range = match plane {
            "v" if stack.matrices == 0 => stack.first..stack.end(),
            other if stack.matrices == 0 => return Err(Error::unknown("plane", other, &["v"])),
            "row_var" => stack.row_moments(),
            "col_var" => stack.column_moments(),
            other => return Err(Error::unknown("plane", other, &["row_var", "col_var"])),
        };
        if values.len() != range.len() {
            return Err(Error::shape(
                format!("{plane} of tensor '{tensor}'"),
                format!("{} elements", range.len()),
                values.len(),
            ));
        }
        self.program.write(moments.buffer, self.lane, range.start, values)
    }

    /// [`Optimizer::inspection`].
    ///
    /// # Errors
    /// As there.
    pub fn inspection(&mut self) -> Result<Vec<TensorReport>> {
        let Buffers { grad_norms, change_norms, .. } = self.stepper.buffers;
        let grads =
            grad_norms.filter(|_| self.stepper.plans.inspect.is_some()).ok_or_else(|| not_asked("inspection", "inspect"))?;
        let changes = change_norms.ok_or_else(|| not_asked("inspection", "inspect"))?;
        let (grads, changes) = (self.program.read(grads, self.lane)?, self.program.read(changes, self.lane)?);
        Ok(TensorReport::all(&names(&self.stepper.arena), &grads, &changes))
    }

    /// [`Optimizer::report`].
    ///
    /// # Errors
    /// As there.
    pub fn report(&mut self) -> Result<Report> {
        self.stepper.report(self.program, self.lane)
    }

    /// [`Optimizer::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&mut self, group: &str, setting: &str, value: f64) -> Result<()> {
        self.stepper.set(self.lane, group, setting, value)
    }

    /// [`Optimizer::set_rule`].
    ///
    /// # Errors
    /// As there.
    pub fn set_rule(&mut self, group: &str, rule: impl Into<Box<dyn AnyRule>>) -> Result<()> {
        self.stepper.set_rule(self.lane, group, rule)
    }

    /// [`Optimizer::freeze`].
    ///
    /// # Errors
    /// As there.
    pub fn freeze(&mut self, group: &str, frozen: bool) -> Result<()> {
        self.stepper.freeze(self.program, self.lane, group, frozen)
    }

    /// [`Optimizer::set_applied`].
    ///
    /// # Errors
    /// As there.
    pub fn set_applied(&mut self, group: &str, steps: u64) -> Result<()> {
        self.stepper.set_applied(self.program, self.lane, group, steps)
    }

    /// [`Optimizer::set_loss_scale`].
    ///
    /// # Errors
    /// As there.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        self.stepper.set_loss_scale(self.program, self.lane, scale)
    }

    /// Where the average is.
    pub(super) fn average_buffer(&self) -> Result<BufferId> {
        let average = self.stepper.buffers.average.ok_or_else(|| not_asked("averaged", "average"))?;
        Ok(if self.stepper.is_unused() { self.stepper.buffers.params } else { average })
    }

    /// Where slow weights are.
    pub(super) fn slow_buffer(&self) -> Result<BufferId> {
        let slow = self.stepper.buffers.slow.ok_or_else(|| not_asked("slow", "lookahead"))?;
        Ok(if self.stepper.is_unused() { self.stepper.buffers.params } else { slow })
    }

    /// Where a tensor has its second moments by rows and columns, if it has them so.
    pub(super) fn stack(&self, tensor: &str) -> Result<Option<(BufferId, Lines)>> {
        let place = self.stepper.arena.tensor(tensor)?;
        let factored = self.stepper.buffers.moments.iter().find(|(groups, _)| groups.contains(&place.group));
        Ok(factored.map(|(_, moments)| {
            // The row of such a rule starts with the rate and the floor.
            let floor = self.stepper.recipe.rule(self.lane, place.group).hyper_row(1).0[HyperRow::SHARED.len() + 1];
            (moments.buffer, Lines { stack: moments.stacks[place.rank], floor })
        }))
    }

    fn read(&mut self, buffer: BufferId, tensor: &str) -> Result<Vec<P::Float>> {
        let tensor = self.stepper.arena.tensor(tensor)?;
        self.program.read_range(buffer, self.lane, tensor.offset..tensor.offset + tensor.len())
    }

    fn write(&mut self, buffer: BufferId, tensor: &str, values: &[P::Float]) -> Result<()> {
        let tensor = self.stepper.arena.tensor(tensor)?;
        check_len(tensor, values.len())?;
        self.program.write(buffer, self.lane, tensor.offset, values)
    }

    /// Writes a tensor of the parameters, or of what goes with them, and zeros behind it: kernels go through the padding as well,
    /// and where a factor of the tensor was NaN, so is its padding, from which norms would be NaN for ever.
    fn write_padded(&mut self, buffer: BufferId, tensor: &str, values: &[P::Float]) -> Result<()> {
        self.write(buffer, tensor, values)?;
        let end = self.stepper.arena.tensor(tensor)?.offset + values.len();
        let padding = end.next_multiple_of(ALIGN) - end;
        if padding == 0 {
            return Ok(());
        }
        self.program.write(buffer, self.lane, end, &[P::Float::of(0.0); ALIGN][..padding])
    }
}

/// Checks that there is a value for each element.
fn check_len(tensor: &Tensor, found: usize) -> Result<()> {
    if found == tensor.len() {
        return Ok(());
    }
    let expected = format!("{} elements", tensor.len());
    Err(Error::shape(format!("tensor '{}'", tensor.name), expected, found))
}

/// Second moments of a tensor that are kept by rows and columns.
pub(super) struct Lines {
    stack: Stack,
    /// What rows are divided by is at least this; 0 is the resolution of the float type.
    floor: f64,
}

impl Lines {
    /// A plane, out of what is kept of all tensors.
    pub(super) fn plane<F: Real>(&self, mut all: Vec<F>, plane: &str) -> Result<Vec<F>> {
        let stack = &self.stack;
        match plane {
            "v" => {
                // The divisors are no state, and a run that was just restored has not computed them yet.
                stack.divide(&mut all, if self.floor == 0.0 { F::epsilon() } else { F::of(self.floor) });
                let mut moments = vec![F::of(0.0); stack.len];
                stack.fill(&all, 0, &mut moments);
                Ok(moments)
            }
            "row_var" => Ok(all[stack.row_moments()].to_vec()),
            "col_var" => Ok(all[stack.column_moments()].to_vec()),
            other => Err(Error::unknown("plane", other, &["v", "row_var", "col_var"])),
        }
    }
}
