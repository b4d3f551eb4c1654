//! How many events of a PE may not be stored (P9): it is stored in time, and while it is not,
//! further events of this PE are held up or refused.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use checkpoint::{
    CheckpointingConfigBuilder, OnExposed, PePrototype, Pool, ProcessError, Recover, SafeKeeper,
    StorageErrorKind, TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, Gate, SaveFault, counters, eventually, every, manual,
    moving_on, settings,
};

const POOLS: [Pool; 4] = [Pool::Timing, Pool::Serialization, Pool::Storage, Pool::Fetching];

/// A keeper that is stepped by hand, over a storage that answers late if it is told to.
struct Stepped {
    storage: FaultyStorage,
    keeper: SafeKeeper,
    prototype: PePrototype<String, Counter>,
}

impl Stepped {
    fn new(config: CheckpointingConfigBuilder) -> Self {
        let storage = FaultyStorage::new().knowing_absence();
        let keeper = settings(&storage).clock(Arc::new(TestClock::new())).stepped();
        let keeper = keeper.build().unwrap();
        let prototype = counters(&keeper, config.on_exposed(OnExposed::Reject));
        Self { storage, keeper, prototype }
    }

    fn work(&self) {
        while POOLS.into_iter().any(|pool| self.keeper.step(pool)) {}
    }

    fn event(&self, key: &str) -> Result<u64, ProcessError> {
        self.prototype.process(key, |pe| {
            pe.count += 1;
            pe.count
        })
    }

    /// Has events run until one is refused; returns how many have.
    fn fill(&self, key: &str) -> u64 {
        let mut events = 0;
        while !is_refused(self.event(key)) {
            events += 1;
        }
        events
    }
}

fn bounded(config: CheckpointingConfigBuilder, events: u32) -> CheckpointingConfigBuilder {
    config.exposed_events_max(NonZeroU32::new(events).unwrap())
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, ProcessError>) -> bool {
    match result {
        Err(ProcessError::ExposedEvents { id, events_max }) => {
            assert!(id.prototype() == "counter" && events_max > 0);
            true
        }
        Err(error) => panic!("{error}"),
        Ok(_) => false,
    }
}

fn count_one(pe: &mut Counter) {
    pe.count += 1;
}

