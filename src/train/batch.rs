//! Rows of a step.

/// How many rows a step takes, and whether an epoch has a last, smaller batch.
///
/// A number becomes a batch of that many rows, and the last, smaller batch is kept.
///
/// # Examples
///
/// ```
/// use thalweg::Batch;
///
/// assert_eq!(Batch::from(64).steps(150), 3);
/// assert_eq!(Batch { rows: 64, drop_last: true }.steps(150), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Rows per step, at least 1. More rows than the data have means all of them.
    pub rows: usize,
    /// Whether an epoch leaves out the rows that do not fill a batch. If not, they are a last, smaller batch, whose loss is the
    /// mean over its own rows.
    pub drop_last: bool,
}

impl From<usize> for Batch {
    fn from(rows: usize) -> Self {
        Self { rows, drop_last: false }
    }
}

impl Batch {
    /// Steps of an epoch over `rows` rows of data.
    pub fn steps(self, rows: usize) -> usize {
        let batch = self.rows.clamp(1, rows.max(1));
        if self.drop_last { rows / batch } else { rows.div_ceil(batch) }
    }

    /// Rows of the last batch, if it is smaller than the others and kept.
    pub(super) fn rest(self, rows: usize) -> Option<usize> {
        let rest = rows % self.rows;
        (rest > 0 && !self.drop_last).then_some(rest)
    }
}
