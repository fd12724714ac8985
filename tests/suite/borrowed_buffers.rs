//! Optimizers over slices of buffers that the program owns.

use crate::common::compare::assert_same_bits;
use crate::common::groups::grouped_by;
use crate::common::numbers::numbers;
use thalweg::gpu::{Borrowed, BorrowedTensor, Gpu, GpuOptions, GpuProgram, Slice};
use thalweg::plan::{Arena, Blueprint, Half, NormKind, PlanId, Program, Role, Storage};
use thalweg::{
    Accumulation, Adafactor, Adam, AdamW, Adan, AnyRule, Average, Clip, Lamb, Lars, Lookahead, Muon, Optimizer, Recipe, Result,
    Sgd, SumOrder, wgpu,
};

/// Tensors with lengths around those of a block and a chunk, and an empty one.
const SIZES: [usize; 9] = [1, 3, 64, 65, 0, 4095, 4097, 127, 10_000];

/// Their shapes: vectors, matrices, a stack of matrices.
const SHAPES: [&[usize]; 9] = [&[1], &[3], &[8, 8], &[5, 13], &[0], &[3, 21, 65], &[17, 241], &[127], &[10_000]];

fn gpu() -> Gpu {
    Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() }).expect("install mesa-vulkan-drivers and libvulkan1")
}

/// Bindings of 32 KiB, so that slices spread over many windows.
fn small_gpu() -> Gpu {
    gpu_with_bindings(32 << 10)
}

fn gpu_with_bindings(bytes: u64) -> Gpu {
    let adapter = thalweg::gpu::adapters().swap_remove(0);
    let required_limits = wgpu::Limits { max_storage_buffer_binding_size: bytes, ..Default::default() };
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    Gpu::from_wgpu(device, queue)
}

fn buffer(gpu: &Gpu, elements: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let size = 4 * elements.max(1) as u64;
    gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

fn name(i: usize) -> String {
    format!("tensor {i}")
}

fn tensor(i: usize, params: Slice, grads: Slice) -> BorrowedTensor {
    BorrowedTensor { name: name(i), shape: SHAPES[i].to_vec(), params, grads }
}

/// All slices in one buffer: parameters and gradients in turns, with odd gaps, the last tensor first.
fn in_one_buffer(gpu: &Gpu) -> Vec<BorrowedTensor> {
    let shared = buffer(gpu, 2 * SIZES.iter().sum::<usize>() + 20 * SIZES.len(), USAGE);
    let mut at = 1;
    let mut slice = |len| {
        let slice = Slice { buffer: shared.clone(), offset: 4 * at as u64, len };
        at += len + 3;
        slice
    };
    let mut tensors: Vec<BorrowedTensor> =
        (0..SIZES.len()).rev().map(|i| tensor(i, slice(SIZES[i]), slice(SIZES[i]))).collect();
    tensors.reverse();
    tensors
}

/// A buffer for every slice.
fn in_many_buffers(gpu: &Gpu) -> Vec<BorrowedTensor> {
    let slice = |len: usize| Slice { buffer: buffer(gpu, len + 5, USAGE), offset: 4 * (len % 5) as u64, len };
    (0..SIZES.len()).map(|i| tensor(i, slice(SIZES[i]), slice(SIZES[i]))).collect()
}

fn recipe() -> Recipe {
    Recipe::new(Adam { lr: 0.1, weight_decay: 0.01, ..Default::default() }).clip_norm(1.0)
}

fn owned(gpu: &Gpu, recipe: Recipe) -> Optimizer<GpuProgram> {
    let names: Vec<String> = (0..SIZES.len()).map(name).collect();
    let tensors: Vec<(&str, &[usize])> = names.iter().map(String::as_str).zip(SHAPES).collect();
    Optimizer::new(gpu, recipe, &tensors).expect("an optimizer")
}

/// Parameters, planes, norm and counters of each lane after seven steps, of which one is bad, another one in each lane.
fn run(mut optimizer: Optimizer<GpuProgram>, lanes: usize) -> (Vec<Vec<f32>>, String) {
    let tensors: Vec<(usize, usize, usize)> =
        (0..lanes).flat_map(|lane| SIZES.into_iter().enumerate().map(move |(i, size)| (lane, i, size))).collect();
    for &(lane, i, size) in &tensors {
        optimizer
            .lane(lane)
            .expect("a lane")
            .set_params(&name(i), &numbers((1000 * lane + i) as u64, size))
            .expect("parameters");
    }
    for step in 0..7 {
        for &(lane, i, size) in &tensors {
            let mut grads = numbers((1000 * lane + 100 * step + i) as u64, size);
            if step == 3 + lane && i == 6 {
                grads[4096] = f32::NAN;
            }
            optimizer.lane(lane).expect("a lane").set_grads(&name(i), &grads).expect("gradients");
        }
        optimizer.step().expect("a step");
    }
    let mut all = Vec::new();
    for &(lane, i, _) in &tensors {
        all.push(optimizer.lane(lane).expect("a lane").params(&name(i)).expect("parameters"));
        all.extend(
            ["m", "v", "b"]
                .into_iter()
                .filter_map(|plane| optimizer.lane(lane).and_then(|mut lane| lane.state(&name(i), plane)).ok()),
        );
    }
    let reports: Vec<_> = (0..lanes).map(|lane| optimizer.lane(lane).expect("a lane").report().expect("a report")).collect();
    (all, format!("{reports:?}"))
}

/// Four planes and several groups need the most bindings, which have to be within WebGPU's limits.
#[test]
fn groups_and_four_planes_are_those_of_an_arena() -> Result<()> {
    let options = GpuOptions { allow_cpu: true, default_limits: true, ..Default::default() };
    let gpu = Gpu::with(&options)?;
    let group = |name: &str| name.trim_start_matches("tensor ").parse::<usize>().expect("a number") % 3;
    let recipe = || grouped_by([0.1, 0.02, 0.3].map(|lr| Adan { lr, ..Default::default() }), group).skip_bad();
    let mut arena = Arena::default();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        arena.add(&name(i), shape)?;
    }
    for storage in [Storage::F32, Storage::Bf16] {
        let recipe = || recipe().state(storage);
        let (expected, _) = run(Optimizer::over(&gpu, recipe(), arena.clone())?, 1);
        for tensors in [in_one_buffer(&gpu), in_many_buffers(&gpu)] {
            let (found, _) = run(Optimizer::borrowing(&gpu, recipe(), &tensors)?, 1);
            assert_same_arrays(&format!("groups, {storage:?}"), &found, &expected);
        }
    }
    Ok(())
}