#[test]
fn every_way_to_change_a_full_pe_is_refused_and_reads_and_other_pes_are_not() {
    let stepped = Stepped::new(bounded(manual(), 3));
    let Stepped { storage, keeper, prototype } = &stepped;
    storage.on_save(1, SaveFault::Late);
    assert_eq!(stepped.fill("a"), 3);
    let error = stepped.event("a").unwrap_err();
    assert!(error.to_string().contains("counter/a: 3 events of it are not stored"), "{error}");
    assert!(is_refused(prototype.try_process("a", |_| Ok::<_, ()>(()))));
    assert!(is_refused(prototype.try_process("a", |_| Err::<(), _>(()))));
    assert!(is_refused(prototype.pe("a")));
    assert!(is_refused(pollster::block_on(prototype.process_async("a", |_| ()))));
    assert!(is_refused(pollster::block_on(prototype.pe_async("a"))));
    let run = prototype.session().run([("b", 5), ("a", 6)], |pe, by| pe.count += by);
    let run = run.unwrap_err();
    assert_eq!((run.processed, run.event), (1, ("a", 6)));
    assert!(is_refused(Err::<(), _>(run.error)));

    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 3);
    assert_eq!(pollster::block_on(prototype.read_async("a", |pe| pe.count)).unwrap(), 3);
    assert_eq!(prototype.read("b", |pe| pe.count).unwrap(), 5);
    assert_eq!(keeper.stats().held_up, 1);
    // It was captured, and is no more stored for that.
    stepped.work();
    assert!(is_refused(stepped.event("a")) && keeper.stats().in_flight > 0);
    storage.complete_late();
    stepped.work();
    assert_eq!(keeper.stats().held_up, 0);
    assert_eq!(stepped.event("a").unwrap(), 4);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn what_is_in_flight_counts_until_it_is_stored() {
    let stepped = Stepped::new(bounded(every(100), 10));
    let Stepped { storage, keeper, .. } = &stepped;
    storage.on_save(2, SaveFault::Late);
    // Due after half, whatever the mode says.
    for _ in 0..5 {
        assert_eq!(keeper.stats().due, 0);
        stepped.event("a").unwrap();
    }
    stepped.work();
    assert_eq!((keeper.stats().in_flight, keeper.stats().held_up), (1, 0));
    assert_eq!(stepped.fill("a"), 5, "beside the five that are in flight");
    storage.complete_late();
    stepped.work();
    // The first five are stored; the other five are in flight now.
    assert_eq!(stepped.fill("a"), 5);
    storage.complete_late();
    stepped.work();
    assert_eq!((keeper.stats().held_up, keeper.stats().stored), (0, 3));
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn what_was_given_up_counts_until_it_is_stored() {
    let stepped = Stepped::new(bounded(every(1), 4));
    let Stepped { storage, keeper, .. } = &stepped;
    storage.on_save(usize::MAX, SaveFault::NotStored(StorageErrorKind::Unavailable));
    stepped.event("a").unwrap();
    stepped.work();
    assert_eq!(stepped.fill("a"), 3);
    for _ in 0..20 {
        stepped.work();
        assert!(is_refused(stepped.event("a")));
    }
    storage.heal();
    assert!(keeper.close(FAIL_SAFE).is_ok());
}

#[test]
fn with_a_bound_of_one_each_event_waits_for_the_one_before() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, bounded(manual(), 1));
    let events = 20;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..events / 2 {
                    prototype.process("a", count_one).unwrap();
                }
            });
        }
    });
    let saves = storage.seen().saves_of("a");
    assert!(saves >= events - 1, "{saves} saves behind {events} events");
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().saves_of("a"), events);
}

#[test]
fn events_wait_until_some_are_stored() {
    let (storage, gate) = (FaultyStorage::new().knowing_absence(), Gate::new());
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage).build().unwrap();
    let config = bounded(manual(), 2).wait_max(Duration::from_secs(3600));
    let prototype = counters(&keeper, config);
    prototype.process("a", count_one).unwrap();
    gate.reached();
    prototype.process("a", count_one).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut event = pin!(prototype.process_async("a", count_one));
    assert!(event.as_mut().poll(&mut context).is_pending());
    std::thread::scope(|scope| {
        let blocking = scope.spawn(|| prototype.process("a", count_one));
        let session = scope.spawn(|| prototype.session().run([("a", 1)], |pe, n| pe.count += n));
        let lent = scope.spawn(|| prototype.pe("a").map(|mut pe| pe.count += 1));
        gate.open();
        pollster::block_on(event).unwrap();
        blocking.join().unwrap().unwrap();
        session.join().unwrap().unwrap();
        lent.join().unwrap().unwrap();
    });
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 6);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn an_event_that_waits_for_too_long_gets_an_error_and_so_does_one_that_waits_at_the_end() {
    const STEP: Duration = Duration::from_secs(1);
    let (storage, gate) = (FaultyStorage::new().knowing_absence(), Gate::new());
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let prototype = counters(&keeper, bounded(manual(), 1).wait_max(5 * STEP));
    prototype.process("a", count_one).unwrap();
    gate.reached();
    let mut context = Context::from_waker(Waker::noop());
    let mut error = None;
    let mut event = pin!(prototype.process_async("a", count_one));
    moving_on(&clock, STEP, "an event waited for too long", || {
        if let Poll::Ready(result) = event.as_mut().poll(&mut context) {
            error = result.err();
            event.set(prototype.process_async("a", count_one));
        }
        error.is_some()
    });
    assert!(is_refused(Err::<(), _>(error.unwrap())));
    assert!(event.as_mut().poll(&mut context).is_pending());
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| keeper.close(FAIL_SAFE));
        let mut ended = None;
        eventually("the event that waits is told", || {
            if let Poll::Ready(result) = event.as_mut().poll(&mut context) {
                ended = Some(result);
            }
            ended.is_some()
        });
        assert!(matches!(ended.unwrap(), Err(ProcessError::Closed { .. })));
        assert_eq!(keeper.stats().stored, 0, "it is told at once");
        gate.open();
        closing.join().unwrap().unwrap();
    });
}

