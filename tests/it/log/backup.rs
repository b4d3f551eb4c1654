//! A backup is what was stored when it began, whole or no store at all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use checkpoint::{
    FileOps, LogProgress, LogStorage, LogStorageBuilder, StateStorage, StorageErrorKind,
    SystemFiles,
};
use checkpoint_tests::simulation::{Fate, Left, Machine};
use rustix::io::Errno;

use super::{hints, id, payload, segments, store};
use crate::file_system::files_that_fail::FilesThatFail;

fn builder(root: &Path) -> LogStorageBuilder {
    LogStorage::builder(root).segment_bytes(20_000).background_compaction(false)
}

fn keys(storage: &LogStorage, count: u64) -> BTreeMap<String, Option<Vec<u8>>> {
    let keys = (0..count).map(|key| format!("k{key}"));
    keys.map(|key| (key.clone(), payload(storage, &key))).collect()
}

/// Overwrites some keys, over several segments.
fn fill(storage: &LogStorage, first: u64) {
    for sequence in first..first + 300 {
        let byte = u8::try_from(sequence % 251).unwrap();
        store(storage, &format!("k{}", sequence % 70), sequence, &[byte; 400]);
    }
}

#[test]
fn a_backup_has_everything_and_shares_what_does_not_change() {
    let directory = tempfile::tempdir().unwrap();
    let (root, copy) = (directory.path().join("state"), directory.path().join("copy"));
    let storage = builder(&root).open().unwrap();
    let epoch = storage.open_epoch(3).unwrap();
    let version = storage.put_metadata("positions", None, b"up to 7").unwrap();
    fill(&storage, 1);
    storage.compact().unwrap();
    fill(&storage, 301);
    let expected = keys(&storage, 70);
    let mut told = Vec::new();
    let backup = storage.backup(&copy, |progress: LogProgress| told.push(progress)).unwrap();
    assert_eq!(backup.segments, storage.stats().segments);
    assert_eq!(backup.bytes, storage.stats().disk_bytes);
    let last = told.last().unwrap();
    assert_eq!((told[0].bytes_done, last.bytes_done, last.bytes), (0, backup.bytes, backup.bytes));
    // All but the last one are the same files.
    let linked = segments(&copy);
    let (_, linked) = linked.split_last().unwrap();
    assert!(!linked.is_empty() && backup.bytes_linked > 0);
    for path in linked {
        assert_eq!(fs::metadata(path).unwrap().nlink(), 2, "{}", path.display());
    }
    assert_eq!(hints(&copy).len(), hints(&root).len());
    // What happens to the one is nothing to the other.
    fill(&storage, 1_000);
    storage.compact().unwrap();
    drop(storage);
    fs::remove_dir_all(&root).unwrap();
    let copied = builder(&copy).must_exist(true).open().unwrap();
    assert_eq!(keys(&copied, 70), expected);
    assert!(copied.verify(|_| {}).unwrap().damages.is_empty());
    let metadata = copied.metadata("positions").unwrap().unwrap();
    assert_eq!((metadata.version, &*metadata.bytes), (version, &b"up to 7"[..]));
    assert!(copied.open_epoch(3).unwrap() > epoch);
    fill(&copied, 2_000);
    copied.compact().unwrap();
}

#[test]
fn a_backup_while_states_are_saved_is_of_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = builder(&root).open().unwrap();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // Each round gives both keys the same number, one after the other.
            let mut round = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                round += 1;
                store(&storage, "first", 2 * round, &round.to_le_bytes());
                store(&storage, "second", 2 * round + 1, &round.to_le_bytes());
                storage.put_metadata("round", None, b"").map(drop).unwrap_or_default();
            }
            round
        });
        let round = |storage: &LogStorage, key| {
            payload(storage, key).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        };
        for number in 0.. {
            let before = round(&storage, "second");
            if number >= 10 && before > 10 {
                break;
            }
            let copy = directory.path().join(format!("copy-{number}"));
            storage.backup(&copy, |_| {}).unwrap();
            let copied = builder(&copy).must_exist(true).open().unwrap();
            let (first, second) = (round(&copied, "first"), round(&copied, "second"));
            assert!(second >= before, "{second} of {before} that were acknowledged");
            assert!(first == second || first == second + 1, "{first} and {second}");
        }
        ended.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn a_backup_that_was_not_finished_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = builder(&root).open().unwrap();
    storage.put_metadata("m", None, b"value").unwrap();
    fill(&storage, 1);
    let expected = keys(&storage, 70);
    let mut operations = 0;
    for fail_at in 0.. {
        let copy = directory.path().join(format!("copy-{fail_at}"));
        let files = FilesThatFail::new(&copy);
        let script = files.script();
        script.fail_at(fail_at, Errno::IO);
        let made = storage.backup_over(Arc::new(files), &copy, |_| {});
        if made.is_ok() {
            operations = fail_at;
            break;
        }
        let shown = format!("{:?}", made.unwrap_err());
        assert!(shown.contains(copy.to_str().unwrap()), "{shown}");
        match LogStorage::builder(&copy).must_exist(true).open() {
            Err(err) => assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{fail_at}: {err}"),
            // Everything was in its place, but that could not be made durable.
            Ok(copied) => {
                assert_eq!(keys(&copied, 70), expected, "{fail_at}");
                assert!(copied.metadata("m").unwrap().is_some(), "{fail_at}");
            }
        }
    }
    assert!(operations > 20, "{operations}");
}

#[test]
fn a_backup_that_the_machine_dies_in_is_whole_or_no_store_and_lasts_once_it_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let storage = builder(&directory.path().join("state")).open().unwrap();
    storage.put_metadata("m", None, b"value").unwrap();
    fill(&storage, 1);
    let expected = keys(&storage, 70);
    let (mut unfinished, mut whole) = (0, 0);
    for off_after in 0.. {
        let machine = Machine::new(off_after);
        let files = machine.start(Fate { off_after: Some(off_after), ..Fate::default() });
        let made = storage.backup_over(files, "/simulated", |_| {});
        let was_on = machine.is_on();
        for left in [Left::All, Left::Synced, Left::Drawn] {
            let copy = machine.copy(off_after);
            copy.crash(left);
            let files = copy.start(Fate::default());
            match LogStorage::builder("/simulated").must_exist(true).open_over(files) {
                Err(err) => {
                    assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{off_after}: {err}");
                    assert!(made.is_err(), "{off_after}, {left:?}: {err}");
                    unfinished += 1;
                }
                Ok(copied) => {
                    assert_eq!(keys(&copied, 70), expected, "{off_after}, {left:?}");
                    assert!(copied.metadata("m").unwrap().is_some(), "{off_after}, {left:?}");
                    whole += 1;
                }
            }
        }
        if was_on {
            break;
        }
    }
    assert!(unfinished > 60 && whole >= 3, "{unfinished}, {whole}");
}

#[test]
fn a_directory_that_is_not_empty_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = builder(&root).open().unwrap();
    store(&storage, "a", 1, b"state");
    let full = directory.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), b"content").unwrap();
    let err = storage.backup(&full, |_| {}).unwrap_err();
    assert!(err.to_string().contains("is not empty (\"mine\")"), "{err}");
    assert_eq!(SystemFiles::open(&full).unwrap().list("").unwrap(), ["mine"]);
    let err = storage.backup(directory.path().join("missing/copy"), |_| {}).unwrap_err();
    assert!(err.to_string().contains("missing/copy"), "{err}");
    assert!(storage.backup(&root, |_| {}).is_err());
    assert_eq!(payload(&storage, "a"), Some(b"state".to_vec()));
    assert_eq!(id("a").to_string(), "p/a");
}
