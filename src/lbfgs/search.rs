//! A line search for the strong Wolfe conditions, by cubic interpolation: numbers only, no vectors.
//!
//! Nocedal & Wright, "Numerical Optimization", 2nd edition, algorithms 3.5 and 3.6, with the details of `torch.optim.LBFGS`.

use crate::error::Result;

/// How much of the decrease that the slope promises a step has to bring.
const C1: f64 = 1e-4;
/// How much of the slope a step may leave.
const C2: f64 = 0.9;
/// A bracket of this size, times the largest element of the direction, is as good as a point.
const SMALLEST: f64 = 1e-9;

/// A point x + t·d of the line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub t: f64,
    pub loss: f64,
    /// g·d there.
    pub slope: f64,
    /// max |g| there.
    pub largest: f64,
    pub gradient: Gradient,
}

/// Where the gradient of a point is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gradient {
    /// It is that of the line's start.
    Start,
    /// It was put aside.
    Kept,
    /// It is that of the last evaluation.
    Last,
}

/// The best point that was found, after the first evaluation and at most `trials` more. `at(t, keep)` evaluates a point. With
/// `keep` it first puts the last gradient aside: later only the gradient of the best point can be needed.
pub(super) async fn strong_wolfe(
    start: Point,
    t: f64,
    largest_d: f64,
    trials: usize,
    mut at: impl AsyncFnMut(f64, bool) -> Result<Point>,
) -> Result<Point> {
    let mut next = async |t: f64, best: &mut Point| {
        let keep = best.gradient == Gradient::Last;
        if keep {
            best.gradient = Gradient::Kept;
        }
        at(t, keep).await
    };
    let too_high = |new: &Point| new.loss > start.loss + C1 * new.t * start.slope;
    let flat = |new: &Point| new.slope.abs() <= -C2 * start.slope;

    // Go on until a minimum must lie between the last two points.
    let (mut previous, mut tried) = (start, 0);
    let mut new = next(t, &mut previous).await?;
    let mut bracket = loop {
        if tried == trials {
            break [start, new];
        }
        if too_high(&new) || (tried > 1 && new.loss >= previous.loss) {
            break [previous, new];
        }
        if flat(&new) {
            return Ok(new);
        }
        if new.slope >= 0.0 {
            break [previous, new];
        }
        let t = interpolate(&previous, &new, new.t + 0.01 * (new.t - previous.t), 10.0 * new.t);
        previous = new;
        new = next(t, &mut previous).await?;
        tried += 1;
    };

    // Narrow it down.
    let lower = |[a, b]: &[Point; 2]| usize::from(a.loss > b.loss);
    let mut low = lower(&bracket);
    let mut close = false;
    while tried < trials {
        let (first, last) = (bracket[0].t.min(bracket[1].t), bracket[0].t.max(bracket[1].t));
        if (last - first) * largest_d < SMALLEST {
            break;
        }
        let mut t = interpolate(&bracket[0], &bracket[1], first, last);
        // A point too close to an end, twice in a row or on the end itself, is moved inside.
        let margin = 0.1 * (last - first);
        let near = (last - t).min(t - first) < margin;
        let moved = near && (close || t >= last || t <= first);
        if moved {
            t = if (t - last).abs() < (t - first).abs() { last - margin } else { first + margin };
        }
        close = near && !moved;
        let new = next(t, &mut bracket[low]).await?;
        tried += 1;
        let high = 1 - low;
        if too_high(&new) || new.loss >= bracket[low].loss {
            bracket[high] = new;
            low = lower(&bracket);
            continue;
        }
        if !flat(&new) && new.slope * (bracket[high].t - bracket[low].t) >= 0.0 {
            bracket[high] = bracket[low];
        }
        bracket[low] = new;
        if flat(&new) {
            break;
        }
    }
    Ok(bracket[low])
}

