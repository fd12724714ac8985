//! Windows of two lines and two columns that cover an image, on the CPU in single precision: by far the most common ones. Each
//! element belongs to one window, so a few windows side by side are computed in arrays of a fixed length, which the compiler
//! turns into vectors. The last of a line overlap with those before them, so that there is no rest.

use super::{PoolSizes, Window};

/// Whether all windows are of this kind.
pub(super) fn cover(sizes: &PoolSizes) -> bool {
    let pair = Window::Sliding { size: 2, stride: 2, padding: 0, dilation: 1 };
    (0..2).all(|axis| sizes.windows[axis] == pair && sizes.out[axis] > 0 && sizes.image[axis] == 2 * sizes.out[axis])
}

/// What is computed of windows side by side.
trait Work {
    /// Windows of a line.
    fn columns(&self) -> usize;
    /// Computes it, `N` windows at a time.
    fn by<const N: usize>(self);
}

/// As pulp takes it: of a closure the compiler may make a function of its own, which has no vector instructions.
struct Vectors<W>(W);

impl<W: Work> pulp::WithSimd for Vectors<W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        match self.0.columns() {
            8.. => self.0.by::<8>(),
            4.. => self.0.by::<4>(),
            _ => self.0.by::<1>(),
        }
    }
}

/// The largest element of each window and its place, over some planes.
pub(super) fn largest(sizes: &PoolSizes, x: &[f32], y: &mut [f32], places: &mut [f32]) {
    pulp::Arch::new().dispatch(Vectors(Largest { sizes, x, y, places }));
}

struct Largest<'a> {
    sizes: &'a PoolSizes,
    x: &'a [f32],
    y: &'a mut [f32],
    places: &'a mut [f32],
}

impl Work for Largest<'_> {
    #[inline(always)]
    fn columns(&self) -> usize {
        self.sizes.out[1]
    }

    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "one comparison that NaN passes takes half the time of two")]
    #[inline(always)]
    fn by<const N: usize>(self) {
        let [lines, columns] = self.sizes.out;
        let of_lines = self.y.chunks_exact_mut(columns).zip(self.places.chunks_exact_mut(columns));
        for (index, ((y, places), x)) in of_lines.zip(self.x.chunks_exact(4 * columns)).enumerate() {
            let (above, below) = x.split_at(2 * columns);
            for start in (0..columns).step_by(N) {
                let start = start.min(columns - N);
                let first = ((index % lines * 2 * columns + start) * 2) as f32;
                let (mut best, mut place) = ([f32::NEG_INFINITY; N], [0.0; N]);
                for (j, place) in place.iter_mut().enumerate() {
                    *place = first + (2 * j) as f32;
                }
                for (down, line) in [above, below].into_iter().enumerate() {
                    for right in 0..2 {
                        let to = first + (down * 2 * columns + right) as f32;
                        let line = &line[2 * start..][..2 * N];
                        for j in 0..N {
                            let x = line[2 * j + right];
                            // NaN is larger than everything, but not than NaN.
                            let larger = !(x <= best[j]) & !best[j].is_nan();
                            best[j] = if larger { x } else { best[j] };
                            place[j] = if larger { to + (2 * j) as f32 } else { place[j] };
                        }
                    }
                }
                y[start..][..N].copy_from_slice(&best);
                places[start..][..N].copy_from_slice(&place);
            }
        }
    }
}

/// What each element of some planes gets: the gradient of its window, if it is the largest there.
pub(super) fn shared(sizes: &PoolSizes, x: &mut [f32], y: &[f32], places: &[f32]) {
    pulp::Arch::new().dispatch(Vectors(Shared { sizes, x, y, places }));
}

struct Shared<'a> {
    sizes: &'a PoolSizes,
    x: &'a mut [f32],
    y: &'a [f32],
    places: &'a [f32],
}

impl Work for Shared<'_> {
    #[inline(always)]
    fn columns(&self) -> usize {
        self.sizes.out[1]
    }

    #[inline(always)]
    fn by<const N: usize>(self) {
        let [lines, columns] = self.sizes.out;
        let of_lines = self.y.chunks_exact(columns).zip(self.places.chunks_exact(columns));
        for (index, ((y, places), x)) in of_lines.zip(self.x.chunks_exact_mut(4 * columns)).enumerate() {
            let (above, below) = x.split_at_mut(2 * columns);
            for start in (0..columns).step_by(N) {
                let start = start.min(columns - N);
                let first = (index % lines * 2 * columns + start) * 2;
                // Copies, as the compiler does not turn loads on a condition into vectors.
                let (mut of_y, mut of_places) = ([0.0; N], [0.0; N]);
                of_y.copy_from_slice(&y[start..][..N]);
                of_places.copy_from_slice(&places[start..][..N]);
                for (down, line) in [&mut *above, &mut *below].into_iter().enumerate() {
                    let to = (first + down * 2 * columns) as f32;
                    let (mut left, mut right) = ([0.0; N], [0.0; N]);
                    for j in 0..N {
                        let place = of_places[j] - (to + (2 * j) as f32);
                        left[j] = if place == 0.0 { of_y[j] } else { 0.0 };
                        right[j] = if place == 1.0 { of_y[j] } else { 0.0 };
                    }
                    let pairs = line[2 * start..][..2 * N].as_chunks_mut().0;
                    for j in 0..N {
                        pairs[j] = [left[j], right[j]];
                    }
                }
            }
        }
    }
}
