//! A closure that panics poisons its PE and nothing else; `recover` decides (rule 6).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use checkpoint::{
    OnPanic, PePrototype, Pool, ProcessError, Recover, Recovered, StorageErrorKind, TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, Gate, Results, SaveFault, counters, eventually,
    every, manual, settings,
};

type Counters = PePrototype<String, Counter>;

/// Changes the PE, then panics.
fn panic_in(prototype: &Counters, key: &str) {
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        prototype.process(key, |pe| {
            pe.count += 100;
            panic!("the event was told to panic");
        })
    }));
    assert!(panicked.is_err(), "the panic reaches the caller");
}

fn add(prototype: &Counters, key: &str) -> Result<u64, ProcessError> {
    prototype.process(key, |pe| {
        pe.count += 1;
        pe.count
    })
}

fn is_poisoned<T: std::fmt::Debug>(result: Result<T, ProcessError>) -> bool {
    matches!(result, Err(ProcessError::Poisoned { .. }))
}

#[test]
fn after_a_panic_every_way_to_the_pe_says_poisoned_and_others_go_on() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual().shards(1));
    add(&prototype, "a").unwrap();
    let version = prototype.checkpoint("a").unwrap().wait().unwrap();
    panic_in(&prototype, "a");
    match add(&prototype, "a") {
        Err(ProcessError::Poisoned { last_durable, .. }) => assert_eq!(last_durable, version),
        other => panic!("{other:?}"),
    }
    assert!(is_poisoned(prototype.read("a", |_| ())));
    assert!(is_poisoned(prototype.pe("a").map(|_| ())));
    assert!(is_poisoned(prototype.checkpoint("a")));
    assert!(is_poisoned(prototype.session().run([("a", ())], |_, ()| ()).map_err(|e| e.error)));
    assert!(is_poisoned(pollster::block_on(prototype.process_async("a", |_| ()))));
    assert_eq!(add(&prototype, "b").unwrap(), 1);
    assert_eq!(keeper.stats().poisoned, 1);
}

#[test]
fn what_a_panic_left_half_done_is_never_stored() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(2));
    add(&prototype, "a").unwrap();
    panic_in(&prototype, "a");
    let report = keeper.close(Duration::from_millis(50)).unwrap_err().0;
    assert_eq!(report.not_attempted.len(), 1);
    assert_eq!(storage.seen().saves, 0);
}

#[test]
fn reload_restores_the_last_checkpoint_and_says_how_many_events_are_lost() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    add(&prototype, "a").unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    for _ in 0..3 {
        add(&prototype, "a").unwrap();
    }
    panic_in(&prototype, "a");
    match prototype.recover("a", Recover::Reload).unwrap() {
        Recovered::Reloaded { events_lost } => assert_eq!(events_lost, 3),
        other => panic!("{other:?}"),
    }
    assert_eq!(add(&prototype, "a").unwrap(), 2);
    assert_eq!(prototype.read("a", |pe| pe.handle).unwrap(), 7, "the factory ran");
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn reload_waits_for_the_save_that_is_in_flight() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    add(&prototype, "a").unwrap();
    gate.reached();
    panic_in(&prototype, "a");
    thread::scope(|scope| {
        let reload = scope.spawn(|| prototype.recover("a", Recover::Reload));
        gate.open();
        match reload.join().unwrap().unwrap() {
            Recovered::Reloaded { events_lost } => assert_eq!(events_lost, 0),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(add(&prototype, "a").unwrap(), 2, "the save that was in flight is not lost");
    keeper.close(FAIL_SAFE).unwrap();
    storage.check();
}

#[test]
fn keep_goes_on_with_what_the_panic_left_and_stores_it() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    add(&prototype, "a").unwrap();
    panic_in(&prototype, "a");
    assert!(matches!(prototype.recover("a", Recover::Keep).unwrap(), Recovered::Kept));
    assert_eq!(add(&prototype, "a").unwrap(), 102);
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().stored.len(), 1);
}

#[test]
fn a_ticket_from_before_the_panic_is_answered_after_keep() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save_of("first", 1, SaveFault::Held(gate.clone()));
    let keeper =
        settings(&storage).storage_max_outstanding_requests(1.try_into().unwrap()).build().unwrap();
    let prototype = counters(&keeper, manual());
    // The storage is busy: the request waits in its shard.
    add(&prototype, "first").unwrap();
    let first = prototype.checkpoint("first").unwrap();
    gate.reached();
    add(&prototype, "a").unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    panic_in(&prototype, "a");
    gate.open();
    first.wait().unwrap();
    // The visit of the shard finds the PE poisoned, and must not forget the request.
    eventually("its shard was visited", || prototype.status().due == 0);
    assert!(ticket.outcome().is_none());
    prototype.recover("a", Recover::Keep).unwrap();
    ticket.wait_timeout(FAIL_SAFE).expect("there is an answer").unwrap();
}