/// Matrices by Muon, everything else by AdamW: two kernels.
fn muon() -> Recipe {
    let others = AdamW { lr: 0.01, ..Default::default() };
    Recipe::new(Muon { lr: 0.1, ..Default::default() }).group("others", |tensor| tensor.shape.len() != 2, others)
}

/// A program with plans of its own: the recipe is recorded for the arena of the slices.
#[test]
fn recorded_plans_have_the_rows_of_their_groups() -> Result<()> {
    let gpu = gpu();
    let recipe = muon().skip_bad();
    let borrowed = Borrowed::new(&[in_one_buffer(&gpu)])?;
    let (mut blueprint, arena) = (Blueprint::new(1), borrowed.arena().clone());
    let roles = [("params", Role::Params), ("grads", Role::Grads)].map(|(name, role)| {
        let id = blueprint.arena(name, &arena, role);
        blueprint.borrow(id)
    });
    let mut stepper = recipe.record(&mut blueprint, &arena, roles[0], roles[1])?;
    let mut program = gpu.load_over(&blueprint, borrowed)?;
    let mut expected = owned(&gpu, recipe);
    for (i, size) in SIZES.into_iter().enumerate() {
        let offset = arena.tensor(&name(i))?.offset;
        program.write(roles[1], 0, offset, &numbers(i as u64, size))?;
        expected.set_grads(&name(i), &numbers(i as u64, size))?;
    }
    stepper.start(&mut program)?;
    stepper.steps(&mut program, 2)?;
    expected.steps(2)?;
    for (i, size) in SIZES.into_iter().enumerate() {
        let offset = arena.tensor(&name(i))?.offset;
        let found = program.read_range(roles[0], 0, offset..offset + size)?;
        assert_eq!(found, expected.params(&name(i))?, "{}", name(i));
    }
    Ok(())
}

#[test]
fn a_layout_of_other_tensors_is_refused() -> Result<()> {
    let gpu = gpu();
    let borrowed = || Borrowed::new(&[in_one_buffer(&gpu)]).expect("slices");
    let slices = borrowed().arena().clone();
    let (mut blueprint, mut other) = (Blueprint::new(1), Arena::default());
    other.add("w", &[slices.len()])?;
    let refused = |blueprint: &Blueprint| gpu.load_over(blueprint, borrowed()).err().map(|error| error.to_string());
    let params = blueprint.arena("params", &slices, Role::Params);
    blueprint.borrow(params);
    let expected = "borrowed buffers: 1 and 0 of 1 found, one of parameters and one of gradients expected";
    assert_eq!(refused(&blueprint).as_deref(), Some(expected));
    let grads = blueprint.arena("grads", &other, Role::Grads);
    blueprint.borrow(grads);
    let expected = "grads: another of 18752 found, the arena of the slices, of 18752 elements expected";
    assert_eq!(refused(&blueprint).as_deref(), Some(expected));
    let average = blueprint.arena("average", &slices, Role::State);
    blueprint.borrow(average);
    let expected = "borrowed buffers: 1 and 1 of 3 found, one of parameters and one of gradients expected";
    assert_eq!(refused(&blueprint).as_deref(), Some(expected));
    Ok(())
}

