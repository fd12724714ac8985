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

    /// The number of one of them.
    fn number(&self, at: usize) -> u32 {
        match self {
            Self::All(_) => at as u32,
            Self::Some(rows) => rows[at],
        }
    }

    /// Their numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).map(|at| self.number(at))
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

/// Writes the first rows into the places, in the order in which an epoch takes them: a function of seed and epoch alone, so
/// that nothing has to be kept. Returns how many were written, which is fewer than there are places where there are fewer rows.
///
/// It is the shuffle of Fisher and Yates by `fastrand`: place `i` is exchanged with one up to it, for each `i` in turn. Until
/// then place `i` holds row `i`, so what is in places beyond the last one need not be kept.
pub(super) fn put_order(seed: u64, epoch: u64, rows: &Rows, places: &mut [u32]) -> usize {
    let of_epoch = threefry(threefry(key(seed), [ORDER, 0]), key(epoch));
    let mut random = fastrand::Rng::with_seed(u64::from(of_epoch[0]) | u64::from(of_epoch[1]) << 32);
    for (i, row) in rows.numbers().enumerate() {
        let other = if i == 0 { 0 } else { random.usize(..=i) };
        if i < places.len() {
            places[i] = row;
            places.swap(i, other);
        } else if other < places.len() {
            places[other] = row;
        }
    }
    rows.len().min(places.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many places as rows, fewer and more, for rows that are all and for a part.
    #[test]
    fn an_order_is_a_shuffle_as_far_as_there_are_places() {
        for rows in [Rows::All(1), Rows::All(50), Rows::Some((0..31).map(|i| 7 * i % 64).collect()), Rows::All(0)] {
            let mut whole: Vec<u32> = rows.numbers().collect();
            let of_epoch = threefry(threefry(key(5), [ORDER, 0]), key(3));
            fastrand::Rng::with_seed(u64::from(of_epoch[0]) | u64::from(of_epoch[1]) << 32).shuffle(&mut whole);
            for count in [0, 1, 7, 30, 31, 50, 60] {
                let mut places = vec![99; count];
                let written = put_order(5, 3, &rows, &mut places);
                assert_eq!(written, count.min(rows.len()));
                assert_eq!(places[..written], whole[..written], "{count} places");
                assert!(places[written..].iter().all(|&place| place == 99));
            }
        }
    }
}
