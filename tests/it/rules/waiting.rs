//! Full queues: block, reject or let the caller do it; without deadlock, and nothing is lost (rule
//! 4).

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use checkpoint::{Overflow, RestoreFailure, SafeKeeperBuilder, SaveFailure, TestClock};

use crate::support::{
    FAIL_SAFE, FaultyStorage, FetchFault, Gate, Results, SaveFault, counters, eventually, every,
    manual, settings,
};

const POLICIES: [Overflow; 3] = [Overflow::Block, Overflow::Reject, Overflow::CallerRuns];

fn tight(storage: &FaultyStorage) -> SafeKeeperBuilder {
    settings(storage)
        .storage_max_outstanding_requests(2.try_into().unwrap())
        .serialization_max_outstanding_requests(2.try_into().unwrap())
        .fetching_queue_size(1.try_into().unwrap())
        .overflow_wait_max(Duration::from_millis(5))
}

/// E11: whatever is full, nobody waits for himself.
#[test]
fn under_load_every_combination_of_policies_ends_and_stores_everything() {
    for serialization in POLICIES {
        for storing in POLICIES {
            for fetching in [Overflow::Block, Overflow::CallerRuns] {
                let storage = FaultyStorage::new();
                let results = Results::new();
                let keeper = tight(&storage)
                    .serialization_overflow(serialization)
                    .storage_overflow(storing)
                    .fetching_overflow(fetching)
                    .storage_callback_factory(results.clone())
                    .build()
                    .unwrap();
                let prototype = counters(&keeper, every(1));
                // A callback that brings more of the same never waits and never runs it.
                let inside = prototype.clone();
                results.then(move |result| {
                    if result.id.key() == b"3" {
                        drop(inside.checkpoint("3"));
                    }
                });
                thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| {
                            for n in 0..60 {
                                prototype
                                    .process(&(n % 12).to_string(), |pe| pe.count += 1)
                                    .unwrap();
                            }
                        });
                    }
                    scope.spawn(|| {
                        let keys: Vec<_> = (0..60).map(|n| (n % 12).to_string()).collect();
                        let events = keys.iter().map(|key| (key.as_str(), 1));
                        prototype.session().run(events, |pe, by| pe.count += by).unwrap();
                        for key in &keys {
                            pollster::block_on(prototype.process_async(key, |_| ())).unwrap();
                        }
                    });
                });
                keeper.close(FAIL_SAFE).unwrap();
                results.check_once_each();
                storage.check();
                let keeper = settings(&storage).build().unwrap();
                let prototype = counters(&keeper, manual());
                for key in 0..12 {
                    let count = prototype.read(&key.to_string(), |pe| pe.count).unwrap();
                    assert_eq!(count, 20, "{serialization:?} {storing:?} {fetching:?}");
                }
            }
        }
    }
}

/// A keeper whose storage is busy, and two PEs that are due; one more is beyond the bound.
fn overfull(
    policy: Overflow,
    clock: &Arc<TestClock>,
) -> (FaultyStorage, Gate, checkpoint::SafeKeeper) {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save_of("busy", 1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage)
        .storage_max_outstanding_requests(1.try_into().unwrap())
        .serialization_max_outstanding_requests(2.try_into().unwrap())
        .serialization_overflow(policy)
        .clock(clock.clone())
        .build()
        .unwrap();
    (storage, gate, keeper)
}

