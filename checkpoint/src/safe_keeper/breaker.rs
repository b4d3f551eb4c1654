//! Decides whether a fetch is worth trying at all.
//!
//! The breaker only counts. Running the fetch and reading the clock are the caller's business.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Timestamp;

/// Pauses fetching after too many failures in a row; after the pause one fetch is let through as a
/// probe.
#[derive(Debug)]
pub(super) struct FetchBreaker {
    failures_max: NonZeroU32,
    pause: Duration,
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// Nothing is let through before then.
    Open(Timestamp),
    /// One fetch was let through; its result decides.
    Probing,
}

/// The state of a keeper's fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchingState {
    /// Fetches go to the storage.
    Enabled,
    /// Fetches fail at once, after too many failures in a row.
    Disabled,
    /// The pause is over and one fetch tries whether the storage is back.
    Probing,
}

impl FetchBreaker {
    pub(super) fn new(failures_max: NonZeroU32, pause: Duration) -> Self {
        Self { failures_max, pause, failures: 0, state: State::Closed }
    }

    /// Returns whether a fetch may be tried; if not, for how long not.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open(until) if now >= until => {
                self.state = State::Probing;
                Ok(())
            }
            State::Open(until) => Err(until.since(now)),
            State::Probing => Err(Duration::ZERO),
        }
    }

    /// Counts a success, of whichever fetch.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.state = State::Closed;
    }

    /// Counts a failure that was noticed at `now`.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed if self.failures >= self.failures_max.get() => {
                self.state = State::Open(now.after(self.pause));
            }
            // Late results of fetches that were begun earlier must not prolong the pause.
            State::Closed | State::Open(_) => {}
            State::Probing => self.state = State::Open(now.after(self.pause)),
        }
    }

    /// Takes note that a fetch never went to the storage, which says nothing of it. If it was the
    /// probe, the next one is.
    pub(super) fn not_tried(&mut self, now: Timestamp) {
        if self.state == State::Probing {
            self.state = State::Open(now);
        }
    }

    pub(super) fn state(&self) -> FetchingState {
        match self.state {
            State::Closed => FetchingState::Enabled,
            State::Open(_) => FetchingState::Disabled,
            State::Probing => FetchingState::Probing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::new(Duration::from_secs(seconds))
    }

    fn breaker() -> FetchBreaker {
        FetchBreaker::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(10))
    }

    #[test]
    fn pauses_after_so_many_failures_in_a_row() {
        let mut breaker = breaker();
        breaker.failed(at(0));
        breaker.failed(at(0));
        breaker.succeeded();
        breaker.failed(at(1));
        breaker.failed(at(1));
        assert_eq!(breaker.admit(at(1)), Ok(()));
        breaker.failed(at(1));
        assert_eq!(breaker.admit(at(2)), Err(Duration::from_secs(9)));
        assert_eq!(breaker.state(), FetchingState::Disabled);
    }

    #[test]
    fn what_was_not_tried_is_no_failure_and_no_probe() {
        let mut breaker = breaker();
        for _ in 0..10 {
            breaker.not_tried(at(0));
        }
        assert_eq!(breaker.state(), FetchingState::Enabled);
        for _ in 0..3 {
            breaker.failed(at(0));
        }
        breaker.not_tried(at(1));
        assert_eq!(breaker.admit(at(1)), Err(Duration::from_secs(9)));
        assert_eq!(breaker.admit(at(10)), Ok(()));
        breaker.not_tried(at(10));
        assert_eq!(breaker.admit(at(10)), Ok(()));
        assert_eq!(breaker.state(), FetchingState::Probing);
    }

    #[test]
    fn late_failures_do_not_prolong_the_pause() {
        let mut breaker = breaker();
        for _ in 0..3 {
            breaker.failed(at(0));
        }
        breaker.failed(at(9));
        assert_eq!(breaker.admit(at(10)), Ok(()));
    }

    #[test]
    fn one_probe_decides_after_the_pause() {
        let mut breaker = breaker();
        for _ in 0..3 {
            breaker.failed(at(0));
        }
        assert_eq!(breaker.admit(at(10)), Ok(()));
        assert!(breaker.admit(at(10)).is_err());
        assert_eq!(breaker.state(), FetchingState::Probing);
        breaker.failed(at(11));
        assert_eq!(breaker.admit(at(20)), Err(Duration::from_secs(1)));
        assert_eq!(breaker.admit(at(21)), Ok(()));
        breaker.succeeded();
        assert_eq!(breaker.admit(at(21)), Ok(()));
        assert_eq!(breaker.state(), FetchingState::Enabled);
    }
}
