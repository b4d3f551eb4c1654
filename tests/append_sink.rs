//! The floor of a durable storage: each batch is appended to one file and synced, and nothing is
//! kept that could be read.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use checkpoint::{
    CheckpointId, CheckpointIdRef, Durability, FetchEntry, FetchOutcome, InMemoryStorage,
    SaveBatch, SaveOutcome, StateStorage, StorageCapabilities, StorageError, StorageErrorKind,
    StoredVersion,
};

use crate::delegate_storage;

/// A storage that appends what it is given to one file, and syncs it. Nothing can be fetched.
#[derive(Debug)]
pub struct AppendSink {
    file: Mutex<File>,
    /// Metadata and epochs.
    rest: InMemoryStorage,
}

impl AppendSink {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let file = Mutex::new(File::create(path)?);
        Ok(Self { file, rest: InMemoryStorage::new() })
    }

    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(bytes)?;
        file.sync_data()
    }
}

impl StateStorage for AppendSink {
    delegate_storage!(self => self.rest; open_epoch, metadata, put_metadata);

    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities::new(Durability::Power)
    }

    fn save(&self, batch: SaveBatch) {
        let written = self.append(batch.bytes());
        for entry in batch.into_parts().1 {
            entry.complete(match &written {
                Ok(()) => SaveOutcome::Stored,
                Err(err) => SaveOutcome::Unknown(
                    StorageError::new(StorageErrorKind::Unavailable, "append a batch")
                        .with_source(err.to_string()),
                ),
            });
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            entry.complete(Ok(None));
        }
    }

    fn fetch_now(&self, _id: &CheckpointId) -> Option<FetchOutcome> {
        Some(Ok(None))
    }

    fn may_contain(&self, _id: &CheckpointId) -> bool {
        false
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn fetch_many(&self, _ids: &[CheckpointIdRef<'_>], _found: &mut dyn FnMut(usize, Vec<u8>)) {}

    fn ids(
        &self,
        _prototype: &str,
        _visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn versions(&self, _id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        Ok(Vec::new())
    }
}
