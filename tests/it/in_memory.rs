//! `InMemoryStorage`: what it promises beyond the conformance kit.

use checkpoint::storage::conformance::{self, record};
use checkpoint::{
    CheckpointId, FetchVersion, InMemoryStorage, SaveOutcome, StateStorage, StateVersion,
    StorageErrorKind,
};

fn save(storage: &InMemoryStorage, record: Vec<u8>) -> SaveOutcome {
    conformance::save(storage, &[record]).pop().unwrap()
}

fn fetch(storage: &InMemoryStorage, id: &CheckpointId, version: FetchVersion) -> Option<Vec<u8>> {
    conformance::fetch(storage, id, version).unwrap()
}

fn version(epoch: u64, sequence: u64) -> StateVersion {
    StateVersion::new(epoch, sequence)
}

#[test]
fn a_clone_is_a_handle_to_the_same_content() {
    let storage = InMemoryStorage::new();
    let id = CheckpointId::new("p", "k").unwrap();
    let stored = record(&id, version(1, 1), b"x");
    assert!(matches!(save(&storage, stored.clone()), SaveOutcome::Stored));
    let again = storage.clone();
    drop(storage);
    assert_eq!(again.fetch_now(&id).unwrap().unwrap(), Some(stored));
}

#[test]
fn it_says_inline_and_exactly_what_it_contains() {
    let storage = InMemoryStorage::new();
    let id = CheckpointId::new("p", "k").unwrap();
    assert!(!storage.may_contain(&id));
    assert_eq!(storage.fetch_now(&id).unwrap().unwrap(), None);
    save(&storage, record(&id, version(1, 1), b"x"));
    assert!(storage.may_contain(&id));
}

#[test]
fn as_many_older_versions_are_kept_as_it_was_told() {
    let storage = InMemoryStorage::new().keeping_versions(2);
    let id = CheckpointId::new("p", "k").unwrap();
    let records: Vec<_> = (1..=4).map(|n| record(&id, version(1, n), &[7; 3])).collect();
    for record in &records {
        assert!(matches!(save(&storage, record.clone()), SaveOutcome::Stored));
    }
    let kept: Vec<_> = storage.versions(&id).unwrap().iter().map(|v| v.version).collect();
    assert_eq!(kept, [version(1, 4), version(1, 3), version(1, 2)]);
    let before = |n| fetch(&storage, &id, FetchVersion::Before(version(1, n)));
    assert_eq!(before(4).as_ref(), Some(&records[2]));
    assert_eq!(before(2), None);
    let exactly = |n| fetch(&storage, &id, FetchVersion::Exactly(version(1, n)));
    assert_eq!(exactly(2).as_ref(), Some(&records[1]));
    assert_eq!(exactly(1), None);
}

#[test]
fn a_writer_that_lost_its_partition_is_fenced_for_every_key_of_it() {
    let storage = InMemoryStorage::new();
    let mine = storage.open_epoch(0).unwrap();
    let current = storage.open_epoch(0).unwrap();
    let id = CheckpointId::new("p", "never saved").unwrap();
    match save(&storage, record(&id, version(mine.0, 1), b"x")) {
        SaveOutcome::NotStored(err) => {
            assert_eq!(err.kind(), StorageErrorKind::Fenced { mine, current });
        }
        other => panic!("{other:?}"),
    }
    assert!(!storage.may_contain(&id));
    assert!(matches!(
        save(&storage, record(&id, version(current.0, 1), b"x")),
        SaveOutcome::Stored
    ));
}
