//! A keeper as its prototypes see it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::CheckpointingConfig;
use crate::framework::{
    Caller, CheckpointSource, CheckpointingFramework, NewPrototype, Overloaded, PeStatus,
    RegisterError, Registration, StateFetch,
};
use crate::prototype::sealing;
use crate::prototype_index::PrototypeIndex;
use crate::quarantine::QuarantineRoom;
use crate::reentrancy;
use crate::restore_error::RestoreFailure;
use crate::safe_keeper::action::{Pool, Step};
use crate::safe_keeper::breaker::FetchingState;
use crate::safe_keeper::core::Core;
use crate::safe_keeper::settings::Overflow;
use crate::safe_keeper::shared::{Registered, Shared, contained};
use crate::storage::{FetchVersion, StateStorage, StorageError, StorageErrorKind};
use crate::store_metadata::{Recorded, key_type_name, record_once, record_schema};
use crate::sync::{Condvar, MutexGuard, Ordering};
use crate::task::{FetchAnswers, FetchTask};

/// The part of a [`SafeKeeper`](crate::SafeKeeper) that prototypes are built over.
#[derive(Clone)]
pub(super) struct KeeperHandle(pub(super) Arc<Shared>);

impl CheckpointingFramework for KeeperHandle {
    fn register(&self, prototype: &NewPrototype<'_>) -> Result<Registration, RegisterError> {
        let shared = &*self.0;
        let name = || prototype.name.to_owned();
        let closed = || RegisterError::Closed { name: name() };
        let storage = shared.storage().ok_or_else(closed)?;
        prototype.check_policy(Some(&*storage))?;
        let failed = |error: StorageError| RegisterError::Storage { name: name(), error };
        let key_type = key_type_name(prototype.name);
        let recorded = record_once(&*storage, &key_type, prototype.key_type.as_bytes());
        if let Recorded::Other(stored) = recorded.map_err(failed)? {
            return Err(RegisterError::KeyType {
                name: name(),
                stored: String::from_utf8_lossy(&stored).into_owned(),
                wanted: prototype.key_type.to_owned(),
            });
        }
        record_schema(&*storage, prototype.schema).map_err(failed)?;
        let registration = Registration::new(PrototypeIndex(0))
            .with_sequences(shared.sequences.clone())
            .with_partitioning(shared.partitioning.clone())
            .with_clock(shared.clock.clone())
            .with_random(shared.random.clone())
            .with_due_counter(shared.due.clone())
            .with_log_keys(shared.settings.log_keys)
            .with_compression(shared.compression)
            .with_sources(shared.positions.sources.clone())
            .with_restore_threads(shared.restore_threads())
            .with_storage(Arc::downgrade(&storage));
        #[cfg(feature = "encryption")]
        let registration = match &shared.keys {
            Some(keys) => registration.with_encryption(keys.clone()),
            None => registration,
        };
        // Whatever can fail comes before the name is taken.
        sealing(prototype.name, prototype.config, &registration, Some(&*storage))?;
        let callback = shared.callbacks.create_storage_callback(prototype.name);
        let mut prototypes = shared.prototypes.lock();
        if prototypes.iter().any(|known| *known.name == *prototype.name) {
            return Err(RegisterError::NameTaken { name: name() });
        }
        let index = PrototypeIndex(prototypes.len());
        prototypes.push(Registered {
            name: prototype.name.into(),
            callback,
            quarantine: Arc::new(QuarantineRoom::new(prototype.config.quarantined_max())),
            source: None,
        });
        Ok(Registration { index, ..registration })
    }

    fn attach(&self, index: PrototypeIndex, source: Arc<dyn CheckpointSource>) {
        // Under the registry's lock: whoever closes the keeper sets the mark before he goes through
        // it.
        let mut prototypes = self.0.prototypes.lock();
        if self.0.closing.load(Ordering::Relaxed) {
            source.close();
        } else if let Some(registered) = prototypes.get_mut(index.0) {
            registered.source = Some(source);
        }
    }

    fn is_checkpointable(&self, config: &CheckpointingConfig, pe: &PeStatus) -> bool {
        config.mode().event_count().is_some_and(|n| pe.events_since_capture >= n.get())
    }

    fn save_state(&self, prototype: PrototypeIndex, shard: usize) {
        let new = self.0.core.lock().shard_ready((prototype, shard));
        if new {
            self.0.wakers.of(Pool::Serialization).notify_one();
        }
    }

