//! The tests of the public interface, one module per promise.

mod derive;
mod in_memory;
mod process;
mod quotas;
mod tidy;
