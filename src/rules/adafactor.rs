use crate::rule::{BoundsChecks, Decay, Layerwise, Real, Rounding, Rule, larger, toward};
use crate::settings;

settings! {
    /// Adafactor: steps as long as the parameters, from second moments that matrices keep by rows and columns.
    ///
    /// ```text
    /// w = t^beta2_decay;  ρ = min(lr, 1/√t)
    /// R += w·(mean of g² over each row − R);  C += w·(mean of g² over each column − C);  V = R·C / max(mean R, eps₁)
    /// V += w·(g² − V)                                     tensors of less than two dimensions
    /// U = g / max(√V, eps₁)
    /// x = (1 − lr·λ)·x − ρ·max(eps₂, RMS(x)) / max(1, RMS(U)/d) · U
    /// ```
    ///
    /// Rows and columns are those of the last two dimensions; leading ones make a stack of matrices. RMS is the root of the
    /// mean square of one tensor, of x from before the decay. As `torch.optim.Adafactor`.
    ///
    /// Memory: a matrix of n × m keeps n + m + 1 numbers, and the sums on the way take about (n·m)/32; a vector keeps one
    /// number per element. The direction U takes 4 bytes per parameter, which hold nothing from step to step. In the state,
    /// `row_var` and `col_var` are R and C, and `v` is V.
    ///
    /// Differences: the paper, optax, Hugging Face and Keras add 1e-30 to g² in the place of eps₁. The paper and Hugging Face
    /// bound the relative step by 1e-2 and not by lr; Keras by its lr of 1e-3, as here; optax takes lr as a plain factor,
    /// without 1/√t. All but Keras can have a momentum. optax factors only from 128 rows and columns on, and its decay is not
    /// times lr. With matrices, clips by value or per tensor and L1 penalties are errors. Source: Shazeer & Stern 2018,
    /// arXiv:1804.04235.
    ///
    /// A NaN makes its whole tensor NaN, since RMS(U) is NaN; PyTorch's `max` in Python passes over it.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Adafactor, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let rule = Adafactor { lr: 0.1, ..Default::default() };
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule), &[("w", &[2, 2])])?;
    /// optimizer.set_params("w", &[1.0; 4])?;
    /// optimizer.set_grads("w", &[3.0, -6.0, 1.0, 2.0])?;
    /// optimizer.step()?;
    /// // Squares are 9, 36 and 1, 4: the product of rows and columns, so U = ±1.
    /// assert_eq!(optimizer.state("w", "row_var")?, [22.5, 2.5]);
    /// assert_eq!(optimizer.state("w", "col_var")?, [5.0, 20.0]);
    /// assert!((optimizer.params("w")?[1] - 1.1).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub struct Adafactor {
        /// The largest relative step.
        number lr = 1e-2, not_negative;
        /// Power of t that new squares weigh.
        number beta2_decay = -0.8, not_positive;
        /// The smallest √V and mean of R; 0 is the resolution of the float type (2⁻²³), as PyTorch's `None`.
        number eps1 = 0.0, not_negative;
        /// The smallest RMS(x) to step by.
        number eps2 = 1e-3, not_negative;
        /// The largest RMS(U).
        number d = 1.0, at_least_one;
        /// Decoupled weight decay λ.
        number weight_decay = 0.0, not_negative;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Adafactor {
    type Hyper<F: Real> = [F; 5];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "adafactor";
    const FORMULA: &'static str =
        "V = R·C/mean(R), R and C means of d² by rows and columns;  u = d/√V;  x −= ρ·RMS(x)·u/max(1, RMS(u)/d) in each tensor";
    const WGSL: &'static str = include_str!("../../shaders/rules/adafactor.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = &["rate", "floor", "lr", "eps2", "bound"];
    const STATE: &'static [&'static str] = &["v"];
    const LAYERWISE: Layerwise = Layerwise::After;
    const FACTORED: bool = true;

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        Decay::Decoupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Stochastic)
    }

    fn hyper(&self, t: u64) -> [f64; 5] {
        let t = t as f64;
        [t.powf(self.beta2_decay), self.eps1, self.lr.min(t.sqrt().recip()), self.eps2, self.d]
    }

    fn trust<F: Real>(&self, row: &[F; 5], [a, b]: [F; 2], len: F, _memory: &mut F) -> F {
        let &[_, _, lr, eps2, bound] = row;
        let root = len.sqrt();
        lr * larger(eps2, b / root) / larger(F::one(), a / (root * bound))
    }

    #[inline(always)]
    fn update<F: Real>(&self, row: &[F; 5], _x: F, d: F, [v]: &mut [F; 1]) -> F {
        let &[rate, floor, ..] = row;
        // Of matrices v has followed already, and the rate is 0. Then v stays: 0 times an infinite square would be NaN.
        let followed = toward(*v, d * d, rate);
        *v = if rate == F::zero() { *v } else { followed };
        let floor = if floor == F::zero() { F::epsilon() } else { floor };
        d / larger(v.sqrt(), floor)
    }
}
