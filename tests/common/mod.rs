//! What several test files share.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "`!(err <= bound)` is how NaN becomes a mismatch")]

pub mod bench;
pub mod compare;
pub mod counting;
pub mod engines;
pub mod groups;
pub mod model;
pub mod modules;
pub mod numbers;
pub mod options;
pub mod oracle;
pub mod plain_muon;
pub mod refusal;
pub mod started;
pub mod taped;

/// The lines of a file in tests/golden.
pub fn golden_lines(name: &str) -> Vec<serde_json::Value> {
    let file = format!("{}/golden/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
