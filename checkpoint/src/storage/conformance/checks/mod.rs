//! The checks, in the order in which they are run.

mod batches;
mod concurrency;
mod ids;
mod metadata;
mod ownership;
mod restart;
mod states;
mod versions;

use crate::checkpoint_id::CheckpointId;
use crate::storage::conformance::subject::{Checked, Subject};

/// One check: a promise and a function that tries to break it.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) run: fn(&mut Subject) -> Checked,
}

macro_rules! checks {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$(Check { name: stringify!($name), run: $module::$name }),*]
    };
}

pub(super) const CHECKS: &[Check] = checks![
    states::a_saved_state_is_fetched_byte_for_byte,
    states::an_id_that_was_never_saved_is_absent,
    states::a_newer_state_replaces_an_older_one,
    states::an_older_state_is_refused_and_changes_nothing,
    states::the_same_version_is_accepted_again,
    states::a_tombstone_is_stored_and_refuses_what_is_older,
    states::a_newer_state_replaces_a_tombstone,
    states::records_of_all_sizes_come_back,
    states::a_record_that_is_too_large_is_refused,
    batches::every_entry_is_completed,
    batches::an_empty_batch_is_no_trouble,
    batches::an_entry_that_is_refused_leaves_the_others_alone,
    batches::several_ids_are_fetched_at_once,
    ids::ten_saved_ids_are_listed,
    ids::removed_ids_are_not_listed,
    ids::listing_stops_when_told,
    ids::keys_of_any_bytes_are_distinct,
    ids::prototypes_of_any_name_are_distinct,
    versions::the_newest_version_is_found_by_its_number,
    versions::as_many_older_versions_are_kept_as_declared,
    ownership::epochs_rise_for_each_partition,
    ownership::a_former_owner_is_fenced,
    metadata::a_value_is_put_only_over_the_expected_version,
    metadata::values_of_any_name_are_distinct_and_no_ids,
    metadata::limits_of_names_and_values_hold,
    concurrency::what_is_fetched_during_saves_is_whole,
    concurrency::batches_saved_at_once_are_all_stored,
    restart::states_and_tombstones_survive_reopening,
    restart::metadata_survives_reopening,
    restart::epochs_rise_over_reopening,
];

/// An id that is known to be valid.
fn id(prototype: &str, key: impl AsRef<[u8]>) -> CheckpointId {
    match CheckpointId::new(prototype, key) {
        Ok(id) => id,
        Err(err) => unreachable!("the checks only use valid ids: {err}"),
    }
}
