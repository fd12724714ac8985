//! What a program's buffers hold, read by those that wait and by those that must not.

use super::bulk;
use super::program::GpuProgram;
use super::readback::Copy;
use crate::error::{Error, Result};
use crate::plan::{BufferId, Kind, Reading, Values};
use bytemuck::Pod;
use std::ops::Range;

/// Room for what is read, and the copies that will fill it, each with its range there.
type Started<T> = (Vec<T>, Vec<(Range<usize>, Copy)>);

impl GpuProgram {
    /// [`Program::read`](crate::plan::Program::read) for programs that must not wait, as those in a browser.
    ///
    /// # Errors
    /// As for [`Program::read`](crate::plan::Program::read).
    pub async fn read_async(&self, buffer: BufferId, lane: usize) -> Result<Vec<f32>> {
        self.check(buffer, Kind::Float, lane, 0, 0)?;
        self.read_some_async(buffer, lane, 0..self.layout.declared(buffer).len).await
    }

    /// [`Program::read_range`](crate::plan::Program::read_range) for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_range`](crate::plan::Program::read_range).
    pub async fn read_range_async(&self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<f32>> {
        self.check(buffer, Kind::Float, lane, 0, range.end)?;
        self.read_some_async(buffer, lane, range).await
    }

    /// [`Program::read_indices`](crate::plan::Program::read_indices) for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_indices`](crate::plan::Program::read_indices).
    pub async fn read_indices_async(&self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.check(buffer, Kind::Index, lane, 0, 0)?;
        self.read_some_async(buffer, lane, 0..self.layout.declared(buffer).len).await
    }

    /// [`Program::read_halves`](crate::plan::Program::read_halves) for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_halves`](crate::plan::Program::read_halves).
    pub async fn read_halves_async(&self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.check(buffer, Kind::Half, lane, 0, 0)?;
        self.read_some_async(buffer, lane, 0..self.layout.declared(buffer).len).await
    }

    /// [`Program::read_all`](crate::plan::Program::read_all) for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_all`](crate::plan::Program::read_all).
    pub async fn read_all_async(&self, buffers: &[BufferId]) -> Result<Vec<Values<f32>>> {
        self.gpu.alive()?;
        bulk::read_async(&self.gpu, &self.layout, &self.memory, buffers).await
    }

    /// [`Program::read_parts`](crate::plan::Program::read_parts) for programs that must not wait.
    ///
    /// # Errors
    /// As for [`Program::read_parts`](crate::plan::Program::read_parts).
    pub async fn read_parts_async(&self, parts: &mut [Reading<'_, f32>]) -> Result<()> {
        let buffers = Reading::buffers(parts);
        let found = self.read_all_async(&buffers).await?;
        Reading::fill(parts, &buffers, found)
    }

    pub(super) fn read_whole<T: Pod>(&self, id: BufferId, lane: usize) -> Result<Vec<T>> {
        self.read_some(id, lane, 0..self.layout.declared(id).len)
    }

    pub(super) fn read_some<T: Pod>(&self, id: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<T>> {
        self.finish(self.start_read(id, lane, range, &mut Vec::new())?).map(|(values, _)| values)
    }

    /// Gives out pieces of a lane's elements, while the next one is on its way to the host.
    pub(super) fn read_in_turn<T: Pod>(
        &self,
        id: BufferId,
        lane: usize,
        pieces: &[Range<usize>],
        take: &mut dyn FnMut(usize, &[T]),
    ) -> Result<()> {
        let (mut under_way, mut spare) = (None, Vec::new());
        for number in 0..=pieces.len() {
            let next = pieces.get(number).map(|piece| self.start_read(id, lane, piece.clone(), &mut spare)).transpose()?;
            if let Some(started) = std::mem::replace(&mut under_way, next) {
                let (values, copies) = self.finish(started)?;
                spare = copies;
                take(number - 1, &values);
            }
        }
        Ok(())
    }

    /// Waits for the values of a read that was started. Its copies may be used again.
    fn finish<T: Pod>(&self, (mut values, copies): Started<T>) -> Result<(Vec<T>, Vec<Copy>)> {
        for (range, copy) in &copies {
            copy.wait(&self.gpu)?;
            self.finish_read(copy, &mut values[range.clone()])?;
        }
        Ok((values, copies.into_iter().map(|(_, copy)| copy).collect()))
    }

    async fn read_some_async<T: Pod>(&self, id: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<T>> {
        let (mut values, copies) = self.start_read(id, lane, range, &mut Vec::new())?;
        for (range, copy) in copies {
            copy.arrive(&self.gpu).await?;
            self.finish_read(&copy, &mut values[range])?;
        }
        Ok(values)
    }

    /// Room for a lane's elements, and the copies that will fill it, each with its range there. It uses copies of `spare`.
    fn start_read<T: Pod>(&self, id: BufferId, lane: usize, range: Range<usize>, spare: &mut Vec<Copy>) -> Result<Started<T>> {
        // What lies between slices reads as zero, like the padding of an arena.
        let (mut values, len) = (Vec::new(), range.len());
        let bytes = len.saturating_mul(size_of::<T>()) as u64;
        let full = |_| Error::OutOfMemory { what: self.layout.declared(id).name.clone(), bytes };
        values.try_reserve_exact(len).map_err(full)?;
        values.resize(len, T::zeroed());
        let mut copies = Vec::new();
        self.memory.each_piece(id, self.copy(id, lane), range.start, range.len(), |piece| {
            piece.check_usage(wgpu::BufferUsages::COPY_SRC)?;
            let size = (piece.range.len() * size_of::<T>()) as u64;
            let copy = match spare.iter().position(|copy| copy.size() == size) {
                Some(at) => {
                    let mut copy = spare.swap_remove(at);
                    copy.again(&self.gpu, piece.buffer, piece.at)?;
                    copy
                }
                None => Copy::of(&self.gpu, piece.buffer, piece.at, size)?,
            };
            copies.push((piece.range.clone(), copy));
            Ok(())
        })?;
        Ok((values, copies))
    }

    fn finish_read<T: Pod>(&self, copy: &Copy, values: &mut [T]) -> Result<()> {
        copy.take(&self.gpu, |bytes| values.copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, T>(bytes)))
    }
}
