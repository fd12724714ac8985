use super::kernel::Launch;
use super::memory::Memory;
use crate::error::Result;
use crate::plan::MatMul;
pub(super) fn matmul<'a>(_op: &MatMul, _is_cpu: bool, _lanes: usize, _memory: &'a Memory) -> Result<Launch<'a>> {
    todo!()
}
