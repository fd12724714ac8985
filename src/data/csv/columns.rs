//! What each column is: the label, a feature, or left out.

use std::collections::BTreeSet;

use super::label::Labels;
use super::survey::{Column, Survey, names_a_label};
use super::text::{Text, offset};
use super::{Learn, Options, Target};
use crate::data::cell::{Cell, quoted};
use crate::error::{Error, Result, nearest};

/// The most texts of a column of categories. Beyond a few, they may also be no more than half the number of rows.
const CATEGORIES: usize = 100;
const FEW: usize = 10;
/// Names that an error lists.
const LISTED: usize = 20;

/// What a feature column holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Number,
    /// One of these texts, in order.
    Category(Vec<String>),
}

/// A column that holds features.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Feature {
    pub column: usize,
    pub kind: Kind,
}

/// The columns of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Columns {
    /// The header, if there is one.
    pub names: Option<Vec<String>>,
    pub number: usize,
    pub target: usize,
    pub features: Vec<Feature>,
    /// Columns that are left out, with the reason.
    pub left_out: Vec<String>,
    /// Warnings about what may not be meant.
    pub doubts: Vec<String>,
}

impl Feature {
    /// The number of features that the column gives a row.
    pub fn width(&self) -> usize {
        match &self.kind {
            Kind::Number => 1,
            Kind::Category(texts) => texts.len(),
        }
    }
}

impl Columns {
    /// Decides about all columns, by options, header and content.
    pub fn new(text: &Text, survey: &Survey, options: &Options) -> Result<Self> {
        let names = survey.header.then(|| survey.first.clone());
        let number = survey.columns.len();
        let mut columns =
            Self { names, number, target: number - 1, features: Vec::new(), left_out: Vec::new(), doubts: Vec::new() };
        columns.target = columns.find_target(text, survey, options)?;
        columns.check_target(text, &survey.columns[columns.target], survey.rows)?;
        let mut ignored = BTreeSet::new();
        for name in &options.ignore {
            ignored.insert(columns.find(text, name)?);
        }
        if ignored.contains(&columns.target) {
            return Err(text.refused(format!(
                "{} is the label and cannot be left out: say with `target` which other column is",
                columns.name(columns.target)
            )));
        }
        if !ignored.contains(&0) && columns.target != 0 && columns.is_index(text)? {
            columns.left_out.push(format!("{}, an index without a name, as pandas writes it,", columns.name(0)));
            ignored.insert(0);
        } else {
            columns.doubt_index(&survey.columns[0], ignored.contains(&0));
        }
        for column in (0..number).filter(|column| *column != columns.target) {
            if ignored.contains(&column) {
                continue;
            }
            let kind = columns.kind(text, column, &survey.columns[column], survey.rows)?;
            columns.features.push(Feature { column, kind });
        }
        let given = ignored.iter().filter(|&&column| column != 0 || columns.left_out.is_empty());
        let given: Vec<String> = given.map(|&column| columns.name(column)).collect();
        columns.left_out.extend(given);
        if columns.features.is_empty() {
            return Err(text.refused("no column is left for features"));
        }
        Ok(columns)
    }

    /// The columns of another text that has the same columns. If both texts have headers, the order may differ.
    pub fn of_test(&self, text: &Text, from: &str) -> Result<Self> {
        let (first, offset) = first_record(text)?;
        let Some(names) = &self.names else {
            if first.len() != self.number {
                let reason = format!("{} fields found, {} expected as in {from}", first.len(), self.number);
                return Err(text.error(offset, first.len().min(self.number), reason));
            }
            return Ok(self.clone());
        };
        let features = self.places(text, from, names, (&first, offset))?;
        let target = self.place(text, from, names, (&first, offset), self.target)?;
        Ok(Self { number: first.len(), names: Some(first), target, features, ..self.clone() })
    }

    /// As [`Columns::of_test`], but the column of the label may be missing.
    pub fn of_unlabelled(&self, text: &Text, from: &str) -> Result<Self> {
        let (first, offset) = first_record(text)?;
        let Some(names) = &self.names else {
            let mut same = self.clone();
            if first.len() + 1 == self.number {
                let after = same.features.iter_mut().filter(|feature| feature.column > self.target);
                after.for_each(|feature| feature.column -= 1);
            } else if first.len() != self.number {
                let reason = format!(
                    "{} fields found, {} expected as in {from}, or one fewer without the label",
                    first.len(),
                    self.number
                );
                return Err(text.error(offset, first.len().min(self.number), reason));
            }
            return Ok(Self { number: first.len(), ..same });
        };
        let features = self.places(text, from, names, (&first, offset))?;
        Ok(Self { number: first.len(), names: Some(first), features, ..self.clone() })
    }

