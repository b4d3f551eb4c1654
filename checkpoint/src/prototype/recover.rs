//! The ways out of trouble: PEs in which a closure panicked, and PEs whose newest version is not wanted or
//! cannot be restored.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use crate::callback::key_hash;
use crate::capture::PeHandle;
use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::CheckpointTicket;
use crate::clock::Timestamp;
use crate::config::OnPanic;
use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Arrival, Flags};
use crate::prototype::inner::{Inner, Place};
use crate::prototype::key::{AsKey, Key, KeyBytes};
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::restore::{Coming, Wanted};
use crate::prototype::shard::Locked;
use crate::prototype::table::Obstacle;
use crate::record::StateVersion;
use crate::state::Checkpointable;
use crate::storage::{StorageError, StorageErrorKind, StoredVersion};

/// What becomes of a PE in which a closure panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recover {
    /// Drop it, and restore it from its last checkpoint; what it did since then is lost.
    Reload,
    /// Go on with it as the panic left it.
    Keep,
    /// Remove it, from the storage too.
    Remove,
}

/// What came of a call to [`PePrototype::recover`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Recovered {
    /// No closure had panicked in it; nothing was done.
    WasNotPoisoned,
    /// It was restored.
    Reloaded {
        /// How many events it had handled since its last checkpoint: they are lost.
        events_lost: u32,
    },
    /// It goes on as it is.
    Kept,
    /// It is removed; the ticket tells when that is durable.
    Removed(CheckpointTicket),
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Decides what becomes of a PE in which a closure panicked.
    ///
    /// # Errors
    /// The PE is in use for too long, cannot be restored, or the keeper is closed.
    pub fn recover<A>(&self, key: A, how: Recover) -> Result<Recovered, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let inner = &self.inner;
        let key = key.as_key();
        let place = inner.place(key);
        let deadline = inner.deadline();
        let pe = {
            let mut locked = inner.lock_open(place.shard)?;
            let table = locked.table();
            let Some(entry) = table.entries.find_mut(place.hash, |entry| entry.key.borrow() == key)
            else {
                return Ok(Recovered::WasNotPoisoned);
            };
            let pe = entry.handle(place.hash);
            if entry.flags.has(Flags::RUNNING) {
                entry.flags.clear(Flags::RUNNING);
                entry.flags.set(Flags::POISONED);
                table.poisoned += 1;
            }
            let Some(entry) = table.get_mut(pe) else { return Ok(Recovered::WasNotPoisoned) };
            if !entry.flags.has(Flags::POISONED) {
                return Ok(Recovered::WasNotPoisoned);
            }
            if how == Recover::Keep {
                entry.flags.clear(Flags::POISONED);
                entry.since_capture = entry.since_capture.saturating_add(1);
                table.poisoned -= 1;
                if inner.triggers.stores {
                    let due = |since, count| inner.is_due(since, count);
                    table.mark_changed(pe, &inner.triggers, || inner.now(), due);
                }
                return Ok(Recovered::Kept);
            }
            pe
        };
        if how == Recover::Remove {
            return self.remove_key(key).map(Recovered::Removed);
        }
        loop {
            let locked = inner.lock_open(place.shard)?;
            match inner.reload(place.shard, pe, locked) {
                Ok((arrival, events_lost)) => {
                    inner.wait(key, Hindrance::Arrival(arrival, None), deadline)?;
                    return Ok(Recovered::Reloaded { events_lost });
                }
                Err(Some(hindrance)) => inner.wait(key, hindrance, deadline)?,
                Err(None) => return Ok(Recovered::WasNotPoisoned),
            }
        }
    }

    /// Returns the versions of the PE of `key` that the storage keeps, the newest first.
    ///
    /// # Errors
    /// The storage cannot be read, or there is none.
    pub fn versions<A>(&self, key: A) -> Result<Vec<StoredVersion>, StorageError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let id = self.inner.id(key.as_key()).map_err(|error| {
            StorageError::new(StorageErrorKind::Unsupported, "list versions").with_source(error)
        })?;
        match self.inner.storage() {
            Some(storage) => storage.versions(&id),
            None => {
                Err(StorageError::new(StorageErrorKind::Closed, format!("list versions of {id}")))
            }
        }
    }

    /// Makes an older version of the PE of `key` its state again, as a new version.
    ///
    /// Changes that are not stored are dropped. The ticket tells when the new version is durable.
    ///
    /// # Errors
    /// The version is not there or cannot be restored, or the PE is in use for too long. The PE then
    /// starts from its newest version with its next event.
    pub fn restore_version<A>(
        &self,
        key: A,
        version: StateVersion,
    ) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let key = key.as_key();
        self.replace(key, Wanted::Version(version))?;
        self.checkpoint(key)
    }

    /// Makes the PE of `key` start anew, with the factory's value.
    ///
    /// This is the way out of a PE that cannot be restored: what is stored is put aside before the new
    /// state replaces it. The ticket tells when that is durable.
    ///
    /// # Errors
    /// The PE is in use for too long, or the keeper is closed.
    pub fn reset<A>(&self, key: A) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let key = key.as_key();
        self.replace(key, Wanted::FactoryValue)?;
        self.checkpoint(key)
    }

    /// Puts another state in the place of a PE's: an older version, or the factory's value.
    fn replace<Q>(&self, key: &Q, wanted: Wanted) -> Result<(), ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &self.inner;
        let id = inner.id(key)?;
        let place = inner.place(key);
        let deadline = inner.deadline();
        inner.unreadable.forget(&id);
        loop {
            let mut locked = inner.lock_open(place.shard)?;
            let table = locked.table();
            let found = table.entries.find(place.hash, |entry| entry.key.borrow() == key);
            let pe = found.map(|entry| (entry.handle(place.hash), entry.slot.is_here()));
            let hindrance = match pe {
                Some((pe, true)) => match table.until_quiet(pe) {
                    Some(arrival) => Hindrance::Arrival(arrival, None),
                    None => match table.clear_place(pe) {
                        Some((arrival, _lost)) => {
                            drop(locked);
                            return inner.bring((place, pe), key, id, wanted, arrival, deadline);
                        }
                        None => unreachable!("the PE is in its slot"),
                    },
                },
                Some((_, false)) | None => match table.obstacle(place.hash, key) {
                    Obstacle::Fetch(pe, arrival) => {
                        let hasher = |key: &K| inner.hash(key);
                        inner.reserve_anyway();
                        table.insert_placeholder(key.to_owned(), pe, arrival.clone(), hasher);
                        drop(locked);
                        return inner.bring((place, pe), key, id, wanted, arrival, deadline);
                    }
                    Obstacle::Wait(arrival, since) => Hindrance::Arrival(arrival, since),
                    Obstacle::Make(..) | Obstacle::Poisoned(..) => {
                        unreachable!("a PE that is in its slot was dealt with")
                    }
                },
            };
            drop(locked);
            inner.wait_for_place(key, hindrance, deadline)?;
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// What an event gets of a PE in which a closure panicked.
    pub(super) fn poisoned(
        self: &Arc<Self>,
        shard: usize,
        pe: PeHandle,
        id: CheckpointId,
        last_durable: Option<StateVersion>,
        locked: Locked<'_, K, P>,
    ) -> Result<Hindrance, ProcessError> {
        match self.config.on_panic() {
            OnPanic::Poison => Err(ProcessError::Poisoned { id, last_durable }),
            OnPanic::Reload => match self.reload(shard, pe, locked) {
                Ok((arrival, events_lost)) => {
                    tracing::warn!(
                        target: "checkpoint",
                        prototype = &*self.name,
                        key_hash = key_hash(&id),
                        events_lost,
                        "a closure panicked in a PE; it is restored from its last checkpoint"
                    );
                    Ok(Hindrance::Arrival(arrival, None))
                }
                Err(Some(hindrance)) => Ok(hindrance),
                Err(None) => Err(ProcessError::Poisoned { id, last_durable }),
            },
        }
    }

    /// Has a PE restored anew from its newest version, once nothing of it is in flight.
    ///
    /// Returns what to wait for and how many events are lost; or what to wait for before it can begin; or
    /// nothing, if the PE is not in its place.
    fn reload(
        self: &Arc<Self>,
        shard: usize,
        pe: PeHandle,
        mut locked: Locked<'_, K, P>,
    ) -> Result<(Arc<Arrival>, u32), Option<Hindrance>> {
        let table = locked.table();
        if let Some(arrival) = table.until_quiet(pe) {
            return Err(Some(Hindrance::Arrival(arrival, None)));
        }
        let (arrival, lost) = table.clear_place(pe).ok_or(None)?;
        let Some(entry) = table.get_mut(pe) else { return Err(None) };
        let key = entry.key.clone();
        drop(locked);
        let id = self.id_of_entry(&key);
        self.begin_fetch(Coming { shard, pe, key, id }, Caller::MustNotWait);
        Ok((arrival, lost))
    }

    /// Brings what is wanted into a place that was cleared for it, and waits for it.
    fn bring<Q>(
        self: &Arc<Self>,
        (place, pe): (Place, PeHandle),
        key: &Q,
        id: CheckpointId,
        wanted: Wanted,
        arrival: Arc<Arrival>,
        deadline: Timestamp,
    ) -> Result<(), ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + ToOwned<Owned = K> + ?Sized,
    {
        let coming = Coming { shard: place.shard, pe, key: key.to_owned(), id };
        self.begin(coming, wanted, Caller::MayWait);
        self.wait(key, Hindrance::Arrival(arrival, None), deadline)
    }
}
