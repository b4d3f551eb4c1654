//! An event's closure that does not end holds up its own shard, and nothing else (P8, X7).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use checkpoint::{
    Clock, CloseReport, NotAllStored, PePrototype, Pool, SafeKeeper, SaveFailure, ShardNotKnown,
    TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, Gate, SaveFault, counted, counters, eventually, every,
    manual, moving_on, settings,
};

const SECOND: Duration = Duration::from_secs(1);
/// The deadline of what must end without the closure.
const SHORT: Duration = Duration::from_millis(50);

/// A prototype of one shard, in which `work` is done while a closure holds the shard.
fn while_held<R>(prototype: &PePrototype<String, Counter>, work: impl FnOnce() -> R + Send) -> R
where
    R: Send,
{
    let gate = Gate::new();
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.process("held", |_| gate.pass()));
        gate.reached();
        let (done, result) = mpsc::channel();
        scope.spawn(move || done.send(work()).ok());
        let result = result.recv_timeout(FAIL_SAFE);
        gate.open();
        event.join().unwrap().ok();
        result.expect("it did not wait for the closure")
    })
}

fn held(keeper: &SafeKeeper) -> PePrototype<String, Counter> {
    let prototype = counters(keeper, manual().shards(1));
    prototype.read("held", |_| ()).unwrap();
    prototype
}

#[track_caller]
fn check_not_known(report: Result<CloseReport, NotAllStored>) -> CloseReport {
    let report = report.unwrap_err().0;
    let shard = ShardNotKnown { prototype: "counter".into(), shard: 0 };
    assert_eq!(report.not_known, [shard], "{report}");
    report
}

#[test]
fn a_close_ends_in_time_and_names_the_shard_that_it_could_not_look_at() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = held(&keeper);
    let other = counted(&keeper, "other", manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    other.process("b", |pe| pe.count = 1).unwrap();
    let report = while_held(&prototype, || keeper.close(SECOND));
    let report = check_not_known(report);
    assert_eq!((report.saved, report.threads_stuck), (1, 0), "{report}");
    assert!(report.to_string().contains("shard 0 of counter"), "{report}");
}

#[test]
fn whoever_waits_in_a_shard_that_was_held_during_a_close_is_answered_when_it_is_given_back() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = held(&keeper);
    storage.on_save_of("a", 1, SaveFault::Late);
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let first = prototype.checkpoint("a").unwrap();
    storage.until("it is with the storage", |seen| seen.saves_of("a") == 1);
    prototype.process("a", |pe| pe.count = 2).unwrap();
    let second = prototype.checkpoint("a").unwrap();
    let guard = prototype.pe("b").unwrap();
    let mut lent = pin!(prototype.pe_async("b"));
    assert!(lent.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let answered = while_held(&prototype, || {
        keeper.close(SHORT).unwrap_err();
        (first.outcome().is_some(), second.outcome().is_some())
    });
    assert_eq!(answered, (true, false));
    let reason = |outcome: Option<checkpoint::CheckpointOutcome>| {
        outcome.expect("there is an answer").unwrap_err().reason().clone()
    };
    assert!(matches!(reason(first.outcome()), SaveFailure::Unknown));
    assert!(matches!(reason(second.outcome()), SaveFailure::NotAttempted));
    assert!(lent.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    drop(guard);
}

#[test]
fn a_flush_ends_in_time_and_the_next_one_stores_what_was_held() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = held(&keeper);
    prototype.process("a", |pe| pe.count = 1).unwrap();
    check_not_known(while_held(&prototype, || keeper.flush(SHORT)));
    keeper.flush(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().saves_of("a"), 1);
}

#[test]
fn a_flush_that_met_a_held_shard_ends_when_its_changes_are_stored() {
    // The clock stands still: the deadline never comes.
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).clock(Arc::new(TestClock::new())).build().unwrap();
    let prototype = held(&keeper);
    let gate = Gate::new();
    prototype.process("a", |pe| pe.count = 1).unwrap();
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.process("held", |_| gate.pass()).unwrap());
        gate.reached();
        let mut flushing = pin!(keeper.flush_async(SECOND));
        assert!(flushing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        gate.open();
        event.join().unwrap();
        pollster::block_on(flushing).unwrap();
    });
    assert_eq!(storage.seen().saves_of("a"), 1);
    assert_eq!(storage.seen().saves_of("held"), 1, "the flush came before the end of its event");
}

#[test]
fn a_flush_of_one_prototype_ends_in_time() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = held(&keeper);
    prototype.process("a", |pe| pe.count = 1).unwrap();
    check_not_known(while_held(&prototype, || prototype.flush(SHORT)));
    let flushing = while_held(&prototype, || pollster::block_on(prototype.flush_async(SHORT)));
    check_not_known(flushing);
    prototype.flush(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().saves_of("a"), 1);
}

