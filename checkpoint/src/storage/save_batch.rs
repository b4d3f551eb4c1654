//! Hands captured states to a storage, and the outcomes back.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::{RECORD_FIXED_BYTES, RecordKind, StateVersion};
use crate::storage::{StorageError, StorageErrorKind};

/// What became of one entry of a [`SaveBatch`].
#[derive(Debug)]
pub enum SaveOutcome {
    /// It is stored, as durably as the storage's capabilities say.
    Stored,
    /// It is certainly not stored, and nothing was changed.
    NotStored(StorageError),
    /// It may be stored or not: the answer was lost, or the write failed half-way.
    Unknown(StorageError),
}

/// Records to be stored, by value: a storage may take it apart, pass parts on, and finish each
/// entry whenever it likes, from any thread.
///
/// All records lie in one buffer, one behind the other in the order of the entries, so that a log
/// can write them with one call.
pub struct SaveBatch {
    bytes: Arc<Vec<u8>>,
    entries: Vec<SaveEntry>,
}

/// One record of a [`SaveBatch`].
///
/// The record is a state or a tombstone; either replaces what is stored under its id if that is
/// older.
#[derive(Debug)]
pub struct SaveEntry {
    record: RecordPlace,
    completion: Completion,
}

/// Where a record lies in the buffer, and what a storage needs to know of it without reading it.
#[derive(Debug, Clone)]
pub(crate) struct RecordPlace {
    pub(crate) record: Range<usize>,
    pub(crate) prototype: Range<usize>,
    pub(crate) key: Range<usize>,
    pub(crate) kind: RecordKind,
    pub(crate) partition: u32,
    pub(crate) version: StateVersion,
}

impl SaveBatch {
    pub(crate) fn new(bytes: Arc<Vec<u8>>, entries: Vec<SaveEntry>) -> Self {
        Self { bytes, entries }
    }

    /// Returns the buffer in which all records lie.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the entries, in the order of their records in the buffer.
    #[must_use]
    pub fn entries(&self) -> &[SaveEntry] {
        &self.entries
    }

    /// Returns the id of an entry of this batch.
    #[must_use]
    pub fn id(&self, entry: &SaveEntry) -> CheckpointIdRef<'_> {
        entry.id_in(&self.bytes)
    }

    /// Returns the whole record of an entry of this batch.
    #[must_use]
    pub fn record(&self, entry: &SaveEntry) -> &[u8] {
        entry.record_in(&self.bytes)
    }

    /// Takes the batch apart: the shared buffer and the entries.
    #[must_use]
    pub fn into_parts(self) -> (Arc<Vec<u8>>, Vec<SaveEntry>) {
        (self.bytes, self.entries)
    }

    /// Cuts the batch in two; the second has the entries from `at` on.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let entries = self.entries.split_off(at.min(self.entries.len()));
        Self { bytes: self.bytes.clone(), entries }
    }
}

impl fmt::Debug for SaveBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // States never reach a log.
        write!(f, "SaveBatch({} entries, {} bytes)", self.entries.len(), self.bytes.len())
    }
}

impl SaveEntry {
    pub(crate) fn new(record: RecordPlace, completion: Completion) -> Self {
        Self { record, completion }
    }

    /// Returns the id of the record, which lies in `bytes`, the buffer of its batch.
    ///
    /// # Panics
    /// Panics if `bytes` is the buffer of another batch.
    #[must_use]
    pub fn id_in<'a>(&self, bytes: &'a [u8]) -> CheckpointIdRef<'a> {
        self.record.id_in(bytes)
    }

    /// Returns the whole record, which lies in `bytes`, the buffer of its batch.
    ///
    /// # Panics
    /// Panics if `bytes` is the buffer of another batch.
    #[must_use]
    pub fn record_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.record.record_in(bytes)
    }

    /// Returns where the record lies in the buffer of its batch.
    pub(crate) fn range(&self) -> Range<usize> {
        self.record.record.clone()
    }

    /// Returns whether the record is a state or a tombstone.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        self.record.kind
    }

    /// Returns the partition that the PE belongs to.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.record.partition
    }

    /// Returns the version of the record.
    #[must_use]
    pub fn version(&self) -> StateVersion {
        self.record.version
    }

    /// Reports what became of the entry.
    ///
    /// An entry that is dropped instead is taken as [`SaveOutcome::Unknown`].
    pub fn complete(self, outcome: SaveOutcome) {
        self.completion.complete(outcome);
    }
}

impl RecordPlace {
    /// Where the record in `record` has its parts, its prototype's name and its key being so long.
    pub(crate) fn new(
        record: Range<usize>,
        (prototype_bytes, key_bytes): (usize, usize),
        kind: RecordKind,
        partition: u32,
        version: StateVersion,
    ) -> Self {
        let prototype = record.start + RECORD_FIXED_BYTES;
        let key = prototype + prototype_bytes;
        Self {
            record,
            prototype: prototype..key,
            key: key..key + key_bytes,
            kind,
            partition,
            version,
        }
    }

    /// Says that the record lies somewhere else; what it begins with is the same.
    pub(crate) fn move_to(&mut self, record: Range<usize>) {
        let (prototype_bytes, key_bytes) = (self.prototype.len(), self.key.len());
        let lengths = (prototype_bytes, key_bytes);
        *self = Self::new(record, lengths, self.kind, self.partition, self.version);
    }

    pub(crate) fn id_in<'a>(&self, bytes: &'a [u8]) -> CheckpointIdRef<'a> {
        match (bytes.get(self.prototype.clone()), bytes.get(self.key.clone())) {
            (Some(name), Some(key)) => {
                // The name was checked; if it is none now, memory went bad, which is noticed by the
                // checksum before anything is saved.
                let prototype = str::from_utf8(name).unwrap_or("\u{FFFD}");
                CheckpointIdRef { prototype, key }
            }
            _ => unreachable!("an entry was used with the buffer of another batch"),
        }
    }

    pub(crate) fn record_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.get(self.record.clone()) {
            Some(record) => record,
            None => unreachable!("an entry was used with the buffer of another batch"),
        }
    }
}

/// Takes the outcomes of the entries of a batch, each once, from any thread, maybe during
/// unwinding.
pub(crate) trait SaveReceiver: Send + Sync {
    fn completed(&self, index: usize, outcome: SaveOutcome);
}

/// Delivers the outcome of one entry exactly once: when it is completed or when it is dropped.
pub(crate) struct Completion {
    // Taken by the first report.
    receiver: Option<Arc<dyn SaveReceiver>>,
    index: usize,
}

impl Completion {
    pub(crate) fn new(receiver: Arc<dyn SaveReceiver>, index: usize) -> Self {
        Self { receiver: Some(receiver), index }
    }

    pub(crate) fn complete(mut self, outcome: SaveOutcome) {
        if let Some(receiver) = self.receiver.take() {
            receiver.completed(self.index, outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            let attempted = "save an entry that the storage dropped without an outcome";
            let error = StorageError::new(StorageErrorKind::Broken, attempted);
            receiver.completed(self.index, SaveOutcome::Unknown(error));
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Completion({})", self.index)
    }
}
