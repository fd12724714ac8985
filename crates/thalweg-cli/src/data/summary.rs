//! What was read and is trained, for people and for programs.

use super::{listed, short, shown, with_flags};
use serde_json::{Value, json};
use thalweg::data::csv::{Form, Reading};
use thalweg::data::{Dataset, Scaler};

/// What was read.
#[derive(Debug, Clone)]
pub struct Read {
    /// As it was given.
    pub source: String,
    /// Where the test rows come from.
    pub test: String,
    /// The names of the classes, and how many rows each has in training and testing together.
    pub classes: Vec<(String, usize)>,
    /// What there is to be said of numbers that are to be predicted.
    pub numbers: Option<Numbers>,
    pub features: usize,
    pub train_rows: usize,
    /// Rows that are kept back from training.
    pub validation_rows: usize,
    pub test_rows: usize,
    /// What a CSV file's lines and columns were taken for, and its test file's.
    pub csv: Option<Reading>,
    pub csv_test: Option<Reading>,
    /// The columns of a CSV file, for other files like it.
    pub form: Option<Form>,
}

/// Numbers that are to be predicted, of training and testing together.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    pub low: f64,
    pub high: f64,
    pub mean: f64,
    pub deviation: f64,
}

impl Numbers {
    fn of(parts: [&Dataset; 2]) -> Option<Self> {
        let all: Vec<f64> = parts.iter().flat_map(|part| &part.targets).map(|&x| f64::from(x)).collect();
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        let deviation = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len().max(1) as f64).sqrt();
        let low = all.iter().copied().reduce(f64::min)?;
        Some(Self { low, high: all.iter().copied().fold(low, f64::max), mean, deviation })
    }
}

/// What is trained on the data.
#[derive(Debug, Clone)]
pub struct Run {
    pub steps_per_epoch: usize,
    pub batch: usize,
    /// As it was given.
    pub model: String,
    pub parameters: u128,
    pub rule: &'static str,
    /// The rule's own rate, before any schedule.
    pub lr: Option<f64>,
    pub engine: &'static str,
}

/// What a run starts from: the first line that it prints.
#[derive(Debug, Clone)]
pub struct Summary {
    pub read: Read,
    pub run: Run,
}

impl Read {
    /// Brings all parts to the scale of the first.
    pub fn scale<'a>(&self, train: &mut Dataset, others: impl Iterator<Item = &'a mut Dataset>) -> thalweg::Result<Scaler> {
        // Pixels share one unit.
        let scaler = if self.csv.is_none() { Scaler::range(train)? } else { Scaler::standard(train)? };
        scaler.apply(train)?;
        for other in others {
            scaler.apply(other)?;
        }
        Ok(scaler)
    }

    /// The labels became numbers.
    pub fn learn_numbers(&mut self, train: &Dataset, test: &Dataset) {
        (self.classes, self.numbers) = (Vec::new(), Numbers::of([train, test]));
    }

    pub fn new(source: String, test: String, train: &Dataset, test_part: &Dataset) -> Self {
        Self {
            source,
            test,
            classes: classes(train, test_part),
            numbers: Numbers::of([train, test_part]),
            features: train.width,
            train_rows: train.rows(),
            validation_rows: 0,
            test_rows: test_part.rows(),
            csv: None,
            csv_test: None,
            form: None,
        }
    }

    /// What was taken for what, for people.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (reading, of) in [(&self.csv, ""), (&self.csv_test, " of the test file")] {
            let Some(reading) = reading else { continue };
            let main = of.is_empty();
            for (name, texts) in reading.categories.iter().filter(|_| main) {
                notes.push(format!(
                    "{name} is {} features, one per text: {}",
                    texts.len(),
                    listed(texts.iter().map(|text| shown(text)))
                ));
            }
            notes.extend(reading.left_out.iter().filter(|_| main).map(|column| format!("{column} is left out")));
            if reading.counts {
                notes
                    .push(format!("the first line{of} counts rows and features and names the classes, as scikit-learn has it"));
            }
            match reading.dropped {
                0 => {}
                1 => notes.push(format!("1 row{of} with a missing cell is left out")),
                dropped => notes.push(format!("{dropped} rows{of} with missing cells are left out")),
            }
            match reading.filled {
                0 => {}
                1 => notes
                    .push(format!("1 missing cell{of} is filled: a number by the column's mean, a text by none of its texts")),
                filled => notes.push(format!(
                    "{filled} missing cells{of} are filled: numbers by the column's mean, texts by none of its texts"
                )),
            }
            notes.extend(reading.warnings.iter().map(|warning| format!("warning: {}", with_flags(warning))));
        }
        notes
    }
}

