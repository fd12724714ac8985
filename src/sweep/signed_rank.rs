//! Wilcoxon's signed-rank test.

use libm::erfc;

/// The most differences for which the distribution is exact, without ties and zeros and with them.
const COUNTED: usize = 50;
const COUNTED_WITH_TIES: usize = 13;

/// Wilcoxon's one-sided signed-rank test (Wilcoxon 1945): how probable differences as large as these or larger are, if
/// differences are as often below 0 as above it.
///
/// Differences are ranked by size, equal ones by their mean rank, and the ranks of positive ones are summed, and half the ranks
/// of zeros (`zsplit`). The distribution of the sum is exact for up to 50 differences, or 13 if there are ties or zeros; beyond
/// that it is the normal approximation. These are the choices of SciPy 1.17's `wilcoxon(d, alternative="greater",
/// zero_method="zsplit")`, and the results agree.
///
/// It is 1 if there are no differences, or if one is NaN.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::signed_rank;
///
/// // Of the 32 ways to give five differences a sign, one has a sum of ranks as large as this.
/// assert_eq!(signed_rank(&[0.1, 0.4, 0.2, 0.9, 0.3]), 1.0 / 32.0);
/// assert!(signed_rank(&[0.1, -0.4, 0.2, -0.9, 0.3]) > 0.5);
/// ```
pub fn signed_rank(differences: &[f64]) -> f64 {
    let n = differences.len();
    if n == 0 || differences.iter().any(|difference| difference.is_nan()) {
        return 1.0;
    }
    let (ranks, ties) = doubled_ranks(differences);
    // Ranks times 4, so that halves of mean ranks are whole.
    let quarters = |wanted: fn(f64) -> bool, weight: u64| -> u64 {
        differences.iter().zip(&ranks).filter(|(difference, _)| wanted(**difference)).map(|(_, rank)| weight * rank).sum()
    };
    let zeros = quarters(|difference| difference == 0.0, 1);
    let positive = quarters(|difference| difference > 0.0, 2) + zeros;
    let tied = ties.iter().any(|&tie| tie > 1) || zeros > 0;
    if n <= if tied { COUNTED_WITH_TIES } else { COUNTED } {
        let free: Vec<u64> = differences.iter().zip(&ranks).filter(|(d, _)| **d != 0.0).map(|(_, rank)| 2 * rank).collect();
        return at_least(&free, positive - zeros);
    }
    normal_tail(positive as f64 / 4.0, n as f64, &ties)
}

/// The rank of each difference by size, times 2, and how many there are of each size.
fn doubled_ranks(differences: &[f64]) -> (Vec<u64>, Vec<u64>) {
    let mut order: Vec<usize> = (0..differences.len()).collect();
    order.sort_by(|&a, &b| differences[a].abs().total_cmp(&differences[b].abs()));
    let (mut ranks, mut ties, mut start) = (vec![0; order.len()], Vec::new(), 0);
    while start < order.len() {
        let size = differences[order[start]].abs();
        let alike = order[start..].iter().take_while(|&&i| differences[i].abs() == size).count();
        // The mean of the ranks start + 1 to start + alike.
        order[start..start + alike].iter().for_each(|&i| ranks[i] = (2 * start + alike + 1) as u64);
        ties.push(alike as u64);
        start += alike;
    }
    (ranks, ties)
}

/// Of all ways to choose some of these numbers, the share whose sum is at least `sum`.
fn at_least(numbers: &[u64], sum: u64) -> f64 {
    let total: u64 = numbers.iter().sum();
    let mut ways = vec![0.0; total as usize + 1];
    ways[0] = 1.0;
    let mut reached = 0;
    for &number in numbers {
        let number = number as usize;
        for s in (0..=reached).rev() {
            ways[s + number] += ways[s];
        }
        reached += number;
    }
    let found: f64 = ways.iter().skip(sum as usize).sum();
    found / 2.0_f64.powi(numbers.len() as i32)
}

/// The normal approximation; ties make the variance smaller.
fn normal_tail(positive: f64, n: f64, ties: &[u64]) -> f64 {
    let mean = n * (n + 1.0) / 4.0;
    let ties: f64 = ties.iter().map(|&tie| (tie as f64).powi(3) - tie as f64).sum();
    let deviation = ((n * (n + 1.0) * (2.0 * n + 1.0) - ties / 2.0) / 24.0).sqrt();
    0.5 * erfc((positive - mean) / deviation * std::f64::consts::FRAC_1_SQRT_2)
}
