//! How old a change may get that is not stored (P9, H5): it is stored in time, and while it is not,
//! events are held up or refused.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use checkpoint::{
    CheckpointingConfigBuilder, InMemoryStorage, OnExposed, PePrototype, Pool, ProcessError,
    SafeKeeper, TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, Gate, SaveFault, counters, eventually, every, manual,
    moving_on, settings,
};

const BOUND: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_secs(1);

/// A keeper that has one change which the storage does not store before `gate` is opened.
struct Exposed {
    keeper: SafeKeeper,
    prototype: PePrototype<String, Counter>,
    clock: Arc<TestClock>,
    gate: Gate,
}

impl Exposed {
    fn new(policy: OnExposed) -> Self {
        let (storage, gate) = (FaultyStorage::new(), Gate::new());
        storage.on_save(1, SaveFault::Held(gate.clone()));
        let clock = Arc::new(TestClock::new());
        let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
        let config = bounded(every(1)).on_exposed(policy).wait_max(Duration::from_secs(3600));
        let prototype = counters(&keeper, config);
        prototype.process("a", |pe| pe.count = 1).unwrap();
        gate.reached();
        Self { keeper, prototype, clock, gate }
    }

    /// Lets so much time pass that the change is too old.
    fn until_refused(&self) -> ProcessError {
        let mut refused = None;
        moving_on(&self.clock, STEP, "a change is too old", || {
            refused = self.prototype.process("b", |pe| pe.count += 1).err();
            refused.is_some()
        });
        refused.unwrap()
    }
}

fn count_one(pe: &mut Counter) {
    pe.count += 1;
}

fn bounded(config: CheckpointingConfigBuilder) -> CheckpointingConfigBuilder {
    config.exposure_max(BOUND)
}

fn is_exposed<T: std::fmt::Debug>(result: Result<T, ProcessError>) -> bool {
    match result {
        Err(ProcessError::Exposed { oldest, exposure_max, .. }) => {
            assert!(oldest > exposure_max && exposure_max == BOUND);
            true
        }
        Err(error) => panic!("{error}"),
        Ok(_) => false,
    }
}

#[test]
fn every_way_to_change_something_is_refused_while_a_change_is_too_old_and_reads_are_not() {
    let exposed = Exposed::new(OnExposed::Reject);
    let Exposed { keeper, prototype, clock, gate } = &exposed;
    let error = exposed.until_refused();
    assert!(error.to_string().contains("`counter`"), "{error}");
    assert!(is_exposed(Err::<(), _>(error)));
    assert!(is_exposed(prototype.try_process("b", |_| Ok::<_, ()>(()))));
    assert!(is_exposed(prototype.pe("b")));
    assert!(is_exposed(pollster::block_on(prototype.process_async("new", |_| ()))));
    let run = prototype.session().run([("a", 5), ("b", 6)], |pe, by| pe.count += by);
    let run = run.unwrap_err();
    assert_eq!((run.processed, run.event, run.behind.len()), (0, ("a", 5), 1));
    assert!(is_exposed(Err::<(), _>(run.error)));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
    assert_eq!(pollster::block_on(prototype.read_async("a", |pe| pe.count)).unwrap(), 1);

    gate.open();
    moving_on(clock, STEP, "events are let in again", || {
        prototype.process("a", |pe| pe.count += 1).is_ok()
    });
    assert!(keeper.close(FAIL_SAFE).is_ok());
}

#[test]
fn events_are_not_refused_before_the_bound() {
    let exposed = Exposed::new(OnExposed::Reject);
    for _ in 0..9 {
        exposed.clock.advance(STEP);
        exposed.prototype.process("b", |pe| pe.count += 1).unwrap();
    }
    exposed.until_refused();
    exposed.gate.open();
}

