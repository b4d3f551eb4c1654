//! An event of a source that touches several PEs, or one PE with several steps.

use std::any::Any;
use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use crate::checkpoint_ticket::CheckpointTicket;
use crate::inputs::{PeName, SourceState};
use crate::pending::Pending;
use crate::process_error::ProcessError;
use crate::prototype::{AsKey, Confirmed, Input, InputCall, Key, PePrototype};
use crate::source::event::{Event, Failure, Fed};
use crate::source::{Applied, Source, SourceError};
use crate::state::Checkpointable;

/// An event that touches several PEs; made by [`Source::event`].
///
/// It is safe when all of them contain it. Each closure sees its own PE only; those for the same PE
/// run together, in their order, and the PE contains all of them or none. PEs are touched one after
/// the other, each under its own lock: others may see one that contains the event beside one that
/// does not yet, and so may a restart. When the event is fed again, PEs that contain it skip it.
///
/// # Examples
/// ```
/// use checkpoint::{InMemoryStorage, SafeKeeper};
///
/// let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
/// let accounts = keeper.prototype::<String, i64>("account").create(|_| 0).build()?;
/// let totals = keeper.prototype::<String, u64>("total").create(|_| 0).build()?;
/// let mut transfers = keeper.source("transfers")?;
/// transfers
///     .event(0)
///     .on(&accounts, "alice", |balance| *balance -= 5)
///     .on(&accounts, "bob", |balance| *balance += 5)
///     .on(&totals, "transfers", |count| *count += 1)
///     .run()?;
/// assert_eq!(accounts.read("bob", |balance| *balance)?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an event that is not run is not fed"]
pub struct SourceEvent<'s, 'f> {
    source: &'s mut Source,
    position: u64,
    parts: VecDeque<Part<'f>>,
    /// Whoever can wait for its PEs on this thread.
    driver: Option<Box<dyn Drive>>,
    refused: Option<SourceError>,
}

/// What it does with one PE.
struct Part<'a> {
    pe: PeName,
    key: Vec<u8>,
    call: Box<dyn Touch<'a> + Send + 'a>,
    /// Answered when the PE that contains the event is stored, if somebody wants to know.
    ticket: Option<CheckpointTicket>,
}

/// What is done with a PE, whose type only who made this knows.
type Step<'a> = Box<dyn FnOnce(&mut dyn Any) + Send + 'a>;

trait Touch<'a> {
    fn add(&mut self, step: Step<'a>);
    fn ticket(&self) -> Result<CheckpointTicket, ProcessError>;
    /// Runs the steps once it is the event's turn. Returns whether they have run.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        input: (Input, Option<&CheckpointTicket>),
        event: (&Event<Arc<SourceState>>, PeName),
    ) -> Poll<Result<bool, Failure>>;
}

impl<'a, K, P> Touch<'a> for InputCall<K, P, Vec<Step<'a>>, ()>
where
    K: Key,
    P: Checkpointable + Send + 'static,
{
    fn add(&mut self, step: Step<'a>) {
        if let Some(steps) = self.input_mut() {
            steps.push(step);
        }
    }

    fn ticket(&self) -> Result<CheckpointTicket, ProcessError> {
        self.ticket()
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        (origin, ticket): (Input, Option<&CheckpointTicket>),
        (event, pe): (&Event<Arc<SourceState>>, PeName),
    ) -> Poll<Result<bool, Failure>> {
        let turn = |call: &Self| event.turn(pe, || call.id()).map_err(Failure::Source);
        let ran = ready!(match ticket {
            None => self.poll(context, origin, turn),
            Some(ticket) => self.poll(context, Confirmed { origin, ticket }, turn),
        })?;
        Poll::Ready(Ok(ran.is_some()))
    }
}

trait Drive {
    fn drive(&self, future: &mut SourceEventFuture<'_>) -> Result<Applied<()>, SourceError>;
}

impl<K: Key, P: Checkpointable + Send + 'static> Drive for PePrototype<K, P> {
    fn drive(&self, future: &mut SourceEventFuture<'_>) -> Result<Applied<()>, SourceError> {
        let (mut result, mut driven) = (None, &mut *future);
        let until_done = async {
            result = Some((&mut driven).await);
            Ok(())
        };
        match (self.drive(until_done), result) {
            (_, Some(result)) => result,
            (Err(error), None) => Err(future.failed(error)),
            (Ok(()), None) => unreachable!("it is done when there is a result"),
        }
    }
}