/// The classes of two parts with their names and numbers of rows.
fn classes(train: &Dataset, test: &Dataset) -> Vec<(String, usize)> {
    let mut rows = vec![0; train.classes];
    train.labels.iter().chain(&test.labels).for_each(|&label| rows[label as usize] += 1);
    let name = |class: usize| train.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    rows.into_iter().enumerate().map(|(class, rows)| (name(class), rows)).collect()
}

impl Summary {
    /// For people: a line for the data, one for the run, and what else there is to say about the data.
    pub fn lines(&self) -> Vec<String> {
        let Self { read, run } = self;
        let classes = listed(read.classes.iter().map(|(name, rows)| format!("{} ({rows})", shown(name))));
        let label = read.csv.as_ref().map(|csv| {
            let header = if csv.header { "the first line is a header" } else { "no header" };
            format!("; the label is {}, {header}", csv.label)
        });
        let learned = match read.numbers {
            None => format!("in {} classes: {classes}", read.classes.len()),
            Some(Numbers { low, high, mean, deviation }) => {
                let [low, high, mean, deviation] = [low, high, mean, deviation].map(short);
                format!("with numbers to predict (regression): {low} to {high}, mean {mean}, deviation {deviation}")
            }
        };
        let validation = match read.validation_rows {
            0 => String::new(),
            rows => format!("{rows} to validate on, "),
        };
        let data = format!(
            "data: {}, {} rows of {} features {learned}{}; {} rows to train on, {validation}{} to test on ({})",
            shown(&read.source),
            read.train_rows + read.validation_rows + read.test_rows,
            read.features,
            label.unwrap_or_default(),
            read.train_rows,
            read.test_rows,
            shown(&read.test),
        );
        let rest = (run.steps_per_epoch * run.batch > read.train_rows).then(|| read.train_rows % run.batch);
        let rest = rest.map(|rest| format!(", the last of {rest}")).unwrap_or_default();
        let rate = run.lr.map(|lr| format!(" at a rate of {}", short(lr))).unwrap_or_default();
        let run = format!(
            "run: {} steps per epoch of {} rows{rest}; {} parameters, {}{rate}, {} engine",
            run.steps_per_epoch, run.batch, run.parameters, run.rule, run.engine,
        );
        [data, run].into_iter().chain(read.notes()).collect()
    }

    /// The first object of `--json`.
    pub fn json(&self) -> Value {
        let Self { read, run } = self;
        let classes: Vec<Value> = read.classes.iter().map(|(name, rows)| json!({ "name": name, "rows": rows })).collect();
        json!({ "data": {
            "source": read.source,
            "rows": read.train_rows + read.validation_rows + read.test_rows,
            "features": read.features,
            "task": if read.numbers.is_some() { "regression" } else { "classification" },
            "classes": classes,
            "numbers": read.numbers.map(|Numbers { low, high, mean, deviation }| {
                json!({ "low": low, "high": high, "mean": mean, "deviation": deviation })
            }),
            "train_rows": read.train_rows,
            "validation_rows": read.validation_rows,
            "test_rows": read.test_rows,
            "test": read.test,
            "csv": read.csv.as_ref().map(reading),
            "csv_test": read.csv_test.as_ref().map(reading),
            "steps_per_epoch": run.steps_per_epoch,
            "batch": run.batch,
            "model": run.model,
            "parameters": run.parameters,
            "rule": run.rule,
            "lr": run.lr,
            "engine": run.engine,
        } })
    }
}

/// What a table's lines and columns were taken for.
fn reading(reading: &Reading) -> Value {
    let categories: Vec<Value> =
        reading.categories.iter().map(|(name, texts)| json!({ "column": name, "texts": texts })).collect();
    let warnings: Vec<String> = reading.warnings.iter().map(|warning| with_flags(warning)).collect();
    json!({
        "header": reading.header,
        "counts": reading.counts,
        "delimiter": reading.delimiter,
        "label": reading.label,
        "categories": categories,
        "left_out": reading.left_out,
        "dropped": reading.dropped,
        "filled": reading.filled,
        "warnings": warnings,
    })
}
