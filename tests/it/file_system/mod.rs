//! `DefaultFileSystemStateStorage`: what it promises beyond the conformance kit.

mod any_ids;
mod changed_bytes;
mod crash;
mod damage;
mod failed_syncs;
mod faults;
pub(crate) mod files_that_fail;
mod kill;
mod lock;
mod options;
mod removed;
mod security;
mod steps;

use std::path::Path;

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, DefaultFileSystemStateStorage, FetchOutcome, FetchVersion, SaveOutcome,
    StateStorage, StateVersion, StorageError, StorageErrorKind,
};

fn id(key: &str) -> CheckpointId {
    CheckpointId::new("p", key).unwrap()
}

fn record(key: &str, sequence: u64, payload: &[u8]) -> Vec<u8> {
    conformance::record(&id(key), StateVersion::new(1, sequence), payload)
}

fn save_one(storage: &dyn StateStorage, record: Vec<u8>) -> SaveOutcome {
    conformance::save(storage, &[record]).pop().unwrap()
}

#[track_caller]
fn store(storage: &dyn StateStorage, record: Vec<u8>) {
    let outcome = save_one(storage, record);
    assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
}

fn fetch(storage: &dyn StateStorage, key: &str) -> FetchOutcome {
    conformance::fetch(storage, &id(key), FetchVersion::Newest)
}

#[track_caller]
fn not_stored(outcome: SaveOutcome) -> StorageError {
    match outcome {
        SaveOutcome::NotStored(err) => err,
        other => panic!("expected NotStored, found {other:?}"),
    }
}

/// Checks that an error is of this kind and names this path.
#[track_caller]
fn check_error(err: &StorageError, kind: StorageErrorKind, path: &Path) {
    let path = path.display().to_string();
    assert_eq!(err.kind(), kind, "{err}: {:?}", std::error::Error::source(err));
    assert!(err.to_string().contains(&path), "{err:?} does not name {path}");
}

fn open(root: &Path) -> DefaultFileSystemStateStorage {
    DefaultFileSystemStateStorage::open(root).unwrap()
}

/// Where the state of a key of prototype `p` lies.
fn state_path(root: &Path, key: &str) -> std::path::PathBuf {
    state_path_of(root, "p", key)
}

/// Where the state of a key lies.
pub(crate) fn state_path_of(root: &Path, prototype: &str, key: &str) -> std::path::PathBuf {
    let name =
        |text: &str| text.bytes().fold("0".to_owned(), |name, byte| format!("{name}{byte:02x}"));
    let shard = crc32c::crc32c(key.as_bytes()) & 0xFF;
    root.join(name(prototype)).join(format!("{shard:02x}")).join(name(key))
}