impl Source {
    /// Begins an event that touches several PEs, or one with several steps.
    ///
    /// Nothing happens before [`run`](SourceEvent::run).
    pub fn event<'f>(&mut self, position: u64) -> SourceEvent<'_, 'f> {
        let parts = VecDeque::new();
        SourceEvent { source: self, position, parts, driver: None, refused: None }
    }
}

impl<'f> SourceEvent<'_, 'f> {
    /// Adds that `f` is run on the PE of `key`, behind what was added for that PE before.
    ///
    /// To know what `f` has found, have it write into a variable outside.
    pub fn on<K, P, A>(
        mut self,
        prototype: &PePrototype<K, P>,
        key: A,
        f: impl FnOnce(&mut P) + Send + 'f,
    ) -> Self
    where
        K: Key + Borrow<A::Borrowed>,
        P: Checkpointable + Send + 'static,
        A: AsKey<K>,
    {
        if let Err(error) = self.source.check_feeds(prototype) {
            self.refused.get_or_insert(error);
            return self;
        }
        let step: Step<'f> = Box::new(|pe| match pe.downcast_mut() {
            Some(pe) => f(pe),
            None => unreachable!("the PEs of one prototype have one type"),
        });
        let owned = key.as_key().to_owned();
        let pe = prototype.locate(&owned).name;
        let key = owned.with_key_bytes(<[u8]>::to_vec);
        let same = self.parts.iter_mut().find(|part| part.pe == pe && part.key == key);
        if let Some(part) = same {
            part.call.add(step);
            return self;
        }
        let call = prototype.input_call(owned, vec![step], |steps: Vec<Step<'f>>, pe| {
            for step in steps {
                step(pe);
            }
            Ok(())
        });
        self.parts.push_back(Part { pe, key, call: Box::new(call), ticket: None });
        self.driver.get_or_insert_with(|| Box::new(prototype.clone()));
        self
    }

    /// Runs the event: [`Applied::Before`] if all PEs contain it already.
    ///
    /// # Errors
    /// As [`Source::process`]. PEs before the one that failed contain the event; it holds the
    /// source back until it is fed again, with the same steps, or is skipped.
    ///
    /// # Panics
    /// If a closure panics, so does this. The event counts as failed; the PE is poisoned.
    pub fn run(mut self) -> Result<Applied<()>, SourceError> {
        let driver = self.driver.take();
        self.begin(false).driven(driver)
    }

    /// Runs the event as [`run`](Self::run) does, without blocking the thread.
    ///
    /// It counts as fed when this returns: see [`Source::process_async`].
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_async(self) -> SourceEventFuture<'f> {
        self.begin(false)
    }

    /// Runs the event as [`run`](Self::run) does, and holds its result back until all its PEs are
    /// durable with it: see [`Pending`]. So it is for PEs that contained the event already.
    ///
    /// If one of them cannot be stored for good, the error names it; the others may be stored.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_pending(mut self) -> Result<Pending<Applied<()>>, SourceError> {
        let driver = self.driver.take();
        let mut event = self.begin(true);
        let applied = event.driven(driver)?;
        Ok(Pending::of_several(applied, event.tickets))
    }

    /// Runs the event as [`run_pending`](Self::run_pending) does, without blocking the thread.
    ///
    /// It counts as fed when this returns: see [`Source::process_async`].
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_pending_async(self) -> SourceEventPendingFuture<'f> {
        SourceEventPendingFuture(self.begin(true))
    }

    fn begin(self, is_held_back: bool) -> SourceEventFuture<'f> {
        let Self { source, position, mut parts, refused, .. } = self;
        let pes = parts.iter().map(|part| part.pe).collect();
        let begun = refused.map_or_else(|| source.begin(position, pes), Err).and_then(|()| {
            let event = Event::new(source.state.clone(), position);
            if is_held_back {
                for part in &mut parts {
                    let ticket = part.call.ticket().map_err(|error| event.failed(error))?;
                    part.ticket = Some(ticket);
                }
            }
            Ok(event)
        });
        let state = match begun {
            Err(error) => State::Refused(error),
            Ok(event) => State::OnItsWay(event, parts),
        };
        SourceEventFuture { state, applied: Applied::Before, tickets: Vec::new() }
    }
}

