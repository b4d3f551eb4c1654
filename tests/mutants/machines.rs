//! The tests of what is mutated, see `tests/MUTANTS.md`: a part of `it` that is quickly built.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::result_large_err,
    reason = "a test that fails may panic, also in its helpers"
)]

#[path = "../it/file_system/mod.rs"]
mod file_system;
#[path = "../it/hooks.rs"]
mod hooks;
#[path = "../it/process.rs"]
mod process;
#[path = "../it/record/mod.rs"]
mod record;
#[path = "../it/rules/mod.rs"]
mod rules;
#[path = "../it/scenarios/mod.rs"]
mod scenarios;
#[path = "../it/sessions.rs"]
mod sessions;
#[path = "../it/support/mod.rs"]
mod support;
