//! What an engine promises.

#[cfg(feature = "checkpoint")]
use super::Fresh;
use super::{Blueprint, BufferId, Layout, PlanId};
use crate::error::{Error, Result, range};
use crate::rule::Real;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that can run plans.
pub trait Engine {
    /// Its float type.
    type Float: Real;
    /// A blueprint, ready to run.
    type Program: Program<Float = Self::Float>;

    /// Allocates a blueprint's buffers, filled with zeros, and prepares its plans on them.
    ///
    /// # Errors
    /// A plan that does not fit the layout, or a request beyond the device's limits or memory.
    fn load(&self, blueprint: &Blueprint) -> Result<Self::Program>;

    /// Whether there is memory for the buffers of the layout. It is asked before long lists of their parts are made, so that a
    /// request that is far too large fails early. Default: it is not known.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), naming a buffer.
    fn check_room(&self, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// A short description for people: engine and device.
    fn describe(&self) -> String;
}

/// Whether a program has these plans.
pub(crate) fn check_plans(ids: &[PlanId], plans: usize) -> Result<()> {
    let unknown = ids.iter().find(|id| id.0 >= plans);
    unknown.map_or(Ok(()), |id| Err(Error::setting("plan", id.0, &format!("below {plans}"))))
}

/// Floats of 16 bits are written two at a time.
pub(crate) fn check_even(offset: usize, len: usize) -> Result<()> {
    let found = format!("{len} from element {offset} on");
    range::require(offset.is_multiple_of(2) && len.is_multiple_of(2), "floats of 16 bits to write", found, "two at a time")
}

/// What a program runs on, as files of it say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// The engine: `gpu` or `cpu`, or that of another crate.
    pub engine: &'static str,
    /// The adapter's name; of the CPU engine its description.
    pub adapter: String,
}

impl Machine {
    /// An engine on an adapter.
    pub fn new(engine: &'static str, adapter: impl Into<String>) -> Self {
        Self { engine, adapter: adapter.into() }
    }
}

/// Buffers with plans prepared on them.
///
/// Writes and runs take effect in the order of their calls; only reads and [`Program::settle`] wait for the device.
pub trait Program {
    /// The engine's float type.
    type Float: Real;

    /// What it runs on.
    fn machine(&self) -> Machine;

    /// Runs plans one after the other, and repeats the whole sequence `times` times. The engine decides how much goes into one
    /// submission.
    ///
    /// # Errors
    /// A plan that does not exist, or a lost device.
    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()>;

    /// Runs a plan `times` times.
    ///
    /// # Errors
    /// As for [`Program::repeat`].
    fn run(&mut self, plan: PlanId, times: usize) -> Result<()> {
        self.repeat(&[plan], times)
    }

    /// Writes floats into a lane's buffer, from element `offset` on. Lane 0 also stands for a shared buffer.
    ///
    /// # Errors
    /// Too many values, a lane that does not exist, a buffer of indices, or a lost device.
    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[Self::Float]) -> Result<()>;

    /// Fresh memory for a lane's buffer of floats, for [`Program::replace`]. None where copying into the buffer is as good,
    /// since it is small, in use or on a device; where there is no memory, or no such buffer.
    #[cfg(feature = "checkpoint")]
    fn fresh(&self, _buffer: BufferId, _lane: usize) -> Option<Fresh<Self::Float>> {
        None
    }

    /// Puts fresh memory in the place of a buffer that is as long. An engine that has given none writes what is in it.
    ///
    /// # Errors
    /// Memory of another length, or as for [`Program::write`].
    #[cfg(feature = "checkpoint")]
    fn replace(&mut self, buffer: BufferId, lane: usize, fresh: Fresh<Self::Float>) -> Result<()> {
        self.write(buffer, lane, 0, &fresh)
    }

    /// [`Program::write`] for a buffer of indices.
    ///
    /// # Errors
    /// As for floats.
    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()>;

    /// Writes the first `len` indices of a buffer in each of the first `lanes` lanes: `fill` is given a lane and memory for its
    /// indices. An engine may call it for several lanes at the same time.
    ///
    /// # Errors
    /// As for [`Program::write_indices`].
    fn fill_indices(
        &mut self,
        buffer: BufferId,
        lanes: usize,
        len: usize,
        fill: &(dyn Fn(usize, &mut [u32]) + Sync),
    ) -> Result<()> {
        let mut values = vec![0; len];
        (0..lanes).try_for_each(|lane| {
            fill(lane, &mut values);
            self.write_indices(buffer, lane, 0, &values)
        })
    }

    /// Waits for the device and reads a lane's floats.
    ///
    /// # Errors
    /// A lane that does not exist, a buffer of indices, or a lost device.
    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<Self::Float>>;

    /// [`Program::read`] for a range of a lane's elements. It need not read more than that.
    ///
    /// # Errors
    /// As for [`Program::read`], and a range beyond the buffer.
    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<Self::Float>>;

    /// [`Program::read_range`] into a slice, from element `offset` on.
    ///
    /// # Errors
    /// As for [`Program::read_range`].
    fn read_to(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &mut [Self::Float]) -> Result<()> {
        values.copy_from_slice(&self.read_range(buffer, lane, offset..offset + values.len())?);
        Ok(())
    }

    /// Reads pieces of a lane's elements, one after the other: `take` is given the number of a piece and its values, which are
    /// on the host by then. An engine may bring the next piece to the host meanwhile.
    ///
    /// # Errors
    /// As for [`Program::read_range`].
    fn read_pieces(
        &mut self,
        buffer: BufferId,
        lane: usize,
        pieces: &[Range<usize>],
        take: &mut dyn FnMut(usize, &[Self::Float]),
    ) -> Result<()> {
        pieces.iter().enumerate().try_for_each(|(number, piece)| {
            take(number, &self.read_range(buffer, lane, piece.clone())?);
            Ok(())
        })
    }

    /// [`Program::read`] for a buffer of indices.
    ///
    /// # Errors
    /// As for floats.
    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>>;

    /// [`Program::read`] for a buffer of floats of 16 bits: their bits.
    ///
    /// # Errors
    /// As for floats.
    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>>;

    /// [`Program::write`] for a buffer of floats of 16 bits; `offset` and the number of values are even.
    ///
    /// # Errors
    /// As for floats.
    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()>;

    /// Reads all lanes of several buffers, each of any kind; waits for the device once.
    ///
    /// # Errors
    /// A buffer of another layout, memory that there is not, or a lost device.
    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<Self::Float>>>;

    /// Reads parts of buffers of floats, each into its place; waits for the device once.
    ///
    /// # Errors
    /// As for [`Program::read_range`].
    fn read_parts(&mut self, parts: &mut [Reading<'_, Self::Float>]) -> Result<()> {
        let buffers = Reading::buffers(parts);
        let found = self.read_all(&buffers)?;
        Reading::fill(parts, &buffers, found)
    }

    /// Asks for all lanes' values of these buffers as they are after the runs so far, without waiting. The answer is that
    /// tag's. Of several requests under way, an engine may drop the newest or the oldest.
    ///
    /// # Errors
    /// A buffer in more than one piece, or a lost device.
    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()>;

    /// The oldest answer to [`Program::request`] under this tag that has arrived and was not given out, without waiting.
    /// Answers under other tags stay. Answers that were not fetched before the device is lost are lost too.
    ///
    /// # Errors
    /// A lost device.
    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<Self::Float>>>;

    /// Waits until every request is answered; [`Program::arrived`] takes the answers.
    ///
    /// # Errors
    /// A lost device, or [`Error::Timeout`](crate::Error::Timeout).
    fn settle(&mut self) -> Result<()>;
}

