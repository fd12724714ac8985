//! Memory that takes the place of a buffer's.

use crate::memory::Memory;
use crate::rule::Real;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Memory for all elements of one lane's buffer of floats, all zero, that the engine does not use yet: [`Program::fresh`] gives
/// it, and [`Program::replace`] takes it. What is read from a file into it needs no copy, and the buffer stays as it is until
/// all is there.
///
/// [`Program::fresh`]: super::Program::fresh
/// [`Program::replace`]: super::Program::replace
#[derive(Debug)]
pub struct Fresh<F> {
    memory: Memory,
    len: usize,
    float: PhantomData<F>,
}

impl<F> Fresh<F> {
    /// Memory of at least `len` elements.
    pub(crate) fn new(memory: Memory, len: usize) -> Self {
        Self { memory, len, float: PhantomData }
    }

    pub(crate) fn into_memory(self) -> Memory {
        self.memory
    }
}

impl<F: Real> Deref for Fresh<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        &self.memory.as_slice()[..self.len]
    }
}

impl<F: Real> DerefMut for Fresh<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.memory.as_mut_slice()[..self.len]
    }
}
