//! Checks that whatever claims to be a [`StateStorage`] keeps the contract.
//!
//! One call in a test:
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
//! What must survive that a storage is opened again is checked with a [`Harness`] that can reopen:
//!
//! ```
//! use std::sync::Arc;
//!
//! use checkpoint::storage::conformance::{Conformance, Harness};
//! use checkpoint::{InMemoryStorage, StateStorage};
//!
//! /// Here a clone of the storage stands for what is on a disk or a server.
//! struct Mine(std::sync::Mutex<InMemoryStorage>);
//!
//! impl Harness for Mine {
//!     fn fresh(&self) -> Arc<dyn StateStorage> {
//!         let fresh = InMemoryStorage::new();
//!         *self.0.lock().unwrap() = fresh.clone();
//!         Arc::new(fresh)
//!     }
//!
//!     fn reopen(&self, closed: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
//!         drop(closed);
//!         Some(Arc::new(self.0.lock().unwrap().clone()))
//!     }
//! }
//!
//! let report = Conformance::new(Mine(Default::default())).histories(5).run();
//! println!("{report}");
//! report.assert_passed();
//! ```
//!
//! And what is durable as soon as it is acknowledged is checked with a [`CrashHarness`]. It has the
//! machine crash under the storage: for a storage over files by a disk in memory that loses what
//! was not synced, for a server by ending it.
//!
//! Or a program: `main` returns [`Conformance::main`], which takes options from the command line.
//!
//! # What is done
//! Small checks, each of which has a name that says the promise and gets an empty storage; then
//! *histories*: operations drawn from a seed (batches, removals, older and equal versions, former
//! owners, fetches of each kind, listings, conditional puts, epochs, reopening), whose outcomes are
//! compared with a model. A history that fails is shortened as far as it still fails; with its seed
//! it can be run again.
//!
//! What a storage declares in its [capabilities](StateStorage::capabilities) is checked; what it
//! does not declare is skipped, and the report says so. A storage that panics, blocks for ever or
//! never answers fails: each answer has a [deadline](Conformance::deadline), and so has each check
//! as a whole. The report says of each failure what was done, what was expected and found, and the
//! contract's words.
//!
//! That an entry is not completed twice needs no check: completing takes the entry.
//!
//! [`record`], [`tombstone`], [`save`] and [`fetch`] are for a storage's own tests: of its faults,
//! for instance, which no kit can know.

mod bounded;
mod checks;
mod client;
mod crowd;
mod history;
mod program;
mod records;
mod report;
mod subject;
mod trail;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use records::{fetch, record, save, tombstone};
pub use report::{CheckReport, Failure, Report, Verdict};

use crate::storage::StateStorage;
use crate::storage::conformance::bounded::bounded;
use crate::storage::conformance::checks::{CHECKS, Check};
use crate::storage::conformance::history::Histories;
use crate::storage::conformance::subject::Subject;
use crate::storage::conformance::trail::Trail;

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

/// Makes storages whose machine can be crashed under them.
///
/// What must survive is what a storage declares: one of [`Durability::Power`] is expected to be
/// cut off from its power by [`crash_and_reopen`](Self::crash_and_reopen), so that whatever it has
/// not synced is lost or not. Others are not checked.
///
/// [`Durability::Power`]: crate::Durability::Power
pub trait CrashHarness: Harness {
    /// Lets things go wrong from now on for the storage that was returned last, until it crashes:
    /// operations fail now and then, a crash comes in the middle of one, as is drawn from `seed`.
    ///
    /// Without it a storage would only ever crash between two calls.
    fn trouble(&self, seed: u64);

    /// Crashes the machine under the storage that was returned last, of which this is the only
    /// handle, and opens it again as a new process would, with nothing going wrong any more.
    ///
    /// What of all that was not durable is lost may be drawn from `seed`.
    fn crash_and_reopen(&self, storage: Arc<dyn StateStorage>, seed: u64) -> Arc<dyn StateStorage>;
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
    Conformance::of(fresh).run()
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
    crashes: Option<Arc<dyn CrashHarness>>,
    deadline: Duration,
    only: Option<String>,
    histories: Histories,
}

impl Conformance {
    /// Returns the checks of the storages that a harness makes.
    pub fn new(harness: impl Harness + 'static) -> Self {
        Self::with(Arc::new(harness), None)
    }

    /// Returns the checks of storages that can also be crashed.
    pub fn crashing(harness: impl CrashHarness + 'static) -> Self {
        let harness = Arc::new(harness);
        Self::with(Arc::clone(&harness) as Arc<dyn Harness>, Some(harness))
    }

    fn with(harness: Arc<dyn Harness>, crashes: Option<Arc<dyn CrashHarness>>) -> Self {
        let histories = Histories { seed: 1, count: 20, operations: 40 };
        Self { harness, crashes, deadline: DEADLINE, only: None, histories }
    }

    /// Returns the checks of the storages that `fresh` returns, each of them empty.
    ///
    /// What must survive that a storage is opened again is not checked.
    pub fn of(fresh: impl Fn() -> Arc<dyn StateStorage> + Send + Sync + 'static) -> Self {
        Self::new(Fresh(fresh))
    }

    /// Sets how long one answer of the storage may take; the default is ten seconds. A check as a
    /// whole, or a history, may take twice as long.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Runs only the checks whose name contains `name`.
    pub fn only(self, name: impl Into<String>) -> Self {
        Self { only: Some(name.into()), ..self }
    }

    /// Sets how many histories are tried; the default is 20. With 0 that check is skipped.
    pub fn histories(mut self, count: u64) -> Self {
        self.histories.count = count;
        self
    }

    /// Sets how many operations a history has before it is shortened; the default is 40.
    pub fn operations(mut self, operations: usize) -> Self {
        self.histories.operations = operations;
        self
    }

    /// Sets the seed of the first history; the next ones have the next seeds. The default is 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.histories.seed = seed;
        self
    }

    /// Runs all checks, one after the other.
    ///
    /// A check that hangs inside the storage is given up after the deadline; its thread is left
    /// behind.
    pub fn run(self) -> Report {
        let is_wanted = |name: &str| self.only.as_ref().is_none_or(|only| name.contains(only));
        let wanted = CHECKS.iter().filter(|check| is_wanted(check.name));
        let mut reports: Vec<_> = wanted.map(|check| self.run_one(check)).collect();
        if is_wanted(history::NAME) {
            let verdict = match self.histories.run(&self.harness, self.deadline) {
                Ok(()) => Verdict::Passed,
                Err(verdict) => verdict,
            };
            reports.push(CheckReport::new(history::NAME, history::CONTRACT, verdict));
        }
        Report::new(reports)
    }

    fn run_one(&self, check: &'static Check) -> CheckReport {
        let (harness, deadline) = (Arc::clone(&self.harness), self.deadline);
        let (crashes, seed) = (self.crashes.clone(), self.histories.seed);
        let trail = Trail::default();
        let of_check = trail.clone();
        // Twice: an answer that is missing is noticed, and named, by the check itself.
        let checked = bounded(check.name, &trail, deadline.saturating_mul(2), move || {
            let mut subject = Subject::new(harness, of_check, deadline);
            subject.may_crash(crashes, seed);
            (check.run)(&mut subject)
        });
        let verdict = match checked {
            Ok(()) => Verdict::Passed,
            Err(verdict) => verdict,
        };
        CheckReport::new(check.name, check.contract, verdict)
    }
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conformance")
            .field("deadline", &self.deadline)
            .field("only", &self.only)
            .field("histories", &self.histories)
            .finish_non_exhaustive()
    }
}
