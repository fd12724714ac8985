//! The table that says when to use which rule, and its comparison with the table of a page.

use crate::Outcome;
use thalweg::Memory;
use thalweg_catalogue::descent::{Path, QUADRATIC, ROSENBROCK, distance};
use thalweg_catalogue::{Entry, with};

/// The first lines of the table.
const HEADER: &str = "\
| rule | when | state | digits: test accuracy | Rosenbrock: from the minimum | quadratic: from the minimum |
| --- | --- | --- | --- | --- | --- |
";
/// How far an accuracy may be off, in percentage points: a processor with other vector instructions rounds in another order,
/// and one of the 360 test images is 0.28 %.
const ACCURACY: f64 = 1.0;
/// How many times larger or smaller a distance may be, for the same reason, and the distance below which differences do not
/// matter.
const TIMES: f64 = 4.0;
const ARRIVED: f64 = 1e-4;

/// A rule's line: texts that are the same on every machine, and measured values.
pub struct Row {
    rule: &'static str,
    text: [String; 5],
    measured: [f64; 3],
}

impl Row {
    pub fn of(outcome: &Outcome) -> Self {
        let Outcome { entry, digits, rosenbrock, quadratic } = outcome;
        let Entry { rule, when, .. } = entry;
        let Memory { bytes, other, .. } = Memory::of(&*with(rule, entry.digits.settings));
        let other = other.map_or(String::new(), |other| format!(", {other}"));
        let steps = |path: &Path| format!("after {} steps", path[path.len() - 1].0);
        let accuracy = 100.0 * digits[digits.len() - 1].test.accuracy.unwrap_or(f64::NAN);
        Self {
            rule,
            text: [
                (*when).into(),
                format!("{bytes} B{other}"),
                format!("after {} epochs", digits.len()),
                steps(rosenbrock),
                steps(quadratic),
            ],
            measured: [accuracy, distance(rosenbrock, &ROSENBROCK), distance(quadratic, &QUADRATIC)],
        }
    }

    fn cells(&self) -> [String; 6] {
        let [when, state, epochs, valley_steps, quadratic_steps] = &self.text;
        let [accuracy, valley, quadratic] = self.measured;
        [
            format!("`{}`", self.rule),
            when.clone(),
            state.clone(),
            format!("{accuracy:.1} % {epochs}"),
            format!("{valley:.0e} {valley_steps}"),
            format!("{quadratic:.0e} {quadratic_steps}"),
        ]
    }

    /// The differences of a line from this row.
    fn differences(&self, line: &str) -> Vec<String> {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let expected = self.cells();
        if cells.len() != expected.len() {
            return vec![format!("{}: {} cells, expected {}", self.rule, cells.len(), expected.len())];
        }
        let differs = |column: usize| match column {
            0..3 => cells[column] != expected[column],
            _ => !alike(column, cells[column], self.measured[column - 3], &self.text[column - 1]),
        };
        let columns = (0..expected.len()).filter(|&column| differs(column));
        columns.map(|column| format!("{}: \"{}\", measured \"{}\"", self.rule, cells[column], expected[column])).collect()
    }
}

/// Whether a cell is a number near the measured one, followed by this text.
fn alike(column: usize, cell: &str, measured: f64, text: &str) -> bool {
    let unit = if column == 3 { " % " } else { " " };
    let number = cell.strip_suffix(text).and_then(|cell| cell.strip_suffix(unit));
    let Some(Ok(number)) = number.map(str::parse::<f64>) else { return false };
    match column {
        3 => (number - measured).abs() <= ACCURACY,
        // Not with `max`, which ignores NaN.
        _ => (number <= ARRIVED && measured <= ARRIVED) || (number <= TIMES * measured && measured <= TIMES * number),
    }
}

/// The table as Markdown.
pub fn markdown(rows: &[Row]) -> String {
    HEADER.to_string() + &rows.iter().map(|row| format!("| {} |\n", row.cells().join(" | "))).collect::<String>()
}

/// The differences of a page's table from these rows, including another header, a row without a line, and a line without a row.
pub fn differences(page: &str, rows: &[Row]) -> Vec<String> {
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let of = |row: &Row| lines.iter().find(|line| line.starts_with(&format!("| `{}` |", row.rule)));
    let mut found: Vec<String> = rows
        .iter()
        .flat_map(|row| of(row).map_or_else(|| vec![format!("{}: no line", row.rule)], |line| row.differences(line)))
        .collect();
    if !page.contains(HEADER) {
        found.push(format!("the header is not\n{HEADER}"));
    }
    if lines.len() != rows.len() {
        found.push(format!("{} lines, expected {}", lines.len(), rows.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let text = ["a try".into(), "8 B".into(), "after 10 epochs".into(), "after 100 steps".into(), "after 200 steps".into()];
        Row { rule: "adam", text, measured: [96.7, 5e-3, 2e-5] }
    }

    #[test]
    fn a_table_agrees_with_itself() {
        assert_eq!(differences(&markdown(&[row()]), &[row()]), Vec::<String>::new());
    }

    #[test]
    fn each_wrong_cell_a_missing_and_a_surplus_line_are_found() {
        let right = markdown(&[row()]);
        let wrong = [("a try", "a guess"), ("8 B", "4 B"), ("96.7", "94.7"), ("10 epochs", "11 epochs"), ("5e-3", "5e-2")];
        let far = [("5e-3", "1e-3"), ("2e-5", "2e-4"), ("2e-5", "NaN"), ("200 steps", "300 steps")];
        let units = [("96.7 %", "96.7"), ("5e-3 ", "5e-3 % "), ("96.7 % ", "96.7 %"), ("2e-5 ", "2e-5")];
        for (from, to) in wrong.into_iter().chain(far).chain(units) {
            let found = differences(&right.replace(from, to), &[row()]);
            assert_eq!(found.len(), 1, "{from} became {to}: {found:?}");
        }
        assert_eq!(differences(HEADER, &[row()]), ["adam: no line", "0 lines, expected 1"]);
        assert_eq!(differences(&(right.clone() + &right.replace("adam", "sgd")), &[row()]), ["2 lines, expected 1"]);
    }

    #[test]
    fn another_header_and_one_that_is_missing_are_found() {
        let right = markdown(&[row()]);
        for wrong in
            [right.replace("Rosenbrock: from", "quadratic: from"), right.replacen("---", "", 1), right.replace(HEADER, "")]
        {
            let found = differences(&wrong, &[row()]);
            assert!(found.len() == 1 && found[0].starts_with("the header is not"), "{found:?}");
        }
    }
}
