//! A log that is open: what its user, its writer and its compaction share.

use std::sync::Arc;

use crate::clock::Clock;
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::error::read_error;
use crate::storage::log::compaction::Compacted;
use crate::storage::log::damages::{Damages, WrittenAt};
use crate::storage::log::index::Index;
use crate::storage::log::layout::SegmentHead;
use crate::storage::log::manifest::Listed;
use crate::storage::log::orders::Orders;
use crate::storage::log::report::{LogDamage, LogDamageKind, LogStats};
use crate::storage::log::retention::Retentions;
use crate::storage::log::scan::{Found, ScanError, scan};
use crate::storage::log::segment::{Segment, Segments, segment_path};
use crate::storage::log::tail::Tail;
use crate::storage::log::writer::Writer;
use crate::storage::{Durability, SaveBatch, StorageError, StorageErrorKind};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// What may be done with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
}

pub(super) struct Log {
    pub(super) directory: StoreDirectory,
    pub(super) access: Access,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) durability: Durability,
    pub(super) record_bytes_max: u64,
    pub(super) segment_bytes: u64,
    pub(super) retentions: Retentions,
    pub(super) removals_kept_seconds: u32,
    pub(super) compaction_bytes_per_second: u64,
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) damages: Damages,
    /// What is to be written by whoever has the turn next.
    pub(super) waiting: Mutex<Vec<SaveBatch>>,
    /// Lock order: this, then any other but the next.
    pub(super) tail: Tail<Writer>,
    /// Held by whoever compacts, before the tail.
    pub(super) compacting: Mutex<()>,
    pub(super) orders: Arc<Orders>,
    /// How many bytes the segments had when another was begun last.
    pub(super) bytes_when_begun: AtomicU64,
    pub(super) compacted: CompactedSoFar,
}

/// What was compacted since the log was opened.
#[derive(Debug, Default)]
pub(super) struct CompactedSoFar {
    pub(super) segments: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) bytes_freed: AtomicU64,
}

impl CompactedSoFar {
    pub(super) fn count(&self, compacted: Compacted) {
        let Compacted { segments, bytes_before, bytes_after } = compacted;
        self.segments.fetch_add(segments, Ordering::Relaxed);
        self.bytes_written.fetch_add(bytes_after, Ordering::Relaxed);
        self.bytes_freed.fetch_add(bytes_before.saturating_sub(bytes_after), Ordering::Relaxed);
    }
}

impl Log {
    /// Refuses what would write to a log that is only read.
    pub(super) fn check_writable(
        &self,
        attempt: impl FnOnce() -> String,
    ) -> Result<(), StorageError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => {
                let shown = self.directory.store.shown("");
                let attempted = format!("{}: the log at {shown} was opened to be read", attempt());
                Err(StorageError::new(StorageErrorKind::Unsupported, attempted))
            }
        }
    }

    /// Reads what is in a segment, in order.
    pub(super) fn scan_segment(
        &self,
        segment: &Segment,
        listed: Listed,
        found: &mut dyn FnMut(Found<'_>),
    ) -> Result<(), StorageError> {
        let head = SegmentHead { number: listed.number, identity: self.directory.identity() };
        let scanned = scan(segment, head, listed, found);
        scanned.map(|_end| ()).map_err(|err| {
            let path = self.directory.store.shown(&segment_path(listed.number));
            match err {
                ScanError::Io(err) => read_error(format!("read {path}"), err),
                ScanError::Head(_) => {
                    StorageError::new(StorageErrorKind::Corrupt, format!("read {path}"))
                }
            }
        })
    }

    /// Notes what was found damaged, and makes an error of it.
    pub(super) fn note_damage(&self, segment: &Segment, found: Found<'_>) -> StorageError {
        let path = segment_path(segment.number);
        let shown = self.directory.store.shown(&path);
        let Some((mut damage, at, id_hash)) = damage_of(segment, found) else {
            let attempted = format!("read {shown}");
            return StorageError::new(StorageErrorKind::Corrupt, attempted);
        };
        damage.id = id_hash.and_then(|id_hash| self.index.id_of(id_hash));
        let attempted = format!("read {shown}: {damage}");
        let offset = damage.offset;
        tracing::error!(target: "checkpoint", path = shown, offset, "a log is damaged");
        self.damages.add(damage, at, id_hash);
        self.drop_hint(segment);
        StorageError::new(StorageErrorKind::Corrupt, attempted)
    }

    /// How far compaction has fallen behind: from 0, where it keeps its usual pace, to 1, where it
    /// takes turns with those who save.
    pub(super) fn pressure(&self) -> f64 {
        let listed = self.tail.lock().listed();
        self.pressure_at(bytes_of(&listed))
    }

    /// The same if the segments have so many bytes.
    pub(super) fn pressure_at(&self, disk_bytes: u64) -> f64 {
        let live_bytes = self.live_bytes();
        // One is being written, and one was when it was looked last.
        let usual = 2 * live_bytes + self.segment_bytes;
        let most = 3 * live_bytes + 2 * self.segment_bytes;
        (disk_bytes.saturating_sub(usual) as f64 / (most - usual) as f64).min(1.0)
    }

    /// How many bytes of the records count.
    fn live_bytes(&self) -> u64 {
        self.segments.all().iter().map(|segment| segment.live_bytes()).sum()
    }

    pub(super) fn stats(&self) -> LogStats {
        let disk_bytes = bytes_of(&self.tail.lock().listed());
        let live_bytes = self.live_bytes();
        let (ids, index_bytes) = self.index.size();
        LogStats {
            ids,
            index_bytes,
            segments: self.segments.all().len() as u64,
            disk_bytes,
            live_bytes,
            segments_compacted: self.compacted.segments.load(Ordering::Relaxed),
            bytes_compacted: self.compacted.bytes_written.load(Ordering::Relaxed),
            bytes_freed: self.compacted.bytes_freed.load(Ordering::Relaxed),
        }
    }
}

/// How many bytes segments have.
pub(super) fn bytes_of(listed: &[Listed]) -> u64 {
    listed.iter().filter_map(|listed| listed.valid_bytes).sum()
}

/// What is damaged, where in the log, and the hash of the id, if it is known. `None` for what is
/// whole.
pub(super) fn damage_of(
    segment: &Segment,
    found: Found<'_>,
) -> Option<(LogDamage, WrittenAt, Option<u64>)> {
    let (offset, bytes, kind, id_hash) = match found {
        Found::Record { .. } => return None,
        Found::DamagedRecord { offset, listed } => {
            let bytes = u64::from(listed.record_bytes);
            (offset, bytes, LogDamageKind::Record, Some(listed.id_hash))
        }
        Found::DamagedHead { offset } => (offset, 0, LogDamageKind::Head, None),
        Found::Unknown { offset, bytes } => (offset, bytes, LogDamageKind::Unknown, None),
    };
    let at = segment.written_at(u32::try_from(offset).unwrap_or(u32::MAX));
    let file = segment_path(segment.number);
    Some((LogDamage { file, offset, bytes, kind, id: None }, at, id_hash))
}
