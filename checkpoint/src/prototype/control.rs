//! What can be asked of PEs beside events: checkpoints, removal, eviction, ways out of trouble.

use std::borrow::Borrow;
use std::future::Future;
use std::hash::Hash;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::checkpoint_ticket::CheckpointTicket;
use crate::clock::Timestamp;
use crate::framework::Caller;
use crate::inputs::Contained;
use crate::process_error::ProcessError;
use crate::prototype::entry::Slot;
use crate::prototype::hooks::contain;
use crate::prototype::inner::{Inner, Place};
use crate::prototype::key::{AsKey, Key, KeyBytes};
use crate::prototype::leave::Eviction;
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::requests::{AskedBy, Requested};
use crate::prototype::restore::Coming;
use crate::prototype::shard::Locked;
use crate::prototype::table::Obstacle;
use crate::reentrancy;
use crate::restore_error::RestoreError;
use crate::save_error::{SaveError, SaveFailure};
use crate::state::Checkpointable;
use crate::wait::block_on;

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
    /// The ticket is answered by the first capture at or after this call; a PE that has not changed
    /// since it was stored is answered at once, with the version that is stored, and one that is
    /// not in memory with `None`. Does not wait for the storage, but for room if too many PEs are
    /// due and the overflow policy is to block.
    ///
    /// # Errors
    /// The PE is poisoned, the keeper is closed, or the call came from inside an event.
    #[doc(alias = "checkpoint()")]
    pub fn checkpoint<A>(&self, key: A) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.inner.request(key.as_key(), Caller::MayWait)
    }

    /// Asks for a checkpoint of the PE of `key`, as [`checkpoint`](Self::checkpoint) does, and
    /// never blocks the thread. The ticket is a future.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_async<A>(&self, key: A) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.inner.request(key.as_key(), Caller::MustNotWait)
    }

    /// Removes the PE of `key`, from memory at once and from the storage soon; the ticket tells
    /// when.
    ///
    /// An event that comes later makes the PE anew. If the keeper has [sources](crate::Source), one
    /// that is not in memory is restored first, because of the events that it contains; one that
    /// cannot be restored is removed all the same.
    ///
    /// # Errors
    /// The PE is in use for too long, the keeper is closed, or, if it has sources, the storage
    /// cannot be read for now.
    pub fn remove<A>(&self, key: A) -> Result<CheckpointTicket, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.inner.drive(self.inner.clone().remove_async(key.as_key().to_owned()))
    }

    /// Removes the PE of `key`, as [`remove`](Self::remove) does, without blocking the thread.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn remove_async<A>(
        &self,
        key: A,
    ) -> Pin<Box<dyn Future<Output = Result<CheckpointTicket, ProcessError>> + Send>>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        Box::pin(self.inner.clone().remove_async(key.as_key().to_owned()))
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
        self.inner.evict(key.as_key())
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    pub(super) fn evict<Q>(&self, key: &Q) -> Result<Eviction, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ?Sized,
    {
        let place = self.place(key);
        let mut locked = self.lock_open(place.shard)?;
        let table = locked.table();
        match table.entries.find(place.hash, |entry| entry.key.borrow() == key) {
            None => Ok(Eviction::NotResident),
            Some(entry) => {
                let pe = entry.handle(place.hash);
                Ok(table.evict(pe))
            }
        }
    }

    pub(super) fn lock_open(&self, shard: usize) -> Result<Locked<'_, K, P>, ProcessError> {
        let locked = self.lock(shard)?;
        if self.gate.is_closed() {
            return Err(self.closed_error());
        }
        Ok(locked)
    }

    /// Waits for a PE that is to be replaced; that it could not be restored is no hindrance.
    pub(super) async fn until_place(
        &self,
        key: &K,
        hindrance: Hindrance,
        deadline: Timestamp,
    ) -> Result<(), ProcessError> {
        match self.wait_async(key, hindrance, deadline).await {
            Err(ProcessError::Restore(_)) => Ok(()),
            other => other,
        }
    }

    /// Runs a future on this thread, if this thread may wait.
    pub(super) fn drive<T>(
        &self,
        future: impl Future<Output = Result<T, ProcessError>>,
    ) -> Result<T, ProcessError> {
        let mut future = pin!(future);
        if reentrancy::may_wait() {
            // The future has a deadline of its own, and sees that it has come when it is polled.
            loop {
                match block_on(future, &*self.clock, Some(self.deadline())) {
                    Ok(result) => return result,
                    Err(again) => future = again,
                }
            }
        }
        // What needs no waiting is no reason to refuse.
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(self.reentrant()),
        }
    }

    pub(super) fn request<Q>(
        &self,
        key: &Q,
        caller: Caller,
    ) -> Result<CheckpointTicket, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ?Sized,
    {
        let (ticket, request) = CheckpointTicket::new(self.id(key)?, self.clock.clone());
        let place = self.place(key);
        let mut locked = self.lock_open(place.shard)?;
        let table = locked.table();
        let found = table.entries.find(place.hash, |entry| entry.key.borrow() == key);
        let pe = match found {
            Some(entry) if self.triggers.stores => entry.handle(place.hash),
            _ => {
                request.finish(Ok(None));
                return Ok(ticket);
            }
        };
        match table
            .request(pe, ticket.id(), (&request, AskedBy::Caller), &self.triggers, || self.now())
        {
            Requested::Answered(version) => {
                drop(locked);
                request.finish(Ok(version));
                return Ok(ticket);
            }
            Requested::Poisoned(last_durable) => {
                return Err(ProcessError::Poisoned { id: ticket.id().clone(), last_durable });
            }
            Requested::Waits => {}
        }
        drop(locked);
        let caller = if reentrancy::may_wait() { caller } else { Caller::MustNotWait };
        if self.framework.relieve(caller).is_err() {
            request.finish(Err(SaveError::new(ticket.id().clone(), SaveFailure::Overloaded)));
        }
        Ok(ticket)
    }

    pub(super) async fn remove_async(
        self: Arc<Self>,
        key: K,
    ) -> Result<CheckpointTicket, ProcessError> {
        self.remove_saying(key, None).await
    }

    /// Removes a PE, which is to say of the events that it contains what is given here, if anything
    /// is.
    pub(super) async fn remove_saying(
        self: Arc<Self>,
        key: K,
        said: Option<Contained>,
    ) -> Result<CheckpointTicket, ProcessError> {
        let place = self.place(&key);
        let deadline = self.deadline();
        // Which events a PE contains must stay known: they may be fed again, and are not to run on
        // what was removed.
        let mut is_brought = said.is_none() && self.registration.sources.is_any();
        loop {
            match self.try_remove(place, &key, is_brought, said.as_ref())? {
                Ok(ticket) => return Ok(ticket),
                Err(hindrance) => match self.wait_async(&key, hindrance, deadline).await {
                    // One that can never be restored can be removed all the same.
                    Err(ProcessError::Restore(error)) if !error.reason().may_pass() => {
                        is_brought = false;
                    }
                    Err(ProcessError::Restore(_)) if !is_brought => {}
                    other => other?,
                },
            }
        }
    }

    /// Removes a PE, or says what to wait for. One that is not in memory is brought there first if
    /// that is wanted, because of what it says of the events that it contains; that may be given
    /// instead.
    pub(super) fn try_remove(
        self: &Arc<Self>,
        place: Place,
        key: &K,
        is_brought: bool,
        said: Option<&Contained>,
    ) -> Result<Result<CheckpointTicket, Hindrance>, ProcessError> {
        let id = self.id(key)?;
        let mut locked = self.lock_open(place.shard)?;
        let older = said.map(|said| self.check_gap(said.clone())).transpose();
        let refused = |reason| ProcessError::Restore(RestoreError::new(id.clone(), reason));
        let older = older.map_err(refused)?;
        let now = self.now();
        let table = locked.table();
        let found = table.entries.find(place.hash, |entry| entry.key == *key);
        let pe = match found.map(|entry| (entry.handle(place.hash), entry.slot.is_here())) {
            Some((pe, true)) => pe,
            Some((_, false)) | None => match table.obstacle(place.hash, key) {
                Obstacle::Wait(arrival, since) => {
                    return Ok(Err(Hindrance::Arrival(arrival, since)));
                }
                Obstacle::Fetch(pe, arrival) => {
                    let hasher = |key: &K| self.hash(key);
                    self.reserve_anyway();
                    table.insert_placeholder(key.clone(), pe, arrival.clone(), hasher);
                    if is_brought {
                        drop(locked);
                        let coming = Coming { shard: place.shard, pe, key: key.clone(), id };
                        self.begin_fetch(coming, Caller::MustNotWait);
                        return Ok(Err(Hindrance::Arrival(arrival, None)));
                    }
                    table.set_contained(pe, self.registration.sources.reached());
                    if let Some(entry) = table.get_mut(pe) {
                        entry.slot = Slot::Gone;
                    }
                    pe
                }
                Obstacle::Make(..) | Obstacle::Poisoned(..) | Obstacle::HeldUp(_) => {
                    unreachable!("a PE that is in its slot was found")
                }
            },
        };
        let (ticket, request) = CheckpointTicket::new(id.clone(), self.clock.clone());
        if let Some(older) = older {
            self.become_older(table, pe, older);
        }
        let stores = self.triggers.stores;
        let state = table.remove(pe, (now, &self.triggers), &id, stores.then(|| request.clone()));
        if !stores {
            table.remove_entry(pe);
            request.finish(Ok(None));
        }
        drop(locked);
        if let Some(mut state) = state {
            let hook = || {
                if let Some(on_remove) = &self.hooks.on_remove {
                    on_remove(key, &mut state);
                }
            };
            if contain(hook).is_err() {
                tracing::error!(
                    target: "checkpoint",
                    prototype = &*self.name,
                    "on_remove panicked"
                );
            }
        }
        Ok(Ok(ticket))
    }
}
