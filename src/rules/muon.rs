use crate::error::{Result, range};
use crate::rule::{AdjustLr, Decay, Layerwise, Orthogonal, Real, Rule, Setting, Settings};
use smallvec::smallvec;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Muon {
    /// Learning rate of matrices, finite and at least 0. Default 1e-3.
    pub lr: f64,
    /// Decoupled weight decay λ of matrices, finite and at least 0. Default 0.1.
    pub weight_decay: f64,
    /// μ, at least 0 and below 1 (PyTorch allows more, where it is no mean). Default 0.95.
    pub momentum: f64,
    /// Look ahead by the momentum. Default on.
    pub nesterov: bool,
    /// The iteration's a, b and c, finite. Default (3.4445, −4.7750, 2.0315). By name `ns_a`, `ns_b` and `ns_c`; lanes share them.
    pub ns_coefficients: (f64, f64, f64),
    /// The least norm that a direction is divided by, finite and above 0
    /// (PyTorch allows 0; a matrix of zeros would become 0/0). Default 1e-7. Lanes share it.
    pub eps: f64,
    /// Iterations, at most 100. Default 5. Lanes share it.
    pub ns_steps: usize,
    /// What a shape makes of the learning rate. Default [`AdjustLr::Original`]; by name `original`,
    /// `match_rms_adamw` or `spectral_unclamped`. Lanes share it.
    pub adjust_lr: AdjustLr,
    /// Learning rate of other tensors, finite and at least 0. Default 1e-3.
    pub adamw_lr: f64,
    /// β₁ and β₂ of other tensors, each at least 0 and below 1. Default (0.9, 0.999).
    pub adamw_betas: (f64, f64),
    /// Added to the root, finite and above 0. Default 1e-8.
    pub adamw_eps: f64,
    /// Decoupled weight decay of other tensors, finite and at least 0. Default 1e-2.
    pub adamw_weight_decay: f64,
    /// All tensors of the group by AdamW, also matrices. Lanes share it. Default off.
    pub adamw: bool,
    /// Climb instead of descend. Default off.
    pub maximize: bool,
}

impl Default for Muon {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            weight_decay: 0.1,
            momentum: 0.95,
            nesterov: true,
            ns_coefficients: (3.4445, -4.7750, 2.0315),
            eps: 1e-7,
            ns_steps: 5,
            adjust_lr: AdjustLr::Original,
            adamw_lr: 1e-3,
            adamw_betas: (0.9, 0.999),
            adamw_eps: 1e-8,
            adamw_weight_decay: 1e-2,
            adamw: false,
            maximize: false,
        }
    }
}

impl Rule for Muon {
    type Row<F: Real> = [F; 9];
    type State<F: Real> = [F; 2];
    const NAME: &'static str = "muon";
    const FORMULA: &'static str = "m += (1−μ)(d−m);  x −= lr·k·orthogonal(d + μ·(m−d)) in matrices, AdamW in others";
    const WGSL: &'static str = include_str!("../../shaders/rules/muon.wgsl");
    const ROW: &'static [&'static str] = &["lr", "rate1", "look", "beta2", "rate2", "unbias1", "unbias2", "eps", "adamw"];
    const STATE: &'static [&'static str] = &["m", "v"];
    const LAYERWISE: Layerwise = Layerwise::After;

    fn check(&self) -> Result<()> {
        let (a, b, c) = self.ns_coefficients;
        range::not_negative("lr", self.lr)?;
        range::not_negative("weight_decay", self.weight_decay)?;
        range::fraction("momentum", self.momentum)?;
        for (name, coefficient) in [("ns_a", a), ("ns_b", b), ("ns_c", c)] {
            range::require(coefficient.is_finite(), name, coefficient, "finite")?;
        }
        range::positive("eps", self.eps)?;
        range::require(self.ns_steps <= 100, "ns_steps", self.ns_steps, "at most 100")?;
        range::not_negative("adamw_lr", self.adamw_lr)?;
        range::fraction("adamw_beta1", self.adamw_betas.0)?;
        range::fraction("adamw_beta2", self.adamw_betas.1)?;
        range::positive("adamw_eps", self.adamw_eps)?;
        range::not_negative("adamw_weight_decay", self.adamw_weight_decay)
    }

    fn lr(&self) -> f64 {
        if self.adamw { self.adamw_lr } else { self.lr }
    }

    fn settings(&mut self) -> Settings<'_> {
        smallvec![
            ("lr", Setting::Number(&mut self.lr)),
            ("weight_decay", Setting::Number(&mut self.weight_decay)),
            ("momentum", Setting::Number(&mut self.momentum)),
            ("nesterov", Setting::Flag(&mut self.nesterov)),
            ("ns_a", Setting::Fixed(&mut self.ns_coefficients.0)),
            ("ns_b", Setting::Fixed(&mut self.ns_coefficients.1)),
            ("ns_c", Setting::Fixed(&mut self.ns_coefficients.2)),
            ("eps", Setting::Fixed(&mut self.eps)),
            ("ns_steps", Setting::Fixed(&mut self.ns_steps)),
            ("adjust_lr", Setting::Fixed(&mut self.adjust_lr)),
            ("adamw_lr", Setting::Number(&mut self.adamw_lr)),
            ("adamw_beta1", Setting::Number(&mut self.adamw_betas.0)),
            ("adamw_beta2", Setting::Number(&mut self.adamw_betas.1)),
            ("adamw_eps", Setting::Number(&mut self.adamw_eps)),
            ("adamw_weight_decay", Setting::Number(&mut self.adamw_weight_decay)),
            ("adamw", Setting::Flag(&mut self.adamw)),
            ("maximize", Setting::Flag(&mut self.maximize)),
        ]
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
        *m += rate1 * (d - *m);
        if adamw == F::zero() {
            return *m + look * (d - *m);
        }
        *v = beta2 * *v + rate2 * d * d;
        unbias1 * *m / (v.sqrt() * unbias2 + eps)
    }
}