/// Too large a state is at risk for ever, as its error says; as many events more may come until
/// that is known of a later one too.
#[test]
fn a_state_that_cannot_be_stored_is_not_waited_for() {
    let stepped = Stepped::new(bounded(every(1), 2).state_bytes_max(7));
    let Stepped { keeper, .. } = &stepped;
    for _ in 0..10 {
        assert_eq!(stepped.fill("a"), 2);
        stepped.work();
        assert_eq!((keeper.stats().stuck, keeper.stats().held_up), (1, 0));
    }
}

#[test]
fn who_waits_is_told_when_a_full_pe_leaves_its_place() {
    let stepped = Stepped::new(bounded(manual(), 1));
    let Stepped { storage, keeper, prototype } = &stepped;
    storage.on_save(1, SaveFault::Late);
    assert_eq!(stepped.fill("a"), 1);
    let removed = prototype.remove("a").unwrap();
    assert!(removed.outcome().is_none());
    assert_eq!(keeper.stats().held_up, 0);
    // The removal is no event, and what was removed is not at risk.
    assert_eq!(stepped.fill("a"), 1);
    stepped.work();
    assert_eq!(stepped.fill("a"), 0);
    storage.complete_late();
    stepped.work();
    assert_eq!(stepped.fill("b"), 1);
    let panics = || prototype.read("b", |_| -> () { panic!("planned") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert!(matches!(stepped.event("b"), Err(ProcessError::Poisoned { .. })));
    assert_eq!(keeper.stats().held_up, 0);
    prototype.recover("b", Recover::Keep).unwrap();
    assert_eq!(keeper.stats().held_up, 1, "what was kept is as little stored as before");
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn what_is_done_from_time_to_time_waits_too() {
    let storage = FaultyStorage::new().knowing_absence();
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).stepped().build().unwrap();
    let config = bounded(manual(), 2).on_exposed(OnExposed::Reject).build().unwrap();
    let built = keeper.prototype::<String, Counter>("counter").config(config);
    let built = built.create(|_| Counter { count: 0, handle: 0 });
    let built = built.on_time(Duration::from_secs(1), |_, pe| pe.count += 100);
    let prototype = built.build().unwrap();
    let pass = || {
        clock.advance(Duration::from_millis(1001));
        while POOLS.into_iter().any(|pool| keeper.step(pool)) {}
    };
    storage.on_save(1, SaveFault::Late);
    prototype.process("a", count_one).unwrap();
    prototype.process("a", count_one).unwrap();
    pass();
    pass();
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 2);
    storage.complete_late();
    // The first takes in that it is stored.
    pass();
    pass();
    assert!(prototype.read("a", |pe| pe.count).unwrap() >= 102);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn what_a_source_feeds_again_is_not_held_up_and_what_is_new_can_be_fed_again() {
    let stepped = Stepped::new(bounded(manual(), 2));
    let Stepped { storage, keeper, prototype } = &stepped;
    storage.on_save(1, SaveFault::Late);
    let mut source = keeper.source("input").unwrap();
    let mut feed = |position| source.process(prototype, "a", position, count_one);
    for position in 1..=2 {
        feed(position).unwrap();
    }
    let refused = feed(3).unwrap_err();
    assert!(refused.to_string().contains('3'), "{refused}");
    drop(source);
    let mut source = keeper.source("input").unwrap();
    let mut feed = |position| source.process(prototype, "a", position, count_one);
    for position in 1..=2 {
        assert!(feed(position).unwrap().result().is_none(), "it needs no room");
    }
    stepped.work();
    assert!(feed(3).is_err());
    storage.complete_late();
    stepped.work();
    assert!(feed(3).unwrap().result().is_some());
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 3);
    keeper.close(FAIL_SAFE).unwrap();
}