/// This includes rules that scale each tensor before and after the rule, and rules of matrices.
#[test]
fn wherever_tensors_lie_the_bits_are_the_same() -> Result<()> {
    let lars = Lars { momentum: 0.9, weight_decay: 0.1, trust_coefficient: 0.1, ..Default::default() };
    let lamb = Lamb { lr: 0.1, ..Default::default() };
    let adafactor = Adafactor { lr: 0.1, ..Default::default() };
    let recipes = [
        ("Adam", recipe()),
        ("Adam in bf16", recipe().state(Storage::Bf16)),
        ("LARS", Recipe::new(lars).skip_bad()),
        ("LAMB", Recipe::new(lamb).skip_bad()),
        ("Muon", muon().skip_bad()),
        ("Adafactor", Recipe::new(adafactor).skip_bad()),
    ];
    for (limits, gpu) in [("all limits", gpu()), ("small bindings", small_gpu())] {
        // The further buffers of these rules are larger than a small binding.
        let of_matrices = |rule| limits == "small bindings" && ["Muon", "Adafactor"].contains(&rule);
        for (rule, recipe) in recipes.iter().filter(|(rule, _)| !of_matrices(rule)) {
            let (expected, report) = run(owned(&gpu, recipe.clone()), 1);
            assert!(report.contains("skipped: 1"), "{report}");
            for (how, tensors) in [("one buffer", in_one_buffer(&gpu)), ("many buffers", in_many_buffers(&gpu))] {
                let what = format!("{rule}, {limits}, {how}");
                let (found, found_report) = run(Optimizer::borrowing(&gpu, recipe.clone(), &tensors)?, 1);
                assert_same_arrays(&what, &found, &expected);
                assert_eq!(found_report, report, "{what}");
            }
        }
    }
    Ok(())
}

/// A binding that, beside another tensor, could reach the first rows of a matrix but not the last.
#[test]
fn a_matrix_that_fits_a_binding_is_reached_in_one_piece() -> Result<()> {
    let gpu = small_gpu();
    let shapes: [(&str, &[usize]); 2] = [("a", &[100]), ("m", &[65, 65])];
    let [params, grads] = [(); 2].map(|()| buffer(&gpu, 9_000, USAGE));
    let slice = |buffer: &wgpu::Buffer, offset, len| Slice { buffer: buffer.clone(), offset, len };
    let tensors: Vec<BorrowedTensor> = shapes
        .iter()
        .zip([0, 16_000])
        .map(|(&(name, shape), offset)| {
            let len = shape.iter().product();
            let [params, grads] = [slice(&params, offset, len), slice(&grads, offset, len)];
            BorrowedTensor { name: name.into(), shape: shape.to_vec(), params, grads }
        })
        .collect();
    let recipe = || Recipe::new(Adafactor { lr: 0.1, ..Default::default() });
    let step = |mut optimizer: Optimizer<GpuProgram>| {
        optimizer.set_params("m", &numbers(1, 65 * 65))?;
        optimizer.set_grads("m", &numbers(2, 65 * 65))?;
        optimizer.step()?;
        optimizer.params("m")
    };
    let found = step(Optimizer::borrowing(&gpu, recipe(), &tensors)?)?;
    assert_same_bits("m", &found, &step(Optimizer::new(&gpu, recipe(), &shapes)?)?);
    Ok(())
}

/// Rules of matrices need each matrix in one piece; other rules take it in as many pieces as necessary.
#[test]
fn a_matrix_beyond_a_binding_is_refused_where_it_has_to_be_in_one_piece() -> Result<()> {
    let gpu = small_gpu();
    let slice = || Slice { buffer: buffer(&gpu, 10_000, USAGE), offset: 0, len: 10_000 };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![100, 100], params: slice(), grads: slice() };
    let over = |recipe| Optimizer::borrowing(&gpu, recipe, std::slice::from_ref(&tensor));
    let message = |recipe| over(recipe).err().map(|error| error.to_string()).unwrap_or_default();
    for (recipe, expected) in [
        (
            Recipe::new(Adafactor::default()),
            "a matrix of 100 × 100 elements of gradients of tensor 'w' needs 40000 bytes in one binding, at most 32768 are allowed here; ",
        ),
        (
            Recipe::new(Muon::default()),
            "the buffer 'matrices' needs 40192 bytes in one binding, at most 32768 are allowed here; ",
        ),
        (
            Recipe::new(Sgd::default()).centralise(),
            "lines of 100 elements of gradients of tensor 'w' needs 40000 bytes in one binding, at most 32768 are allowed here; ",
        ),
    ] {
        let message = message(recipe);
        assert!(message.starts_with(expected), "{message}");
    }
    over(Recipe::new(Adam::default()))?.step()
}

fn assert_same_arrays(what: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate().filter(|(_, (_, e))| !e.is_empty()) {
        assert_same_bits(&format!("{what}, array {i}"), found, expected);
    }
}

/// More lanes than fit into a segment with bindings of the size below.
const LANES: usize = 5;

/// Bytes of a binding that holds the planes of three lanes but not of four, although it would hold the slices of four, which
/// have no padding.
const THREE_LANES: u64 = 292 << 10;

/// Every lane's slices in one pair of buffers, with odd gaps, the last tensor first.
fn lanes_in_one_pair(gpu: &Gpu) -> Vec<Vec<BorrowedTensor>> {
    let [params, grads] = [(); 2].map(|()| buffer(gpu, LANES * (SIZES.iter().sum::<usize>() + 3 * SIZES.len()), USAGE));
    let mut at = 0;
    let mut next = |i: usize| {
        let [params, grads] = [&params, &grads].map(|all| Slice { buffer: all.clone(), offset: 4 * at as u64, len: SIZES[i] });
        at += SIZES[i] + 3;
        tensor(i, params, grads)
    };
    let mut lane = |_| {
        let mut tensors: Vec<BorrowedTensor> = (0..SIZES.len()).rev().map(&mut next).collect();
        tensors.reverse();
        tensors
    };
    (0..LANES).map(&mut lane).collect()
}

