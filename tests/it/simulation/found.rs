//! What histories have found, each in a few lines.
//!
//! What `rules` and `scenarios` test as well is not here.

use std::io;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use checkpoint::{
    CheckpointOutcome, InMemoryStorage, OnPanic, PePrototype, Pool, Recover, Recovered, SafeKeeper,
    SafeKeeperBuilder, SaveFailure, StorageErrorKind, TestClock, ThreadStart,
};
use checkpoint_tests::simulation::planned_panic;

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, Results, SaveFault, counters, every, manual,
    settings,
};

const POOLS: [Pool; 4] = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
const SECOND: Duration = Duration::from_secs(1);

/// A keeper without threads, over a clock that stands still.
fn stepped(storage: &FaultyStorage) -> SafeKeeperBuilder {
    settings(storage).stepped().clock(Arc::new(TestClock::new()))
}

/// Does everything that can be done without time passing.
#[track_caller]
fn run_until_idle(keeper: &SafeKeeper) {
    let rests = (0..1000).any(|_| !POOLS.into_iter().any(|pool| keeper.step(pool)));
    assert!(rests, "the keeper never rests");
}

fn panic_in(prototype: &PePrototype<String, Counter>, key: &str) {
    let event = || prototype.process(key, |_| planned_panic());
    assert!(catch_unwind(AssertUnwindSafe(event)).is_err());
}

#[track_caller]
fn check_failed(outcome: Option<CheckpointOutcome>, is_right: fn(&SaveFailure) -> bool) {
    match outcome {
        Some(Err(error)) if is_right(error.reason()) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_storage_that_is_down_is_not_asked_again_before_time_has_passed() {
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = stepped(&storage).save_attempts_max(NonZeroU32::MIN).build().unwrap();
    let prototype = counters(&keeper, every(1));
    storage.on_save(usize::MAX, SaveFault::NotStored(StorageErrorKind::Unavailable));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    run_until_idle(&keeper);
    assert_eq!(storage.seen().saves, 1);
    // Whoever flushes wants to know now.
    keeper.flush(SECOND).unwrap_err();
    assert_eq!(storage.seen().saves, 2);
    storage.heal();
    keeper.close(SECOND).unwrap();
}

/// Seed 496247.
#[test]
fn a_reload_is_stored_again_if_a_save_was_given_up_that_may_land_after_it() {
    for is_unreadable_at_first in [false, true] {
        let storage = FaultyStorage::new();
        let keeper = settings(&storage).save_attempts_max(NonZeroU32::MIN).build().unwrap();
        let prototype = counters(&keeper, manual().on_panic(OnPanic::Reload));
        prototype.process("a", |pe| pe.count = 1).unwrap();
        keeper.flush(FAIL_SAFE).unwrap();
        // As often as it is tried again before the panic.
        storage.on_save_of("a", usize::MAX, SaveFault::UnknownLost);
        prototype.process("a", |pe| pe.count = 2).unwrap();
        let outcome = prototype.checkpoint("a").unwrap().wait();
        check_failed(Some(outcome), |reason| matches!(reason, SaveFailure::NotAnswered(_)));
        panic_in(&prototype, "a");
        if is_unreadable_at_first {
            storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Unavailable));
            prototype.read("a", |_| ()).unwrap_err();
        }
        assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
        storage.heal();
        // That is what is stored; yet nothing older may take its place any more.
        keeper.flush(FAIL_SAFE).unwrap();
        assert_eq!(storage.seen().stored.len(), 2);
        keeper.close(FAIL_SAFE).unwrap();
    }
}

#[test]
fn what_was_removed_does_not_come_back_by_a_reload() {
    for on_panic in [OnPanic::Poison, OnPanic::Reload] {
        // One that answers fetches at once: nobody is there to wait for.
        let storage = InMemoryStorage::new();
        let builder = || SafeKeeper::builder(storage.clone()).stepped();
        let keeper = builder().build().unwrap();
        let prototype = counters(&keeper, manual().on_panic(on_panic));
        prototype.process("a", |pe| pe.count = 8).unwrap();
        keeper.flush(SECOND).unwrap();
        drop(prototype.remove("a").unwrap());
        prototype.process("a", |pe| pe.count += 1).unwrap();
        panic_in(&prototype, "a");
        if on_panic == OnPanic::Poison {
            let recovered = prototype.recover("a", Recover::Reload).unwrap();
            assert!(matches!(recovered, Recovered::Reloaded { .. }), "{recovered:?}");
        }
        assert_eq!(prototype.process("a", |pe| pe.count).unwrap(), 0);
        keeper.close(SECOND).unwrap();
        let after = builder().build().unwrap();
        let prototype = counters(&after, manual());
        assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 0);
    }
}

