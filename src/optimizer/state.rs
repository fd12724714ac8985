//! Everything that a run has come to, as data: out of one optimizer and into another, which goes on with the same bits.

use super::planes::{floats, halves};
use super::stepper::{Kept, Stepper, not_asked};
use super::view::{ArrayView, StateKind, StateView, ValuesView};
use crate::error::{Error, Result, range};
use crate::plan::{Arena, Blueprint, BufferId, Counter, Kind, Named, Program, Scalar, Stack, Tag, Tensor, Values};
use crate::rule::{Real, Setting};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// A snapshot of an optimizer: parameters, planes, averages, counters, loss scale, settings.
///
/// Arrays have names. Those of a tensor `w` are `param.w`, `state.w.m` for a plane `m`, and where a recipe has them
/// `average.w`, `slow.w`, `sum.w` and `before.w`. A matrix whose second moments are kept by rows and columns
/// ([`Adafactor`](crate::Adafactor)) has `state.w.row_var` and `state.w.col_var`, of one column and of one row. `counts`,
/// `scalars`, `frozen` and the like hold what the device counts, `host.applied` and the like what the host knows.
/// `setting.default.lr` is a number of a group's rule. Gradients are no part of it, nor is a copy in 16 bits, which is made
/// anew. Planes of 16 bits ([`Recipe::state`](crate::Recipe::state)) are floats here, and in files, of the same value: they
/// come back with the same bits. So a run may go on with planes of another storage; those of 16 bits are then rounded to the
/// nearest.
///
/// # Examples
///
/// A run that is interrupted goes on in another optimizer:
///
/// ```
/// use thalweg::{Adam, Optimizer, Recipe, cpu::Cpu};
///
/// let new = || Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Adam::default()), &[("w", &[2])]);
/// let (mut first, mut second) = (new()?, new()?);
/// first.set_grads("w", &[1.0, -2.0])?;
/// first.steps(3)?;
/// second.load_state_dict(&first.state_dict()?)?;
/// second.set_grads("w", &[1.0, -2.0])?;
/// (first.steps(2)?, second.steps(2)?);
/// assert_eq!(first.params("w")?, second.params("w")?);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct State<F> {
    arrays: BTreeMap<String, StateArray<F>>,
}

/// An array of a [`State`].
#[derive(Debug, Clone, PartialEq)]
pub struct StateArray<F> {
    /// The shape of a lane's values.
    pub shape: Vec<usize>,
    /// The values.
    pub values: StateValues<F>,
}

/// The values of a [`StateArray`], by lane.
#[derive(Debug, Clone, PartialEq)]
pub enum StateValues<F> {
    /// Floats of the engine.
    Floats(Vec<Vec<F>>),
    /// What the device counts.
    Indices(Vec<Vec<u32>>),
    /// What the host counts.
    Counts(Vec<Vec<u64>>),
    /// Settings.
    Numbers(Vec<Vec<f64>>),
}

impl<F> StateValues<F> {
    fn lanes(&self) -> usize {
        match self {
            Self::Floats(lanes) => lanes.len(),
            Self::Indices(lanes) => lanes.len(),
            Self::Counts(lanes) => lanes.len(),
            Self::Numbers(lanes) => lanes.len(),
        }
    }

    fn lane(&self, lane: usize) -> Self
    where
        F: Clone,
    {
        match self {
            Self::Floats(lanes) => Self::Floats(vec![lanes[lane].clone()]),
            Self::Indices(lanes) => Self::Indices(vec![lanes[lane].clone()]),
            Self::Counts(lanes) => Self::Counts(vec![lanes[lane].clone()]),
            Self::Numbers(lanes) => Self::Numbers(vec![lanes[lane].clone()]),
        }
    }

