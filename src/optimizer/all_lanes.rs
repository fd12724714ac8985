//! Parameters and gradients of all lanes at once.

use super::Optimizer;
use super::planes::halves;
use super::recorded::Buffers;
use crate::error::{Error, Result};
use crate::plan::{Program, Values};
use crate::rule::Real;

impl<P: Program> Optimizer<P> {
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
                self.program.write_halves(id, lane, 0, &halves(kind, values))?;
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
}
