//! The pairs of L-BFGS as the host knows them: by their inner products.

use std::collections::VecDeque;

/// A pair counts if y·s exceeds this.
const CURVATURE: f64 = 1e-10;

/// Inner products of y and g, in this order, with the vectors of the device.
pub(super) struct Products<'a> {
    pub values: &'a [f64],
}

impl Products<'_> {
    const Y: usize = 0;
    const G: usize = 1;

    /// How many there are if this many slots are looked at: y and g, each with d, the new y, and a pair per slot.
    pub(super) fn len(slots: usize) -> usize {
        2 * (2 + 2 * slots)
    }

    fn columns(&self) -> usize {
        self.values.len() / 2
    }

    fn with_d(&self, left: usize) -> f64 {
        self.values[left * self.columns()]
    }

    fn with_new_y(&self, left: usize) -> f64 {
        self.values[left * self.columns() + 1]
    }

    fn with_s(&self, left: usize, slot: usize) -> f64 {
        self.values[left * self.columns() + 2 + 2 * slot]
    }

    fn with_y(&self, left: usize, slot: usize) -> f64 {
        self.values[left * self.columns() + 3 + 2 * slot]
    }
}

/// Which slots hold which pairs, and the inner products that the next direction is made of.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub size: usize,
    /// From the oldest pair to the newest.
    pub slots: VecDeque<usize>,
    /// `sy[i][j]` = s_i·y_j by slots, where j is not older than i.
    pub sy: Vec<Vec<f64>>,
    /// `yy[i][j]` = y_i·y_j by slots.
    pub yy: Vec<Vec<f64>>,
    /// s_i·g by slots.
    pub sg: Vec<f64>,
    /// y_i·g by slots.
    pub yg: Vec<f64>,
    /// The first guess of the inverse Hessian's diagonal.
    pub gamma: f64,
}

impl History {
    pub(super) fn new(size: usize) -> Self {
        Self { size, slots: VecDeque::new(), sy: Vec::new(), yy: Vec::new(), sg: Vec::new(), yg: Vec::new(), gamma: 1.0 }
    }

    /// Pairs that are kept, in the slots from 0 on.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes over the products of a new gradient, and of the pair y, s = t·d if its curvature is positive: then it says into
    /// which slot the pair belongs.
    pub(super) fn observe(&mut self, products: &Products, t: f64) -> Option<usize> {
        for &slot in &self.slots {
            (self.sg[slot], self.yg[slot]) = (products.with_s(Products::G, slot), products.with_y(Products::G, slot));
        }
        let (ys, yy) = (t * products.with_d(Products::Y), products.with_new_y(Products::Y));
        if !(ys > CURVATURE) {
            return None;
        }
        let new = self.free_slot();
        for &old in &self.slots {
            self.sy[old][new] = products.with_s(Products::Y, old);
            let product = products.with_y(Products::Y, old);
            (self.yy[old][new], self.yy[new][old]) = (product, product);
        }
        (self.sy[new][new], self.yy[new][new]) = (ys, yy);
        (self.sg[new], self.yg[new]) = (t * products.with_d(Products::G), products.with_new_y(Products::G));
        self.gamma = ys / yy;
        self.slots.push_back(new);
        Some(new)
    }

    /// A new slot, or that of the oldest pair.
    fn free_slot(&mut self) -> usize {
        if self.slots.len() == self.size {
            return self.slots.pop_front().unwrap_or(0);
        }
        let new = self.slots.len();
        if self.sg.len() == new {
            self.sy.iter_mut().chain(&mut self.yy).for_each(|row| row.push(0.0));
            self.sy.push(vec![0.0; new + 1]);
            self.yy.push(vec![0.0; new + 1]);
            self.sg.push(0.0);
            self.yg.push(0.0);
        }
        new
    }

