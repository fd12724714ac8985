//! What an update touches, element by element.

use super::{BufferId, Half};
use crate::error::{Error, Result};
use crate::rule::AnyRule;

/// How the elements of a buffer lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum Storage {
    /// The engine's float type: 4 bytes, or 8 in the oracle.
    #[default]
    F32,
    /// IEEE 754 binary16: see [`Half::F16`].
    F16,
    /// The upper half of an `f32`: see [`Half::Bf16`].
    Bf16,
}

impl From<Half> for Storage {
    fn from(half: Half) -> Self {
        match half {
            Half::F16 => Self::F16,
            Half::Bf16 => Self::Bf16,
        }
    }
}

impl std::str::FromStr for Storage {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [Self::F32, Self::F16, Self::Bf16];
        let known = || Error::unknown("storage", name, &all.map(Self::name));
        all.into_iter().find(|storage| storage.name() == name).ok_or_else(known)
    }
}

impl Storage {
    /// The type of 16 bits, where it is one.
    pub fn half(self) -> Option<Half> {
        match self {
            Self::F32 => None,
            Self::F16 => Some(Half::F16),
            Self::Bf16 => Some(Half::Bf16),
        }
    }

    /// Its name in files, on the command line and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// What the elements of a stream are to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamOf {
    /// Parameters, read and written.
    Params,
    /// Gradients, or what takes their place; written where they are set to 0.
    Grads,
    /// The plane of the rule at this place among [`Rule::STATE`](crate::Rule::STATE), read and written.
    Plane(usize),
    /// What a pass leaves in the place of new parameters.
    Direction,
    /// Parameters from before an ascent: the step starts there, and a bad step ends there.
    Before,
    /// Slow weights: `slow += sync · (x − slow); x = slow` where the row's `sync` is not 0; x from before the first step.
    Slow,
    /// An average of the parameters: `average += rate · (x − average)` with the row's `average`.
    Average,
    /// What the step added to each parameter.
    Change,
    /// A copy of the parameters in 16 bits.
    HalfCopy,
}

impl StreamOf {
    /// How many streams an update has at most.
    pub(crate) const COUNT: usize = Self::HalfCopy.index() + 1;

    /// Planes that a rule has at most.
    pub(crate) const PLANES: usize = 4;

    /// Its place among all.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Params => 0,
            Self::Grads => 1,
            Self::Plane(plane) => 2 + plane,
            Self::Direction => 2 + Self::PLANES,
            Self::Before => 3 + Self::PLANES,
            Self::Slow => 4 + Self::PLANES,
            Self::Average => 5 + Self::PLANES,
            Self::Change => 6 + Self::PLANES,
            Self::HalfCopy => 7 + Self::PLANES,
        }
    }
}

/// A buffer of each lane that an update reads or writes element by element: it is laid out as the parameters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stream {
    /// What its elements are.
    pub of: StreamOf,
    /// The buffer.
    pub buffer: BufferId,
    /// How its elements lie there: planes as the rule allows ([`Rule::rounding`](crate::Rule::rounding)), a copy in 16 bits,
    /// all others as floats of the engine.
    pub storage: Storage,
}

impl Stream {
    /// Floats of the engine.
    pub fn new(of: StreamOf, buffer: BufferId) -> Self {
        Self { of, buffer, storage: Storage::F32 }
    }

    /// The same buffer, stored in another way.
    pub fn stored(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }
}

/// Whether a rule's plane may be stored so.
pub(crate) fn check_storage(rule: &dyn AnyRule, plane: usize, storage: Storage) -> Result<()> {
    let (name, planes) = (rule.name(), rule.state_names());
    let what = || format!("a state in {}", storage.name());
    let with = |plane: &str| format!("plane '{plane}' of {name}");
    let plane_name = planes.get(plane).copied().unwrap_or("?");
    match storage {
        Storage::F32 => Ok(()),
        Storage::F16 => Err(Error::conflict(what(), with(plane_name), "squares leave its range: bf16 has that of f32")),
        Storage::Bf16 if rule.rounding(plane).is_some() => Ok(()),
        Storage::Bf16 => Err(Error::conflict(what(), with(plane_name), "it needs all the bits of f32")),
    }
}
