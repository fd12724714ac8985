//! Where tensors lie inside the buffers of parameters, gradients and planes.

use super::{ALIGN, BufferId, CHUNK, Span, TensorChunks, View};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// A tensor's place in an arena.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its first element in the arena, a multiple of [`ALIGN`].
    pub offset: usize,
    /// The place of its group among the rows of a step; 0 until a recipe is recorded, or [`Arena::group_by`] says another.
    pub group: usize,
    /// Its place in sums over all tensors, which need not be its place in the arena.
    pub rank: usize,
}

impl Tensor {
    /// Elements.
    pub fn len(&self) -> usize {
        elements(&self.shape).unwrap_or(usize::MAX)
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// This tensor in a buffer that is laid out as the arena.
    pub fn view(&self, buffer: BufferId) -> View {
        View { buffer, offset: self.offset, len: self.len() }
    }
}

/// The elements of a shape; none if their product, or the product of the sizes other than 0, overflows.
fn elements(shape: &[usize]) -> Option<usize> {
    let filled = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { filled })
}

/// The most elements of an arena: kernels count its blocks of [`ALIGN`] in 32 bits.
const MOST: usize = ALIGN.saturating_mul(u32::MAX as usize);

/// A part of a tensor whose sum is made on its own: at most [`CHUNK`] elements. Chunks start anew with each tensor, so that a
/// sum does not depend on where the tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// First element in the arena.
    pub start: usize,
    /// Elements, without padding.
    pub len: usize,
    /// The tensor's index.
    pub tensor: usize,
    /// The tensor's group.
    pub group: usize,
}

/// Tensors packed one after the other, each at a multiple of [`ALIGN`] elements, padded with zeros.
///
/// # Examples
///
/// ```
/// use thalweg::plan::Arena;
///
/// let mut arena = Arena::default();
/// arena.add("weight", &[3, 40])?;
/// arena.add("bias", &[40])?;
/// assert_eq!(arena.tensors()[1].offset, 128);
/// assert_eq!(arena.len(), 192);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arena {
    tensors: Vec<Tensor>,
    /// The tensors' indices, by name.
    names: HashMap<String, usize>,
    len: usize,
}

impl Arena {
    /// Adds a tensor behind the others and returns its index.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the name is taken, [`Error::Shape`] if there would be more than 2^38 elements.
    pub fn add(&mut self, name: &str, shape: &[usize]) -> Result<usize> {
        if self.names.contains_key(name) {
            return Err(Error::Duplicate { kind: "tensor".into(), name: name.into() });
        }
        let end = elements(shape).filter(|&len| len <= MOST - self.len).map(|len| self.len + len.next_multiple_of(ALIGN));
        let Some(end) = end.filter(|&end| end <= MOST) else {
            let expected = format!("at most {} elements beside the {} before it", MOST - self.len, self.len);
            return Err(Error::shape(format!("tensor '{name}'"), expected, format!("shape {shape:?}")));
        };
        self.names.insert(name.into(), self.tensors.len());
        let rank = self.tensors.len();
        let tensor = Tensor { name: name.into(), shape: shape.to_vec(), offset: self.len, group: 0, rank };
        self.len = end;
        self.tensors.push(tensor);
        Ok(self.tensors.len() - 1)
    }

