mod pairs;
mod side;

use super::map::declared;
use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Elements, Layout, Operands, Operation, View, Views};
use crate::rule::Real;
use std::ops::Range;

/// Windows along one axis of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Window o has the elements `o·stride − padding + t·dilation` for all t below `size`, as far as they exist.
    Sliding {
        /// Elements of a window, at least 1.
        size: usize,
        /// From one window to the next one, at least 1.
        stride: usize,
        /// How many places before the first element the first window begins: below its length.
        padding: usize,
        /// From one element of a window to the next one, at least 1.
        dilation: usize,
    },
    /// Window o of O has the elements from ⌊o·L/O⌋ to below ⌈(o + 1)·L/O⌉, as PyTorch's adaptive pools.
    Adaptive,
}

/// What becomes of the elements of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The largest; NaN if there is one.
    Max,
    /// Their mean; each of the places beyond the plane, up to `padding` on either side, is a 0 if `padded`.
    Average {
        /// PyTorch's `count_include_pad`.
        padded: bool,
    },
}

/// Sizes of a pool. Planes x lie one after the other, and so do planes y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSizes {
    /// Planes.
    pub planes: usize,
    /// Lines and columns of a plane of x, at least 1.
    pub image: [usize; 2],
    /// Lines and columns of a plane of y: windows along either axis, at least 1. Each has an element at least.
    pub out: [usize; 2],
    /// The windows along either axis.
    pub windows: [Window; 2],
}

/// Reduces each window of a plane to one element.
///
/// Largest elements also have their place in the plane written, that of the first one in row-major order, or of the first NaN:
/// numbers up to 2²⁴, so a plane has no more elements.
#[derive(Debug, Clone)]
pub struct Pool {
    /// How a window is reduced.
    pub kind: PoolKind,
    /// Sizes.
    pub sizes: PoolSizes,
    /// Planes.
    pub x: View,
    /// An element for each window.
    pub y: View,
    /// Where largest elements lie; not for means.
    pub places: Option<View>,
}

/// The gradient of a [`Pool`]: each element of x gets what the windows give that it belongs to, in their order.
#[derive(Debug, Clone)]
pub struct PoolGrad {
    /// How windows were reduced.
    pub kind: PoolKind,
    /// Sizes.
    pub sizes: PoolSizes,
    /// The gradient by each window.
    pub y: View,
    /// Where largest elements lie; not for means.
    pub places: Option<View>,
    /// The gradient by each element.
    pub x: View,
}

/// Elements of a plane whose places are numbers in single precision.
pub(crate) const LARGEST_PLANE: usize = 1 << 24;

impl Window {
    /// The elements of an axis from the first of window `o` to behind the last, and from one to the next. Empty where a window
    /// has none; then it may begin beyond the axis' end.
    #[inline(always)]
    fn range(self, o: usize, len: usize, out: usize) -> (Range<usize>, usize) {
        match self {
            Self::Adaptive => (o * len / out..((o + 1) * len).div_ceil(out), 1),
            // The usual ones, without a division.
            Self::Sliding { size, stride, padding, dilation: 1 } => {
                let start = (o * stride).saturating_sub(padding);
                let end = (o * stride + size).saturating_sub(padding).min(len);
                (start..end.max(start), 1)
            }
            Self::Sliding { size, stride, padding, dilation } => {
                // Elements before the axis are left out.
                let skipped = padding.saturating_sub(o * stride).div_ceil(dilation).min(size);
                let start = (o * stride + skipped * dilation).saturating_sub(padding);
                let end = (o * stride + (size - 1) * dilation + 1).saturating_sub(padding).min(len);
                (start..end.max(start), dilation)
            }
        }
    }

    /// Places of window `o` that count for its mean.
    fn count(self, o: usize, len: usize, out: usize, padded: bool) -> usize {
        match self {
            Self::Sliding { size, stride, padding, dilation } if padded => {
                let end = (len + 2 * padding).saturating_sub(o * stride);
                size.min(end.div_ceil(dilation)).max(1)
            }
            _ => {
                let (range, step) = self.range(o, len, out);
                range.len().div_ceil(step).max(1)
            }
        }
    }
}

