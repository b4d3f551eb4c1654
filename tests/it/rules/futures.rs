//! Futures need no executor, can be dropped at any time, and know their deadline; guards travel.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use checkpoint::{
    CheckpointTicket, PeGuard, PePrototype, ProcessError, Recover, SafeKeeper, Session,
    StateVersion, TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, Gate, SaveFault, counted, counters, eventually,
    manual, moving_on, settings,
};

const WAIT_MAX: Duration = Duration::from_secs(3);

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: F) -> F::Output {
    match poll_once(std::pin::pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready at its first poll"),
    }
}

#[derive(Default)]
struct CountedWakes(AtomicUsize);

impl Wake for CountedWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_future_for_a_resident_pe_is_ready_at_its_first_poll() {
    let (storage, gate) = (FaultyStorage::new(), Gate::new());
    // Once a removal is stored, nothing is known of the PE any more.
    storage.on_save(1, SaveFault::Held(gate.clone()));
    // Nobody looks after the PEs meanwhile, who would have their lock.
    let keeper = settings(&storage).clock(Arc::new(TestClock::new())).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    assert_eq!(
        ready(prototype.process_async("a", |pe| {
            pe.count += 1;
            pe.count
        }))
        .unwrap(),
        2
    );
    ready(prototype.pe_async("a")).unwrap().count += 1;
    drop(ready(prototype.remove_async("a")).unwrap());
    eventually("the removal is at the storage", || storage.seen().saves == 1);
    // Known to be removed: nothing is to be fetched.
    assert_eq!(ready(prototype.process_async("a", |pe| pe.count)).unwrap(), 0);
    gate.open();
}

#[test]
fn a_future_that_is_never_polled_does_nothing() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    drop(prototype.process_async("a", |pe| pe.count = 1));
    assert_eq!(storage.seen().fetches, 0);
    assert!(prototype.is_empty());
}

#[test]
fn a_future_that_is_dropped_while_it_waits_has_not_run_and_takes_nothing_with_it() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_fetch(1, FetchFault::Held(gate.clone()));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    for polls in 1..4 {
        let mut event = Box::pin(prototype.process_async("a", |pe| pe.count += 100));
        for _ in 0..polls {
            assert!(poll_once(event.as_mut()).is_pending());
        }
    }
    let mut lent = Box::pin(prototype.pe_async("a"));
    assert!(poll_once(lent.as_mut()).is_pending());
    drop(lent);
    let mut stays = Box::pin(prototype.process_async("a", |pe| {
        pe.count += 1;
        pe.count
    }));
    assert!(poll_once(stays.as_mut()).is_pending());
    gate.open();
    assert_eq!(pollster::block_on(stays).unwrap(), 1);
    assert_eq!(storage.seen().fetches, 1, "all waited for one fetch");
    assert_eq!(keeper.stats().checked_out, 0);
}

#[test]
fn a_future_whose_pe_is_lent_out_is_woken_when_it_is_back_and_says_busy_at_the_deadline() {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&FaultyStorage::new()).clock(clock.clone()).build().unwrap();
    let prototype = counters(&keeper, manual().wait_max(WAIT_MAX));
    let guard = prototype.pe("a").unwrap();
    let wakes = Arc::new(CountedWakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut event = Box::pin(prototype.process_async("a", |pe| pe.count += 1));
    assert!(event.as_mut().poll(&mut context).is_pending());
    clock.advance(WAIT_MAX - Duration::from_millis(1));
    assert!(event.as_mut().poll(&mut context).is_pending());
    clock.advance(Duration::from_millis(1));
    eventually("it is woken", || wakes.0.load(Ordering::Relaxed) > 0);
    match event.as_mut().poll(&mut context) {
        Poll::Ready(Err(ProcessError::Busy { id, since })) => {
            assert_eq!((id.key(), since), (&b"a"[..], WAIT_MAX));
        }
        other => panic!("{other:?}"),
    }
    let mut event = Box::pin(prototype.process_async("a", |pe| pe.count += 1));
    assert!(event.as_mut().poll(&mut context).is_pending());
    let before = wakes.0.load(Ordering::Relaxed);
    drop(guard);
    assert!(wakes.0.load(Ordering::Relaxed) > before);
    assert!(event.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_blocking_call_whose_pe_is_lent_out_says_busy_and_other_keys_go_on() {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&FaultyStorage::new()).clock(clock.clone()).build().unwrap();
    let prototype = counters(&keeper, manual().wait_max(WAIT_MAX).shards(1));
    let guard = prototype.pe("a").unwrap();
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.process("a", |_| ()));
        let lend = scope.spawn(|| prototype.pe("a").map(drop));
        prototype.process("b", |pe| pe.count += 1).unwrap();
        moving_on(&clock, WAIT_MAX, "their time is up", || {
            event.is_finished() && lend.is_finished()
        });
        assert!(matches!(event.join().unwrap(), Err(ProcessError::Busy { .. })));
        assert!(matches!(lend.join().unwrap(), Err(ProcessError::Busy { .. })));
    });
    let out = prototype.checked_out(WAIT_MAX);
    assert_eq!((out.len(), out[0].0.key()), (1, &b"a"[..]));
    drop(guard);
    assert!(prototype.checked_out(Duration::ZERO).is_empty());
}

