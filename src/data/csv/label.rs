//! Labels as they are written in a file, and the classes that they make.

use std::collections::{BTreeMap, HashMap};

use super::Learn;
use crate::data::cell::{Cell, quoted};

/// More distinct numbers than this are classes only if each has many rows on average, or if all have the same number of rows. A
/// quantity has more values, and some of them are rare.
const FEW: usize = 10;
const ROWS_PER_CLASS: usize = 20;
/// Rows of a class that is not rare.
const NOT_RARE: usize = 5;
/// The most classes of a column that is asked about as the label although it is not the last.
const MOST_CLASSES: usize = 100;
/// What to do about a quantity.
const REGRESSION: &str = "To learn numbers (regression), say `learn` = numbers; to learn classes, make a few ranges of them, or say with \
                          `target` which column is the label";
/// From this part of the rows on, one class is all there is to learn.
const MOST: f64 = 0.95;

/// The labels of all rows.
#[derive(Debug, Default)]
pub(super) struct Labels {
    known: HashMap<String, usize>,
    /// The distinct labels, in the order of their first rows.
    distinct: Vec<Label>,
    /// Which of them each row has.
    pub rows: Vec<usize>,
}

/// A distinct label.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub text: String,
    /// Where the first row with it starts.
    pub offset: usize,
    pub rows: usize,
}

/// What a label means: integers, ordered by value, then texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Integer(i64),
    Text(String),
}

/// The classes of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Classes {
    pub names: Vec<String>,
    pub numbers: BTreeMap<Key, u32>,
}

/// What the labels of a table stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meaning {
    Classes(Classes),
    /// Numbers that are to be predicted.
    Numbers,
}

/// What all rows have to be predicted: classes, or numbers.
#[derive(Debug, Default)]
pub(super) struct Predicted {
    pub labels: Vec<u32>,
    pub targets: Vec<f32>,
}

/// What is wrong with a label, and where its row starts if that matters.
pub(super) struct Wrong {
    pub offset: Option<usize>,
    pub reason: String,
}

impl Labels {
    pub fn push(&mut self, text: &str, offset: usize) {
        let next = self.distinct.len();
        let index = match self.known.get(text) {
            Some(&index) => index,
            None => {
                self.known.insert(text.into(), next);
                self.distinct.push(Label { text: text.into(), offset, rows: 0 });
                next
            }
        };
        self.distinct[index].rows += 1;
        self.rows.push(index);
    }

    /// What the labels stand for, where this is what is to be learned.
    pub fn meaning(&self, learn: Learn) -> Result<Meaning, Wrong> {
        match learn {
            Learn::Classes => self.classes().map(Meaning::Classes),
            Learn::Numbers => self.differing_numbers(),
            Learn::Auto => match self.classes() {
                Err(_) if self.is_quantity() => self.differing_numbers(),
                classes => classes.map(Meaning::Classes),
            },
        }
    }

    /// What each row has, if it is what the labels of the table stand for.
    pub fn predicted(&self, meaning: &Meaning) -> Result<Predicted, Wrong> {
        match meaning {
            Meaning::Classes(classes) => Ok(Predicted { labels: self.rows_among(classes)?, targets: Vec::new() }),
            Meaning::Numbers => Ok(Predicted { labels: Vec::new(), targets: self.numbers()? }),
        }
    }

    /// Numbers that are to be predicted, if they are not all the same.
    fn differing_numbers(&self) -> Result<Meaning, Wrong> {
        let numbers = self.numbers()?;
        match numbers.iter().find(|&&number| number != numbers[0]) {
            Some(_) => Ok(Meaning::Numbers),
            None => {
                let reason = format!("is {} in all {} rows, so nothing is to be predicted", numbers[0], numbers.len());
                Err(Wrong { offset: None, reason })
            }
        }
    }

    /// The number of each row.
    fn numbers(&self) -> Result<Vec<f32>, Wrong> {
        let number = |label: &Label| {
            let number = label.text.parse::<f32>().ok().filter(|number| number.is_finite());
            let reason = || format!("the label {} is not a finite number of single precision", quoted(&label.text));
            number.ok_or_else(|| Wrong { offset: Some(label.offset), reason: reason() })
        };
        let distinct = self.distinct.iter().map(number).collect::<Result<Vec<f32>, Wrong>>()?;
        Ok(self.rows.iter().map(|&label| distinct[label]).collect())
    }