impl fmt::Debug for SourceEvent<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceEvent").field("position", &self.position).finish_non_exhaustive()
    }
}

/// An event that touches several PEs without blocking a thread; made by
/// [`SourceEvent::run_async`].
///
/// Like [`SourceFuture`](crate::SourceFuture). If it is dropped before it is ready, some of its PEs
/// may contain it, and others not: it has failed, and can be fed again.
#[must_use = "an event that is dropped has failed, and holds its source back"]
pub struct SourceEventFuture<'a> {
    state: State<'a>,
    applied: Applied<()>,
    /// Of the PEs that contain the event by now.
    tickets: Vec<CheckpointTicket>,
}

/// An event that touches several PEs without blocking a thread, and whose result is held back; made
/// by [`SourceEvent::run_pending_async`].
///
/// Like [`SourceEventFuture`]. It is ready when the event has run; what it returns is a future
/// again, which is ready when that is durable.
#[must_use = "an event that is dropped has failed, and holds its source back"]
pub struct SourceEventPendingFuture<'a>(SourceEventFuture<'a>);

enum State<'a> {
    Refused(SourceError),
    OnItsWay(Event<Arc<SourceState>>, VecDeque<Part<'a>>),
    Ended,
}

impl SourceEventFuture<'_> {
    /// Runs it on this thread.
    fn driven(&mut self, driver: Option<Box<dyn Drive>>) -> Result<Applied<()>, SourceError> {
        match driver {
            Some(driver) => driver.drive(self),
            // It touches nothing, or was refused.
            None => match Pin::new(self).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => result,
                Poll::Pending => unreachable!("there is nothing to wait for"),
            },
        }
    }

    fn failed(&self, error: ProcessError) -> SourceError {
        match &self.state {
            State::OnItsWay(event, _) => event.failed(error),
            State::Refused(_) | State::Ended => unreachable!("it has a result by then"),
        }
    }
}

impl Future for SourceEventFuture<'_> {
    type Output = Result<Applied<()>, SourceError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Taken out meanwhile: if a closure panics, the event has ended.
        let (event, mut parts) = match std::mem::replace(&mut this.state, State::Ended) {
            State::OnItsWay(event, parts) => (event, parts),
            State::Refused(error) => return Poll::Ready(Err(error)),
            State::Ended => panic!("an event was polled after its end"),
        };
        while let Some(Part { pe, call, ticket, .. }) = parts.front_mut() {
            match call.poll(context, (event.input(), ticket.as_ref()), (&event, *pe)) {
                Poll::Pending => {
                    this.state = State::OnItsWay(event, parts);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(has_run)) => {
                    if has_run {
                        this.applied = Applied::Now(());
                    }
                    this.tickets.extend(ticket.take());
                    parts.pop_front();
                }
                // Dropped: it has failed.
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure.of(&event))),
            }
        }
        event.finish();
        Poll::Ready(Ok(this.applied))
    }
}

impl Future for SourceEventPendingFuture<'_> {
    type Output = Result<Pending<Applied<()>>, SourceError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let event = &mut self.get_mut().0;
        let applied = ready!(Pin::new(&mut *event).poll(context))?;
        Poll::Ready(Ok(Pending::of_several(applied, std::mem::take(&mut event.tickets))))
    }
}

impl fmt::Debug for SourceEventPendingFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceEventPendingFuture").field(&self.0).finish()
    }
}

impl fmt::Debug for SourceEventFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SourceEventFuture");
        if let State::OnItsWay(event, _) = &self.state {
            shown.field("position", &event.position());
        }
        shown.finish_non_exhaustive()
    }
}
