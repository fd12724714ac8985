//! Successive halving and Hyperband.

use super::study::Goal;
use crate::error::{Error, Result, range};

/// A rung of a bracket: `trials` trials are trained until each has made `steps` steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rung {
    /// Trials that are trained to this rung.
    pub trials: usize,
    /// Steps that each has made at its end, those of earlier rungs among them.
    pub steps: u64,
}

/// A run of successive halving: all trials are trained to the first rung, the best of them to the next, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bracket {
    /// The rungs, from the most trials to the most steps.
    pub rungs: Vec<Rung>,
}

impl Bracket {
    /// Which trials go on from rung number `rung`, the best first: as many as the next rung has.
    ///
    /// `results` has the number and metric of each trial at the end of this rung. A trial whose metric is not finite is never
    /// promoted, so that fewer may go on; of equal ones the lower number is better. After the last rung none go on.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::sweep::{Goal, Halving};
    ///
    /// let bracket = Halving { min_steps: 100, max_steps: 900, eta: 3 }.bracket(4)?;
    /// let results = [(0, 0.7), (1, f64::NAN), (2, 0.9), (3, 0.9)];
    /// assert_eq!(bracket.promoted(0, Goal::Maximize, &results), [2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn promoted(&self, rung: usize, goal: Goal, results: &[(u64, f64)]) -> Vec<u64> {
        let places = self.rungs.get(rung + 1).map_or(0, |next| next.trials);
        let mut finite: Vec<(u64, f64)> = results.iter().copied().filter(|(_, metric)| metric.is_finite()).collect();
        finite.sort_by_key(|&(trial, _)| trial);
        let ranking = goal.ranking(finite.iter().map(|&(_, metric)| metric));
        ranking.into_iter().take(places).map(|i| finite[i].0).collect()
    }
}

/// Synchronous successive halving (Jamieson & Talwalkar 2016): of the trials of a rung the best 1/η go on to the next, which
/// has η times the steps.
///
/// With k = ⌊log_η(max_steps / min_steps)⌋ there are k + 1 rungs; rung i ends at max_steps · η^(i−k) steps, to the nearest
/// step, and has ⌊n η^−i⌋ trials, at least 1. All trials of a rung are compared at once, so the result does not depend on which
/// of them is ready first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Halving {
    /// The fewest steps of the first rung, at least 1; 1 by default.
    pub min_steps: u64,
    /// Steps of a trial that is trained to the end; 81 by default.
    pub max_steps: u64,
    /// One of `eta` trials goes on to the next rung; at least 2, 3 by default.
    pub eta: u64,
}

impl Default for Halving {
    fn default() -> Self {
        Self { min_steps: 1, max_steps: 81, eta: 3 }
    }
}

impl Halving {
    /// The bracket that begins with `trials` trials.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if `trials` or `min_steps` is 0, `max_steps` is below `min_steps`, or `eta` is below 2.
    pub fn bracket(&self, trials: usize) -> Result<Bracket> {
        let last = self.rungs()?;
        range::require(trials > 0, "trials", trials, "at least 1")?;
        Ok(self.part(trials, last))
    }

    /// The number of the last rung.
    fn rungs(&self) -> Result<u32> {
        range::require(self.min_steps > 0, "min_steps", self.min_steps, "at least 1")?;
        let allowed = format!("at least min_steps = {}", self.min_steps);
        range::require(self.max_steps >= self.min_steps, "max_steps", self.max_steps, &allowed)?;
        range::require(self.eta >= 2, "eta", self.eta, "at least 2")?;
        Ok((self.max_steps / self.min_steps).ilog(self.eta))
    }

    /// A bracket of which rung number `last` is the last.
    fn part(&self, trials: usize, last: u32) -> Bracket {
        let rung = |i: u32| {
            let share = self.eta.pow(last - i);
            let steps = self.max_steps / share + u64::from(self.max_steps % share >= share.div_ceil(2));
            let trials = usize::try_from(self.eta.pow(i)).map_or(0, |share| trials / share);
            Rung { trials: trials.max(1), steps }
        };
        Bracket { rungs: (0..=last).map(rung).collect() }
    }
}

/// Hyperband (Li et al. 2018): brackets of successive halving side by side, from one that starts with many trials and few steps
/// to one that starts with few trials and many steps.
///
/// With s_max = ⌊log_η(max_steps / min_steps)⌋, the bracket s = s_max, …, 0 starts with n = ⌈(s_max + 1) / (s + 1) · η^s⌉
/// trials of max_steps · η^−s steps. Of 1 to 81 steps with η = 3 that is 81 + 34 + 15 + 8 + 5 = 143 trials.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Halving, Hyperband};
///
/// let hyperband = Hyperband(Halving { min_steps: 1, max_steps: 81, eta: 3 });
/// let trials: Vec<usize> = hyperband.brackets()?.iter().map(|bracket| bracket.rungs[0].trials).collect();
/// assert_eq!(trials, [81, 34, 15, 8, 5]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Hyperband(
    /// The settings that all brackets share.
    pub Halving,
);

impl Hyperband {
    /// The brackets with the paper's numbers of trials, that with the most trials first.
    ///
    /// # Errors
    ///
    /// Those of [`Halving::bracket`].
    pub fn brackets(&self) -> Result<Vec<Bracket>> {
        let last = self.0.rungs()?;
        Ok((0..=last).rev().map(|s| self.0.part(self.trials(s, last), s)).collect())
    }

    /// The brackets for `trials` trials in all, which are divided in the paper's proportions by largest remainders; each
    /// bracket has at least one.
    ///
    /// # Errors
    ///
    /// Those of [`Halving::bracket`], and [`Error::Setting`] for fewer trials than there are brackets.
    pub fn brackets_of(&self, trials: usize) -> Result<Vec<Bracket>> {
        let last = self.0.rungs()?;
        let brackets = last as usize + 1;
        if trials < brackets {
            return Err(Error::setting("trials", trials, &format!("at least {brackets}, one for each bracket")));
        }
        let wanted: Vec<usize> = (0..=last).rev().map(|s| self.trials(s, last)).collect();
        let shares = shares(&wanted, trials);
        Ok((0..=last).rev().zip(shares).map(|(s, trials)| self.0.part(trials, s)).collect())
    }

    /// Trials of bracket `s`.
    fn trials(&self, s: u32, last: u32) -> usize {
        let trials = (u128::from(last) + 1) * u128::from(self.0.eta.pow(s));
        usize::try_from(trials.div_ceil(u128::from(s) + 1)).unwrap_or(usize::MAX)
    }
}

/// Divides `total` in proportion to `wanted`: whole parts, at least one for each, then the largest remainders.
fn shares(wanted: &[usize], total: usize) -> Vec<usize> {
    let sum: u128 = wanted.iter().map(|&share| share as u128).sum();
    let part = |share: usize| share as u128 * total as u128;
    let mut shares: Vec<usize> = wanted.iter().map(|&share| ((part(share) / sum) as usize).max(1)).collect();
    // If many were raised to one, the largest parts become smaller.
    while shares.iter().sum::<usize>() > total {
        let largest = (0..shares.len()).rev().max_by_key(|&i| shares[i]).unwrap_or(0);
        shares[largest] -= 1;
    }
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(part(wanted[i]) % sum));
    let missing = total - shares.iter().sum::<usize>();
    order.into_iter().take(missing).for_each(|i| shares[i] += 1);
    shares
}
