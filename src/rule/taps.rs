//! Sums of products along taps, the kernels of small convolutions: one factor lies in memory once, and each tap sees it from
//! another place. In double precision the loops are plain.

use super::Real;
use pulp::Simd;

/// Rows that are summed side by side.
pub(crate) const ROWS: usize = 4;
/// Elements behind the last place that the kernels may read, and, of what [`Taps`] writes, write: three vectors of the widest
/// kind.
pub(crate) const BEHIND: usize = 48;
/// Vectors that are summed side by side, and taps of [`Dots`].
const SIDE: usize = 3;

/// `y[m·pitch + p] = Σ_i w[i·rows + m]·x[at[i] + p]` for all rows m and places p. Each sum goes tap by tap, whatever is beside
/// it.
#[derive(Debug, Clone, Copy)]
pub struct Taps<'a, F> {
    /// 1, 2 or 4: [`ROWS`] at most.
    pub(crate) rows: usize,
    /// Tap by tap, rows side by side.
    pub(crate) w: &'a [F],
    /// Where each tap sees the first place.
    pub(crate) at: &'a [u32],
    /// What they see, and [`BEHIND`] elements.
    pub(crate) x: &'a [F],
    /// Places of each row.
    pub(crate) places: usize,
    /// From one row of y to the next: [`BEHIND`] elements more than places, which are written too.
    pub(crate) pitch: usize,
}

/// `sums[m][i] = Σ_n Σ_p y[n·steps₀ + m·pitch + p]·x[n·steps₁ + at[i] + p]` over images n and places p.
#[derive(Debug, Clone, Copy)]
pub struct Dots<'a, F> {
    /// 1, 2 or 4: [`ROWS`] at most.
    pub(crate) rows: usize,
    /// Rows, of each image so many elements.
    pub(crate) y: &'a [F],
    /// Images, and [`BEHIND`] elements.
    pub(crate) x: &'a [F],
    /// Where each tap sees the first place: up to three taps.
    pub(crate) at: &'a [u32],
    /// A multiple of 16; rows are 0 where there is nothing to sum.
    pub(crate) places: usize,
    /// From one row of y to the next.
    pub(crate) pitch: usize,
    /// Images.
    pub(crate) images: usize,
    /// From one image of y, and of x, to the next.
    pub(crate) steps: [usize; 2],
}

/// The sums of [`Dots`].
pub(crate) type Sums<F> = [[F; SIDE]; ROWS];

/// [`Taps`] in plain loops.
pub(super) fn plain_taps<F: Real>(taps: Taps<'_, F>, y: &mut [F]) {
    for (m, y) in y.chunks_mut(taps.pitch).take(taps.rows).enumerate() {
        for (p, y) in y[..taps.places].iter_mut().enumerate() {
            let weights = taps.w.chunks_exact(taps.rows).zip(taps.at);
            *y = weights.fold(F::zero(), |sum, (w, &at)| sum + w[m] * taps.x[at as usize + p]);
        }
    }
}

/// [`Dots`] in plain loops.
pub(super) fn plain_dots<F: Real>(dots: Dots<'_, F>) -> Sums<F> {
    let mut sums = [[F::zero(); SIDE]; ROWS];
    for (m, sums) in sums.iter_mut().enumerate().take(dots.rows) {
        for (sum, &at) in sums.iter_mut().zip(dots.at) {
            for n in 0..dots.images {
                let y = &dots.y[n * dots.steps[0] + m * dots.pitch..][..dots.places];
                let x = &dots.x[n * dots.steps[1] + at as usize..][..dots.places];
                *sum += y.iter().zip(x).map(|(&y, &x)| y * x).sum();
            }
        }
    }
    sums
}

/// [`Taps`] in vectors.
pub(super) fn taps(taps: Taps<'_, f32>, y: &mut [f32]) {
    pulp::Arch::new().dispatch(TapsTo { taps, y });
}

/// [`Dots`] in vectors.
pub(super) fn dots(dots: Dots<'_, f32>) -> Sums<f32> {
    pulp::Arch::new().dispatch(dots)
}

struct TapsTo<'a, 'y> {
    taps: Taps<'a, f32>,
    y: &'y mut [f32],
}

impl pulp::WithSimd for TapsTo<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.taps.rows {
            1 => self.of_rows::<S, 1>(simd),
            2 => self.of_rows::<S, 2>(simd),
            _ => self.of_rows::<S, ROWS>(simd),
        }
    }
}

impl TapsTo<'_, '_> {
    #[inline(always)]
    fn of_rows<S: Simd, const M: usize>(self, simd: S) {
        let (whole, wide) = (SIDE * S::F32_LANES, self.taps.places);
        for p in (0..wide).step_by(whole) {
            match (wide - p).div_ceil(S::F32_LANES) {
                1 => tile::<S, M, 1>(simd, &self.taps, p, self.y),
                2 => tile::<S, M, 2>(simd, &self.taps, p, self.y),
                _ => tile::<S, M, SIDE>(simd, &self.taps, p, self.y),
            }
        }
    }
}

