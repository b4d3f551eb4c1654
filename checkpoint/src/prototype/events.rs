//! The ways to process an event without blocking a thread.
//!
//! The futures need no particular executor. Deadlines are kept by the framework's timer: it wakes
//! those who wait, and they look at the time.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use crate::capture::RequestSignal;
use crate::checkpoint_ticket::{CheckpointOutcome, CheckpointTicket};
use crate::clock::Timestamp;
use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Arrival, Effect};
use crate::prototype::guard::PeGuard;
use crate::prototype::inner::Inner;
use crate::prototype::key::{AsKey, Key};
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::shard::Room;

use crate::state::Checkpointable;
use crate::wait::Signal;

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Runs `f` on the PE of `key`, as [`process`](Self::process) does, without blocking the
    /// thread.
    ///
    /// The future is ready at its first poll if the PE is in memory. It can be polled by any
    /// executor, and dropped at any time: then `f` has run, or it has not and will not.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn process_async<A, R, F>(
        &self,
        key: A,
        f: F,
    ) -> impl Future<Output = Result<R, ProcessError>> + use<A, R, F, K, P>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
        F: FnOnce(&mut P) -> R,
    {
        self.inner.clone().run_async(key.as_key().to_owned(), |pe| Effect::Changed(f(pe)))
    }

    /// Runs `f` on the PE of `key`, as [`try_process`](Self::try_process) does, without blocking
    /// the thread: see [`process_async`](Self::process_async).
    ///
    /// # Errors
    /// As [`process`](Self::process); the result of `f` is inside.
    pub fn try_process_async<A, R, E, F>(
        &self,
        key: A,
        f: F,
    ) -> impl Future<Output = Result<Result<R, E>, ProcessError>> + use<A, R, E, F, K, P>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
        F: FnOnce(&mut P) -> Result<R, E>,
    {
        self.inner.clone().run_async(key.as_key().to_owned(), |pe| match f(pe) {
            Ok(result) => Effect::Changed(Ok(result)),
            Err(error) => Effect::Unchanged(Err(error)),
        })
    }

    /// Runs `f` on the PE of `key` without changing it, as [`read`](Self::read) does, without
    /// blocking the thread: see [`process_async`](Self::process_async).
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn read_async<A, R, F>(
        &self,
        key: A,
        f: F,
    ) -> impl Future<Output = Result<R, ProcessError>> + use<A, R, F, K, P>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
        F: FnOnce(&P) -> R,
    {
        self.inner.clone().run_async(key.as_key().to_owned(), |pe| Effect::Unchanged(f(pe)))
    }

    /// Lends out the PE of `key`, as [`pe`](Self::pe) does, without blocking the thread.
    ///
    /// The future can be polled by any executor, and dropped at any time.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn pe_async<A>(
        &self,
        key: A,
    ) -> impl Future<Output = Result<PeGuard<K, P>, ProcessError>> + use<A, K, P>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.inner.clone().lend_async(key.as_key().to_owned())
    }
}

/// Who waits in a future, by the deadlines. They do not come in order: a future that waits for the
/// second time keeps the deadline of the first.
#[derive(Default)]
pub(super) struct AsyncWaits {
    by_deadline: BTreeMap<(Timestamp, u64), Awaited>,
    next: u64,
}

enum Awaited {
    Arrival(Weak<Arrival>),
    Answer(Weak<RequestSignal>),
    Room(Weak<Room>),
}

impl AsyncWaits {
    /// Takes out those whose deadline has come; they are to be nudged, outside any lock.
    fn take_due(&mut self, now: Timestamp) -> Vec<Awaited> {
        let mut due = Vec::new();
        while let Some(first) = self.by_deadline.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }

    fn add(&mut self, deadline: Timestamp, awaited: Awaited) {
        self.by_deadline.insert((deadline, self.next), awaited);
        self.next += 1;
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.by_deadline.keys().next().map(|(deadline, _)| *deadline)
    }
}

impl<K, P> Inner<K, P> {
    /// Makes futures whose deadline has come look at the time; returns the next deadline.
    pub(super) fn nudge_async_waits(&self, now: Timestamp) -> Option<Timestamp> {
        let (due, next) = {
            let mut waits = self.async_waits.lock();
            let due = waits.take_due(now);
            (due, waits.next_deadline())
        };
        for awaited in due {
            match awaited {
                Awaited::Arrival(arrival) => {
                    arrival.upgrade().inspect(|arrival| arrival.nudge());
                }
                Awaited::Answer(answer) => {
                    answer.upgrade().inspect(|answer| answer.nudge());
                }
                Awaited::Room(room) => {
                    room.upgrade().inspect(|room| room.nudge());
                }
            }
        }
        next
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    async fn run_async<R, F>(self: Arc<Self>, key: K, f: F) -> Result<R, ProcessError>
    where
        F: FnOnce(&mut P) -> Effect<R>,
    {
        let place = self.place(&key);
        let mut f = Some(f);
        let mut deadline = None;
        loop {
            let run = |pe: &mut P| match f.take() {
                Some(f) => f(pe),
                None => unreachable!("an event runs once"),
            };
            let hindrance = match self.attempt(place, &key, run, Caller::MustNotWait)? {
                Ok(result) => return Ok(result),
                Err((_run, hindrance)) => hindrance,
            };
            let deadline = *deadline.get_or_insert_with(|| self.deadline());
            self.wait_async(&key, hindrance, deadline).await?;
        }
    }

    async fn lend_async(self: Arc<Self>, key: K) -> Result<PeGuard<K, P>, ProcessError> {
        let place = self.place(&key);
        let mut deadline = None;
        loop {
            let hindrance = match self.lend(place, &key, Caller::MustNotWait)? {
                Ok(guard) => return Ok(guard),
                Err(((), hindrance)) => hindrance,
            };
            let deadline = *deadline.get_or_insert_with(|| self.deadline());
            self.wait_async(&key, hindrance, deadline).await?;
        }
    }

    pub(super) async fn wait_async(
        &self,
        key: &K,
        hindrance: Hindrance,
        deadline: Timestamp,
    ) -> Result<(), ProcessError> {
        match hindrance {
            Hindrance::Arrival(arrival, since) => {
                let awaited = Awaited::Arrival(Arc::downgrade(&arrival));
                match self.until(arrival, awaited, deadline).await {
                    Some(result) => result,
                    None => Err(self.busy(self.id(key)?, since)),
                }
            }
            Hindrance::Room(room) => {
                let awaited = Awaited::Room(Arc::downgrade(&room));
                match self.until(room, awaited, deadline).await {
                    Some(()) => Ok(()),
                    None => Err(self.full(self.id(key)?)),
                }
            }
        }
    }

    /// Waits for the answer to a manual request until the deadline.
    pub(super) async fn until_answered(
        &self,
        ticket: &CheckpointTicket,
        deadline: Timestamp,
    ) -> Option<CheckpointOutcome> {
        let answer = ticket.signal().clone();
        let awaited = Awaited::Answer(Arc::downgrade(&answer));
        self.until(answer, awaited, deadline).await
    }

    /// Waits for a signal until the deadline.
    async fn until<T: Clone>(
        &self,
        signal: Arc<Signal<T>>,
        awaited: Awaited,
        deadline: Timestamp,
    ) -> Option<T> {
        if let Some(result) = signal.result() {
            return Some(result);
        }
        self.async_waits.lock().add(deadline, awaited);
        self.framework.call_at(self.index, deadline);
        let mut wait = signal.into_future();
        poll_fn(|context| match Pin::new(&mut wait).poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.clock.now() >= deadline => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
