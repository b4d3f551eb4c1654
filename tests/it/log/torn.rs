//! A batch that was being written when the process ended is cut off, and nothing else (A1, C2, P6).

use std::fs::{self, OpenOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checkpoint::{LogStorage, RecordView, StateStorage};

use super::{fetch, kill, payload, segments, store};
use crate::file_system::files_that_fail::FilesThatFail;

#[test]
fn wherever_the_last_batch_is_torn_all_before_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = LogStorage::open(&root).unwrap();
    storage.open_epoch(0).unwrap();
    store(&storage, "a", 1, b"first");
    store(&storage, "b", 2, b"second");
    let whole = fs::read(&segments(&root)[0]).unwrap();
    store(&storage, "a", 3, b"third");
    kill(storage, &root, &killed);
    let all = fs::read(&segments(&killed)[0]).unwrap();
    assert!(all.len() > whole.len());
    for bytes in whole.len()..=all.len() {
        let torn = directory.path().join(format!("torn{bytes}"));
        let copied = std::process::Command::new("cp").arg("-a").args([&killed, &torn]).status();
        assert!(copied.unwrap().success());
        fs::write(&segments(&torn)[0], &all[..bytes]).unwrap();
        // Twice: what the first opening made of it must be right for the second.
        for _ in 0..2 {
            let storage = LogStorage::open(&torn).unwrap();
            let expected: &[u8] = if bytes == all.len() { b"third" } else { b"first" };
            assert_eq!(payload(&storage, "a").as_deref(), Some(expected), "{bytes} bytes");
            assert_eq!(payload(&storage, "b").as_deref(), Some(&b"second"[..]), "{bytes} bytes");
            assert_eq!(storage.open_report().damages, [], "{bytes} bytes");
            store(&storage, "c", 1, b"goes on");
        }
        fs::remove_dir_all(&torn).unwrap();
    }
}

#[test]
fn what_is_cut_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = LogStorage::open(&root).unwrap();
    store(&storage, "a", 1, b"first");
    kill(storage, &root, &killed);
    let path = &segments(&killed)[0];
    let all = fs::read(path).unwrap();
    fs::write(path, &all[..all.len() - 1]).unwrap();
    let storage = LogStorage::open(&killed).unwrap();
    let cut = storage.open_report().cut.clone().expect("something was cut");
    assert_eq!((cut.offset, cut.bytes, cut.records), (64, all.len() as u64 - 65, 1), "{cut}");
    assert_eq!(payload(&storage, "a"), None);
}

/// The last batch of a log that was not closed may be in memory alone: once it was shown to
/// anybody, it must be durable elsewhere, also if the process that saw to that has died (A6).
#[test]
fn a_death_at_any_operation_of_a_recovery_leaves_no_batch_in_doubt() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = LogStorage::open(&root).unwrap();
    store(&storage, "b", 1, b"second");
    let durable = fs::read(&segments(&root)[0]).unwrap();
    store(&storage, "a", 2, b"third");
    kill(storage, &root, &killed);
    for at in 0.. {
        let copy = directory.path().join(format!("copy{at}"));
        let copied = std::process::Command::new("cp").arg("-a").args([&killed, &copy]).status();
        assert!(copied.unwrap().success());
        let files = FilesThatFail::new(&copy);
        files.script().die_at(at);
        let has_died = LogStorage::builder(&copy).open_over(Arc::new(files)).is_err();
        let storage = LogStorage::open(&copy).unwrap();
        assert_eq!(payload(&storage, "a").as_deref(), Some(&b"third"[..]), "died at {at}");
        drop(storage);
        // Power is lost, and with it what was never synced.
        fs::write(&segments(&copy)[0], &durable).unwrap();
        let storage = LogStorage::open(&copy).unwrap();
        assert_eq!(payload(&storage, "a").as_deref(), Some(&b"third"[..]), "died at {at}");
        assert_eq!(payload(&storage, "b").as_deref(), Some(&b"second"[..]), "died at {at}");
        assert_eq!(storage.open_report().damages, [], "died at {at}");
        if !has_died {
            assert!(at > 10, "only {at} operations");
            break;
        }
    }
}

#[test]
fn a_batch_that_is_known_to_be_durable_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = LogStorage::open(&root).unwrap();
    store(&storage, "a", 1, b"first");
    let whole = fs::read(&segments(&root)[0]).unwrap().len();
    store(&storage, "b", 2, b"second");
    kill(storage, &root, &killed);
    let all = fs::read(&segments(&killed)[0]).unwrap();
    // Only the head of the torn batch says how much was durable when it was written.
    for (bytes, expected) in [(whole + 10, 2), (all.len() - 1, 1)] {
        let torn = directory.path().join(format!("torn{bytes}"));
        let copied = std::process::Command::new("cp").arg("-a").args([&killed, &torn]).status();
        assert!(copied.unwrap().success());
        fs::write(&segments(&torn)[0], &all[..bytes]).unwrap();
        let storage = LogStorage::open(&torn).unwrap();
        assert_eq!(payload(&storage, "a").as_deref(), Some(&b"first"[..]));
        assert_eq!(payload(&storage, "b"), None);
        assert_eq!(segments(&torn).len(), expected, "{bytes} bytes");
    }
}

/// A recovery reads the last batch twice: what is gone the second time was there, and is missed.
#[test]
fn what_is_lost_during_a_recovery_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = LogStorage::open(&root).unwrap();
    store(&storage, "a", 1, b"first");
    store(&storage, "a", 2, b"second");
    kill(storage, &root, &killed);
    let mut missed = 0;
    for at in 0.. {
        let copy = directory.path().join(format!("copy{at}"));
        let copied = std::process::Command::new("cp").arg("-a").args([&killed, &copy]).status();
        assert!(copied.unwrap().success());
        let path = segments(&copy)[0].clone();
        let files = FilesThatFail::new(&copy);
        let has_happened = Arc::new(AtomicBool::new(false));
        let happens = Arc::clone(&has_happened);
        files.script().before("", at, move || {
            happens.store(true, Ordering::Relaxed);
            let bytes = fs::metadata(&path).unwrap().len();
            OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes - 1).unwrap();
        });
        let storage = LogStorage::builder(&copy).open_over(Arc::new(files)).unwrap();
        if !has_happened.load(Ordering::Relaxed) {
            assert!(at > 10 && missed > 0, "of {at} operations {missed} were too late");
            return;
        }
        let seen = fetch(&storage, "a").map(|record| payload_of(&record.unwrap()));
        drop(storage);
        let again = LogStorage::open(&copy).unwrap();
        let seen_again = fetch(&again, "a").map(|record| payload_of(&record.unwrap()));
        match seen {
            // It was torn before anybody has read it.
            Ok(seen) if seen == b"first" => {}
            Ok(_) => assert_eq!(seen_again.unwrap(), b"second", "{at}"),
            Err(_) => {
                missed += 1;
                assert!(seen_again.is_err(), "{at}: {seen_again:?}");
            }
        }
    }
}

fn payload_of(record: &[u8]) -> Vec<u8> {
    RecordView::parse(record).unwrap().payload().to_vec()
}
