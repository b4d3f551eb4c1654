//! What a keeper knows of the inputs of its PEs: which sources there are, how far each has been
//! fed, and up to where everything is stored.
//!
//! A position in here is the one of the next event: everything below it is meant. Nothing in here
//! calls a storage or the user's code.

mod contained;
mod events;
mod sources;

pub(crate) use contained::Contained;
pub(crate) use events::{Ended, Fault, InputEvents, Turn};
pub(crate) use sources::{Known, Older, SourceIndex, SourceState, Sources, TooManySources};

/// Names a PE among all of a keeper: its prototype's number and its key's hash.
///
/// Two PEs may have the same; then events of one wait for those of the other, needlessly.
pub(crate) type PeName = (crate::prototype_index::PrototypeIndex, u64);

/// The position of the next event after this one.
pub(crate) fn after(position: u64) -> u64 {
    position.wrapping_add(1)
}

/// The position of the last event before this one; `None` if there is none.
pub(crate) fn before(next: u64) -> Option<u64> {
    next.checked_sub(1)
}
