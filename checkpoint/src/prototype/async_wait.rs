//! How futures wait: woken by what they wait for, or at their deadline by the framework's timer.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use crate::capture::RequestSignal;
use crate::checkpoint_ticket::{CheckpointOutcome, CheckpointTicket};
use crate::clock::Timestamp;
use crate::process_error::ProcessError;
use crate::prototype::entry::Arrival;
use crate::prototype::gate::Calm;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::pe_prototype::Hindrance;
use crate::prototype::shard::Room;
use crate::state::Checkpointable;
use crate::sync::Mutex;
use crate::wait::{Signal, Wait};

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
    Calm(Weak<Calm>),
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

    fn add(&mut self, deadline: Timestamp, awaited: Awaited) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_deadline.insert((deadline, number), awaited);
        number
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.by_deadline.keys().next().map(|(deadline, _)| *deadline)
    }
}

/// A future's wait for a signal; when it ends, its place in [`AsyncWaits`] is free again.
pub(super) struct AsyncWait<T> {
    wait: Wait<T>,
    deadline: Timestamp,
    number: u64,
    waits: Arc<Mutex<AsyncWaits>>,
}

impl<T> Drop for AsyncWait<T> {
    fn drop(&mut self) {
        self.waits.lock().by_deadline.remove(&(self.deadline, self.number));
    }
}

/// A future's wait for what is in the way of its event.
pub(super) enum Waiting {
    Arrival(AsyncWait<Result<(), ProcessError>>, Option<u32>),
    Room(AsyncWait<()>),
    Exposure(AsyncWait<()>),
    HeldUp(AsyncWait<Result<(), ProcessError>>),
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
                Awaited::Calm(calm) => {
                    calm.upgrade().inspect(|calm| calm.nudge());
                }
            }
        }
        next
    }

    fn begin_wait<T: Clone>(
        &self,
        signal: Arc<Signal<T>>,
        awaited: Awaited,
        deadline: Timestamp,
    ) -> AsyncWait<T> {
        let number = self.async_waits.lock().add(deadline, awaited);
        self.framework.call_at(self.index, deadline);
        let (wait, waits) = (signal.into_future(), self.async_waits.clone());
        AsyncWait { wait, deadline, number, waits }
    }

    /// Ready with `None` at the deadline.
    fn poll_wait<T: Clone>(
        &self,
        wait: &mut AsyncWait<T>,
        context: &mut Context<'_>,
    ) -> Poll<Option<T>> {
        match Pin::new(&mut wait.wait).poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.clock.now() >= wait.deadline => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
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
        let mut wait = self.begin_wait(signal, awaited, deadline);
        poll_fn(|context| self.poll_wait(&mut wait, context)).await
    }

    /// Waits for something in a shard until the deadline.
    pub(super) async fn until_arrived(
        &self,
        arrival: Arc<Arrival>,
        deadline: Timestamp,
    ) -> Option<Result<(), ProcessError>> {
        let awaited = Awaited::Arrival(Arc::downgrade(&arrival));
        self.until(arrival, awaited, deadline).await
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
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    pub(super) fn begin_waiting(&self, hindrance: Hindrance, deadline: Timestamp) -> Waiting {
        match hindrance {
            Hindrance::Arrival(arrival, since) => {
                let awaited = Awaited::Arrival(Arc::downgrade(&arrival));
                Waiting::Arrival(self.begin_wait(arrival, awaited, deadline), since)
            }
            Hindrance::Room(room) => {
                let awaited = Awaited::Room(Arc::downgrade(&room));
                Waiting::Room(self.begin_wait(room, awaited, deadline))
            }
            Hindrance::Exposure(calm) => {
                let awaited = Awaited::Calm(Arc::downgrade(&calm));
                Waiting::Exposure(self.begin_wait(calm, awaited, deadline))
            }
            Hindrance::HeldUp(arrival) => {
                let awaited = Awaited::Arrival(Arc::downgrade(&arrival));
                Waiting::HeldUp(self.begin_wait(arrival, awaited, deadline))
            }
        }
    }

    /// Ready when it is worth trying again, or with an error at the deadline.
    pub(super) fn poll_waiting(
        &self,
        waiting: &mut Waiting,
        key: &K,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ProcessError>> {
        match waiting {
            Waiting::Arrival(wait, since) => self
                .poll_wait(wait, context)
                .map(|result| result.unwrap_or_else(|| Err(self.busy(self.id(key)?, *since)))),
            Waiting::HeldUp(wait) => self
                .poll_wait(wait, context)
                .map(|result| result.unwrap_or_else(|| Err(self.exposed_events(self.id(key)?)))),
            Waiting::Room(wait) => self.poll_wait(wait, context).map(|result| match result {
                Some(()) => Ok(()),
                None => Err(self.full(self.id(key)?)),
            }),
            Waiting::Exposure(wait) => self.poll_wait(wait, context).map(|result| match result {
                Some(()) => Ok(()),
                None => self.overexposed().map_or(Ok(()), Err),
            }),
        }
    }

    pub(super) async fn wait_async(
        &self,
        key: &K,
        hindrance: Hindrance,
        deadline: Timestamp,
    ) -> Result<(), ProcessError> {
        let mut waiting = self.begin_waiting(hindrance, deadline);
        poll_fn(|context| self.poll_waiting(&mut waiting, key, context)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_ends_leaves_nothing_behind_until_its_deadline() {
        let waits = Arc::<Mutex<AsyncWaits>>::default();
        let arrival: Arc<Arrival> = Signal::new();
        let deadline = Timestamp::default();
        let awaited = Awaited::Arrival(Arc::downgrade(&arrival));
        let number = waits.lock().add(deadline, awaited);
        let wait = AsyncWait {
            wait: arrival.clone().into_future(),
            deadline,
            number,
            waits: waits.clone(),
        };
        assert_eq!(waits.lock().next_deadline(), Some(deadline));
        drop(wait);
        assert_eq!(waits.lock().next_deadline(), None);
    }
}