    /// The direction −H·g as a linear combination: the coefficients of g, s_0, y_0, s_1, y_1, … by slots.
    ///
    /// It is the two-loop recursion, on coefficients in place of vectors.
    pub(super) fn direction(&self) -> Vec<f64> {
        let mut alpha = vec![0.0; self.slots.len()];
        for (age, &i) in self.slots.iter().enumerate().rev() {
            let newer = self.slots.iter().skip(age + 1);
            let sq = newer.fold(-self.sg[i], |sq, &j| sq - alpha[j] * self.sy[i][j]);
            alpha[i] = sq / self.sy[i][i];
        }
        let mut s = vec![0.0; self.slots.len()];
        for (age, &i) in self.slots.iter().enumerate() {
            let yq = self.slots.iter().rev().fold(-self.yg[i], |yq, &j| yq - alpha[j] * self.yy[i][j]);
            let older = self.slots.iter().take(age);
            let yr = older.fold(self.gamma * yq, |yr, &j| yr + s[j] * self.sy[j][i]);
            s[i] = alpha[i] - yr / self.sy[i][i];
        }
        let pairs = s.iter().zip(&alpha).flat_map(|(&s, &alpha)| [s, -self.gamma * alpha]);
        std::iter::once(-self.gamma).chain(pairs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn add(sum: &mut [f64], factor: f64, x: &[f64]) {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
    }

    /// Algorithm 7.4 of Nocedal & Wright, on vectors.
    fn two_loops(pairs: &VecDeque<(Vec<f64>, Vec<f64>)>, gamma: f64, g: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = g.iter().map(|g| -g).collect();
        let mut alphas = Vec::new();
        for (s, y) in pairs.iter().rev() {
            let alpha = dot(s, &q) / dot(s, y);
            add(&mut q, -alpha, y);
            alphas.push(alpha);
        }
        q.iter_mut().for_each(|q| *q *= gamma);
        for ((s, y), alpha) in pairs.iter().zip(alphas.iter().rev()) {
            let beta = dot(y, &q) / dot(s, y);
            add(&mut q, alpha - beta, s);
        }
        q
    }

    /// Directions over 12 pairs in 20 dimensions, with room for 4, and every fifth pair without curvature.
    #[test]
    fn the_recursion_on_coefficients_is_that_on_vectors() {
        let (mut rng, n, size) = (Rng::with_seed(7), 20, 4);
        let mut vector = |around: f64| (0..n).map(|_| around + rng.f64() - 0.5).collect::<Vec<f64>>();
        let mut history = History::new(size);
        let mut slots = vec![(vec![0.0; n], vec![0.0; n]); size];
        let (mut pairs, mut gamma) = (VecDeque::new(), 1.0);
        for step in 0..12 {
            let (d, g, t) = (vector(0.3), vector(0.0), 0.5);
            let mut y = vector(0.3);
            if step % 5 == 4 {
                y.iter_mut().for_each(|y| *y = -*y);
            }
            let right = [&d, &y].into_iter().chain(slots[..history.len()].iter().flat_map(|(s, y)| [s, y]));
            let right: Vec<&Vec<f64>> = right.collect();
            let values: Vec<f64> = [&y, &g].into_iter().flat_map(|left| right.iter().map(|right| dot(left, right))).collect();
            let slot = history.observe(&Products { values: &values }, t);
            assert_eq!(slot.is_none(), step % 5 == 4);
            if let Some(slot) = slot {
                let s: Vec<f64> = d.iter().map(|d| t * d).collect();
                gamma = dot(&s, &y) / dot(&y, &y);
                slots[slot] = (s.clone(), y.clone());
                pairs.push_back((s, y));
                if pairs.len() > size {
                    pairs.pop_front();
                }
            }
            let coefficients = history.direction();
            let terms = [&g].into_iter().chain(slots.iter().flat_map(|(s, y)| [s, y]));
            let mut found = vec![0.0; n];
            coefficients.iter().zip(terms).for_each(|(&c, term)| add(&mut found, c, term));
            let expected = two_loops(&pairs, gamma, &g);
            let largest = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-12 * largest, "step {step}: {found} for {expected}");
            }
        }
        assert_eq!((history.len(), pairs.len()), (4, 4));
    }
}
