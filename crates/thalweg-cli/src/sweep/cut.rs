//! The data of a sweep: folds of the training part, or training and test part, each scaled by its own training rows.

use crate::data::{Read, shown};
use anyhow::Result;
use serde_json::{Value, json};
use thalweg::data::{Dataset, Fold, KFold};

/// What trials are trained and validated on.
pub struct Cut {
    /// The training part and the test part.
    pub whole: (Dataset, Dataset),
    /// Training and validation rows of each fold.
    folds: Vec<(Fold, (Dataset, Dataset))>,
    read: Read,
}

impl Cut {
    /// Cuts the training part into so many folds; 0: none.
    pub fn new(train: Dataset, test: Dataset, read: Read, folds: u64, seed: u64) -> Result<Self> {
        let mut parts = Vec::new();
        if folds > 0 {
            let cut = KFold { folds: usize::try_from(folds)?, shuffle: Some(u32::try_from(seed)?), repeats: 1 };
            for fold in cut.stratified(&train.labels)? {
                let (mut own, mut left) = (train.rows_at(&fold.train)?, train.rows_at(&fold.validation)?);
                // Learned on all training rows, the scale would have seen those that validate.
                read.scale(&mut own, &mut left)?;
                parts.push((fold, (own, left)));
            }
        }
        let mut whole = (train, test);
        read.scale(&mut whole.0, &mut whole.1)?;
        Ok(Self { whole, folds: parts, read })
    }

    /// What a trial is trained and validated on.
    pub fn of(&self, fold: Option<u64>) -> &(Dataset, Dataset) {
        let fold = fold.and_then(|fold| self.folds.get(usize::try_from(fold).ok()?));
        fold.map_or(&self.whole, |(_, parts)| parts)
    }

    /// The rows of each fold, as numbers of training rows.
    pub fn folds(&self) -> impl Iterator<Item = &Fold> {
        self.folds.iter().map(|(fold, _)| fold)
    }

    /// For people.
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
        let Read { source, test, features, classes, train_rows, test_rows, .. } = &self.read;
        json!({
            "source": source,
            "features": features,
            "classes": classes.len(),
            "train_rows": train_rows,
            "test_rows": test_rows,
            "test": test,
            "folds": self.folds.len(),
        })
    }
}
