//! Lanes of a population's tensors.

use super::tensors::{StoredTensor, Tensors};
use crate::error::{Error, Result, range};
use serde_json::Value;

/// The text that says how many lanes tensors have. A single lane has no dimension of its own; several lanes are the outermost
/// dimension.
pub(crate) const LANES: &str = "lanes";
/// Applied steps of each tensor, as JSON: a number, or with several lanes a list.
pub(crate) const STEPS: &str = "steps";
/// Steps that a population has run; all lanes have the same.
pub(crate) const STEPS_RUN: &str = "host.steps";
/// Micro-batches or an ascent since the last step; all lanes have the same.
pub(crate) const BEFORE_STEP: &str = "host.before_step";

impl Tensors {
    /// Notes the machine on which they were computed.
    pub(crate) fn put_machine(&mut self, engine: &str, adapter: &str) {
        self.texts.extend([("engine", engine), ("adapter", adapter)].map(|(key, text)| (key.to_string(), text.to_string())));
    }

    /// The number of lanes of an optimizer's tensors: 1 if they do not say.
    ///
    /// # Errors
    /// [`Error::Setting`] if the text `lanes` is not a number of at least 1.
    pub fn lanes(&self) -> Result<usize> {
        let Some(text) = self.texts.get(LANES) else { return Ok(1) };
        let lanes = text.parse().ok().filter(|&lanes| lanes >= 1);
        lanes.ok_or_else(|| Error::setting("lanes of the tensors", text, "a whole number of at least 1"))
    }

    /// One lane, as an optimizer with that lane alone would give it ([`crate::Optimizer::tensors`]).
    ///
    /// # Errors
    /// A lane that does not exist; tensors without the dimension of lanes.
    ///
    /// # Examples
    ///
    /// The better one of two goes on alone:
    ///
    /// ```
    /// use thalweg::{Adam, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let rules = [0.1, 0.01].map(|lr| Adam { lr, ..Default::default() });
    /// let mut both = Optimizer::new(&Cpu::<f32>::default(), Recipe::population(rules.clone()), &[("w", &[2])])?;
    /// both.lane(1)?.set_grads("w", &[1.0, 2.0])?;
    /// both.steps(3)?;
    /// let one = both.tensors()?.lane(1)?;
    ///
    /// let mut alone = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rules[1].clone()), &[("w", &[2])])?;
    /// alone.load_tensors(&one)?;
    /// assert_eq!(alone.lane(0)?.params("w")?, both.lane(1)?.params("w")?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn lane(&self, lane: usize) -> Result<Self> {
        let lanes = self.lanes()?;
        range::require(lane < lanes, "lane", lane, &format!("below {lanes}"))?;
        if lanes == 1 {
            return Ok(self.clone());
        }
        let mut one = self.texts_alone();
        one.texts.insert(LANES.into(), "1".into());
        if let Some(steps) = self.steps() {
            let of = |steps: Value| steps.get(lane).cloned().unwrap_or(steps);
            let steps = steps.into_iter().map(|(tensor, steps)| (tensor, of(steps))).collect();
            one.texts.insert(STEPS.into(), Value::Object(steps).to_string());
        }
        for (name, tensor) in self.iter() {
            let (shape, len) = part(name, tensor, lanes)?;
            one.insert(name, StoredTensor::new(name, tensor.dtype, shape, &tensor.bytes[lane * len..][..len])?)?;
        }
        Ok(one)
    }

    /// Replaces one of several lanes by the tensors of one lane ([`Tensors::lane`]). The number of steps that the population
    /// has run stays.
    ///
    /// # Errors
    /// A lane that does not exist; tensors that are missing on one side, of another shape or type, or of other rules; a lane
    /// that has micro-batches or an ascent before its step, when the others have none. Nothing is changed then.
    pub fn set_lane(&mut self, lane: usize, one: &Self) -> Result<()> {
        let lanes = self.lanes()?;
        range::require(lane < lanes, "lane", lane, &format!("below {lanes}"))?;
        range::require(one.lanes()? == 1, "lanes of what is put in", one.lanes()?, "1")?;
        self.check_lane_fits(one, lanes)?;
        let mut steps = self.steps().unwrap_or_default();
        for (tensor, own) in one.steps().unwrap_or_default() {
            match steps.get_mut(&tensor) {
                Some(Value::Array(all)) if lane < all.len() => all[lane] = own,
                _ => drop(steps.insert(tensor, own)),
            }
        }
        if self.texts.contains_key(STEPS) {
            self.texts.insert(STEPS.into(), Value::Object(steps).to_string());
        }
        let names: Vec<String> = self.iter().map(|(name, _)| name.into()).filter(|name| name != STEPS_RUN).collect();
        for name in names {
            let bytes = one.tensor(&name)?.bytes.clone();
            if let Some(mut tensor) = self.remove(&name) {
                tensor.bytes[lane * bytes.len()..][..bytes.len()].copy_from_slice(&bytes);
                self.insert(&name, tensor)?;
            }
        }
        Ok(())
    }

    fn check_lane_fits(&self, one: &Self, lanes: usize) -> Result<()> {
        if let (Some(rules), Some(other)) = (self.texts.get("rules"), one.texts.get("rules"))
            && rules != other
        {
            return Err(Error::shape("the rules of what is put in", rules, other));
        }
        if let Some((name, _)) = one.iter().find(|(name, _)| self.find(name).is_none()) {
            return Err(Error::unknown("tensor of what is put in", name, &self.names()));
        }
        for (name, tensor) in self.iter() {
            let (expected, found) = (part(name, tensor, lanes)?.0, one.tensor_of("what is put in", name)?);
            let [expected, shown] = [(tensor.dtype, expected), (found.dtype, &found.shape)]
                .map(|(dtype, shape)| format!("{} {shape:?}", dtype.name()));
            if expected != shown {
                return Err(Error::shape(format!("tensor '{name}' of what is put in"), expected, shown));
            }
            if name == BEFORE_STEP && !tensor.bytes.starts_with(&found.bytes) {
                return Err(Error::Conflict {
                    what: "a lane between micro-batches or an ascent and its step".into(),
                    with: "lanes that are not".into(),
                    reason: "all lanes step at once".into(),
                });
            }
        }
        Ok(())
    }

    fn steps(&self) -> Option<serde_json::Map<String, Value>> {
        match serde_json::from_str(self.texts.get(STEPS)?) {
            Ok(Value::Object(steps)) => Some(steps),
            _ => None,
        }
    }
}

/// Shape and bytes of one lane.
fn part<'a>(name: &str, tensor: &'a StoredTensor, lanes: usize) -> Result<(&'a [usize], usize)> {
    match tensor.shape.split_first() {
        Some((&outer, shape)) if outer == lanes => Ok((shape, tensor.bytes.len() / lanes)),
        _ => {
            let expected = format!("{lanes} lanes outermost");
            Err(Error::shape(format!("tensor '{name}'"), expected, format!("shape {:?}", tensor.shape)))
        }
    }
}
