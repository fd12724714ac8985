use crate::error::{Result, range};
use crate::rule::{Decay, Real, Rule, Setting, Settings};
use smallvec::smallvec;

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
/// State: `q`, and `a` if centered, and `b` with momentum; 4 bytes per parameter each. As `torch.optim.RMSprop`, with q − a²
/// held at 0 where rounding makes it negative (PyTorch gives NaN). Epsilon is outside the root; Keras and optax put it inside, keep
/// the learning rate inside the buffer and use α = 0.9: [`RmsProp::keras`], [`RmsProp::optax`]; weight decay in Keras is
/// decoupled. Source: Hinton, *Lecture 6e* 2012; centered: Graves 2013, arXiv:1308.0850.
///
/// # Examples
///
/// ```
/// use thalweg::{RmsProp, Rule};
///
/// let rule = RmsProp { alpha: 0.75, ..Default::default() };
/// let mut state = [0.0; 3];
/// let x: f64 = rule.update(&rule.row(1), 1.0, 2.0, &mut state);
/// assert_eq!(state, [1.0, 0.0, 0.0]);
/// assert!((x - 0.98).abs() < 1e-9);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RmsProp {
    /// Learning rate, finite and at least 0. Default 1e-2.
    pub lr: f64,
    /// Smoothing α of the mean square, at least 0 and below 1 (PyTorch allows more, where it is no mean). Default 0.99.
    pub alpha: f64,
    /// Added to the root, finite and above 0 (PyTorch allows 0; padding would become 0/0). Default 1e-8.
    pub eps: f64,
    /// Coupled weight decay λ, finite and at least 0. Default 0.
    pub weight_decay: f64,
    /// Momentum μ, at least 0 and below 1 (PyTorch allows more; the buffer would grow without bound). Default 0.
    pub momentum: f64,
    /// Divide by the standard deviation instead of the root mean square. Default off.
    pub centered: bool,
    /// Add eps inside the root, `√(q + eps)`, instead of to it. Default off.
    pub eps_inside: bool,
    /// Keep the learning rate inside the momentum's buffer, `b = μ·b + lr·d/D` and `x −= b`. Default off.
    pub lr_inside: bool,
    /// Climb instead of descend. Default off.
    pub maximize: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        let (centered, eps_inside, lr_inside, maximize) = (false, false, false, false);
        let (lr, alpha, eps) = (1e-2, 0.99, 1e-8);
        Self { lr, alpha, eps, weight_decay: 0.0, momentum: 0.0, centered, eps_inside, lr_inside, maximize }
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
    type Row<F: Real> = [F; 7];
    type State<F: Real> = [F; 3];
    const NAME: &'static str = "rmsprop";
    const FORMULA: &'static str =
        "d = g + λ·x;  q = α·q + (1 − α)·d²;  x −= lr·d / (√q + eps); centered: √(q − a²); momentum: through a buffer";
    const WGSL: &'static str = include_str!("../../shaders/rules/rmsprop.wgsl");
    const ROW: &'static [&'static str] = &["lr", "alpha", "rate", "eps", "inner", "momentum", "take"];
    const STATE: &'static [&'static str] = &["q", "a", "b"];

    fn check(&self) -> Result<()> {
        range::not_negative("lr", self.lr)?;
        range::fraction("alpha", self.alpha)?;
        range::positive("eps", self.eps)?;
        range::not_negative("weight_decay", self.weight_decay)?;
        range::fraction("momentum", self.momentum)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn settings(&mut self) -> Settings<'_> {
        smallvec![
            ("lr", Setting::Number(&mut self.lr)),
            ("alpha", Setting::Number(&mut self.alpha)),
            ("eps", Setting::Number(&mut self.eps)),
            ("weight_decay", Setting::Number(&mut self.weight_decay)),
            ("momentum", Setting::Number(&mut self.momentum)),
            ("centered", Setting::Flag(&mut self.centered)),
            ("eps_inside", Setting::Flag(&mut self.eps_inside)),
            ("lr_inside", Setting::Flag(&mut self.lr_inside)),
            ("maximize", Setting::Flag(&mut self.maximize)),
        ]
    }

    fn decay(&self) -> Decay {
        Decay::Coupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn uses(&self, plane: usize) -> bool {
        [true, self.centered, self.momentum > 0.0][plane]
    }

    fn overrides(&self) -> Vec<(&'static str, bool)> {
        vec![("CENTERED", self.centered), ("MOMENTUM", self.momentum > 0.0)]
    }

    fn row(&self, _t: u64) -> [f64; 7] {
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
            *a += rate * (d - *a);
            square = (*q - *a * *a).max(F::zero());
        }
        let step = take * d / ((square + inner).sqrt() + eps);
        if self.momentum == 0.0 {
            return x - lr * step;
        }
        *b = momentum * *b + step;
        x - lr * *b
    }
}
