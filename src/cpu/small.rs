//! Products of small matrices in single precision. A library's product first copies both factors into an order of its own,
//! which takes as long as a small product itself; here a factor is read where it lies, as far as it lies well.
//!
//! Each element is one chain of fused additions over [`DEPTH`] products at a time, so its bits depend neither on the sizes of
//! the matrices nor on how they are stored.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over a fixed number of registers are unrolled; iterators may keep the sums in memory"
)]

use crate::plan::{Matrix, MatrixMut};
use pulp::{Arch, Simd, WithSimd};
use std::cell::RefCell;

/// Rows of a tile: with two vectors in each of them its sums take twelve of the sixteen registers that every processor has.
const ROWS: usize = 6;
/// Rows of a tile with one vector in each.
const TALL: usize = 2 * ROWS;
/// Products that are added in registers before their sum goes to memory: so much of a panel stays in the first cache.
const DEPTH: usize = 256;
/// Elements from one row to the next up to which a factor is read where it lies: rows farther apart share few places of the
/// first cache. Few rows fit all the same, and what two tiles of them alone read is not worth a copy.
const NEAR: usize = 64;
const FEW: usize = 16;
/// Elements that are copied together.
const TOGETHER: usize = 8;
/// Columns of a panel at most: two vectors of the widest kind.
const WIDEST: usize = 32;

/// `c = scale·c + a·b`, with a scale of 0 or 1. At 0 it does not read c. Rows or columns of each factor lie side by side.
pub(super) fn product(a: Matrix<'_, f32>, b: Matrix<'_, f32>, c: MatrixMut<'_, f32>, scale: f32) {
    PANEL.with_borrow_mut(|panel| {
        panel.resize(DEPTH * WIDEST, 0.0);
        Arch::new().dispatch(Small { a, b, c, scale, panel });
    });
}

/// As pulp takes it: of a closure the compiler may make a function of its own, which has no vector instructions.
struct Small<'a, 'b, 'c, 'p> {
    a: Matrix<'a, f32>,
    b: Matrix<'b, f32>,
    c: MatrixMut<'c, f32>,
    scale: f32,
    panel: &'p mut [f32],
}

thread_local! {
    /// Columns of a right factor that do not lie well, row by row.
    static PANEL: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl WithSimd for Small<'_, '_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, mut c, scale, panel } = self;
        let (depth, columns, lanes) = (b.sizes[0], c.sizes[1], S::F32_LANES);
        for first in (0..depth).step_by(DEPTH) {
            let part = Part { first, depth: DEPTH.min(depth - first), adds: first > 0 || scale != 0.0 };
            for column in (0..columns).step_by(2 * lanes) {
                let width = (2 * lanes).min(columns - column);
                let vectors = width.div_ceil(lanes);
                let near = b.strides[0] <= NEAR || part.depth <= FEW || c.sizes[0] <= TALL;
                let lies_well = b.strides[1] == 1 && width == vectors * lanes && near;
                let (rows, stride) = if lies_well {
                    (&b.data[first * b.strides[0] + column..], b.strides[0])
                } else {
                    pack(b, part, column..column + width, panel, vectors * lanes);
                    (&panel[..], vectors * lanes)
                };
                let right = Right { rows, stride, column, width };
                match vectors {
                    1 => part.of_columns::<S, 1>(simd, a, right, &mut c),
                    _ => part.of_columns::<S, 2>(simd, a, right, &mut c),
                }
            }
        }
    }
}

/// Rows of the right factor that are added together.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    depth: usize,
    /// Whether sums are added to what is there.
    adds: bool,
}

/// Some columns of a part of the right factor: whole vectors, whose rows lie so far apart.
#[derive(Clone, Copy)]
struct Right<'a> {
    rows: &'a [f32],
    stride: usize,
    column: usize,
    width: usize,
}

