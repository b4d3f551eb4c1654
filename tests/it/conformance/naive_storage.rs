//! A plain storage that keeps the contract, save for one fault of choice.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::UNIX_EPOCH;

use checkpoint::{
    CheckpointId, CheckpointIdRef, CompareAndSet, Durability, Epoch, FetchEntry, FetchOutcome,
    FetchVersion, METADATA_BYTES_MAX, METADATA_NAME_BYTES_MAX, Metadata, MetadataVersion,
    RecordKind, SaveBatch, SaveEntry, SaveOutcome, StateStorage, StateVersion, StorageCapabilities,
    StorageError, StorageErrorKind, StoredVersion,
};

use super::fault::Fault;

/// A clone has the same content.
#[derive(Clone)]
pub(crate) struct NaiveStorage {
    fault: Option<Fault>,
    content: Arc<Content>,
}

#[derive(Default)]
struct Content {
    records: Mutex<BTreeMap<CheckpointId, Stored>>,
    metadata: Mutex<BTreeMap<String, Metadata>>,
    epochs: Mutex<BTreeMap<u32, u64>>,
    // What is never acknowledged.
    kept: Mutex<Vec<SaveEntry>>,
    // What was acknowledged and is not there yet.
    pending: Mutex<Vec<(CheckpointId, Stored)>>,
}

#[derive(Clone)]
struct Stored {
    version: StateVersion,
    kind: RecordKind,
    bytes: Vec<u8>,
    // What it replaced.
    former: Option<Box<Stored>>,
}

