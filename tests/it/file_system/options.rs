//! The settings of the builder.

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
