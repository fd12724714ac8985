//! Samples come back some steps later: with the values that a waiting host would read, but without a wait.

use crate::common::compare::assert_close;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::with;
use thalweg::cpu::Cpu;
use thalweg::gpu::{BorrowedTensor, Gpu, GpuOptions, GpuProgram, Slice};
use thalweg::plan::{Blueprint, Engine, Layout, LossScale, Program, Tag};
use thalweg::{Adam, Error, Optimizer, Real, Recipe, Report, Result, Sgd, Telemetry, wgpu};

const LEN: usize = 100;

fn gpu() -> Gpu {
    engines::open(GpuOptions::default())
}

/// Clipping, a loss scale that moves, and lanes that differ.
fn recipe(lanes: usize) -> Recipe {
    let rules = (0..lanes).map(|lane| Adam { lr: 0.01 * (lane + 1) as f64, ..Default::default() });
    Recipe::population(rules).clip_norm(5.0).loss_scale(LossScale { init: 8.0, interval: 3, ..Default::default() })
}

fn model<E: Engine>(engine: &E, lanes: usize) -> Model<E::Program> {
    Model::new(engine, recipe(lanes), &*with("adam", ""), &[LEN])
}

/// Gradients; those of lane 1 are bad now and then.
fn grads(step: u64, lane: usize) -> Vec<f32> {
    let mut grads: Vec<f32> = numbers(10 * step + lane as u64, LEN).iter().map(|g| g * (step % 9) as f32).collect();
    if lane == 1 && step % 5 == 2 {
        grads[7] = f32::NAN;
    }
    grads
}

#[test]
fn a_sample_is_what_a_host_that_waits_would_read() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let mut model = model(engine, 3);
        model.optimizer.telemetry_every(1);
        let mut scales = Vec::new();
        for step in 1..=20 {
            (0..3).for_each(|lane| model.set_grads(lane, &grads(step, lane)));
            model.step();
            model.optimizer.flush()?;
            let samples = model.optimizer.poll()?;
            let sample = |lane| (step, lane, model.report(lane));
            let expected: Vec<(u64, usize, Report)> = (0..3).map(sample).collect();
            let found: Vec<_> = samples.iter().map(|sample| (sample.step, sample.lane, sample.report.clone())).collect();
            assert!(samples.iter().all(|sample| sample.loss.is_none() && sample.tensors.is_empty()));
            // NaN is not equal to itself, so texts are compared.
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{}, step {step}", engine.describe());
            scales.push(samples[1].report.loss_scale);
        }
        let report = model.report(1);
        assert_eq!((report.applied, report.skipped), (16, 4), "{}", engine.describe());
        assert!(report.clipped > 0 && report.clipped < 16, "{report:?}");
        assert!(scales.contains(&4.0) && scales.contains(&8.0), "{scales:?}");
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    check(&engines::cpu())?;
    check(&engines::gpu())
}

/// The steps of the samples so far, lane by lane.
fn steps<P: Program>(model: &mut Model<P>) -> Result<Vec<(u64, usize)>> {
    model.optimizer.flush()?;
    Ok(model.optimizer.poll()?.iter().map(|sample| (sample.step, sample.lane)).collect())
}

#[test]
fn samples_come_as_often_as_asked() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut model = model(&engine, 2);
        model.steps(100);
        assert_eq!(steps(&mut model)?, [], "{}: none by default", engine.name);
        model.optimizer.telemetry_every(40);
        model.steps(60);
        assert_eq!(steps(&mut model)?, [(120, 0), (120, 1), (160, 0), (160, 1)], "{}", engine.name);
        model.optimizer.telemetry_every(3);
        model.steps(7);
        assert_eq!(steps(&mut model)?, [(162, 0), (162, 1), (165, 0), (165, 1)], "{}", engine.name);
        model.optimizer.telemetry_every(0);
        model.steps(100);
        assert_eq!(steps(&mut model)?, [], "{}: none any more", engine.name);
    }
    Ok(())
}

#[test]
fn telemetry_leaves_no_trace_in_the_bits() {
    for engine in [engines::cpu(), engines::gpu()] {
        let [mut with, mut without] = [(); 2].map(|()| model(&engine, 1));
        with.optimizer.telemetry_every(7);
        for step in 0..5 {
            with.set_grads(0, &grads(step, 0));
            without.set_grads(0, &grads(step, 0));
            with.steps(61);
            without.steps(61);
        }
        assert_eq!(with.arrays(0), without.arrays(0), "{}", engine.name);
    }
}

