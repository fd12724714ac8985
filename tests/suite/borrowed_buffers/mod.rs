//! Optimizers over slices of buffers that the program owns.

mod encoded;
mod modified;
mod refused;
mod windows;

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
