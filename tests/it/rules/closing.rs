//! Flush and close store everything, or say by id what is not stored; whoever waits gets an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use checkpoint::{CheckpointId, ProcessError, SaveFailure, StorageErrorKind, TestClock};

use crate::support::{
    Action, FAIL_SAFE, FaultyStorage, FetchFault, Gate, Results, SaveFault, counters, eventually,
    every, manual, scripted, settings,
};

const SECOND: Duration = Duration::from_secs(1);

fn id(key: &str) -> CheckpointId {
    CheckpointId::new("counter", key).unwrap()
}

#[test]
fn a_guard_that_comes_back_while_the_keeper_closes_is_waited_for_and_stored() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    let mut guard = prototype.pe("a").unwrap();
    let report = thread::scope(|scope| {
        let closing = scope.spawn(|| keeper.close(FAIL_SAFE));
        eventually("it is closing", || prototype.read("b", |_| ()).is_err());
        guard.count = 5;
        drop(guard);
        closing.join().unwrap()
    });
    assert_eq!(report.unwrap().saved, 1);
    assert_eq!(storage.seen().saves_of("a"), 1);
}

#[test]
fn closing_ends_as_soon_as_an_unchanged_guard_comes_back() {
    let keeper = settings(&FaultyStorage::new()).clock(Arc::new(TestClock::new())).build().unwrap();
    let prototype = counters(&keeper, manual());
    let guard = prototype.pe("a").unwrap();
    thread::scope(|scope| {
        // The clock stands still: the deadline never comes.
        let closing = scope.spawn(|| keeper.close(SECOND));
        eventually("it is closing", || prototype.read("b", |_| ()).is_err());
        drop(guard);
        closing.join().unwrap().unwrap();
    });
}

#[test]
fn an_event_whose_fetch_the_end_cuts_off_is_told_that_it_is_closed() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_fetch(1, FetchFault::Held(gate.clone()));
    let keeper = settings(&storage).fetching_max_wait(SECOND * 60).build().unwrap();
    let prototype = counters(&keeper, manual());
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.process("a", |pe| pe.count = 1));
        storage.until("it was asked for", |seen| seen.fetches == 1);
        keeper.close(Duration::from_millis(20)).ok();
        let outcome = event.join().unwrap();
        assert!(matches!(outcome, Err(ProcessError::Closed { .. })), "{outcome:?}");
    });
    gate.open();
}

#[test]
fn a_guard_that_does_not_come_back_is_reported_by_id() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("b", |pe| pe.count = 1).unwrap();
    let mut guard = prototype.pe("a").unwrap();
    guard.count = 5;
    let flushed = keeper.flush(Duration::from_millis(20)).unwrap_err().0;
    assert_eq!(flushed.not_attempted, [id("a")]);
    let closed = keeper.close(Duration::from_millis(20)).unwrap_err().0;
    assert_eq!((closed.saved, &closed.not_attempted), (0, &vec![id("a")]));
    assert!(closed.failed.is_empty() && closed.unknown.is_empty());
    assert_eq!(storage.seen().saves_of("b"), 1);
    drop(guard);
}

#[test]
fn a_ticket_for_a_pe_that_is_lent_out_is_answered_when_the_keeper_closes() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    let guard = prototype.pe("a").unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    keeper.close(Duration::from_millis(20)).unwrap_err();
    let answer = ticket.wait_timeout(FAIL_SAFE).expect("there is an answer");
    assert!(matches!(answer.unwrap_err().reason(), SaveFailure::NotAttempted));
    drop(guard);
}

