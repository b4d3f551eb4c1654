//! `LogStorage`: what it promises beyond the conformance kit.

mod backup;
mod compaction;
mod crash;
mod damage;
mod faults;
mod golden;
mod hints;
mod many;
mod overlap;
mod own_files;
mod parts;
mod previous;
mod read_only;
mod removed;
mod several;
mod torn;
mod turns;
mod verify;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, FetchOutcome, FetchVersion, LogStorage, RecordView, SaveOutcome, StateStorage,
    StateVersion,
};

fn id(key: &str) -> CheckpointId {
    CheckpointId::new("p", key).unwrap()
}

/// Saves a state with this payload, and checks that it is stored.
#[track_caller]
fn store(storage: &dyn StateStorage, key: &str, sequence: u64, payload: &[u8]) {
    let record = conformance::record(&id(key), StateVersion::new(1, sequence), payload);
    let outcome = conformance::save(storage, &[record]).pop().unwrap();
    assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
}

fn fetch(storage: &dyn StateStorage, key: &str) -> FetchOutcome {
    conformance::fetch(storage, &id(key), FetchVersion::Newest)
}

/// The payload that is stored of a key.
#[track_caller]
fn payload(storage: &dyn StateStorage, key: &str) -> Option<Vec<u8>> {
    let bytes = fetch(storage, key).unwrap()?;
    Some(RecordView::parse(&bytes).unwrap().payload().to_vec())
}

/// The files of segments, in the order in which they were written.
fn segments(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("segments")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_none()).collect();
    paths.sort();
    paths
}

/// The files of the store's own, each of which has its record twice.
fn own_files(root: &Path) -> Vec<PathBuf> {
    let values = fs::read_dir(root.join("meta")).unwrap();
    let mut paths: Vec<_> = values.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.extend(["store", "epoch", "manifest"].map(|name| root.join(name)));
    paths
}

/// The hints of segments.
fn hints(root: &Path) -> Vec<PathBuf> {
    let hints = segments(root).into_iter().map(|segment| segment.with_extension("hint"));
    hints.filter(|hint| hint.exists()).collect()
}

/// Leaves a log as a process does that is killed: nothing is closed.
fn kill(storage: LogStorage, root: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([root, to]).status().unwrap();
    assert!(copied.success(), "{copied}");
    drop(storage);
}
