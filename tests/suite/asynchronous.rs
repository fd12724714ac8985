//! Every call that waits has an asynchronous twin with the same results.

use crate::common::engines;
use crate::common::numbers::numbers;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use thalweg::data::{Dataset, KFold};
use thalweg::gpu::{Gpu, GpuOptions, GpuProgram, request_adapters};
use thalweg::nn::{BatchNorm1d, Linear, LowRank, Nonlinearity, Sequential, SharedBase};
use thalweg::plan::{
    Arena, Blueprint, CHUNK, Engine, Half, Layout, Plan, PlanId, Program, Reading, Role, Storage, Tag, Values,
};
use thalweg::sweep::{
    Coordinate, Goal, Grid, Halving, Job, PopulationBased, SearchSpace, Status, Strategy, Study, Sweep, Table,
};
use thalweg::train::{EarlyStopping, Population, Setup};
use thalweg::wgpu::{Adapter, DeviceDescriptor, DeviceType, Limits};
use thalweg::{
    Accumulation, Adafactor, Adam, AdamW, Average, Error, Lbfgs, LbfgsSettings, LineSearch, Lookahead, Optimizer, Recipe,
    Result, ScheduleFree, Sgd, Trainer,
};

/// A device on which calls may wait, and the same one as a browser has it: there a twin that waits inside is an error.
fn devices() -> [Gpu; 2] {
    let gpu = engines::open(GpuOptions::default());
    [gpu.clone(), gpu.without_waits()]
}

/// Two optimizers: one that may wait, and one that must not.
fn twins(recipe: &Recipe, tensors: &[(&str, &[usize])]) -> Result<[Optimizer<GpuProgram>; 2]> {
    let [gpu, browser] = devices();
    Ok([Optimizer::new(&gpu, recipe.clone(), tensors)?, Optimizer::new(&browser, recipe.clone(), tensors)?])
}

/// Forty rows of three numbers in two classes.
fn rows() -> Result<Dataset> {
    let features = numbers(1, 3 * 40);
    let labels = (0..40).map(|row| u32::from(features[3 * row] > 0.0)).collect();
    Dataset::new(features, 3, labels)
}

async fn request() -> Result<Gpu> {
    Gpu::request(&GpuOptions { allow_cpu: true, ..Default::default() }).await
}

/// A device whose bindings hold two chunks, so that a read is made of several copies.
async fn cut() -> Gpu {
    let software = |adapter: &&Adapter| adapter.get_info().device_type == DeviceType::Cpu;
    let adapters = request_adapters().await;
    let adapter = adapters.iter().find(software).or(adapters.first()).expect("an adapter");
    let limit = 2 * CHUNK as u64 * 4;
    let required_limits = Limits { max_storage_buffer_binding_size: limit, max_buffer_size: limit, ..Default::default() };
    let descriptor = DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = adapter.request_device(&descriptor).await.expect("a device");
    Gpu::from_wgpu(device, queue)
}

#[test]
fn reads_that_are_awaited_bring_what_others_bring() -> Result<()> {
    pollster::block_on(async {
        let gpu = request().await?.without_waits();
        let mut layout = Layout::new(2);
        let mut arena = Arena::default();
        arena.add("w", &[64])?;
        let (floats, indices) = (layout.floats("floats", 100), layout.indices("indices", 70));
        let halves = layout.half_arena("halves", &arena);
        let mut program = gpu.load(&Blueprint::of(&layout, &[Plan::default()]))?;
        gpu.resolve().await?;
        let words: Vec<u32> = (0..70).map(|i| i * i + 1).collect();
        let bits: Vec<u16> = numbers(2, 64).iter().map(|&x| Half::F16.bits(x)).collect();
        for lane in 0..2 {
            program.write(floats, lane, 0, &numbers(lane as u64, 100))?;
            program.write_indices(indices, lane, 0, &words[lane..])?;
            program.write_halves(halves, lane, 0, &bits)?;
        }
        let tag = Tag::new();
        program.request(tag, &[floats])?;
        program.settle_async().await?;
        let answer = program.arrived(tag)?.expect("an answer that was waited for").clone();
        assert_eq!(answer.floats, [numbers(0, 100), numbers(1, 100)].concat());
        for lane in 0..2 {
            assert_eq!(program.read_async(floats, lane).await?, numbers(lane as u64, 100));
            assert_eq!(program.read_range_async(floats, lane, 7..33).await?, numbers(lane as u64, 100)[7..33]);
            assert_eq!(program.read_indices_async(indices, lane).await?[..70 - lane], words[lane..]);
            assert_eq!(program.read_halves_async(halves, lane).await?, bits);
        }
        let (mut some, mut others) = ([f32::NAN; 5], [f32::NAN; 100]);
        let mut parts = [
            Reading { buffer: floats, lane: 1, offset: 7, values: &mut some },
            Reading { buffer: floats, lane: 0, offset: 0, values: &mut others },
        ];
        program.read_parts_async(&mut parts).await?;
        assert_eq!((&some[..], &others[..]), (&numbers(1, 100)[7..12], &numbers(0, 100)[..]));
        let found = program.read_all_async(&[halves, floats]).await?;
        assert_eq!(found, [Values::Halves(vec![bits.clone(), bits]), Values::Floats(vec![numbers(0, 100), numbers(1, 100)])]);
        let refused = program.read_async(floats, 2).await;
        assert_eq!(refused, program.read(floats, 2));
        assert!(matches!(refused, Err(Error::Setting { .. })), "{refused:?}");
        assert_eq!(program.read_async(indices, 0).await, program.read(indices, 0));
        Ok(())
    })
}

