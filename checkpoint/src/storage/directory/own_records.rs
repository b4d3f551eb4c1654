//! What the store notes for itself, framed as records of ids that no user can have: its identity,
//! its epoch and the metadata. Each file has its record twice.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::CheckpointIdRef;
use crate::clock::Clock;
use crate::record::{InputPositions, RecordKind, RecordMeta, RecordWriter, StateVersion};
use crate::storage::directory::copies::{Copies, find, twice};
use crate::storage::directory::error::{read_error, record_error, write_error};
use crate::storage::directory::store::{ReplaceError, Store, TooLong};
use crate::storage::{StorageError, StorageErrorKind};

/// More than any of them has: a list of segments has the most, and this is one of 2.8 million.
const BYTES_MAX: u64 = 128 << 20;

/// Reads and writes the store's own records.
#[derive(Debug)]
pub(in crate::storage) struct OwnRecords {
    pub(in crate::storage) clock: Arc<dyn Clock>,
}

/// Where an own record lies, and which.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct OwnRecord<'a> {
    pub(in crate::storage) path: &'a str,
    pub(in crate::storage) id: CheckpointIdRef<'a>,
}

/// The content of an own record.
pub(in crate::storage) struct Content {
    /// Counts the writes; for the epoch it is the epoch.
    pub(in crate::storage) number: u64,
    pub(in crate::storage) bytes: Vec<u8>,
    pub(in crate::storage) copies: Copies,
}

impl OwnRecords {
    /// Reads a record, and says so if one copy of it is damaged.
    pub(in crate::storage) fn read(
        &self,
        store: &Store,
        record: OwnRecord<'_>,
    ) -> Result<Option<Content>, StorageError> {
        let found = self.look(store, record.path, |id| id == record.id)?;
        if let Some(Content { copies: Copies::Damaged { offset, bytes }, .. }) = found {
            tracing::error!(
                target: "checkpoint",
                path = store.shown(record.path),
                offset,
                bytes,
                "one of the two copies in a file is damaged, and the other one is used"
            );
        }
        Ok(found)
    }

    /// Reads a file, whose record must be of an id that is the right one.
    pub(in crate::storage) fn look(
        &self,
        store: &Store,
        path: &str,
        is_right: impl Fn(CheckpointIdRef<'_>) -> bool,
    ) -> Result<Option<Content>, StorageError> {
        let attempted = || format!("read {}", store.shown(path));
        let file = match store.read(path, BYTES_MAX) {
            Ok(Ok(file)) => file,
            Ok(Err(TooLong)) => {
                return Err(StorageError::new(StorageErrorKind::Corrupt, attempted()));
            }
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(read_error(attempted(), err)),
        };
        let (view, copies) = find(&file, is_right).map_err(|err| record_error(attempted(), err))?;
        let number = view.header().version.sequence.0;
        Ok(Some(Content { number, bytes: view.payload().to_vec(), copies }))
    }

    /// Writes a record again of which not both copies are there and whole.
    ///
    /// If that fails it stays as it is: it can be read.
    pub(in crate::storage) fn mend(&self, store: &Store, record: OwnRecord<'_>, content: &Content) {
        if content.copies == Copies::Both {
            return;
        }
        let Content { number, bytes, .. } = content;
        if let Err(err) = self.write_or_fail(store, record, *number, bytes) {
            tracing::warn!(
                target: "checkpoint",
                error = %err,
                "a file stays without a second copy"
            );
        }
    }

    pub(in crate::storage) fn write(
        &self,
        store: &Store,
        record: OwnRecord<'_>,
        number: u64,
        payload: &[u8],
    ) -> Result<(), ReplaceError> {
        let meta = RecordMeta {
            kind: RecordKind::State,
            partition: 0,
            version: StateVersion::new(0, number),
            event_count: 0,
            captured_at: self.clock.wall(),
            idle: Duration::ZERO,
            fingerprint: 0,
            positions: &InputPositions::default(),
        };
        let mut bytes = Vec::new();
        let writer = RecordWriter::begin(&mut bytes, record.id, &meta);
        bytes.extend_from_slice(payload);
        writer.finish(&mut bytes);
        store.replace(record.path, &twice(bytes))
    }

    /// The same, where it does not matter in which way it failed.
    pub(in crate::storage) fn write_or_fail(
        &self,
        store: &Store,
        record: OwnRecord<'_>,
        number: u64,
        payload: &[u8],
    ) -> Result<(), StorageError> {
        self.write(store, record, number, payload).map_err(|err| {
            write_error(format!("write {}", store.shown(record.path)), err.into_inner())
        })
    }
}
