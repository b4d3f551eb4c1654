//! Each file operation fails in turn: nothing acknowledged is lost, and the store goes on.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use checkpoint::{
    DefaultFileSystemStateStorage, SaveOutcome, StateStorage, StorageErrorKind, storage,
};
use rustix::io::Errno;

use super::files_that_fail::{FilesThatFail, Script};
use super::{check_error, fetch, id, not_stored, open, record, save_one, state_path, store};

const KEYS: [&str; 4] = ["a", "b", "c", "new"];

fn records(sequence: u64) -> Vec<Vec<u8>> {
    KEYS.iter().map(|key| record(key, sequence, &[sequence.to_le_bytes()[0]; 100])).collect()
}

fn open_over(
    root: &Path,
    files: &FilesThatFail,
    shared_sync_entries_min: usize,
) -> Result<DefaultFileSystemStateStorage, checkpoint::StorageError> {
    DefaultFileSystemStateStorage::builder(root)
        .shared_sync_entries_min(shared_sync_entries_min)
        .open_over(Arc::new(files.clone()))
}

/// What is promised of each key when operation `at` fails. Returns whether there was such a one.
fn check_fault(at: usize, errno: Errno, shared_sync_entries_min: usize) -> bool {
    let context = format!("operation {at}, {errno:?}, shared from {shared_sync_entries_min}");
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let (first, second, third) = (records(1), records(2), records(3));
    {
        let files = FilesThatFail::new(&root);
        let storage = open_over(&root, &files, usize::MAX).unwrap();
        // All but the last, which is new to the save that fails.
        for record in &first[..3] {
            store(&storage, record.clone());
        }
        storage.put_metadata("m", None, b"first").unwrap();
    }

    let files = FilesThatFail::new(&root);
    let script = files.script();
    script.fail_at(at, errno);
    let opened = open_over(&root, &files, shared_sync_entries_min);
    let storage = match opened {
        Ok(storage) => storage,
        Err(err) => {
            assert!(err.to_string().contains(root.to_str().unwrap()), "{context}: {err}");
            script.heal();
            open_over(&root, &files, shared_sync_entries_min)
                .unwrap_or_else(|err| panic!("{context}: not open again: {err}"))
        }
    };
    let outcomes = storage::conformance::save(&storage, &second);
    let put = storage
        .metadata("m")
        .and_then(|found| storage.put_metadata("m", found.map(|m| m.version), b"second"));
    let reached = script.take_log();
    let failed = reached.iter().any(|line| line.ends_with(&format!("{errno:?}")));
    check_failed_syncs_are_final(&reached, &context);
    script.heal();

    for (index, outcome) in outcomes.iter().enumerate() {
        script.take_log();
        let found = fetch(&storage, KEYS[index]);
        let steps = script.take_log();
        let old = (index < 3).then(|| first[index].clone());
        match (outcome, &found) {
            (SaveOutcome::Stored, Ok(found)) => {
                assert_eq!(found.as_ref(), Some(&second[index]), "{context}: {}", KEYS[index]);
            }
            (SaveOutcome::NotStored(_), Ok(found)) => {
                assert_eq!(*found, old, "{context}: {} was not stored", KEYS[index]);
            }
            // Nobody is told what may not be durable: it was made so first.
            (SaveOutcome::Unknown(_), Ok(found)) => {
                assert_eq!(found.as_ref(), Some(&second[index]), "{context}: {}", KEYS[index]);
                check_written_again(&steps);
            }
            other => panic!("{context}: {}: {other:?}", KEYS[index]),
        }
        // The other outcomes leave nothing behind that a retry would trip over.
        store(&storage, second[index].clone());
        assert_eq!(fetch(&storage, KEYS[index]).unwrap().as_ref(), Some(&second[index]));
    }
    let metadata = storage.metadata("m").unwrap().unwrap();
    match put {
        Ok(_) => assert_eq!(metadata.bytes, b"second", "{context}"),
        Err(_) => assert!([&b"first"[..], b"second"].contains(&&*metadata.bytes), "{context}"),
    }
    for record in &third {
        store(&storage, record.clone());
    }
    drop(storage);

    let storage = open(&root);
    for (key, expected) in KEYS.iter().zip(&third) {
        assert_eq!(fetch(&storage, key).unwrap().as_ref(), Some(expected), "{context}: {key}");
    }
    assert_eq!(std::fs::read_dir(root.join("temp")).unwrap().count(), 0, "{context}");
    failed
}

