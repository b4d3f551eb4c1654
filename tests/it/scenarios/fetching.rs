//! Fetching from a storage that hangs or fails: bounded, counted, and back when the storage is (X1,
//! X2, X11, X12, X13, X15).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use checkpoint::{
    FetchingState, PePrototype, ProcessError, RestoreFailure, SafeKeeper, StorageErrorKind,
    SystemThreads, TestClock, ThreadStart,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, Gate, counters, eventually, every, manual,
    settings,
};

const WINDOW: Duration = Duration::from_secs(10);

/// A storage that has counters of 1 under the keys `0` to `n - 1`.
fn filled(n: usize) -> FaultyStorage {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    for key in 0..n {
        prototype.process(&key.to_string(), |pe| pe.count = 1).unwrap();
    }
    keeper.close(FAIL_SAFE).unwrap();
    // What was seen so far does not count.
    FaultyStorage::over(storage.content())
}

fn disabling_after(
    failures: u32,
    storage: &FaultyStorage,
    clock: &Arc<TestClock>,
) -> (SafeKeeper, PePrototype<String, Counter>) {
    let keeper = settings(storage)
        .clock(clock.clone())
        .fetching_max_consecutive_failures_before_disabling(failures.try_into().unwrap())
        .fetching_disabled_duration(WINDOW)
        .build()
        .unwrap();
    let prototype = counters(&keeper, manual());
    (keeper, prototype)
}

fn reason(result: Result<u64, ProcessError>) -> RestoreFailure {
    match result {
        Err(ProcessError::Restore(error)) => error.reason().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn x1_after_too_many_failures_the_storage_is_left_alone_and_then_probed_once() {
    let storage = filled(1);
    let clock = Arc::new(TestClock::new());
    let (keeper, prototype) = disabling_after(3, &storage, &clock);
    let read = || prototype.read("0", |pe| pe.count);
    storage.on_fetch(4, FetchFault::Failed(StorageErrorKind::Unavailable));
    for _ in 0..3 {
        assert!(matches!(reason(read()), RestoreFailure::Storage(_)));
    }
    assert_eq!(keeper.stats().fetching, FetchingState::Disabled);
    for _ in 0..5 {
        assert!(matches!(reason(read()), RestoreFailure::FetchingDisabled { .. }));
    }
    assert_eq!(storage.seen().fetches, 3, "the storage was left alone");
    clock.advance(WINDOW);
    // One probe, which fails: left alone again.
    assert!(matches!(reason(read()), RestoreFailure::Storage(_)));
    assert!(matches!(reason(read()), RestoreFailure::FetchingDisabled { .. }));
    assert_eq!(storage.seen().fetches, 4);
    clock.advance(WINDOW);
    assert_eq!(read().unwrap(), 1);
    assert_eq!(keeper.stats().fetching, FetchingState::Enabled);
}

#[test]
fn x1_only_one_fetch_is_let_through_as_a_probe() {
    let storage = filled(2);
    let clock = Arc::new(TestClock::new());
    let (keeper, prototype) = disabling_after(1, &storage, &clock);
    storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Unavailable));
    reason(prototype.read("0", |pe| pe.count));
    clock.advance(WINDOW);
    let gate = Gate::new();
    storage.on_fetch(1, FetchFault::Held(gate.clone()));
    thread::scope(|scope| {
        let probe = scope.spawn(|| prototype.read("0", |pe| pe.count));
        gate.reached();
        assert_eq!(keeper.stats().fetching, FetchingState::Probing);
        let other = reason(prototype.read("1", |pe| pe.count));
        assert!(matches!(other, RestoreFailure::FetchingDisabled { .. }), "{other:?}");
        gate.open();
        assert_eq!(probe.join().unwrap().unwrap(), 1);
    });
    assert_eq!(prototype.read("1", |pe| pe.count).unwrap(), 1);
}

#[test]
fn a_probe_that_panics_inline_is_a_failure_of_its_event_and_does_not_end_fetching() {
    let storage = filled(1);
    let clock = Arc::new(TestClock::new());
    let (keeper, prototype) = disabling_after(1, &storage, &clock);
    storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Unavailable));
    reason(prototype.read("0", |pe| pe.count));
    assert_eq!(keeper.stats().fetching, FetchingState::Disabled);
    clock.advance(WINDOW);
    storage.on_fetch_now_panic(1);
    let RestoreFailure::Storage(error) = reason(prototype.read("0", |pe| pe.count)) else {
        panic!("it is an error of the storage's");
    };
    assert_eq!(error.kind(), StorageErrorKind::Broken);
    assert_eq!(keeper.stats().fetching, FetchingState::Disabled);
    clock.advance(WINDOW);
    assert_eq!(prototype.read("0", |pe| pe.count).unwrap(), 1);
    assert_eq!(keeper.stats().fetching, FetchingState::Enabled);
}

