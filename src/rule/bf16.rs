//! Access to planes in bfloat16: the upper halves of `f32`. Its twin is `shaders/access/bf16.wgsl`.
//!
//! Loops are structs, as in `sweep.rs`: the compiler may turn a closure into a separate function, without vector
//! instructions.

use super::{Real, Rounding};
use crate::random::{scrambled, threefry};

/// Elements that are converted at a time, at most.
pub(crate) const PART: usize = 1_024;

/// Elements whose random numbers have one seed: a block of the arena.
pub(crate) const BLOCK: usize = 64;

/// Where elements are in a plane, and the key of a step's random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    /// The step's key, and the plane.
    pub key: [u32; 2],
    /// The first element's place in the order of sums, a multiple of [`BLOCK`].
    pub place: usize,
}

/// The values of bits.
pub(crate) fn load<F: Real>(bits: &[u16], values: &mut [F]) {
    pulp::Arch::new().dispatch(Load { bits, values });
}

/// The bits of at most [`PART`] values.
pub(crate) fn store<F: Real>(values: &[F], bits: &mut [u16], rounding: Rounding, noise: Noise) {
    match rounding {
        Rounding::Nearest => pulp::Arch::new().dispatch(Nearest { values, bits }),
        Rounding::Stochastic => pulp::Arch::new().dispatch(Stochastic { values, bits, noise }),
    }
}

struct Load<'a, F> {
    bits: &'a [u16],
    values: &'a mut [F],
}

impl<F: Real> pulp::WithSimd for Load<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        self.values.iter_mut().zip(self.bits).for_each(|(value, &bits)| *value = loaded(bits));
    }
}

struct Nearest<'a, F> {
    values: &'a [F],
    bits: &'a mut [u16],
}

impl<F: Real> pulp::WithSimd for Nearest<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        self.bits.iter_mut().zip(self.values).for_each(|(bits, &value)| *bits = rounded(value, Rounding::Nearest, 0));
    }
}

struct Stochastic<'a, F> {
    values: &'a [F],
    bits: &'a mut [u16],
    noise: Noise,
}

impl<F: Real> pulp::WithSimd for Stochastic<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { values, bits, noise } = self;
        let blocks = bits.chunks_mut(BLOCK).zip(values.chunks(BLOCK));
        for ((bits, values), seed) in blocks.zip(seeds(noise)) {
            let random = random(seed);
            for ((bits, &value), &random) in bits.iter_mut().zip(values).zip(&random) {
                *bits = rounded(value, Rounding::Stochastic, random);
            }
        }
    }
}

/// The value of bits.
#[inline(always)]
pub(super) fn loaded<F: Real>(bits: u16) -> F {
    F::of(f64::from(f32::from_bits(u32::from(bits) << 16)))
}

/// The bits of a value. `random` decides where it is rounded at random.
#[inline(always)]
pub(super) fn rounded<F: Real>(value: F, rounding: Rounding, random: u16) -> u16 {
    let value = value.as_f64() as f32;
    let by = match rounding {
        Rounding::Nearest => 0x7fff + (value.to_bits() >> 16 & 1),
        Rounding::Stochastic => u32::from(u16::from_le(random)),
    };
    upper_half(value, by)
}

/// The seeds of the blocks of a part.
#[inline(always)]
pub(super) fn seeds(Noise { key, place }: Noise) -> [u32; PART / BLOCK] {
    let (mut seeds, first) = ([0; PART / BLOCK], (place / BLOCK) as u32);
    for (i, seed) in seeds.iter_mut().enumerate() {
        *seed = threefry(key, [first.wrapping_add(i as u32) & BLOCKS, 0])[0];
    }
    seeds
}

/// The random numbers of a block: each word has the bits of two elements.
#[inline(always)]
pub(super) fn random(seed: u32) -> [u16; BLOCK] {
    let mut words = [0u32; BLOCK / 2];
    for (i, word) in words.iter_mut().enumerate() {
        *word = scrambled(seed.wrapping_add((i as u32).wrapping_mul(GOLDEN))).to_le();
    }
    bytemuck::cast(words)
}

/// Kernels count elements in 32 bits, and so blocks of them in 26.
const BLOCKS: u32 = u32::MAX >> 6;

