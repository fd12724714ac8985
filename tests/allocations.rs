//! A step allocates nothing on the host, and reading a file of tensors takes no more memory than the file has bytes.
//!
//! Every allocation of this thread is caught with its backtrace. It belongs to the crate of the innermost frame outside the
//! standard library: an allocation inside wgpu is wgpu's, whoever called it.

mod common;

use common::engines;
use common::numbers::{doubles, numbers};
use common::taped::{Input, record};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use thalweg::checkpoint::{Tensors, read, read_any, read_foreign, write};
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::gpu::{BorrowedTensor, GpuOptions, Slice};
use thalweg::nn::{
    BatchNorm1d, Criterion, CrossEntropy, Dropout, Embedding, LayerNorm, Linear, Model, Nonlinearity, Sequential, Tape,
};
use thalweg::plan::{Arena, Engine, PlanId, Program, Storage};
use thalweg::schedule::{Cosine, Exponential, Schedule};
use thalweg::{Adam, Optimizer, Recipe, Result, Trainer, wgpu};

struct Catching;

thread_local! {
    /// The allocations that were caught; `None` while none are to be caught.
    static CAUGHT: RefCell<Option<Vec<Vec<usize>>>> = const { RefCell::new(None) };
    /// The bytes that this thread holds now, and the most that it has held.
    static BYTES: Cell<[isize; 2]> = const { Cell::new([0; 2]) };
    /// All bytes that this thread has allocated, freed or not.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// Counts bytes that were allocated, or freed if negative.
fn count(bytes: isize) {
    let _ = BYTES.try_with(|count| {
        let [now, most] = count.get();
        count.set([now + bytes, most.max(now + bytes)]);
    });
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + bytes.max(0) as usize));
}

/// The bytes that a call allocated, freed meanwhile or not.
fn asked<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED.get();
    let result = f();
    (result, ASKED.get() - before)
}

/// The most memory that a call held at a time, in bytes.
fn most_memory<T>(f: impl FnOnce() -> T) -> (T, usize) {
    BYTES.set([0; 2]);
    let result = f();
    (result, BYTES.get()[1] as usize)
}

#[expect(unsafe_code, reason = "only an allocator sees every allocation")]
// SAFETY: every call goes to the system allocator; catching happens outside of it.
unsafe impl GlobalAlloc for Catching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        catch();
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on to the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        catch();
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on to the system allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on to the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Catching = Catching;

/// Notes where an allocation comes from, by the addresses on the stack. Its own allocations are not caught, since the list is
/// taken out meanwhile.
fn catch() {
    let caught = CAUGHT.try_with(|caught| caught.try_borrow_mut().ok().and_then(|mut caught| caught.take()));
    if let Ok(Some(mut caught)) = caught {
        let mut frames = Vec::new();
        backtrace::trace(|frame| {
            frames.push(frame.ip() as usize);
            true
        });
        caught.push(frames);
        CAUGHT.set(Some(caught));
    }
}

/// The stacks of all allocations of `f`.
fn allocations(f: impl FnOnce() -> Result<()>) -> Result<Vec<Vec<usize>>> {
    CAUGHT.set(Some(Vec::new()));
    let result = f();
    let caught = CAUGHT.take().expect("a list");
    result.map(|()| caught)
}

/// The functions at an address, the innermost first, each with its file if that is known. It is known for the library and its
/// tests, but not for dependencies.
fn functions(address: usize) -> Vec<(String, Option<String>)> {
    let mut functions = Vec::new();
    backtrace::resolve(address as *mut _, |symbol| {
        let name = symbol.name().map_or(String::new(), |name| format!("{name:#}"));
        functions.push((name, symbol.filename().map(|path| path.display().to_string())));
    });
    functions
}