/// `M` rows by `V` vectors, whose sums stay in registers.
#[inline(always)]
fn tile<S: Simd, const M: usize, const V: usize>(simd: S, taps: &Taps<'_, f32>, p: usize, y: &mut [f32]) {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    let x = &taps.x[p..];
    for (w, &at) in taps.w.as_chunks::<M>().0.iter().zip(taps.at) {
        let x = S::as_simd_f32s(&x[at as usize..][..V * S::F32_LANES]).0;
        for (sums, &w) in sums.iter_mut().zip(w) {
            let w = simd.splat_f32s(w);
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum = fused(simd, w, x, *sum);
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        let y = S::as_mut_simd_f32s(&mut y[m * taps.pitch + p..][..V * S::F32_LANES]).0;
        y.iter_mut().zip(sums).for_each(|(y, &sum)| *y = sum);
    }
}

impl pulp::WithSimd for Dots<'_, f32> {
    type Output = Sums<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums<f32> {
        match (self.rows, self.at.len()) {
            (1, 1) => of_taps::<S, 1, 1>(simd, &self),
            (1, 2) => of_taps::<S, 1, 2>(simd, &self),
            (1, _) => of_taps::<S, 1, SIDE>(simd, &self),
            (2, 1) => of_taps::<S, 2, 1>(simd, &self),
            (2, 2) => of_taps::<S, 2, 2>(simd, &self),
            (2, _) => of_taps::<S, 2, SIDE>(simd, &self),
            (_, 1) => of_taps::<S, ROWS, 1>(simd, &self),
            (_, 2) => of_taps::<S, ROWS, 2>(simd, &self),
            (_, _) => of_taps::<S, ROWS, SIDE>(simd, &self),
        }
    }
}

/// `M` rows by `I` taps, whose sums stay in registers until the last image.
#[inline(always)]
fn of_taps<S: Simd, const M: usize, const I: usize>(simd: S, dots: &Dots<'_, f32>) -> Sums<f32> {
    let mut sums = [[simd.splat_f32s(0.0); I]; M];
    let count = dots.places / S::F32_LANES;
    for n in 0..dots.images {
        let y = &dots.y[n * dots.steps[0]..];
        let x = &dots.x[n * dots.steps[1]..];
        let y: [&[S::f32s]; M] = std::array::from_fn(|m| &S::as_simd_f32s(&y[m * dots.pitch..]).0[..count]);
        let x: [&[S::f32s]; I] = std::array::from_fn(|i| &S::as_simd_f32s(&x[dots.at[i] as usize..]).0[..count]);
        for p in 0..count {
            let x = x.map(|x| x[p]);
            for (sums, y) in sums.iter_mut().zip(y) {
                let y = y[p];
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = fused(simd, y, x, *sum);
                }
            }
        }
    }
    let mut all = [[0.0; SIDE]; ROWS];
    for (all, sums) in all.iter_mut().zip(sums) {
        all.iter_mut().zip(sums).for_each(|(all, sum)| *all = simd.reduce_sum_f32s(sum));
    }
    all
}

/// a·b + c in one instruction; where there are no vectors, in two.
#[inline(always)]
fn fused<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if S::IS_SCALAR { simd.add_f32s(simd.mul_f32s(a, b), c) } else { simd.mul_add_f32s(a, b, c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize, rng: &mut fastrand::Rng) -> Vec<f32> {
        (0..len).map(|_| rng.f32() - 0.5).collect()
    }

    #[test]
    fn vectors_have_the_sums_of_plain_loops() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (rows, places, depth) in [(1, 1, 1), (1, 25, 9), (2, 7, 3), (4, 8, 4), (4, 50, 144), (2, 96, 5), (4, 16, 0)] {
            let at: Vec<u32> = (0..depth).map(|_| rng.u32(..100)).collect();
            let (w, x) = (random(depth * rows, &mut rng), random(100 + places + BEHIND, &mut rng));
            let pitch = places + BEHIND;
            let of = Taps { rows, w: &w, at: &at, x: &x, places, pitch };
            let [mut found, mut right] = [0, 0].map(|_| vec![f32::NAN; rows * pitch]);
            taps(of, &mut found);
            plain_taps(of, &mut right);
            for m in 0..rows {
                for p in m * pitch..m * pitch + places {
                    assert!((found[p] - right[p]).abs() <= 1e-5 * (1 + depth) as f32, "{rows} rows, {places} places: {p}");
                }
            }
        }
    }

    #[test]
    fn vectors_have_the_products_of_plain_loops() {
        let mut rng = fastrand::Rng::with_seed(2);
        for rows in [1, 2, 4] {
            for (count, images, places) in [(1, 1, 16), (2, 3, 48), (3, 2, 0), (3, 5, 224)] {
                let at: Vec<u32> = (0..count).map(|_| rng.u32(..100)).collect();
                let steps = [rows * places + 3, places + 150];
                let (y, x) = (random(images * steps[0], &mut rng), random(images * steps[1] + BEHIND, &mut rng));
                let of = Dots { rows, y: &y, x: &x, at: &at, places, pitch: places, images, steps };
                let (found, right) = (dots(of), plain_dots(of));
                for (found, right) in found.iter().flatten().zip(right.iter().flatten()) {
                    assert!((found - right).abs() <= 1e-5 * (1 + places) as f32, "{rows} rows, {count} taps, {places} places");
                }
            }
        }
    }
}
