//! Convolutions and pools on a tape.

use super::backward::Backward;
use super::graph::{Graph, Maker, Node};
use super::look::Look;
use super::{Tape, Value};
use crate::op::{Conv, ConvPart, ConvSizes, Expr, Pool, PoolGrad, PoolKind, PoolSizes};
use crate::plan::{Plan, View};

/// An operation on images, whose inputs and outputs lie one element after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Image {
    Conv(ConvPart, ConvSizes),
    /// Gives the places of largest elements as well.
    Pool(PoolKind, PoolSizes),
    /// Reads the gradient, and the places of largest elements.
    PoolGrad(PoolKind, PoolSizes),
}

impl Image {
    /// Elements of its outputs.
    fn lens(&self) -> Vec<usize> {
        match self {
            Self::Conv(part, sizes) => {
                let [x, w, y] = sizes.lens();
                vec![match part {
                    ConvPart::Output => y,
                    ConvPart::Input => x,
                    ConvPart::Weight => w,
                }]
            }
            Self::Pool(PoolKind::Max, sizes) => vec![sizes.lens()[1]; 2],
            Self::Pool(_, sizes) => vec![sizes.lens()[1]],
            Self::PoolGrad(_, sizes) => vec![sizes.lens()[0]],
        }
    }

    /// Floating-point operations: two per multiplication of a convolution, one per input element of a pool.
    pub(super) fn flops(&self) -> usize {
        match self {
            Self::Conv(_, sizes) => 2 * sizes.multiplications(),
            Self::Pool(_, sizes) | Self::PoolGrad(_, sizes) => sizes.lens()[0],
        }
    }

    /// Elements of scratch memory.
    pub(super) fn scratch_len(&self, nowhere: View) -> usize {
        match self {
            Self::Conv(part, sizes) => Conv::new(*part, *sizes, [nowhere; 2], nowhere).scratch_len(),
            _ => 0,
        }
    }

    /// Appends it to a plan.
    pub(super) fn operate(&self, reads: &[View], writes: &[View], scratch: Option<View>, plan: &mut Plan) {
        match *self {
            Self::Conv(part, sizes) => {
                let conv = Conv::new(part, sizes, [reads[0], reads[1]], writes[0]);
                plan.operate(scratch.map_or(conv.clone(), |view| conv.scratch(view)));
            }
            Self::Pool(kind, sizes) => {
                plan.operate(Pool { kind, sizes, x: reads[0], y: writes[0], places: writes.get(1).copied() });
            }
            Self::PoolGrad(kind, sizes) => {
                plan.operate(PoolGrad { kind, sizes, y: reads[0], places: reads.get(1).copied(), x: writes[0] });
            }
        }
    }
}

impl Graph {
    /// Records an operation on images; returns looks at all its outputs.
    fn image(&mut self, op: Image, inputs: Vec<Look>) -> Vec<Look> {
        let (lens, trained) = (op.lens(), self.any_trained(inputs.iter()));
        let node = |outputs: &[usize]| Node::Image { op, inputs, outputs: outputs.to_vec() };
        self.push(node, &lens, trained).into_iter().zip(lens).map(|(tensor, len)| Look::whole(tensor, &[len])).collect()
    }

    /// What a value is a rising function of, whose other inputs are the same all over a plane; with the place of that one among
    /// the inputs. The largest of the values is then the function of the largest, which is computed once per window.
    fn rising(&self, look: &Look, shape: &[usize]) -> Option<(Vec<Look>, Expr, usize)> {
        let tensor = &self.tensors[look.tensor];
        let Maker::Node(node, _) = tensor.maker else { return None };
        let Node::Map { shape: own, inputs, expr, .. } = &self.nodes[node] else { return None };
        if tensor.kept || own != shape || !look.is_contiguous() || look.len() != tensor.len {
            return None;
        }
        let varies = |input: &Look| (2..shape.len()).any(|d| shape[d] > 1 && input.strides[d] > 0);
        let mut varying = (0..inputs.len()).filter(|&index| varies(&inputs[index]));
        let (index, None) = (varying.next()?, varying.next()) else { return None };
        let read = matches!(self.tensors[inputs[index].tensor].maker, Maker::Node(..) | Maker::Param(_) | Maker::Buffer(_));
        (read && inputs[index].is_contiguous() && expr.rises_with(index)).then(|| (inputs.clone(), expr.clone(), index))
    }
}

impl Backward<'_> {
    /// Passes the gradient of an image's operation on to its inputs.
    pub(super) fn image(&mut self, op: Image, inputs: &[Look], outputs: &[usize], grad: Look) {
        let grad = self.whole(grad);
        let of = |part, sizes| move |reads: [&Look; 2]| (Image::Conv(part, sizes), reads.map(Clone::clone).to_vec());
        let slopes = match op {
            Image::Conv(ConvPart::Output, sizes) => {
                vec![of(ConvPart::Input, sizes)([&grad, &inputs[1]]), of(ConvPart::Weight, sizes)([&inputs[0], &grad])]
            }
            Image::Conv(ConvPart::Input, sizes) => {
                vec![of(ConvPart::Output, sizes)([&grad, &inputs[1]]), of(ConvPart::Weight, sizes)([&grad, &inputs[0]])]
            }
            Image::Pool(kind, sizes) => {
                let places = outputs.get(1).map(|&places| Look::whole(places, &[sizes.lens()[1]]));
                vec![(Image::PoolGrad(kind, sizes), [grad].into_iter().chain(places).collect())]
            }
            // Gradients of gradients are not recorded.
            Image::Conv(ConvPart::Weight, _) | Image::PoolGrad(..) => Vec::new(),
        };
        for (input, (op, reads)) in inputs.iter().zip(slopes) {
            if self.wanted(input) {
                let part = self.graph.image(op, reads).swap_remove(0);
                self.give_flat(input, part);
            }
        }
    }
}

impl Tape {
    /// Records one part of a convolution ([`ConvPart`]) of two values; the result gets the given shape.
    pub(in crate::nn) fn convolved(&mut self, part: ConvPart, sizes: ConvSizes, of: [&Value; 2], shape: &[usize]) -> Value {
        let inputs = of.map(|value| value.contiguous().look).to_vec();
        let look = self.graph.borrow_mut().image(Image::Conv(part, sizes), inputs).swap_remove(0);
        self.value(look).reshape(shape)
    }

    /// Records a pool of a value; the result gets the given shape.
    pub(in crate::nn) fn pooled(&mut self, kind: PoolKind, sizes: PoolSizes, x: &Value, shape: &[usize]) -> Value {
        let rising = if kind == PoolKind::Max { self.graph.borrow().rising(&x.look, x.shape()) } else { None };
        if let Some((mut inputs, expr, index)) = rising {
            let mut graph = self.graph.borrow_mut();
            let largest = graph.image(Image::Pool(kind, sizes), vec![inputs[index].clone()]).swap_remove(0);
            // The others are the same in each window.
            inputs.iter_mut().for_each(|input| input.shape = shape.to_vec());
            inputs[index] = Look::whole(largest.tensor, shape);
            let look = graph.map(shape, inputs, expr);
            drop(graph);
            return self.value(look);
        }
        let inputs = vec![x.contiguous().look];
        let look = self.graph.borrow_mut().image(Image::Pool(kind, sizes), inputs).swap_remove(0);
        self.value(look).reshape(shape)
    }
}