#[test]
fn every_ticket_is_answered_when_the_keeper_closes_over_a_storage_that_hangs() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(usize::MAX, SaveFault::Held(gate.clone()));
    let results = Results::new();
    let keeper = settings(&storage)
        .storage_max_threads(1.try_into().unwrap())
        .storage_max_outstanding_requests(2.try_into().unwrap())
        .storage_callback_factory(results.clone())
        .build()
        .unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("with the storage", |pe| pe.count = 1).unwrap();
    let first = prototype.checkpoint("with the storage").unwrap();
    gate.reached();
    let tickets: Vec<_> = (0..10)
        .map(|key| {
            let key = key.to_string();
            prototype.process(&key, |pe| pe.count = 1).unwrap();
            prototype.checkpoint(&key).unwrap()
        })
        .collect();
    let report = keeper.close(Duration::from_millis(20)).unwrap_err().0;
    assert_eq!(report.threads_stuck, 1);
    assert_eq!(report.unknown, [id("with the storage")]);
    let mut not_attempted: Vec<_> = (0..10).map(|key| id(&key.to_string())).collect();
    not_attempted.sort();
    let mut reported = report.not_attempted;
    reported.sort();
    assert_eq!(reported, not_attempted);
    let first = first.wait_timeout(FAIL_SAFE).expect("there is an answer");
    assert!(matches!(first.unwrap_err().reason(), SaveFailure::Unknown));
    for ticket in tickets {
        let answer = ticket.wait_timeout(FAIL_SAFE).expect("there is an answer");
        assert!(matches!(answer.unwrap_err().reason(), SaveFailure::NotAttempted));
    }
    // What comes later changes nothing: each capture was reported once.
    let reported = results.all().len();
    gate.open();
    results.check_once_each();
    assert_eq!(results.all().len(), reported);
    let later = prototype.process("0", |_| ()).unwrap_err();
    assert!(matches!(later, ProcessError::Closed { .. }));
}

#[test]
fn a_storage_that_is_down_is_reported_as_failed_by_id() {
    let storage = FaultyStorage::new();
    storage.on_save(usize::MAX, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    storage.until("it was tried", |seen| seen.saves > 0);
    let report = keeper.close(Duration::from_millis(30)).unwrap_err().0;
    let lost = report.failed.iter().map(|error| error.id().clone());
    let lost: Vec<_> = lost.chain(report.not_attempted).chain(report.unknown).collect();
    assert_eq!((report.saved, lost), (0, vec![id("a")]));
    ticket.wait_timeout(FAIL_SAFE).expect("there is an answer").unwrap_err();
    results.check_once_each();
    assert!(results.counts().1 > 0);
}

#[test]
fn an_encode_that_outlasts_the_deadline_leaves_no_ticket_without_an_answer() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = scripted(&keeper, manual().shards(1));
    let gate = Gate::new();
    let waits = gate.clone();
    let on_encode: Action = Arc::new(move || waits.pass());
    prototype.process("a", |pe| pe.on_encode = Some(on_encode)).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    gate.reached();
    let report = keeper.close(Duration::from_millis(1)).unwrap_err().0;
    assert_eq!((report.not_known.len(), report.threads_stuck), (1, 1), "{report}");
    gate.open();
    let answer = ticket.wait_timeout(FAIL_SAFE).expect("there is an answer");
    assert!(matches!(answer.unwrap_err().reason(), SaveFailure::NotAttempted));
    results.until("it was reported", |results| results.len() == 1);
}

#[test]
fn closing_does_not_wait_for_a_pe_in_which_a_closure_panicked_and_names_it() {
    // The clock stands still: the deadline never comes.
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).clock(Arc::new(TestClock::new())).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("good", |pe| pe.count = 1).unwrap();
    prototype.process("bad", |pe| pe.count = 1).unwrap();
    let ticket = prototype.checkpoint("bad").unwrap();
    ticket.wait().unwrap();
    prototype.process("bad", |pe| pe.count = 2).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        prototype.process("bad", |_| panic!("the event was told to panic"))
    }));
    assert!(panicked.is_err());
    let flushed = keeper.flush(SECOND).unwrap_err().0;
    assert_eq!(flushed.not_attempted, [id("bad")]);
    let closed = keeper.close(SECOND).unwrap_err().0;
    assert_eq!(closed.not_attempted, [id("bad")]);
    assert_eq!(storage.seen().stored.len(), 2);
}

