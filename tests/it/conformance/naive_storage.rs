//! A plain storage that keeps the contract, save for one fault of choice.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex};
use std::time::UNIX_EPOCH;

use checkpoint::{
    CheckpointId, CompareAndSet, Durability, Epoch, FetchEntry, FetchOutcome, FetchVersion,
    METADATA_BYTES_MAX, METADATA_NAME_BYTES_MAX, Metadata, MetadataVersion, RecordKind, SaveBatch,
    SaveEntry, SaveOutcome, StateStorage, StateVersion, StorageCapabilities, StorageError,
    StorageErrorKind, StoredVersion,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    LosesTheLastOfABatch,
    OlderWins,
    SaysStoredWhenStale,
    NeverAcknowledges,
    HangsWhenListing,
    DropsEntries,
    ForgetsRemovals,
    ListsRemovedIds,
    AbsentWhenLarge,
    IgnoresCase,
    PanicsOnRemoval,
    EpochStandsStill,
    PutsUnconditionally,
    DeniesContent,
    FencesNobody,
    KeepsFewerVersions,
}

pub(crate) struct NaiveStorage {
    fault: Option<Fault>,
    records: Mutex<BTreeMap<CheckpointId, Stored>>,
    metadata: Mutex<BTreeMap<String, Metadata>>,
    epoch: Mutex<u64>,
    // What is never acknowledged.
    kept: Mutex<Vec<SaveEntry>>,
}

#[derive(Clone)]
struct Stored {
    version: StateVersion,
    kind: RecordKind,
    bytes: Vec<u8>,
}

impl NaiveStorage {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            records: Mutex::default(),
            metadata: Mutex::default(),
            epoch: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// What an id is stored under.
    fn place(&self, id: &CheckpointId) -> CheckpointId {
        if self.has(Fault::IgnoresCase) {
            let prototype = id.prototype().to_lowercase();
            return CheckpointId::new(prototype, id.key().to_ascii_lowercase()).unwrap();
        }
        id.clone()
    }

    fn get(&self, id: &CheckpointId, version: FetchVersion) -> FetchOutcome {
        let records = self.records.lock().unwrap();
        let Some(stored) = records.get(&self.place(id)) else { return Ok(None) };
        if self.has(Fault::AbsentWhenLarge) && stored.bytes.len() > 60_000 {
            return Ok(None);
        }
        let wanted = match version {
            FetchVersion::Newest => true,
            FetchVersion::Before(limit) => stored.version < limit,
            FetchVersion::Exactly(exactly) => stored.version == exactly,
        };
        Ok(wanted.then(|| stored.bytes.clone()))
    }

    fn put(&self, id: CheckpointId, stored: Stored) -> SaveOutcome {
        let mut records = self.records.lock().unwrap();
        let place = self.place(&id);
        if let Some(found) = records.get(&place)
            && found.version > stored.version
            && !self.has(Fault::OlderWins)
        {
            if self.has(Fault::SaysStoredWhenStale) {
                return SaveOutcome::Stored;
            }
            let kind = StorageErrorKind::Stale { current: found.version };
            return SaveOutcome::NotStored(StorageError::new(kind, format!("save {id}")));
        }
        if stored.kind == RecordKind::Tombstone {
            assert!(!self.has(Fault::PanicsOnRemoval), "removals are not my thing");
            if self.has(Fault::ForgetsRemovals) {
                records.remove(&place);
                return SaveOutcome::Stored;
            }
        }
        records.insert(place, stored);
        SaveOutcome::Stored
    }
}

impl StateStorage for NaiveStorage {
    fn capabilities(&self) -> StorageCapabilities {
        let capabilities = StorageCapabilities::new(Durability::None);
        match self.fault {
            Some(Fault::FencesNobody) => {
                capabilities.with_compare_and_set(CompareAndSet::PerPartition)
            }
            Some(Fault::KeepsFewerVersions) => capabilities.with_older_versions_max(2),
            _ => capabilities,
        }
    }

    fn save(&self, batch: SaveBatch) {
        let (bytes, entries) = batch.into_parts();
        let last = entries.len().saturating_sub(1);
        for (index, entry) in entries.into_iter().enumerate() {
            let id = entry.id_in(&bytes).to_owned();
            let stored = Stored {
                version: entry.version(),
                kind: entry.kind(),
                bytes: entry.record_in(&bytes).to_vec(),
            };
            match self.fault {
                Some(Fault::DropsEntries) => drop(entry),
                Some(Fault::NeverAcknowledges) => self.kept.lock().unwrap().push(entry),
                Some(Fault::LosesTheLastOfABatch) if index > 0 && index == last => {
                    entry.complete(SaveOutcome::Stored);
                }
                _ => {
                    let outcome = self.put(id, stored);
                    entry.complete(outcome);
                }
            }
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            let outcome = self.get(entry.id(), entry.version());
            entry.complete(outcome);
        }
    }

    fn fetch_now(&self, _id: &CheckpointId) -> Option<FetchOutcome> {
        None
    }

    fn may_contain(&self, _id: &CheckpointId) -> bool {
        !self.has(Fault::DeniesContent)
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        if self.has(Fault::HangsWhenListing) {
            let (lock, never) = (Mutex::new(()), Condvar::new());
            drop(never.wait_while(lock.lock().unwrap(), |()| true));
        }
        for (id, stored) in self.records.lock().unwrap().iter() {
            let listed = stored.kind == RecordKind::State || self.has(Fault::ListsRemovedIds);
            if id.prototype() == prototype && listed && visit(id.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        let records = self.records.lock().unwrap();
        let found = records.get(&self.place(id)).map(|stored| StoredVersion {
            version: stored.version,
            kind: stored.kind,
            captured_at: UNIX_EPOCH,
            record_bytes: stored.bytes.len() as u64,
        });
        Ok(found.into_iter().collect())
    }

    fn open_epoch(&self, _partition: u32) -> Result<Epoch, StorageError> {
        let mut epoch = self.epoch.lock().unwrap();
        if !self.has(Fault::EpochStandsStill) || *epoch == 0 {
            *epoch += 1;
        }
        Ok(Epoch(*epoch))
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        Ok(self.metadata.lock().unwrap().get(name).cloned())
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        let sound = !name.is_empty() && name.len() <= METADATA_NAME_BYTES_MAX;
        if !sound || bytes.len() > METADATA_BYTES_MAX {
            return Err(StorageError::new(StorageErrorKind::Unsupported, "put metadata"));
        }
        let mut metadata = self.metadata.lock().unwrap();
        let found = metadata.get(name).map(|value| value.version);
        if found != expected && !self.has(Fault::PutsUnconditionally) {
            return Err(StorageError::new(StorageErrorKind::Conflict, "put metadata"));
        }
        let version = MetadataVersion(found.map_or(1, |version| version.0 + 1));
        metadata.insert(name.to_owned(), Metadata { version, bytes: bytes.to_vec() });
        Ok(version)
    }
}
