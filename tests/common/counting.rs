//! An engine that counts the calls that wait for its device.

use std::ops::Range;
use thalweg::Result;
use thalweg::plan::{Answer, Blueprint, BufferId, Engine, Machine, PlanId, Program, Tag, Values};

/// An engine whose programs count the calls that wait for the device.
pub struct Counting<E>(pub E);

pub struct CountingProgram<P> {
    pub inner: P,
    /// Reads, and waits for answers.
    pub waits: usize,
    pub requests: usize,
    /// Calls that run plans.
    pub runs: usize,
}

impl<E: Engine> Engine for Counting<E> {
    type Float = E::Float;
    type Program = CountingProgram<E::Program>;

    fn load(&self, blueprint: &Blueprint) -> Result<Self::Program> {
        Ok(CountingProgram { inner: self.0.load(blueprint)?, waits: 0, requests: 0, runs: 0 })
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl<P: Program> Program for CountingProgram<P> {
    type Float = P::Float;

    fn machine(&self) -> Machine {
        self.inner.machine()
    }

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        self.runs += 1;
        self.inner.repeat(plans, times)
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[P::Float]) -> Result<()> {
        self.inner.write(buffer, lane, offset, values)
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        self.inner.write_indices(buffer, lane, offset, values)
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<P::Float>> {
        self.waits += 1;
        self.inner.read(buffer, lane)
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<P::Float>> {
        self.waits += 1;
        self.inner.read_range(buffer, lane, range)
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.waits += 1;
        self.inner.read_indices(buffer, lane)
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.inner.read_halves(buffer, lane)
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        self.inner.write_halves(buffer, lane, offset, values)
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<P::Float>>> {
        self.waits += 1;
        self.inner.read_all(buffers)
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        self.requests += 1;
        self.inner.request(tag, buffers)
    }

    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<P::Float>>> {
        self.inner.arrived(tag)
    }

    fn settle(&mut self) -> Result<()> {
        self.waits += 1;
        self.inner.settle()
    }
}
