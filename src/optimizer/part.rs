//! Steps of a part of the arena, where several machines share the state of an optimizer: norms and gradients from elsewhere.

use super::recipe::Recipe;
use super::stepper::Stepper;
use crate::error::{Error, Result, range};
use crate::plan::{Arena, BufferId, Program};
use crate::rule::Layerwise;
use std::ops::Range;

/// Why a setting goes with whole arenas alone.
const WHOLE: &str = "it needs numbers of whole tensors";

impl Recipe {
    /// Checks that a recipe of a part needs no numbers of whole tensors, and that the part consists of whole chunks.
    pub(super) fn check_part(&self, arena: &Arena) -> Result<()> {
        let Some(own) = &self.part else { return Ok(()) };
        let starts = |at: usize| at == arena.len() || arena.chunks().iter().any(|chunk| chunk.start == at);
        let fits = own.start <= own.end && own.end <= arena.len() && starts(own.start) && starts(own.end);
        range::require(fits, "part", format!("{own:?}"), "a range of the arena that begins and ends with chunks")?;
        let what = [
            (self.bounds_tensors(), "a bound of each tensor", WHOLE),
            (self.centralise, "centralise", WHOLE),
            (self.cautious, "cautious", WHOLE),
            (self.inspect, "inspect", WHOLE),
            (self.rho.is_some(), "sam", "its ascent needs the norm of the whole gradient before the step"),
            (self.half.is_some(), "half_copy", "the copy would follow the part alone"),
        ];
        if let Some((_, what, reason)) = what.into_iter().find(|(holds, ..)| *holds) {
            return Err(Error::conflict(what, "a part of the arena", reason));
        }
        for (_, _, rule) in self.rules() {
            if rule.layerwise() != Layerwise::No || rule.factored() || rule.orthogonal().is_some() {
                let reason = "its steps need numbers of whole tensors";
                return Err(Error::conflict(rule.name(), "a part of the arena", reason));
            }
        }
        Ok(())
    }
}

impl Stepper {
    /// The elements that steps move, where they are not all: [`Recipe::part`].
    pub fn moving(&self) -> Option<&Range<usize>> {
        self.recipe.part.as_ref()
    }

    /// The partial norms of the part that the recipe moves, of the sum that is there by now; none where the recipe has no norm.
    ///
    /// # Errors
    /// A recipe without a part, a lane that does not exist, or a lost device.
    pub fn measure_part<P: Program>(&mut self, program: &mut P, lane: usize) -> Result<Vec<P::Float>> {
        match self.start_measuring(program)? {
            Some(own) => program.read(own, lane),
            None => Ok(Vec::new()),
        }
    }

    /// Measures the part: the buffer of its norms, where the recipe has one.
    pub(super) fn start_measuring<P: Program>(&mut self, program: &mut P) -> Result<Option<BufferId>> {
        let [own, _] = self.parted()?;
        let Some(plan) = self.plans.part else { return Ok(None) };
        program.run(plan, 1).map(|()| Some(own))
    }

    /// How many partial norms a part has.
    pub fn norms_of(&self, part: &Range<usize>) -> usize {
        let chunks = self.buffers.chunks.iter().filter(|start| part.contains(start)).count();
        self.plans.part.and(self.recipe.norm()).map_or(0, |kind| kind.partials(chunks))
    }

    /// Puts in the partial norms of a part, measured where it is moved.
    ///
    /// # Errors
    /// A recipe without a part, other values than [`Stepper::norms_of`] says, a lane that does not exist, or a lost device.
    pub fn put_norms<P: Program>(&self, program: &mut P, lane: usize, part: &Range<usize>, norms: &[P::Float]) -> Result<()> {
        let [_, all] = self.parted()?;
        range::require(
            norms.len() == self.norms_of(part),
            "partial norms",
            norms.len(),
            "one or two for each chunk of the part",
        )?;
        let places = self.buffers.chunks.iter().enumerate().filter(|(_, start)| part.contains(start)).map(|(at, _)| at);
        let places: Vec<usize> = places.collect();
        // Second values stand behind the first ones of all chunks.
        for (values, behind) in norms.chunks(places.len().max(1)).zip([0, self.buffers.chunks.len()]) {
            for (run, start) in runs(&places) {
                program.write(all, lane, behind + start, &values[run])?;
            }
        }
        Ok(())
    }

    /// The buffers that a parted recipe moves a part of: parameters, planes, averages, slow weights.
    pub fn moved(&self) -> Vec<BufferId> {
        let sums = &self.buffers.levels;
        self.kept.iter().filter(|kept| kept.arena && !sums.contains(&kept.id)).map(|kept| kept.id).collect()
    }

    fn parted(&self) -> Result<[BufferId; 2]> {
        self.buffers.part.ok_or_else(|| super::stepper::not_asked("a step of a part", "part"))
    }
}

/// Neighbours among places: where they are in the list, and the first place.
fn runs(places: &[usize]) -> Vec<(Range<usize>, usize)> {
    let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
    for (at, &place) in places.iter().enumerate() {
        match runs.last_mut() {
            Some((run, start)) if *start + run.len() == place => run.end += 1,
            _ => runs.push((at..at + 1, place)),
        }
    }
    runs
}