#[track_caller]
fn check_written_again(steps: &[String]) {
    let at = |step| steps.iter().position(|line| line.starts_with(step));
    let steps_in_order = [at("sync_data temp/"), at("rename temp/"), at("sync_directory 070/")];
    assert!(steps_in_order[0].is_some() && steps_in_order.is_sorted(), "{steps:?}");
}

/// A file whose sync failed is never synced again, nor renamed to where it would be believed.
pub(super) fn check_failed_syncs_are_final(log: &[String], context: &str) {
    for (at, line) in log.iter().enumerate() {
        let Some((path, _)) = line.strip_prefix("sync_data ").and_then(|l| l.split_once(": "))
        else {
            continue;
        };
        // A new file of that name is another file.
        let created = format!("create_file {path}");
        for later in log[at + 1..].iter().take_while(|later| **later != created) {
            let again = later.starts_with(&format!("sync_data {path}"));
            let renamed = later.starts_with(&format!("rename {path} "));
            assert!(!again && !renamed, "{context}: {later} after {line}");
        }
    }
}

fn check_all_operations(errno: Errno) {
    for shared_sync_entries_min in [1, usize::MAX] {
        let mut at = 0;
        while check_fault(at, errno, shared_sync_entries_min) {
            at += 1;
        }
        assert!(at > 40, "only {at} operations were reached");
    }
}

#[test]
fn an_io_error_of_any_operation_loses_nothing() {
    check_all_operations(Errno::IO);
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing() {
    check_all_operations(Errno::NOSPC);
}

#[test]
fn a_disk_turned_read_only_at_any_operation_loses_nothing() {
    check_all_operations(Errno::ROFS);
}

#[test]
fn too_many_open_files_at_any_operation_lose_nothing() {
    check_all_operations(Errno::MFILE);
}

/// Kills a process at each operation in turn while it creates a store, or opens one, and saves; the
/// next one is killed at each operation too while it recovers.
fn check_deaths(prepared: bool, shared_sync_entries_min: usize) {
    for first_death in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        if prepared {
            let storage = open_over(&root, &FilesThatFail::new(&root), usize::MAX).unwrap();
            for record in &records(1)[..3] {
                store(&storage, record.clone());
            }
        }
        let mut acked = [false; KEYS.len()];
        let mut died = false;
        for death in [first_death, first_death / 2, first_death / 3] {
            let files = FilesThatFail::new(&root);
            files.script().die_at(death);
            if let Ok(storage) = open_over(&root, &files, shared_sync_entries_min) {
                let outcomes = storage::conformance::save(&storage, &records(2));
                for (acked, outcome) in acked.iter_mut().zip(outcomes) {
                    *acked |= matches!(outcome, SaveOutcome::Stored);
                }
            }
            died |= files.script().take_log().len() > death;
        }
        let context = format!("death at {first_death}, shared from {shared_sync_entries_min}");
        let storage = DefaultFileSystemStateStorage::open(&root)
            .unwrap_or_else(|err| panic!("{context}: {err}: {:?}", err.source()));
        assert_eq!(std::fs::read_dir(root.join("temp")).unwrap().count(), 0, "{context}");
        for (index, key) in KEYS.iter().enumerate() {
            let found = fetch(&storage, key).unwrap();
            let old = (prepared && index < 3).then(|| records(1)[index].clone());
            let new = Some(records(2)[index].clone());
            assert!(found == new || (found == old && !acked[index]), "{context}: {key}");
        }
        if !died {
            return;
        }
    }
}

#[test]
fn a_process_that_dies_at_any_operation_loses_nothing_acknowledged() {
    for shared_sync_entries_min in [1, usize::MAX] {
        check_deaths(true, shared_sync_entries_min);
    }
}

#[test]
fn a_process_that_dies_while_it_creates_the_store_leaves_one_that_opens() {
    for shared_sync_entries_min in [1, usize::MAX] {
        check_deaths(false, shared_sync_entries_min);
    }
}

fn failing() -> (tempfile::TempDir, DefaultFileSystemStateStorage, Arc<Script>) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = FilesThatFail::new(&root);
    let storage = open_over(&root, &files, usize::MAX).unwrap();
    store(&storage, record("a", 1, b"first"));
    (directory, storage, files.script())
}