#[test]
fn a_batch_that_is_answered_in_part_when_the_keeper_closes_has_all_its_results() {
    let storage = FaultyStorage::new().knowing_absence();
    let results = Results::new();
    let keeper = stepped(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, manual().shards(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.process("b", |pe| pe.count = 1).unwrap();
    let tickets = ["a", "b"].map(|key| prototype.checkpoint(key).unwrap());
    storage.on_save_of("b", 1, SaveFault::Late);
    assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
    let report = keeper.close(Duration::ZERO).unwrap_err().0;
    assert_eq!((report.saved, report.unknown.len()), (1, 1), "{report}");
    assert!(matches!(tickets[0].outcome(), Some(Ok(Some(_)))));
    check_failed(tickets[1].outcome(), |reason| matches!(reason, SaveFailure::Unknown));
    storage.complete_late();
    results.check_once_each();
    assert_eq!(results.all().len(), 2);
}

#[test]
fn large_states_are_taken_out_one_at_a_time() {
    let keeper = SafeKeeper::builder(InMemoryStorage::new())
        .stepped()
        .clock(Arc::new(TestClock::new()))
        .captured_bytes_max(100_000.try_into().unwrap())
        .partitions(NonZeroU32::MIN)
        .build()
        .unwrap();
    let states = keeper
        .prototype::<u64, Vec<u8>>("large")
        .config(every(1).shards(1).build().unwrap())
        .create(|_| vec![0; 80_000])
        .build()
        .unwrap();
    for key in 0..10 {
        states.process(key, |state| state[0] = 1).unwrap();
    }
    while keeper.step(Pool::Serialization) {}
    let bytes = keeper.stats().in_flight_bytes;
    assert!((80_000..200_000).contains(&bytes), "{bytes}");
    keeper.close(SECOND).unwrap();
}

#[test]
fn captures_in_flight_are_no_more_than_they_may_be() {
    let storage = FaultyStorage::new().knowing_absence();
    storage.on_save(usize::MAX, SaveFault::Late);
    let keeper = stepped(&storage).storage_max_outstanding_requests(3.try_into().unwrap());
    let keeper = keeper.build().unwrap();
    let prototype = counters(&keeper, every(1));
    // Two are with the storage when many more become due.
    for key in 0..10 {
        prototype.process(&key.to_string(), |pe| pe.count = 1).unwrap();
        if key == 1 {
            run_until_idle(&keeper);
        }
    }
    run_until_idle(&keeper);
    assert_eq!(keeper.stats().in_flight, 3);
    storage.heal();
    storage.complete_late();
    run_until_idle(&keeper);
    keeper.close(SECOND).unwrap();
}

#[test]
fn a_request_for_what_is_in_flight_and_then_refused_is_answered() {
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = stepped(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let first = prototype.checkpoint("a").unwrap();
    storage.on_save(2, SaveFault::NotStored(StorageErrorKind::Unsupported));
    assert!(keeper.step(Pool::Serialization));
    let second = prototype.checkpoint("a").unwrap();
    run_until_idle(&keeper);
    check_failed(first.outcome(), |reason| matches!(reason, SaveFailure::Refused(_)));
    check_failed(second.outcome(), |reason| matches!(reason, SaveFailure::Refused(_)));
}

#[test]
fn a_state_that_is_set_back_withdraws_the_requests_for_it() {
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = stepped(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    keeper.flush(SECOND).unwrap();
    prototype.process("a", |pe| pe.count = 2).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    let reset = prototype.reset("a").unwrap();
    check_failed(ticket.outcome(), |reason| matches!(reason, SaveFailure::Withdrawn));
    run_until_idle(&keeper);
    assert!(matches!(reset.outcome(), Some(Ok(Some(_)))));
}

#[test]
fn what_was_put_aside_can_be_discarded_whatever_its_partition() {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).stepped().build().unwrap();
    let prototype = counters(&keeper, manual());
    for key in 0..30 {
        prototype.process(&key.to_string(), |pe| pe.count = 1).unwrap();
    }
    keeper.flush(SECOND).unwrap();
    for key in 0..30 {
        drop(prototype.reset(&key.to_string()).unwrap());
    }
    keeper.flush(SECOND).unwrap();
    let name = prototype.name().to_owned();
    let quarantined = keeper.quarantined(&name).unwrap();
    assert_eq!(quarantined.len(), 30);
    for one in quarantined {
        keeper.discard_quarantined(&one).unwrap();
    }
    assert_eq!(keeper.quarantined(&name).unwrap(), []);
}

#[test]
fn a_stepped_keeper_has_no_threads_whoever_would_start_them() {
    #[derive(Debug)]
    struct NoThreads;
    impl ThreadStart for NoThreads {
        fn start(&self, _: String, _: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    // In either order.
    let builders: [fn(SafeKeeperBuilder) -> SafeKeeperBuilder; 2] = [
        |builder| builder.stepped().threads(Arc::new(NoThreads)),
        |builder| builder.threads(Arc::new(NoThreads)).stepped(),
    ];
    for built in builders {
        let keeper = built(SafeKeeper::builder(InMemoryStorage::new())).build().unwrap();
        let prototype = counters(&keeper, every(1));
        prototype.process("a", |pe| pe.count = 1).unwrap();
        assert_eq!(keeper.stats().stored, 0);
        run_until_idle(&keeper);
        assert_eq!(keeper.stats().stored, 1);
    }
}

#[test]
fn who_waits_until_a_save_has_ended_is_woken() {
    #[derive(Default)]
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = stepped(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    drop(prototype.checkpoint("a").unwrap());
    storage.on_save(1, SaveFault::Late);
    assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
    // Nothing may take the PE's place while a save of it is on its way.
    let mut reset = prototype.reset_async("a");
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(woken.clone());
    let mut poll = || reset.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    storage.complete_late();
    run_until_idle(&keeper);
    assert!(woken.0.load(Ordering::Relaxed));
    assert!(matches!(poll(), Poll::Ready(Ok(_))));
}
