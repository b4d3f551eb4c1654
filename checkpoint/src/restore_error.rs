//! Why a PE could not be restored.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::CheckpointId;
use crate::record::{RecordError, StateVersion, UnsealError};
use crate::state::{DecodeError, SchemaDifference};
use crate::storage::StorageError;

/// Says which PE could not be restored, and why. What is stored is untouched.
#[derive(Debug, Clone)]
pub struct RestoreError {
    id: CheckpointId,
    reason: RestoreFailure,
}

/// Why a PE could not be restored.
///
/// None of these is "there is no checkpoint": a PE without one starts with the factory's value.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RestoreFailure {
    /// The storage did not answer in time.
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The storage has failed so often in a row that it is left alone for a while.
    FetchingDisabled {
        /// How much longer it is left alone.
        remaining: Duration,
    },
    /// More fetches are waiting than may.
    Overloaded,
    /// The storage failed.
    Storage(Arc<StorageError>),
    /// What is stored is no sound record of this PE.
    Record(Arc<RecordError>),
    /// The record is sound but cannot be opened: it is encrypted with a key that is missing or
    /// another, say.
    ///
    /// Where that is for want of a key, a dictionary or a feature, no
    /// [`OnRestoreError`](crate::OnRestoreError) has the PE start with anything else: what is
    /// stored is good, and whoever has what is missing can restore it.
    Sealed {
        /// The version that cannot be opened.
        version: StateVersion,
        /// Why.
        error: Arc<UnsealError>,
    },
    /// The record is sound but its state cannot be decoded.
    Decode {
        /// The version that cannot be decoded.
        version: StateVersion,
        /// Why.
        error: Arc<DecodeError>,
    },
    /// The state was stored by a type with other fields.
    Schema {
        /// The version that was stored.
        version: StateVersion,
        /// The fingerprint of the type that restores.
        expected: u64,
        /// The fingerprint of the type that stored.
        found: u64,
        /// Where the two differ, if the store still knows the schema of the stored state.
        differences: Arc<[SchemaDifference]>,
    },
    /// The state is sound, but the prototype's
    /// [`validate`](crate::PrototypeBuilderWithFactory::validate) refused it.
    Invalid {
        /// The version that was refused.
        version: StateVersion,
        /// Why.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// The PE has come back older than what its source need not feed again: events would be missing
    /// from it for ever.
    ///
    /// Ways out: [`rewind`](crate::Source::rewind) the source, so that the events are fed again
    /// (what other PEs contain of them is skipped); or have the prototype
    /// [accept the loss](crate::CheckpointingConfigBuilder::accept_position_gaps).
    PositionGap {
        /// The name of the source.
        source: Arc<str>,
        /// The position of the last event that the PE contains, if it contains any.
        from: Option<u64>,
        /// The position up to which the source need not feed again.
        to: Option<u64>,
    },
    /// The record names a source, and there are more already than a keeper can know.
    TooManySources,
    /// The factory, a hook or the type's own code panicked.
    Panicked,
    /// The keeper was closed.
    Closed,
}

impl RestoreFailure {
    /// Whether the PE may start with something else, if its prototype says so.
    pub(crate) fn may_be_passed_over(&self) -> bool {
        match self {
            Self::Closed | Self::PositionGap { .. } | Self::TooManySources => false,
            Self::Sealed { error, .. } => error.is_of_state(),
            _ => true,
        }
    }

    /// Whether the same attempt may succeed later, without anybody's doing.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::FetchingDisabled { .. } | Self::Overloaded => true,
            Self::Storage(error) => error.kind().is_transient(),
            _ => false,
        }
    }

    /// The version that can never be restored by this program, if that is what the failure says.
    pub(crate) fn unreadable_version(&self) -> Option<StateVersion> {
        match self {
            Self::Decode { version, .. }
            | Self::Schema { version, .. }
            | Self::Invalid { version, .. } => Some(*version),
            Self::Sealed { version, error } if error.is_of_state() => Some(*version),
            _ => None,
        }
    }
}

impl RestoreError {
    pub(crate) fn new(id: CheckpointId, reason: RestoreFailure) -> Self {
        Self { id, reason }
    }

    /// Returns the id of the PE.
    #[must_use]
    pub fn id(&self) -> &CheckpointId {
        &self.id
    }

    /// Returns why it could not be restored.
    #[must_use]
    pub fn reason(&self) -> &RestoreFailure {
        &self.reason
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot restore {}: {}", self.id, self.reason)
    }
}

impl fmt::Display for RestoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { after } => write!(f, "the storage did not answer within {after:?}"),
            Self::FetchingDisabled { remaining } => write!(
                f,
                "fetching is switched off for another {remaining:?}, after too many failures in a \
                 row"
            ),
            Self::Overloaded => f.write_str("more fetches are waiting than may"),
            Self::Storage(_) => f.write_str("the storage failed"),
            Self::Record(_) => f.write_str("what is stored is no sound record of it"),
            Self::Sealed { version, .. } => write!(f, "version {version} cannot be opened"),
            Self::Decode { version, .. } => {
                write!(f, "the state of version {version} cannot be decoded")
            }
            Self::Schema { version, expected, found, differences } => {
                write!(
                    f,
                    "version {version} was stored by a type with other fields \
                     (schema {found:016x}, this type has {expected:016x})"
                )?;
                for difference in differences.iter() {
                    write!(f, "; {difference}")?;
                }
                Ok(())
            }
            Self::Invalid { version, .. } => {
                write!(f, "the state of version {version} is not valid")
            }
            Self::PositionGap { source, from, to } => {
                let shown = |position: &Option<u64>| {
                    position.map_or_else(|| "none".to_owned(), |position| position.to_string())
                };
                write!(
                    f,
                    "it has come back older: of the source `{source}` it contains the events up to \
                     position {}, and the source need not feed again those up to {}; rewind the \
                     source, or have the prototype accept the loss (`accept_position_gaps`)",
                    shown(from),
                    shown(to)
                )
            }
            Self::TooManySources => {
                f.write_str("it names a source beyond the 65,534 that a keeper can know")
            }
            Self::Panicked => f.write_str("the factory, a hook or the type's own code panicked"),
            Self::Closed => f.write_str("the keeper is closed"),
        }
    }
}

impl Error for RestoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            RestoreFailure::Storage(error) => Some(&**error),
            RestoreFailure::Record(error) => Some(&**error),
            RestoreFailure::Sealed { error, .. } => Some(&**error),
            RestoreFailure::Decode { error, .. } => Some(&**error),
            RestoreFailure::Invalid { error, .. } => Some(&**error),
            _ => None,
        }
    }
}
