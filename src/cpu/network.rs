//! Layers and losses.

use super::share::Threads;
use super::store::Store;
use crate::plan::{Activation, Loss, View};
use crate::rule::Real;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Elements that one task copies.
const GRAIN: usize = 65_536;

pub(super) fn copy<F: Real>(input: &View, output: &View, lane: &mut Store<F>, shared: &Store<F>, threads: Threads) {
    lane.write(output, |output, lane| {
        let input = lane.view(input, shared);
        let chunks = output.chunks_mut(GRAIN).zip(input.chunks(GRAIN));
        threads.in_order(input.len().div_ceil(GRAIN), chunks, |(output, input)| output.copy_from_slice(input));
    });
}

pub(super) fn activate<F: Real>(f: Activation, input: &View, output: &View, lane: &mut Store<F>, shared: &Store<F>) {
    lane.write(output, |output, lane| {
        let input = lane.view(input, shared);
        match f {
            Activation::Relu => map(input, output, |x| if x > F::zero() || x.is_nan() { x } else { F::zero() }),
            Activation::Gelu => map(input, output, |x| x * normal_cdf(x)),
            Activation::Tanh => map(input, output, F::tanh),
        }
    });
}

fn map<F: Real>(input: &[F], output: &mut [F], f: impl Fn(F) -> F) {
    output.iter_mut().zip(input).for_each(|(y, &x)| *y = f(x));
}

pub(super) fn activate_grad<F: Real>(
    f: Activation,
    input: &View,
    grad: &View,
    output: &View,
    lane: &mut Store<F>,
    shared: &Store<F>,
) {
    lane.write(output, |output, lane| {
        let (input, grad) = (lane.view(input, shared), lane.view(grad, shared));
        match f {
            Activation::Relu => chain(input, grad, output, relu_slope),
            Activation::Gelu => chain(input, grad, output, |x| normal_cdf(x) + x * normal_density(x)),
            Activation::Tanh => chain(input, grad, output, |x| F::one() - x.tanh() * x.tanh()),
        }
    });
}

/// The chain rule, element-wise.
fn chain<F: Real>(input: &[F], grad: &[F], output: &mut [F], derivative: impl Fn(F) -> F) {
    output.iter_mut().zip(input).zip(grad).for_each(|((out, &x), &grad)| *out = derivative(x) * grad);
}

/// NaN of NaN, as every other function has it.
fn relu_slope<F: Real>(x: F) -> F {
    if x.is_nan() {
        return x;
    }
    if x > F::zero() { F::one() } else { F::zero() }
}

fn normal_cdf<F: Real>(x: F) -> F {
    F::of(0.5) * (F::one() + (x * F::of(FRAC_1_SQRT_2)).erf())
}

fn normal_density<F: Real>(x: F) -> F {
    (F::of(-0.5) * x * x).exp() * F::of((2.0 * PI).sqrt().recip())
}

pub(super) fn sum_rows<F: Real>(input: &View, output: &View, lane: &mut Store<F>, shared: &Store<F>) {
    lane.write(output, |output, lane| {
        output.fill(F::zero());
        for row in lane.view(input, shared).chunks_exact(output.len().max(1)) {
            output.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    });
}

pub(super) fn loss<F: Real>(loss: &Loss, lane: &mut Store<F>, shared: &Store<F>) {
    match loss {
        Loss::CrossEntropy { logits, labels, losses, hits, grad, scale } => {
            let classes = grad.len / labels.len.max(1);
            let labels = &shared.indices(labels.buffer)[labels.offset..][..labels.len];
            let mut outputs = [losses, hits, grad].map(|view| (view, lane.take(view.buffer)));
            let logits = lane.view(logits, shared);
            let [losses, hits, grad] = outputs.each_mut().map(|(view, e)| &mut e.as_mut_slice()[view.offset..][..view.len]);
            for (row, &label) in labels.iter().enumerate() {
                let range = row * classes..(row + 1) * classes;
                (losses[row], hits[row]) = cross_entropy(&logits[range.clone()], label, &mut grad[range], F::of(*scale));
            }
            outputs.into_iter().for_each(|(view, elements)| lane.put(view.buffer, elements));
        }
        Loss::SquaredError { predictions, targets, losses, grad, scale } => {
            let columns = targets.len / losses.len.max(1);
            lane.write(grad, |grad, lane| {
                let (predictions, targets) = (lane.view(predictions, shared), lane.view(targets, shared));
                let difference = predictions.iter().zip(targets).map(|(&prediction, &target)| prediction - target);
                grad.iter_mut().zip(difference).for_each(|(grad, difference)| *grad = F::of(2.0 * scale) * difference);
            });
            lane.write(losses, |losses, lane| {
                let (predictions, targets) = (lane.view(predictions, shared), lane.view(targets, shared));
                for (row, loss) in losses.iter_mut().enumerate() {
                    let square = |i: usize| (predictions[i] - targets[i]) * (predictions[i] - targets[i]);
                    *loss = (row * columns..(row + 1) * columns).map(square).sum();
                }
            });
        }
    }
}

/// Loss and hit of one row; its gradient is (softmax − one-hot) · scale.
fn cross_entropy<F: Real>(logits: &[F], label: u32, grad: &mut [F], scale: F) -> (F, F) {
    if label as usize >= logits.len() {
        grad.fill(F::zero());
        return (F::zero(), F::zero());
    }
    let label = label as usize;
    let (mut best, mut largest) = (0, logits[0]);
    for (class, &logit) in logits.iter().enumerate() {
        if logit > largest {
            (best, largest) = (class, logit);
        }
    }
    grad.iter_mut().zip(logits).for_each(|(grad, &logit)| *grad = (logit - largest).exp());
    let sum: F = grad.iter().copied().sum();
    let loss = sum.ln() - (logits[label] - largest);
    grad.iter_mut().for_each(|grad| *grad = *grad / sum * scale);
    grad[label] -= scale;
    (loss, if best == label { F::one() } else { F::zero() })
}
