//! Chapters for those who build on the crate.

#[doc = include_str!("embedding.md")]
pub mod embedding {}

#[doc = include_str!("rules.md")]
pub mod rules {}

#[doc = include_str!("from.md")]
pub mod from {}

#[doc = include_str!("machines.md")]
pub mod machines {}
