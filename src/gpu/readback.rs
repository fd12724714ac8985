//! Bringing bytes back to the host: at once with a wait, or later without one.

use super::device::Gpu;
use super::memory::Memory;
use crate::error::{Error, Result};
use crate::plan::{BufferId, Tag};
use futures::task::AtomicWaker;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Requests that may be under way at a time; further ones are dropped, since a newer one will follow. An answer that nobody
/// fetches makes room for a request.
const RING: usize = 8;

/// How long a callback may take once its copy is done: it waits for nothing but a thread's turn.
const HANDOVER: Duration = Duration::from_secs(60);

/// Where a copy stands.
const UNDER_WAY: u8 = 0;
const ARRIVED: u8 = 1;
const FAILED: u8 = 2;

/// Where a copy stands, and who waits for it.
#[derive(Debug, Default)]
struct Progress {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Progress {
    fn end(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.waker.wake();
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// Until the callback has run.
    async fn over(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.state() == UNDER_WAY { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

/// Everything submitted so far is done, without blocking a browser.
pub(super) async fn done(gpu: &Gpu) -> Result<()> {
    if cfg!(not(target_family = "wasm")) {
        return gpu.wait();
    }
    let progress = Arc::<Progress>::default();
    let own = Arc::clone(&progress);
    gpu.queue.on_submitted_work_done(move || own.end(ARRIVED));
    progress.over().await;
    gpu.alive()
}

/// A staging buffer with what is copied into it. Its memory is used again.
#[derive(Debug)]
pub(super) struct Copy {
    staging: wgpu::Buffer,
    progress: Arc<Progress>,
    /// What copies into it, once that is submitted.
    submission: Option<wgpu::SubmissionIndex>,
    buffers: Vec<BufferId>,
    /// Of the request, if it is one.
    tag: Option<Tag>,
}

impl Copy {
    fn new(gpu: &Gpu, size: u64) -> Result<Self> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some("staging"), size, usage, mapped_at_creation: false };
        let staging = gpu.scoped("staging", size, || gpu.device.create_buffer(&descriptor))?;
        Ok(Self { staging, progress: Arc::default(), submission: None, buffers: Vec::new(), tag: None })
    }

    /// Submits the recorded copies; the staging buffer is mapped once they are done.
    fn start(&mut self, gpu: &Gpu, encoder: wgpu::CommandEncoder) -> Result<()> {
        self.submission = Some(gpu.queue.submit([encoder.finish()]));
        self.progress.state.store(UNDER_WAY, Ordering::Release);
        let progress = Arc::clone(&self.progress);
        self.staging.map_async(wgpu::MapMode::Read, .., move |result| {
            progress.end(if result.is_ok() { ARRIVED } else { FAILED });
        });
        gpu.alive()
    }

    fn state(&self) -> u8 {
        self.progress.state()
    }

    /// Part of a buffer, on its way to the host from now on.
    pub(super) fn of(gpu: &Gpu, source: &wgpu::Buffer, offset: u64, size: u64) -> Result<Self> {
        let mut copy = Self::new(gpu, size)?;
        copy.again(gpu, source, offset)?;
        Ok(copy)
    }

    /// Another part, as long as the one that was taken.
    pub(super) fn again(&mut self, gpu: &Gpu, source: &wgpu::Buffer, offset: u64) -> Result<()> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, offset, &self.staging, 0, self.size());
        self.start(gpu, encoder)
    }

    /// Its bytes.
    pub(super) fn size(&self) -> u64 {
        self.staging.size()
    }

    /// Waits without blocking a browser's only thread, which has to run the callback. Elsewhere nobody but a caller makes
    /// callbacks run.
    pub(super) async fn arrive(&self, gpu: &Gpu) -> Result<()> {
        if cfg!(not(target_family = "wasm")) {
            return self.block(gpu);
        }
        self.progress.over().await;
        gpu.alive()
    }

    /// Waits for this copy and what was submitted before it; the device goes on with what came later.
    pub(super) fn wait(&self, gpu: &Gpu) -> Result<()> {
        gpu.may_wait()?;
        self.block(gpu)
    }

