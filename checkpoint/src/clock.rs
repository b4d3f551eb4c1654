//! Time, as the library sees it: from an injected clock, so that tests need not wait.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// A point in time that only ever grows, counted from an arbitrary start of its clock.
///
/// Everything that must be right is measured with it. Wall-clock time is information only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// Returns the time `since_start` after the clock's start.
    #[must_use]
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Returns the time since the clock's start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Returns the time `later` than this, or the end of time.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }

    /// Returns how long this is after `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Tells the time, and how to wait for a later one.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the time now. It never goes back.
    fn now(&self) -> Timestamp;

    /// Returns the wall-clock time now. It may jump either way.
    fn wall(&self) -> SystemTime;

    /// Returns how long a thread can sleep until it is `at`.
    ///
    /// `None` means that the thread will be woken by [`Alarm::time_changed`] instead: the time is
    /// moved by hand.
    fn sleep_until(&self, at: Timestamp) -> Option<Duration>;

    /// Asks that `alarm` be told of each change of the time that nobody can foresee.
    ///
    /// A clock that only runs by itself does nothing.
    fn watch(&self, alarm: Weak<dyn Alarm>);
}

/// Something that waits for a time.
pub trait Alarm: Send + Sync {
    /// Called after the time was moved by hand: look again.
    fn time_changed(&self);
}

/// The clock of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Returns a clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.start.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, at: Timestamp) -> Option<Duration> {
        Some(at.since(self.now()))
    }

    fn watch(&self, _alarm: Weak<dyn Alarm>) {}
}

/// Returns the clock that is used when none is given.
pub(crate) fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

#[cfg(feature = "test-util")]
pub use moved_by_hand::TestClock;

#[cfg(feature = "test-util")]
mod moved_by_hand {
    use std::time::UNIX_EPOCH;

    use super::{Alarm, Clock, Duration, SystemTime, Timestamp, Weak, fmt};
    use crate::sync::Mutex;

    /// A clock that stands still until it is moved.
    ///
    /// It starts at zero, and its wall clock at the beginning of the year 2026.
    #[derive(Default)]
    pub struct TestClock {
        now: Mutex<Duration>,
        // How far the wall clock was set ahead or back, in microseconds.
        wall_shift_micros: Mutex<i64>,
        alarms: Mutex<Vec<Weak<dyn Alarm>>>,
    }

    /// 2026-01-01T00:00:00Z.
    const WALL_START: Duration = Duration::from_secs(1_767_225_600);

    impl TestClock {
        /// Returns a clock that stands at zero.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// Moves the time on and tells everybody who waits for one.
        pub fn advance(&self, by: Duration) {
            {
                let mut now = self.now.lock();
                *now = now.saturating_add(by);
            }
            let alarms: Vec<_> = {
                let mut alarms = self.alarms.lock();
                alarms.retain(|alarm| alarm.strong_count() > 0);
                alarms.iter().filter_map(Weak::upgrade).collect()
            };
            for alarm in alarms {
                alarm.time_changed();
            }
        }

        /// Sets the wall clock ahead, or back if `seconds` is negative; the time itself goes on as
        /// it was.
        pub fn jump_wall(&self, seconds: i64) {
            let mut shift = self.wall_shift_micros.lock();
            *shift = shift.saturating_add(seconds.saturating_mul(1_000_000));
        }
    }

    impl fmt::Debug for TestClock {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "TestClock({:?})", self.now())
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp(*self.now.lock())
        }

        fn wall(&self) -> SystemTime {
            let shift = *self.wall_shift_micros.lock();
            let time = UNIX_EPOCH + WALL_START + *self.now.lock();
            let by = Duration::from_micros(shift.unsigned_abs());
            if shift < 0 { time.checked_sub(by).unwrap_or(UNIX_EPOCH) } else { time + by }
        }

        fn sleep_until(&self, _at: Timestamp) -> Option<Duration> {
            None
        }

        fn watch(&self, alarm: Weak<dyn Alarm>) {
            self.alarms.lock().push(alarm);
        }
    }
}
