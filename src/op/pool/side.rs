//! Largest elements on the CPU. In single precision windows of one line are compared side by side, tap by tap, in vectors and
//! without a branch; in double precision, the oracle, they are gone through one by one.

use super::{PoolSizes, Window, pairs};
use crate::rule::Real;
use pulp::Simd;
use std::any::TypeId;
use std::ops::Range;

/// The most lanes of a vector.
const LANES: usize = 16;

/// The same elements, where they are of single precision.
fn single<F: Real>(x: &[F]) -> &[f32] {
    bytemuck::cast_slice(x)
}

fn single_mut<F: Real>(x: &mut [F]) -> &mut [f32] {
    bytemuck::cast_slice_mut(x)
}

fn is_single<F: Real>() -> bool {
    TypeId::of::<F>() == TypeId::of::<f32>()
}

/// The largest element of each window and its place, over some planes.
pub(super) fn largest<F: Real>(sizes: &PoolSizes, x: &[F], y: &mut [F], places: &mut [F]) {
    if let (true, Window::Sliding { stride, .. }) = (is_single::<F>(), sizes.windows[1]) {
        let (x, y, places) = (single(x), single_mut(y), single_mut(places));
        if pairs::cover(sizes) {
            return pairs::largest(sizes, x, y, places);
        }
        let of = Largest { sizes, x, y, places, stride };
        return pulp::Arch::new().dispatch(of);
    }
    let [height, width] = sizes.image;
    let planes = y.chunks_exact_mut(sizes.out[0] * sizes.out[1]).zip(places.chunks_exact_mut(sizes.out[0] * sizes.out[1]));
    for (x, (y, places)) in x.chunks_exact(height * width).zip(planes) {
        let lines = y.chunks_exact_mut(sizes.out[1]).zip(places.chunks_exact_mut(sizes.out[1]));
        for (line, (y, places)) in lines.enumerate() {
            for (column, (y, place)) in y.iter_mut().zip(places).enumerate() {
                (*y, *place) = of_window(x, width, &sizes.ranges([line, column]));
            }
        }
    }
}

/// The largest element of a window and its place, from lines and columns with their steps.
fn of_window<F: Real>(x: &[F], width: usize, [lines, columns]: &[(Range<usize>, usize); 2]) -> (F, F) {
    let first = lines.0.start * width + columns.0.start;
    let (mut value, mut place) = (x.get(first).copied().unwrap_or(F::neg_infinity()), first);
    for line in lines.0.clone().step_by(lines.1) {
        for column in columns.0.clone().step_by(columns.1) {
            let i = line * width + column;
            // NaN is larger than everything, but not than NaN.
            if x[i] > value || (x[i].is_nan() && !value.is_nan()) {
                (value, place) = (x[i], i);
            }
        }
    }
    (value, F::of(place as f64))
}

/// Sliding windows in vectors.
struct Largest<'a> {
    sizes: &'a PoolSizes,
    x: &'a [f32],
    y: &'a mut [f32],
    places: &'a mut [f32],
    stride: usize,
}

impl pulp::WithSimd for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.stride {
            1 => self.all::<S, 1>(simd),
            2 => self.all::<S, 2>(simd),
            _ => self.all::<S, 0>(simd),
        }
    }
}

/// The largest elements so far of windows side by side, and their places.
#[derive(Clone, Copy)]
struct Best<S: Simd> {
    value: S::f32s,
    place: S::f32s,
}

impl Largest<'_> {
    /// All windows, which begin so many columns after each other; 0 stands for any number.
    #[inline(always)]
    fn all<S: Simd, const STRIDE: usize>(self, simd: S) {
        let &PoolSizes { image: [height, width], out: [lines, columns], windows, .. } = self.sizes;
        let stride = if STRIDE > 0 { STRIDE } else { self.stride };
        // How far the windows side by side begin from the first of them.
        let apart = vector(simd, |j| (j * stride) as f32);
        for plane in 0..self.x.len() / (height * width) {
            for line in 0..lines {
                let (rows, down) = windows[0].range(line, height, lines);
                let to = (plane * lines + line) * columns;
                for start in (0..columns).step_by(S::F32_LANES) {
                    let of = start..(start + S::F32_LANES).min(columns);
                    let first = |j: usize| windows[1].range((start + j).min(columns - 1), width, columns).0.start;
                    let inside = start * stride >= left(windows[1]);
                    let place = if inside {
                        simd.add_f32s(simd.splat_f32s((rows.start * width + first(0)) as f32), apart)
                    } else {
                        vector(simd, |j| (rows.start * width + first(j)) as f32)
                    };
                    let mut best = Best::<S> { value: simd.splat_f32s(f32::NEG_INFINITY), place };
                    let mut row = rows.start;
                    while row < rows.end {
                        let at = [(plane * height + row) * width, row * width];
                        compare::<S, STRIDE>(simd, self.sizes, self.x, &of, at, apart, &mut best);
                        row += down;
                    }
                    store(simd, best.value, &mut self.y[to + start..][..of.len()]);
                    store(simd, best.place, &mut self.places[to + start..][..of.len()]);
                }
            }
        }
    }
}

