//! Numbers to compute with, the same in every run.

use fastrand::Rng;
use std::borrow::Cow;
use thalweg::Real;
use thalweg_test_loops::widened;

/// Numbers of either sign and of a size between 0.5 and 2. They are away from zero, so that `g + λ·x` cannot cancel and
/// relative bounds are meaningful.
pub fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = Rng::with_seed(seed);
    (0..len).map(|_| (0.5 + 1.5 * rng.f32()) * if rng.bool() { 1.0 } else { -1.0 }).collect()
}

/// [`numbers`] in f64; f32 holds them exactly.
pub fn doubles(seed: u64, len: usize) -> Vec<f64> {
    widened(&numbers(seed, len))
}

/// Values of an engine in f64.
pub fn as_f64<F: Real>(values: &[F]) -> Cow<'_, [f64]> {
    if single::<F>() { Cow::Owned(widened(bytemuck::cast_slice(values))) } else { Cow::Borrowed(bytemuck::cast_slice(values)) }
}

/// Values as an engine takes them.
pub fn as_floats<F: Real>(values: &[f32]) -> Cow<'_, [F]> {
    if single::<F>() {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(bytemuck::allocation::cast_vec(widened(values)))
    }
}

/// Whether these are numbers of f32, else of f64: there are no others.
fn single<F: Real>() -> bool {
    size_of::<F>() == size_of::<f32>()
}

/// Steps of [`gradient`].
pub const STEPS: usize = 7;

/// The gradient of step `t` = 1 to [`STEPS`]: different every time, zero at step 3, huge in every fifth element at step 5, and
/// a millionth in every seventh element throughout. The squares of the huge elements, and their sum, fit into f32.
pub fn gradient(seed: u64, t: usize, len: usize) -> Vec<f32> {
    let mut g = numbers(seed ^ (0x9e37 + t as u64) << 20, len);
    match t {
        3 => g.fill(0.0),
        5 => g.iter_mut().step_by(5).for_each(|g| *g *= 1e15),
        _ => {}
    }
    g.iter_mut().skip(3).step_by(7).for_each(|g| *g *= 1e-6);
    g
}
