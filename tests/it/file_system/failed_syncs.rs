//! Syncs that fail again and again: the storage is said to fail, nothing is acknowledged, and what
//! is in memory is stored once they do not (B3).

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use checkpoint::{
    DefaultFileSystemStateStorage, PePrototype, Pool, SafeKeeper, SavingState, StateStorage,
    StorageErrorKind, TestClock,
};
use checkpoint_tests::Backend;
use rustix::io::Errno;

use super::faults::check_failed_syncs_are_final;
use super::files_that_fail::FilesThatFail;
use crate::support::{Counter, Results, counters, every};

const FAILING: SavingState = SavingState::Failing { kind: StorageErrorKind::Unavailable };

fn open_over(backend: Backend, root: &Path, files: &FilesThatFail) -> Arc<dyn StateStorage> {
    let files = Arc::new(files.clone());
    match backend {
        Backend::Files => {
            let storage = DefaultFileSystemStateStorage::builder(root);
            Arc::new(storage.shared_sync_entries_min(usize::MAX).open_over(files).unwrap())
        }
        Backend::Log => {
            let log = Backend::log(root).background_compaction(false);
            Arc::new(log.open_over(files).unwrap())
        }
    }
}

/// Has a keeper do what there is to do now, and then lets its longest wait pass.
fn pass(keeper: &SafeKeeper, clock: &TestClock) {
    let pools = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
    while pools.into_iter().any(|pool| keeper.step(pool)) {}
    clock.advance(Duration::from_secs(2));
}

/// Sets a count; the PE is restored first, if it is not in memory.
fn set(keeper: &SafeKeeper, numbers: &PePrototype<String, Counter>, key: &str, count: u64) {
    let mut event = pin!(numbers.process_async(key, |pe| pe.count = count));
    let mut context = Context::from_waker(Waker::noop());
    while event.as_mut().poll(&mut context).is_pending() {
        assert!(keeper.step(Pool::Fetching) || keeper.step(Pool::Serialization), "it hangs");
    }
}

#[track_caller]
fn check(backend: Backend) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = FilesThatFail::new(&root);
    let script = files.script();
    let (clock, results) = (Arc::new(TestClock::new()), Results::new());
    let told: Arc<Mutex<Vec<SavingState>>> = Arc::default();
    let keep = told.clone();
    let keeper = SafeKeeper::builder_over(open_over(backend, &root, &files))
        .partitions(1.try_into().unwrap())
        .clock(clock.clone())
        .storage_callback_factory(results.clone())
        .on_saving_state(move |state| keep.lock().unwrap().push(state))
        .stepped()
        .build()
        .unwrap();
    let numbers = counters(&keeper, every(1));
    set(&keeper, &numbers, "a", 1);
    pass(&keeper, &clock);
    assert_eq!((results.counts(), keeper.stats().saving), ((1, 0), SavingState::Working));

    script.take_log();
    script.fail_all("sync_data ", Errno::IO);
    set(&keeper, &numbers, "a", 2);
    set(&keeper, &numbers, "b", 3);
    let ticket = numbers.checkpoint("a").unwrap();
    for attempts in 1..=2 {
        pass(&keeper, &clock);
        assert_eq!(keeper.stats().retried, 2 * (attempts - 1), "{backend:?}");
        assert_eq!(keeper.stats().saving, SavingState::Working, "{backend:?}");
    }
    assert_eq!(*told.lock().unwrap(), []);
    // Long enough for captures to be given up and made again.
    for _ in 3..=20 {
        pass(&keeper, &clock);
        assert_eq!(keeper.stats().saving, FAILING, "{backend:?}");
        assert_eq!(*told.lock().unwrap(), [FAILING], "{backend:?}");
        assert_eq!(keeper.stats().stored, 1, "{backend:?}");
    }
    let (stored, failed) = results.counts();
    assert!(stored == 1 && failed >= 2, "{backend:?}: {stored} stored, {failed} failed");
    let waits = keeper.stats().oldest_change.unwrap();
    assert!(waits > Duration::from_secs(30), "{backend:?}: {waits:?}");
    let log = script.take_log();
    assert!(log.iter().filter(|line| line.starts_with("sync_data ")).count() > 10, "{log:?}");
    check_failed_syncs_are_final(&log, "while all syncs fail");

    // Whoever asked is told so; nobody was told that it is stored.
    assert!(matches!(ticket.outcome(), Some(Err(_))), "{backend:?}: {:?}", ticket.outcome());

    script.heal();
    pass(&keeper, &clock);
    pass(&keeper, &clock);
    assert_eq!(*told.lock().unwrap(), [FAILING, SavingState::Working], "{backend:?}");
    let stats = keeper.stats();
    assert_eq!((stats.saving, stats.oldest_change), (SavingState::Working, None), "{backend:?}");
    assert_eq!(results.counts().0, 3, "{backend:?}");
    results.check_once_each();
    keeper.close(Duration::ZERO).unwrap();

    let keeper = SafeKeeper::builder_over(open_over(backend, &root, &files))
        .partitions(1.try_into().unwrap())
        .build()
        .unwrap();
    let numbers = counters(&keeper, every(1));
    for (key, count) in [("a", 2), ("b", 3)] {
        assert_eq!(numbers.read(key, |pe| pe.count).unwrap(), count, "{backend:?}: {key}");
    }
}

#[test]
fn b3_syncs_that_fail_are_told_once_acknowledge_nothing_and_lose_nothing() {
    for backend in Backend::ALL {
        check(backend);
    }
}
