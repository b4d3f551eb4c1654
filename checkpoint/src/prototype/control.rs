//! What can be asked of PEs beside events: checkpoints, removal, eviction, ways out of trouble.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::checkpoint_ticket::CheckpointTicket;
use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Flags, Slot};
use crate::prototype::hooks::contain;
use crate::prototype::inner::{Inner, Place};
use crate::prototype::key::{AsKey, Key, KeyBytes};
use crate::prototype::leave::Eviction;
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::shard::Locked;
use crate::prototype::table::Obstacle;
use crate::save_error::{SaveError, SaveFailure};
use crate::state::Checkpointable;
use crate::sync::Ordering;

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Returns the prototype's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the partition of a key.
    pub fn partition_of<A>(&self, key: A) -> u32
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.inner.partition_of(key.as_key())
    }

    /// Asks for a checkpoint of the PE of `key`, in whatever mode.
    ///
    /// The ticket is answered by the first capture at or after this call; a PE that has not changed since
    /// it was stored is answered at once, with the version that is stored, and one that is not in memory
    /// with `None`. Never waits for the storage.
    ///
    /// # Errors
    /// The PE is poisoned, the keeper is closed, or the call came from inside an event.
    #[doc(alias = "checkpoint()")]
    pub fn checkpoint<A>(&self, key: A) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let key = key.as_key();
        let inner = &self.inner;
        let (ticket, request) = CheckpointTicket::new(inner.id(key)?, inner.clock.clone());
        let place = inner.place(key);
        let mut locked = inner.lock_open(place.shard)?;
        if !inner.triggers.stores {
            drop(locked);
            request.finish(Ok(None));
            return Ok(ticket);
        }
        let table = locked.table();
        let found = table.entries.find_mut(place.hash, |entry| entry.key.borrow() == key);
        let Some(entry) = found else {
            drop(locked);
            request.finish(Ok(None));
            return Ok(ticket);
        };
        let pe = entry.handle(place.hash);
        let flags = entry.flags;
        let last_durable = entry.last_durable();
        match entry.slot {
            Slot::Fetching(_) => {
                drop(locked);
                request.finish(Ok(None));
                return Ok(ticket);
            }
            Slot::Resident(_) | Slot::Out | Slot::Gone => {}
        }
        if flags.has_any(Flags::POISONED.and(Flags::RUNNING)) {
            let id = ticket.id().clone();
            return Err(ProcessError::Poisoned { id, last_durable });
        }
        let is_out = matches!(entry.slot, Slot::Out);
        let in_flight_or_dirty = flags.has_any(Flags::DIRTY.and(Flags::IN_FLIGHT));
        if !in_flight_or_dirty && !is_out && last_durable.is_some() {
            drop(locked);
            request.finish(Ok(last_durable));
            return Ok(ticket);
        }
        table.add_request(pe, request.clone());
        let unchanged_in_flight = flags.has(Flags::IN_FLIGHT) && !flags.has(Flags::DIRTY);
        if !unchanged_in_flight {
            // A PE that was never stored, and one whose state was refused, count as changed.
            table.mark_changed(pe, &inner.triggers, || inner.now(), |_, _| false);
            table.make_due(pe);
        }
        drop(locked);
        let caller =
            if crate::reentrancy::may_wait() { Caller::MayWait } else { Caller::MustNotWait };
        if inner.framework.relieve(caller).is_err() {
            request.finish(Err(SaveError::new(ticket.id().clone(), SaveFailure::Overloaded)));
        }
        Ok(ticket)
    }

    /// Removes the PE of `key`, from memory at once and from the storage soon; the ticket tells when.
    ///
    /// An event that comes later makes the PE anew.
    ///
    /// # Errors
    /// The PE is in use for too long, or the keeper is closed.
    pub fn remove<A>(&self, key: A) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.remove_key(key.as_key())
    }

    /// Drops the PE of `key` from memory, once its changes are stored.
    ///
    /// # Errors
    /// The keeper is closed, or the call came from inside an event.
    pub fn evict<A>(&self, key: A) -> Result<Eviction, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let key = key.as_key();
        let place = self.inner.place(key);
        let mut locked = self.inner.lock_open(place.shard)?;
        let table = locked.table();
        match table.entries.find(place.hash, |entry| entry.key.borrow() == key) {
            None => Ok(Eviction::NotResident),
            Some(entry) => {
                let pe = entry.handle(place.hash);
                Ok(table.evict(pe))
            }
        }
    }

    pub(super) fn remove_key<Q>(&self, key: &Q) -> Result<CheckpointTicket, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &self.inner;
        let place = inner.place(key);
        let deadline = inner.deadline();
        loop {
            match inner.try_remove(place, key)? {
                Ok(ticket) => return Ok(ticket),
                Err(hindrance) => inner.wait_for_place(key, hindrance, deadline)?,
            }
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    pub(super) fn lock_open(&self, shard: usize) -> Result<Locked<'_, K, P>, ProcessError> {
        let locked = self.lock(shard)?;
        if self.closed.load(Ordering::Relaxed) {
            return Err(self.closed_error());
        }
        Ok(locked)
    }

    /// Waits for a PE that is to be replaced; that it could not be restored is no hindrance.
    pub(super) fn wait_for_place<Q>(
        &self,
        key: &Q,
        hindrance: Hindrance,
        deadline: crate::clock::Timestamp,
    ) -> Result<(), ProcessError>
    where
        Q: KeyBytes + ?Sized,
    {
        match self.wait(key, hindrance, deadline) {
            Err(ProcessError::Restore(_)) => Ok(()),
            other => other,
        }
    }

    fn try_remove<Q>(
        &self,
        place: Place,
        key: &Q,
    ) -> Result<Result<CheckpointTicket, Hindrance>, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let id = self.id(key)?;
        let mut locked = self.lock_open(place.shard)?;
        let now = self.now();
        let table = locked.table();
        let found = table.entries.find(place.hash, |entry| entry.key.borrow() == key);
        let pe = match found.map(|entry| (entry.handle(place.hash), entry.slot.is_here())) {
            Some((pe, true)) => pe,
            Some((_, false)) | None => match table.obstacle(place.hash, key) {
                Obstacle::Wait(arrival, since) => {
                    return Ok(Err(Hindrance::Arrival(arrival, since)));
                }
                Obstacle::Fetch(pe, arrival) => {
                    let hasher = |key: &K| self.hash(key);
                    self.reserve_anyway();
                    table.insert_placeholder(key.to_owned(), pe, arrival, hasher);
                    if let Some(entry) = table.get_mut(pe) {
                        entry.slot = Slot::Gone;
                    }
                    pe
                }
                Obstacle::Make(..) | Obstacle::Poisoned(..) => {
                    unreachable!("a PE that is in its slot was found")
                }
            },
        };
        let (ticket, request) = CheckpointTicket::new(id, self.clock.clone());
        let stores = self.triggers.stores;
        let state = table.remove(pe, now, stores.then(|| request.clone()));
        if !stores {
            table.remove_entry(pe);
            request.finish(Ok(None));
        }
        drop(locked);
        if let Some(mut state) = state {
            let owned = key.to_owned();
            let hook = || {
                if let Some(on_remove) = &self.hooks.on_remove {
                    on_remove(&owned, &mut state);
                }
            };
            if contain(hook).is_err() {
                tracing::error!(target: "checkpoint", prototype = &*self.name, "on_remove panicked");
            }
        }
        Ok(Ok(ticket))
    }
}