/// Ages are exact to 100 ms here, and so is the time of the look at them.
#[test]
fn events_are_refused_soon_after_the_bound_and_let_in_as_soon_as_all_is_stored() {
    let storage = FaultyStorage::new().knowing_absence();
    storage.on_save(1, SaveFault::Late);
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).stepped().build().unwrap();
    let prototype = counters(&keeper, bounded(every(1)).on_exposed(OnExposed::Reject));
    let pass = |millis| {
        clock.advance(Duration::from_millis(millis));
        let pools = [Pool::Timing, Pool::Serialization, Pool::Storage, Pool::Fetching];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    prototype.process("a", |pe| pe.count = 1).unwrap();
    pass(0);
    for _ in 0..99 {
        pass(100);
    }
    prototype.process("a", |pe| pe.count = 2).unwrap();
    pass(100);
    pass(100);
    pass(100);
    assert!(is_exposed(prototype.process("a", |pe| pe.count = 3)));
    storage.complete_late();
    pass(0);
    // Nothing is older than a moment now.
    prototype.process("a", |pe| pe.count = 3).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn events_wait_until_what_was_too_old_is_stored() {
    let exposed = Exposed::new(OnExposed::Block);
    let Exposed { keeper, prototype, clock, gate } = &exposed;
    let mut event = pin!(prototype.process_async("a", count_one));
    let mut events = 0;
    let mut context = Context::from_waker(Waker::noop());
    moving_on(clock, STEP, "an event waits", || match event.as_mut().poll(&mut context) {
        Poll::Pending => true,
        Poll::Ready(result) => {
            result.unwrap();
            events += 1;
            event.set(prototype.process_async("a", count_one));
            false
        }
    });
    std::thread::scope(|scope| {
        let blocking = scope.spawn(|| prototype.process("a", |pe| pe.count += 1));
        let session = scope.spawn(|| prototype.session().run([("a", 1)], |pe, n| pe.count += n));
        let lent = scope.spawn(|| prototype.pe("a").map(|mut pe| pe.count += 1));
        gate.open();
        let mut is_done = false;
        moving_on(clock, STEP, "the event goes on", || {
            if !is_done && let Poll::Ready(result) = event.as_mut().poll(&mut context) {
                result.unwrap();
                is_done = true;
            }
            is_done && blocking.is_finished() && session.is_finished() && lent.is_finished()
        });
        blocking.join().unwrap().unwrap();
        session.join().unwrap().unwrap();
        lent.join().unwrap().unwrap();
    });
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1 + events + 4);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn an_event_that_waits_for_too_long_gets_an_error_and_so_does_one_that_waits_at_the_end() {
    // Nothing is fetched: a thread that is late would let the event wait for that instead.
    let (storage, gate) = (FaultyStorage::new().knowing_absence(), Gate::new());
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let prototype = counters(&keeper, bounded(every(1)).wait_max(BOUND));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    gate.reached();
    let mut context = Context::from_waker(Waker::noop());
    let mut error = None;
    let mut event = pin!(prototype.process_async("b", count_one));
    moving_on(&clock, STEP, "an event waited for too long", || {
        if let Poll::Ready(result) = event.as_mut().poll(&mut context) {
            error = result.err();
            event.set(prototype.process_async("b", count_one));
        }
        error.is_some()
    });
    assert!(is_exposed(Err::<(), _>(error.unwrap())));
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
        gate.open();
        closing.join().unwrap().unwrap();
    });
}

#[test]
fn a_change_is_stored_after_half_the_bound_in_every_mode() {
    for config in [manual(), every(1000)] {
        let storage = FaultyStorage::new();
        let clock = Arc::new(TestClock::new());
        let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
        let prototype = counters(&keeper, bounded(config));
        prototype.process("a", |pe| pe.count = 1).unwrap();
        for _ in 0..5 {
            clock.advance(STEP);
        }
        storage.until("it is stored", |seen| seen.saves_of("a") == 1);
        keeper.close(FAIL_SAFE).unwrap();
    }
}

/// Too large a state is at risk for ever, as its error says; the others go on.
#[test]
fn a_state_that_cannot_be_stored_holds_up_nobody() {
    let clock = Arc::new(TestClock::new());
    let builder = SafeKeeper::builder(InMemoryStorage::new()).clock(clock.clone());
    let keeper = builder.stepped().build().unwrap();
    let config = bounded(every(1)).on_exposed(OnExposed::Reject).state_bytes_max(7);
    let prototype = counters(&keeper, config);
    let time = |seconds| {
        for _ in 0..seconds {
            clock.advance(STEP);
            while [Pool::Timing, Pool::Serialization, Pool::Storage]
                .into_iter()
                .any(|pool| keeper.step(pool))
            {}
        }
    };
    prototype.process("a", |pe| pe.count = 1).unwrap();
    time(1);
    assert_eq!(keeper.stats().stuck, 1);
    time(30);
    prototype.process("b", |pe| pe.count = 1).unwrap();
}
