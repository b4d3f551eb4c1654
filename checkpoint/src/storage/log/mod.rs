//! A storage that appends all states to a log.
//!
//! The layout is specified in `checkpoint/FORMAT.md`.

mod backup;
mod builder;
mod compaction;
mod compactor;
mod damages;
mod hint;
mod hinting;
mod index;
mod inner;
mod keys;
mod layout;
mod manifest;
mod opening;
mod orders;
mod place;
mod reading;
mod replay;
mod report;
mod retention;
mod saving;
mod scan;
mod segment;
mod shard;
mod tail;
mod tombstones;
mod verify;
mod writer;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use builder::LogStorageBuilder;
pub use report::{
    LogBackup, LogCut, LogDamage, LogDamageKind, LogOpenReport, LogProgress, LogStats,
    LogVerifyReport,
};
pub use retention::Retention;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::file_ops::FileOps;
use crate::record::Epoch;
use crate::storage::log::compaction::Unfinished;
use crate::storage::log::compactor::Compactor;
use crate::storage::log::inner::Log;
use crate::storage::{
    CompareAndSet, FetchEntry, FetchOutcome, Metadata, MetadataVersion, SaveBatch, StateStorage,
    StorageCapabilities, StorageError, StorageErrorKind, StoredVersion,
};

/// Keeps all states in a log of segments, with an index in memory.
///
/// A batch is appended and made durable by one sync, however many states are in it. Batches of
/// several threads that come at once share one, and the next is written meanwhile.
///
/// # Guarantees
/// - What is acknowledged survives a crash or a loss of power at any instant
///   ([`Durability::Power`](crate::Durability::Power)). A batch that was being written is cut off
///   when the log is opened the next time, and [`open_report`](Self::open_report) says so.
/// - An older version never replaces a newer one, and after
///   [`open_epoch`](StateStorage::open_epoch) a former owner of the partition cannot write any
///   more.
/// - A changed byte is noticed before anybody gets to see it, and concerns one PE: all others can
///   be restored. In what the log itself needs (its identity, epoch and list of segments, and the
///   metadata) it concerns none: all that is there twice, and is made good.
/// - After a failed write or sync nothing is ever written behind it: what was to be saved is
///   written to another segment.
/// - A thread of the log's own frees what was overwritten, or is older than the
///   [`Retention`] says: the segments take about twice the bytes that count in them. Where states
///   are overwritten faster than that thread may work beside the saves, it works the faster the
///   more lies about; and from three times as many and two segments more on it takes turns with
///   those who save: each is told at once what became of its save, and then waits until twice as
///   much was read to be compacted as was saved since, but never for more than a tenth of a second.
///   That keeps it below three times as many and six segments more, as long as compaction gets that
///   far in that time; where all that is saved at once, by however many threads, is more than a
///   segment, six times that more. Nobody waits for what fails, for a thread that is gone, or while
///   [`compact`](Self::compact), [`verify`](Self::verify) or [`backup`](Self::backup) has its turn:
///   then it grows.
/// - The directory has one user at a time; see
///   [`DefaultFileSystemStateStorage`](crate::DefaultFileSystemStateStorage) on locks, permissions
///   and symbolic links, which are the same here.
///
/// # Examples
/// ```
/// use checkpoint::{LogStorage, StateStorage};
///
/// # let directory = std::env::temp_dir().join(format!("checkpoint-log-{}", std::process::id()));
/// let storage = LogStorage::open(&directory)?;
/// let first = storage.open_epoch(0)?;
/// drop(storage);
///
/// let storage = LogStorage::builder(&directory).must_exist(true).open()?;
/// assert!(storage.open_epoch(0)? > first);
/// # std::fs::remove_dir_all(&directory).ok();
/// # Ok::<(), checkpoint::StorageError>(())
/// ```
pub struct LogStorage {
    // Dropped before the log is closed: see `drop`.
    compactor: Option<Compactor>,
    log: Arc<Log>,
    report: LogOpenReport,
}

impl LogStorage {
    /// Opens the log in the directory `root`, creating it if there is none.
    ///
    /// # Errors
    /// See [`open`](LogStorageBuilder::open) of the builder.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StorageError> {
        Self::builder(root).open()
    }

    /// Opens the log in the directory `root` to be read only, beside whoever writes to it.
    ///
    /// # Errors
    /// See [`open_read_only`](LogStorageBuilder::open_read_only) of the builder.
    pub fn open_read_only(root: impl Into<PathBuf>) -> Result<Self, StorageError> {
        Self::builder(root).open_read_only()
    }

    /// Returns a builder, to set how the log in the directory `root` is opened.
    pub fn builder(root: impl Into<PathBuf>) -> LogStorageBuilder {
        LogStorageBuilder::new(root.into())
    }

    /// Returns what opening the log found: what was cut off its end, and what is damaged.
    #[must_use]
    pub fn open_report(&self) -> &LogOpenReport {
        &self.report
    }

    /// Returns how large the log is, and what its compaction has done. Looks at every id once.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.log.stats()
    }

    /// Reads all files of the log and checks them, to find what is damaged before it is needed.
    ///
    /// Saves and fetches go on meanwhile, compaction does not. `progress` is told how far it has
    /// come, at first and after each segment; it must not call this, [`compact`](Self::compact)
    /// or [`backup`](Self::backup). What is found damaged is left as it is, but for hints: the
    /// newest version of a PE that is hidden by it is an error from now on, and no segment that has
    /// damage is compacted. A file that is missing or cannot be read is in the report, and the
    /// others are read all the same.
    ///
    /// # Errors
    /// The system is out of memory or of open files, which says nothing of the log.
    pub fn verify(
        &self,
        mut progress: impl FnMut(LogProgress),
    ) -> Result<LogVerifyReport, StorageError> {
        self.log.verify(&mut progress)
    }

    /// Compacts the log now, for as long as there is something that it pays to compact, writes the
    /// hints that are missing, and returns how many bytes that has freed.
    ///
    /// A hint says what is in a segment: the next opening reads it instead.
    ///
    /// It is done all the time by a thread of the log's own, if
    /// [`background_compaction`](LogStorageBuilder::background_compaction) is on. It blocks neither
    /// saves nor fetches, but for the moment in which a list of segments is replaced.
    ///
    /// # Errors
    /// Something could not be read or written, or is damaged. Nothing has changed by what failed.
    pub fn compact(&self) -> Result<u64, StorageError> {
        self.log.check_writable(|| "compact a log".to_owned())?;
        let mut freed = 0;
        loop {
            match self.log.compact_once(&mut |_| true) {
                Ok(Some(compacted)) => {
                    freed += compacted.bytes_before.saturating_sub(compacted.bytes_after);
                }
                Ok(None) | Err(Unfinished::Ended) => break,
                Err(Unfinished::Failed(err)) => return Err(err),
            }
        }
        match self.log.write_hints(&mut |_| true) {
            Ok(()) | Err(Unfinished::Ended) => Ok(freed),
            Err(Unfinished::Failed(err)) => Err(err),
        }
    }
}

