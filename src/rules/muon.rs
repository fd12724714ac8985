use crate::error::{Result, range};
use crate::rule::{AdjustLr, BoundsChecks, Configure, Decay, Layerwise, Orthogonal, Real, Rule, toward};
use crate::settings;

settings! {
    /// Muon for matrices, AdamW for all other tensors.
    ///
    /// A tensor of two dimensions moves by
    ///
    /// ```text
    /// m = m + (1 − μ)·(g − m)
    /// U = g + μ·(m − g)                        m without `nesterov`
    /// X = U / max(‖U‖_F, eps)                  transposed if there are more rows than columns
    /// X = a·X + (b·A + c·A²)·X, A = X·Xᵀ       `ns_steps` times, then transposed back
    /// x = (1 − lr·λ)·x − lr · k · X            k by `adjust_lr`, of the tensor's rows and columns
    /// ```
    ///
    /// Any other moves as by [`AdamW`](crate::AdamW), with the settings that begin with `adamw_`. Groups with `adamw` do so with their
    /// matrices too: Muon is meant for hidden layers, and embeddings and the last layer are better left to AdamW. A schedule of `lr` is
    /// for matrices alone; put it on `adamw_lr` as well.
    ///
    /// State: `m`, `v` and the direction, 12 bytes per parameter, and about four times the largest set of matrices of one shape. The
    /// number of dispatches follows from the number of different shapes.
    ///
    /// As `torch.optim.Muon`, which takes matrices only, and iterates in bfloat16 where this does in the engine's floats: the results
    /// differ by what bfloat16 rounds. PyTorch's docs print m = μ·m + g: that has the same direction, except for
    /// eps. The reference has lr 0.02, no decay, divides by ‖U‖ + eps, and flattens convolutions to matrices; Keras has the factor 0.2 of
    /// `MatchRmsAdamW` and m = μ·m + g; Burn has no decay by default. Source: Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon>.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Muon, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let recipe = Recipe::new(Muon { lr: 0.1, weight_decay: 0.0, ..Default::default() });
    /// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("weight", &[2, 2]), ("bias", &[1])])?;
    /// optimizer.set_grads(0, "weight", &[1e-3, 0.0, 0.0, 1.0])?;
    /// optimizer.set_grads(0, "bias", &[5.0])?;
    /// optimizer.step()?;
    /// // Small and large directions become about 1, and the bias moves by AdamW's rate.
    /// let weight = optimizer.params(0, "weight")?;
    /// assert!(weight[3] < -0.06 && weight[0] < -0.03);
    /// assert!((optimizer.params(0, "bias")?[0] + 1e-3).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub struct Muon {
        /// Learning rate of matrices.
        number lr = 1e-3, not_negative;
        /// Decoupled weight decay λ of matrices.
        number weight_decay = 0.1, not_negative;
        /// μ (PyTorch allows more, where it is no mean).
        number momentum = 0.95, fraction;
        /// Look ahead by the momentum.
        flag nesterov = true;
        /// The iteration's a, b and c. By name `ns_a`, `ns_b` and `ns_c`; lanes share them.
        fixed_numbers ns_coefficients(ns_a, ns_b, ns_c) = (3.4445, -4.7750, 2.0315), finite;
        /// The least norm that a direction is divided by (PyTorch allows 0; a matrix of zeros would become 0/0). Lanes share it.
        fixed eps: f64 = 1e-7, positive;
        /// Iterations. Lanes share it.
        fixed ns_steps: usize = 5;
        /// What a shape makes of the learning rate.; by name `original`, `match_rms_adamw` or `spectral_unclamped`. Lanes share
        /// it.
        fixed adjust_lr: AdjustLr = AdjustLr::Original;
        /// Learning rate of other tensors.
        number adamw_lr = 1e-3, not_negative;
        /// β₁ and β₂ of other tensors.
        numbers adamw_betas(adamw_beta1, adamw_beta2) = (0.9, 0.999), fraction;
        /// Added to the root.
        number adamw_eps = 1e-8, positive;
        /// Decoupled weight decay of other tensors.
        number adamw_weight_decay = 1e-2, not_negative;
        /// All tensors of the group by AdamW, also matrices. Lanes share it.
        flag adamw = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl Rule for Muon {
    type Row<F: Real> = [F; 9];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "muon";
    const FORMULA: &'static str = "m += (1−μ)(d−m);  x −= lr·k·orthogonal(d + μ·(m−d)) in matrices, AdamW in others";
    const WGSL: &'static str = include_str!("../../shaders/rules/muon.wgsl");
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const ROW: &'static [&'static str] = &["lr", "rate1", "look", "beta2", "rate2", "unbias1", "unbias2", "eps", "adamw"];
    const STATE: &'static [&'static str] = &["m", "v"];
    const LAYERWISE: Layerwise = Layerwise::After;

    fn check(&self) -> Result<()> {
        self.check_ranges()?;
        range::require(self.ns_steps <= 100, "ns_steps", self.ns_steps, "at most 100")
    }

    fn lr(&self) -> f64 {
        if self.adamw { self.adamw_lr } else { self.lr }
    }

    fn decay(&self) -> Decay {
        Decay::Decoupled(if self.adamw { self.adamw_weight_decay } else { self.weight_decay })
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn orthogonal(&self) -> Option<Orthogonal> {
        let &Self { ns_coefficients: coefficients, ns_steps: steps, eps, adjust_lr, adamw, .. } = self;
        (!adamw).then_some(Orthogonal { coefficients, steps, eps, adjust_lr })
    }

    fn others(&self) -> Option<Self> {
        Some(Self { adamw: true, ..self.clone() })
    }

    fn row(&self, t: u64) -> [f64; 9] {
        let (beta1, beta2) = self.adamw_betas;
        if !self.adamw {
            let rate = 1.0 - self.momentum;
            return [self.lr, rate, if self.nesterov { rate } else { 0.0 }, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        }
        let correction = |beta: f64| -f64::exp_m1(t as f64 * beta.ln());
        let (unbias1, unbias2) = (correction(beta1).recip(), correction(beta2).sqrt().recip());
        [self.adamw_lr, 1.0 - beta1, 0.0, beta2, 1.0 - beta2, unbias1, unbias2, self.adamw_eps, 1.0]
    }

    fn trust<F: Real>(&self, &[lr, ..]: &[F; 9], _norms: [F; 2], _len: F, _memory: &mut F) -> F {
        lr
    }

    #[inline(always)]
    fn update<F: Real>(&self, row: &[F; 9], _x: F, d: F, [m, v]: &mut [F; 2]) -> F {
        let &[_, rate1, look, beta2, rate2, unbias1, unbias2, eps, adamw] = row;
        *m = toward(*m, d, rate1);
        if adamw == F::zero() {
            return toward(*m, d, look);
        }
        *v = beta2 * *v + rate2 * d * d;
        unbias1 * *m / (v.sqrt() * unbias2 + eps)
    }
}
