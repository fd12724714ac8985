//! Picking an adapter and owning its device.

use super::cache::Cache;
use super::doubt::Doubts;
use super::pulse;
use super::remedy::remedy;
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long a wait for the device may take: far longer than any submission of this crate.
const PATIENCE: Duration = Duration::from_secs(600);

/// How to pick an adapter and make its device.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, driver or backend, in any case. Naming a CPU adapter is asking for it. Default: any.
    pub adapter: Option<String>,
    /// Whether an adapter that is a software driver will do. Default: no.
    pub allow_cpu: bool,
    /// Ask for WebGPU's default limits only, instead of all that the adapter has. Default: no.
    pub default_limits: bool,
    /// Compile kernels with bounds checks. They are right without, since every index is checked when a plan is prepared;
    /// tests run both. Default: no.
    pub checked: bool,
}

/// A GPU: a device, its queue, and the pipelines made on it so far. Clones share all three.
///
/// # Examples
///
/// ```no_run
/// use thalweg::{gpu::Gpu, plan::Engine};
///
/// let gpu = Gpu::new()?;
/// println!("{}", gpu.describe());
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    /// Why the device was lost, once it is known to be.
    lost: Arc<OnceLock<String>>,
    pub(super) pipelines: Arc<Cache>,
    /// What was made, and is not yet confirmed by wgpu.
    doubts: Arc<Doubts>,
    /// Whether calls may wait for the device.
    waits: bool,
    /// Bytes that the buffers of a program may take.
    pub(super) bound: Option<u64>,
}

impl Gpu {
    /// The best real GPU: discrete before integrated before others, never a software driver.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] with a remedy, or [`Error::Device`] if the driver refuses a device.
    pub fn new() -> Result<Self> {
        Self::with(&GpuOptions::default())
    }

    /// The best adapter that fits `options`.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Unknown`] listing the adapters if none bears the wanted name, or [`Error::Device`].
    pub fn with(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(Self::request(options))
    }

