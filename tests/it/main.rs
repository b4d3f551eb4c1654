//! The tests of the public interface, one module per promise.

mod derive;
mod in_memory;
#[cfg(unix)]
mod quotas;
mod tidy;
