//! The order in which threads take their steps is not to matter: model checkers try the orders out.
//!
//! `steps` has few threads that do little, and loom goes through every order of their steps, and
//! through every value that a relaxed load may return. `pools` has a whole keeper, and shuttle
//! draws orders at random. Both are run by `tests/interleavings`; what is lost of the real locks is
//! said in `sync/modelled.rs`. A thread that waits for something that never comes is a deadlock,
//! which both report.

#[cfg(shuttle)]
#[expect(clippy::unwrap_used, reason = "a test that fails may panic")]
mod pools;
#[cfg(loom)]
#[expect(clippy::unwrap_used, reason = "a model that fails may panic")]
pub(crate) mod steps;
