//! A storage that keeps everything in memory, for tests and examples.

mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::record::{Epoch, RecordKind};
use crate::storage::in_memory::versions::{StoredRecord, Versions};
use crate::storage::metadata::check_metadata;
use crate::storage::{
    CompareAndSet, Durability, FetchEntry, FetchOutcome, FetchVersion, Metadata, MetadataVersion,
    SaveBatch, SaveEntry, SaveOutcome, StateStorage, StorageCapabilities, StorageError,
    StorageErrorKind, StoredVersion,
};
use crate::sync::{AtomicU64, Mutex, Ordering};

const SHARDS: usize = 16;

/// Keeps records in memory, as long as a handle to them exists.
///
/// A clone is another handle to the same content: a test drops its keeper, builds a new one over a
/// clone, and has restarted the program as far as the states can tell.
///
/// It refuses older versions per key and fences per partition: after
/// [`open_epoch`](StateStorage::open_epoch), records of that partition with a lower epoch are
/// refused. Fetches are answered inline. Nothing survives the process ([`Durability::None`]).
///
/// # Examples
/// ```
/// use checkpoint::{InMemoryStorage, StateStorage};
///
/// let storage = InMemoryStorage::new().keeping_versions(2);
/// assert_eq!(storage.capabilities().older_versions_max, 2);
/// ```
#[derive(Clone)]
pub struct InMemoryStorage {
    content: Arc<Content>,
}

struct Content {
    older_versions_max: AtomicU64,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    // Guards the draw of an epoch, and with it the order in which fences rise.
    epochs: Mutex<BTreeMap<u32, Epoch>>,
    metadata: Mutex<BTreeMap<String, Metadata>>,
}

#[derive(Default)]
struct Shard {
    records: HashTable<(CheckpointId, Versions)>,
    // The lowest epoch that may write, by partition. Each shard has its own copy, so that a save
    // checks the fence and writes under one lock.
    fences: BTreeMap<u32, Epoch>,
}

impl InMemoryStorage {
    /// Returns an empty storage that keeps only the newest version of each state.
    #[must_use]
    pub fn new() -> Self {
        let content = Content {
            older_versions_max: AtomicU64::new(0),
            hasher: RandomState::default(),
            shards: Default::default(),
            epochs: Mutex::default(),
            metadata: Mutex::default(),
        };
        Self { content: Arc::new(content) }
    }

    /// Keeps `older_versions_max` older versions of each state besides the newest; the default is
    /// 0.
    ///
    /// To be called before anything is stored: versions that are gone do not come back.
    #[must_use]
    pub fn keeping_versions(self, older_versions_max: u64) -> Self {
        self.content.older_versions_max.store(older_versions_max, Ordering::Relaxed);
        self
    }
}

impl Content {
    fn shard(&self, id: CheckpointIdRef<'_>) -> (u64, &Mutex<Shard>) {
        let hash = self.hasher.hash_one(id);
        // The table takes its buckets from the lowest bits and its tags from the highest seven.
        let at = usize::try_from((hash >> 48) % SHARDS as u64).unwrap_or_default();
        match self.shards.get(at) {
            Some(shard) => (hash, shard),
            None => unreachable!("a remainder is less than the divisor"),
        }
    }

    fn with_versions<R>(&self, id: &CheckpointId, look: impl FnOnce(Option<&Versions>) -> R) -> R {
        let (hash, shard) = self.shard(id.as_ref());
        let shard = shard.lock();
        look(shard.records.find(hash, |(stored, _)| stored == id).map(|(_, versions)| versions))
    }

