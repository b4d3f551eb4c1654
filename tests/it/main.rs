//! The tests of the public interface, one module per promise.

mod compile_fail;
mod derive;
mod in_memory;
mod process;
mod quotas;
mod simulation;
mod state;
mod tidy;
