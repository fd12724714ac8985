//! Lanes that take over what other lanes hold.

use super::share::Threads;
use super::store::Store;
use crate::plan::CopyLanes;
use crate::rule::Real;

/// Each lane that takes over another one is a task.
pub(super) fn copy_lanes<F: Real>(op: &CopyLanes, lanes: &mut [Store<F>], shared: &Store<F>, threads: Threads) {
    let from = shared.indices(op.from);
    let source = |lane: usize| from.get(lane).map(|&from| from as usize).filter(|&from| from != lane && from < lanes.len());
    let sources: Vec<Option<usize>> =
        (0..lanes.len()).map(|lane| source(lane).filter(|&from| source(from).is_none())).collect();
    let (mut stay, mut changed) = (Vec::new(), Vec::new());
    for (store, source) in lanes.iter_mut().zip(sources) {
        match source {
            Some(source) => {
                changed.push((source, store));
                stay.push(None);
            }
            None => stay.push(Some(&*store)),
        }
    }
    threads.in_order(changed.len(), changed.into_iter(), |(source, store)| {
        let Some(other) = stay[source] else { return };
        op.buffers.iter().for_each(|&id| store.take_over(other, id));
    });
}
