//! A state where it lies, in memory or in a file: what a run is taken up from, without a copy.

use crate::error::{Error, Result};
use crate::rule::Real;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A [`State`](super::State) that somebody else holds.
#[derive(Debug)]
pub(crate) struct StateView<'a, F: Real> {
    arrays: BTreeMap<String, ArrayView<'a, F>>,
}

/// A [`StateArray`](super::StateArray) that somebody else holds.
#[derive(Debug, Clone)]
pub(crate) struct ArrayView<'a, F: Real> {
    /// The shape of a lane's values.
    pub shape: Vec<usize>,
    pub values: ValuesView<'a, F>,
}

/// The values of an array, by lane.
#[derive(Debug, Clone)]
pub(crate) enum ValuesView<'a, F: Real> {
    Floats(Vec<Cow<'a, [F]>>),
    Indices(Vec<Cow<'a, [u32]>>),
    Counts(Vec<Cow<'a, [u64]>>),
    Numbers(Vec<Cow<'a, [f64]>>),
}

impl<F: Real> ValuesView<'_, F> {
    fn lens(&self) -> Vec<usize> {
        fn of<T: Clone>(lanes: &[Cow<'_, [T]>]) -> Vec<usize> {
            lanes.iter().map(|lane| lane.len()).collect()
        }
        match self {
            Self::Floats(lanes) => of(lanes),
            Self::Indices(lanes) => of(lanes),
            Self::Counts(lanes) => of(lanes),
            Self::Numbers(lanes) => of(lanes),
        }
    }

    fn kind(&self) -> StateKind {
        match self {
            Self::Floats(_) => StateKind::Floats,
            Self::Indices(_) => StateKind::Indices,
            Self::Counts(_) => StateKind::Counts,
            Self::Numbers(_) => StateKind::Numbers,
        }
    }
}

/// The kind of a [`ValuesView`], by its name in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateKind {
    Floats,
    Indices,
    Counts,
    Numbers,
}

impl StateKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floats => "floats",
            Self::Indices => "indices",
            Self::Counts => "counts",
            Self::Numbers => "numbers",
        }
    }
}

#[cfg(feature = "checkpoint")]
impl<F: Real> Default for StateView<'_, F> {
    fn default() -> Self {
        Self { arrays: BTreeMap::new() }
    }
}

impl<'a, F: Real> StateView<'a, F> {
    pub(super) fn new(arrays: impl Iterator<Item = (String, ArrayView<'a, F>)>) -> Self {
        Self { arrays: arrays.collect() }
    }

    #[cfg(feature = "checkpoint")]
    /// Puts an array in the place of one of that name, or beside the others.
    pub(crate) fn insert(&mut self, name: &str, array: ArrayView<'a, F>) {
        self.arrays.insert(name.into(), array);
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &String> {
        self.arrays.keys()
    }

    /// The array of that name, if it is as it has to be.
    pub(super) fn checked(&self, name: &str, shape: &[usize], kind: StateKind, lanes: usize) -> Result<&ValuesView<'a, F>> {
        let what = || format!("the state's {name}");
        let array = self.arrays.get(name).ok_or_else(|| Error::shape(what(), "an array", "none"))?;
        if array.values.kind() != kind {
            return Err(Error::shape(what(), kind.name(), array.values.kind().name()));
        }
        if array.shape != shape {
            return Err(Error::shape(what(), format!("shape {shape:?}"), format!("shape {:?}", array.shape)));
        }
        let (lens, len) = (array.values.lens(), shape.iter().product::<usize>());
        if lens.len() != lanes {
            return Err(Error::shape(format!("lanes of the state's {name}"), lanes, lens.len()));
        }
        match lens.into_iter().find(|&found| found != len) {
            Some(found) => Err(Error::shape(what(), format!("{len} values"), found)),
            None => Ok(&array.values),
        }
    }

    pub(crate) fn floats(&self, name: &str, shape: &[usize], lanes: usize) -> Result<&[Cow<'a, [F]>]> {
        match self.checked(name, shape, StateKind::Floats, lanes)? {
            ValuesView::Floats(values) => Ok(values),
            _ => Ok(&[]),
        }
    }

    pub(super) fn indices(&self, name: &str, shape: &[usize], lanes: usize) -> Result<&[Cow<'a, [u32]>]> {
        match self.checked(name, shape, StateKind::Indices, lanes)? {
            ValuesView::Indices(values) => Ok(values),
            _ => Ok(&[]),
        }
    }

    pub(crate) fn counts(&self, name: &str, shape: &[usize], lanes: usize) -> Result<&[Cow<'a, [u64]>]> {
        match self.checked(name, shape, StateKind::Counts, lanes)? {
            ValuesView::Counts(values) => Ok(values),
            _ => Ok(&[]),
        }
    }

    pub(crate) fn number(&self, name: &str, lanes: usize) -> Result<&[Cow<'a, [f64]>]> {
        match self.checked(name, &[], StateKind::Numbers, lanes)? {
            ValuesView::Numbers(values) => Ok(values),
            _ => Ok(&[]),
        }
    }
}
