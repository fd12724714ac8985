//! Directions of matrices made orthogonal, one after the other.

use super::matmul::Float;
use super::store::Store;
use crate::plan::Orthogonalise;
use ndarray::{Array2, ArrayViewMut2};

pub(super) fn orthogonalise<F: Float>(op: &Orthogonalise, lane: &mut Store<F>, parallel: bool) {
    let &Orthogonalise { rows, columns, how, .. } = op;
    let factor = F::of(how.factor(rows, columns));
    for &[start, tensor] in &op.matrices {
        let norm = lane.floats(op.norms)[2 * tensor];
        let direction = &mut lane.floats_mut(op.directions)[start..][..rows * columns];
        let u = ArrayViewMut2::from_shape((rows, columns), direction).expect("a checked plan");
        let mut u = if rows > columns { u.reversed_axes() } else { u };
        // A matrix that did not move has a norm of 0, and what is left of an earlier direction is nothing.
        let scaled = |u: F| if norm == F::zero() { F::zero() } else { u / norm.max(F::of(how.eps)) };
        let mut x = u.mapv(scaled);
        for _ in 0..how.steps {
            x = iterate(x, how.coefficients, parallel);
        }
        u.zip_mut_with(&x, |u, &x| *u = factor * x);
    }
}

/// a·X + (b·A + c·A²)·X with A = X·Xᵀ.
fn iterate<F: Float>(x: Array2<F>, (a, b, c): (f64, f64, f64), parallel: bool) -> Array2<F> {
    let (a, b, c) = (F::of(a), F::of(b), F::of(c));
    let side = x.nrows();
    let (mut squares, mut q) = (Array2::from_elem((side, side), F::zero()), Array2::from_elem((side, side), F::zero()));
    F::add_product(x.view(), x.t(), squares.view_mut(), parallel);
    F::add_product(squares.view(), squares.view(), q.view_mut(), parallel);
    q.zip_mut_with(&squares, |q, &s| *q = b * s + c * *q);
    q.diag_mut().iter_mut().for_each(|q| *q += a);
    let mut y = Array2::from_elem(x.dim(), F::zero());
    F::add_product(q.view(), x.view(), y.view_mut(), parallel);
    y
}
