//! Folds that keep groups whole and classes in balance: those of scikit-learn's `StratifiedGroupKFold`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::folds::{Fold, KFold, counts, shuffle};
use crate::error::{Error, Result};

/// How near two balances have to be to count as equal: numpy's `isclose`.
const NEAR: (f64, f64) = (1e-5, 1e-8);

impl KFold {
    /// Folds that do not cut groups, as [`KFold::grouped`], and in which classes have their share of rows as nearly as the
    /// groups allow: those of scikit-learn's `StratifiedGroupKFold`. `labels` has the class of each row, `groups` its group.
    ///
    /// Groups are assigned one by one, first those whose numbers of rows per class differ most. Each goes to the fold with
    /// which the classes' shares differ least over the folds; of equal folds, to the one with the fewest rows. With `shuffle`,
    /// groups that are alike are assigned in a shuffled order.
    ///
    /// # Errors
    ///
    /// Those of [`KFold::split`], with groups in place of rows; [`Error::Shape`] unless each row has a label and a group; and
    /// [`Error::Setting`] if a class is absent from a fold. [`KFold::stratified_grouped_loosely`] takes such rows.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::data::KFold;
    ///
    /// let (labels, patients) = ([0, 0, 1, 1, 0, 1, 0, 1], ["a", "a", "a", "b", "b", "c", "c", "c"]);
    /// let folds = KFold { folds: 2, ..Default::default() }.stratified_grouped(&labels, &patients)?;
    /// // The rows of a patient are in one fold, and each fold has as many rows of either class as that allows.
    /// assert_eq!(folds[0].validation, [0, 1, 2, 3, 4]);
    /// assert_eq!(folds[1].validation, [5, 6, 7]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn stratified_grouped<L: Ord + Debug, G: Ord>(&self, labels: &[L], groups: &[G]) -> Result<Vec<Fold>> {
        let folds = self.stratified_grouped_loosely(labels, groups)?;
        let classes = counts(labels);
        for (number, fold) in folds.iter().enumerate() {
            let has = |label: &L| fold.validation.iter().any(|&row| labels[row] == *label);
            if let Some((label, _)) = classes.iter().find(|(label, _)| !has(label)) {
                let allowed = format!("fewer: class {label:?} is absent from fold {number}");
                return Err(Error::setting("folds", self.folds, &allowed));
            }
        }
        Ok(folds)
    }

    /// As [`KFold::stratified_grouped`], but classes may be absent from folds. scikit-learn warns if a class has fewer rows
    /// than there are folds.
    ///
    /// # Errors
    ///
    /// Those of [`KFold::stratified_grouped`] but the last, and [`Error::Setting`] if every class has fewer rows than there are
    /// folds.
    pub fn stratified_grouped_loosely<L: Ord, G: Ord>(&self, labels: &[L], groups: &[G]) -> Result<Vec<Fold>> {
        if labels.len() != groups.len() {
            return Err(Error::shape("groups", format!("{}, one for each label", labels.len()), groups.len()));
        }
        let (classes, kinds) = (counts(labels), counts(groups));
        self.check(kinds.len(), "the number of groups")?;
        let most = classes.iter().map(|&(_, rows)| rows).max().unwrap_or(0);
        if self.folds > most {
            return Err(Error::setting("folds", self.folds, &format!("at most {most}, the rows of the most frequent class")));
        }
        let (class_of, group_of) = (numbers(&classes), numbers(&kinds));
        let rows_of_class: Vec<f64> = classes.iter().map(|&(_, rows)| rows as f64).collect();
        let mut rows = vec![vec![0.0; classes.len()]; kinds.len()];
        labels.iter().zip(groups).for_each(|(label, group)| rows[group_of[group]][class_of[label]] += 1.0);
        Ok(self.repeated(labels.len(), |random| {
            let mut order: Vec<usize> = (0..kinds.len()).collect();
            shuffle(random, &mut order);
            order.sort_by(|&a, &b| deviation(&rows[b]).total_cmp(&deviation(&rows[a])));
            let mut dealt = Dealt { folds: vec![vec![0.0; classes.len()]; self.folds], rows_of_class: &rows_of_class };
            let mut fold_of = vec![0; kinds.len()];
            for group in order {
                fold_of[group] = dealt.deal(&rows[group]);
            }
            groups.iter().map(|group| fold_of[group_of[group]]).collect()
        }))
    }
}

/// The number of each value.
fn numbers<'a, T: Ord>(counted: &[(&'a T, usize)]) -> BTreeMap<&'a T, usize> {
    counted.iter().enumerate().map(|(number, &(value, _))| (value, number)).collect()
}

/// How many rows of each class are in each fold so far.
struct Dealt<'a> {
    folds: Vec<Vec<f64>>,
    /// Rows of each class in all.
    rows_of_class: &'a [f64],
}

impl Dealt<'_> {
    /// Puts a group into the fold that it suits best.
    fn deal(&mut self, group: &[f64]) -> usize {
        let (mut best, mut least, mut fewest) = (0, f64::INFINITY, f64::INFINITY);
        for fold in 0..self.folds.len() {
            self.add(fold, group, 1.0);
            let balance = self.balance();
            self.add(fold, group, -1.0);
            let rows: f64 = self.folds[fold].iter().sum();
            let near = least.is_finite() && (balance - least).abs() <= NEAR.1 + NEAR.0 * least.abs();
            if balance < least || (near && rows < fewest) {
                (best, least, fewest) = (fold, balance, rows);
            }
        }
        self.add(best, group, 1.0);
        best
    }

    fn add(&mut self, fold: usize, group: &[f64], sign: f64) {
        self.folds[fold].iter_mut().zip(group).for_each(|(sum, rows)| *sum += sign * rows);
    }

    /// The deviation of a class's shares over the folds; the mean over the classes.
    fn balance(&self) -> f64 {
        let of_class = |class: usize| {
            let shares: Vec<f64> = self.folds.iter().map(|fold| fold[class] / self.rows_of_class[class]).collect();
            // numpy adds whole rows if there are several columns, and adds a single column in pairs.
            let add: fn(&[f64]) -> f64 = if self.rows_of_class.len() > 1 { |values| values.iter().sum() } else { sum };
            deviation_by(&shares, add)
        };
        let deviations: Vec<f64> = (0..self.rows_of_class.len()).map(of_class).collect();
        sum(&deviations) / deviations.len() as f64
    }
}

fn deviation(values: &[f64]) -> f64 {
    deviation_by(values, sum)
}

/// The standard deviation, divided by n. Which groups are alike depends on its last bit, so sums are computed as in numpy.
fn deviation_by(values: &[f64], add: fn(&[f64]) -> f64) -> f64 {
    let n = values.len() as f64;
    let mean = add(values) / n;
    let squares: Vec<f64> = values.iter().map(|value| (value - mean) * (value - mean)).collect();
    (add(&squares) / n).sqrt()
}

/// numpy's sum of neighbours: eight running sums, joined in pairs, in halves beyond 128 values.
fn sum(values: &[f64]) -> f64 {
    if values.len() < 8 {
        return values.iter().sum();
    }
    if values.len() > 128 {
        let half = values.len() / 2;
        let half = half - half % 8;
        return sum(&values[..half]) + sum(&values[half..]);
    }
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = blocks[0];
    blocks[1..].iter().for_each(|block| sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value));
    let [a, b, c, d, e, f, g, h] = sums;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}
