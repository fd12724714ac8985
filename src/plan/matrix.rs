//! Matrices in memory, for operations that multiply on the CPU. The types are in no public module, so they may change.

use super::operation::Workers;
use std::ops::Range;

/// A matrix to read. The strides say how far apart neighbours in a column, and neighbours in a row, lie.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, F> {
    pub(crate) data: &'a [F],
    pub(crate) sizes: [usize; 2],
    pub(crate) strides: [usize; 2],
}

/// A matrix to write, row by row.
#[derive(Debug)]
pub struct MatrixMut<'a, F> {
    pub(crate) data: &'a mut [F],
    pub(crate) sizes: [usize; 2],
    /// From one row to the next.
    pub(crate) stride: usize,
}

/// `c = scale·c + a·b` on the thread that calls it, with a scale of 0 or 1. At 0 it does not read c.
pub(crate) type Product<F> = fn(Matrix<'_, F>, Matrix<'_, F>, MatrixMut<'_, F>, F);

/// As [`Product`], with threads that may share the work.
pub(crate) type Multiply<F> = fn(Matrix<'_, F>, Matrix<'_, F>, MatrixMut<'_, F>, F, Workers);

impl<'a, F> Matrix<'a, F> {
    /// Rows one after the other.
    pub(crate) fn new(data: &'a [F], rows: usize, columns: usize) -> Self {
        Self { data, sizes: [rows, columns], strides: [columns, 1] }
    }

    /// Rows that begin so many elements apart.
    pub(crate) fn strided(data: &'a [F], rows: usize, columns: usize, stride: usize) -> Self {
        Self { data, sizes: [rows, columns], strides: [stride, 1] }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.sizes, self.strides);
        Self { data: self.data, sizes: [columns, rows], strides: [right, down] }
    }

    /// Some of the columns.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        let data = &self.data[range.start * self.strides[1]..];
        Self { data, sizes: [self.sizes[0], range.len()], strides: self.strides }
    }
}

impl<'a, F> MatrixMut<'a, F> {
    /// Rows one after the other.
    pub(crate) fn new(data: &'a mut [F], rows: usize, columns: usize) -> Self {
        Self { data, sizes: [rows, columns], stride: columns }
    }

    /// Rows that begin so many elements apart.
    pub(crate) fn strided(data: &'a mut [F], rows: usize, columns: usize, stride: usize) -> Self {
        Self { data, sizes: [rows, columns], stride }
    }

    /// The rows.
    pub(crate) fn rows(&mut self) -> impl Iterator<Item = &mut [F]> {
        let ([rows, columns], stride) = (self.sizes, self.stride.max(1));
        self.data.chunks_mut(stride).take(rows).filter_map(move |row| row.get_mut(..columns))
    }

    /// Some of the columns.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        Self { data: &mut self.data[range.start..], sizes: [self.sizes[0], range.len()], stride: self.stride }
    }
}
