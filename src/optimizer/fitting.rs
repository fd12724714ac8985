//! What fits of a file, where not all of it has to.

use super::Optimizer;
use super::saved::PARAM;
use super::state::{Expected, State};
use super::view::{ArrayView, StateView, ValuesView};
use crate::checkpoint::{Element, Loaded, Tensors};
use crate::error::Result;
use crate::plan::Program;
use crate::rule::Real;
use std::collections::BTreeSet;

/// An array out of a file, with what it had to be.
pub(crate) type Found<'a, F> = (Expected, ArrayView<'a, F>);

/// What fits of a file.
pub(crate) struct Fitting<'a, F: Real> {
    /// What is taken one by one.
    pub alone: Vec<Found<'a, F>>,
    /// Whether that is all of its kind.
    pub complete: bool,
    /// All else, or why it does not fit.
    pub rest: Result<Vec<Found<'a, F>>>,
    /// About what is taken one by one, and what the file has beside.
    pub loaded: Loaded,
}

impl<F: Real> Fitting<'_, F> {
    /// Whether the run's own state is needed for what does not fit.
    pub(crate) fn needs_state(&self) -> bool {
        self.rest.is_ok() && !self.complete
    }

    /// The state to load: what fits, over the run's own. None where only what is taken one by one fits.
    pub(crate) fn over<'s>(&'s self, own: &'s State<F>) -> Option<StateView<'s, F>> {
        let rest = self.rest.as_ref().ok()?;
        let mut state = own.view();
        self.alone.iter().chain(rest).for_each(|(expected, array)| state.insert(&expected.name, array.clone()));
        Some(state)
    }
}

/// The floats of arrays whose names begin with `prefix`: the rest of the name, the lane, its values.
pub(crate) fn parts_of<'a, F: Real>(
    found: &'a [Found<'_, F>],
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, usize, &'a [F])> {
    let named = move |(expected, array): &'a Found<'_, F>| Some((expected.name.strip_prefix(prefix)?, array));
    found.iter().filter_map(named).flat_map(|(tensor, array)| {
        let lanes = if let ValuesView::Floats(lanes) = &array.values { &lanes[..] } else { &[] };
        lanes.iter().enumerate().map(move |(lane, values)| (tensor, lane, &values[..]))
    })
}

impl<P: Program> Optimizer<P>
where
    P::Float: Element,
{
    /// Takes what fits of [`Optimizer::tensors`], and says what was taken and what was not. Parameters are taken one by one.
    /// All else (state of the rules, counters, settings, averages) is taken as a whole or not at all: counters without the
    /// state that they belong to would make wrong steps.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    ///
    /// # Examples
    ///
    /// A model with another last layer:
    ///
    /// ```
    /// use thalweg::{Adam, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let new = |out: &[usize]| {
    ///     Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Adam::default()), &[("body", &[2, 2]), ("head", out)])
    /// };
    /// let (mut old, mut new) = (new(&[3])?, new(&[4])?);
    /// old.lane(0)?.set_params("body", &[1.0, 2.0, 3.0, 4.0])?;
    /// let loaded = new.load_tensors_lenient(&old.tensors()?)?;
    /// assert_eq!(loaded.loaded, ["param.body"]);
    /// assert_eq!(new.lane(0)?.params("body")?, [1.0, 2.0, 3.0, 4.0]);
    /// let said = loaded.to_string();
    /// assert!(said.contains("param.head stays as it was: tensor 'param.head' of the file: shape [3] found, shape [4] expected"));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn load_tensors_lenient(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let fitting = self.fitting_alone(tensors);
        let own = if fitting.needs_state() { self.state_dict()? } else { State::default() };
        self.take_fitting(fitting, &own, tensors)
    }

    /// What fits of a file, parameters one by one.
    pub(super) fn fitting_alone<'a>(&self, tensors: &'a Tensors) -> Fitting<'a, P::Float> {
        self.fitting(self.expected(), tensors, |name| name.starts_with(PARAM), Ok(()))
    }

    /// Takes what fits. `own` is the state of the run, where some parameters do not fit.
    pub(super) fn take_fitting(
        &mut self,
        fitting: Fitting<'_, P::Float>,
        own: &State<P::Float>,
        tensors: &Tensors,
    ) -> Result<Loaded> {
        let taken = fitting.over(own).map_or(Ok(()), |state| self.load_view(&state, &[]));
        let Fitting { alone, rest, mut loaded, .. } = fitting;
        match taken.and(rest) {
            Ok(rest) => rest.iter().for_each(|(expected, _)| self.note(expected, tensors, &mut loaded)),
            Err(reason) => {
                self.set_params_of(&alone)?;
                loaded.kept.push(("all but parameters".into(), reason));
            }
        }
        loaded.warn();
        Ok(loaded)
    }

    /// What fits of a file: arrays that are taken one by one, and all others if each of them fits and `check` is no error.
    pub(crate) fn fitting<'a>(
        &self,
        mut all: Vec<Expected>,
        tensors: &'a Tensors,
        alone: impl Fn(&str) -> bool,
        check: Result<()>,
    ) -> Fitting<'a, P::Float> {
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let known: BTreeSet<String> = all.iter().map(|expected| self.file_name(&expected.name)).collect();
        let (single, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|expected| alone(&expected.name));
        let (mut found, mut loaded, count) = (Vec::new(), Loaded::default(), single.len());
        for expected in single {
            match self.array(&expected, tensors) {
                Ok(array) => {
                    self.note(&expected, tensors, &mut loaded);
                    found.push((expected, array));
                }
                Err(reason) => loaded.kept.push((expected.name, reason)),
            }
        }
        let array = |expected: Expected| {
            let array = self.array(&expected, tensors)?;
            Ok((expected, array))
        };
        let rest = check.and_then(|()| self.check_texts(tensors)).and_then(|()| rest.into_iter().map(array).collect());
        loaded.unused = tensors.iter().map(|(name, _)| name.to_string()).filter(|name| !known.contains(name)).collect();
        Fitting { complete: found.len() == count, alone: found, rest, loaded }
    }

    /// Sets the parameters among arrays.
    pub(crate) fn set_params_of(&mut self, found: &[Found<'_, P::Float>]) -> Result<()> {
        parts_of(found, PARAM).try_for_each(|(tensor, lane, values)| self.lane(lane)?.set_params(tensor, values))
    }
}
