//! The handle of a prototype, and the ways to process an event.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::config::OnExposed;
use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Arrival, Attempt, Effect};
use crate::prototype::gate::{Access, Calm};
use crate::prototype::inner::{Inner, Place, coarse, coarse_span};
use crate::prototype::key::{AsKey, Key, KeyBytes};
use crate::prototype::origin::{Nowhere, Origin};
use crate::prototype::restore::Coming;
use crate::prototype::shard::{Locked, Room};
use crate::prototype::table::Obstacle;
use crate::reentrancy;
use crate::state::Checkpointable;
use crate::wait::Signal;

/// The PEs of one kind: one for each key, made by the factory or restored when its first event
/// comes.
///
/// A handle is cheap to clone and can be used from any thread. The PEs belong to the framework:
/// dropping the last handle loses nothing.
///
/// # Ways in
/// [`process`](Self::process) runs a short closure under the lock of the PE's shard;
/// [`session`](Self::session) does so for many events without giving the lock back after each;
/// [`pe`](Self::pe) lends the PE out, for long work. Each has an async twin or needs none.
///
/// A closure must not call the library: such a call returns [`ProcessError::Reentrant`]. To send to
/// other PEs, return what is to be sent, and send it afterwards.
#[doc(alias = "org.apache.s4.core.ProcessingElement")]
pub struct PePrototype<K, P> {
    pub(super) inner: Arc<Inner<K, P>>,
}

impl<K, P> Clone for PePrototype<K, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K, P> fmt::Debug for PePrototype<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PePrototype").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

/// Why something has to wait, and for what.
pub(super) enum Hindrance {
    /// For a PE that is on its way, or that somebody has since this coarse time.
    Arrival(Arc<Arrival>, Option<u32>),
    /// For room for one more PE.
    Room(Arc<Room>),
    /// For the storage, which has not stored what is too old.
    Exposure(Arc<Calm>),
    /// For the same: as many changes of the PE are not stored as may be.
    HeldUp(Arc<Arrival>),
}

