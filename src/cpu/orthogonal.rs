//! Directions of matrices made orthogonal: many matrices side by side, or few with products that share the processors.

use super::matmul::{Float, add_product};
use super::share::Threads;
use super::store::Store;
use crate::plan::Orthogonalise;
use crate::rule::larger;
use ndarray::{ArrayView2, ArrayViewMut2};

pub(super) fn orthogonalise<F: Float>(op: &Orthogonalise, lane: &mut Store<F>, threads: Threads) {
    let (size, squared) = (op.rows * op.columns, op.rows.min(op.columns).pow(2));
    let mut scratch = op.scratch.map(|id| lane.take(id));
    let [x, y, squares, q] = scratch.each_mut().map(|elements| elements.as_mut_slice::<F>());
    let (directions, norms) = (lane.floats(op.directions), lane.floats(op.norms));
    let make = |&[start, tensor]: &[usize; 2], places: Places<F>, threads: Threads| {
        let direction = shorter_first(&directions[start..][..size], op.rows, op.columns);
        iterate(op, direction, norms[2 * tensor], places, threads);
    };
    let places = (x.chunks_mut(size), y.chunks_mut(size), squares.chunks_mut(squared), q.chunks_mut(squared));
    let matrices = op.matrices.iter().zip(places.0).zip(places.1).zip(places.2).zip(places.3);
    let count = op.matrices.len();
    // Many matrices side by side, or the products of few shared out.
    let (outer, inner) = if count >= threads.count() { (threads, Threads::ONE) } else { (Threads::ONE, threads) };
    outer.in_order(count, matrices, |((((matrix, x), y), squares), q)| make(matrix, Places { x, y, squares, q }, inner));
    // The places change with every iteration.
    let found: &[F] = if op.how.steps.is_multiple_of(2) { x } else { y };
    let directions = lane.floats_mut(op.directions);
    for (&[start, _], found) in op.matrices.iter().zip(found.chunks(size)) {
        write(op, found, &mut directions[start..][..size]);
    }
    op.scratch.into_iter().zip(scratch).for_each(|(id, elements)| lane.put(id, elements));
}

/// A matrix, transposed if it is tall.
fn shorter_first<F>(data: &[F], rows: usize, columns: usize) -> ArrayView2<'_, F> {
    let matrix = ArrayView2::from_shape((rows, columns), data).expect("a checked plan");
    if rows > columns { matrix.reversed_axes() } else { matrix }
}

/// Where the iterations for one matrix take place.
struct Places<'a, F> {
    x: &'a mut [F],
    y: &'a mut [F],
    squares: &'a mut [F],
    q: &'a mut [F],
}

/// X = direction / norm, then a·X + (b·A + c·A²)·X with A = X·Xᵀ, that many times.
fn iterate<F: Float>(op: &Orthogonalise, direction: ArrayView2<F>, norm: F, places: Places<F>, threads: Threads) {
    let how = &op.how;
    let (a, b, c) = how.coefficients;
    let (a, b, c) = (F::of(a), F::of(b), F::of(c));
    let (side, long) = direction.dim();
    let shaped = |data, columns| ArrayViewMut2::from_shape((side, columns), data).expect("a checked plan");
    let (mut x, mut y) = (shaped(places.x, long), shaped(places.y, long));
    let (mut squares, mut q) = (shaped(places.squares, side), shaped(places.q, side));
    // A matrix that did not move has a norm of 0. Its direction may still hold that of an earlier step, which must not count.
    let scaled = |u: F| if norm == F::zero() { F::zero() } else { u / larger(norm, F::of(how.eps)) };
    x.zip_mut_with(&direction, |x, &u| *x = scaled(u));
    for _ in 0..how.steps {
        [&mut squares, &mut q, &mut y].into_iter().for_each(|product| product.fill(F::zero()));
        add_product(x.view(), x.t(), squares.view_mut(), threads);
        add_product(squares.view(), squares.view(), q.view_mut(), threads);
        q.zip_mut_with(&squares, |q, &s| *q = b * s + c * *q);
        q.diag_mut().iter_mut().for_each(|q| *q += a);
        add_product(q.view(), x.view(), y.view_mut(), threads);
        std::mem::swap(&mut x, &mut y);
    }
}

fn write<F: Float>(op: &Orthogonalise, found: &[F], direction: &mut [F]) {
    let (side, long) = (op.rows.min(op.columns), op.rows.max(op.columns));
    let found = ArrayView2::from_shape((side, long), found).expect("a checked plan");
    let matrix = ArrayViewMut2::from_shape((op.rows, op.columns), direction).expect("a checked plan");
    let mut matrix = if op.rows > op.columns { matrix.reversed_axes() } else { matrix };
    let factor = F::of(op.how.factor(op.rows, op.columns));
    matrix.zip_mut_with(&found, |u, &x| *u = factor * x);
}
