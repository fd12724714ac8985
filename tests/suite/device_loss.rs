//! Once the device is lost, every call returns an error: none panics, hangs or claims success.

use crate::common::engines;
use crate::common::groups::grouped;
use thalweg::gpu::{BorrowedTensor, Gpu, GpuOptions, GpuProgram, Slice, adapters};
use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};
use thalweg::{Adam, Error, Optimizer, Recipe, Result, Unit, wgpu};

fn theirs() -> Gpu {
    let adapter = adapters().into_iter().next().expect("install mesa-vulkan-drivers and libvulkan1");
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).expect("a device");
    Gpu::from_wgpu(device, queue)
}

/// Devices of both kinds, each with a name.
fn devices() -> [(&'static str, Gpu); 2] {
    [("own device", engines::open(GpuOptions::default())), ("host's device", theirs())]
}

fn recipe() -> Recipe {
    Recipe::new(Adam::default()).clip_norm(1.0)
}

fn borrowing(gpu: &Gpu) -> Result<Optimizer<GpuProgram>> {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 800, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let slice = |offset| Slice { buffer: buffer.clone(), offset, len: 100 };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![100], params: slice(0), grads: slice(400) };
    Optimizer::borrowing(gpu, recipe(), &[tensor])
}

#[track_caller]
fn assert_lost<T>(what: &str, result: Result<T>) {
    match result {
        Err(Error::DeviceLost { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what}: no error"),
    }
}

#[test]
fn every_call_on_a_lost_device_is_an_error() -> Result<()> {
    type Call = fn(&mut Optimizer<GpuProgram>) -> Result<()>;
    let calls: [(&str, Call); 9] = [
        ("step", |optimizer| optimizer.step()),
        ("steps", |optimizer| optimizer.steps(1000)),
        ("set_params", |optimizer| optimizer.set_params("w", &[1.0; 100])),
        ("set_grads", |optimizer| optimizer.set_grads("w", &[1.0; 100])),
        ("params", |optimizer| optimizer.params("w").map(drop)),
        ("state", |optimizer| optimizer.state("w", "m").map(drop)),
        ("report", |optimizer| optimizer.report().map(drop)),
        ("freeze", |optimizer| optimizer.freeze("default", true)),
        ("run_timed", |optimizer| optimizer.program_mut().run_timed(PlanId::FIRST, 1).map(drop)),
    ];
    // Each call is tried as the first one after the loss.
    for (name, call) in calls {
        for (device, gpu) in devices() {
            let mut optimizer = Optimizer::new(&gpu, recipe(), &[("w", &[100])])?;
            optimizer.steps(3)?;
            call(&mut optimizer)?;
            gpu.device().destroy();
            for (what, call) in [(name, call)].into_iter().chain(calls) {
                assert_lost(&format!("{what} after {name} on the {device}"), call(&mut optimizer));
            }
        }
    }
    Ok(())
}

#[test]
fn nothing_new_is_loaded_on_a_lost_device() -> Result<()> {
    for (device, gpu) in devices() {
        // The pipelines of this recipe exist already, those of the other do not.
        Optimizer::new(&gpu, recipe(), &[("w", &[100])])?;
        gpu.device().destroy();
        assert_lost(device, gpu.load(&Blueprint::of(&Layout::new(1), &[Plan::default()])));
        assert_lost(device, Optimizer::new(&gpu, recipe(), &[("w", &[100])]));
        assert_lost(device, Optimizer::new(&gpu, Recipe::new(Adam { amsgrad: true, ..Default::default() }), &[("w", &[100])]));
        assert_lost(device, borrowing(&gpu));
    }
    Ok(())
}

#[test]
fn nothing_is_recorded_for_a_lost_device() -> Result<()> {
    for (device, gpu) in devices() {
        let mut optimizer = borrowing(&gpu)?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        optimizer.encode_step(&mut encoder)?;
        gpu.device().destroy();
        assert_lost(device, optimizer.encode_step(&mut encoder));
        // What was recorded before is finished and submitted without a panic.
        gpu.queue().submit([encoder.finish()]);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        assert_lost(device, optimizer.encode_step(&mut encoder));
        assert_lost(device, optimizer.report());
    }
    Ok(())
}

/// A loss between the check and the calls after it ends like a loss before the check.
#[test]
fn recording_without_a_check_does_not_panic() -> Result<()> {
    for (device, gpu) in devices() {
        let mut optimizer = borrowing(&gpu)?;
        gpu.device().destroy();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        optimizer.program().encode(PlanId::FIRST, &mut encoder)?;
        gpu.queue().submit([encoder.finish()]);
        assert_lost(device, optimizer.program().wait());
        assert_lost(device, optimizer.program_mut().run(PlanId::FIRST, 1));
    }
    Ok(())
}

#[test]
fn a_device_that_was_lost_before_can_be_wrapped() {
    let gpu = theirs();
    gpu.device().destroy();
    let again = Gpu::from_wgpu(gpu.device().clone(), gpu.queue().clone());
    assert_lost("wrapped late", Optimizer::new(&again, recipe(), &[("w", &[100])]));
}

#[test]
fn the_reason_of_a_loss_is_reported_where_the_callback_is_ours() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let mut optimizer = Optimizer::new(&gpu, recipe(), &[("w", &[100])])?;
    gpu.device().destroy();
    let error = optimizer.step().expect_err("a lost device").to_string();
    assert_eq!(error, "the device is lost: Destroyed");
    Ok(())
}