impl LogStorage {
    /// Makes a copy of the log in the directory `to`, which is created or must be empty, while it
    /// is used: all that is stored when this begins, the store's identity, its epochs and its
    /// metadata.
    ///
    /// The copy is opened as any log is. It shares the files of all segments but the last with this
    /// one, by hard links, if it is on the same file system: neither ever changes them. It is
    /// durable when this returns; one that was not finished is no store. `progress` is told at
    /// first and after each MiB; it must not call this, [`verify`](Self::verify) or
    /// [`compact`](Self::compact). Saves and fetches go on meanwhile, compaction does not.
    ///
    /// Whoever goes on from a copy goes back in time, and must not do so beside the original: both
    /// would draw the same epochs.
    ///
    /// # Errors
    /// The directory is not empty, something cannot be read or written, or a segment is shorter
    /// than it was. The bytes are not checked otherwise: [`verify`](Self::verify) does that, of
    /// either. What has been copied until then stays.
    pub fn backup(
        &self,
        to: impl AsRef<Path>,
        mut progress: impl FnMut(LogProgress),
    ) -> Result<LogBackup, StorageError> {
        self.log.backup_to(to.as_ref(), &mut progress)
    }

    /// Returns how many saves wait for others to be written or synced; `None` if another thread is
    /// at the end of the log just now.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn saves_waiting(&self) -> Option<usize> {
        self.log.tail.waiting()
    }

    /// Makes a copy as [`backup`](Self::backup) does, over these file operations, without links.
    ///
    /// The path is only used in messages.
    ///
    /// # Errors
    /// As for [`backup`](Self::backup).
    pub fn backup_over(
        &self,
        files: Arc<dyn FileOps>,
        path: impl Into<PathBuf>,
        mut progress: impl FnMut(LogProgress),
    ) -> Result<LogBackup, StorageError> {
        self.log.backup_over(files, path.into(), None, &mut progress)
    }
}

impl StateStorage for LogStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities::new(self.log.durability)
            .with_compare_and_set(CompareAndSet::PerPartition)
            .with_record_bytes_max(self.log.record_bytes_max)
            .with_older_versions_max(self.log.retentions.older_versions_max())
    }

    fn save(&self, batch: SaveBatch) {
        self.log.save_batch(batch);
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            let outcome = self.log.fetch_one(entry.id(), entry.version());
            entry.complete(outcome);
        }
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        self.log.fetch_one_now(id)
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        // The store's lock makes this the only writer for as long as it is open.
        self.log.may_contain(id)
    }

    fn prefetch(&self, ids: &[CheckpointId]) {
        self.log.prefetch(ids);
    }

    fn fetch_many(&self, ids: &[CheckpointIdRef<'_>], found: &mut dyn FnMut(usize, Vec<u8>)) {
        self.log.fetch_many(ids, found);
    }

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        if self.log.visit_ids(prototype, visit).is_break() {
            return Ok(());
        }
        match self.log.damages.first() {
            // It may be of a PE of this prototype that nothing else is known of.
            Some(damage) => {
                let attempted = format!("list all ids of {prototype:?}: {damage}");
                Err(StorageError::new(StorageErrorKind::Corrupt, attempted))
            }
            None => Ok(()),
        }
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        self.log.list_versions(id)
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        self.log.check_writable(|| format!("open an epoch of partition {partition}"))?;
        // Nobody may be writing with an older one when this returns.
        let _alone = self.log.tail.alone();
        self.log.directory.open_epoch(partition)
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        self.log.directory.metadata(name)
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        self.log.check_writable(|| format!("put metadata {name:?}"))?;
        self.log.directory.put_metadata(name, expected, bytes)
    }
}

impl Drop for LogStorage {
    fn drop(&mut self) {
        self.compactor = None;
        let closed = self.log.tail.lock().close(&self.log.directory);
        // Without the mark the next opening writes the last batches once more.
        if let Err(err) = closed {
            tracing::warn!(target: "checkpoint", error = %err, "a log was not marked as closed");
        }
    }
}

impl fmt::Debug for LogStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStorage").field("directory", &self.log.directory).finish_non_exhaustive()
    }
}
