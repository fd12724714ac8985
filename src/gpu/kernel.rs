//! A kernel is WGSL text joined from files, plus constants; pipelines are made of it once per device.

use super::bucket::Window;
use super::device::Gpu;
use crate::error::{Error, Result};
use crate::rule::BoundsChecks;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A compute kernel: entry point, source and constants.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// The entry point, named like its file.
    pub name: &'static str,
    /// The joined source.
    pub source: String,
    /// Values of `override`s.
    pub constants: Vec<(&'static str, f64)>,
    /// Names of the uniform's fields, as [`params!`] declares them.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare them with the WGSL"))]
    pub fields: &'static [&'static str],
    /// How the kernel uses the bindings 1, 2, …
    pub bindings: Vec<Access>,
    /// The rule's or the operation's own text, where there is one.
    pub authored: Option<Authored>,
}

/// The text of a rule or an operation. It stands first in its kernel, so that a compiler counts its lines as its author does.
#[derive(Debug, Clone)]
pub(crate) struct Authored {
    /// Whose text it is, in errors.
    of: String,
    lines: u32,
    bounds_checks: BoundsChecks,
}

impl Kernel {
    /// The error of a module or a pipeline. Where there is an author, it gets the compiler's message with the line of the author's text.
    fn explained(&self, error: Error, module: Option<&wgpu::ShaderModule>) -> Error {
        let (Some(authored), Error::Device { reason, .. }) = (&self.authored, &error) else { return error };
        let messages = module.map(|module| pollster::block_on(module.get_compilation_info()).messages).unwrap_or_default();
        let wrong = messages.into_iter().find(|message| message.message_type == wgpu::CompilationMessageType::Error);
        let (line, said) = match wrong {
            Some(message) => (message.location.map(|location| location.line_number), message.message),
            None => (None, reason.clone()),
        };
        // The compiler's first words name the kernel, which its author does not know.
        let reason = said.split_once("error: ").map_or(said.as_str(), |(_, rest)| rest).trim().into();
        Error::Shader { of: authored.of.clone(), line: line.filter(|&line| line <= authored.lines), reason }
    }
}

/// How a kernel uses a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A storage buffer, only read.
    Read,
    /// A storage buffer, read and written.
    Write,
    /// A uniform.
    Uniform,
}

impl Access {
    pub(crate) fn binding_type(self) -> wgpu::BufferBindingType {
        match self {
            Self::Read => wgpu::BufferBindingType::Storage { read_only: true },
            Self::Write => wgpu::BufferBindingType::Storage { read_only: false },
            Self::Uniform => wgpu::BufferBindingType::Uniform,
        }
    }
}

/// WGSL that is joined piece by piece; its bindings are numbered in the order in which they are declared.
#[derive(Debug, Default)]
pub(crate) struct Source {
    text: String,
    bindings: Vec<Access>,
    authored: Option<Authored>,
}

impl Source {
    /// Begins with the text of a rule or an operation.
    pub(crate) fn begin(of: String, text: &str, bounds_checks: BoundsChecks) -> Self {
        let authored = Authored { of, lines: text.trim_end().lines().count() as u32, bounds_checks };
        let mut source = Self { authored: Some(authored), ..Self::default() };
        source.join(text);
        source
    }

    /// Appends a text.
    pub(crate) fn join(&mut self, text: &str) {
        self.text += text.trim_end();
        self.text.push('\n');
    }

    /// Declares the next binding, after that of the uniform.
    pub(crate) fn bind(&mut self, access: Access, name: &str, ty: &str) {
        let space = match access {
            Access::Read => "storage, read",
            Access::Write => "storage, read_write",
            Access::Uniform => "uniform",
        };
        self.bindings.push(access);
        self.text += &format!("@group(0) @binding({}) var<{space}> {name}: {ty};\n", self.bindings.len());
    }

    pub(crate) fn kernel(
        self,
        name: &'static str,
        constants: Vec<(&'static str, f64)>,
        fields: &'static [&'static str],
    ) -> Kernel {
        Kernel { name, source: self.text, constants, fields, bindings: self.bindings, authored: self.authored }
    }
}

/// One launch of a kernel.
pub(crate) struct Launch<'a> {
    pub kernel: Kernel,
    /// The uniform at binding 0.
    pub params: Vec<u8>,
    /// Buffers at bindings 1, 2, …
    pub buffers: Vec<Bound<'a>>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Loop iterations of one invocation, at most.
    pub trips: u64,
}

impl Launch<'_> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.grid.contains(&0)
    }
}

