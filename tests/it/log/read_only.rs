//! A log can be read beside whoever writes to it, and nothing is changed by that.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use checkpoint::storage::conformance;
use checkpoint::{
    LogStorage, LogStorageBuilder, SafeKeeper, SaveOutcome, StateStorage, StateVersion,
    StorageErrorKind,
};

use super::{id, kill, payload, store};

fn builder(root: &Path) -> LogStorageBuilder {
    LogStorage::builder(root).segment_bytes(4_000).background_compaction(false)
}

/// All files of a directory.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn ids(storage: &dyn StateStorage) -> usize {
    let mut count = 0;
    let counted = storage.ids("p", &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    counted.unwrap();
    count
}

#[test]
fn a_log_is_read_beside_its_writer_as_it_was_at_the_opening() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let writer = builder(root).open().unwrap();
    for sequence in 1..=100 {
        store(&writer, &format!("k{}", sequence % 10), sequence, &[1; 200]);
    }
    let before = files(root);
    let reader = LogStorage::open_read_only(root).unwrap();
    assert_eq!((ids(&reader), reader.stats().ids), (10, 10));
    for sequence in 101..=200 {
        store(&writer, &format!("k{}", sequence % 20), sequence, &[2; 200]);
    }
    // The segments that the reader has open are gone by then.
    assert!(writer.compact().unwrap() > 0);
    for key in 0..10 {
        assert_eq!(payload(&reader, &format!("k{key}")), Some(vec![1; 200]), "{key}");
    }
    assert!(reader.verify(|_| {}).unwrap().damages.is_empty());
    assert_eq!(ids(&LogStorage::open_read_only(root).unwrap()), 20);
    drop((reader, writer));
    // Nor is anything written if there is no writer.
    let after = files(root);
    assert_ne!(before, after);
    drop(LogStorage::open_read_only(root).unwrap());
    assert_eq!(files(root), after);
}

#[test]
fn a_log_is_read_while_it_is_written_and_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let writer = builder(root).open().unwrap();
    let mut sequence = 0;
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut opened = 0;
            while !stopped.load(Ordering::Relaxed) {
                let reader = LogStorage::open_read_only(root).unwrap();
                let damages = &reader.open_report().damages;
                assert!(damages.is_empty(), "{damages:?}");
                opened += 1;
            }
            opened
        });
        for _ in 0..30 {
            for _ in 0..50 {
                sequence += 1;
                store(&writer, &format!("k{}", sequence % 10), sequence, &[1; 300]);
            }
            writer.compact().unwrap();
        }
        stopped.store(true, Ordering::Relaxed);
        assert!(reading.join().unwrap() > 0);
    });
}

#[test]
fn a_reader_refuses_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    store(&builder(root).open().unwrap(), "a", 1, b"state");
    let before = files(root);
    let reader = builder(root).open_read_only().unwrap();
    let record = conformance::record(&id("a"), StateVersion::new(1, 2), b"newer");
    let outcome = conformance::save(&reader, &[record]).pop().unwrap();
    let SaveOutcome::NotStored(err) = outcome else { panic!("{outcome:?}") };
    assert_eq!(err.kind(), StorageErrorKind::Unsupported);
    assert!(err.to_string().contains("save p/a: the log at"), "{err}");
    assert!(reader.open_epoch(0).is_err());
    assert!(reader.put_metadata("m", None, b"value").is_err());
    assert!(reader.compact().is_err());
    let err = SafeKeeper::builder(reader).build().unwrap_err();
    assert!(format!("{err:?}").contains("was opened to be read"), "{err:?}");
    assert_eq!(files(root), before);
}

#[test]
fn a_torn_end_is_told_and_left_to_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = builder(&root).open().unwrap();
    store(&storage, "a", 1, b"first");
    store(&storage, "a", 2, b"second");
    kill(storage, &root, &killed);
    let segment = &super::segments(&killed)[0];
    let bytes = fs::read(segment).unwrap();
    fs::write(segment, &bytes[..bytes.len() - 3]).unwrap();
    let before = files(&killed);
    let reader = LogStorage::open_read_only(&killed).unwrap();
    assert!(reader.open_report().cut.is_some() && !reader.open_report().closed);
    assert_eq!(payload(&reader, "a"), Some(b"first".to_vec()));
    let copy = directory.path().join("copy");
    reader.backup(&copy, |_| {}).unwrap();
    drop(reader);
    assert_eq!(files(&killed), before);
    assert_eq!(payload(&LogStorage::open(&copy).unwrap(), "a"), Some(b"first".to_vec()));
    let err = LogStorage::open_read_only(directory.path().join("missing")).unwrap_err();
    assert!(err.to_string().contains("missing: there is none"), "{err}");
    let err = LogStorage::open_read_only(directory.path()).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{err}");
}
