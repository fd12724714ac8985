//! The pipelines that a device has made so far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A device keeps this many pipelines for later programs, and beyond that only those that a program uses. A pipeline may take a
/// third of a mebibyte of the driver's memory.
pub(crate) const KEPT: usize = 128;

/// Pipelines by source, and by entry point, constants and bounds checks.
pub(super) struct Cache {
    /// Whether all kernels are compiled with bounds checks.
    pub checked: bool,
    made: Mutex<HashMap<(String, String), Arc<wgpu::ComputePipeline>>>,
}

impl std::fmt::Debug for Cache {
    /// Without the sources.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("checked", &self.checked).finish_non_exhaustive()
    }
}

impl Cache {
    pub(super) fn new(checked: bool) -> Self {
        Self { checked, made: Mutex::default() }
    }

    /// The pipeline of a key, made where it is missing.
    pub(super) fn get<E>(
        &self,
        key: (String, String),
        make: impl FnOnce() -> Result<wgpu::ComputePipeline, E>,
    ) -> Result<Arc<wgpu::ComputePipeline>, E> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = made.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        if made.len() >= KEPT {
            made.retain(|_, pipeline| Arc::strong_count(pipeline) > 1);
        }
        let pipeline = Arc::new(make()?);
        made.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    /// How many are kept now.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
