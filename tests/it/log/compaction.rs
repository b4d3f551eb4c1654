//! Compaction frees what does not count, and nothing else.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, Clock, FetchVersion, InputPositions, LogStorage, LogStorageBuilder, RecordKind,
    RecordMeta, RecordView, RecordWriter, Retention, SaveOutcome, StateStorage, StateVersion,
    TestClock,
};

use super::{fetch, id, payload, segments, store};
use crate::file_system::files_that_fail::FilesThatFail;
use crate::support::eventually;

/// A log of small segments that is only compacted when it is told to be.
fn builder(root: &Path) -> LogStorageBuilder {
    LogStorage::builder(root).segment_bytes(4_000).background_compaction(false)
}

/// A record that was captured at a time.
fn record_at(
    key: &str,
    version: StateVersion,
    captured_at: SystemTime,
    kind: RecordKind,
    payload: &[u8],
) -> Vec<u8> {
    let meta = RecordMeta {
        kind,
        partition: 0,
        version,
        event_count: 0,
        captured_at,
        idle: Duration::ZERO,
        fingerprint: 0,
        positions: &InputPositions::default(),
    };
    let mut bytes = Vec::new();
    let writer = RecordWriter::begin(&mut bytes, id(key).as_ref(), &meta);
    bytes.extend_from_slice(payload);
    writer.finish(&mut bytes);
    bytes
}

fn remove(storage: &dyn StateStorage, key: &str, version: StateVersion, at: SystemTime) {
    let record = record_at(key, version, at, RecordKind::Tombstone, &[]);
    let outcome = conformance::save(storage, &[record]).pop().unwrap();
    assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
}

fn ids(storage: &dyn StateStorage) -> usize {
    let mut count = 0;
    storage
        .ids("p", &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    count
}

#[test]
fn what_was_overwritten_is_freed_and_everything_else_stays() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = builder(&root).open().unwrap();
    // One of them is not changed any more, but lies between those that are.
    for round in 1..=100_u64 {
        for key in 0..10 {
            if round <= 10 || key > 0 {
                store(
                    &storage,
                    &format!("k{key}"),
                    round * 10 + key,
                    &[u8::try_from(round).unwrap(); 100],
                );
            }
        }
    }
    let before = storage.stats();
    let files_before = segments(&root).len();
    let freed = storage.compact().unwrap();
    let after = storage.stats();
    assert_eq!(before.disk_bytes - after.disk_bytes, freed);
    assert_eq!(before.live_bytes, after.live_bytes);
    assert!(after.disk_bytes < 2 * after.live_bytes + 2 * 4_000, "{after:?}");
    assert!(after.disk_bytes * 5 < before.disk_bytes, "{before:?} {after:?}");
    assert_eq!(segments(&root).len() as u64, after.segments);
    assert!(files_before > 10 && after.segments_compacted > 0);
    let check = |storage: &LogStorage| {
        assert_eq!(payload(storage, "k0"), Some(vec![10; 100]));
        for key in 1..10 {
            assert_eq!(payload(storage, &format!("k{key}")), Some(vec![100; 100]));
        }
        assert_eq!(ids(storage), 10);
    };
    check(&storage);
    drop(storage);
    let storage = builder(&root).open().unwrap();
    check(&storage);
    let reopened = storage.stats();
    assert_eq!((reopened.live_bytes, reopened.ids), (after.live_bytes, after.ids));
    assert_eq!(storage.compact().unwrap(), 0);
}

#[test]
fn what_is_kept_of_older_versions_is_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let hour = Duration::from_secs(3600);
    let open = || {
        let retention = Retention::newest(1).and_younger_than(hour);
        let builder = builder(directory.path()).retention(retention);
        // Those of another prototype are not concerned.
        builder.retention_of("q", Retention::newest(7)).clock(clock.clone()).open().unwrap()
    };
    let storage = open();
    let of_q = CheckpointId::new("q", "a").unwrap();
    let kept_of_q = |storage: &LogStorage| -> Vec<u64> {
        let versions = storage.versions(&of_q).unwrap();
        versions.iter().map(|stored| stored.version.sequence.0).collect()
    };
    for sequence in 1..=10 {
        let record = conformance::record(&of_q, StateVersion::new(1, sequence), &[7; 900]);
        let outcome = conformance::save(&storage, &[record]).pop().unwrap();
        assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
    }
    for sequence in 1..=5 {
        let version = StateVersion::new(1, sequence);
        let payload = [u8::try_from(sequence).unwrap(); 900];
        let record = record_at("a", version, clock.wall(), RecordKind::State, &payload);
        let outcome = conformance::save(&storage, &[record]).pop().unwrap();
        assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
        clock.advance(hour / 4);
    }
    let versions = |storage: &LogStorage| -> Vec<u64> {
        let versions = storage.versions(&id("a")).unwrap();
        versions.iter().map(|stored| stored.version.sequence.0).collect()
    };
    // The last save was an hour and a quarter after the first.
    assert_eq!(versions(&storage), [5, 4, 3, 2, 1]);
    clock.advance(hour / 2);
    assert!(storage.compact().unwrap() > 0);
    // The third was still the newest one an hour ago, and had been captured before.
    assert_eq!(versions(&storage), [5, 4, 3]);
    assert_eq!(kept_of_q(&storage), [10, 9, 8, 7, 6, 5, 4, 3]);
    for sequence in [3, 4, 5] {
        let version = FetchVersion::Exactly(StateVersion::new(1, sequence));
        let record = conformance::fetch(&storage, &id("a"), version).unwrap().unwrap();
        let view = RecordView::parse(&record).unwrap();
        assert_eq!(view.payload(), [u8::try_from(sequence).unwrap(); 900]);
    }
    drop(storage);
    let storage = open();
    assert_eq!(versions(&storage), [5, 4, 3]);
    assert_eq!(kept_of_q(&storage), [10, 9, 8, 7, 6, 5, 4, 3]);
}

