//! What is removed while the store is open is missed, not forgotten.

use std::fs;
use std::path::Path;

use checkpoint::{DefaultFileSystemStateStorage, RecordView, StateStorage, StorageErrorKind};

use super::{check_error, fetch, not_stored, open, record, save_one, state_path, store};

/// Removes something from an open store with one state; a fetch of it must fail, not find nothing.
#[track_caller]
fn check_removed(remove: impl FnOnce(&Path)) -> (tempfile::TempDir, DefaultFileSystemStateStorage) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = open(&root);
    store(&storage, record("a", 1, b"first"));
    remove(&root);
    let err = fetch(&storage, "a").unwrap_err();
    check_error(&err, StorageErrorKind::InvalidStore, &state_path(&root, "a"));
    (directory, storage)
}

#[test]
fn a_store_that_was_removed_fails_loudly_and_is_not_created_again() {
    let (directory, storage) = check_removed(|root| fs::remove_dir_all(root).unwrap());
    let root = directory.path().join("state");
    for key in ["a", "b"] {
        let err = not_stored(save_one(&storage, record(key, 2, b"second")));
        check_error(&err, StorageErrorKind::InvalidStore, &root);
    }
    assert!(storage.put_metadata("m", None, b"value").is_err());
    let other = checkpoint::CheckpointId::new("other", "k").unwrap();
    let version = checkpoint::FetchVersion::Newest;
    // Not even what was never there is said to be absent.
    let err = checkpoint::storage::conformance::fetch(&storage, &other, version).unwrap_err();
    check_error(&err, StorageErrorKind::InvalidStore, &root);
    let ids = storage.ids("other", &mut |_| std::ops::ControlFlow::Continue(()));
    assert_eq!(ids.unwrap_err().kind(), StorageErrorKind::InvalidStore);
    assert!(!root.exists());
}

#[test]
fn a_store_that_was_replaced_by_another_is_not_written() {
    let (directory, storage) = check_removed(|root| {
        fs::remove_dir_all(root).unwrap();
        fs::create_dir(root).unwrap();
    });
    assert!(matches!(
        save_one(&storage, record("b", 2, b"second")),
        checkpoint::SaveOutcome::NotStored(_)
    ));
    assert_eq!(fs::read_dir(directory.path().join("state")).unwrap().count(), 0);
}

#[test]
fn a_store_that_was_emptied_is_not_filled_again() {
    let (directory, storage) = check_removed(|root| {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
    });
    not_stored(save_one(&storage, record("b", 2, b"second")));
    assert_eq!(fs::read_dir(directory.path().join("state")).unwrap().count(), 0);
}

#[test]
fn a_prototype_that_was_removed_is_not_created_again() {
    let (directory, storage) = check_removed(|root| fs::remove_dir_all(root.join("070")).unwrap());
    not_stored(save_one(&storage, record("a", 2, b"second")));
    not_stored(save_one(&storage, record("b", 2, b"second")));
    assert!(!directory.path().join("state/070").exists());
}

#[test]
fn a_state_that_was_removed_is_missed() {
    let (_directory, storage) = check_removed(|root| {
        fs::remove_file(state_path(root, "a")).unwrap();
    });
    not_stored(save_one(&storage, record("a", 2, b"second")));
}

#[test]
fn a_store_without_its_identity_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    store(&open(&root), record("a", 1, b"first"));
    fs::remove_file(root.join("store")).unwrap();
    let err = DefaultFileSystemStateStorage::open(&root).unwrap_err();
    check_error(&err, StorageErrorKind::InvalidStore, &root);
    assert!(state_path(&root, "a").exists());
}

#[test]
fn a_store_without_its_epoch_or_with_both_copies_damaged_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    drop(open(&root));
    let epoch = fs::read(root.join("epoch")).unwrap();
    let half = epoch.len() / 2;
    let (record, behind) = RecordView::parse_prefix(&epoch).unwrap();
    assert_eq!(record.header().record_bytes() + behind.len(), 2 * half);
    for at in 0..record.header().record_bytes() {
        let mut damaged = epoch.clone();
        damaged[at] ^= 0x10;
        damaged[half + at] ^= 0x10;
        fs::write(root.join("epoch"), &damaged).unwrap();
        let err = DefaultFileSystemStateStorage::open(&root).unwrap_err();
        assert!(err.to_string().contains("epoch"), "{err}");
        assert_eq!(fs::read(root.join("epoch")).unwrap(), damaged);
    }
    fs::remove_file(root.join("epoch")).unwrap();
    let err = DefaultFileSystemStateStorage::open(&root).unwrap_err();
    check_error(&err, StorageErrorKind::InvalidStore, &root);
}

#[test]
fn one_damaged_copy_of_identity_epoch_or_metadata_hides_nothing_and_is_made_good() {
    for name in ["store", "epoch", "meta/06d"] {
        for copy in 0..2 {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("state");
            let storage = open(&root);
            store(&storage, record("a", 1, b"first"));
            storage.put_metadata("m", None, b"value").unwrap();
            let last = storage.open_epoch(0).unwrap().max(storage.open_epoch(0).unwrap());
            drop(storage);
            let path = root.join(name);
            let mut bytes = fs::read(&path).unwrap();
            let half = bytes.len() / 2;
            bytes[copy * half..][..half].fill(0xFF);
            fs::write(&path, bytes).unwrap();
            let storage = open(&root);
            assert_eq!(fetch(&storage, "a").unwrap().unwrap(), record("a", 1, b"first"));
            assert_eq!(&*storage.metadata("m").unwrap().unwrap().bytes, b"value");
            assert!(storage.open_epoch(0).unwrap() > last, "{name}");
            let mended = fs::read(&path).unwrap();
            assert_eq!(mended[..half], mended[half..], "copy {copy} of {name}");
            RecordView::parse_prefix(&mended).unwrap();
        }
    }
}

#[test]
fn a_store_that_must_exist_is_not_created() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let builder = || DefaultFileSystemStateStorage::builder(&root).must_exist(true);
    check_error(&builder().open().unwrap_err(), StorageErrorKind::InvalidStore, &root);
    assert!(!root.exists());
    // A directory that is no store stays as it is.
    fs::create_dir(&root).unwrap();
    fs::write(root.join("README"), "mine").unwrap();
    check_error(&builder().open().unwrap_err(), StorageErrorKind::InvalidStore, &root);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    drop(open(&root));
    builder().open().unwrap();
}

#[test]
fn a_creation_that_was_cut_off_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    drop(open(&root));
    // The identity is written last: without it, and without states, the store is begun again.
    fs::remove_file(root.join("store")).unwrap();
    fs::remove_dir(root.join("meta")).unwrap();
    let storage = open(&root);
    store(&storage, record("a", 1, b"first"));
}
