//! A batch is written while the one before it is synced: at most two are in doubt, each
//! acknowledged only once it is durable.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use checkpoint::storage::conformance;
use checkpoint::{
    LogStorage, SaveBatch, SaveOutcome, StateStorage, StateVersion, StorageErrorKind,
};
use rustix::io::Errno;

use super::{id, payload, segments};
use crate::file_system::files_that_fail::{FilesThatFail, Script};
use crate::support::eventually;

/// A log with two threads that save: the second comes while the first one syncs.
struct Two {
    storage: Arc<LogStorage>,
    script: Arc<Script>,
    /// How many bytes were durable before.
    durable_bytes: u64,
    first: Receiver<SaveOutcome>,
    second: Receiver<SaveOutcome>,
}

fn saving(key: &str, sequence: u64) -> (SaveBatch, Receiver<SaveOutcome>) {
    let record = conformance::record(&id(key), StateVersion::new(1, sequence), &[1; 100]);
    let (told, outcome) = mpsc::channel();
    let batch = SaveBatch::of_records(record, move |_, outcome| told.send(outcome).unwrap());
    (batch.unwrap(), outcome)
}

impl Two {
    /// Saves a batch each. `meanwhile` is done when the second one waits for the first, which is
    /// being synced.
    fn save(
        root: &Path,
        (first, second): ((&str, u64), (&str, u64)),
        meanwhile: impl FnOnce(&Arc<LogStorage>, &Script) + Send + 'static,
    ) -> Self {
        let files = FilesThatFail::new(root);
        let script = files.script();
        let builder = LogStorage::builder(root).background_compaction(false);
        let storage = Arc::new(builder.open_over(Arc::new(files)).unwrap());
        // So that no segment has to be begun.
        super::store(&*storage, "before", 1, b"state");
        let durable_bytes = fs::metadata(&segments(root)[0]).unwrap().len();
        let (first_batch, first) = saving(first.0, first.1);
        let (second_batch, second) = saving(second.0, second.1);
        let (log, noted) = (Arc::clone(&storage), Arc::clone(&script));
        script.before("sync_data segments/", 0, move || {
            let saver = Arc::clone(&log);
            thread::Builder::new().spawn(move || saver.save(second_batch)).unwrap();
            eventually("the second waits", || log.saves_waiting() == Some(1));
            meanwhile(&log, &noted);
        });
        script.take_log();
        storage.save(first_batch);
        Self { storage, script, durable_bytes, first, second }
    }

    /// What became of both.
    fn outcomes(&self) -> [SaveOutcome; 2] {
        [&self.first, &self.second].map(|outcome| outcome.recv().unwrap())
    }

    /// Closes the log, once the second thread is done with it.
    fn close(self) {
        eventually("the second is done", || Arc::strong_count(&self.storage) == 1);
    }
}

fn writes(log: &[String]) -> usize {
    log.iter().filter(|line| line.starts_with("write segments/")).count()
}

#[test]
fn a_batch_is_written_while_the_one_before_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let (told, written) = mpsc::channel();
    let two = Two::save(directory.path(), (("a", 1), ("b", 1)), move |_, script| {
        told.send(writes(&script.take_log())).unwrap();
    });
    assert!(matches!(two.outcomes(), [SaveOutcome::Stored, SaveOutcome::Stored]));
    assert_eq!(written.recv().unwrap(), 2);
    // Each has a sync of its own.
    let log = two.script.take_log();
    let syncs = log.iter().filter(|line| line.starts_with("sync_data segments/")).count();
    assert_eq!((writes(&log), syncs), (0, 2), "{log:?}");
    two.close();
    let storage = LogStorage::open(directory.path()).unwrap();
    assert!(payload(&storage, "a").is_some() && payload(&storage, "b").is_some());
}

