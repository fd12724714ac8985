use crate::rule::{BoundsChecks, Decay, Real, Rule};
use crate::settings;

settings! {
    /// ASGD: gradient descent with a falling learning rate, beside the average of the parameters that it went through.
    ///
    /// ```text
    /// d = g + λ·x
    /// η = lr / (1 + lambd·lr·(t − 1))^alpha        μ = 1 / max(1, t − 1 − t0)
    /// x = (1 − lambd·η)·x − η·d
    /// ax = ax + μ·(x − ax)
    /// ```
    ///
    /// State: `ax`, 4 bytes per parameter. While μ is 1, `ax` is a copy of x; the average starts with step t0 + 3. `ax` is the
    /// result of a run: read it with [`Optimizer::state`](crate::Optimizer::state). As `torch.optim.ASGD`, whose η and μ are
    /// states in the default float type; there a change of the learning rate takes effect one step late, here at once. Source:
    /// Polyak & Juditsky 1992, *Acceleration of stochastic approximation by averaging*; the rates from Bottou 2010,
    /// *Large-scale machine learning with stochastic gradient descent*.
    ///
    /// # Examples
    ///
    /// With an average from the start, `ax` is the mean of all x but the first:
    ///
    /// ```
    /// use thalweg::{Asgd, Rule};
    ///
    /// let rule = Asgd { lr: 0.5, lambd: 0.0, t0: 0.0, ..Default::default() };
    /// let (mut x, mut state) = (8.0, [0.0_f64]);
    /// for t in 1..=4 {
    ///     x = rule.update(&rule.hyper(t), x, 2.0, &mut state);
    /// }
    /// assert_eq!(x, 4.0);
    /// assert!((state[0] - (6.0 + 5.0 + 4.0) / 3.0).abs() < 1e-12);
    /// ```
    pub struct Asgd {
        /// Learning rate.
        number lr = 1e-2, not_negative;
        /// Decay of the parameters and of the learning rate.
        number lambd = 1e-4, not_negative;
        /// Power of the decay of the learning rate.
        number alpha = 0.75, not_negative;
        /// Steps before the average starts.
        number t0 = 1e6, not_negative;
        /// Coupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Asgd {
    type Hyper<F: Real> = [F; 4];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "asgd";
    const FORMULA: &'static str =
        "d = g + λ·x;  x = (1 − lambd·ηₜ)·x − ηₜ·d;  ax = ax + μₜ·(x − ax);  ηₜ = lr/(1 + lambd·lr·t)^α";
    const WGSL: &'static str = include_str!("../../shaders/rules/asgd.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["shrink", "eta", "keep", "mu"];
    const SHIFTS: bool = false;
    const STATE: &'static [&'static str] = &["ax"];

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        Decay::Coupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn hyper(&self, t: u64) -> [f64; 4] {
        let before = (t - 1) as f64;
        let eta = self.lr / (1.0 + self.lambd * self.lr * before).powf(self.alpha);
        let mu = (before - self.t0).max(1.0).recip();
        // Two weights that add up to 1 rather than a difference: with μ = 1 the average is x to the bit.
        [1.0 - self.lambd * eta, eta, 1.0 - mu, mu]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[shrink, eta, keep, mu]: &[F; 4], x: F, d: F, [ax]: &mut [F; 1]) -> F {
        let moved = shrink * x - eta * d;
        *ax = keep * *ax + mu * moved;
        moved
    }
}
