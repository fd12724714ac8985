//! What the buffers of a trainer hold before its first step.

use super::Statistics;
use super::builder::Settled;
use super::feed::{Feed, Table, Units};
use super::lanes;
use super::record::Scaling;
use crate::data::Scaler;
use crate::error::{Error, Result};
use crate::nn::Tape;
use crate::plan::{Arena, BufferId, Program};
use crate::rule::Real;

/// Writes start values into a program that was just loaded.
pub(super) struct Start<'a, P> {
    pub program: &'a mut P,
    pub settled: &'a Settled<'a>,
}

impl<P: Program> Start<'_, P> {
    /// The rows of training and of validation, and what is known of them.
    pub fn rows(&mut self, table: &Table, feed: &mut Feed, held: Option<&mut Feed>) -> Result<()> {
        let Settled { train, validation, lanes: own, .. } = self.settled;
        table.upload(self.program, train, self.settled.weights.as_deref())?;
        let units = Units::of(&self.settled.target_scalers, own.len());
        feed.survey(train, own.iter().map(|lane| &lane.train), &units);
        let (Some(held), Some(data)) = (held, validation) else { return Ok(()) };
        if held.table.features != table.features {
            held.table.upload(self.program, data, None)?;
        }
        held.survey(data, own.iter().map(|lane| &lane.validation), &units);
        held.write_order(self.program, |lane, places| {
            let rows = own[lane].validation.numbers();
            places.iter_mut().zip(rows).map(|(place, row)| *place = row).count()
        })
    }

    /// Means and divisors.
    pub fn scalings(&mut self, scalings: [(Option<Scaling>, &Vec<Scaler>); 2]) -> Result<()> {
        scalings
            .into_iter()
            .filter_map(|(scaling, of)| Some((scaling?, of)))
            .try_for_each(|(scaling, of)| scaling.upload(self.program, of))
    }

    /// Parameters by each lane's seed, those that lanes share, untrained buffers, keys of random numbers.
    pub fn lanes(&mut self, tape: &Tape, params: BufferId, base: Option<BufferId>, statistics: &Statistics) -> Result<()> {
        let own = &self.settled.lanes;
        if let (Some(id), Some(first)) = (base, own.first()) {
            self.program.write(id, 0, 0, &floats(tape.initial_shared(lanes::key(first.seed))?))?;
        }
        let start = tape.initial_buffers()?;
        // Neighbours often have one seed.
        let mut known: Option<(u64, Vec<P::Float>)> = None;
        for (lane, of) in own.iter().enumerate() {
            if known.as_ref().is_none_or(|(seed, _)| *seed != of.seed) {
                known = Some((of.seed, floats(tape.initial(lanes::key(of.seed))?)));
            }
            if let Some((_, initial)) = &known {
                self.program.write(params, lane, 0, initial)?;
            }
            let start = self.buffers(lane, start.clone(), &statistics.arena)?;
            self.program.write(statistics.id, lane, 0, &floats(start))?;
            self.program.write_indices(statistics.keys, lane, 0, &lanes::step_key(of.seed))?;
        }
        Ok(())
    }

    /// A lane's untrained buffers, with those that the builder was given.
    fn buffers(&self, lane: usize, mut start: Vec<f64>, arena: &Arena) -> Result<Vec<f64>> {
        for (_, name, values) in self.settled.buffers.iter().filter(|(of, ..)| *of == lane) {
            let tensor = arena.tensor(name).map_err(|_| unknown_buffer(name, arena))?;
            if tensor.len() != values.len() {
                return Err(Error::shape(format!("buffer '{name}'"), format!("{} elements", tensor.len()), values.len()));
            }
            start[tensor.offset..][..values.len()].copy_from_slice(values);
        }
        Ok(start)
    }
}

fn floats<F: Real>(values: Vec<f64>) -> Vec<F> {
    values.into_iter().map(F::of).collect()
}

pub(super) fn unknown_buffer(name: &str, buffers: &Arena) -> Error {
    let known: Vec<&str> = buffers.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    Error::unknown("buffer of the model", name, &known)
}