#[test]
fn what_was_written_behind_a_batch_whose_sync_fails_is_written_elsewhere_too() {
    let directory = tempfile::tempdir().unwrap();
    let (told, written) = mpsc::channel();
    let two = Two::save(directory.path(), (("a", 1), ("b", 1)), move |_, script| {
        let log = script.take_log();
        let path = log[0].strip_prefix("write ").unwrap().to_owned();
        script.fail_all(&format!("sync_data {path}"), Errno::IO);
        told.send((path, writes(&log))).unwrap();
    });
    assert!(matches!(two.outcomes(), [SaveOutcome::Stored, SaveOutcome::Stored]));
    let (path, writes) = written.recv().unwrap();
    assert_eq!(writes, 2);
    let log = two.script.take_log();
    let failed = format!("sync_data {path}: {:?}", Errno::IO);
    let failed = log.iter().position(|line| *line == failed).unwrap();
    let is_again = |line: &String| line.contains(&path);
    assert!(!log[failed + 1..].iter().any(is_again), "{log:?}");
    let durable_bytes = two.durable_bytes;
    two.close();
    // Nothing is left of what was not durable.
    let files = segments(directory.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let given_up = fs::OpenOptions::new().write(true).open(&files[0]).unwrap();
    given_up.set_len(durable_bytes).unwrap();
    let storage = LogStorage::open(directory.path()).unwrap();
    assert!(storage.verify(|_| {}).unwrap().damages.is_empty());
    for key in ["before", "a", "b"] {
        assert!(payload(&storage, key).is_some(), "{key}");
    }
}

#[test]
fn damage_of_a_batch_that_the_next_one_did_not_know_to_be_durable_is_no_torn_end() {
    // In a record, and in the head in front of it.
    for in_head in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let two = Two::save(directory.path(), (("a", 1), ("b", 1)), |_, _| {});
        two.outcomes();
        for key in ["c", "d"] {
            super::store(&*two.storage, key, 2, b"state");
        }
        let at = two.durable_bytes;
        two.close();
        let path = &segments(directory.path())[0];
        let mut bytes = fs::read(path).unwrap();
        let at = usize::try_from(at).unwrap();
        let state = bytes[at..].windows(100).position(|found| found == [1; 100]).unwrap();
        bytes[at + if in_head { 20 } else { state }] ^= 1;
        fs::write(path, bytes).unwrap();

        let storage = LogStorage::open(directory.path()).unwrap();
        let report = storage.open_report();
        assert_eq!(report.cut, None, "{report:?}");
        assert_eq!(report.damages.len(), 1, "{report:?}");
        for key in ["before", "b", "c", "d"] {
            assert!(payload(&storage, key).is_some(), "{key}");
        }
        let found = super::fetch(&storage, "a");
        match in_head {
            true => assert!(found.unwrap().is_some()),
            false => assert_eq!(found.unwrap_err().kind(), StorageErrorKind::Corrupt),
        }
    }
}

#[test]
fn nothing_older_of_a_pe_is_written_behind_the_newer_that_is_being_synced() {
    let directory = tempfile::tempdir().unwrap();
    let (told, written) = mpsc::channel();
    let two = Two::save(directory.path(), (("a", 2), ("a", 1)), move |_, script| {
        told.send(writes(&script.take_log())).unwrap();
    });
    let [first, second] = two.outcomes();
    assert!(matches!(first, SaveOutcome::Stored), "{first:?}");
    assert!(matches!(second, SaveOutcome::NotStored(_)), "{second:?}");
    assert_eq!((written.recv().unwrap(), writes(&two.script.take_log())), (1, 0));
    two.close();
}

#[test]
fn an_epoch_is_opened_only_once_nobody_writes_with_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let (told, opened) = mpsc::channel();
    let two = Two::save(directory.path(), (("a", 1), ("b", 1)), move |log, _| {
        let opener = Arc::clone(log);
        let open = move || {
            opener.open_epoch(0).unwrap();
            let stored = ["a", "b"].map(|key| payload(&*opener, key).is_some());
            drop(opener);
            told.send(stored).unwrap();
        };
        thread::Builder::new().spawn(open).unwrap();
        eventually("who opens the epoch waits, too", || log.saves_waiting() == Some(2));
    });
    assert_eq!(opened.recv().unwrap(), [true, true]);
    two.outcomes();
    two.close();
}
