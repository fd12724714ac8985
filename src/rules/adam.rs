use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, bias_correction, larger, toward};
use crate::settings;

settings! {
    /// Adam: steps by the running mean of the gradient over the root of its running mean square, both corrected for their start
    /// at 0.
    ///
    /// ```text
    /// d = g + λ·x
    /// m = m + (1 − β₁)·(d − m)            c₁ = 1 − β₁ᵗ
    /// v = β₂·v + (1 − β₂)·d²              c₂ = 1 − β₂ᵗ
    /// w = max(w, v), used instead of v    AMSGrad only
    /// x −= (lr/c₁) · m / (√v/√c₂ + eps)
    /// ```
    ///
    /// State: `m` and `v`, and `w` with AMSGrad; 4 bytes per parameter each. As `torch.optim.Adam`: epsilon is added to the
    /// corrected root (Keras adds it to the uncorrected one: [`Adam::keras`]), AMSGrad takes the maximum of the uncorrected v
    /// (optax of the corrected one). Source: Kingma & Ba 2015, arXiv:1412.6980; AMSGrad: Reddi et al. 2018, arXiv:1904.09237.
    ///
    /// # Examples
    ///
    /// The first step has the length of the learning rate, whatever the gradient's:
    ///
    /// ```
    /// use thalweg::{Adam, Rule};
    ///
    /// let rule = Adam { lr: 0.1, ..Default::default() };
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 250.0, &mut [0.0; 3]);
    /// assert!((x - 0.9).abs() < 1e-9);
    /// ```
    pub struct Adam {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// β₁ and β₂.
        numbers betas(beta1, beta2) = (0.9, 0.999), fraction;
        /// Added to the root (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-8, positive;
        /// Coupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Add eps to the uncorrected root, `x −= (lr·√c₂/c₁) · m / (√v + eps)`: the ε̂ of the paper, section 2.
        flag eps_hat = false;
        /// Divide by the largest v so far.
        flag amsgrad = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Adam {
    /// As `torch.optim.Adam`: the default.
    pub fn torch() -> Self {
        Self::default()
    }

    /// As `keras.optimizers.Adam`: eps 1e-7, added to the uncorrected root. With Keras' `weight_decay` it is
    /// [`AdamW`](super::AdamW).
    pub fn keras() -> Self {
        Self { eps: 1e-7, eps_hat: true, ..Self::default() }
    }

    /// As `optax.adam`: the default. optax gives no learning rate.
    pub fn optax() -> Self {
        Self::default()
    }
}

impl Rule for Adam {
    type Hyper<F: Real> = [F; 6];
    type State<F: Real> = [F; 3];
    const NAME: &'static str = "adam";
    const FORMULA: &'static str =
        "d = g + λ·x;  m = β₁·m + (1 − β₁)·d;  v = β₂·v + (1 − β₂)·d²;  x −= (lr/c₁)·m / (√v/√c₂ + eps)";
    const WGSL: &'static str = include_str!("../../shaders/rules/adam.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["step_size", "rate1", "beta2", "rate2", "unbias2", "eps"];
    const STATE: &'static [&'static str] = &["m", "v", "w"];

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        Decay::Coupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn uses(&self, plane: usize) -> bool {
        plane < 2 || self.amsgrad
    }

    fn overrides(&self) -> Vec<(&'static str, bool)> {
        vec![("AMSGRAD", self.amsgrad)]
    }

    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Some([Rounding::Nearest, Rounding::Stochastic, Rounding::Nearest][plane])
    }

    fn hyper(&self, t: u64) -> [f64; 6] {
        let (beta1, beta2) = self.betas;
        // 1/√c₂ rather than √c₂: a product per element is cheaper than a quotient.
        let unbias2 = bias_correction(beta2, t).sqrt().recip();
        let eps = if self.eps_hat { self.eps * unbias2 } else { self.eps };
        [self.lr / bias_correction(beta1, t), 1.0 - beta1, beta2, 1.0 - beta2, unbias2, eps]
    }

    #[inline(always)]
    fn update<F: Real>(
        &self,
        &[step_size, rate1, beta2, rate2, unbias2, eps]: &[F; 6],
        x: F,
        d: F,
        [m, v, w]: &mut [F; 3],
    ) -> F {
        *m = toward(*m, d, rate1);
        *v = beta2 * *v + rate2 * d * d;
        let mut second = *v;
        if self.amsgrad {
            *w = larger(*w, *v);
            second = *w;
        }
        x - step_size * *m / (second.sqrt() * unbias2 + eps)
    }
}
