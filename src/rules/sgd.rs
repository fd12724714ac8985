use crate::error::{Result, range};
use crate::rule::{BoundsChecks, Configure, Decay, Real, Rounding, Rule};
use crate::settings;

settings! {
    /// Stochastic gradient descent, with momentum if `momentum` > 0.
    ///
    /// ```text
    /// d = g + λ·x
    /// b = d at the first step, later μ·b + (1 − τ)·d
    /// x −= lr · b            or lr · (d + μ·b) with Nesterov, or lr · d without momentum
    /// ```
    ///
    /// State: nothing without momentum, else `b`, 4 bytes per parameter. As `torch.optim.SGD`: the learning rate multiplies the
    /// buffer (Keras keeps it inside, which differs once it changes: [`Sgd::keras`]), and dampening does not touch the first
    /// step. Weight decay in Keras is decoupled. Source: Sutskever et al. 2013, *On the importance of initialization and
    /// momentum in deep learning*.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Rule, Sgd};
    ///
    /// let rule = Sgd { lr: 0.1, momentum: 0.9, ..Default::default() };
    /// let row = rule.hyper(1);
    /// let mut b = [0.0];
    /// assert_eq!(rule.update(&row, 1.0, 2.0, &mut b), 0.8);
    /// assert_eq!(b, [2.0]);
    /// ```
    pub struct Sgd {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// Momentum μ (PyTorch allows more; the buffer would grow without bound).
        number momentum = 0.0, fraction;
        /// Dampening τ of the gradient in the momentum.
        number dampening = 0.0, finite;
        /// Coupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Nesterov's form; needs momentum above 0 and no dampening.
        flag nesterov = false;
        /// Keep the learning rate inside the buffer, `b = μ·b + lr·d` and `x −= b`.
        flag lr_inside = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Sgd {
    /// As `torch.optim.SGD`: the default.
    pub fn torch() -> Self {
        Self::default()
    }

    /// As `keras.optimizers.SGD`: lr 1e-2, inside the buffer.
    pub fn keras() -> Self {
        Self { lr: 1e-2, lr_inside: true, ..Self::default() }
    }

    /// As `optax.sgd`: the default. optax gives no learning rate.
    pub fn optax() -> Self {
        Self::default()
    }
}

impl Rule for Sgd {
    type Hyper<F: Real> = [F; 5];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "sgd";
    const FORMULA: &'static str =
        "d = g + λ·x;  b = μ·b + (1 − τ)·d;  x −= lr·b, or lr·(d + μ·b) with Nesterov";
    const WGSL: &'static str = include_str!("../../shaders/rules/sgd.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["lr", "momentum", "take", "direct", "through"];
    const STATE: &'static [&'static str] = &["b"];

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

    fn hyper(&self, t: u64) -> [f64; 5] {
        let take = if t == 1 { 1.0 } else { 1.0 - self.dampening };
        // The learning rate is on what goes into the buffer, or on what comes out of it.
        let (into, out) = if self.lr_inside { (self.lr, 1.0) } else { (1.0, self.lr) };
        let (direct, through) = if self.nesterov { (self.lr, self.momentum * out) } else { (0.0, out) };
        [self.lr, self.momentum, into * take, direct, through]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[lr, momentum, take, direct, through]: &[F; 5], x: F, d: F, [b]: &mut [F; 1]) -> F {
        if self.momentum == 0.0 {
            return x - lr * d;
        }
        *b = momentum * *b + take * d;
        x - (direct * d + through * *b)
    }
}
