//! Mixtures of kernels around the points that were observed.

use super::normal::{LN_ROOT_TAU, ln_mass, quantile};
use crate::sweep::domain::Domain;
use crate::sweep::point::Coordinate;

/// How many of the newest observations have the full weight.
const FULL: usize = 25;

/// The kernels of one parameter: one for each observation, then the prior's.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Kernels {
    /// Normal distributions, cut to the domain. In a domain with steps, a value has the mass from half a step below it to half
    /// a step above it.
    Normal {
        /// Centres; in logarithms where the scale is logarithmic.
        mu: Vec<f64>,
        /// Deviations.
        sigma: Vec<f64>,
    },
    /// Probabilities of each choice.
    Choice(Vec<Vec<f64>>),
}

/// One parameter of a mixture.
#[derive(Debug, Clone)]
struct Dimension {
    domain: Domain,
    kernels: Kernels,
    range: Range,
    /// The logarithm of the mass of each kernel inside the domain.
    inside: Vec<f64>,
}

/// The range of normal kernels: the domain, half a step wider at either end if it has steps, and in logarithms if its scale is
/// logarithmic.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    from: f64,
    to: f64,
    /// The difference between neighbouring values; 0 if there are no steps.
    step: f64,
    log: bool,
}

impl Range {
    fn new(domain: &Domain) -> Self {
        let (low, high, step, log) = match *domain {
            Domain::Uniform { low, high } => (low, high, 0.0, false),
            Domain::LogUniform { low, high } => (low, high, 0.0, true),
            Domain::Integer { low, high, step } => (low as f64, high as f64, step as f64, false),
            Domain::LogInteger { low, high } => (low as f64, high as f64, 1.0, true),
            Domain::Stepped { low, high, step } => (low, high, step, false),
            Domain::Choice(_) | Domain::Fixed(_) => (0.0, 0.0, 0.0, false),
        };
        let (low, high) = (low - step / 2.0, high + step / 2.0);
        let (from, to) = if log { (low.ln(), high.ln()) } else { (low, high) };
        Self { from, to, step, log }
    }

    fn scale(&self, x: f64) -> f64 {
        if self.log { x.ln() } else { x }
    }
}

/// A mixture of products of kernels, as Optuna 5's Parzen estimator has it: one component for each observation, and one for the
/// prior.
///
/// With n observations the weights are 1 for n < 25, else they rise evenly from 1/n to 1 for all but the newest 25, which have
/// 1; the prior's is 1; then all are divided by their sum. Without observations there is the prior alone.
#[derive(Debug, Clone)]
pub struct Mixture {
    weights: Vec<f64>,
    dimensions: Vec<Dimension>,
}

impl Mixture {
    /// The mixture around `observations`, from the oldest to the newest, each with a value for each domain.
    pub(super) fn new(domains: &[Domain], observations: &[Vec<Coordinate>]) -> Self {
        let mut weights = weights(observations.len());
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let dimension = |(i, domain): (usize, &Domain)| {
            let observed: Vec<&Coordinate> = observations.iter().map(|values| &values[i]).collect();
            Dimension::new(domain, &observed)
        };
        Self { weights, dimensions: domains.iter().enumerate().map(dimension).collect() }
    }

    /// The weight of each component, the prior's last. They sum to 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The kernels of each parameter.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernels> {
        self.dimensions.iter().map(|dimension| &dimension.kernels)
    }

    /// The logarithm of the density at a value of each parameter. Where the scale is logarithmic it is the density of the
    /// logarithm.
    pub fn log_density(&self, values: &[Coordinate]) -> f64 {
        let mut logs: Vec<f64> = self.weights.iter().map(|weight| weight.ln()).collect();
        for (dimension, value) in self.dimensions.iter().zip(values) {
            dimension.add_log_densities(value, &mut logs);
        }
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return largest;
        }
        logs.iter().map(|log| (log - largest).exp()).sum::<f64>().ln() + largest
    }

    /// A value of each parameter: a component is drawn by its weight, then a value from each of its kernels.
    pub(super) fn sample(&self, random: &mut fastrand::Rng) -> Vec<Coordinate> {
        let component = pick(&self.weights, random.f64());
        self.dimensions.iter().map(|dimension| dimension.sample(component, random.f64())).collect()
    }
}

/// The weights of n observations and the prior, before they are divided by their sum.
fn weights(n: usize) -> Vec<f64> {
    if n < FULL {
        return vec![1.0; n + 1];
    }
    let (ramp, from) = (n - FULL, 1.0 / n as f64);
    let rise = |i: usize| if ramp > 1 { from + (1.0 - from) * i as f64 / (ramp - 1) as f64 } else { from };
    (0..ramp).map(rise).chain(std::iter::repeat_n(1.0, FULL + 1)).collect()
}

/// The first index whose cumulated weight is above `u` of [0, 1).
fn pick(weights: &[f64], u: f64) -> usize {
    let mut sum = 0.0;
    let found = weights.iter().position(|weight| {
        sum += weight;
        u < sum
    });
    found.unwrap_or(weights.len() - 1)
}

