//! The tests of the public interface, one module per promise.

mod compile_fail;
mod derive;
mod state;