    /// Finds the columns of features in another header.
    fn places(&self, text: &Text, from: &str, names: &[String], header: (&[String], usize)) -> Result<Vec<Feature>> {
        if !self.features.iter().any(|feature| header.0.contains(&names[feature.column])) {
            let reason = format!("this line names none of the columns of {from}: a header is expected, as that has one");
            return Err(text.error(header.1, 0, reason));
        }
        let feature = |feature: &Feature| {
            Ok(Feature { column: self.place(text, from, names, header, feature.column)?, kind: feature.kind.clone() })
        };
        self.features.iter().map(feature).collect()
    }

    /// Finds a column in another header.
    fn place(
        &self,
        text: &Text,
        from: &str,
        names: &[String],
        (first, offset): (&[String], usize),
        column: usize,
    ) -> Result<usize> {
        let same = first.get(column) == Some(&names[column]);
        let found = if same { Some(column) } else { first.iter().position(|name| *name == names[column]) };
        let missing =
            || text.error(offset, 0, format!("the header has no column {}, which {from} has", quoted(&names[column])));
        found.ok_or_else(missing)
    }

    /// Features per row.
    pub fn width(&self) -> usize {
        self.features.iter().map(Feature::width).sum()
    }

    /// A column in words: its number, and its name if it has one.
    pub fn name(&self, column: usize) -> String {
        match self.names.as_ref().map(|names| &*names[column]) {
            Some("") | None => format!("column {}", column + 1),
            Some(name) => format!("column {} {}", column + 1, quoted(name)),
        }
    }

    fn find_target(&self, text: &Text, survey: &Survey, options: &Options) -> Result<usize> {
        let last = self.number - 1;
        match &options.target {
            Some(Target::First) => Ok(0),
            Some(Target::Last) => Ok(last),
            Some(Target::Named(name)) => self.find(text, name),
            None => {
                let names = self.names.as_deref().unwrap_or_default();
                let elsewhere = names.iter().position(|name| names_a_label(name));
                let named = names.get(last).is_some_and(|name| names_a_label(name));
                match elsewhere {
                    _ if named => Ok(last),
                    Some(column) => Err(self.which(text, &self.name(column))),
                    // Numbers need not look like classes.
                    None if options.learn == Learn::Numbers => Ok(last),
                    None => self.last_unless_first(text, survey),
                }
            }
        }
    }

    /// The last column; an error if the first looks like classes and the last holds numbers that do not.
    fn last_unless_first(&self, text: &Text, survey: &Survey) -> Result<usize> {
        let last = self.number - 1;
        if last < 2 || !survey.columns[last].is_numeric() {
            return Ok(last);
        }
        let Some(classes) = self.labels(text, 0)?.look_like_classes() else { return Ok(last) };
        match self.labels(text, last)?.look_like_classes() {
            Some(_) => Ok(last),
            None => Err(self.which(text, &format!("{}, which looks like {classes} classes,", self.name(0)))),
        }
    }

    /// The cells of a column as labels. Reading stops when there are too many different ones to be classes.
    fn labels(&self, text: &Text, column: usize) -> Result<Labels> {
        let (mut labels, mut header) = (Labels::default(), self.names.is_some());
        text.rows(|record| {
            if !std::mem::take(&mut header) && !labels.are_many() {
                labels.push(&record[column], offset(record));
            }
            Ok(())
        })?;
        Ok(labels)
    }

    /// The question which column is the label.
    fn which(&self, text: &Text, other: &str) -> Error {
        let last = self.name(self.number - 1);
        text.refused(format!("which is the label, {other} or the last, {last}? Say it with `target`"))
    }

    /// Refuses a label column without any value.
    fn check_target(&self, text: &Text, cells: &Column, rows: usize) -> Result<()> {
        if cells.missing < rows {
            return Ok(());
        }
        let name = self.name(self.target);
        let ends = if self.target + 1 == self.number { " Do the lines end with a delimiter?" } else { "" };
        let say = "Say with `target` which column is the label";
        Err(text.refused(format!("{name}, the label, has no value in any row.{ends} {say}")))
    }

