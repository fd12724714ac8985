//! Norms of gradients: partial norms of chunks, and what they join to.

use super::borrowed::Borrowed;
use super::share::{GRAIN, Threads};
use super::store::Store;
use crate::plan::{CHUNK, Chunk, Norm, NormKind};
use crate::rule::Real;
use std::ops::Range;

pub(super) fn norm<F: Real>(op: &Norm, lane: &mut Store<F>, borrowed: Option<&Borrowed<F>>, threads: Threads) {
    let mut partials = lane.take(op.partials);
    let frozen = lane.indices(op.frozen);
    let slices = borrowed.and_then(|borrowed| Some((borrowed, borrowed.slices(op.grads)?)));
    let grads: &[F] = if slices.is_some() { &[] } else { lane.floats(op.grads) };
    let elements = |chunk: &Chunk| match (frozen[chunk.group], slices) {
        (0, None) => &grads[chunk.start..][..chunk.len],
        (0, Some((borrowed, slices))) => &slices[chunk.tensor][chunk.start - borrowed.start(chunk.tensor)..][..chunk.len],
        _ => &[],
    };
    let some = |((sums, again), chunks): ((&mut [F], &mut [F]), &[Chunk])| {
        for ((sums, again), chunks) in in_parts(sums, again, STREAMS).zip(chunks.chunks(STREAMS)) {
            let elements = std::array::from_fn(|i| chunks.get(i).map_or(&[][..], elements));
            let partials = partial_norms(op.kind, elements);
            sums.copy_from_slice(&partials[..sums.len()]);
            again
                .iter_mut()
                .zip(elements.iter().zip(&*sums))
                .for_each(|(again, (chunk, &sum))| *again = summed_again(op.kind, chunk, sum));
        }
    };
    let (sums, again) = partials.as_mut_slice::<F>().split_at_mut(op.chunks.len());
    let part = GRAIN / CHUNK;
    if threads.several() && op.chunks.len() > part {
        threads.in_order(op.chunks.len().div_ceil(part), in_parts(sums, again, part).zip(op.chunks.chunks(part)), some);
    } else {
        some(((sums, again), &op.chunks));
    }
    lane.put(op.partials, partials);
}

/// Two arrays in parts of this many elements. The second may be empty, and so are its parts then.
fn in_parts<'a, F: Send>(
    first: &'a mut [F],
    second: &'a mut [F],
    part: usize,
) -> impl Iterator<Item = (&'a mut [F], &'a mut [F])> + Send {
    first.chunks_mut(part).zip(second.chunks_mut(part).chain(std::iter::repeat_with(Default::default)))
}

/// Chunks that are read side by side: a core reads memory faster along several streams than along one.
const STREAMS: usize = 4;

/// Running values of a chunk: those of all streams fit a core's registers.
const VALUES: usize = 16;

/// For each chunk Σ x², Σ |x|, max |x| or the number of elements that are not 0. The order is fixed: first into running values,
/// then these into one. Not finite if any x is not.
fn partial_norms<F: Real>(kind: NormKind, chunks: [&[F]; STREAMS]) -> [F; STREAMS] {
    let counts = |x: F| if x == F::zero() { F::zero() } else { F::one() };
    let arch = pulp::Arch::new();
    match kind {
        NormKind::L2 => arch.dispatch(Fold { chunks, term: |x| x * x, join: |a, b| a + b }),
        NormKind::L1 => arch.dispatch(Fold { chunks, term: F::abs, join: |a, b| a + b }),
        NormKind::Max => arch.dispatch(Fold { chunks, term: F::abs, join: larger }),
        NormKind::Count => arch.dispatch(Fold { chunks, term: counts, join: |a, b| a + b }),
    }
}

/// The sum over a chunk times a power of two where its plain sum left the range, else 0; in the order of the plain sum.
fn summed_again<F: Real>(kind: NormKind, chunk: &[F], sum: F) -> F {
    let Some(rescale) = rescaled(sum) else { return F::zero() };
    let factor = power_of_two::<F>(rescale);
    let chunks = [chunk, &[], &[], &[]];
    let [sum, ..] = match kind {
        NormKind::L2 => Fold { chunks, term: |x: F| (x * factor) * (x * factor), join: |a, b| a + b }.run(),
        _ => Fold { chunks, term: |x: F| (x * factor).abs(), join: |a, b| a + b }.run(),
    };
    sum
}