    /// [`Gpu::with`] for programs that must not wait, as those in a browser.
    ///
    /// # Errors
    /// As for [`Gpu::with`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use thalweg::{Optimizer, Recipe, Sgd, gpu::{Gpu, GpuOptions}};
    ///
    /// # async fn page() -> thalweg::Result<()> {
    /// let gpu = Gpu::request(&GpuOptions::default()).await?;
    /// let mut optimizer = Optimizer::new(&gpu, Recipe::new(Sgd::default()), &[("w", &[2])])?;
    /// gpu.resolve().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request(options: &GpuOptions) -> Result<Self> {
        let adapter = pick(request_adapters().await, options)?;
        let lost = Arc::new(OnceLock::new());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("thalweg"),
            required_features: adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP),
            required_limits: if options.default_limits { wgpu::Limits::default() } else { adapter.limits() },
            ..Default::default()
        };
        let refused =
            |error: wgpu::RequestDeviceError| Error::Device { what: "request_device".into(), reason: error.to_string() };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(refused)?;
        let flag = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            let _ = flag.set(format!("{reason:?} {message}").trim_end().into());
        });
        Ok(Self::wrap(device, queue, lost, options.checked))
    }

    /// Wraps a device and a queue that the caller made, with [`Gpu::required_features`] and [`Gpu::required_limits`] or more.
    /// The device's lost-callback and its handler of uncaptured errors stay the host's; a loss is found without them.
    ///
    /// Buffers that are given to this GPU later, as [`Slice`](super::Slice)s, have to be of this device. One of another device
    /// of the same wgpu instance is an error. One of another *instance* cannot be told for sure, since two instances number
    /// their buffers alike: a program with several devices makes them from one instance, for example from the adapters that
    /// [`adapters`] returns.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::wrap(device, queue, Arc::default(), false)
    }

    fn wrap(device: wgpu::Device, queue: wgpu::Queue, lost: Arc<OnceLock<String>>, checked: bool) -> Self {
        let info = device.adapter_info();
        let waits = cfg!(not(target_family = "wasm"));
        Self { device, queue, info, lost, pipelines: Arc::new(Cache::new(checked)), doubts: Arc::default(), waits, bound: None }
    }

    /// This GPU with programs whose buffers take at most so many bytes. Default: what the driver gives, as adapters do not tell
    /// how much memory they have; a population is bounded by the adapter's limits alone. See [`Error::Lanes`].
    pub fn bounded(self, bytes: u64) -> Self {
        Self { bound: Some(bytes), ..self }
    }

    /// This GPU as a browser has it: each call that would wait for the device is an error, and only what is awaited waits. So a
    /// program for browsers is tested where there is none. In a browser every GPU is like that.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Optimizer, Recipe, Sgd, gpu::{Gpu, GpuOptions}};
    ///
    /// let gpu = Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() })?.without_waits();
    /// let mut optimizer = Optimizer::new(&gpu, Recipe::new(Sgd::default()), &[("w", &[2])])?;
    /// assert!(optimizer.params("w").unwrap_err().to_string().contains("_async"));
    /// assert_eq!(pollster::block_on(optimizer.params_async("w"))?, [0.0, 0.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn without_waits(self) -> Self {
        Self { waits: false, ..self }
    }

    /// # Errors
    /// Where no call may wait for the device.
    pub(super) fn may_wait(&self) -> Result<()> {
        if self.waits {
            return Ok(());
        }
        let reason = "a browser must not wait: await the function of the same name that ends in _async".into();
        Err(Error::Device { what: "waiting for the device".into(), reason })
    }

    /// Waits for wgpu's answers about everything that was made so far: buffers, kernels, bindings. Natively they are there at
    /// once, and whatever was refused was an error of the call that made it. A browser answers later: there such a call
    /// succeeds, and the refusal is an error here, or of a later call.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`], or a lost device.
    pub async fn resolve(&self) -> Result<()> {
        self.doubts.resolve().await?;
        self.alive()
    }

    /// The features that a host has to ask for when it makes the device: none. With `TIMESTAMP_QUERY`
    /// [`GpuProgram::run_timed`](super::GpuProgram::run_timed) times on the device; with `SUBGROUP` products are faster on
    /// software drivers.
    pub fn required_features() -> wgpu::Features {
        wgpu::Features::empty()
    }

    /// The limits that a host has to ask for when it makes the device: WebGPU's defaults, which every adapter of WebGPU has.
    /// With a larger `max_storage_buffer_binding_size` and `max_buffer_size`, large arenas take fewer dispatches, and buffers
    /// of a network may be larger.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use thalweg::{gpu::Gpu, wgpu};
    ///
    /// # fn of(adapter: wgpu::Adapter) -> Result<Gpu, wgpu::RequestDeviceError> {
    /// let descriptor = wgpu::DeviceDescriptor {
    ///     required_features: Gpu::required_features(),
    ///     required_limits: Gpu::required_limits(),
    ///     ..Default::default()
    /// };
    /// let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    /// let gpu = Gpu::from_wgpu(device, queue);
    /// # Ok(gpu)
    /// # }
    /// ```
    pub fn required_limits() -> wgpu::Limits {
        wgpu::Limits::default()
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// What the driver says about the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.info
    }

    /// Whether the adapter is a software driver, which wants other kernels than a GPU.
    pub fn is_cpu(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// An error once the device is lost.
    pub(super) fn alive(&self) -> Result<()> {
        if self.lost.get().is_none() && pulse::beats(&self.device) {
            return self.doubts.look();
        }
        // The lost-callback, which knows the reason, may be waiting for a poll.
        let polled = self.catch_poll(wgpu::PollType::Poll);
        Err(self.lost_for(|| match polled {
            Ok(Ok(_)) => "wgpu refuses to work on it".into(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panicked(&*panic),
        }))
    }

    /// The error of a device that is lost: the driver's reason if it is known, else what was seen at first.
    fn lost_for(&self, seen: impl FnOnce() -> String) -> Error {
        Error::DeviceLost { reason: self.lost.get_or_init(seen).clone() }
    }

    /// Runs `f`, in which wgpu may panic, with errors as for [`Gpu::scoped`]. None for a panic.
    pub(super) fn scoped_or_panic(&self, what: &str, f: impl FnOnce()) -> Result<Option<()>> {
        self.scoped(what, 0, || catch_unwind(AssertUnwindSafe(f)).ok())
    }

    fn catch_poll(&self, kind: wgpu::PollType) -> std::thread::Result<Result<wgpu::PollStatus, wgpu::PollError>> {
        catch_unwind(AssertUnwindSafe(|| self.device.poll(kind)))
    }

    /// Lets callbacks run whose work is done.
    pub(super) fn poll(&self) -> Result<()> {
        self.polled(wgpu::PollType::Poll, Duration::ZERO)
    }

    /// Waits for everything submitted so far.
    pub(super) fn wait(&self) -> Result<()> {
        self.wait_within(PATIENCE)
    }

    /// Waits for what was submitted up to a point, while the device goes on with what came later.
    pub(super) fn wait_until(&self, submission: &wgpu::SubmissionIndex) -> Result<()> {
        self.polled(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: Some(PATIENCE) }, PATIENCE)
    }

    pub(super) fn wait_within(&self, limit: Duration) -> Result<()> {
        self.polled(wgpu::PollType::Wait { submission_index: None, timeout: Some(limit) }, limit)
    }

    /// Polls the device. wgpu may panic inside when the device breaks; here that becomes an error like any other.
    fn polled(&self, kind: wgpu::PollType, limit: Duration) -> Result<()> {
        let polled = self.catch_poll(kind);
        self.alive()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wgpu::PollError::Timeout)) => Err(Error::Timeout { what: "the device".into(), seconds: limit.as_secs() }),
            Ok(Err(error)) => Err(Error::Device { what: "poll".into(), reason: error.to_string() }),
            Err(panic) => Err(self.lost_for(|| panicked(&*panic))),
        }
    }

    /// Runs `f`, turning errors that wgpu would raise elsewhere into this call's.
    pub(super) fn scoped<T>(&self, what: &str, bytes: u64, f: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = f();
        let mistakes = [validation.pop(), internal.pop()].map(|answer| self.doubts.ask(what, bytes, answer));
        self.doubts.ask(what, bytes, memory.pop())?;
        // What was made on a lost device is good for nothing, and other errors follow from that.
        self.alive()?;
        mistakes.into_iter().collect::<Result<()>>().map(|()| value)
    }
}