impl PoolSizes {
    /// Elements of x and of y.
    pub fn lens(&self) -> [usize; 2] {
        [self.image, self.out].map(|[lines, columns]| Operands::product(&[self.planes, lines, columns]))
    }

    /// Calls `visit` for each element of the window at a line and column of y.
    #[inline(always)]
    fn each(&self, [line, column]: [usize; 2], mut visit: impl FnMut(usize)) {
        let [(lines, down), (columns, right)] = self.ranges([line, column]);
        for h in lines.step_by(down) {
            columns.clone().step_by(right).for_each(|w| visit(h * self.image[1] + w));
        }
    }

    fn ranges(&self, place: [usize; 2]) -> [(Range<usize>, usize); 2] {
        [0, 1].map(|axis| self.windows[axis].range(place[axis], self.image[axis], self.out[axis]))
    }

    /// What divides the sum of a window.
    fn divisor(&self, place: [usize; 2], padded: bool) -> usize {
        let count = |axis: usize| self.windows[axis].count(place[axis], self.image[axis], self.out[axis], padded);
        count(0) * count(1)
    }

    fn operands(&self, o: &mut Operands, places: bool) {
        [("image", self.image), ("out", self.out)].into_iter().for_each(|(name, sizes)| {
            sizes.into_iter().for_each(|size| o.at_least(name, size, 1));
        });
        for window in self.windows {
            if let Window::Sliding { size, stride, dilation, .. } = window {
                for (name, size) in [("size", size), ("stride", stride), ("dilation", dilation)] {
                    o.at_least(name, size, 1);
                }
            }
        }
        if places {
            o.at_least("largest plane", LARGEST_PLANE, Operands::product(&self.image));
        }
    }

    fn dispatch(&self, entry: &'static str, kind: PoolKind, text: &'static str, len: usize) -> Dispatch {
        let accessors = match kind {
            PoolKind::Max => "",
            PoolKind::Average { .. } => {
                "fn places(lane: u32, i: u32) -> f32 { return 0.0; }\nfn put_places(lane: u32, i: u32, value: f32) { }\n"
            }
        };
        let text = [accessors, include_str!("../../../shaders/op/window.wgsl"), text].concat();
        let mut dispatch = Dispatch::new(entry, text).size("len", len);
        dispatch = dispatch.constant("MAX", f64::from(u8::from(kind == PoolKind::Max)));
        dispatch = dispatch.constant("PADDED", f64::from(u8::from(kind == PoolKind::Average { padded: true })));
        for (axis, name) in ["h", "w"].into_iter().enumerate() {
            let (size, stride, padding, dilation) = match self.windows[axis] {
                Window::Sliding { size, stride, padding, dilation } => (size, stride, padding, dilation),
                Window::Adaptive => (0, 1, 0, 1),
            };
            let (image, out) = (self.image[axis], self.out[axis]);
            let adaptive = self.windows[axis] == Window::Adaptive;
            let reach = if adaptive { out.saturating_mul(image).saturating_add(out.max(image)) } else { 0 };
            let sizes = [
                ("image", image),
                ("out", out),
                ("size", size),
                ("stride", stride),
                ("padding", padding),
                ("dilation", dilation),
                // Adaptive windows are found by products, which must fit 32 bits.
                ("reach", reach),
            ];
            dispatch = sizes.into_iter().fold(dispatch, |dispatch, (of, size)| dispatch.size(format!("{of}_{name}"), size));
        }
        dispatch.elements(len, 64)
    }
}

/// The most elements that one of `windows` adaptive windows over `len` elements has. What is left of o·len by the number of
/// windows is anything that their common factor divides, and the most is where it is largest.
fn most(len: usize, windows: usize) -> usize {
    let (mut common, mut rest) = (len.max(1), windows.max(1));
    while rest > 0 {
        (common, rest) = (rest, common % rest);
    }
    (len.max(1) / common - 1).div_ceil(windows.max(1) / common) + 1
}

