//! The bytes of a tensor.

use super::tensors::Dtype;
use crate::error::{Error, Result};
use crate::memory::Memory;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The bytes of a tensor. They begin at a cache line, so numbers of any type are read and written in place.
///
/// # Examples
///
/// ```
/// use thalweg::checkpoint::Bytes;
///
/// let bytes = Bytes::from(vec![1, 2, 3]);
/// assert_eq!(bytes[1..], [2, 3]);
/// ```
pub struct Bytes {
    memory: Memory,
    len: usize,
    /// Whoever has read them saw that they are finite, as elements of this type.
    finite: Option<Dtype>,
}

impl Bytes {
    /// As many zeros, for the tensor of this name.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn zeros(name: &str, len: usize) -> Result<Self> {
        let memory = Memory::passing(len, 0);
        let memory = memory.ok_or_else(|| Error::OutOfMemory { what: format!("tensor '{name}'"), bytes: len as u64 })?;
        Ok(Self { memory, len, finite: None })
    }

    /// Notes that all are finite, until somebody changes them.
    pub(super) fn set_finite(&mut self, dtype: Dtype) {
        self.finite = Some(dtype);
    }

    /// Whether it is known that all are finite.
    pub(super) fn known_finite(&self, dtype: Dtype) -> bool {
        self.finite == Some(dtype)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.as_slice()[..self.len]
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.finite = None;
        &mut self.memory.as_mut_slice()[..self.len]
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        let len = bytes.len();
        // Where there is too little memory this ends as a copy of any vector does.
        let memory =
            Memory::passing(len, 0).unwrap_or_else(|| Memory::Lines(vec![bytemuck::Zeroable::zeroed(); len.div_ceil(64)]));
        let mut copy = Self { memory, len, finite: None };
        copy.copy_from_slice(bytes);
        copy
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        bytes[..].into()
    }
}

impl Clone for Bytes {
    fn clone(&self) -> Self {
        self[..].into()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}
