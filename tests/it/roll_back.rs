//! All PEs are taken back to what they were at a time, and can be taken back again.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    Clock, InMemoryStorage, LogStorage, PePrototype, Retention, SafeKeeper, StateStorage,
    StorageErrorKind, TestClock,
};

use crate::support::{Counter, FAIL_SAFE, counters, manual};

const MINUTE: Duration = Duration::from_secs(60);

fn log(root: &Path, clock: &Arc<TestClock>) -> LogStorage {
    let builder = LogStorage::builder(root).clock(clock.clone()).background_compaction(false);
    builder.retention(Retention::newest(10)).open().unwrap()
}

fn keeper(storage: impl StateStorage + 'static, clock: &Arc<TestClock>) -> SafeKeeper {
    SafeKeeper::builder(storage).clock(clock.clone()).build().unwrap()
}

fn count(counters: &PePrototype<String, Counter>, key: &str) -> u64 {
    counters.read(key, |counter| counter.count).unwrap()
}

#[test]
fn each_pe_is_what_it_was_and_the_roll_back_can_be_rolled_back() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let keeper = keeper(log(directory.path(), &clock), &clock);
    let counters = counters(&keeper, manual());
    let set = |key: &str, count: u64| {
        counters.process(key, |counter| counter.count = count).unwrap();
        counters.checkpoint(key).unwrap().wait().unwrap();
    };
    for key in 0..300 {
        set(&format!("k{key}"), 1);
    }
    set("came back", 1);
    counters.remove("came back").unwrap().wait().unwrap();
    clock.advance(MINUTE);
    let good = clock.wall();
    clock.advance(MINUTE);
    for key in 0..280 {
        set(&format!("k{key}"), 2);
    }
    set("came back", 2);
    set("younger", 2);
    // What is not stored yet, of one that is not resident otherwise, and of one that had no change.
    counters.evict("k0").unwrap();
    counters.process("k1", |counter| counter.count = 3).unwrap();
    counters.process("k299", |counter| counter.count = 3).unwrap();
    clock.advance(MINUTE);
    let bad = clock.wall();
    let mut told = Vec::new();
    clock.advance(MINUTE);
    let report = counters.roll_back_all(good, |so_far| told.push(so_far.rolled_back)).unwrap();
    assert_eq!((report.rolled_back, report.removed, report.failed), (281, 1, 0));
    assert_eq!((report.unchanged, report.not_kept), (19, 1));
    assert_eq!(report.ids_not_kept[0].to_text(), "counter/younger");
    assert!(told.len() >= 2 && told.last() == Some(&281), "{told:?}");
    let ones = |counters: &PePrototype<String, Counter>| {
        for key in 0..300 {
            assert_eq!(count(counters, &format!("k{key}")), 1, "k{key}");
        }
        assert_eq!(count(counters, "younger"), 2);
    };
    ones(&counters);
    assert_eq!(count(&counters, "came back"), 0);
    // It is durable, and no capture of before comes back.
    keeper.close(FAIL_SAFE).unwrap();
    drop(counters);
    let keeper = self::keeper(log(directory.path(), &clock), &clock);
    let counters = self::counters(&keeper, manual());
    ones(&counters);
    let report = counters.roll_back_all(bad, |_| {}).unwrap();
    assert_eq!((report.rolled_back, report.failed), (281, 0));
    for (key, expected) in [("k0", 2), ("k1", 2), ("k279", 2), ("k280", 1), ("k299", 1)] {
        assert_eq!(count(&counters, key), expected, "{key}");
    }
    // What was not stored then was stored before the first roll-back.
    let versions = counters.versions("k299").unwrap();
    let last = versions.iter().find(|version| version.captured_at > bad).unwrap();
    let oldest = versions.iter().rfind(|version| version.captured_at > bad).unwrap();
    assert!(last.version > oldest.version);
    counters.restore_version("k299", oldest.version).unwrap().wait().unwrap();
    assert_eq!(count(&counters, "k299"), 3);
}

#[test]
fn those_that_come_for_a_roll_back_leave_again_where_no_more_may_be_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let keeper = keeper(log(directory.path(), &clock), &clock);
    let counters = counters(&keeper, manual().capacity(NonZeroUsize::new(20).unwrap()));
    for count in 1..=2 {
        for key in 0..300 {
            counters.process(&format!("k{key}"), |counter| counter.count = count).unwrap();
        }
        counters.flush(FAIL_SAFE).unwrap();
        clock.advance(MINUTE);
    }
    let report = counters.roll_back_all(clock.wall() - MINUTE - MINUTE / 2, |_| {}).unwrap();
    assert_eq!((report.rolled_back, report.failed), (300, 0));
    assert!(counters.len() <= 20, "{}", counters.len());
    for key in 0..300 {
        assert_eq!(count(&counters, &format!("k{key}")), 1, "k{key}");
    }
}

#[test]
fn a_storage_without_older_versions_refuses() {
    let clock = Arc::new(TestClock::new());
    let keeper = keeper(InMemoryStorage::new(), &clock);
    let counters = counters(&keeper, manual());
    counters.process("a", |counter| counter.count = 1).unwrap();
    let err = counters.roll_back_all(clock.wall(), |_| {}).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::Unsupported);
    assert!(err.to_string().contains("keeps no older versions"), "{err}");
    assert_eq!(count(&counters, "a"), 1);
}

#[test]
fn what_cannot_be_rolled_back_is_named_and_the_others_are() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let keeper = keeper(log(directory.path(), &clock), &clock);
    let config = manual().wait_max(Duration::from_secs(5));
    let counters = counters(&keeper, config);
    for count in 1..=2 {
        for key in ["a", "b"] {
            counters.process(key, |counter| counter.count = count).unwrap();
            counters.checkpoint(key).unwrap().wait().unwrap();
        }
        clock.advance(MINUTE);
    }
    let good = clock.wall() - MINUTE - MINUTE / 2;
    // Somebody has it for too long.
    let guard = counters.pe("a").unwrap();
    let (advancing, rolled) = std::thread::scope(|scope| {
        let rolling = scope.spawn(|| counters.roll_back_all(good, |_| {}));
        let mut advanced = 0;
        while !rolling.is_finished() {
            // Not so fast that the other one meets its deadline, too.
            std::thread::park_timeout(Duration::from_millis(1));
            clock.advance(Duration::from_millis(10));
            advanced += 1;
        }
        (advanced, rolling.join().unwrap())
    });
    drop(guard);
    assert!(advancing > 0);
    let report = rolled.unwrap();
    assert_eq!((report.rolled_back, report.failed), (1, 1));
    let (id, error) = &report.errors[0];
    assert!(id.to_text() == "counter/a" && error.to_string().contains("counter/a"), "{error}");
    assert_eq!((count(&counters, "a"), count(&counters, "b")), (2, 1));
}