/// Planes that a thread takes at a time: some thousand elements.
fn planes_at_a_time(area: usize) -> usize {
    (8_192 / area.max(1)).max(1)
}

impl Operation for Pool {
    const NAME: &'static str = "pool";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        let [of_x, of_y] = self.sizes.lens();
        self.sizes.operands(o, self.kind == PoolKind::Max);
        o.at_least("views of places", usize::from(self.places.is_some()), usize::from(self.kind == PoolKind::Max));
        o.read("x", self.x, of_x);
        o.write("y", self.y, of_y);
        if let Some(places) = self.places {
            o.write("places", places, of_y);
        }
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let [lines, columns] = [0, 1].map(|axis| match self.sizes.windows[axis] {
            Window::Sliding { size, .. } => size,
            Window::Adaptive => most(self.sizes.image[axis], self.sizes.out[axis]),
        });
        let text = include_str!("../../../shaders/op/pool.wgsl");
        let trips = lines.saturating_mul(columns.saturating_add(1));
        vec![self.sizes.dispatch("pool", self.kind, text, self.sizes.lens()[1]).trips(trips)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, sizes) = (views.workers(), self.sizes);
        let mut views = views.list();
        let x = views.next().map_or(Ok(&[][..]), Elements::floats)?;
        let mut write = || views.next().map_or(Ok(&mut [][..]), Elements::floats_mut);
        let (y, places) = (write()?, write()?);
        let [of_x, of_y] = [sizes.image, sizes.out].map(|[lines, columns]| lines * columns);
        let many = planes_at_a_time(of_x);
        let at = |index: usize| [index / sizes.out[1], index % sizes.out[1]];
        let count = sizes.planes.div_ceil(many);
        match self.kind {
            PoolKind::Max => {
                let parts = x.chunks(many * of_x).zip(y.chunks_mut(many * of_y)).zip(places.chunks_mut(many * of_y));
                workers.in_order(count, parts, |((x, y), places)| side::largest(&sizes, x, y, places));
            }
            PoolKind::Average { padded } => {
                let parts = x.chunks(many * of_x).zip(y.chunks_mut(many * of_y));
                workers.in_order(count, parts, |(x, y)| {
                    for (x, y) in x.chunks_exact(of_x).zip(y.chunks_exact_mut(of_y)) {
                        for (index, y) in y.iter_mut().enumerate() {
                            let mut sum = F::zero();
                            sizes.each(at(index), |i| sum += x[i]);
                            *y = sum / F::of(sizes.divisor(at(index), padded) as f64);
                        }
                    }
                });
            }
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let case = |(kind, sizes): (PoolKind, PoolSizes)| {
            let [of_x, of_y] = sizes.lens();
            let [x, y] = [of_x, of_y].map(|len| declared(layout, len));
            let places = (kind == PoolKind::Max).then(|| declared(layout, of_y));
            Self { kind, sizes, x, y, places }
        };
        all_cases().into_iter().map(case).collect()
    }
}