#[test]
fn what_a_pe_was_before_its_removal_is_dropped_at_its_age_however_often_the_log_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let hour = Duration::from_secs(3600);
    let open = || {
        let builder = builder(directory.path()).retention(Retention::younger_than(hour));
        builder.clock(clock.clone()).open().unwrap()
    };
    let storage = open();
    let (state, removal) = (StateVersion::new(1, 1), StateVersion::new(1, 2));
    let record = record_at("a", state, clock.wall(), RecordKind::State, b"state");
    conformance::save(&storage, &[record]).pop().unwrap();
    clock.advance(hour / 4);
    remove(&storage, "a", removal, clock.wall());
    let mut storage = Some(storage);
    let mut kept = Vec::new();
    for _ in 0..3 {
        clock.advance(hour / 2);
        drop(storage.take());
        let opened = open();
        opened.compact().unwrap();
        let versions = opened.versions(&id("a")).unwrap();
        kept.push(versions.iter().any(|stored| stored.version == state));
        storage = Some(opened);
    }
    assert_eq!(kept, [true, false, false]);
}

#[test]
fn a_removal_is_forgotten_when_nothing_older_can_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let kept = Duration::from_secs(60);
    let open = || {
        let builder = builder(directory.path()).removals_kept(kept);
        builder.clock(clock.clone()).open().unwrap()
    };
    let storage = open();
    let mut sequence = 0;
    let mut overwrite = |storage: &LogStorage, key: &str| {
        for _ in 0..50 {
            sequence += 1;
            store(storage, key, sequence, &[1; 200]);
        }
        sequence += 1;
        sequence
    };
    let removed = overwrite(&storage, "gone");
    remove(&storage, "gone", StateVersion::new(1, removed), clock.wall());
    overwrite(&storage, "other");
    storage.compact().unwrap();
    // A save that is older than the removal may be under way.
    let check_kept = |storage: &LogStorage| {
        assert_eq!(storage.stats().ids, 2);
        let late = conformance::record(&id("gone"), StateVersion::new(1, removed - 1), b"late");
        let outcome = conformance::save(storage, &[late]).pop().unwrap();
        assert!(matches!(outcome, SaveOutcome::NotStored(_)), "{outcome:?}");
    };
    check_kept(&storage);
    drop(storage);
    clock.advance(kept / 2);
    // Those of before may be, too.
    let storage = open();
    overwrite(&storage, "other");
    storage.compact().unwrap();
    check_kept(&storage);
    // However often the log is opened, it is not remembered for longer.
    drop(storage);
    clock.advance(kept / 2);
    let storage = open();
    overwrite(&storage, "other");
    storage.compact().unwrap();
    assert_eq!(storage.stats().ids, 1);
    assert_eq!(payload(&storage, "gone"), None);
    assert_eq!(payload(&storage, "other"), Some(vec![1; 200]));
    drop(storage);
    let storage = open();
    assert_eq!(payload(&storage, "gone"), None);
    assert_eq!(storage.stats().ids, 1);
}

/// The removal is on its way to be forgotten when it becomes an older version, which is kept.
#[test]
fn a_removal_that_something_newer_is_saved_over_is_forgotten_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let clock = Arc::new(TestClock::new());
    let kept = Duration::from_secs(60);
    let files = FilesThatFail::new(&root);
    let script = files.script();
    let builder = || {
        let builder = builder(&root).older_versions_max(1).removals_kept(kept);
        builder.clock(clock.clone())
    };
    let storage = Arc::new(builder().open_over(Arc::new(files)).unwrap());
    remove(&*storage, "gone", StateVersion::new(1, 1), clock.wall());
    store(&*storage, "stays", 2, b"state");
    for sequence in 3..=20 {
        store(&*storage, "other", sequence, &[1; 200]);
    }
    clock.advance(kept);
    // The first one is of the head; before the second all was read.
    let saver = Arc::downgrade(&storage);
    script.before("sync_data segments/", 1, move || {
        store(&*saver.upgrade().unwrap(), "gone", 100, b"back");
    });
    storage.compact().unwrap();
    assert!(storage.stats().segments_compacted > 0);
    let check = |storage: &LogStorage| {
        assert_eq!(payload(storage, "gone").as_deref(), Some(&b"back"[..]));
        let versions = storage.versions(&id("gone")).unwrap();
        let sequences: Vec<_> = versions.iter().map(|stored| stored.version.sequence.0).collect();
        assert_eq!(sequences, [100]);
    };
    check(&storage);
    drop(storage);
    check(&builder().open().unwrap());
}