/// What lies between the words of a block: 2³² over the golden ratio.
const GOLDEN: u32 = 0x9e37_79b9;

/// The upper half of a float's bits once something is added to the lower one; NaN stays NaN.
#[inline(always)]
fn upper_half(value: f32, by: u32) -> u16 {
    let bits = value.to_bits();
    let bits = if value.is_nan() { bits | 0x40_0000 } else { bits.wrapping_add(by) };
    (bits >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Half;

    fn stored(values: &[f32], rounding: Rounding, noise: Noise) -> Vec<u16> {
        let mut bits = vec![0; values.len()];
        for (part, (bits, values)) in bits.chunks_mut(PART).zip(values.chunks(PART)).enumerate() {
            store(values, bits, rounding, Noise { place: noise.place + part * PART, ..noise });
        }
        bits
    }

    const NOISE: Noise = Noise { key: [7, 1], place: 0 };

    /// Numbers of every size and sign, what lies between two neighbours, and what is not finite.
    fn values() -> Vec<f32> {
        let mut values: Vec<f32> = (0..20_000u32).map(|i| f32::from_bits(threefry([1, 2], [i, 0])[0])).collect();
        values.extend([
            0.0,
            -0.0,
            1.0,
            1.0 + 1.0 / 256.0,
            1.0 + 3.0 / 256.0,
            f32::INFINITY,
            -f32::INFINITY,
            f32::NAN,
            -f32::NAN,
            f32::MAX,
        ]);
        values.extend([0xffff_ffff, 0x7f80_0001].map(f32::from_bits));
        values
    }

    #[test]
    fn the_nearest_is_that_of_the_crate_half() {
        let values = values();
        for (found, value) in stored(&values, Rounding::Nearest, NOISE).into_iter().zip(values) {
            assert_eq!(found, Half::Bf16.bits(value), "{value:e}");
        }
    }

    #[test]
    fn what_is_stored_comes_back() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut values = vec![0.0f32; bits.len()];
        load(&bits, &mut values);
        for rounding in [Rounding::Nearest, Rounding::Stochastic] {
            for ((found, &bits), value) in stored(&values, rounding, NOISE).into_iter().zip(&bits).zip(&values) {
                assert!(found == bits || value.is_nan() && f32::from_bits(u32::from(found) << 16).is_nan(), "{bits:x}");
            }
        }
    }

    #[test]
    fn random_rounding_gives_a_neighbour_and_in_the_mean_the_number() {
        for value in values() {
            let [found] = stored(&[value], Rounding::Stochastic, NOISE)[..] else { panic!("one value") };
            let lower = (value.to_bits() >> 16) as u16;
            assert!(
                value.is_nan() && f32::from_bits(u32::from(found) << 16).is_nan() || found.wrapping_sub(lower) <= 1,
                "{value:e}"
            );
        }
        // A third of the way from 1 to its neighbour.
        let value = 1.0 + 0.0078125 / 3.0;
        let bits = stored(&vec![value; 1 << 16], Rounding::Stochastic, NOISE);
        let up = bits.iter().filter(|bits| **bits == 0x3f81).count() as f64 / bits.len() as f64;
        // Five standard deviations.
        assert!((up - 1.0 / 3.0).abs() < 5.0 * (2.0f64 / 9.0 / 65_536.0).sqrt(), "{up}");
        assert!(bits.iter().all(|bits| [0x3f80, 0x3f81].contains(bits)));
    }

    #[test]
    fn random_rounding_depends_on_step_plane_and_place_alone() {
        let values = vec![1.003; 4_096];
        let whole = stored(&values, Rounding::Stochastic, NOISE);
        for start in [64, 960, 1_024, 1_088] {
            let rest = stored(&values[start..], Rounding::Stochastic, Noise { place: start, ..NOISE });
            assert_eq!(rest, whole[start..], "from {start} on");
        }
        for other in [Noise { key: [8, 1], ..NOISE }, Noise { key: [7, 2], ..NOISE }, Noise { place: 64, ..NOISE }] {
            assert_ne!(stored(&values, Rounding::Stochastic, other), whole, "{other:?}");
        }
    }
}