#[test]
fn flush_stores_what_was_changed_before_it_and_events_go_on() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    for key in 0..50 {
        prototype.process(&key.to_string(), |pe| pe.count = 1).unwrap();
    }
    keeper.flush(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().stored.len(), 50);
    prototype.process("0", |pe| pe.count = 2).unwrap();
    assert_eq!(prototype.flush(FAIL_SAFE).unwrap().saved, 1);
    assert_eq!(storage.seen().stored.len(), 51);
    prototype.flush(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().stored.len(), 51, "nothing has changed");
}

#[test]
fn flush_tries_again_at_once_what_waits_after_a_failure() {
    let storage = FaultyStorage::new();
    storage.on_save(1, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage)
        .save_backoff_max(1000 * SECOND)
        .save_backoff_min(1000 * SECOND)
        .clock(clock)
        .build()
        .unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    eventually("it waits", || keeper.stats().waiting_for_retry == 1);
    keeper.flush(SECOND).unwrap();
    assert_eq!(storage.seen().stored.len(), 1);
}

#[test]
fn a_second_close_gives_the_same_report() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 1);
    assert_eq!(keeper.close(Duration::ZERO).unwrap().saved, 1);
}

#[test]
fn after_close_every_way_in_says_closed() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let closed = |error: ProcessError| matches!(error, ProcessError::Closed { .. });
    assert!(closed(prototype.process("a", |_| ()).unwrap_err()));
    assert!(closed(prototype.read("b", |_| ()).unwrap_err()));
    assert!(closed(prototype.pe("a").unwrap_err()));
    assert!(closed(prototype.checkpoint("a").unwrap_err()));
    assert!(closed(prototype.remove("a").unwrap_err()));
    assert!(closed(prototype.evict("a").unwrap_err()));
    assert!(closed(prototype.reset("a").unwrap_err()));
    assert!(closed(prototype.session().run([("a", ())], |_, ()| ()).unwrap_err().error));
    assert!(closed(pollster::block_on(prototype.process_async("a", |_| ())).unwrap_err()));
    assert!(keeper.prototype::<u64, u64>("new").create(|_| 0).build().is_err());
}

#[test]
fn close_async_stores_without_blocking_and_says_the_same() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    pollster::block_on(keeper.flush_async(FAIL_SAFE)).unwrap();
    prototype.process("b", |pe| pe.count = 1).unwrap();
    pollster::block_on(keeper.close_async(FAIL_SAFE)).unwrap();
    assert_eq!(storage.seen().stored.len(), 2);
}

#[test]
fn a_retry_that_comes_up_while_the_keeper_closes_is_reported() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, manual().shards(1));
    let gate = Gate::new();
    let waits = gate.clone();
    results.then(move |_| waits.pass());
    // One batch: one of it fails and is to be tried again, once the callback of the other is
    // through.
    storage.on_save_of("fails", 1, SaveFault::NotStored(StorageErrorKind::Unavailable));
    prototype.process("stored", |pe| pe.count = 1).unwrap();
    prototype.process("fails", |pe| pe.count = 1).unwrap();
    keeper.flush(Duration::ZERO).unwrap_err();
    gate.reached();
    let ticket = prototype.checkpoint("fails").unwrap();
    let report = thread::scope(|scope| {
        let closing = scope.spawn(|| keeper.close(Duration::from_millis(1)));
        eventually("it is closed", || prototype.read("stored", |_| ()).is_err());
        thread::park_timeout(Duration::from_millis(50));
        gate.open();
        closing.join().unwrap()
    });
    let answer = ticket.wait_timeout(FAIL_SAFE).expect("there is an answer");
    assert_eq!(report.is_ok(), answer.is_ok(), "{report:?} {answer:?}");
    assert_eq!(results.all().len(), 2);
    results.check_once_each();
}