/// The power of two by which the elements of a chunk are multiplied, if their sum is too large or too small for the float.
fn rescaled<F: Real>(sum: F) -> Option<i32> {
    let [down, up] = F::RESCALE;
    if !sum.is_finite() {
        return Some(down);
    }
    (sum < power_of_two(F::TINY)).then_some(up)
}

/// Chunks with what becomes of an element, and how values are joined. A struct, as in `rule/sweep.rs`: the compiler may turn a
/// closure around the loops into a separate function, without vector instructions.
struct Fold<'a, F, T, J> {
    chunks: [&'a [F]; STREAMS],
    term: T,
    join: J,
}

impl<F: Real, T: Fn(F) -> F, J: Fn(F, F) -> F> pulp::WithSimd for Fold<'_, F, T, J> {
    type Output = [F; STREAMS];

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> [F; STREAMS] {
        self.run()
    }
}

impl<F: Real, T: Fn(F) -> F, J: Fn(F, F) -> F> Fold<'_, F, T, J> {
    #[inline(always)]
    fn run(self) -> [F; STREAMS] {
        let [a, b, c, d] = self.chunks.map(|chunk| chunk.as_chunks::<VALUES>().0);
        let blocks = a.len().min(b.len()).min(c.len()).min(d.len());
        let (a, b, c, d) = (&a[..blocks], &b[..blocks], &c[..blocks], &d[..blocks]);
        let mut values = [[F::zero(); VALUES]; STREAMS];
        for i in 0..blocks {
            self.add(&mut values[0], &a[i]);
            self.add(&mut values[1], &b[i]);
            self.add(&mut values[2], &c[i]);
            self.add(&mut values[3], &d[i]);
        }
        for (values, chunk) in values.iter_mut().zip(self.chunks) {
            let (blocks, rest) = chunk[blocks * VALUES..].as_chunks::<VALUES>();
            for block in blocks {
                self.add(values, block);
            }
            for (value, &x) in values.iter_mut().zip(rest) {
                *value = (self.join)(*value, (self.term)(x));
            }
        }
        values.map(|values| values.into_iter().fold(F::zero(), &self.join))
    }

    #[inline(always)]
    fn add(&self, values: &mut [F; VALUES], block: &[F; VALUES]) {
        for i in 0..VALUES {
            values[i] = (self.join)(values[i], (self.term)(block[i]));
        }
    }
}

/// The larger of two values that are not negative; NaN is larger than all, unlike in `max`.
#[inline(always)]
pub(super) fn larger<F: Real>(a: F, b: F) -> F {
    if b > a || b.is_nan() { b } else { a }
}

/// A norm, `mantissa · 2^exponent`. The exponent is 0 wherever sums are in the range of the float. Even the norm of a finite
/// gradient can be out of that range; its mantissa never is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length<F> {
    pub mantissa: F,
    pub exponent: i32,
}

impl<F: Real> Length<F> {
    /// Infinite where the norm is out of the range.
    pub fn value(self) -> F {
        shifted(self.mantissa, self.exponent)
    }

    /// The largest float in the place of infinity, if no element is infinite.
    pub fn bounded(self) -> F {
        if self.mantissa.is_finite() { self.value().min(F::max_value()) } else { self.value() }
    }

    pub fn times(self, factor: F) -> Self {
        Self { mantissa: self.mantissa * factor, ..self }
    }

    /// `numerator / (norm + constant)`.
    pub fn divides(self, numerator: F, constant: F) -> F {
        let total = self.value() + constant;
        if total.is_infinite() && self.mantissa.is_finite() {
            return shifted(numerator / self.mantissa, -self.exponent);
        }
        numerator / total
    }
}

/// The norm of some chunks from their partial norms.
pub(super) fn joined<F: Real>(kind: NormKind, partials: &[F], chunks: Range<usize>) -> Length<F> {
    if !kind.leaves_range() {
        let values = partials[chunks].iter().copied();
        let mantissa = if kind == NormKind::Max { values.fold(F::zero(), larger) } else { values.sum() };
        return Length { mantissa, exponent: 0 };
    }
    let (sums, again) = partials.split_at(partials.len() / 2);
    let (sums, again) = (&sums[chunks.clone()], &again[chunks]);
    let plain = sums.iter().copied().sum::<F>();
    // From here on, what a million chunks with tiny sums have lost is less than half a bit of the whole sum.
    let small = plain < power_of_two(F::TINY + 27);
    let lost = || sums.iter().zip(again).any(|(&sum, &again)| rescaled(sum).is_some() && again != F::zero());
    let (sum, exponent) = if !plain.is_finite() || (small && lost()) { joined_again(kind, sums, again) } else { (plain, 0) };
    let mantissa = if kind == NormKind::L2 { sum.sqrt() } else { sum };
    Length { mantissa, exponent: exponent / kind.power() }
}