    fn look_after(&self, prototype: PrototypeIndex, shard: usize) {
        let new = self.0.core.lock().shard_has_mail((prototype, shard));
        if new {
            self.0.wakers.of(Pool::Serialization).notify_one();
        }
    }

    fn fetch_serialized_state(&self, fetch: StateFetch) {
        let shared = &*self.0;
        let Some(storage) = shared.storage() else {
            return fetch.decide(Err(RestoreFailure::Closed));
        };
        shared.counters.fetches.add(1);
        match ask(&fetch, || storage.may_contain(&fetch.id)) {
            Ok(true) => {}
            Ok(false) => {
                shared.counters.fetches_known_absent.add(1);
                return fetch.decide(Ok(None));
            }
            Err(broken) => return shared.decide(fetch, Err(broken)),
        }
        let now = shared.clock.now();
        let admitted = shared.core.lock().fetches.breaker.admit(now);
        if let Err(remaining) = admitted {
            shared.counters.fetches_failed.add(1);
            return fetch.decide(Err(RestoreFailure::FetchingDisabled { remaining }));
        }
        if fetch.version == FetchVersion::Newest {
            match ask(&fetch, || storage.fetch_now(&fetch.id)) {
                Ok(None) => {}
                Ok(Some(outcome)) => return shared.decide(fetch, outcome),
                Err(broken) => return shared.decide(fetch, Err(broken)),
            }
        }
        self.enqueue(fetch, &*storage);
    }

    fn fetch_serialized_states(&self, fetches: Vec<StateFetch>) -> Vec<StateFetch> {
        let shared = &*self.0;
        let mut fetches: Vec<_> = fetches.into_iter().map(Some).collect();
        // While fetching is off or tried out, each goes the way that counts for that.
        let is_enabled = shared.core.lock().fetches.breaker.state() == FetchingState::Enabled;
        if is_enabled && let Some(storage) = shared.storage() {
            let ids: Vec<_> = fetches.iter().flatten().map(|fetch| fetch.id.as_ref()).collect();
            let mut found = Vec::with_capacity(ids.len());
            let asked = catch_unwind(AssertUnwindSafe(|| {
                storage.fetch_many(&ids, &mut |at, record| found.push((at, record)));
            }));
            if asked.is_err() {
                tracing::error!(target: "checkpoint", "the storage panicked; fetching one by one");
            }
            let is_running = {
                let mut core = shared.core.lock();
                if !found.is_empty() {
                    // Once for all of them: the threads of the keeper want this lock, too.
                    core.fetches.breaker.succeeded();
                }
                core.is_running()
            };
            let mut decided = 0;
            // A keeper that was closed meanwhile decodes none of them: they go the way of the rest.
            for (at, record) in found.into_iter().filter(|_| is_running) {
                // A place that there is not, or that was named before, is the storage's mistake.
                if let Some(fetch) = fetches.get_mut(at).and_then(Option::take) {
                    decided += 1;
                    contained(|| fetch.decide(Ok(Some(record))));
                }
            }
            shared.counters.fetches.add(decided);
        }
        fetches.into_iter().flatten().collect()
    }

    fn call_at(&self, prototype: PrototypeIndex, at: Timestamp) {
        self.0.core.lock().tick_at(prototype, at);
        self.0.wakers.of(Pool::Serialization).notify_one();
    }

    fn relieve(&self, caller: Caller) -> Result<(), Overloaded> {
        let shared = &*self.0;
        let due_max = shared.settings.serialization_max_outstanding_requests.get();
        if shared.due.load(Ordering::Relaxed) <= due_max {
            return Ok(());
        }
        shared.counters.overflows.add(1);
        let may_wait = caller == Caller::MayWait && reentrancy::may_wait();
        match shared.settings.serialization_overflow {
            Overflow::Reject => Err(Overloaded),
            Overflow::Block | Overflow::CallerRuns if !may_wait => Ok(()),
            Overflow::Block => {
                self.wait_for_relief(due_max);
                Ok(())
            }
            Overflow::CallerRuns => {
                // As one of the pool's threads: user code that runs inside must not wait for
                // itself.
                reentrancy::as_keeper_thread(|| {
                    if let Step::Run(action) = shared.next(Pool::Serialization) {
                        shared.perform(action);
                    }
                });
                Ok(())
            }
        }
    }
}

