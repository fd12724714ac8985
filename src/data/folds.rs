//! Folds for cross-validation: for a seed, exactly those of scikit-learn.

use std::collections::BTreeMap;

use rand_mt::Mt;

use crate::error::{Error, Result};

/// One fold: the rows to train on and those to validate on. Both are in rising order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Rows to validate on.
    pub validation: Vec<usize>,
}

/// K-fold cross-validation: the rows are cut into `folds` parts, and each part validates a model that is trained on all others.
///
/// The folds are those of scikit-learn 1.9 (`KFold`, `StratifiedKFold`, `GroupKFold`, `StratifiedGroupKFold`, `RepeatedKFold`,
/// `RepeatedStratifiedKFold`), row for row, if `shuffle` is its `random_state`: numpy's legacy `RandomState`, the Mersenne
/// twister with Fisher and Yates' shuffle. So results can be compared with those of Python programs fold by fold.
///
/// # Examples
///
/// ```
/// use thalweg::data::KFold;
///
/// let folds = KFold { folds: 3, ..Default::default() }.split(7)?;
/// assert_eq!(folds[0].validation, [0, 1, 2]);
/// assert_eq!(folds[2].validation, [5, 6]);
/// assert_eq!(folds[2].train, [0, 1, 2, 3, 4]);
///
/// // scikit-learn: KFold(3, shuffle=True, random_state=0).split(range(7))
/// let shuffled = KFold { folds: 3, shuffle: Some(0), ..Default::default() }.split(7)?;
/// assert_eq!(shuffled[0].validation, [1, 2, 6]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KFold {
    /// Parts of the rows, at least 2 and at most as many as there are rows. 5 by default.
    pub folds: usize,
    /// The seed by which rows are shuffled before they are cut. Default: `None`, which cuts them in their order.
    pub shuffle: Option<u32>,
    /// How many times the rows are shuffled and cut, at least 1; 1 by default. More than 1 needs `shuffle`. The random numbers
    /// go on from one repeat to the next, and the folds of all repeats are returned one after the other.
    pub repeats: usize,
}

impl Default for KFold {
    fn default() -> Self {
        Self { folds: 5, shuffle: None, repeats: 1 }
    }
}

impl KFold {
    /// Folds of `rows` rows. Sizes differ by at most 1, and the larger ones come first.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if `folds` is below 2 or above `rows`, and if `repeats` is 0, or above 1 without `shuffle`.
    pub fn split(&self, rows: usize) -> Result<Vec<Fold>> {
        self.check(rows, "the number of rows")?;
        Ok(self.repeated(rows, |random| {
            let mut order: Vec<usize> = (0..rows).collect();
            shuffle(random, &mut order);
            let mut part = vec![0; rows];
            for (fold, rows) in self.blocks(&order).enumerate() {
                rows.iter().for_each(|&row| part[row] = fold);
            }
            part
        }))
    }

    /// Folds in which each class has nearly the same share of rows as in all rows. `labels` has the class of each row.
    ///
    /// # Errors
    ///
    /// Those of [`KFold::split`], and [`Error::Setting`] if a class has fewer rows than there are folds: it would be absent
    /// from a fold. [`KFold::stratified_loosely`] takes such labels.
    pub fn stratified<L: Ord + std::fmt::Debug>(&self, labels: &[L]) -> Result<Vec<Fold>> {
        self.check(labels.len(), "the number of rows")?;
        let rarest = counts(labels).into_iter().min_by_key(|&(_, rows)| rows);
        match rarest {
            Some((label, rows)) if rows < self.folds => {
                let allowed = format!("at most {rows}, the rows of class {label:?}, which would be absent from a fold");
                Err(Error::setting("folds", self.folds, &allowed))
            }
            _ => self.stratified_loosely(labels),
        }
    }

    /// As [`KFold::stratified`], but classes may be absent from folds. scikit-learn warns in this case.
    ///
    /// # Errors
    ///
    /// Those of [`KFold::split`], and [`Error::Setting`] if every class has fewer rows than there are folds.
    pub fn stratified_loosely<L: Ord>(&self, labels: &[L]) -> Result<Vec<Fold>> {
        self.check(labels.len(), "the number of rows")?;
        let (classes, rows_of) = by_appearance(labels);
        let most = rows_of.iter().copied().max().unwrap_or(0);
        if self.folds > most {
            return Err(Error::setting("folds", self.folds, &format!("at most {most}, the rows of the most frequent class")));
        }
        let allocation = self.allocation(&rows_of);
        Ok(self.repeated(labels.len(), |random| {
            let mut part = vec![0; labels.len()];
            for class in 0..rows_of.len() {
                let mut folds: Vec<usize> = Vec::with_capacity(rows_of[class]);
                for (fold, share) in allocation.iter().enumerate() {
                    folds.extend(std::iter::repeat_n(fold, share[class]));
                }
                shuffle(random, &mut folds);
                let own = (0..labels.len()).filter(|&row| classes[row] == class);
                own.zip(folds).for_each(|(row, fold)| part[row] = fold);
            }
            part
        }))
    }

