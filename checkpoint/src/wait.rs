//! The one way to wait for something that happens once, for threads and for futures alike.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::clock::{Alarm, Clock, Timestamp};
use crate::sync::Mutex;
use crate::sync::thread::{self, Thread};

/// Something that happens once and has a result that each waiter gets.
pub(crate) struct Signal<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    result: Option<T>,
    next_waiter: u64,
    wakers: Vec<(u64, Waker)>,
}

impl<T: Clone> Signal<T> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { result: None, next_waiter: 0, wakers: Vec::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Wakes all waiters with this result; only the first call has an effect.
    pub(crate) fn finish(&self, result: T) {
        let wakers = {
            let mut state = self.state.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result);
            std::mem::take(&mut state.wakers)
        };
        // Outside the lock: a waker may run its task at once.
        wake_all(wakers);
    }

    /// Makes the futures that wait look at their deadlines.
    pub(crate) fn nudge(&self) {
        // Taken out rather than cloned, which would run an executor's code under the lock: whoever
        // is woken looks again, and registers anew.
        let wakers = std::mem::take(&mut self.state.lock().wakers);
        wake_all(wakers);
    }

    pub(crate) fn result(&self) -> Option<T> {
        self.state.lock().result.clone()
    }

    /// Waits on this thread; `None` if it is `deadline` first.
    pub(crate) fn wait(
        self: &Arc<Self>,
        clock: &dyn Clock,
        deadline: Option<Timestamp>,
    ) -> Option<T> {
        // The future's drop takes its waker out again.
        block_on(self.clone().into_future(), clock, deadline).ok()
    }

    pub(crate) fn into_future(self: Arc<Self>) -> Wait<T> {
        Wait { signal: self, waiter: None }
    }
}

/// Polls a future on this thread until it is ready, or gives it back after a last poll at
/// `deadline`.
pub(crate) fn block_on<F: Future + Unpin>(
    mut future: F,
    clock: &dyn Clock,
    deadline: Option<Timestamp>,
) -> Result<F::Output, F> {
    let waker = Arc::new(ThreadWaker(thread::current()));
    let alarm: Arc<dyn Alarm> = waker.clone();
    let mut watching = false;
    let task_waker = Waker::from(waker);
    loop {
        // Before the poll: what comes between the two is seen by the poll.
        let is_last = deadline.is_some_and(|deadline| clock.now() >= deadline);
        if let Poll::Ready(result) =
            Pin::new(&mut future).poll(&mut Context::from_waker(&task_waker))
        {
            return Ok(result);
        }
        if is_last {
            return Err(future);
        }
        match deadline.map(|deadline| clock.sleep_until(deadline)) {
            Some(Some(time)) => thread::park_timeout(time),
            // Watch, then look again: the time may have been moved in between.
            Some(None) if !watching => {
                clock.watch(Arc::downgrade(&alarm));
                watching = true;
            }
            Some(None) | None => thread::park(),
        }
    }
}

fn wake_all(wakers: Vec<(u64, Waker)>) {
    for (_, waker) in wakers {
        // An executor's code: a panic in it must not keep the others from being woken.
        if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!(target: "checkpoint", "a waker panicked");
        }
    }
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Alarm for ThreadWaker {
    fn time_changed(&self) {
        self.0.unpark();
    }
}

/// Waits for a [`Signal`]; can be dropped at any time.
pub(crate) struct Wait<T> {
    signal: Arc<Signal<T>>,
    // Set while a waker is registered.
    waiter: Option<u64>,
}

impl<T: Clone> Future for Wait<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let wait = &mut *self;
        if let Some(result) = wait.signal.result() {
            return Poll::Ready(result);
        }
        // Cloned, and an old one dropped, with no lock held: both are an executor's code, which may
        // look at this very signal.
        let waker = context.waker().clone();
        let not_needed = {
            let mut state = wait.signal.state.lock();
            if let Some(result) = &state.result {
                return Poll::Ready(result.clone());
            }
            let registered = wait
                .waiter
                .and_then(|id| state.wakers.iter_mut().find(|(waiter, _)| *waiter == id));
            match registered {
                Some((_, registered)) => Some(std::mem::replace(registered, waker)),
                None => {
                    let id = state.next_waiter;
                    state.next_waiter += 1;
                    state.wakers.push((id, waker));
                    wait.waiter = Some(id);
                    None
                }
            }
        };
        drop(not_needed);
        Poll::Pending
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        let Some(id) = self.waiter else { return };
        let not_needed = {
            let wakers = &mut self.signal.state.lock().wakers;
            let registered = wakers.iter().position(|(waiter, _)| *waiter == id);
            registered.map(|index| wakers.swap_remove(index))
        };
        drop(not_needed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_first_result_counts_and_reaches_everybody() {
        let signal = Signal::new();
        signal.finish(1);
        signal.finish(2);
        let clock = SystemClock::new();
        assert_eq!(signal.wait(&clock, None), Some(1));
        assert_eq!(signal.wait(&clock, Some(Timestamp::default())), Some(1));
    }

    /// A waker that looks whether the signal is locked when it is dropped.
    struct Looks {
        signal: Arc<Signal<()>>,
        was_locked: Arc<Mutex<Vec<bool>>>,
    }

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            let is_locked = self.signal.state.try_lock().is_none();
            self.was_locked.lock().push(is_locked);
        }
    }

    #[test]
    fn wakers_are_dropped_with_no_lock_held() {
        let signal = Signal::<()>::new();
        let was_locked = Arc::new(Mutex::new(Vec::new()));
        let looks = || {
            Waker::from(Arc::new(Looks { signal: signal.clone(), was_locked: was_locked.clone() }))
        };
        let poll = |wait: &mut Wait<()>| {
            let waker = looks();
            assert!(Pin::new(wait).poll(&mut Context::from_waker(&waker)).is_pending());
        };
        let mut wait = signal.clone().into_future();
        poll(&mut wait);
        poll(&mut wait);
        assert_eq!(*was_locked.lock(), [false], "the first one was replaced");
        signal.nudge();
        assert_eq!(*was_locked.lock(), [false, false]);
        poll(&mut wait);
        drop(wait);
        assert_eq!(*was_locked.lock(), [false, false, false]);
    }

    #[test]
    fn who_was_nudged_is_woken_again() {
        let signal = Signal::<()>::new();
        let mut wait = signal.clone().into_future();
        let mut poll = || Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        signal.nudge();
        assert!(poll().is_pending());
        assert_eq!(signal.state.lock().wakers.len(), 1);
        signal.finish(());
        assert!(poll().is_ready());
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_nothing_behind() {
        let signal = Signal::<()>::new();
        let clock = SystemClock::new();
        let deadline = clock.now().after(Duration::from_millis(1));
        assert_eq!(signal.wait(&clock, Some(deadline)), None);
        let mut wait = Box::pin(signal.clone().into_future());
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(signal.state.lock().wakers.len(), 1);
        drop(wait);
        assert!(signal.state.lock().wakers.is_empty());
    }
}
