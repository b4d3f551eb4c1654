//! The tests of the public interface, one module per promise.

mod checkpoint_id;
mod compile_fail;
mod conformance;
mod derive;
mod file_system;
mod in_memory;
mod process;
mod quotas;
mod record;
mod scenarios;
mod state;
mod support;
mod tidy;
