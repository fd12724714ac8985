//! Copies of views.

use super::share::Threads;
use super::store::Store;
use crate::plan::View;
use crate::rule::Real;

/// Elements that one task copies.
const GRAIN: usize = 65_536;

pub(super) fn copy<F: Real>(input: &View, output: &View, lane: &mut Store<F>, shared: &Store<F>, threads: Threads) {
    lane.write(output, |output, lane| {
        let input = lane.view(input, shared);
        let chunks = output.chunks_mut(GRAIN).zip(input.chunks(GRAIN));
        threads.in_order(input.len().div_ceil(GRAIN), chunks, |(output, input)| output.copy_from_slice(input));
    });
}
