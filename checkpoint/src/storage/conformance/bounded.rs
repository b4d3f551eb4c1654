//! Runs code that calls a storage, which may panic or never return.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use crate::storage::conformance::client::Checked;
use crate::storage::conformance::trail::Trail;
use crate::storage::conformance::{Failure, Verdict};
use crate::thread_start::{SystemThreads, ThreadStart};

const STEPS_SHOWN: usize = 12;

/// Runs `body` on a thread of its own, and gives it up after `patience`: the thread is left behind
/// then.
pub(super) fn bounded<T: Send + 'static>(
    name: &str,
    trail: &Trail,
    patience: Duration,
    body: impl FnOnce() -> Checked<T> + Send + 'static,
) -> Checked<T> {
    let failed = |expected: &str, found: String| {
        let steps = trail.last(STEPS_SHOWN);
        let last = steps.last().cloned().unwrap_or_else(|| "making a storage".to_owned());
        Failure::new(&last, expected, found).after(steps)
    };
    let (tx, rx) = mpsc::channel();
    let body = move || {
        let result = catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
            let message = panic.downcast_ref::<&str>().map(|message| (*message).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            message.unwrap_or_else(|| "no message".to_owned())
        });
        // Nobody listens any more if the time is up.
        drop(tx.send(result));
    };
    let thread = match SystemThreads.start(format!("conformance {name}"), Box::new(body)) {
        Ok(thread) => thread,
        Err(err) => {
            let failure = failed("a thread to run the check", err.to_string());
            return Err(Verdict::Failed(failure));
        }
    };
    match rx.recv_timeout(patience) {
        Ok(result) => {
            // Panics were caught inside.
            drop(thread.join());
            result.unwrap_or_else(|message| {
                Err(Verdict::Failed(failed("no panic", format!("a panic: {message}"))))
            })
        }
        Err(_) => {
            let found = format!("the storage hangs: not over after {patience:?}");
            Err(Verdict::Failed(failed("an end", found).in_vain()))
        }
    }
}
