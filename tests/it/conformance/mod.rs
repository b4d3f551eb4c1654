//! The conformance kit passes good storages and names what is wrong with bad ones.

mod broken;
mod crashing;
mod fault;
mod late_storage;
mod naive_storage;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use checkpoint::storage::conformance::{self, CheckReport, Conformance, Harness, Verdict};
use checkpoint::{
    DefaultFileSystemStateStorage, Durability, InMemoryStorage, LogStorage, StateStorage,
};
use tempfile::TempDir;

use crate::support::FaultyStorage;
use fault::Fault;
use late_storage::LateStorage;
use naive_storage::NaiveStorage;

#[test]
fn in_memory_storage_conforms() {
    Conformance::new(Reopening(Mutex::default())).run().assert_passed();
}

#[test]
fn in_memory_storage_that_keeps_versions_conforms() {
    let report = conformance::run(|| Arc::new(InMemoryStorage::new().keeping_versions(3)));
    report.assert_passed();
}

/// Reopens an `InMemoryStorage` by a clone.
struct Reopening(Mutex<Option<InMemoryStorage>>);

impl Harness for Reopening {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        let storage = InMemoryStorage::new();
        *self.0.lock().unwrap() = Some(storage.clone());
        Arc::new(storage)
    }

    fn reopen(&self, _storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        Some(Arc::new(self.0.lock().unwrap().clone()?))
    }
}

/// Opens file system storages in temporary directories.
struct Directories {
    durability: Durability,
    record_bytes_max: u64,
    shared_sync_entries_min: usize,
    last: Mutex<Option<TempDir>>,
}

impl Directories {
    fn new(durability: Durability) -> Self {
        Self {
            durability,
            record_bytes_max: 2 << 20,
            shared_sync_entries_min: 8,
            last: Mutex::default(),
        }
    }

    fn open(&self, directory: &TempDir) -> Arc<dyn StateStorage> {
        let builder = DefaultFileSystemStateStorage::builder(directory.path().join("state"))
            .durability(self.durability)
            .record_bytes_max(self.record_bytes_max)
            .shared_sync_entries_min(self.shared_sync_entries_min);
        Arc::new(builder.open().unwrap())
    }
}

impl Harness for Directories {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        let directory = tempfile::tempdir().unwrap();
        let storage = self.open(&directory);
        *self.last.lock().unwrap() = Some(directory);
        storage
    }

    fn reopen(&self, storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        drop(storage);
        Some(self.open(self.last.lock().unwrap().as_ref()?))
    }
}

#[test]
fn file_system_storage_conforms() {
    let report = Conformance::new(Directories::new(Durability::Power)).run();
    report.assert_passed();
    let skipped = |check: &&_| matches!(CheckReport::verdict(check), Verdict::Skipped(_));
    let skipped: Vec<_> = report.checks().iter().filter(skipped).map(CheckReport::name).collect();
    let crashes = ["what_is_acknowledged_survives_crashes", "metadata_and_epochs_survive_crashes"];
    assert_eq!(skipped[..1], ["as_many_older_versions_are_kept_as_declared"]);
    assert_eq!(skipped[1..], crashes);
}

#[test]
fn file_system_storage_that_syncs_each_file_conforms() {
    let each =
        Directories { shared_sync_entries_min: usize::MAX, ..Directories::new(Durability::Power) };
    Conformance::new(each).run().assert_passed();
}

#[test]
fn file_system_storage_without_syncs_conforms() {
    Conformance::new(Directories::new(Durability::Process)).run().assert_passed();
}

/// Opens logs in temporary directories.
struct Logs {
    durability: Durability,
    older_versions_max: u64,
    segment_bytes: u64,
    last: Mutex<Option<TempDir>>,
}

impl Logs {
    fn new(durability: Durability, older_versions_max: u64, segment_bytes: u64) -> Self {
        Self { durability, older_versions_max, segment_bytes, last: Mutex::default() }
    }

    fn open(&self, directory: &TempDir) -> Arc<dyn StateStorage> {
        let builder = LogStorage::builder(directory.path().join("state"))
            .durability(self.durability)
            .record_bytes_max(2 << 20)
            .older_versions_max(self.older_versions_max)
            .segment_bytes(self.segment_bytes);
        Arc::new(builder.open().unwrap())
    }
}

impl Harness for Logs {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        let directory = tempfile::tempdir().unwrap();
        let storage = self.open(&directory);
        *self.last.lock().unwrap() = Some(directory);
        storage
    }

    fn reopen(&self, storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        drop(storage);
        Some(self.open(self.last.lock().unwrap().as_ref()?))
    }
}

#[test]
fn log_storage_conforms() {
    Conformance::new(Logs::new(Durability::Power, 0, 64 << 20)).run().assert_passed();
}

#[test]
fn log_storage_of_small_segments_that_keeps_versions_conforms() {
    Conformance::new(Logs::new(Durability::Process, 3, 1_000)).run().assert_passed();
}

#[test]
fn a_storage_that_answers_later_from_another_thread_conforms() {
    conformance::run(|| Arc::new(LateStorage::new())).assert_passed();
}

#[test]
fn the_storage_that_the_tests_inject_faults_with_conforms_without_them() {
    conformance::run(|| Arc::new(FaultyStorage::new())).assert_passed();
}

#[test]
fn the_checks_are_a_program_too() {
    let run = |fault: Option<Fault>, args: &[&str]| {
        let conformance = Conformance::of(move || Arc::new(NaiveStorage::new(fault)));
        conformance.main(args.iter().map(|arg| (*arg).to_owned()))
    };
    let (success, failure) =
        (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::FAILURE));
    let listing = ["--only", "ids_are_listed", "--seed", "3"];
    assert_eq!(format!("{:?}", run(None, &listing)), success);
    assert_eq!(format!("{:?}", run(Some(Fault::ListsDuplicates), &listing)), failure);
    assert_eq!(format!("{:?}", run(None, &["--seed", "x"])), failure);
    assert_eq!(format!("{:?}", run(None, &["--only", "nothing of this name"])), failure);
}
