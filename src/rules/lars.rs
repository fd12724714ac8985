use crate::error::{Result, range};
use crate::rule::{BoundsChecks, Configure, Decay, Layerwise, Real, Rounding, Rule, smaller};
use crate::settings;

settings! {
    /// LARS: SGD with momentum whose gradient is brought to the scale of the parameters, tensor by tensor.
    ///
    /// ```text
    /// r = tc·‖x‖ / (‖g‖ + λ·‖x‖ + eps)       1 if either norm is 0, or without λ unless `always_adapt`
    /// r = min(r/lr, 1)                        with `trust_clip` (LARC) where it adapts at all; 1 where lr is 0
    /// d = r·(g + λ·x)
    /// b = d at the first step, later μ·b + (1 − τ)·d
    /// x −= lr · b
    /// ```
    ///
    /// Norms are L2 norms of one tensor. State: nothing without momentum, else `b`, 4 bytes per parameter. As timm's `Lars`;
    /// PyTorch has none. Apex's LARC leaves the decay out where a norm is 0. optax's `lars` has momentum 0.9 and eps 0, always
    /// adapts, takes the norm of g + λ·x, and has the learning rate inside the buffer. Source: You, Gitman & Ginsburg 2017,
    /// arXiv:1708.03888.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Lars, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let rule = Lars { lr: 1.0, trust_coefficient: 0.5, always_adapt: true, ..Default::default() };
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule), &[("x", &[2])])?;
    /// optimizer.set_params("x", &[3.0, 4.0])?;
    /// optimizer.set_grads("x", &[0.0, 100.0])?;
    /// optimizer.step()?;
    /// // Half the length of x, whatever the gradient's.
    /// assert!((optimizer.params("x")?[1] - 1.5).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub struct Lars {
        /// Learning rate.
        number lr = 1.0, not_negative;
        /// Momentum μ.
        number momentum = 0.0, fraction;
        /// Dampening τ of the gradient in the momentum.
        number dampening = 0.0, finite;
        /// Weight decay λ inside the trust.
        number weight_decay = 0.0, not_negative;
        /// Nesterov's form; needs momentum above 0 and no dampening.
        flag nesterov = false;
        /// The trust coefficient tc.
        number trust_coefficient = 1e-3, positive;
        /// Added to the divisor.
        number eps = 1e-8, positive;
        /// Bound the trust, so that no step is longer than SGD's (LARC).
        flag trust_clip = false;
        /// Adapt also without weight decay.
        flag always_adapt = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Lars {
    type Hyper<F: Real> = [F; 9];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "lars";
    const FORMULA: &'static str = "r = tc·‖x‖/(‖g‖ + λ·‖x‖ + eps);  d = r·(g + λ·x);  b = μ·b + (1 − τ)·d;  x −= lr·b";
    const WGSL: &'static str = include_str!("../../shaders/rules/lars.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] =
        &["lr", "momentum", "take", "direct", "through", "coefficient", "weight_decay", "eps", "cap"];
    const STATE: &'static [&'static str] = &["b"];
    const LAYERWISE: Layerwise = Layerwise::Before;

    fn check(&self) -> Result<()> {
        self.check_ranges()?;
        let fits = !self.nesterov || (self.momentum > 0.0 && self.dampening == 0.0);
        let found = format_args!("true with momentum {} and dampening {}", self.momentum, self.dampening);
        range::require(fits, "nesterov", found, "momentum above 0 and dampening 0")
    }

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
    fn uses(&self, _plane: usize) -> bool {
        self.momentum > 0.0
    }

    fn overrides(&self) -> Vec<(&'static str, bool)> {
        vec![("MOMENTUM", self.momentum > 0.0)]
    }

    #[inline]
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Nearest)
    }

    fn hyper(&self, t: u64) -> [f64; 9] {
        let take = if t == 1 { 1.0 } else { 1.0 - self.dampening };
        let (direct, through) = if self.nesterov { (1.0, self.momentum) } else { (0.0, 1.0) };
        let adapts = self.weight_decay > 0.0 || self.always_adapt;
        let coefficient = if adapts { self.trust_coefficient } else { 0.0 };
        // A cap of 0 stands for none. At a rate of 0 it is the largest float, which makes any trust 1.
        let cap = if self.trust_clip { self.lr.recip().min(f32::MAX.into()) } else { 0.0 };
        [self.lr, self.momentum, take, direct, through, coefficient, self.weight_decay, self.eps, cap]
    }

    fn trust<F: Real>(&self, row: &[F; 9], [a, b]: [F; 2], _len: F, _memory: &mut F) -> F {
        let &[_, _, _, _, _, coefficient, weight_decay, eps, cap] = row;
        if coefficient == F::zero() {
            return F::one();
        }
        let empty = a == F::zero() || b == F::zero();
        let ratio = if empty { F::one() } else { coefficient * b / (a + weight_decay * b + eps) };
        if cap == F::zero() { ratio } else { smaller(ratio * cap, F::one()) }
    }

    #[inline(always)]
    fn update<F: Real>(&self, row: &[F; 9], x: F, d: F, [b]: &mut [F; 1]) -> F {
        let &[lr, momentum, take, direct, through, ..] = row;
        if self.momentum == 0.0 {
            return x - lr * d;
        }
        *b = momentum * *b + take * d;
        x - lr * (direct * d + through * *b)
    }
}
