//! Random numbers by key and counter: the same bits on every engine, for any order in which they are asked for.

/// Threefry-2x32 with 20 rounds (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*): two words that look random
/// for each key and counter.
///
/// # Examples
///
/// ```
/// use thalweg::op::threefry;
///
/// assert_eq!(threefry([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
/// ```
#[inline(always)]
pub fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const EVEN: [u32; 4] = [13, 15, 26, 6];
    const ODD: [u32; 4] = [17, 29, 16, 24];
    let [k0, k1, k2] = [key[0], key[1], key[0] ^ key[1] ^ 0x1bd1_1bda];
    // Written out: a loop over rounds may stay a loop, and then nothing is turned into vector instructions.
    let words = [counter[0].wrapping_add(k0), counter[1].wrapping_add(k1)];
    let words = mixed(words, EVEN, [k1, k2.wrapping_add(1)]);
    let words = mixed(words, ODD, [k2, k0.wrapping_add(2)]);
    let words = mixed(words, EVEN, [k0, k1.wrapping_add(3)]);
    let words = mixed(words, ODD, [k1, k2.wrapping_add(4)]);
    mixed(words, EVEN, [k2, k0.wrapping_add(5)])
}

/// Four rounds, and the next words of the key.
#[inline(always)]
fn mixed([a, b]: [u32; 2], [r0, r1, r2, r3]: [u32; 4], key: [u32; 2]) -> [u32; 2] {
    let round = |[a, b]: [u32; 2], rotation| {
        let a = a.wrapping_add(b);
        [a, b.rotate_left(rotation) ^ a]
    };
    let [a, b] = round(round(round(round([a, b], r0), r1), r2), r3);
    [a.wrapping_add(key[0]), b.wrapping_add(key[1])]
}

/// A word that looks random for each word: far cheaper than [`threefry`], which gives it a start that looks random. Constants:
/// Wellons 2018, "Prospecting for Hash Functions".
#[inline(always)]
pub(crate) fn scrambled(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// A number from 0 to below 1, a multiple of 2⁻²⁴: exact in single precision.
#[inline(always)]
pub(crate) fn uniform(key: [u32; 2], site: u32, place: u32) -> f32 {
    (threefry(key, [place, site])[0] >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the authors' own tests.
    #[test]
    fn the_words_are_those_of_random123() {
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        assert_eq!(threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]), [0xc492_3a9c, 0x483d_f7a0]);
    }

    #[test]
    fn numbers_are_spread_evenly_and_differ_by_key_site_and_place() {
        let numbers: Vec<f64> = (0..100_000).map(|place| f64::from(uniform([1, 2], 3, place))).collect();
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let square = numbers.iter().map(|x| (x - 0.5) * (x - 0.5)).sum::<f64>() / 1e5;
        // Five standard deviations.
        assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0f64).sqrt() / 1e5f64.sqrt(), "{mean}");
        assert!((square - 1.0 / 12.0).abs() < 5.0 * (1.0 / 180.0f64).sqrt() / 1e5f64.sqrt(), "{square}");
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        let first = uniform([1, 2], 3, 4);
        assert!(
            [uniform([2, 2], 3, 4), uniform([1, 3], 3, 4), uniform([1, 2], 4, 4), uniform([1, 2], 3, 5)]
                .iter()
                .all(|x| *x != first)
        );
    }
}
