//! Which Thalweg this is.

use serde_json::{Value, json};

/// The commit that it was built from, where git was there to say.
const COMMIT: Option<&str> = option_env!("THALWEG_COMMIT");

/// Backends and the rest, as they were chosen when it was built.
const FEATURES: [(&str, bool); 4] = [
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("dx12", cfg!(feature = "dx12")),
    ("webgpu", cfg!(feature = "webgpu")),
];

fn features() -> Vec<&'static str> {
    FEATURES.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

/// As `thalweg --version` says it.
pub fn text() -> String {
    format!("{} (commit {}; features {})", env!("CARGO_PKG_VERSION"), COMMIT.unwrap_or("unknown"), features().join(", "))
}

pub fn object() -> Value {
    json!({ "thalweg": env!("CARGO_PKG_VERSION"), "commit": COMMIT, "features": features() })
}
