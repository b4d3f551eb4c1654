//! The settings of the builder.

use std::path::Path;

use checkpoint::{DefaultFileSystemStateStorage, Durability, StateStorage, StorageErrorKind};

use super::{check_error, fetch, not_stored, open, record, save_one, store};

#[test]
fn durability_is_declared_as_it_was_set() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    assert_eq!(open(&root).capabilities().durability, Durability::Power);
    let builder = || DefaultFileSystemStateStorage::builder(&root);
    let storage = builder().durability(Durability::Process).open().unwrap();
    assert_eq!(storage.capabilities().durability, Durability::Process);
    for promised in [Durability::None, Durability::Replicated] {
        let err = builder().durability(promised).open().unwrap_err();
        check_error(&err, StorageErrorKind::Unsupported, &root);
    }
}

#[test]
fn a_record_above_the_limit_is_neither_saved_nor_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let large = record("a", 1, &[7; 10_000]);
    store(&open(&root), large);
    let max = 5_000;
    let builder = DefaultFileSystemStateStorage::builder(&root).record_bytes_max(max);
    let storage = builder.open().unwrap();
    let kind = StorageErrorKind::TooLarge { max };
    assert_eq!(fetch(&storage, "a").unwrap_err().kind(), kind);
    let err = not_stored(save_one(&storage, record("a", 2, &[7; 10_000])));
    assert_eq!(err.kind(), kind);
    // It can still be replaced by what fits.
    store(&storage, record("a", 2, b"small"));
    assert!(fetch(&storage, "a").unwrap().is_some());
}

#[test]
fn a_slash_behind_the_path_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    store(&open(&directory.path().join("state/")), record("a", 1, b"first"));
    assert!(fetch(&open(&directory.path().join("state")), "a").unwrap().is_some());
}

#[test]
fn a_path_where_no_store_can_be_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let nowhere = directory.path().join("missing/state");
    let check = |root: &Path, must_exist: bool, why: &str| {
        let builder = DefaultFileSystemStateStorage::builder(root).must_exist(must_exist);
        let err = builder.open().unwrap_err();
        check_error(&err, StorageErrorKind::InvalidStore, root);
        assert!(err.to_string().contains(why), "{err}");
    };
    check(&nowhere, false, "the directory that it is to be made in does not exist");
    check(&nowhere, true, "there is none");
    check(&file, false, "something there is no directory");
    assert!(!directory.path().join("missing").exists());
}
