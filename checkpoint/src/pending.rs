//! A result that is held back until the state it came from is durable.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::{CheckpointOutcome, CheckpointTicket};
use crate::reentrancy::as_keeper_thread;
use crate::save_error::SaveError;
use crate::sync::Mutex;

/// What an event has returned, held back until what it has left in its PE is durable; made by
/// [`process_pending`](crate::PePrototype::process_pending) and its twins.
///
/// An answer that is sent only then is never taken back by a crash: who has got it finds its event
/// in the state for ever. It is a future, can be [waited](Self::wait) for, or
/// [tells](Self::on_durable) when it is there; [`unconfirmed`](Self::unconfirmed) takes it out
/// before. Dropping it takes nothing back.
///
/// # What it costs
/// The PE is captured at once, whatever its triggers say, as by
/// [`checkpoint`](crate::PePrototype::checkpoint). Events that come while that is being stored are
/// captured together after it, so a PE with many events is stored as often as the storage can, not
/// once for each.
///
/// # When storing fails
/// While the storage fails for a time, the PE is captured again and again by itself, and this goes
/// on waiting. It ends with an error when nothing more follows: the state itself is refused, was
/// withdrawn, or the keeper was closed.
///
/// # What durable is
/// What the storage says of itself: see [`Durability`](crate::Durability). Over a framework that
/// stores nothing, all results are released at once.
///
/// # Examples
/// ```
/// use checkpoint::{InMemoryStorage, SafeKeeper};
///
/// let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
/// let balances = keeper.prototype::<u64, i64>("balance").create(|_| 0).build()?;
/// let balance = balances.process_pending(7, |balance| {
///     *balance += 100;
///     *balance
/// })?;
/// // Stored, or an error that says why not.
/// println!("the balance is {}", balance.wait()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a result that is not waited for may be lost with its state"]
pub struct Pending<T> {
    // Taken when it is released.
    result: Option<T>,
    // One, without an allocation, but for an event that touches none or several PEs.
    first: Option<CheckpointTicket>,
    others: Vec<CheckpointTicket>,
}

impl<T> Pending<T> {
    pub(crate) fn new(result: T, ticket: CheckpointTicket) -> Self {
        Self { result: Some(result), first: Some(ticket), others: Vec::new() }
    }

    /// One that is held back until all of these are answered.
    pub(crate) fn of_several(
        result: T,
        tickets: impl IntoIterator<Item = CheckpointTicket>,
    ) -> Self {
        let mut tickets = tickets.into_iter();
        Self { result: Some(result), first: tickets.next(), others: tickets.collect() }
    }

    fn tickets(&self) -> impl Iterator<Item = &CheckpointTicket> {
        self.first.iter().chain(&self.others)
    }

    /// Returns the ids of the PEs: one, but for an event that touches [several](
    /// crate::SourceEvent::run_pending).
    pub fn ids(&self) -> impl Iterator<Item = &CheckpointId> {
        self.tickets().map(CheckpointTicket::id)
    }

    /// Says whether the state is durable: `None` if it is not known yet. Of several PEs the state
    /// of each has to be, and the first that will not be, in their order, makes it an error.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), SaveError>> {
        self.each(CheckpointTicket::outcome)
    }

    /// Asks one after the other, until one of them is not known or has failed.
    fn each(
        &self,
        ask: impl Fn(&CheckpointTicket) -> Option<CheckpointOutcome>,
    ) -> Option<Result<(), SaveError>> {
        for ticket in self.tickets() {
            if let Err(error) = ask(ticket)? {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }

    /// Waits on this thread until the state is durable, and returns the result.
    ///
    /// # Errors
    /// The state could not be stored, the keeper was closed before it was, or this thread must not
    /// wait: it belongs to the keeper, or is inside an event. What the event has changed is still
    /// in the PE unless the error says otherwise, and may become durable later.
    ///
    /// # Panics
    /// Panics if it was ready as a future before.
    pub fn wait(mut self) -> Result<T, SaveError> {
        let result = self.take();
        match self.each(|ticket| ticket.wait_until(None)) {
            Some(outcome) => outcome.map(|()| result),
            None => unreachable!("a wait without a deadline ends with an answer"),
        }
    }

    /// Waits as [`wait`](Self::wait) does, for a limited time. Then it is given back.
    ///
    /// # Errors
    /// It is not known yet whether the state is durable. As [`wait`](Self::wait), inside.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(mut self, time: Duration) -> Result<Result<T, SaveError>, Self> {
        let deadline = self.first.as_ref().map(|ticket| ticket.time_from_now(time));
        match self.each(|ticket| ticket.wait_until(deadline)) {
            None => Err(self),
            Some(outcome) => {
                let result = self.take();
                Ok(outcome.map(|()| result))
            }
        }
    }

    /// Returns the result though a crash may still undo what it says.
    ///
    /// # Panics
    /// Panics if it was ready as a future before.
    #[must_use]
    pub fn unconfirmed(mut self) -> T {
        self.take()
    }

    /// Changes the result without releasing it.
    ///
    /// # Panics
    /// Panics if it was ready as a future before.
    pub fn map<U>(mut self, f: impl FnOnce(T) -> U) -> Pending<U> {
        let result = f(self.take());
        Pending { result: Some(result), first: self.first, others: self.others }
    }

    fn take(&mut self) -> T {
        match self.result.take() {
            Some(result) => result,
            None => panic!("a result was asked for after it was released"),
        }
    }
}