/// What wgpu said when it panicked.
fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("wgpu panicked: {}", text.unwrap_or("without a word"))
}

/// The wgpu instance of all devices that this crate opens. Within one instance wgpu itself tells a buffer of another device;
/// two instances number their buffers alike, and a number of one means an unrelated buffer to the other.
fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()))
}

/// Every adapter that wgpu finds, software drivers included. All belong to one wgpu instance, that of [`Gpu::with`]: devices
/// that are made from them know each other's buffers apart.
pub fn adapters() -> Vec<wgpu::Adapter> {
    pollster::block_on(request_adapters())
}

/// [`adapters`] for programs that must not wait, as those in a browser.
pub async fn request_adapters() -> Vec<wgpu::Adapter> {
    // wgpu panics where it was built without any backend.
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    instance().enumerate_adapters(wgpu::Backends::all()).await
}

fn pick(adapters: Vec<wgpu::Adapter>, options: &GpuOptions) -> Result<wgpu::Adapter> {
    let rank = |info: &wgpu::AdapterInfo| match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let fits = |info: &wgpu::AdapterInfo| match &options.adapter {
        Some(text) => describes(info, text),
        None => options.allow_cpu || info.device_type != wgpu::DeviceType::Cpu,
    };
    let best = adapters.into_iter().filter(|a| fits(&a.get_info())).min_by_key(|a| rank(&a.get_info()));
    best.ok_or_else(|| match &options.adapter {
        Some(text) if !names.is_empty() => {
            Error::unknown("adapter", text, &names.iter().map(String::as_str).collect::<Vec<_>>())
        }
        _ if names.is_empty() => Error::NoAdapter { reason: "none was found".into(), remedy: remedy(false) },
        _ => Error::NoAdapter { reason: format!("only software drivers: {}", names.join(", ")), remedy: remedy(true) },
    })
}

/// Whether `text` is part of the adapter's name, driver or backend, whatever the case.
fn describes(info: &wgpu::AdapterInfo, text: &str) -> bool {
    let all = format!("{} {} {} {:?}", info.name, info.driver, info.driver_info, info.backend);
    all.to_lowercase().contains(&text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::cache::KEPT;
    use crate::gpu::kernel::Kernel;
    use crate::op::Copy;
    use crate::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};

    /// A wait that is too short ends with an error of its own, and the device goes on.
    #[test]
    fn a_wait_beyond_its_limit_is_a_timeout() -> Result<()> {
        let gpu = Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() })?;
        let mut layout = Layout::new(1);
        let [input, output] = ["input", "output"].map(|name| layout.floats(name, 1 << 22)).map(|id| layout.whole(id));
        let mut plan = Plan::default();
        plan.operate(Copy { input, output });
        let mut program = gpu.load(&Blueprint::of(&layout, &[plan]))?;
        program.run(PlanId::FIRST, 64)?;
        let error = gpu.wait_within(Duration::ZERO).expect_err("64 copies of 16 MiB in no time");
        assert_eq!(error, Error::Timeout { what: "the device".into(), seconds: 0 });
        assert_eq!(error.to_string(), "waiting for the device took more than 0 s");
        program.wait()
    }

    /// Pipelines that no program uses any more do not pile up; those in use stay.
    #[test]
    fn unused_pipelines_are_dropped() -> Result<()> {
        let gpu = Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() })?;
        let kernel = |i: usize| Kernel {
            name: "nothing",
            source: format!(
                "@compute @workgroup_size(1) fn nothing() {{}} // {i}\n@group(0) @binding(0) var<uniform> op: u32;"
            ),
            constants: Vec::new(),
            fields: &[],
            bindings: Vec::new(),
            authored: None,
        };
        let used = gpu.pipeline(&kernel(0))?;
        for i in 1..2 * KEPT + 10 {
            gpu.pipeline(&kernel(i))?;
            assert!(gpu.pipelines.count() <= KEPT);
        }
        assert!(Arc::ptr_eq(&used, &gpu.pipeline(&kernel(0))?), "one that is used is made once");
        let many = (0..KEPT + 10).map(|i| gpu.pipeline(&kernel(i))).collect::<Result<Vec<_>>>()?;
        assert_eq!(gpu.pipelines.count(), KEPT + 10);
        assert!(many.iter().enumerate().all(|(i, pipeline)| Arc::ptr_eq(pipeline, &gpu.pipeline(&kernel(i)).unwrap())));
        Ok(())
    }
}
