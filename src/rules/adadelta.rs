use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule};
use crate::settings;

settings! {
    /// Adadelta: steps as large as recent steps were, relative to recent gradients.
    ///
    /// ```text
    /// d = g + λ·x
    /// q = ρ·q + (1 − ρ)·d²
    /// δ = √(a + eps) / √(q + eps) · d
    /// a = ρ·a + (1 − ρ)·δ²
    /// x −= lr·δ
    /// ```
    ///
    /// State: `q` and `a`, 4 bytes per parameter each. As `torch.optim.Adadelta`: epsilon is inside both roots, and a takes in
    /// δ without the learning rate. Keras has lr 1e-3, ρ 0.95 and epsilon 1e-7, and decoupled decay; optax gives no learning
    /// rate. Source: Zeiler 2012, arXiv:1212.5701.
    ///
    /// # Examples
    ///
    /// The first steps are short, since they start from epsilon alone:
    ///
    /// ```
    /// use thalweg::{Adadelta, Rule};
    ///
    /// let rule = Adadelta::default();
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 250.0, &mut [0.0; 2]);
    /// assert!((x - (1.0 - f64::sqrt(1e-6 / 0.1))).abs() < 1e-9);
    /// ```
    pub struct Adadelta {
        /// Learning rate.
        number lr = 1.0, not_negative;
        /// ρ, the share of the running means that is kept (PyTorch allows 1, which is plain descent).
        number rho = 0.9, fraction;
        /// Added inside both roots (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-6, positive;
        /// Coupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Adadelta {
    type Hyper<F: Real> = [F; 4];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "adadelta";
    const FORMULA: &'static str =
        "d = g + λ·x;  q = ρ·q + (1 − ρ)·d²;  δ = √(a + eps)/√(q + eps)·d;  a = ρ·a + (1 − ρ)·δ²;  x −= lr·δ";
    const WGSL: &'static str = include_str!("../../shaders/rules/adadelta.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["lr", "rho", "rate", "eps"];
    const STATE: &'static [&'static str] = &["q", "a"];

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
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Stochastic)
    }

    fn hyper(&self, _t: u64) -> [f64; 4] {
        [self.lr, self.rho, 1.0 - self.rho, self.eps]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[lr, rho, rate, eps]: &[F; 4], x: F, d: F, [q, a]: &mut [F; 2]) -> F {
        *q = rho * *q + rate * d * d;
        let delta = (*a + eps).sqrt() / (*q + eps).sqrt() * d;
        *a = rho * *a + rate * delta * delta;
        x - lr * delta
    }
}
