//! Which engine does the work.

use crate::Usage;
#[cfg(feature = "gpu")]
use crate::report::note;
use anyhow::Result;
#[cfg(feature = "gpu")]
use thalweg::Error;
use thalweg::cpu::Cpu;
#[cfg(feature = "gpu")]
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::Engine;

/// The options that choose an engine.
#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// The engine: `auto` is a real GPU if there is one, else the CPU engine; `gpu` is the best GPU, or a software driver if
    /// there is no other; `cpu` is the CPU engine
    #[arg(long, value_parser = choice, default_value = "auto", value_name = "auto|gpu|cpu")]
    engine: Choice,

    /// Part of the GPU adapter's name, driver or backend, in any case, as `thalweg info` lists them; implies --engine gpu
    #[arg(long, value_name = "TEXT")]
    adapter: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    /// A real GPU if there is one, else the CPU engine
    Auto,
    /// The best GPU, or a software driver if there is no other
    Gpu,
    /// The CPU engine
    Cpu,
}

/// An engine that is ready.
pub enum Picked {
    #[cfg(feature = "gpu")]
    Gpu(Box<Gpu>),
    Cpu(Cpu<f32>),
}

impl Picked {
    /// `gpu` or `cpu`.
    pub fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => "gpu",
            Self::Cpu(_) => "cpu",
        }
    }

    /// What decides how it rounds, besides the processor: for a GPU its adapter and driver.
    pub fn identity(&self) -> String {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => {
                let info = gpu.info();
                format!("{}, {:?}, {} {}", info.name, info.backend, info.driver, info.driver_info)
            }
            Self::Cpu(_) => "none, the CPU engine".into(),
        }
    }

    /// The largest buffer that a kernel can bind, if there is a limit.
    pub fn binding(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => Some(gpu.device().limits().max_storage_buffer_binding_size),
            Self::Cpu(_) => None,
        }
    }

    /// The largest buffer that the adapter grants, if there is a limit.
    pub fn largest_buffer(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => Some(gpu.device().limits().max_buffer_size),
            Self::Cpu(_) => None,
        }
    }

    /// The adapter's name; for the CPU engine its description.
    pub fn adapter(&self) -> String {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => gpu.info().name.clone(),
            Self::Cpu(cpu) => cpu.describe(),
        }
    }
}

impl EngineArgs {
    /// Checks that the options fit each other.
    pub fn check(&self, threads: Option<usize>) -> Result<()> {
        match (self.engine, &self.adapter) {
            (Choice::Cpu, Some(_)) => Err(no_adapter()),
            (Choice::Gpu, _) | (_, Some(_)) if threads.is_some() => {
                Err(Usage("--threads are those of the CPU engine, and a GPU is asked for; leave one of them out".into()).into())
            }
            _ => Ok(()),
        }
    }

    /// Makes the engine, and says on stderr if it may not be the expected one.
    pub fn pick(&self, quiet: bool, threads: Option<usize>) -> Result<Picked> {
        match (self.engine, &self.adapter) {
            (Choice::Cpu, _) => Ok(Picked::Cpu(cpu(threads))),
            (_, Some(name)) => named(name),
            (Choice::Gpu, None) => any_gpu(quiet),
            (Choice::Auto, None) => Ok(auto(quiet, threads)),
        }
    }
}

/// What `--engine` takes. GPUs of every vendor are one engine.
fn choice(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice::Auto),
        "gpu" => Ok(Choice::Gpu),
        "cpu" => Ok(Choice::Cpu),
        _ => Err(no_engine(text, "auto, gpu, cpu")),
    }
}

/// The error for a text that names no engine.
pub fn no_engine(text: &str, engines: &str) -> String {
    let hint = if GPUS.contains(&&*text.to_lowercase()) { "; GPUs of every vendor are gpu" } else { "" };
    format!("possible values: {engines}{hint}")
}

/// The error for an adapter with the CPU engine.
pub fn no_adapter() -> anyhow::Error {
    Usage("--adapter names a GPU adapter, and --engine cpu uses none; leave one of them out".into()).into()
}

/// Names that people use for a GPU.
const GPUS: [&str; 11] = ["cuda", "rocm", "hip", "metal", "mps", "vulkan", "dx12", "nvidia", "amd", "webgpu", "wgpu"];

#[cfg(feature = "gpu")]
fn named(name: &str) -> Result<Picked> {
    match Gpu::with(&GpuOptions { adapter: Some(name.into()), ..Default::default() }) {
        Ok(gpu) => Ok(Picked::Gpu(gpu.into())),
        Err(error @ Error::Unknown { .. }) => Err(Usage(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(feature = "gpu"))]
fn named(_: &str) -> Result<Picked> {
    any_gpu(true)
}

#[cfg(not(feature = "gpu"))]
fn any_gpu(_: bool) -> Result<Picked> {
    Err(Usage("this program was built without GPUs: use --engine cpu, or build it with the feature gpu".into()).into())
}

#[cfg(not(feature = "gpu"))]
fn auto(_: bool, threads: Option<usize>) -> Picked {
    Picked::Cpu(cpu(threads))
}

/// The GPU for `--engine gpu`: since it was asked for, a software driver is allowed if there is no other.
#[cfg(feature = "gpu")]
fn any_gpu(quiet: bool) -> Result<Picked> {
    let gpu = Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() })?;
    if gpu.is_cpu() && !quiet {
        note(&format!("no real GPU; --engine gpu runs on the software driver {}", gpu.info().name));
    }
    Ok(Picked::Gpu(gpu.into()))
}

fn cpu(threads: Option<usize>) -> Cpu<f32> {
    threads.map_or_else(Cpu::default, Cpu::with_threads)
}

#[cfg(feature = "gpu")]
fn auto(quiet: bool, threads: Option<usize>) -> Picked {
    let cpu = cpu(threads);
    match Gpu::new() {
        Ok(gpu) => return Picked::Gpu(gpu.into()),
        Err(_) if quiet => {}
        Err(error) => note(&format!("no GPU: {}; training on the CPU engine ({})", reason(&error), cpu.describe())),
    }
    Picked::Cpu(cpu)
}

/// Why there is no GPU, without the advice.
#[cfg(feature = "gpu")]
fn reason(error: &Error) -> String {
    match error {
        Error::NoAdapter { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}
