//! Everything that a run has come to, into another optimizer, which goes on with the same bits.

use super::pieces::Piece;
use super::planes::halves;
use super::recorded::Kept;
use super::snapshot::{AHEAD, APPLIED, STEPS, TOLD};
use super::state::{Expected, State};
use super::stepper::Stepper;
use super::view::StateView;
use crate::error::{Error, Result};
use crate::plan::{BufferId, Counter, Kind, Program, Tag};
use crate::rule::{Real, Setting};
use std::borrow::Cow;
use std::collections::BTreeMap;

impl Stepper {
    /// Takes a run up where a snapshot was taken: the steps that follow have the bits that they would have had there. The
    /// recipe, the tensors and the lanes have to be those of the snapshot; numbers that [`Stepper::set`] had changed are
    /// changed again. Gradients are not set. Nothing is changed where the snapshot does not fit.
    ///
    /// # Errors
    /// Arrays that are missing, unknown, of another shape or for other lanes, each by its name; a setting that cannot be
    /// changed; a lost device.
    pub fn restore<P: Program>(&mut self, program: &mut P, state: &State<P::Float>) -> Result<()> {
        self.restore_but(program, &state.view(), &[], &[])
    }

    /// [`Stepper::restore`] that leaves buffers as they are, of a state that has others' arrays of these names beside its own.
    pub(super) fn restore_but<P: Program>(
        &mut self,
        program: &mut P,
        state: &StateView<'_, P::Float>,
        left: &[BufferId],
        others: &[String],
    ) -> Result<()> {
        self.check(state, others)?;
        let lanes = self.recipe.lanes();
        let mut restored = self.clone();
        restored.restore_settings(state)?;
        restored.restore_host(state)?;
        for kept in self.kept.iter().filter(|kept| !left.contains(&kept.id)) {
            match kept.kind {
                Kind::Float => self.each_lane(state, kept, |lane, values| program.write(kept.id, lane, 0, values))?,
                Kind::Half => {
                    self.each_lane(state, kept, |lane, values| self.write_plane(program, kept.id, lane, 0, values))?;
                }
                Kind::Index => {
                    let all = state.indices(&kept.name, &[kept.len], lanes)?;
                    all.iter().enumerate().try_for_each(|(lane, own)| program.write_indices(kept.id, lane, 0, own))?;
                }
            }
        }
        let params = self.kept.iter().find(|kept| kept.id == self.buffers.params);
        if let (Some((half, id)), Some(params)) = (self.recipe.half.zip(self.buffers.half), params) {
            self.each_lane(state, params, |lane, values| program.write_halves(id, lane, 0, &halves(half, values)))?;
        }
        *self = restored;
        Ok(())
    }

    /// Puts a buffer together of its pieces, lane after lane.
    fn each_lane<F: Real>(
        &self,
        state: &StateView<'_, F>,
        kept: &Kept,
        mut each: impl FnMut(usize, &[F]) -> Result<()>,
    ) -> Result<()> {
        let lanes = self.recipe.lanes();
        let found = |Piece { name, shape, range }: Piece| Ok((range, state.floats(&name, &shape, lanes)?));
        let pieces = self.pieces(kept).into_iter().map(found).collect::<Result<Vec<_>>>()?;
        if let [(range, own)] = &pieces[..]
            && range.len() == kept.len
        {
            // The buffer is one piece: it is written as it is, without a copy.
            return own.iter().enumerate().try_for_each(|(lane, values)| each(lane, values));
        }
        let mut values = vec![F::zero(); kept.len];
        for lane in 0..lanes {
            pieces.iter().for_each(|(range, own)| values[range.clone()].copy_from_slice(&own[lane]));
            each(lane, &values)?;
        }
        Ok(())
    }

    /// Whether a snapshot has all that there is, and nothing else but what others have in it.
    fn check<F: Real>(&self, state: &StateView<'_, F>, others: &[String]) -> Result<()> {
        let expected = self.expected();
        for Expected { name, shape, kind } in &expected {
            state.checked(name, shape, *kind, self.recipe.lanes())?;
        }
        let beside = others.iter().filter(|name| state.has(name)).count();
        if expected.len() + beside == state.names().len() {
            return Ok(());
        }
        let names: Vec<&str> = expected.iter().map(|expected| &*expected.name).collect();
        match state.names().find(|name| !names.contains(&name.as_str()) && !others.contains(name)) {
            Some(unknown) => Err(Error::unknown("array of the state", unknown, &names)),
            None => Ok(()),
        }
    }

    /// Settings of a rule are taken as a whole: each may be out of the range that the others have now.
    fn restore_settings<F: Real>(&mut self, state: &StateView<'_, F>) -> Result<()> {
        let lanes = self.recipe.lanes();
        for group in 0..self.recipe.groups.len() {
            let name = self.recipe.groups[group].name.clone();
            let mut first = self.recipe.rule(0, group).boxed();
            let initial = first.initial_settings();
            let number = |(setting, own): (&'static str, Setting)| match own {
                // Settings that only the start of a run uses have had their effect.
                Setting::Number(_) if !initial.contains(&setting) => Some(setting),
                _ => None,
            };
            let numbers = first.settings().into_iter().filter_map(number).map(|setting| {
                let values = state.number(&format!("setting.{name}.{setting}"), lanes)?;
                Ok::<_, Error>((setting, values))
            });
            let numbers = numbers.collect::<Result<BTreeMap<&str, &[Cow<'_, [f64]>]>>>()?;
            for lane in 0..lanes {
                let (mut rule, mut differs) = (self.recipe.rule(lane, group).boxed(), false);
                for (setting, own) in rule.settings() {
                    let (Setting::Number(own), Some(values)) = (own, numbers.get(setting)) else { continue };
                    differs |= own.to_bits() != values[lane][0].to_bits();
                    *own = values[lane][0];
                }
                if differs {
                    self.set_rule(lane, &name, rule)?;
                }
            }
        }
        Ok(())
    }

    /// What the host knows of the device.
    fn restore_host<F: Real>(&mut self, state: &StateView<'_, F>) -> Result<()> {
        let (lanes, groups) = (self.recipe.lanes(), self.recipe.groups.len());
        let one = |name: &str| Ok::<u64, Error>(state.counts(name, &[], lanes)?[0][0]);
        self.applied = state.counts(APPLIED, &[groups], lanes)?.concat();
        // All rows are written anew.
        self.written = self.applied.clone();
        (self.run, self.forgotten) = (one(STEPS)?, 0);
        self.known_at = self.run;
        self.ahead = one(AHEAD)? as usize;
        self.open_sum = false;
        self.frozen = state.indices("frozen", &[groups], lanes)?.concat().iter().map(|&frozen| frozen != 0).collect();
        let (counts, told) = (state.indices("counts", &[Counter::LEN + groups], lanes)?, state.counts(TOLD, &[], lanes)?);
        for (bad, (counts, told)) in self.bad.iter_mut().zip(counts.iter().zip(told)) {
            *bad = [counts[Counter::BadInARow as usize], told[0] as u32];
        }
        self.log.restart(self.run);
        // Answers that are under way are about what was before.
        self.tag = Tag::new();
        Ok(())
    }
}