    fn block(&self, gpu: &Gpu) -> Result<()> {
        if self.state() != UNDER_WAY {
            return Ok(());
        }
        // What was not submitted is not under way.
        let Some(submission) = &self.submission else { return Ok(()) };
        gpu.wait_until(submission)?;
        // Another thread's poll may have taken our callback over; then it calls it any moment.
        let deadline = Instant::now() + HANDOVER;
        while self.state() == UNDER_WAY {
            if Instant::now() >= deadline {
                return Err(Error::Timeout { what: "the callback of a copy".into(), seconds: HANDOVER.as_secs() });
            }
            std::thread::yield_now();
            gpu.wait_until(submission)?;
        }
        Ok(())
    }

    /// Looks at the bytes and unmaps them.
    pub(super) fn take<R>(&self, gpu: &Gpu, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let failed = |reason: String| Error::Device { what: "reading a buffer".into(), reason };
        if self.state() != ARRIVED {
            gpu.alive()?;
            return Err(failed("its staging buffer was not mapped".into()));
        }
        let view = self.staging.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
        let result = look(&view);
        drop(view);
        self.staging.unmap();
        Ok(result)
    }
}

/// Copies that are under way, in a ring of staging buffers.
#[derive(Debug, Default)]
pub(super) struct Readback {
    pending: VecDeque<Copy>,
    free: Vec<Copy>,
}

impl Readback {
    /// Starts to copy whole buffers without waiting.
    pub(super) fn request(&mut self, gpu: &Gpu, memory: &Memory, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        if self.pending.len() == RING {
            let Some(oldest) = self.pending.iter().position(|copy| copy.state() != UNDER_WAY) else { return gpu.alive() };
            self.take_out(gpu, oldest, |_, _| ())?;
        }
        let sources = || buffers.iter().map(|&id| memory.get(id).single());
        let size = sources().map(|source| source.map(wgpu::Buffer::size)).sum::<Result<u64>>()?;
        let fits = |copy: &Copy| copy.staging.size() == size;
        // The buffers that are asked for change seldom. A whole ring is made at once, so that later steps make nothing. Other
        // steppers may have rings of other sizes.
        if !self.free.iter().any(fits) {
            let others = self.free.len().saturating_sub(RING);
            self.free.drain(..others);
            for _ in self.pending.iter().filter(|copy| fits(copy)).count()..RING {
                self.free.push(Copy::new(gpu, size)?);
            }
        }
        let Some(free) = self.free.iter().position(fits) else { return Ok(()) };
        let mut copy = self.free.swap_remove(free);
        copy.tag = Some(tag);
        copy.buffers.clear();
        copy.buffers.extend_from_slice(buffers);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for source in sources() {
            let source = source?;
            encoder.copy_buffer_to_buffer(source, 0, &copy.staging, at, source.size());
            at += source.size();
        }
        let started = copy.start(gpu, encoder);
        self.pending.push_back(copy);
        started
    }

    /// Looks at the oldest copy under a tag, if it has arrived, and is done with it.
    pub(super) fn oldest(&mut self, gpu: &Gpu, tag: Tag, look: impl FnOnce(&[BufferId], &[u8])) -> Result<bool> {
        // On a lost device nothing is mapped any more, whatever had arrived.
        gpu.poll()?;
        let own = self.pending.iter().position(|copy| copy.tag == Some(tag));
        let Some(own) = own.filter(|&own| self.pending[own].state() != UNDER_WAY) else { return Ok(false) };
        self.take_out(gpu, own, look)?;
        Ok(true)
    }

    /// Looks at a copy that has arrived, and frees its staging buffer.
    fn take_out(&mut self, gpu: &Gpu, index: usize, look: impl FnOnce(&[BufferId], &[u8])) -> Result<()> {
        let Some(copy) = self.pending.remove(index) else { return Ok(()) };
        copy.take(gpu, |bytes| look(&copy.buffers, bytes))?;
        self.free.push(copy);
        Ok(())
    }

    /// Waits until all copies have arrived.
    pub(super) fn settle(&self, gpu: &Gpu) -> Result<()> {
        // In a browser nothing arrives within a call. Elsewhere it may, so there any request counts as a wait: luck is no
        // answer.
        let open = |copy: &&Copy| cfg!(not(target_family = "wasm")) || copy.state() == UNDER_WAY;
        self.pending.iter().filter(open).try_for_each(|copy| copy.wait(gpu))
    }

    /// [`Readback::settle`] without blocking a browser.
    pub(super) async fn settle_async(&self, gpu: &Gpu) -> Result<()> {
        for copy in &self.pending {
            copy.arrive(gpu).await?;
        }
        Ok(())
    }
}
