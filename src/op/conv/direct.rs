//! Small convolutions on the CPU without a panel: the channels of an image are copied once, with zeros around them, so that all
//! places of y see a tap one after the other. A tile of sums stays in registers while it goes through the taps.
//!
//! Between two lines of y lie places that see a line's end and the next one's beginning. Their sums are left out.

use super::{ConvSizes, Places};
use crate::op::map::program::with_scratch;
use crate::plan::Workers;
use crate::rule::{BEHIND, Dots, ROWS, Real, Taps};
use std::ops::Range;

/// Elements with zeros around them that are worked on together: half of a second cache of 512 KiB.
const TOGETHER: usize = 1 << 16;
/// Weights of a group up to which they stay in the second cache.
const WEIGHTS: usize = 1 << 16;
/// Columns of y up to which a slice of positions has whole lines.
const COLUMNS: usize = 256;
/// Lines and columns of an image, and what else is counted in them, up to which it is copied.
const SIDE: usize = 1 << 12;
/// Strides up to which an image is cut by them.
const STRIDE: usize = 4;
/// Places of y from which vectors are worth it.
const AREA: usize = 8;
/// What places of [`Dots`] are a multiple of.
const UNIT: usize = 16;

impl ConvSizes {
    /// Whether it is computed here.
    pub(super) fn is_small(&self) -> bool {
        let [_, outputs] = self.channels();
        let near = [self.image, self.padding, self.kernel, self.dilation].into_iter().flatten().all(|size| size <= SIDE);
        let weights = self.depth().saturating_mul(outputs);
        if !near
            || weights > WEIGHTS
            || self.out[0] > SIDE
            || self.out[1] > COLUMNS
            || self.stride.into_iter().any(|by| by > STRIDE)
        {
            return false;
        }
        let (line, area) = (self.grid(0..1), self.areas()[1]);
        let fits = self.channels().into_iter().all(|channels| channels * line.channel() <= 4 * TOGETHER);
        fits && area >= AREA && (self.out[0] - 1) * line.pitch() + self.out[1] <= 2 * area
    }

    /// What places of some lines of y see of a channel.
    fn grid(&self, lines: Range<usize>) -> Grid {
        let seen =
            |axis: usize, places: usize| (places - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1;
        let first = self.padding[0] as isize - (lines.start * self.stride[0]) as isize;
        Grid {
            seen: [seen(0, lines.len()), seen(1, self.out[1])],
            stride: self.stride,
            first: [first, self.padding[1] as isize],
        }
    }

    /// Lines of y at a time.
    fn band(&self, lines: usize, channels: usize, grid: impl Fn(usize) -> Grid) -> usize {
        let fits = |lines: &usize| channels * grid(*lines).channel() <= TOGETHER;
        (1..=lines).rev().find(fits).unwrap_or(1)
    }
}

/// A channel with zeros around it. By a stride it is cut into a plane for each remainder of lines and columns, so that
/// neighbouring places see neighbouring elements.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// Lines and columns that places see.
    seen: [usize; 2],
    stride: [usize; 2],
    /// Where the image begins; before the grid, below 0.
    first: [isize; 2],
}

impl Grid {
    /// From one line of a plane to the next.
    fn pitch(&self) -> usize {
        self.seen[1].div_ceil(self.stride[1])
    }

    fn plane(&self) -> usize {
        self.seen[0].div_ceil(self.stride[0]) * self.pitch()
    }

    /// Elements of all planes.
    fn channel(&self) -> usize {
        self.stride[0] * self.stride[1] * self.plane()
    }

    /// Where a line and column lies.
    fn at(&self, [line, column]: [usize; 2]) -> usize {
        let [down, right] = self.stride;
        (line % down * right + column % right) * self.plane() + line / down * self.pitch() + column / right
    }

    /// The lines or columns of an image of so many that lie in the grid.
    fn inside(&self, axis: usize, len: usize) -> Range<usize> {
        let first = self.first[axis];
        let end = (self.seen[axis] as isize - first).clamp(0, len as isize) as usize;
        ((-first).max(0) as usize).min(end)..end
    }

    /// Moves on by so many places.
    fn below(self, lines: usize) -> Self {
        Self { first: [self.first[0] - (lines * self.stride[0]) as isize, self.first[1]], ..self }
    }

    /// Copies an image's channel.
    fn fill<F: Real>(&self, x: &[F], sizes: [usize; 2], to: &mut [F]) {
        to.fill(F::zero());
        let (columns, right) = (self.inside(1, sizes[1]), self.stride[1]);
        let moved = |axis: usize, at: usize| (at as isize + self.first[axis]) as usize;
        for line in self.inside(0, sizes[0]) {
            let x = &x[line * sizes[1]..][..sizes[1]];
            for start in columns.clone().take(right) {
                let (from, to) = (&x[start..columns.end], &mut to[self.at([moved(0, line), moved(1, start)])..]);
                match right {
                    1 => copy_line(from, to),
                    _ => to.iter_mut().zip(from.iter().step_by(right)).for_each(|(to, &from)| *to = from),
                }
            }
        }
    }
}

