//! Lets one batch be written while another is synced, by two threads that take turns: the same seed
//! does the same operations in the same order.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle, ThreadId};

use crate::simulation::trace::lock;

/// Done when a segment is synced; `false` if it is to be tried again at the next sync.
type Meanwhile = Box<dyn FnMut() -> bool + Send>;

#[derive(Default)]
pub(super) struct Meeting {
    meanwhile: Mutex<Option<Meanwhile>>,
    held: Mutex<Option<ThreadId>>,
    released: Condvar,
    other: Mutex<Option<JoinHandle<()>>>,
}

impl Meeting {
    /// Has `other` begun in a thread of its own while a segment is synced, until it waits, which
    /// `waiting` says; `None` if it cannot get there.
    pub(super) fn at_sync(
        self: &Arc<Self>,
        waiting: impl Fn() -> Option<usize> + Send + 'static,
        other: impl FnOnce() + Send + 'static,
    ) {
        let (meeting, mut other) = (Arc::clone(self), Some(other));
        *lock(&self.meanwhile) = Some(Box::new(move || {
            if waiting().is_none() {
                return false;
            }
            let Some(other) = other.take() else { return true };
            #[expect(clippy::disallowed_methods, reason = "whose steps take turns with ours")]
            let thread = thread::spawn(other);
            while !thread.is_finished() && waiting().is_none_or(|threads| threads == 0) {
                thread::yield_now();
            }
            // From here on it is its turn only when the first one is done.
            *lock(&meeting.held) = Some(thread.thread().id());
            *lock(&meeting.other) = Some(thread);
            true
        }));
    }

    /// A segment is being synced.
    pub(super) fn syncs(&self) {
        let meanwhile = lock(&self.meanwhile).take();
        if let Some(mut meanwhile) = meanwhile
            && !meanwhile()
        {
            *lock(&self.meanwhile) = Some(meanwhile);
        }
    }

    /// Waits for as long as this thread is to.
    pub(super) fn pass(&self) {
        let mut held = lock(&self.held);
        while *held == Some(thread::current().id()) {
            held = self.released.wait(held).unwrap();
        }
    }

    /// Lets the other one go on to its end. Returns whether there was one.
    pub(super) fn end(&self) -> bool {
        *lock(&self.meanwhile) = None;
        *lock(&self.held) = None;
        self.released.notify_all();
        lock(&self.other).take().map(JoinHandle::join).transpose().unwrap().is_some()
    }
}
