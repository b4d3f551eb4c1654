//! A storage that takes its time: it answers from other threads, fails, and loses answers.

use std::ops::ControlFlow;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::record::Epoch;
use crate::storage::{
    FetchEntry, FetchOutcome, InMemoryStorage, Metadata, MetadataVersion, SaveBatch, StateStorage,
    StorageCapabilities, StorageError, StoredVersion,
};
use crate::sync::thread::{Builder, yield_now};
use crate::sync::{AtomicUsize, Ordering};

/// Around a storage whose content outlives it.
pub(super) struct Busy {
    inner: InMemoryStorage,
    /// So many saves fail before one succeeds.
    failing: AtomicUsize,
    /// So many fetches fail before one succeeds.
    unreadable: AtomicUsize,
}

impl Busy {
    pub(super) fn new(inner: InMemoryStorage) -> Self {
        Self { inner, failing: AtomicUsize::new(0), unreadable: AtomicUsize::new(0) }
    }

    pub(super) fn failing(self, saves: usize) -> Self {
        self.failing.store(saves, Ordering::SeqCst);
        self
    }

    fn fails(left: &AtomicUsize) -> bool {
        let less = |left: usize| left.checked_sub(1);
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl StateStorage for Busy {
    fn capabilities(&self) -> StorageCapabilities {
        self.inner.capabilities()
    }

    fn save(&self, mut batch: SaveBatch) {
        yield_now();
        if Self::fails(&self.failing) {
            // Drops the entries: half of them are stored all the same, and nobody says so.
            let lost = batch.split_off(batch.entries().len() / 2);
            let (bytes, _) = lost.into_parts();
            let again = SaveBatch::of_records(bytes.to_vec(), |_, _| ());
            return self.inner.save(again.unwrap());
        }
        let later = batch.split_off(batch.entries().len() / 2);
        let inner = self.inner.clone();
        Builder::new().spawn(move || inner.save(later)).unwrap();
        self.inner.save(batch);
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        let fails = Self::fails(&self.unreadable);
        let inner = self.inner.clone();
        let answer = move || {
            for entry in entries {
                yield_now();
                // A request that is dropped is answered with an error.
                if !fails {
                    inner.fetch(vec![entry]);
                }
            }
        };
        Builder::new().spawn(answer).unwrap();
    }

    fn fetch_now(&self, _id: &CheckpointId) -> Option<FetchOutcome> {
        None
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        self.inner.may_contain(id)
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn fetch_many(&self, _ids: &[CheckpointIdRef<'_>], _found: &mut dyn FnMut(usize, Vec<u8>)) {}

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
