//! What the threads of a keeper and its prototypes share, and how actions are performed.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::callback::{StorageCallback, StorageCallbackFactory};
use crate::clock::{Alarm, Clock, Timestamp};
use crate::framework::{CheckpointSource, StateFetch};
use crate::partition::{Partitioning, Sequences};
use crate::prototype_index::PrototypeIndex;
use crate::quarantine::QuarantineRoom;
use crate::random::RandomSource;
use crate::record::Compression;
#[cfg(feature = "encryption")]
use crate::record::EncryptionKeys;
use crate::restore_error::RestoreFailure;
use crate::safe_keeper::action::{Action, Pool, Step};
use crate::safe_keeper::core::Core;
use crate::safe_keeper::flush_state::FlushState;
use crate::safe_keeper::retry::RetryPolicy;
use crate::safe_keeper::saving_health::OnSavingState;
use crate::safe_keeper::serializations::Slow;
use crate::safe_keeper::settings::SafeKeeperSettings;
use crate::safe_keeper::stats::Counters;
use crate::source::PositionStore;
use crate::storage::{FetchOutcome, StateStorage};
use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, thread};
use crate::task::{
    CheckpointingTask, FetchAnswers, FetchNumber, FetchTask, SaveStateTask, SerializeTask,
};
use crate::thread_start::ThreadStart;

/// So many threads restore at the same time at most: more would wait for the same memory.
const RESTORE_THREADS_MAX: NonZeroUsize = match NonZeroUsize::new(8) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// Lock order: a shard's lock, then a registry or `core`, then an inbox or a signal. No lock is
/// held while a storage, a callback or a prototype is called, or a thread is waited for.
pub(super) struct Shared {
    pub(super) me: Weak<Shared>,
    pub(super) core: Mutex<Core>,
    pub(super) wakers: Wakers,
    /// Notified when due PEs were captured.
    pub(super) relief: Condvar,
    /// Notified when fetches have left the queue.
    pub(super) fetch_room: Condvar,
    pub(super) settings: SafeKeeperSettings,
    pub(super) retry: RetryPolicy,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn RandomSource>,
    pub(super) threads: Arc<dyn ThreadStart>,
    /// Taken away on close, so that the store can be opened again.
    pub(super) storage: Mutex<Option<Arc<dyn StateStorage>>>,
    pub(super) positions: Arc<PositionStore>,
    pub(super) sequences: Arc<Sequences>,
    pub(super) partitioning: Partitioning,
    pub(super) compression: Compression,
    #[cfg(feature = "encryption")]
    pub(super) keys: Option<EncryptionKeys>,
    pub(super) callbacks: Arc<dyn StorageCallbackFactory>,
    pub(super) on_saving_state: OnSavingState,
    pub(super) prototypes: Mutex<Vec<Registered>>,
    /// Set under the lock of `prototypes`: no more are taken in.
    pub(super) closing: AtomicBool,
    pub(super) counters: Counters,
    /// PEs that are due, over all prototypes.
    pub(super) due: Arc<AtomicUsize>,
    pub(super) pools: Mutex<super::pools::Pools>,
}

/// One condition variable for each pool; all belong to `core`.
#[derive(Default)]
pub(super) struct Wakers {
    serialization: Condvar,
    storage: Condvar,
    fetching: Condvar,
    timing: Condvar,
}

impl Wakers {
    pub(super) fn of(&self, pool: Pool) -> &Condvar {
        match pool {
            Pool::Serialization => &self.serialization,
            Pool::Storage => &self.storage,
            Pool::Fetching => &self.fetching,
            Pool::Timing => &self.timing,
        }
    }

    pub(super) fn wake_all(&self) {
        for pool in [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing] {
            self.of(pool).notify_all();
        }
    }
}

/// A prototype that was taken in.
pub(super) struct Registered {
    pub(super) name: Arc<str>,
    pub(super) callback: Arc<dyn StorageCallback>,
    pub(super) quarantine: Arc<QuarantineRoom>,
    /// Set by `attach`; taken away on close, because the prototype has a way to this keeper.
    pub(super) source: Option<Arc<dyn CheckpointSource>>,
}

impl Shared {
    /// Asks the core for something to do for `pool`.
    pub(super) fn next(&self, pool: Pool) -> Step {
        self.core.lock().next(pool, self.clock.now())
    }

    pub(super) fn storage(&self) -> Option<Arc<dyn StateStorage>> {
        self.storage.lock().clone()
    }

    pub(super) fn source(&self, index: PrototypeIndex) -> Option<Arc<dyn CheckpointSource>> {
        self.prototypes.lock().get(index.0)?.source.clone()
    }

    /// Lets no event in any more, and no prototype.
    pub(super) fn close_sources(&self) {
        {
            let _prototypes = self.prototypes.lock();
            self.closing.store(true, Ordering::Relaxed);
        }
        for source in self.sources() {
            source.close();
        }
    }

