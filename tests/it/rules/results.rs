//! Each capture and each ticket gets exactly one result (rule 3).

use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    CheckpointTicket, Pool, SaveFailure, StorageErrorKind, StorageResultCode, TestClock,
};

use crate::support::{
    FAIL_SAFE, FaultyStorage, Gate, Results, SaveFault, counters, eventually, every, manual,
    settings,
};

#[test]
fn a_ticket_is_answered_by_the_first_capture_at_or_after_the_request() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let first = prototype.checkpoint("a").unwrap();
    gate.reached();
    // Nothing has changed: what is in flight answers this one too.
    let same = prototype.checkpoint("a").unwrap();
    prototype.process("a", |pe| pe.count = 2).unwrap();
    let second = prototype.checkpoint("a").unwrap();
    let third = prototype.checkpoint("a").unwrap();
    assert!(first.outcome().is_none());
    gate.open();
    let (first, same) = (first.wait().unwrap(), same.wait().unwrap());
    let (second, third) = (second.wait().unwrap(), third.wait().unwrap());
    assert!(first < second, "{first:?} {second:?}");
    assert_eq!(same, first);
    assert_eq!(second, third, "requests for one PE coalesce");
    assert_eq!(storage.seen().saves, 2);
    // Clean: answered at once, with what is stored.
    let clean = prototype.checkpoint("a").unwrap();
    assert_eq!(clean.outcome().expect("at once").unwrap(), third);
    let absent = prototype.checkpoint("absent").unwrap();
    assert_eq!(absent.outcome().expect("at once").unwrap(), None);
}

#[test]
fn a_ticket_that_joined_what_is_in_flight_gets_its_result_whatever_comes_after() {
    for stores in [true, false] {
        let storage = FaultyStorage::new().knowing_absence();
        let keeper = settings(&storage).stepped().build().unwrap();
        let prototype = counters(&keeper, manual());
        storage.on_save(1, SaveFault::Late);
        prototype.process("a", |pe| pe.count = 1).unwrap();
        let first = prototype.checkpoint("a").unwrap();
        assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
        let joined = prototype.checkpoint("a").unwrap();
        prototype.process("a", |pe| pe.count = 2).unwrap();
        let later = prototype.checkpoint("a").unwrap();
        if stores {
            storage.complete_late();
            assert!(keeper.step(Pool::Storage));
            let version = first.outcome().expect("it is stored").unwrap();
            assert_eq!(joined.outcome().expect("this one too").unwrap(), version);
            assert!(later.outcome().is_none());
        } else {
            keeper.close(Duration::ZERO).unwrap_err();
            let reason = |ticket: &CheckpointTicket| {
                let error = ticket.outcome().expect("there is an answer").unwrap_err();
                format!("{:?}", error.reason())
            };
            assert_eq!(reason(&first), "Unknown");
            assert_eq!(reason(&joined), "Unknown", "what it asked for may be stored");
            assert_eq!(reason(&later), "NotAttempted");
        }
    }
}

#[test]
fn a_failure_from_before_the_request_is_no_answer_to_it() {
    let storage = FaultyStorage::new().knowing_absence();
    storage.on_save(1, SaveFault::NotStored(StorageErrorKind::Full));
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).save_attempts_max(1.try_into().unwrap());
    let keeper = keeper.clock(clock.clone()).stepped().build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let first = prototype.checkpoint("a").unwrap();
    // The storage has failed, and nobody has been told yet.
    assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
    let joined = prototype.checkpoint("a").unwrap();
    assert!(keeper.step(Pool::Storage));
    first.outcome().expect("it was told").unwrap_err();
    assert!(joined.outcome().is_none(), "it was answered by what was before it");
    clock.advance(Duration::from_secs(1));
    let pools = [Pool::Storage, Pool::Serialization];
    while pools.iter().any(|pool| keeper.step(*pool)) {}
    joined.outcome().expect("it was tried again").expect("and is stored");
}

#[test]
fn triggers_that_find_their_pe_due_are_counted_and_stored_once() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    gate.reached();
    for _ in 0..10 {
        prototype.process("a", |pe| pe.count += 1).unwrap();
    }
    assert!(keeper.stats().coalesced >= 9);
    gate.open();
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().saves, 2);
}

#[test]
fn a_permanent_error_is_reported_once_and_not_tried_again_before_the_pe_changes() {
    let storage = FaultyStorage::new();
    storage.on_save_of("a", 1, SaveFault::NotStored(StorageErrorKind::TooLarge { max: 1 }));
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    results.until("it is reported", |results| results.len() == 1);
    let result = results.all().remove(0);
    assert_eq!((result.code, result.attempts), (StorageResultCode::Failure, 1));
    assert!(matches!(result.error.unwrap().reason(), SaveFailure::Refused(_)));
    let report = keeper.flush(FAIL_SAFE).unwrap_err().0;
    assert_eq!(report.failed.len(), 1);
    assert_eq!(storage.seen().saves_of("a"), 1);
    prototype.process("a", |pe| pe.count = 2).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!((results.counts(), storage.seen().saves_of("a")), ((1, 1), 2));
}

#[test]
fn a_pe_is_dirty_until_the_very_version_that_was_captured_is_stored() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    gate.reached();
    assert!(keeper.stats().oldest_change.is_some(), "captured is not stored");
    prototype.process("a", |pe| pe.count = 2).unwrap();
    gate.open();
    ticket.wait().unwrap();
    assert!(keeper.stats().oldest_change.is_some(), "it has changed since");
    prototype.checkpoint("a").unwrap().wait().unwrap();
    eventually("it is clean", || keeper.stats().oldest_change.is_none());
}

#[test]
fn dropping_a_ticket_takes_nothing_back() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    drop(prototype.checkpoint("a").unwrap());
    storage.until("it is stored", |seen| seen.stored.len() == 1);
}

#[test]
fn a_ticket_is_a_future_too() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = Arc::new(counters(&keeper, manual()));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let version = pollster::block_on(prototype.checkpoint("a").unwrap()).unwrap();
    assert!(version.is_some());
    assert_eq!(pollster::block_on(prototype.checkpoint_async("a").unwrap()).unwrap(), version);
}