#[test]
fn removals_behind_states_that_never_change_are_forgotten_but_for_what_lies_among_those() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let kept = Duration::from_secs(60);
    let open = || {
        let builder = builder(directory.path()).removals_kept(kept);
        builder.clock(clock.clone()).open().unwrap()
    };
    let storage = open();
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        sequence
    };
    for key in 0..60 {
        store(&storage, &format!("cold {key}"), next(), &[1; 200]);
    }
    let mut come_and_go = |storage: &LogStorage| {
        for key in 0..60 {
            store(storage, &format!("session {key}"), next(), &[2; 20]);
            let version = StateVersion::new(1, next());
            remove(storage, &format!("session {key}"), version, clock.wall());
        }
        next()
    };
    let version = StateVersion::new(1, come_and_go(&storage));
    remove(&storage, "cold 7", version, clock.wall());
    come_and_go(&storage);
    storage.compact().unwrap();
    assert_eq!(storage.stats().ids, 60 + 60, "too early");
    clock.advance(2 * kept);
    come_and_go(&storage);
    clock.advance(2 * kept);
    assert!(storage.compact().unwrap() > 0);
    // All but those in the last segment, which is being written.
    let check = |storage: &LogStorage| {
        let ids = storage.stats().ids;
        assert!((60..80).contains(&ids), "{ids}");
        assert_eq!(payload(storage, "cold 6"), Some(vec![1; 200]));
        assert_eq!(payload(storage, "session 3"), None);
        // What was stored of it lies among the cold ones: without the removal it would come back.
        let removed = fetch(storage, "cold 7").unwrap().unwrap();
        let kind = RecordView::parse(&removed).unwrap().header().kind;
        assert_eq!(kind, RecordKind::Tombstone);
        assert_eq!(self::ids(storage), 59);
    };
    check(&storage);
    drop(storage);
    check(&open());
}

#[test]
fn a_damaged_segment_is_left_alone_and_what_it_hides_stays_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = builder(&root).open().unwrap();
    store(&storage, "a", 1, &[7; 500]);
    store(&storage, "b", 2, &[8; 500]);
    for sequence in 3..=40 {
        store(&storage, "c", sequence, &[9; 500]);
    }
    // Nobody has noticed yet.
    let first = segments(&root).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    let at = bytes.windows(8).position(|bytes| bytes == [7; 8]).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    storage.compact().unwrap_err();
    storage.compact().unwrap();
    assert!(first.exists());
    let check = |storage: &LogStorage| {
        // Whoever gets the bytes checks them.
        let found = fetch(storage, "a").map(|record| RecordView::parse(&record.unwrap()).is_ok());
        assert!(matches!(found, Err(_) | Ok(false)), "{found:?}");
        assert_eq!(payload(storage, "b"), Some(vec![8; 500]));
        assert_eq!(payload(storage, "c"), Some(vec![9; 500]));
    };
    check(&storage);
    assert!(storage.stats().segments < 6, "{:?}", storage.stats());
    drop(storage);
    check(&builder(&root).open().unwrap());
}

#[test]
fn openings_do_not_leave_ever_more_segments() {
    let directory = tempfile::tempdir().unwrap();
    for opening in 1..=40 {
        let storage = builder(directory.path()).open().unwrap();
        store(&storage, &format!("k{opening}"), opening, b"state");
        storage.compact().unwrap();
        assert!(storage.stats().segments <= 17, "{:?}", storage.stats());
    }
    let storage = builder(directory.path()).open().unwrap();
    assert_eq!(ids(&storage), 40);
}

#[test]
fn saves_and_fetches_go_on_while_a_log_is_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let builder = LogStorage::builder(directory.path()).segment_bytes(20_000);
    let storage = builder.open().unwrap();
    let ends = AtomicBool::new(false);
    for key in 0..8 {
        store(&storage, &format!("k{key}"), 1, &[0; 100]);
    }
    let read = || {
        let mut last = [0_u8; 8];
        while !ends.load(Ordering::Relaxed) {
            for (key, last) in last.iter_mut().enumerate() {
                let found = payload(&storage, &format!("k{key}")).unwrap();
                assert!(found[0] >= *last && found.iter().all(|byte| *byte == found[0]));
                *last = found[0];
            }
        }
    };
    thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        for round in 1..=250_u8 {
            for key in 0..8 {
                let sequence = u64::from(round) + 1;
                store(&storage, &format!("k{key}"), sequence, &[round; 100]);
            }
        }
        // It must have happened, not only been possible.
        eventually("something is compacted", || storage.stats().segments_compacted > 0);
        ends.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