#[test]
fn what_is_wrong_with_single_keys_does_not_switch_fetching_off_for_all() {
    let storage = filled(4);
    let clock = Arc::new(TestClock::new());
    let (keeper, prototype) = disabling_after(2, &storage, &clock);
    storage.on_fetch(3, FetchFault::Failed(StorageErrorKind::Corrupt));
    for key in ["0", "1", "2"] {
        let RestoreFailure::Storage(error) = reason(prototype.read(key, |pe| pe.count)) else {
            panic!("it is an error of the storage's");
        };
        assert_eq!(error.kind(), StorageErrorKind::Corrupt);
    }
    assert_eq!(keeper.stats().fetches_failed, 3);
    assert_eq!(keeper.stats().fetching, FetchingState::Enabled);
    assert_eq!(prototype.read("3", |pe| pe.count).unwrap(), 1);
    // The storage answers, if only that this one is damaged: the probe is through.
    storage.on_fetch(2, FetchFault::Failed(StorageErrorKind::Unavailable));
    for _ in 0..2 {
        reason(prototype.read("0", |pe| pe.count));
    }
    assert_eq!(keeper.stats().fetching, FetchingState::Disabled);
    clock.advance(WINDOW);
    storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Corrupt));
    reason(prototype.read("0", |pe| pe.count));
    assert_eq!(keeper.stats().fetching, FetchingState::Enabled);
}

#[test]
fn x2_restoring_resumes_however_long_the_pause_was() {
    let storage = filled(10);
    let clock = Arc::new(TestClock::new());
    let (_keeper, prototype) = disabling_after(2, &storage, &clock);
    storage.on_fetch(2, FetchFault::Failed(StorageErrorKind::Unavailable));
    for _ in 0..2 {
        reason(prototype.read("0", |pe| pe.count));
    }
    clock.advance(1000 * WINDOW);
    for key in 0..10 {
        assert_eq!(prototype.read(&key.to_string(), |pe| pe.count).unwrap(), 1);
    }
}

#[test]
fn x11_one_fetch_that_hangs_does_not_stop_forty_others() {
    let storage = filled(41);
    let gate = Gate::new();
    storage.on_fetch_of("40", 1, FetchFault::Held(gate.clone()));
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let prototype = counters(&keeper, manual());
    thread::scope(|scope| {
        let hanging = scope.spawn(|| prototype.read("40", |pe| pe.count));
        gate.reached();
        let others: Vec<_> = (0..40)
            .map(|key| {
                let prototype = &prototype;
                scope.spawn(move || prototype.read(&key.to_string(), |pe| pe.count))
            })
            .collect();
        eventually("all wait for the thread", || keeper.stats().fetches_queued == 40);
        // A quarter of the time that a fetch may take: then the thread is taken as hanging.
        clock.advance(Duration::from_millis(250));
        for other in others {
            assert_eq!(other.join().unwrap().unwrap(), 1);
        }
        assert_eq!(keeper.stats().fetches_hanging, 1);
        gate.open();
        assert_eq!(hanging.join().unwrap().unwrap(), 1);
    });
    eventually("the hung thread is back", || keeper.stats().fetches_hanging == 0);
    keeper.close(FAIL_SAFE).unwrap();
}