impl<T: Send + 'static> Pending<T> {
    /// Has `told` called with the result when the state is durable, or with the reason why it will
    /// not be.
    ///
    /// Called once: at once by this thread if it is known already, else by whichever thread hands
    /// the result of the save on, which is one of the keeper's or one that uses the prototype just
    /// then. So it must not take a lock that is held around calls of the library; to do more than
    /// to pass the result on, send it to a thread or a task of your own. What would wait for the
    /// keeper returns an error. A panic is caught and logged.
    ///
    /// # Panics
    /// Panics if it was ready as a future before.
    pub fn on_durable(self, told: impl FnOnce(Result<T, SaveError>) + Send + 'static) {
        assert!(self.result.is_some(), "a result was asked for after it was released");
        let waits = Mutex::new(Some((self, Box::new(told) as Told<T>)));
        Arc::new(OnDurable { waits }).look();
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, SaveError>;

    /// # Panics
    /// Panics if it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { first, others, .. } = &mut *self;
        for ticket in first.iter_mut().chain(others) {
            if let Err(error) = std::task::ready!(Pin::new(ticket).poll(context)) {
                self.take();
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(self.take()))
    }
}

// Nothing in it is ever pinned.
impl<T> Unpin for Pending<T> {}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the result: whoever wants that says so.
        let ids: Vec<_> = self.ids().collect();
        f.debug_struct("Pending").field("ids", &ids).finish_non_exhaustive()
    }
}

type Told<T> = Box<dyn FnOnce(Result<T, SaveError>) + Send>;

/// Is woken as a task of an executor is, and tells at once.
///
/// Not by a thread of the keeper where another is woken: those may hang in the storage, which what
/// is known already must not wait for; there are none over another framework, or once the keeper
/// has ended; and who asks late is told by his own thread all the same.
struct OnDurable<T> {
    waits: Mutex<Option<(Pending<T>, Told<T>)>>,
}

impl<T: Send + 'static> OnDurable<T> {
    fn look(self: &Arc<Self>) {
        // Held while it is polled: who is woken meanwhile looks when this has looked.
        let mut waits = self.waits.lock();
        let Some((pending, _)) = &mut *waits else { return };
        let waker = Waker::from(self.clone());
        let polled = Pin::new(pending).poll(&mut Context::from_waker(&waker));
        let Poll::Ready(result) = polled else { return };
        let taken = waits.take();
        drop(waits);
        if let Some((_, told)) = taken
            && catch_unwind(AssertUnwindSafe(|| as_keeper_thread(|| told(result)))).is_err()
        {
            tracing::error!(target: "checkpoint", "a callback for a durable result panicked");
        }
    }
}

impl<T: Send + 'static> Wake for OnDurable<T> {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::capture::RequestSignal;
    use crate::clock::TestClock;
    use crate::save_error::SaveFailure;

    fn id() -> CheckpointId {
        CheckpointId::new("p", b"k").unwrap()
    }

    fn pending() -> (Pending<u8>, Arc<RequestSignal>) {
        let (ticket, request) = CheckpointTicket::new(id(), Arc::new(TestClock::new()));
        (Pending::new(7, ticket), request)
    }

    #[test]
    fn it_is_told_once_when_it_is_known_whoever_asks_first() {
        let (told, tells) = mpsc::channel();
        let tell = |told: mpsc::Sender<_>| move |result| told.send(result).unwrap();
        let (before, request) = pending();
        before.on_durable(tell(told.clone()));
        assert!(tells.try_recv().is_err());
        // Who is woken for nothing goes on waiting.
        request.nudge();
        assert!(tells.try_recv().is_err());
        request.finish(Ok(None));
        request.nudge();
        assert_eq!(tells.try_recv().unwrap().unwrap(), 7);
        assert!(tells.try_recv().is_err());

        let (after, request) = pending();
        request.finish(Err(SaveError::new(id(), SaveFailure::Unknown)));
        after.on_durable(tell(told));
        assert!(tells.try_recv().unwrap().is_err());
    }

    #[test]
    fn a_callback_that_panics_is_contained() {
        let (waits, request) = pending();
        waits.on_durable(|_result| panic!("as the test wants it"));
        request.finish(Ok(None));
        let (known, _) = pending();
        assert_eq!(known.map(|result| result + 1).unconfirmed(), 8);
    }
}
