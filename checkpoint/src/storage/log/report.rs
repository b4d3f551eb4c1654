//! What the opening of a log found.

use std::fmt;

use crate::checkpoint_id::CheckpointId;
use crate::file_ops::FileSystemDoubt;
use crate::storage::directory::{OwnDamage, OwnFault};

/// What opening a log found, besides states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOpenReport {
    /// How many ids there are, removed ones included as long as the mark of that is kept.
    pub ids: u64,
    /// How many bytes of segments and hints were read.
    pub bytes_read: u64,
    /// How many segments were not read, because their hints say what is in them.
    pub hints_used: u64,
    /// How many hints were damaged, or did not fit their segments: those were read instead.
    pub hints_unusable: u64,
    /// Whether whoever wrote to the log last has closed it in good order.
    pub closed: bool,
    /// What was cut off the end: one or two batches that were being written and never acknowledged.
    pub cut: Option<LogCut>,
    /// What is damaged.
    pub damages: Vec<LogDamage>,
    /// What speaks against the file system; not asked where the log is only read.
    pub doubts: Vec<FileSystemDoubt>,
}

/// How large a log is, and what its compaction has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// How many ids there are, removed ones included as long as the mark of that is kept.
    pub ids: u64,
    /// How much memory the index takes, keys included.
    pub index_bytes: u64,
    /// How many segments there are; each is an open file.
    pub segments: u64,
    /// How many bytes those have.
    pub disk_bytes: u64,
    /// How many of those are of records that count; the others are freed by compaction.
    pub live_bytes: u64,
    /// How many segments were compacted since the log was opened.
    pub segments_compacted: u64,
    /// How many bytes were written for that.
    pub bytes_compacted: u64,
    /// How many bytes it has freed.
    pub bytes_freed: u64,
}

/// The torn end of a log.
///
/// Two batches may be on their way at any time. If one of the last two of a log that was not closed
/// in good order is damaged, it cannot be told from one that was being written: it is cut too, and
/// what lies behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCut {
    /// The file of the segment, below the store's directory.
    pub file: String,
    /// Where the first batch would have begun, in bytes.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// How many records were to be in them, as far as that could be read.
    pub records: u64,
}

/// A damaged place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDamage {
    /// The file, below the store's directory.
    pub file: String,
    /// Where the damaged bytes begin.
    pub offset: u64,
    /// How many bytes are concerned; 0 for a head, and for all that is told of a file as a whole.
    pub bytes: u64,
    /// What is damaged.
    pub kind: LogDamageKind,
    /// Whose record it is, if that is known: something else of it has to be in the log.
    pub id: Option<CheckpointId>,
}

/// What [`LogStorage::verify`](crate::LogStorage::verify) found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogVerifyReport {
    /// How many bytes of segments there were to read.
    pub bytes: u64,
    /// How many whole records there are, those included that do not count any more.
    pub records: u64,
    /// What is damaged.
    pub damages: Vec<LogDamage>,
}

/// What [`LogStorage::backup`](crate::LogStorage::backup) has made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogBackup {
    /// How many segments it has.
    pub segments: u64,
    /// How many bytes those have.
    pub bytes: u64,
    /// How many of these take no space of their own, being those of the log itself: hard links.
    pub bytes_linked: u64,
}

/// How far something has come that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogProgress {
    /// Bytes that are done.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// What is damaged in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogDamageKind {
    /// The head of a segment or of a batch: it hides nothing.
    Head,
    /// A record: its PE cannot be restored, all others can.
    Record,
    /// Bytes of which it is not known whose they were: no PE can be restored of which nothing newer
    /// is in the log.
    Unknown,
    /// The hint of a segment, which concerns nothing: the segment is read instead, and the hint
    /// made anew.
    Hint,
    /// One of the two copies in a file of the store's own, which concerns nothing: the other one is
    /// used. The next opening for writing makes it anew; a value of the metadata is made anew when
    /// it is read or put.
    Copy,
    /// Both copies in a file of the store's own. What is open goes on; but the log does not open
    /// again, or if it is in `meta`, that value cannot be read.
    OwnFile,
    /// A file is not there that has to be. What is open goes on; but the log does not open again.
    Missing,
    /// The system gives an error when the file is read, or a newer library wrote it.
    Unreadable,
}

impl From<OwnDamage> for LogDamage {
    fn from(OwnDamage { path: file, fault }: OwnDamage) -> Self {
        let (offset, bytes, kind) = match fault {
            OwnFault::Copy { offset, bytes } => (offset, bytes, LogDamageKind::Copy),
            OwnFault::Both => (0, 0, LogDamageKind::OwnFile),
            OwnFault::Missing => (0, 0, LogDamageKind::Missing),
            OwnFault::Unreadable => (0, 0, LogDamageKind::Unreadable),
        };
        Self { file, offset, bytes, kind, id: None }
    }
}

impl fmt::Display for LogCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, records } = self;
        write!(f, "{bytes} bytes ({records} records) cut off {file} from byte {offset} on")
    }
}

impl fmt::Display for LogDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            LogDamageKind::Head => "a head",
            LogDamageKind::Record => "a record",
            LogDamageKind::Unknown => "what cannot be told",
            LogDamageKind::Hint => "a hint",
            LogDamageKind::Copy => "one of two copies",
            LogDamageKind::OwnFile => return write!(f, "both copies are damaged in {}", self.file),
            LogDamageKind::Missing => return write!(f, "{} is missing", self.file),
            LogDamageKind::Unreadable => return write!(f, "{} cannot be read", self.file),
        };
        write!(
            f,
            "{what} is damaged in {}, byte {} ({} bytes",
            self.file, self.offset, self.bytes
        )?;
        match &self.id {
            Some(id) => write!(f, " of {id})"),
            None => write!(f, ")"),
        }
    }
}
