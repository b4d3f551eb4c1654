//! Guides: how things are done, step by step. They are only documentation, and their examples run
//! as tests.

#[doc = include_str!("surviving_a_crash.md")]
pub mod surviving_a_crash {}
