//! Which groups share a norm.

use crate::plan::{Arena, Chunk, PerLane};
use std::ops::Range;

/// Which bound a group's norm has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    /// That of [`Recipe::clip_norm`], or of no clip.
    Global,
    /// That of a named set.
    Set(usize),
    /// None: others are clipped, or its direction is made orthogonal, whatever its gradient's size.
    Outside,
}

/// Groups whose gradients are clipped by a norm of their own.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(super) struct ClipSet {
    pub groups: Vec<String>,
    #[cfg_attr(feature = "serde", serde(with = "crate::plan::numbers"))]
    pub max: PerLane<f64>,
}

/// All chunks of an arena, domain after domain, and in the order of sums within each; the range of chunks of each domain; and
/// the domain of each group. The first domain has the norm that is reported: the global one, or else that of the first set.
pub(super) fn ordered(domains: &[Domain], arena: &Arena) -> (Vec<Chunk>, Vec<Range<usize>>, Vec<usize>) {
    let place = |domain: &Domain| match domain {
        Domain::Global => 0,
        Domain::Set(index) => index + 1,
        Domain::Outside => usize::MAX,
    };
    let mut known: Vec<usize> = domains.iter().map(place).collect();
    known.sort_unstable();
    known.dedup();
    let of_group: Vec<usize> = domains.iter().map(|domain| known.partition_point(|known| *known < place(domain))).collect();
    let mut chunks = arena.chunks();
    chunks.sort_by_key(|chunk| of_group[chunk.group]);
    let of_domain = |domain: usize| {
        let before = |domain: usize| chunks.partition_point(|chunk| of_group[chunk.group] < domain);
        before(domain)..before(domain + 1)
    };
    let ranges = (0..known.len()).map(of_domain).collect();
    (chunks, ranges, of_group)
}