#[test]
fn a_read_in_pieces_is_whole() -> Result<()> {
    pollster::block_on(async {
        let gpu = cut().await;
        let len = 7 * CHUNK + 100;
        let mut arena = Arena::default();
        arena.add("w", &[len])?;
        let mut layout = Layout::new(1);
        let params = layout.arena("params", &arena);
        let blueprint = Blueprint::of(&layout, &[Plan::default()]);
        let (mut waits, mut awaits) = (gpu.load(&blueprint)?, gpu.without_waits().load(&blueprint)?);
        assert!(awaits.buffers(params).count() > 2);
        let values = numbers(1, arena.len());
        waits.write(params, 0, 0, &values)?;
        awaits.write(params, 0, 0, &values)?;
        assert_eq!(awaits.read_async(params, 0).await?, values);
        assert_eq!(waits.read(params, 0)?, values);
        let part = CHUNK - 3..5 * CHUNK + 1;
        assert_eq!(awaits.read_range_async(params, 0, part.clone()).await?, values[part.clone()]);
        assert_eq!(waits.read_range(params, 0, part.clone())?, values[part]);
        Ok(())
    })
}

/// The asynchronous calls of an optimizer return the same as those that wait.
#[test]
fn an_optimizer_has_twins_of_what_waits() -> Result<()> {
    let recipe = Recipe::new(Adam::default()).group("factored", |t| t.shape.len() == 2, Adafactor::default());
    let recipe = recipe.average(Average::Ema { decay: 0.5 }).lookahead(Lookahead::default()).half_copy(Half::Bf16).inspect();
    let [mut waits, mut awaits] = twins(&recipe, &[("v", &[70]), ("m", &[9, 11])])?;
    pollster::block_on(async {
        for steps in [0, 3] {
            for optimizer in [&mut waits, &mut awaits] {
                optimizer.set_params("v", &numbers(1, 70))?;
                optimizer.set_grads("v", &numbers(2, 70))?;
                optimizer.set_grads("m", &numbers(3, 99))?;
                if steps > 0 {
                    optimizer.steps(steps)?;
                    optimizer.step_inspected()?;
                }
            }
            for tensor in ["v", "m"] {
                assert_eq!(awaits.params_async(tensor).await?, waits.params(tensor)?);
                assert_eq!(awaits.averaged_async(tensor).await?, waits.averaged(tensor)?);
                assert_eq!(awaits.slow_async(tensor).await?, waits.slow(tensor)?);
                assert_eq!(awaits.half_async(tensor).await?, waits.half(tensor)?);
                assert_eq!(awaits.state_async(tensor, "v").await?, waits.state(tensor, "v")?);
            }
            assert_eq!(awaits.state_async("m", "row_var").await?, waits.state("m", "row_var")?);
            assert_eq!(awaits.report_async().await?, waits.report()?);
            assert_eq!(awaits.inspection_async().await?, waits.inspection()?);
            assert_eq!(awaits.all_params_async().await?, waits.all_params()?);
            assert_eq!(awaits.all_eval_params_async().await?, waits.all_eval_params()?);
            assert_eq!(awaits.eval_params_async("m").await?, waits.eval_params("m")?);
            assert_eq!(awaits.eval_arena_async().await?, waits.eval_arena()?);
            let state = awaits.state_dict_async().await?;
            assert_eq!(state, waits.state_dict()?);
            awaits.load_state_dict(&state)?;
            assert_eq!(awaits.weights_async(0).await?, waits.weights(0)?);
            let mut tensors = awaits.tensors_async().await?;
            assert_eq!(tensors, waits.tensors()?);
            awaits.tensors_into_async(&mut tensors).await?;
            assert_eq!(tensors, waits.tensors()?);
        }
        assert_eq!(awaits.report_async().await?.applied, 4);
        assert!(awaits.params_async("w").await.is_err());
        awaits.telemetry_every(1);
        awaits.steps(2)?;
        awaits.flush_async().await?;
        assert_eq!(awaits.poll()?.len(), 2);
        // More steps than rows reach ahead, without a wait in a step.
        for _ in 0..10 {
            awaits.steps(100)?;
            awaits.catch_up_async().await?;
        }
        awaits.set_applied("default", 7)?;
        assert_eq!(awaits.report_async().await?.applied, 1006);
        let [_, mut two] = twins(&Recipe::population([Adam::default(), Adam::default()]), &[("v", &[3])])?;
        assert!(two.params_async("v").await.is_err());
        assert_eq!(two.lane(1)?.params_async("v").await?, [0.0; 3]);
        Ok(())
    })
}

