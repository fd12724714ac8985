//! Products of matrices: the `gemm` crate for `f32`, ndarray for the oracle.

use super::store::Store;
use crate::plan::{MatMul, Operable};
use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// A float type with a product of matrices.
pub trait Float: Operable {
    /// `c += a·b`.
    #[doc(hidden)]
    fn add_product(a: ArrayView2<Self>, b: ArrayView2<Self>, c: ArrayViewMut2<Self>, parallel: bool);
}

impl Float for f64 {
    fn add_product(a: ArrayView2<f64>, b: ArrayView2<f64>, mut c: ArrayViewMut2<f64>, _parallel: bool) {
        general_mat_mul(1.0, &a, &b, 1.0, &mut c);
    }
}

impl Float for f32 {
    #[expect(unsafe_code, reason = "gemm takes pointers and strides")]
    fn add_product(a: ArrayView2<f32>, b: ArrayView2<f32>, mut c: ArrayViewMut2<f32>, parallel: bool) {
        let ((m, n), k) = (c.dim(), a.dim().1);
        assert!(a.dim() == (m, k) && b.dim() == (k, n), "factors that fit the product");
        let (a_strides, b_strides, c_strides) = (a.strides(), b.strides(), c.strides().to_vec());
        let parallelism = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
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
                true,
                a.as_ptr(),
                a_strides[1],
                a_strides[0],
                b.as_ptr(),
                b_strides[1],
                b_strides[0],
                1.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

pub(super) fn matmul<F: Float>(op: &MatMul, lane: &mut Store<F>, shared: &Store<F>, parallel: bool) {
    let &MatMul { m, k, n, batch, .. } = op;
    if m * n * batch == 0 {
        return;
    }
    lane.write(&op.c, |c, lane| {
        match &op.bias {
            _ if op.accumulate && op.bias.is_none() => {}
            None => c.fill(F::zero()),
            Some(bias) => {
                let bias = lane.view(bias, shared);
                for row in c.chunks_exact_mut(n) {
                    let kept = |c: F| if op.accumulate { c } else { F::zero() };
                    row.iter_mut().zip(bias).for_each(|(c, &bias)| *c = kept(*c) + bias);
                }
            }
        }
        if k > 0 {
            let (a, b) = (lane.view(&op.a, shared).chunks_exact(m * k), lane.view(&op.b, shared).chunks_exact(k * n));
            for ((a, b), c) in a.zip(b).zip(c.chunks_exact_mut(m * n)) {
                let c = ArrayViewMut2::from_shape((m, n), c).expect("a checked plan");
                F::add_product(matrix(a, m, k, op.trans_a), matrix(b, k, n, op.trans_b), c, parallel);
            }
        }
    });
}

/// The rows × columns matrix that is stored in `data`, possibly transposed.
fn matrix<F>(data: &[F], rows: usize, columns: usize, transposed: bool) -> ArrayView2<'_, F> {
    if transposed {
        ArrayView2::from_shape((columns, rows), data).expect("a checked plan").reversed_axes()
    } else {
        ArrayView2::from_shape((rows, columns), data).expect("a checked plan")
    }
}