/// Checks what becomes of a save while an operation fails, and that the old state is left.
#[track_caller]
fn check_save(operation: &str, errno: Errno, kind: StorageErrorKind) {
    let (directory, storage, script) = failing();
    let root = directory.path().join("state");
    script.fail_all(operation, errno);
    for _ in 0..3 {
        let err = not_stored(save_one(&storage, record("a", 2, b"second")));
        check_error(&err, kind, &state_path(&root, "a"));
    }
    script.heal();
    assert_eq!(fetch(&storage, "a").unwrap(), Some(record("a", 1, b"first")));
    assert_eq!(std::fs::read_dir(root.join("temp")).unwrap().count(), 0);
    store(&storage, record("a", 2, b"second"));
}

#[test]
fn errors_of_saves_are_sorted_by_what_can_be_done() {
    check_save("write ", Errno::NOSPC, StorageErrorKind::Full);
    check_save("write ", Errno::DQUOT, StorageErrorKind::Full);
    check_save("write ", Errno::IO, StorageErrorKind::Unavailable);
    check_save("create_file ", Errno::ROFS, StorageErrorKind::Forbidden);
    check_save("create_file ", Errno::ACCESS, StorageErrorKind::Forbidden);
    check_save("create_file ", Errno::MFILE, StorageErrorKind::Unavailable);
    check_save("sync_data ", Errno::IO, StorageErrorKind::Unavailable);
    check_save("rename ", Errno::NOSPC, StorageErrorKind::Full);
    check_save("open_file 070", Errno::IO, StorageErrorKind::Unreadable);
}

#[test]
fn a_failed_sync_of_the_directory_is_an_unknown_outcome() {
    let (_directory, storage, script) = failing();
    script.fail_all("sync_directory 070/", Errno::IO);
    let outcome = save_one(&storage, record("a", 2, b"second"));
    assert!(matches!(outcome, SaveOutcome::Unknown(_)), "{outcome:?}");
    // Reading back must not take what is only in memory for stored.
    assert_eq!(fetch(&storage, "a").unwrap_err().kind(), StorageErrorKind::Unavailable);
    assert!(storage.versions(&id("a")).is_err());
    script.heal();
    store(&storage, record("a", 2, b"second"));
    assert_eq!(fetch(&storage, "a").unwrap(), Some(record("a", 2, b"second")));
}

#[test]
fn what_may_not_be_durable_is_written_again_before_it_is_read() {
    // Synced each by itself, and all by one sync of the file system.
    for (entries_min, sync) in [(usize::MAX, "sync_directory 070/"), (1, "shared_sync")] {
        let (directory, storage, _) = failing();
        drop(storage);
        let root = directory.path().join("state");
        let files = FilesThatFail::new(&root);
        let script = files.script();
        let storage = open_over(&root, &files, entries_min).unwrap();
        store(&storage, record("a", 2, b"second"));
        script.take_log();
        store(&storage, record("a", 3, b"third"));
        // The last one, which comes after the rename.
        let steps = script.take_log();
        let Some(last) = steps.iter().rposition(|step| step.starts_with(sync)) else {
            assert_eq!(entries_min, 1, "{steps:?}");
            continue; // This file system has no sync that can be shared.
        };
        script.fail_at(last, Errno::IO);
        let outcome = save_one(&storage, record("a", 4, b"fourth"));
        assert!(matches!(outcome, SaveOutcome::Unknown(_)), "{outcome:?}");
        script.heal();
        script.take_log();
        assert_eq!(fetch(&storage, "a").unwrap(), Some(record("a", 4, b"fourth")));
        check_written_again(&script.take_log());
        // Once is enough.
        assert_eq!(storage.versions(&id("a")).unwrap().len(), 1);
        let steps = script.take_log();
        assert!(!steps.iter().any(|line| line.starts_with("rename")), "{steps:?}");
    }
}

/// Found by the simulated keeper over files (`keeper-power-loss`).
#[test]
fn whether_a_first_state_was_renamed_is_looked_up_once_the_disk_answers() {
    let (_directory, storage, script) = failing();
    let save_in_vain = |key: &str| {
        let from_now_on = script.clone();
        script.before("rename ", 0, move || from_now_on.fail_all("", Errno::IO));
        let outcome = save_one(&storage, record(key, 1, b"first"));
        assert!(matches!(outcome, SaveOutcome::Unknown(_)), "{outcome:?}");
        assert!(fetch(&storage, key).is_err());
        assert!(storage.may_contain(&id(key)));
        script.heal();
    };
    save_in_vain("read");
    assert_eq!(fetch(&storage, "read").unwrap(), None);
    assert_eq!(storage.versions(&id("read")).unwrap(), []);
    assert!(!storage.may_contain(&id("read")));
    save_in_vain("saved");
    store(&storage, record("saved", 1, b"first"));
    assert_eq!(fetch(&storage, "saved").unwrap(), Some(record("saved", 1, b"first")));
}

