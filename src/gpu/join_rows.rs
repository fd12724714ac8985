//! Rows of a matrix, joined to a number each.

use super::kernel::{Access, Kernel, params};
use super::launch::{Launch, grid};
use super::memory::Memory;
use super::norm::kind_number;
use crate::error::Result;
use crate::plan::{NormKind, View};
use bytemuck::bytes_of;

params!(JoinRowsParams { rows: u32, columns: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 });

pub(super) fn join_rows_kernel(kind: NormKind) -> Kernel {
    Kernel {
        name: "join_rows",
        source: concat!(include_str!("../../shaders/norm_kind.wgsl"), include_str!("../../shaders/join_rows.wgsl")).into(),
        constants: vec![("KIND", kind_number(kind))],
        fields: JoinRowsParams::FIELDS,
        bindings: vec![Access::Read, Access::Write],
        authored: None,
    }
}

pub(super) fn join_rows<'a>(kind: NormKind, views: [&View; 2], lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let [rows, columns] = [views[1].len, views[0].len / views[1].len.max(1)];
    let (input, input_offset, input_lane) = memory.view(views[0])?;
    let (output, output_offset, output_lane) = memory.view(views[1])?;
    let params = JoinRowsParams {
        rows: rows as u32,
        columns: columns as u32,
        input: input_offset,
        input_lane,
        output: output_offset,
        output_lane,
    };
    let (x, y) = grid(rows, 1);
    Ok(Launch {
        kernel: join_rows_kernel(kind),
        params: bytes_of(&params).into(),
        buffers: vec![input.into(), output.into()],
        grid: [x, y, lanes as u32],
        trips: (columns / 256) as u64 + 16,
    })
}
