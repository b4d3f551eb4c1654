//! A storage around another one, whose first saves fail.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use checkpoint::{
    CheckpointId, CheckpointIdRef, Epoch, FetchEntry, FetchOutcome, Metadata, MetadataVersion,
    SaveBatch, SaveOutcome, StateStorage, StorageCapabilities, StorageError, StorageErrorKind,
    StoredVersion,
};

/// Fails so many saves, each with all its entries, and passes everything else on.
#[derive(Debug)]
pub struct FailingStorage<S> {
    inner: S,
    failures_left: AtomicU64,
}

impl<S: StateStorage> FailingStorage<S> {
    /// Wraps `inner`; the first `failures` saves fail.
    pub const fn new(inner: S, failures: u64) -> Self {
        Self { inner, failures_left: AtomicU64::new(failures) }
    }

    fn fails(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl<S: StateStorage> StateStorage for FailingStorage<S> {
    fn capabilities(&self) -> StorageCapabilities {
        self.inner.capabilities()
    }

    fn save(&self, batch: SaveBatch) {
        if !self.fails() {
            return self.inner.save(batch);
        }
        let (bytes, entries) = batch.into_parts();
        for entry in entries {
            let attempted = format!("save {}", entry.id_in(&bytes));
            let error = StorageError::new(StorageErrorKind::Unavailable, attempted);
            entry.complete(SaveOutcome::NotStored(error));
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        self.inner.fetch(entries);
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        self.inner.fetch_now(id)
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        self.inner.may_contain(id)
    }

    fn prefetch(&self, ids: &[CheckpointId]) {
        self.inner.prefetch(ids);
    }

    fn fetch_many(&self, ids: &[CheckpointIdRef<'_>], found: &mut dyn FnMut(usize, Vec<u8>)) {
        self.inner.fetch_many(ids, found);
    }

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.inner.ids(prototype, visit)
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        self.inner.versions(id)
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        self.inner.open_epoch(partition)
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        self.inner.metadata(name)
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        self.inner.put_metadata(name, expected, bytes)
    }
}