    /// The column of that name, or else the one of that number.
    fn find(&self, text: &Text, name: &str) -> Result<usize> {
        let names = self.names.as_deref().unwrap_or_default();
        let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
        let places = |same: &dyn Fn(&str) -> bool| (0..names.len()).filter(|&c| same(&names[c])).collect::<Vec<_>>();
        let exact = places(&|known| known == name);
        let found = if exact.is_empty() { places(&|known| plain(known) == plain(name)) } else { exact };
        match (found.as_slice(), name.parse::<usize>()) {
            ([column], _) => Ok(*column),
            ([], Ok(number)) if (1..=self.number).contains(&number) => Ok(number - 1),
            ([], Ok(number)) => Err(text.refused(format!("no column {number}; there are {}, counted from 1", self.number))),
            ([], Err(_)) => Err(text.refused(self.unknown(name))),
            _ => Err(text.refused(format!("{} columns are called {}: say which by its number", found.len(), quoted(name)))),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let Some(names) = &self.names else {
            return format!("no column {}: the first line is no header (see `header`); number columns from 1", quoted(name));
        };
        let listed: Vec<String> = names.iter().take(LISTED).map(|name| quoted(name)).collect();
        let more = if names.len() > LISTED { ", …" } else { "" };
        let nearest = nearest(name, names.iter().map(String::as_str));
        let meant = nearest.first().map(|known| format!("; did you mean {}?", quoted(known))).unwrap_or_default();
        format!("no column {}{meant} (the header has {}{more})", quoted(name), listed.join(", "))
    }

    /// Whether the first column has no name and distinct integers in it.
    fn is_index(&self, text: &Text) -> Result<bool> {
        let Some(names) = &self.names else { return Ok(false) };
        if !(names[0].is_empty() || names[0].starts_with("Unnamed: ")) {
            return Ok(false);
        }
        let mut cells: Vec<Option<i64>> = Vec::new();
        text.rows(|record| {
            cells.push(record[0].parse().ok());
            Ok(())
        })?;
        let rows = cells.split_off(1);
        let distinct: BTreeSet<i64> = rows.iter().flatten().copied().collect();
        Ok(distinct.len() == rows.len())
    }

    fn doubt_index(&mut self, first: &Column, ignored: bool) {
        if !ignored && self.target != 0 && first.counts_rows() && first.numbers > FEW {
            let name = self.name(0);
            self.doubts.push(format!("{name} counts the rows: if it is an index and no feature, leave it out with `ignore`"));
        }
    }

    /// What a feature column holds.
    fn kind(&self, text: &Text, column: usize, cells: &Column, rows: usize) -> Result<Kind> {
        let name = self.name(column);
        if cells.missing == rows {
            return Err(text.refused(format!("{name} has no value in any row: leave it out with `ignore`")));
        }
        if cells.commas > 0 && cells.commas + cells.numbers >= cells.texts {
            return Err(self.first_where(
                text,
                column,
                |cell| cell == Cell::Comma,
                |cell| {
                    let point = cell.replace(',', ".");
                    format!(
                        "{} has a decimal comma; numbers are written with a point ({point}), and without a mark for thousands",
                        quoted(cell)
                    )
                },
            ));
        }
        if cells.texts <= cells.numbers {
            return match cells.texts {
                0 => Ok(Kind::Number),
                _ => Err(self.first_where(
                    text,
                    column,
                    |cell| cell == Cell::Text,
                    |cell| format!("{} stands in a column of numbers and is none", quoted(cell)),
                )),
            };
        }
        let texts = self.texts(text, column)?;
        let present = rows - cells.missing;
        if texts.len() > CATEGORIES || texts.len() > FEW && 2 * texts.len() > present {
            let many = format!("{name} has {} different texts in {present} rows, which are no categories", texts.len());
            return Err(text.refused(format!("{many}: leave it out with `ignore`")));
        }
        Ok(Kind::Category(texts.into_iter().collect()))
    }

    /// The distinct texts of a column. Reading stops at one more than a column of categories may have.
    fn texts(&self, text: &Text, column: usize) -> Result<BTreeSet<String>> {
        let (mut texts, mut header) = (BTreeSet::new(), self.names.is_some());
        text.rows(|record| {
            let cell = &record[column];
            if !std::mem::take(&mut header) && Cell::of(cell) != Cell::Missing && !texts.contains(cell) {
                texts.insert(cell.to_owned());
            }
            Ok(())
        })?;
        Ok(texts)
    }

    /// An error at the first cell of a column for which `is` holds.
    fn first_where(&self, text: &Text, column: usize, is: impl Fn(Cell) -> bool, reason: impl Fn(&str) -> String) -> Error {
        let mut header = self.names.is_some();
        let found = text.rows(|record| {
            let cell = &record[column];
            if !std::mem::take(&mut header) && is(Cell::of(cell)) {
                return Err(text.error(offset(record), column, reason(cell)));
            }
            Ok(())
        });
        found.err().unwrap_or_else(|| text.refused(format!("{} changed while it was read", self.name(column))))
    }
}

/// The first line, and where it starts.
fn first_record(text: &Text) -> Result<(Vec<String>, usize)> {
    let mut first = None;
    text.rows(|record| {
        first.get_or_insert_with(|| (record.iter().map(String::from).collect::<Vec<_>>(), offset(record)));
        Ok(())
    })?;
    first.ok_or_else(|| text.refused("the file is empty"))
}
