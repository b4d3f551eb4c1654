//! The checks, in the order in which they are run, each with what the contract says about it.

mod batches;
mod concurrency;
mod crash;
mod ids;
mod metadata;
mod ownership;
mod restart;
mod states;
mod versions;

use crate::checkpoint_id::CheckpointId;
use crate::storage::conformance::client::Checked;
use crate::storage::conformance::subject::Subject;

/// One check: a promise, its words in the contract, and a function that tries to break it.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) contract: &'static str,
    pub(super) run: fn(&mut Subject) -> Checked,
}

macro_rules! checks {
    ($($module:ident: $($name:ident = $contract:expr),* ;)*) => {
        &[$($(Check {
            name: stringify!($name),
            contract: $contract,
            run: $module::$name,
        }),*),*]
    };
}

const BYTE_FOR_BYTE: &str = "The answer is the record as it was saved, byte for byte.";
const HIGHER: &str = "A record replaces the stored one of its id exactly if its version is higher.";
const TOMBSTONES: &str = "A tombstone is stored, and refuses what is older than it.";
const ENTRIES: &str = "Each entry is completed exactly once. Entries of one batch do not depend \
                       on each other: some may be stored and others not.";
const LISTING: &str =
    "`visit` is called with each id of the prototype that has a state, each once, until it breaks.";
const IDS: &str = "Records are kept by id: a prototype's name and a key of any bytes.";
const VERSIONS: &str = "The versions that are kept of an id are listed, the newest first; as many \
                        older ones are kept as the capabilities declare.";
const EPOCHS: &str = "An epoch is higher than any that was returned for the partition before.";
const FENCED: &str = "CompareAndSet::PerPartition: a writer that lost a partition cannot write any \
                      key of it.";
const METADATA: &str =
    "A value is put if its version is still the expected one, else it is a Conflict.";
const LIMITS: &str = "Names have 1 to 200 bytes, values up to 1 MiB.";
const AT_ONCE: &str = "Every method can be called while others run.";
const DURING_SAVES: &str =
    "An id may be fetched while it is saved: the answer is the old or the new record, whole.";
const SURVIVES: &str = "`Stored` says that the record survives what the capabilities declare.";

pub(super) const CHECKS: &[Check] = checks![
    states:
        a_saved_state_is_fetched_byte_for_byte = BYTE_FOR_BYTE,
        an_id_that_was_never_saved_is_absent =
            "\"There is none\" is only said if the storage knows it, and then it is said.",
        a_newer_state_replaces_an_older_one = HIGHER,
        an_older_state_is_refused_and_changes_nothing =
            "A lower version is refused as Stale and changes nothing.",
        the_same_version_is_accepted_again =
            "The same version again is the same record, sent again: it is Stored.",
        a_tombstone_is_stored_and_refuses_what_is_older = TOMBSTONES,
        a_newer_state_replaces_a_tombstone = HIGHER,
        records_of_all_sizes_come_back = BYTE_FOR_BYTE,
        a_record_that_is_too_large_is_refused =
            "Records up to the declared size are stored; a larger one is refused as TooLarge and \
             changes nothing.";
    batches:
        every_entry_is_completed = ENTRIES,
        an_empty_batch_is_no_trouble = ENTRIES,
        an_entry_that_is_refused_leaves_the_others_alone = ENTRIES,
        several_ids_are_fetched_at_once = "Each entry of a fetch gets the answer for its own id.";
    ids:
        ten_saved_ids_are_listed = LISTING,
        removed_ids_are_not_listed = LISTING,
        listing_stops_when_told = LISTING,
        what_is_listed_can_be_fetched_meanwhile = "`visit` may call the storage.",
        keys_of_any_bytes_are_distinct = IDS,
        prototypes_of_any_name_are_distinct = IDS;
    versions:
        the_newest_version_is_found_by_its_number = VERSIONS,
        as_many_older_versions_are_kept_as_declared = VERSIONS;
    ownership:
        epochs_rise_for_each_partition = EPOCHS,
        a_former_owner_is_fenced = FENCED;
    metadata:
        a_value_is_put_only_over_the_expected_version = METADATA,
        values_of_any_name_are_distinct_and_no_ids = "Metadata never shows up among the ids.",
        limits_of_names_and_values_hold = LIMITS;
    concurrency:
        what_is_fetched_during_saves_is_whole = DURING_SAVES,
        batches_saved_at_once_are_all_stored = AT_ONCE,
        of_versions_saved_at_once_the_newest_stays = HIGHER,
        ids_fetched_at_once_are_not_mixed_up = AT_ONCE,
        ids_are_listed_while_others_come_and_go =
            "Each id that has a state is visited once; those that are saved or removed meanwhile \
             may be visited or not.",
        of_puts_at_once_one_succeeds = METADATA,
        epochs_opened_at_once_are_distinct = EPOCHS,
        every_caller_sees_its_own_save =
            "`Stored` says that each later fetch returns the record or a newer one.";
    restart:
        states_and_tombstones_survive_reopening = SURVIVES,
        metadata_survives_reopening = "When a put returns, the value is as durable as a save.",
        epochs_rise_over_reopening = EPOCHS;
    crash:
        what_is_acknowledged_survives_crashes = SURVIVES,
        metadata_and_epochs_survive_crashes =
            "When a put returns, the value is as durable as a save; and so is an epoch.";
];

/// An id that is known to be valid.
pub(super) fn id(prototype: &str, key: impl AsRef<[u8]>) -> CheckpointId {
    match CheckpointId::new(prototype, key) {
        Ok(id) => id,
        Err(err) => unreachable!("the checks only use valid ids: {err}"),
    }
}
