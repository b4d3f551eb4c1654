//! A clock that stands still until the simulation moves it, or until somebody would wait for it.
//!
//! A call that blocks asks the clock how long to sleep. Instead of sleeping, the world goes on a
//! little: so blocking calls can be simulated on one thread.

use std::fmt;
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
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl SimulatedClock {
    pub(super) fn time(&self) -> Duration {
        *lock(&self.now)
    }

    pub(super) fn advance(&self, by: Duration) {
        *lock(&self.now) += by;
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
        UNIX_EPOCH + Duration::from_secs(1_767_225_600) + self.time()
    }

    fn sleep_until(&self, at: Timestamp) -> Option<Duration> {
        let meanwhile = lock(&self.meanwhile).clone();
        match meanwhile {
            Some(meanwhile) => meanwhile(at),
            None => self.advance(at.since(self.now())),
        }
        // Whoever asks is about to park: so the call returns without one to the system.
        thread::current().unpark();
        Some(Duration::ZERO)
    }

    fn watch(&self, _alarm: Weak<dyn Alarm>) {}
}
