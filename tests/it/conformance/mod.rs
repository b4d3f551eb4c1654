//! The conformance kit passes good storages and names what is wrong with bad ones.

mod naive_storage;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::storage::conformance::{self, CheckReport, Conformance, Harness, Verdict};
use checkpoint::{DefaultFileSystemStateStorage, Durability, InMemoryStorage, StateStorage};
use tempfile::TempDir;

use naive_storage::{Fault, NaiveStorage};

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
    assert_eq!(skipped, ["as_many_older_versions_are_kept_as_declared"]);
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

#[test]
fn a_plain_and_correct_storage_conforms() {
    // Else the failures below would say nothing.
    conformance::run(|| Arc::new(NaiveStorage::new(None))).assert_passed();
}

/// Makes storages with this fault.
struct Faulty(Fault);

impl Harness for Faulty {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        Arc::new(NaiveStorage::new(Some(self.0)))
    }

    fn reopen(&self, _storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        None
    }
}

/// Checks that a storage with this fault fails at least these checks.
#[track_caller]
fn check_caught(fault: Fault, expected: &[&str]) {
    let report = Conformance::new(Faulty(fault)).deadline(Duration::from_millis(300)).run();
    let failures: Vec<_> = report.failures().map(CheckReport::name).collect();
    for name in expected {
        assert!(failures.contains(name), "{fault:?} passes {name}\n{report}");
    }
}

#[test]
fn a_storage_that_loses_the_last_write_of_a_batch_is_caught() {
    check_caught(
        Fault::LosesTheLastOfABatch,
        &["every_entry_is_completed", "batches_saved_at_once_are_all_stored"],
    );
}

#[test]
fn a_storage_in_which_the_older_wins_is_caught() {
    check_caught(Fault::OlderWins, &["an_older_state_is_refused_and_changes_nothing"]);
}

#[test]
fn a_storage_that_ignores_older_states_but_says_stored_is_caught() {
    check_caught(Fault::SaysStoredWhenStale, &["an_older_state_is_refused_and_changes_nothing"]);
}

#[test]
fn a_storage_that_never_acknowledges_is_caught_and_does_not_hang_the_kit() {
    check_caught(Fault::NeverAcknowledges, &["a_saved_state_is_fetched_byte_for_byte"]);
}

#[test]
fn a_storage_that_hangs_in_a_call_is_caught_and_does_not_hang_the_kit() {
    check_caught(Fault::HangsWhenListing, &["ten_saved_ids_are_listed"]);
}

#[test]
fn a_storage_that_drops_entries_is_caught() {
    check_caught(Fault::DropsEntries, &["a_saved_state_is_fetched_byte_for_byte"]);
}

#[test]
fn a_storage_that_forgets_removals_is_caught() {
    check_caught(Fault::ForgetsRemovals, &["a_tombstone_is_stored_and_refuses_what_is_older"]);
}

#[test]
fn a_storage_that_lists_removed_ids_is_caught() {
    check_caught(Fault::ListsRemovedIds, &["removed_ids_are_not_listed"]);
}

#[test]
fn a_storage_that_says_absent_for_what_it_cannot_read_is_caught() {
    check_caught(Fault::AbsentWhenLarge, &["records_of_all_sizes_come_back"]);
}

#[test]
fn a_storage_that_mixes_up_keys_is_caught() {
    check_caught(
        Fault::IgnoresCase,
        &["keys_of_any_bytes_are_distinct", "prototypes_of_any_name_are_distinct"],
    );
}

#[test]
fn a_storage_that_panics_is_caught() {
    check_caught(Fault::PanicsOnRemoval, &["a_tombstone_is_stored_and_refuses_what_is_older"]);
}

#[test]
fn a_storage_whose_epochs_stand_still_is_caught() {
    check_caught(Fault::EpochStandsStill, &["epochs_rise_for_each_partition"]);
}

#[test]
fn a_storage_that_puts_metadata_unconditionally_is_caught() {
    check_caught(Fault::PutsUnconditionally, &["a_value_is_put_only_over_the_expected_version"]);
}

#[test]
fn a_storage_that_denies_what_it_contains_is_caught() {
    check_caught(Fault::DeniesContent, &["a_saved_state_is_fetched_byte_for_byte"]);
}

#[test]
fn a_storage_that_fences_nobody_although_it_says_so_is_caught() {
    check_caught(Fault::FencesNobody, &["a_former_owner_is_fenced"]);
}

#[test]
fn a_storage_that_keeps_fewer_versions_than_it_says_is_caught() {
    check_caught(Fault::KeepsFewerVersions, &["as_many_older_versions_are_kept_as_declared"]);
}
