//! The kernels of a product of matrices: their source, constants, grid and parameters.
//!
//! A tile's size follows from the rows and columns of the product alone, never from the number of lanes or the batch, so a lane of
//! a population gets the same bits as the same product on its own.

use super::device::Gpu;
use super::kernel::{Access, Kernel, params};
use super::launch::{Bound, Launch};
use super::memory::Memory;
use crate::error::{Error, Result, Unit};
use crate::plan::{Layout, MatMul, Scope, View};

/// Workgroups per dimension of a dispatch, on every adapter.
const GROUPS: u64 = 65_535;

/// Tiles of 128 × 128 are used from this many of them on; below, small tiles keep more of the GPU busy.
const LARGE_TILES: usize = 32;

/// Which kernel computes a product.
///
/// Workgroup memory needs no zeroing: it is written before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// For adapters that are CPUs.
    Lean,
    /// Twice as fast as `Lean` where the device has subgroups, none of them below eight threads (lavapipe).
    LeanSubgroup,
    /// For GPUs.
    Tile,
}

// The uniform of every variant: sizes, and per operand its first element and the elements from lane to lane.
params!(Params {
    m: u32,
    k: u32,
    n: u32,
    batch: u32,
    a: u32,
    a_lane: u32,
    b: u32,
    b_lane: u32,
    c: u32,
    c_lane: u32,
    bias: u32,
    bias_lane: u32,
});

impl Params {
    /// The parameters of a checked operation on buffers that hold their lanes one after the other.
    ///
    /// # Errors
    /// [`Error::Limit`] for a size or a buffer that 32 bits cannot count.
    pub(crate) fn new(op: &MatMul, layout: &Layout) -> Result<Self> {
        let word = |what: &str, value: usize| {
            let beyond = |_| Error::limit(what, value as u64, u32::MAX.into(), Unit::Elements);
            u32::try_from(value).map_err(beyond)
        };
        let place = |view: &View| {
            let buffer = layout.declared(view.buffer);
            let stride = if buffer.scope == Scope::Shared { 0 } else { buffer.stride() };
            word(&buffer.name, buffer.stride() + stride * layout.lanes().saturating_sub(1))?;
            Ok((word(&buffer.name, view.offset)?, word(&buffer.name, stride)?))
        };
        let (a, a_lane) = place(&op.a)?;
        let (b, b_lane) = place(&op.b)?;
        let (c, c_lane) = place(&op.c)?;
        let (bias, bias_lane) = op.bias.as_ref().map_or(Ok((0, 0)), place)?;
        let [m, k, n, batch] = [op.m, op.k, op.n, op.batch].map(|size| word("a matrix", size));
        Ok(Self { m: m?, k: k?, n: n?, batch: batch?, a, a_lane, b, b_lane, c, c_lane, bias, bias_lane })
    }
}

impl Variant {
    /// The variant for a device.
    pub(crate) fn of(gpu: &Gpu) -> Self {
        Self::choose(gpu.info(), gpu.device.features())
    }

    fn choose(info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        let subgroups = features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size >= 8;
        match (info.device_type == wgpu::DeviceType::Cpu, subgroups) {
            (true, true) => Self::LeanSubgroup,
            (true, false) => Self::Lean,
            (false, _) => Self::Tile,
        }
    }
}

/// The name of the matrix product's variant for an adapter, for people.
pub fn product_variant(info: &wgpu::AdapterInfo, features: wgpu::Features) -> &'static str {
    match Variant::choose(info, features) {
        Variant::Lean => "lean",
        Variant::LeanSubgroup => "lean with subgroups",
        Variant::Tile => "tile",
    }
}

/// The launch of a product on a device.
///
/// # Errors
/// [`Error::Limit`] for what the device or 32 bits cannot count.
pub(super) fn matmul<'a>(op: &MatMul, gpu: &Gpu, layout: &Layout, memory: &'a Memory) -> Result<Launch<'a>> {
    let variant = Variant::of(gpu);
    // Without a bias nothing is read from its binding, but something has to be bound.
    let operands = [op.a.buffer, op.b.buffer, op.bias.unwrap_or(op.a).buffer, op.c.buffer];
    Ok(Launch {
        kernel: kernel(op, variant),
        params: bytemuck::bytes_of(&Params::new(op, layout)?).into(),
        buffers: operands.into_iter().map(|id| memory.get(id).single().map(Bound::from)).collect::<Result<_>>()?,
        grid: grid(op, variant, layout.lanes())?,
        trips: trips(op, variant),
    })
}