#[test]
fn a_named_loss_comes_along() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut model = model(&engine, 2);
        model.optimizer.telemetry_every(2);
        let loss = model.optimizer.watch_loss();
        for step in 1..=4u8 {
            for lane in 0..2 {
                model.optimizer.program_mut().write(loss, lane, 0, &[f32::from(10 * step) + lane as f32])?;
            }
            model.step();
        }
        model.optimizer.flush()?;
        let losses: Vec<_> = model.optimizer.poll()?.iter().map(|sample| (sample.step, sample.loss)).collect();
        assert_eq!(losses, [(2, Some(20.0)), (2, Some(21.0)), (4, Some(40.0)), (4, Some(41.0))], "{}", engine.name);
    }
    Ok(())
}

/// Samples that nobody fetches are dropped; the newest are kept.
#[test]
fn samples_that_nobody_polls_make_way_for_newer_ones() -> Result<()> {
    let mut model = model(&engines::cpu(), 2);
    model.optimizer.telemetry_every(1);
    model.steps(1_000);
    let found = steps(&mut model)?;
    let expected: Vec<_> = (1_000 - 255..=1_000).flat_map(|step| [(step, 0), (step, 1)]).collect();
    assert_eq!(found, expected);
    Ok(())
}

/// More samples may be under way than the ring holds: some are dropped, and the others are right. waits.rs checks that nothing
/// waits.
#[test]
fn samples_of_a_busy_device_are_in_order() -> Result<()> {
    let mut optimizer = Optimizer::new(&gpu(), Recipe::new(Sgd::default()).skip_bad(), &[("w", &[1 << 20])])?;
    optimizer.telemetry_every(1);
    optimizer.steps(50)?;
    let early = optimizer.poll()?;
    optimizer.flush()?;
    let late = optimizer.poll()?;
    let steps: Vec<u64> = early.iter().chain(&late).map(|sample| sample.step).collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    assert!(early.iter().chain(&late).all(|sample| u64::from(sample.report.applied) == sample.step));
    // The next one comes again.
    optimizer.step()?;
    optimizer.flush()?;
    assert_eq!(optimizer.poll()?.iter().map(|sample| sample.step).collect::<Vec<_>>(), [51]);
    Ok(())
}

/// An optimizer over slices of one buffer: parameters, then gradients.
fn borrowing(gpu: &Gpu) -> Result<Optimizer<GpuProgram>> {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 8 * LEN as u64, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let slice = |offset| Slice { buffer: buffer.clone(), offset, len: LEN };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![LEN], params: slice(0), grads: slice(4 * LEN as u64) };
    Optimizer::borrowing(gpu, recipe(1), &[tensor])
}

/// With steps in the host's encoder, a sample shows what was submitted when the next step was recorded.
#[test]
fn samples_of_encoded_steps_are_of_those_submitted() -> Result<()> {
    let gpu = gpu();
    let mut encoded = borrowing(&gpu)?;
    let mut stepped = Optimizer::new(&gpu, recipe(1), &[("w", &[LEN])])?;
    encoded.telemetry_every(2);
    let loss = encoded.watch_loss();
    let mut expected = Vec::new();
    // Steps per submission.
    for (submission, steps) in [1, 1, 1, 1, 3, 5, 1].into_iter().enumerate() {
        for optimizer in [&mut encoded, &mut stepped] {
            optimizer.set_grads("w", &numbers(submission as u64, LEN))?;
        }
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        // A loss of the program, computed on the device.
        encoded.program_mut().write(loss, 0, 0, &[submission as f32])?;
        (0..steps).try_for_each(|_| encoded.encode_step(&mut encoder))?;
        gpu.queue().submit([encoder.finish()]);
        stepped.steps(steps)?;
        expected.push((stepped.report()?, submission as f64));
    }
    encoded.flush()?;
    let samples = encoded.poll()?;
    // After submissions of 1, 2, 3, 4, 7, 12 and 13 steps, the next steps are 2, 3, 4, 5, 8 to 12, 13: those after an even
    // number of steps ask, and see what was submitted before.
    assert_eq!(samples.iter().map(|sample| sample.step).collect::<Vec<_>>(), [2, 4, 7, 12]);
    for (sample, index) in samples.iter().zip([1, 3, 4, 5]) {
        let (report, _) = expected[index].clone();
        assert_eq!(sample.report, report, "step {}", sample.step);
    }
    Ok(())
}

#[test]
fn what_had_arrived_before_a_loss_is_given_out() -> Result<()> {
    let gpu = gpu();
    let mut model = model(&gpu, 2);
    model.optimizer.telemetry_every(1);
    model.steps(3);
    // Four samples are with the host when the device goes; the fifth may be on its way.
    model.optimizer.flush()?;
    model.step();
    model.optimizer.program().wait()?;
    model.step();
    gpu.device().destroy();
    assert!(matches!(model.optimizer.step(), Err(Error::DeviceLost { .. })));
    let samples = model.optimizer.poll()?;
    let steps: Vec<u64> = samples.iter().map(|sample| sample.step).collect();
    assert!(steps.starts_with(&[1, 1, 2, 2, 3, 3, 4, 4]), "{steps:?}");
    assert!(matches!(model.optimizer.poll(), Err(Error::DeviceLost { .. })), "all is given out");
    assert!(matches!(model.optimizer.flush(), Err(Error::DeviceLost { .. })));
    assert!(matches!(model.optimizer.steps(2), Err(Error::DeviceLost { .. })));
    Ok(())
}