/// Copies a line to the front of another. Most lines are short, and a call of the system's copy costs more than a few fixed
/// ones, which may overlap.
#[inline(always)]
fn copy_line<F: Copy>(from: &[F], to: &mut [F]) {
    let len = from.len();
    let to = &mut to[..len];
    match len {
        8..=16 => [0, len - 8].into_iter().for_each(|first| copy_eight(&from[first..], &mut to[first..])),
        17..=32 => [0, 8, len - 16, len - 8].into_iter().for_each(|first| copy_eight(&from[first..], &mut to[first..])),
        4..=7 => {
            to[..4].copy_from_slice(&from[..4]);
            to[len - 4..].copy_from_slice(&from[len - 4..]);
        }
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn copy_eight<F: Copy>(from: &[F], to: &mut [F]) {
    to[..8].copy_from_slice(&from[..8]);
}

/// Rows of a block as the kernels have it: three are four, of which one is not used.
fn block(rows: usize) -> usize {
    if rows == 3 { ROWS } else { rows.min(ROWS) }
}

/// A tap: where it sees the first place, and its weight for the first row of a group.
type Tap = (usize, usize);

/// What is computed of each image: for places in lines and columns and for rows, the sum of what taps see.
struct Pass {
    groups: usize,
    /// Channels of a group that are read.
    channels: usize,
    /// Lines and columns of a channel.
    image: [usize; 2],
    /// What the places of the first lines see.
    grid: Grid,
    /// Lines at a time.
    band: usize,
    /// Rows of a group, and from one row's weight to the next one's, and from one group's to the next one's.
    rows: usize,
    steps: [usize; 2],
    /// Lines and columns of places.
    places: [usize; 2],
    /// Of a plane that is written: its size, where the first place lies, and from one to the next.
    written: [usize; 2],
    start: [usize; 2],
    step: [usize; 2],
}

/// y from x.
pub(super) fn output<F: Real>(sizes: &ConvSizes, x: &[F], w: &[F], y: &mut [F], workers: Workers) {
    let ([inputs, outputs], depth) = (sizes.channels(), sizes.depth());
    let band = sizes.band(sizes.out[0], inputs, |lines| sizes.grid(0..lines));
    let pass = Pass {
        groups: sizes.groups,
        channels: inputs,
        image: sizes.image,
        grid: sizes.grid(0..band),
        band,
        rows: outputs,
        steps: [depth, outputs * depth],
        places: sizes.out,
        written: sizes.out,
        start: [0, 0],
        step: [1, 1],
    };
    let tap = |(index, at)| (at, index);
    pass.run(sizes.taps_of(&pass.grid).enumerate().map(tap), x, w, y, workers);
}

impl ConvSizes {
    /// Where the taps of all channels of a group see the first place, in the order of weights.
    fn taps_of(&self, grid: &Grid) -> impl Iterator<Item = usize> + Clone + use<> {
        let (grid, kernel, dilation) = (*grid, self.kernel, self.dilation);
        super::product([self.channels()[0], kernel[0], kernel[1]])
            .map(move |(c, kh, kw)| c * grid.channel() + grid.at([kh * dilation[0], kw * dilation[1]]))
    }
}

/// x from y. Elements of x with one remainder by the stride are seen by the same taps: there is a pass for each remainder.
pub(super) fn input<F: Real>(sizes: &ConvSizes, y: &[F], w: &[F], x: &mut [F], workers: Workers) {
    let ([inputs, outputs], depth, kernel) = (sizes.channels(), sizes.depth(), sizes.kernel);
    for remainder in (0..sizes.stride[0]).flat_map(|line| (0..sizes.stride[1]).map(move |column| [line, column])) {
        let axes = [0, 1].map(|axis| Remainder::of(sizes, axis, remainder[axis]));
        let places = [0, 1].map(|axis| axes[axis].places);
        if places.contains(&0) {
            continue;
        }
        let grid = |lines: usize| Grid {
            seen: [lines + axes[0].reach, places[1] + axes[1].reach],
            stride: [1, 1],
            first: [0, 1].map(|axis| axes[axis].front as isize),
        };
        let band = sizes.band(places[0], outputs, grid);
        let pass = Pass {
            groups: sizes.groups,
            channels: outputs,
            image: sizes.out,
            grid: grid(band),
            band,
            rows: inputs,
            steps: [sizes.taps(), outputs * depth],
            places,
            written: sizes.image,
            start: [0, 1].map(|axis| axes[axis].start),
            step: sizes.stride,
        };
        let (grid, axes) = (pass.grid, &axes);
        let seen = |axis: usize, k: usize| axes[axis].sees(sizes, axis, k);
        let taps = super::product([outputs, kernel[0], kernel[1]]).filter_map(|(k, kh, kw)| {
            let at = [seen(0, kh)?, seen(1, kw)?];
            Some((k * grid.channel() + grid.at(at), k * depth + kh * kernel[1] + kw))
        });
        pass.run(taps, y, w, x, workers);
    }
}

/// Elements of x along an axis that have one remainder by the stride, with the zeros before x counted.
struct Remainder {
    remainder: usize,
    /// The first of them, and how many they are.
    start: usize,
    places: usize,
    /// The quotient of the first.
    quotient: usize,
    /// Zeros before y that taps see, and how much further than its own place the first tap sees.
    front: usize,
    reach: usize,
}

impl Remainder {
    fn of(sizes: &ConvSizes, axis: usize, remainder: usize) -> Self {
        let (stride, padding, image) = (sizes.stride[axis], sizes.padding[axis], sizes.image[axis]);
        let quotient = padding.saturating_sub(remainder).div_ceil(stride);
        let start = quotient * stride + remainder - padding;
        let places = image.saturating_sub(start).div_ceil(stride);
        let back = |tap: usize| tap * sizes.dilation[axis] / stride;
        let own = (0..sizes.kernel[axis]).filter(|tap| tap * sizes.dilation[axis] % stride == remainder);
        let front = own.clone().map(back).max().unwrap_or(0).saturating_sub(quotient);
        let reach = own.map(|tap| quotient + front - back(tap)).max().unwrap_or(0);
        Self { remainder, start, places, quotient, front, reach }
    }

    /// Where a tap sees the first of them; nothing if it sees none.
    fn sees(&self, sizes: &ConvSizes, axis: usize, tap: usize) -> Option<usize> {
        let ahead = tap * sizes.dilation[axis];
        let own = ahead % sizes.stride[axis] == self.remainder;
        own.then(|| self.quotient + self.front - ahead / sizes.stride[axis])
    }
}

impl Pass {
    fn blocks(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    fn run<F: Real>(&self, taps: impl Iterator<Item = Tap> + Clone, x: &[F], w: &[F], y: &mut [F], workers: Workers) {
        let depth = taps.clone().count();
        with_scratch(depth, |at: &mut [u32]| {
            at.iter_mut().zip(taps.clone()).for_each(|(to, (at, _))| *to = at as u32);
            with_scratch(self.groups * self.blocks() * ROWS * depth, |packed: &mut [F]| {
                self.pack(taps, w, packed);
                let (at, packed) = (&*at, &*packed);
                let [of_x, of_y] = [(self.channels, self.image), (self.rows, self.written)]
                    .map(|(channels, [lines, columns])| self.groups * channels * lines * columns);
                let images = x.chunks_exact(of_x).zip(y.chunks_exact_mut(of_y));
                workers.in_order(images.len(), images, |(x, y)| self.image(at, packed, x, y));
            });
        });
    }

    /// Weights in the order of the kernel: blocks of rows, tap by tap.
    fn pack<F: Real>(&self, taps: impl Iterator<Item = Tap> + Clone, w: &[F], packed: &mut [F]) {
        let depth = packed.len() / (self.groups * self.blocks() * ROWS);
        for (index, packed) in packed.chunks_exact_mut((ROWS * depth).max(1)).enumerate() {
            let (group, first) = (index / self.blocks(), index % self.blocks() * ROWS);
            let rows = (self.rows - first).min(ROWS);
            for (packed, (_, of)) in packed.chunks_exact_mut(block(rows)).zip(taps.clone()) {
                for (m, packed) in packed.iter_mut().enumerate() {
                    let at = group * self.steps[1] + of + (first + m) * self.steps[0];
                    *packed = if m < rows { w[at] } else { F::zero() };
                }
            }
        }
    }

    fn image<F: Real>(&self, at: &[u32], packed: &[F], x: &[F], y: &mut [F]) {
        let (channel, pitch) = (self.grid.channel(), self.grid.pitch());
        let [of_x, of_y] = [self.image, self.written].map(|[lines, columns]| lines * columns);
        let wide = self.band * pitch + BEHIND;
        with_scratch(self.channels * channel + BEHIND + ROWS * wide, |scratch: &mut [F]| {
            let (grid, sums) = scratch.split_at_mut(self.channels * channel + BEHIND);
            let groups = x.chunks_exact(self.channels * of_x).zip(y.chunks_exact_mut(self.rows * of_y));
            for (group, (x, y)) in groups.enumerate() {
                for first in (0..self.places[0]).step_by(self.band) {
                    let below = self.grid.below(first);
                    let channels = x.chunks_exact(of_x).zip(grid.chunks_exact_mut(channel));
                    channels.for_each(|(x, grid)| below.fill(x, self.image, grid));
                    let lines = first..(first + self.band).min(self.places[0]);
                    for (index, y) in y.chunks_mut(ROWS * of_y).enumerate() {
                        let rows = block(y.len() / of_y);
                        let w = &packed[(group * self.blocks() + index) * ROWS * at.len()..][..rows * at.len()];
                        let places = (lines.len() - 1) * pitch + self.places[1];
                        F::taps(Taps { rows, w, at, x: grid, places, pitch: wide }, sums);
                        self.put(lines.clone(), sums, wide, y);
                    }
                }
            }
        });
    }

    /// Puts sums of lines where they belong.
    fn put<F: Real>(&self, lines: Range<usize>, sums: &[F], wide: usize, y: &mut [F]) {
        let [columns, right] = [self.places[1], self.step[1]];
        for (y, sums) in y.chunks_exact_mut(self.written[0] * self.written[1]).zip(sums.chunks_exact(wide)) {
            for (line, sums) in lines.clone().zip(sums.chunks(self.grid.pitch())) {
                let line = self.start[0] + line * self.step[0];
                let y = &mut y[line * self.written[1] + self.start[1]..];
                match right {
                    1 => copy_line(&sums[..columns], y),
                    _ => y.iter_mut().step_by(right).zip(&sums[..columns]).for_each(|(y, &sum)| *y = sum),
                }
            }
        }
    }
}

/// The part of the gradient by the weight that belongs to some places of some images.
pub(super) fn slice<F: Real>(sizes: &ConvSizes, (images, places): (Range<usize>, Places), x: &[F], y: &[F], w: &mut [F]) {
    let ([inputs, outputs], depth, [of_x, of_y]) = (sizes.channels(), sizes.depth(), sizes.areas());
    let (lines, columns) = (places.lines, sizes.out[1]);
    let grid = sizes.grid(lines.clone());
    let wide = ((lines.len() - 1) * grid.pitch() + columns).next_multiple_of(UNIT);
    let steps = [outputs.next_multiple_of(ROWS) * wide, inputs * grid.channel()];
    let many = (2 * TOGETHER / (steps[0] + steps[1])).clamp(1, images.len().max(1));
    w.fill(F::zero());
    with_scratch(depth, |at: &mut [u32]| {
        at.iter_mut().zip(sizes.taps_of(&grid)).for_each(|(to, at)| *to = at as u32);
        with_scratch(many * (steps[0] + steps[1]) + BEHIND, |scratch: &mut [F]| {
            let (of_outputs, of_inputs) = scratch.split_at_mut(many * steps[0]);
            for (first, group) in
                images.clone().step_by(many).flat_map(|first| (0..sizes.groups).map(move |group| (first, group)))
            {
                let count = many.min(images.end - first);
                // What is multiplied by 0 may not be NaN.
                of_inputs[count * steps[1]..][..BEHIND].fill(F::zero());
                let channels = of_inputs.chunks_exact_mut(steps[1]).zip(of_outputs.chunks_exact_mut(steps[0]));
                for (image, (grids, rows)) in (first..first + count).zip(channels) {
                    let x = &x[(image * sizes.inputs + group * inputs) * of_x..][..inputs * of_x];
                    let y = &y[(image * sizes.outputs + group * outputs) * of_y..][..outputs * of_y];
                    let channels = x.chunks_exact(of_x).zip(grids.chunks_exact_mut(grid.channel()));
                    channels.for_each(|(x, to)| grid.fill(x, sizes.image, to));
                    rows.fill(F::zero());
                    for (y, to) in y.chunks_exact(of_y).zip(rows.chunks_exact_mut(wide)) {
                        let y = y[lines.start * columns..].chunks_exact(columns).take(lines.len());
                        y.zip(to.chunks_mut(grid.pitch())).for_each(|(y, to)| copy_line(y, to));
                    }
                }
                let w = &mut w[group * outputs * depth..][..outputs * depth];
                for (index, w) in w.chunks_mut(ROWS * depth).enumerate() {
                    let (rows, y) = (block(w.len() / depth), &of_outputs[index * ROWS * wide..]);
                    for first in (0..depth).step_by(3) {
                        let at = &at[first..(first + 3).min(depth)];
                        let sums = F::dots(Dots { rows, y, x: of_inputs, at, places: wide, pitch: wide, images: count, steps });
                        for (w, sums) in w.chunks_exact_mut(depth).zip(sums) {
                            w[first..].iter_mut().zip(sums).take(at.len()).for_each(|(w, sum)| *w += sum);
                        }
                    }
                }
            }
        });
    });
}
