//! Sends what each rank says to all others, while it does something else.

use crate::error::Result;
use crate::flight::{Flight, Tag};
use crate::world::{Datum, World};
use std::ops::ControlFlow;

/// Values of every rank for every rank, which travel while this rank does something else.
#[derive(Debug)]
pub(crate) struct Gathering<'w, T> {
    /// By rank.
    flight: Flight<'w, T, usize>,
    said: Vec<Vec<T>>,
}

impl<'w, T: Datum> Gathering<'w, T> {
    /// Sends this rank's values to all ranks, and takes `counts[r]` values from each rank r.
    pub fn start(world: &'w World, tag: Tag, own: Vec<T>, counts: &[usize]) -> Result<Self> {
        let (mut flight, rank) = (Flight::new(world, tag), world.rank());
        world.room("what a rank says", own.len(), &[counts[rank]])?;
        for (from, &count) in counts.iter().enumerate().filter(|(other, _)| *other != rank) {
            flight.receive(from, vec![T::zeroed(); count], from)?;
        }
        flight.send(rank, own, (0..counts.len()).filter(|other| *other != rank))?;
        Ok(Self { flight, said: vec![Vec::new(); counts.len()] })
    }

    /// Lets MPI get on; says whether anything has come.
    pub fn poll(&mut self) -> Result<bool> {
        let moved = self.flight.poll()?;
        while let Some(message) = self.flight.arrived() {
            self.said[message.key] = message.values;
        }
        Ok(moved)
    }

    /// Whether all ranks have said it, and know what this one says.
    pub fn is_over(&self) -> bool {
        self.flight.is_over()
    }

    /// What was said, rank after rank, once it is over.
    pub fn said(self) -> Vec<T> {
        self.said.concat()
    }

    /// Waits until it is over.
    pub fn wait(mut self, world: &World, waiting: &'static str) -> Result<Vec<T>> {
        world.until(waiting, || {
            let moved = self.poll()?;
            Ok(if self.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(moved) })
        })?;
        Ok(self.said())
    }
}