#[test]
fn reject_refuses_a_manual_request_beyond_the_bound_and_the_state_is_stored_all_the_same() {
    let (storage, gate, keeper) = overfull(Overflow::Reject, &Arc::default());
    let prototype = counters(&keeper, manual());
    for key in ["busy", "1", "2", "3"] {
        prototype.process(key, |pe| pe.count = 1).unwrap();
    }
    drop(prototype.checkpoint("busy").unwrap());
    gate.reached();
    // Limit − 1, 0, + 1.
    let taken = [prototype.checkpoint("1").unwrap(), prototype.checkpoint("2").unwrap()];
    let refused = prototype.checkpoint("3").unwrap().outcome().expect("refused at once");
    assert!(matches!(refused.unwrap_err().reason(), SaveFailure::Overloaded));
    assert!(taken.iter().all(|ticket| ticket.outcome().is_none()));
    assert_eq!(keeper.stats().overflows, 1);
    gate.open();
    for ticket in taken {
        ticket.wait().unwrap();
    }
    storage.until("what was refused stays marked", |seen| seen.saves_of("3") == 1);
    keeper.close(FAIL_SAFE).unwrap();
}

/// B14, B15.
#[test]
fn block_waits_for_room_after_the_event_and_not_for_ever() {
    let clock = Arc::new(TestClock::new());
    let (_storage, gate, keeper) = overfull(Overflow::Block, &clock);
    let prototype = counters(&keeper, every(1));
    prototype.process("busy", |pe| pe.count = 1).unwrap();
    gate.reached();
    thread::scope(|scope| {
        let prototype = &prototype;
        prototype.process("1", |pe| pe.count = 1).unwrap();
        prototype.process("2", |pe| pe.count = 1).unwrap();
        let waits = scope.spawn(|| prototype.process("3", |pe| pe.count = 1));
        eventually("it waits", || keeper.stats().overflows == 1);
        // The event has run, and no lock is held: its PE can be read, and async calls do not wait.
        assert_eq!(prototype.read("3", |pe| pe.count).unwrap(), 1);
        pollster::block_on(prototype.process_async("3", |pe| pe.count += 1)).unwrap();
        assert!(!waits.is_finished());
        clock.advance(Duration::from_secs(1));
        waits.join().unwrap().unwrap();
        let waits = scope.spawn(|| prototype.process("4", |pe| pe.count = 1));
        eventually("it waits", || keeper.stats().overflows >= 2);
        gate.open();
        waits.join().unwrap().unwrap();
    });
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn a_full_queue_of_fetches_rejects_blocks_or_has_the_caller_fetch() {
    for policy in POLICIES {
        let storage = FaultyStorage::new();
        let gate = Gate::new();
        storage.on_fetch_of("hangs", 1, FetchFault::Held(gate.clone()));
        let keeper = settings(&storage)
            .fetching_queue_size(1.try_into().unwrap())
            .fetching_overflow(policy)
            .clock(Arc::new(TestClock::new()))
            .build()
            .unwrap();
        let prototype = counters(&keeper, manual());
        let read = |key: &'static str| prototype.read(key, |pe| pe.count);
        thread::scope(|scope| {
            let hangs = scope.spawn(|| read("hangs"));
            gate.reached();
            let queued = scope.spawn(|| read("queued"));
            eventually("one is in the queue", || keeper.stats().fetches_queued == 1);
            match policy {
                Overflow::Reject => match read("one more") {
                    Err(checkpoint::ProcessError::Restore(error)) => {
                        assert!(matches!(error.reason(), RestoreFailure::Overloaded), "{error}");
                    }
                    other => panic!("{other:?}"),
                },
                Overflow::CallerRuns => assert_eq!(read("one more").unwrap(), 0),
                Overflow::Block => {
                    let waits = scope.spawn(|| read("one more"));
                    storage.until("only one is with the storage", |seen| seen.fetches == 1);
                    gate.open();
                    assert_eq!(waits.join().unwrap().unwrap(), 0);
                }
            }
            if policy != Overflow::Reject {
                // An async call waits in the queue whatever its size.
                let mut event = Box::pin(prototype.process_async("async", |_| ()));
                let first = event.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                gate.open();
                assert!(policy == Overflow::Block || first.is_pending());
                if first.is_pending() {
                    pollster::block_on(event).unwrap();
                }
            }
            gate.open();
            hangs.join().unwrap().unwrap();
            queued.join().unwrap().unwrap();
        });
        keeper.close(FAIL_SAFE).unwrap();
    }
}
