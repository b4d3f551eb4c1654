//! The ways to process an event without blocking a thread.
//!
//! The futures need no particular executor. They have types of their own, which know nothing of the
//! form in which the key was given: so a call with a borrowed key can be spawned.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::CheckpointTicket;
use crate::clock::Timestamp;
use crate::framework::Caller;
use crate::inputs::Ended;
use crate::process_error::ProcessError;
use crate::prototype::async_wait::Waiting;
use crate::prototype::entry::Effect;
use crate::prototype::gate::Access;
use crate::prototype::guard::PeGuard;
use crate::prototype::inner::Inner;
use crate::prototype::key::{AsKey, Key};
use crate::prototype::origin::{Nowhere, Origin};
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::state::Checkpointable;

/// An event that is processed without blocking a thread; made by
/// [`process_async`](PePrototype::process_async),
/// [`try_process_async`](PePrototype::try_process_async) and
/// [`read_async`](PePrototype::read_async).
///
/// It is ready at its first poll if the PE is in memory, and then allocates nothing. It is `Send`
/// if the closure is, and can be dropped at any time: then the closure has run, or it has not and
/// will not.
#[must_use = "futures do nothing unless they are polled"]
pub struct ProcessFuture<K, P, F, R> {
    call: Call<K, P>,
    // Taken by the event.
    f: Option<F>,
    run: fn(F, &mut P) -> Effect<R>,
    access: Access,
}

/// A PE that is lent out without blocking a thread; made by [`pe_async`](PePrototype::pe_async).
///
/// Like [`ProcessFuture`].
#[must_use = "futures do nothing unless they are polled"]
pub struct PeGuardFuture<K, P> {
    call: Call<K, P>,
    is_done: bool,
}

/// What the futures have in common.
pub(super) struct Call<K, P> {
    inner: Arc<Inner<K, P>>,
    key: K,
    /// Set when it has to wait for the first time.
    deadline: Option<Timestamp>,
    waiting: Option<Waiting>,
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Runs `f` on the PE of `key`, as [`process`](Self::process) does, without blocking the
    /// thread.
    ///
    /// The future is ready at its first poll if the PE is in memory. It can be polled by any
    /// executor, and dropped at any time: then `f` has run, or it has not and will not. It owns a
    /// copy of the key, and can be spawned if `f` can.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn process_async<A, R, F>(&self, key: A, f: F) -> ProcessFuture<K, P, F, R>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
        F: FnOnce(&mut P) -> R,
    {
        self.event_async(key.as_key().to_owned(), f, Access::Change, |f, pe| Effect::Changed(f(pe)))
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
    ) -> ProcessFuture<K, P, F, Result<R, E>>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
        F: FnOnce(&mut P) -> Result<R, E>,
    {
        self.event_async(key.as_key().to_owned(), f, Access::Change, |f, pe| match f(pe) {
            Ok(result) => Effect::Changed(Ok(result)),
            Err(error) => Effect::Unchanged(Err(error)),
        })
    }

    /// Runs `f` on the PE of `key` without changing it, as [`read`](Self::read) does, without
    /// blocking the thread: see [`process_async`](Self::process_async).
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn read_async<A, R, F>(&self, key: A, f: F) -> ProcessFuture<K, P, F, R>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
        F: FnOnce(&P) -> R,
    {
        self.event_async(key.as_key().to_owned(), f, Access::Read, |f, pe| Effect::Unchanged(f(pe)))
    }