#[test]
fn lanes_have_the_bits_of_an_arena_wherever_they_lie() -> Result<()> {
    let gpus = [
        ("all limits", gpu(), LANES),
        ("bindings of several lanes", gpu_with_bindings(THREE_LANES), LANES),
        ("bindings of less than a lane", gpu_with_bindings(64 << 10), 2),
    ];
    for (limits, gpu, lanes) in gpus {
        for (rule, recipe) in
            populations(lanes).into_iter().filter(|(rule, _)| limits == "all limits" || !rule.contains("matrices"))
        {
            let (expected, reports) = run(owned(&gpu, recipe.clone()), lanes);
            assert_eq!(reports.matches("skipped: 1").count(), lanes.min(4), "{reports}");
            let layouts = [
                ("one pair", lanes_in_one_pair(&gpu)[..lanes].to_vec()),
                ("a buffer for each lane", (0..lanes).map(|_| in_one_buffer(&gpu)).collect()),
                ("many buffers", (0..lanes).map(|_| in_many_buffers(&gpu)).collect()),
            ];
            for (how, slices) in layouts {
                let what = format!("{rule}, {limits}, {how}");
                let (found, found_reports) = run(Optimizer::borrowing_lanes(&gpu, recipe.clone(), &slices)?, lanes);
                assert_same_arrays(&what, &found, &expected);
                assert_eq!(found_reports, reports, "{what}");
            }
        }
    }
    Ok(())
}

