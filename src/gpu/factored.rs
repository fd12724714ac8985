//! Kernels of second moments by rows and columns.

use super::extent::Extent;
use super::holder::Holder;
use super::kernel::{Access, Kernel, Source, params};
use super::launch::{Bound, Launch, grid};
use super::memory::Memory;
use crate::error::Result;
use crate::plan::{BufferId, Factored, Stack, TILE};
use bytemuck::bytes_of;

params!(TilesParams { len: u32, tiles: u32, lane: u32, current_lane: u32, moments_lane: u32, partials_lane: u32 });
params!(LinesParams { blocks: u32, current_lane: u32, moments_lane: u32, partials_lane: u32 });
params!(MeansParams { matrices: u32, current_lane: u32, moments_lane: u32 });

/// Careful arithmetic on single numbers.
const CAREFUL: &str = concat!("alias T = f32;\nalias U = u32;\n", include_str!("../../shaders/careful.wgsl"));

pub(super) fn tiles_kernel(holder: Holder) -> Kernel {
    let mut source = Source::default();
    source.bind(Access::Read, "tiles", "array<vec4u>");
    source.bind(Access::Read, "current", "array<f32>");
    source.bind(Access::Write, "moments", "array<f32>");
    source.bind(Access::Write, "partials", "array<f32>");
    holder.bind_address(&mut source);
    source.join(CAREFUL);
    source.join(include_str!("../../shaders/factored_tiles.wgsl"));
    source.kernel("factored_tiles", Vec::new(), TilesParams::FIELDS)
}

pub(super) fn lines_kernel() -> Kernel {
    Kernel {
        name: "factored_lines",
        source: [CAREFUL, include_str!("../../shaders/factored_lines.wgsl")].concat(),
        constants: Vec::new(),
        fields: LinesParams::FIELDS,
        bindings: [vec![Access::Read; 3], vec![Access::Write]].concat(),
        authored: None,
    }
}

pub(super) fn means_kernel() -> Kernel {
    Kernel {
        name: "factored_means",
        source: [CAREFUL, include_str!("../../shaders/factored_means.wgsl")].concat(),
        constants: Vec::new(),
        fields: MeansParams::FIELDS,
        bindings: [vec![Access::Read; 2], vec![Access::Write]].concat(),
        authored: None,
    }
}

/// One launch of tiles per part, one of lines, one of means.
pub(super) fn factored<'a>(op: &Factored, lanes: usize, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let firsts = op.moments.stacks.iter().scan(0, |first, stack| {
        let own = *first;
        *first += stack.partials();
        Some(own)
    });
    let stacks: Vec<(&Stack, usize)> = op.moments.stacks.iter().zip(firsts).filter(|(stack, _)| stack.len > 0).collect();
    let parts = Extent::all(op.grads, memory).into_iter();
    let mut launches = parts.map(|part| tiles(op, part, &stacks, memory)).collect::<Result<Vec<_>>>()?;
    launches.push(lines(op, &stacks, lanes, memory)?);
    launches.push(means(op, &stacks, lanes, memory)?);
    // There may be no matrices, and segments without tensors.
    launches.retain(|launch| matches!(&launch.buffers[0], Bound::Words(words) if !words.is_empty()));
    Ok(launches)
}

fn tiles<'a>(op: &Factored, part: Extent, stacks: &[(&Stack, usize)], memory: &'a Memory) -> Result<Launch<'a>> {
    let [current, moments, partials] = [op.current, op.moments.buffer, op.partials].map(|id| memory.get(id));
    let mut table = Vec::new();
    for (stack, first) in stacks {
        table.extend(tiles_of(stack, *first, part, op.grads, memory)?);
    }
    let params = TilesParams {
        len: part.len as u32,
        tiles: table.len() as u32,
        lane: part.lane as u32,
        current_lane: current.lane_stride as u32,
        moments_lane: moments.lane_stride as u32,
        partials_lane: partials.lane_stride as u32,
    };
    let (x, y) = grid(table.len(), 1);
    let places = part.places_of(op.grads, memory);
    let own = [current.single()?.into(), moments.single()?.into(), partials.single()?.into()];
    let buffers = std::iter::once(words(table)).chain(own).chain([part.bound(op.grads, memory)?]).chain(places);
    Ok(Launch {
        kernel: tiles_kernel(memory.holder(op.grads)),
        params: bytes_of(&params).into(),
        buffers: buffers.collect(),
        grid: [x, y, part.lanes as u32],
        trips: 2 * TILE as u64,
    })
}