/// Copies columns row by row; what stands behind them is of no account.
#[inline(always)]
fn pack(b: Matrix<'_, f32>, part: Part, columns: std::ops::Range<usize>, panel: &mut [f32], stride: usize) {
    let ([down, right], width) = (b.strides, columns.len());
    if right == 1 {
        let rows = panel.chunks_exact_mut(stride).take(part.depth);
        for (row, to) in (part.first..).zip(rows) {
            let from = &b.data[row * down + columns.start..][..width];
            match to.as_chunks_mut::<TOGETHER>() {
                // Of a fixed number no loop is needed.
                (to, []) if width == stride => {
                    to.iter_mut().zip(from.as_chunks::<TOGETHER>().0).for_each(|(to, from)| *to = *from)
                }
                _ => to[..width].copy_from_slice(from),
            }
        }
        return;
    }
    for (at, column) in columns.enumerate() {
        let from = &b.data[part.first + column * right..][..part.depth];
        for (to, &from) in panel.chunks_exact_mut(stride).zip(from) {
            to[at] = from;
        }
    }
}

impl Part {
    /// All rows of some columns.
    #[inline(always)]
    fn of_columns<S: Simd, const V: usize>(self, simd: S, a: Matrix<'_, f32>, right: Right<'_>, c: &mut MatrixMut<'_, f32>) {
        let (rows, mut row) = (c.sizes[0], 0);
        while row < rows {
            row += match rows - row {
                1 => self.tile::<S, 1, V>(simd, a, row, right, c),
                2 => self.tile::<S, 2, V>(simd, a, row, right, c),
                3 => self.tile::<S, 3, V>(simd, a, row, right, c),
                4 => self.tile::<S, 4, V>(simd, a, row, right, c),
                5 => self.tile::<S, 5, V>(simd, a, row, right, c),
                // With one vector in each row there are registers for twice as many. More sums that do not wait for each other
                // keep the processor busy.
                TALL.. if V == 1 => self.tile::<S, TALL, V>(simd, a, row, right, c),
                _ => self.tile::<S, ROWS, V>(simd, a, row, right, c),
            };
        }
    }

    /// `M` rows from `row` on of `V` vectors. Returns `M`.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const V: usize>(
        self,
        simd: S,
        a: Matrix<'_, f32>,
        row: usize,
        right: Right<'_>,
        c: &mut MatrixMut<'_, f32>,
    ) -> usize {
        let [down, across] = a.strides;
        let left = &a.data[self.first * across + row * down..];
        // Known strides make shorter loops.
        let sums: [[S::f32s; V]; M] =
            if down == 1 { self.sums(simd, left, [1, across], right) } else { self.sums(simd, left, [down, 1], right) };
        for i in 0..M {
            let to = &mut c.data[(row + i) * c.stride + right.column..][..right.width];
            self.write(simd, to, sums[i]);
        }
        M
    }

    /// Writes a row of a tile; beyond the last column there is nothing to write.
    #[inline(always)]
    fn write<S: Simd, const V: usize>(self, simd: S, to: &mut [f32], sums: [S::f32s; V]) {
        if to.len() == V * S::F32_LANES {
            let to: &mut [S::f32s] = bytemuck::cast_slice_mut(&mut to[..V * S::F32_LANES]);
            for v in 0..V {
                to[v] = if self.adds { simd.add_f32s(to[v], sums[v]) } else { sums[v] };
            }
            return;
        }
        let (first, rest) = to.split_at_mut((V - 1) * S::F32_LANES);
        let first: &mut [S::f32s] = bytemuck::cast_slice_mut(first);
        for v in 0..V - 1 {
            first[v] = if self.adds { simd.add_f32s(first[v], sums[v]) } else { sums[v] };
        }
        let last = sums[V - 1];
        let last = if self.adds { simd.add_f32s(simd.partial_load_f32s(rest), last) } else { last };
        simd.partial_store_f32s(rest, last);
    }

    /// The sums of a tile, whose left factors lie `across` elements apart, and those of its rows `down`.
    #[expect(unsafe_code, reason = "checks of bounds would take as many instructions as the sums")]
    #[inline(always)]
    fn sums<S: Simd, const M: usize, const V: usize>(
        self,
        simd: S,
        left: &[f32],
        [down, across]: [usize; 2],
        right: Right<'_>,
    ) -> [[S::f32s; V]; M] {
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        let last = self.depth - 1;
        assert!(last * right.stride + V * S::F32_LANES <= right.rows.len(), "rows of the right factor");
        assert!(last * across + (M - 1) * down < left.len(), "elements of the left factor");
        let (mut left, mut row) = (left.as_ptr(), right.rows.as_ptr());
        for _ in 0..self.depth {
            // SAFETY: by the two checks above, row `k < depth` of the right factor has `V` vectors, and the left factor has an
            // element `k` in each of `M` rows; the vectors of pulp are plain old data, and read where they lie. Pointers move
            // with wrapping arithmetic, since behind the last row there may be nothing.
            unsafe {
                let vectors = row.cast::<[S::f32s; V]>().read_unaligned();
                for i in 0..M {
                    add(simd, &mut sums[i], *left.add(i * down), vectors);
                }
            }
            (left, row) = (left.wrapping_add(across), row.wrapping_add(right.stride));
        }
        sums
    }
}

