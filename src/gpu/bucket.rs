//! How dispatches reach tensors in the caller's buffers: buckets of what bindings hold at once.

use super::borrowed::{Borrowed, Role};
use super::slice::Window;
use crate::plan::{ALIGN, CHUNK, Chunk};

/// A binding of this size always holds two windows of a chunk, including what their starts are rounded down by. Devices of
/// WebGPU bind 128 MiB; a device with less than this is a native one, where windows may overlap.
pub(super) const TWO_CHUNKS: u64 = 2 * 4 * CHUNK as u64 + 512;

/// What one dispatch can reach: a run of chunks whose parameters lie within one binding, their gradients within another, and
/// their planes in one segment; no two windows overlap, unless they are one. Or all chunks of several lanes.
#[derive(Debug)]
pub(super) struct Bucket {
    /// First lane.
    pub lane: usize,
    /// Lanes.
    pub lanes: usize,
    /// First element in each lane's arena.
    pub start: usize,
    /// Elements in each lane's arena, padding included.
    pub len: usize,
    pub params: Window,
    pub grads: Window,
    /// Whether both windows are one, since they would overlap.
    pub joined: bool,
    /// For each block of the arena, lane after lane: first parameter and first gradient, counted in their windows, and how many
    /// there are.
    pub places: Vec<[u32; 3]>,
}

impl Bucket {
    pub(super) fn window(&self, role: Role) -> &Window {
        match role {
            Role::Params => &self.params,
            Role::Grads => &self.grads,
        }
    }
}

/// What a device binds at once.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes that a binding starts at a multiple of.
    pub align: u64,
    /// The most bytes of a binding.
    pub limit: u64,
    /// Where planes of a lane are cut into segments.
    pub cuts: Vec<usize>,
    /// Lanes whose planes share a segment.
    pub lanes: usize,
}

impl Room {
    /// Two windows together, if they are of one buffer and a binding holds them.
    fn join(&self, one: &Window, other: &Window) -> Option<Window> {
        let (start, end) = (one.start.min(other.start), one.end.max(other.end));
        let joined = Window { buffer: one.buffer.clone(), start, end };
        (one.buffer == other.buffer && self.holds(&joined)).then_some(joined)
    }

    fn holds(&self, window: &Window) -> bool {
        window.end - window.start / self.align * self.align <= self.limit
    }

    /// Whether bindings hold both windows as WebGPU wants them: two that can be written must not overlap, so those that would
    /// are bound as one.
    fn holds_both(&self, [params, grads]: &[Window; 2]) -> bool {
        let may_touch = self.limit < TWO_CHUNKS;
        let apart = may_touch || !params.touches(grads, self.align) || self.join(params, grads).is_some();
        self.holds(params) && self.holds(grads) && apart
    }

    fn cuts_before(&self, chunk: &Chunk) -> bool {
        self.cuts.contains(&chunk.start)
    }
}

/// What becomes a bucket.
struct Run {
    lane: usize,
    lanes: usize,
    /// The first of its chunks, and how many each lane has.
    first: usize,
    chunks: usize,
    /// Of parameters and gradients.
    windows: [Window; 2],
}

impl Run {
    /// Windows for what is in others too, if bindings hold them.
    fn widened(&self, [params, grads]: &[Window; 2], room: &Room) -> Option<[Window; 2]> {
        let widened = [room.join(&self.windows[0], params)?, room.join(&self.windows[1], grads)?];
        room.holds_both(&widened).then_some(widened)
    }
}

impl Borrowed {
    /// As few buckets as one pass over lanes and chunks finds.
    pub(super) fn buckets(&self, room: &Room) -> Vec<Bucket> {
        let mut chunks = self.arena.chunks();
        chunks.sort_by_key(|chunk| chunk.start);
        let mut all: Vec<Run> = Vec::new();
        for lane in 0..self.lanes.len() {
            let mut runs = self.runs(lane, &chunks, room);
            let before = all.last_mut().filter(|run| run.chunks == chunks.len() && !lane.is_multiple_of(room.lanes));
            let joined = match (before, &runs[..]) {
                (Some(run), [own]) => run.widened(&own.windows, room).map(|windows| (windows, run)),
                _ => None,
            };
            match joined {
                Some((windows, run)) => {
                    run.windows = windows;
                    run.lanes += 1;
                }
                None => all.append(&mut runs),
            }
        }
        all.into_iter().map(|run| self.bucket(run, &chunks, room)).collect()
    }