/// Asks the storage on the thread that has the event, which a panic must not reach: the fetch may
/// be the one that decides whether fetching is on again.
fn ask<R>(fetch: &StateFetch, ask: impl FnOnce() -> R) -> Result<R, StorageError> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|_| {
        let attempted = format!("fetch {}: the storage panicked", fetch.id);
        StorageError::new(StorageErrorKind::Broken, attempted)
    })
}

impl KeeperHandle {
    fn enqueue(&self, fetch: StateFetch, storage: &dyn StateStorage) {
        let shared = &*self.0;
        let may_wait = fetch.caller == Caller::MayWait && reentrancy::may_wait();
        let deadline = shared.clock.now().after(shared.settings.fetching_max_wait());
        // Asked for without the lock: a simulated clock lets the world go on meanwhile.
        let mut sleep = None;
        let mut core = shared.core.lock();
        loop {
            if !core.is_running() {
                drop(core);
                return fetch.decide(Err(RestoreFailure::Closed));
            }
            if !core.fetches.is_full() {
                break;
            }
            match shared.settings.fetching_overflow {
                Overflow::Block | Overflow::CallerRuns if !may_wait => break,
                Overflow::Block if shared.clock.now() < deadline => match sleep.take() {
                    None => {
                        drop(core);
                        sleep = Some(shared.clock.sleep_until(deadline));
                        core = shared.core.lock();
                    }
                    Some(time) => wait_for(&shared.fetch_room, &mut core, time),
                },
                // It has waited for as long as a fetch may take: the storage does not keep up.
                Overflow::Block => {
                    drop(core);
                    return shared.failed(fetch, RestoreFailure::Overloaded);
                }
                Overflow::Reject => {
                    core.fetches.breaker.not_tried(shared.clock.now());
                    drop(core);
                    shared.counters.fetches_failed.add(1);
                    return fetch.decide(Err(RestoreFailure::Overloaded));
                }
                Overflow::CallerRuns => {
                    drop(core);
                    return shared.fetch_here(fetch, storage);
                }
            }
        }
        core.fetches.add(fetch, shared.clock.now());
        drop(core);
        shared.wakers.of(Pool::Fetching).notify_one();
        shared.wakers.of(Pool::Timing).notify_one();
    }

    fn wait_for_relief(&self, due_max: usize) {
        let shared = &*self.0;
        let wait = Duration::from_millis(shared.settings.overflow_wait_max_ms);
        let deadline = shared.clock.now().after(wait);
        loop {
            // Asked for without the lock: a simulated clock lets the world go on meanwhile.
            let sleep = shared.clock.sleep_until(deadline);
            let mut core = shared.core.lock();
            if !core.is_running()
                || shared.due.load(Ordering::Relaxed) <= due_max
                || shared.clock.now() >= deadline
            {
                return;
            }
            wait_for(&shared.relief, &mut core, sleep);
        }
    }
}

/// Waits for a notice, at most for so long.
fn wait_for(condvar: &Condvar, core: &mut MutexGuard<'_, Core>, time: Option<Duration>) {
    match time {
        Some(time) => {
            condvar.wait_for(core, time);
        }
        None => condvar.wait(core),
    }
}

impl Shared {
    /// Fetches on the thread that has the event.
    fn fetch_here(&self, fetch: StateFetch, storage: &dyn StateStorage) {
        let (id, version) = (fetch.id.clone(), fetch.version);
        let number = self.core.lock().fetches.add_unqueued(fetch, self.clock.now());
        let Some(me) = self.me.upgrade() else { return };
        let answers: Arc<dyn FetchAnswers> = me;
        let task = FetchTask::new(vec![(number, id, version)]);
        reentrancy::as_keeper_thread(|| {
            let run = AssertUnwindSafe(|| task.run(storage, &answers));
            if catch_unwind(run).is_err() {
                tracing::error!(target: "checkpoint", "the storage panicked in `fetch`");
            }
        });
    }

    /// Runs one action of a pool, if there is one.
    pub(super) fn step(&self, pool: Pool) -> bool {
        match self.next(pool) {
            Step::Run(action) => {
                reentrancy::as_keeper_thread(|| self.perform(action));
                true
            }
            Step::Wait(_) | Step::Exit => false,
        }
    }
}
