//! Where the newest version of a PE is damaged, the policy may go back to the one before.

use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{
    LogStorage, LogStorageBuilder, OnRestoreError, PePrototype, ProcessError, SafeKeeper,
};

use super::segments;
use crate::support::{Counter, FAIL_SAFE, counters, manual};

fn builder(root: &Path) -> LogStorageBuilder {
    let builder = LogStorage::builder(root).segment_bytes(1_000).background_compaction(false);
    builder.older_versions_max(3)
}

fn open(root: &Path, policy: OnRestoreError) -> (SafeKeeper, PePrototype<String, Counter>) {
    let keeper = SafeKeeper::builder(builder(root).open().unwrap()).build().unwrap();
    let counters = counters(&keeper, manual().on_restore_error(policy));
    (keeper, counters)
}

/// A PE with the versions 1 to 3 behind the newest, 4, and others in segments behind it.
fn stored(root: &Path) {
    let (keeper, counters) = open(root, OnRestoreError::Fail);
    for count in 1..=4 {
        counters.process("damaged", |counter| counter.count = count).unwrap();
        counters.checkpoint("damaged").unwrap().wait().unwrap();
        for other in 0..10 {
            let other = format!("other {other}");
            counters.process(&other, |counter| counter.count = count).unwrap();
            counters.checkpoint(&other).unwrap().wait().unwrap();
        }
    }
    keeper.close(FAIL_SAFE).unwrap();
}

/// The segment with the newest record of that PE, and where in it the record's key is.
fn newest(root: &Path) -> (PathBuf, usize) {
    let found = segments(root).into_iter().rev().find_map(|path| {
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(7).rposition(|found| found == b"damaged")?;
        Some((path, at))
    });
    found.unwrap()
}

/// Damages a byte, `from_key` bytes from the key of the newest record.
fn damage(root: &Path, from_key: isize) -> PathBuf {
    let (path, at) = newest(root);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at.checked_add_signed(from_key).unwrap()] ^= 1;
    fs::write(&path, bytes).unwrap();
    path
}

#[track_caller]
fn check_previous(root: &Path) {
    let (keeper, counters) = open(root, OnRestoreError::Fail);
    let err = counters.read("damaged", |_| ()).unwrap_err();
    assert!(matches!(err, ProcessError::Restore(_)), "{err}");
    assert_eq!(counters.read("other 3", |counter| counter.count).unwrap(), 4);
    keeper.close(FAIL_SAFE).unwrap();
    drop(counters);
    let (keeper, counters) = open(root, OnRestoreError::Previous);
    assert_eq!(counters.read("damaged", |counter| counter.count).unwrap(), 3);
    counters.process("damaged", |counter| counter.count += 10).unwrap();
    counters.checkpoint("damaged").unwrap().wait().unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    drop(counters);
    // From now on the newest is whole.
    let (_keeper, counters) = open(root, OnRestoreError::Fail);
    assert_eq!(counters.read("damaged", |counter| counter.count).unwrap(), 13);
}

#[test]
fn damage_that_opening_has_found_leads_to_the_version_before() {
    // In the state, and in the header.
    for from_key in [8, -20] {
        let directory = tempfile::tempdir().unwrap();
        stored(directory.path());
        damage(directory.path(), from_key);
        let storage = builder(directory.path()).open().unwrap();
        assert_eq!(storage.open_report().damages.len(), 1, "{:?}", storage.open_report());
        drop(storage);
        check_previous(directory.path());
    }
}

#[test]
fn damage_that_is_found_by_restoring_leads_to_the_version_before() {
    for from_key in [8, -20] {
        let directory = tempfile::tempdir().unwrap();
        stored(directory.path());
        // By the hint it is not seen.
        builder(directory.path()).open().unwrap().compact().unwrap();
        let root = directory.path();
        assert!(damage(root, from_key).with_extension("hint").exists());
        let storage = builder(root).open().unwrap();
        assert!(storage.open_report().damages.is_empty(), "{:?}", storage.open_report());
        drop(storage);
        check_previous(root);
    }
}

#[test]
fn what_is_whole_is_put_aside_although_damage_behind_it_hides_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (keeper, counters) = open(root, OnRestoreError::Fail);
    counters.process("early", |counter| counter.count = 7).unwrap();
    counters.checkpoint("early").unwrap().wait().unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    drop(counters);
    stored(root);
    // The list of a batch and its record are damaged: whose it was is not known any more.
    let (path, at) = newest(root);
    let mut bytes = fs::read(&path).unwrap();
    let head = bytes[..at].windows(4).rposition(|found| found == b"\x89CKB").unwrap();
    bytes[head + 41] ^= 1;
    bytes[at + 8] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (keeper, counters) = open(root, OnRestoreError::StartEmpty);
    assert_eq!(counters.process("early", |counter| counter.count).unwrap(), 0);
    counters.checkpoint("early").unwrap().wait().unwrap();
    // That there is no more in the quarantine than can be read is not known.
    keeper.quarantined("counter").unwrap_err();
    let replaced_by = counters.versions("early").unwrap()[0].version;
    counters.restore_quarantined("early", replaced_by).unwrap().wait().unwrap();
    assert_eq!(counters.read("early", |counter| counter.count).unwrap(), 7);
}
