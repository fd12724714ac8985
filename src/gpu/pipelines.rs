//! Pipelines: each is made of a kernel at its first use, once per device.

use super::device::Gpu;
use super::kernel::Kernel;
use crate::error::{Error, Result};
use std::sync::Arc;

impl Gpu {
    /// A kernel's pipeline.
    pub(super) fn pipeline(&self, kernel: &Kernel) -> Result<Arc<wgpu::ComputePipeline>> {
        let checks = checks_bounds(self.pipelines.checked, kernel);
        let key = (kernel.source.clone(), format!("{} {:?} {checks}", kernel.name, kernel.constants));
        self.pipelines.get(key, || {
            let mut module = None;
            let made = self.scoped(kernel.name, 0, || module.insert(self::module(self, kernel)).clone());
            let made = made.map_err(|error| explained(kernel, error, module.as_ref()))?;
            let pipeline = self.scoped(kernel.name, 0, || pipeline(&self.device, &made, kernel));
            pipeline.map_err(|error| explained(kernel, error, None))
        })
    }
}

/// The error of a module or a pipeline. Where there is an author, it gets the compiler's message with the line of the author's
/// text.
fn explained(kernel: &Kernel, error: Error, module: Option<&wgpu::ShaderModule>) -> Error {
    let (Some(authored), Error::Device { reason, .. }) = (&kernel.authored, &error) else { return error };
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

/// Whether a kernel is compiled with bounds checks: where all are, or where its author did not vouch for it.
pub(super) fn checks_bounds(all: bool, kernel: &Kernel) -> bool {
    all || kernel.authored.as_ref().is_some_and(|authored| authored.bounds_checks.on())
}

#[expect(unsafe_code, reason = "bounds checks cost a fifth of an update's speed, and the plan is checked before")]
fn module(gpu: &Gpu, kernel: &Kernel) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(kernel.source.as_str().into());
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source };
    if checks_bounds(gpu.pipelines.checked, kernel) {
        return gpu.device.create_shader_module(descriptor);
    }
    // SAFETY: every kernel of this crate compares its index with the lengths in its uniform, which come from a plan that was
    // checked against the sizes of the buffers bound; loops end by those lengths too. A rule or an operation from outside the
    // crate comes here only if its author vouched for it by `BoundsChecks::off`.
    unsafe { gpu.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
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
