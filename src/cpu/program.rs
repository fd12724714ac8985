//! Programs on the CPU engine: their memory, and what the host writes and reads.

use super::matmul::Float;
use super::phase::Phase;
use super::share::Threads;
use super::store::Store;
#[cfg(feature = "checkpoint")]
use crate::error::Error;
use crate::error::Result;
#[cfg(feature = "checkpoint")]
use crate::plan::Fresh;
use crate::plan::{
    Answer, Buffer, BufferId, Kind, Layout, Machine, PlanId, Program, Reading, Scope, Tag, Values, check_even, check_plans,
    copied,
};
use std::ops::Range;

/// A program on the CPU engine.
#[derive(Debug)]
pub struct CpuProgram<F> {
    pub(super) threads: Threads,
    pub(super) layout: Layout,
    pub(super) shared: Store<F>,
    pub(super) lanes: Vec<Store<F>>,
    pub(super) phases: Vec<Vec<Phase>>,
    /// The newest answer under each tag, and whether it has still to be given out.
    pub(super) answers: Vec<(Answer<F>, bool)>,
}

/// Tags whose newest answers are kept.
const ASKERS: usize = 64;

impl<F: Float> CpuProgram<F> {
    /// A lane's floats, in place.
    ///
    /// # Errors
    /// A lane that does not exist, or a buffer of indices.
    pub fn floats(&self, buffer: BufferId, lane: usize) -> Result<&[F]> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, 0)?;
        Ok(self.store(buffer, lane).floats(buffer))
    }

    /// A lane's floats, to be changed in place.
    ///
    /// # Errors
    /// A lane that does not exist, or a buffer of indices.
    pub fn floats_mut(&mut self, buffer: BufferId, lane: usize) -> Result<&mut [F]> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, 0)?;
        Ok(self.store_mut(buffer, lane).floats_mut(buffer))
    }

    fn store(&self, buffer: BufferId, lane: usize) -> &Store<F> {
        match self.layout.declared(buffer).scope {
            Scope::Lane => &self.lanes[lane],
            Scope::Shared => &self.shared,
        }
    }

    fn store_mut(&mut self, buffer: BufferId, lane: usize) -> &mut Store<F> {
        match self.layout.declared(buffer).scope {
            Scope::Lane => &mut self.lanes[lane],
            Scope::Shared => &mut self.shared,
        }
    }
}

impl<F: Float> Program for CpuProgram<F> {
    type Float = F;

