//! An optimizer inside a program that has its own device, shader and encoder: it fits a cubic polynomial to points.
//!
//! Parameters and gradients are parts of one buffer of the program. Its shader writes the gradients and Thalweg's kernels make
//! the step, both recorded into one encoder. Nothing comes back to the host before the end.
//!
//! `cargo run --example embed_wgpu`, on the best adapter there is, which may be a software driver. Expected: coefficients
//! within 1e-3 of the true ones.

use anyhow::{Context, Result, ensure};
use thalweg::gpu::{BorrowedTensor, Gpu, Slice};
use thalweg::schedule::Cosine;
use thalweg::wgpu::{self, util::DeviceExt};
use thalweg::{Adam, Optimizer, Recipe};

/// The polynomial on which the points lie, which is the optimum.
const TRUTH: [f32; 4] = [0.5, -1.0, 0.25, 2.0];
const POINTS: usize = 64;
const STEPS: usize = 2_000;
/// Steps in one submission.
const BATCH: usize = 50;

/// The gradient of the mean squared error, one coefficient to an invocation.
const GRADIENT: &str = "
@group(0) @binding(0) var<storage, read> points: array<vec2f>;
@group(0) @binding(1) var<storage, read_write> model: array<f32>; // 4 coefficients, then their gradients

@compute @workgroup_size(4)
fn gradient(@builtin(local_invocation_index) k: u32) {
    let n = arrayLength(&points);
    var slope = 0.0;
    for (var i = 0u; i < n; i += 1u) {
        let x = points[i].x;
        let powers = array(1.0, x, x * x, x * x * x);
        var error = -points[i].y;
        for (var j = 0u; j < 4u; j += 1u) { error += model[j] * powers[j]; }
        slope += 2.0 * error * powers[k] / f32(n);
    }
    model[4u + k] = slope;
}";

fn open() -> Result<(wgpu::Device, wgpu::Queue)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let best = adapters.into_iter().min_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::Cpu => 2,
        _ => 1,
    });
    let adapter = best.context("no adapter; Debian: apt-get install mesa-vulkan-drivers libvulkan1")?;
    println!("{}", adapter.get_info().name);
    let descriptor = wgpu::DeviceDescriptor {
        required_features: Gpu::required_features(),
        required_limits: Gpu::required_limits(),
        ..Default::default()
    };
    Ok(pollster::block_on(adapter.request_device(&descriptor))?)
}

fn main() -> Result<()> {
    let (device, queue) = open()?;

    // The program's own part.
    let x = |i: usize| 2.0 * i as f32 / (POINTS - 1) as f32 - 1.0;
    let y = |x: f32| TRUTH.iter().rev().fold(0.0, |sum, c| sum * x + c);
    let points: Vec<[f32; 2]> = (0..POINTS).map(|i| [x(i), y(x(i))]).collect();
    let buffer =
        |contents, usage| device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage });
    let points = buffer(bytemuck::cast_slice(&points), wgpu::BufferUsages::STORAGE);
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let model = buffer(bytemuck::cast_slice(&[0.0f32; 8]), usage);
    let source = wgpu::ShaderSource::Wgsl(GRADIENT.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("gradient"), source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("gradient"),
        layout: None,
        module: &module,
        entry_point: Some("gradient"),
        compilation_options: Default::default(),
        cache: None,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("gradient"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: points.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: model.as_entire_binding() },
        ],
    });

    // The part for Thalweg: where parameters and gradients lie, and the recipe.
    let gpu = Gpu::from_wgpu(device.clone(), queue.clone());
    let slice = |offset| Slice { buffer: model.clone(), offset, len: 4 };
    let tensor = BorrowedTensor { name: "coefficients".into(), shape: vec![4], params: slice(0), grads: slice(16) };
    let recipe = Recipe::new(Adam { lr: 0.05, ..Default::default() }).scale("lr", Cosine::new(1.0, STEPS as u64));
    let mut optimizer = Optimizer::borrowing(&gpu, recipe, &[tensor])?;

    for _ in 0..STEPS / BATCH {
        let mut encoder = device.create_command_encoder(&Default::default());
        for _ in 0..BATCH {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
            drop(pass);
            optimizer.encode_step(&mut encoder)?;
        }
        queue.submit([encoder.finish()]);
    }

    let found = optimizer.params("coefficients")?;
    println!("{found:.5?} found, {TRUTH:?} expected, after {} steps", optimizer.report()?.applied);
    let error = found.iter().zip(TRUTH).map(|(found, truth)| (found - truth).abs()).fold(0.0, f32::max);
    ensure!(error < 1e-3, "the fit is off by {error}");
    Ok(())
}
