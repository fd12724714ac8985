//! What a program takes, and how many lanes of it there is room for.

use super::{Blueprint, Layout, Op, Plan, SLOTS, Scope};
use crate::error::{Error, Result};
use crate::rule::HyperRow;

/// Bytes of something that lanes have, and of what goes with it once for all of them.
///
/// # Examples
///
/// ```
/// use thalweg::plan::{Layout, Need};
///
/// let mut layout = Layout::new(50);
/// layout.floats("weights", 1000);
/// layout.shared_floats("data", 64_000);
/// let need = Need::of(&layout, 4);
/// assert_eq!(need, Need { lane: 4096, shared: 256_000 });
/// assert_eq!(need.lanes(300_000), 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Bytes of each lane.
    pub lane: u128,
    /// Bytes that all lanes share.
    pub shared: u128,
}

impl Need {
    /// That of the buffers of a layout, where a float has so many bytes. Nothing is allocated for it.
    pub fn of(layout: &Layout, float: usize) -> Self {
        let of = |scope: Scope| {
            let buffers = layout.buffers().iter().filter(move |buffer| buffer.scope == scope);
            buffers.map(|buffer| buffer.stride() as u128 * buffer.kind.bytes_where(float) as u128).sum()
        };
        Self { lane: of(Scope::Lane), shared: of(Scope::Shared) }
    }

    /// How many lanes fit into so many bytes.
    pub fn lanes(&self, bytes: u128) -> usize {
        let lanes = bytes.saturating_sub(self.shared).checked_div(self.lane);
        lanes.map_or(usize::MAX, |lanes| usize::try_from(lanes).unwrap_or(usize::MAX))
    }

    /// Bytes of so many lanes.
    pub fn all(&self, lanes: usize) -> u128 {
        self.lane.saturating_mul(lanes as u128).saturating_add(self.shared)
    }

    /// That of the same program with fewer lanes: it may keep the rows of up to [`SLOTS`] steps ahead.
    fn of_fewer(self, blueprint: &Blueprint) -> Self {
        let more = |op: &Op| match op {
            Op::Control(op) => SLOTS.saturating_sub(op.slots) * op.groups * HyperRow::LEN * 4,
            _ => 0,
        };
        let most = blueprint.plans().iter().flat_map(Plan::ops).map(more).max().unwrap_or(0);
        Self { lane: self.lane + most as u128, ..self }
    }
}

/// Whether the buffers of a blueprint fit into so many bytes, where a float has `float` of them.
///
/// # Errors
/// [`Error::Lanes`] where fewer lanes do, else [`Error::OutOfMemory`].
pub(crate) fn check_memory(blueprint: &Blueprint, float: usize, bytes: u64) -> Result<()> {
    let (asked, need) = (blueprint.layout().lanes(), Need::of(blueprint.layout(), float));
    if need.all(asked) <= u128::from(bytes) {
        return Ok(());
    }
    let fewer = need.of_fewer(blueprint);
    match fewer.lanes(bytes.into()).min(asked.saturating_sub(1)) {
        0 => {
            let bytes = u64::try_from(need.all(1)).unwrap_or(u64::MAX);
            Err(Error::OutOfMemory { what: "a lane and what lanes share,".into(), bytes })
        }
        fit => {
            let Need { lane, shared } = fewer;
            let reason = format!("each takes {lane} bytes, all of them share {shared}, and there are {bytes}");
            Err(Error::Lanes { asked, fit, reason })
        }
    }
}
