//! Why a state could not be stored.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::state::{DecodeError, EncodeError, StateDifference};
use crate::storage::StorageError;

/// Says which PE could not be stored, and why. The PE stays dirty.
#[derive(Debug, Clone)]
pub struct SaveError {
    id: CheckpointId,
    reason: SaveFailure,
}

/// Why a state could not be stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SaveFailure {
    /// The state could not be encoded. It is tried again when the PE has changed.
    Encode(Arc<EncodeError>),
    /// Encoding the state panicked. It is tried again when the PE has changed.
    EncodePanicked,
    /// What was encoded cannot be decoded again: the type's own `encode` and `decode` do not match.
    /// Found in debug builds only.
    NotRestorable(Arc<DecodeError>),
    /// What was encoded decodes to another state: the type's own `encode` and `decode` do not
    /// match. Found in debug builds only.
    RestoresDifferently(Arc<StateDifference>),
    /// The storage refused for good. It is tried again when the PE has changed.
    Refused(Arc<StorageError>),
    /// The storage refused for good what it may have stored before: it had not answered an earlier
    /// attempt, for this state or for an earlier one with what is asked for. It is tried again when
    /// the PE has changed.
    MayBeStored(Arc<StorageError>),
    /// The storage failed as often as it may, and has stored nothing; a new capture follows by
    /// itself.
    GaveUp(Arc<StorageError>),
    /// The storage failed as often as it may, and has not answered an attempt: it may be stored or
    /// not. A new capture follows by itself.
    NotAnswered(Arc<StorageError>),
    /// The keeper was closed, or the PE reloaded or removed or not to be encoded any more, before
    /// the storage's answer came: it may be stored or not.
    Unknown,
    /// The keeper was closed before it was tried, or tried again after an attempt that has stored
    /// nothing.
    NotAttempted,
    /// The partition has given out all its sequence numbers.
    SequenceExhausted,
    /// More requests are waiting than may.
    Overloaded,
    /// It was waited for on a thread that must not wait: a keeper's, or inside an event's closure.
    MustNotWait,
    /// A closure panicked in the PE before a flush could store it: nothing of it is stored before
    /// somebody says what becomes of it.
    Poisoned,
    /// The PE was restored from an older version or removed before the request could be met.
    Withdrawn,
}

impl SaveFailure {
    /// Whether it may be stored all the same.
    pub(crate) fn may_be_stored(&self) -> bool {
        matches!(self, Self::MayBeStored(_) | Self::NotAnswered(_) | Self::Unknown)
    }

    /// The same for whoever asks for what may have been stored before this came up.
    pub(crate) fn in_doubt(self) -> Self {
        match self {
            Self::Refused(error) | Self::MayBeStored(error) => Self::MayBeStored(error),
            Self::GaveUp(error) | Self::NotAnswered(error) => Self::NotAnswered(error),
            _ => Self::Unknown,
        }
    }
}

impl SaveError {
    pub(crate) fn new(id: CheckpointId, reason: SaveFailure) -> Self {
        Self { id, reason }
    }

    /// Returns the id of the PE.
    #[must_use]
    pub fn id(&self) -> &CheckpointId {
        &self.id
    }

    /// Returns why it could not be stored.
    #[must_use]
    pub fn reason(&self) -> &SaveFailure {
        &self.reason
    }
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot store the state of {}: {}", self.id, self.reason)
    }
}

impl fmt::Display for SaveFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encode(_) => "it cannot be encoded",
            Self::NotRestorable(_) => "what was encoded cannot be decoded again",
            Self::RestoresDifferently(_) => "what was encoded decodes to another state",
            Self::EncodePanicked => "encoding it panicked",
            Self::Refused(_) => "the storage refused it",
            Self::MayBeStored(_) => "the storage refused what it may have stored before",
            Self::GaveUp(_) => "the storage failed too often; a new capture follows by itself",
            Self::NotAnswered(_) => {
                "the storage failed too often, and may have stored it; a new capture follows by \
                 itself"
            }
            Self::Unknown => "the storage has not answered; it may be stored or not",
            Self::NotAttempted => "the keeper was closed before it was tried, or tried again",
            Self::SequenceExhausted => "all sequence numbers of its partition are used up",
            Self::MustNotWait => "this thread must not wait for it",
            Self::Overloaded => "more requests are waiting than may",
            Self::Poisoned => "a closure panicked in the PE",
            Self::Withdrawn => "the PE was removed or set back meanwhile",
        })
    }
}

impl Error for SaveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            SaveFailure::Encode(error) => Some(&**error),
            SaveFailure::NotRestorable(error) => Some(&**error),
            SaveFailure::RestoresDifferently(difference) => Some(&**difference),
            SaveFailure::Refused(error)
            | SaveFailure::MayBeStored(error)
            | SaveFailure::GaveUp(error)
            | SaveFailure::NotAnswered(error) => Some(&**error),
            _ => None,
        }
    }
}