impl NaiveStorage {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, content: Arc::default() }
    }

    /// The storage as a new process would find it.
    pub(crate) fn reopened(&self) -> Self {
        let (records, metadata, epochs) = {
            let Content { records, metadata, epochs, .. } = &*self.content;
            let (records, metadata) = (records.lock().unwrap(), metadata.lock().unwrap());
            (records.clone(), metadata.clone(), epochs.lock().unwrap().clone())
        };
        let mut content = Content {
            records: Mutex::new(records),
            metadata: Mutex::new(metadata),
            epochs: Mutex::new(epochs),
            ..Content::default()
        };
        match self.fault {
            Some(Fault::RemovalsDoNotSurvive) => {
                let records = content.records.get_mut().unwrap();
                records.retain(|_, stored| stored.kind == RecordKind::State);
            }
            Some(Fault::MetadataDoesNotSurvive) => content.metadata.get_mut().unwrap().clear(),
            Some(Fault::EpochsDoNotSurvive) => content.epochs.get_mut().unwrap().clear(),
            _ => {}
        }
        Self { fault: self.fault, content: Arc::new(content) }
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
        let records = self.content.records.lock().unwrap();
        let found = match records.get(&self.place(id)) {
            None if self.has(Fault::ReturnsAnothersRecord) => {
                records.range(id.clone()..).next().map(|(_, stored)| stored)
            }
            found => found,
        };
        let Some(mut stored) = found else { return Ok(None) };
        if let Some(former) = &stored.former
            && self.has(Fault::ReturnsAStaleVersion)
        {
            stored = former;
        }
        if self.has(Fault::AbsentWhenUnreadable) && stored.bytes.len() > 60_000 {
            return Ok(None);
        }
        let wanted = match version {
            FetchVersion::Newest => true,
            FetchVersion::Before(limit) => stored.version < limit,
            FetchVersion::Exactly(exactly) => stored.version == exactly,
        };
        Ok(wanted.then(|| stored.bytes.clone()))
    }

    fn is_older(&self, new: StateVersion, stored: StateVersion) -> bool {
        match self.fault {
            Some(Fault::OlderWins) => false,
            Some(Fault::ComparesSequencesOnly) => new.sequence < stored.sequence,
            Some(Fault::RefusesTheSameVersion) => new <= stored,
            _ => new < stored,
        }
    }

    fn put(&self, id: CheckpointId, mut new: Stored) -> SaveOutcome {
        let place = self.place(&id);
        let mut records = self.content.records.lock().unwrap();
        let found = records.get(&place).cloned();
        if self.has(Fault::ComparesAndThenWrites) {
            drop(records);
            thread::yield_now();
            records = self.content.records.lock().unwrap();
        }
        if let Some(found) = &found
            && self.is_older(new.version, found.version)
        {
            if self.has(Fault::SaysStoredWhenStale) {
                return SaveOutcome::Stored;
            }
            let kind = StorageErrorKind::Stale { current: found.version };
            return SaveOutcome::NotStored(StorageError::new(kind, format!("save {id}")));
        }
        if new.kind == RecordKind::Tombstone {
            assert!(!self.has(Fault::PanicsOnRemoval), "removals are not my thing");
            let twice = found.as_ref().is_some_and(|found| found.kind == RecordKind::Tombstone);
            if self.has(Fault::ForgetsRemovals)
                || (twice && self.has(Fault::ForgetsWhatIsRemovedTwice))
            {
                records.remove(&place);
                return SaveOutcome::Stored;
            }
        }
        if self.has(Fault::Truncates) && new.bytes.len() > 4_096 {
            new.bytes.truncate(4_096);
        }
        if self.has(Fault::WritesInTwoSteps)
            && let Some(found) = found
        {
            let half = new.bytes.len() / 2;
            let mut torn = Stored { former: None, ..new.clone() };
            torn.bytes.truncate(half);
            torn.bytes.extend(found.bytes.iter().skip(half));
            records.insert(place.clone(), torn);
            drop(records);
            thread::yield_now();
            records = self.content.records.lock().unwrap();
        } else {
            new.former = found.map(|found| Box::new(Stored { former: None, ..found }));
        }
        records.insert(place, new);
        SaveOutcome::Stored
    }

    fn put_pending(&self) {
        let pending = std::mem::take(&mut *self.content.pending.lock().unwrap());
        for (id, stored) in pending {
            // Acknowledged already.
            let _outcome = self.put(id, stored);
        }
    }

    fn hang() {
        let (lock, never) = (Mutex::new(()), Condvar::new());
        drop(never.wait_while(lock.lock().unwrap(), |()| true));
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
            Some(Fault::TakesLargerRecords) => capabilities.with_record_bytes_max(10_000),
            _ => capabilities,
        }
    }

    fn save(&self, batch: SaveBatch) {
        if self.has(Fault::HangsWhenSaving) {
            Self::hang();
        }
        if self.has(Fault::LosesTheLastWrite) {
            self.put_pending();
        }
        let (bytes, mut entries) = batch.into_parts();
        let of = |entry: &SaveEntry| Stored {
            version: entry.version(),
            kind: entry.kind(),
            bytes: entry.record_in(&bytes).to_vec(),
            former: None,
        };
        let last = entries.len().saturating_sub(1);
        if self.has(Fault::CompletesAnotherEntry) && last > 0 {
            let put = |entry: &SaveEntry| self.put(entry.id_in(&bytes).to_owned(), of(entry));
            let mut outcomes: Vec<_> = entries.iter().map(put).collect();
            outcomes.rotate_left(1);
            for (entry, outcome) in entries.drain(..).zip(outcomes) {
                entry.complete(outcome);
            }
        }
        for (index, entry) in entries.into_iter().enumerate() {
            let (id, stored) = (entry.id_in(&bytes).to_owned(), of(&entry));
            match self.fault {
                Some(Fault::DropsEntries) => drop(entry),
                Some(Fault::NeverAcknowledges) => self.content.kept.lock().unwrap().push(entry),
                Some(Fault::LosesTheLastOfABatch) if index > 0 && index == last => {
                    entry.complete(SaveOutcome::Stored);
                }
                Some(Fault::LosesAllButTheLastOfABatch) if index < last => {
                    entry.complete(SaveOutcome::Stored);
                }
                Some(Fault::LosesTheLastWrite | Fault::AcknowledgesBeforeWriting) => {
                    self.content.pending.lock().unwrap().push((id, stored));
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
        let get = |entry: &FetchEntry| self.get(entry.id(), entry.version());
        let mut outcomes: Vec<_> = entries.iter().map(get).collect();
        if self.has(Fault::AnswersAnotherFetch) {
            outcomes.reverse();
        }
        for (entry, outcome) in entries.into_iter().zip(outcomes) {
            entry.complete(outcome);
        }
        if self.has(Fault::AcknowledgesBeforeWriting) {
            self.put_pending();
        }
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        let records = self.content.records.lock().unwrap();
        let former = records.get(id)?.former.as_ref()?;
        self.has(Fault::FetchesAStaleVersionAtOnce).then(|| Ok(Some(former.bytes.clone())))
    }

    fn may_contain(&self, _id: &CheckpointId) -> bool {
        !self.has(Fault::DeniesContent)
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn fetch_many(&self, _ids: &[CheckpointIdRef<'_>], _found: &mut dyn FnMut(usize, Vec<u8>)) {}

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        if self.has(Fault::HangsWhenListing) {
            Self::hang();
        }
        let records = self.content.records.lock().unwrap().clone();
        for (id, stored) in records {
            let listed = stored.kind == RecordKind::State || self.has(Fault::ListsRemovedIds);
            if id.prototype() != prototype || !listed {
                continue;
            }
            let again = stored.former.is_some() && self.has(Fault::ListsDuplicates);
            if again && visit(id.clone()).is_break() {
                break;
            }
            if visit(id).is_break() && !self.has(Fault::ListsToTheEnd) {
                break;
            }
        }
        Ok(())
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        let records = self.content.records.lock().unwrap();
        let found = records.get(&self.place(id)).map(|stored| StoredVersion {
            version: stored.version,
            kind: stored.kind,
            captured_at: UNIX_EPOCH,
            record_bytes: stored.bytes.len() as u64,
        });
        Ok(found.into_iter().collect())
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        let mut epochs = self.content.epochs.lock().unwrap();
        let epoch = epochs.entry(partition).or_default();
        if !self.has(Fault::EpochStandsStill) || *epoch == 0 {
            *epoch += 1;
        }
        Ok(Epoch(*epoch))
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        Ok(self.content.metadata.lock().unwrap().get(name).cloned())
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
        let mut metadata = self.content.metadata.lock().unwrap();
        let found = metadata.get(name).map(|value| value.version);
        if self.has(Fault::LooksAndThenPuts) {
            drop(metadata);
            thread::yield_now();
            metadata = self.content.metadata.lock().unwrap();
        }
        if found != expected && !self.has(Fault::PutsUnconditionally) {
            return Err(StorageError::new(StorageErrorKind::Conflict, "put metadata"));
        }
        let version = MetadataVersion(found.map_or(1, |version| version.0 + 1));
        metadata.insert(name.to_owned(), Metadata { version, bytes: bytes.to_vec() });
        Ok(version)
    }
}
