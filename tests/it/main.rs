//! The tests of the public interface, one module per promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::result_large_err,
    reason = "a test that fails may panic, also in its helpers"
)]

mod adversary;
mod bulk_restore;
mod checkpoint_id;
mod conformance;
mod custom_module;
mod derive;
mod examples;
mod file_system;
mod file_system_module;
mod hooks;
mod in_memory;
mod keys;
mod layers;
mod log;
mod process;
mod processes;
mod quotas;
mod record;
mod roll_back;
mod rules;
mod s4_names;
mod scenarios;
mod sealing;
mod sessions;
mod simulation;
mod sources;
mod state;
mod support;
mod tidy;