/// What is bound to a storage binding.
#[derive(Debug, Clone)]
pub(crate) enum Bound<'a> {
    /// All of a buffer.
    Whole(&'a wgpu::Buffer),
    /// A part of a buffer that the caller owns.
    Part(&'a Window),
    /// Words that never change; a buffer is made of them.
    Words(Vec<u32>),
}

impl<'a> From<&'a wgpu::Buffer> for Bound<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self::Whole(buffer)
    }
}

/// Declares the uniform of a kernel: a struct of 32-bit fields with the same layout in Rust and WGSL, and its fields' names.
macro_rules! params {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[repr(C)]
        #[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name { $(pub $field: $type),* }

        impl $name {
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}
pub(crate) use params;

/// Workgroups for `threads` threads along x and y, in workgroups of `size`: no dimension exceeds 65,535.
pub(crate) fn grid(threads: usize, size: usize) -> (u32, u32) {
    let groups = threads.div_ceil(size).max(1);
    let rows = groups.div_ceil(65_535);
    (groups.div_ceil(rows) as u32, rows as u32)
}

/// A device keeps this many pipelines for later programs, and beyond that only those that a program uses. A pipeline may take a
/// third of a mebibyte of the driver's memory.
pub(crate) const KEPT: usize = 128;

/// The pipelines of a device by source, entry point and constants.
pub(crate) struct Pipelines {
    checked: bool,
    made: Mutex<HashMap<(String, String), Arc<wgpu::ComputePipeline>>>,
}

impl std::fmt::Debug for Pipelines {
    /// Without the sources.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipelines").field("checked", &self.checked).finish_non_exhaustive()
    }
}

impl Pipelines {
    pub(crate) fn new(checked: bool) -> Self {
        Self { checked, made: Mutex::default() }
    }

    pub(crate) fn get(&self, gpu: &Gpu, kernel: &Kernel) -> Result<Arc<wgpu::ComputePipeline>> {
        let key = (kernel.source.clone(), format!("{} {:?} {}", kernel.name, kernel.constants, self.checks_bounds(kernel)));
        let mut made = self.made.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(pipeline) = made.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        if made.len() >= KEPT {
            made.retain(|_, pipeline| Arc::strong_count(pipeline) > 1);
        }
        let pipeline = Arc::new(self.make(gpu, kernel)?);
        made.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    /// How many are kept now.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.made.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len()
    }

    /// Whether a kernel is compiled with bounds checks.
    pub(crate) fn checks_bounds(&self, kernel: &Kernel) -> bool {
        self.checked || kernel.authored.as_ref().is_some_and(|authored| authored.bounds_checks.on())
    }

    fn make(&self, gpu: &Gpu, kernel: &Kernel) -> Result<wgpu::ComputePipeline> {
        let mut module = None;
        let made = gpu.scoped(kernel.name, 0, || module.insert(self.module(&gpu.device, kernel)).clone());
        let made = made.map_err(|error| kernel.explained(error, module.as_ref()))?;
        let pipeline = gpu.scoped(kernel.name, 0, || pipeline(&gpu.device, &made, kernel));
        pipeline.map_err(|error| kernel.explained(error, None))
    }

    #[expect(unsafe_code, reason = "bounds checks cost a fifth of an update's speed, and the plan is checked before")]
    fn module(&self, device: &wgpu::Device, kernel: &Kernel) -> wgpu::ShaderModule {
        let source = wgpu::ShaderSource::Wgsl(kernel.source.as_str().into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source };
        if self.checks_bounds(kernel) {
            return device.create_shader_module(descriptor);
        }
        // SAFETY: every kernel of this crate compares its index with the lengths in its uniform, which come from a plan that
        // was checked against the sizes of the buffers bound; loops end by those lengths too. A rule or an operation from outside the
        // crate comes here only if its author vouched for it by `BoundsChecks::off`.
        unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    }
}

fn pipeline(device: &wgpu::Device, module: &wgpu::ShaderModule, kernel: &Kernel) -> wgpu::ComputePipeline {
    let layout = bind_group_layout(device, kernel);
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(kernel.name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(kernel.name),
        layout: Some(&pipeline_layout),
        module,
        entry_point: Some(kernel.name),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &kernel.constants,
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    })
}

fn bind_group_layout(device: &wgpu::Device, kernel: &Kernel) -> wgpu::BindGroupLayout {
    let entry = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    entries.extend(kernel.bindings.iter().enumerate().map(|(i, access)| entry(i + 1, access.binding_type())));
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries })
}
