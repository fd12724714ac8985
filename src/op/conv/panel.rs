//! The CPU's products: patches of an image are gathered into a panel, which stays in the second cache, and multiplied there.

use super::{ConvSizes, Places, Slices, direct};
use crate::op::map::program::with_scratch;
use crate::plan::{Matrix, MatrixMut, Product, Workers};
use crate::rule::Real;
use std::ops::Range;

/// Elements of a panel: half of a second cache of 256 KiB.
const PANEL: usize = 1 << 15;
/// Places of a panel, however many weights each is summed over.
const LEAST: usize = 16;

/// y, image after image: each panel times the weight.
pub(super) fn output<F: Real>(sizes: &ConvSizes, x: &[F], w: &[F], y: &mut [F], workers: Workers, product: Product<F>) {
    let ([of_x, of_y], [_, outputs], depth) = (sizes.areas(), sizes.channels(), sizes.depth());
    let images = x.chunks_exact(sizes.inputs * of_x).zip(y.chunks_exact_mut(sizes.outputs * of_y));
    workers.in_order(sizes.batch, images, |(x, y)| {
        for (group, y) in y.chunks_exact_mut(outputs * of_y).enumerate() {
            let w = Matrix::new(&w[group * outputs * depth..], outputs, depth);
            sizes.panels(&sizes.all(), |places, panel| {
                sizes.gather(sizes.group_of(x, group), places, panel);
                let y = MatrixMut::new(&mut *y, outputs, of_y).columns(sizes.range(places));
                product(w, Matrix::new(panel, depth, places.len()), y, F::zero());
            });
        }
    });
}

/// x from y, image after image: the weight times y is a panel, whose elements are added to where they come from.
pub(super) fn input<F: Real>(sizes: &ConvSizes, y: &[F], w: &[F], x: &mut [F], workers: Workers, product: Product<F>) {
    let ([of_x, of_y], [inputs, outputs], depth) = (sizes.areas(), sizes.channels(), sizes.depth());
    let images = y.chunks_exact(sizes.outputs * of_y).zip(x.chunks_exact_mut(sizes.inputs * of_x));
    workers.in_order(sizes.batch, images, |(y, x)| {
        x.fill(F::zero());
        for (group, x) in x.chunks_exact_mut(inputs * of_x).enumerate() {
            let w = Matrix::new(&w[group * outputs * depth..], outputs, depth);
            let y = Matrix::new(&y[group * outputs * of_y..], outputs, of_y);
            sizes.panels(&sizes.all(), |places, panel| {
                let sums = MatrixMut::new(&mut *panel, depth, places.len());
                product(w.transposed(), y.columns(sizes.range(places)), sums, F::zero());
                sizes.scatter(panel, places, x);
            });
        }
    });
}

/// w from x and y: slice after slice of the positions into scratch memory, and then the sums of these.
pub(super) fn weight<F: Real>(
    sizes: &ConvSizes,
    x: &[F],
    y: &[F],
    w: &mut [F],
    scratch: &mut [F],
    workers: Workers,
    product: Product<F>,
) {
    let (count, together) = (sizes.slices().count, sizes.slices_together());
    let part = |index: usize, w: &mut [F]| {
        if sizes.is_small() { direct::slice(sizes, sizes.slice(index), x, y, w) } else { slice(sizes, index, x, y, w, product) }
    };
    if count <= 1 {
        return part(0, w);
    }
    w.fill(F::zero());
    let len = w.len();
    for first in (0..count).step_by(together) {
        let scratch = &mut scratch[..together.min(count - first) * len];
        workers.in_order(scratch.len() / len, scratch.chunks_exact_mut(len).enumerate(), |(index, w)| part(first + index, w));
        join(w, scratch, workers);
    }
}

/// Adds what each slice left, in their order.
fn join<F: Real>(w: &mut [F], scratch: &[F], workers: Workers) {
    const SIDE: usize = 1_024;
    let len = w.len();
    workers.in_order(len.div_ceil(SIDE), w.chunks_mut(SIDE).enumerate(), |(index, w)| {
        for part in scratch.chunks_exact(len) {
            w.iter_mut().zip(&part[index * SIDE..]).for_each(|(sum, &x)| *sum += x);
        }
    });
}

/// The part of the sums that belongs to one slice.
fn slice<F: Real>(sizes: &ConvSizes, index: usize, x: &[F], y: &[F], w: &mut [F], product: Product<F>) {
    let ([_, of_y], [_, outputs], depth) = (sizes.areas(), sizes.channels(), sizes.depth());
    let of_x = sizes.areas()[0];
    let (images, places) = sizes.slice(index);
    w.fill(F::zero());
    for image in images {
        let (x, y) = (&x[image * sizes.inputs * of_x..], &y[image * sizes.outputs * of_y..]);
        for (group, w) in w.chunks_exact_mut(outputs * depth).enumerate() {
            let y = Matrix::new(&y[group * outputs * of_y..], outputs, of_y);
            sizes.panels(&places, |places, panel| {
                sizes.gather(sizes.group_of(x, group), places, panel);
                let patches = Matrix::new(panel, depth, places.len()).transposed();
                product(y.columns(sizes.range(places)), patches, MatrixMut::new(&mut *w, outputs, depth), F::one());
            });
        }
    }
}