    fn machine(&self) -> Machine {
        Machine::new("cpu", describe::<F>(self.threads))
    }

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        check_plans(plans, self.phases.len())?;
        self.run_all(plans, times)
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[F]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Float, lane, offset, values.len())?;
        let threads = self.threads;
        threads.copy(values, &mut self.store_mut(buffer, lane).floats_mut(buffer)[offset..][..values.len()]);
        Ok(())
    }

    #[cfg(feature = "checkpoint")]
    fn fresh(&self, buffer: BufferId, lane: usize) -> Option<Fresh<F>> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, 0).ok()?;
        self.store(buffer, lane).fresh(buffer, self.layout.declared(buffer))
    }

    #[cfg(feature = "checkpoint")]
    fn replace(&mut self, buffer: BufferId, lane: usize, fresh: Fresh<F>) -> Result<()> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, fresh.len())?;
        let declared = self.layout.declared(buffer);
        if fresh.len() != declared.len {
            let what = format!("memory for buffer '{}'", declared.name);
            return Err(Error::shape(what, format!("{} elements", declared.len), fresh.len()));
        }
        self.store_mut(buffer, lane).replace(buffer, fresh);
        Ok(())
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Index, lane, offset, values.len())?;
        self.store_mut(buffer, lane).indices_mut(buffer)[offset..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn fill_indices(
        &mut self,
        buffer: BufferId,
        lanes: usize,
        len: usize,
        fill: &(dyn Fn(usize, &mut [u32]) + Sync),
    ) -> Result<()> {
        let Some(last) = lanes.checked_sub(1) else { return Ok(()) };
        self.layout.check_access(buffer, Kind::Index, last, 0, len)?;
        let of = |(lane, store): (usize, &mut Store<F>)| fill(lane, &mut store.indices_mut(buffer)[..len]);
        match self.layout.declared(buffer).scope {
            Scope::Lane => self.threads.in_order(lanes, self.lanes.iter_mut().take(lanes).enumerate(), of),
            Scope::Shared => (0..lanes).for_each(|lane| of((lane, &mut self.shared))),
        }
        Ok(())
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<F>> {
        copied(&self.layout.known(buffer)?.name, self.floats(buffer, lane)?)
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<F>> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, range.end)?;
        copied(&self.layout.known(buffer)?.name, self.floats(buffer, lane)?.get(range).unwrap_or_default())
    }

    fn read_to(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &mut [F]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Float, lane, offset, values.len())?;
        self.threads.copy(&self.floats(buffer, lane)?[offset..][..values.len()], values);
        Ok(())
    }

    fn read_pieces(
        &mut self,
        buffer: BufferId,
        lane: usize,
        pieces: &[Range<usize>],
        take: &mut dyn FnMut(usize, &[F]),
    ) -> Result<()> {
        pieces.iter().try_for_each(|piece| self.layout.check_access(buffer, Kind::Float, lane, 0, piece.end))?;
        let values = self.floats(buffer, lane)?;
        pieces.iter().enumerate().for_each(|(number, piece)| take(number, values.get(piece.clone()).unwrap_or_default()));
        Ok(())
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.layout.check_access(buffer, Kind::Index, lane, 0, 0)?;
        Ok(self.store_mut(buffer, lane).indices(buffer).to_vec())
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.layout.check_access(buffer, Kind::Half, lane, 0, 0)?;
        Ok(self.store_mut(buffer, lane).halves(buffer).to_vec())
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Half, lane, offset, values.len())?;
        check_even(offset, values.len())?;
        self.store_mut(buffer, lane).halves_mut(buffer)[offset..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<F>>> {
        fn all<'a, F: Float, T: Copy + 'a>(
            declared: &Buffer,
            owners: &'a [Store<F>],
            own: impl Fn(&'a Store<F>) -> &'a [T],
        ) -> Result<Vec<Vec<T>>> {
            owners.iter().map(|owner| copied(&declared.name, own(owner))).collect()
        }
        let values = |&id| {
            let declared = self.layout.known(id)?;
            let owners = if declared.scope == Scope::Lane { &self.lanes[..] } else { std::slice::from_ref(&self.shared) };
            Ok(match declared.kind {
                Kind::Float => Values::Floats(all(declared, owners, |owner| owner.floats(id))?),
                Kind::Index => Values::Indices(all(declared, owners, |owner| owner.indices(id))?),
                Kind::Half => Values::Halves(all(declared, owners, |owner| owner.halves(id))?),
            })
        };
        buffers.iter().map(values).collect()
    }

    fn read_parts(&mut self, parts: &mut [Reading<'_, F>]) -> Result<()> {
        parts.iter_mut().try_for_each(|part| self.read_to(part.buffer, part.lane, part.offset, part.values))
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        self.layout.check_request(buffers)?;
        let own = self.answers.iter().position(|(answer, _)| answer.tag == tag);
        let own = own.unwrap_or_else(|| {
            // With more askers than that, the oldest answer makes room.
            if self.answers.len() == ASKERS {
                self.answers.remove(0);
            }
            self.answers.push((Answer::default(), false));
            self.answers.len() - 1
        });
        let (answer, answered) = &mut self.answers[own];
        answer.clear();
        answer.tag = tag;
        for &id in buffers {
            let declared = self.layout.declared(id);
            let owners = if declared.scope == Scope::Lane { &self.lanes[..] } else { std::slice::from_ref(&self.shared) };
            for owner in owners {
                match declared.kind {
                    Kind::Float => answer.floats.extend_from_slice(owner.floats(id)),
                    Kind::Index => answer.indices.extend_from_slice(owner.indices(id)),
                    Kind::Half => {}
                }
            }
        }
        *answered = true;
        Ok(())
    }

    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<F>>> {
        let own = self.answers.iter_mut().find(|(answer, answered)| answer.tag == tag && *answered);
        Ok(own.map(|(answer, answered)| {
            *answered = false;
            &*answer
        }))
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The processor and its threads, for people.
pub(super) fn describe<F>(threads: Threads) -> String {
    // pulp lists every feature; its variant says enough.
    let arch = format!("{:?}", pulp::Arch::new());
    let instructions = match arch.split(['(', ' ']).next().unwrap_or_default() {
        "V3" => "AVX2",
        "V4" => "AVX-512",
        other => other,
    };
    format!("CPU, {}, {} threads, {instructions}", std::any::type_name::<F>(), threads.count())
}
