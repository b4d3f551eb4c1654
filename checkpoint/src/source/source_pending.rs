//! Events of a source whose results are held back until what they have left is durable.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::checkpoint_ticket::CheckpointTicket;
use crate::pending::Pending;
use crate::process_error::ProcessError;
use crate::prototype::{AsKey, Confirmed, Input, Key, KeyBytes, PePrototype};
use crate::source::event::{Event, Fed};
use crate::source::source_future::SourceFuture;
use crate::source::{Applied, Source, SourceError};
use crate::state::Checkpointable;

/// An event of a source whose result is held back, processed without blocking a thread; made by
/// [`Source::process_pending_async`].
///
/// Like [`SourceFuture`](crate::SourceFuture). It is ready when the event has run; what it returns
/// is a future again, which is ready when that is durable.
#[must_use = "an event that is dropped has failed, and holds its source back"]
pub struct SourcePendingFuture<K, P, F, R> {
    event: SourceFuture<K, P, F, R>,
    // Taken at the end; there is none if the event was refused when it was made.
    ticket: Option<CheckpointTicket>,
}

impl Source {
    /// Runs `f` as [`process`](Self::process) does, and holds its result back until the event is
    /// contained in a durable checkpoint of the PE: see [`Pending`]. So it is for an event that the
    /// PE contained already.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    ///
    /// # Panics
    /// As [`process`](Self::process).
    pub fn process_pending<K, P, A, R>(
        &mut self,
        prototype: &PePrototype<K, P>,
        key: A,
        position: u64,
        f: impl FnOnce(&mut P) -> R,
    ) -> Result<Pending<Applied<R>>, SourceError>
    where
        K: Key + Borrow<A::Borrowed>,
        P: Checkpointable + Send + 'static,
        A: AsKey<K>,
    {
        let key = key.as_key();
        let ticket = match prototype.ticket(key) {
            Ok(ticket) => ticket,
            Err(error) => return Err(self.fail(prototype, key, position, error)),
        };
        let confirmed = |origin| Confirmed { origin, ticket: &ticket };
        let applied = self.run(prototype, key, position, confirmed, |pe| Ok(f(pe)))?;
        Ok(Pending::new(applied, ticket))
    }

    /// Runs `f` as [`process_pending`](Self::process_pending) does, without blocking the thread:
    /// see [`process_async`](Self::process_async).
    ///
    /// # Errors
    /// As [`process_async`](Self::process_async).
    pub fn process_pending_async<K, P, A, R, F>(
        &mut self,
        prototype: &PePrototype<K, P>,
        key: A,
        position: u64,
        f: F,
    ) -> SourcePendingFuture<K, P, F, R>
    where
        K: Key + Borrow<A::Borrowed>,
        P: Checkpointable + Send + 'static,
        A: AsKey<K>,
        F: FnOnce(&mut P) -> R,
    {
        match prototype.ticket(key.as_key()) {
            Ok(ticket) => {
                let event = self.process_async(prototype, key, position, f);
                SourcePendingFuture { event, ticket: Some(ticket) }
            }
            Err(error) => {
                let error = self.fail(prototype, key.as_key(), position, error);
                SourcePendingFuture { event: SourceFuture::refused(error), ticket: None }
            }
        }
    }

    /// Has an event fail that cannot even be asked for: as another that fails, it holds the source
    /// back.
    fn fail<K, P, Q>(
        &mut self,
        prototype: &PePrototype<K, P>,
        key: &Q,
        position: u64,
        error: ProcessError,
    ) -> SourceError
    where
        K: Key + Borrow<Q>,
        P: Checkpointable + Send + 'static,
        Q: KeyBytes + std::hash::Hash + ?Sized,
    {
        let begun = self.check_feeds(prototype);
        match begun.and_then(|()| self.begin(position, vec![prototype.locate(key).name])) {
            Ok(()) => Event::new(&*self.state, position).failed(error),
            Err(error) => error,
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static, F, R> Future for SourcePendingFuture<K, P, F, R> {
    type Output = Result<Pending<Applied<R>>, SourceError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { event, ticket } = self.get_mut();
        let Some(asked) = ticket else {
            // It was refused, or has ended.
            return event.poll_from(context, |input| input).map(|never| match never {
                Ok(_) => unreachable!("an event without a ticket never runs"),
                Err(error) => Err(error),
            });
        };
        let confirmed = |origin: Input| Confirmed { origin, ticket: asked };
        let applied = ready!(event.poll_from(context, confirmed))?;
        match ticket.take() {
            Some(ticket) => Poll::Ready(Ok(Pending::new(applied, ticket))),
            None => unreachable!("it was there"),
        }
    }
}

// Nothing in it is ever pinned.
impl<K, P, F, R> Unpin for SourcePendingFuture<K, P, F, R> {}

impl<K, P, F, R> fmt::Debug for SourcePendingFuture<K, P, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourcePendingFuture").field("event", &self.event).finish_non_exhaustive()
    }
}
