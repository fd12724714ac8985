//! Either engine by value, for programs that choose when they run.

use crate::cpu::{Cpu, CpuProgram};
use crate::error::{Error, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{Gpu, GpuOptions, GpuProgram};
#[cfg(feature = "checkpoint")]
use crate::plan::Fresh;
use crate::plan::{Answer, Blueprint, BufferId, Engine, Layout, Machine, PlanId, Program, Reading, Tag, Values};
use std::ops::Range;

/// An engine in single precision: the GPU's or the CPU's.
///
/// # Examples
///
/// ```
/// use thalweg::{AnyEngine, Optimizer, Recipe, Sgd};
///
/// // A real GPU where there is one, else the CPU.
/// let engine = AnyEngine::auto();
/// let mut optimizer = Optimizer::new(&engine, Recipe::new(Sgd { lr: 0.5, ..Default::default() }), &[("x", &[2])])?;
/// optimizer.set_grads("x", &[1.0, -2.0])?;
/// optimizer.step()?;
/// assert_eq!(optimizer.params("x")?, [-0.5, 1.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub enum AnyEngine {
    /// The CPU engine.
    Cpu(Cpu<f32>),
    /// The GPU engine; with the feature `gpu`.
    #[cfg(feature = "gpu")]
    Gpu(Box<Gpu>),
}

/// A program of an [`AnyEngine`].
#[derive(Debug)]
pub enum AnyProgram {
    /// On the CPU engine.
    Cpu(Box<CpuProgram<f32>>),
    /// On the GPU engine; with the feature `gpu`.
    #[cfg(feature = "gpu")]
    Gpu(Box<GpuProgram>),
}

impl AnyEngine {
    /// The best real GPU, or the CPU engine where there is none. A software driver is never taken: it is slower than the CPU
    /// engine. Why there is no GPU is a message of the crate `log`.
    pub fn auto() -> Self {
        #[cfg(feature = "gpu")]
        match Gpu::new() {
            Ok(gpu) => return gpu.into(),
            Err(error) => log::info!("the CPU engine is taken: {error}"),
        }
        Self::Cpu(Cpu::default())
    }

    /// The engine of that name: `auto` as [`AnyEngine::auto`], `gpu` also on a software driver where there is nothing else, or
    /// `cpu`.
    ///
    /// # Errors
    /// [`Error::Unknown`] for another name; for `gpu` those of [`Gpu::with`].
    pub fn by_name(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::auto()),
            #[cfg(feature = "gpu")]
            "gpu" => Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() }).map(Self::from),
            "cpu" => Ok(Self::Cpu(Cpu::default())),
            #[cfg(not(feature = "gpu"))]
            "gpu" => Err(Error::NoAdapter {
                reason: "this build has no GPU engine".into(),
                remedy: "build it with the feature gpu".into(),
            }),
            other => Err(Error::unknown("engine", other, &["auto", "gpu", "cpu"])),
        }
    }

    /// `gpu` or `cpu`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => "gpu",
        }
    }
}

#[cfg(feature = "gpu")]
impl From<Gpu> for AnyEngine {
    fn from(gpu: Gpu) -> Self {
        Self::Gpu(Box::new(gpu))
    }
}

impl From<Cpu<f32>> for AnyEngine {
    fn from(cpu: Cpu<f32>) -> Self {
        Self::Cpu(cpu)
    }
}

/// What either of them does.
macro_rules! either {
    ($any:expr, $kind:ident, $one:ident => $value:expr) => {
        match $any {
            $kind::Cpu($one) => $value,
            #[cfg(feature = "gpu")]
            $kind::Gpu($one) => $value,
        }
    };
}

impl Engine for AnyEngine {
    type Float = f32;
    type Program = AnyProgram;

    fn load(&self, blueprint: &Blueprint) -> Result<AnyProgram> {
        match self {
            Self::Cpu(cpu) => cpu.load(blueprint).map(|program| AnyProgram::Cpu(Box::new(program))),
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => gpu.load(blueprint).map(|program| AnyProgram::Gpu(Box::new(program))),
        }
    }

    fn check_room(&self, layout: &Layout) -> Result<()> {
        either!(self, Self, engine => engine.check_room(layout))
    }

    fn describe(&self) -> String {
        either!(self, Self, engine => engine.describe())
    }
}

impl Program for AnyProgram {
    type Float = f32;

    fn machine(&self) -> Machine {
        either!(self, Self, program => program.machine())
    }

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        either!(self, Self, program => program.repeat(plans, times))
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[f32]) -> Result<()> {
        either!(self, Self, program => program.write(buffer, lane, offset, values))
    }

    #[cfg(feature = "checkpoint")]
    fn fresh(&self, buffer: BufferId, lane: usize) -> Option<Fresh<f32>> {
        either!(self, Self, program => program.fresh(buffer, lane))
    }

    #[cfg(feature = "checkpoint")]
    fn replace(&mut self, buffer: BufferId, lane: usize, fresh: Fresh<f32>) -> Result<()> {
        either!(self, Self, program => program.replace(buffer, lane, fresh))
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        either!(self, Self, program => program.write_indices(buffer, lane, offset, values))
    }

    fn fill_indices(
        &mut self,
        buffer: BufferId,
        lanes: usize,
        len: usize,
        fill: &(dyn Fn(usize, &mut [u32]) + Sync),
    ) -> Result<()> {
        either!(self, Self, program => program.fill_indices(buffer, lanes, len, fill))
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<f32>> {
        either!(self, Self, program => program.read(buffer, lane))
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<f32>> {
        either!(self, Self, program => program.read_range(buffer, lane, range))
    }

    fn read_pieces(
        &mut self,
        buffer: BufferId,
        lane: usize,
        pieces: &[Range<usize>],
        take: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        either!(self, Self, program => program.read_pieces(buffer, lane, pieces, take))
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        either!(self, Self, program => program.read_indices(buffer, lane))
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        either!(self, Self, program => program.read_halves(buffer, lane))
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        either!(self, Self, program => program.write_halves(buffer, lane, offset, values))
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<f32>>> {
        either!(self, Self, program => program.read_all(buffers))
    }

    fn read_to(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &mut [f32]) -> Result<()> {
        either!(self, Self, program => program.read_to(buffer, lane, offset, values))
    }

    fn read_parts(&mut self, parts: &mut [Reading<'_, f32>]) -> Result<()> {
        either!(self, Self, program => program.read_parts(parts))
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        either!(self, Self, program => program.request(tag, buffers))
    }

    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<f32>>> {
        either!(self, Self, program => program.arrived(tag))
    }

    fn settle(&mut self) -> Result<()> {
        either!(self, Self, program => program.settle())
    }
}
