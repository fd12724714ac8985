//! Steps that are recorded into an encoder, which the host submits.

use super::*;

#[test]
fn encoded_steps_are_submitted_by_the_host_and_wait_for_nothing() -> Result<()> {
    let gpu = gpu();
    let mut encoded = Optimizer::borrowing(&gpu, recipe(), &in_one_buffer(&gpu))?;
    let mut stepped = owned(&gpu, recipe());
    for optimizer in [&mut encoded, &mut stepped] {
        optimizer.set_grads(&name(8), &numbers(1, SIZES[8]))?;
    }
    // More steps than the ring of rows has places, several in a submission.
    for _ in 0..100 {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        (0..6).try_for_each(|_| encoded.encode_step(&mut encoder))?;
        gpu.queue().submit([encoder.finish()]);
    }
    stepped.steps(600)?;
    assert_same_bits("parameters", &encoded.params(&name(8))?, &stepped.params(&name(8))?);
    assert_eq!(encoded.report()?, stepped.report()?);
    Ok(())
}

#[test]
fn too_many_steps_that_nobody_submits_are_an_error() -> Result<()> {
    let gpu = gpu();
    let mut optimizer = Optimizer::borrowing(&gpu, recipe(), &in_many_buffers(&gpu))?;
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    (0..256).try_for_each(|_| optimizer.encode_step(&mut encoder))?;
    let error = optimizer.encode_step(&mut encoder).expect_err("no row for it");
    assert_eq!(error, thalweg::Error::NotSubmitted { waiting: 256, allowed: 256 });
    assert!(error.to_string().starts_with("256 recorded steps wait for their submission, and at most 256 may: submit their"));
    gpu.queue().submit([encoder.finish()]);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    optimizer.encode_step(&mut encoder)
}

/// This holds also if some steps were submitted in between. A step that is submitted although it was forgotten does not break
/// the count.
#[test]
fn steps_of_dropped_encoders_are_forgotten_on_request() -> Result<()> {
    let gpu = gpu();
    let record = |optimizer: &mut Optimizer<GpuProgram>, steps: usize| -> Result<wgpu::CommandEncoder> {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        (0..steps).try_for_each(|_| optimizer.encode_step(&mut encoder))?;
        Ok(encoder)
    };
    let mut dropping = Optimizer::borrowing(&gpu, recipe(), &in_one_buffer(&gpu))?;
    let mut plain = owned(&gpu, recipe());
    for optimizer in [&mut dropping, &mut plain] {
        optimizer.set_grads(&name(8), &numbers(1, SIZES[8]))?;
    }
    let mut late = None;
    for round in 0..3 {
        gpu.queue().submit([record(&mut dropping, 7)?.finish()]);
        let dropped: Vec<_> = (0..249).map(|_| record(&mut dropping, 1)).collect::<Result<_>>()?;
        late = dropped.into_iter().next();
        // The count of submitted steps is requested, so there is room for as many more.
        (0..7).try_for_each(|_| record(&mut dropping, 1).map(drop))?;
        assert!(matches!(record(&mut dropping, 1), Err(thalweg::Error::NotSubmitted { .. })), "round {round}");
        assert!(matches!(dropping.step(), Err(thalweg::Error::NotSubmitted { .. })), "round {round}");
        dropping.forget_recorded()?;
        dropping.steps(300)?;
    }
    plain.steps(3 * 307)?;
    assert_eq!(dropping.report()?, plain.report()?);
    assert_same_bits("parameters", &dropping.params(&name(8))?, &plain.params(&name(8))?);
    gpu.queue().submit(late.map(wgpu::CommandEncoder::finish));
    plain.step()?;
    for _ in 0..40 {
        gpu.queue().submit([record(&mut dropping, 20)?.finish()]);
    }
    // The answer that this waits for includes that step, and is used.
    dropping.forget_recorded()?;
    dropping.steps(300)?;
    plain.steps(1_100)?;
    // That step had no row of its own, but it is counted.
    assert_eq!(dropping.report()?.applied, plain.report()?.applied);
    Ok(())
}

#[test]
fn a_forgotten_step_takes_its_micro_batches_and_its_ascent_along() -> Result<()> {
    let gpu = gpu();
    for (recipe, what) in [
        (recipe().accumulate(Accumulation::default()), "accumulate has to come before each step"),
        (Recipe::new(Adam::default()).sam(0.5), "ascend has to come before each step"),
    ] {
        let mut optimizer = Optimizer::borrowing(&gpu, recipe, &in_one_buffer(&gpu))?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        if what.starts_with("accumulate") {
            optimizer.encode_accumulate(&mut encoder)?
        } else {
            optimizer.encode_ascend(&mut encoder)?
        }
        drop(encoder);
        optimizer.forget_recorded()?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let error = optimizer.encode_step(&mut encoder).expect_err("nothing before it").to_string();
        assert!(error.ends_with(what), "{error}");
    }
    Ok(())
}

/// As documented: values that the device reads when a step runs are those of that moment.
#[test]
fn changes_reach_steps_that_are_recorded_and_not_submitted() -> Result<()> {
    let gpu = gpu();
    let sgd = || Recipe::new(thalweg::Sgd { lr: 1.0, ..Default::default() });
    for (frozen, expected) in [(true, 0.0), (false, -0.25)] {
        let mut optimizer = Optimizer::borrowing(&gpu, sgd(), &in_one_buffer(&gpu))?;
        optimizer.set_params(&name(8), &vec![0.0; SIZES[8]])?;
        optimizer.set_grads(&name(8), &vec![1.0; SIZES[8]])?;
        optimizer.freeze("default", !frozen)?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        optimizer.encode_step(&mut encoder)?;
        optimizer.freeze("default", frozen)?;
        optimizer.set("default", "lr", 0.25)?;
        // Rows that `set` changes are written with the next step.
        optimizer.encode_step(&mut encoder)?;
        gpu.queue().submit([encoder.finish()]);
        assert_eq!(optimizer.params(&name(8))?[0], 2.0 * expected, "frozen: {frozen}");
        let report = optimizer.report()?;
        assert_eq!((report.applied, report.frozen), if frozen { (0, 2) } else { (2, 0) });
    }
    Ok(())
}

/// A refused call uses up no micro-batch.
#[test]
fn a_refused_step_keeps_its_micro_batches() -> Result<()> {
    let gpu = gpu();
    let recipe = recipe().accumulate(Accumulation::default());
    let mut optimizer = Optimizer::borrowing(&gpu, recipe, &in_many_buffers(&gpu))?;
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    for _ in 0..256 {
        optimizer.encode_accumulate(&mut encoder)?;
        optimizer.encode_step(&mut encoder)?;
    }
    optimizer.encode_accumulate(&mut encoder)?;
    optimizer.encode_step(&mut encoder).expect_err("no row for it");
    gpu.queue().submit([encoder.finish()]);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    optimizer.encode_step(&mut encoder)
}