    /// The tensors in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// [`Error::Unknown`], listing the names.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.names.get(name).map(|&index| &self.tensors[index]).ok_or_else(|| {
            let known: Vec<&str> = self.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            Error::unknown("tensor", name, &known)
        })
    }

    /// Elements, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives each tensor its group.
    pub fn group_by(&mut self, mut group: impl FnMut(&Tensor) -> usize) {
        self.tensors.iter_mut().for_each(|tensor| tensor.group = group(tensor));
    }

    /// Gives each tensor its place in sums over all tensors: the i-th tensor of the arena comes as the `ranks[i]`-th.
    pub(crate) fn rank(&mut self, ranks: &[usize]) {
        self.tensors.iter_mut().zip(ranks).for_each(|(tensor, &rank)| tensor.rank = rank);
    }

    /// The chunks of all tensors, in the order of sums.
    pub fn chunks(&self) -> Vec<Chunk> {
        let of = |(index, tensor): (usize, &Tensor)| {
            let (offset, len, group) = (tensor.offset, tensor.len(), tensor.group);
            let chunk = move |at: usize| Chunk { start: offset + at, len: CHUNK.min(len - at), tensor: index, group };
            (0..len).step_by(CHUNK).map(chunk)
        };
        let mut tensors: Vec<(usize, &Tensor)> = self.tensors.iter().enumerate().collect();
        tensors.sort_by_key(|(_, tensor)| tensor.rank);
        tensors.into_iter().flat_map(of).collect()
    }

    /// Where a buffer may be cut: at the chunks' first elements.
    pub(super) fn cuts(&self) -> Arc<[usize]> {
        let mut cuts: Vec<usize> = self.chunks().iter().map(|chunk| chunk.start).collect();
        cuts.sort_unstable();
        cuts.into()
    }

    /// The tensors' first elements, empty tensors left out.
    pub(super) fn starts(&self) -> Arc<[usize]> {
        self.tensors.iter().filter(|tensor| !tensor.is_empty()).map(|tensor| tensor.offset).collect()
    }

    /// One span per tensor.
    pub fn spans(&self) -> Vec<Span> {
        let (mut places, mut end) = (vec![0; self.tensors.len()], 0);
        let mut by_rank: Vec<(usize, &Tensor)> = self.tensors.iter().enumerate().collect();
        by_rank.sort_by_key(|(_, tensor)| tensor.rank);
        for (index, tensor) in by_rank {
            places[index] = end;
            end += tensor.len().next_multiple_of(ALIGN);
        }
        let of = |(tensor, place): (&Tensor, usize)| {
            let &Tensor { offset: start, group, rank, .. } = tensor;
            Span { start, place, len: tensor.len().next_multiple_of(ALIGN), group, tensor: rank }
        };
        self.tensors.iter().zip(places).map(of).filter(|span| span.len > 0).collect()
    }

    /// One span per run of tensors of one group.
    pub fn group_spans(&self) -> Vec<Span> {
        Self::joined(self.spans())
    }

    /// Spans in order, neighbours of one group as one.
    pub(crate) fn joined(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
        let mut runs: Vec<Span> = Vec::new();
        for span in spans {
            match runs.last_mut() {
                Some(run) if run.group == span.group && run.ends_before(&span) => run.len += span.len,
                _ => runs.push(Span { tensor: 0, ..span }),
            }
        }
        runs
    }

    /// The tensors with their places among these chunks, in the order of sums: the chunks of a tensor lie side by side.
    pub fn parts(&self, chunks: &[Chunk]) -> Vec<TensorChunks> {
        let mut firsts = vec![None; self.tensors.len()];
        for (at, chunk) in chunks.iter().enumerate() {
            firsts[chunk.tensor].get_or_insert(at);
        }
        let mut tensors: Vec<(&Tensor, Option<usize>)> = self.tensors.iter().zip(firsts).collect();
        tensors.sort_by_key(|(tensor, _)| tensor.rank);
        let of = |(tensor, first): (&Tensor, Option<usize>)| TensorChunks {
            chunk: first.unwrap_or(0),
            chunks: first.map_or(0, |_| tensor.len().div_ceil(CHUNK)),
            len: tensor.len(),
            group: tensor.group,
            tensor: tensor.rank,
        };
        tensors.into_iter().map(of).collect()
    }

    /// The group of each block of [`ALIGN`] elements, one after the other.
    pub fn groups(&self) -> impl Iterator<Item = usize> {
        let blocks = |tensor: &Tensor| tensor.len().div_ceil(ALIGN);
        self.tensors.iter().flat_map(move |tensor| std::iter::repeat_n(tensor.group, blocks(tensor)))
    }
}
