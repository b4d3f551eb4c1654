//! Coordinates the processing of events with storage: `SafeKeeper`.
//!
//! `core` says what is to be done next, `shared` does it, `pools` are the threads in between.
//! `handle` is what prototypes see. The way of a save: a prototype says that a shard has due PEs
//! (`handle`), a serialization captures them (`core` gives it out, `task` runs it), a save gives
//! them to the storage, a report tells the prototype, the callbacks and whoever waits.

mod action;
mod breaker;
mod builder;
mod callbacks;
mod core;
mod ending;
mod fetches;
#[cfg(unix)]
mod file_system_module;
mod flush_state;
mod handle;
mod pools;
mod quarantined;
mod reports;
mod retry;
mod rounds;
mod saving_health;
mod serializations;
mod settings;
mod shared;
mod sources;
mod stats;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use action::Pool;
pub use breaker::FetchingState;
pub use builder::{BuildError, SafeKeeperBuilder};
#[cfg(unix)]
pub use file_system_module::{FileSystemBackendCheckpointingModule, ModuleError};
pub use saving_health::SavingState;
pub use settings::{Overflow, SafeKeeperSettings};
pub use stats::{KeeperStats, SourceStats};

use crate::capture::SettlementOutcome;
use crate::clock::Timestamp;
use crate::close_report::{CloseReport, NotAllStored, ShardNotKnown};
use crate::framework::{CheckpointingFramework, UnsavedPes, UnsavedState};
use crate::prototype::{Key, PartitionKey, PePrototype, PrototypeBuilder};
use crate::reentrancy;
use crate::safe_keeper::ending::Stopped;
use crate::safe_keeper::flush_state::FlushState;
use crate::safe_keeper::handle::KeeperHandle;
use crate::safe_keeper::shared::Shared;
use crate::save_error::SaveError;
use crate::state::Checkpointable;
use crate::storage::StateStorage;
use crate::sync::{Mutex, Ordering};
use crate::task::Saving;
use crate::wait::Signal;

/// How long a report waits for shards whose locks are held, if its deadline has passed or it must
/// not block for long.
const REPORT_LOCK_WAIT: Duration = Duration::from_millis(100);

/// Checkpoints the PEs of its prototypes into a storage, and restores them from it.
///
/// States are encoded, saved and fetched by three pools of threads, off the way of the events. A PE
/// is dirty until the storage has acknowledged the very state that was captured; what fails is
/// tried again with growing waits, without another event. Requests for one PE coalesce: it is
/// queued once, and the newest state is what is stored.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use checkpoint::{Checkpointable, LogStorage, SafeKeeper};
///
/// #[derive(Checkpointable, Default)]
/// struct Account {
///     balance: i64,
/// }
///
/// # let name = format!("checkpoint-keeper-{}", std::process::id());
/// # let directory = std::env::temp_dir().join(name);
/// let keeper = SafeKeeper::builder(LogStorage::open(&directory)?).build()?;
/// let accounts = keeper
///     .prototype::<u64, Account>("account")
///     .create(|_number| Account::default())
///     .build()?;
/// accounts.process(&7, |account| account.balance += 100)?;
/// keeper.close(Duration::from_secs(10))?;
/// # std::fs::remove_dir_all(&directory).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When queues are full
/// Due PEs wait in their shards, each once, at no cost in memory; states are captured only when the
/// storage has room for them. So a slow storage means fewer, newer checkpoints, not lost ones. The
/// overflow policies of [`SafeKeeperSettings`] say what whoever brings a request does meanwhile.
///
/// # The end
/// [`close`](Self::close) stores what is dirty and says what it could not. A keeper that is dropped
/// without does the same with a deadline of its own, and logs what was lost.
#[doc(alias = "org.apache.s4.core.ft.SafeKeeper")]
pub struct SafeKeeper {
    shared: Arc<Shared>,
    has_threads: bool,
    // The report of the first close.
    closed: Mutex<Option<Result<CloseReport, NotAllStored>>>,
}

impl SafeKeeper {
    /// Returns a builder of a keeper over this storage.
    pub fn builder(storage: impl StateStorage + 'static) -> SafeKeeperBuilder {
        SafeKeeperBuilder::new(Arc::new(storage))
    }

    /// Returns a builder of a keeper over a storage that others know too.
    pub fn builder_over(storage: Arc<dyn StateStorage>) -> SafeKeeperBuilder {
        SafeKeeperBuilder::new(storage)
    }

    fn new(shared: Arc<Shared>, has_threads: bool) -> Self {
        Self { shared, has_threads, closed: Mutex::new(None) }
    }

