//! Cells of a table: what they mean, and how messages show them.

/// What a cell means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell {
    /// Empty, or a word for a value that is not known.
    Missing,
    /// A number, perhaps an infinite one.
    Number(f64),
    /// It would be a number if a comma were the decimal mark.
    Comma,
    /// Anything else.
    Text,
}

/// Words for a value that is not known: those that pandas and R write, and `?`; `nan` also counts, in upper or lower case. `Na`
/// does not, as it is sodium.
const MISSING: [&str; 12] = ["", "?", "NA", "na", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NULL", "Null", "null"];

impl Cell {
    pub fn of(text: &str) -> Self {
        match text.parse::<f64>() {
            Ok(x) if x.is_nan() => Self::Missing,
            Ok(x) => Self::Number(x),
            Err(_) if MISSING.contains(&text) => Self::Missing,
            Err(_) if with_comma(text) => Self::Comma,
            Err(_) => Self::Text,
        }
    }
}

/// Digits with a comma among them, and nothing else but a sign and points.
fn with_comma(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    let all = digits.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.'));
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    all && digits.contains(&b',') && ends(digits.first()) && ends(digits.last())
}

/// Characters that a message shows of a cell.
const SHOWN: usize = 40;

/// A text from a file for a message: in quotes, without characters that control a terminal, and cut after 40 characters.
///
/// # Examples
///
/// ```
/// use thalweg::data::quoted;
///
/// assert_eq!(quoted("setosa"), "'setosa'");
/// assert_eq!(quoted("\u{1b}[2Jgone"), r"'\u{1b}[2Jgone'");
/// assert_eq!(quoted(&"x".repeat(41)), format!("'{}…'", "x".repeat(40)));
/// ```
pub fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown = String::from("'");
    for c in chars.by_ref().take(SHOWN) {
        match c {
            '"' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown + if chars.next().is_some() { "…'" } else { "'" }
}
