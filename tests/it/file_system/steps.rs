//! The order of file operations, which is what makes a save durable.

use std::sync::Arc;

use checkpoint::{DefaultFileSystemStateStorage, Durability, SaveBatch, StateStorage};

use super::files_that_fail::{FilesThatFail, Script};
use super::{fetch, record, store};

fn opened(
    durability: Durability,
    shared_sync_entries_min: usize,
) -> (tempfile::TempDir, DefaultFileSystemStateStorage, Arc<Script>) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = FilesThatFail::new(&root);
    let script = files.script();
    let storage = DefaultFileSystemStateStorage::builder(&root)
        .durability(durability)
        .shared_sync_entries_min(shared_sync_entries_min)
        .open_over(Arc::new(files))
        .unwrap();
    // The directories are there, listed and synced.
    store(&storage, record("a", 1, b"first"));
    store(&storage, record("b", 1, b"first"));
    script.take_log();
    (directory, storage, script)
}

/// Saves two states and returns what was done, reading aside, with the acknowledgements in between.
fn steps_of_a_save(storage: &DefaultFileSystemStateStorage, script: &Arc<Script>) -> Vec<String> {
    let noted = Arc::clone(script);
    let records = [record("a", 2, b"second"), record("b", 2, b"second")].concat();
    let batch = SaveBatch::of_records(records, move |index, outcome| {
        noted.note(&format!("{index} {outcome:?}"));
    });
    storage.save(batch.unwrap());
    let mut log = script.take_log();
    log.retain(|line| {
        ["open_file", "read_at", "file_bytes"].iter().all(|reading| !line.starts_with(reading))
    });
    log
}

// CRC-32C of "a" and "b", lowest bytes.
const A: &str = "070/30/061";
const B: &str = "070/c4/062";

#[test]
fn a_save_is_acknowledged_after_the_data_and_then_the_directory_were_synced() {
    let (_directory, storage, script) = opened(Durability::Power, usize::MAX);
    let expected = [
        "create_file temp/5".to_owned(),
        "write temp/5".to_owned(),
        "sync_data temp/5".to_owned(),
        "create_file temp/6".to_owned(),
        "write temp/6".to_owned(),
        "sync_data temp/6".to_owned(),
        format!("rename temp/5 {A}"),
        format!("rename temp/6 {B}"),
        format!("sync_directory {}", &A[..6]),
        format!("sync_directory {}", &B[..6]),
        "0 Stored".to_owned(),
        "1 Stored".to_owned(),
    ];
    assert_eq!(steps_of_a_save(&storage, &script), expected);
}

#[test]
fn a_batch_shares_one_sync_before_the_renames_and_one_after() {
    let (_directory, storage, script) = opened(Durability::Power, 2);
    let expected = [
        "begin_shared_sync".to_owned(),
        "create_file temp/5".to_owned(),
        "write temp/5".to_owned(),
        "create_file temp/6".to_owned(),
        "write temp/6".to_owned(),
        "shared_sync".to_owned(),
        format!("rename temp/5 {A}"),
        format!("rename temp/6 {B}"),
        "shared_sync".to_owned(),
        "0 Stored".to_owned(),
        "1 Stored".to_owned(),
    ];
    assert_eq!(steps_of_a_save(&storage, &script), expected);
}

#[test]
fn without_syncs_the_rename_still_comes_after_the_write() {
    let (_directory, storage, script) = opened(Durability::Process, 1);
    let steps = steps_of_a_save(&storage, &script);
    assert!(steps.iter().all(|step| !step.contains("sync")), "{steps:?}");
    assert_eq!(steps.len(), 8);
}

#[test]
fn a_new_directory_is_synced_in_its_parent_before_the_acknowledgement() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = FilesThatFail::new(&root);
    let script = files.script();
    let builder = DefaultFileSystemStateStorage::builder(&root);
    let storage = builder.open_over(Arc::new(files)).unwrap();
    script.take_log();
    store(&storage, record("a", 1, b"first"));
    let log = script.take_log();
    let at = |line: &str| log.iter().position(|l| l == line).unwrap_or_else(|| panic!("{log:?}"));
    assert!(at("create_directory 070") < at("sync_directory "));
    assert!(at("create_directory 070/30") < at("sync_directory 070"));
    assert!(at("sync_directory 070") < at("sync_directory 070/30"));
}

#[test]
fn a_directory_that_an_earlier_process_created_is_synced_in_its_parent_too() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    store(&super::open(&root), record("a", 1, b"first"));
    let files = FilesThatFail::new(&root);
    let script = files.script();
    let builder = DefaultFileSystemStateStorage::builder(&root);
    let storage = builder.open_over(Arc::new(files)).unwrap();
    script.take_log();
    store(&storage, record("a", 2, b"second"));
    let log = script.take_log();
    for line in ["sync_directory ", "sync_directory 070", "sync_directory 070/30"] {
        assert!(log.iter().any(|l| l == line), "{line:?} is missing in {log:?}");
    }
    script.take_log();
    store(&storage, record("a", 3, b"third"));
    let syncs = script.take_log().into_iter().filter(|line| line.starts_with("sync_directory"));
    assert_eq!(syncs.collect::<Vec<_>>(), ["sync_directory 070/30"]);
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = Arc::new(FilesThatFail::new(&root).with_short_writes());
    let storage = DefaultFileSystemStateStorage::builder(&root).open_over(files).unwrap();
    let saved = record("a", 1, &[7; 1000]);
    store(&storage, saved.clone());
    assert_eq!(fetch(&storage, "a").unwrap(), Some(saved));
}

#[test]
fn absence_is_known_without_a_file_operation_once_a_directory_was_listed() {
    let (_directory, storage, script) = opened(Durability::Power, usize::MAX);
    let absent = super::id("never saved");
    assert!(!storage.may_contain(&absent));
    assert!(matches!(storage.fetch_now(&absent), Some(Ok(None))));
    assert_eq!(fetch(&storage, "never saved").unwrap(), None);
    assert!(storage.may_contain(&super::id("a")));
    assert!(storage.fetch_now(&super::id("a")).is_none());
    assert!(script.take_log().is_empty());
}

#[test]
fn opening_does_not_look_at_the_states() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    store(&super::open(&root), record("a", 1, b"first"));
    let files = FilesThatFail::new(&root);
    let script = files.script();
    let builder = DefaultFileSystemStateStorage::builder(&root);
    let storage = builder.open_over(Arc::new(files)).unwrap();
    let log = script.take_log();
    assert!(log.iter().all(|line| !line.contains("070")), "{log:?}");
    // So it cannot deny yet that something is there.
    assert!(storage.may_contain(&super::id("never saved")));
}

#[test]
fn new_directories_of_a_batch_are_covered_by_its_second_sync() {
    let (_directory, storage, script) = opened(Durability::Power, 2);
    let records = [record("c", 1, b"first"), record("d", 1, b"first")];
    let outcomes = checkpoint::storage::conformance::save(&storage, &records);
    assert!(outcomes.iter().all(|o| matches!(o, checkpoint::SaveOutcome::Stored)));
    let log = script.take_log();
    let last = log.last().unwrap();
    assert!(last == "shared_sync" && log.iter().any(|line| line.starts_with("create_directory")));
    assert!(log.iter().all(|line| !line.starts_with("sync_directory")), "{log:?}");
    // A later save that is alone does not know of that, and looks after itself.
    store(&storage, record("c", 2, b"second"));
    assert!(script.take_log().iter().any(|line| line == "sync_directory 070"));
}
