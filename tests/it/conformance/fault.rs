//! What can be wrong with a storage, and which checks find it.
//!
//! To acknowledge twice is not among them: an answer consumes its `Completion`, so that a storage
//! that did it does not compile.

/// One fault of a [`NaiveStorage`](super::naive_storage::NaiveStorage).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    LosesTheLastWrite,
    LosesTheLastOfABatch,
    LosesAllButTheLastOfABatch,
    ReturnsAStaleVersion,
    FetchesAStaleVersionAtOnce,
    OlderWins,
    ComparesSequencesOnly,
    ComparesAndThenWrites,
    RefusesTheSameVersion,
    SaysStoredWhenStale,
    IgnoresCase,
    ReturnsAnothersRecord,
    AnswersAnotherFetch,
    CompletesAnotherEntry,
    NeverAcknowledges,
    DropsEntries,
    AcknowledgesBeforeWriting,
    WritesInTwoSteps,
    Truncates,
    TakesLargerRecords,
    ForgetsRemovals,
    ForgetsWhatIsRemovedTwice,
    RemovalsDoNotSurvive,
    ListsDuplicates,
    ListsRemovedIds,
    ListsToTheEnd,
    AbsentWhenUnreadable,
    HangsWhenListing,
    HangsWhenSaving,
    PanicsOnRemoval,
    EpochStandsStill,
    EpochsDoNotSurvive,
    FencesNobody,
    PutsUnconditionally,
    LooksAndThenPuts,
    MetadataDoesNotSurvive,
    DeniesContent,
    KeepsFewerVersions,
}

pub(crate) const HISTORIES: &str = "histories_come_out_as_the_contract_says";

impl Fault {
    /// All faults with the checks that must find them.
    pub(crate) const FOUND_BY: &[(Self, &[&str])] = &[
        (Self::LosesTheLastWrite, &["a_saved_state_is_fetched_byte_for_byte", HISTORIES]),
        (
            Self::LosesTheLastOfABatch,
            &["every_entry_is_completed", "batches_saved_at_once_are_all_stored", HISTORIES],
        ),
        (Self::LosesAllButTheLastOfABatch, &["every_entry_is_completed", HISTORIES]),
        (Self::ReturnsAStaleVersion, &["a_newer_state_replaces_an_older_one", HISTORIES]),
        (Self::FetchesAStaleVersionAtOnce, &["a_newer_state_replaces_an_older_one", HISTORIES]),
        (Self::OlderWins, &["an_older_state_is_refused_and_changes_nothing", HISTORIES]),
        (
            Self::ComparesSequencesOnly,
            &[
                "a_newer_state_replaces_an_older_one",
                "an_older_state_is_refused_and_changes_nothing",
                HISTORIES,
            ],
        ),
        (Self::ComparesAndThenWrites, &["of_versions_saved_at_once_the_newest_stays"]),
        (Self::RefusesTheSameVersion, &["the_same_version_is_accepted_again", HISTORIES]),
        (Self::SaysStoredWhenStale, &["an_older_state_is_refused_and_changes_nothing", HISTORIES]),
        (
            Self::IgnoresCase,
            &["keys_of_any_bytes_are_distinct", "prototypes_of_any_name_are_distinct"],
        ),
        (Self::ReturnsAnothersRecord, &["an_id_that_was_never_saved_is_absent", HISTORIES]),
        (Self::AnswersAnotherFetch, &["several_ids_are_fetched_at_once", HISTORIES]),
        (
            Self::CompletesAnotherEntry,
            &["an_entry_that_is_refused_leaves_the_others_alone", HISTORIES],
        ),
        (Self::DropsEntries, &["a_saved_state_is_fetched_byte_for_byte", HISTORIES]),
        (Self::AcknowledgesBeforeWriting, &["a_saved_state_is_fetched_byte_for_byte", HISTORIES]),
        (Self::WritesInTwoSteps, &["what_is_fetched_during_saves_is_whole"]),
        (Self::Truncates, &["records_of_all_sizes_come_back", HISTORIES]),
        (Self::TakesLargerRecords, &["a_record_that_is_too_large_is_refused"]),
        (Self::ForgetsRemovals, &["a_tombstone_is_stored_and_refuses_what_is_older", HISTORIES]),
        (Self::ForgetsWhatIsRemovedTwice, &[HISTORIES]),
        (Self::RemovalsDoNotSurvive, &["states_and_tombstones_survive_reopening", HISTORIES]),
        (Self::ListsDuplicates, &["ten_saved_ids_are_listed", HISTORIES]),
        (Self::ListsRemovedIds, &["removed_ids_are_not_listed", HISTORIES]),
        (Self::ListsToTheEnd, &["listing_stops_when_told"]),
        (Self::AbsentWhenUnreadable, &["records_of_all_sizes_come_back"]),
        (Self::PanicsOnRemoval, &["a_tombstone_is_stored_and_refuses_what_is_older", HISTORIES]),
        (Self::EpochStandsStill, &["epochs_rise_for_each_partition", HISTORIES]),
        (Self::EpochsDoNotSurvive, &["epochs_rise_over_reopening", HISTORIES]),
        (Self::FencesNobody, &["a_former_owner_is_fenced", HISTORIES]),
        (Self::PutsUnconditionally, &["a_value_is_put_only_over_the_expected_version", HISTORIES]),
        (Self::LooksAndThenPuts, &["of_puts_at_once_one_succeeds"]),
        (Self::MetadataDoesNotSurvive, &["metadata_survives_reopening", HISTORIES]),
        (Self::DeniesContent, &["a_saved_state_is_fetched_byte_for_byte", HISTORIES]),
        (Self::KeepsFewerVersions, &["as_many_older_versions_are_kept_as_declared", HISTORIES]),
    ];

    /// Those that are noticed only because the time is up.
    pub(crate) const FOUND_BY_TIME: &[(Self, &[&str])] = &[
        (Self::NeverAcknowledges, &["a_saved_state_is_fetched_byte_for_byte", HISTORIES]),
        (Self::HangsWhenSaving, &["a_saved_state_is_fetched_byte_for_byte", HISTORIES]),
        (Self::HangsWhenListing, &["ten_saved_ids_are_listed", HISTORIES]),
    ];
}