/// Whether an allocation is the library's own: whether the innermost function outside the standard library and this file
/// belongs to it.
fn ours(stack: &[usize]) -> bool {
    // A return address is one instruction after its call.
    let functions = stack.iter().flat_map(|&address| functions(address - 1));
    let mut outside = functions.filter(|(name, path)| match path {
        Some(path) => !path.starts_with("/rustc/") && !path.contains("/backtrace-") && !path.ends_with("tests/allocations.rs"),
        None => !["alloc::", "core::", "std::", "__rust", "backtrace::"]
            .iter()
            .any(|library| name.trim_start_matches(['<', '&']).starts_with(library)),
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the library's folder");
    outside.next().and_then(|(_, path)| path).is_some_and(|path| root.join(path).starts_with(root.join("src")))
}

fn describe(stack: &[usize]) -> String {
    let lines = stack.iter().flat_map(|&address| functions(address - 1));
    lines.map(|(name, path)| format!("  {name} {}\n", path.unwrap_or_default())).take(40).collect()
}

#[track_caller]
fn assert_none(what: &str, mut caught: Vec<Vec<usize>>) {
    let count = caught.len();
    caught.sort();
    caught.dedup();
    caught.retain(|stack| ours(stack));
    let Some(first) = caught.first() else { return };
    panic!("{what}: {} places of {count} allocations, the first at\n{}", caught.len(), describe(first));
}

/// Two groups with rows of their own, and schedules that change at every step.
fn recipe() -> Recipe {
    let cosine: Schedule = Cosine::new(1.0, 100_000).into();
    let [first, second] = [0.1, 0.01].map(|lr| Adam { lr, ..Default::default() });
    let recipe = Recipe::new(first).group("b", |tensor| tensor.name == "b", second).clip_norm(1.0);
    recipe.scale("lr", cosine.warmup(100, 0.0)).scale_group("b", "beta1", Exponential::new(1.0, 0.999))
}

fn optimizer<E: Engine>(engine: &E) -> Result<Optimizer<E::Program>> {
    let mut arena = Arena::default();
    arena.add("a", &[5_000])?;
    arena.add("b", &[100])?;
    Optimizer::over(engine, recipe(), arena)
}

#[test]
fn an_allocation_is_caught_and_told_from_those_of_others() -> Result<()> {
    // An arena's list is made by the crate itself.
    let caught = allocations(|| Arena::default().add("a", &[1]).map(drop))?;
    assert!(caught.iter().any(|stack| ours(stack)), "{caught:?}");
    // This one is made by this test, and nothing of the crate is called.
    let caught = allocations(|| {
        drop(std::hint::black_box(vec![1]));
        Ok(())
    })?;
    assert_eq!(caught.len(), 1, "{caught:?}");
    assert!(!ours(&caught[0]), "{}", describe(&caught[0]));
    // This one is wgpu's, called by the crate.
    let gpu = engines::open(GpuOptions::default());
    let optimizer = optimizer(&gpu)?;
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let caught = allocations(|| optimizer.program().encode(PlanId::FIRST, &mut encoder))?;
    assert!(!caught.is_empty());
    assert_none("encode", caught);
    Ok(())
}

#[test]
fn a_step_on_the_cpu_allocates_nothing() -> Result<()> {
    let mut optimizer = optimizer(&Cpu::<f32>::default())?;
    optimizer.telemetry_every(2);
    let grads = numbers(1, 5_000);
    optimizer.steps(2_000)?;
    let caught = allocations(|| {
        (0..140).try_for_each(|_| {
            optimizer.set_grads("a", &grads)?;
            optimizer.step()
        })
    })?;
    assert!(caught.is_empty(), "{} allocations, the first at\n{}", caught.len(), describe(&caught[0]));
    Ok(())
}

/// The caller of threads that share a step allocates nothing either, whether these sleep or not.
#[test]
fn a_step_on_several_threads_allocates_nothing() -> Result<()> {
    const LEN: usize = 150_000;
    for storage in [Storage::F32, Storage::Bf16] {
        let recipe = Recipe::new(Adam::default()).clip_norm(1.0).state(storage);
        let mut optimizer = Optimizer::new(&Cpu::<f32>::with_threads(4), recipe, &[("a", &[LEN])])?;
        optimizer.set_grads("a", &numbers(1, LEN))?;
        // Beyond the first request for counters.
        optimizer.steps(200)?;
        let caught = allocations(|| {
            (0..70).try_for_each(|step| {
                if step % 20 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                optimizer.step()
            })
        })?;
        assert!(caught.is_empty(), "{} allocations, the first at\n{}", caught.len(), describe(&caught[0]));
    }
    Ok(())
}

#[test]
fn a_step_on_the_gpu_allocates_nothing_of_ours() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let mut optimizer = optimizer(&gpu)?;
    optimizer.telemetry_every(2);
    (0..20).try_for_each(|_| {
        optimizer.steps(100)?;
        optimizer.program().wait()
    })?;
    let caught = allocations(|| {
        (0..130).try_for_each(|_| {
            optimizer.step()?;
            optimizer.program().wait()
        })
    })?;
    assert_none("steps", caught);
    Ok(())
}

#[test]
fn a_recorded_step_allocates_nothing_of_ours() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 8 * 5_100, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let tensor = |name: &str, first: u64, len: usize| {
        let slice = |first| Slice { buffer: buffer.clone(), offset: 4 * first, len };
        BorrowedTensor { name: name.into(), shape: vec![len], params: slice(first), grads: slice(5_100 + first) }
    };
    let mut optimizer = Optimizer::borrowing(&gpu, recipe(), &[tensor("a", 0, 5_000), tensor("b", 5_000, 100)])?;
    optimizer.telemetry_every(2);
    let mut steps = |count: usize| {
        (0..count).try_for_each(|_| {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            optimizer.encode_step(&mut encoder)?;
            gpu.queue().submit([encoder.finish()]);
            Ok(())
        })
    };
    steps(600)?;
    assert_none("encode_step", allocations(|| steps(130))?);
    Ok(())
}

