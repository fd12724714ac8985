//! Products of matrices: the `gemm` crate for `f32`, our own (`small.rs`) for small ones, ndarray for the oracle.

use super::share::Threads;
use super::small;
use crate::plan::{self, Matrix, MatrixMut, Operable, Products, Workers};
use ndarray::{ArrayView2, ArrayViewMut2, Axis, ShapeBuilder, linalg::general_mat_mul};

/// A float type that the CPU engine computes in: `f32` or `f64`.
pub trait Float: Operable + Product {}

impl Float for f32 {}
impl Float for f64 {}

/// A float type with a product of matrices. It is in no public module, so that ndarray is in no public interface.
pub trait Product: Sized {
    /// The product that operations by contract take; none in the oracle, whose operations are plain loops.
    const FAST: Option<plan::Product<Self>>;

    /// The product of small matrices, if they have one of their own.
    const SMALL: Option<plan::Product<Self>>;

    /// `c = scale·c + a·b` on one thread, with a scale of 0 or 1. At 0 it does not read c.
    fn add_product(a: ArrayView2<Self>, b: ArrayView2<Self>, c: ArrayViewMut2<Self>, scale: Self);
}

impl Product for f64 {
    const FAST: Option<plan::Product<Self>> = None;
    const SMALL: Option<plan::Product<Self>> = None;

    fn add_product(a: ArrayView2<f64>, b: ArrayView2<f64>, mut c: ArrayViewMut2<f64>, scale: f64) {
        general_mat_mul(1.0, &a, &b, scale, &mut c);
    }
}

impl Product for f32 {
    const FAST: Option<plan::Product<Self>> = Some(product);
    const SMALL: Option<plan::Product<Self>> = Some(small::product);

