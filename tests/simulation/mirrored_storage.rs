//! A storage of the product, and beside it what the model knows of what is stored.
//!
//! The model follows the answers: what is said to be stored is, and whatever is read must be that,
//! or something that an answer has left open.

use std::sync::{Arc, Mutex};

use checkpoint::{
    CheckpointId, CheckpointIdRef, Epoch, FetchEntry, FetchOutcome, FetchVersion, Metadata,
    MetadataVersion, SaveBatch, SaveEntry, SaveOutcome, StateStorage, StorageCapabilities,
    StorageError, StorageErrorKind,
};

use crate::delegate_storage;

use super::computer::Computer;
use super::content::{is_quarantine, stored};
use super::met::Met;
use super::power_loss::Store;
use super::trace::lock;
use super::world::World;

/// One process's way to the store on its computer.
#[derive(Clone)]
pub(super) struct MirroredStorage {
    world: Arc<Mutex<World>>,
    computer: Arc<Mutex<Computer>>,
    process: u64,
    capabilities: StorageCapabilities,
    answers_inline: bool,
}

impl MirroredStorage {
    /// The storage of a new process; `None` if the power has gone before it was open.
    pub(super) fn of_new_process(
        world: &Arc<Mutex<World>>,
        computer: &Arc<Mutex<Computer>>,
    ) -> Option<Self> {
        if !lock(computer).open() {
            return None;
        }
        let capabilities = lock(computer).store()?.capabilities();
        let mut guard = lock(world);
        guard.living += 1;
        let (process, answers_inline) = (guard.living, guard.answers_inline);
        drop(guard);
        let (world, computer) = (world.clone(), computer.clone());
        Some(Self { world, computer, process, capabilities, answers_inline })
    }

    /// The store, if the process lives and its computer is on.
    fn store(&self) -> Option<Arc<Store>> {
        if lock(&self.world).living != self.process {
            return None;
        }
        lock(&self.computer).store()
    }

    fn alive(&self) -> Result<Arc<Store>, StorageError> {
        self.store().ok_or_else(dead)
    }

    fn offer(&self, bytes: &[u8], entries: &[SaveEntry]) {
        for entry in entries {
            let (id, record) = (entry.id_in(bytes).to_owned(), entry.record_in(bytes));
            let mut world = lock(&self.world);
            world.records.save_begins(entry.partition(), &id, record);
            let serial = stored(&id, record).map(|stored| stored.serial());
            let version = entry.version();
            world.trace.add(format_args!("storage: save {version} of {id} with {serial:?}"));
            if is_quarantine(&id) {
                world.met.count(Met::QuarantineSaved);
            }
            drop(world);
            lock(&self.computer).offer(&id, version, record);
        }
    }

    /// Takes in what came of an entry, and tells the keeper.
    fn answered(&self, bytes: &[u8], entry: SaveEntry, outcome: SaveOutcome) {
        let id = entry.id_in(bytes).to_owned();
        let is_heard = self.store().is_some();
        if is_heard {
            lock(&self.computer).answered(&id, entry.version(), &outcome);
        }
        let mut world = lock(&self.world);
        world.records.save_ends(&id);
        let outcome = match outcome {
            // An acknowledgement that nobody hears is none.
            SaveOutcome::Stored if !is_heard => SaveOutcome::Unknown(dead()),
            SaveOutcome::Stored => {
                if let Some(stored) = stored(&id, entry.record_in(bytes)) {
                    world.records.store(&id, stored);
                }
                SaveOutcome::Stored
            }
            SaveOutcome::NotStored(error) => {
                if is_heard && !error.kind().is_transient() {
                    world.records.refused(&id, entry.version());
                }
                SaveOutcome::NotStored(error)
            }
            unknown @ SaveOutcome::Unknown(_) => unknown,
        };
        drop(world);
        entry.complete(outcome);
    }

    /// Takes in what was read, if anybody hears it.
    fn read(&self, id: &CheckpointId, version: FetchVersion, found: FetchOutcome) -> FetchOutcome {
        if self.store().is_none() {
            return Err(dead());
        }
        let computer = lock(&self.computer);
        let mut world = lock(&self.world);
        world.trace.add(format_args!("storage: {id} is {:?}", found.as_ref().map(Option::is_some)));
        if let Some(stored) = computer.judge(id, version, &found, world.records.newest(id)) {
            world.trace.add(format_args!("storage: {} of {id} is stored", stored.version));
            world.met.count(Met::FoundAfterAll);
            world.records.land(id, stored);
        }
        found
    }

