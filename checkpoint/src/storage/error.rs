//! What goes wrong in a storage.

use std::error::Error;
use std::fmt;

use crate::record::{Epoch, StateVersion};

/// Says what a storage attempted, on what, and why it did not work.
///
/// `Display` gives the attempt and the reason; the cause, if there is one, is the
/// [`source`](Error::source).
#[derive(Debug)]
pub struct StorageError {
    kind: StorageErrorKind,
    attempted: Box<str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Sorts the errors of storages by what can be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// The storage cannot be reached or had an error that may pass (an I/O error, too many open
    /// files).
    Unavailable,
    /// The storage has more to do than it accepts.
    Overloaded,
    /// No space is left.
    Full,
    /// The storage refuses for want of permission, or can only be read.
    Forbidden,
    /// The storage holds this newer version, and an older one never replaces it.
    Stale {
        /// The version that is stored.
        current: StateVersion,
    },
    /// Another writer has taken over the partition.
    Fenced {
        /// The epoch of this writer.
        mine: Epoch,
        /// The epoch of the writer that has taken over.
        current: Epoch,
    },
    /// The record is larger than the storage takes.
    TooLarge {
        /// The most bytes that a record can have.
        max: u64,
    },
    /// What is stored is damaged.
    Corrupt,
    /// What is stored cannot be read, though it may be sound.
    Unreadable,
    /// A newer library wrote what is stored.
    UnsupportedVersion,
    /// Another process, or another part of this one, has the store open.
    Locked,
    /// This is no store, or one of another kind, or it was changed from outside.
    InvalidStore,
    /// A conditional write found another version than it expected.
    Conflict,
    /// The storage does not offer this operation.
    Unsupported,
    /// The storage was closed.
    Closed,
    /// The storage broke its contract: it panicked, or dropped an entry without an outcome.
    Broken,
}

impl StorageErrorKind {
    /// Returns whether the same operation may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            // A full or read-only disk is mended from outside, while the program runs.
            Self::Unavailable | Self::Overloaded | Self::Full | Self::Forbidden => true,
            Self::Unreadable | Self::Broken => true,
            Self::Stale { .. }
            | Self::Fenced { .. }
            | Self::TooLarge { .. }
            | Self::Corrupt
            | Self::UnsupportedVersion
            | Self::Locked
            | Self::InvalidStore
            | Self::Conflict
            | Self::Unsupported
            | Self::Closed => false,
        }
    }
}

impl StorageError {
    /// Returns the error of an attempt, told as in "write state/word-count/616c696365".
    pub fn new(kind: StorageErrorKind, attempted: impl Into<String>) -> Self {
        Self { kind, attempted: attempted.into().into_boxed_str(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> StorageErrorKind {
        self.kind
    }

    /// Returns what was attempted, and on what.
    #[must_use]
    pub fn attempted(&self) -> &str {
        &self.attempted
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: ", self.attempted)?;
        match self.kind {
            StorageErrorKind::Unavailable => f.write_str("the storage is not available"),
            StorageErrorKind::Overloaded => f.write_str("the storage is overloaded"),
            StorageErrorKind::Full => f.write_str("no space is left"),
            StorageErrorKind::Forbidden => f.write_str("it is not permitted"),
            StorageErrorKind::Stale { current } => {
                write!(f, "the newer version {current} is stored")
            }
            StorageErrorKind::Fenced { mine, current } => write!(
                f,
                "a writer with epoch {} has taken over from this one with epoch {}",
                current.0, mine.0
            ),
            StorageErrorKind::TooLarge { max } => {
                write!(f, "the storage takes records of up to {max} bytes")
            }
            StorageErrorKind::Corrupt => f.write_str("what is stored is damaged"),
            StorageErrorKind::Unreadable => f.write_str("what is stored cannot be read"),
            StorageErrorKind::UnsupportedVersion => f.write_str("a newer library wrote it"),
            StorageErrorKind::Locked => f.write_str("another one has the store open"),
            StorageErrorKind::InvalidStore => f.write_str("the store is not as it should be"),
            StorageErrorKind::Conflict => f.write_str("it has changed meanwhile"),
            StorageErrorKind::Unsupported => f.write_str("the storage does not offer this"),
            StorageErrorKind::Closed => f.write_str("the storage is closed"),
            StorageErrorKind::Broken => f.write_str("the storage did not keep its contract"),
        }
    }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
