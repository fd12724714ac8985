use super::Adam;
use crate::rule::{BoundsChecks, Decay, Real, Rounding, Rule};
use crate::settings;

settings! {
    /// AdamW: [`Adam`] with decoupled weight decay.
    ///
    /// ```text
    /// x = (1 − lr·λ)·x
    /// m = m + (1 − β₁)·(g − m)            c₁ = 1 − β₁ᵗ
    /// v = β₂·v + (1 − β₂)·g²              c₂ = 1 − β₂ᵗ
    /// w = max(w, v), used instead of v    AMSGrad only
    /// x −= (lr/c₁) · m / (√v/√c₂ + eps)
    /// ```
    ///
    /// State: `m` and `v`, and `w` with AMSGrad; 4 bytes per parameter each. As `torch.optim.AdamW`, λ = 0.01 by default:
    /// epsilon is added to the corrected root (Keras adds it to the uncorrected one, and has λ = 0.004: [`AdamW::keras`]; optax
    /// has λ = 1e-4: [`AdamW::optax`]). The update function and its kernel are Adam's; only the place of the decay and its
    /// default differ. With `independent_weight_decay` the decay is that of the paper, `x = (1 − λ)·x`, which does not change
    /// with the learning rate; to let it follow a schedule too, as there, put the same schedule on `weight_decay`. Source:
    /// Loshchilov & Hutter 2019, arXiv:1711.05101.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, AnyRule};
    ///
    /// let row = AdamW { lr: 0.1, weight_decay: 0.5, ..Default::default() }.hyper_row(1);
    /// assert_eq!(row.0[2], 0.0); // nothing is added to the gradient
    /// assert_eq!(row.0[3], 0.95); // parameters shrink by lr·λ
    /// ```
    pub struct AdamW {
        /// Learning rate.
        number lr = 1e-3, not_negative;
        /// β₁ and β₂.
        numbers betas(beta1, beta2) = (0.9, 0.999), fraction;
        /// Added to the root (PyTorch allows 0; padding would become 0/0).
        number eps = 1e-8, positive;
        /// Decoupled weight decay λ.
        number weight_decay = 1e-2, not_negative;
        /// Shrink the parameter by `1 − λ` instead of `1 − lr·λ`, whatever the learning rate.
        flag independent_weight_decay = false;
        /// Add eps to the uncorrected root, `x −= (lr·√c₂/c₁) · m / (√v + eps)`.
        flag eps_hat = false;
        /// Divide by the largest v so far.
        flag amsgrad = false;
        /// Climb instead of descend.
        flag maximize = false;
    }
}

impl AdamW {
    /// As `torch.optim.AdamW`: the default.
    pub fn torch() -> Self {
        Self::default()
    }

    /// As `keras.optimizers.AdamW`: λ 4e-3, eps 1e-7, added to the uncorrected root.
    pub fn keras() -> Self {
        Self { eps: 1e-7, eps_hat: true, weight_decay: 4e-3, ..Self::default() }
    }

    /// As `optax.adamw`: λ 1e-4. optax gives no learning rate.
    pub fn optax() -> Self {
        Self { weight_decay: 1e-4, ..Self::default() }
    }

    #[inline(always)]
    fn adam(&self) -> Adam {
        let &Self { lr, betas, eps, weight_decay, eps_hat, amsgrad, maximize, .. } = self;
        Adam { lr, betas, eps, weight_decay, eps_hat, amsgrad, maximize }
    }
}

impl Rule for AdamW {
    type Hyper<F: Real> = [F; 6];
    type State<F: Real> = [F; 3];
    const NAME: &'static str = "adamw";
    const FORMULA: &'static str =
        "x = (1 − lr·λ)·x;  m = β₁·m + (1 − β₁)·g;  v = β₂·v + (1 − β₂)·g²;  x −= (lr/c₁)·m / (√v/√c₂ + eps)";
    const WGSL: &'static str = Adam::WGSL;
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const HYPER: &'static [&'static str] = Adam::HYPER;
    const STATE: &'static [&'static str] = Adam::STATE;

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        if self.independent_weight_decay { Decay::Independent(self.weight_decay) } else { Decay::Decoupled(self.weight_decay) }
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    #[inline]
    fn uses(&self, plane: usize) -> bool {
        Rule::uses(&self.adam(), plane)
    }

    fn overrides(&self) -> Vec<(&'static str, bool)> {
        Rule::overrides(&self.adam())
    }

    #[inline]
    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Rule::rounding(&self.adam(), plane)
    }

    fn hyper(&self, t: u64) -> [f64; 6] {
        self.adam().hyper(t)
    }

    #[inline(always)]
    fn update<F: Real>(&self, row: &[F; 6], x: F, d: F, state: &mut [F; 3]) -> F {
        self.adam().update(row, x, d, state)
    }
}