    #[expect(unsafe_code, reason = "gemm takes pointers and strides")]
    fn add_product(a: ArrayView2<f32>, b: ArrayView2<f32>, mut c: ArrayViewMut2<f32>, scale: f32) {
        let ((m, n), k) = (c.dim(), a.dim().1);
        assert!(a.dim() == (m, k) && b.dim() == (k, n), "factors that fit the product");
        let (a_strides, b_strides, c_strides) = (a.strides(), b.strides(), [c.strides()[0], c.strides()[1]]);
        // SAFETY: pointers and strides come from views of exactly the sizes m × k, k × n and m × n, and the view of `c` is
        // exclusive.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                c_strides[1],
                c_strides[0],
                scale != 0.0,
                a.as_ptr(),
                a_strides[1],
                a_strides[0],
                b.as_ptr(),
                b_strides[1],
                b_strides[0],
                scale,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// [`Product::add_product`] of the plan's matrices.
fn product(a: Matrix<'_, f32>, b: Matrix<'_, f32>, c: MatrixMut<'_, f32>, scale: f32) {
    f32::add_product(view(a), view(b), view_mut(c), scale);
}

/// `c += a·b`, shared out among threads. The bits are those of one.
pub(super) fn add_product<F: Float>(a: ArrayView2<F>, b: ArrayView2<F>, c: ArrayViewMut2<F>, threads: Threads) {
    scaled_product(a, b, c, F::one(), threads);
}

/// `c = scale·c + a·b` with a scale of 0 or 1.
fn scaled_product<F: Float>(a: ArrayView2<F>, b: ArrayView2<F>, c: ArrayViewMut2<F>, scale: F, threads: Threads) {
    let (m, n) = c.dim();
    let by_rows = m >= n;
    let (axis, len) = if by_rows { (Axis(0), m) } else { (Axis(1), n) };
    let count = parts([m.max(n), m.min(n), a.dim().1], threads);
    let mut rest = Some((a, b, c));
    let mut start = 0;
    let parts = (1..=count).map_while(move |part| {
        let (a, b, c) = rest.take()?;
        if part == count {
            return Some((a, b, c));
        }
        // The last part also has what is beyond whole vectors.
        let end = len / VECTOR * part / count * VECTOR;
        let (now, later) = c.split_at(axis, end - start);
        let factor = if by_rows { a } else { b };
        let (of_now, of_later) = factor.split_at(axis, end - start);
        start = end;
        let with = |factor| if by_rows { (factor, b) } else { (a, factor) };
        let ((a, b), later_factors) = (with(of_now), with(of_later));
        rest = Some((later_factors.0, later_factors.1, later));
        Some((a, b, now))
    });
    threads.in_order(count, parts, |(a, b, c)| F::add_product(a, b, c, scale));
}

/// Rows or columns that parts begin at a multiple of.
const VECTOR: usize = 8;

/// Multiplications from which a product is worth several threads; as the `gemm` crate has it.
const WORTH: usize = 48 * 48 * 256;

/// Into how many parts a product is cut along its longer side. The `gemm` crate adds products of at most 64 × 64 in another
/// order than larger ones, and tiny ones in a third order. So the parts are always of the same kind as the whole.
fn parts([long, short, depth]: [usize; 3], threads: Threads) -> usize {
    let least = match (long > 64, short > 64) {
        (_, true) => 48,
        (true, false) => 72,
        (false, false) => 24,
    };
    let worth = long.saturating_mul(short).saturating_mul(depth) >= WORTH;
    if worth && short > 16 && depth > 2 { threads.count().min(long / least).max(1) } else { 1 }
}

/// Whether a product is worth no second thread, and wide enough for tiles of its own.
fn is_small(m: usize, k: usize, n: usize) -> bool {
    m.min(n) >= 4 && m.saturating_mul(k).saturating_mul(n) < WORTH
}

/// The product that operations by contract take. Small matrices have one of their own.
fn multiply<F: Float>(a: Matrix<'_, F>, b: Matrix<'_, F>, c: MatrixMut<'_, F>, scale: F, workers: Workers) {
    let ([m, n], k) = (c.sizes, a.sizes[1]);
    match F::SMALL.filter(|_| is_small(m, k, n)) {
        Some(small) => small(a, b, c, scale),
        None => scaled_product(view(a), view(b), view_mut(c), scale, Threads::of(workers)),
    }
}

/// The products that operations by contract take.
pub(super) fn products<F: Float>() -> Products<F> {
    Products { one: F::FAST, shared: multiply }
}

fn view<F>(Matrix { data, sizes: [rows, columns], strides: [down, right] }: Matrix<'_, F>) -> ArrayView2<'_, F> {
    ArrayView2::from_shape((rows, columns).strides((down, right)), data).expect("a matrix inside its data")
}

fn view_mut<F>(MatrixMut { data, sizes: [rows, columns], stride }: MatrixMut<'_, F>) -> ArrayViewMut2<'_, F> {
    ArrayViewMut2::from_shape((rows, columns).strides((stride, 1)), data).expect("a matrix inside its data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn random(rows: usize, columns: usize, random: &mut fastrand::Rng) -> Array2<f32> {
        Array2::from_shape_simple_fn((rows, columns), || random.f32() - 0.5)
    }

    /// Sides below, at and beyond every limit of a cut, transposed or not, and depths in one piece and in several.
    #[test]
    fn a_product_has_the_same_bits_with_any_number_of_threads() {
        crate::cpu::pool::start(7);
        let mut rng = fastrand::Rng::with_seed(1);
        let sides = [1, 3, 16, 17, 24, 47, 48, 64, 65, 72, 97, 145, 200, 391];
        let mut cut = 0;
        for (m, n) in sides.into_iter().flat_map(|m| sides.map(|n| (m, n))) {
            for k in [1, 2, 40, 513, 1100].into_iter().filter(|k| m * n * k < 40_000_000) {
                let (a, b) = (random(m, k, &mut rng), random(k, n, &mut rng));
                let (a_t, b_t) = (a.t().as_standard_layout().into_owned(), b.t().as_standard_layout().into_owned());
                for (a, b) in [(a.view(), b.view()), (a_t.t(), b.view()), (a.view(), b_t.t()), (a_t.t(), b_t.t())] {
                    let start = random(m, n, &mut rng);
                    let product = |threads| {
                        let mut c = start.clone();
                        add_product(a, b, c.view_mut(), Threads::new(threads));
                        c.mapv(f32::to_bits)
                    };
                    let one = product(1);
                    for threads in [2, 3, 8] {
                        cut += usize::from(parts([m.max(n), m.min(n), k], Threads::new(threads)) > 1);
                        assert!(product(threads) == one, "{m} × {k} × {n}, {threads} threads");
                    }
                }
            }
        }
        assert!(cut > 1_000, "{cut} products were cut");
    }
}
