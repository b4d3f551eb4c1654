//! Checks that whatever claims to be a [`StateStorage`] keeps the contract.
//!
//! ```
//! use std::sync::Arc;
//!
//! use checkpoint::InMemoryStorage;
//! use checkpoint::storage::conformance;
//!
//! conformance::run(|| Arc::new(InMemoryStorage::new())).assert_passed();
//! ```
//!
//! Each check gets an empty storage, has a name that says the promise, and ends in a verdict: also
//! if the storage panics or never answers. What a storage declares in its
//! [capabilities](StateStorage::capabilities) is checked; what it does not declare is skipped, and
//! the report says so. With a [`Harness`] that can reopen, so is what must survive that.
//!
//! That an entry is not completed twice needs no check: completing takes the entry.
//!
//! [`record`], [`tombstone`], [`save`] and [`fetch`] are for a storage's own tests: of its faults,
//! for instance, which no kit can know.

mod checks;
mod report;
mod subject;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

pub use report::{CheckReport, Report, Verdict};
pub use subject::{fetch, record, save, tombstone};

use crate::storage::StateStorage;
use crate::storage::conformance::checks::{CHECKS, Check};
use crate::storage::conformance::subject::Subject;
use crate::thread_start::{SystemThreads, ThreadStart};

const DEADLINE: Duration = Duration::from_secs(10);

/// Makes the storages that are checked.
pub trait Harness: Send + Sync {
    /// Returns an empty storage.
    fn fresh(&self) -> Arc<dyn StateStorage>;

    /// Closes the storage that [`fresh`](Self::fresh) returned last, of which this is the only
    /// handle, and opens it again as a new process would.
    ///
    /// `None` if that cannot be done.
    fn reopen(&self, storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>>;
}

/// A harness that cannot reopen.
struct Fresh<F>(F);

impl<F: Fn() -> Arc<dyn StateStorage> + Send + Sync> Harness for Fresh<F> {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        (self.0)()
    }

    fn reopen(&self, _storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        None
    }
}

/// Runs all checks on the storages that `fresh` returns, each of them empty.
///
/// What must survive that a storage is opened again is not checked; see [`Conformance`] for that.
pub fn run(fresh: impl Fn() -> Arc<dyn StateStorage> + Send + Sync + 'static) -> Report {
    Conformance::new(Fresh(fresh)).run()
}

/// The checks, and how they are run.
///
/// # Examples
/// ```no_run
/// use checkpoint::storage::conformance::{Conformance, Harness};
///
/// fn check(storages_of_mine: impl Harness + 'static) {
///     Conformance::new(storages_of_mine).run().assert_passed();
/// }
/// ```
#[must_use = "nothing is checked before `run`"]
pub struct Conformance {
    harness: Arc<dyn Harness>,
    deadline: Duration,
}

impl Conformance {
    /// Returns the checks of the storages that a harness makes.
    pub fn new(harness: impl Harness + 'static) -> Self {
        Self { harness: Arc::new(harness), deadline: DEADLINE }
    }

    /// Sets how long one answer of the storage, and each check as a whole, may take; the default is
    /// ten seconds.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Runs all checks, one after the other.
    ///
    /// A check that hangs inside the storage is given up after the deadline; its thread is left
    /// behind.
    pub fn run(self) -> Report {
        let checks = CHECKS.iter().map(|check| self.run_one(check));
        Report::new(checks.collect())
    }

    fn run_one(&self, check: &'static Check) -> CheckReport {
        let (tx, rx) = mpsc::channel();
        let harness = Arc::clone(&self.harness);
        let deadline = self.deadline;
        let body = move || {
            let verdict = catch_unwind(AssertUnwindSafe(|| {
                let mut subject = Subject::new(harness, deadline);
                match (check.run)(&mut subject) {
                    Ok(()) => Verdict::Passed,
                    Err(verdict) => verdict,
                }
            }));
            let verdict = verdict.unwrap_or_else(|panic| {
                let message = panic
                    .downcast_ref::<&str>()
                    .map(|message| (*message).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                let message = message.unwrap_or_else(|| "no message".to_owned());
                Verdict::Failed(format!("the storage panicked: {message}"))
            });
            // Nobody listens any more if the deadline has passed.
            drop(tx.send(verdict));
        };
        // Twice: an answer that is missing is noticed, and named, by the check itself.
        let patience = self.deadline.saturating_mul(2);
        let verdict =
            match SystemThreads.start(format!("conformance {}", check.name), Box::new(body)) {
                Err(err) => Verdict::Failed(format!("no thread to run the check: {err}")),
                Ok(thread) => match rx.recv_timeout(patience) {
                    Ok(verdict) => {
                        // Panics were caught inside.
                        drop(thread.join());
                        verdict
                    }
                    Err(_) => Verdict::Failed(format!(
                        "the storage hangs: the check was not over after {patience:?}"
                    )),
                },
            };
        CheckReport::new(check.name, verdict)
    }
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conformance").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