/// Recipes whose lanes differ in the learning rate.
fn populations(lanes: usize) -> [(&'static str, Recipe); 5] {
    fn of<R: Into<Box<dyn AnyRule>>>(lanes: usize, rule: impl Fn(f64) -> R) -> Recipe {
        Recipe::population((0..lanes).map(|lane| rule(0.1 / (1 + lane) as f64)))
    }
    let adam = || of(lanes, |lr| Adam { lr, ..Default::default() });
    let muon: Vec<Muon> = (0..lanes).map(|lane| Muon { lr: 0.1 / (1 + lane) as f64, ..Default::default() }).collect();
    [
        ("Adam", adam().clip_norm(1.0)),
        ("centralised", adam().centralise().skip_bad()),
        ("LAMB", of(lanes, |lr| Lamb { lr, ..Default::default() }).skip_bad()),
        ("Muon of matrices", adam().group("matrices", |tensor| tensor.shape.len() == 2, muon).skip_bad()),
        ("Adafactor of matrices", of(lanes, |lr| Adafactor { lr, ..Default::default() }).skip_bad()),
    ]
}

/// A norm, a control and an update if a binding holds everything; else a norm and an update for each segment of planes.
#[test]
fn lanes_in_one_pair_of_buffers_share_dispatches() -> Result<()> {
    let dispatches = |gpu: &Gpu| -> Result<usize> {
        let recipe = Recipe::population(vec![Adam::default(); LANES]).clip_norm(1.0);
        Ok(Optimizer::borrowing_lanes(gpu, recipe, &lanes_in_one_pair(gpu))?.program().dispatches(PlanId::FIRST))
    };
    assert_eq!(dispatches(&gpu())?, 3);
    assert_eq!(dispatches(&gpu_with_bindings(THREE_LANES))?, 5);
    Ok(())
}

/// Changes good lanes with `change` and returns the error.
fn refused_lanes(change: impl FnOnce(&mut Vec<Vec<BorrowedTensor>>)) -> String {
    let gpu = gpu();
    let mut lanes = lanes_in_one_pair(&gpu);
    change(&mut lanes);
    let recipe = Recipe::population(vec![Adam::default(); LANES]);
    Optimizer::borrowing_lanes(&gpu, recipe, &lanes).err().map_or("no error".into(), |error| error.to_string())
}

#[test]
fn lanes_that_differ_are_refused_by_name() {
    assert_eq!(refused_lanes(|_| ()), "no error");
    assert_eq!(refused_lanes(|lanes| lanes.clear()), "the list of lanes is empty");
    assert_eq!(refused_lanes(|lanes| drop(lanes.pop())), "lanes of slices: 4 found, 5 expected");
    assert_eq!(refused_lanes(|lanes| drop(lanes[3].pop())), "tensors of lane 3: 8 found, 9 expected");
    let expected = "'tensor 2' of shape [8, 8] expected";
    assert_eq!(
        refused_lanes(|lanes| lanes[1][2].name = "w".into()),
        format!("tensor 2 of lane 1: 'w' of shape [8, 8] found, {expected}")
    );
    assert_eq!(
        refused_lanes(|lanes| lanes[1][2].shape = vec![64]),
        format!("tensor 2 of lane 1: 'tensor 2' of shape [64] found, {expected}")
    );
    assert_eq!(
        refused_lanes(|lanes| lanes[4][0].params.offset += 1),
        "offset of the parameters of tensor 'tensor 0' in lane 4 = 369565 is out of range: a multiple of 4 bytes"
    );
    assert_eq!(
        refused_lanes(|lanes| lanes[2][0].grads = lanes[1][0].grads.clone()),
        "gradients of tensor 'tensor 0' in lane 2: bytes 147816..147820 overlap the gradients of tensor 'tensor 0' in lane 1 found, a slice of \
         its own expected"
    );
}

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

/// The contents of a buffer, which is read as a tensor of its own.
fn contents(gpu: &Gpu, all: &wgpu::Buffer) -> Result<Vec<f32>> {
    let len = all.size() as usize / 4;
    let params = Slice { buffer: all.clone(), offset: 0, len };
    let grads = Slice { buffer: buffer(gpu, len, USAGE), offset: 0, len };
    let look = BorrowedTensor { name: "all".into(), shape: vec![len], params, grads };
    Optimizer::borrowing(gpu, Recipe::new(Sgd::default()), &[look])?.params("all")
}

/// Parameters and gradients, in one buffer or in two, of one lane or of several: all other elements keep their 7.5.
#[test]
fn nothing_beside_the_slices_is_written() -> Result<()> {
    let gpu = gpu();
    for lanes in [vec![in_one_buffer(&gpu)], lanes_in_one_pair(&gpu)] {
        let slices: Vec<&Slice> = lanes.iter().flatten().flat_map(|tensor| [&tensor.params, &tensor.grads]).collect();
        for slice in &slices {
            let filled = vec![7.5f32; slice.buffer.size() as usize / 4];
            gpu.queue().write_buffer(&slice.buffer, 0, bytemuck::cast_slice(&filled));
        }
        let recipe = Recipe::population(vec![Adam::default(); lanes.len()]).centralise().zero_grads().clip_norm(1.0);
        let mut optimizer = Optimizer::borrowing_lanes(&gpu, recipe, &lanes)?;
        for (lane, tensors) in lanes.iter().enumerate() {
            // The gradients differ from element to element, or a matrix would not move.
            for (i, tensor) in tensors.iter().enumerate() {
                optimizer.lane(lane)?.set_grads(&tensor.name, &numbers(i as u64, tensor.grads.len))?;
            }
        }
        optimizer.step()?;
        for all in [&lanes[0][0].params.buffer, &lanes[0][0].grads.buffer] {
            let found = contents(&gpu, all)?;
            let mut inside = vec![false; found.len()];
            for slice in slices.iter().filter(|slice| slice.buffer == *all) {
                inside[slice.offset as usize / 4..][..slice.len].fill(true);
            }
            for (i, (&x, inside)) in found.iter().zip(inside).enumerate() {
                assert_eq!(x != 7.5, inside, "element {i} is {x}");
            }
        }
    }
    Ok(())
}

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

#[test]
fn dispatches_do_not_grow_with_tensors_in_one_buffer() -> Result<()> {
    let gpu = gpu();
    for (count, len) in [(1, 20_000 * 69), (3, 69), (20_000, 69)] {
        let stride = len + 1;
        let shared = buffer(&gpu, 2 * stride * count, USAGE);
        let slice = |i: usize| Slice { buffer: shared.clone(), offset: (4 * stride * i) as u64, len };
        let tensor = |i| BorrowedTensor { name: name(i), shape: vec![len], params: slice(2 * i), grads: slice(2 * i + 1) };
        let tensors: Vec<BorrowedTensor> = (0..count).map(tensor).collect();
        let optimizer = Optimizer::borrowing(&gpu, recipe(), &tensors)?;
        assert_eq!(optimizer.program().dispatches(PlanId::FIRST), 3, "{count} slices: norm, control, update");
        let names: Vec<String> = (0..count).map(name).collect();
        let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), std::slice::from_ref(&len))).collect();
        let optimizer = Optimizer::new(&gpu, recipe(), &tensors)?;
        assert_eq!(optimizer.program().dispatches(PlanId::FIRST), 3, "{count} tensors: norm, control, update");
    }
    Ok(())
}

/// A step needs no copies of slices. Reading and writing them does, and the error says which usage is missing.
#[test]
fn buffers_that_cannot_be_copied_are_stepped_and_not_read() -> Result<()> {
    let gpu = gpu();
    let tensor = |name: &str, usage| {
        let [params, grads] = [(); 2].map(|()| Slice { buffer: buffer(&gpu, 4, usage), offset: 0, len: 4 });
        BorrowedTensor { name: name.into(), shape: vec![4], params, grads }
    };
    let tensors = [tensor("w", wgpu::BufferUsages::STORAGE), tensor("other", USAGE)];
    let mut optimizer = Optimizer::borrowing(&gpu, recipe(), &tensors)?;
    optimizer.step()?;
    assert_eq!(optimizer.params("other")?, [0.0; 4], "it can be read, whatever its neighbour is");
    let lacks =
        |role, usage| format!("{role} of tensor 'w': BufferUsages(STORAGE) found, usage BufferUsages({usage}) expected");
    let says = |result: Result<()>| result.expect_err("no usage").to_string();
    assert_eq!(says(optimizer.set_params("w", &[1.0; 4])), lacks("parameters", "COPY_DST"));
    assert_eq!(says(optimizer.set_grads("w", &[1.0; 4])), lacks("gradients", "COPY_DST"));
    assert_eq!(says(optimizer.params("w").map(drop)), lacks("parameters", "COPY_SRC"));
    assert_eq!(optimizer.report()?.applied, 1);
    Ok(())
}

