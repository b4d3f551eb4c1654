//! Sources: inputs whose events have positions, so that each of them is in each PE's state exactly
//! once, whatever happens.
//!
//! `source` is what users call, `position_store` keeps how far a source need not feed again.

mod error;
mod event;
mod position_store;
#[expect(clippy::module_inception, reason = "one concept, one file")]
mod source;
mod source_event;
mod source_future;
mod source_pending;

pub use error::SourceError;
pub(crate) use position_store::{PositionStore, Target};
pub use source::{Applied, Source};
pub use source_event::{SourceEvent, SourceEventFuture, SourceEventPendingFuture};
pub use source_future::SourceFuture;
pub use source_pending::SourcePendingFuture;