    fn count_failure<T>(&self, kind: Met, result: &Result<T, StorageError>) {
        if let Err(error) = result {
            let mut world = lock(&self.world);
            world.met.count(kind);
            world.trace.add(format_args!("storage: {error}"));
        }
    }
}

fn dead() -> StorageError {
    let attempted = "do anything for a process that is dead";
    StorageError::new(StorageErrorKind::Unavailable, attempted)
}

impl StateStorage for MirroredStorage {
    delegate_storage!(self => self.alive()?; ids, versions);

    fn capabilities(&self) -> StorageCapabilities {
        self.capabilities.clone()
    }

    fn save(&self, batch: SaveBatch) {
        lock(&self.world).clock.takes_time();
        let (bytes, entries) = batch.into_parts();
        let Some(store) = self.store() else {
            for entry in entries {
                entry.complete(SaveOutcome::NotStored(dead()));
            }
            return;
        };
        self.offer(&bytes, &entries);
        let records = entries.iter().flat_map(|entry| entry.record_in(&bytes)).copied().collect();
        let (this, entries) = (self.clone(), entries.into_iter().map(Some).collect::<Vec<_>>());
        let (entries, fails) = (Mutex::new(entries), Mutex::new(false));
        let receive = move |index: usize, outcome| {
            let Some(entry) = lock(&entries).get_mut(index).and_then(Option::take) else { return };
            *lock(&fails) |= !matches!(outcome, SaveOutcome::Stored);
            this.answered(&bytes, entry, outcome);
            if lock(&entries).iter().all(Option::is_none) {
                let met = if *lock(&fails) { Met::BatchFails } else { Met::BatchSaved };
                lock(&this.world).met.count(met);
            }
        };
        store.save(SaveBatch::of_records(records, receive).unwrap());
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        let Some(store) = self.store() else {
            for entry in entries {
                entry.complete(Err(dead()));
            }
            return;
        };
        let entries = entries.into_iter().map(|entry| {
            let (this, id, version) = (self.clone(), entry.id().clone(), entry.version());
            FetchEntry::new(id.clone(), version, move |found| {
                entry.complete(this.read(&id, version, found));
            })
        });
        store.fetch(entries.collect());
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        if !self.answers_inline {
            return None;
        }
        let found = self.store()?.fetch_now(id)?;
        Some(self.read(id, FetchVersion::Newest, found))
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        let Some(store) = self.store() else { return true };
        let may_contain = store.may_contain(id);
        if !may_contain {
            drop(self.read(id, FetchVersion::Newest, Ok(None)));
        }
        may_contain
    }

    fn prefetch(&self, ids: &[CheckpointId]) {
        if let Some(store) = self.store() {
            store.prefetch(ids);
        }
    }

    fn fetch_many(&self, ids: &[CheckpointIdRef<'_>], found: &mut dyn FnMut(usize, Vec<u8>)) {
        let Some(store) = self.store() else { return };
        store.fetch_many(ids, &mut |at, bytes| {
            let Some(id) = ids.get(at) else { return };
            let id = CheckpointIdRef::to_owned(*id);
            let read = self.read(&id, FetchVersion::Newest, Ok(Some(bytes)));
            if let Ok(Some(bytes)) = read {
                found(at, bytes);
            }
        });
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        let opened = self.alive()?.open_epoch(partition);
        self.count_failure(Met::EpochFails, &opened);
        if let Ok(epoch) = opened
            && self.store().is_some()
        {
            let mut world = lock(&self.world);
            let before = world.records.epochs.insert(partition, epoch);
            if before.is_some_and(|before| before >= epoch) {
                world.trace.violate(format_args!("4.10: epoch {epoch:?} after {before:?}"));
            }
        }
        opened
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        let found = self.alive()?.metadata(name);
        self.count_failure(Met::MetadataFails, &found);
        found
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        let put = self.alive()?.put_metadata(name, expected, bytes);
        self.count_failure(Met::MetadataFails, &put);
        if put.is_ok() {
            lock(&self.world).met.count(Met::MetadataPut);
        }
        put
    }
}
