//! A clock that stands still until the simulation moves it, or until somebody would wait for it.
//!
//! A call that blocks asks the clock how long to sleep. Instead of sleeping, the world goes on a
//! little: so blocking calls can be simulated on one thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use checkpoint::{Alarm, Clock, Timestamp};

use super::trace::lock;

/// What goes on while somebody waits until then.
type Meanwhile = Arc<dyn Fn(Timestamp) + Send + Sync>;

#[derive(Default)]
pub(super) struct SimulatedClock {
    now: Mutex<Duration>,
    /// How far the wall clock is ahead, or behind.
    wall_ahead: AtomicI64,
    jumps: AtomicU64,
    meanwhile: Mutex<Option<Meanwhile>>,
    /// A call is under way that must neither wait nor work for others.
    is_brief: AtomicBool,
    /// How often somebody waited or worked in one.
    delays: AtomicU64,
}

impl SimulatedClock {
    pub(super) fn time(&self) -> Duration {
        *lock(&self.now)
    }

    pub(super) fn advance(&self, by: Duration) {
        *lock(&self.now) += by;
    }

    /// How often somebody did.
    pub(super) fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::Relaxed)
    }

    pub(super) fn has_meanwhile(&self) -> bool {
        lock(&self.meanwhile).is_some()
    }

    /// Lets the world go on a little, as far as somebody says how, at most until then.
    pub(super) fn go_on(&self, until: Timestamp) {
        let meanwhile = lock(&self.meanwhile).clone();
        match meanwhile {
            Some(meanwhile) => meanwhile(until),
            None => self.advance(until.since(self.now())),
        }
    }

    /// Makes a call that must neither wait nor work for others.
    pub(super) fn in_brief<R>(&self, call: impl FnOnce() -> R) -> R {
        struct Ends<'a>(&'a AtomicBool, bool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Ordering::Relaxed);
            }
        }
        let _ends = Ends(&self.is_brief, self.is_brief.swap(true, Ordering::Relaxed));
        call()
    }

    /// Somebody waits, or does a thread's work.
    pub(super) fn takes_time(&self) {
        let is_brief = self.is_brief.load(Ordering::Relaxed);
        self.delays.fetch_add(is_brief.into(), Ordering::Relaxed);
    }

    /// How often that was in a call that must be brief.
    pub(super) fn delays(&self) -> u64 {
        self.delays.load(Ordering::Relaxed)
    }

    /// Somebody sets the wall clock.
    pub(super) fn set_wall_ahead(&self, seconds: i64) {
        self.wall_ahead.store(seconds, Ordering::Relaxed);
        self.jumps.fetch_add(1, Ordering::Relaxed);
    }

    /// Says what goes on while somebody waits.
    pub(super) fn set_meanwhile(&self, meanwhile: Option<Meanwhile>) {
        *lock(&self.meanwhile) = meanwhile;
    }
}

impl fmt::Debug for SimulatedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedClock({:?})", self.time())
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::new(self.time())
    }

    fn wall(&self) -> SystemTime {
        let ahead = self.wall_ahead.load(Ordering::Relaxed);
        let at = 1_767_225_600_i64.saturating_add(ahead).max(0).unsigned_abs();
        UNIX_EPOCH + Duration::from_secs(at) + self.time()
    }

    fn sleep_until(&self, at: Timestamp) -> Option<Duration> {
        self.takes_time();
        self.go_on(at);
        // Whoever asks is about to park: so the call returns without one to the system.
        thread::current().unpark();
        Some(Duration::ZERO)
    }

    fn watch(&self, _alarm: Weak<dyn Alarm>) {}
}
