//! Waits for what must happen, with a deadline only so that a broken test ends.

use std::thread;
use std::time::Duration;

use checkpoint::{Clock, SystemClock, TestClock};

/// After this long a test is taken as hanging.
pub(crate) const FAIL_SAFE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; for conditions that nobody signals.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    while !condition() {
        assert!(clock.now().since_start() < FAIL_SAFE, "never: {what}");
        thread::park_timeout(Duration::from_micros(200));
    }
}

/// The same, moving a clock on by `step` again and again meanwhile.
#[track_caller]
pub(crate) fn moving_on(
    clock: &TestClock,
    step: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) {
    eventually(what, || {
        clock.advance(step);
        condition()
    });
}
