//! Why an event was not processed.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::checkpoint_id::{CheckpointId, InvalidCheckpointId};
use crate::record::StateVersion;
use crate::restore_error::RestoreError;

/// Says why an event was not processed. The PE is as it was, and the event can be tried again.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The keeper is closed: a change would never be stored.
    #[error("cannot process an event of `{prototype}`: its keeper is closed")]
    Closed {
        /// The prototype.
        prototype: Arc<str>,
    },
    /// The call came from inside an event's closure, a session's run, an encode or, if it would
    /// have to wait, from one of the keeper's own threads.
    #[error(
        "cannot process an event of `{prototype}` here: this thread is inside another event, or \
         belongs to the keeper; return what is to be sent from the closure and send it afterwards"
    )]
    Reentrant {
        /// The prototype.
        prototype: Arc<str>,
    },
    /// The PE could not be restored from its checkpoint.
    #[error("cannot process an event of {}", .0.id())]
    Restore(#[source] RestoreError),
    /// Somebody else has had the PE for too long.
    #[error("cannot process an event of {id}: a guard or another call has had it for {since:?}")]
    Busy {
        /// The PE.
        id: CheckpointId,
        /// How long it has been in use.
        since: Duration,
    },
    /// An event's closure panicked in this PE; `recover` decides what becomes of it.
    #[error(
        "cannot process an event of {id}: a closure panicked in it; call `recover` to reload, \
         keep or remove it (last stored version: {})",
        last_durable.map_or_else(|| "none".to_owned(), |version| version.to_string())
    )]
    Poisoned {
        /// The PE.
        id: CheckpointId,
        /// The newest version of it that is stored.
        last_durable: Option<StateVersion>,
    },
    /// The prototype holds as many PEs as it may and none can leave.
    #[error(
        "cannot make {id}: {capacity} PEs are resident and none of them can be stored and dropped"
    )]
    Full {
        /// The PE.
        id: CheckpointId,
        /// How many may be resident.
        capacity: usize,
    },
    /// A change has not been stored for longer than it may; more would be at risk.
    #[error(
        "cannot process an event of `{prototype}`: a change has not been stored for {oldest:?}, \
         and may not be at risk for longer than {exposure_max:?}"
    )]
    Exposed {
        /// The prototype.
        prototype: Arc<str>,
        /// How old the oldest change is that is not stored.
        oldest: Duration,
        /// How old it may get.
        exposure_max: Duration,
    },
    /// As many events of the PE are not stored as may be; more would be at risk.
    #[error(
        "cannot process an event of {id}: {events_max} events of it are not stored, and no more \
         may be at risk; try again when the storage has stored some"
    )]
    ExposedEvents {
        /// The PE.
        id: CheckpointId,
        /// How many of its events may not be stored.
        events_max: u32,
    },
    /// The key cannot be stored.
    #[error("cannot process an event of `{prototype}`: its key cannot be stored")]
    InvalidKey {
        /// The prototype.
        prototype: Arc<str>,
        /// Why.
        #[source]
        error: InvalidCheckpointId,
    },
    /// The operation is not offered: by the storage, or for a PE in this state.
    #[error("cannot {attempted}: {reason}")]
    Unsupported {
        /// What was attempted, and on which PE.
        attempted: String,
        /// Why it cannot be.
        reason: &'static str,
    },
}
