//! Operations by contract: bindings, accessors and the uniform are made from the operands.

use super::device::Gpu;
use super::kernel::{Access, Kernel, Source};
use super::launch::{Bound, Launch, UNIFORM};
use super::matmul::adapter;
use super::memory::{Memory, Segment};
use crate::error::{Error, Result, Unit};
use crate::plan::{Dispatch, Each, GROUPS, Kind, Layout, Operand, Operated, Size};

/// What an accessor takes as an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    One,
    /// A vector of four.
    Four,
}

/// The kernel of one dispatch: the operation's own text, the uniform, and an accessor for each operand.
pub(super) fn kernel(op: &Operated, dispatch: &Dispatch, width: Width) -> Kernel {
    let of = format!("the WGSL of operation '{}'", op.operation().name());
    let mut source = Source::begin(of, &dispatch.text, op.bounds_checks());
    source.join(&uniform(op.operands(), dispatch));
    op.operands().iter().for_each(|operand| accessors(&mut source, operand, width));
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

fn accessors(source: &mut Source, operand: &Operand, width: Width) {
    let Operand { name, kind, .. } = operand;
    let ty = match (*kind == Kind::Index, width) {
        (true, Width::One) => "u32",
        (true, Width::Four) => "vec4u",
        (false, Width::One) => "f32",
        (false, Width::Four) => "vec4f",
    };
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
    let adapter = adapter(gpu.info(), gpu.device.features());
    let mut launches = Vec::new();
    for dispatch in op.operation().dispatches_on(&adapter) {
        match dispatch.each.and_then(|each| Some((each, pieces(op, layout, memory)?))) {
            Some((each, pieces)) => {
                for piece in pieces {
                    let dispatch = of_len(&dispatch, each, piece.len);
                    let places = vec![[0, 0]; piece.buffers.len()];
                    launches.push(launch(op, dispatch, places, piece.buffers, 1)?);
                }
            }
            None => {
                let views = op.operands().iter().map(|operand| memory.view(&operand.view)).collect::<Result<Vec<_>>>()?;
                let places = views.iter().map(|&(_, first, lane)| [first, lane]).collect();
                let buffers = views.iter().map(|&(buffer, ..)| buffer).collect();
                launches.push(launch(op, dispatch, places, buffers, lanes)?);
            }
        }
    }
    Ok(launches)
}

/// One segment of each operand.
struct Piece<'a> {
    len: usize,
    buffers: Vec<&'a wgpu::Buffer>,
}

/// Whether every kernel of an operation takes elements one by one, of whole buffers that are cut alike, so that they may lie in
/// pieces.
pub(super) fn takes_pieces(op: &Operated, gpu: &Gpu, layout: &Layout) -> bool {
    let adapter = adapter(gpu.info(), gpu.device.features());
    let whole = op.operands().iter().all(|operand| operand.view == layout.whole(operand.view.buffer));
    let cut = |operand: &Operand| {
        let declared = layout.declared(operand.view.buffer);
        (declared.scope, declared.stride(), &declared.cuts, &declared.starts)
    };
    let alike = op.operands().windows(2).all(|pair| cut(&pair[0]) == cut(&pair[1]));
    whole && alike && op.operation().dispatches_on(&adapter).iter().all(|dispatch| dispatch.each.is_some())
}

/// The segments of operands that are whole buffers and lie in several, all alike.
fn pieces<'a>(op: &Operated, layout: &Layout, memory: &'a Memory) -> Option<Vec<Piece<'a>>> {
    let all: Vec<&[Segment]> = op.operands().iter().map(|operand| &memory.get(operand.view.buffer).segments[..]).collect();
    let whole = op.operands().iter().all(|operand| operand.view == layout.whole(operand.view.buffer));
    let (first, rest) = all.split_first()?;
    let alike = |other: &&[Segment]| other.iter().map(Segment::place).eq(first.iter().map(Segment::place));
    let piece = |index: usize| {
        let buffers = all.iter().map(|segments| &segments[index].buffer).collect();
        Piece { len: first[index].len * first[index].lanes, buffers }
    };
    (whole && first.len() > 1 && rest.iter().all(alike)).then(|| (0..first.len()).map(piece).collect())
}

/// The same kernel for another number of elements, each of which stands alone.
fn of_len(dispatch: &Dispatch, each: Each, len: usize) -> Dispatch {
    let mut dispatch = dispatch.clone().elements(len, each.threads);
    dispatch.sizes.iter_mut().filter(|(name, _)| name == "len").for_each(|(_, size)| *size = Size::Count(len));
    dispatch
}

/// A launch; in vectors of four where elements stand alone and every number is a multiple of four.
fn launch<'a>(
    op: &Operated,
    mut dispatch: Dispatch,
    mut places: Vec<[u32; 2]>,
    buffers: Vec<&'a wgpu::Buffer>,
    lanes: u32,
) -> Result<Launch<'a>> {
    let len = dispatch.sizes.iter().find(|(name, _)| name == "len").map(|(_, size)| *size);
    let width = match (dispatch.each, len) {
        (Some(each), Some(Size::Count(len))) if len % 4 == 0 && places.iter().flatten().all(|place| place % 4 == 0) => {
            dispatch = of_len(&dispatch, each, len / 4);
            places.iter_mut().flatten().for_each(|place| *place /= 4);
            Width::Four
        }
        _ => Width::One,
    };
    let words = words(op, &dispatch, &places)?;
    let [x, y] = dispatch.grid.map(u64::from);
    if x.max(y) > GROUPS as u64 {
        return Err(Error::limit(op.operation().described(), x.saturating_mul(y), (GROUPS * GROUPS) as u64, Unit::Tiles));
    }
    Ok(Launch {
        kernel: kernel(op, &dispatch, width),
        params: bytemuck::cast_slice(&words).into(),
        buffers: buffers.into_iter().map(Bound::from).collect(),
        grid: [dispatch.grid[0], dispatch.grid[1], lanes],
        trips: dispatch.trips,
    })
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
