//! Hints make opening fast, and are never believed if they are not whole.

use std::fs;
use std::path::Path;

use checkpoint::storage::conformance;
use checkpoint::{LogStorage, LogStorageBuilder, SaveOutcome, StateStorage, StateVersion};

use super::{hints, id, payload, store};

fn builder(root: &Path) -> LogStorageBuilder {
    let builder = LogStorage::builder(root).segment_bytes(4_000).background_compaction(false);
    builder.older_versions_max(1)
}

/// Overwrites some keys and removes one, over several segments.
fn fill(storage: &LogStorage) {
    let mut sequence = 0;
    for round in 1..=20_u8 {
        for key in 0..5 {
            sequence += 1;
            store(storage, &format!("k{key}"), sequence, &[round; 200]);
        }
    }
    let removal = conformance::tombstone(&id("k4"), StateVersion::new(1, sequence + 1));
    let outcome = conformance::save(storage, &[removal]).pop().unwrap();
    assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
    // The last segment has no hint: this is one behind the removal.
    for more in 0..50 {
        store(storage, "last", sequence + 2 + more, &[9; 200]);
    }
}

/// A log that was filled, and has its hints.
fn compacted(root: &Path) -> LogStorage {
    let storage = builder(root).open().unwrap();
    fill(&storage);
    storage.compact().unwrap();
    storage
}

/// What can be seen of a log.
fn content(storage: &LogStorage) -> (Vec<String>, u64, u64) {
    let mut seen = Vec::new();
    for key in ["k0", "k1", "k2", "k3", "k4", "last"] {
        for version in storage.versions(&id(key)).unwrap() {
            seen.push(format!("{key}: {version}"));
        }
        if key != "k4" {
            seen.push(format!("{key}: {:?}", payload(storage, key)));
        }
    }
    let stats = storage.stats();
    (seen, stats.ids, stats.live_bytes)
}

#[test]
fn a_log_is_opened_by_its_hints_as_by_its_segments() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let storage = builder(root).open().unwrap();
    fill(&storage);
    drop(storage);
    let read_all = builder(root).open().unwrap();
    let (expected, read_without) = (content(&read_all), read_all.open_report().bytes_read);
    assert_eq!(read_all.open_report().hints_used, 0);
    read_all.compact().unwrap();
    let compacted = content(&read_all);
    assert_eq!(compacted, expected);
    drop(read_all);
    let files = hints(root).len();
    let storage = builder(root).open().unwrap();
    let report = storage.open_report();
    assert!(files >= 1);
    assert_eq!((report.hints_used, report.hints_unusable), (files as u64, 0));
    assert!(report.bytes_read * 4 < read_without, "{report:?}, {read_without} without hints");
    assert_eq!(content(&storage), expected);
    // What was deleted stays deleted, and what goes on goes on.
    let stale = conformance::record(&id("k4"), StateVersion::new(1, 1), b"old");
    let outcome = conformance::save(&storage, &[stale]).pop().unwrap();
    assert!(matches!(outcome, SaveOutcome::NotStored(_)), "{outcome:?}");
}

#[test]
fn a_hint_that_is_changed_anywhere_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let expected = content(&compacted(root));
    let path = hints(root).remove(0);
    let bytes = fs::read(&path).unwrap();
    let check = |changed: &[u8], how: &str| {
        fs::write(&path, changed).unwrap();
        let storage = builder(root).open().unwrap();
        assert_eq!(storage.open_report().hints_unusable, 1, "{how}");
        assert_eq!(content(&storage), expected, "{how}");
    };
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        check(&changed, &format!("byte {at} changed"));
    }
    for length in (0..bytes.len()).step_by(7) {
        check(&bytes[..length], &format!("cut to {length} bytes"));
    }
    check(&[&bytes[..], &[0]].concat(), "a byte more");
    // It is made anew.
    let storage = builder(root).open().unwrap();
    storage.compact().unwrap();
    drop(storage);
    assert_eq!(builder(root).open().unwrap().open_report().hints_unusable, 0);
}

#[test]
fn a_hint_is_not_believed_beside_another_segment() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let storage = builder(root).open().unwrap();
    // Nothing of it can be compacted.
    for key in 0..60 {
        store(&storage, &format!("k{key}"), key + 1, &[1; 200]);
    }
    storage.compact().unwrap();
    drop(storage);
    let files = hints(root);
    let [first, second, ..] = &files[..] else { panic!("{files:?}") };
    fs::copy(first, second).unwrap();
    let storage = builder(root).open().unwrap();
    assert_eq!(storage.open_report().hints_unusable, 1);
    assert_eq!(storage.stats().ids, 60);
    drop(storage);
    // A segment that has become shorter is damaged, whatever its hint says.
    let segment = first.with_extension("");
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 10]).unwrap();
    let storage = builder(root).open().unwrap();
    assert!(!storage.open_report().damages.is_empty());
}

#[test]
fn a_hint_that_cannot_be_read_is_no_reason_not_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let expected = content(&compacted(root));
    let hint = hints(root).remove(0);
    fs::remove_file(&hint).unwrap();
    fs::create_dir(&hint).unwrap();
    let storage = builder(root).open().unwrap();
    assert_eq!(storage.open_report().hints_unusable, 1);
    assert_eq!(content(&storage), expected);
}

#[test]
fn damage_that_was_found_is_told_of_by_the_next_opening_too() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let storage = compacted(root);
    let hint = hints(root).remove(0);
    let segment = hint.with_extension("");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.len() - 10;
    bytes[end] ^= 1;
    fs::write(&segment, bytes).unwrap();
    assert_eq!(storage.verify(|_| {}).unwrap().damages.len(), 1);
    assert!(!hint.exists());
    drop(storage);
    let storage = builder(root).open().unwrap();
    assert_eq!(storage.open_report().damages.len(), 1, "{:?}", storage.open_report());
}

#[test]
fn hints_go_with_their_segments() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let storage = builder(root).open().unwrap();
    let fill = |storage: &LogStorage, first: u64| {
        for sequence in first..first + 100 {
            store(storage, &format!("k{}", sequence % 5), sequence, &[1; 200]);
        }
        storage.compact().unwrap();
    };
    let names = || -> Vec<String> {
        let hints = hints(root).into_iter();
        hints.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    fill(&storage, 1);
    let before = names();
    fill(&storage, 101);
    let after = names();
    assert!(!before.is_empty() && !after.is_empty());
    assert_ne!(before, after);
    let files = fs::read_dir(root.join("segments")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let all_hints = names.filter(|name| name.ends_with(".hint")).count();
    assert_eq!(all_hints, after.len(), "some have no segment");
    drop(storage);
    let left = root.join("segments/00ffffff.hint");
    fs::write(&left, b"of a segment that was given up").unwrap();
    let foreign = root.join("segments/something.hint");
    fs::write(&foreign, b"none of ours").unwrap();
    drop(builder(root).open().unwrap());
    assert!(!left.exists());
    assert!(foreign.exists());
}
