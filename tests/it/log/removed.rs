//! What is removed, or comes in between, while a log is open or closed is noticed (B8, B17).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use checkpoint::storage::conformance;
use checkpoint::{LogStorage, SaveOutcome, StateStorage, StateVersion, StorageErrorKind};

use super::{id, payload, segments, store};

fn save(storage: &dyn StateStorage, key: &str, sequence: u64) -> SaveOutcome {
    let record = conformance::record(&id(key), StateVersion::new(1, sequence), b"state");
    conformance::save(storage, &[record]).pop().unwrap()
}

/// Removes something from under an open log: no save may be acknowledged any more, as nobody would
/// find it.
#[track_caller]
fn check_removed(remove: impl FnOnce(&Path)) -> (tempfile::TempDir, LogStorage) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = LogStorage::open(&root).unwrap();
    store(&storage, "a", 1, b"first");
    remove(&root);
    for sequence in 2..5 {
        match save(&storage, "a", sequence) {
            SaveOutcome::NotStored(err) | SaveOutcome::Unknown(err) => {
                assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{err}");
                assert!(err.to_string().contains(root.to_str().unwrap()), "{err}");
            }
            outcome @ SaveOutcome::Stored => panic!("{outcome:?}"),
        }
    }
    // What it has open is there as long as it is.
    assert_eq!(payload(&storage, "a").as_deref(), Some(&b"first"[..]));
    (directory, storage)
}

#[test]
fn a_log_that_was_removed_fails_loudly_and_is_not_created_again() {
    let (directory, storage) = check_removed(|root| fs::remove_dir_all(root).unwrap());
    let root = directory.path().join("state");
    assert!(storage.put_metadata("m", None, b"value").is_err());
    drop(storage);
    assert!(!root.exists());
    let builder = LogStorage::builder(&root).must_exist(true);
    assert_eq!(builder.open().unwrap_err().kind(), StorageErrorKind::InvalidStore);
}

#[test]
fn a_log_that_was_replaced_by_an_empty_directory_is_not_written() {
    let (directory, storage) = check_removed(|root| {
        fs::remove_dir_all(root).unwrap();
        fs::create_dir(root).unwrap();
    });
    drop(storage);
    assert_eq!(fs::read_dir(directory.path().join("state")).unwrap().count(), 0);
}

#[test]
fn the_directory_of_segments_is_missed() {
    let (directory, storage) = check_removed(|root| {
        fs::remove_dir_all(root.join("segments")).unwrap();
    });
    drop(storage);
    let root = directory.path().join("state");
    let err = LogStorage::open(&root).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{err}");
    assert!(err.to_string().contains(root.join("segments").to_str().unwrap()), "{err}");
}

#[test]
fn the_segment_that_is_written_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    // Compaction would drop it from the list: what was in it does not count any more.
    let storage = LogStorage::builder(&root).background_compaction(false).open().unwrap();
    store(&storage, "a", 1, b"first");
    let path = segments(&root).remove(0);
    fs::remove_file(&path).unwrap();
    // It goes on in another, and whoever opens the log next is told what is missing.
    store(&storage, "a", 2, b"second");
    assert_eq!(segments(&root).len(), 1);
    drop(storage);
    let err = LogStorage::open(&root).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{err}");
    assert!(err.to_string().contains(path.to_str().unwrap()), "{err}");
}

/// A closed log of two segments.
fn closed(root: &Path) {
    for sequence in 1..=2 {
        let storage = LogStorage::builder(root).background_compaction(false).open().unwrap();
        store(&storage, "a", sequence, b"state");
    }
    assert_eq!(segments(root).len(), 2);
}

#[test]
fn a_log_without_one_of_its_files_does_not_open_and_names_it() {
    for name in ["manifest", "epoch", "store", "segments/00000001", "segments/00000002"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        closed(&root);
        fs::remove_file(root.join(name)).unwrap();
        // Twice: the first one has not put an empty one in its place.
        for _ in 0..2 {
            let err = LogStorage::open(&root).unwrap_err();
            assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{name}: {err}");
            let file = Path::new(name).file_name().unwrap().to_str().unwrap();
            let is_named = err.to_string().contains(file) || name == "store";
            assert!(is_named && err.to_string().contains(root.to_str().unwrap()), "{name}: {err}");
        }
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    closed(&root);
    let foreign = ["README", "segments/notes", "segments/0000000a.old", "segments/0000000A"];
    for name in foreign {
        fs::write(root.join(name), "mine").unwrap();
    }
    fs::create_dir(root.join("segments/directory")).unwrap();
    let storage = LogStorage::builder(&root).background_compaction(false).open().unwrap();
    assert_eq!(storage.stats().segments, 2);
    store(&storage, "a", 3, b"third");
    storage.compact().unwrap();
    drop(storage);
    for name in foreign {
        assert_eq!(fs::read(root.join(name)).unwrap(), b"mine", "{name}");
    }
    assert!(root.join("segments/directory").is_dir());
}

#[test]
fn what_is_called_like_a_segment_and_none_of_the_log_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    closed(&root);
    // As whoever died while he began it leaves it.
    fs::write(root.join("segments/00000003"), "").unwrap();
    let storage = LogStorage::builder(&root).background_compaction(false).open().unwrap();
    assert_eq!(segments(&root).len(), 2);
    store(&storage, "a", 3, b"third");
    assert_eq!(segments(&root).len(), 3);
}

#[test]
fn a_log_that_everybody_may_write_to_or_nobody_may_read_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    closed(&root);
    let path = segments(&root).remove(0);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    let err = LogStorage::open(&root).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::Forbidden, "{err}");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    // A link in the place of a segment is none.
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let err = LogStorage::open(&root).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{err}");
    assert!(err.to_string().contains(path.to_str().unwrap()), "{err}");
}

/// B18: somebody puts an older copy of a file back.
#[test]
fn an_older_list_of_segments_is_noticed_and_nothing_is_removed_by_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    closed(&root);
    let older = fs::read(root.join("manifest")).unwrap();
    let storage = LogStorage::builder(&root).background_compaction(false).open().unwrap();
    store(&storage, "a", 3, b"newer");
    drop(storage);
    let newer = fs::read(root.join("manifest")).unwrap();
    let before = segments(&root);
    fs::write(root.join("manifest"), &older).unwrap();
    let err = LogStorage::open(&root).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{err}");
    let last = before.last().unwrap();
    for path in [&root.join("manifest"), last] {
        assert!(err.to_string().contains(path.to_str().unwrap()), "{err}");
    }
    assert_eq!(segments(&root), before);
    fs::write(root.join("manifest"), newer).unwrap();
    let storage = LogStorage::open(&root).unwrap();
    assert_eq!(payload(&storage, "a").unwrap(), b"newer");
}