    /// Forgets prototypes, which have a way to this keeper too, and the storage, so that the store
    /// can be opened again.
    pub(super) fn part(&self) {
        let sources: Vec<_> =
            self.prototypes.lock().iter_mut().map(|prototype| prototype.source.take()).collect();
        let storage = self.storage.lock().take();
        drop((sources, storage));
        // After the storage is gone, which whoever sets another one looks at.
        for source in self.positions.sources.all() {
            source.forget_told();
        }
    }

    pub(super) fn sources(&self) -> Vec<Arc<dyn CheckpointSource>> {
        self.prototypes.lock().iter().filter_map(|p| p.source.clone()).collect()
    }

    /// Does one action, on this thread.
    pub(super) fn perform(&self, action: Action) {
        match action {
            Action::Serialize { number, shards, limits, bytes, wakes_timing } => {
                if wakes_timing {
                    self.wakers.of(Pool::Timing).notify_one();
                }
                let with_source = |(index, shard)| Some((index, self.source(index)?, shard));
                let shards = shards.into_iter().filter_map(with_source).collect();
                self.serialize(number, SerializeTask::new(shards, limits, bytes));
            }
            Action::Save(task) => self.save(task),
            Action::Report(results) => self.report(results),
            Action::GiveBack(given_up) => self.give_back(given_up),
            Action::Fetch(call) => {
                self.fetch_room.notify_all();
                self.fetch(FetchTask::new(call.wanted));
                let surplus = self.core.lock().fetches.returned(call.call);
                if surplus {
                    self.pools.lock().retire_one();
                }
            }
            Action::Attend((index, shard)) => {
                let attended = self.source(index).is_none_or(|source| source.attend(shard));
                {
                    let mut core = self.core.lock();
                    if attended {
                        core.look_at_flushes();
                    } else {
                        core.not_attended((index, shard));
                    }
                }
                self.wakers.of(Pool::Timing).notify_one();
            }
            Action::Tick(index) => {
                let next = self
                    .source(index)
                    .and_then(|source| CheckpointingTask::new(source).run(self.clock.now()));
                self.core.lock().ticked(index, next);
                self.wakers.of(Pool::Serialization).notify_one();
            }
            Action::Expire(fetches) => {
                let after = self.settings.fetching_max_wait();
                for fetch in fetches {
                    self.failed(fetch, RestoreFailure::TimedOut { after });
                }
            }
            Action::TellSlow(slow) => self.tell_slow(slow),
            Action::Replace(count) => self.replace_fetching_threads(count),
            Action::CheckFlushes(flushes) => self.check_flushes(flushes),
            Action::Round(step) => self.round(step),
        }
    }

    fn serialize(&self, number: u64, task: SerializeTask) {
        let done = task.run();
        let too_late = self.core.lock().serialized(number, done.save, done.unused, done.again);
        if let Some(task) = too_late {
            self.end_late(task);
        }
        self.wakers.of(Pool::Storage).notify_one();
        self.wakers.of(Pool::Serialization).notify_one();
        self.wakers.of(Pool::Timing).notify_one();
        self.relief.notify_all();
        for failure in done.failures {
            self.capture_failed(failure);
        }
    }

    fn save(&self, mut task: SaveStateTask) {
        let Some(storage) = self.storage() else { return self.end_late(task) };
        {
            let prototypes = self.prototypes.lock();
            for saving in task.savings_mut() {
                let prototype = prototypes.get(saving.capture.prototype.0);
                saving.quarantine = prototype.map(|prototype| prototype.quarantine.clone());
                saving.attempts += 1;
                if saving.attempts > 1 {
                    self.counters.retried.add(1);
                }
            }
        }
        self.counters.batches.add(1);
        let me = self.me.clone();
        let run = self.core.lock().saving(|number| {
            task.prepare(move |results| {
                if let Some(shared) = me.upgrade() {
                    let late = shared.core.lock().saved(number, results);
                    if let Some(results) = late {
                        shared.end_results(results);
                    }
                    shared.wakers.of(Pool::Storage).notify_one();
                }
            })
        });
        // The next batch can be captured while this one is with the storage.
        self.wakers.of(Pool::Serialization).notify_one();
        // A panic drops what the storage has not kept: the drop says that the outcome is unknown.
        if catch_unwind(AssertUnwindSafe(|| run.run(&*storage))).is_err() {
            tracing::error!(target: "checkpoint", "the storage panicked in `save`");
        }
    }

    fn fetch(&self, task: FetchTask) {
        let (Some(storage), Some(me)) = (self.storage(), self.me.upgrade()) else { return };
        let answers: Arc<dyn FetchAnswers> = me;
        // A panic drops the entries, which answers them.
        if catch_unwind(AssertUnwindSafe(|| task.run(&*storage, &answers))).is_err() {
            tracing::error!(target: "checkpoint", "the storage panicked in `fetch`");
        }
    }

    /// How many threads may restore many PEs at the same time.
    pub(super) fn restore_threads(&self) -> NonZeroUsize {
        // A keeper that is stepped has no threads, whoever would start them.
        let has_threads = self.pools.lock().count(Pool::Fetching) > 0;
        if !has_threads {
            return NonZeroUsize::MIN;
        }
        // Linux reads files of control groups to answer this: not to be asked in vain.
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(RESTORE_THREADS_MAX)
    }

