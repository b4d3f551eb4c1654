//! The tests of the public interface, one module per promise.

mod tidy;
