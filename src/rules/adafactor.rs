use crate::error::{Result, range};
use crate::rule::{Decay, Layerwise, Real, Rule, Setting, Settings};
use smallvec::smallvec;

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
/// Rows and columns are those of the last two dimensions; leading ones make a stack of matrices. RMS is the root of the mean square
/// of one tensor, of x from before the decay. As `torch.optim.Adafactor`.
///
/// Memory: a matrix of n × m keeps n + m + 1 numbers, and the sums on the way take about (n·m)/32; a vector keeps one number per
/// element. The direction U takes 4 bytes per parameter, which hold nothing from step to step. In the state, `row_var` and `col_var`
/// are R and C, and `v` is V.
///
/// Differences: the paper, optax, Hugging Face and Keras add 1e-30 to g² in the place of eps₁. The paper and Hugging Face bound
/// the relative step by 1e-2 and not by lr; Keras by its lr of 1e-3, as here; optax takes lr as a plain factor, without 1/√t.
/// All but Keras can have a momentum. optax factors only from 128 rows and columns on, and its decay is not times lr. Bounds
/// and penalties that this rule's matrices would have to see first, of single tensors or L1, are refused. Source: Shazeer &
/// Stern 2018, arXiv:1804.04235.
///
/// # Examples
///
/// ```
/// use thalweg::{Adafactor, Optimizer, Recipe, cpu::Cpu};
///
/// let rule = Adafactor { lr: 0.1, ..Default::default() };
/// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule), &[("w", &[2, 2])])?;
/// optimizer.set_params(0, "w", &[1.0; 4])?;
/// optimizer.set_grads(0, "w", &[3.0, -6.0, 1.0, 2.0])?;
/// optimizer.step()?;
/// // Squares are 9, 36 and 1, 4: the product of rows and columns, so U = ±1.
/// assert_eq!(optimizer.state("row_var", 0, "w")?, [22.5, 2.5]);
/// assert_eq!(optimizer.state("col_var", 0, "w")?, [5.0, 20.0]);
/// assert!((optimizer.params(0, "w")?[1] - 1.1).abs() < 1e-6);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Adafactor {
    /// The largest relative step, finite and at least 0. Default 1e-2.
    pub lr: f64,
    /// Power of t that new squares weigh, finite and at most 0. Default −0.8.
    pub beta2_decay: f64,
    /// The smallest √V and mean of R, finite and at least 0; 0 is the resolution of the float type (2⁻²³), as PyTorch's `None`.
    /// Default 0.
    pub eps1: f64,
    /// The smallest RMS(x) to step by, finite and at least 0. Default 1e-3.
    pub eps2: f64,
    /// The largest RMS(U), finite and at least 1. Default 1.
    pub d: f64,
    /// Decoupled weight decay λ, finite and at least 0. Default 0.
    pub weight_decay: f64,
    /// Climb instead of descend. Default off.
    pub maximize: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self { lr: 1e-2, beta2_decay: -0.8, eps1: 0.0, eps2: 1e-3, d: 1.0, weight_decay: 0.0, maximize: false }
    }
}

impl Rule for Adafactor {
    type Row<F: Real> = [F; 5];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "adafactor";
    const FORMULA: &'static str =
        "V = R·C/mean(R), R and C means of d² by rows and columns;  u = d/√V;  x −= ρ·RMS(x)·u/max(1, RMS(u)/d) in each tensor";
    const WGSL: &'static str = include_str!("../../shaders/rules/adafactor.wgsl");
    const ROW: &'static [&'static str] = &["rate", "floor", "lr", "eps2", "bound"];
    const STATE: &'static [&'static str] = &["v"];
    const LAYERWISE: Layerwise = Layerwise::After;
    const FACTORED: bool = true;

    fn check(&self) -> Result<()> {
        range::not_negative("lr", self.lr)?;
        let falls = self.beta2_decay.is_finite() && self.beta2_decay <= 0.0;
        range::require(falls, "beta2_decay", self.beta2_decay, "finite and at most 0")?;
        range::not_negative("eps1", self.eps1)?;
        range::not_negative("eps2", self.eps2)?;
        range::require(self.d.is_finite() && self.d >= 1.0, "d", self.d, "finite and at least 1")?;
        range::not_negative("weight_decay", self.weight_decay)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn settings(&mut self) -> Settings<'_> {
        smallvec![
            ("lr", Setting::Number(&mut self.lr)),
            ("beta2_decay", Setting::Number(&mut self.beta2_decay)),
            ("eps1", Setting::Number(&mut self.eps1)),
            ("eps2", Setting::Number(&mut self.eps2)),
            ("d", Setting::Number(&mut self.d)),
            ("weight_decay", Setting::Number(&mut self.weight_decay)),
            ("maximize", Setting::Flag(&mut self.maximize)),
        ]
    }

    fn decay(&self) -> Decay {
        Decay::Decoupled(self.weight_decay)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn row(&self, t: u64) -> [f64; 5] {
        let t = t as f64;
        [t.powf(self.beta2_decay), self.eps1, self.lr.min(t.sqrt().recip()), self.eps2, self.d]
    }

    fn trust<F: Real>(&self, row: &[F; 5], [a, b]: [F; 2], len: F, _memory: &mut F) -> F {
        let &[_, _, lr, eps2, bound] = row;
        let root = len.sqrt();
        lr * eps2.max(b / root) / F::one().max(a / (root * bound))
    }

    #[inline(always)]
    fn update<F: Real>(&self, row: &[F; 5], _x: F, d: F, [v]: &mut [F; 1]) -> F {
        let &[rate, floor, ..] = row;
        *v += rate * (d * d - *v);
        let floor = if floor == F::zero() { F::epsilon() } else { floor };
        d / v.sqrt().max(floor)
    }
}