/// B6.
#[test]
fn a_file_that_cannot_be_read_is_not_absent() {
    for (operation, errno, kind) in [
        ("open_file 070", Errno::IO, StorageErrorKind::Unreadable),
        ("read_at ", Errno::IO, StorageErrorKind::Unreadable),
        ("file_bytes ", Errno::IO, StorageErrorKind::Unreadable),
        ("open_file 070", Errno::MFILE, StorageErrorKind::Unavailable),
        ("open_file 070", Errno::ACCESS, StorageErrorKind::Forbidden),
    ] {
        let (directory, storage, script) = failing();
        let path = state_path(&directory.path().join("state"), "a");
        script.fail_all(operation, errno);
        check_error(&fetch(&storage, "a").unwrap_err(), kind, &path);
        let err = storage.ids("p", &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err();
        check_error(&err, kind, &path);
        script.heal();
        assert!(fetch(&storage, "a").unwrap().is_some());
    }
}

#[test]
fn a_directory_that_cannot_be_listed_is_not_empty() {
    let (directory, storage, _) = failing();
    drop(storage);
    let root = directory.path().join("state");
    for listed in ["list 070", "list 070/30"] {
        let files = FilesThatFail::new(&root);
        let storage = open_over(&root, &files, usize::MAX).unwrap();
        files.script().fail_all(listed, Errno::IO);
        assert_eq!(fetch(&storage, "a").unwrap_err().kind(), StorageErrorKind::Unreadable);
        assert!(storage.may_contain(&id("a")));
        files.script().heal();
        assert!(fetch(&storage, "a").unwrap().is_some());
    }
}

#[test]
fn temporary_files_that_cannot_be_removed_do_not_pile_up() {
    let (directory, storage, script) = failing();
    script.fail_all("remove_file", Errno::IO);
    for _ in 0..5 {
        // Refused as too old once it is written, so that the file is to be thrown away.
        let outcome = save_one(&storage, record("a", 0, b"older"));
        assert!(matches!(outcome, SaveOutcome::NotStored(_)), "{outcome:?}");
    }
    let temporary = directory.path().join("state/temp");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 1);
    script.heal();
    store(&storage, record("a", 2, b"second"));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn damage_is_returned_for_the_keeper_to_find_and_can_be_saved_over() {
    let (directory, storage, _) = failing();
    let path = state_path(&directory.path().join("state"), "a");
    for damaged in [&b""[..], b"\x89CK", &record("a", 1, b"first")[..50]] {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(fetch(&storage, "a").unwrap().as_deref(), Some(damaged));
        let err = storage.ids("p", &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err();
        check_error(&err, StorageErrorKind::Corrupt, &path);
        store(&storage, record("a", 2, b"second"));
    }
}

#[test]
fn a_state_of_a_newer_library_is_left_alone() {
    let (directory, storage, _) = failing();
    let path = state_path(&directory.path().join("state"), "a");
    let mut newer = record("a", 1, b"first");
    newer[4] = 2;
    std::fs::write(&path, &newer).unwrap();
    let err = not_stored(save_one(&storage, record("a", 2, b"second")));
    assert_eq!(err.kind(), StorageErrorKind::UnsupportedVersion);
    assert_eq!(std::fs::read(&path).unwrap(), newer);
}

#[test]
fn the_state_of_another_id_in_the_wrong_place_is_neither_replaced_nor_listed() {
    let (directory, storage, _) = failing();
    let path = state_path(&directory.path().join("state"), "a");
    std::fs::write(&path, record("b", 1, b"of b")).unwrap();
    let err = not_stored(save_one(&storage, record("a", 2, b"second")));
    check_error(&err, StorageErrorKind::InvalidStore, &path);
    let mut listed = 0;
    let ids = storage.ids("p", &mut |_| {
        listed += 1;
        std::ops::ControlFlow::Continue(())
    });
    check_error(&ids.unwrap_err(), StorageErrorKind::InvalidStore, &path);
    assert_eq!(listed, 0);
}