/// What stays a call that waits is an error that says so, and changes nothing.
#[test]
fn a_call_that_would_wait_is_an_error_where_nothing_may() -> Result<()> {
    let [_, mut optimizer] = twins(&Recipe::new(Adam::default()), &[("v", &[3])])?;
    optimizer.set_grads("v", &[1.0, 2.0, 3.0])?;
    optimizer.steps(5)?;
    let said = "waiting for the device: a browser must not wait: await the function of the same name that ends in _async";
    for refused in [
        optimizer.params("v").map(drop),
        optimizer.state_dict().map(drop),
        optimizer.report().map(drop),
        optimizer.tensors().map(drop),
        optimizer.program().wait(),
        optimizer.set_applied("default", 1),
        optimizer.flush(),
    ] {
        let error = refused.expect_err("it would have waited");
        assert!(error.to_string().contains(said), "{error}");
    }
    pollster::block_on(async {
        optimizer.program().wait_async().await?;
        optimizer.catch_up_async().await?;
        optimizer.steps(1)?;
        let seconds = optimizer.program_mut().run_timed_async(PlanId::FIRST, 1).await?;
        assert!(seconds.is_none_or(|seconds| seconds > 0.0), "{seconds:?}");
        Ok(())
    })
}

/// PyTorch's names out and in, sums of micro-batches, and steps that were recorded and never submitted.
#[test]
fn what_goes_to_others_is_awaited_too() -> Result<()> {
    let recipe = Recipe::new(AdamW::default()).average(Average::Ema { decay: 0.5 });
    let [gpu, browser] = devices();
    let new = |gpu| Optimizer::new(gpu, recipe.clone(), &[("v", &[70]), ("m", &[9, 11])]);
    let (mut waits, mut awaits) = (new(&gpu)?, new(&browser)?);
    for optimizer in [&mut waits, &mut awaits] {
        optimizer.set_params("v", &numbers(1, 70))?;
        optimizer.set_grads("v", &numbers(2, 70))?;
        optimizer.steps(3)?;
    }
    pollster::block_on(async {
        let exported = awaits.export_async(0).await?;
        assert_eq!(exported, waits.export(0)?);
        assert!(awaits.export_async(1).await.is_err());
        awaits.steps(2)?;
        awaits.import_async(&exported).await?;
        assert_eq!(awaits.export_async(0).await?, exported);

        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for _ in 0..200 {
            awaits.encode_step(&mut encoder)?;
        }
        drop(encoder);
        awaits.forget_recorded_async().await?;
        // As many again as there is room for, if the others are forgotten.
        awaits.steps(200)?;
        assert_eq!(awaits.report_async().await?.applied, 3 + 2 + 200);

        let recipe = Recipe::new(Sgd::default()).accumulate(Accumulation::default());
        let [mut waits, mut awaits] = twins(&recipe, &[("v", &[70])])?;
        for optimizer in [&mut waits, &mut awaits] {
            for seed in [1, 2] {
                optimizer.set_grads("v", &numbers(seed, 70))?;
                optimizer.accumulate()?;
            }
        }
        let len = awaits.arena().len();
        let [mut sums, mut expected] = [(); 2].map(|()| [vec![f32::NAN; len]]);
        assert_eq!(awaits.take_sum_async(&mut sums).await?, waits.take_sum(&mut expected)?);
        assert_eq!(sums, expected);
        assert!(awaits.take_sum_async(&mut sums).await.is_err(), "none is left");
        Ok(())
    })
}