#[test]
fn the_hosts_callback_stays_in_place() -> Result<()> {
    let gpu = theirs();
    let (sender, receiver) = std::sync::mpsc::channel();
    gpu.device().set_device_lost_callback(move |reason, _| sender.send(reason).expect("a receiver"));
    let mut optimizer = Optimizer::new(&gpu, recipe(), &[("w", &[100])])?;
    optimizer.step()?;
    gpu.device().destroy();
    assert_lost("step", optimizer.step());
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a poll");
    assert_eq!(receiver.try_recv().expect("a call"), wgpu::DeviceLostReason::Destroyed);
    Ok(())
}

/// Everything that an optimizer allocates is cut to fit, down to a chunk. Buffers that cannot be cut are refused before the
/// device is asked.
#[test]
fn what_cannot_fit_into_a_buffer_is_a_limit() {
    let adapter = adapters().into_iter().next().expect("an adapter");
    let limit = 40 << 10;
    let required_limits =
        wgpu::Limits { max_storage_buffer_binding_size: limit, max_buffer_size: limit, ..Gpu::required_limits() };
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    let gpu = Gpu::from_wgpu(device, queue);
    // Twenty chunks of 16 KiB are cut.
    let mut optimizer = Optimizer::new(&gpu, recipe(), &[("w", &[20 * 4096])]).expect("an arena that is cut");
    optimizer.set_params("w", &vec![1.0; 20 * 4096]).expect("parameters");
    assert_eq!(optimizer.params("w").expect("parameters"), vec![1.0; 20 * 4096]);
    // The rows of two groups are not: 2 · 256 rows of 32 scalars.
    let groups = grouped([Adam::default(), Adam::default()]);
    let tensors: [(&str, &[usize]); 2] = [("w", &[4]), ("b of group 1", &[4])];
    let error = Optimizer::new(&gpu, groups, &tensors).expect_err("too large");
    assert_eq!(error, Error::limit("the buffer 'rows'", 2 * 256 * 32 * 4, limit, Unit::Binding));
    // Those of two lanes are as many.
    let lanes = Recipe::population([Adam::default(), Adam::default()]);
    let error = Optimizer::new(&gpu, lanes, &[("w", &[4])]).expect_err("too many");
    assert!(matches!(&error, Error::Lanes { asked: 2, fit: 1, reason } if reason.starts_with("the buffer 'rows'")), "{error}");
}
