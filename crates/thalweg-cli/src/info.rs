//! `thalweg info`: the adapters and the CPU, and what Thalweg would run on them.

use serde_json::{Value, json};
use std::io::{self, Write};
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, adapters, product_variant};
use thalweg::plan::Engine;
use thalweg::wgpu::{Adapter, Features};

/// Features that the engine uses if the adapter has them.
const FEATURES: [(&str, Features); 6] = [
    ("timestamps", Features::TIMESTAMP_QUERY),
    ("subgroups", Features::SUBGROUP),
    ("f16", Features::SHADER_F16),
    ("pipeline cache", Features::PIPELINE_CACHE),
    ("immediates", Features::IMMEDIATES),
    ("cooperative matrix", Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

/// List GPU adapters and the CPU engine, with the kernels that each would run and the one that `--engine auto` picks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  thalweg info --json")]
pub struct Args {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What `--engine auto` picks: the name of a GPU, or the reason for the CPU engine.
type Auto = Result<String, String>;

/// Runs the command. It also succeeds without an adapter.
pub fn run(args: Args) -> anyhow::Result<()> {
    let adapters = adapters();
    let auto = Gpu::new().map(|gpu| gpu.info().name.clone()).map_err(|error| error.to_string());
    let cpu = Cpu::<f32>::default().describe();
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", object(&adapters, &auto, &cpu))?;
    } else {
        write!(out, "{}", text(&adapters, &auto, &cpu))?;
    }
    Ok(())
}

/// The limits that decide what fits, with their units.
fn limits(adapter: &Adapter) -> [(&'static str, u64); 5] {
    let limits = adapter.limits();
    [
        ("binding bytes", limits.max_storage_buffer_binding_size),
        ("buffer bytes", limits.max_buffer_size),
        ("workgroups per dimension", limits.max_compute_workgroups_per_dimension.into()),
        ("workgroup memory bytes", limits.max_compute_workgroup_storage_size.into()),
        ("invocations per workgroup", limits.max_compute_invocations_per_workgroup.into()),
    ]
}

/// The update's kernel, which is the same on every adapter.
const UPDATE: &str = "vec4 × 256 threads";

fn text(adapters: &[Adapter], auto: &Auto, cpu: &str) -> String {
    let mut lines = vec![format!("GPU adapters: {}", adapters.len())];
    for adapter in adapters {
        let info = adapter.get_info();
        let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ");
        let limits = limits(adapter).map(|(name, value)| format!("{name} {}", grouped(value)));
        let has = FEATURES.iter().filter(|(_, feature)| adapter.features().contains(*feature));
        let lacks = FEATURES.iter().filter(|(_, feature)| !adapter.features().contains(*feature));
        let [has, lacks] = [has.collect::<Vec<_>>(), lacks.collect()].map(|list| {
            let names: Vec<&str> = list.into_iter().map(|(name, _)| *name).collect();
            if names.is_empty() { "none".into() } else { names.join(", ") }
        });
        lines.extend([
            String::new(),
            info.name.clone(),
            format!("  backend   {}, {:?}, driver {}", info.backend, info.device_type, driver.trim()),
            format!("  limits    {}", limits.join(", ")),
            format!("  features  {has}; lacking: {lacks}"),
            format!("  kernels   matrix product: {}, update: {UPDATE}", product_variant(&info, adapter.features())),
        ]);
    }
    let picks = match auto {
        Ok(name) => name.clone(),
        Err(reason) => format!("the CPU engine ({reason})"),
    };
    lines.extend([String::new(), format!("CPU engine: {cpu}"), format!("--engine auto picks: {picks}"), String::new()]);
    lines.join("\n")
}

fn object(adapters: &[Adapter], auto: &Auto, cpu: &str) -> Value {
    let key = |name: &str| name.replace(' ', "_");
    let adapter = |adapter: &Adapter| {
        let info = adapter.get_info();
        let limits: serde_json::Map<_, _> =
            limits(adapter).map(|(name, value)| (key(name), value.into())).into_iter().collect();
        let features = FEATURES.map(|(name, feature)| (key(name), adapter.features().contains(feature).into()));
        json!({
            "name": info.name,
            "backend": info.backend.to_string(),
            "type": format!("{:?}", info.device_type),
            "driver": info.driver,
            "driver_info": info.driver_info,
            "limits": limits,
            "features": features.into_iter().collect::<serde_json::Map<_, _>>(),
            "kernels": { "matrix_product": product_variant(&info, adapter.features()), "update": UPDATE },
        })
    };
    let auto = match auto {
        Ok(name) => json!({ "engine": "gpu", "adapter": name }),
        Err(reason) => json!({ "engine": "cpu", "reason": reason }),
    };
    json!({ "adapters": adapters.iter().map(adapter).collect::<Vec<_>>(), "cpu": cpu, "auto": auto })
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
