use crate::rule::{BoundsChecks, Decay, Layerwise, Real, Rounding, Rule};
use crate::settings;

settings! {
    /// NovoGrad: momentum on gradients that each tensor divides by the root of their running mean squared norm.
    ///
    /// ```text
    /// v = ‖g‖² at the first step, later β₂·v + (1 − β₂)·‖g‖²       one number per tensor
    /// m = β₁·m + g/(√v + eps) + λ·x                                 (1 − β₁)·(…) with `grad_averaging`
    /// x −= lr · m
    /// ```
    ///
    /// The norm is the L2 norm of one tensor. State: `m`, 4 bytes per parameter, and 4 bytes per tensor. PyTorch has none;
    /// optax's `novograd` is the same with betas (0.9, 0.25) and eps 1e-6. Source: Ginsburg et al. 2019, arXiv:1905.11286,
    /// algorithm 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{NovoGrad, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let rule = NovoGrad { lr: 0.1, ..Default::default() };
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule), &[("x", &[2])])?;
    /// optimizer.set_grads("x", &[30.0, -40.0])?;
    /// optimizer.step()?;
    /// assert!((optimizer.params("x")?[1] - 0.08).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub struct NovoGrad {
        /// Learning rate.
        number lr = 1e-2, not_negative;
        /// β₁ and β₂.
        numbers betas(beta1, beta2) = (0.95, 0.98), fraction;
        /// Added to the root.
        number eps = 1e-8, positive;
        /// Weight decay λ inside the momentum.
        number weight_decay = 0.0, not_negative;
        /// Take 1 − β₁ of what is new into m, not all of it.
        flag grad_averaging = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for NovoGrad {
    type Hyper<F: Real> = [F; 7];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "novograd";
    const FORMULA: &'static str = "v = β₂·v + (1 − β₂)·‖g‖² in each tensor;  m = β₁·m + g/(√v + eps) + λ·x;  x −= lr·m";
    const WGSL: &'static str = include_str!("../../shaders/rules/novograd.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["lr", "beta1", "take", "beta2", "rate2", "eps", "weight_decay"];
    const STATE: &'static [&'static str] = &["m"];
    const LAYERWISE: Layerwise = Layerwise::Before;

    fn lr(&self) -> f64 {
        self.lr
    }

    /// The decay is a part of what the momentum takes, and not divided.
    fn decay(&self) -> Decay {
        Decay::Coupled(0.0)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Nearest)
    }

    fn hyper(&self, t: u64) -> [f64; 7] {
        let (beta1, beta2) = self.betas;
        let take = if self.grad_averaging { 1.0 - beta1 } else { 1.0 };
        let (beta2, rate2) = if t == 1 { (0.0, 1.0) } else { (beta2, 1.0 - beta2) };
        [self.lr, beta1, take, beta2, rate2, self.eps, self.weight_decay]
    }

    fn trust<F: Real>(&self, row: &[F; 7], [a, _]: [F; 2], _len: F, memory: &mut F) -> F {
        let &[_, _, _, beta2, rate2, eps, _] = row;
        *memory = beta2 * *memory + rate2 * a * a;
        (memory.sqrt() + eps).recip()
    }

    #[inline(always)]
    fn update<F: Real>(&self, row: &[F; 7], x: F, d: F, [m]: &mut [F; 1]) -> F {
        let &[lr, beta1, take, _, _, _, weight_decay] = row;
        *m = beta1 * *m + take * (d + weight_decay * x);
        x - lr * *m
    }
}