    /// Adds lanes; whether they are of this kind.
    fn append(&mut self, more: Self) -> bool {
        match (self, more) {
            (Self::Floats(lanes), Self::Floats(more)) => lanes.extend(more),
            (Self::Indices(lanes), Self::Indices(more)) => lanes.extend(more),
            (Self::Counts(lanes), Self::Counts(more)) => lanes.extend(more),
            (Self::Numbers(lanes), Self::Numbers(more)) => lanes.extend(more),
            _ => return false,
        }
        true
    }
}

/// An array that a snapshot has to have.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: StateKind,
}

impl<F> Default for State<F> {
    fn default() -> Self {
        Self { arrays: BTreeMap::new() }
    }
}

impl<F> State<F> {
    /// The arrays with their names, in the order of these.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StateArray<F>)> {
        self.arrays.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// The arrays with their names, one after the other: each can be given up once it is used.
    #[cfg(feature = "checkpoint")]
    pub(super) fn into_arrays(self) -> impl Iterator<Item = (String, StateArray<F>)> {
        self.arrays.into_iter()
    }

    /// The array of that name.
    pub fn get(&self, name: &str) -> Option<&StateArray<F>> {
        self.arrays.get(name)
    }

    /// Puts an array in the place of one of that name, which comes back, or beside the others.
    pub fn insert(&mut self, name: &str, array: StateArray<F>) -> Option<StateArray<F>> {
        self.arrays.insert(name.into(), array)
    }

    /// What a lane has of all arrays, as the state of one lane.
    ///
    /// # Errors
    /// A lane that does not exist.
    pub fn lane(&self, lane: usize) -> Result<Self>
    where
        F: Clone,
    {
        let mut one = Self::default();
        for (name, array) in &self.arrays {
            let lanes = array.values.lanes();
            range::require(lane < lanes, "lane", lane, &format!("below {lanes}"))?;
            one.put(name.clone(), &array.shape, array.values.lane(lane));
        }
        Ok(one)
    }

    /// The state of several lanes, from states of the same arrays.
    ///
    /// # Errors
    /// No states, or arrays that some of them lack or have of another kind or shape.
    pub fn join(states: impl IntoIterator<Item = Self>) -> Result<Self> {
        let mut states = states.into_iter();
        let mut joined = states.next().ok_or_else(|| Error::Empty { what: "the list of states".into() })?;
        for mut state in states {
            for (name, array) in &mut joined.arrays {
                let missing = || Error::shape(format!("the state's {name}"), "an array", "none");
                let more = state.arrays.remove(name).ok_or_else(missing)?;
                let fits = more.shape == array.shape && array.values.append(more.values);
                if !fits {
                    return Err(Error::shape(format!("the state's {name}"), "arrays alike", "others"));
                }
            }
            if let Some((name, _)) = state.arrays.first_key_value() {
                return Err(Error::shape(format!("the state's {name}"), "none", "an array"));
            }
        }
        Ok(joined)
    }

    /// Takes an array out.
    pub fn remove(&mut self, name: &str) -> Option<StateArray<F>> {
        self.arrays.remove(name)
    }

    pub(crate) fn put(&mut self, name: String, shape: &[usize], values: StateValues<F>) {
        self.arrays.insert(name, StateArray { shape: shape.to_vec(), values });
    }
}

impl<F: Real> StateArray<F> {
    fn view(&self) -> ArrayView<'_, F> {
        fn all<T: Clone>(lanes: &[Vec<T>]) -> Vec<Cow<'_, [T]>> {
            lanes.iter().map(|lane| Cow::Borrowed(&lane[..])).collect()
        }
        let values = match &self.values {
            StateValues::Floats(lanes) => ValuesView::Floats(all(lanes)),
            StateValues::Indices(lanes) => ValuesView::Indices(all(lanes)),
            StateValues::Counts(lanes) => ValuesView::Counts(all(lanes)),
            StateValues::Numbers(lanes) => ValuesView::Numbers(all(lanes)),
        };
        ArrayView { shape: self.shape.clone(), values }
    }
}

impl<F: Real> State<F> {
    pub(crate) fn view(&self) -> StateView<'_, F> {
        StateView::new(self.iter().map(|(name, array)| (name.into(), array.view())))
    }
}

