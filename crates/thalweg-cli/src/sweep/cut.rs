//! The data of a sweep: folds of the training part, or training and test part.

use crate::data::{Read, shown};
use anyhow::Result;
use serde_json::{Value, json};
use thalweg::data::{Dataset, Fold, KFold, Scaler};

/// The data on which trials are trained and validated.
pub struct Cut {
    /// The training part and the test part. Tables are not scaled: lanes standardise them by their own training rows.
    pub lanes: (Dataset, Dataset),
    folds: Vec<Fold>,
    read: Read,
    /// Whether features are indices, which have no scale.
    pub has_indices: bool,
}

impl Cut {
    /// Cuts the training part into `folds` folds; 0: none.
    pub fn new(mut train: Dataset, mut test: Dataset, read: Read, has_indices: bool, folds: u64, seed: u64) -> Result<Self> {
        let cut = KFold { folds: usize::try_from(folds)?, shuffle: Some(u32::try_from(seed)?), repeats: 1 };
        let folds = match folds {
            0 => Vec::new(),
            _ if train.is_regression() => cut.split(train.rows())?,
            _ => cut.stratified(&train.labels)?,
        };
        if read.csv.is_none() && !has_indices {
            // Pixels have one unit, whatever the fold.
            let scaler = Scaler::range(&train)?;
            scaler.apply(&mut train)?;
            scaler.apply(&mut test)?;
        }
        Ok(Self { lanes: (train, test), folds, read, has_indices })
    }

    /// Whether each job standardises features by its own training rows. A scale computed from all rows would have seen the rows
    /// to validate on.
    pub fn standardises(&self) -> bool {
        self.read.csv.is_some() && !self.has_indices
    }

    /// The rows of each fold, as numbers of training rows.
    pub fn folds(&self) -> impl Iterator<Item = &Fold> {
        self.folds.iter()
    }

    /// The rows by which trials are compared, as text.
    pub fn compared_on(&self) -> String {
        match self.folds.len() {
            0 => format!("the {} validation rows", self.read.test_rows),
            folds => format!("the rows left out in each of {folds} folds"),
        }
    }

    /// As text.
    pub fn lines(&self) -> Vec<String> {
        let Read { source, test, features, train_rows, test_rows, .. } = &self.read;
        let validation = match self.folds.len() {
            0 => format!("validated on {test_rows} ({})", shown(test)),
            folds => format!("validated in {folds} folds of them; {test_rows} to test the best on ({})", shown(test)),
        };
        let data = format!("data: {}, {features} features; {train_rows} rows to train on, {validation}", shown(source));
        [data].into_iter().chain(self.read.notes()).collect()
    }

    pub fn json(&self) -> Value {
        let Read { source, test, features, classes, numbers, train_rows, test_rows, .. } = &self.read;
        json!({
            "source": source,
            "features": features,
            "task": if numbers.is_some() { "regression" } else { "classification" },
            "classes": classes.len(),
            "train_rows": train_rows,
            "test_rows": test_rows,
            "test": test,
            "folds": self.folds.len(),
        })
    }
}
