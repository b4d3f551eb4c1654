//! As what a report names a PE, and what a holder of one of its results is told, by how far its
//! save had come: what may be stored is not called lost (A9, G5).

use std::error::Error;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    CheckpointId, CloseReport, NotAllStored, Pool, SafeKeeper, SafeKeeperBuilder, SaveFailure,
    StorageErrorKind, TestClock,
};

use crate::support::{FAIL_SAFE, FaultyStorage, FetchFault, SaveFault, counters, manual, settings};

const SECOND: Duration = Duration::from_secs(1);
const DOWN: SaveFault = SaveFault::NotStored(StorageErrorKind::Unavailable);
const TOO_LARGE: SaveFault = SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });

#[derive(Debug, PartialEq, Eq)]
enum Named {
    Failed,
    NotAttempted,
    Unknown,
}

fn named(report: Result<CloseReport, NotAllStored>) -> Named {
    let NotAllStored(report) = report.unwrap_err();
    let failed: Vec<_> = report.failed.iter().map(|error| error.id().clone()).collect();
    let id = [CheckpointId::new("counter", "a").unwrap()];
    match [&failed, &report.not_attempted, &report.unknown].map(|ids| **ids == id) {
        [true, false, false] => Named::Failed,
        [false, true, false] => Named::NotAttempted,
        [false, false, true] => Named::Unknown,
        _ => panic!("{report:?}"),
    }
}

/// How far a save has come when the keeper is closed.
#[derive(Default)]
struct Way {
    is_captured: bool,
    /// What became of each attempt.
    attempts: Vec<SaveFault>,
    gives_up: bool,
}

#[track_caller]
fn check(way: Way, as_what: Named, is_told: fn(&SaveFailure) -> bool) {
    let storage = FaultyStorage::new().knowing_absence();
    let clock = Arc::new(TestClock::new());
    let attempts = u32::try_from(way.attempts.len()).unwrap();
    let attempts_max = if way.gives_up { attempts } else { attempts + 1 };
    let keeper = settings(&storage)
        .save_attempts_max(attempts_max.try_into().unwrap())
        .clock(clock.clone())
        .stepped()
        .build()
        .unwrap();
    let prototype = counters(&keeper, manual());
    let pending = prototype.process_pending("a", |pe| pe.count += 1).unwrap();
    if way.is_captured {
        assert!(keeper.step(Pool::Serialization));
    }
    for fault in way.attempts {
        storage.on_save(1, fault);
        clock.advance(SECOND);
        run(&keeper);
    }
    assert_eq!(storage.seen().saves, usize::try_from(attempts).unwrap());
    assert_eq!(named(keeper.close(Duration::ZERO)), as_what);
    let told = pending.outcome().expect("whoever waits is told").unwrap_err();
    assert!(is_told(told.reason()), "{told}");
}

/// Nothing is captured that was given up: that would be another save.
fn run(keeper: &SafeKeeper) {
    while [Pool::Timing, Pool::Storage].into_iter().any(|pool| keeper.step(pool)) {}
}

fn tried(attempts: impl Into<Vec<SaveFault>>) -> Way {
    Way { is_captured: true, attempts: attempts.into(), gives_up: false }
}

fn given_up(attempts: impl Into<Vec<SaveFault>>) -> Way {
    Way { gives_up: true, ..tried(attempts) }
}

#[test]
fn what_was_never_given_to_the_storage_was_not_attempted() {
    let is_told = |told: &SaveFailure| matches!(told, SaveFailure::NotAttempted);
    check(Way::default(), Named::NotAttempted, is_told);
    check(tried([]), Named::NotAttempted, is_told);
}

#[test]
fn what_the_storage_said_not_to_have_stored_has_failed() {
    let is_told = |told: &SaveFailure| matches!(told, SaveFailure::NotAttempted);
    check(tried([DOWN]), Named::Failed, is_told);
    check(given_up([DOWN, DOWN]), Named::Failed, is_told);
    check(tried([TOO_LARGE]), Named::Failed, |told| matches!(told, SaveFailure::Refused(_)));
    check(tried([DOWN, TOO_LARGE]), Named::Failed, |told| matches!(told, SaveFailure::Refused(_)));
}