    /// Returns this keeper as what prototypes are built over.
    #[must_use]
    pub fn framework(&self) -> Arc<dyn CheckpointingFramework> {
        Arc::new(KeeperHandle(self.shared.clone()))
    }

    /// Returns a builder of the prototype of this name: see [`PePrototype::builder`].
    pub fn prototype<K, P>(&self, name: impl Into<Arc<str>>) -> PrototypeBuilder<K, P>
    where
        K: Key,
        P: Checkpointable + Send + 'static,
    {
        PePrototype::builder(self.framework(), name)
    }

    /// Returns a builder of the singleton prototype of this name: one PE for each partition, its
    /// key the partition's number.
    pub fn singleton<P>(&self, name: impl Into<Arc<str>>) -> PrototypeBuilder<PartitionKey, P>
    where
        P: Checkpointable + Send + 'static,
    {
        self.prototype(name)
    }

    /// Returns how many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.shared.sequences.partitions().get()
    }

    /// Returns a snapshot of what the keeper has done and has to do.
    #[must_use]
    pub fn stats(&self) -> KeeperStats {
        let shared = &*self.shared;
        let (gauges, fetching, saving) = {
            let core = shared.core.lock();
            (core.gauges(), core.fetches.breaker.state(), core.saving_health.state())
        };
        let now = shared.clock.now();
        let counters = &shared.counters;
        let mut stats = KeeperStats {
            requested: 0,
            stored: counters.stored.get(),
            stored_bytes: counters.stored_bytes.get(),
            failed: counters.failed.get(),
            retried: counters.retried.get(),
            coalesced: 0,
            batches: counters.batches.get(),
            fetches: counters.fetches.get(),
            fetches_known_absent: counters.fetches_known_absent.get(),
            fetches_failed: counters.fetches_failed.get(),
            callback_panics: counters.callback_panics.get(),
            overflows: counters.overflows.get(),
            resident: 0,
            due: shared.due.load(Ordering::Relaxed) as u64,
            in_flight: gauges.captures as u64,
            in_flight_bytes: gauges.captured_bytes as u64,
            waiting_for_retry: gauges.delayed_batches as u64,
            stuck: 0,
            checked_out: 0,
            poisoned: 0,
            held_up: 0,
            fetches_queued: gauges.fetches_queued as u64,
            fetches_hanging: gauges.fetches_hanging as u64,
            serializations_slow: gauges.serializations_slow as u64,
            fetching,
            saving,
            oldest_change: None,
            shards_busy: 0,
            sources: shared.source_stats(),
            held_back_by: shared.held_back_by(),
        };
        for source in shared.sources() {
            stats.add(&source.status(), now);
        }
        stats
    }

    /// Stores every change that was made before this call.
    ///
    /// # Errors
    /// Not everything could be stored in time; the report says what was not. The keeper goes on
    /// trying.
    pub fn flush(&self, timeout: Duration) -> Result<CloseReport, NotAllStored> {
        if !reentrancy::may_wait() {
            return Err(CloseReport::reentrant());
        }
        let deadline = self.shared.clock.now().after(timeout);
        let settled = self.flush_until(deadline, false);
        if settled {
            self.settle_positions(deadline);
        }
        let time_left = deadline.since(self.shared.clock.now());
        self.report(&[], settled, time_left.max(REPORT_LOCK_WAIT))
    }

    /// Stores every change, as [`flush`](Self::flush) does, without blocking the thread.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn flush_async(&self, timeout: Duration) -> Result<CloseReport, NotAllStored> {
        if reentrancy::is_inside_shard() {
            return Err(CloseReport::reentrant());
        }
        let deadline = self.shared.clock.now().after(timeout);
        let settled = self.settle_behind(self.begin_flush(deadline, false), deadline).await;
        self.report(&[], settled, REPORT_LOCK_WAIT)
    }

    /// Lets no event in any more and stores every change, as [`close`](Self::close) does, without
    /// blocking the thread for it. The threads' end is waited for at last, which takes a moment.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn close_async(&self, timeout: Duration) -> Result<CloseReport, NotAllStored> {
        if !reentrancy::may_wait() {
            return Err(CloseReport::reentrant());
        }
        let deadline = self.shared.clock.now().after(timeout);
        self.shared.close_sources();
        self.begin_flush(deadline, true).into_future().await;
        self.close(deadline.since(self.shared.clock.now()))
    }

    /// Lets no event in any more, stores every change, and ends the threads.
    ///
    /// Waits for PEs that are lent out. Takes `timeout` at the most, and a moment for the threads
    /// to end; a thread that is stuck in the storage is left behind and reported, and so is a shard
    /// in which an event's closure does not end. A second call returns the same.
    ///
    /// # Errors
    /// Not everything could be stored in time; the report says what was not.
    pub fn close(&self, timeout: Duration) -> Result<CloseReport, NotAllStored> {
        if !reentrancy::may_wait() {
            return Err(CloseReport::reentrant());
        }
        let mut closed = self.closed.lock();
        if let Some(report) = &*closed {
            return report.clone();
        }
        let report = self.shut_down(self.shared.clock.now().after(timeout));
        *closed = Some(report.clone());
        report
    }

    fn shut_down(&self, deadline: Timestamp) -> Result<CloseReport, NotAllStored> {
        let shared = &*self.shared;
        let saved_before = shared.counters.stored.get();
        shared.close_sources();
        if self.flush_until(deadline, true) {
            self.settle_positions(deadline);
        }
        let mut left = Vec::new();
        let stopped = shared.core.lock().stop(false);
        shared.wakers.wake_all();
        shared.relief.notify_all();
        shared.fetch_room.notify_all();
        Self::withdraw(shared, stopped, &mut left);
        let threads_stuck = self.join_threads();
        // What the threads had in hand when they were told to end.
        let stopped = shared.core.lock().stop(true);
        Self::withdraw(shared, stopped, &mut left);
        for source in shared.sources() {
            source.end();
        }
        let time_left = deadline.since(shared.clock.now());
        let mut report = self.report(&left, false, time_left.max(REPORT_LOCK_WAIT));
        let part = match &mut report {
            Ok(report) | Err(NotAllStored(report)) => report,
        };
        part.threads_stuck = threads_stuck;
        part.saved = shared.counters.stored.get() - saved_before;
        shared.part();
        report
    }

    /// Returns whether everything was stored that was changed before.
    fn flush_until(&self, deadline: Timestamp, waits_for_guards: bool) -> bool {
        let shared = &*self.shared;
        let done = self.begin_flush(deadline, waits_for_guards);
        if !self.has_threads {
            self.step_until(|| done.result().is_some() || shared.clock.now() >= deadline);
            done.result().unwrap_or(false)
        } else {
            // The keeper's own deadline ends the wait.
            done.wait(&*shared.clock, None).unwrap_or(false)
        }
    }

    /// Makes everything due; the signal comes when it is stored, or at the deadline.
    fn begin_flush(&self, deadline: Timestamp, waits_for_guards: bool) -> Arc<Signal<bool>> {
        let shared = &*self.shared;
        let done = Signal::new();
        let marks = shared.sources().into_iter().map(|source| {
            let mark = source.request_all();
            (source, mark)
        });
        let flush = Arc::new(FlushState {
            marks: marks.collect(),
            deadline,
            done: done.clone(),
            waits_for_guards,
        });
        shared.core.lock().add_flush(flush);
        shared.wakers.wake_all();
        done
    }

    /// Does everything that can be done without time passing, until `done`.
    fn step_until(&self, done: impl Fn() -> bool) {
        let pools = [Pool::Timing, Pool::Fetching, Pool::Serialization, Pool::Storage];
        while !done() {
            let mut stepped = false;
            for pool in pools {
                stepped |= self.shared.step(pool);
            }
            if !stepped {
                return;
            }
        }
    }

    /// Does one thing that a thread of `pool` would do now; returns whether there was one.
    ///
    /// For keepers that were built [`stepped`](SafeKeeperBuilder::stepped).
    #[cfg(feature = "test-util")]
    pub fn step(&self, pool: Pool) -> bool {
        self.shared.step(pool)
    }

    /// Gives everything its result that will not get one any more.
    fn withdraw(shared: &Shared, stopped: Stopped, left: &mut Vec<SaveError>) {
        let mut end = |bytes: &[u8], saving: Saving, outcome, with_storage| {
            let id = saving.capture.id(bytes).to_owned();
            let outcome = shared.end_saving(bytes, saving, outcome, with_storage);
            if let SettlementOutcome::GaveUp(reason) = outcome {
                left.push(SaveError::new(id, reason));
            }
        };
        for (bytes, savings) in stopped.waiting {
            for saving in savings {
                end(&bytes, saving, None, false);
            }
        }
        for run in stopped.with_storage.iter().filter_map(|run| run.abandon()) {
            for (saving, outcome) in run.savings {
                let with_storage = outcome.is_none();
                end(&run.bytes, saving, outcome, with_storage);
            }
        }
        for mut results in stopped.reports {
            let outcomes = results.take_outcomes();
            for (saving, outcome) in results.savings.into_iter().zip(outcomes) {
                end(&results.bytes, saving, Some(outcome), false);
            }
        }
        for given_up in stopped.given_up {
            left.push(given_up.error.clone());
            shared.give_back(vec![given_up]);
        }
        for flush in stopped.flushes {
            flush.done.finish(false);
        }
        for round in stopped.rounds {
            round.finish(false);
        }
        for fetch in stopped.fetches {
            fetch.decide(Err(crate::restore_error::RestoreFailure::Closed));
        }
    }

    /// Gives everything its result on a thread that is free to wait for a shard's lock.
    fn end_elsewhere(&self, stopped: Stopped) {
        let shared = self.shared.clone();
        let end = move || {
            Self::withdraw(&shared, stopped, &mut Vec::new());
            for source in shared.sources() {
                source.end();
            }
            shared.part();
        };
        let started = self.shared.threads.start("checkpoint-closing-0".to_owned(), Box::new(end));
        if let Err(error) = started {
            tracing::error!(target: "checkpoint", %error, "cannot start a thread to end a keeper");
        }
    }

    /// Waits for the threads to end; those that hang in the storage are left behind.
    fn join_threads(&self) -> usize {
        let shared = &*self.shared;
        let mut threads = shared.pools.lock().take();
        // However many hang, they are waited for together.
        while shared.any_ends_soon(&threads) {
            let ended = threads.extract_if(.., |thread| thread.is_finished());
            for thread in ended {
                if thread.join().is_err() {
                    tracing::error!(target: "checkpoint", "a thread of the keeper panicked");
                }
            }
        }
        let stuck = threads.len();
        if stuck > 0 {
            tracing::error!(target: "checkpoint", stuck, "threads are stuck in the storage");
        }
        stuck
    }

    /// What is not stored now, by id; if everything was stored that was changed before a mark, only
    /// what cannot be stored: the rest was changed since.
    ///
    /// Waits `lock_wait` for shards whose locks are held.
    fn report(
        &self,
        left: &[SaveError],
        settled: bool,
        lock_wait: Duration,
    ) -> Result<CloseReport, NotAllStored> {
        let mut report = CloseReport::default();
        // What became of the last capture says nothing of an earlier one that may be stored.
        let mut left: BTreeMap<_, _> = left.iter().map(|error| (error.id(), error)).collect();
        for source in self.shared.sources() {
            let UnsavedPes { pes, shards_not_known } = source.unsaved(lock_wait);
            let not_known = |shard| ShardNotKnown { prototype: source.name().into(), shard };
            report.not_known.extend(shards_not_known.into_iter().map(not_known));
            for unsaved in pes {
                let of_last = left.remove(&unsaved.id);
                match (unsaved.state, of_last) {
                    // Changed since: what was there before is stored.
                    (UnsavedState::InFlight | UnsavedState::Waiting, None)
                        if settled && !unsaved.was_refused => {}
                    _ if unsaved.may_be_stored => report.unknown.push(unsaved.id),
                    (_, Some(error)) => report.name(error.clone()),
                    (UnsavedState::Failed(error), None) => report.name(error),
                    (UnsavedState::InFlight, None) => report.unknown.push(unsaved.id),
                    (
                        UnsavedState::Waiting | UnsavedState::CheckedOut | UnsavedState::Poisoned,
                        None,
                    ) => report.not_attempted.push(unsaved.id),
                }
            }
        }
        for error in left.into_values() {
            report.name(error.clone());
        }
        report.saved = self.shared.counters.stored.get();
        report.into_result()
    }
}

impl Drop for SafeKeeper {
    fn drop(&mut self) {
        if self.closed.lock().is_some() {
            return;
        }
        if !reentrancy::may_wait() {
            // Dropped by a callback or inside an event: what waits is answered by another thread.
            self.shared.close_sources();
            let stopped = self.shared.core.lock().stop(true);
            self.shared.wakers.wake_all();
            self.end_elsewhere(stopped);
            tracing::error!(target: "checkpoint", "a keeper was dropped where it cannot be closed");
            return;
        }
        let timeout = Duration::from_millis(self.shared.settings.close_on_drop_ms);
        if let Err(NotAllStored(report)) = self.close(timeout) {
            // Numbers only: the report names ids.
            tracing::error!(
                target: "checkpoint",
                saved = report.saved,
                failed = report.failed.len(),
                not_attempted = report.not_attempted.len(),
                unknown = report.unknown.len(),
                "a keeper was dropped without being closed"
            );
        }
    }
}

impl fmt::Debug for SafeKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafeKeeper")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}