    fn save(&self, id: CheckpointIdRef<'_>, record: &[u8], entry: &SaveEntry) -> SaveOutcome {
        let record = StoredRecord::new(entry.version(), entry.kind(), record);
        let older_versions_max = self.older_versions_max.load(Ordering::Relaxed);
        let (hash, shard) = self.shard(id);
        let mut shard = shard.lock();
        let mine = entry.version().epoch;
        if let Some(&current) = shard.fences.get(&entry.partition())
            && mine < current
        {
            let kind = StorageErrorKind::Fenced { mine, current };
            return SaveOutcome::NotStored(StorageError::new(kind, format!("save {id}")));
        }
        let records = &mut shard.records;
        match records.find_mut(hash, |(stored, _)| stored.as_ref() == id) {
            Some((_, versions)) => match versions.put(record, older_versions_max) {
                Ok(()) => SaveOutcome::Stored,
                Err(current) => {
                    let kind = StorageErrorKind::Stale { current };
                    SaveOutcome::NotStored(StorageError::new(kind, format!("save {id}")))
                }
            },
            None => {
                let fresh = (id.to_owned(), Versions::new(record));
                records.insert_unique(hash, fresh, |(id, _)| self.hasher.hash_one(id.as_ref()));
                SaveOutcome::Stored
            }
        }
    }

    fn fetch(&self, id: &CheckpointId, version: FetchVersion) -> FetchOutcome {
        Ok(self.with_versions(id, |versions| versions.and_then(|v| v.get(version))))
    }
}

impl Default for InMemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // States never reach a log.
        let records: usize = self.content.shards.iter().map(|s| s.lock().records.len()).sum();
        write!(f, "InMemoryStorage({records} ids)")
    }
}

impl StateStorage for InMemoryStorage {
    fn capabilities(&self) -> StorageCapabilities {
        let older_versions_max = self.content.older_versions_max.load(Ordering::Relaxed);
        StorageCapabilities::new(Durability::None)
            .with_compare_and_set(CompareAndSet::PerPartition)
            .with_older_versions_max(older_versions_max)
    }

    fn save(&self, batch: SaveBatch) {
        let (bytes, entries) = batch.into_parts();
        for entry in entries {
            let outcome = self.content.save(entry.id_in(&bytes), entry.record_in(&bytes), &entry);
            // No lock is held: the receiver may call the storage again.
            entry.complete(outcome);
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            let outcome = self.content.fetch(entry.id(), entry.version());
            entry.complete(outcome);
        }
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        Some(self.content.fetch(id, FetchVersion::Newest))
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        // All writers share the content, so that this is always known.
        self.content.with_versions(id, |versions| versions.is_some())
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn fetch_many(&self, ids: &[CheckpointIdRef<'_>], found: &mut dyn FnMut(usize, Vec<u8>)) {
        for (at, id) in ids.iter().enumerate() {
            if let Ok(Some(record)) = self.content.fetch(&(*id).to_owned(), FetchVersion::Newest) {
                found(at, record);
            }
        }
    }

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        for shard in &self.content.shards {
            // Copied out, so that `visit` runs without our lock.
            let ids: Vec<CheckpointId> = {
                let shard = shard.lock();
                let stored = shard.records.iter().filter(|(id, versions)| {
                    id.prototype() == prototype && versions.newest_kind() == RecordKind::State
                });
                stored.map(|(id, _)| id.clone()).collect()
            };
            for id in ids {
                if visit(id).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        let listed = self.content.with_versions(id, |versions| versions.map(Versions::list));
        listed.unwrap_or_else(|| Ok(Vec::new())).map_err(|err| {
            StorageError::new(StorageErrorKind::Corrupt, format!("list the versions of {id}"))
                .with_source(err)
        })
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        let mut epochs = self.content.epochs.lock();
        let last = epochs.get(&partition).copied().unwrap_or_default();
        let Some(next) = last.0.checked_add(1).map(Epoch) else {
            let attempted = format!("open partition {partition}, whose epochs are used up");
            return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
        };
        epochs.insert(partition, next);
        for shard in &self.content.shards {
            shard.lock().fences.insert(partition, next);
        }
        Ok(next)
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        Ok(self.content.metadata.lock().get(name).cloned())
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        check_metadata(name, bytes)?;
        let mut metadata = self.content.metadata.lock();
        let found = metadata.get(name).map(|value| value.version);
        if found != expected {
            let attempted = format!("put metadata {name:?}");
            return Err(StorageError::new(StorageErrorKind::Conflict, attempted));
        }
        let version = MetadataVersion(found.map_or(1, |version| version.0.saturating_add(1)));
        metadata.insert(name.to_owned(), Metadata { version, bytes: bytes.to_vec() });
        Ok(version)
    }
}
