//! Random numbers by key, and the sampler that draws each point by itself.

use super::point::Point;
use super::space::SearchSpace;
use super::study::{History, Sampler};
use crate::error::Result;

/// Random numbers that depend on the key alone: not on what was drawn before.
pub(super) fn keyed(seed: u64, key: &[u64]) -> fastrand::Rng {
    let mixed = key.iter().fold(mix(seed), |state, &part| mix(state ^ mix(part)));
    fastrand::Rng::with_seed(mixed)
}

/// SplitMix64's step (Steele, Lea & Flood 2014), which makes neighbouring numbers unlike.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Each point is drawn from the space by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Random {
    /// The seed; 0 by default.
    pub seed: u64,
}

impl Random {
    /// The point number `number`.
    pub(super) fn point(self, space: &SearchSpace, number: u64) -> Point {
        // Each parameter has its own stream, so that it does not matter which others exist.
        space.point(|i, parameter| parameter.domain.at(keyed(self.seed, &[number, i as u64]).f64()))
    }
}

impl Sampler for Random {
    fn suggest(&mut self, space: &SearchSpace, _: &History<'_>, number: u64) -> Result<Option<Point>> {
        Ok(Some(self.point(space, number)))
    }
}
