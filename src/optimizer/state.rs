//! Everything that a run has come to, as data.

use super::view::{ArrayView, StateKind, StateView, ValuesView};
use crate::error::{Error, Result, range};
use crate::rule::Real;
use std::borrow::Cow;
use std::collections::BTreeMap;

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
