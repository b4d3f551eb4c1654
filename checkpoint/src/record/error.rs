//! What can be wrong with the bytes of a record.

use std::fmt;

use thiserror::Error;

/// Says what is wrong with a record's bytes, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct RecordError {
    kind: RecordErrorKind,
    offset: usize,
}

/// The ways in which bytes fail to be a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordErrorKind {
    /// The bytes end before the record does.
    Truncated {
        /// How many bytes the record needs.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// There are bytes behind the record.
    TrailingBytes {
        /// How many.
        found: usize,
    },
    /// The record does not begin with the magic number.
    Magic,
    /// A newer library wrote the record.
    UnsupportedVersion {
        /// The record's format version.
        found: u8,
        /// The newest one that this library reads.
        max: u8,
    },
    /// The record uses a feature that this library does not know.
    UnsupportedFeature {
        /// The unknown flags, or the type of the unknown section.
        found: u16,
    },
    /// The checksum of the header does not match.
    HeaderChecksum,
    /// The checksum of the whole record does not match.
    Checksum,
    /// The header contradicts itself although its checksum matches.
    Header,
    /// The record is a whole one of another id.
    WrongId,
}

impl RecordError {
    pub(crate) fn new(kind: RecordErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn kind(&self) -> RecordErrorKind {
        self.kind
    }

    /// Returns the offset in bytes, from the start of the record, of what is wrong.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RecordErrorKind::Truncated { needed, found } => {
                write!(f, "the record is cut off: it needs {needed} bytes and has {found}")?;
            }
            RecordErrorKind::TrailingBytes { found } => {
                write!(f, "{found} bytes that do not belong to the record follow it")?;
            }
            RecordErrorKind::Magic => write!(f, "these bytes do not begin like a record")?,
            RecordErrorKind::UnsupportedVersion { found, max } => write!(
                f,
                "the record has format version {found} and this library reads up to {max}: \
                 use a newer library"
            )?,
            RecordErrorKind::UnsupportedFeature { found } => write!(
                f,
                "the record uses feature {found:#06x}, which this library does not know: \
                 use a newer library"
            )?,
            RecordErrorKind::HeaderChecksum => {
                write!(f, "the header is damaged: its checksum does not match")?;
            }
            RecordErrorKind::Checksum => {
                write!(f, "the record is damaged: its checksum does not match")?;
            }
            RecordErrorKind::Header => write!(f, "the header contradicts itself")?,
            RecordErrorKind::WrongId => write!(f, "this is the record of another id")?,
        }
        write!(f, " (at byte {})", self.offset)
    }
}
