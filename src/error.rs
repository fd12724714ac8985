//! The one error type of the library.
//!
//! Every message names the thing, the value that was found and the values that are allowed.

mod nearest;
pub mod range;
mod unit;

pub use nearest::nearest;
use std::path::PathBuf;
pub use unit::Unit;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in Thalweg.
///
/// # Examples
///
/// ```
/// use thalweg::{AdamW, Rule};
///
/// let error = AdamW { lr: -1.0, ..Default::default() }.check().unwrap_err();
/// assert_eq!(error.to_string(), "lr = -1 is out of range: finite and at least 0");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is outside its range.
    #[error("{field} = {value} is out of range: {allowed}")]
    Setting {
        /// The setting's name.
        field: String,
        /// The value that was given.
        value: String,
        /// The values that are allowed.
        allowed: String,
    },
    /// A length or shape is not the expected one.
    #[error("{what}: {found} found, {expected} expected")]
    Shape {
        /// The tensor, buffer or dimension.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Something that must hold at least one element holds none.
    #[error("{what} is empty")]
    Empty {
        /// The thing that is empty.
        what: String,
    },
    /// A name that is not known.
    #[error("unknown {kind} '{name}'{}", list(known, hint.as_deref()))]
    Unknown {
        /// What the name should have named.
        kind: String,
        /// The name that was given.
        name: String,
        /// All names that are known, where they are few, else none.
        known: Vec<String>,
        /// What may have been meant: the nearest names, as a question.
        hint: Option<String>,
    },
    /// A file, or what stands for one, has no tensor of a name.
    #[error("{whole} has no tensor '{name}'{}", inside(known, hint.as_deref()))]
    NoTensor {
        /// What lacks it.
        whole: &'static str,
        /// The name under which it should be there.
        name: String,
        /// All names that are there, where they are few, else none.
        known: Vec<String>,
        /// The nearest names that are there.
        hint: Option<String>,
    },
    /// A call at the wrong moment.
    #[error("{call} is out of order: {rule}")]
    Order {
        /// The call.
        call: String,
        /// What has to come before it, or after.
        rule: String,
    },
    /// A setting without a default that is not given.
    #[error("{what} needs {setting}, for example {example}")]
    Missing {
        /// What it is a setting of.
        what: String,
        /// The setting's name.
        setting: String,
        /// A value that is allowed, as it is given.
        example: String,
    },
    /// Two things that are allowed, but not together.
    #[error("{what} cannot be combined with {with}: {reason}")]
    Conflict {
        /// One of the two.
        what: String,
        /// The other.
        with: String,
        /// Why not.
        reason: String,
    },
    /// A name that is given twice.
    #[error("{kind} '{name}' is given twice")]
    Duplicate {
        /// What the name names.
        kind: String,
        /// The name.
        name: String,
    },
    /// As many bad steps in a row were skipped as [`Recipe::max_bad_steps`](crate::Recipe::max_bad_steps) allows.
    #[error("lane {lane} skipped {in_a_row} steps in a row, since its gradient was not finite; max_bad_steps is {allowed}")]
    BadSteps {
        /// The lane.
        lane: usize,
        /// Steps that it has skipped since the last applied one, as far as the host knows.
        in_a_row: u32,
        /// The recipe's bound.
        allowed: u32,
    },
    /// A request beyond a limit of the adapter or of the kernels.
    #[error("{what} needs {needed} {unit}, at most {allowed} are allowed here; {}", unit.remedy())]
    Limit {
        /// The tensor, buffer or product.
        what: String,
        /// What is needed, in units.
        needed: u64,
        /// The limit, in the same units.
        allowed: u64,
        /// What is counted.
        unit: Unit,
    },
    /// A population of which there is room for some lanes only. It was found before anything was made, unless it is the driver
    /// that said so.
    #[error("{asked} lanes do not fit, {fit} do: {reason}; train the others after them, in waves")]
    Lanes {
        /// Lanes that were asked for.
        asked: usize,
        /// Lanes that fit, at least 1.
        fit: usize,
        /// What there is not enough of.
        reason: String,
    },
    /// Only the first of several steps could be made; `reason` says why the next one could not.
    #[error("{made} of {asked} steps are made, the next is refused: {reason}")]
    Partly {
        /// Steps that are made.
        made: u64,
        /// Steps that were asked for.
        asked: u64,
        /// Why there are no more.
        reason: Box<Error>,
    },
    /// Steps were recorded into encoders, and too many of these were not submitted.
    #[error(
        "{waiting} recorded steps wait for their submission, and at most {allowed} may: submit their encoders in the order in which \
         they were recorded, or, if these are dropped, call Optimizer::forget_recorded"
    )]
    NotSubmitted {
        /// Steps that were recorded and that the device has not made.
        waiting: u64,
        /// How many may wait.
        allowed: u64,
    },
    /// No adapter fits; `remedy` says what to do about it.
    #[error("no GPU adapter: {reason}; {remedy}")]
    NoAdapter {
        /// Why there is none.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The device is lost or was destroyed; nothing more can be done on it.
    #[error("the device is lost: {reason}")]
    DeviceLost {
        /// The driver's reason.
        reason: String,
    },
    /// A wait took longer than it may. What was waited for may still come; the device is not known to be lost.
    #[error("waiting for {what} took more than {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// The device, or on the CPU engine the host, has no memory left for a buffer.
    #[error("out of memory while making {what} of {bytes} bytes")]
    OutOfMemory {
        /// The buffer.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// The driver or wgpu refused something.
    #[error("{what}: {reason}")]
    Device {
        /// What was being done.
        what: String,
        /// What was said.
        reason: String,
    },
    /// The WGSL of a rule or of an operation does not compile, or does not fit the kernel that it was joined with.
    #[error("{of}{}: {reason}", line.map_or(" does not fit its kernel".into(), |line| format!(", line {line}")))]
    Shader {
        /// Whose text it is.
        of: String,
        /// The line of that text, from 1. None if it is the rest of the kernel that cannot be compiled with it.
        line: Option<u32>,
        /// The compiler's message. Its line numbers are those of the text.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of tensors is not what it should be: no such file, cut off, changed since it was written, or of a newer version.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file's content does not make sense. Line and column count from 1.
    #[error("{}, line {line}, column {column}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The column (field).
        column: u64,
        /// What was found and what was expected.
        reason: String,
    },
}

/// An error lists all known names if they are at most this many; else only the nearest ones.
const LISTED: usize = 40;
/// At most this many of the nearest names are named.
const NEAR: usize = 3;

/// What is known, and what may have been meant.
fn list(known: &[String], hint: Option<&str>) -> String {
    let known = if known.is_empty() { String::new() } else { format!("; known: {}", known.join(", ")) };
    known + &hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

/// What is there, and what comes near.
fn inside(known: &[String], hint: Option<&str>) -> String {
    let known = if known.is_empty() { String::new() } else { format!("; it has {}", known.join(", ")) };
    known + &hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

/// The names, where they are few, and what `near` says of the nearest of them.
fn names_and_hint(name: &str, known: &[&str], near: fn(&[&str]) -> String) -> (Vec<String>, Option<String>) {
    let found = nearest(name, known.iter().copied());
    let few = known.len() <= LISTED;
    let hint = match found.len() {
        0 if few => None,
        0 => Some(format!("none of the {} names is near it", known.len())),
        _ => Some(near(&found[..found.len().min(NEAR)])),
    };
    (if few { known.iter().map(ToString::to_string).collect() } else { Vec::new() }, hint)
}

impl Error {
    /// A setting that is out of range.
    pub fn setting(field: &str, value: impl ToString, allowed: &str) -> Self {
        Self::Setting { field: field.into(), value: value.to_string(), allowed: allowed.into() }
    }

    /// Says in an error about a setting whose setting it is. Other errors stay as they are.
    pub(crate) fn of(self, whole: &str) -> Self {
        match self {
            Self::Setting { field, value, allowed } => Self::Setting { field: format!("{field} of {whole}"), value, allowed },
            other => other,
        }
    }

    /// A length or shape that does not fit.
    pub fn shape(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Shape { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }

    /// A name that is not among the known ones.
    pub fn unknown(kind: &str, name: &str, known: &[&str]) -> Self {
        let (known, hint) = names_and_hint(name, known, |near| format!("did you mean {}?", near.join(" or ")));
        Self::Unknown { kind: kind.into(), name: name.into(), known, hint }
    }

    /// A tensor that is not there under a name which is right; `known` are the names that are there.
    pub fn no_tensor(whole: &'static str, name: &str, known: &[&str]) -> Self {
        let (known, hint) = names_and_hint(name, known, |near| format!("near it: {}", near.join(", ")));
        Self::NoTensor { whole, name: name.into(), known, hint }
    }

    /// A call at the wrong moment.
    pub fn order(call: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Order { call: call.into(), rule: rule.into() }
    }

    /// Something that is not given, with an example.
    pub fn missing(what: impl Into<String>, setting: impl Into<String>, example: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), setting: setting.into(), example: example.into() }
    }

    /// Two things that have no meaning together.
    pub fn conflict(what: impl Into<String>, with: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Conflict { what: what.into(), with: with.into(), reason: reason.into() }
    }

    /// A request beyond a limit of the adapter or of the kernels.
    pub fn limit(what: impl Into<String>, needed: u64, allowed: u64, unit: Unit) -> Self {
        Self::Limit { what: what.into(), needed, allowed, unit }
    }
}