/// A matrix and a vector under a rule, whose numbers a schedule checks at every row.
fn of_rule<E: Engine>(engine: &E, rule: &dyn thalweg::AnyRule) -> Result<Optimizer<E::Program>> {
    let cosine = Cosine::new(1.0, 100_000);
    // Rprop uses its rate only at the start.
    let recipe = match rule.name() {
        "rprop" => Recipe::new(rule.boxed()).scale("step_max", cosine),
        _ => Recipe::new(rule.boxed()).scale("lr", cosine),
    };
    // Rules of matrices take no vector.
    let other: &[usize] = if rule.orthogonal().is_some() { &[10, 10] } else { &[100] };
    Optimizer::new(engine, recipe, &[("matrix", &[6, 10]), ("other", other)])
}

#[test]
fn a_step_of_any_rule_on_the_cpu_allocates_nothing() -> Result<()> {
    for rule in thalweg::rules() {
        let mut optimizer = of_rule(&Cpu::<f32>::default(), &*rule)?;
        optimizer.steps(600)?;
        let caught = allocations(|| optimizer.steps(140))?;
        // The `gemm` crate allocates a workspace for products of matrices.
        match rule.name() {
            "muon" => assert_none("muon", caught),
            name => assert!(caught.is_empty(), "{name}: {} allocations, the first at\n{}", caught.len(), describe(&caught[0])),
        }
    }
    Ok(())
}

#[test]
fn a_step_of_any_rule_on_the_gpu_allocates_nothing_of_ours() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    for rule in thalweg::rules() {
        let mut optimizer = of_rule(&gpu, &*rule)?;
        (0..6).try_for_each(|_| {
            optimizer.steps(100)?;
            optimizer.program().wait()
        })?;
        let caught = allocations(|| {
            (0..70).try_for_each(|_| {
                optimizer.step()?;
                optimizer.program().wait()
            })
        })?;
        assert_none(rule.name(), caught);
    }
    Ok(())
}

/// Forward and backward, with every kind of operation, on one thread and on several: nothing of ours.
#[test]
fn a_step_of_a_recorded_network_allocates_nothing() -> Result<()> {
    let x = Input::Floats(vec![300, 40], doubles(1, 12_000));
    let rows = Input::Indices(vec![300], (0..300).map(|i| i % 7).collect());
    let taped = record(1, Tape::training(), &[x, rows], true, |tape, x| {
        let model = Sequential::new().then(Linear::new(48, 64)).then(BatchNorm1d::new(64)).then(Dropout { p: 0.1 });
        let model = model.then(Nonlinearity::Gelu).then(LayerNorm::new(&[64])).then(Linear::new(64, 5));
        let table = Embedding::new(7, 8).forward(tape, &x[1]);
        let both = tape.concatenate(&[&x[0], &table], 1);
        let logits = model.forward(tape, &both);
        let far = x[0].square().sum(&[]);
        vec![&CrossEntropy::default().mean(tape, &logits, &x[1]) + &far]
    })?;
    for threads in [1, 4] {
        let mut program = taped.load(&Cpu::<f32>::with_threads(threads), 0);
        program.run(PlanId::FIRST, 20)?;
        let caught = allocations(|| program.run(PlanId::FIRST, 3))?;
        // The room for packed factors is allocated by the `gemm` crate.
        assert_none(&format!("a step on {threads} threads"), caught);
    }
    Ok(())
}

/// Rows of an epoch, of which a step takes eight. The last batch holds fewer.
const ROWS: usize = 396;

/// Trains a perceptron in as many lanes as there are seeds, each with its own rate.
fn trainer<E: Engine>(engine: &E, seeds: &[u64]) -> Result<Trainer<E::Program>> {
    let data = Dataset::new(numbers(1, 5 * ROWS), 5, (0..ROWS as u32).map(|row| row % 4).collect())?;
    let model = Sequential::perceptron(5, &[8], 4, Nonlinearity::Relu);
    let recipes = seeds.iter().map(|&seed| Recipe::new(Adam { lr: 1e-3 * (1 + seed) as f64, ..Default::default() }));
    Trainer::builder(&model, Recipe::join(recipes)?.clip_norm(1.0)).train(&data).batch(8).seeds(seeds).build(engine)
}

