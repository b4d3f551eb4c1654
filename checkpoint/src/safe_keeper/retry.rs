//! How long to wait before a failed save is tried again.

use std::time::Duration;

/// Exponential backoff with jitter: each failure doubles the wait, up to a maximum; a random half
/// of it is left out, so that many who failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryPolicy {
    pub(super) attempts_max: u32,
    pub(super) backoff_min: Duration,
    pub(super) backoff_max: Duration,
}

impl RetryPolicy {
    /// Returns the wait after so many failed attempts, or `None` if there were enough.
    pub(super) fn wait_after(self, attempts: u32, random: u64) -> Option<Duration> {
        (attempts < self.attempts_max).then(|| self.wait(attempts, random))
    }

    /// Returns the wait after so many failed attempts, whether they were enough or not.
    pub(super) fn wait(self, attempts: u32, random: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let full = self.backoff_min.saturating_mul(1 << doublings).min(self.backoff_max);
        let half = full / 2;
        let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(random % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts_max: 5,
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(50),
    };

    #[track_caller]
    fn check(attempts: u32, full_millis: u64) {
        let full = Duration::from_millis(full_millis);
        for random in [0, 1, u64::MAX / 3, u64::MAX] {
            let wait = POLICY.wait_after(attempts, random).unwrap();
            assert!(wait >= full / 2 && wait < full, "{wait:?} after {attempts}");
        }
    }

    #[test]
    fn waits_double_up_to_the_maximum() {
        check(1, 10);
        check(2, 20);
        check(3, 40);
        check(4, 50);
    }

    #[test]
    fn attempts_end() {
        assert!(POLICY.wait_after(4, 0).is_some());
        assert_eq!(POLICY.wait_after(5, 0), None);
        assert_eq!(POLICY.wait_after(u32::MAX, 0), None);
        let many = RetryPolicy { attempts_max: u32::MAX, ..POLICY };
        assert!(many.wait_after(u32::MAX - 1, 0).unwrap() < POLICY.backoff_max);
    }
}