/// Changes good slices with `change` and returns the error.
fn refused(change: impl FnOnce(&Gpu, &mut Vec<BorrowedTensor>)) -> String {
    let gpu = gpu();
    let mut tensors = in_many_buffers(&gpu);
    change(&gpu, &mut tensors);
    Optimizer::borrowing(&gpu, recipe(), &tensors).err().map_or("no error".into(), |error| error.to_string())
}

#[test]
fn bad_slices_are_refused_by_name() {
    assert_eq!(refused(|_, t| t.clear()), "the list of tensors is empty");
    assert_eq!(refused(|_, t| t[2].name = name(1)), "tensor 'tensor 1' is given twice");
    assert_eq!(
        refused(|_, t| t[3].params.offset += 2),
        "offset of the parameters of tensor 'tensor 3' = 2 is out of range: a multiple of 4 bytes"
    );
    assert_eq!(
        refused(|_, t| t[2].grads.len = 70),
        "gradients of tensor 'tensor 2': bytes 16..296 found, at most the 276 bytes of its buffer expected"
    );
    assert_eq!(
        refused(|_, t| t[2].grads.len = 63),
        "gradients of tensor 'tensor 2': 63 found, the elements of shape [8, 8] expected"
    );
    assert_eq!(
        refused(|_, t| t[2].shape[1] = 7),
        "parameters of tensor 'tensor 2': 64 found, the elements of shape [8, 7] expected"
    );
    assert_eq!(
        refused(|_, t| t[0].params.offset = u64::MAX - 3),
        format!(
            "parameters of tensor 'tensor 0': bytes {}..{} found, at most the 24 bytes of its buffer expected",
            u64::MAX - 3,
            u64::MAX
        )
    );
    assert_eq!(
        refused(|_, t| t[0].params.len = 1 << 62),
        format!("parameters of tensor 'tensor 0': bytes 4..{} found, at most the 24 bytes of its buffer expected", u64::MAX)
    );
    let huge = "parameters of tensor 'tensor 0': 1 found, the elements of shape [4294967296, 4294967296] expected";
    assert_eq!(refused(|_, t| t[0].shape = vec![1 << 32; 2]), huge);
    assert_eq!(
        refused(|_, t| {
            let params = t[5].params.clone();
            t[6].params = Slice { offset: params.offset + 4, len: 4097.min(params.len - 1), ..params };
            t[6].grads.len = t[6].params.len;
            t[6].shape = vec![t[6].params.len];
        }),
        "parameters of tensor 'tensor 6': bytes 4..16380 overlap the parameters of tensor 'tensor 5' found, a slice of its own \
         expected"
    );
    assert_eq!(
        refused(|_, t| t[0].grads = t[0].params.clone()),
        "gradients of tensor 'tensor 0': bytes 4..8 overlap the parameters of tensor 'tensor 0' found, a slice of its own expected"
    );
    assert_eq!(
        refused(|gpu, t| t[0].params.buffer = buffer(gpu, 6, wgpu::BufferUsages::COPY_DST)),
        "parameters of tensor 'tensor 0': BufferUsages(COPY_DST) found, a buffer with usage STORAGE expected"
    );
}

#[test]
fn a_buffer_of_another_device_is_refused_by_name() {
    let adapter = thalweg::gpu::adapters().swap_remove(0);
    let open = || pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("a device");
    let [gpu, other] = [(); 2].map(|()| open()).map(|(device, queue)| Gpu::from_wgpu(device, queue));
    let mut tensors = in_many_buffers(&gpu);
    tensors[1].grads.buffer = buffer(&other, 8, USAGE);
    let error = Optimizer::borrowing(&gpu, recipe(), &tensors).err().map_or("no error".into(), |error| error.to_string());
    assert!(error.starts_with("tensor 'tensor 1': "), "{error}");
}

/// Devices that this crate opens share one instance: a buffer of another is found, and nothing of the first is changed.
#[test]
fn a_buffer_of_another_gpu_is_refused_by_name() {
    let [a, b] = [(); 2].map(|()| gpu());
    let own = buffer(&a, 64, USAGE);
    let borrowed = buffer(&b, 64, USAGE);
    let slice = |buffer: &wgpu::Buffer, offset| Slice { buffer: buffer.clone(), offset, len: 1 };
    for (params, grads) in [(&borrowed, &own), (&own, &borrowed), (&borrowed, &borrowed)] {
        let tensor = tensor(0, slice(params, 0), slice(grads, 16));
        let error = Optimizer::borrowing(&a, recipe(), &[tensor]).err().map_or("no error".into(), |error| error.to_string());
        assert!(error.starts_with("tensor 'tensor 0': "), "{error}");
    }
}

