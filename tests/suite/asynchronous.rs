//! Every call that waits has an asynchronous twin with the same results.

use crate::common::engines;
use crate::common::numbers::numbers;
use thalweg::data::Dataset;
use thalweg::gpu::{Gpu, GpuOptions, request_adapters};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::{Arena, Blueprint, CHUNK, Engine, Half, Layout, Plan, Program, Storage, Tag};
use thalweg::wgpu::{Adapter, DeviceDescriptor, DeviceType, Limits};
use thalweg::{Adafactor, Adam, AdamW, Average, Error, Lookahead, Optimizer, Recipe, Result, ScheduleFree, Trainer};

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
        let gpu = request().await?;
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
            assert_eq!(program.read_async(floats, lane).await?, program.read(floats, lane)?);
            assert_eq!(program.read_async(floats, lane).await?, numbers(lane as u64, 100));
            assert_eq!(program.read_range_async(floats, lane, 7..33).await?, numbers(lane as u64, 100)[7..33]);
            assert_eq!(program.read_indices_async(indices, lane).await?, program.read_indices(indices, lane)?);
            assert_eq!(program.read_halves_async(halves, lane).await?, bits);
        }
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
        let mut program = gpu.load(&Blueprint::of(&layout, &[Plan::default()]))?;
        assert!(program.buffers(params).count() > 2);
        let values = numbers(1, arena.len());
        program.write(params, 0, 0, &values)?;
        assert_eq!(program.read_async(params, 0).await?, values);
        assert_eq!(program.read(params, 0)?, values);
        let part = CHUNK - 3..5 * CHUNK + 1;
        assert_eq!(program.read_range_async(params, 0, part.clone()).await?, values[part.clone()]);
        assert_eq!(program.read_range(params, 0, part.clone())?, values[part]);
        Ok(())
    })
}

/// The asynchronous calls of an optimizer return the same as those that wait.
#[test]
fn an_optimizer_has_twins_of_what_waits() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let recipe = Recipe::new(Adam::default()).group("factored", |t| t.shape.len() == 2, Adafactor::default());
    let recipe = recipe.average(Average::Ema { decay: 0.5 }).lookahead(Lookahead::default()).half_copy(Half::Bf16).inspect();
    let mut optimizer = Optimizer::new(&gpu, recipe, &[("v", &[70]), ("m", &[9, 11])])?;
    pollster::block_on(async {
        for steps in [0, 3] {
            optimizer.set_params("v", &numbers(1, 70))?;
            optimizer.set_grads("v", &numbers(2, 70))?;
            optimizer.set_grads("m", &numbers(3, 99))?;
            if steps > 0 {
                optimizer.steps(steps)?;
                optimizer.step_inspected()?;
            }
            for tensor in ["v", "m"] {
                assert_eq!(optimizer.params_async(tensor).await?, optimizer.params(tensor)?);
                assert_eq!(optimizer.averaged_async(tensor).await?, optimizer.averaged(tensor)?);
                assert_eq!(optimizer.slow_async(tensor).await?, optimizer.slow(tensor)?);
                assert_eq!(optimizer.half_async(tensor).await?, optimizer.half(tensor)?);
                assert_eq!(optimizer.state_async(tensor, "v").await?, optimizer.state(tensor, "v")?);
            }
            assert_eq!(optimizer.state_async("m", "row_var").await?, optimizer.state("m", "row_var")?);
            assert_eq!(optimizer.report_async().await?, optimizer.report()?);
            assert_eq!(optimizer.inspection_async().await?, optimizer.inspection()?);
            assert_eq!(optimizer.all_params_async().await?, optimizer.all_params()?);
            assert_eq!(optimizer.all_eval_params_async().await?, optimizer.all_eval_params()?);
            assert_eq!(optimizer.eval_params_async("m").await?, optimizer.eval_params("m")?);
            assert_eq!(optimizer.eval_arena_async().await?, optimizer.eval_arena()?);
            let state = optimizer.state_dict_async().await?;
            assert_eq!(state, optimizer.state_dict()?);
            optimizer.load_state_dict(&state)?;
        }
        assert_eq!(optimizer.report_async().await?.applied, 4);
        assert!(optimizer.params_async("w").await.is_err());
        optimizer.telemetry_every(1);
        optimizer.steps(2)?;
        optimizer.flush_async().await?;
        assert_eq!(optimizer.poll()?.len(), 2);
        // More steps than rows reach ahead, without a wait in a step.
        for _ in 0..10 {
            optimizer.steps(100)?;
            optimizer.catch_up_async().await?;
        }
        optimizer.set_applied("default", 7)?;
        assert_eq!(optimizer.report_async().await?.applied, 1006);
        let mut two = Optimizer::new(&gpu, Recipe::population([Adam::default(), Adam::default()]), &[("v", &[3])])?;
        assert!(two.params_async("v").await.is_err());
        assert_eq!(two.lane(1)?.params_async("v").await?, [0.0; 3]);
        Ok(())
    })
}

/// A rule that evaluates with other parameters than it trains, and planes of 16 bits.
#[test]
fn planes_come_back_without_a_wait() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    for recipe in [Recipe::new(ScheduleFree::default()), Recipe::new(Adam::default()).state(Storage::Bf16)] {
        let mut optimizer = Optimizer::new(&gpu, recipe, &[("v", &[70]), ("m", &[9, 11])])?;
        optimizer.set_grads("v", &numbers(2, 70))?;
        optimizer.steps(3)?;
        pollster::block_on(async {
            assert_eq!(optimizer.state_async("v", "v").await?, optimizer.state("v", "v")?);
            assert_eq!(optimizer.eval_params_async("v").await?, optimizer.eval_params("v")?);
            assert_eq!(optimizer.all_eval_params_async().await?, optimizer.all_eval_params()?);
            assert_eq!(optimizer.state_dict_async().await?, optimizer.state_dict()?);
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

/// A training in a browser: no call waits, and everything is what the calls that wait say.
#[test]
fn a_trainer_has_twins_of_what_waits() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let features = numbers(1, 3 * 40);
    let labels = (0..40).map(|row| u32::from(features[3 * row] > 0.0)).collect();
    let data = Dataset::new(features, 3, labels)?;
    let model = Sequential::perceptron(3, &[5], 2, Nonlinearity::Relu);
    for recipe in [Recipe::new(ScheduleFree { lr: 0.05, ..Default::default() }), Recipe::new(AdamW::default())] {
        let new = || Trainer::builder(&model, recipe.clone()).train(&data).validation(&data).batch(8).build(&gpu);
        let (mut waits, mut awaits) = (new()?, new()?);
        pollster::block_on(async {
            for _ in 0..2 {
                assert_eq!(format!("{:?}", awaits.whole_epoch_async().await?), format!("{:?}", waits.whole_epoch()?));
            }
            awaits.advance_async(3).await?;
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
            let mut resumed = new()?;
            resumed.load_state_dict(&state)?;
            resumed.advance_async(9).await?;
            waits.advance(9)?;
            assert_eq!(resumed.params_async(0).await?, waits.params(0)?);
            assert!(awaits.predict_async(1, &rows).await.is_err() && awaits.predict_async(0, &rows[1..]).await.is_err());
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}
