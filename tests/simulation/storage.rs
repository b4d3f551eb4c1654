//! A storage whose every misdeed is drawn from the seed.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use checkpoint::{
    CheckpointId, CompareAndSet, Durability, Epoch, FetchEntry, FetchOutcome, FetchVersion,
    Metadata, MetadataVersion, SaveBatch, SaveEntry, SaveOutcome, StateStorage,
    StorageCapabilities, StorageError, StorageErrorKind, StoredVersion,
};

use super::content::{Stored, VERSIONS_KEPT, is_quarantine, stored};
use super::ledger::planned_panic;
use super::trace::lock;
use super::weather::{FetchFate, SaveFate};
use super::world::{LateSave, World};

/// One process's way to the storage.
#[derive(Clone)]
pub(super) struct SimulatedStorage {
    world: Arc<Mutex<World>>,
    process: u64,
}

pub(super) fn error(kind: StorageErrorKind, id: &CheckpointId) -> StorageError {
    StorageError::new(kind, format!("do what was planned for {id}"))
}

impl SimulatedStorage {
    /// The storage as a new process finds it.
    pub(super) fn of_new_process(world: &Arc<Mutex<World>>) -> Self {
        let mut guard = lock(world);
        guard.living += 1;
        let process = guard.living;
        drop(guard);
        Self { world: world.clone(), process }
    }

    fn living(&self) -> Option<MutexGuard<'_, World>> {
        let world = lock(&self.world);
        (world.living == self.process).then_some(world)
    }

    fn dead<T>(&self) -> Result<T, StorageError> {
        let attempted = format!("do anything for the dead process {}", self.process);
        Err(StorageError::new(StorageErrorKind::Unavailable, attempted))
    }

    /// Meets the fate of one entry; returns what is to be told now, and whether the storage panics.
    fn meet(&self, entry: SaveEntry, bytes: &[u8]) -> (Option<(SaveEntry, SaveOutcome)>, bool) {
        let id = entry.id_in(bytes).to_owned();
        let unavailable = || error(StorageErrorKind::Unavailable, &id);
        let Some(mut guard) = self.living() else {
            return (Some((entry, SaveOutcome::NotStored(unavailable()))), false);
        };
        let world = &mut *guard;
        let record = entry.record_in(bytes);
        world.records.save_begins(entry.partition(), &id, record);
        let mut fate = world.weather.save(&mut world.dice);
        if is_quarantine(&id) && matches!(fate, SaveFate::AcknowledgedLater | SaveFate::StoredLater)
        {
            fate = SaveFate::Stored; // Its thread waits for the outcome.
        }
        world.met.count(fate.met());
        let Some(stored) = stored(&id, record) else {
            world.trace.violate(format!("{id} is saved as what cannot be restored"));
            return (Some((entry, SaveOutcome::NotStored(unavailable()))), false);
        };
        world.trace.add(format_args!(
            "storage: save {} of {id} with {}: {fate:?}",
            entry.version(),
            stored.serial()
        ));
        let outcome = match fate {
            SaveFate::Stored => SaveOutcome::Stored,
            SaveFate::Refused => SaveOutcome::NotStored(unavailable()),
            SaveFate::RefusedForGood => {
                SaveOutcome::NotStored(error(StorageErrorKind::Unsupported, &id))
            }
            SaveFate::AcknowledgedLater | SaveFate::StoredLater => {
                let stored = if fate == SaveFate::AcknowledgedLater {
                    world.records.store(&id, stored);
                    None
                } else {
                    Some(stored)
                };
                world.late_saves.push(LateSave { id, entry, stored });
                return (None, false);
            }
            _ => SaveOutcome::Unknown(unavailable()),
        };
        match fate {
            SaveFate::Stored | SaveFate::UnknownStored | SaveFate::DroppedStored => {
                world.records.store(&id, stored);
            }
            SaveFate::UnknownLate => world.late_landings.push((id.clone(), stored)),
            _ => {}
        }
        world.records.save_ends(&id);
        drop(guard);
        match fate {
            SaveFate::DroppedStored | SaveFate::DroppedLost => {
                drop(entry);
                (None, false)
            }
            SaveFate::Panics => {
                drop(entry);
                (None, true)
            }
            _ => (Some((entry, outcome)), false),
        }
    }

    /// Answers a fetch, or gives it back to be answered later; `Err` is a panic.
    fn answer(&self, id: &CheckpointId, version: FetchVersion) -> Result<Answer, ()> {
        let Some(mut guard) = self.living() else { return Ok(Answer::Now(self.dead())) };
        let world = &mut *guard;
        let mut fate = world.weather.fetch(&mut world.dice);
        if fate == FetchFate::AnsweredLater && !world.may_delay_fetches {
            fate = FetchFate::Answered;
        }
        world.met.count(fate.met());
        world.trace.add(format_args!("storage: fetch {id}: {fate:?}"));
        let found = world.records.get(id, version);
        Ok(match fate {
            FetchFate::Answered => Answer::Now(Ok(found)),
            FetchFate::AnsweredLater => Answer::Later,
            FetchFate::Unavailable => Answer::Now(Err(error(StorageErrorKind::Unavailable, id))),
            FetchFate::Unreadable => Answer::Now(Err(error(StorageErrorKind::Unreadable, id))),
            FetchFate::Damaged => Answer::Now(Ok(found.map(|mut bytes| {
                let at = world.dice.index(bytes.len());
                bytes[at] ^= 1 << world.dice.below(8);
                bytes
            }))),
            FetchFate::Dropped => Answer::Never,
            FetchFate::Panics => return Err(()),
        })
    }
}

