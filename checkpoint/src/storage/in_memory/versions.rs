//! The versions that are kept of one state.

use std::collections::VecDeque;

use crate::record::{RecordError, RecordHeader, RecordKind, StateVersion};
use crate::storage::{FetchVersion, StoredVersion};

/// One stored record.
pub(super) struct StoredRecord {
    version: StateVersion,
    kind: RecordKind,
    bytes: Box<[u8]>,
}

/// The newest record of an id and the older ones that are kept.
pub(super) struct Versions {
    newest: StoredRecord,
    // The newest first.
    older: VecDeque<StoredRecord>,
}

impl StoredRecord {
    pub(super) fn new(version: StateVersion, kind: RecordKind, bytes: &[u8]) -> Self {
        Self { version, kind, bytes: bytes.into() }
    }
}

impl Versions {
    pub(super) fn new(newest: StoredRecord) -> Self {
        Self { newest, older: VecDeque::new() }
    }

    pub(super) fn newest_kind(&self) -> RecordKind {
        self.newest.kind
    }

    /// Stores a record unless a newer one is there, whose version is then returned as the error.
    pub(super) fn put(
        &mut self,
        record: StoredRecord,
        older_versions_max: u64,
    ) -> Result<(), StateVersion> {
        if record.version < self.newest.version {
            return Err(self.newest.version);
        }
        // The same version again is the same record again: what is stored stays.
        if record.version > self.newest.version {
            self.older.push_front(std::mem::replace(&mut self.newest, record));
            self.older.truncate(usize::try_from(older_versions_max).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    pub(super) fn get(&self, version: FetchVersion) -> Option<Vec<u8>> {
        let record = self.newest_first().find(|record| match version {
            FetchVersion::Newest => true,
            FetchVersion::Before(limit) => record.version < limit,
            FetchVersion::Exactly(wanted) => record.version == wanted,
        });
        record.map(|record| record.bytes.to_vec())
    }

    pub(super) fn list(&self) -> Result<Vec<StoredVersion>, RecordError> {
        let listed = self.newest_first().map(|record| {
            Ok(StoredVersion {
                version: record.version,
                kind: record.kind,
                captured_at: RecordHeader::parse(&record.bytes)?.captured_at,
                record_bytes: record.bytes.len() as u64,
            })
        });
        listed.collect()
    }

    fn newest_first(&self) -> impl Iterator<Item = &StoredRecord> {
        std::iter::once(&self.newest).chain(&self.older)
    }
}
