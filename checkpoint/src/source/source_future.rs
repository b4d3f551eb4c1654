//! An event of a source that is processed without blocking a thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::inputs::{PeName, SourceState};
use crate::prototype::{Input, InputCall, Key, Origin};
use crate::source::event::{Event, Failure, Fed};
use crate::source::{Applied, SourceError};
use crate::state::Checkpointable;

/// An event of a source that is processed without blocking a thread; made by
/// [`Source::process_async`](crate::Source::process_async).
///
/// It counts as fed since it was made. It is ready at its first poll if its PE is in memory and no
/// event of that PE is before it. It can be dropped at any time: then the event has been processed,
/// or it has failed, holds the source back, and can be fed again.
#[must_use = "an event that is dropped has failed, and holds its source back"]
pub struct SourceFuture<K, P, F, R>(State<K, P, F, R>);

enum State<K, P, F, R> {
    Refused(SourceError),
    OnItsWay { event: Event<Arc<SourceState>>, pe: PeName, call: InputCall<K, P, F, R> },
    Ended,
}

impl<K, P, F, R> SourceFuture<K, P, F, R> {
    pub(super) fn refused(error: SourceError) -> Self {
        Self(State::Refused(error))
    }

    pub(super) fn new(
        event: Event<Arc<SourceState>>,
        pe: PeName,
        call: InputCall<K, P, F, R>,
    ) -> Self {
        Self(State::OnItsWay { event, pe, call })
    }
}

impl<K: Key, P: Checkpointable + Send + 'static, F, R> SourceFuture<K, P, F, R> {
    /// Polls it; `origin` says who else wants to know of the event.
    pub(super) fn poll_from<O>(
        &mut self,
        context: &mut Context<'_>,
        origin: impl FnOnce(Input) -> O,
    ) -> Poll<Result<Applied<R>, SourceError>>
    where
        O: Origin<Output<Result<R, R>> = Option<Result<R, R>>>,
    {
        let state = &mut self.0;
        // Taken out meanwhile: if the closure panics, the event has ended.
        let (event, pe, mut call) = match std::mem::replace(state, State::Ended) {
            State::OnItsWay { event, pe, call } => (event, pe, call),
            State::Refused(error) => return Poll::Ready(Err(error)),
            State::Ended => panic!("an event was polled after its end"),
        };
        let turn =
            |call: &InputCall<K, P, F, R>| event.turn(pe, || call.id()).map_err(Failure::Source);
        let Poll::Ready(result) = call.poll(context, origin(event.input()), turn) else {
            *state = State::OnItsWay { event, pe, call };
            return Poll::Pending;
        };
        Poll::Ready(match result {
            Ok(Some(Err(result))) => Ok(Applied::Now(result)),
            Ok(result) => {
                event.finish();
                Ok(match result {
                    Some(Ok(result) | Err(result)) => Applied::Now(result),
                    None => Applied::Before,
                })
            }
            Err(failure) => Err(failure.of(&event)),
        })
    }
}

impl<K: Key, P: Checkpointable + Send + 'static, F, R> Future for SourceFuture<K, P, F, R> {
    type Output = Result<Applied<R>, SourceError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_from(context, |input| input)
    }
}

// Nothing in it is ever pinned.
impl<K, P, F, R> Unpin for SourceFuture<K, P, F, R> {}

impl<K, P, F, R> fmt::Debug for SourceFuture<K, P, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SourceFuture");
        if let State::OnItsWay { event, .. } = &self.0 {
            shown.field("position", &event.position());
        }
        shown.finish_non_exhaustive()
    }
}
