use crate::rule::{BoundsChecks, Decay, Layerwise, Real, Rounding, Rule, bias_correction};
use crate::settings;

settings! {
    /// LAMB: Adam's direction with decay, brought to the length of the parameters, tensor by tensor.
    ///
    /// ```text
    /// m = β₁·m + (1 − β₁)·g                    + g without `grad_averaging`
    /// v = β₂·v + (1 − β₂)·g²
    /// u = (m/c₁) / (√v/√c₂ + eps) + λ·x        c = 1 without `bias_correction`
    /// r = ‖x‖/‖u‖                              1 if either is 0, or without λ unless `always_adapt`
    /// x −= lr · r · u
    /// ```
    ///
    /// Norms are L2 norms of one tensor. State: `m`, `v` and the direction, 12 bytes per parameter. As Apex's `FusedLAMB`,
    /// which also clips the global norm at 1: add [`Recipe::clip_norm`](crate::Recipe::clip_norm)`(1.0)`. `trust_clip` bounds r
    /// by 1 as timm's. optax has no decay by default and always adapts; Keras leaves the decay out of u. Source: You et al.
    /// 2020, arXiv:1904.00962.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Lamb, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let rule = Lamb { lr: 0.1, always_adapt: true, weight_decay: 0.0, ..Default::default() };
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule), &[("x", &[2])])?;
    /// optimizer.set_params("x", &[3.0, 4.0])?;
    /// optimizer.set_grads("x", &[1e-3, 1e3])?;
    /// optimizer.step()?;
    /// // A tenth of the length of x, in Adam's direction (1, 1).
    /// assert!((optimizer.params("x")?[0] - (3.0 - 0.5 / 2f32.sqrt())).abs() < 1e-3);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub struct Lamb {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// β₁ and β₂.
        numbers betas(beta1, beta2) = (0.9, 0.999), fraction;
        /// Added to the root.
        number eps = 1e-6, positive;
        /// Weight decay λ inside the direction.
        number weight_decay = 0.01, not_negative;
        /// Take 1 − β₁ of the gradient into m, not all of it.
        flag grad_averaging = true;
        /// Correct m and v for their start at 0.
        flag bias_correction = true;
        /// Adapt also without weight decay (Apex: NVLAMB).
        flag always_adapt = false;
        /// Bound r by 1.
        flag trust_clip = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Lamb {
    type Hyper<F: Real> = [F; 11];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "lamb";
    const FORMULA: &'static str =
        "m, v as Adam;  u = (m/c₁)/(√v/√c₂ + eps) + λ·x;  x −= lr·‖x‖/‖u‖·u in each tensor";
    const WGSL: &'static str = include_str!("../../shaders/rules/lamb.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] =
        &["lr", "beta1", "take", "beta2", "rate2", "unbias1", "unbias2", "eps", "weight_decay", "adapt", "max_trust"];
    const STATE: &'static [&'static str] = &["m", "v"];
    const LAYERWISE: Layerwise = Layerwise::After;

    fn lr(&self) -> f64 {
        self.lr
    }

    /// The decay is a part of the direction.
    fn decay(&self) -> Decay {
        Decay::Coupled(0.0)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Some([Rounding::Nearest, Rounding::Stochastic][plane])
    }

    fn hyper(&self, t: u64) -> [f64; 11] {
        let (beta1, beta2) = self.betas;
        let correction = |beta: f64| if self.bias_correction { bias_correction(beta, t) } else { 1.0 };
        let take = if self.grad_averaging { 1.0 - beta1 } else { 1.0 };
        let adapt = f64::from(u8::from(self.weight_decay > 0.0 || self.always_adapt));
        // Without `trust_clip` the bound is the largest float, which bounds nothing.
        let max_trust = if self.trust_clip { 1.0 } else { f64::from(f32::MAX) };
        let (unbias1, unbias2) = (correction(beta1).recip(), correction(beta2).sqrt().recip());
        [self.lr, beta1, take, beta2, 1.0 - beta2, unbias1, unbias2, self.eps, self.weight_decay, adapt, max_trust]
    }

    fn trust<F: Real>(&self, row: &[F; 11], [a, b]: [F; 2], _len: F, _memory: &mut F) -> F {
        let &[lr, .., adapt, max_trust] = row;
        if adapt == F::zero() || a == F::zero() || b == F::zero() {
            return lr;
        }
        // `min` would hide a norm that is not finite.
        if a.is_finite() && b.is_finite() { lr * (b / a).min(max_trust) } else { lr * (b / a) }
    }

    #[inline(always)]
    fn update<F: Real>(&self, row: &[F; 11], x: F, d: F, [m, v]: &mut [F; 2]) -> F {
        let &[_, beta1, take, beta2, rate2, unbias1, unbias2, eps, weight_decay, ..] = row;
        *m = beta1 * *m + take * d;
        *v = beta2 * *v + rate2 * d * d;
        unbias1 * *m / (v.sqrt() * unbias2 + eps) + weight_decay * x
    }
}
