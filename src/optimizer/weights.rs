//! Weights alone, by the names of the tensors.

use super::Optimizer;
use crate::checkpoint::{Element, Loaded, Tensors};
use crate::error::{Error, Result};
use crate::plan::Program;
use std::collections::BTreeMap;

impl<P: Program> Optimizer<P>
where
    P::Float: Element,
{
    /// A lane's parameters by the names of their tensors, as PyTorch's `state_dict` has them. `safetensors.torch.load_file`
    /// reads the file that [`checkpoint::write`](crate::checkpoint::write) makes of them.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn weights(&mut self, lane: usize) -> Result<Tensors> {
        let params = self.program.read(self.stepper.buffers.params, lane)?;
        self.weights_with(&params)
    }

    /// A lane's parameters as tensors.
    pub(super) fn weights_with(&self, params: &[P::Float]) -> Result<Tensors> {
        let mut tensors = Tensors::default();
        for tensor in self.arena().tensors() {
            tensors.put(&tensor.name, &tensor.shape, &params[tensor.offset..][..tensor.len()])?;
        }
        Ok(tensors)
    }

    /// Sets all parameters by the names of their tensors, of all lanes: those of a `state_dict` that PyTorch has saved with
    /// `safetensors.torch`. Other names go through [`Renames`](crate::checkpoint::Renames), other types of floats through
    /// [`Tensors::cast`]. With several lanes every lane gets the same, unless a tensor has one dimension more, the outermost,
    /// of lanes. State and counters stay as they are. All is checked before anything changes.
    ///
    /// # Errors
    /// Tensors that are missing, unknown, or of another shape or type, each by its name; a lost device.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Optimizer, Recipe, checkpoint::{Renames, Tensors}, cpu::Cpu};
    ///
    /// // In a program: `checkpoint::read_foreign("model.safetensors")?`.
    /// let mut file = Tensors::default();
    /// file.put("linear.weight", &[1, 2], &[1.0f32, 2.0])?;
    ///
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(AdamW::default()), &[("0.weight", &[1, 2])])?;
    /// optimizer.load_weights(&Renames::default().prefix("linear.", "0.").apply(&file)?)?;
    /// assert_eq!(optimizer.lane(0)?.params("0.weight")?, [1.0, 2.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn load_weights(&mut self, weights: &Tensors) -> Result<Loaded> {
        let (found, loaded) = self.found_weights(weights);
        if let Some((_, reason)) = loaded.kept.into_iter().next() {
            return Err(reason);
        }
        if let Some(unused) = loaded.unused.first() {
            let known: Vec<&str> = self.arena().tensors().iter().map(|tensor| &*tensor.name).collect();
            return Err(Error::unknown("tensor of the file", unused, &known));
        }
        self.set_weights(&found)?;
        loaded_of(found, weights)
    }

    /// [`Optimizer::load_weights`] of those tensors that fit; it says which these were, and why others stay as they are.
    ///
    /// # Errors
    /// A lost device.
    pub fn load_weights_lenient(&mut self, weights: &Tensors) -> Result<Loaded> {
        let (found, left) = self.found_weights(weights);
        self.set_weights(&found)?;
        let loaded = loaded_of(found, weights)?;
        Ok(Loaded { kept: left.kept, unused: left.unused, ..loaded })
    }

    /// What fits, and what was left.
    fn found_weights(&self, weights: &Tensors) -> (Found<P::Float>, Loaded) {
        let (mut found, mut left) = (Found::new(), Loaded::default());
        for tensor in self.arena().tensors() {
            match self.weights_of(&tensor.name, &tensor.shape, weights) {
                Ok(values) => drop(found.insert(tensor.name.clone(), values)),
                Err(reason) => left.kept.push((tensor.name.clone(), reason)),
            }
        }
        let unused = |name: &&str| self.arena().tensor(name).is_err();
        left.unused = weights.iter().map(|(name, _)| name).filter(unused).map(String::from).collect();
        (found, left)
    }

    /// A tensor's values by lane; one list where all lanes have the same.
    fn weights_of(&self, name: &str, shape: &[usize], weights: &Tensors) -> Result<Vec<Vec<P::Float>>> {
        let (found, lanes) = (weights.tensor(name)?, self.lanes());
        let by_lane = [&[lanes], shape].concat();
        if found.shape != shape && !(lanes > 1 && found.shape == by_lane) {
            let [expected, found] = [shape, &found.shape].map(|shape| format!("shape {shape:?}"));
            return Err(Error::shape(format!("tensor '{name}' of the file"), expected, found));
        }
        let values = weights.get::<P::Float>(name)?;
        let parts = if found.shape == shape { 1 } else { lanes };
        let len = values.len() / parts;
        Ok((0..parts).map(|part| values[part * len..][..len].to_vec()).collect())
    }

    fn set_weights(&mut self, found: &Found<P::Float>) -> Result<()> {
        for (name, values) in found {
            for lane in 0..self.lanes() {
                self.lane(lane)?.set_params(name, &values[lane % values.len()])?;
            }
        }
        Ok(())
    }
}

type Found<F> = BTreeMap<String, Vec<Vec<F>>>;

/// What was loaded, which may hold values that are not finite.
fn loaded_of<F>(found: Found<F>, weights: &Tensors) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    for name in found.into_keys() {
        let first = weights.tensor(&name)?.first_not_finite();
        loaded.not_finite.extend(first.map(|place| (name.clone(), place)));
        loaded.loaded.push(name);
    }
    loaded.warn();
    Ok(loaded)
}