#[test]
fn a_future_with_a_near_deadline_is_not_held_up_by_one_with_a_far_one() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let prototype = counters(&keeper, manual().wait_max(WAIT_MAX));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let mut flushes: Vec<_> =
        (0..3).map(|_| Box::pin(prototype.flush_async(1000 * WAIT_MAX))).collect();
    for flush in &mut flushes {
        assert!(poll_once(flush.as_mut()).is_pending());
    }
    let guard = prototype.pe("b").unwrap();
    let wakes = Arc::new(CountedWakes::default());
    let waker = Waker::from(wakes.clone());
    let mut event = Box::pin(prototype.process_async("b", |_| ()));
    assert!(event.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    clock.advance(WAIT_MAX);
    eventually("it is woken", || wakes.0.load(Ordering::Relaxed) > 0);
    gate.open();
    drop(guard);
    for flush in flushes {
        pollster::block_on(flush).unwrap();
    }
}

#[test]
fn a_guard_can_be_given_to_another_thread_and_dropped_there() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    let mut guard = prototype.pe("a").unwrap();
    guard.count = 1;
    thread::scope(|scope| {
        scope.spawn(move || {
            guard.count += 1;
            drop(guard);
        });
    });
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 2);
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 1);
}

#[test]
fn a_guard_dropped_under_a_session_of_another_prototype_is_not_lost() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let (one, two) = (counters(&keeper, manual()), counted(&keeper, "two", manual()));
    let mut guard = Some(two.pe("a").unwrap());
    guard.as_mut().unwrap().count = 5;
    one.session()
        .run([("x", ()), ("y", ())], |pe, ()| {
            pe.count += 1;
            drop(guard.take());
        })
        .unwrap();
    assert_eq!(two.read("a", |pe| pe.count).unwrap(), 5);
}

#[test]
fn a_guard_that_was_only_read_is_no_event() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, crate::support::every(1));
    assert_eq!(prototype.pe("a").unwrap().count, 0);
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().saves, 0);
}

#[test]
fn a_future_that_is_polled_after_its_end_says_so_and_harms_no_pe() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    let mut event = Box::pin(prototype.process_async("a", |pe| pe.count += 1));
    assert!(pollster::block_on(event.as_mut()).is_ok());
    let again = catch_unwind(AssertUnwindSafe(|| poll_once(event.as_mut())));
    assert!(again.is_err(), "it has no second result");
    let mut lent = Box::pin(prototype.pe_async("a"));
    drop(pollster::block_on(lent.as_mut()).unwrap());
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(lent.as_mut()))).is_err());
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
}

/// Not called: it compiles only if a future does not borrow the key that it was given.
#[expect(dead_code, reason = "compiling is the test")]
fn futures_can_be_spawned_with_a_borrowed_key(
    prototype: &PePrototype<String, Counter>,
    key: &str,
    version: StateVersion,
) {
    fn is_spawnable<F: Future + Send + 'static>(_: F) {}
    is_spawnable(prototype.process_async(key, |pe| pe.count));
    is_spawnable(prototype.try_process_async(key, |pe| if pe.count > 0 { Ok(()) } else { Err(0) }));
    is_spawnable(prototype.read_async(key, |pe| pe.count));
    is_spawnable(prototype.pe_async(key));
    is_spawnable(prototype.remove_async(key));
    is_spawnable(prototype.reset_async(key));
    is_spawnable(prototype.recover_async(key, Recover::Reload));
    is_spawnable(prototype.restore_version_async(key, version));
    is_spawnable(prototype.flush_async(Duration::ZERO));
    drop(prototype.checkpoint_async(key).map(is_spawnable));
}

/// Not called: it compiles only if all of this is so.
#[expect(dead_code, reason = "compiling is the test")]
fn handles_guards_and_futures_go_where_they_may(prototype: &PePrototype<String, Counter>) {
    fn is_send<T: Send>(_: &T) {}
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<SafeKeeper>();
    is_send_and_sync::<PePrototype<String, Counter>>();
    // A PE needs not be `Sync`.
    is_send_and_sync::<PePrototype<String, std::cell::Cell<u64>>>();
    is_send_and_sync::<CheckpointTicket>();
    is_send_and_sync::<ProcessError>();
    is_send::<Option<PeGuard<String, Counter>>>(&None);
    is_send::<Option<PeGuard<String, std::cell::Cell<u64>>>>(&None);
    is_send(&prototype.process_async("a", |pe| pe.count));
    is_send(&prototype.pe_async("a"));
    is_send(&prototype.remove_async("a"));
    is_send(&prototype.reset_async("a"));
    is_send(&prototype.flush_async(Duration::ZERO));
    // The closure need not be `'static`, and decides whether the future is `Send`.
    let mut local = std::rc::Rc::new(0);
    drop(
        prototype.process_async("a", |pe| std::rc::Rc::make_mut(&mut local).clone_from(&pe.count)),
    );
    drop(prototype.session());
    fn is_static<T: 'static>() {}
    is_static::<PeGuard<String, Counter>>();
    is_static::<Session<'static, String, Counter>>();
}
