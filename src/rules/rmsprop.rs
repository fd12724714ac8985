use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule, toward};
use crate::settings;

settings! {
    /// RMSprop: the gradient over the root of its running mean square.
    ///
    /// ```text
    /// d = g + λ·x
    /// q = α·q + (1 − α)·d²
    /// a = a + (1 − α)·(d − a)                    centered only
    /// D = √q + eps, or √max(q − a², 0) + eps     centered
    /// x −= lr · d/D, or b = μ·b + d/D, x −= lr · b with momentum
    /// ```
    ///
    /// State: `q`, and `a` if centered, and `b` with momentum; 4 bytes per parameter each. As `torch.optim.RMSprop`, with q −
    /// a² held at 0 where rounding makes it negative (PyTorch gives NaN). Epsilon is outside the root; Keras and optax put it
    /// inside, keep the learning rate inside the buffer and use α = 0.9: [`RmsProp::keras`], [`RmsProp::optax`]; weight decay
    /// in Keras is decoupled. Source: Hinton, *Lecture 6e* 2012; centered: Graves 2013, arXiv:1308.0850.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{RmsProp, Rule};
    ///
    /// let rule = RmsProp { alpha: 0.75, ..Default::default() };
    /// let mut state = [0.0; 3];
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 2.0, &mut state);
    /// assert_eq!(state, [1.0, 0.0, 0.0]);
    /// assert!((x - 0.98).abs() < 1e-9);
    /// ```
    pub struct RmsProp {
        /// Learning rate.
        number lr = 1e-2, not_negative;
        /// Smoothing α of the mean square, below 1, as q is a mean (PyTorch allows larger values).
        number alpha = 0.99, fraction;
        /// Added to the root (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-8, positive;
        /// Coupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Momentum μ (PyTorch allows more; the buffer would grow without bound).
        number momentum = 0.0, fraction;
        /// Divide by the standard deviation instead of the root mean square.
        flag centered = false;
        /// Add eps inside the root, `√(q + eps)`, instead of to it.
        flag eps_inside = false;
        /// Keep the learning rate inside the momentum's buffer, `b = μ·b + lr·d/D` and `x −= b`.
        flag lr_inside = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl RmsProp {
    /// As `torch.optim.RMSprop`: the default.
    pub fn torch() -> Self {
        Self::default()
    }

    /// As `keras.optimizers.RMSprop`: lr 1e-3, α 0.9, eps 1e-7 inside the root, and the learning rate inside the buffer.
    pub fn keras() -> Self {
        Self { lr: 1e-3, alpha: 0.9, eps: 1e-7, eps_inside: true, lr_inside: true, ..Self::default() }
    }

    /// As `optax.rmsprop`: α 0.9, eps inside the root, and the learning rate inside the buffer. optax gives no learning rate.
    pub fn optax() -> Self {
        Self { alpha: 0.9, eps_inside: true, lr_inside: true, ..Self::default() }
    }
}

impl Rule for RmsProp {
    type Hyper<F: Real> = [F; 7];
    type State<F: Real> = [F; 3];
    const NAME: &'static str = "rmsprop";
    const FORMULA: &'static str =
        "d = g + λ·x;  q = α·q + (1 − α)·d²;  x −= lr·d / (√q + eps); centered: √(q − a²); momentum: through a buffer";
    const WGSL: &'static str = include_str!("../../shaders/rules/rmsprop.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["lr", "alpha", "rate", "eps", "inner", "momentum", "take"];
    const STATE: &'static [&'static str] = &["q", "a", "b"];

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
        [true, self.centered, self.momentum > 0.0][plane]
    }

    fn overrides(&self) -> Vec<(&'static str, bool)> {
        vec![("CENTERED", self.centered), ("MOMENTUM", self.momentum > 0.0)]
    }

    /// The variance is the small difference of a mean of squares and the square of a mean: what rounding does to them would be
    /// more.
    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        match plane {
            0 if !self.centered => Some(Rounding::Stochastic),
            2 => Some(Rounding::Nearest),
            _ => None,
        }
    }

    fn hyper(&self, _t: u64) -> [f64; 7] {
        let (eps, inner) = if self.eps_inside { (0.0, self.eps) } else { (self.eps, 0.0) };
        let (lr, take) = if self.lr_inside { (1.0, self.lr) } else { (self.lr, 1.0) };
        [lr, self.alpha, 1.0 - self.alpha, eps, inner, self.momentum, take]
    }

    #[inline(always)]
    fn update<F: Real>(
        &self,
        &[lr, alpha, rate, eps, inner, momentum, take]: &[F; 7],
        x: F,
        d: F,
        [q, a, b]: &mut [F; 3],
    ) -> F {
        *q = alpha * *q + rate * d * d;
        let mut square = *q;
        if self.centered {
            *a = toward(*a, d, rate);
            let variance = *q - *a * *a;
            // Rounding may leave less than 0; what is not finite has to stay.
            square = if variance < F::zero() && variance.is_finite() { F::zero() } else { variance };
        }
        let step = take * d / ((square + inner).sqrt() + eps);
        if self.momentum == 0.0 {
            return x - lr * step;
        }
        *b = momentum * *b + step;
        x - lr * *b
    }
}