enum Answer {
    Now(FetchOutcome),
    Later,
    Never,
}

impl StateStorage for SimulatedStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities::new(Durability::Process)
            .with_compare_and_set(CompareAndSet::PerKey)
            .with_older_versions_max(VERSIONS_KEPT as u64 - 1)
    }

    fn save(&self, batch: SaveBatch) {
        let (bytes, entries) = batch.into_parts();
        for entry in entries {
            let (tell, panics) = self.meet(entry, &bytes);
            if let Some((entry, outcome)) = tell {
                entry.complete(outcome);
            }
            if panics {
                planned_panic();
            }
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            match self.answer(entry.id(), entry.version()) {
                Ok(Answer::Now(outcome)) => entry.complete(outcome),
                Ok(Answer::Later) => lock(&self.world).late_fetches.push(entry),
                Ok(Answer::Never) => drop(entry),
                Err(()) => planned_panic(),
            }
        }
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        if !self.living()?.answers_inline {
            return None;
        }
        match self.answer(id, FetchVersion::Newest) {
            Ok(Answer::Now(outcome)) => Some(outcome),
            Ok(Answer::Later | Answer::Never) | Err(()) => None,
        }
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        // Said by an index in memory, which is complete.
        self.living().is_none_or(|world| world.records.newest(id).is_some())
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let Some(world) = self.living() else { return self.dead() };
        let ids = world.records.ids_of(prototype);
        drop(world);
        for id in ids {
            if visit(id).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        let Some(world) = self.living() else { return self.dead() };
        let list = |stored: &Stored| StoredVersion {
            version: stored.version,
            kind: stored.kind,
            captured_at: std::time::UNIX_EPOCH,
            record_bytes: stored.bytes.len() as u64,
        };
        Ok(world.records.versions(id).iter().map(list).collect())
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        let Some(mut world) = self.living() else { return self.dead() };
        let epoch = world.records.epochs.entry(partition).or_default();
        epoch.0 += 1;
        Ok(*epoch)
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        let Some(world) = self.living() else { return self.dead() };
        Ok(world.records.metadata.get(name).cloned())
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        let Some(mut world) = self.living() else { return self.dead() };
        let found = world.records.metadata.get(name).map(|value| value.version);
        if found != expected {
            let attempted = format!("put metadata {name}");
            return Err(StorageError::new(StorageErrorKind::Conflict, attempted));
        }
        let version = MetadataVersion(found.map_or(1, |version| version.0 + 1));
        let value = Metadata { version, bytes: bytes.to_vec() };
        world.records.metadata.insert(name.to_owned(), value);
        Ok(version)
    }
}
