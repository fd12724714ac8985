//! The tensors of a checkpoint, and which elements of them a range of the arena has.

use crate::error::Result;
use crate::exchange::ranges;
use crate::world::World;
use serde_json::{Value, json};
use std::ops::Range;
use thalweg::checkpoint::{Dtype, StoredTensor, Tensors};
use thalweg::plan::{Arena, Tensor};

/// A tensor of a checkpoint.
pub struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Its first element in the arena and its elements per lane, where it is laid out by the arena. Else rank 0 has it.
    pub place: Option<[usize; 2]>,
}

impl Entry {
    pub fn new(name: &str, tensor: &StoredTensor, arena: &Arena) -> Self {
        let place = place_of(name, tensor, arena).map(|of| [of.offset, of.len()]);
        Self { name: name.into(), dtype: tensor.dtype, shape: tensor.shape.clone(), place }
    }

    pub fn json(&self) -> Value {
        json!({ "name": self.name, "dtype": self.dtype.name(), "shape": self.shape, "place": self.place })
    }

    pub fn of(value: &Value) -> Option<Self> {
        let number = |value: &Value| Some(value.as_u64()? as usize);
        let place = match &value["place"] {
            Value::Null => None,
            place => Some([number(&place[0])?, number(&place[1])?]),
        };
        let dtype = Dtype::by_name(value["dtype"].as_str()?)?;
        let shape = value["shape"].as_array()?.iter().map(number).collect::<Option<_>>()?;
        Some(Self { name: value["name"].as_str()?.into(), dtype, shape, place })
    }

    /// Its bytes, of all lanes.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// The end of its elements in the arena.
    pub fn end(&self) -> Option<usize> {
        self.place.map(|[start, len]| start + len)
    }

    /// The bytes of a lane, and where a range of the arena lies in them; nothing where it has none of them.
    fn within(&self, range: &Range<usize>) -> Option<(usize, Range<usize>)> {
        let ([start, len], size) = (self.place?, self.dtype.size());
        let (from, to) = (range.start.clamp(start, start + len), range.end.clamp(start, start + len));
        (from < to).then(|| (len * size, (from - start) * size..(to - start) * size))
    }

    /// How many bytes a range has of all lanes.
    pub fn bytes_in(&self, range: &Range<usize>) -> usize {
        self.within(range).map_or(0, |(lane, own)| self.bytes() / lane * own.len())
    }

    /// What a range has, lane after lane.
    pub fn cut(&self, range: &Range<usize>, bytes: &[u8]) -> Vec<u8> {
        let Some((lane, own)) = self.within(range) else { return Vec::new() };
        bytes.chunks_exact(lane).flat_map(|lane| &lane[own.clone()]).copied().collect()
    }

    /// Puts in what [`Entry::cut`] gave.
    pub fn paste(&self, range: &Range<usize>, cut: &[u8], bytes: &mut [u8]) {
        let Some((lane, own)) = self.within(range) else { return };
        bytes.chunks_exact_mut(lane).zip(cut.chunks_exact(own.len())).for_each(|(to, from)| {
            to[own.clone()].copy_from_slice(from);
        });
    }
}

/// What begins the names of tensors that are laid out by the arena.
const LAID_OUT: [&str; 4] = ["param.", "state.", "average.", "slow."];

/// The tensor of an arena that a tensor of a file belongs to, and has the shape of: `param.NAME`, `state.NAME.PLANE`, and so
/// on.
fn place_of<'a>(name: &str, tensor: &StoredTensor, arena: &'a Arena) -> Option<&'a Tensor> {
    let rest = LAID_OUT.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let named = |of: &&Tensor| rest == of.name || rest.strip_prefix(of.name.as_str()).is_some_and(|rest| rest.starts_with('.'));
    let fits = |of: &&Tensor| !of.is_empty() && tensor.shape.ends_with(&of.shape) && tensor.len().is_multiple_of(of.len());
    arena.tensors().iter().filter(named).filter(fits).max_by_key(|of| of.name.len())
}

/// The tensors of an optimizer or trainer of which each rank has its own range, whole on every rank. They travel one by one;
/// what is not laid out by the arena stays as it is.
///
/// # Errors
/// [`Error::NoAnswer`](crate::Error::NoAnswer), or [`Error::TooLarge`](crate::Error::TooLarge) for a tensor of 2 GiB or more.
pub fn joined(world: &World, tensors: &Tensors, arena: &Arena) -> Result<Tensors> {
    let ranges = ranges(arena, world.ranks());
    let mut whole = Tensors::default();
    whole.texts.clone_from(&tensors.texts);
    for (name, tensor) in tensors.iter() {
        let entry = Entry::new(name, tensor, arena);
        if entry.place.is_none() {
            whole.insert(name, tensor.clone())?;
            continue;
        }
        let counts: Vec<usize> = ranges.iter().map(|range| entry.bytes_in(range)).collect();
        let (mut own, mut all) = (entry.cut(&ranges[world.rank()], &tensor.bytes), vec![0; entry.bytes()]);
        world.gather_all("parts of what is saved", &mut own, &mut all, &counts)?;
        let (mut bytes, mut rest) = (vec![0; entry.bytes()], &all[..]);
        for (range, count) in ranges.iter().zip(counts) {
            let (cut, behind) = rest.split_at(count);
            entry.paste(range, cut, &mut bytes);
            rest = behind;
        }
        whole.insert(name, StoredTensor::new(name, entry.dtype, &entry.shape, bytes)?)?;
    }
    Ok(whole)
}
