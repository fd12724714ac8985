use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, bias_correction, larger, toward};
use crate::settings;

settings! {
    /// Adamax: steps by the running mean of the gradient over its largest size, which decays.
    ///
    /// ```text
    /// d = g + λ·x
    /// m = m + (1 − β₁)·(d − m)            c₁ = 1 − β₁ᵗ
    /// u = max(β₂·u, |d| + eps)
    /// x −= (lr/c₁) · m / u
    /// ```
    ///
    /// State: `m` and `u`, 4 bytes per parameter each. As `torch.optim.Adamax`: epsilon is inside the maximum, as in optax;
    /// Keras has u = max(β₂·u, |g|) and divides by u + eps, which is 1e-7 there, with lr 1e-3 and decoupled decay. Source:
    /// Kingma & Ba 2015, section 7.1, arXiv:1412.6980.
    ///
    /// # Examples
    ///
    /// The first step has the length of the learning rate, whatever the gradient's:
    ///
    /// ```
    /// use thalweg::{Adamax, Rule};
    ///
    /// let rule = Adamax { lr: 0.1, ..Default::default() };
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 250.0, &mut [0.0; 2]);
    /// assert!((x - 0.9).abs() < 1e-9);
    /// ```
    pub struct Adamax {
        /// Learning rate.
        number lr = 2e-3, not_negative;
        /// β₁ and β₂.
        numbers betas(beta1, beta2) = (0.9, 0.999), fraction;
        /// Added to the size of the gradient (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-8, positive;
        /// Coupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Adamax {
    type Hyper<F: Real> = [F; 4];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "adamax";
    const FORMULA: &'static str =
        "d = g + λ·x;  m = β₁·m + (1 − β₁)·d;  u = max(β₂·u, |d| + eps);  x −= (lr/c₁)·m / u";
    const WGSL: &'static str = include_str!("../../shaders/rules/adamax.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["step_size", "rate1", "beta2", "eps"];
    const STATE: &'static [&'static str] = &["m", "u"];

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
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Some([Rounding::Nearest, Rounding::Stochastic][plane])
    }

    fn hyper(&self, t: u64) -> [f64; 4] {
        let (beta1, beta2) = self.betas;
        [self.lr / bias_correction(beta1, t), 1.0 - beta1, beta2, self.eps]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[step_size, rate1, beta2, eps]: &[F; 4], x: F, d: F, [m, u]: &mut [F; 2]) -> F {
        *m = toward(*m, d, rate1);
        *u = larger(beta2 * *u, d.abs() + eps);
        x - step_size * *m / *u
    }
}
