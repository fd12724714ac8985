use super::Dataset;
use crate::error::{Error, Result};

/// Brings features to a common scale: `x ← (x − shift) / divisor`, per column.
///
/// It is computed from the training part and applied to both parts, so that nothing of the test part is used. Arithmetic is in
/// f64.
///
/// # Examples
///
/// ```
/// use thalweg::data::{Dataset, Scaler};
///
/// let mut data = Dataset::new(vec![1.0, 7.0, 3.0, 7.0], 2, vec![0, 1])?;
/// Scaler::standard(&data)?.apply(&mut data)?;
/// assert_eq!(data.features, [-1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    /// Subtracted from each column.
    pub shift: Vec<f64>,
    /// The divisor of each column, after the subtraction.
    pub divisor: Vec<f64>,
}

impl Scaler {
    /// Divides everything by the largest absolute value of all training features. Meant for images, whose pixels have the same
    /// unit.
    ///
    /// Features that are all 0 stay as they are.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::check`].
    pub fn range(train: &Dataset) -> Result<Self> {
        train.check()?;
        let largest = train.features.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        let divisor = if largest > 0.0 { f64::from(largest) } else { 1.0 };
        Ok(Self { shift: vec![0.0; train.width], divisor: vec![divisor; train.width] })
    }

    /// Centres each column on its training mean and divides it by its standard deviation (of the population, as scikit-learn
    /// does).
    ///
    /// A column that is constant is only centred.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::check`].
    pub fn standard(train: &Dataset) -> Result<Self> {
        train.check()?;
        let shift = mean(&train.features, train.width);
        let divisor = deviation(&train.features, &shift);
        Ok(Self { shift, divisor })
    }

    /// Centres each number that is to be predicted on its training mean, and divides it by its standard deviation, as
    /// [`Scaler::standard`] does it with features. For
    /// [`TrainerBuilder::standardise_targets`](crate::train::TrainerBuilder::standardise_targets); no columns where rows have
    /// classes.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::check`].
    pub fn of_targets(train: &Dataset) -> Result<Self> {
        train.check()?;
        let shift = mean(&train.targets, train.target_width);
        let divisor = deviation(&train.targets, &shift);
        Ok(Self { shift, divisor })
    }

    /// Scales a data set in place. After an error it is as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the rows do not have as many features as those from which the scaler was computed,
    /// [`Error::Setting`] if a scaled feature is beyond f32, and those of [`Dataset::check`].
    pub fn apply(&self, data: &mut Dataset) -> Result<()> {
        data.check()?;
        let columns = self.shift.len();
        if self.divisor.len() != columns {
            return Err(Error::shape("divisors of the scaler", columns, self.divisor.len()));
        }
        if data.width != columns {
            return Err(Error::shape("features per row", format!("{columns} as in training"), data.width));
        }
        for row in data.features.chunks_exact(columns) {
            if let Some(j) = (0..columns).find(|&j| !self.scaled(j, row[j]).is_finite()) {
                let field = format!("feature {} in column {}, scaled", row[j], j + 1);
                return Err(Error::setting(&field, self.scaled(j, row[j]), "finite"));
            }
        }
        for row in data.features.chunks_exact_mut(columns) {
            for (j, x) in row.iter_mut().enumerate() {
                *x = self.scaled(j, *x);
            }
        }
        Ok(())
    }

    fn scaled(&self, column: usize, x: f32) -> f32 {
        ((f64::from(x) - self.shift[column]) / self.divisor[column]) as f32
    }
}

/// The mean of each column, as the first row and the mean distance from it: that is exact for a column that is constant.
fn mean(values: &[f32], width: usize) -> Vec<f64> {
    let first: Vec<f64> = values.iter().take(width).map(|&x| f64::from(x)).collect();
    let mut distance = vec![0.0; width];
    let rows = values.len().checked_div(width).unwrap_or(0);
    for row in values.chunks_exact(width.max(1)) {
        for ((sum, &x), first) in distance.iter_mut().zip(row).zip(&first) {
            *sum += f64::from(x) - first;
        }
    }
    first.iter().zip(distance).map(|(first, sum)| first + sum / rows as f64).collect()
}

/// The standard deviation of each column around its mean, or 1 where that is 0.
fn deviation(values: &[f32], mean: &[f64]) -> Vec<f64> {
    let mut squares = vec![0.0; mean.len()];
    let rows = values.len().checked_div(mean.len()).unwrap_or(0);
    for row in values.chunks_exact(mean.len().max(1)) {
        for ((sum, &x), mean) in squares.iter_mut().zip(row).zip(mean) {
            *sum += (f64::from(x) - mean).powi(2);
        }
    }
    let root = |sum: f64| if sum > 0.0 { (sum / rows as f64).sqrt() } else { 1.0 };
    squares.into_iter().map(root).collect()
}
