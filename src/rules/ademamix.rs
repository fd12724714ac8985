use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, bias_correction, toward};
use crate::settings;

settings! {
    /// AdEMAMix: [`AdamW`](super::AdamW) with a second mean of the gradient, which remembers tens of thousands of steps.
    ///
    /// ```text
    /// x = (1 − lr·λ)·x
    /// m₁ = m₁ + (1 − β₁)·(g − m₁)         c₁ = 1 − β₁ᵗ
    /// m₂ = m₂ + (1 − β₃ₜ)·(g − m₂)        not corrected for its start at 0
    /// v = β₂·v + (1 − β₂)·g²              c₂ = 1 − β₂ᵗ
    /// x −= lr · (m₁/c₁ + αₜ·m₂) / (√v/√c₂ + eps)
    /// ```
    ///
    /// Both α and β₃ can grow from little to their value, in `t_alpha` and `t_beta3` steps, which keeps the first steps from
    /// diverging. α grows linearly from 0, β₃ from β₁ so that 1/ln β₃, and with it the half-life of m₂, is linear in t:
    ///
    /// ```text
    /// αₜ = α·min(t/t_alpha, 1)
    /// β₃ₜ = min(exp(ln β₁·ln β₃ / ((1 − t/t_beta3)·ln β₃ + (t/t_beta3)·ln β₁)), β₃)
    /// ```
    ///
    /// The paper lets both last for the whole training. State: `m1`, `m2` and `v`, 4 bytes per parameter each. PyTorch has
    /// none; as the authors' own code (`apple/ml-ademamix`), whose α is 2 by default, and whose warm-up adds 1e-8 to the betas.
    /// Source: Pagliardini, Ablin & Grangier 2024, arXiv:2409.03137.
    ///
    /// # Examples
    ///
    /// The first step is Adam's, and a little longer by α·(1 − β₃):
    ///
    /// ```
    /// use thalweg::{AdEMAMix, Rule};
    ///
    /// let rule = AdEMAMix { lr: 0.1, ..Default::default() };
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 250.0, &mut [0.0; 3]);
    /// assert!((x - (1.0 - 0.1 * 1.0005)).abs() < 1e-9);
    /// ```
    pub struct AdEMAMix {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// β₁ of the short mean, β₂ of the squares, β₃ of the long mean.
        numbers betas(beta1, beta2, beta3) = (0.9, 0.999, 0.9999), fraction;
        /// Weight α of the long mean.
        number alpha = 5.0, not_negative;
        /// Steps in which α grows from 0; with 0 it has its value at once.
        number t_alpha = 0.0, not_negative;
        /// Steps in which β₃ grows from β₁; with 0 it has its value at once.
        number t_beta3 = 0.0, not_negative;
        /// Added to the root.
        number eps = 1e-8, positive;
        /// Decoupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl AdEMAMix {
    /// α of step t.
    fn alpha(&self, t: f64) -> f64 {
        if t < self.t_alpha { self.alpha * t / self.t_alpha } else { self.alpha }
    }

    /// 1 − β₃ of step t.
    fn rate3(&self, t: f64) -> f64 {
        let (beta1, _, beta3) = self.betas;
        let last = 1.0 - beta3;
        if t >= self.t_beta3 {
            return last;
        }
        // In this form a β of 0, whose logarithm is infinite, has the half-life 0 that it should have.
        let over = t / self.t_beta3;
        let ln = ((1.0 - over) / beta1.ln() + over / beta3.ln()).recip();
        (-ln.exp_m1()).max(last)
    }
}

impl Rule for AdEMAMix {
    type Hyper<F: Real> = [F; 8];
    type State<F: Real> = [F; 3];
    const NAME: &'static str = "ademamix";
    const FORMULA: &'static str =
        "x = (1 − lr·λ)·x;  m₁, m₂, v means of g, g, g² by β₁, β₃, β₂;  x −= lr·(m₁/c₁ + α·m₂) / (√v/√c₂ + eps)";
    const WGSL: &'static str = include_str!("../../shaders/rules/ademamix.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["fast", "slow", "rate1", "rate3", "beta2", "rate2", "unbias2", "eps"];
    const STATE: &'static [&'static str] = &["m1", "m2", "v"];

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        Decay::Decoupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Some([Rounding::Nearest, Rounding::Stochastic, Rounding::Stochastic][plane])
    }

    fn hyper(&self, t: u64) -> [f64; 8] {
        let (beta1, beta2, _) = self.betas;
        let correction = |beta| bias_correction(beta, t);
        let t = t as f64;
        let (fast, slow) = (self.lr / correction(beta1), self.lr * self.alpha(t));
        [fast, slow, 1.0 - beta1, self.rate3(t), beta2, 1.0 - beta2, correction(beta2).sqrt().recip(), self.eps]
    }

    #[inline(always)]
    fn update<F: Real>(
        &self,
        &[fast, slow, rate1, rate3, beta2, rate2, unbias2, eps]: &[F; 8],
        x: F,
        d: F,
        [m1, m2, v]: &mut [F; 3],
    ) -> F {
        *m1 = toward(*m1, d, rate1);
        *m2 = toward(*m2, d, rate3);
        *v = beta2 * *v + rate2 * d * d;
        x - (fast * *m1 + slow * *m2) / (v.sqrt() * unbias2 + eps)
    }
}
