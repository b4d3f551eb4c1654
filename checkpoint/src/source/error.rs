//! Why an event of a source was not processed.

use std::sync::Arc;

use thiserror::Error;

use crate::checkpoint_id::CheckpointId;
use crate::process_error::ProcessError;
use crate::storage::StorageError;

/// Says what is wrong with a source or one of its events.
///
/// An event that failed holds the source back: what it can resume from stays before it until it is
/// processed under the same position or [skipped](crate::Source::skip).
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Positions rise. This one is not higher than what was fed, and none that failed.
    #[error(
        "cannot feed position {position} of source `{source_name}`: positions up to {fed} were \
         fed, and that one did not fail; feed the events in order, or `rewind` the source"
    )]
    NotRising {
        /// The source.
        source_name: Arc<str>,
        /// The position.
        position: u64,
        /// The highest that was fed.
        fed: u64,
    },
    /// No event can have the highest number there is.
    #[error("cannot feed position {position} of source `{source_name}`: the highest is 2^64 - 2")]
    TooHigh {
        /// The source.
        source_name: Arc<str>,
        /// The position.
        position: u64,
    },
    /// The event could not be processed. It holds the source back.
    #[error("cannot process the event at position {position} of source `{source_name}`")]
    Process {
        /// The source.
        source_name: Arc<str>,
        /// The position.
        position: u64,
        /// Why.
        #[source]
        error: ProcessError,
    },
    /// An earlier event of the same PE has failed: this one must not run before it.
    #[error(
        "cannot process the event at position {position} of source `{source_name}` on {id}: the \
         one at position {earlier} has failed; process that one again or `skip` it first"
    )]
    Behind {
        /// The source.
        source_name: Arc<str>,
        /// The position.
        position: u64,
        /// The PE.
        id: CheckpointId,
        /// The position of the earlier event.
        earlier: u64,
    },
    /// The position is being processed.
    #[error("cannot {attempted}: the event at position {position} is being processed")]
    Running {
        /// What was attempted.
        attempted: String,
        /// The position.
        position: u64,
    },
    /// There is nothing to skip: no event at this position has failed.
    #[error("cannot skip position {position} of source `{source_name}`: no event there has failed")]
    NotFailed {
        /// The source.
        source_name: Arc<str>,
        /// The position.
        position: u64,
    },
    /// A source is rewound, never moved ahead: events that nobody has fed would count as processed.
    #[error(
        "cannot rewind source `{source_name}` to position {position}: nothing up to there was fed; \
         to leave events out, do not feed them"
    )]
    NotBack {
        /// The source.
        source_name: Arc<str>,
        /// The position.
        position: u64,
    },
    /// The prototype belongs to another keeper than the source.
    #[error(
        "cannot feed `{prototype}` from source `{source_name}`: they belong to different keepers"
    )]
    OtherKeeper {
        /// The source.
        source_name: Arc<str>,
        /// The prototype.
        prototype: Arc<str>,
    },
    /// What the source would resume from is not there: its input was cut off, or is another one.
    #[error(
        "source `{source_name}` is to resume after position {safe}, and its input has the \
         positions from {first} to {end}; it is another input, or a part of it was lost"
    )]
    NotInInput {
        /// The source.
        source_name: Arc<str>,
        /// The position of the last event that need not be fed again.
        safe: u64,
        /// The first position that the input has.
        first: u64,
        /// The position after the last one that the input has.
        end: u64,
    },
    /// Somebody feeds the source already.
    #[error("cannot open source `{source_name}`: it is open already")]
    AlreadyOpen {
        /// The source.
        source_name: Arc<str>,
    },
    /// The name cannot be one: it has 1 to 200 bytes.
    #[error("cannot open source `{source_name}`: a name has 1 to 200 bytes")]
    InvalidName {
        /// The source.
        source_name: Arc<str>,
    },
    /// The store knows as many sources as it can.
    #[error("cannot open source `{source_name}`: there are as many sources as there can be")]
    TooMany {
        /// The source.
        source_name: Arc<str>,
    },
    /// The keeper is closed.
    #[error("cannot {attempted}: the keeper is closed")]
    Closed {
        /// What was attempted.
        attempted: String,
    },
    /// The storage failed.
    #[error("cannot {attempted}: the storage failed")]
    Storage {
        /// What was attempted.
        attempted: String,
        /// Why.
        #[source]
        error: Arc<StorageError>,
    },
}
