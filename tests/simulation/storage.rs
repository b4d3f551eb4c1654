//! A storage whose every misdeed is drawn from the seed.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use checkpoint::{
    CheckpointId, CheckpointIdRef, Clock, Durability, Epoch, FetchEntry, FetchOutcome,
    FetchVersion, Metadata, MetadataVersion, SaveBatch, SaveEntry, SaveOutcome, StateStorage,
    StorageCapabilities, StorageError, StorageErrorKind, StoredVersion,
};

use super::content::{Stored, is_quarantine, stored};
use super::ledger::planned_panic;
use super::met::Met;
use super::trace::lock;
use super::weather::{FetchFate, SaveFate};
use super::world::{LateSave, World};

/// How long a call hangs, as far as the world goes on for so long.
const HANGS_FOR: Duration = Duration::from_millis(350);
const HANGS_STEPS_MAX: u64 = 60;

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

    /// The world of a process that may read: the living one, or one that was taken over from.
    fn readable(&self) -> Option<MutexGuard<'_, World>> {
        let world = lock(&self.world);
        (world.living == self.process || world.is_zombie(self.process)).then_some(world)
    }

    /// The call does not return for a while: the world goes on meanwhile.
    fn hang(&self) {
        let clock = lock(&self.world).clock.clone();
        let end = clock.now().after(HANGS_FOR);
        for _ in 0..HANGS_STEPS_MAX {
            if clock.now() >= end || !clock.has_meanwhile() {
                break;
            }
            clock.go_on(end);
        }
    }

    /// Refuses a save of a process that was taken over from.
    fn fence(&self, entry: SaveEntry, id: &CheckpointId) {
        let current = {
            let mut world = lock(&self.world);
            world.met.count(Met::FencedSave);
            world.records.epochs.get(&entry.partition()).copied().unwrap_or_default()
        };
        let kind = StorageErrorKind::Fenced { mine: entry.version().epoch, current };
        entry.complete(SaveOutcome::NotStored(error(kind, id)));
    }

    fn dead<T>(&self) -> Result<T, StorageError> {
        let attempted = format!("do anything for the dead process {}", self.process);
        Err(StorageError::new(StorageErrorKind::Unavailable, attempted))
    }

    /// Meets the fate of one entry; returns what is to be told now, and whether the storage panics.
    fn meet(&self, entry: SaveEntry, bytes: &[u8]) -> (Option<(SaveEntry, SaveOutcome)>, bool) {
        let id = entry.id_in(bytes).to_owned();
        let unavailable = || error(StorageErrorKind::Unavailable, &id);
        if lock(&self.world).is_zombie(self.process) {
            self.fence(entry, &id);
            return (None, false);
        }
        let Some(mut guard) = self.living() else {
            return (Some((entry, SaveOutcome::NotStored(unavailable()))), false);
        };
        let world = &mut *guard;
        let record = entry.record_in(bytes);
        world.records.save_begins(entry.partition(), &id, record);
        let mut fate = world.weather.save(&mut world.dice);
        if is_quarantine(&id) {
            world.met.count(Met::QuarantineSaved);
            if matches!(fate, SaveFate::AcknowledgedLater | SaveFate::StoredLater) {
                fate = SaveFate::Stored; // Its thread waits for the outcome.
            }
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
        if let Some(current) = world.records.newest(&id).map(|newest| newest.version)
            && current > stored.version
        {
            world.records.save_ends(&id);
            let stale = error(StorageErrorKind::Stale { current }, &id);
            return (Some((entry, SaveOutcome::NotStored(stale))), false);
        }
        let outcome = match fate {
            SaveFate::Stored => SaveOutcome::Stored,
            SaveFate::Hangs => {
                drop(guard);
                self.hang();
                guard = lock(&self.world);
                if guard.living != self.process {
                    drop(guard);
                    return (Some((entry, SaveOutcome::Unknown(unavailable()))), false);
                }
                SaveOutcome::Stored
            }
            SaveFate::Refused => SaveOutcome::NotStored(unavailable()),
            SaveFate::RefusedForGood => {
                world.records.refused(&id, entry.version());
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
        let world = &mut *guard;
        match fate {
            SaveFate::Stored
            | SaveFate::Hangs
            | SaveFate::UnknownStored
            | SaveFate::DroppedStored => {
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
        let Some(mut guard) = self.readable() else { return Ok(Answer::Now(self.dead())) };
        let world = &mut *guard;
        let mut fate = world.weather.fetch(&mut world.dice);
        let may_take_time = world.may_delay_fetches && world.living == self.process;
        if matches!(fate, FetchFate::AnsweredLater | FetchFate::Hangs) && !may_take_time {
            fate = FetchFate::Answered;
        }
        world.met.count(fate.met());
        world.trace.add(format_args!("storage: fetch {id}: {fate:?}"));
        if fate == FetchFate::Hangs {
            drop(guard);
            self.hang();
            let found = lock(&self.world).records.get(id, version);
            return Ok(Answer::Now(Ok(found)));
        }
        let found = world.records.get(id, version);
        Ok(match fate {
            FetchFate::Answered | FetchFate::Hangs => Answer::Now(Ok(found)),
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
        let world = lock(&self.world);
        StorageCapabilities::new(Durability::Process)
            .with_compare_and_set(world.compare_and_set)
            .with_older_versions_max(world.older_versions_max as u64)
    }

    fn save(&self, batch: SaveBatch) {
        lock(&self.world).clock.takes_time();
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
        if !self.readable()?.answers_inline {
            return None;
        }
        match self.answer(id, FetchVersion::Newest) {
            Ok(Answer::Now(outcome)) => Some(outcome),
            Ok(Answer::Later | Answer::Never) | Err(()) => None,
        }
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        // Said by an index in memory, which is complete.
        self.readable().is_none_or(|world| world.records.newest(id).is_some())
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn fetch_many(&self, _ids: &[CheckpointIdRef<'_>], _found: &mut dyn FnMut(usize, Vec<u8>)) {}

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
        let percent = world.starts_fail_percent;
        if world.dice.chance(percent) {
            world.met.count(Met::EpochFails);
            let attempted = format!("open partition {partition}, as planned");
            return Err(StorageError::new(StorageErrorKind::Unavailable, attempted));
        }
        let epoch = world.records.epochs.entry(partition).or_default();
        epoch.0 += 1;
        Ok(*epoch)
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        let Some(mut world) = self.living() else { return self.dead() };
        world.metadata_fails(name)?;
        Ok(world.records.metadata.get(name).cloned())
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        let Some(mut world) = self.living() else { return self.dead() };
        world.metadata_fails(name)?;
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
