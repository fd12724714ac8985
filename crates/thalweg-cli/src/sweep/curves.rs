//! Training curves of a sweep.

use std::collections::BTreeMap;

/// Trial, fold and seed.
pub type Key = (u64, Option<u64>, Option<u64>);

/// The training loss of each training by epoch.
#[derive(Debug, Clone, Default)]
pub struct Curves(pub BTreeMap<Key, BTreeMap<u64, f64>>);

impl Curves {
    /// The curves of a file; lines that cannot be read are left out.
    pub fn read(text: &str) -> Self {
        let mut curves = Self::default();
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let &[trial, fold, seed, epoch, loss] = &cells[..] else { continue };
            let optional = |cell: &str| if cell.is_empty() { Some(None) } else { cell.parse().ok().map(Some) };
            if let (Ok(trial), Some(fold), Some(seed), Ok(epoch), Ok(loss)) =
                (trial.parse(), optional(fold), optional(seed), epoch.parse(), loss.parse())
            {
                curves.0.entry((trial, fold, seed)).or_default().insert(epoch, loss);
            }
        }
        curves
    }

    /// The lines of a file.
    pub fn csv(&self) -> String {
        let of = |(key, curve): (&Key, &BTreeMap<u64, f64>)| {
            curve.iter().map(|(epoch, loss)| line(*key, *epoch, *loss)).collect::<String>()
        };
        self.0.iter().map(of).collect()
    }
}

/// A line of a file.
pub fn line((trial, fold, seed): Key, epoch: u64, loss: f64) -> String {
    let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
    format!("{trial},{},{},{epoch},{loss}\n", number(fold), number(seed))
}
