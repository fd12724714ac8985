//! A step allocates nothing on the host.
//!
//! Every allocation of this thread is caught with its backtrace. It is ours if the innermost frame outside the standard library is
//! this crate's; what wgpu allocates is wgpu's, whoever called it.

mod common;

use common::engines;
use common::numbers::numbers;
use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::RefCell;
use thalweg::cpu::Cpu;
use thalweg::gpu::{GpuOptions, Slice, SliceTensor};
use thalweg::plan::{Arena, Engine};
use thalweg::schedule::{Cosine, Schedule};
use thalweg::{Adam, Optimizer, Recipe, Result, wgpu};

struct Catching;

thread_local! {
    /// The allocations that are caught; none while nobody looks.
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

#[expect(unsafe_code, reason = "only an allocator sees every allocation")]
// SAFETY: everything is the system allocator's; what is caught is caught outside of it.
unsafe impl GlobalAlloc for Catching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        catch();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        catch();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Catching = Catching;

/// Notes where an allocation comes from. What this allocates itself is not caught, since the list is taken away meanwhile.
fn catch() {
    // A panic prints its backtrace under a lock that this would wait for.
    if std::thread::panicking() {
        return;
    }
    let caught = CAUGHT.try_with(|caught| caught.try_borrow_mut().ok().and_then(|mut caught| caught.take()));
    if let Ok(Some(mut caught)) = caught {
        caught.push(Backtrace::force_capture().to_string());
        CAUGHT.set(Some(caught));
    }
}

/// The backtraces of all allocations of `f`.
fn allocations(f: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
    CAUGHT.set(Some(Vec::new()));
    let result = f();
    let caught = CAUGHT.take().expect("a list");
    result.map(|()| caught)
}

/// Whether an allocation is this crate's own: the innermost frame that is neither the standard library's nor this file's is.
fn ours(backtrace: &str) -> bool {
    // A frame is "  12: name", then "at path" where there is debug information: there is for this crate, not for those it uses.
    let mut lines = backtrace.lines().map(str::trim_start).peekable();
    while let Some(line) = lines.next() {
        let Some((_, name)) = line.split_once(": ") else { continue };
        let library = |part: &str| ["alloc", "core", "std", "__rust"].iter().any(|known| part.starts_with(known));
        match lines.peek().and_then(|line| line.strip_prefix("at ")) {
            Some(path) if path.starts_with("/rustc/") || path.contains("tests/allocations.rs") => {}
            Some(path) => return path.starts_with("./src/") || path.starts_with(concat!(env!("CARGO_MANIFEST_DIR"), "/src/")),
            None if library(name.trim_start_matches(['<', '&'])) => {}
            None => return false,
        }
    }
    false
}

#[track_caller]
fn assert_none(what: &str, mut caught: Vec<String>) {
    caught.retain(|backtrace| ours(backtrace));
    assert!(caught.is_empty(), "{what}: {} allocations, the first at\n{}", caught.len(), caught[0]);
}

/// Two groups, clipping, a schedule: everything that has to do with rows.
fn recipe() -> Recipe {
    let rules = [0.1, 0.01].map(|lr| Adam { lr, ..Default::default() });
    let cosine: Schedule = Cosine { steps: 900, ..Default::default() }.into();
    Recipe::groups(rules).clip_norm(1.0).schedule("lr", cosine.warmup(100, 0.0))
}

fn optimizer<E: Engine>(engine: &E) -> Result<Optimizer<E::Program>> {
    let mut arena = Arena::default();
    arena.add("a", &[5_000], 0)?;
    arena.add("b", &[100], 1)?;
    Optimizer::over(engine, recipe(), arena)
}

#[test]
fn an_allocation_is_caught_and_told_from_those_of_others() -> Result<()> {
    // An arena's list is made by the crate itself.
    let caught = allocations(|| Arena::default().add("a", &[1], 0).map(drop))?;
    assert!(caught.iter().any(|backtrace| ours(backtrace)), "{caught:?}");
    // This one is made by this test, and nothing of the crate is called.
    let caught = allocations(|| Ok(drop(std::hint::black_box(vec![1]))))?;
    assert_eq!(caught.len(), 1, "{caught:?}");
    assert!(!ours(&caught[0]), "{}", caught[0]);
    // This one is wgpu's, called by the crate.
    let gpu = engines::open(GpuOptions::default());
    let optimizer = optimizer(&gpu)?;
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let caught = allocations(|| Ok(optimizer.program().encode(0, &mut encoder)))?;
    assert!(!caught.is_empty());
    assert_none("encode", caught);
    Ok(())
}

#[test]
fn a_step_on_the_cpu_allocates_nothing() -> Result<()> {
    let mut optimizer = optimizer(&Cpu::<f32>::default())?;
    optimizer.telemetry_every(4);
    let grads = numbers(1, 5_000);
    optimizer.steps(2_000)?;
    let caught = allocations(|| {
        (0..140).try_for_each(|_| {
            optimizer.set_grads(0, "a", &grads)?;
            optimizer.step()
        })
    })?;
    assert!(caught.is_empty(), "{} allocations, the first at\n{}", caught.len(), caught[0]);
    Ok(())
}

#[test]
fn a_step_on_the_gpu_allocates_nothing_of_ours() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let mut optimizer = optimizer(&gpu)?;
    optimizer.telemetry_every(4);
    (0..20).try_for_each(|_| {
        optimizer.steps(100)?;
        optimizer.program().wait()
    })?;
    let caught = allocations(|| {
        (0..70).try_for_each(|step| {
            optimizer.step()?;
            if step % 32 == 0 { optimizer.program().wait() } else { Ok(()) }
        })
    })?;
    assert_none("steps", caught);
    Ok(())
}

#[test]
fn a_recorded_step_allocates_nothing_of_ours() -> Result<()> {
    let gpu = engines::open(GpuOptions::default());
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 8 * 5_000, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let slice = |offset| Slice { buffer: buffer.clone(), offset, len: 5_000 };
    let tensor = SliceTensor { name: "a".into(), params: slice(0), grads: slice(4 * 5_000), group: 0 };
    let mut optimizer = Optimizer::over_slices(&gpu, recipe(), &[tensor])?;
    optimizer.telemetry_every(4);
    let mut steps = |count: usize| {
        (0..count).try_for_each(|_| {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            optimizer.encode_step(&mut encoder)?;
            gpu.queue().submit([encoder.finish()]);
            Ok(())
        })
    };
    steps(600)?;
    assert_none("encode_step", allocations(|| steps(70))?);
    Ok(())
}