#[test]
fn a_ticket_from_before_the_panic_is_answered_after_reload() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save_of("first", 1, SaveFault::Held(gate.clone()));
    let keeper =
        settings(&storage).storage_max_outstanding_requests(1.try_into().unwrap()).build().unwrap();
    let prototype = counters(&keeper, manual());
    for (key, fails) in [("a", false), ("b", true)] {
        add(&prototype, "first").unwrap();
        let first = prototype.checkpoint("first").unwrap();
        if !fails {
            gate.reached();
        }
        add(&prototype, key).unwrap();
        let ticket = prototype.checkpoint(key).unwrap();
        panic_in(&prototype, key);
        if fails {
            let unavailable = StorageErrorKind::Unavailable;
            storage.on_fetch_of(key, 1, FetchFault::Failed(unavailable));
        }
        let reloaded = prototype.recover(key, Recover::Reload);
        gate.open();
        assert_eq!(reloaded.is_err(), fails);
        first.wait().unwrap();
        // Whether there is nothing to store or it was withdrawn: there is an answer.
        drop(ticket.wait_timeout(FAIL_SAFE).expect("there is an answer"));
    }
    keeper.close(FAIL_SAFE).unwrap();
}

/// A keeper without threads, and flushes of it and of its prototype that have begun; `between`
/// comes after their begin.
#[track_caller]
fn check_flushes_end(storage: &FaultyStorage, captured_first: bool, between: impl Fn(&TestClock)) {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(storage)
        .stepped()
        .clock(clock.clone())
        .save_attempts_max(1.try_into().unwrap())
        .build()
        .unwrap();
    let prototype = counters(&keeper, every(1));
    add(&prototype, "a").unwrap();
    if captured_first {
        assert!(keeper.step(Pool::Serialization));
    }
    let hour = Duration::from_secs(3600);
    let mut all = pin!(keeper.flush_async(hour));
    let mut one = pin!(prototype.flush_async(hour));
    let mut context = Context::from_waker(Waker::noop());
    assert!(all.as_mut().poll(&mut context).is_pending());
    assert!(one.as_mut().poll(&mut context).is_pending());
    panic_in(&prototype, "a");
    let pools = [Pool::Serialization, Pool::Storage, Pool::Timing];
    while pools.into_iter().any(|pool| keeper.step(pool)) {}
    between(&clock);
    while pools.into_iter().any(|pool| keeper.step(pool)) {}
    let Poll::Ready(Err(all)) = all.poll(&mut context) else { panic!("the keeper's waits") };
    let Poll::Ready(Err(one)) = one.poll(&mut context) else { panic!("the prototype's waits") };
    assert_eq!(all.0.not_attempted.len(), 1, "{all}");
    assert_eq!(one.0.not_attempted.len() + one.0.failed.len(), 1, "{one}");
    assert_eq!(keeper.stats().oldest_change, None);
    // What became of it can still be decided.
    prototype.recover("a", Recover::Keep).unwrap();
    storage.heal();
    keeper.flush(hour).unwrap();
}

#[test]
fn a_flush_does_not_wait_for_a_pe_that_panicked_before_it_was_captured() {
    check_flushes_end(&FaultyStorage::new().knowing_absence(), false, |_| ());
}

#[test]
fn a_flush_does_not_wait_for_a_pe_that_panicked_while_a_capture_that_fails_was_in_flight() {
    let storage = FaultyStorage::new().knowing_absence();
    storage.on_save(usize::MAX, SaveFault::NotStored(StorageErrorKind::Unavailable));
    // It is given back after a wait.
    check_flushes_end(&storage, true, |clock| clock.advance(Duration::from_secs(60)));
}

