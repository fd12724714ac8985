//! What goes with a rule: modifiers over slices are those of an arena.

use super::*;

/// The calls that make up a step.
#[derive(Debug, Clone, Copy)]
enum Do {
    Accumulate,
    Ascend,
    Step,
    Inspect,
}

/// Submitted by the crate.
fn submit(_: &Gpu, optimizer: &mut Optimizer<GpuProgram>, what: Do) -> Result<()> {
    match what {
        Do::Accumulate => optimizer.accumulate(),
        Do::Ascend => optimizer.ascend(),
        Do::Step => optimizer.step(),
        Do::Inspect => optimizer.step_inspected(),
    }
}

/// Recorded into an encoder, and submitted by the host program. An inspected step cannot be.
fn encode(gpu: &Gpu, optimizer: &mut Optimizer<GpuProgram>, what: Do) -> Result<()> {
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    match what {
        Do::Accumulate => optimizer.encode_accumulate(&mut encoder)?,
        Do::Ascend => optimizer.encode_ascend(&mut encoder)?,
        Do::Step => optimizer.encode_step(&mut encoder)?,
        Do::Inspect => optimizer.step_inspected()?,
    }
    gpu.queue().submit([encoder.finish()]);
    Ok(())
}

/// Parameters, momentum, averages, halves, gradients, counters and inspection of each lane after five steps.
fn drive(
    gpu: &Gpu,
    lanes: usize,
    mut optimizer: Optimizer<GpuProgram>,
    actions: &[Do],
    perform: fn(&Gpu, &mut Optimizer<GpuProgram>, Do) -> Result<()>,
) -> Result<(Vec<Vec<f32>>, String)> {
    let tensors: Vec<(usize, usize, usize)> =
        (0..lanes).flat_map(|lane| SIZES.into_iter().enumerate().map(move |(i, size)| (lane, i, size))).collect();
    for &(lane, i, size) in &tensors {
        optimizer.lane(lane)?.set_params(&name(i), &numbers((1000 * lane + i) as u64, size))?;
    }
    for step in 0..5 {
        for (k, &action) in actions.iter().enumerate() {
            for &(lane, i, size) in &tensors {
                optimizer.lane(lane)?.set_grads(&name(i), &numbers((1000 * lane + 100 * step + 10 * k + i) as u64, size))?;
            }
            perform(gpu, &mut optimizer, action)?;
        }
    }
    let mut all = Vec::new();
    for &(lane, i, _) in &tensors {
        all.push(optimizer.lane(lane)?.params(&name(i))?);
        all.push(optimizer.lane(lane)?.state(&name(i), "b")?);
        all.extend(optimizer.lane(lane).and_then(|mut lane| lane.averaged(&name(i))).ok());
        all.extend(
            optimizer
                .lane(lane)
                .and_then(|mut lane| lane.half(&name(i)))
                .ok()
                .map(|bits| bits.into_iter().map(f32::from).collect()),
        );
        let (grads, tensor) = (optimizer.grads_buffer(), optimizer.arena().tensor(&name(i))?);
        let range = tensor.offset..tensor.offset + tensor.len();
        all.push(optimizer.program_mut().read_range(grads, lane, range)?);
    }
    let mut reports = String::new();
    for lane in 0..lanes {
        reports += &format!(
            "{:?} {:?}",
            optimizer.lane(lane)?.report()?,
            optimizer.lane(lane).and_then(|mut lane| lane.inspection()).ok()
        );
    }
    Ok((all, reports))
}

#[test]
fn what_goes_with_a_rule_is_that_of_an_arena() -> Result<()> {
    let gpus = [
        ("all limits", gpu(), 2),
        ("bindings of less than a lane", gpu_with_bindings(64 << 10), 2),
        ("bindings of less than a tensor", small_gpu(), 1),
    ];
    for (limits, gpu, lanes) in gpus {
        let (plain, cases) = modified(lanes);
        for (what, recipe, actions) in cases {
            let (expected, report) = drive(&gpu, lanes, owned(&gpu, recipe.clone()), actions, submit)?;
            assert_ne!(
                expected,
                drive(&gpu, lanes, owned(&gpu, plain.clone()), &[Do::Step], submit)?.0,
                "{what} makes a difference"
            );
            let layouts = [
                ("one pair of buffers", lanes_in_one_pair(&gpu)[..lanes].to_vec()),
                ("a buffer for each lane", (0..lanes).map(|_| in_one_buffer(&gpu)).collect()),
                ("many buffers", (0..lanes).map(|_| in_many_buffers(&gpu)).collect()),
            ];
            for (how, slices) in layouts {
                let optimizer = Optimizer::borrowing_lanes(&gpu, recipe.clone(), &slices)?;
                let (found, found_report) = drive(&gpu, lanes, optimizer, actions, encode)?;
                assert_same_arrays(&format!("{what}, {limits}, {how}"), &found, &expected);
                assert_eq!(found_report, report, "{what}, {limits}, {how}");
            }
        }
    }
    Ok(())
}

/// A name, a recipe, and the calls that make up a step.
type Case = (&'static str, Recipe, &'static [Do]);

/// A recipe, and the recipe with each modifier, in so many lanes.
fn modified(lanes: usize) -> (Recipe, [Case; 13]) {
    use Do::{Accumulate, Ascend, Inspect, Step};
    let lane = |lane: usize| Sgd { lr: 0.1 * (1 + lane) as f64, momentum: 0.9, ..Default::default() };
    let sgd = || Recipe::population((0..lanes).map(lane));
    let lookahead = Lookahead { steps: 2, ..Default::default() };
    let tensor = Clip::Tensor { max: 10.0, kind: NormKind::L2 };
    let in_a_tree = Accumulation { order: SumOrder::Tree { micro_batches: 3 }, ..Default::default() };
    let cases: [Case; 13] = [
        ("centralised", sgd().centralise(), &[Step]),
        ("cautious", sgd().cautious(), &[Step]),
        ("lookahead", sgd().lookahead(lookahead), &[Step]),
        ("average", sgd().average(Average::Ema { decay: 0.5 }), &[Step]),
        ("copy in 16 bits", sgd().half_copy(Half::F16), &[Step]),
        ("zeroed gradients", sgd().zero_grads(), &[Step]),
        ("clip by value", sgd().clip(Clip::Value(0.7)), &[Step]),
        ("clip of each tensor", sgd().clip(tensor), &[Step]),
        ("micro-batches", sgd().skip_bad().accumulate(Accumulation::default()), &[Accumulate, Accumulate, Step]),
        ("a tree of micro-batches", sgd().skip_bad().accumulate(in_a_tree), &[Accumulate, Accumulate, Accumulate, Step]),
        ("ascent", sgd().sam(0.5), &[Ascend, Step]),
        ("inspection", sgd().inspect(), &[Step, Inspect]),
        ("planes in bf16", sgd().state(Storage::Bf16), &[Step]),
    ];
    (sgd(), cases)
}
