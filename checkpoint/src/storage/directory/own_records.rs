//! What the store notes for itself, framed as records of ids that no user can have: its identity,
//! its epoch and the metadata.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::CheckpointIdRef;
use crate::clock::Clock;
use crate::record::{
    InputPositions, RecordKind, RecordMeta, RecordView, RecordWriter, StateVersion,
};
use crate::storage::directory::error::{read_error, record_error, write_error};
use crate::storage::directory::store::{ReplaceError, Store, TooLong};
use crate::storage::{StorageError, StorageErrorKind};

/// More than any of them has: a list of segments has the most, and this is one of 2.8 million.
const BYTES_MAX: u64 = 64 << 20;

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
}

impl OwnRecords {
    pub(in crate::storage) fn read(
        &self,
        store: &Store,
        record: OwnRecord<'_>,
    ) -> Result<Option<Content>, StorageError> {
        let attempted = || format!("read {}", store.shown(record.path));
        let bytes = match store.read(record.path, BYTES_MAX) {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(TooLong)) => {
                return Err(StorageError::new(StorageErrorKind::Corrupt, attempted()));
            }
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(read_error(attempted(), err)),
        };
        let view = RecordView::parse(&bytes)
            .and_then(|view| view.of(record.id))
            .map_err(|err| record_error(attempted(), err))?;
        let number = view.header().version.sequence.0;
        Ok(Some(Content { number, bytes: view.payload().to_vec() }))
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
        store.replace(record.path, &bytes)
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
