//! Bringing bytes back to the host: at once with a wait, or later without one.

use super::device::Gpu;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Requests that may be under way at a time; further ones are dropped, since a newer one will follow.
const RING: usize = 4;

/// How long a callback may take once its copy is done: it waits for nothing but a thread's turn.
const HANDOVER: Duration = Duration::from_secs(60);

/// A copy that is on its way to the host.
#[derive(Debug)]
struct Pending {
    tag: u64,
    staging: wgpu::Buffer,
    mapped: Arc<OnceLock<Result<(), wgpu::BufferAsyncError>>>,
}

/// A ring of staging buffers.
#[derive(Debug, Default)]
pub(super) struct Readback {
    pending: VecDeque<Pending>,
    free: Vec<wgpu::Buffer>,
}

impl Readback {
    /// Waits for everything submitted so far and returns a part of a buffer.
    pub(super) fn now(gpu: &Gpu, source: &wgpu::Buffer, offset: u64, size: u64) -> Result<Vec<u8>> {
        let staging = staging(gpu, size)?;
        let pending = copy(gpu, source, offset, staging, 0)?;
        gpu.poll(true)?;
        // Another thread's poll may have taken our callback over; then it calls it any moment.
        let deadline = Instant::now() + HANDOVER;
        while pending.mapped.get().is_none() && Instant::now() < deadline {
            std::thread::yield_now();
            gpu.poll(true)?;
        }
        match pending.mapped.get() {
            Some(Ok(())) => mapped(&pending.staging),
            other => Err(Error::Device { what: "reading a buffer".into(), reason: format!("mapping gave {other:?}") }),
        }
    }

    /// Starts to copy a whole buffer without waiting.
    pub(super) fn request(&mut self, gpu: &Gpu, source: &wgpu::Buffer, tag: u64) -> Result<()> {
        if self.pending.len() == RING {
            return Ok(());
        }
        let free = self.free.iter().position(|buffer| buffer.size() == source.size());
        let staging = match free {
            Some(index) => self.free.swap_remove(index),
            None => staging(gpu, source.size())?,
        };
        self.pending.push_back(copy(gpu, source, 0, staging, tag)?);
        Ok(())
    }

    /// The newest copy that has arrived; it and the older ones are done with.
    pub(super) fn newest(&mut self, gpu: &Gpu) -> Result<Option<(u64, Vec<u32>)>> {
        gpu.poll(false)?;
        let mut newest = None;
        while let Some(Some(arrived)) = self.pending.front().map(|pending| pending.mapped.get().cloned()) {
            let Some(pending) = self.pending.pop_front() else { break };
            arrived.map_err(|error| Error::Device { what: "reading a buffer".into(), reason: error.to_string() })?;
            newest = Some((pending.tag, bytemuck::pod_collect_to_vec(&mapped(&pending.staging)?)));
            pending.staging.unmap();
            self.free.push(pending.staging);
        }
        Ok(newest)
    }
}

fn staging(gpu: &Gpu, size: u64) -> Result<wgpu::Buffer> {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: Some("staging"), size, usage, mapped_at_creation: false };
    gpu.scoped("staging", size, || gpu.device.create_buffer(&descriptor))
}

fn copy(gpu: &Gpu, source: &wgpu::Buffer, offset: u64, staging: wgpu::Buffer, tag: u64) -> Result<Pending> {
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(source, offset, &staging, 0, staging.size());
    gpu.queue.submit([encoder.finish()]);
    let mapped = Arc::new(OnceLock::new());
    let flag = Arc::clone(&mapped);
    staging.map_async(wgpu::MapMode::Read, .., move |result| {
        let _ = flag.set(result);
    });
    gpu.alive()?;
    Ok(Pending { tag, staging, mapped })
}

fn mapped(staging: &wgpu::Buffer) -> Result<Vec<u8>> {
    let view = staging.get_mapped_range(..);
    let view = view.map_err(|error| Error::Device { what: "reading a buffer".into(), reason: error.to_string() })?;
    Ok(view.to_vec())
}
