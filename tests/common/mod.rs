//! What several test files share.
#![allow(dead_code, unused_imports, reason = "every test file uses a part of it")]

pub mod bench;
pub mod compare;
pub mod engines;
pub mod model;
pub mod numbers;
pub mod options;
pub mod oracle;