/// H3: while many wait, the thread that hung must not go on beside the one in its place.
#[test]
fn x11_no_more_fetch_at_once_than_may_however_often_one_hangs_and_comes_back() {
    const KEYS: [&str; 5] = ["0", "1", "2", "3", "4"];
    let storage = filled(KEYS.len());
    let gates = KEYS.map(|key| {
        let gate = Gate::new();
        storage.on_fetch_of(key, 1, FetchFault::Held(gate.clone()));
        gate
    });
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage)
        .clock(clock.clone())
        .fetching_max_threads(1.try_into().unwrap())
        .fetching_replacement_threads_max(1)
        .build()
        .unwrap();
    let prototype = counters(&keeper, manual());
    let mut events = KEYS.map(|key| Box::pin(prototype.read_async(key, |pe| pe.count)));
    for event in &mut events {
        assert!(event.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    gates[0].reached();
    for round in 0..3 {
        // The one of this round hangs, and the next is with the thread in its place.
        clock.advance(Duration::from_millis(250));
        gates[round + 1].reached();
        gates[round].open();
        eventually("the hung thread is back", || keeper.stats().fetches_hanging == 0);
    }
    // Each time one was asked for, and not two.
    assert_eq!(storage.seen().fetches, 4);
    for gate in gates {
        gate.open();
    }
    for event in events {
        assert_eq!(pollster::block_on(event).unwrap(), 1);
    }
    keeper.close(FAIL_SAFE).unwrap();
}

/// Starts so many threads, and no more.
#[derive(Debug)]
struct FewThreads(AtomicUsize);

impl ThreadStart for FewThreads {
    fn start(
        &self,
        name: String,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<thread::JoinHandle<()>> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        match left {
            Ok(_) => SystemThreads.start(name, body),
            Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

#[test]
fn x11_a_thread_that_hung_stays_if_none_could_be_started_in_its_place() {
    let storage = filled(3);
    let gates = ["0", "1"].map(|key| {
        let gate = Gate::new();
        storage.on_fetch_of(key, 1, FetchFault::Held(gate.clone()));
        gate
    });
    let clock = Arc::new(TestClock::new());
    // One for each pool, and two for saving.
    let threads = Arc::new(FewThreads(AtomicUsize::new(5)));
    let keeper = settings(&storage).clock(clock.clone()).threads(threads.clone()).build().unwrap();
    assert_eq!(threads.0.load(Ordering::Relaxed), 0);
    let prototype = counters(&keeper, manual());
    let events = ["0", "1"].map(|key| Box::pin(prototype.read_async(key, |pe| pe.count)));
    let [mut first, mut next] = events;
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    gates[0].reached();
    assert!(next.as_mut().poll(&mut context).is_pending());
    clock.advance(Duration::from_millis(250));
    eventually("the thread hangs", || keeper.stats().fetches_hanging == 1);
    gates[0].open();
    gates[1].reached();
    gates[1].open();
    for event in [first, next] {
        assert_eq!(pollster::block_on(event).unwrap(), 1);
    }
    assert_eq!(prototype.read("2", |pe| pe.count).unwrap(), 1);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn x12_fetches_against_a_hung_storage_are_all_counted_whether_they_wait_or_are_refused() {
    const FETCHES: usize = 200;
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_fetch(FETCHES, FetchFault::Held(gate.clone()));
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage)
        .clock(clock.clone())
        // More than time out; that the others are refused says nothing of the storage.
        .fetching_max_consecutive_failures_before_disabling(150.try_into().unwrap())
        .fetching_replacement_threads_max(0)
        .fetching_overflow(checkpoint::Overflow::Reject)
        .build()
        .unwrap();
    let prototype = counters(&keeper, manual());
    let refused = AtomicUsize::new(0);
    let timed_out = AtomicUsize::new(0);
    thread::scope(|scope| {
        for key in 0..FETCHES {
            let (prototype, refused, timed_out) = (&prototype, &refused, &timed_out);
            scope.spawn(move || {
                match reason(prototype.read(&key.to_string(), |pe| pe.count)) {
                    RestoreFailure::Overloaded => refused,
                    RestoreFailure::TimedOut { .. } => timed_out,
                    other => panic!("{other:?}"),
                }
                .fetch_add(1, Ordering::Relaxed);
            });
            if key == 0 {
                // The others come while the thread is with this one.
                gate.reached();
            }
        }
        eventually("the queue is full and the rest is refused", || {
            keeper.stats().fetches_queued == 100 && refused.load(Ordering::Relaxed) == 99
        });
        clock.advance(Duration::from_secs(1));
    });
    assert_eq!(timed_out.into_inner(), 101);
    assert_eq!(keeper.stats().fetches_failed, FETCHES as u64);
    assert_eq!(keeper.stats().fetching, FetchingState::Enabled);
    gate.open();
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn x13_an_event_loop_goes_on_with_resident_keys_while_fetches_hang() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).clock(Arc::new(TestClock::new())).build().unwrap();
    let prototype = counters(&keeper, manual().shards(1));
    prototype.process("known", |pe| pe.count += 1).unwrap();
    let gate = Gate::new();
    storage.on_fetch(5, FetchFault::Held(gate.clone()));
    let keys: Vec<_> = (0..5).map(|n| format!("new-{n}")).collect();
    let events: Vec<_> =
        keys.iter().map(|key| Box::pin(prototype.process_async(key, |pe| pe.count += 1))).collect();
    thread::scope(|scope| {
        let loops: Vec<_> =
            events.into_iter().map(|event| scope.spawn(|| pollster::block_on(event))).collect();
        gate.reached();
        for _ in 0..100 {
            prototype.process("known", |pe| pe.count += 1).unwrap();
        }
        gate.open();
        for event in loops {
            event.join().unwrap().unwrap();
        }
    });
}

#[test]
fn x13_keys_that_are_known_to_be_absent_cost_no_fetch() {
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    for key in 0..5 {
        prototype.process(&key.to_string(), |pe| pe.count += 1).unwrap();
    }
    assert_eq!(storage.seen().fetches, 0);
    assert_eq!(keeper.stats().fetches_known_absent, 5);
}

#[test]
fn x15_failing_fetches_of_many_threads_reach_the_storage_a_bounded_number_of_times() {
    let storage = filled(200);
    storage.on_fetch(usize::MAX, FetchFault::Failed(StorageErrorKind::Unavailable));
    let clock = Arc::new(TestClock::new());
    let (keeper, prototype) = disabling_after(10, &storage, &clock);
    thread::scope(|scope| {
        for of_four in 0..4 {
            let prototype = &prototype;
            scope.spawn(move || {
                for n in 0..50 {
                    reason(prototype.read(&(50 * of_four + n).to_string(), |pe| pe.count));
                }
            });
        }
    });
    // Ten, and those that were under way when the tenth failed: one of each other thread.
    let reached = storage.seen().fetches;
    assert!((10..=13).contains(&reached), "{reached}");
    assert_eq!(keeper.stats().fetches_failed, 200);
}
