//! How the directions of matrices are made orthogonal.

use crate::text::words;

/// What a matrix's shape makes of its learning rate; `rows` is the first dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdjustLr {
    /// √max(1, rows/columns), as the reference.
    #[default]
    Original,
    /// 0.2·√max(rows, columns): steps as large as AdamW's, whose rate and decay then fit. Source: Liu et al. 2025,
    /// arXiv:2502.16982.
    MatchRmsAdamW,
    /// √(rows/columns).
    SpectralUnclamped,
}

words!(
    AdjustLr, "original, match_rms_adamw or spectral_unclamped",
    Original: "original", MatchRmsAdamW: "match_rms_adamw", SpectralUnclamped: "spectral_unclamped"
);

/// Newton–Schulz iteration on the matrix U, or its transpose if that has fewer rows; k is the factor of [`AdjustLr`]:
///
/// ```text
/// X = U / max(‖U‖_F, eps)
/// X = a·X + (b·A + c·A²)·X with A = X·Xᵀ      `steps` times
/// U = k · X
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Orthogonal {
    /// a, b and c.
    pub coefficients: (f64, f64, f64),
    /// Iterations.
    pub steps: usize,
    /// The least that U is divided by.
    pub eps: f64,
    /// What gives k.
    pub adjust_lr: AdjustLr,
}

impl Orthogonal {
    /// The factor k of a matrix.
    pub fn factor(&self, rows: usize, columns: usize) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self.adjust_lr {
            AdjustLr::Original => (rows / columns).max(1.0).sqrt(),
            AdjustLr::MatchRmsAdamW => 0.2 * rows.max(columns).sqrt(),
            AdjustLr::SpectralUnclamped => (rows / columns).sqrt(),
        }
    }
}
