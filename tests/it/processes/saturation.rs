//! All keys are dirty, the storage does not answer, and hardly anything has room in its queue: T13.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, InMemoryStorage, KeeperStats, PePrototype, SafeKeeper,
    StorageCallback, StorageCallbackFactory, StorageResult, StorageResultCode,
};
use checkpoint_tests::{Quota, Unsteady, Weather};

use crate::processes::show;
use crate::support::eventually;

const ROUNDS: u64 = 3;

/// Counts what the application is told.
#[derive(Debug, Clone, Default)]
struct Told(Arc<[AtomicU64; 2]>);

impl StorageCallbackFactory for Told {
    fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(self.clone())
    }
}

impl StorageCallback for Told {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        let is_stored = result.code == StorageResultCode::Success;
        self.0[usize::from(is_stored)].fetch_add(1, Ordering::Relaxed);
    }
}

fn numbers(keeper: &SafeKeeper) -> PePrototype<u64, u64> {
    let each = CheckpointingMode::EventCount(1.try_into().unwrap());
    let config = CheckpointingConfig::builder(each).build().unwrap();
    keeper.prototype("numbers").config(config).create(|_| 0).build().unwrap()
}

/// Each request has ended in one way, waits, or is with the storage.
fn is_accounted_for(stats: &KeeperStats) -> bool {
    stats.requested == stats.stored + stats.failed + stats.in_flight + stats.due
}

fn is_at_rest(stats: &KeeperStats) -> bool {
    is_accounted_for(stats) && stats.in_flight + stats.due == 0
}

#[track_caller]
fn check(size: usize) {
    let keys = (Quota::DIRTY_KEYS.get() / 10).max(1000);
    let content = InMemoryStorage::new();
    let storage = Unsteady::new(content.clone(), Weather::Stuck);
    let told = Told::default();
    let keeper = SafeKeeper::builder(storage.clone())
        .storage_max_outstanding_requests(size.try_into().unwrap())
        .save_attempts_max(1.try_into().unwrap())
        .save_backoff_min(Duration::from_millis(1))
        .save_backoff_max(Duration::from_millis(1))
        .storage_callback_factory(told.clone())
        .build()
        .unwrap();
    let counters = numbers(&keeper);
    let mut in_flight_max = 0;
    for round in 0..ROUNDS {
        for key in 0..keys {
            counters.process(key, |count| *count += 1).unwrap();
            if key % 64 == round {
                in_flight_max = in_flight_max.max(keeper.stats().in_flight);
            }
        }
    }
    eventually("nothing moves", || is_accounted_for(&keeper.stats()));
    let blocked = keeper.stats();
    let seen = format!("{keys} keys, room for {size}, {in_flight_max} at most: {blocked:?}");
    show(&seen);
    assert!((1..=size as u64).contains(&in_flight_max.max(blocked.in_flight)), "{seen}");
    assert_eq!((blocked.stored, blocked.failed), (0, 0), "{seen}");
    assert!(blocked.coalesced >= (ROUNDS - 1) * (keys - size as u64), "{seen}");

    storage.set(Weather::Fair);
    counters.flush(Duration::from_secs(120)).unwrap();
    // What is stored is told of a moment later.
    eventually("all are told of", || is_at_rest(&keeper.stats()));
    let stats = keeper.stats();
    let seen = format!("{seen}; then {stats:?}");
    // Each event has made its PE due, or found it due.
    assert_eq!(stats.requested + stats.coalesced, ROUNDS * keys, "{seen}");
    assert_eq!((stats.stored, stats.failed), (stats.requested, 0), "{seen}");
    assert!(stats.stored < 2 * keys, "{seen}");

    storage.set(Weather::Down);
    for key in 0..keys {
        counters.process(key, |count| *count += 1).unwrap();
    }
    eventually("some saves fail", || keeper.stats().failed >= 30);
    storage.set(Weather::Fair);
    counters.flush(Duration::from_secs(120)).unwrap();
    // What is stored is told of a moment later.
    eventually("all are told of", || is_at_rest(&keeper.stats()));
    let stats = keeper.stats();
    let [failed, stored] = [0, 1].map(|at| told.0[at].load(Ordering::Relaxed));
    let seen = format!("{seen}; in the end {stats:?}");
    // The application was told of each, once.
    assert_eq!((stored, failed), (stats.stored, stats.failed), "{seen}");
    assert!(failed >= 30, "{seen}");
    drop(counters);
    keeper.close(Duration::from_secs(20)).unwrap();
    let keeper = SafeKeeper::builder(content).build().unwrap();
    let counters = numbers(&keeper);
    for key in 0..keys {
        assert_eq!(counters.read(key, |count| *count).unwrap(), ROUNDS + 1, "{key}: {seen}");
    }
}

#[test]
fn t13_with_room_for_one_capture_each_request_is_accounted_for() {
    check(1);
}

#[test]
fn t13_with_room_for_two_captures_each_request_is_accounted_for() {
    check(2);
}

#[test]
fn t13_with_room_for_ten_captures_each_request_is_accounted_for() {
    check(10);
}