    /// Whether all are numbers that do not just count the rows, as those of an identifier do.
    fn is_quantity(&self) -> bool {
        let Ok(numbers) = self.numbers() else { return false };
        let (low, high) = numbers.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        let counts = self.distinct.len() == numbers.len()
            && numbers.iter().all(|x| x.fract() == 0.0)
            && f64::from(high) - f64::from(low) + 1.0 == numbers.len() as f64;
        !counts
    }

    /// The distinct labels in order, as classes.
    pub fn classes(&self) -> Result<Classes, Wrong> {
        let keys = self.keys()?;
        let mut numbers: BTreeMap<Key, u32> = keys.into_iter().map(|key| (key, 0)).collect();
        let names: Vec<String> = numbers.keys().map(Key::name).collect();
        (0..).zip(numbers.values_mut()).for_each(|(number, entry)| *entry = number);
        self.check(&names, numbers.keys().all(|key| matches!(key, Key::Integer(_))))?;
        Ok(Classes { names, numbers })
    }

    /// The class of each row.
    fn rows_of(&self, classes: &Classes) -> Vec<u32> {
        let class = |label: &Label| classes.numbers.get(&Key::of(&label.text)).copied().unwrap_or(0);
        let of: Vec<u32> = self.distinct.iter().map(class).collect();
        self.rows.iter().map(|&label| of[label]).collect()
    }

    /// The class of each row, if all of them are among these.
    fn rows_among(&self, classes: &Classes) -> Result<Vec<u32>, Wrong> {
        let unknown = self.distinct.iter().find(|label| !classes.numbers.contains_key(&Key::of(&label.text)));
        if let Some(label) = unknown {
            let known: Vec<String> = classes.names.iter().take(FEW).map(|name| quoted(name)).collect();
            let more = if classes.names.len() > FEW { ", …" } else { "" };
            let reason =
                format!("the label {} is not among the training labels {}{more}", quoted(&label.text), known.join(", "));
            return Err(Wrong { offset: Some(label.offset), reason });
        }
        Ok(self.rows_of(classes))
    }

    /// Whether all labels have the same number of rows, and none is rare.
    fn is_even(&self) -> bool {
        let rows = |label: &Label| label.rows;
        let (least, most) = (self.distinct.iter().map(rows).min(), self.distinct.iter().map(rows).max());
        least == most && least >= Some(NOT_RARE)
    }

    /// Whether there are too many labels to ask whether the column is the label.
    pub fn are_many(&self) -> bool {
        self.distinct.len() > MOST_CLASSES
    }

    /// The number of classes, if the labels look like classes: a few, none of them rare, and none of them in nearly all rows.
    pub fn look_like_classes(&self) -> Option<usize> {
        let rows = self.rows.len() as f64;
        let usual = |label: &Label| label.rows >= NOT_RARE && (label.rows as f64) < MOST * rows;
        let fit = !self.are_many() && self.distinct.iter().all(usual);
        self.classes().ok().map(|classes| classes.names.len()).filter(|_| fit)
    }

    /// Whether the first row alone has its label, while all others are shared.
    pub fn only_first(&self) -> bool {
        let mut rows = self.distinct.iter().map(|label| label.rows);
        rows.next() == Some(1) && self.rows.len() > 2 * FEW && rows.all(|rows| rows > 1)
    }

    /// What each distinct label means.
    fn keys(&self) -> Result<Vec<Key>, Wrong> {
        let is_number = |label: &&Label| matches!(Cell::of(&label.text), Cell::Number(_));
        let (numbers, texts): (Vec<&Label>, Vec<&Label>) = self.distinct.iter().partition(is_number);
        let rows = |labels: &[&Label]| labels.iter().map(|label| label.rows).sum::<usize>();
        let slip = texts.iter().find(|label| label.rows == 1 && rows(&numbers) > rows(&texts));
        if let Some(label) = slip {
            let reason =
                format!("the label {} is no number, as those of {} other rows are", quoted(&label.text), rows(&numbers));
            return Err(Wrong { offset: Some(label.offset), reason });
        }
        if texts.is_empty() {
            return numbers.into_iter().map(integer).collect();
        }
        Ok(self.distinct.iter().map(|label| Key::of(&label.text)).collect())
    }

