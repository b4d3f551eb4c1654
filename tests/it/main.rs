//! The tests of the public interface, one module per promise.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod checkpoint_id;
mod conformance;
mod file_system;
mod in_memory;
mod record;
