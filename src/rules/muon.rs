use crate::error::{Result, range};
use crate::rule::{AdjustLr, BoundsChecks, Configure, Decay, Layerwise, Orthogonal, Real, Rounding, Rule, toward};
use crate::settings;

settings! {
    /// Muon, for matrices.
    ///
    /// ```text
    /// m = m + (1 − μ)·(g − m)
    /// U = g + μ·(m − g)                        m without `nesterov`
    /// X = U / max(‖U‖_F, eps)                  transposed if there are more rows than columns
    /// X = a·X + (b·A + c·A²)·X, A = X·Xᵀ       `ns_steps` times, then transposed back
    /// x = (1 − lr·λ)·x − lr · k · X            k by `adjust_lr`, of the tensor's rows and columns
    /// ```
    ///
    /// It takes only tensors of two dimensions. Put all others into a group with another rule, and matrices that Muon does not
    /// suit as well, such as embeddings and the last layer: see [`Recipe::group`](crate::Recipe::group). A clip by the global
    /// norm leaves its gradients out: see [`Recipe::clip_norm`](crate::Recipe::clip_norm).
    ///
    /// State: `m` and the direction, 8 bytes per parameter, and about four times the largest set of matrices of one shape. The
    /// number of dispatches follows from the number of different shapes.
    ///
    /// As `torch.optim.Muon`, which iterates in bfloat16 where this does in the engine's floats: the results differ by what
    /// bfloat16 rounds. PyTorch's docs print m = μ·m + g: that has the same direction, except for eps. The reference has lr
    /// 0.02, no decay, divides by ‖U‖ + eps, and flattens convolutions to matrices; Keras has the factor 0.2 of `MatchRmsAdamW`
    /// and m = μ·m + g; Burn has no decay by default. Source: Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon>.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Muon, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let muon = Muon { lr: 0.1, weight_decay: 0.0, ..Default::default() };
    /// let recipe = Recipe::new(muon).group("others", |t| t.shape.len() != 2, AdamW::default());
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("weight", &[2, 2]), ("bias", &[1])])?;
    /// optimizer.set_grads("weight", &[1e-3, 0.0, 0.0, 1.0])?;
    /// optimizer.set_grads("bias", &[5.0])?;
    /// optimizer.step()?;
    /// // Small and large directions become about 1, and the bias moves by AdamW's rate.
    /// let weight = optimizer.params("weight")?;
    /// assert!(weight[3] < -0.06 && weight[0] < -0.03);
    /// assert!((optimizer.params("bias")?[0] + 1e-3).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub struct Muon {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// Decoupled weight decay λ.
        number weight_decay = 0.1, not_negative;
        /// μ, below 1, as m is a mean (PyTorch allows larger values).
        number momentum = 0.95, fraction;
        /// Look ahead by the momentum.
        flag nesterov = true;
        /// The iteration's a, b and c. By name `ns_a`, `ns_b` and `ns_c`; lanes share them.
        fixed_numbers ns_coefficients(ns_a, ns_b, ns_c) = (3.4445, -4.7750, 2.0315), finite;
        /// The least norm that a direction is divided by (PyTorch allows 0; a matrix of zeros would become 0/0). Lanes share
        /// it.
        fixed eps: f64 = 1e-7, positive;
        /// Iterations. Lanes share it.
        fixed ns_steps: usize = 5;
        /// How a matrix's shape changes the learning rate; by name `original`, `match_rms_adamw` or `spectral_unclamped`. Lanes
        /// share it.
        fixed adjust_lr: AdjustLr = AdjustLr::Original;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Muon {
    type Hyper<F: Real> = [F; 3];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "muon";
    const FORMULA: &'static str = "m += (1−μ)(d−m);  x −= lr·k·orthogonal(d + μ·(m−d)), of matrices";
    const WGSL: &'static str = include_str!("../../shaders/rules/muon.wgsl");
    const HYPER: &'static [&'static str] = &["lr", "rate", "look"];
    const STATE: &'static [&'static str] = &["m"];
    const LAYERWISE: Layerwise = Layerwise::After;
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn check(&self) -> Result<()> {
        self.check_ranges()?;
        range::require(self.ns_steps <= 100, "ns_steps", self.ns_steps, "at most 100")
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        Decay::Decoupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn orthogonal(&self) -> Option<Orthogonal> {
        let &Self { ns_coefficients: coefficients, ns_steps: steps, eps, adjust_lr, .. } = self;
        Some(Orthogonal { coefficients, steps, eps, adjust_lr })
    }

    #[inline]
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        Some(Rounding::Nearest)
    }

    fn hyper(&self, _t: u64) -> [f64; 3] {
        let rate = 1.0 - self.momentum;
        [self.lr, rate, if self.nesterov { rate } else { 0.0 }]
    }

    fn trust<F: Real>(&self, &[lr, ..]: &[F; 3], _norms: [F; 2], _len: F, _memory: &mut F) -> F {
        lr
    }

    #[inline(always)]
    fn update<F: Real>(&self, &[_, rate, look]: &[F; 3], _x: F, d: F, [m]: &mut [F; 1]) -> F {
        *m = toward(*m, d, rate);
        toward(*m, d, look)
    }
}