#[test]
fn counts_leave_out_a_held_shard_and_say_so() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = held(&keeper);
    assert_eq!((keeper.stats().resident, keeper.stats().shards_busy), (1, 0));
    let stats = while_held(&prototype, || keeper.stats());
    assert_eq!((stats.resident, stats.shards_busy), (0, 1));
}

#[test]
fn a_held_shard_with_results_to_take_in_does_not_keep_others_from_being_stored() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = held(&keeper);
    let other = counted(&keeper, "other", manual());
    storage.on_save_of("a", 1, SaveFault::Late);
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let of_held = prototype.checkpoint("a").unwrap();
    storage.until("it is with the storage", |seen| seen.saves_of("a") == 1);
    while_held(&prototype, || {
        storage.complete_late();
        of_held.wait().unwrap();
        for count in 0..20 {
            other.process("b", |pe| pe.count = count).unwrap();
            other.checkpoint("b").unwrap().wait().unwrap();
        }
    });
}

#[test]
fn a_serialization_goes_on_to_others_although_a_held_shard_may_be_waited_for_very_long() {
    let storage = FaultyStorage::new().knowing_absence();
    let keeper =
        settings(&storage).max_serialization_lock_time(3600 * SECOND).stepped().build().unwrap();
    let prototype = counters(&keeper, every(1).shards(1));
    let others = counted(&keeper, "others", every(1).shards(1));
    prototype.process("held", |pe| pe.count = 1).unwrap();
    others.process("a", |pe| pe.count = 1).unwrap();
    while_held(&prototype, || {
        // Both are visited in one turn, the held one first.
        assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
    });
    let seen = storage.seen();
    assert_eq!((seen.saves_of("a"), seen.saves_of("held")), (1, 0));
}

#[test]
fn a_periodic_function_visits_a_held_shard_when_it_is_given_back_and_others_in_time() {
    let storage = FaultyStorage::new();
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let visits = Arc::new(AtomicU64::new(0));
    let counted_visits = visits.clone();
    let prototype = keeper
        .prototype::<String, Counter>("counter")
        .config(manual().shards(1).build().unwrap())
        .create(|_| Counter::default())
        .on_time(SECOND, move |_, _| {
            counted_visits.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    prototype.read("held", |_| ()).unwrap();
    let other = counted(&keeper, "other", manual());
    while_held(&prototype, || {
        clock.advance(SECOND);
        other.process("b", |pe| pe.count = 1).unwrap();
        other.checkpoint("b").unwrap().wait().unwrap();
    });
    assert_eq!(visits.load(Ordering::Relaxed), 0);
    let step = Duration::from_millis(10);
    moving_on(&clock, step, "it is visited", || visits.load(Ordering::Relaxed) == 1);
    assert!(clock.now().since_start() < 2 * SECOND, "the round was not missed");
    eventually("it is dirty", || keeper.stats().oldest_change.is_some());
}

#[test]
fn a_close_waits_for_a_guard_in_a_shard_that_was_held_when_it_looked() {
    // Without threads: each step is over when it returns.
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = settings(&storage).stepped().clock(Arc::new(TestClock::new())).build().unwrap();
    let rest = || {
        let pools = [Pool::Timing, Pool::Serialization, Pool::Storage];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    let prototype = held(&keeper);
    let other = counted(&keeper, "other", manual());
    storage.on_save_of("c", 1, SaveFault::Late);
    other.process("c", |pe| pe.count = 1).unwrap();
    let mut guard = prototype.pe("a").unwrap();
    let mut closing = pin!(keeper.close_async(SECOND));
    let mut context = Context::from_waker(Waker::noop());
    assert!(closing.as_mut().poll(&mut context).is_pending());
    rest();
    let listing = Gate::new();
    thread::scope(|scope| {
        let holds = scope.spawn(|| prototype.for_each(|_, _| listing.pass()).unwrap());
        listing.reached();
        storage.complete_late();
        assert!(keeper.step(Pool::Storage), "everything is stored");
        assert!(keeper.step(Pool::Timing), "the close is looked at");
        listing.open();
        holds.join().unwrap();
    });
    rest();
    assert!(closing.as_mut().poll(&mut context).is_pending(), "the guard is not back");
    guard.count = 5;
    drop(guard);
    rest();
    assert!(matches!(closing.poll(&mut context), Poll::Ready(Ok(_))));
    assert_eq!(storage.seen().saves_of("a"), 1);
}

#[test]
fn a_serialization_does_not_wait_for_a_held_shard_while_its_keeper_closes() {
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = settings(&storage)
        .stepped()
        .max_serialization_lock_time(Duration::from_secs(3600))
        .build()
        .unwrap();
    let prototype = held(&keeper);
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    // Without threads it is the close itself that serializes, and would wait for an hour.
    check_not_known(while_held(&prototype, || keeper.close(SHORT)));
    let answer = ticket.outcome().expect("there is an answer");
    assert!(matches!(answer.unwrap_err().reason(), SaveFailure::NotAttempted));
}