/// The kernel of a product.
pub(crate) fn kernel(op: &MatMul, variant: Variant) -> Kernel {
    let shared = include_str!("../../shaders/matmul.wgsl");
    let lean = include_str!("../../shaders/matmul_lean.wgsl");
    let octet = include_str!("../../shaders/matmul_octet.wgsl");
    let octet_subgroup = include_str!("../../shaders/matmul_octet_subgroup.wgsl");
    let tile = include_str!("../../shaders/matmul_tile.wgsl");

    let blocks = format!("const WIDE: bool = {};\nconst TALL: bool = {};\n", wide(op), tall(op));
    let (name, source) = match variant {
        Variant::Lean => ("matmul_lean", [&blocks, shared, octet, lean].concat()),
        Variant::LeanSubgroup => ("matmul_lean", [&blocks, shared, octet_subgroup, lean].concat()),
        Variant::Tile => ("matmul_tile", [&format!("const LARGE: bool = {};\n", large(op)), shared, tile].concat()),
    };
    let constants =
        [("TRANS_A", op.trans_a), ("TRANS_B", op.trans_b), ("BIAS", op.bias.is_some()), ("ACCUMULATE", op.accumulate)];
    let constants = constants.map(|(name, on)| (name, f64::from(u8::from(on)))).to_vec();
    let bindings = vec![Access::Read, Access::Read, Access::Read, Access::Write];
    Kernel { name, source, constants, fields: Params::FIELDS, bindings, authored: None }
}

/// Workgroups of a product: tiles, folded into x and y, and along z the batch of each lane. All are 0 if there is nothing to compute.
///
/// # Errors
/// [`Error::Limit`] for more products or tiles than one dispatch holds.
pub(crate) fn grid(op: &MatMul, variant: Variant, lanes: usize) -> Result<[u32; 3]> {
    let [rows, columns] = tile(op, variant);
    let tiles = op.m.div_ceil(rows) as u64 * op.n.div_ceil(columns) as u64;
    let products = lanes as u64 * op.batch as u64;
    if tiles == 0 || products == 0 {
        return Ok([0; 3]);
    }
    if products > GROUPS {
        return Err(Error::limit(described(op), products, GROUPS, Unit::Products));
    }
    let y = tiles.div_ceil(GROUPS);
    if y > GROUPS {
        return Err(Error::limit(described(op), tiles, GROUPS * GROUPS, Unit::Tiles));
    }
    Ok([tiles.div_ceil(y) as u32, y as u32, products as u32])
}

/// A product in words: its sizes tell which layer it belongs to.
pub(super) fn described(op: &MatMul) -> String {
    format!("a product of {} × {} and {} × {} matrices", op.m, op.k, op.k, op.n)
}

/// Loop iterations of one invocation, summed over its loops.
pub(crate) fn trips(op: &MatMul, variant: Variant) -> u64 {
    match variant {
        Variant::Lean | Variant::LeanSubgroup => op.k as u64,
        // One per slice of eight terms, and one per term of it.
        Variant::Tile => op.k.div_ceil(8) as u64 * 9,
    }
}

/// Rows and columns of C that a workgroup computes.
fn tile(op: &MatMul, variant: Variant) -> [usize; 2] {
    match variant {
        Variant::Lean | Variant::LeanSubgroup => [if tall(op) { 16 } else { 8 }, if wide(op) { 64 } else { 32 }],
        Variant::Tile if large(op) => [128, 128],
        Variant::Tile => [32, 32],
    }
}

fn wide(op: &MatMul) -> bool {
    op.n > 32
}

fn tall(op: &MatMul) -> bool {
    op.m > 8
}

fn large(op: &MatMul) -> bool {
    (op.m / 128) * (op.n / 128) >= LARGE_TILES
}

#[cfg(test)]
mod tests;