/// The sum as a number around 1 and an even power of two. The order is that of the plain sum, whose bits it has wherever that
/// is in range.
fn joined_again<F: Real>(kind: NormKind, sums: &[F], again: &[F]) -> (F, i32) {
    let parts = || {
        sums.iter().zip(again).map(|(&sum, &again)| match rescaled(sum) {
            Some(rescale) => (again, -rescale * kind.power()),
            None => (sum, 0),
        })
    };
    let largest =
        parts().filter(|(sum, _)| *sum != F::zero()).map(|(sum, exponent)| magnitude(sum) + exponent).max().unwrap_or(0);
    let exponent = largest + largest.rem_euclid(2);
    (parts().map(|(sum, own)| shifted(sum, own - exponent)).sum(), exponent)
}

/// The exponent of a number's leading bit.
fn magnitude<F: Real>(x: F) -> i32 {
    let (mantissa, exponent, _) = x.integer_decode();
    i32::from(exponent) + mantissa.checked_ilog2().unwrap_or(0) as i32
}

fn power_of_two<F: Real>(exponent: i32) -> F {
    F::of(2f64.powi(exponent))
}

/// `x · 2^exponent`, in two products: the power alone can be out of the range.
pub(super) fn shifted<F: Real>(x: F, exponent: i32) -> F {
    let half = exponent / 2;
    x * power_of_two(half) * power_of_two(exponent - half)
}

/// `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_`.
pub(super) fn clip_coefficient<F: Real>(norm: Length<F>, max_norm: F) -> F {
    let constant = F::of(1e-6);
    if norm.value() + constant > max_norm { norm.divides(max_norm, constant) } else { F::one() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One element per chunk, so that the formula is the plain one in double precision.
    fn length(kind: NormKind, elements: &[f32]) -> Length<f32> {
        let sums: Vec<f32> = elements.iter().map(|x| partial_norms(kind, [&[*x], &[], &[], &[]])[0]).collect();
        let again: Vec<f32> = elements.iter().zip(&sums).map(|(x, &sum)| summed_again(kind, &[*x], sum)).collect();
        joined(kind, &[sums, again].concat(), 0..elements.len())
    }

    #[test]
    fn a_norm_is_known_over_the_whole_range() {
        let sizes = [
            1e-45, 3e-39, 2e-38, 1e-30, 1e-22, 5e-20, 1e-19, 1e-16, 1e-10, 1.0, 1e10, 1e18, 1.8e19, 1.9e19, 3e19, 1e30, 3.4e38,
        ];
        for a in sizes {
            for b in sizes {
                let (x, y) = (f64::from(a), f64::from(b));
                for (kind, expected) in [(NormKind::L2, x.hypot(y)), (NormKind::L1, x + y)] {
                    let found = length(kind, &[a, b]);
                    let exact = f64::from(found.mantissa) * 2f64.powi(found.exponent);
                    assert!(
                        (exact - expected).abs() <= 2.0 * f64::from(f32::EPSILON) * expected,
                        "{kind:?} of {a:e}, {b:e}: {exact:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn ordinary_sums_have_no_exponent() {
        for elements in [&[1.0, 2.0][..], &[0.0, 0.0], &[1.0, 0.0, 1e-30], &[], &[1e18, 1e-18]] {
            let found = length(NormKind::L2, elements);
            assert_eq!(found.exponent, 0, "{elements:?}");
            assert_eq!(found.mantissa, elements.iter().map(|x| x * x).sum::<f32>().sqrt(), "{elements:?}");
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for other in [0.0, 1e-30, 1.0, 1e30] {
                let found = length(NormKind::L2, &[bad, other]);
                assert!(!found.mantissa.is_finite() && !found.bounded().is_finite(), "{bad}, {other}");
            }
        }
    }
}
