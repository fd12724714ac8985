//! The states of a population's jobs as tensors of a file, so that a sweep that was ended goes on where its lanes were.

use super::{Kept, Key, Population};
use crate::checkpoint::{Element, Tensors};
use crate::error::{Error, Result};
use crate::optimizer::{State, StateArray, StateValues};
use crate::plan::Engine;
use serde_json::{Value, json};

/// The text that lists the jobs.
const JOBS: &str = "jobs";

/// What the names of a job's tensors begin with.
fn prefix((trial, fold, seed): Key) -> String {
    let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
    format!("{trial}/{}/{}", number(fold), number(seed))
}

impl<E: Engine, S> Population<'_, E, S>
where
    E::Float: Element,
{
    /// The states of all jobs that may go on, as the last call left them and copies changed them: [`Population::state`] of
    /// each, and how many steps it has made.
    ///
    /// # Errors
    /// Memory that there is not.
    pub fn tensors(&self) -> Result<Tensors> {
        let (mut tensors, mut jobs) = (Tensors::default(), Vec::new());
        let mut all: Vec<(&Key, &Kept<E::Float>)> = self.kept.iter().collect();
        all.sort_unstable_by_key(|(key, _)| **key);
        for (&key, kept) in all {
            let (trial, fold, seed) = key;
            jobs.push(json!({ "trial": trial, "fold": fold, "seed": seed, "starts_from": kept.seed, "steps": kept.steps }));
            for (name, StateArray { shape, values }) in kept.state.iter() {
                let kind = match values {
                    StateValues::Floats(_) => "floats",
                    StateValues::Indices(_) => "indices",
                    StateValues::Counts(_) => "counts",
                    StateValues::Numbers(_) => "numbers",
                };
                values.put(&mut tensors, &format!("{}/{kind}/{name}", prefix(key)), shape)?;
            }
        }
        tensors.texts.insert(JOBS.into(), Value::from(jobs).to_string());
        Ok(tensors)
    }

    /// Takes over the jobs of [`Population::tensors`]: they go on from there, with the bits of a population that was not
    /// interrupted. The population has to be made as that one was. Further texts do not matter.
    ///
    /// # Errors
    /// Tensors that are missing or of another type, by their names; nothing changes then. States of another model are refused
    /// by the call that trains them.
    pub fn load_tensors(&mut self, tensors: &Tensors) -> Result<()> {
        let wrong = || Error::shape("the text 'jobs'", "a list of jobs", "another text");
        let text = tensors.texts.get(JOBS).ok_or_else(wrong)?;
        let jobs: Vec<Value> = serde_json::from_str(text).map_err(|_| wrong())?;
        let mut loaded = Vec::new();
        for job in jobs {
            let number = |name: &str| job[name].as_u64().ok_or_else(wrong);
            let key = (number("trial")?, job["fold"].as_u64(), job["seed"].as_u64());
            let steps = usize::try_from(number("steps")?).map_err(|_| wrong())?;
            let state = state_of(tensors, &(prefix(key) + "/"))?;
            loaded.push((key, Kept { state, seed: number("starts_from")?, steps, metrics: None }));
        }
        self.kept.extend(loaded);
        Ok(())
    }
}

/// The state of a job, of the tensors whose names begin so.
fn state_of<F: Element>(tensors: &Tensors, prefix: &str) -> Result<State<F>> {
    let mut state = State::default();
    for (full, tensor) in tensors.iter() {
        let Some((kind, name)) = full.strip_prefix(prefix).and_then(|rest| rest.split_once('/')) else { continue };
        let values = match kind {
            "floats" => StateValues::Floats(vec![tensors.get(full)?]),
            "indices" => StateValues::Indices(vec![tensors.get(full)?]),
            "counts" => StateValues::Counts(vec![tensors.get(full)?]),
            _ => StateValues::Numbers(vec![tensors.get(full)?]),
        };
        state.insert(name, StateArray { shape: tensor.shape.clone(), values });
    }
    Ok(state)
}