    fn check(&self, names: &[String], integers: bool) -> Result<(), Wrong> {
        let (rows, classes) = (self.rows.len(), names.len());
        let wrong = |reason| Err(Wrong { offset: None, reason });
        if let [name] = names {
            let name = quoted(name);
            let ways = "Say which with `target`: a name, a number from 1, first or last";
            let all = if rows == 1 { "the only row".into() } else { format!("all {rows} rows") };
            return wrong(format!("has the label {name} in {all}, so nothing is to be told apart: is it the label? {ways}"));
        }
        if integers && classes > FEW && classes * ROWS_PER_CLASS > rows && !self.is_even() {
            let (these, what) = match classes {
                _ if classes == rows => {
                    (format!("a different number in each of the {rows} rows"), "an identifier or a quantity")
                }
                _ => (format!("{classes} different numbers in {rows} rows"), "a quantity"),
            };
            let bound = format!(
                "more than {FEW} numbers are classes if each has {ROWS_PER_CLASS} rows on average, or all have the same number, \
                 {NOT_RARE} or more"
            );
            let text = "Numbers that are names of classes all the same can be written as text, such as c1";
            return wrong(format!("has {these}, which looks like {what}, not like classes: {bound}. {REGRESSION}. {text}"));
        }
        Ok(())
    }

    /// Warnings about labels that can be learned but look odd.
    pub fn doubts(&self, names: &[String]) -> Vec<String> {
        let mut doubts = Vec::new();
        let mut spellings: BTreeMap<String, &str> = BTreeMap::new();
        for name in names {
            if let Some(other) = spellings.insert(name.to_lowercase(), name) {
                doubts.push(format!("the classes {} and {} differ only in case", quoted(other), quoted(name)));
            }
        }
        let rare = self.distinct.iter().filter(|label| label.rows < NOT_RARE).count();
        let integers = self.distinct.iter().all(|label| matches!(Key::of(&label.text), Key::Integer(_)));
        if integers && names.len() > FEW && rare > 0 {
            let all = names.len();
            doubts.push(format!("of {all} different numbers as classes {rare} are rare: a quantity would be learned badly so"));
        }
        let rows = self.rows.len();
        let most = self.distinct.iter().max_by_key(|label| label.rows);
        if let Some(most) = most.filter(|most| rows >= 20 && most.rows as f64 >= MOST * rows as f64) {
            let (part, name) = (100.0 * most.rows as f64 / rows as f64, quoted(&most.text));
            doubts.push(format!(
                "{part:.0} % of the rows have the label {name}: is it in another column? Say which with `target`"
            ));
        }
        doubts
    }
}

impl Key {
    /// The meaning of a label, if other labels may be text.
    pub fn of(text: &str) -> Self {
        match Cell::of(text) {
            Cell::Number(x) if is_exact(x) => Self::Integer(x as i64),
            _ => text.parse().map_or_else(|_| Self::Text(text.into()), Self::Integer),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The integer that a label is.
fn integer(label: &Label) -> Result<Key, Wrong> {
    let wrong =
        |what: &str| Err(Wrong { offset: Some(label.offset), reason: format!("the label {} {what}", quoted(&label.text)) });
    match (Key::of(&label.text), Cell::of(&label.text)) {
        (key @ Key::Integer(_), _) => Ok(key),
        (_, Cell::Number(x)) if x.is_finite() && x.fract() != 0.0 => {
            wrong(&format!("is a fraction, so the column looks like a quantity, not like classes. {REGRESSION}"))
        }
        (_, Cell::Number(x)) if x.is_finite() => wrong("is too large for a class"),
        _ => wrong("is not an integer"),
    }
}

/// Whether a number is an integer that `f64` can tell from its neighbours.
fn is_exact(x: f64) -> bool {
    x.fract() == 0.0 && x.abs() < 9_007_199_254_740_992.0
}
