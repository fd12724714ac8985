//! Restarts of a schedule.

use super::*;

/// Starts of periods as whole numbers of steps, or the last whole number before: sums of steps · (p/q)ⁱ in whole numbers.
/// Each with whether it is exact.
fn starts(steps: u128, p: u128, q: u128, count: u32) -> Vec<(u64, bool)> {
    let mut starts = vec![(0, true)];
    // start = sum / qⁱ
    let (mut sum, mut term, mut scale) = (0u128, steps, 1u128);
    for _ in 0..count {
        sum += term;
        starts.push(((sum / scale) as u64, sum % scale == 0));
        let grown = (|| Some((term.checked_mul(p)?, sum.checked_mul(q)?, scale.checked_mul(q)?)))();
        let Some(grown) = grown.filter(|(term, sum, _)| *term < 1 << 126 && *sum < 1 << 126) else { break };
        (term, sum, scale) = grown;
    }
    starts
}

/// Every period starts at the first whole step at or after its start, and with the full value if the start is exact.
fn check(steps: u64, p: u64, q: u64) -> Result<usize> {
    let growth = p as f64 / q as f64;
    let schedule = Schedule::from(CosineRestarts { growth, shrink: 0.5, ..CosineRestarts::new(1.0, steps) });
    schedule.check()?;
    let mut exact_ones = 0;
    for (i, (start, exact)) in
        starts(steps.into(), p.into(), q.into(), 40).into_iter().enumerate().take_while(|(_, (start, _))| *start < 1 << 50)
    {
        let height = 0.5f64.powi(i as i32);
        let before = schedule.value(if exact { start.wrapping_sub(1) } else { start });
        let value = schedule.value(if exact { start } else { start + 1 });
        let what = format!("{steps} steps, growth {p}/{q}, period {i} at {start}, exactly {exact}: {before} and {value}");
        // The first step of a period is in its upper half, the last one before it in the lower half of the period before.
        if exact {
            ensure!(value == height, "{what}");
            exact_ones += 1;
        }
        ensure!(value <= height && value > 0.5 * height || steps < 3, "{what}");
        ensure!(i == 0 || steps < 3 || before < height, "{what}");
    }
    Ok(exact_ones)
}

#[test]
fn begin_where_the_sum_of_lengths_says() -> Result<()> {
    // 10 + 13, which the binary 1.3 exceeds.
    let schedule = Schedule::from(CosineRestarts { growth: 1.3, ..CosineRestarts::new(1.0, 10) });
    assert_eq!([10, 23].map(|t| schedule.value(t)), [1.0; 2]);
    assert!(schedule.value(22) < 0.02 && schedule.value(39) < 0.02 && schedule.value(40) > 0.99);
    let mut random = fastrand::Rng::with_seed(7);
    let mut exact = 0;
    for _ in 0..3_000 {
        let q = [1, 2, 3, 5, 7, 10, 20, 64, 100, 1_000, 4_096, 99_991][random.usize(..12)];
        let p = q + random.u64(1..=3 * q);
        let steps = random.u64(3..50) * if random.bool() { q.pow(random.u32(0..3)).min(1 << 40) } else { 1 };
        exact += check(steps, p, q)?;
    }
    assert!(exact > 10_000, "{exact} exact starts were tried");
    Ok(())
}

#[test]
fn of_hardly_growing_lengths_are_as_far_apart_as_they_should() -> Result<()> {
    // Lengths of 1000, 1001, 1002.001, …: the first fractions of a step add up slowly.
    for (steps, p, q) in [(1_000, 1_001, 1_000), (10_000_000, 10_000_001, 10_000_000), (3, (1 << 52) + 1, 1 << 52)] {
        check(steps, p, q)?;
    }
    Ok(())
}