/// The minimum of the cubic through two points with their slopes, kept between `min` and `max`; their middle if there is none,
/// or if a loss is infinite.
fn interpolate(a: &Point, b: &Point, min: f64, max: f64) -> f64 {
    let (a, b) = if a.t <= b.t { (a, b) } else { (b, a) };
    let d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.t - b.t);
    let d2 = (d1 * d1 - a.slope * b.slope).sqrt();
    let t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2));
    if t.is_nan() { (min + max) / 2.0 } else { t.max(min).min(max) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::now::now;

    /// Searches along f from 0, and checks that no gradient is asked for that is gone.
    fn search(f: impl Fn(f64) -> (f64, f64), t: f64, trials: usize) -> (Point, usize) {
        let point = |t: f64, gradient| {
            let (loss, slope) = f(t);
            let finite = loss.is_finite();
            let (loss, slope) = if finite { (loss, slope) } else { (f64::INFINITY, f64::INFINITY) };
            Point { t, loss, slope, largest: slope.abs(), gradient }
        };
        let (mut last, mut kept, mut evaluations) = (f64::NAN, f64::NAN, 0);
        let at = async |t: f64, keep: bool| {
            if keep {
                kept = last;
            }
            (last, evaluations) = (t, evaluations + 1);
            Ok(point(t, Gradient::Last))
        };
        let found = now(strong_wolfe(point(0.0, Gradient::Start), t, 1.0, trials, at)).expect("a point");
        let place = match found.gradient {
            Gradient::Start => 0.0,
            Gradient::Kept => kept,
            Gradient::Last => last,
        };
        assert_eq!(place, found.t, "the gradient is that of the point");
        (found, evaluations)
    }

    fn assert_wolfe(f: impl Fn(f64) -> (f64, f64), found: &Point) {
        let (loss, slope) = f(0.0);
        assert!(found.loss <= loss + C1 * found.t * slope, "{found:?} is low enough");
        assert!(found.slope.abs() <= -C2 * slope, "{found:?} is flat enough");
    }

    /// From far below the minimum to far above it.
    #[test]
    fn both_conditions_hold_whatever_the_first_step() {
        let parabola = |t: f64| ((t - 3.0).powi(2), 2.0 * (t - 3.0));
        let quartic = |t: f64| ((t - 1.0).powi(4) - t, 4.0 * (t - 1.0).powi(3) - 1.0);
        let wave = |t: f64| (t.cos() * (-0.1 * t).exp() - t, -(-0.1 * t).exp() * (t.sin() + 0.1 * t.cos()) - 1.0);
        let bowl = |t: f64| (wave(t).0 + 0.2 * t * t, wave(t).1 + 0.4 * t);
        for first in [1e-6, 1e-3, 0.1, 1.0, 2.9, 10.0, 1e3, 1e6] {
            assert_wolfe(parabola, &search(parabola, first, 25).0);
            assert_wolfe(quartic, &search(quartic, first, 25).0);
            assert_wolfe(bowl, &search(bowl, first, 25).0);
        }
    }

    #[test]
    fn a_first_step_that_will_do_is_taken() {
        let parabola = |t: f64| ((t - 3.0).powi(2), 2.0 * (t - 3.0));
        assert_eq!(
            search(parabola, 2.5, 25),
            (Point { t: 2.5, loss: 0.25, slope: -1.0, largest: 1.0, gradient: Gradient::Last }, 1)
        );
    }

    /// The logarithm ends at 1; beyond it the loss is NaN.
    #[test]
    fn a_loss_that_is_not_a_number_counts_as_too_high() {
        let barrier = |t: f64| (-(1.0 - t).ln() - 3.0 * t, 1.0 / (1.0 - t) - 3.0);
        for first in [1.5, 40.0] {
            assert_wolfe(barrier, &search(barrier, first, 25).0);
        }
    }

    #[test]
    fn without_a_better_point_the_start_is_the_best() {
        let cliff = |t: f64| if t == 0.0 { (0.0, -1.0) } else { (f64::NAN, f64::NAN) };
        let (found, evaluations) = search(cliff, 1.0, 7);
        assert_eq!((found.t, found.gradient, evaluations), (0.0, Gradient::Start, 8));
    }

    #[test]
    fn no_more_points_are_tried_than_allowed() {
        let slide = |t: f64| (-t, -1.0);
        for trials in [0, 1, 2, 5] {
            assert_eq!(search(slide, 1.0, trials).1, trials + 1);
        }
    }
}
