//! What several test files share.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "`!(err <= bound)` is how NaN becomes a mismatch")]

pub mod bench;
pub mod compare;
pub mod engines;
pub mod model;
pub mod numbers;
pub mod options;
pub mod oracle;
pub mod plain_muon;
pub mod refusal;