    /// Folds that do not cut groups: rows of one group, such as one patient, are all in the same part.
    ///
    /// Without `shuffle`, the largest group that is left goes to the fold with the fewest rows, so that folds have nearly the
    /// same size. With it, groups are shuffled, and the numbers of groups in folds differ by at most 1.
    ///
    /// # Errors
    ///
    /// Those of [`KFold::split`], with groups in place of rows.
    pub fn grouped<G: Ord>(&self, groups: &[G]) -> Result<Vec<Fold>> {
        let rows_of = counts(groups);
        self.check(rows_of.len(), "the number of groups")?;
        let number: BTreeMap<&G, usize> = rows_of.iter().enumerate().map(|(number, &(group, _))| (group, number)).collect();
        let fold_of_row = |fold_of_group: &[usize]| groups.iter().map(|group| fold_of_group[number[group]]).collect();
        if self.shuffle.is_none() {
            let sizes: Vec<usize> = rows_of.iter().map(|&(_, rows)| rows).collect();
            return Ok(self.repeated(groups.len(), |_| fold_of_row(&balanced(&sizes, self.folds))));
        }
        Ok(self.repeated(groups.len(), |random| {
            let mut order: Vec<usize> = (0..rows_of.len()).collect();
            shuffle(random, &mut order);
            let mut fold_of_group = vec![0; order.len()];
            for (fold, groups) in self.blocks(&order).enumerate() {
                groups.iter().for_each(|&group| fold_of_group[group] = fold);
            }
            fold_of_row(&fold_of_group)
        }))
    }

    pub(super) fn check(&self, most: usize, what: &str) -> Result<()> {
        if !(2..=most).contains(&self.folds) {
            return Err(Error::setting("folds", self.folds, &format!("2 to {most}, {what}")));
        }
        if self.repeats == 0 {
            return Err(Error::setting("repeats", 0, "at least 1"));
        }
        if self.repeats > 1 && self.shuffle.is_none() {
            return Err(Error::setting("repeats", self.repeats, "1 without shuffle, as all repeats would be the same"));
        }
        Ok(())
    }

    /// The folds of all repeats; `parts` returns the fold of each row.
    pub(super) fn repeated(&self, rows: usize, parts: impl Fn(&mut Option<Mt>) -> Vec<usize>) -> Vec<Fold> {
        let mut random = self.shuffle.map(Mt::new);
        let mut folds = Vec::with_capacity(self.repeats * self.folds);
        for _ in 0..self.repeats {
            let part = parts(&mut random);
            folds.extend((0..self.folds).map(|fold| {
                let (validation, train) = (0..rows).partition(|&row| part[row] == fold);
                Fold { train, validation }
            }));
        }
        folds
    }

    /// Cuts the order into blocks whose sizes differ by at most 1, the larger ones first.
    fn blocks<'a>(&self, order: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
        let (size, larger) = (order.len() / self.folds, order.len() % self.folds);
        (0..self.folds).map(move |fold| {
            let start = fold * size + fold.min(larger);
            &order[start..start + size + usize::from(fold < larger)]
        })
    }

    /// Rows of each class in each fold: the rows, sorted by class, are dealt to the folds one by one.
    fn allocation(&self, rows_of: &[usize]) -> Vec<Vec<usize>> {
        let mut allocation = vec![vec![0; rows_of.len()]; self.folds];
        let sorted = rows_of.iter().enumerate().flat_map(|(class, &rows)| std::iter::repeat_n(class, rows));
        sorted.enumerate().for_each(|(i, class)| allocation[i % self.folds][class] += 1);
        allocation
    }
}

/// numpy's shuffle from the end. An index is as many low bits of a random word as are needed; if they are beyond the bound,
/// another word is drawn.
pub(super) fn shuffle<T>(random: &mut Option<Mt>, items: &mut [T]) {
    let Some(random) = random else { return };
    for last in (1..items.len()).rev() {
        let bound = last as u64;
        let mask = u64::MAX >> bound.leading_zeros();
        let other = loop {
            let index = word(random, bound) & mask;
            if index <= bound {
                break index;
            }
        };
        items.swap(last, other as usize);
    }
}

/// A word of 32 bits, or of 64 where indices need them.
fn word(random: &mut Mt, bound: u64) -> u64 {
    let high = u64::from(random.next_u32());
    if bound <= u64::from(u32::MAX) { high } else { (high << 32) | u64::from(random.next_u32()) }
}

/// Each value with its rows, in rising order.
pub(super) fn counts<T: Ord>(values: &[T]) -> Vec<(&T, usize)> {
    let mut counts = BTreeMap::new();
    values.iter().for_each(|value| *counts.entry(value).or_insert(0) += 1);
    counts.into_iter().collect()
}

/// The class of each row, numbered by first appearance, and the rows of each class.
fn by_appearance<L: Ord>(labels: &[L]) -> (Vec<usize>, Vec<usize>) {
    let mut numbers = BTreeMap::new();
    let mut rows_of = Vec::new();
    let classes = labels.iter().map(|label| {
        let class = *numbers.entry(label).or_insert(rows_of.len());
        rows_of.resize(rows_of.len().max(class + 1), 0);
        rows_of[class] += 1;
        class
    });
    (classes.collect(), rows_of)
}

/// The fold of each group: from the largest group on (the last of equal ones first), to the fold with the fewest rows (the
/// first of equals).
fn balanced(sizes: &[usize], folds: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&group| sizes[group]);
    let mut rows = vec![0; folds];
    let mut fold_of = vec![0; sizes.len()];
    for group in order.into_iter().rev() {
        let lightest = (0..folds).min_by_key(|&fold| rows[fold]).unwrap_or(0);
        rows[lightest] += sizes[group];
        fold_of[group] = lightest;
    }
    fold_of
}
