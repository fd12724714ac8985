//! Second moments by rows and columns: where those of each tensor lie.

use super::{Arena, BufferId, Tensor};
use crate::rule::{Real, larger};
use std::ops::Range;

/// Rows and columns of a tile. Sums over rows and columns of a matrix are joined from sums over its tiles, in order.
pub const TILE: usize = 64;

/// A tensor as a stack of matrices, over its last two dimensions; a tensor of less than two is a vector, a stack of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// First element in the arena.
    pub start: usize,
    /// Elements.
    pub len: usize,
    /// Matrices; 0 for a vector.
    pub matrices: usize,
    /// Rows of each.
    pub rows: usize,
    /// Columns of each.
    pub columns: usize,
    /// The tensor's group.
    pub group: usize,
    /// First of its moments: those of rows, matrix after matrix, then those of columns, then a divisor per matrix. A vector has
    /// one per element.
    pub first: usize,
}

impl Stack {
    /// Whether its matrices are not empty, and make up all its elements.
    pub fn is_whole(&self) -> bool {
        let size = self.rows.saturating_mul(self.columns);
        self.matrices == 0 || size > 0 && self.matrices.checked_mul(size) == Some(self.len)
    }

    /// The moments of rows; none for a vector.
    pub fn row_moments(&self) -> Range<usize> {
        after(self.first, self.matrices.saturating_mul(self.rows))
    }

    /// The moments of columns; none for a vector.
    pub fn column_moments(&self) -> Range<usize> {
        after(self.row_moments().end, self.matrices.saturating_mul(self.columns))
    }

    /// The divisors, one per matrix.
    pub fn divisors(&self) -> Range<usize> {
        after(self.column_moments().end, self.matrices)
    }

    /// One past the last of its moments.
    pub fn end(&self) -> usize {
        if self.matrices == 0 { self.first.saturating_add(self.len) } else { self.divisors().end }
    }

    /// The second moments of the elements from `element` on: their own, or `R · C / divisor`; 1 behind the last.
    pub fn fill<F: Real>(&self, moments: &[F], element: usize, out: &mut [F]) {
        let (own, behind) = out.split_at_mut(self.len.saturating_sub(element).min(out.len()));
        behind.fill(F::one());
        if self.matrices == 0 {
            own.copy_from_slice(&moments[self.first + element..][..own.len()]);
            return;
        }
        let (mut at, mut rest) = (element, own);
        while !rest.is_empty() {
            let (row, column) = (at / self.columns, at % self.columns);
            let (line, after) = rest.split_at_mut((self.columns - column).min(rest.len()));
            let matrix = row / self.rows;
            let of_columns = &moments[self.column_moments().start + matrix * self.columns + column..][..line.len()];
            let (of_row, divisor) = (moments[self.first + row], moments[self.divisors().start + matrix]);
            line.iter_mut().zip(of_columns).for_each(|(out, &of_column)| *out = of_row * (of_column / divisor));
            at += line.len();
            rest = after;
        }
    }

    /// Writes the divisors: the mean of each matrix's row moments, at least `floor`.
    pub fn divide<F: Real>(&self, moments: &mut [F], floor: F) {
        for (matrix, divisor) in self.divisors().enumerate() {
            let of_rows = &moments[self.row_moments()][matrix * self.rows..][..self.rows];
            let sum: F = of_rows.chunks(TILE).map(|tile| tile.iter().copied().sum::<F>()).sum();
            moments[divisor] = larger(sum / F::of(self.rows as f64), floor);
        }
    }

    /// Sums over tiles that its rows and columns take.
    pub(crate) fn partials(&self) -> usize {
        let across = |lines: usize, other: usize| lines.saturating_mul(other.div_ceil(TILE));
        self.matrices.saturating_mul(across(self.rows, self.columns).saturating_add(across(self.columns, self.rows)))
    }
}

/// So many places from one on; a sum that overflows is beyond every buffer.
fn after(start: usize, len: usize) -> Range<usize> {
    start..start.saturating_add(len)
}

/// The second moments of all tensors of an arena, in one buffer.
#[derive(Debug, Clone)]
pub struct Moments {
    /// The buffer.
    pub buffer: BufferId,
    /// The tensors, in the order of sums.
    pub stacks: Vec<Stack>,
}

impl Moments {
    /// The tensors of an arena, in the order of sums; those for which `keeps` is false count as empty.
    pub fn stacks(arena: &Arena, keeps: impl Fn(&Tensor) -> bool) -> Vec<Stack> {
        let mut tensors: Vec<_> = arena.tensors().iter().collect();
        tensors.sort_by_key(|tensor| tensor.rank);
        let mut first = 0;
        let mut stacks = Vec::new();
        for tensor in tensors {
            let len = if keeps(tensor) { tensor.len() } else { 0 };
            let (matrices, rows, columns) = match tensor.shape[..] {
                [.., rows, columns] if len > 0 => (len / (rows * columns), rows, columns),
                _ => (0, len, 1),
            };
            let stack = Stack { start: tensor.offset, len, matrices, rows, columns, group: tensor.group, first };
            first = stack.end();
            stacks.push(stack);
        }
        stacks
    }

    /// Elements of the buffer.
    pub fn len(stacks: &[Stack]) -> usize {
        stacks.last().map_or(0, Stack::end)
    }

    /// Sums over tiles of all matrices.
    pub fn partials(stacks: &[Stack]) -> usize {
        stacks.iter().map(Stack::partials).fold(0, usize::saturating_add)
    }
}