#[test]
fn what_the_storage_has_not_answered_once_may_be_stored() {
    let is_told = |told: &SaveFailure| matches!(told, SaveFailure::Unknown);
    check(tried([SaveFault::Late]), Named::Unknown, is_told);
    check(tried([SaveFault::UnknownLost]), Named::Unknown, is_told);
    check(tried([SaveFault::UnknownLost, DOWN]), Named::Unknown, is_told);
    check(given_up([SaveFault::UnknownLost, DOWN]), Named::Unknown, is_told);
    check(given_up([DOWN, SaveFault::UnknownLost]), Named::Unknown, is_told);
    let is_told = |told: &SaveFailure| matches!(told, SaveFailure::MayBeStored(_));
    check(tried([SaveFault::UnknownLost, TOO_LARGE]), Named::Unknown, is_told);
}

/// The last attempt has an outcome, which is judged by the close.
#[test]
fn what_was_not_answered_as_often_as_it_may_be_tried_may_be_stored() {
    for is_batch_answered in [false, true] {
        let storage = FaultyStorage::new().knowing_absence();
        let keeper = once(&storage).stepped().build().unwrap();
        let prototype = counters(&keeper, manual().shards(1));
        let pending = prototype.process_pending("a", |pe| pe.count += 1).unwrap();
        storage.on_save_of("a", 1, SaveFault::UnknownLost);
        if !is_batch_answered {
            drop(prototype.process_pending("b", |pe| pe.count += 1).unwrap());
            storage.on_save_of("b", 1, SaveFault::Late);
        }
        assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
        let NotAllStored(report) = keeper.close(Duration::ZERO).unwrap_err();
        let is_named = report.unknown.contains(&CheckpointId::new("counter", "a").unwrap());
        assert!(is_named && report.failed.is_empty(), "{report}");
        let told = pending.outcome().expect("whoever waits is told").unwrap_err();
        assert!(matches!(told.reason(), SaveFailure::Unknown), "{told}");
    }
}

#[test]
fn a_flush_of_one_prototype_names_what_was_not_answered_as_a_close_does() {
    for (fault, as_what) in [(DOWN, Named::Failed), (SaveFault::UnknownLost, Named::Unknown)] {
        let storage = FaultyStorage::new();
        let keeper = once(&storage).build().unwrap();
        let prototype = counters(&keeper, manual());
        prototype.process("a", |pe| pe.count += 1).unwrap();
        storage.on_save(1, fault);
        storage.on_save(usize::MAX, DOWN);
        assert_eq!(named(prototype.flush(FAIL_SAFE)), as_what);
        // What was given up before may be stored, whatever is said of the next save.
        assert_eq!(named(prototype.flush(FAIL_SAFE)), as_what);
        let flushed = pollster::block_on(prototype.flush_async(FAIL_SAFE));
        assert_eq!(named(flushed), as_what);
        // What is certainly not stored may wait for its next save by now.
        let closed = named(keeper.close(Duration::ZERO));
        assert_eq!(closed == Named::Unknown, as_what == Named::Unknown, "{closed:?}");
    }
}