    /// Lends out the PE of `key`, as [`pe`](Self::pe) does, without blocking the thread.
    ///
    /// The future can be polled by any executor, and dropped at any time.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn pe_async<A>(&self, key: A) -> PeGuardFuture<K, P>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        PeGuardFuture { call: self.call(key.as_key().to_owned()), is_done: false }
    }

    fn event_async<F, R>(
        &self,
        key: K,
        f: F,
        access: Access,
        run: fn(F, &mut P) -> Effect<R>,
    ) -> ProcessFuture<K, P, F, R> {
        ProcessFuture { call: self.call(key), f: Some(f), run, access }
    }

    pub(super) fn call(&self, key: K) -> Call<K, P> {
        Call { inner: self.inner.clone(), key, deadline: None, waiting: None }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Call<K, P> {
    /// Ready when it is worth trying, or when it will not be.
    fn poll_way(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ProcessError>> {
        if let Some(waiting) = &mut self.waiting {
            let result = ready!(self.inner.poll_waiting(waiting, &self.key, context));
            self.waiting = None;
            return Poll::Ready(result);
        }
        Poll::Ready(Ok(()))
    }

    /// Runs the event, which `f` is, as soon as it can.
    pub(super) fn poll_event<F, R, O: Origin>(
        &mut self,
        context: &mut Context<'_>,
        f: &mut Option<F>,
        run: impl Fn(F, &mut P) -> Effect<R>,
        kind: (Access, O),
    ) -> Poll<Result<O::Output<R>, ProcessError>> {
        loop {
            ready!(self.poll_way(context))?;
            if let Some(result) = self.attempt(f, &run, kind)? {
                return Poll::Ready(Ok(result));
            }
        }
    }

    /// Tries to run the event; nothing comes of it if there is something to wait for first.
    fn attempt<F, R, O: Origin>(
        &mut self,
        f: &mut Option<F>,
        run: impl FnOnce(F, &mut P) -> Effect<R>,
        kind: (Access, O),
    ) -> Result<Option<O::Output<R>>, ProcessError> {
        let event = |pe: &mut P| match f.take() {
            Some(f) => run(f, pe),
            None => unreachable!("an event runs once"),
        };
        let place = self.inner.place(&self.key);
        match self.inner.attempt(place, &self.key, event, kind, Caller::MustNotWait)? {
            Ok(result) => Ok(Some(result)),
            Err((_event, hindrance)) => {
                self.wait_for(hindrance);
                Ok(None)
            }
        }
    }

    fn wait_for(&mut self, hindrance: Hindrance) {
        let deadline = *self.deadline.get_or_insert_with(|| self.inner.deadline());
        self.waiting = Some(self.inner.begin_waiting(hindrance, deadline));
    }
}

impl<K: Key, P: Checkpointable + Send + 'static, F, R> Future for ProcessFuture<K, P, F, R> {
    type Output = Result<R, ProcessError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { call, f, run, access } = self.get_mut();
        // Not under the shard's lock: there a panic would poison the PE.
        assert!(f.is_some(), "an event was polled after its end");
        let result = ready!(call.poll_event(context, f, *run, (*access, Nowhere)));
        *f = None;
        Poll::Ready(result)
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Future for PeGuardFuture<K, P> {
    type Output = Result<PeGuard<K, P>, ProcessError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { call, is_done } = self.get_mut();
        assert!(!*is_done, "a future was polled after its end");
        loop {
            let way = ready!(call.poll_way(context));
            let place = call.inner.place(&call.key);
            match way.and_then(|()| call.inner.lend(place, &call.key, Caller::MustNotWait)) {
                Ok(Err(((), hindrance))) => call.wait_for(hindrance),
                Ok(Ok(guard)) => {
                    *is_done = true;
                    return Poll::Ready(Ok(guard));
                }
                Err(error) => {
                    *is_done = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

/// What comes of such an event, by whether it has run, and by whether the PE has changed.
type Ran<O, R> = <O as Origin>::Output<Result<R, R>>;

/// An event that has a position, and is processed without blocking a thread.
pub(crate) struct InputCall<K, P, F, R> {
    call: Call<K, P>,
    // Taken by the event.
    f: Option<F>,
    run: fn(F, &mut P) -> Result<R, R>,
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    pub(crate) fn input_call<F, R>(
        &self,
        key: K,
        f: F,
        run: fn(F, &mut P) -> Result<R, R>,
    ) -> InputCall<K, P, F, R> {
        InputCall { call: self.call(key), f: Some(f), run }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static, F, R> InputCall<K, P, F, R> {
    pub(crate) fn id(&self) -> Result<CheckpointId, ProcessError> {
        self.call.inner.id(&self.call.key)
    }

    /// Returns a ticket for the event.
    pub(crate) fn ticket(&self) -> Result<CheckpointTicket, ProcessError> {
        let (ticket, _request) = CheckpointTicket::new(self.id()?, self.call.inner.clock.clone());
        Ok(ticket)
    }

    /// Returns what the event does, before it is polled.
    pub(crate) fn input_mut(&mut self) -> Option<&mut F> {
        self.f.as_mut()
    }

    /// Runs the event once it is its turn: `turn` says what comes before it.
    pub(crate) fn poll<E: From<ProcessError>, O: Origin>(
        &mut self,
        context: &mut Context<'_>,
        origin: O,
        mut turn: impl FnMut(&Self) -> Result<Option<Arc<Ended>>, E>,
    ) -> Poll<Result<Ran<O, R>, E>> {
        loop {
            ready!(self.call.poll_way(context))?;
            if let Some(before) = turn(self)? {
                self.call.wait_for(Hindrance::Arrival(before, None));
                continue;
            }
            let Self { call, f, run } = self;
            let event = |f: F, pe: &mut P| match run(f, pe) {
                Ok(result) => Effect::Changed(Ok(result)),
                Err(result) => Effect::Unchanged(Err(result)),
            };
            if let Some(result) = call.attempt(f, event, (Access::Change, origin))? {
                return Poll::Ready(Ok(result));
            }
        }
    }
}

// Nothing in them is ever pinned.
impl<K, P, F, R> Unpin for ProcessFuture<K, P, F, R> {}
impl<K, P> Unpin for PeGuardFuture<K, P> {}

impl<K, P, F, R> fmt::Debug for ProcessFuture<K, P, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessFuture").finish_non_exhaustive()
    }
}

impl<K, P> fmt::Debug for PeGuardFuture<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeGuardFuture").finish_non_exhaustive()
    }
}