/// Different instances use the same numbers for buffers; this buffer has a number that the device's instance never used.
#[test]
fn a_buffer_that_the_instance_does_not_know_is_refused_by_name() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())).swap_remove(0);
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("a device");
    let other = Gpu::from_wgpu(device, queue);
    let gpu = gpu();
    let mut tensors = in_many_buffers(&gpu);
    let many: Vec<wgpu::Buffer> = (0..1_000).map(|_| buffer(&other, 8, USAGE)).collect();
    tensors[1].grads.buffer = many[999].clone();
    let error = Optimizer::borrowing(&gpu, recipe(), &tensors).err().map_or("no error".into(), |error| error.to_string());
    assert_eq!(error, "tensor 'tensor 1': its buffer is of another wgpu instance");
}

/// One tensor after seven steps, with parameters and gradients at these elements of one buffer.
fn placed(gpu: &Gpu, len: usize, places: [usize; 2]) -> Result<(Vec<f32>, usize)> {
    let shared = buffer(gpu, places[0].max(places[1]) + len, USAGE);
    let slice = |at: usize| Slice { buffer: shared.clone(), offset: 4 * at as u64, len };
    let tensor = BorrowedTensor { name: "w".into(), shape: vec![len], params: slice(places[0]), grads: slice(places[1]) };
    let optimizer = Optimizer::borrowing(gpu, recipe().zero_grads(), &[tensor])?;
    let dispatches = optimizer.program().dispatches(PlanId::FIRST);
    Ok((trained(optimizer, len)?, dispatches))
}

fn trained(mut optimizer: Optimizer<GpuProgram>, len: usize) -> Result<Vec<f32>> {
    optimizer.set_params("w", &numbers(1, len))?;
    for step in 0..3 {
        optimizer.set_grads("w", &numbers(2 + step, len))?;
        optimizer.step()?;
    }
    let grads = optimizer.grads_buffer();
    assert_eq!(optimizer.program_mut().read(grads, 0)?[..len], vec![0.0; len], "gradients are zeroed");
    optimizer.params("w")
}

/// WebGPU refuses a dispatch whose writable windows overlap after their starts are rounded down. Windows that would overlap are
/// joined.
#[test]
fn parameters_and_gradients_may_touch_at_every_distance() -> Result<()> {
    let gpu = gpu();
    let (len, dispatches) = (4, 3);
    let expected = trained(Optimizer::new(&gpu, recipe().zero_grads(), &[("w", &[len])])?, len)?;
    // The first is the layout of examples/embed_wgpu.rs.
    for gap in (0..=66).chain([127, 128, 1000]) {
        for start in [0, 1, 60, 63, 64, 100] {
            for places in [[start, start + len + gap], [start + len + gap, start]] {
                let (found, launches) = placed(&gpu, len, places)?;
                assert_same_bits(&format!("parameters and gradients at {places:?}"), &found, &expected);
                assert_eq!(launches, dispatches, "{places:?}");
            }
        }
    }
    Ok(())
}

/// All orders of four things.
fn orders() -> Vec<[usize; 4]> {
    let all = (0..256).map(|code| [code % 4, code / 4 % 4, code / 16 % 4, code / 64]);
    all.filter(|order| (0..4).all(|wanted| order.contains(&wanted))).collect()
}

/// Parameters and gradients of two tensors of two lanes in one buffer, in every order, at every kind of distance. No written
/// window may overlap another: WebGPU would refuse the program.
#[test]
fn slices_may_lie_in_any_order() -> Result<()> {
    let lens = [3, 70];
    let recipe = || Recipe::population([0.1, 0.02].map(|lr| Adam { lr, ..Default::default() })).clip_norm(1.0).zero_grads();
    let run = |mut optimizer: Optimizer<GpuProgram>| -> Result<Vec<Vec<f32>>> {
        let mut found = Vec::new();
        for lane in 0..2 {
            for (i, len) in lens.into_iter().enumerate() {
                optimizer.lane(lane)?.set_params(&name(i), &numbers((10 * lane + i) as u64, len))?;
                optimizer.lane(lane)?.set_grads(&name(i), &numbers((100 + 10 * lane + i) as u64, len))?;
            }
        }
        optimizer.steps(2)?;
        for lane in 0..2 {
            for i in 0..2 {
                found.push(optimizer.lane(lane)?.params(&name(i))?);
            }
        }
        Ok(found)
    };
    for gpu in [gpu(), gpu_with_bindings(64 << 10)] {
        let expected = run(Optimizer::new(&gpu, recipe(), &[("tensor 0", &[lens[0]]), ("tensor 1", &[lens[1]])])?)?;
        for (index, order) in orders().into_iter().enumerate() {
            for gap in [0, 1, 61, 64, 128, 9_000] {
                let shared = buffer(&gpu, 2 * (2 * 73 + 4 * gap) + 64, USAGE);
                let mut at = index % 3 * 31;
                let mut lanes = vec![vec![[0; 2]; 2]; 2];
                for lane in &mut lanes {
                    for which in order {
                        lane[which / 2][which % 2] = at;
                        at += lens[which / 2] + gap;
                    }
                }
                let slice = |at: usize, len| Slice { buffer: shared.clone(), offset: 4 * at as u64, len };
                let tensor = |i: usize, [params, grads]: [usize; 2]| BorrowedTensor {
                    name: name(i),
                    shape: vec![lens[i]],
                    params: slice(params, lens[i]),
                    grads: slice(grads, lens[i]),
                };
                let lanes: Vec<Vec<BorrowedTensor>> =
                    lanes.into_iter().map(|lane| lane.into_iter().enumerate().map(|(i, at)| tensor(i, at)).collect()).collect();
                let found = run(Optimizer::borrowing_lanes(&gpu, recipe(), &lanes)?)?;
                assert_same_arrays(&format!("{order:?}, {gap} between"), &found, &expected);
            }
        }
    }
    Ok(())
}