impl Operation for PoolGrad {
    const NAME: &'static str = "pool_grad";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        let [of_x, of_y] = self.sizes.lens();
        self.sizes.operands(o, self.kind == PoolKind::Max);
        o.at_least("views of places", usize::from(self.places.is_some()), usize::from(self.kind == PoolKind::Max));
        o.read("y", self.y, of_y);
        if let Some(places) = self.places {
            o.read("places", places, of_y);
        }
        o.write("x", self.x, of_x);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        // Windows that one element may belong to.
        let [lines, columns] = [0, 1].map(|axis| match self.sizes.windows[axis] {
            Window::Sliding { size, stride, dilation, .. } => {
                ((size.saturating_sub(1)).saturating_mul(dilation) / stride.max(1) + 1).min(self.sizes.out[axis])
            }
            Window::Adaptive => most(self.sizes.out[axis], self.sizes.image[axis]),
        });
        let text = include_str!("../../../shaders/op/pool_grad.wgsl");
        let trips = lines.saturating_mul(columns.saturating_add(1));
        vec![self.sizes.dispatch("pool_grad", self.kind, text, self.sizes.lens()[0]).trips(trips)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, sizes) = (views.workers(), self.sizes);
        let mut views = views.list();
        let y = views.next().map_or(Ok(&[][..]), Elements::floats)?;
        let places = self.places.and_then(|_| views.next()).map_or(Ok(&[][..]), Elements::floats)?;
        let x = views.next().map_or(Ok(&mut [][..]), Elements::floats_mut)?;
        let [of_x, of_y] = [sizes.image, sizes.out].map(|[lines, columns]| lines * columns);
        let many = planes_at_a_time(of_x);
        let count = sizes.planes.div_ceil(many);
        match self.kind {
            PoolKind::Max => {
                let parts = x.chunks_mut(many * of_x).zip(y.chunks(many * of_y).zip(places.chunks(many * of_y)));
                workers.in_order(count, parts, |(x, (y, places))| side::shared(&sizes, x, y, places));
            }
            PoolKind::Average { padded } => {
                workers.in_order(count, x.chunks_mut(many * of_x).zip(y.chunks(many * of_y)), |(x, y)| {
                    x.fill(F::zero());
                    for (x, y) in x.chunks_exact_mut(of_x).zip(y.chunks_exact(of_y)) {
                        for (index, &y) in y.iter().enumerate() {
                            let at = [index / sizes.out[1], index % sizes.out[1]];
                            let share = y / F::of(sizes.divisor(at, padded) as f64);
                            sizes.each(at, |i| x[i] += share);
                        }
                    }
                });
            }
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let case = |(kind, sizes): (PoolKind, PoolSizes)| {
            let [of_x, of_y] = sizes.lens();
            let [x, y] = [of_x, of_y].map(|len| declared(layout, len));
            let places = (kind == PoolKind::Max).then(|| declared(layout, of_y));
            Self { kind, sizes, y, places, x }
        };
        // Random places lie in a window only where that is the whole plane; those of the others are tried by the layers' tests.
        let tried = |(kind, sizes): &(PoolKind, PoolSizes)| *kind != PoolKind::Max || sizes.out == [1, 1];
        all_cases().into_iter().filter(tried).map(case).collect()
    }
}

fn all_cases() -> Vec<(PoolKind, PoolSizes)> {
    let sliding = |size, stride, padding, dilation| Window::Sliding { size, stride, padding, dilation };
    let sizes = |planes, image, out, windows| PoolSizes { planes, image, out, windows };
    let two = [sliding(2, 2, 0, 1); 2];
    let all = [
        sizes(0, [4, 4], [2, 2], two),
        sizes(1, [1, 1], [1, 1], [sliding(1, 1, 0, 1); 2]),
        sizes(65, [4, 6], [2, 3], two),
        // The last windows begin in the image and end behind it.
        sizes(3, [7, 5], [4, 3], two),
        sizes(3, [7, 9], [4, 9], [sliding(3, 2, 1, 1), sliding(5, 1, 2, 1)]),
        sizes(2, [9, 8], [4, 4], [sliding(3, 2, 1, 2), sliding(2, 1, 0, 4)]),
        sizes(2, [7, 5], [3, 2], [Window::Adaptive; 2]),
        sizes(2, [3, 2], [7, 5], [Window::Adaptive, Window::Adaptive]),
        sizes(300, [28, 28], [1, 1], [Window::Adaptive; 2]),
    ];
    let kinds = [PoolKind::Max, PoolKind::Average { padded: false }, PoolKind::Average { padded: true }];
    all.into_iter().flat_map(|sizes| kinds.map(|kind| (kind, sizes))).collect()
}
