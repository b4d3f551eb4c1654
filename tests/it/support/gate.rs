//! Something that threads wait at until a test lets them through.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::support::FAIL_SAFE;

/// Closed until it is opened; a clone is the same gate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    waiting: usize,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        self.change(|state| state.open = true);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).open
    }

    /// Waits until it is open.
    pub(crate) fn pass(&self) {
        self.change(|state| state.waiting += 1);
        self.until(|state| state.open);
        self.change(|state| state.waiting -= 1);
    }

    /// Waits until somebody waits here.
    #[track_caller]
    pub(crate) fn reached(&self) {
        assert!(self.until(|state| state.waiting > 0), "nobody has come to the gate");
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    /// Returns whether it became true; the time is only there so that a broken test ends.
    fn until(&self, condition: impl Fn(&State) -> bool) -> bool {
        let state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(state, FAIL_SAFE, |state| !condition(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