/// Several buffers of both kinds in one request: all lanes, without padding.
#[test]
fn an_answer_holds_the_buffers_in_order() -> Result<()> {
    fn check(mut program: impl Program<Float = f32>, ids: [thalweg::plan::BufferId; 4]) -> Result<()> {
        let [a, b, indices, shared] = ids;
        for lane in 0..3 {
            program.write(a, lane, 0, &[lane as f32; 3])?;
            program.write(b, lane, 0, &[10.0 + lane as f32; 65])?;
            program.write_indices(indices, lane, 0, &[lane as u32 + 20, 7])?;
        }
        program.write_indices(shared, 0, 0, &[99])?;
        let (first, second) = (Tag::new(), Tag::new());
        assert_ne!(first, second);
        assert_eq!(program.arrived(first)?, None);
        program.request(first, &[b, indices, a, shared])?;
        program.settle()?;
        assert_eq!(program.arrived(second)?, None);
        let answer = program.arrived(first)?.expect("an answer").clone();
        assert_eq!(answer.tag, first);
        let lanes = |first: f32, len| (0..3).flat_map(move |lane| vec![first + lane as f32; len]);
        assert_eq!(answer.floats, lanes(10.0, 65).chain(lanes(0.0, 3)).collect::<Vec<f32>>());
        assert_eq!(answer.indices, [20, 7, 21, 7, 22, 7, 99]);
        assert_eq!(program.arrived(first)?, None);
        // The next request may be about something else.
        program.request(second, &[shared])?;
        program.settle()?;
        let answer = program.arrived(second)?.expect("an answer");
        assert_eq!(answer.tag, second);
        assert_eq!((answer.floats.len(), &answer.indices[..]), (0, &[99][..]));
        Ok(())
    }
    let mut layout = Layout::new(3);
    let ids = [layout.floats("a", 3), layout.floats("b", 65), layout.indices("i", 2), layout.shared_indices("s", 1)];
    check(Cpu::<f32>::default().load(&Blueprint::of(&layout, &[]))?, ids)?;
    check(gpu().load(&Blueprint::of(&layout, &[]))?, ids)
}

/// Other requests to the optimizer's program do not disturb it.
#[test]
fn a_request_of_somebody_else_is_no_sample() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut model = model(&engine, 2);
        model.optimizer.telemetry_every(2);
        let params = model.optimizer.params_buffer();
        model.step();
        model.optimizer.program_mut().request(Tag::new(), &[params])?;
        model.optimizer.program_mut().settle()?;
        model.step();
        assert_eq!(steps(&mut model)?, [(2, 0), (2, 1)], "{}", engine.name);
    }
    Ok(())
}

/// Norms of each tensor come through the same ring, with the name of the tensor whose gradient is bad.
#[test]
fn samples_name_the_tensor_with_a_bad_gradient() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let recipe = Recipe::new(Adam { lr: 0.1, ..Default::default() }).skip_bad().inspect();
        let of = |values: &[f32]| values.iter().map(|&x| E::Float::of(f64::from(x))).collect::<Vec<_>>();
        let mut optimizer = Optimizer::new(engine, recipe, &[("first", &[3]), ("second", &[2])])?;
        optimizer.telemetry_every(1);
        optimizer.watch_loss();
        optimizer.set_params("second", &of(&[3.0, 4.0]))?;
        optimizer.set_grads("first", &of(&[2.0, 2.0, 1.0]))?;
        optimizer.set_grads("second", &of(&[0.0, 7.0]))?;
        optimizer.step_inspected()?;
        optimizer.set_grads("second", &of(&[0.0, f32::INFINITY]))?;
        optimizer.step()?;
        optimizer.flush()?;
        let samples = optimizer.poll()?;
        let what = engine.describe();
        assert_eq!(samples.iter().map(Telemetry::bad_tensor).collect::<Vec<_>>(), [None, Some("second")], "{what}");
        assert_eq!(samples.iter().map(|sample| sample.loss).collect::<Vec<_>>(), [Some(0.0); 2], "{what}");
        let norms: Vec<f64> = samples[0].tensors.iter().map(|tensor| tensor.grad_norm).collect();
        assert_eq!(norms, [3.0, 7.0], "{what}");
        // Adam's first step is as long as its rate in every element that has a gradient.
        let moved = [0.1 * 3f64.sqrt(), 0.1];
        let changes: Vec<f64> = samples[0].tensors.iter().map(|tensor| tensor.change_norm).collect();
        assert_close(&what, &changes, &moved, |i| 1e-5 * moved[i]);
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    engines::all().iter().try_for_each(check)
}
