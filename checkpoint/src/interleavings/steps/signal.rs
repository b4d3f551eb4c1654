//! `Signal`: nobody who waits is forgotten.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use super::every_order;
use crate::clock::{Clock, SystemClock, TestClock, Timestamp};
use crate::sync::thread;
use crate::wait::Signal;

fn start<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().spawn(body).unwrap()
}

#[test]
fn a_result_reaches_who_waits_before_and_who_waits_after() {
    every_order(3, || {
        let signal = Signal::new();
        let waiter = start({
            let signal = signal.clone();
            move || signal.wait(&SystemClock::new(), None)
        });
        signal.finish(1);
        assert_eq!(signal.wait(&SystemClock::new(), None), Some(1));
        assert_eq!(waiter.join().unwrap(), Some(1));
    });
}

#[test]
fn of_two_results_all_get_the_same() {
    every_order(3, || {
        let signal = Signal::new();
        let other = start({
            let signal = signal.clone();
            move || {
                signal.finish(2);
                signal.result()
            }
        });
        let waiter = start({
            let signal = signal.clone();
            move || signal.wait(&SystemClock::new(), None)
        });
        signal.finish(1);
        let result = signal.result();
        assert!(matches!(result, Some(1 | 2)));
        assert_eq!(other.join().unwrap(), result);
        assert_eq!(waiter.join().unwrap(), result);
    });
}

#[test]
fn a_waiter_that_gives_up_takes_nobody_elses_place() {
    every_order(3, || {
        let signal = Signal::new();
        let waiter = start({
            let signal = signal.clone();
            move || signal.wait(&SystemClock::new(), None)
        });
        let gives_up = start({
            let signal = signal.clone();
            move || {
                let mut wait = signal.into_future();
                let _first = Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop()));
            }
        });
        signal.finish(());
        gives_up.join().unwrap();
        assert_eq!(waiter.join().unwrap(), Some(()));
    });
}

#[test]
fn a_time_that_is_moved_by_hand_ends_a_wait() {
    every_order(3, || {
        let clock = std::sync::Arc::new(TestClock::new());
        let signal = Signal::<()>::new();
        let waiter = start({
            let (clock, signal) = (clock.clone(), signal.clone());
            move || signal.wait(&*clock, Some(Timestamp::new(Duration::from_secs(1))))
        });
        clock.advance(Duration::from_secs(1));
        assert_eq!(waiter.join().unwrap(), None);
        assert_eq!(clock.now(), Timestamp::new(Duration::from_secs(1)));
    });
}

#[test]
fn a_nudge_makes_a_future_look_again() {
    every_order(3, || {
        let signal = Signal::<()>::new();
        let nudged = std::sync::Arc::new(crate::sync::AtomicBool::new(false));
        let waiter = start({
            let (signal, nudged) = (signal.clone(), nudged.clone());
            move || {
                let mut wait = signal.into_future();
                // A future with a deadline: it ends by itself when it is made to look.
                let looks = std::future::poll_fn(move |context| {
                    let pending = Pin::new(&mut wait).poll(context).is_pending();
                    // Acquire: pairs with the store below.
                    if pending && !nudged.load(crate::sync::Ordering::Acquire) {
                        return std::task::Poll::Pending;
                    }
                    std::task::Poll::Ready(())
                });
                crate::wait::block_on(looks, &SystemClock::new(), None).is_ok()
            }
        });
        nudged.store(true, crate::sync::Ordering::Release);
        signal.nudge();
        assert!(waiter.join().unwrap());
    });
}
