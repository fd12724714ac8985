//! The mean of each line, taken out of it.

use super::borrowed::Borrowed;
use super::store::Store;
use crate::plan::Centralise;
use crate::rule::Real;

pub(super) fn centralise<F: Real>(op: &Centralise, lane: &mut Store<F>, borrowed: Option<&mut Borrowed<F>>) {
    let mut borrowed = borrowed.filter(|borrowed| borrowed.holds(op.grads));
    for &[start, len] in &op.lines {
        match borrowed.as_mut().and_then(|borrowed| borrowed.line_mut(op.grads, start, len)) {
            Some(line) => centre(line),
            None => centre(&mut lane.floats_mut(op.grads)[start..][..len]),
        }
    }
}

fn centre<F: Real>(line: &mut [F]) {
    let len = F::of(line.len() as f64);
    let mean = line.iter().copied().sum::<F>() / len;
    // The sum may have left the range of the float, which the mean of finite elements does not.
    let mean = if mean.is_finite() { mean } else { line.iter().map(|&g| g / len).sum() };
    line.iter_mut().for_each(|g| *g -= mean);
}
