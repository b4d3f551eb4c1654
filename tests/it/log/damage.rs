//! Each changed byte of a log that was closed is noticed, and hides its own state only (P7).

use std::error::Error;
use std::fs;

use checkpoint::{LogStorage, RecordView, StateStorage, StorageErrorKind};

use super::{fetch, id, segments, store};

const KEYS: &[&str] = &["a", "b", "c", "d"];

/// Whether the state of a key is as it was stored; an error if it is anything else.
fn is_as_stored(storage: &LogStorage, key: &str) -> Result<(), Box<dyn Error>> {
    let bytes = fetch(storage, key)?.ok_or("absent")?;
    let record = RecordView::parse(&bytes)?.of(id(key).as_ref())?;
    if record.payload() == key.as_bytes().repeat(9) { Ok(()) } else { Err("another".into()) }
}

#[test]
fn every_changed_byte_is_noticed_and_concerns_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = LogStorage::open(&root).unwrap();
    for (key, sequence) in KEYS.iter().zip(1..) {
        store(&storage, key, sequence, b"older");
        store(&storage, key, sequence + 10, &key.as_bytes().repeat(9));
    }
    drop(storage);
    let path = segments(&root)[0].clone();
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&path, &changed).unwrap();
        let copy = directory.path().join("copy");
        let copied = std::process::Command::new("cp").arg("-a").args([&root, &copy]).status();
        assert!(copied.unwrap().success());
        // A version byte of a newer library cannot be told from a changed one.
        match LogStorage::open(&copy) {
            Err(err) => assert_eq!(err.kind(), StorageErrorKind::UnsupportedVersion, "byte {at}"),
            Ok(storage) => {
                let report = storage.open_report();
                let is_told = report.cut.is_some() || !report.damages.is_empty();
                assert!(is_told, "byte {at} was not noticed");
                let wrong: Vec<_> = KEYS
                    .iter()
                    .filter_map(|key| Some((key, is_as_stored(&storage, key).err()?)))
                    .collect();
                assert!(wrong.len() <= 1, "byte {at}: {wrong:?}");
                for (key, err) in wrong {
                    let place = segments(&copy)[0].display().to_string();
                    assert!(err.to_string().contains(&place), "byte {at}, {key}: {err}");
                }
            }
        }
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn a_damaged_state_is_not_replaced_by_an_older_one_and_can_be_stored_anew() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = LogStorage::builder(&root).older_versions_max(3).open().unwrap();
    store(&storage, "a", 1, b"older");
    store(&storage, "a", 2, b"newer");
    drop(storage);
    let path = &segments(&root)[0];
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(5).position(|found| found == b"newer").unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    let storage = LogStorage::open(&root).unwrap();
    assert_eq!(fetch(&storage, "a").unwrap_err().kind(), StorageErrorKind::Corrupt);
    assert!(storage.may_contain(&id("a")) && !storage.may_contain(&id("b")));
    store(&storage, "a", 3, b"anew");
    assert!(fetch(&storage, "a").unwrap().is_some());
}
