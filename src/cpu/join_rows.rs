//! Rows of a matrix, joined to a number each.

use super::norm::larger;
use super::store::Store;
use crate::plan::{NormKind, View};
use crate::rule::Real;

pub(super) fn join_rows<F: Real>(kind: NormKind, input: &View, output: &View, lane: &mut Store<F>, shared: &Store<F>) {
    lane.write(output, |output, lane| {
        let input = lane.view(input, shared);
        let columns = input.len() / output.len().max(1);
        for (row, joined) in output.iter_mut().enumerate() {
            let values = input[row * columns..][..columns].iter().copied();
            *joined = match kind {
                NormKind::L2 | NormKind::L1 | NormKind::Count => values.sum(),
                NormKind::Max => values.fold(F::zero(), larger),
            };
        }
    });
}
