//! Operations by contract: bindings, accessors and the uniform are made from the operands.

use super::device::Gpu;
use super::kernel::{Access, Kernel, Source};
use super::launch::{Bound, Launch, UNIFORM};
use super::matmul::adapter;
use super::memory::Memory;
use crate::error::{Error, Result, Unit};
use crate::plan::{Dispatch, GROUPS, Kind, Layout, Operand, Operated, Size};

/// The kernel of one dispatch: the operation's own text, the uniform, and an accessor for each operand.
pub(super) fn kernel(op: &Operated, dispatch: &Dispatch) -> Kernel {
    let of = format!("the WGSL of operation '{}'", op.operation().name());
    let mut source = Source::begin(of, &dispatch.text, op.bounds_checks());
    source.join(&uniform(op.operands(), dispatch));
    op.operands().iter().for_each(|operand| accessors(&mut source, operand));
    source.kernel(dispatch.entry, dispatch.constants.clone(), &[])
}

fn uniform(operands: &[Operand], dispatch: &Dispatch) -> String {
    let mut fields: Vec<String> = Vec::new();
    for (name, size) in &dispatch.sizes {
        let ty = if matches!(size, Size::Count(_)) { "u32" } else { "f32" };
        fields.push(format!("{name}: {ty}"));
    }
    for Operand { name, .. } in operands {
        fields.push(format!("{name}_first: u32, {name}_lane: u32"));
    }
    format!("struct Op {{ {} }}\n@group(0) @binding(0) var<uniform> op: Op;", fields.join(", "))
}

fn accessors(source: &mut Source, operand: &Operand) {
    let Operand { name, kind, .. } = operand;
    let ty = if *kind == Kind::Index { "u32" } else { "f32" };
    let place = format!("{name}_elements[op.{name}_first + lane * op.{name}_lane + i]");
    let access = if operand.written() { Access::Write } else { Access::Read };
    source.bind(access, &format!("{name}_elements"), &format!("array<{ty}>"));
    source.join(&format!("fn {name}(lane: u32, i: u32) -> {ty} {{ return {place}; }}"));
    if operand.written() {
        source.join(&format!("fn put_{name}(lane: u32, i: u32, value: {ty}) {{ {place} = value; }}"));
    }
}

/// The launches of an operation.
///
/// # Errors
/// [`Error::Limit`] for a size that 32 bits cannot count, or a buffer in several pieces.
pub(super) fn launches<'a>(op: &Operated, gpu: &Gpu, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let lanes = if op.is_shared(layout) { 1 } else { layout.lanes() as u32 };
    let views = op.operands().iter().map(|operand| memory.view(&operand.view)).collect::<Result<Vec<_>>>()?;
    let places: Vec<[u32; 2]> = views.iter().map(|&(_, first, lane)| [first, lane]).collect();
    let launch = |dispatch: Dispatch| {
        let words = words(op, &dispatch, &places)?;
        let [x, y] = dispatch.grid.map(u64::from);
        if x.max(y) > GROUPS as u64 {
            return Err(Error::limit(op.operation().described(), x.saturating_mul(y), (GROUPS * GROUPS) as u64, Unit::Tiles));
        }
        Ok(Launch {
            kernel: kernel(op, &dispatch),
            params: bytemuck::cast_slice(&words).into(),
            buffers: views.iter().map(|&(buffer, ..)| Bound::from(buffer)).collect(),
            grid: [dispatch.grid[0], dispatch.grid[1], lanes],
            trips: dispatch.trips,
        })
    };
    let adapter = adapter(gpu.info(), gpu.device.features());
    op.operation().dispatches_on(&adapter).into_iter().map(launch).collect()
}

/// The uniform of a dispatch: its sizes, then where each operand begins, and the elements from lane to lane.
pub(super) fn words(op: &Operated, dispatch: &Dispatch, places: &[[u32; 2]]) -> Result<Vec<u32>> {
    let beyond = |what: &str, needed: usize, allowed: usize, unit| {
        Error::limit(format!("{what}{}", op.operation().described()), needed as u64, allowed as u64, unit)
    };
    let size = |(name, size): &(std::borrow::Cow<str>, Size)| match *size {
        Size::Number(number) => Ok((number as f32).to_bits()),
        Size::Count(count) => {
            u32::try_from(count).map_err(|_| beyond(&format!("{name} of "), count, u32::MAX as usize, Unit::Elements))
        }
    };
    let mut words = dispatch.sizes.iter().map(size).collect::<Result<Vec<u32>>>()?;
    words.extend(places.iter().flatten());
    if words.len() * 4 > UNIFORM {
        return Err(beyond("", words.len() * 4, UNIFORM, Unit::Sizes));
    }
    Ok(words)
}