/// What the host counts, by name: steps of each group, steps at all, what came before the next one, bad steps that were told.
pub(super) const APPLIED: &str = "host.applied";
const STEPS: &str = "host.steps";
const AHEAD: &str = "host.before_step";
const TOLD: &str = "host.bad_told";

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

    /// What the buffers of floats hold that snapshots keep.
    #[cfg(feature = "checkpoint")]
    pub(super) fn float_pieces(&self) -> Vec<(BufferId, Vec<Piece>)> {
        self.kept.iter().filter(|kept| kept.kind == Kind::Float).map(|kept| (kept.id, self.pieces(kept))).collect()
    }

    /// What a buffer of floats holds, by name. A buffer laid out as the arena has a piece of each tensor. In a buffer of planes
    /// a piece is what the tensor's rule keeps there: another plane for each rule, or nothing.
    fn pieces(&self, kept: &Kept) -> Vec<Piece> {
        let tensors = self.arena.tensors().iter();
        if let Some((groups, moments)) = self.buffers.moments.iter().find(|(_, moments)| moments.buffer == kept.id) {
            let own = tensors.filter(|tensor| groups.contains(&tensor.group));
            let named = |tensor: &Tensor| {
                let mut pieces = moments_of(tensor, &moments.stacks[tensor.rank]);
                pieces.iter_mut().for_each(|piece| piece.name = format!("state.{}.{}", tensor.name, piece.name));
                pieces
            };
            return own.flat_map(named).collect();
        }
        if !kept.arena {
            return vec![Piece { name: kept.name.clone(), shape: vec![kept.len], range: 0..kept.len }];
        }
        let piece = |tensor: &Tensor| {
            let range = tensor.offset..tensor.offset + tensor.len();
            Some(Piece { name: self.part(kept, tensor)?, shape: tensor.shape.clone(), range })
        };
        tensors.filter_map(piece).collect()
    }

    /// What a rule keeps of a tensor, by the names that [`Optimizer::state`](super::Optimizer::state) knows, with the shape of
    /// each.
    #[cfg(feature = "checkpoint")]
    pub(super) fn states_of(&self, tensor: &Tensor) -> Vec<(String, Vec<usize>)> {
        let factored = self.buffers.moments.iter().find(|(groups, _)| groups.contains(&tensor.group));
        if let Some((_, moments)) = factored {
            return moments_of(tensor, &moments.stacks[tensor.rank])
                .into_iter()
                .map(|piece| (piece.name, piece.shape))
                .collect();
        }
        let rule = self.recipe.rule(0, tensor.group);
        let names = rule.planes().into_iter().map(|plane| rule.state_names()[plane]);
        names.map(|name| (name.to_string(), tensor.shape.clone())).collect()
    }

    fn part(&self, kept: &Kept, tensor: &Tensor) -> Option<String> {
        let Tensor { name, group, .. } = tensor;
        if kept.id == self.buffers.params {
            return Some(format!("param.{name}"));
        }
        if !self.buffers.planes.iter().flatten().any(|(_, id)| *id == kept.id) {
            return Some(format!("{}.{name}", kept.name));
        }
        let (plane, _) = self.buffers.planes[*group].iter().find(|(_, id)| *id == kept.id)?;
        // `state.` keeps planes apart from the rest: a rule may have a plane named `average`.
        Some(format!("state.{name}.{}", self.recipe.rule(0, *group).state_names()[*plane]))
    }

    /// The numbers of every group's rule, by lane.
    fn settings(&self) -> BTreeMap<String, Vec<Vec<f64>>> {
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

    /// Takes a run up where a snapshot was taken: the steps that follow have the bits that they would have had there. The
    /// recipe, the tensors and the lanes have to be those of the snapshot; numbers that [`Stepper::set`] had changed are
    /// changed again. Gradients are not set. Nothing is changed where the snapshot does not fit.
    ///
    /// # Errors
    /// Arrays that are missing, unknown, of another shape or for other lanes, each by its name; a setting that cannot be
    /// changed; a lost device.
    pub fn restore<P: Program>(&mut self, program: &mut P, state: &State<P::Float>) -> Result<()> {
        self.restore_but(program, &state.view(), None, &[])
    }

    /// [`Stepper::restore`] that leaves a buffer as it is, of a state that has others' arrays of these names beside its own.
    pub(super) fn restore_but<P: Program>(
        &mut self,
        program: &mut P,
        state: &StateView<'_, P::Float>,
        left: Option<BufferId>,
        others: &[String],
    ) -> Result<()> {
        self.check(state, others)?;
        let lanes = self.recipe.lanes();
        let mut restored = self.clone();
        restored.restore_settings(state)?;
        restored.restore_host(state)?;
        for kept in self.kept.iter().filter(|kept| Some(kept.id) != left) {
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

    /// Goes on as if each of a lane's groups had applied this many steps: bias corrections, schedules and averages follow. The
    /// counters of [`Stepper::report`] stay. Waits for the device.
    ///
    /// # Errors
    /// A lane or a group that does not exist, or a lost device.
    pub fn set_applied<P: Program>(&mut self, program: &mut P, lane: usize, group: &str, steps: u64) -> Result<()> {
        self.check_lane(lane)?;
        let group = self.recipe.group_named(group)?;
        self.know(program)?;
        self.tag = Tag::new();
        let index = lane * self.recipe.groups.len() + group;
        (self.applied[index], self.written[index]) = (steps, steps);
        // The device counts in 32 bits.
        program.write_indices(self.buffers.counts, lane, Counter::LEN + group, &[steps as u32])
    }

    /// Sets a lane's loss scale, which is finite and above 0.
    ///
    /// # Errors
    /// A recipe without a loss scale, a value out of its range, a lane that does not exist, or a lost device.
    pub fn set_loss_scale<P: Program>(&self, program: &mut P, lane: usize, scale: f64) -> Result<()> {
        if self.recipe.loss_scale.is_none() {
            return Err(not_asked("set_loss_scale", "loss_scale"));
        }
        range::positive("loss_scale", scale)?;
        program.write(self.buffers.scalars, lane, Scalar::LossScale as usize, &[P::Float::of(scale)])
    }
}

/// A part of a buffer under a name of its own.
#[derive(Debug)]
pub(super) struct Piece {
    pub name: String,
    pub shape: Vec<usize>,
    /// Where it lies.
    pub range: Range<usize>,
}

/// What is kept of a tensor by rows and columns, with PyTorch's names and shapes; a vector keeps `v`. What rows are divided by
/// follows from them.
fn moments_of(tensor: &Tensor, stack: &Stack) -> Vec<Piece> {
    let piece = |name: &str, shape: Vec<usize>, range| Piece { name: name.into(), shape, range };
    let line = |axis: usize| {
        let mut shape = tensor.shape.clone();
        let at = shape.len() - axis;
        shape[at] = 1;
        shape
    };
    if stack.matrices == 0 {
        return vec![piece("v", tensor.shape.clone(), stack.first..stack.end())];
    }
    vec![piece("row_var", line(1), stack.row_moments()), piece("col_var", line(2), stack.column_moments())]
}

/// Buffers that snapshots keep, as far as a recording declared them.
pub(super) fn kept(blueprint: &Blueprint, arena: &Arena, from: usize, params: BufferId) -> Vec<Kept> {
    let own = |named: &Named| named.kept && (named.id.0 >= from || named.id == params);
    let of = |named: Named| Kept {
        id: named.id,
        // Whatever its owner calls it.
        name: if named.id == params { "params".into() } else { blueprint.plain_name(&named.declared.name).into() },
        arena: blueprint.layout().check_arena(named.id, arena).is_ok(),
        kind: named.declared.kind,
        len: named.declared.len,
    };
    blueprint.buffers().filter(own).map(of).collect()
}