/// A model alone, lanes that share their rows and lanes that do not; on one thread and on several; over the ends of epochs. The
/// first steps are more than are made before the first answers of counters have come.
#[test]
fn steps_of_a_trainer_on_the_cpu_allocate_nothing() -> Result<()> {
    for seeds in [&[1][..], &[1, 1, 1], &[1, 2, 3, 4, 5]] {
        for threads in [1, 4] {
            let mut trainer = trainer(&Cpu::<f32>::with_threads(threads), seeds)?;
            trainer.advance(300)?;
            let epochs = trainer.epochs();
            let caught = allocations(|| trainer.advance(200))?;
            assert!(trainer.epochs() >= epochs + 4);
            let first = caught.first().map(|stack| describe(stack)).unwrap_or_default();
            assert!(caught.is_empty(), "{seeds:?} on {threads} threads: {} allocations, the first at\n{first}", caught.len());
        }
    }
    Ok(())
}

#[test]
fn steps_of_a_trainer_on_the_gpu_allocate_nothing_of_ours() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    for seeds in [&[1][..], &[1, 2, 3]] {
        let mut trainer = trainer(&gpu, seeds)?;
        let mut steps = |count: usize| {
            (0..count).try_for_each(|_| {
                trainer.advance(10)?;
                trainer.optimizer().program().wait()
            })
        };
        steps(30)?;
        assert_none(&format!("{seeds:?}"), allocations(|| steps(20))?);
        assert_eq!(trainer.epochs(), 10);
    }
    Ok(())
}

/// The memory of a reader besides the data of a file: buffers, messages, and the parsed header.
const BESIDE: usize = 64 << 10;

#[test]
fn reading_a_file_takes_no_more_memory_than_it_has_bytes() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.safetensors");
    let mut tensors = Tensors::default();
    for name in ["a", "b", "c"] {
        tensors.put(name, &[1 << 20], &vec![1.0f32; 1 << 20])?;
    }
    write(&path, &tensors)?;
    let len = fs::metadata(&path).expect("a file").len() as usize;
    let (found, most) = most_memory(|| read(&path));
    assert!(found? == tensors && most >= 12 << 20, "memory is counted: {most}");
    assert!(most <= len + BESIDE, "{most} bytes for a file of {len}");
    Ok(())
}

/// Headers that claim more data than the file has: no memory is allocated for the claim.
#[test]
fn a_header_that_lies_takes_no_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lie.safetensors");
    let of = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 64]].concat();
    let tensor = |shape: &str, end: u64| of(&format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#));
    let lies = [
        tensor("[1152921504606846976]", 1 << 62),
        tensor("[1152921504606846976]", 64),
        tensor("[4294967296,4294967296,4294967296]", 64),
        tensor("[0,1152921504606846976]", 0),
        tensor("[16]", u64::MAX),
        [&(1u64 << 60).to_le_bytes()[..], &[b' '; 100]].concat(),
        [&u64::MAX.to_le_bytes()[..], &[b' '; 100]].concat(),
        of(&"[".repeat(10_000)),
    ];
    for bytes in lies {
        fs::write(&path, &bytes).expect("a file");
        let (found, most) = most_memory(|| [read(&path), read_foreign(&path), read_any(&path).map(|(tensors, _)| tensors)]);
        assert!(found[0].is_err(), "{:?}", String::from_utf8_lossy(&bytes));
        assert!(most <= bytes.len() + BESIDE, "{most} bytes for {:?}", String::from_utf8_lossy(&bytes));
    }
}

/// The memory to load a population's state grows with the number of lanes, not with its square.
#[test]
fn loading_lanes_takes_as_much_for_each() -> Result<()> {
    let of = |lanes: usize| {
        let rules = (0..lanes).map(|lane| Adam { lr: 0.1 / (1 + lane) as f64, ..Default::default() });
        let recipe = Recipe::population(rules).clip_norm(1.0);
        let mut optimizer = Optimizer::new(&Cpu::<f32>::with_threads(1), recipe, &[("a", &[3, 5]), ("b", &[5]), ("c", &[1])])?;
        let state = optimizer.state_dict()?;
        let (loaded, bytes) = asked(|| optimizer.load_state_dict(&state));
        loaded.map(|()| bytes)
    };
    let [few, many] = [of(300)?, of(1200)?];
    assert!(few > 0 && many < 5 * few, "{few} bytes of 300 lanes, {many} of 1,200");
    Ok(())
}
