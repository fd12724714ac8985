//! Which Thalweg this is.

use serde_json::{Value, json};

/// The commit from which it was built, if git was available.
const COMMIT: Option<&str> = option_env!("THALWEG_COMMIT");

/// The backends and other features with which it was built.
const FEATURES: [(&str, bool); 4] = [
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("dx12", cfg!(feature = "dx12")),
    ("webgpu", cfg!(feature = "webgpu")),
];

fn features() -> Vec<&'static str> {
    FEATURES.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

/// The version, as `thalweg --version` prints it.
pub fn text() -> String {
    format!("{} (commit {}; features {})", env!("CARGO_PKG_VERSION"), COMMIT.unwrap_or("unknown"), features().join(", "))
}

pub fn object() -> Value {
    json!({ "thalweg": env!("CARGO_PKG_VERSION"), "commit": COMMIT, "features": features() })
}
