use crate::error::{Error, Result, range};
use crate::rule::{BoundsChecks, Configure, Real, Rounding, Rule, sign};
use crate::settings;

settings! {
    /// Rprop: steps by the sign of the gradient alone, with a length of its own for each parameter. For whole data sets, not
    /// batches.
    ///
    /// ```text
    /// d = g
    /// step = clamp(step · (η₊ if d·prev > 0, η₋ if d·prev < 0, else 1), step_min, step_max)
    /// d = 0 if d·prev < 0
    /// x −= sign(d) · step
    /// prev = d
    /// ```
    ///
    /// State: `prev` and `step`, 4 bytes per parameter each; `step` starts at the learning rate, which has no other effect, so
    /// no schedule may change it. As `torch.optim.Rprop`, with its pairs `etas` and `step_sizes` as four numbers. After a
    /// change of sign the parameter stays for one step, and the step before is not undone. optax's `rprop` is the same, but
    /// does not bring a first length into the bounds. The sign of d·prev is the product of the signs, so tiny gradients do not
    /// underflow. Source: Riedmiller & Braun 1993, *A direct adaptive method for faster backpropagation learning: the RPROP
    /// algorithm*; the variant is iRprop− of Igel & Hüsken 2000.
    ///
    /// NaN has no sign: an element whose gradient is NaN stays where it is in that step, as in `torch.optim.Rprop`.
    ///
    /// # Examples
    ///
    /// The size of the gradient does not matter:
    ///
    /// ```
    /// use thalweg::{Rprop, Rule};
    ///
    /// let rule = Rprop { lr: 0.5, ..Default::default() };
    /// let mut state = [0.0, 0.5];
    /// let x: f64 = rule.update(&rule.hyper(1), 1.0, 1e-9, &mut state);
    /// assert_eq!(x, 0.5);
    /// let x = rule.update(&rule.hyper(2), x, 1e9, &mut state);
    /// assert!((x - (0.5 - 1.2 * 0.5)).abs() < 1e-12);
    /// ```
    pub struct Rprop {
        /// Length of the first step.
        number lr = 1e-2, not_negative;
        /// η₋, by which a step shrinks.
        number eta_minus = 0.5, open_fraction;
        /// η₊, by which a step grows.
        number eta_plus = 1.2, above_one;
        /// The shortest step.
        number step_min = 1e-6, not_negative;
        /// The longest step, finite and at least the shortest.
        number step_max = 50.0;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Rprop {
    type Hyper<F: Real> = [F; 4];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "rprop";
    const FORMULA: &'static str =
        "step grows by η₊ while sign(d) stays, shrinks by η₋ where it turns;  x −= sign(d)·step";
    const WGSL: &'static str = include_str!("../../shaders/rules/rprop.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["eta_minus", "eta_plus", "step_min", "step_max"];
    const STATE: &'static [&'static str] = &["prev", "step"];
    const INITIAL: &'static [&'static str] = &["lr"];

    fn check(&self) -> Result<()> {
        self.check_ranges()?;
        let fits = self.step_max.is_finite() && self.step_max >= self.step_min;
        if !fits {
            // Schedules check every row: the text is made where it is needed.
            let allowed = format!("finite and at least step_min, {}", self.step_min);
            return Err(Error::setting("step_max", self.step_max, &allowed));
        }
        range::single("step_max", self.step_max)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn initial(&self, plane: usize) -> f64 {
        if plane == 1 { self.lr } else { 0.0 }
    }

    #[inline]
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Nearest)
    }

    fn hyper(&self, _t: u64) -> [f64; 4] {
        [self.eta_minus, self.eta_plus, self.step_min, self.step_max]
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[eta_minus, eta_plus, step_min, step_max]: &[F; 4], x: F, d: F, [prev, step]: &mut [F; 2]) -> F {
        // A product of gradients could underflow, one of signs cannot.
        let turn = sign(d) * sign(*prev);
        let shrunk = if turn < F::zero() { eta_minus } else { F::one() };
        let factor = if turn > F::zero() { eta_plus } else { shrunk };
        *step = (factor * *step).max(step_min).min(step_max);
        *prev = if turn < F::zero() { F::zero() } else { d };
        x - sign(*prev) * *step
    }
}