/// Tells answers to requests apart: each asker has its own tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(u64);

impl Tag {
    /// Another tag than all before it in this process.
    #[expect(clippy::new_without_default, reason = "a default would be the same every time")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Neighbouring floats of a lane's buffer, and where they are to be read to.
#[derive(Debug)]
pub struct Reading<'a, F> {
    /// The buffer.
    pub buffer: BufferId,
    /// The lane; 0 for a buffer that lanes share.
    pub lane: usize,
    /// The first element.
    pub offset: usize,
    /// Where they go, and how many.
    pub values: &'a mut [F],
}

impl<F: Copy> Reading<'_, F> {
    /// The buffers of all parts, each once.
    pub(crate) fn buffers(parts: &[Self]) -> Vec<BufferId> {
        let mut buffers: Vec<BufferId> = parts.iter().map(|part| part.buffer).collect();
        buffers.sort_unstable();
        buffers.dedup();
        buffers
    }

    /// Fills all parts from what was found in their buffers.
    pub(crate) fn fill(parts: &mut [Self], buffers: &[BufferId], found: Vec<Values<F>>) -> Result<()> {
        // The values of a buffer are given up once they are copied, and memory to copy to may come into use only then.
        for (&buffer, values) in buffers.iter().zip(found) {
            for part in parts.iter_mut().filter(|part| part.buffer == buffer) {
                let lanes = if let Values::Floats(lanes) = &values { &lanes[..] } else { &[] };
                let own = lanes.get(part.lane).and_then(|own| own.get(part.offset..)?.get(..part.values.len()));
                let missing = || Error::shape("part of a buffer to read", "floats of a lane that it has", "others");
                part.values.copy_from_slice(own.ok_or_else(missing)?);
            }
        }
        Ok(())
    }
}

/// Values of a buffer, by lane; one that lanes share has a single one.
#[derive(Debug, Clone, PartialEq)]
pub enum Values<F> {
    /// Floats.
    Floats(Vec<Vec<F>>),
    /// Indices.
    Indices(Vec<Vec<u32>>),
    /// The bits of floats of 16 bits.
    Halves(Vec<Vec<u16>>),
}

/// What came back for a request: the values of its buffers, one buffer after the other, each with one lane after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<F> {
    /// That of the request.
    pub tag: Tag,
    /// Of the buffers of floats.
    pub floats: Vec<F>,
    /// Of the buffers of indices.
    pub indices: Vec<u32>,
}

impl<F> Default for Answer<F> {
    fn default() -> Self {
        Self { tag: Tag(0), floats: Vec::new(), indices: Vec::new() }
    }
}

impl<F> Answer<F> {
    pub(crate) fn clear(&mut self) {
        self.floats.clear();
        self.indices.clear();
    }
}
