use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, bias_correction, toward};
use crate::settings;

settings! {
    /// RAdam: Adam whose first steps are shortened, as its root is still uncertain there.
    ///
    /// ```text
    /// d = g + λ·x, or x = (1 − lr·λ)·x with decoupled decay
    /// m = m + (1 − β₁)·(d − m)            c₁ = 1 − β₁ᵗ
    /// v = β₂·v + (1 − β₂)·d²              c₂ = 1 − β₂ᵗ
    /// ρ∞ = 2/(1 − β₂) − 1                 ρ = ρ∞ − 2·t·β₂ᵗ/c₂
    /// r = √((ρ − 4)·(ρ − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρ))
    /// x −= lr·r/c₁ · m / ((√v + eps)/√c₂) where ρ > 5
    /// x −= lr/c₁ · m                      before
    /// ```
    ///
    /// With the default β₂ the first five steps are those of momentum. State: `m` and `v`, 4 bytes per parameter each. As
    /// `torch.optim.RAdam`: epsilon is added to the uncorrected root (optax adds it to the corrected one, and rectifies from
    /// ρ = 5 on). Source: Liu et al. 2020, arXiv:1908.03265.
    ///
    /// # Examples
    ///
    /// The first step has the length of the gradient times the learning rate, where Adam's has that of the learning rate:
    ///
    /// ```
    /// use thalweg::{RAdam, Rule};
    ///
    /// let rule = RAdam { lr: 0.1, ..Default::default() };
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 2.0, &mut [0.0; 2]);
    /// assert!((x - 0.8).abs() < 1e-12);
    /// ```
    pub struct RAdam {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// β₁ and β₂.
        numbers betas(beta1, beta2) = (0.9, 0.999), fraction;
        /// Added to the uncorrected root (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-8, positive;
        /// Weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Shrink the parameter by `1 − lr·λ` instead of adding `λ·x` to the gradient.
        flag decoupled_weight_decay = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for RAdam {
    type Hyper<F: Real> = [F; 6];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "radam";
    const FORMULA: &'static str =
        "m, v as Adam;  x −= lr·r·(m/c₁)·√c₂ / (√v + eps) where ρ > 5, else lr·m/c₁";
    const WGSL: &'static str = include_str!("../../shaders/rules/radam.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["step_size", "rate1", "beta2", "rate2", "adaptive", "eps"];
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

    fn hyper(&self, t: u64) -> [f64; 6] {
        let (beta1, beta2) = self.betas;
        let (c1, c2) = (bias_correction(beta1, t), bias_correction(beta2, t));
        let t = t as f64;
        let last = 2.0 / (1.0 - beta2) - 1.0;
        let rho = last - 2.0 * t * beta2.powf(t) / c2;
        let step_size = self.lr / c1;
        // The branch is chosen here: a factor and whether there is a root to divide by.
        let (factor, adaptive) = if rho > 5.0 {
            let rectify = ((rho - 4.0) * (rho - 2.0) * last / ((last - 4.0) * (last - 2.0) * rho)).sqrt();
            (rectify * c2.sqrt(), 1.0)
        } else {
            (1.0, 0.0)
        };
        [step_size * factor, 1.0 - beta1, beta2, 1.0 - beta2, adaptive, self.eps]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[step_size, rate1, beta2, rate2, adaptive, eps]: &[F; 6], x: F, d: F, [m, v]: &mut [F; 2]) -> F {
        *m = toward(*m, d, rate1);
        *v = beta2 * *v + rate2 * d * d;
        x - step_size * *m / if adaptive != F::zero() { v.sqrt() + eps } else { F::one() }
    }
}
