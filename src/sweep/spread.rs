//! Points that fill the space more evenly than chance: Latin hypercubes and Sobol's sequence.

use super::point::Point;
use super::random::keyed;
use super::space::SearchSpace;
use super::study::{History, Sampler};
use crate::error::{Result, range};

/// Latin hypercubes (McKay, Beckman & Conover 1979): every domain is cut into `samples` equal parts, and of `samples` points
/// one lies in each part.
///
/// Point i has the share `(πᵢ + u) / samples` of a domain, with a random order π for each parameter and u uniform in [0, 1).
/// After `samples` points the next hypercube begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Latin {
    /// Points of a hypercube, 1 to 2²⁰; 32 by default.
    pub samples: usize,
    /// The seed; 0 by default.
    pub seed: u64,
}

impl Default for Latin {
    fn default() -> Self {
        Self { samples: 32, seed: 0 }
    }
}

impl Sampler for Latin {
    fn suggest(&mut self, space: &SearchSpace, _: &History<'_>, number: u64) -> Result<Option<Point>> {
        range::require((1..=1 << 20).contains(&self.samples), "samples", self.samples, "1 to 2^20")?;
        let (cube, i) = (number / self.samples as u64, (number % self.samples as u64) as usize);
        Ok(Some(space.point(|parameter, own| {
            let mut random = keyed(self.seed, &[cube, parameter as u64]);
            let mut order: Vec<usize> = (0..self.samples).collect();
            random.shuffle(&mut order);
            let inside = keyed(self.seed, &[number, parameter as u64, 1]).f64();
            own.domain.at((order[i] as f64 + inside) / self.samples as f64)
        })))
    }
}

/// The points and the dimensions of a sequence that the tables of `sobol_burley` have.
const POINTS: u64 = 1 << 16;
const DIMENSIONS: u32 = 256;

/// Sobol's sequence with Owen's scrambling, by Burley's hashes (2020, from the crate `sobol_burley`): 2ᵏ points in a row, if
/// the number of the first is a multiple of 2ᵏ, are spread evenly over every domain.
///
/// A sequence has 65,536 points of 256 parameters; further points and parameters come from sequences with other seeds. Shares
/// have 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Sobol {
    /// The seed of the scrambling; 0 by default.
    pub seed: u64,
}

impl Sampler for Sobol {
    fn suggest(&mut self, space: &SearchSpace, _: &History<'_>, number: u64) -> Result<Option<Point>> {
        Ok(Some(space.point(|parameter, own| {
            let (set, dimension) = (parameter as u32 / DIMENSIONS, parameter as u32 % DIMENSIONS);
            let seed = keyed(self.seed, &[number / POINTS, set.into()]).u32(..);
            own.domain.at(sobol_burley::sample((number % POINTS) as u32, dimension, seed).into())
        })))
    }
}