/// Whether an attempt got through, or what keeps it.
pub(super) type Attempted<T, F> = Result<Result<T, (F, Hindrance)>, ProcessError>;

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Runs `f` on the PE of `key`, as one event: counts it, and has the PE checkpointed if it is
    /// due.
    ///
    /// If the PE is not in memory, it is restored first, or made by the factory if nothing is
    /// stored of it. `f` should be short: other keys of the shard wait meanwhile.
    ///
    /// # Errors
    /// The PE could not be restored, is in use for too long, is poisoned, or the keeper is closed;
    /// `f` was not run then, and the event can be tried again.
    ///
    /// # Panics
    /// Panics if `f` does. The PE is then poisoned.
    ///
    /// # Examples
    /// ```
    /// use checkpoint::{Checkpointable, InMemoryStorage, SafeKeeper};
    ///
    /// #[derive(Checkpointable, Default)]
    /// struct WordCount {
    ///     count: u64,
    /// }
    ///
    /// let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
    /// let words = keeper
    ///     .prototype::<String, WordCount>("word-count")
    ///     .create(|_word| WordCount::default())
    ///     .build()?;
    /// let count = words.process("alice", |pe| {
    ///     pe.count += 1;
    ///     pe.count
    /// })?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn process<A, R>(&self, key: A, f: impl FnOnce(&mut P) -> R) -> Result<R, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.run(key.as_key(), Access::Change, |pe| Effect::Changed(f(pe)))
    }

    /// Runs `f` on the PE of `key`; if it returns an error, the event does not count.
    ///
    /// With an error `f` says that it left the PE as it was: the PE is not marked as changed. What
    /// `f` changed before it failed would stay in memory all the same; check first, then change.
    ///
    /// # Errors
    /// As [`process`](Self::process); the result of `f` is inside.
    ///
    /// # Panics
    /// Panics if `f` does. The PE is then poisoned.
    pub fn try_process<A, R, E>(
        &self,
        key: A,
        f: impl FnOnce(&mut P) -> Result<R, E>,
    ) -> Result<Result<R, E>, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.run(key.as_key(), Access::Change, |pe| match f(pe) {
            Ok(result) => Effect::Changed(Ok(result)),
            Err(error) => Effect::Unchanged(Err(error)),
        })
    }

    /// Runs `f` on the PE of `key` without changing it; this is no event.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    ///
    /// # Panics
    /// Panics if `f` does. The PE is then poisoned.
    pub fn read<A, R>(&self, key: A, f: impl FnOnce(&P) -> R) -> Result<R, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.run(key.as_key(), Access::Read, |pe| Effect::Unchanged(f(pe)))
    }

    #[inline(always)]
    pub(super) fn run<Q, R>(
        &self,
        key: &Q,
        access: Access,
        f: impl FnOnce(&mut P) -> Effect<R>,
    ) -> Result<R, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.run_from(self.inner.place(key), key, (access, Nowhere), f)
    }

    #[inline(always)]
    pub(super) fn run_from<Q, R, O: Origin>(
        &self,
        place: Place,
        key: &Q,
        kind: (Access, O),
        f: impl FnOnce(&mut P) -> Effect<R>,
    ) -> Result<O::Output<R>, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        match self.inner.attempt(place, key, f, kind, Caller::MayWait)? {
            Ok(result) => Ok(result),
            Err((f, hindrance)) => self.run_later(place, key, f, kind, hindrance),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn run_later<Q, R, F, O: Origin>(
        &self,
        place: Place,
        key: &Q,
        mut f: F,
        kind: (Access, O),
        mut hindrance: Hindrance,
    ) -> Result<O::Output<R>, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(&mut P) -> Effect<R>,
    {
        let deadline = self.inner.deadline();
        loop {
            self.inner.wait(key, hindrance, deadline)?;
            match self.inner.attempt(place, key, f, kind, Caller::MayWait)? {
                Ok(result) => return Ok(result),
                Err((again, next)) => (f, hindrance) = (again, next),
            }
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    pub(super) fn deadline(&self) -> Timestamp {
        self.clock.now().after(self.config.wait_max())
    }

    /// Tries to run an event; if the PE is not there, sees to it that it comes.
    #[inline(always)]
    pub(super) fn attempt<Q, R, F, O: Origin>(
        self: &Arc<Self>,
        place: Place,
        key: &Q,
        f: F,
        kind: (Access, O),
        caller: Caller,
    ) -> Attempted<O::Output<R>, F>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(&mut P) -> Effect<R>,
    {
        let mut brief = self.lock_for_event(place.shard)?;
        if brief.is_called() {
            let locked = brief.into_locked();
            return self.attempt_called(place, key, f, kind, (locked, caller));
        }
        let at = (self.coarse_now(), kind.1);
        match brief.table().event((place.hash, key), at, f, |pe, f| f(pe)) {
            Attempt::Done(result) if !O::IS_CONFIRMED => {
                brief.leave();
                Ok(Ok(result))
            }
            other => self.conclude(place, key, other, kind, (brief.into_locked(), caller)),
        }
    }

    /// The same in a shard that has mail, a shut gate or somebody who waits.
    #[cold]
    #[inline(never)]
    fn attempt_called<Q, R, F, O: Origin>(
        self: &Arc<Self>,
        place: Place,
        key: &Q,
        f: F,
        kind: (Access, O),
        (mut locked, caller): (Locked<'_, K, P>, Caller),
    ) -> Attempted<O::Output<R>, F>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(&mut P) -> Effect<R>,
    {
        locked.take_in_mail();
        if !self.gate.is_open()
            && let Some(hindrance) = self.barred(kind.0)?
        {
            return Ok(Err((f, hindrance)));
        }
        let table = locked.table();
        let at = (self.coarse_now(), kind.1);
        let attempt = table.event((place.hash, key), at, f, |pe, f| f(pe));
        self.conclude(place, key, attempt, kind, (locked, caller))
    }

    /// Does what an attempt leaves to be done.
    #[cold]
    #[inline(never)]
    fn conclude<Q, R, F, O: Origin>(
        self: &Arc<Self>,
        place: Place,
        key: &Q,
        attempt: Attempt<O::Output<R>, F>,
        (access, origin): (Access, O),
        (mut locked, caller): (Locked<'_, K, P>, Caller),
    ) -> Attempted<O::Output<R>, F>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(&mut P) -> Effect<R>,
    {
        match attempt {
            Attempt::Done(result) => {
                if let Some(ticket) = origin.ticket() {
                    self.confirm((locked, caller), place.hash, key, ticket);
                }
                Ok(Ok(result))
            }
            Attempt::Marks(result, pe) => {
                let table = locked.table();
                let due = |since, count| self.is_due(since, count);
                table.mark_changed(pe, &self.triggers, || self.now(), due);
                match origin.ticket() {
                    Some(ticket) => self.confirm((locked, caller), place.hash, key, ticket),
                    None => self.relieve_of_due(locked, caller),
                }
                Ok(Ok(result))
            }
            Attempt::NotReady(mut f) => {
                if let Some(input) = origin.input()
                    && let Some(pe) = locked.table().has_lost_events(place.hash, key)
                {
                    self.check_lost(locked.table(), pe, input)?;
                    let at = (self.coarse_now(), origin.behind_nothing_lost());
                    match locked.table().event((place.hash, key), at, f, |pe, f| f(pe)) {
                        // It has lost nothing of this source, and is held up.
                        Attempt::NotReady(again) => f = again,
                        done => {
                            let kind = (access, origin);
                            return self.conclude(place, key, done, kind, (locked, caller));
                        }
                    }
                }
                let f = match access {
                    Access::Read => {
                        let (here, now) = ((place.hash, key), self.coarse_now());
                        match locked.table().read_held_up(here, now, f, |pe, f| f(pe)) {
                            Attempt::NotReady(f) => f,
                            Attempt::Done(result) | Attempt::Marks(result, _) => {
                                return Ok(Ok(O::output(result)));
                            }
                        }
                    }
                    Access::Change => f,
                };
                let obstacle = locked.table().obstacle(place.hash, key);
                let next = self.overcome(place, key, obstacle, locked, caller)?;
                Ok(Err((f, next)))
            }
        }
    }

    /// Gives a shard back, and lets the caller help if too many PEs are due.
    pub(super) fn relieve_of_due(&self, mut locked: Locked<'_, K, P>, caller: Caller) {
        let became_due = std::mem::take(&mut locked.table().became_due);
        drop(locked);
        if became_due > 0 {
            self.relieve(caller);
        }
    }

    /// Sees to it that a PE that is not there comes, and says what to wait for.
    #[cold]
    #[inline(never)]
    pub(super) fn overcome<Q>(
        self: &Arc<Self>,
        place: Place,
        key: &Q,
        obstacle: Obstacle,
        mut locked: Locked<'_, K, P>,
        caller: Caller,
    ) -> Result<Hindrance, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let id = self.id(key)?;
        let (pe, arrival, make) = match obstacle {
            Obstacle::Wait(arrival, since) => return Ok(Hindrance::Arrival(arrival, since)),
            Obstacle::Poisoned(last_durable, pe) => {
                return self.poisoned(place.shard, pe, id, last_durable, locked);
            }
            Obstacle::HeldUp(arrival) => {
                return match self.config.on_exposed() {
                    OnExposed::Reject => Err(self.exposed_events(id)),
                    OnExposed::Block => Ok(Hindrance::HeldUp(arrival)),
                };
            }
            Obstacle::Make(pe, arrival) => (pe, arrival, true),
            Obstacle::Fetch(pe, arrival) => {
                if !self.reserve() {
                    drop(locked);
                    return self.make_room(place.shard, id).map(Hindrance::Room);
                }
                let hasher = |key: &K| self.hash(key);
                let owned = key.to_owned();
                locked.table().insert_placeholder(owned, pe, arrival.clone(), hasher);
                self.recall_losses(locked.table(), pe);
                (pe, arrival, false)
            }
        };
        drop(locked);
        let coming = Coming { shard: place.shard, pe, key: key.to_owned(), id };
        if make {
            self.make(&coming);
        } else {
            self.begin_fetch(coming, caller);
        }
        Ok(Hindrance::Arrival(arrival, None))
    }

    /// Waits until it is worth trying again.
    pub(super) fn wait<Q>(
        &self,
        key: &Q,
        hindrance: Hindrance,
        deadline: Timestamp,
    ) -> Result<(), ProcessError>
    where
        Q: KeyBytes + ?Sized,
    {
        match hindrance {
            Hindrance::Arrival(arrival, since) => match self.wait_until(&arrival, deadline)? {
                Some(result) => result,
                None => Err(self.busy(self.id(key)?, since)),
            },
            Hindrance::Room(room) => match self.wait_until(&room, deadline)? {
                Some(()) => Ok(()),
                None => Err(self.full(self.id(key)?)),
            },
            Hindrance::Exposure(calm) => match self.wait_until(&calm, deadline)? {
                Some(()) => Ok(()),
                None => self.overexposed().map_or(Ok(()), Err),
            },
            Hindrance::HeldUp(arrival) => match self.wait_until(&arrival, deadline)? {
                Some(result) => result,
                None => Err(self.exposed_events(self.id(key)?)),
            },
        }
    }

    /// Waits for a signal, where this thread may; nothing comes of it by the deadline.
    fn wait_until<T: Clone>(
        &self,
        signal: &Arc<Signal<T>>,
        deadline: Timestamp,
    ) -> Result<Option<T>, ProcessError> {
        // What has happened already needs no waiting, and is no reason to refuse.
        match signal.result() {
            None if !reentrancy::may_wait() => Err(self.reentrant()),
            None => Ok(signal.wait(&*self.clock, Some(deadline))),
            happened => Ok(happened),
        }
    }

    pub(super) fn busy(&self, id: CheckpointId, since: Option<u32>) -> ProcessError {
        let now = coarse(self.now());
        let since = since.map_or(self.config.wait_max(), |since| coarse_span(since, now));
        ProcessError::Busy { id, since }
    }

    /// What an event gets of a PE that is held up.
    pub(super) fn exposed_events(&self, id: CheckpointId) -> ProcessError {
        let events_max = self.config.exposed_events_max().map_or(u32::MAX, NonZeroU32::get);
        ProcessError::ExposedEvents { id, events_max }
    }
}
