use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, bias_correction, toward};
use crate::settings;

settings! {
    /// NAdam: Adam with Nesterov's look ahead, by a momentum μ that grows towards β₁.
    ///
    /// ```text
    /// d = g + λ·x, or x = (1 − lr·λ)·x with decoupled decay
    /// m = m + (1 − β₁)·(d − m)            μₜ = β₁·(1 − 0.96^(t·ψ)/2)
    /// v = β₂·v + (1 − β₂)·d²              Pₜ = μ₁·μ₂·…·μₜ        c₂ = 1 − β₂ᵗ
    /// x −= lr · ((1 − μₜ)/(1 − Pₜ)·d + μₜ₊₁/(1 − Pₜ₊₁)·m) / (√v/√c₂ + eps)
    /// ```
    ///
    /// State: `m` and `v`, 4 bytes per parameter each. As `torch.optim.NAdam`, which has ψ = 0.004 (Keras: 1,
    /// [`NAdam::keras`]); optax's `nadam` has a constant μ, [`NAdam::optax`]. PyTorch keeps P as a state. Here it follows from
    /// t, so with β₁ on a schedule it is the product for the current β₁. Source: Dozat 2016, *Incorporating Nesterov momentum
    /// into Adam*.
    ///
    /// # Examples
    ///
    /// The first step is longer than Adam's, whose is the learning rate:
    ///
    /// ```
    /// use thalweg::{NAdam, Rule};
    ///
    /// let rule = NAdam { lr: 0.1, momentum_decay: 0.0, ..Default::default() };
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 250.0, &mut [0.0; 2]);
    /// // μ = 0.45 throughout, and m = d/10.
    /// assert!((x - (1.0 - 0.1 * (1.0 + 0.45 / (1.0 - 0.45 * 0.45) * 0.1))).abs() < 1e-9);
    /// ```
    pub struct NAdam {
        /// Learning rate.
        number lr = 2e-3, not_negative;
        /// β₁ and β₂.
        numbers betas(beta1, beta2) = (0.9, 0.999), fraction;
        /// Added to the root (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-8, positive;
        /// ψ, how fast the momentum grows.
        number momentum_decay = 4e-3, not_negative;
        /// Weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Shrink the parameter by `1 − lr·λ` instead of adding `λ·x` to the gradient.
        flag decoupled_weight_decay = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl NAdam {
    /// As `torch.optim.NAdam`: the default.
    pub fn torch() -> Self {
        Self::default()
    }

    /// As `keras.optimizers.Nadam`: lr 1e-3, eps 1e-7, ψ 1; its `weight_decay` is decoupled.
    pub fn keras() -> Self {
        Self { lr: 1e-3, eps: 1e-7, momentum_decay: 1.0, decoupled_weight_decay: true, ..Self::default() }
    }

    /// As `optax.nadam`, whose μ is β₁ throughout: ψ is so large that 0.96^ψ is 0. optax gives no learning rate.
    pub fn optax() -> Self {
        Self { momentum_decay: 1e6, ..Self::default() }
    }

    /// ln 0.96^ψ.
    fn ln_base(&self) -> f64 {
        self.momentum_decay * 0.96_f64.ln()
    }

    /// μ of step t.
    fn mu(&self, t: f64) -> f64 {
        self.betas.0 * (1.0 - 0.5 * (t * self.ln_base()).exp())
    }

    /// ln P of step t. With s = 0.96^ψ it is
    ///
    /// ```text
    /// Σᵢ ln(β₁·(1 − sⁱ/2)) = t·ln β₁ − Σₖ 2⁻ᵏ/k · Σᵢ sᵏⁱ        i = 1 … t, k = 1, 2, …
    /// ```
    ///
    /// by the series of the logarithm, and the inner sum is geometric: sᵏ·(1 − sᵏᵗ)/(1 − sᵏ), or t where s is 1. Each term over
    /// k is less than half the one before, so 60 of them are exact in f64, at any t and without the steps before.
    fn ln_product(&self, t: f64) -> f64 {
        let ln_base = self.ln_base();
        let term = |k: f64| {
            let ln = k * ln_base;
            let sum = if ln == 0.0 { t } else { ln.exp() * (t * ln).exp_m1() / ln.exp_m1() };
            (-k).exp2() / k * sum
        };
        // From the smallest on.
        t * self.betas.0.ln() - (1..=60).rev().map(|k| term(f64::from(k))).sum::<f64>()
    }
}

impl Rule for NAdam {
    type Hyper<F: Real> = [F; 7];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "nadam";
    const FORMULA: &'static str =
        "m, v as Adam;  x −= lr·[(1 − μₜ)/(1 − Pₜ)·d + μₜ₊₁/(1 − Pₜ·μₜ₊₁)·m] / (√(v/c₂) + eps)";
    const WGSL: &'static str = include_str!("../../shaders/rules/nadam.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["direct", "through", "rate1", "beta2", "rate2", "unbias2", "eps"];
    const STATE: &'static [&'static str] = &["m", "v"];

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        if self.decoupled_weight_decay { Decay::Decoupled(self.weight_decay) } else { Decay::Coupled(self.weight_decay) }
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Some([Rounding::Nearest, Rounding::Stochastic][plane])
    }

    fn hyper(&self, t: u64) -> [f64; 7] {
        let (beta1, beta2) = self.betas;
        // Its root inverted, since a product is cheaper than a quotient.
        let unbias2 = bias_correction(beta2, t).sqrt().recip();
        let t = t as f64;
        let direct = self.lr * (1.0 - self.mu(t)) / -self.ln_product(t).exp_m1();
        let through = self.lr * self.mu(t + 1.0) / -self.ln_product(t + 1.0).exp_m1();
        [direct, through, 1.0 - beta1, beta2, 1.0 - beta2, unbias2, self.eps]
    }

    #[inline(always)]
    fn update<F: Real>(
        &self,
        &[direct, through, rate1, beta2, rate2, unbias2, eps]: &[F; 7],
        x: F,
        d: F,
        [m, v]: &mut [F; 2],
    ) -> F {
        *m = toward(*m, d, rate1);
        *v = beta2 * *v + rate2 * d * d;
        x - (direct * d + through * *m) / (v.sqrt() * unbias2 + eps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The logarithms of the factors, added with Kahan's correction.
    #[test]
    fn the_closed_form_is_the_product() {
        for (beta1, momentum_decay) in [(0.9, 4e-3), (0.9, 0.0), (0.999, 1.0), (0.5, 1e-9), (0.999999, 30.0), (0.0, 4e-3)] {
            let rule = NAdam { betas: (beta1, 0.999), momentum_decay, ..Default::default() };
            let (mut sum, mut lost) = (0.0_f64, 0.0);
            for t in 1..=1_000_000 {
                let factor = rule.mu(f64::from(t)).ln() - lost;
                let next = sum + factor;
                lost = if next.is_finite() { (next - sum) - factor } else { 0.0 };
                sum = next;
                if [1, 2, 3, 10, 100, 1000, 12_345, 1_000_000].contains(&t) {
                    let found = rule.ln_product(f64::from(t));
                    let fits = found == sum || (found - sum).abs() <= 1e-12 * sum.abs();
                    assert!(fits, "β₁ {beta1}, ψ {momentum_decay}, t {t}: {found}, {sum} expected");
                }
            }
        }
    }
}