/// A rule that evaluates with other parameters than it trains, and planes of 16 bits.
#[test]
fn planes_come_back_without_a_wait() -> Result<()> {
    for recipe in [Recipe::new(ScheduleFree::default()), Recipe::new(Adam::default()).state(Storage::Bf16)] {
        let [mut waits, mut awaits] = twins(&recipe, &[("v", &[70]), ("m", &[9, 11])])?;
        for optimizer in [&mut waits, &mut awaits] {
            optimizer.set_grads("v", &numbers(2, 70))?;
            optimizer.steps(3)?;
        }
        pollster::block_on(async {
            assert_eq!(awaits.state_async("v", "v").await?, waits.state("v", "v")?);
            assert_eq!(awaits.eval_params_async("v").await?, waits.eval_params("v")?);
            assert_eq!(awaits.all_eval_params_async().await?, waits.all_eval_params()?);
            assert_eq!(awaits.state_dict_async().await?, waits.state_dict()?);
            assert_eq!(awaits.tensors_async().await?, waits.tensors()?);
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

/// A training in a browser: no call waits, and everything is what the calls that wait say.
#[test]
fn a_trainer_has_twins_of_what_waits() -> Result<()> {
    let ([gpu, browser], data) = (devices(), rows()?);
    let model = Sequential::perceptron(3, &[5], 2, Nonlinearity::Relu);
    for recipe in [Recipe::new(ScheduleFree { lr: 0.05, ..Default::default() }), Recipe::new(AdamW::default())] {
        let new = |gpu| Trainer::builder(&model, recipe.clone()).train(&data).validation(&data).batch(8).build(gpu);
        let (mut waits, mut awaits) = (new(&gpu)?, new(&browser)?);
        pollster::block_on(async {
            for _ in 0..2 {
                assert_eq!(format!("{:?}", awaits.whole_epoch_async().await?), format!("{:?}", waits.whole_epoch()?));
            }
            let (mut seen, mut seen_async) = (Vec::new(), Vec::new());
            let looks = |seen: &mut Vec<usize>, step| {
                seen.push(step);
                ControlFlow::Continue(())
            };
            let metrics = awaits.epoch_by_async(2, |step| looks(&mut seen_async, step)).await?;
            assert_eq!(metrics, waits.epoch_by(2, |step| looks(&mut seen, step))?);
            assert_eq!(seen_async, seen);
            assert!(awaits.epoch_by_async(0, |_| ControlFlow::Continue(())).await.is_err());
            // It is broken off after three steps.
            awaits.epoch_async(|step| if step < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }).await?;
            waits.advance(3)?;
            assert_eq!(format!("{:?}", awaits.metrics_async().await?), format!("{:?}", waits.metrics()?));
            assert_eq!(format!("{:?}", awaits.evaluate_async().await?), format!("{:?}", waits.evaluate()?));
            let rows = numbers(5, 3 * 7);
            assert_eq!(awaits.predict_async(0, &rows).await?, waits.predict(0, &rows)?);
            assert_eq!(awaits.predict_all_async(&rows).await?, waits.predict_all(&rows)?);
            assert_eq!(awaits.predict_classes_async(0, &rows).await?, waits.predict_classes(0, &rows)?);
            assert_eq!(awaits.params_async(0).await?, waits.params(0)?);
            assert_eq!(awaits.eval_params_async(0).await?, waits.eval_params(0)?);
            assert_eq!(awaits.report_async(0).await?, waits.report(0)?);
            let state = awaits.state_dict_async().await?;
            assert_eq!(state, waits.state_dict()?);
            let mut resumed = new(&browser)?;
            resumed.load_state_dict_async(&state).await?;
            resumed.advance_async(9).await?;
            waits.advance(9)?;
            assert_eq!(resumed.params_async(0).await?, waits.params(0)?);
            assert!(awaits.predict_async(1, &rows).await.is_err() && awaits.predict_async(0, &rows[1..]).await.is_err());
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

/// What fits of a file, with a part that does not, so that the run's own state is needed; and weights alone.
#[test]
fn files_are_taken_in_without_a_wait() -> Result<()> {
    let recipe = Recipe::new(Adam::default()).average(Average::Ema { decay: 0.5 });
    let new = |len: usize| twins(&recipe, &[("body", &[70]), ("head", &[len])]);
    let [_, mut old] = new(3)?;
    old.set_params("body", &numbers(1, 70))?;
    old.set_grads("body", &numbers(2, 70))?;
    old.steps(2)?;
    pollster::block_on(async {
        let (file, weights) = (old.tensors_async().await?, old.weights_async(0).await?);
        for len in [3, 4] {
            let [mut waits, mut awaits] = new(len)?;
            // So that it is to ask how far the device is.
            [&mut waits, &mut awaits].into_iter().try_for_each(|optimizer| optimizer.steps(2))?;
            let loaded = awaits.load_tensors_lenient_async(&file).await?;
            assert_eq!(loaded.to_string(), waits.load_tensors_lenient(&file)?.to_string());
            assert_eq!(loaded.kept.is_empty(), len == 3);
            assert_eq!(awaits.state_dict_async().await?, waits.state_dict()?);
            [&mut waits, &mut awaits].into_iter().try_for_each(|optimizer| optimizer.steps(2))?;
            let loaded = awaits.load_weights_lenient_async(&weights).await?;
            assert_eq!(loaded.to_string(), waits.load_weights_lenient(&weights)?.to_string());
            let strict = awaits.load_weights_async(&weights).await;
            assert_eq!(strict.map(|loaded| loaded.to_string()), waits.load_weights(&weights).map(|loaded| loaded.to_string()));
            assert_eq!(awaits.state_dict_async().await?, waits.state_dict()?);
            assert_eq!(awaits.params_async("body").await?, old.params_async("body").await?);
        }
        Ok(())
    })
}

/// A stepper on a program of one's own, and the part of a recipe that a rank moves.
#[test]
fn a_stepper_has_twins_of_what_waits() -> Result<()> {
    let mut arena = Arena::default();
    for (name, len) in [("v", 70), ("w", 5_000)] {
        arena.add(name, &[len])?;
    }
    let whole = Recipe::new(ScheduleFree { lr: 0.1, ..Default::default() }).clip_norm(1.0);
    let parted = Recipe::new(Adam::default()).clip_norm(1.0).accumulate(Accumulation::default()).part(0..128);
    for (recipe, accumulates) in [(whole, false), (parted, true)] {
        let mut blueprint = Blueprint::new(1);
        let [params, grads] =
            [("params", Role::Params), ("grads", Role::Grads)].map(|(name, role)| blueprint.arena(name, &arena, role));
        let mut one = recipe.record(&mut blueprint, &arena, params, grads)?;
        let (mut other, [gpu, browser]) = (one.clone(), devices());
        let (mut waits, mut awaits) = (gpu.load(&blueprint)?, browser.load(&blueprint)?);
        for (stepper, program) in [(&mut one, &mut waits), (&mut other, &mut awaits)] {
            stepper.start(program)?;
            program.write(params, 0, 0, &numbers(1, arena.len()))?;
            program.write(grads, 0, 0, &numbers(2, arena.len()))?;
            if accumulates {
                stepper.accumulate(program)?;
            } else {
                stepper.steps(program, 3)?;
            }
        }
        pollster::block_on(async {
            if accumulates {
                let [mut sum, mut expected] = [(); 2].map(|()| [vec![f32::NAN; arena.len()]]);
                assert_eq!(other.take_sum_async(&mut awaits, &mut sum).await?, one.take_sum(&mut waits, &mut expected)?);
                assert_eq!(sum, expected);
                for (stepper, program) in [(&mut one, &mut waits), (&mut other, &mut awaits)] {
                    stepper.put_sum_piece(program, 0, 0, &sum[0][..128])?;
                    stepper.end_sum(program, &[1])?;
                }
                let norms = other.measure_part_async(&mut awaits, 0).await?;
                assert!(!norms.is_empty() && norms == one.measure_part(&mut waits, 0)?, "{norms:?}");
            } else {
                let read = |_| numbers(1, arena.len());
                let [mut params, mut expected] = [0, 1].map(read);
                other.eval_async(&awaits, 0, arena.tensors(), &mut params).await?;
                one.eval(&mut waits, 0, arena.tensors(), &mut expected)?;
                assert!(params == expected && params != numbers(1, arena.len()));
                for _ in 0..5 {
                    other.steps(&mut awaits, 100)?;
                    other.catch_up_async(&mut awaits).await?;
                }
                one.steps(&mut waits, 500)?;
                other.set_applied(&mut awaits, 0, "default", 9)?;
                one.set_applied(&mut waits, 0, "default", 9)?;
                other.telemetry_every(1);
                other.steps(&mut awaits, 1)?;
                one.steps(&mut waits, 1)?;
                other.flush_async(&mut awaits).await?;
                assert_eq!(other.poll(&mut awaits)?.len(), 1);
            }
            assert_eq!(other.report_async(&awaits, 0).await?, one.report(&mut waits, 0)?);
            assert_eq!(other.snapshot_async(&awaits).await?, one.snapshot(&mut waits)?);
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

/// Epochs up to an early stop, whose best parameters come back; and what is saved of them.
#[test]
fn a_fit_that_is_awaited_is_that_of_one_that_waits() -> Result<()> {
    let ([gpu, browser], data) = (devices(), rows()?);
    let norm = BatchNorm1d::new(5);
    let model = Sequential::new().then(Linear::new(3, 5)).then(norm).then(Nonlinearity::Relu).then(Linear::new(5, 2));
    let averaged = Recipe::new(AdamW { lr: 0.5, ..Default::default() }).average(Average::Ema { decay: 0.5 });
    for recipe in [Recipe::new(ScheduleFree { lr: 0.5, ..Default::default() }), averaged] {
        let new = |gpu| {
            let builder = Trainer::builder(&model, recipe.clone()).train(&data).validation(&data).batch(8);
            builder.early_stopping(EarlyStopping { patience: 2, ..Default::default() }).build(gpu)
        };
        let (mut waits, mut awaits) = (new(&gpu)?, new(&browser)?);
        pollster::block_on(async {
            let (mut said, mut said_async) = (Vec::new(), Vec::new());
            let go_on = |said: &mut Vec<String>, epoch: &dyn std::fmt::Debug| {
                said.push(format!("{epoch:?}"));
                Ok(ControlFlow::Continue(()))
            };
            awaits.fit_async(6, |_, epoch| go_on(&mut said_async, epoch)).await?;
            waits.fit(6, |_, epoch| go_on(&mut said, epoch))?;
            assert!(said_async == said && !said.is_empty(), "{said_async:?}");
            assert_eq!(awaits.best(0)?.epoch, waits.best(0)?.epoch);
            let (found, found_async) = (waits.evaluate()?, awaits.evaluate_async().await?);
            assert_eq!(found_async, found);
            awaits.observe_async(&found_async).await?;
            waits.observe(&found)?;
            awaits.restore_best_async().await?;
            waits.restore_best()?;
            assert_eq!(awaits.state_dict_async().await?, waits.state_dict()?);
            let (file, weights) = (awaits.tensors_async().await?, awaits.weights_async(0).await?);
            assert_eq!((&file, &weights), (&waits.tensors()?, &waits.weights(0)?));
            let mut again = file.clone();
            awaits.tensors_into_async(&mut again).await?;
            assert_eq!(again, file);

            let (mut resumed, mut plain) = (new(&browser)?, new(&gpu)?);
            resumed.load_tensors_async(&file).await?;
            assert_eq!(resumed.tensors_async().await?, file);
            let mut fewer = file.clone();
            fewer.remove("param.0.bias");
            for file in [&file, &fewer] {
                // Where the best is evaluated, the file was taken up before: other parameters have to come in between.
                resumed.advance_async(3).await?;
                plain.advance(3)?;
                let loaded = resumed.load_tensors_lenient_async(file).await?;
                assert_eq!(loaded.to_string(), plain.load_tensors_lenient(file)?.to_string());
            }
            resumed.advance_async(3).await?;
            let loaded = resumed.load_model_async(&file).await?;
            assert_eq!(loaded.to_string(), plain.load_model(&file)?.to_string());
            let features = numbers(5, 3 * 7);
            assert_eq!(resumed.predict_async(0, &features).await?, plain.predict(0, &features)?);
            assert_eq!(resumed.predict_async(0, &features).await?, waits.predict(0, &features)?);
            resumed.advance_async(3).await?;
            for strict in [false, true] {
                let loaded = match strict {
                    true => [resumed.load_weights_async(&weights).await?, plain.load_weights(&weights)?],
                    false => [resumed.load_weights_lenient_async(&weights).await?, plain.load_weights_lenient(&weights)?],
                };
                assert_eq!(loaded[0].to_string(), loaded[1].to_string());
                assert_eq!(resumed.params_async(0).await?, plain.params(0)?);
            }
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

/// Batches from elsewhere, lanes that take over others, and parameters that all lanes share.
#[test]
fn streams_copies_and_shared_parameters_are_awaited_too() -> Result<()> {
    let ([gpu, browser], data) = (devices(), rows()?);
    let model = SharedBase(LowRank { base: Linear::new(3, 2), rank: 1, alpha: 1.0 });
    let recipe = Recipe::population([0.1, 0.01].map(|lr| Sgd { lr, ..Default::default() }));
    let new = |gpu| Trainer::builder(&model, recipe.clone()).train(&data).seeds(&[1, 2]).batch(8).copies().build(gpu);
    let (mut waits, mut awaits) = (new(&gpu)?, new(&browser)?);
    let sample = data.rows_at(&[0, 1, 2, 3])?;
    // More places than the host may be ahead.
    let new = |gpu| Trainer::builder(&model, Recipe::new(AdamW::default())).train(&sample).stream(600).build(gpu);
    let (mut streams, mut awaited) = (new(&gpu)?, new(&browser)?);
    pollster::block_on(async {
        assert_eq!(awaits.shared_async("weight").await?, waits.shared("weight")?);
        awaits.advance_async(7).await?;
        waits.advance(7)?;
        // Copies look how far the device is.
        awaits.optimizer_mut().telemetry_every(1);
        awaits.advance_async(1).await?;
        waits.advance(1)?;
        awaits.copy_lanes_async(&[(1, 0)]).await?;
        waits.copy_lanes(&[(1, 0)])?;
        awaits.advance_async(2).await?;
        waits.advance(2)?;
        for lane in 0..2 {
            assert_eq!(awaits.params_async(lane).await?, waits.params(lane)?);
        }
        let batches = || (0..700).map(|at| data.rows_at(&[at % 40, (at + 7) % 40, 3, 9]).unwrap());
        for count in [700, 3] {
            let found = awaited.stream_async(batches().take(count)).await?;
            assert_eq!(found, streams.stream(batches().take(count))?);
        }
        assert_eq!(awaited.params_async(0).await?, streams.params(0)?);
        Ok(())
    })
}

/// Both line searches, up to their ends, with a closure that reads the point; and what is saved between two steps.
#[test]
fn steps_of_lbfgs_are_awaited_too() -> Result<()> {
    let [gpu, browser] = devices();
    for line_search in [LineSearch::StrongWolfe, LineSearch::None] {
        let settings = LbfgsSettings { max_iter: 4, lr: 0.5, line_search, ..Default::default() };
        let new = |gpu| Lbfgs::new(gpu, settings.clone(), &[("x", &[2])]);
        let (mut waits, mut awaits) = (new(&gpu)?, new(&browser)?);
        // Rosenbrock's function and its gradient.
        let at = |x: &[f32]| {
            let (a, valley) = (f64::from(x[0]), f64::from(x[1]) - f64::from(x[0]).powi(2));
            let slope = [-400.0 * a * valley - 2.0 * (1.0 - a), 200.0 * valley].map(|slope| slope as f32);
            (100.0 * valley * valley + (1.0 - a) * (1.0 - a), slope)
        };
        assert!(awaits.step(|_| Ok(0.0)).unwrap_err().to_string().contains("_async"));
        for _ in 0..5 {
            let report = pollster::block_on(awaits.step_async(async |point| {
                let (loss, slope) = at(&point.params_async("x").await?);
                point.set_grads("x", &slope)?;
                Ok(loss)
            }))?;
            let expected = waits.step(|point| {
                let (loss, slope) = at(&point.params("x")?);
                point.set_grads("x", &slope)?;
                Ok(loss)
            })?;
            assert_eq!(format!("{report:?}"), format!("{expected:?}"));
            assert!(report.evaluations > 1, "{report:?}");
            assert_eq!(pollster::block_on(awaits.params_async("x"))?, waits.params("x")?);
            assert_eq!(pollster::block_on(awaits.tensors_async())?, waits.tensors()?);
        }
        let refused = pollster::block_on(awaits.step_async(async |_| Err(Error::missing("a loss", "a point", "one"))));
        assert!(matches!(refused, Err(Error::Missing { .. })), "{refused:?}");
    }
    Ok(())
}

/// An epoch of more steps than the host may be ahead, also after steps that nobody has awaited.
#[test]
fn many_steps_wait_for_nothing() -> Result<()> {
    let [_, browser] = devices();
    let data = Dataset::new(numbers(1, 400), 1, (0..400).map(|row| row % 2).collect())?;
    let model = Linear::new(1, 2);
    let mut trainer = Trainer::builder(&model, Recipe::new(Sgd::default())).train(&data).batch(1).build(&browser)?;
    pollster::block_on(async {
        trainer.advance(100)?;
        trainer.advance_async(290).await?;
        trainer.whole_epoch_async().await?;
        assert_eq!(trainer.steps(), 400);
        Ok(())
    })
}

/// Halving with folds, and members that take over others on the device. The last trial goes wrong by itself.
#[test]
fn sweeps_over_populations_are_awaited() -> Result<()> {
    let ([gpu, browser], data) = (devices(), rows()?);
    let folds = KFold { folds: 2, ..Default::default() }.split(data.rows())?;
    let setup = |job: &Job| {
        let lr = job.point.get("lr").and_then(Coordinate::as_f64).unwrap_or(0.0);
        let recipe = Recipe::new(Sgd { lr, momentum: 0.5, ..Default::default() }).skip_bad().max_bad_steps(2);
        Ok(Setup { seed: 1, ..Setup::new(Sequential::perceptron(3, &[4], 2, Nonlinearity::Relu), recipe) })
    };
    let population = |gpu| Population::new(gpu, &data, setup).folds(folds.clone()).standardise();
    let space: SearchSpace = "lr=choice:0.01,0.1,0.3,3e38".parse()?;
    let new = || {
        let goal = Goal::Minimize;
        Ok::<_, Error>((Study::new(space.clone(), goal, Grid::new(&space, 1)?), Table::new(space.clone(), goal)))
    };
    let halving = Strategy::Halving(Halving { min_steps: 4, max_steps: 16, eta: 2 });
    let rule = PopulationBased { resample: 0.0, ..PopulationBased::exploring(["lr"]) };
    for strategy in [halving, Strategy::Population { steps: 24, every: 8, rule }] {
        let sweep = Sweep { trials: 4, folds: 2, ..Sweep::new(strategy) };
        let (mut study, mut expected) = new()?;
        sweep.run(&mut study, &mut expected, &mut population(&gpu), |_| Ok(()))?;
        assert!(expected.records().iter().any(|record| record.status == Status::Failed));
        assert!(expected.best().is_some_and(|best| best.mean.is_finite()));
        let (mut study, mut table) = new()?;
        let mut awaited = population(&browser).watch(|_| ControlFlow::Continue(()));
        pollster::block_on(sweep.run_async(&mut study, &mut table, &mut awaited, |_| Ok(())))?;
        assert_eq!(table.csv(), expected.csv());
        // Where a device may not wait, the other call is refused.
        let (mut study, mut table) = new()?;
        let refused = sweep.run(&mut study, &mut table, &mut population(&browser), |_| Ok(()));
        assert!(refused.is_err_and(|error| error.to_string().contains("_async")));
    }
    Ok(())
}

/// Tests of this file call every twin on a device where nothing may wait.
#[test]
fn every_twin_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a source");
    let tests = read("tests/suite/asynchronous.rs");
    let mut count = 0;
    for path in [
        "src/optimizer/asynchronous.rs",
        "src/train/asynchronous.rs",
        "src/lbfgs/asynchronous.rs",
        "src/sweep/run.rs",
        "src/gpu/program.rs",
    ] {
        let source = read(path);
        for (_, rest) in source.match_indices("pub async fn ").map(|(at, what)| source.split_at(at + what.len())) {
            let name = rest.split('(').next().unwrap_or_default();
            count += 1;
            assert!(tests.contains(&format!(".{name}(")), "{path}: {name}");
        }
    }
    assert!(count > 70, "{count}");
}
