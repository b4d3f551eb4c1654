//! Brings many PEs into memory before their events come.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::{panic, thread};

use crate::checkpoint_id::CheckpointId;
use crate::framework::StateFetch;
use crate::process_error::ProcessError;
use crate::prototype::entry::Arrival;
use crate::prototype::inner::{Inner, Place};
use crate::prototype::key::Key;
use crate::prototype::landing::Landing;
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::restore::Coming;
use crate::prototype::shard::Locked;
use crate::reentrancy;
use crate::state::Checkpointable;
use crate::storage::{StateStorage, StorageError, StorageErrorKind};
use crate::sync::Mutex;

/// So many are on their way at the same time, for each thread.
const AT_ONCE_MAX: usize = 256;
/// So many times as many are listed for each thread before the threads are started: with fewer,
/// much of the time goes into starting them, and into waiting for the slowest.
const TURNS: usize = 16;
/// So many errors are reported, one for each PE; all are counted.
const ERRORS_MAX: usize = 100;

/// What came of bringing many PEs into memory, or has come of it so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BulkRestore {
    /// How many PEs have come.
    pub restored: u64,
    /// How many were there.
    pub resident: u64,
    /// How many cannot be restored. Each goes as its prototype's
    /// [`OnRestoreError`](crate::OnRestoreError) says, as with its first event.
    pub failed: u64,
    /// Why: the first hundred.
    pub errors: Vec<ProcessError>,
    /// Whether it ended because as many PEs are in memory as the
    /// [`capacity`](crate::CheckpointingConfigBuilder::capacity) allows.
    pub is_full: bool,
    // Some had to be waited for.
    is_cold: bool,
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Brings all stored PEs into memory, those with the latest checkpoints first if the storage
    /// knows their order, as [`LogStorage`](crate::LogStorage) does.
    ///
    /// PEs restore themselves with their first events; this is for a program that would rather wait
    /// at its start. Events go on meanwhile, and nobody leaves for those who come. Up to 256 PEs
    /// are on their way at the same time; where they need not be waited for, and there is room for
    /// all, on each of as many threads as there are processors, at most eight, which end with the
    /// call. The prototype's factory and hooks run on all of them, and may not wait for other PEs
    /// there. `progress` is told after each 256, or each 4,096 for each thread.
    ///
    /// A storage that hangs while it reads many at once holds this up, and the events of those PEs
    /// for as long as they may wait.
    ///
    /// # Errors
    /// The storage cannot list its ids, the keeper is closed, or the call came from inside an
    /// event, or from a thread of the keeper. PEs that have come until then stay. What is wrong
    /// with single PEs is in the result.
    ///
    /// # Examples
    /// ```
    /// use checkpoint::{Checkpointable, InMemoryStorage, SafeKeeper, StorageError};
    ///
    /// #[derive(Checkpointable, Default)]
    /// struct Account {
    ///     cents: i64,
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
    /// let accounts = keeper
    ///     .prototype::<String, Account>("account")
    ///     .create(|_| Account::default())
    ///     .build()?;
    /// let report = accounts.restore_all(|so_far| println!("{} restored", so_far.restored))?;
    /// assert_eq!(report.failed, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore_all(
        &self,
        progress: impl FnMut(&BulkRestore),
    ) -> Result<BulkRestore, StorageError> {
        self.restore_hottest(u64::MAX, progress)
    }

    /// Brings up to `count` stored PEs into memory, as [`restore_all`](Self::restore_all) does:
    /// those with the latest checkpoints. Those that are in memory count.
    ///
    /// # Errors
    /// As [`restore_all`](Self::restore_all).
    pub fn restore_hottest(
        &self,
        count: u64,
        mut progress: impl FnMut(&BulkRestore),
    ) -> Result<BulkRestore, StorageError> {
        let inner = &self.inner;
        if !reentrancy::may_wait() {
            return Err(inner.not_restored(inner.reentrant()));
        }
        let Some(storage) = inner.storage() else {
            return Err(inner.not_restored(inner.closed_error()));
        };
        let threads = inner.registration.restore_threads.get();
        let mut together = AT_ONCE_MAX;
        let mut report = BulkRestore::default();
        let mut ids = Vec::new();
        let mut left = count;
        let mut ended = None;
        let listed = storage.ids(&inner.name, &mut |id| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            ids.push(id);
            if ids.len() < together {
                return ControlFlow::Continue(());
            }
            ended = inner.restore_on(threads, &*storage, &mut ids, &mut report).err();
            // From the first ones it is known whether they have to be waited for.
            together = if report.is_cold { AT_ONCE_MAX } else { threads * AT_ONCE_MAX * TURNS };
            progress(&report);
            match ended.is_some() || report.is_full {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        // Also if the list is not complete: that may be because of one of them.
        if ended.is_none() && !report.is_full {
            ended = inner.restore_on(threads, &*storage, &mut ids, &mut report).err();
            progress(&report);
        }
        match ended {
            Some(error) => Err(inner.not_restored(error)),
            None => listed.map(|()| report),
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    fn not_restored(&self, error: ProcessError) -> StorageError {
        let kind = match error {
            ProcessError::Closed { .. } => StorageErrorKind::Closed,
            _ => StorageErrorKind::Unsupported,
        };
        StorageError::new(kind, format!("restore the PEs of `{}`", self.name)).with_source(error)
    }

    /// Brings these into memory, on so many threads if that helps, and waits until they are there.
    fn restore_on(
        self: &Arc<Self>,
        threads: usize,
        storage: &dyn StateStorage,
        ids: &mut Vec<CheckpointId>,
        report: &mut BulkRestore,
    ) -> Result<(), ProcessError> {
        // Where PEs have to be waited for, or there is no room for all of them, the first ones are
        // to come first.
        let is_room_for_all = self.room_left() >= ids.len();
        let helpers = match is_room_for_all && !report.is_cold {
            true => (threads - 1).min((ids.len() / AT_ONCE_MAX).saturating_sub(1)),
            false => 0,
        };
        let is_cold = report.is_cold;
        let turns = Mutex::new(std::mem::take(ids).into_iter());
        let restore = || {
            let mut report = BulkRestore { is_cold, ..BulkRestore::default() };
            let mut ended = Ok(());
            while ended.is_ok() && !report.is_full {
                let turn: Vec<_> = turns.lock().by_ref().take(AT_ONCE_MAX).collect();
                if turn.is_empty() {
                    break;
                }
                ended = self.restore_some(storage, turn, &mut report);
            }
            (report, ended)
        };
        let results = thread::scope(|scope| {
            let name = |number| format!("checkpoint-restore-{number}");
            // If the system has no thread to give, those that there are do its work.
            let helpers: Vec<_> = (0..helpers)
                .filter_map(|n| {
                    thread::Builder::new().name(name(n)).spawn_scoped(scope, restore).ok()
                })
                .collect();
            let mut results = vec![restore()];
            for helper in helpers {
                results.push(helper.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
            }
            results
        });
        let mut all = Ok(());
        report.is_cold = false;
        for (part, ended) in results {
            report.add(part);
            all = all.and(ended);
        }
        all
    }

    /// Brings these into memory, and waits until they are there.
    fn restore_some(
        self: &Arc<Self>,
        storage: &dyn StateStorage,
        ids: Vec<CheckpointId>,
        report: &mut BulkRestore,
    ) -> Result<(), ProcessError> {
        if report.is_cold {
            storage.prefetch(&ids);
        }
        let mut sought = Vec::with_capacity(ids.len());
        for id in ids {
            match K::from_key_bytes(id.key()) {
                Ok(key) => sought.push(Sought { place: self.place(&key), key, id }),
                // It was stored by a program with keys of another type; no event can ask for it.
                Err(_) => report.failed += 1,
            }
        }
        let is_room_for_all = self.room_left() >= sought.len();
        let order = if is_room_for_all { Order::Any } else { Order::AsGiven };
        if let (Order::Any, Some(first)) = (order, sought.first()) {
            // Each shard is locked once, and what is read of its table is read at the same time.
            // Not by all threads in the same order, or they get in each other's way.
            let (first, shards) = (first.place.shard, self.shards.len());
            sought.sort_unstable_by_key(|sought| (sought.place.shard + shards - first) % shards);
        }
        self.restore_sought(sought, order, report)
    }

    fn restore_sought(
        self: &Arc<Self>,
        sought: Vec<Sought<K>>,
        order: Order,
        report: &mut BulkRestore,
    ) -> Result<(), ProcessError> {
        let mut later = Vec::new();
        let mut waiting = Vec::with_capacity(sought.len());
        // A place that is held has a fetch: if that is dropped, those who wait are told.
        let mut fetches = Vec::with_capacity(sought.len());
        let mut landing = Landing::new(self);
        let mut held: Option<Locked<'_, K, P>> = None;
        let mut ended = Ok(());
        for sought in sought {
            let shard = sought.place.shard;
            if held.as_ref().is_some_and(|locked| locked.index() != shard) {
                give_back(held.take());
            }
            let locked = match &mut held {
                Some(locked) => locked,
                none => none.insert(match self.try_lock_again(shard) {
                    Some(locked) => locked,
                    // It may be held for long.
                    None if order == Order::Any => {
                        later.push(sought);
                        continue;
                    }
                    None => {
                        // Nobody is to wait for that who wants one of those.
                        let landed = std::mem::replace(&mut landing, Landing::new(self));
                        self.fetch_together(std::mem::take(&mut fetches), landed);
                        self.lock_again(shard)
                    }
                }),
            };
            match self.hold_place(locked, sought, &landing) {
                Ok(Held::Resident) => report.resident += 1,
                Ok(Held::Full) => {
                    report.is_full = true;
                    break;
                }
                Ok(Held::Place(key, arrival, fetch)) => {
                    waiting.push((key, arrival));
                    fetches.push(fetch);
                }
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        give_back(held);
        self.fetch_together(fetches, landing);
        ended?;
        report.is_cold = waiting.iter().any(|(_, arrival)| arrival.result().is_none());
        let deadline = self.deadline();
        for (key, arrival) in waiting {
            match self.wait(&key, Hindrance::Arrival(arrival, None), deadline) {
                Ok(()) => report.restored += 1,
                Err(error @ (ProcessError::Closed { .. } | ProcessError::Reentrant { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    report.failed += 1;
                    if report.errors.len() < ERRORS_MAX {
                        report.errors.push(error);
                    }
                }
            }
        }
        if !later.is_empty() && !report.is_full {
            let is_cold = report.is_cold;
            self.restore_sought(later, Order::AsGiven, report)?;
            report.is_cold |= is_cold;
        }
        Ok(())
    }

    /// Has those fetched whose places are held. What is found at once is with its shards before
    /// anything has to be waited for.
    fn fetch_together(&self, fetches: Vec<StateFetch>, landing: Landing<'_, K, P>) {
        let others = self.framework.fetch_serialized_states(fetches);
        drop(landing);
        for fetch in others {
            self.framework.fetch_serialized_state(fetch);
        }
    }

    /// Holds the place of a PE that is not there.
    fn hold_place(
        self: &Arc<Self>,
        locked: &mut Locked<'_, K, P>,
        sought: Sought<K>,
        landing: &Landing<'_, K, P>,
    ) -> Result<Held<K>, ProcessError> {
        let Sought { place, key, id } = sought;
        if self.gate.is_closed() {
            return Err(self.closed_error());
        }
        let table = locked.table();
        if table.entries.find(place.hash, |entry| entry.key == key).is_some() {
            return Ok(Held::Resident);
        }
        if !self.reserve() {
            return Ok(Held::Full);
        }
        let (pe, arrival) = table.new_place(place.hash);
        let hasher = |key: &K| self.hash(key);
        let coming = Coming { shard: place.shard, pe, key: key.clone(), id };
        table.insert_placeholder(key.clone(), pe, arrival.clone(), hasher);
        Ok(Held::Place(key, arrival, self.fetch_among_others(coming, landing)))
    }
}

/// Gives a lock back while the places of others are held. Whatever is run then, such as the waker
/// of somebody's task, must not wait for one of those: only this thread can have them fetched.
fn give_back<K, P>(held: Option<Locked<'_, K, P>>) {
    reentrancy::as_keeper_thread(|| drop(held));
}

impl BulkRestore {
    fn add(&mut self, part: Self) {
        self.restored += part.restored;
        self.resident += part.resident;
        self.failed += part.failed;
        self.errors.extend(part.errors);
        self.errors.truncate(ERRORS_MAX);
        self.is_full |= part.is_full;
        self.is_cold |= part.is_cold;
    }
}

/// A PE that is to be brought.
struct Sought<K> {
    place: Place,
    key: K,
    id: CheckpointId,
}

/// In which order PEs are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Those that come first may be all for which there is room.
    AsGiven,
    /// As it costs least.
    Any,
}

/// What became of an attempt to hold a PE's place.
enum Held<K> {
    /// It is there, or has just been removed, or is on its way already.
    Resident,
    Place(K, Arc<Arrival>, StateFetch),
    Full,
}
