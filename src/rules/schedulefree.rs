use crate::error::{Result, range};
use crate::rule::{BoundsChecks, Configure, Real, Rounding, Rule, bias_correction};
use crate::settings;

settings! {
    /// Schedule-free AdamW: an average of all steps takes the place of a falling learning rate.
    ///
    /// There are three sequences: z takes the steps, x is its weighted average and what a model is evaluated with, and
    /// gradients are taken between the two, at y. The parameters are y;
    /// [`Optimizer::eval_params`](crate::Optimizer::eval_params) gives x.
    ///
    /// ```text
    /// v = β₂·v + (1 − β₂)·g²                          c₂ = 1 − β₂ᵗ
    /// n = g/(√v/√c₂ + eps) + λ·y                      η = lr·min(1, t/warmup_steps)
    /// z = z − η·n                                     w = t^r · η^weight_lr_power
    /// x = (1 − c)·x + c·z                             c = wₜ/(w₁ + … + wₜ)
    /// y = (1 − β₁)·z + β₁·x
    /// ```
    ///
    /// State: `offset` = z − y, which starts at 0, and `v`; 4 bytes per parameter each. x = y + (1 − 1/β₁)·offset is not
    /// stored. PyTorch has none; as `AdamWScheduleFree` of the package schedulefree 1.4.1 (Keras has c = 1/t). That package
    /// takes the largest η so far for w. So does this rule, as long as the learning rate follows no schedule that rises: c is a
    /// closed form in t, to which `lr` is a constant that cancels. Source: Defazio et al. 2024, arXiv:2405.15682.
    ///
    /// # Examples
    ///
    /// At the first step all three sequences take Adam's step; after it x is their average:
    ///
    /// ```
    /// use thalweg::{Rule, ScheduleFree};
    ///
    /// let rule = ScheduleFree { lr: 0.1, ..Default::default() };
    /// let (mut y, mut state) = (1.0, [0.0_f64; 2]);
    /// y = rule.update(&rule.hyper(1), y, 250.0, &mut state);
    /// assert!((y - 0.9).abs() < 1e-9 && state[0] == 0.0);
    /// y = rule.update(&rule.hyper(2), y, 250.0, &mut state);
    /// assert!((y + state[0] - 0.8).abs() < 1e-9);
    /// assert!((rule.eval(y, &state) - 0.85).abs() < 1e-9);
    /// ```
    pub struct ScheduleFree {
        /// Learning rate.
        number lr = 2.5e-3, not_negative;
        /// β₁, the place of y between z and x, above 0 and below 1, and β₂, at least 0 and below 1.
        numbers betas(beta1, beta2) = (0.9, 0.999);
        /// Added to the root.
        number eps = 1e-8, positive;
        /// Weight decay λ, taken at y and multiplied by η.
        number weight_decay = 0.0, not_negative;
        /// Steps in which the learning rate grows linearly.
        number warmup_steps = 0.0, count;
        /// Power of t in the weights.
        number r = 0.0, power;
        /// Power of the learning rate in the weights.
        number weight_lr_power = 2.0, power;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl ScheduleFree {
    /// c of step t, for any step and without the steps before. With T = `warmup_steps`, p = `weight_lr_power`, and T = t before
    /// the warm-up's end, the weights so far are
    ///
    /// ```text
    /// Σᵢ wᵢ/wₜ = Σ (i/t)^r·(i/T)^p + Σ (i/t)^r        i = 1 … T and T + 1 … t
    /// ```
    ///
    /// where the first sum is (T/t)^r times one of powers r + p, and the second the difference between two of powers r.
    fn share(&self, t: f64) -> f64 {
        let warm = self.warmup_steps.min(t);
        let rising = power_sum(self.r + self.weight_lr_power, warm) - power_sum(self.r, warm);
        ((warm / t).powf(self.r) * rising + power_sum(self.r, t)).recip()
    }
}

/// Σᵢ (i/n)^q over i = 1 … n, by the formula of Euler and Maclaurin: the first terms one by one, an integral for the others,
/// and what the derivatives at its ends correct. With as many first terms as here the first correction left out is below 1e-15
/// of the sum.
fn power_sum(q: f64, n: f64) -> f64 {
    if q == 0.0 || n == 0.0 {
        return n;
    }
    let term = |i: f64| (i / n).powf(q);
    let first = (32.0 + 4.0 * q).floor().min(n);
    let head: f64 = (1..first as u64).map(|i| term(i as f64)).sum();
    let integral = (n - first * term(first)) / (q + 1.0);
    // The m-th derivative at i is q·(q − 1)·…·(q − m + 1) · (i/n)^q / i^m.
    let falling = |m: i32| (0..m).map(|k| q - f64::from(k)).product::<f64>();
    let difference = |m: i32| falling(m) * (n.powi(-m) - term(first) * first.powi(-m));
    let corrections = [(1, 12.0), (3, -720.0), (5, 30_240.0), (7, -1_209_600.0), (9, 47_900_160.0)];
    let corrections: f64 = corrections.map(|(m, divisor)| difference(m) / divisor).iter().sum();
    head + integral + (term(first) + 1.0) / 2.0 + corrections
}

impl Rule for ScheduleFree {
    type Hyper<F: Real> = [F; 9];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "schedulefree";
    const FORMULA: &'static str =
        "n = g/(√v/√c₂ + eps) + λ·y;  z −= η·n;  x = (1 − c)·x + c·z, to evaluate;  y = (1 − β₁)·z + β₁·x, the parameters";
    const WGSL: &'static str = include_str!("../../shaders/rules/schedulefree.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["share", "keep", "push", "pull", "beta2", "rate2", "unbias2", "eps", "decay"];
    const SHIFTS: bool = false;
    const AVERAGES: bool = true;
    const STATE: &'static [&'static str] = &["offset", "v"];

    fn check(&self) -> Result<()> {
        self.check_ranges()?;
        // x is found from y by a division by β₁.
        range::open_fraction("beta1", self.betas.0)?;
        range::fraction("beta2", self.betas.1)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    /// The offset is where the next gradient is taken: it moves by as little as the parameters do.
    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        (plane == 1).then_some(Rounding::Stochastic)
    }

    fn hyper(&self, t: u64) -> [f64; 9] {
        let (beta1, beta2) = self.betas;
        // Its root inverted, since a product is cheaper than a quotient.
        let unbias2 = bias_correction(beta2, t).sqrt().recip();
        let t = t as f64;
        let eta = if t < self.warmup_steps { self.lr * t / self.warmup_steps } else { self.lr };
        let share = self.share(t);
        let keep = 1.0 - share;
        // With z = y + offset, the new y is y + c·offset − η·(1 − β₁·(1 − c))·n, and the new z is z − η·n.
        let (push, pull) = (eta * (1.0 - beta1 * keep), eta * beta1);
        [share, keep, push, pull, beta2, 1.0 - beta2, unbias2, self.eps, self.weight_decay]
    }

    #[inline(always)]
    fn update<F: Real>(
        &self,
        &[share, keep, push, pull, beta2, rate2, unbias2, eps, decay]: &[F; 9],
        x: F,
        d: F,
        [offset, v]: &mut [F; 2],
    ) -> F {
        *v = beta2 * *v + rate2 * d * d;
        let n = d / (v.sqrt() * unbias2 + eps) + decay * x;
        let moved = x + share * *offset - push * n;
        *offset = keep * (*offset - pull * n);
        moved
    }

    fn eval<F: Real>(&self, x: F, &[offset, _]: &[F; 2]) -> F {
        x + F::of(1.0 - self.betas.0.recip()) * offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_is_the_sum() {
        for q in [0.0, 0.3, 1.0, 2.0, 2.5, 7.0, 20.5, 200.0] {
            for n in [1_u32, 2, 31, 32, 33, 100, 1000, 200_000] {
                let sum: f64 = (1..=n).map(|i| (f64::from(i) / f64::from(n)).powf(q)).sum();
                let found = power_sum(q, f64::from(n));
                assert!((found - sum).abs() <= 1e-13 * sum, "q {q}, n {n}: {found}, {sum} expected");
            }
        }
    }

    #[test]
    fn the_share_is_that_of_a_running_sum() {
        for (warmup_steps, r, weight_lr_power) in
            [(0.0, 0.0, 2.0), (10.0, 0.0, 2.0), (1000.0, 0.0, 2.0), (300.0, 0.5, 1.0), (1.0, 3.0, 0.0), (2000.0, 1.5, 0.5)]
        {
            let rule = ScheduleFree { warmup_steps, r, weight_lr_power, ..Default::default() };
            let mut sum = 0.0;
            for t in 1..=5000 {
                let t = f64::from(t);
                let eta = if t < warmup_steps { t / warmup_steps } else { 1.0 };
                let weight = t.powf(r) * eta.powf(weight_lr_power);
                sum += weight;
                let (found, expected) = (rule.share(t), weight / sum);
                assert!((found - expected).abs() <= 1e-12 * expected, "{rule:?}, t {t}: {found}, {expected} expected");
            }
        }
    }
}
