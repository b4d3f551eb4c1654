//! Events whose results are held back until what they have left is durable.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::checkpoint_ticket::CheckpointTicket;
use crate::framework::Caller;
use crate::pending::Pending;
use crate::process_error::ProcessError;
use crate::prototype::entry::Effect;
use crate::prototype::events::Call;
use crate::prototype::gate::Access;
use crate::prototype::inner::Inner;
use crate::prototype::key::{AsKey, Key, KeyBytes};
use crate::prototype::origin::{Confirmed, Nowhere};
use crate::prototype::pe_prototype::PePrototype;
use crate::prototype::requests::{AskedBy, Requested};
use crate::prototype::shard::Locked;
use crate::state::Checkpointable;

/// An event whose result is held back, processed without blocking a thread; made by
/// [`process_pending_async`](PePrototype::process_pending_async).
///
/// Like [`ProcessFuture`](crate::ProcessFuture). It is ready when the event has run; what it
/// returns is a future again, which is ready when that is durable.
#[must_use = "futures do nothing unless they are polled"]
pub struct PendingFuture<K, P, F, R> {
    call: Call<K, P>,
    // Taken by the event.
    f: Option<F>,
    run: fn(F, &mut P) -> R,
    // Taken at the end.
    ticket: Option<Result<CheckpointTicket, ProcessError>>,
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Runs `f` on the PE of `key`, as [`process`](Self::process) does, and holds its result back
    /// until what `f` has left in the PE is durable.
    ///
    /// The PE is captured at once, whatever its triggers say: see [`Pending`].
    ///
    /// # Errors
    /// As [`process`](Self::process).
    ///
    /// # Panics
    /// Panics if `f` does. The PE is then poisoned.
    pub fn process_pending<A, R>(
        &self,
        key: A,
        f: impl FnOnce(&mut P) -> R,
    ) -> Result<Pending<R>, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let key = key.as_key();
        let ticket = self.ticket(key)?;
        let origin = Confirmed { origin: Nowhere, ticket: &ticket };
        let kind = (Access::Change, origin);
        let result =
            self.run_from(self.inner.place(key), key, kind, |pe| Effect::Changed(f(pe)))?;
        Ok(Pending::new(result, ticket))
    }

    /// Runs `f` as [`process_pending`](Self::process_pending) does, without blocking the thread:
    /// see [`process_async`](Self::process_async).
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn process_pending_async<A, R, F>(&self, key: A, f: F) -> PendingFuture<K, P, F, R>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
        F: FnOnce(&mut P) -> R,
    {
        let key = key.as_key();
        let ticket = Some(self.ticket(key));
        let call = self.call(key.to_owned());
        PendingFuture { call, f: Some(f), run: |f, pe| f(pe), ticket }
    }

    /// Returns a ticket for an event of a PE.
    pub(crate) fn ticket<Q: KeyBytes + ?Sized>(
        &self,
        key: &Q,
    ) -> Result<CheckpointTicket, ProcessError> {
        let (ticket, _request) =
            CheckpointTicket::new(self.inner.id(key)?, self.inner.clock.clone());
        Ok(ticket)
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Has a ticket answered when what an event has left in a PE, just now, is stored.
    #[cold]
    pub(super) fn confirm<Q>(
        &self,
        (mut locked, caller): (Locked<'_, K, P>, Caller),
        hash: u64,
        key: &Q,
        ticket: &CheckpointTicket,
    ) where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let table = locked.table();
        let found = table.entries.find(hash, |entry| entry.key.borrow() == key);
        let pe = found.filter(|_| self.triggers.stores).map(|entry| entry.handle(hash));
        let asked = (ticket.signal(), AskedBy::Holder);
        let requested = match pe {
            Some(pe) => table.request(pe, ticket.id(), asked, &self.triggers, || self.now()),
            None => Requested::Answered(None),
        };
        match requested {
            Requested::Waits => {}
            Requested::Answered(version) => {
                table.aftermath().answers.push((ticket.signal().clone(), Ok(version)));
            }
            Requested::Poisoned(_) => unreachable!("an event has just run on the PE"),
        }
        self.relieve_of_due(locked, caller);
    }
}

impl<K: Key, P: Checkpointable + Send + 'static, F, R> Future for PendingFuture<K, P, F, R> {
    type Output = Result<Pending<R>, ProcessError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { call, f, run, ticket } = self.get_mut();
        // Not under the shard's lock: there a panic would poison the PE.
        let asked = match ticket.take() {
            Some(asked) => asked?,
            None => panic!("an event was polled after its end"),
        };
        let origin = Confirmed { origin: Nowhere, ticket: &asked };
        let event = |f: F, pe: &mut P| Effect::Changed(run(f, pe));
        match call.poll_event(context, f, event, (Access::Change, origin)) {
            Poll::Pending => {
                *ticket = Some(Ok(asked));
                Poll::Pending
            }
            Poll::Ready(result) => Poll::Ready(Ok(Pending::new(result?, asked))),
        }
    }
}

// Nothing in it is ever pinned.
impl<K, P, F, R> Unpin for PendingFuture<K, P, F, R> {}

impl<K, P, F, R> fmt::Debug for PendingFuture<K, P, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingFuture").finish_non_exhaustive()
    }
}
