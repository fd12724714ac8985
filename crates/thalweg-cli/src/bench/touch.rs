//! The CPU's copy loop: as many streams as the work that it is compared with, and almost nothing to compute.

use rayon::prelude::*;

/// Elements of one task.
const GRAIN: usize = 32_768;
/// Elements of each stream that are moved in turn.
const BLOCK: usize = 64;

/// Reads all arrays in step and writes the first `writes` of them, in place; two arrays with one to write are a plain copy.
pub fn touch(arrays: &mut [Vec<f32>], writes: usize) {
    let mut chunks: Vec<_> = arrays.iter_mut().map(|array| array.chunks_mut(GRAIN)).collect();
    let mut tasks = Vec::new();
    while let Some(task) = chunks.iter_mut().map(Iterator::next).collect::<Option<Vec<&mut [f32]>>>() {
        tasks.push(task);
    }
    tasks.into_par_iter().for_each(|task| pulp::Arch::new().dispatch(|| move_streams(task, writes)));
}

#[inline(always)]
fn move_streams(mut task: Vec<&mut [f32]>, writes: usize) {
    if let ([to, from], 1) = (&mut task[..], writes) {
        return to.copy_from_slice(from);
    }
    let Some((last, others)) = task.split_last_mut() else { return };
    let mut sums = [0.0; BLOCK];
    for start in (0..last.len()).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(last.len());
        for (index, other) in others.iter_mut().enumerate() {
            if index < writes {
                other[block.clone()].iter_mut().zip(&last[block.clone()]).for_each(|(a, b)| *a += b);
            } else {
                sums.iter_mut().zip(&other[block.clone()]).for_each(|(sum, x)| *sum += x);
            }
        }
        if others.is_empty() {
            sums.iter_mut().zip(&last[block]).for_each(|(sum, x)| *sum += x);
        }
    }
    std::hint::black_box(sums);
}
