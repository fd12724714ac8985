use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, sign};
use crate::settings;

settings! {
    /// Lion: steps by the sign of a mean of the gradient, so each parameter moves by the learning rate.
    ///
    /// ```text
    /// x = (1 − lr·λ)·x
    /// x −= lr · sign(β₁·m + (1 − β₁)·g)
    /// m = β₂·m + (1 − β₂)·g
    /// ```
    ///
    /// State: `m`, 4 bytes per parameter. `sign(0)` is 0. The step mixes by β₁ and the state by β₂, and neither is corrected
    /// for its start at 0. As the authors' own implementation; PyTorch has none. optax decays by 1e-3 unless told otherwise;
    /// Keras has lr 1e-3 and no decay unless told. Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2.
    ///
    /// NaN has no sign: an element whose gradient is NaN stays where it is, as in PyTorch's `sign`, and its m is NaN from then
    /// on.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Lion, Rule};
    ///
    /// let rule = Lion { lr: 0.25, ..Default::default() };
    /// let mut state = [0.0];
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, -250.0, &mut state);
    /// assert_eq!(x, 1.25);
    /// assert!((state[0] - -2.5).abs() < 1e-12);
    /// ```
    pub struct Lion {
        /// Learning rate.
        number lr = 1e-4, not_negative;
        /// β₁ of the step and β₂ of the mean.
        numbers betas(beta1, beta2) = (0.9, 0.99), fraction;
        /// Decoupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Shrink the parameter by `1 − λ` instead of `1 − lr·λ`, whatever the learning rate.
        flag independent_weight_decay = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Lion {
    type Hyper<F: Real> = [F; 5];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "lion";
    const FORMULA: &'static str =
        "x = (1 − lr·λ)·x;  x −= lr·sign(β₁·m + (1 − β₁)·g);  m = β₂·m + (1 − β₂)·g";
    const WGSL: &'static str = include_str!("../../shaders/rules/lion.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["lr", "beta1", "rate1", "beta2", "rate2"];
    const STATE: &'static [&'static str] = &["m"];

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        if self.independent_weight_decay { Decay::Independent(self.weight_decay) } else { Decay::Decoupled(self.weight_decay) }
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Nearest)
    }

    fn hyper(&self, _t: u64) -> [f64; 5] {
        let (beta1, beta2) = self.betas;
        [self.lr, beta1, 1.0 - beta1, beta2, 1.0 - beta2]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[lr, beta1, rate1, beta2, rate2]: &[F; 5], x: F, d: F, [m]: &mut [F; 1]) -> F {
        let c = beta1 * *m + rate1 * d;
        *m = beta2 * *m + rate2 * d;
        x - lr * sign(c)
    }
}
