use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, bias_correction, toward};
use crate::settings;

settings! {
    /// Adan: Adam with Nesterov's look ahead, by the change of the gradient from step to step.
    ///
    /// ```text
    /// δ = g − gₜ₋₁, 0 at the first step
    /// m = m + (1 − β₁)·(g − m)                c₁ = 1 − β₁ᵗ
    /// n = n + (1 − β₂)·(δ − n)                c₂ = 1 − β₂ᵗ
    /// v = β₃·v + (1 − β₃)·(g + β₂·δ)²         c₃ = 1 − β₃ᵗ
    /// x = (x − lr · (m/c₁ + β₂·n/c₂) / (√v/√c₃ + eps)) / (1 + lr·λ)
    /// ```
    ///
    /// Instead of n, whose terms nearly cancel, the rule keeps a mean `e` that starts at the first gradient. n is what a step
    /// adds to e:
    ///
    /// ```text
    /// e = g at the first step, later e + n        n = (1 − β₂)·(g − e), 0 at the first step
    /// ```
    ///
    /// State: `m`, `e`, `v` and `prev`, the gradient before; 4 bytes per parameter each. PyTorch has none; as the authors' own
    /// code (`sail-sg/Adan`), whose betas are 1 minus those of the paper. There the gradient is clipped to a global norm of
    /// `max_grad_norm`; here [`Recipe::clip_norm`](crate::Recipe::clip_norm) does it. optax's `adan` weighs the change by 1 −
    /// β₂ where the authors have β₂, and adds an epsilon inside the root too. Source: Xie et al. 2022, arXiv:2208.06677.
    ///
    /// # Examples
    ///
    /// The first step has the length of the learning rate; a gradient that stays makes the next one as long:
    ///
    /// ```
    /// use thalweg::{Adan, Rule};
    ///
    /// let rule = Adan { lr: 0.1, ..Default::default() };
    /// let (mut x, mut state) = (1.0, [0.0_f64; 4]);
    /// for t in 1..=2 {
    ///     x = rule.update(&rule.hyper(t), x, 250.0, &mut state);
    /// }
    /// assert!((x - 0.8).abs() < 1e-9);
    /// ```
    pub struct Adan {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// β₁ of the mean, β₂ of the change, β₃ of the squares.
        numbers betas(beta1, beta2, beta3) = (0.98, 0.92, 0.99), fraction;
        /// Added to the root.
        number eps = 1e-8, positive;
        /// Weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Shrink the parameter by `1 − lr·λ` before the step instead of dividing it by `1 + lr·λ` after it.
        flag no_prox = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Adan {
    type Hyper<F: Real> = [F; 10];
    type State<F: Real> = [F; 4];
    const NAME: &'static str = "adan";
    const FORMULA: &'static str =
        "δ = g − gₜ₋₁;  m, n, v means of g, δ, (g + β₂·δ)²;  x = (x − lr·(m/c₁ + β₂·n/c₂) / (√v/√c₃ + eps)) / (1 + lr·λ)";
    const WGSL: &'static str = include_str!("../../shaders/rules/adan.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] =
        &["step1", "step2", "rate1", "rate2", "ahead", "beta3", "rate3", "unbias3", "eps", "shrink"];
    const SHIFTS: bool = false;
    const STATE: &'static [&'static str] = &["m", "e", "v", "prev"];

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        // The other form follows the step, so it is a scalar of the row.
        Decay::Decoupled(if self.no_prox { self.weight_decay } else { 0.0 })
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Some([Rounding::Nearest, Rounding::Nearest, Rounding::Stochastic, Rounding::Nearest][plane])
    }

    fn hyper(&self, t: u64) -> [f64; 10] {
        let (beta1, beta2, beta3) = self.betas;
        let correction = |beta| bias_correction(beta, t);
        let step1 = self.lr / correction(beta1);
        // At the first step nothing has changed yet, and e becomes the gradient.
        let (step2, rate2, ahead) = match t {
            1 => (0.0, 1.0, 0.0),
            _ => (self.lr * beta2 * (1.0 - beta2) / correction(beta2), 1.0 - beta2, beta2),
        };
        let unbias3 = correction(beta3).sqrt().recip();
        let shrink = if self.no_prox { 1.0 } else { (1.0 + self.lr * self.weight_decay).recip() };
        [step1, step2, 1.0 - beta1, rate2, ahead, beta3, 1.0 - beta3, unbias3, self.eps, shrink]
    }

    #[inline(always)]
    fn update<F: Real>(
        &self,
        &[step1, step2, rate1, rate2, ahead, beta3, rate3, unbias3, eps, shrink]: &[F; 10],
        x: F,
        d: F,
        [m, e, v, prev]: &mut [F; 4],
    ) -> F {
        let change = d - *e;
        let look = d + ahead * (d - *prev);
        *m = toward(*m, d, rate1);
        *e = toward(*e, d, rate2);
        *v = beta3 * *v + rate3 * look * look;
        *prev = d;
        shrink * (x - (step1 * *m + step2 * change) / (v.sqrt() * unbias3 + eps))
    }
}
