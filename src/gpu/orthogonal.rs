//! The kernels that make directions of matrices orthogonal: packing, polynomial, unpacking, around products of matrices.

use super::device::Gpu;
use super::extent::Extent;
use super::kernel::{Access, Kernel, params};
use super::launch::{Bound, Launch, grid};
use super::memory::Memory;
use super::operation;
use crate::error::Result;
use crate::op::MatMul;
use crate::plan::{BufferId, Layout, Operated, Orthogonalise, View};
use bytemuck::bytes_of;

params!(MatricesParams {
    start: u32,
    len: u32,
    lane: u32,
    rows: u32,
    columns: u32,
    count: u32,
    tiles: u32,
    packed_lane: u32,
    norms_lane: u32,
    eps: f32,
    factor: f32,
});
params!(PolynomialParams { len: u32, side: u32, squares_lane: u32, q_lane: u32, a: f32, b: f32, c: f32 });

/// Threads of a workgroup.
const THREADS: usize = 256;

/// Packs matrices, or unpacks them; tall ones are transposed on the way.
pub(super) fn matrices_kernel(name: &'static str, tall: bool) -> Kernel {
    let own = if name == "pack" {
        include_str!("../../shaders/orthogonal/pack.wgsl")
    } else {
        include_str!("../../shaders/orthogonal/unpack.wgsl")
    };
    Kernel {
        name,
        source: [include_str!("../../shaders/orthogonal/matrices.wgsl"), own].concat(),
        constants: vec![("TALL", f64::from(tall))],
        fields: MatricesParams::FIELDS,
        bindings: vec![Access::Read, Access::Read, Access::Write, Access::Write],
        authored: None,
    }
}

pub(super) fn polynomial_kernel() -> Kernel {
    Kernel {
        name: "polynomial",
        source: include_str!("../../shaders/orthogonal/polynomial.wgsl").into(),
        constants: Vec::new(),
        fields: PolynomialParams::FIELDS,
        bindings: vec![Access::Read, Access::Write],
        authored: None,
    }
}

/// Three products and a polynomial per iteration, and one launch per part before and after.
pub(super) fn orthogonalise<'a>(op: &Orthogonalise, gpu: &Gpu, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (count, side, long) = (op.matrices.len(), op.rows.min(op.columns), op.rows.max(op.columns));
    let [mut x, mut y, a, q] = op.scratch;
    let view = |buffer: BufferId, columns: usize| View { buffer, offset: 0, len: count * side * columns };
    let product =
        |left: View, right: View, out: View, k: usize, n: usize| MatMul::new(left, right, out, side, k, n).batch(count);
    let multiply = |product: MatMul| operation::launches(&Operated::new(product), gpu, layout, memory);
    let mut launches = moves("pack", op, x, memory)?;
    for _ in 0..op.how.steps {
        let squares = product(view(x, long), view(x, long), view(a, side), long, side);
        launches.extend(multiply(squares.transposed(false, true))?);
        launches.extend(multiply(product(view(a, side), view(a, side), view(q, side), side, side))?);
        launches.push(polynomial(op, [a, q], layout.lanes(), memory)?);
        launches.extend(multiply(product(view(q, side), view(x, long), view(y, long), side, long))?);
        std::mem::swap(&mut x, &mut y);
    }
    launches.extend(moves("unpack", op, x, memory)?);
    Ok(launches)
}

/// One launch per part that holds any of the matrices.
fn moves<'a>(name: &'static str, op: &Orthogonalise, x: BufferId, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (len, norms) = (op.rows * op.columns, memory.get(op.norms));
    let touches = |part: &Extent| op.matrices.iter().any(|[at, _]| *at < part.start + part.len && part.start < at + len);
    let launch = |part: Extent| {
        let tiles = len.div_ceil(THREADS);
        let params = MatricesParams {
            start: part.start as u32,
            len: part.len as u32,
            lane: part.lane as u32,
            rows: op.rows as u32,
            columns: op.columns as u32,
            count: op.matrices.len() as u32,
            tiles: tiles as u32,
            packed_lane: memory.get(x).lane_stride as u32,
            norms_lane: norms.lane_stride as u32 / 2,
            eps: op.how.eps as f32,
            factor: op.how.factor(op.rows, op.columns) as f32,
        };
        let table = op.matrices.iter().flatten().map(|&word| word as u32).collect();
        let directions = part.bound(op.directions, memory)?;
        let (x, y) = (memory.get(x).single()?, grid(op.matrices.len() * tiles, 1));
        Ok(Launch {
            kernel: matrices_kernel(name, op.rows > op.columns),
            params: bytes_of(&params).into(),
            buffers: vec![Bound::Words(table), norms.single()?.into(), directions, x.into()],
            grid: [y.0, y.1, part.lanes as u32],
            trips: 0,
        })
    };
    Extent::all(op.directions, memory).into_iter().filter(touches).map(launch).collect()
}

fn polynomial<'a>(op: &Orthogonalise, ids: [BufferId; 2], lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let side = op.rows.min(op.columns);
    let len = op.matrices.len() * side * side;
    let [squares, q] = ids.map(|id| memory.get(id));
    let (a, b, c) = op.how.coefficients;
    let params = PolynomialParams {
        len: len as u32,
        side: side as u32,
        squares_lane: squares.lane_stride as u32,
        q_lane: q.lane_stride as u32,
        a: a as f32,
        b: b as f32,
        c: c as f32,
    };
    let (x, y) = grid(len, THREADS);
    Ok(Launch {
        kernel: polynomial_kernel(),
        params: bytes_of(&params).into(),
        buffers: vec![squares.single()?.into(), q.single()?.into()],
        grid: [x, y, lanes as u32],
        trips: 0,
    })
}
