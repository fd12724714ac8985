//! Kernels of layers and losses.

use super::kernel::{Access, Bound, Kernel, Launch, grid, params};
use super::memory::Memory;
use crate::error::Result;
use crate::plan::{Activation, Loss, View};
use bytemuck::bytes_of;

params!(ActivateParams { len: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 });
params!(ActivateGradParams { len: u32, input: u32, input_lane: u32, grad: u32, grad_lane: u32, output: u32, output_lane: u32 });
params!(SumRowsParams { rows: u32, columns: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 });
params!(CrossEntropyParams {
    rows: u32,
    classes: u32,
    scale: f32,
    logits: u32,
    logits_lane: u32,
    labels: u32,
    losses: u32,
    losses_lane: u32,
    hits: u32,
    hits_lane: u32,
    grad: u32,
    grad_lane: u32,
});
params!(SquaredErrorParams {
    rows: u32,
    columns: u32,
    scale: f32,
    predictions: u32,
    predictions_lane: u32,
    targets: u32,
    targets_lane: u32,
    losses: u32,
    losses_lane: u32,
    grad: u32,
    grad_lane: u32,
});

/// Threads of a workgroup.
const THREADS: usize = 64;

/// Joins the source of a kernel and fills in the rest.
macro_rules! kernel {
    ($name:literal, $params:ident, [$($access:ident),*], $constants:expr, $($file:literal),+) => {
        Kernel {
            name: $name,
            source: concat!($(include_str!(concat!("../../shaders/nn/", $file))),+).into(),
            constants: $constants,
            fields: $params::FIELDS,
            bindings: vec![$(Access::$access),*],
            authored: None,
        }
    };
}

pub(super) fn activate_kernel(f: Activation) -> Kernel {
    let constants = vec![("FUNCTION", function(f))];
    kernel!("activate", ActivateParams, [Read, Write], constants, "function.wgsl", "activate.wgsl")
}

pub(super) fn activate_grad_kernel(f: Activation) -> Kernel {
    let constants = vec![("FUNCTION", function(f))];
    kernel!("activate_grad", ActivateGradParams, [Read, Read, Write], constants, "function.wgsl", "activate_grad.wgsl")
}

pub(super) fn sum_rows_kernel() -> Kernel {
    kernel!("sum_rows", SumRowsParams, [Read, Write], vec![], "sum_rows.wgsl")
}

pub(super) fn cross_entropy_kernel() -> Kernel {
    kernel!("cross_entropy", CrossEntropyParams, [Read, Read, Write, Write, Write], vec![], "cross_entropy.wgsl")
}

pub(super) fn squared_error_kernel() -> Kernel {
    kernel!("squared_error", SquaredErrorParams, [Read, Read, Write, Write], vec![], "squared_error.wgsl")
}

/// The number of a function in function.wgsl.
fn function(f: Activation) -> f64 {
    match f {
        Activation::Relu => 0.0,
        Activation::Gelu => 1.0,
        Activation::Tanh => 2.0,
    }
}

/// A grid of one thread per element, lanes along z.
fn over(elements: usize, lanes: usize) -> [u32; 3] {
    let (x, y) = grid(elements, THREADS);
    [x, y, lanes as u32]
}

pub(super) fn activate<'a>(f: Activation, views: [&View; 2], lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let len = views[1].len;
    let [(x, input, input_lane), (y, output, output_lane)] = located(memory, views)?;
    let params = ActivateParams { len: len as u32, input, input_lane, output, output_lane };
    let (kernel, params) = (activate_kernel(f), bytes_of(&params).into());
    Ok(Launch { kernel, params, buffers: vec![x.into(), y.into()], grid: over(len, lanes), trips: 0 })
}

/// Input, gradient and output of the derivative.
pub(super) fn activate_grad<'a>(f: Activation, views: [&View; 3], lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let len = views[2].len;
    let [(x, input, input_lane), (dy, grad, grad_lane), (dx, output, output_lane)] = located(memory, views)?;
    let params = ActivateGradParams { len: len as u32, input, input_lane, grad, grad_lane, output, output_lane };
    let (kernel, params) = (activate_grad_kernel(f), bytes_of(&params).into());
    Ok(Launch { kernel, params, buffers: vec![x.into(), dy.into(), dx.into()], grid: over(len, lanes), trips: 0 })
}

pub(super) fn sum_rows<'a>(views: [&View; 2], rows: usize, lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let columns = views[1].len;
    let [(x, input, input_lane), (y, output, output_lane)] = located(memory, views)?;
    let params = SumRowsParams { rows: rows as u32, columns: columns as u32, input, input_lane, output, output_lane };
    let (kernel, params) = (sum_rows_kernel(), bytes_of(&params).into());
    Ok(Launch { kernel, params, buffers: vec![x.into(), y.into()], grid: over(columns, lanes), trips: rows as u64 })
}

pub(super) fn loss<'a>(loss: &Loss, lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    match loss {
        Loss::CrossEntropy { logits: z, labels: l, losses, hits, grad, scale } => {
            let rows = l.len;
            let classes = (z.len / rows.max(1)) as u32;
            let located = located(memory, [z, l, losses, hits, grad])?;
            let [(_, logits, logits_lane), (_, labels, _), losses, hits, grad] = located;
            let params = CrossEntropyParams {
                rows: rows as u32,
                classes,
                scale: *scale as f32,
                logits,
                logits_lane,
                labels,
                losses: losses.1,
                losses_lane: losses.2,
                hits: hits.1,
                hits_lane: hits.2,
                grad: grad.1,
                grad_lane: grad.2,
            };
            let (kernel, params) = (cross_entropy_kernel(), bytes_of(&params).into());
            Ok(Launch {
                kernel,
                params,
                buffers: located.map(|(buffer, ..)| Bound::from(buffer)).into(),
                grid: over(rows, lanes),
                trips: 3 * u64::from(classes),
            })
        }
        Loss::SquaredError { predictions, targets, losses, grad, scale } => {
            let rows = losses.len;
            let columns = (targets.len / rows.max(1)) as u32;
            let located = located(memory, [predictions, targets, losses, grad])?;
            let [(_, predictions, predictions_lane), (_, targets, targets_lane), losses, grad] = located;
            let params = SquaredErrorParams {
                rows: rows as u32,
                columns,
                scale: *scale as f32,
                predictions,
                predictions_lane,
                targets,
                targets_lane,
                losses: losses.1,
                losses_lane: losses.2,
                grad: grad.1,
                grad_lane: grad.2,
            };
            let (kernel, params) = (squared_error_kernel(), bytes_of(&params).into());
            Ok(Launch {
                kernel,
                params,
                buffers: located.map(|(buffer, ..)| Bound::from(buffer)).into(),
                grid: over(rows, lanes),
                trips: columns.into(),
            })
        }
    }
}

/// Buffer, offset and lane stride of each view.
fn located<'a, const N: usize>(memory: &'a Memory, views: [&View; N]) -> Result<[(&'a wgpu::Buffer, u32, u32); N]> {
    let located: Vec<_> = views.iter().map(|view| memory.view(view)).collect::<Result<_>>()?;
    Ok(located.try_into().expect("as many as views"))
}