/// Columns before the image.
#[inline(always)]
fn left(window: Window) -> usize {
    match window {
        Window::Sliding { padding, .. } => padding,
        Window::Adaptive => 0,
    }
}

#[inline(always)]
fn vector<S: Simd>(simd: S, f: impl Fn(usize) -> f32) -> S::f32s {
    let lanes: [f32; LANES] = std::array::from_fn(f);
    load(simd, &lanes[..S::F32_LANES])
}

/// A vector, or the front of one. Whole ones are loaded by one instruction, others by a call.
#[inline(always)]
fn load<S: Simd>(simd: S, x: &[f32]) -> S::f32s {
    match S::as_simd_f32s(x).0.first() {
        Some(&whole) => whole,
        None => simd.partial_load_f32s(x),
    }
}

/// Writes a vector, or the front of it.
#[inline(always)]
fn store<S: Simd>(simd: S, x: S::f32s, to: &mut [f32]) {
    match S::as_mut_simd_f32s(to).0.first_mut() {
        Some(to) => *to = x,
        None => simd.partial_store_f32s(to, x),
    }
}

/// Compares windows side by side with the taps of one row, which begins at an element of x and at a place.
#[inline(always)]
fn compare<S: Simd, const STRIDE: usize>(
    simd: S,
    sizes: &PoolSizes,
    x: &[f32],
    of: &Range<usize>,
    [at, place]: [usize; 2],
    apart: S::f32s,
    best: &mut Best<S>,
) {
    let (width, lanes) = (sizes.image[1], S::F32_LANES);
    let Window::Sliding { size, stride, padding, dilation } = sizes.windows[1] else { return };
    for tap in 0..size {
        let ahead = tap * dilation;
        // The windows of which this tap lies on the image.
        let (low, high) = if of.start * stride + ahead >= padding && (of.end - 1) * stride + ahead < width + padding {
            (of.start, of.end)
        } else {
            let low = padding.saturating_sub(ahead).div_ceil(stride).clamp(of.start, of.end);
            (low, (width + padding).saturating_sub(ahead).div_ceil(stride).clamp(low, of.end))
        };
        if low == high {
            continue;
        }
        let rest = &x[at + low * stride + ahead - padding..];
        let values = if low == of.start && high == of.end && STRIDE > 0 && rest.len() >= lanes * STRIDE {
            let rest = &rest[..lanes * STRIDE];
            match STRIDE {
                1 => S::as_simd_f32s(rest).0[0],
                _ => vector(simd, |j| rest[(j * STRIDE).min(lanes * STRIDE - 1)]),
            }
        } else {
            let mut values = [f32::NEG_INFINITY; LANES];
            let own = values[low - of.start..high - of.start].iter_mut();
            own.zip(rest.iter().step_by(stride)).for_each(|(value, &x)| *value = x);
            load(simd, &values[..lanes])
        };
        // Where the first window's tap lies; before the image it counts from where it would.
        let first = (place + of.start * stride + ahead) as f32 - padding as f32;
        let here = simd.add_f32s(simd.splat_f32s(first), apart);
        // NaN is larger than everything, but not than NaN.
        let known = simd.equal_f32s(best.value, best.value);
        let larger = simd.and_m32s(simd.not_m32s(simd.less_than_or_equal_f32s(values, best.value)), known);
        best.value = simd.select_f32s(larger, values, best.value);
        best.place = simd.select_f32s(larger, here, best.place);
    }
}

/// What each element of some planes gets: the gradient of the windows whose largest it is.
pub(super) fn shared<F: Real>(sizes: &PoolSizes, x: &mut [F], y: &[F], places: &[F]) {
    if is_single::<F>() && pairs::cover(sizes) {
        return pairs::shared(sizes, single_mut(x), single(y), single(places));
    }
    let [of_x, of_y] = [sizes.image, sizes.out].map(|[lines, columns]| lines * columns);
    x.fill(F::zero());
    let of_planes = y.chunks_exact(of_y).zip(places.chunks_exact(of_y));
    for (x, (y, places)) in x.chunks_exact_mut(of_x).zip(of_planes) {
        for (&y, place) in y.iter().zip(places) {
            if let Some(x) = place.floor().to_usize().and_then(|place| x.get_mut(place)) {
                *x += y;
            }
        }
    }
}
