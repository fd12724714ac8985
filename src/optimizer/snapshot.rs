//! Everything that a run has come to, out of an optimizer.

use super::pieces::Piece;
use super::planes::floats;
use super::state::{Expected, State, StateValues};
use super::stepper::Stepper;
use super::view::StateKind;
use crate::error::Result;
use crate::plan::{BufferId, Kind, Program, Values};
use crate::rule::{Real, Setting};
use std::collections::BTreeMap;

/// What the host counts, by name: steps of each group, steps at all, what came before the next one, bad steps that were told.
pub(super) const APPLIED: &str = "host.applied";
pub(super) const STEPS: &str = "host.steps";
pub(super) const AHEAD: &str = "host.before_step";
pub(super) const TOLD: &str = "host.bad_told";

impl Stepper {
    /// All that the run has come to. Waits for the device, once.
    ///
    /// Steps that are recorded into encoders and not yet submitted are no part of it.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn snapshot<P: Program>(&mut self, program: &mut P) -> Result<State<P::Float>> {
        self.snapshot_but(program, &[])
    }

    /// [`Stepper::snapshot`] without what these buffers hold.
    pub(super) fn snapshot_but<P: Program>(&mut self, program: &mut P, left: &[BufferId]) -> Result<State<P::Float>> {
        let found = program.read_all(&self.kept_but(left))?;
        Ok(self.snapshot_of(found, left))
    }

    /// What a snapshot reads.
    pub(super) fn kept_but(&self, left: &[BufferId]) -> Vec<BufferId> {
        self.kept.iter().map(|kept| kept.id).filter(|id| !left.contains(id)).collect()
    }

    /// The snapshot of what [`Stepper::kept_but`] hold.
    pub(super) fn snapshot_of<F: Real>(&mut self, found: Vec<Values<F>>, left: &[BufferId]) -> State<F> {
        let (mut state, mut counts) = (State::default(), Vec::new());
        for (kept, values) in self.kept.iter().filter(|kept| !left.contains(&kept.id)).zip(found) {
            match values {
                Values::Floats(lanes) => {
                    let mut pieces = self.pieces(kept);
                    match &mut pieces[..] {
                        // The buffer is one piece: it is taken as it is, without a copy.
                        [only] if only.range.len() == kept.len => {
                            state.put(std::mem::take(&mut only.name), &only.shape, StateValues::Floats(lanes));
                        }
                        pieces => pieces.iter_mut().for_each(|Piece { name, shape, range }| {
                            let own = |lane: &Vec<F>| lane[range.clone()].to_vec();
                            let values = StateValues::Floats(lanes.iter().map(own).collect());
                            state.put(std::mem::take(name), shape, values);
                        }),
                    }
                }
                Values::Halves(lanes) => {
                    let Some(half) = self.recipe.state.half() else { continue };
                    for Piece { name, shape, range } in self.pieces(kept) {
                        let own = |lane: &Vec<u16>| floats(half, &lane[range.clone()]);
                        state.put(name, &shape, StateValues::Floats(lanes.iter().map(own).collect()));
                    }
                }
                Values::Indices(lanes) => {
                    if kept.id == self.buffers.counts {
                        counts = lanes.concat();
                    }
                    state.put(kept.name.clone(), &[kept.len], StateValues::Indices(lanes));
                }
            }
        }
        self.learn(&counts);
        let (lanes, groups) = (self.recipe.lanes(), self.recipe.groups.len());
        let applied = self.applied.chunks_exact(groups).map(<[u64]>::to_vec).collect();
        state.put(APPLIED.into(), &[groups], StateValues::Counts(applied));
        let mut count = |name: &str, of: &dyn Fn(usize) -> u64| {
            state.put(name.into(), &[], StateValues::Counts((0..lanes).map(|lane| vec![of(lane)]).collect()));
        };
        count(STEPS, &|_| self.known_at);
        count(AHEAD, &|_| self.ahead as u64);
        count(TOLD, &|lane| self.bad[lane][1].into());
        self.settings().into_iter().for_each(|(name, values)| state.put(name, &[], StateValues::Numbers(values)));
        state
    }

    /// The numbers of every group's rule, by lane.
    pub(super) fn settings(&self) -> BTreeMap<String, Vec<Vec<f64>>> {
        let mut all = BTreeMap::new();
        for lane in 0..self.recipe.lanes() {
            for group in 0..self.recipe.groups.len() {
                let mut rule = self.recipe.rule(lane, group).boxed();
                for (setting, value) in rule.settings() {
                    if let Setting::Number(value) = value {
                        let name = format!("setting.{}.{setting}", self.recipe.groups[group].name);
                        all.entry(name).or_insert_with(Vec::new).push(vec![*value]);
                    }
                }
            }
        }
        all
    }

    /// What a snapshot of this run has in it, without a look at the device.
    pub(super) fn expected(&self) -> Vec<Expected> {
        let one = |name: &str, shape: &[usize], kind| Expected { name: name.into(), shape: shape.into(), kind };
        let mut all = Vec::new();
        for kept in &self.kept {
            match kept.kind {
                Kind::Float | Kind::Half => {
                    all.extend(self.pieces(kept).iter().map(|piece| one(&piece.name, &piece.shape, StateKind::Floats)));
                }
                Kind::Index => all.push(one(&kept.name, &[kept.len], StateKind::Indices)),
            }
        }
        all.push(one(APPLIED, &[self.recipe.groups.len()], StateKind::Counts));
        all.extend([STEPS, AHEAD, TOLD].map(|name| one(name, &[], StateKind::Counts)));
        all.extend(self.settings().keys().map(|name| one(name, &[], StateKind::Numbers)));
        all
    }
}
