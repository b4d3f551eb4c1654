//! The answer to a manual request, once there is one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::capture::RequestSignal;
use crate::checkpoint_id::CheckpointId;
use crate::clock::{Clock, Timestamp};
use crate::record::StateVersion;
use crate::reentrancy;
use crate::save_error::{SaveError, SaveFailure};
use crate::wait::{Signal, Wait};

/// What a manual request has led to: the version that is stored, or `None` if there is nothing to
/// store.
pub type CheckpointOutcome = Result<Option<StateVersion>, SaveError>;

/// Stands for a manual request; answered by the first capture at or after it.
///
/// It is a future, and can be [waited](Self::wait) for. Dropping it takes nothing back.
#[must_use = "without looking at it nobody knows whether the state was stored"]
pub struct CheckpointTicket {
    id: CheckpointId,
    clock: Arc<dyn Clock>,
    wait: Wait<CheckpointOutcome>,
    signal: Arc<RequestSignal>,
}

impl CheckpointTicket {
    pub(crate) fn new(id: CheckpointId, clock: Arc<dyn Clock>) -> (Self, Arc<RequestSignal>) {
        let signal = Signal::new();
        let wait = signal.clone().into_future();
        (Self { id, clock, wait, signal: signal.clone() }, signal)
    }

    /// Returns the id of the PE.
    #[must_use]
    pub fn id(&self) -> &CheckpointId {
        &self.id
    }

    /// Returns the answer if there is one already.
    #[must_use]
    pub fn outcome(&self) -> Option<CheckpointOutcome> {
        self.signal.result()
    }

    pub(crate) fn signal(&self) -> &Arc<RequestSignal> {
        &self.signal
    }

    /// Waits for the answer, on this thread.
    ///
    /// # Errors
    /// The state could not be stored, the keeper was closed before it was, or this thread must not
    /// wait: it belongs to the keeper, or is inside an event.
    pub fn wait(self) -> CheckpointOutcome {
        match self.wait_until(None) {
            Some(outcome) => outcome,
            None => unreachable!("a wait without a deadline ends with an answer"),
        }
    }

    /// Waits for the answer, on this thread, for a limited time; `None` if there is none by then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    #[must_use = "without looking at it nobody knows whether the state was stored"]
    pub fn wait_timeout(&self, time: Duration) -> Option<CheckpointOutcome> {
        self.wait_until(Some(self.time_from_now(time)))
    }

    pub(crate) fn time_from_now(&self, time: Duration) -> Timestamp {
        self.clock.now().after(time)
    }

    pub(crate) fn wait_until(&self, deadline: Option<Timestamp>) -> Option<CheckpointOutcome> {
        if let Some(outcome) = self.signal.result() {
            return Some(outcome);
        }
        if !reentrancy::may_wait() {
            return Some(Err(SaveError::new(self.id.clone(), SaveFailure::MustNotWait)));
        }
        self.signal.wait(&*self.clock, deadline)
    }
}

impl Future for CheckpointTicket {
    type Output = CheckpointOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CheckpointOutcome> {
        Pin::new(&mut self.wait).poll(context)
    }
}

impl fmt::Debug for CheckpointTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointTicket({})", self.id)
    }
}