/// Adds a multiple of a row to a row of sums.
#[inline(always)]
fn add<S: Simd, const V: usize>(simd: S, sums: &mut [S::f32s; V], left: f32, row: [S::f32s; V]) {
    let left = simd.splat_f32s(left);
    for v in 0..V {
        sums[v] = simd.mul_add_f32s(left, row[v], sums[v]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize, random: &mut fastrand::Rng) -> Vec<f32> {
        (0..len).map(|_| random.f32() - 0.5).collect()
    }

    /// The same matrix with its columns one after the other.
    fn turned(data: &[f32], columns: usize) -> Vec<f32> {
        (0..columns).flat_map(|column| data[column..].iter().step_by(columns).copied()).collect()
    }

    /// Around every width of a vector and a tile, and around the depth; parts of the rows and of the columns among them.
    #[test]
    fn an_element_has_the_same_bits_however_factors_are_stored_and_cut() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (m, k, n) in [
            (4, 1, 4),
            (6, 10, 8),
            (7, 64, 10),
            (64, 64, 32),
            (13, 255, 17),
            (5, 257, 33),
            (9, 600, 31),
            (31, 7, 3),
            (24, 300, 5),
        ] {
            let (a, b, start) = (random(m * k, &mut rng), random(k * n, &mut rng), random(m * n, &mut rng));
            let (a_turned, b_turned) = (turned(&a, k), turned(&b, n));
            let plain = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            let other = (Matrix::new(&a_turned, k, m).transposed(), Matrix::new(&b_turned, n, k).transposed());
            for scale in [0.0, 1.0] {
                let of = |a, b| {
                    let mut c = start.clone();
                    product(a, b, MatrixMut::new(&mut c, m, n), scale);
                    c
                };
                let whole = of(plain.0, plain.1);
                for (row, columns) in whole.chunks_exact(n).enumerate() {
                    for (column, found) in columns.iter().enumerate() {
                        let before = scale * start[row * n + column];
                        let right = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + column])).sum::<f64>();
                        assert!(
                            (f64::from(*found) - right - f64::from(before)).abs() < 1e-4,
                            "{m} × {k} × {n}: {found}, not {right}"
                        );
                    }
                }
                for (a, b) in [(other.0, plain.1), (plain.0, other.1), (other.0, other.1)] {
                    assert!(of(a, b) == whole, "{m} × {k} × {n}");
                }
                let mut columns = start.clone();
                for part in [0..n / 2, n / 2..n] {
                    product(plain.0, plain.1.columns(part.clone()), MatrixMut::new(&mut columns, m, n).columns(part), scale);
                }
                assert!(columns == whole, "{m} × {k} × {n}, cut");
            }
        }
    }
}
