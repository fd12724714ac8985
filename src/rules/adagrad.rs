use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule};
use crate::settings;

settings! {
    /// Adagrad: the gradient over the root of the sum of its squares so far.
    ///
    /// ```text
    /// d = g + λ·x
    /// S = S + d²
    /// x −= lr/(1 + (t − 1)·lr_decay) · d / (√S + eps)
    /// ```
    ///
    /// State: `S`, 4 bytes per parameter, starting at `initial_accumulator_value`. As `torch.optim.Adagrad`; Keras and optax
    /// start S at 0.1 and put an epsilon of 1e-7 inside the root: [`Adagrad::keras`], [`Adagrad::optax`]; weight decay in Keras
    /// is decoupled. Source: Duchi, Hazan & Singer 2011, JMLR 12.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Adagrad, Rule};
    ///
    /// let rule = Adagrad { lr: 0.5, ..Default::default() };
    /// let mut sum = [0.0];
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 3.0, &mut sum);
    /// assert_eq!(sum, [9.0]);
    /// assert!((x - 0.5).abs() < 1e-9);
    /// ```
    pub struct Adagrad {
        /// Learning rate.
        number lr = 1e-2, not_negative;
        /// Decay of the learning rate.
        number lr_decay = 0.0, not_negative;
        /// Coupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// S before the first step.
        number initial_accumulator_value = 0.0, not_negative;
        /// Added to the root (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-10, positive;
        /// Add eps inside the root, `√(S + eps)`, instead of to it.
        flag eps_inside = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Adagrad {
    /// As `torch.optim.Adagrad`: the default.
    pub fn torch() -> Self {
        Self::default()
    }

    /// As `keras.optimizers.Adagrad`: lr 1e-3, S from 0.1, eps 1e-7 inside the root.
    pub fn keras() -> Self {
        Self { lr: 1e-3, initial_accumulator_value: 0.1, eps: 1e-7, eps_inside: true, ..Self::default() }
    }

    /// As `optax.adagrad`: S from 0.1, eps 1e-7 inside the root. optax gives no learning rate.
    pub fn optax() -> Self {
        Self { initial_accumulator_value: 0.1, eps: 1e-7, eps_inside: true, ..Self::default() }
    }
}

impl Rule for Adagrad {
    type Hyper<F: Real> = [F; 3];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "adagrad";
    const FORMULA: &'static str =
        "d = g + λ·x;  s = s + d²;  x −= lr/(1 + (t − 1)·lr_decay)·d / (√s + eps)";
    const WGSL: &'static str = include_str!("../../shaders/rules/adagrad.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["lr", "eps", "inner"];
    const STATE: &'static [&'static str] = &["sum"];
    const INITIAL: &'static [&'static str] = &["initial_accumulator_value"];

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        Decay::Coupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn initial(&self, _plane: usize) -> f64 {
        self.initial_accumulator_value
    }

    #[inline]
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Stochastic)
    }

    fn hyper(&self, t: u64) -> [f64; 3] {
        let (eps, inner) = if self.eps_inside { (0.0, self.eps) } else { (self.eps, 0.0) };
        [self.lr / (1.0 + (t - 1) as f64 * self.lr_decay), eps, inner]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[lr, eps, inner]: &[F; 3], x: F, d: F, [sum]: &mut [F; 1]) -> F {
        *sum += d * d;
        x - lr * d / ((*sum + inner).sqrt() + eps)
    }
}
