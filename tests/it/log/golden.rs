//! Whole logs of every version of the format, which are never rewritten, only added to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::storage::conformance;
use checkpoint::{
    LogStorage, LogStorageBuilder, SaveOutcome, SeededRandom, StateStorage, StateVersion, TestClock,
};

use super::{id, payload, segments, store};

const KEYS: u64 = 12;
const REMOVED: &str = "k3";

/// How logs were written: at first the store's own files had their records once, then twice.
const WAYS: [&str; 2] = ["v1", "v2"];

fn golden(way: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/log").join(way).join(name)
}

fn builder(root: &Path) -> LogStorageBuilder {
    LogStorage::builder(root)
        .segment_bytes(2_000)
        .older_versions_max(1)
        .background_compaction(false)
        .random(Arc::new(SeededRandom::new(1)))
        .clock(Arc::new(TestClock::new()))
}

/// Files by their paths, but for the lock, which names a process.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().unwrap() != "lock" {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn put(root: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for directory in ["segments", "meta", "temp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (path, bytes) in files {
        fs::write(root.join(path), bytes).unwrap();
    }
}

/// A log of several segments with hints, one of them compacted; once closed, and once as a crash
/// leaves it in the middle of a batch.
fn written() -> [(&'static str, BTreeMap<PathBuf, Vec<u8>>); 2] {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = builder(&root).open().unwrap();
    storage.open_epoch(3).unwrap();
    storage.put_metadata("positions", None, b"up to 7").unwrap();
    for sequence in 1..=4 * KEYS {
        let key = format!("k{}", sequence % KEYS);
        store(&storage, &key, sequence, format!("{key} {sequence}").repeat(9).as_bytes());
    }
    let removal = conformance::tombstone(&id(REMOVED), StateVersion::new(1, 100));
    let outcome = conformance::save(&storage, &[removal]).pop().unwrap();
    assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
    assert!(storage.compact().unwrap() > 0);
    store(&storage, "k0", 101, b"the last one");
    let mut torn = files(&root);
    let last = segments(&root).pop().unwrap();
    let last = torn.get_mut(last.strip_prefix(&root).unwrap()).unwrap();
    last.truncate(last.len() - 20);
    drop(storage);
    [("closed", files(&root)), ("torn", torn)]
}

#[test]
fn logs_are_written_as_ever() {
    for (name, files) in written() {
        let golden = golden("v2", name);
        if !golden.exists() && std::env::var_os("CHECKPOINT_GOLDEN").is_some() {
            put(&golden, &files);
        }
        let expected = self::files(&golden);
        let paths = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(&files), paths(&expected), "{name}");
        for (path, bytes) in &files {
            assert!(*bytes == expected[path], "{name}: {} is written otherwise", path.display());
        }
    }
}

#[test]
fn logs_of_every_version_open() {
    let endings = [("closed", true), ("torn", false)];
    for (way, (name, closed)) in WAYS.iter().flat_map(|way| endings.map(|ending| (way, ending))) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        put(&root, &files(&golden(way, name)));
        let storage = builder(&root).must_exist(true).open().unwrap();
        let report = storage.open_report();
        assert_eq!((report.closed, report.cut.is_some()), (closed, !closed), "{name}: {report:?}");
        assert!(report.hints_used > 0 && report.damages.is_empty(), "{name}: {report:?}");
        for key in 0..KEYS {
            let (key, sequence) = (format!("k{key}"), if key == 0 { 48 } else { 36 + key });
            let expected = match &*key {
                // The mark of the removal.
                REMOVED => Some(Vec::new()),
                "k0" if closed => Some(b"the last one".to_vec()),
                _ => Some(format!("{key} {sequence}").repeat(9).into_bytes()),
            };
            assert_eq!(payload(&storage, &key), expected, "{name}");
        }
        assert_eq!(storage.versions(&id("k1")).unwrap().len(), 2, "{name}");
        assert_eq!(&*storage.metadata("positions").unwrap().unwrap().bytes, b"up to 7", "{name}");
        assert!(storage.open_epoch(3).unwrap().0 > 1, "{name}");
        store(&storage, "k1", 200, b"and on");
        assert!(storage.verify(|_| {}).unwrap().damages.is_empty(), "{name}");
    }
}