#[test]
fn a_flush_does_not_wait_for_a_pe_that_panicked_behind_a_capture_that_was_stored() {
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = settings(&storage).stepped().clock(Arc::new(TestClock::new())).build().unwrap();
    let prototype = counters(&keeper, manual());
    add(&prototype, "a").unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    assert!(keeper.step(Pool::Serialization));
    add(&prototype, "a").unwrap();
    panic_in(&prototype, "a");
    let mut flushing = pin!(keeper.flush_async(Duration::from_secs(1)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(flushing.as_mut().poll(&mut context).is_pending());
    let pools = [Pool::Serialization, Pool::Storage, Pool::Timing];
    while pools.into_iter().any(|pool| keeper.step(pool)) {}
    assert!(ticket.outcome().expect("it is stored").is_ok());
    let Poll::Ready(Err(report)) = flushing.poll(&mut context) else { panic!("it waits") };
    assert_eq!(report.0.not_attempted.len(), 1, "{report}");
}

#[test]
fn remove_drops_the_poisoned_pe_for_good() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    add(&prototype, "a").unwrap();
    panic_in(&prototype, "a");
    match prototype.recover("a", Recover::Remove).unwrap() {
        Recovered::Removed(ticket) => assert!(ticket.wait().unwrap().is_some()),
        other => panic!("{other:?}"),
    }
    assert_eq!(keeper.stats().poisoned, 0);
    assert!(prototype.ids().unwrap().is_empty());
    assert_eq!(add(&prototype, "a").unwrap(), 1);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn a_pe_that_is_not_poisoned_has_nothing_to_recover() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    add(&prototype, "a").unwrap();
    for how in [Recover::Reload, Recover::Keep, Recover::Remove] {
        for key in ["a", "never seen"] {
            let recovered = prototype.recover(key, how).unwrap();
            assert!(matches!(recovered, Recovered::WasNotPoisoned));
        }
    }
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
}

#[test]
fn with_reload_on_panic_the_next_event_finds_the_last_checkpoint() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual().on_panic(OnPanic::Reload));
    add(&prototype, "a").unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    add(&prototype, "a").unwrap();
    panic_in(&prototype, "a");
    assert_eq!(add(&prototype, "a").unwrap(), 2);
    panic_in(&prototype, "a");
    assert_eq!(pollster::block_on(prototype.process_async("a", |pe| pe.count)).unwrap(), 1);
    panic_in(&prototype, "a");
    assert_eq!(prototype.pe("a").unwrap().count, 1);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn a_guard_that_is_dropped_by_a_panic_poisons_its_pe_only_if_it_was_changed() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    for (key, changes) in [("changed", true), ("read", false)] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut guard = prototype.pe(key).unwrap();
            if changes {
                guard.count = 5;
            }
            panic!("the guard's holder was told to panic");
        }));
        assert!(panicked.is_err());
        assert_eq!(is_poisoned(add(&prototype, key)), changes);
    }
}

#[test]
fn a_panic_in_a_session_poisons_its_pe_and_gives_the_shards_back() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    let keys = ["a", "b", "c", "d"];
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        prototype.session().run(keys.map(|key| (key, key)), |pe, key| {
            pe.count += 1;
            assert_ne!(key, "c", "the event was told to panic");
        })
    }));
    assert!(panicked.is_err());
    for (key, expected) in [("a", Some(2)), ("b", Some(2)), ("c", None), ("d", Some(1))] {
        assert_eq!(add(&prototype, key).ok(), expected, "{key}");
    }
}

#[test]
fn a_panic_in_a_periodic_function_poisons_its_pe_and_time_goes_on() {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&FaultyStorage::new()).clock(clock.clone()).build().unwrap();
    let prototype = keeper
        .prototype::<String, Counter>("counter")
        .create(|_| Counter::default())
        .on_time(Duration::from_secs(1), |key, pe| {
            pe.count += 1;
            assert_ne!(key, "bad", "the function was told to panic");
        })
        .build()
        .unwrap();
    for key in ["bad", "good"] {
        prototype.read(key, |_| ()).unwrap();
    }
    crate::support::moving_on(&clock, Duration::from_secs(1), "it runs three times", || {
        prototype.read("good", |pe| pe.count).unwrap() >= 3
    });
    assert!(is_poisoned(prototype.read("bad", |_| ())));
    assert_eq!(keeper.stats().poisoned, 1);
}

#[test]
fn a_callback_that_panics_is_counted_and_the_pool_goes_on() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    results.then(|_| panic!("the callback was told to panic"));
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, every(1));
    for _ in 0..3 {
        add(&prototype, "a").unwrap();
        prototype.checkpoint("a").unwrap().wait().unwrap();
    }
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(keeper.stats().callback_panics, results.all().len() as u64);
    results.check_once_each();
}

#[test]
fn a_factory_or_a_hook_that_panics_is_an_error_of_the_event_which_can_be_tried_again() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let prototype = keeper
        .prototype::<String, Counter>("counter")
        .create(move |_| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert_ne!(call, 0, "the factory was told to panic");
            Counter { count: call as u64, handle: 0 }
        })
        .on_create(|_, pe| assert_ne!(pe.count, 1, "the hook was told to panic"))
        .build()
        .unwrap();
    for _ in 0..2 {
        assert!(matches!(add(&prototype, "a"), Err(ProcessError::Restore(_))));
        assert!(prototype.is_empty());
    }
    assert_eq!(add(&prototype, "a").unwrap(), 3);
}