impl Dimension {
    fn new(domain: &Domain, observed: &[&Coordinate]) -> Self {
        let range = Range::new(domain);
        let kernels = match domain {
            Domain::Choice(values) => Kernels::Choice(choices(domain, values.len(), observed)),
            _ => normals(&range, observed),
        };
        let inside = match &kernels {
            Kernels::Normal { mu, sigma } => {
                mu.iter().zip(sigma).map(|(mu, sigma)| ln_mass((range.from - mu) / sigma, (range.to - mu) / sigma)).collect()
            }
            Kernels::Choice(_) => Vec::new(),
        };
        Self { domain: domain.clone(), kernels, range, inside }
    }

    fn add_log_densities(&self, value: &Coordinate, logs: &mut [f64]) {
        let Range { step, .. } = self.range;
        match &self.kernels {
            Kernels::Choice(weights) => {
                let choice = self.domain.index(value).unwrap_or(0) as usize;
                logs.iter_mut().zip(weights).for_each(|(log, weights)| *log += weights[choice].ln());
            }
            Kernels::Normal { mu, sigma } if step > 0.0 => {
                let x = value.as_f64().unwrap_or(f64::NAN);
                let (left, right) = (self.range.scale(x - step / 2.0), self.range.scale(x + step / 2.0));
                for (k, log) in logs.iter_mut().enumerate() {
                    *log += ln_mass((left - mu[k]) / sigma[k], (right - mu[k]) / sigma[k]) - self.inside[k];
                }
            }
            Kernels::Normal { mu, sigma } => {
                let x = self.range.scale(value.as_f64().unwrap_or(f64::NAN));
                for (k, log) in logs.iter_mut().enumerate() {
                    let z = (x - mu[k]) / sigma[k];
                    *log += -0.5 * z * z - LN_ROOT_TAU - self.inside[k] - sigma[k].ln();
                }
            }
        }
    }

    fn sample(&self, component: usize, u: f64) -> Coordinate {
        match &self.kernels {
            Kernels::Choice(weights) => self.domain.nth(pick(&weights[component], u) as u64),
            Kernels::Normal { mu, sigma } => {
                let (mu, sigma, range) = (mu[component], sigma[component], &self.range);
                let x = quantile(u, (range.from - mu) / sigma, (range.to - mu) / sigma) * sigma + mu;
                nearest(&self.domain, if range.log { x.exp() } else { x })
            }
        }
    }
}

/// The value of a domain of numbers that is nearest to `x`.
fn nearest(domain: &Domain, x: f64) -> Coordinate {
    match *domain {
        Domain::Uniform { low, high } | Domain::LogUniform { low, high } => Coordinate::Float(x.clamp(low, high)),
        Domain::Integer { low, step, .. } => domain.nth(((x - low as f64) / step as f64).round_ties_even().max(0.0) as u64),
        Domain::LogInteger { low, .. } => domain.nth((x - low as f64).round_ties_even().max(0.0) as u64),
        Domain::Stepped { low, step, .. } => domain.nth(((x - low) / step).round_ties_even().max(0.0) as u64),
        Domain::Choice(_) | Domain::Fixed(_) => domain.nth(0),
    }
}

/// Kernels over choices: 1/(n + 1) from the prior for each choice, plus 1 for the observed one, divided by their sum. The prior
/// itself is uniform.
fn choices(domain: &Domain, count: usize, observed: &[&Coordinate]) -> Vec<Vec<f64>> {
    let uniform = vec![1.0 / count as f64; count];
    if observed.is_empty() {
        return vec![uniform];
    }
    let share = 1.0 / (observed.len() + 1) as f64;
    let sum = 1.0 + share * count as f64;
    let around = |value: &&Coordinate| {
        let mut weights = vec![share / sum; count];
        weights[domain.index(value).unwrap_or(0) as usize] = (share + 1.0) / sum;
        weights
    };
    observed.iter().map(around).chain([uniform]).collect()
}

/// Normal kernels: the width of each is the distance to the farther of its two neighbours, where the bounds count as neighbours
/// too. If there are several observations, the outermost ones use only the neighbour on the inner side. A width is at least
/// that of the domain over min(100, n + 2), and at most that of the domain.
fn normals(range: &Range, observed: &[&Coordinate]) -> Kernels {
    let width = range.to - range.from;
    let mut mu: Vec<f64> = observed.iter().map(|value| range.scale(value.as_f64().unwrap_or(f64::NAN))).collect();
    let mut order: Vec<usize> = (0..mu.len()).collect();
    order.sort_by(|&a, &b| mu[a].total_cmp(&mu[b]));
    let narrowest = width / (2.0 + mu.len() as f64).min(100.0);
    let mut sigma = vec![0.0; mu.len()];
    for (place, &i) in order.iter().enumerate() {
        let left = place.checked_sub(1).map(|place| mu[i] - mu[order[place]]);
        let right = order.get(place + 1).map(|&next| mu[next] - mu[i]);
        let farther = match (left, right) {
            (None, None) => (mu[i] - range.from).max(range.to - mu[i]),
            (left, right) => left.unwrap_or(0.0).max(right.unwrap_or(0.0)),
        };
        sigma[i] = farther.clamp(narrowest, width);
    }
    mu.push(0.5 * (range.from + range.to));
    sigma.push(width);
    Kernels::Normal { mu, sigma }
}