impl ConvSizes {
    /// A group's channels of an image of x.
    fn group_of<'a, F>(&self, image: &'a [F], group: usize) -> &'a [F] {
        let len = self.channels()[0] * self.areas()[0];
        &image[group * len..][..len]
    }

    /// All places of y.
    fn all(&self) -> Places {
        Places { lines: 0..self.out[0], columns: 0..self.out[1] }
    }

    /// Where places lie in a plane of y.
    fn range(&self, places: &Places) -> Range<usize> {
        let first = places.lines.start * self.out[1] + places.columns.start;
        first..first + places.len()
    }

    /// The images of a slice, and its places of each.
    fn slice(&self, index: usize) -> (Range<usize>, Places) {
        let Slices { images, part, parts, .. } = self.slices();
        let first = index / (parts[0] * parts[1]) * images;
        let of = |axis: usize, at: usize| at * part[axis]..((at + 1) * part[axis]).min(self.out[axis]);
        let places = Places { lines: of(0, index / parts[1] % parts[0]), columns: of(1, index % parts[1]) };
        (first..(first + images).min(self.batch), places)
    }

    /// Calls `work` for some places at a time, with a panel for them. They are so few that the panel stays in the second cache.
    fn panels<F: Real>(&self, all: &Places, mut work: impl FnMut(&Places, &mut [F])) {
        let depth = self.depth();
        let [lines, columns] = self.part((PANEL / depth).max(LEAST));
        with_scratch(depth * lines * columns, |panel: &mut [F]| {
            for line in all.lines.clone().step_by(lines) {
                for column in all.columns.clone().step_by(columns) {
                    let lines = line..(line + lines).min(all.lines.end);
                    let columns = column..(column + columns).min(all.columns.end);
                    let places = Places { lines, columns };
                    work(&places, &mut panel[..depth * places.len()]);
                }
            }
        });
    }

    /// A row per channel and tap, a column per place of y: what the tap lies on there.
    fn gather<F: Real>(&self, x: &[F], places: &Places, panel: &mut [F]) {
        let (columns, stride) = (places.columns.len(), self.stride[1]);
        let mut rows = panel.chunks_exact_mut(places.len());
        for plane in x.chunks_exact(self.areas()[0]) {
            for (kh, kw) in (0..self.kernel[0]).flat_map(|kh| (0..self.kernel[1]).map(move |kw| (kh, kw))) {
                let (Some(row), inside) = (rows.next(), self.seen(places, kw)) else { return };
                for (line, to) in places.lines.clone().zip(row.chunks_exact_mut(columns)) {
                    let Some(from) = self
                        .first(line, [kh, kw], places.columns.start + inside.start)
                        .filter(|_| !inside.is_empty())
                        .map(|first| &plane[first..])
                    else {
                        to.fill(F::zero());
                        continue;
                    };
                    to[..inside.start].fill(F::zero());
                    to[inside.end..].fill(F::zero());
                    let to = &mut to[inside.clone()];
                    match stride {
                        1 => to.copy_from_slice(&from[..to.len()]),
                        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &from)| *to = from),
                    }
                }
            }
        }
    }

    /// Adds each element of a panel to where [`ConvSizes::gather`] takes it from.
    fn scatter<F: Real>(&self, panel: &[F], places: &Places, x: &mut [F]) {
        let (columns, stride) = (places.columns.len(), self.stride[1]);
        let mut rows = panel.chunks_exact(places.len());
        for plane in x.chunks_exact_mut(self.areas()[0]) {
            for (kh, kw) in (0..self.kernel[0]).flat_map(|kh| (0..self.kernel[1]).map(move |kw| (kh, kw))) {
                let (Some(row), inside) = (rows.next(), self.seen(places, kw)) else { return };
                for (line, from) in places.lines.clone().zip(row.chunks_exact(columns)) {
                    let Some(to) = self
                        .first(line, [kh, kw], places.columns.start + inside.start)
                        .filter(|_| !inside.is_empty())
                        .map(|first| &mut plane[first..])
                    else {
                        continue;
                    };
                    let from = &from[inside.clone()];
                    match stride {
                        1 => to.iter_mut().zip(from).for_each(|(to, &from)| *to += from),
                        _ => to.iter_mut().step_by(stride).zip(from).for_each(|(to, &from)| *to += from),
                    }
                }
            }
        }
    }

    /// Which of the columns of these places, counted from the first of them, a tap lies on the image at.
    fn seen(&self, places: &Places, kw: usize) -> Range<usize> {
        let (inside, columns) = (self.inside(1, kw), &places.columns);
        let [start, end] = [inside.start, inside.end].map(|at| at.clamp(columns.start, columns.end) - columns.start);
        start..end
    }

    /// The place in a plane of x that a tap lies on at a line and column of y; nothing if it is above or below.
    fn first(&self, line: usize, [kh, kw]: [usize; 2], column: usize) -> Option<usize> {
        let ahead = column * self.stride[1] + kw * self.dilation[1];
        Some(self.source(0, line, kh)? * self.image[1] + ahead.saturating_sub(self.padding[1]))
    }
}
