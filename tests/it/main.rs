//! The tests of the public interface, one module per promise.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod checkpoint_id;
mod conformance;
mod in_memory;
mod record;