    /// A lane's runs, which do not cross a cut.
    fn runs(&self, lane: usize, chunks: &[Chunk], room: &Room) -> Vec<Run> {
        let (mut runs, mut first): (Vec<Run>, _) = (Vec::new(), 0);
        let tensors = chunks.chunk_by(|a, b| a.tensor == b.tensor);
        for piece in tensors.flat_map(|tensor| self.pieces(lane, tensor, room)) {
            let windows = self.windows(lane, piece);
            let before = runs.last_mut().filter(|_| !room.cuts_before(&piece[0]));
            match before.and_then(|run| Some((run.widened(&windows, room)?, run))) {
                Some((windows, run)) => {
                    run.windows = windows;
                    run.chunks += piece.len();
                }
                None => runs.push(Run { lane, lanes: 1, first, chunks: piece.len(), windows }),
            }
            first += piece.len();
        }
        runs
    }

    /// What of a tensor stays in one run: all of it where bindings can hold it, since some kernels want a matrix in one piece,
    /// else single chunks.
    fn pieces<'c>(&self, lane: usize, tensor: &'c [Chunk], room: &Room) -> std::slice::Chunks<'c, Chunk> {
        let whole = room.holds_both(&self.windows(lane, tensor));
        let cut = tensor[1..].iter().any(|chunk| room.cuts_before(chunk));
        tensor.chunks(if whole && !cut { tensor.len() } else { 1 })
    }

    fn bucket(&self, run: Run, chunks: &[Chunk], room: &Room) -> Bucket {
        let Run { lane, lanes, first, .. } = run;
        let [params, grads] = run.windows;
        let both = params.touches(&grads, room.align).then(|| room.join(&params, &grads)).flatten();
        let (joined, windows) = match both {
            Some(both) => (true, [both.clone(), both]),
            None => (false, [params, grads]),
        };
        let [params, grads] = windows.map(|window| Window { start: window.start / room.align * room.align, ..window });
        let chunks = &chunks[first..][..run.chunks];
        let starts = [params.start, grads.start];
        let of_lane = |lane| chunks.iter().flat_map(move |chunk| self.places(lane, chunk, starts));
        let places: Vec<[u32; 3]> = (lane..lane + lanes).flat_map(of_lane).collect();
        Bucket { lane, lanes, start: chunks[0].start, len: places.len() / lanes * ALIGN, params, grads, joined, places }
    }

    /// Where parameters and gradients of neighbouring chunks of one tensor lie.
    fn windows(&self, lane: usize, chunks: &[Chunk]) -> [Window; 2] {
        let index = chunks[0].tensor;
        let tensor = &self.lanes[lane][index];
        let first = chunks[0].start - self.arena.tensors()[index].offset;
        let range = first..first + chunks.iter().map(|chunk| chunk.len).sum::<usize>();
        [Window::of(&tensor.params, &range), Window::of(&tensor.grads, &range)]
    }

    /// The places of a chunk's blocks within windows that start at these bytes.
    fn places(&self, lane: usize, chunk: &Chunk, starts: [u64; 2]) -> impl Iterator<Item = [u32; 3]> + use<> {
        let [params, grads] = self.windows(lane, std::slice::from_ref(chunk)).map(|window| window.start);
        let firsts = [(params - starts[0]) / 4, (grads - starts[1]) / 4].map(|at| at as u32);
        let len = chunk.len;
        (0..len).step_by(ALIGN).map(move |at| {
            let [params, grads] = firsts.map(|first| first + at as u32);
            [params, grads, ALIGN.min(len - at) as u32]
        })
    }
}
