//! The CPU engine: runs plans over slices, in `f32` (fast) or `f64` (the oracle that every kernel is checked against).
//!
//! Lanes run in parallel, each lane's operations one after the other, so that a small model stays in its core's cache; with
//! fewer lanes than threads the operations themselves are parallel too. Either way the bits are the same.
//!
//! Threads are the crate's own (`pool.rs`). They are as many as the processor runs at a time; the environment variable
//! `THALWEG_THREADS` names another number for the process, [`Cpu::with_threads`] one for an engine.

mod available;
mod borrowed;
mod centralise;
mod combine;
mod control;
mod copy_lanes;
mod dots;
mod factored;
mod factors;
mod gate;
mod join_rows;
mod matmul;
mod norm;
mod operation;
mod orthogonal;
mod phase;
mod pool;
mod program;
mod run;
mod share;
mod small;
mod store;
mod streams;
mod update;

use crate::error::Result;
use crate::plan::{Blueprint, Engine, Layout, Need, Scope, check_memory};
pub use available::available_memory;
pub use matmul::Float;
use phase::phases;
pub use program::CpuProgram;
use program::describe;
use share::Threads;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::LazyLock;
use store::Store;

/// The CPU engine over floats of type `F`.
///
/// # Examples
///
/// ```
/// use thalweg::{cpu::Cpu, plan::Engine};
///
/// assert!(Cpu::<f32>::default().describe().starts_with("CPU, f32"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu<F = f32> {
    threads: Option<NonZeroUsize>,
    /// Bytes that a program may take.
    bound: Option<u64>,
    float: PhantomData<F>,
}

impl<F> Cpu<F> {
    /// An engine whose programs run on this many threads at most, the caller's among them. 1: on the caller's alone. 0: the
    /// default.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{cpu::Cpu, plan::Engine};
    ///
    /// assert!(Cpu::<f32>::with_threads(3).describe().contains("3 threads"));
    /// ```
    pub fn with_threads(threads: usize) -> Self {
        Self { threads: NonZeroUsize::new(threads), bound: None, float: PhantomData }
    }

    /// The engine with programs whose buffers take at most so many bytes. Default: one lane may take what the system gives, and
    /// a population what [`available_memory`] says, if it says anything.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Adam, Error, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let engine = Cpu::<f32>::default().bounded(1 << 20);
    /// let recipe = |lanes| Recipe::new(Adam::default()).repeated(lanes);
    /// let Err(Error::Lanes { asked: 1000, fit, .. }) = Optimizer::new(&engine, recipe(1000), &[("w", &[300])]) else { panic!() };
    /// Optimizer::new(&engine, recipe(fit), &[("w", &[300])])?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn bounded(self, bytes: u64) -> Self {
        Self { bound: Some(bytes), ..self }
    }

    /// Whether the buffers of a program fit into what they may take. The system is asked only where it may matter.
    fn check_memory(&self, blueprint: &Blueprint) -> Result<()> {
        let (lanes, float) = (blueprint.layout().lanes(), size_of::<F>());
        let much = lanes > 1 && Need::of(blueprint.layout(), float).all(lanes) >= MUCH;
        let bound = self.bound.or_else(|| if much { available_memory() } else { None });
        bound.map_or(Ok(()), |bytes| check_memory(blueprint, float, bytes))
    }

    fn threads(&self) -> Threads {
        Threads::new(self.threads.map_or_else(|| *DEFAULT_THREADS, NonZeroUsize::get))
    }
}

/// Bytes of a population for which it is worth asking the system what there is.
const MUCH: u128 = 64 << 20;

/// `THALWEG_THREADS`, if it is a number above 0; else as many as the processor runs at a time.
static DEFAULT_THREADS: LazyLock<usize> = LazyLock::new(|| {
    let given = std::env::var("THALWEG_THREADS").ok().and_then(|text| text.trim().parse().ok());
    let given = given.or_else(|| std::thread::available_parallelism().ok());
    given.map_or(1, NonZeroUsize::get)
});

impl<F: Float> Engine for Cpu<F> {
    type Float = F;
    type Program = CpuProgram<F>;

    fn load(&self, blueprint: &Blueprint) -> Result<CpuProgram<F>> {
        let (layout, plans) = (blueprint.layout(), blueprint.plans());
        blueprint.check()?;
        self.check_memory(blueprint)?;
        let threads = self.threads();
        pool::start(threads.count() - 1);
        Ok(CpuProgram {
            threads,
            shared: Store::new(layout, Scope::Shared, 0)?,
            lanes: Store::lanes(layout)?,
            phases: plans.iter().map(|plan| phases(plan, layout)).collect(),
            layout: layout.clone(),
            answers: Vec::new(),
        })
    }

    /// Allocates it all and gives it back: memory that nobody writes costs nothing.
    fn check_room(&self, layout: &Layout) -> Result<()> {
        self.check_memory(&Blueprint::of(layout, &[]))?;
        Store::<F>::lanes(layout).map(drop)
    }

    fn describe(&self) -> String {
        describe::<F>(self.threads())
    }
}