    /// Gives a fetch its verdict.
    pub(super) fn decide(&self, fetch: StateFetch, outcome: FetchOutcome) {
        let verdict = match outcome {
            Ok(record) => Ok(record),
            // What cannot pass concerns this PE alone: a damaged record, say.
            Err(error) if error.kind().is_transient() => {
                return self.failed(fetch, RestoreFailure::Storage(Arc::new(error)));
            }
            Err(error) => {
                self.counters.fetches_failed.add(1);
                Err(RestoreFailure::Storage(Arc::new(error)))
            }
        };
        // Whatever it says of this one PE: the storage answers.
        self.core.lock().fetches.breaker.succeeded();
        contained(|| fetch.decide(verdict));
    }

    /// Gives a fetch the verdict that it failed, for a reason that is not its own: it counts.
    pub(super) fn failed(&self, fetch: StateFetch, reason: RestoreFailure) {
        self.counters.fetches_failed.add(1);
        self.core.lock().fetches.breaker.failed(self.clock.now());
        contained(|| fetch.decide(Err(reason)));
    }

    fn tell_slow(&self, slow: Vec<Slow>) {
        let prototypes = self.prototypes.lock();
        for Slow { prototypes: indices, since } in slow {
            let names = indices.iter().filter_map(|index| prototypes.get(index.0));
            let names: Vec<_> = names.map(|prototype| &*prototype.name).collect();
            tracing::warn!(
                target: "checkpoint",
                prototypes = ?names,
                seconds = since.as_secs(),
                "an encoding takes long; its shard waits for it, and nothing of it is stored"
            );
        }
    }

    fn replace_fetching_threads(&self, count: usize) {
        tracing::warn!(
            target: "checkpoint",
            count,
            "fetches hang in the storage; starting threads"
        );
        if let Some(me) = self.me.upgrade() {
            for _ in 0..count {
                self.pools.lock().replace_one(&me);
            }
        }
    }

    fn check_flushes(&self, flushes: Vec<Arc<FlushState>>) {
        let now = self.clock.now();
        let mut open = Vec::new();
        for flush in flushes {
            let settled = flush.is_settled();
            if now >= flush.deadline {
                flush.done.finish(settled && !flush.waits_for_guards);
            } else if !settled {
                open.push(flush);
            } else if !flush.waits_for_guards || !flush.is_any_checked_out() {
                flush.done.finish(true);
            } else if flush.marks.iter().any(|(source, _)| source.status().checked_out > 0) {
                open.push(flush);
            } else {
                // The guards that were counted are back, and with them changes that nobody knew of.
                let next = flush.marked_again();
                match next.is_settled() && !next.is_any_checked_out() {
                    true => next.done.finish(true),
                    false => open.push(Arc::new(next)),
                }
            }
        }
        let over = {
            let mut core = self.core.lock();
            // One that is kept behind the end would keep the prototypes.
            match core.is_running() {
                true => {
                    core.flushes_go_on(open);
                    Vec::new()
                }
                false => open,
            }
        };
        over.into_iter().for_each(|flush| flush.done.finish(false));
    }

    /// Waits a moment for one of the threads that have been told to end; `false` if none has, or
    /// none is left.
    pub(super) fn any_ends_soon(&self, threads: &[thread::JoinHandle<()>]) -> bool {
        let has_ended = || threads.iter().any(thread::JoinHandle::is_finished);
        // In steps: the end of a thread cannot be waited for with a deadline.
        for _ in 0..200 {
            if threads.is_empty() || has_ended() {
                break;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        has_ended()
    }

    /// Waits, with the core's lock released, until something may have happened for `pool`.
    pub(super) fn wait(
        &self,
        core: &mut crate::sync::MutexGuard<'_, Core>,
        pool: Pool,
        until: Option<Timestamp>,
    ) {
        let condvar = self.wakers.of(pool);
        match until.and_then(|until| self.clock.sleep_until(until)) {
            Some(time) => {
                condvar.wait_for(core, time);
            }
            None => condvar.wait(core),
        }
    }
}

/// Runs what goes into a prototype: its own code catches the user's panics, this is for what is
/// left, such as the drop of a state. The thread must not end by it.
pub(super) fn contained(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!(
            target: "checkpoint",
            "the application's code panicked in a keeper's thread"
        );
    }
}

impl FetchAnswers for Shared {
    fn answered(&self, fetch: FetchNumber, outcome: FetchOutcome) {
        let fetch = self.core.lock().fetches.answered(fetch);
        // None: it had its verdict before; a late answer changes nothing.
        if let Some(fetch) = fetch {
            self.decide(fetch, outcome);
        }
    }
}

impl Alarm for Shared {
    fn time_changed(&self) {
        // Under the lock, so that nobody is between looking at the time and waiting.
        let _core = self.core.lock();
        self.wakers.wake_all();
        self.relief.notify_all();
        self.fetch_room.notify_all();
    }
}