#[test]
fn what_was_not_answered_may_be_stored_whatever_becomes_of_the_next_save() {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Next {
        Waits,
        IsCaptured,
        Fails,
    }
    for next in [Next::Waits, Next::IsCaptured, Next::Fails] {
        let storage = FaultyStorage::new().knowing_absence();
        let clock = Arc::new(TestClock::new());
        let keeper = once(&storage).clock(clock.clone()).stepped().build().unwrap();
        let prototype = counters(&keeper, manual());
        let pending = prototype.process_pending("a", |pe| pe.count += 1).unwrap();
        storage.on_save(1, SaveFault::UnknownLost);
        assert!(keeper.step(Pool::Serialization));
        run(&keeper);
        clock.advance(SECOND);
        run(&keeper);
        if next != Next::Waits {
            assert!(keeper.step(Pool::Serialization));
        }
        if next == Next::Fails {
            storage.on_save(1, DOWN);
            run(&keeper);
        }
        assert_eq!(storage.seen().saves, 1 + usize::from(next == Next::Fails));
        assert_eq!(named(keeper.close(Duration::ZERO)), Named::Unknown, "{next:?}");
        let told = pending.outcome().expect("whoever waits is told").unwrap_err();
        assert!(matches!(told.reason(), SaveFailure::Unknown), "{told}");
    }
}

#[test]
fn what_is_refused_may_be_stored_if_the_pe_has_changed_since() {
    let storage = FaultyStorage::new().knowing_absence();
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).stepped().build().unwrap();
    let prototype = counters(&keeper, manual());
    drop(prototype.process_pending("a", |pe| pe.count += 1).unwrap());
    storage.on_save(1, SaveFault::UnknownLost);
    storage.on_save(1, TOO_LARGE);
    assert!(keeper.step(Pool::Serialization));
    prototype.process("a", |pe| pe.count += 1).unwrap();
    run(&keeper);
    clock.advance(SECOND);
    run(&keeper);
    assert_eq!(storage.seen().saves, 2);
    assert_eq!(named(keeper.flush(Duration::ZERO)), Named::Unknown);
    assert_eq!(named(keeper.close(Duration::ZERO)), Named::Unknown);
}

#[test]
fn what_is_with_the_storage_may_be_stored_whoever_has_the_pe_and_whatever_happened_to_it() {
    for is_lent in [false, true] {
        let storage = FaultyStorage::new().knowing_absence();
        let clock = Arc::new(TestClock::new());
        let keeper = settings(&storage).clock(clock).stepped().build().unwrap();
        let prototype = counters(&keeper, manual());
        storage.on_save(1, SaveFault::Late);
        drop(prototype.process_pending("a", |pe| pe.count += 1).unwrap());
        assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
        let lent = is_lent.then(|| prototype.pe("a").unwrap());
        if !is_lent {
            let panics = || prototype.process("a", |_| panic!("as the test wants it"));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        }
        assert_eq!(named(prototype.flush(Duration::ZERO)), Named::Unknown);
        assert_eq!(named(keeper.flush(Duration::ZERO)), Named::Unknown);
        assert_eq!(named(keeper.close(Duration::ZERO)), Named::Unknown);
        drop(lent);
    }
}

/// Settings under which nothing is tried twice.
fn once(storage: &FaultyStorage) -> SafeKeeperBuilder {
    settings(storage).save_attempts_max(NonZeroU32::MIN)
}

#[test]
fn what_is_refused_may_be_stored_if_an_earlier_attempt_was_not_answered() {
    for lands in [false, true] {
        let storage = FaultyStorage::new();
        let keeper = settings(&storage).build().unwrap();
        let prototype = counters(&keeper, manual());
        prototype.process("a", |pe| pe.count += 1).unwrap();
        let unknown = if lands { SaveFault::UnknownLanded } else { SaveFault::UnknownLost };
        storage.on_save(1, unknown);
        storage.on_save(usize::MAX, TOO_LARGE);
        // Else it would be found out by looking.
        storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Unavailable));
        let error = prototype.checkpoint("a").unwrap().wait().unwrap_err();
        assert!(matches!(error.reason(), SaveFailure::MayBeStored(_)), "{error}");
        assert!(error.source().is_some(), "it says why it was refused");
        assert_eq!(named(prototype.flush(FAIL_SAFE)), Named::Unknown);
        assert_eq!(named(keeper.flush(FAIL_SAFE)), Named::Unknown);
        assert_eq!(named(keeper.close(FAIL_SAFE)), Named::Unknown);
        assert_eq!(storage.seen().stored.len(), usize::from(lands));
    }
}