/// A matrix has to be in one piece, together with the slice that it touches.
#[test]
fn a_matrix_that_touches_its_gradients_says_what_both_take() {
    let gpu = gpu_with_bindings(64 << 10);
    let message = |recipe: Recipe, gap: usize| {
        let shared = buffer(&gpu, 20_000 + gap, USAGE);
        let slice = |at: usize| Slice { buffer: shared.clone(), offset: 4 * at as u64, len: 10_000 };
        let tensor = BorrowedTensor { name: "w".into(), shape: vec![100, 100], params: slice(0), grads: slice(10_000 + gap) };
        Optimizer::borrowing(&gpu, recipe, &[tensor]).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (recipe, what) in [
        (Recipe::new(Adafactor::default()), "a matrix of 100 × 100 elements"),
        (Recipe::new(Sgd::default()).centralise(), "lines of 100 elements"),
    ] {
        let expected = format!(
            "{what} of gradients of tensor 'w' with the parameters less than 256 bytes from them needs 80000 bytes in one binding, at \
             most 65536 are allowed here; "
        );
        assert!(message(recipe.clone(), 0).starts_with(&expected), "{}", message(recipe, 0));
        assert_eq!(message(recipe, 64), "", "256 bytes from each other");
    }
}

/// If one binding cannot hold both, buckets are cut until windows do not touch.
#[test]
fn parameters_and_gradients_that_touch_are_cut_where_a_binding_holds_no_both() -> Result<()> {
    let gpu = gpu_with_bindings(64 << 10);
    for len in [4_096, 8_100, 8_192, 10_000, 16_000, 20_000] {
        let expected = trained(Optimizer::new(&gpu, recipe().zero_grads(), &[("w", &[len])])?, len)?;
        for gap in [0, 1, 63, 64, 4_000] {
            for places in [[0, len + gap], [len + gap, 0], [63, len + 63 + gap]] {
                let (found, _) = placed(&gpu, len, places)?;
                assert_same_bits(&format!("{len} elements at {places:?}"), &found, &expected);
            }
        }
    }
    Ok(())
}

/// A run over slices can go on over other slices: its state is that of an arena.
#[test]
fn the_state_of_slices_is_that_of_an_arena() -> Result<()> {
    let adam = || Recipe::new(Adam { lr: 0.1, ..Default::default() });
    let beside =
        adam().lookahead(Lookahead { steps: 2, alpha: 0.5 }).average(Average::Ema { decay: 0.9 }).half_copy(Half::Bf16);
    let factored = Recipe::new(Adafactor { lr: 0.1, ..Default::default() });
    for (what, gpu, recipe) in [
        ("clipped", small_gpu(), recipe()),
        ("what lies beside", gpu(), beside),
        ("by rows and columns", gpu(), factored),
        ("two kernels", gpu(), muon()),
        ("micro-batches", gpu(), adam().accumulate(Accumulation::default())),
    ] {
        let advance = |optimizer: &mut Optimizer<GpuProgram>, steps: std::ops::Range<u64>| -> Result<()> {
            for step in steps {
                for (i, size) in SIZES.into_iter().enumerate() {
                    optimizer.set_grads(&name(i), &numbers(100 * step + i as u64, size))?;
                }
                if what == "micro-batches" {
                    optimizer.accumulate()?;
                }
                optimizer.step()?;
            }
            Ok(())
        };
        let mut own = owned(&gpu, recipe.clone());
        let mut over = Optimizer::borrowing(&gpu, recipe.clone(), &in_one_buffer(&gpu))?;
        for optimizer in [&mut own, &mut over] {
            for (i, size) in SIZES.into_iter().enumerate() {
                optimizer.set_params(&name(i), &numbers(i as u64, size))?;
            }
            advance(optimizer, 0..3)?;
        }
        let state = over.state_dict()?;
        assert!(state == own.state_dict()?, "{what}: the state of an arena");
        let mut other = Optimizer::borrowing(&gpu, recipe, &in_many_buffers(&gpu))?;
        // It has made other steps before, which must not matter.
        advance(&mut other, 7..8)?;
        other.load_state_dict(&state)?;
        for optimizer in [&mut own, &mut over, &mut other] {
            advance(optimizer, 3..6)?;
        }
        let expected = own.state_dict()?;
        assert!(over.state_dict()? == expected && other.state_dict()? == expected, "{what}: after more steps");
        if let Ok(half) = own.half(&name(3)) {
            assert_eq!(other.half(&name(3))?, half, "{what}");
        }
    }
    Ok(())
}
