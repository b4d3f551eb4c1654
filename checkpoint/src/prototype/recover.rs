//! The ways out of trouble: PEs in which a closure panicked, and PEs whose newest version is not
//! wanted or cannot be restored.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::capture::PeHandle;
use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::CheckpointTicket;
use crate::config::OnPanic;
use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Arrival, Flags, Slot};
use crate::prototype::inner::{Inner, Place};
use crate::prototype::key::{AsKey, Key};
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::restore::{Coming, Wanted};
use crate::prototype::shard::Locked;
use crate::prototype::table::Obstacle;
use crate::prototype::trouble::Cleared;
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

/// How far a recovery has come.
enum Recovering {
    Done(Recovered),
    /// It is done when this has come; so many events are lost.
    Reload(Arc<Arrival>, u32),
    Hindered(Hindrance),
}

/// A place that was cleared, and what waits for the new state; or what has to be waited for first.
type Replacing = Result<(PeHandle, Arc<Arrival>), Hindrance>;

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Decides what becomes of a PE in which a closure panicked.
    ///
    /// # Errors
    /// The PE is in use for too long, cannot be restored, or the keeper is closed. A PE that is to
    /// be reloaded may have been dropped by then: its next event restores it.
    pub fn recover<A>(&self, key: A, how: Recover) -> Result<Recovered, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.inner.drive(self.inner.clone().recover_async(key.as_key().to_owned(), how))
    }

    /// Decides what becomes of a PE, as [`recover`](Self::recover) does, without blocking the
    /// thread.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub fn recover_async<A>(
        &self,
        key: A,
        how: Recover,
    ) -> Pin<Box<dyn Future<Output = Result<Recovered, ProcessError>> + Send>>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        Box::pin(self.inner.clone().recover_async(key.as_key().to_owned(), how))
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
        self.versions_of(&id)
    }

    pub(super) fn versions_of(
        &self,
        id: &CheckpointId,
    ) -> Result<Vec<StoredVersion>, StorageError> {
        match self.inner.storage() {
            Some(storage) => storage.versions(id),
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
    /// The version is not there or cannot be restored, or the PE is in use for too long. The PE
    /// then starts from its newest version with its next event.
    pub fn restore_version<A>(
        &self,
        key: A,
        version: StateVersion,
    ) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.replace(key, Wanted::Version(version))
    }

    /// Makes an older version the state again, as [`restore_version`](Self::restore_version) does,
    /// without blocking the thread.
    ///
    /// # Errors
    /// As [`restore_version`](Self::restore_version).
    pub fn restore_version_async<A>(
        &self,
        key: A,
        version: StateVersion,
    ) -> Pin<Box<dyn Future<Output = Result<CheckpointTicket, ProcessError>> + Send>>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        Box::pin(
            self.inner.clone().replace_async(key.as_key().to_owned(), Wanted::Version(version)),
        )
    }

    /// Makes a checkpoint that was put aside the state of the PE of `key` again, as a new version.
    ///
    /// `replaced_by` is what [`SafeKeeper::quarantined`](crate::SafeKeeper::quarantined) says of
    /// it. It stays in the quarantine until it is discarded.
    ///
    /// # Errors
    /// It is not there, or it still cannot be restored, or the PE is in use for too long.
    pub fn restore_quarantined<A>(
        &self,
        key: A,
        replaced_by: StateVersion,
    ) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.replace(key, Wanted::Quarantined(replaced_by))
    }

    /// Makes a checkpoint that was put aside the state again, as
    /// [`restore_quarantined`](Self::restore_quarantined) does, without blocking the thread.
    ///
    /// # Errors
    /// As [`restore_quarantined`](Self::restore_quarantined).
    pub fn restore_quarantined_async<A>(
        &self,
        key: A,
        replaced_by: StateVersion,
    ) -> Pin<Box<dyn Future<Output = Result<CheckpointTicket, ProcessError>> + Send>>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let wanted = Wanted::Quarantined(replaced_by);
        Box::pin(self.inner.clone().replace_async(key.as_key().to_owned(), wanted))
    }

    /// Makes the PE of `key` start anew, with the factory's value.
    ///
    /// This is the way out of a PE that cannot be restored: what is stored is put aside before the
    /// new state replaces it. The ticket tells when that is durable.
    ///
    /// # Errors
    /// The PE is in use for too long, or the keeper is closed.
    pub fn reset<A>(&self, key: A) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.replace(key, Wanted::FactoryValue)
    }

    /// Makes the PE of `key` start anew, as [`reset`](Self::reset) does, without blocking the
    /// thread.
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub fn reset_async<A>(
        &self,
        key: A,
    ) -> Pin<Box<dyn Future<Output = Result<CheckpointTicket, ProcessError>> + Send>>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        Box::pin(self.inner.clone().replace_async(key.as_key().to_owned(), Wanted::FactoryValue))
    }

    fn replace<A>(&self, key: A, wanted: Wanted) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.inner.drive(self.inner.clone().replace_async(key.as_key().to_owned(), wanted))
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    async fn recover_async(
        self: Arc<Self>,
        key: K,
        how: Recover,
    ) -> Result<Recovered, ProcessError> {
        let place = self.place(&key);
        let deadline = self.deadline();
        loop {
            match self.try_recover(place, &key, how)? {
                Recovering::Done(recovered) => return Ok(recovered),
                Recovering::Reload(arrival, events_lost) => {
                    let arrives = Hindrance::Arrival(arrival, None);
                    self.wait_async(&key, arrives, deadline).await?;
                    return Ok(Recovered::Reloaded { events_lost });
                }
                Recovering::Hindered(hindrance) => {
                    self.until_place(&key, hindrance, deadline).await?;
                }
            }
        }
    }

    fn try_recover(
        self: &Arc<Self>,
        place: Place,
        key: &K,
        how: Recover,
    ) -> Result<Recovering, ProcessError> {
        let mut locked = self.lock_open(place.shard)?;
        let table = locked.table();
        let found = table.entries.find(place.hash, |entry| entry.key == *key);
        let pe = match found.map(|entry| entry.handle(place.hash)) {
            Some(pe) if table.notice_panic(pe) => pe,
            _ => return Ok(Recovering::Done(Recovered::WasNotPoisoned)),
        };
        Ok(match how {
            Recover::Keep => {
                let due = |since, count| self.is_due(since, count);
                table.forgive_panic(pe, &self.triggers, || self.now(), due);
                Recovering::Done(Recovered::Kept)
            }
            Recover::Remove => {
                drop(locked);
                match self.try_remove(place, key, false, None)? {
                    Ok(ticket) => Recovering::Done(Recovered::Removed(ticket)),
                    Err(hindrance) => Recovering::Hindered(hindrance),
                }
            }
            Recover::Reload => match self.reload(place.shard, pe, locked) {
                Ok((arrival, events_lost)) => Recovering::Reload(arrival, events_lost),
                Err(Some(hindrance)) => Recovering::Hindered(hindrance),
                Err(None) => Recovering::Done(Recovered::WasNotPoisoned),
            },
        })
    }

    /// Puts another state in the place of a PE's, and has it stored as a new version.
    pub(super) async fn replace_async(
        self: Arc<Self>,
        key: K,
        wanted: Wanted,
    ) -> Result<CheckpointTicket, ProcessError> {
        let id = self.id(&key)?;
        let place = self.place(&key);
        let deadline = self.deadline();
        self.unreadable.forget(&id);
        let arrival = loop {
            match self.try_clear(place, &key)? {
                Ok((pe, arrival)) => {
                    let coming = Coming { shard: place.shard, pe, key: key.clone(), id };
                    self.begin(coming, wanted, Caller::MustNotWait);
                    break arrival;
                }
                Err(hindrance) => self.until_place(&key, hindrance, deadline).await?,
            }
        };
        self.wait_async(&key, Hindrance::Arrival(arrival, None), deadline).await?;
        self.request(&key, Caller::MustNotWait)
    }

    /// Clears a PE's place for another state, if nobody has the PE and nothing of it is in flight.
    fn try_clear(&self, place: Place, key: &K) -> Result<Replacing, ProcessError> {
        let mut locked = self.lock_open(place.shard)?;
        let table = locked.table();
        let found = table.entries.find(place.hash, |entry| entry.key == *key);
        if let Some((pe, true)) =
            found.map(|entry| (entry.handle(place.hash), entry.slot.is_here()))
        {
            if let Some(arrival) = table.until_quiet(pe) {
                return Ok(Err(Hindrance::Arrival(arrival, None)));
            }
            return match table.clear_place(pe) {
                Some(cleared) => {
                    if cleared.lost > 0 {
                        self.lose_events(table, pe, &cleared.contained);
                    }
                    Ok(Ok((pe, cleared.arrival)))
                }
                None => unreachable!("the PE is in its slot"),
            };
        }
        match table.obstacle(place.hash, key) {
            Obstacle::Fetch(pe, arrival) => {
                let hasher = |key: &K| self.hash(key);
                self.reserve_anyway();
                table.insert_placeholder(key.clone(), pe, arrival.clone(), hasher);
                Ok(Ok((pe, arrival)))
            }
            Obstacle::Wait(arrival, since) => Ok(Err(Hindrance::Arrival(arrival, since))),
            Obstacle::Make(..) | Obstacle::Poisoned(..) | Obstacle::HeldUp(_) => {
                unreachable!("a PE that is in its slot was dealt with")
            }
        }
    }

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
                        key_hash = id.as_ref().key_hash(),
                        id = id.as_ref().logged(self.registration.log_keys),
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
    /// Returns what to wait for and how many events are lost; or what to wait for before it can
    /// begin; or nothing, if the PE is not in its place.
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
        let Some(entry) = table.get_mut(pe) else { return Err(None) };
        let key = entry.key.clone();
        let id = self.id_of_entry(&key);
        let was_removed = entry.flags.has(Flags::REMOVED);
        let Cleared { arrival, lost, contained } = table.clear_place(pe).ok_or(None)?;
        if lost > 0 {
            self.lose_events(table, pe, &contained);
        }
        if was_removed && let Some(entry) = table.get_mut(pe) {
            // What is stored was removed, and must not come back.
            entry.slot = Slot::Gone;
            table.remove_again(pe, || self.now());
            arrival.finish(Ok(()));
            return Ok((arrival, lost));
        }
        drop(locked);
        self.begin_fetch(Coming { shard, pe, key, id }, Caller::MustNotWait);
        Ok((arrival, lost))
    }
}
