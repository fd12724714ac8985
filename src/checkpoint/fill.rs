//! Tensors of a file on their way into memory: read piece by piece, and looked at while each piece is in the cache.

use super::tensors::{Dtype, StoredTensor, all_finite};
use blake3::Hasher;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Where tensors of a file are read to, by their names.
pub(crate) type Rooms<'a> = BTreeMap<String, Room<'a>>;

/// Where a tensor of this type and shape is read to: slices that are filled one after the other, little-endian.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub slices: Vec<&'a mut [u8]>,
}

impl Room<'_> {
    pub(super) fn fits(&self, dtype: Dtype, shape: &[usize], len: usize) -> bool {
        let own: usize = self.slices.iter().map(|slice| slice.len()).sum();
        self.dtype == dtype && self.shape == shape && own == len
    }
}

/// Bytes that are hashed and written, or read and hashed, at once: few enough to be still in the cache for the second of the
/// two.
pub(super) const PIECE: usize = 256 << 10;

/// Bytes from which a second thread is worth its start.
const LARGE: usize = 8 << 20;

/// Pieces that may wait for the disk, and for their hash.
const WAITING: usize = 8;

/// Bytes of a page; where pages are larger, some are written to more than once.
const PAGE: usize = 4096;

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) enum Problem {
    Read(std::io::Error),
    Damaged(String),
    Memory(u64),
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

/// A tensor of the file, and where it is read to.
pub(super) enum Target<'a> {
    Own(StoredTensor),
    Room(Room<'a>),
}

impl Target<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Own(tensor) => tensor.dtype,
            Self::Room(room) => room.dtype,
        }
    }

    fn slices(&mut self) -> Vec<&mut [u8]> {
        match self {
            Self::Own(tensor) => vec![&mut tensor.bytes],
            Self::Room(room) => room.slices.iter_mut().map(|slice| &mut **slice).collect(),
        }
    }
}

/// Bytes of a tensor that are read at once.
struct Piece<'a> {
    /// Which tensor of the file, in the order of their data.
    tensor: usize,
    dtype: Dtype,
    bytes: &'a mut [u8],
}

/// The pieces of all tensors, in their order.
fn pieces<'a>(targets: &'a mut [(String, Target<'_>)]) -> impl Iterator<Item = Piece<'a>> {
    targets.iter_mut().enumerate().flat_map(|(tensor, (_, target))| {
        let dtype = target.dtype();
        let bytes = target.slices().into_iter().flat_map(|slice| slice.chunks_mut(PIECE));
        bytes.map(move |bytes| Piece { tensor, dtype, bytes })
    })
}

/// What is found out about bytes while they are in the cache.
#[derive(Default)]
pub(super) struct Seen {
    pub hasher: Hasher,
    /// Tensors that have an infinity or NaN.
    pub not_finite: BTreeSet<usize>,
}

impl Seen {
    fn look(&mut self, piece: &Piece) {
        self.hasher.update(piece.bytes);
        if !all_finite(piece.dtype, piece.bytes) {
            self.not_finite.insert(piece.tensor);
        }
    }
}

/// Reads all tensors, and looks at them.
pub(super) fn fill(source: &mut impl Read, targets: &mut [(String, Target)], seen: Seen) -> Result<Seen, Problem> {
    let len: usize = targets.iter_mut().flat_map(|(_, target)| target.slices()).map(|slice| slice.len()).sum();
    let pieces = pieces(targets);
    if len < LARGE { fill_alone(source, pieces, seen) } else { fill_in_turn(source, pieces, seen) }
}

fn fill_alone<'a>(source: &mut impl Read, pieces: impl Iterator<Item = Piece<'a>>, mut seen: Seen) -> Result<Seen, Problem> {
    for piece in pieces {
        read_exactly(source, piece.bytes)?;
        seen.look(&piece);
    }
    Ok(seen)
}

/// [`fill_alone`] with two more threads, so that a file takes no longer than its disk: one has the system find memory for the pieces
/// that come next, one looks at what was read.
fn fill_in_turn<'a>(
    source: &mut impl Read,
    pieces: impl Iterator<Item = Piece<'a>> + Send,
    mut seen: Seen,
) -> Result<Seen, Problem> {
    thread::scope(|scope| {
        let (ready, to_read) = sync_channel::<Piece>(WAITING);
        let (read, to_look_at) = sync_channel::<Piece>(WAITING);
        let named = |name: &str| thread::Builder::new().name(name.into());
        let preparing = move || {
            for piece in pieces {
                // A page is made when its first byte is written.
                piece.bytes.iter_mut().step_by(PAGE).for_each(|byte| *byte = 0);
                // Nobody waits for more where the reader has met an error.
                if ready.send(piece).is_err() {
                    return;
                }
            }
        };
        named("pages").spawn_scoped(scope, preparing).map_err(Problem::Read)?;
        let looking = move || {
            to_look_at.into_iter().for_each(|piece| seen.look(&piece));
            seen
        };
        let looking = named("hash").spawn_scoped(scope, looking).map_err(Problem::Read)?;
        let done = to_read.into_iter().try_for_each(|piece| {
            read_exactly(source, piece.bytes)?;
            // The thread ends only after the last piece.
            let _ = read.send(piece);
            Ok(())
        });
        drop(read);
        let seen = looking.join().unwrap_or_else(|panic| resume_unwind(panic));
        done.map(|()| seen)
    })
}

/// The next bytes of a source, which has at least as many.
pub(super) fn read_exactly(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), Problem> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Problem::Damaged("it became shorter while it was read".into()),
        _ => Problem::Read(error),
    })
}
