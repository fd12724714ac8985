//! What models say about rows: probabilities of classes, or numbers.

use crate::score::{Aim, Score};
use anyhow::Result;
use serde_json::{Value, json};
use thalweg::data::{Dataset, Fold};
use thalweg::train::Probabilities;

/// Bins of the calibration error.
const BINS: usize = 15;

/// What a model, or several together, say about rows.
pub enum Said {
    Classes(Probabilities),
    Numbers(Vec<f64>),
}

/// How good that is on the test data.
#[derive(Debug, Clone, Copy)]
pub enum Tested {
    /// With the expected calibration error.
    Classes(Score, f64),
    Numbers(Score),
}

impl Said {
    /// Of the outputs of a model for rows of data like these: logits, or numbers in the units of the data.
    pub fn of(outputs: &[f64], data: &Dataset) -> thalweg::Result<Self> {
        match Aim::of(data) {
            Aim::Classes => Ok(Self::Classes(Probabilities::of_logits(outputs, data.classes)?)),
            Aim::Numbers => Ok(Self::Numbers(outputs.to_vec())),
        }
    }

    /// The mean of several.
    pub fn mean(all: Vec<Self>) -> thalweg::Result<Self> {
        let (mut classes, mut numbers): (Vec<Probabilities>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
        let count = all.len() as f64;
        for said in all {
            match said {
                Self::Classes(said) => classes.push(said),
                Self::Numbers(said) => numbers.push(said),
            }
        }
        if !classes.is_empty() {
            return Ok(Self::Classes(Probabilities::mean(&classes)?));
        }
        let rows = numbers.first().map_or(0, Vec::len);
        Ok(Self::Numbers((0..rows).map(|row| numbers.iter().map(|of| of[row]).sum::<f64>() / count).collect()))
    }

    pub fn tested(&self, test: &Dataset) -> thalweg::Result<Tested> {
        match self {
            Self::Classes(said) => {
                let (loss, quality) = (said.log_loss(&test.labels)?, said.accuracy(&test.labels)?);
                let calibration = said.calibration_error(&test.labels, BINS)?;
                Ok(Tested::Classes(Score { loss, quality, mae: f64::NAN }, calibration))
            }
            Self::Numbers(said) => {
                let outputs: Vec<f32> = said.iter().map(|&y| y as f32).collect();
                Score::of(&outputs, test).map(Tested::Numbers)
            }
        }
    }

    /// What each fold's model says about the rows that it has not seen, beside what these are, as CSV.
    pub fn out_of_fold(folds: Vec<(&Fold, Self)>, train: &Dataset) -> Result<String> {
        if Aim::of(train) == Aim::Numbers {
            let mut said = vec![f64::NAN; train.rows()];
            for (fold, of_fold) in folds {
                let Self::Numbers(of_fold) = of_fold else { continue };
                fold.validation.iter().zip(of_fold).for_each(|(&row, y)| said[row] = y);
            }
            let rows = train.targets.iter().zip(&said).enumerate();
            let line = |(row, (target, y)): (usize, (&f32, &f64))| format!("{row},{target},{y}\n");
            return Ok("row,target,prediction\n".to_string() + &rows.map(line).collect::<String>());
        }
        let of_classes = folds.into_iter().filter_map(|(fold, said)| match said {
            Self::Classes(said) => Some((fold, said)),
            Self::Numbers(_) => None,
        });
        let all = Probabilities::out_of_fold(train.rows(), &of_classes.collect::<Vec<_>>())?;
        let mut text =
            "row,label".to_string() + &(0..all.classes()).map(|class| format!(",p{class}")).collect::<String>() + "\n";
        for (row, label) in train.labels.iter().enumerate() {
            let shares: String = all.row(row).iter().map(|share| format!(",{share}")).collect();
            text += &format!("{row},{label}{shares}\n");
        }
        Ok(text)
    }
}

impl Tested {
    pub fn json(self) -> Value {
        match self {
            Self::Classes(score, calibration) => {
                let mut object = json!({ "test_calibration_error": calibration });
                score.put(Aim::Classes, "test_", &mut object);
                object
            }
            Self::Numbers(score) => {
                let mut object = json!({});
                score.put(Aim::Numbers, "test_", &mut object);
                object
            }
        }
    }

    pub fn text(self) -> String {
        match self {
            Self::Classes(Score { loss, quality, .. }, calibration) => {
                let (accuracy, calibration) = (100.0 * quality, 100.0 * calibration);
                format!("test accuracy {accuracy:.2} %, loss {loss:.4}, calibration error {calibration:.2} %")
            }
            Self::Numbers(score) => format!("test {}", score.said(Aim::Numbers)),
        }
    }
}