/// The tiles of a tensor in a part, as the kernel's table has them. A matrix has to lie in one.
fn tiles_of(stack: &Stack, partials: usize, part: Extent, grads: BufferId, memory: &Memory) -> Result<Vec<[usize; 8]>> {
    let &Stack { start, len, matrices, rows, columns, group, first, .. } = stack;
    let end = part.start + part.len;
    if matrices == 0 {
        let blocks = (0..len).step_by(TILE).filter(|at| (part.start..end).contains(&(start + at)));
        return Ok(blocks.map(|at| [start + at - part.start, 1, TILE.min(len - at), 1, first + at, 0, group, 1]).collect());
    }
    let mut tiles = Vec::new();
    for matrix in (0..matrices).map(|matrix| start + matrix * rows * columns) {
        if !(part.start..end).contains(&matrix) {
            continue;
        }
        if matrix + rows * columns > end {
            let (what, bytes) = (format!("a matrix of {rows} × {columns} elements"), (matrices * rows * columns) as u64 * 4);
            return Err(memory.beyond(&what, grads, [part.lane, start], bytes));
        }
        let sums = sums(stack, partials, (matrix - start) / (rows * columns));
        for row in (0..rows).step_by(TILE) {
            for column in (0..columns).step_by(TILE) {
                tiles.push([
                    matrix - part.start + row * columns + column,
                    columns,
                    TILE.min(rows - row),
                    TILE.min(columns - column),
                    sums[0] + column / TILE * rows + row,
                    sums[1] + row / TILE * columns + column,
                    group,
                    0,
                ]);
            }
        }
    }
    Ok(tiles)
}

/// Where the sums of a matrix by rows begin, and those by columns: tile after tile of the other dimension, line after line.
fn sums(stack: &Stack, partials: usize, matrix: usize) -> [usize; 2] {
    let first = partials + matrix * stack.partials() / stack.matrices;
    [first, first + stack.rows * stack.columns.div_ceil(TILE)]
}

fn lines<'a>(op: &Factored, stacks: &[(&Stack, usize)], lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let [current, moments, partials] = [op.current, op.moments.buffer, op.partials].map(|id| memory.get(id));
    let mut table = Vec::new();
    for &(stack, first) in stacks {
        let &Stack { rows, columns, group, .. } = stack;
        for matrix in 0..stack.matrices {
            let [by_row, by_column] = sums(stack, first, matrix);
            let of_rows = (stack.row_moments().start + matrix * rows, rows, columns, by_row);
            let of_columns = (stack.column_moments().start + matrix * columns, columns, rows, by_column);
            for (place, lines, elements, first) in [of_rows, of_columns] {
                let block = |at: usize| {
                    let tiles = elements.div_ceil(TILE);
                    [place + at, TILE.min(lines - at), first + at, lines, tiles, elements, group, 0]
                };
                table.extend((0..lines).step_by(TILE).map(block));
            }
        }
    }
    let params = LinesParams {
        blocks: table.len() as u32,
        current_lane: current.lane_stride as u32,
        moments_lane: moments.lane_stride as u32,
        partials_lane: partials.lane_stride as u32,
    };
    let (x, y) = grid(table.len(), 1);
    let trips = table.iter().map(|block| block[4]).max().unwrap_or(0) as u64;
    Ok(Launch {
        kernel: lines_kernel(),
        params: bytes_of(&params).into(),
        buffers: vec![words(table), current.single()?.into(), partials.single()?.into(), moments.single()?.into()],
        grid: [x, y, lanes as u32],
        trips,
    })
}

fn means<'a>(op: &Factored, stacks: &[(&Stack, usize)], lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let [current, moments] = [op.current, op.moments.buffer].map(|id| memory.get(id));
    let of = |stack: &Stack| {
        let stack = *stack;
        let divisors = stack.divisors().enumerate();
        divisors.map(move |(matrix, place)| [stack.first + matrix * stack.rows, stack.rows, place, stack.group])
    };
    let table: Vec<[usize; 4]> = stacks.iter().flat_map(|(stack, _)| of(stack)).collect();
    let params = MeansParams {
        matrices: table.len() as u32,
        current_lane: current.lane_stride as u32,
        moments_lane: moments.lane_stride as u32,
    };
    let (x, y) = grid(table.len(), 1);
    let trips = table.iter().map(|matrix| matrix[1]).max().unwrap_or(0) as u64 / 64 + 8;
    Ok(Launch {
        kernel: means_kernel(),
        params: bytes_of(&params).into(),
        buffers: vec![words(table), current.single()?.into(), moments.single()?.into()],
        grid: [x, y, lanes as u32],
        trips,
    })
}

fn words<'a, const N: usize>(table: Vec<[usize; N]>) -> Bound<'a> {
    Bound::Words(table.into_iter().flatten().map(|word| word as u32).collect())
}

/// The table of tensors that an update looks second moments up in.
pub(super) fn stacks_table<'a>(stacks: &[Stack]) -> Bound<'a> {
    let entry = |stack: &Stack| [stack.start, stack.len, stack.rows, stack.columns, stack.first, stack.matrices, 0, 0];
    words(stacks.iter().map(entry).collect())
}
