//! Whether a device still lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A small buffer whose mapping tells at once whether its device is lost.
///
/// wgpu tells of a loss through the lost-callback alone, which is the host's where the device is, and which runs inside a later
/// poll. Everything else on a lost device fails in silence, but for the callback of a mapping: it is called with an error before
/// `map_async` returns. On a device that lives the mapping is taken back before it is begun.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buffer: wgpu::Buffer,
    lost: bool,
}

impl Pulse {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        // A device that is lost already makes a buffer that must not be touched, which the scope tells.
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some("pulse"), size: 4, usage, mapped_at_creation: false };
        let mut state = State { buffer: device.create_buffer(&descriptor), lost: false };
        state.lost = !state.beats();
        drop(pollster::block_on(scope.pop()));
        Self { state: Mutex::new(state) }
    }

    pub(super) fn beats(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Once it is lost, the buffer is not touched any more.
        if !state.lost {
            state.lost = !state.beats();
        }
        !state.lost
    }
}

impl State {
    fn beats(&self) -> bool {
        let refused = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&refused);
        self.buffer.map_async(wgpu::MapMode::Read, .., move |result| flag.store(result.is_err(), Ordering::Release));
        let beats = !refused.load(Ordering::Acquire);
        if beats {
            self.buffer.unmap();
        }
        beats
    }
}
