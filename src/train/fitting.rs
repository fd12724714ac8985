//! Whether data are what a trainer can be fed with, and how they are scaled.

use super::lanes::{Lane, Rows};
use crate::data::{Dataset, Scaler};
use crate::error::{Error, Result, range};

/// Whether weights are those of the rows.
pub(super) fn check_weights(weights: &[f32], train: &Dataset) -> Result<()> {
    if weights.len() != train.rows() {
        return Err(Error::shape("weights of the training rows", train.rows(), weights.len()));
    }
    if let Some(row) = weights.iter().position(|&weight| !(weight.is_finite() && weight >= 0.0)) {
        return Err(Error::setting(&format!("weights[{row}]"), weights[row], "finite and at least 0"));
    }
    range::require(weights.iter().any(|&weight| weight > 0.0), "weights", "all 0", "above 0 for some rows")
}

/// The largest number of a row that a feature can name: those beyond are not exact.
const LARGEST_INDEX: f32 = 16_777_216.0;

/// Whether all features are numbers of rows.
pub(super) fn check_index_values(features: &[f32], width: usize) -> Result<()> {
    let is_index = |x: &f32| x.fract() == 0.0 && (0.0..=LARGEST_INDEX).contains(x);
    match features.iter().position(|x| !is_index(x)) {
        Some(i) => {
            let field = format!("features[row {}, column {}]", i / width, i % width);
            Err(Error::setting(&field, features[i], "a whole number from 0 to 16777216, as features are indices"))
        }
        None => Ok(()),
    }
}

/// [`check_index_values`] of data.
pub(super) fn check_indices(data: &Dataset) -> Result<()> {
    check_index_values(&data.features, data.width)
}

/// The scaling of each lane, or one where all have the same rows.
pub(super) fn scalers_of(train: &Dataset, lanes: &[Lane], learned: fn(&Dataset) -> Result<Scaler>) -> Result<Vec<Scaler>> {
    let of = |lane: &Lane| match &lane.train {
        Rows::All(_) => learned(train),
        Rows::Some(rows) => {
            let rows: Vec<usize> = rows.iter().map(|&row| row as usize).collect();
            learned(&train.rows_at(&rows)?)
        }
    };
    let alike = lanes.iter().all(|lane| lane.train == lanes[0].train);
    lanes[..if alike { 1 } else { lanes.len() }].iter().map(of).collect()
}
