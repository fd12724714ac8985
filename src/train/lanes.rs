//! In what lanes of a trainer may differ besides the numbers of the recipe: seed and rows.

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::op::threefry;

/// Counters that give steps and orders keys other than that of start values.
const STEPS: u32 = 0;
const ORDER: u32 = 0x006f_7264;

/// A lane.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lane {
    pub seed: u64,
    /// Rows of the training data.
    pub train: Rows,
    /// Rows of the validation data.
    pub validation: Rows,
}

/// Rows of a data set.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rows {
    /// All rows of data that have so many.
    All(usize),
    Some(Vec<u32>),
}

impl Rows {
    /// Rows by number.
    ///
    /// # Errors
    /// No rows, or one that the data do not have.
    pub fn of(what: &str, lane: usize, rows: &[usize], data: &Dataset) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::Empty { what: format!("the list of {what} rows of lane {lane}") });
        }
        let row = |&row: &usize| match u32::try_from(row).ok().filter(|_| row < data.rows()) {
            Some(row) => Ok(row),
            None => {
                let allowed = format!("below {}, the number of rows", data.rows());
                Err(Error::setting(&format!("{what} row of lane {lane}"), row, &allowed))
            }
        };
        rows.iter().map(row).collect::<Result<_>>().map(Self::Some)
    }

    pub fn len(&self) -> usize {
        match self {
            Self::All(rows) => *rows,
            Self::Some(rows) => rows.len(),
        }
    }

    /// Their numbers, in order.
    pub fn numbers(&self) -> Vec<u32> {
        match self {
            Self::All(rows) => (0..*rows as u32).collect(),
            Self::Some(rows) => rows.clone(),
        }
    }
}

/// The words of a seed: the key of a lane's start values.
pub(super) fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// The key of the random numbers of steps.
pub(super) fn step_key(seed: u64) -> [u32; 2] {
    threefry(key(seed), [STEPS, 0])
}

/// The rows in the order in which an epoch takes them: a function of seed and epoch alone, so that nothing has to be kept.
pub(super) fn order(seed: u64, epoch: u64, rows: &Rows) -> Vec<u32> {
    let of_epoch = threefry(threefry(key(seed), [ORDER, 0]), key(epoch));
    let mut random = fastrand::Rng::with_seed(u64::from(of_epoch[0]) | u64::from(of_epoch[1]) << 32);
    let mut order = rows.numbers();
    random.shuffle(&mut order);
    order
}
