//! What those who save want of a log's compaction, and what they owe it.
//!
//! Where states are overwritten faster than compaction frees what they were, both take turns: who
//! has saved, and was told that it is done, waits until so much was read that as much is freed.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Alarm, Clock, Timestamp};
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};

/// For each byte that is saved so many are read: of what is compacted at least half is freed.
const READ_PER_SAVED: u64 = 2;
/// Whatever is owed, nobody is kept for longer after one save.
const TURN_MAX: Duration = Duration::from_millis(100);

/// Orders to the thread that compacts, and its accounts.
pub(super) struct Orders {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
    paid: Condvar,
    // Only a hint that spares most saves the lock: what counts is read under that.
    is_behind: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How often there was a reason to look what is to be compacted.
    wanted: u64,
    looked: u64,
    is_ending: bool,
    /// Something is being compacted: whoever waits for that does not wait in vain.
    is_reading: bool,
    /// So many bytes are to be read before more is saved.
    owed_bytes: u64,
}

impl Orders {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let orders = Arc::new(Self {
            clock,
            state: Mutex::default(),
            changed: Condvar::default(),
            paid: Condvar::default(),
            is_behind: AtomicBool::new(false),
        });
        let alarm: Arc<dyn Alarm> = orders.clone();
        orders.clock.watch(Arc::downgrade(&alarm));
        orders
    }

    /// There may be something to compact.
    pub(super) fn want(&self) {
        self.state.lock().wanted += 1;
        self.changed.notify_all();
    }

    /// Whether there is a reason to look again.
    pub(super) fn is_wanted(&self) -> bool {
        let state = self.state.lock();
        state.wanted != state.looked
    }

    /// The thread is to end, and is waited for.
    pub(super) fn end(&self) {
        self.state.lock().is_ending = true;
        self.changed.notify_all();
        self.paid.notify_all();
    }

    /// Waits for an order, or some time. `false` if it is over.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if state.wanted == state.looked {
            self.sleep_in(&mut state, time);
        }
        state.looked = state.wanted;
        !state.is_ending
    }

    /// Lets some time pass, or less if there is an order. `false` if it is over.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        self.sleep_in(&mut state, time);
        !state.is_ending
    }

    fn sleep_in(&self, state: &mut MutexGuard<'_, State>, time: Duration) {
        let wanted = state.wanted;
        let until = self.clock.now().after(time);
        while !state.is_ending && state.wanted == wanted && self.clock.now() < until {
            self.wait_until(&self.changed, state, until);
        }
    }

    fn wait_until(&self, changed: &Condvar, state: &mut MutexGuard<'_, State>, until: Timestamp) {
        match self.clock.sleep_until(until) {
            Some(time) => drop(changed.wait_for(state, time)),
            // The time is moved by hand: that notifies, too.
            None => changed.wait(state),
        }
    }

    /// So much was read in order to compact it, and the log is too large still, or is not.
    pub(super) fn read(&self, bytes: u64, is_behind: bool) {
        let mut state = self.state.lock();
        state.is_reading = true;
        state.owed_bytes = if is_behind { state.owed_bytes.saturating_sub(bytes) } else { 0 };
        self.is_behind.store(is_behind, Ordering::Relaxed);
        if state.owed_bytes == 0 {
            self.paid.notify_all();
        }
    }

    /// Nothing is being read any more.
    pub(super) fn pause(&self) {
        self.state.lock().is_reading = false;
        self.paid.notify_all();
    }

    /// So much was saved. If the log is too large, waits until as much is freed, or a moment.
    pub(super) fn take_turns(&self, saved_bytes: u64) {
        if !self.is_behind.load(Ordering::Relaxed) {
            return;
        }
        let owed_bytes = saved_bytes.saturating_mul(READ_PER_SAVED);
        let mut state = self.state.lock();
        state.owed_bytes = state.owed_bytes.saturating_add(owed_bytes);
        let until = self.clock.now().after(TURN_MAX);
        while state.owed_bytes > 0
            && state.is_reading
            && !state.is_ending
            && self.clock.now() < until
        {
            self.wait_until(&self.paid, &mut state, until);
        }
    }
}

impl Alarm for Orders {
    fn time_changed(&self) {
        // Whoever looks at the time just now has the lock, and waits when it is free.
        drop(self.state.lock());
        self.changed.notify_all();
        self.paid.notify_all();
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

    use super::*;
    use crate::clock::TestClock;
    use crate::sync::thread::Builder;

    /// Who saves a byte in another thread, and says when he may go on.
    fn saving(orders: &Arc<Orders>) -> Receiver<()> {
        let orders = Arc::clone(orders);
        let (told, goes_on) = mpsc::channel();
        let save = move || {
            orders.take_turns(1);
            told.send(()).unwrap();
        };
        Builder::new().spawn(save).unwrap();
        goes_on
    }

    fn owed(orders: &Orders) -> u64 {
        orders.state.lock().owed_bytes
    }

    fn until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn assert_waits(saving: &Receiver<()>) {
        let waited = saving.recv_timeout(Duration::from_millis(10));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
    }

    #[test]
    fn who_saves_too_fast_waits_until_twice_as_much_is_read() {
        let orders = Orders::new(Arc::new(TestClock::new()));
        orders.read(1, false);
        // Nothing is owed.
        saving(&orders).recv().unwrap();
        orders.read(1, true);
        let saving = saving(&orders);
        until(|| owed(&orders) == 2);
        orders.read(1, true);
        assert_waits(&saving);
        orders.read(1, true);
        saving.recv().unwrap();
    }

    #[test]
    fn nobody_waits_longer_than_a_moment_or_for_what_stands_still() {
        let clock = Arc::new(TestClock::new());
        let orders = Orders::new(clock.clone());
        orders.read(1, true);
        let held_up = saving(&orders);
        until(|| owed(&orders) == 2);
        clock.advance(TURN_MAX / 2);
        assert_waits(&held_up);
        clock.advance(TURN_MAX / 2);
        held_up.recv().unwrap();
        let held_up = saving(&orders);
        until(|| owed(&orders) == 4);
        assert_waits(&held_up);
        // What it reads cannot be read, or another has the turn.
        orders.pause();
        held_up.recv().unwrap();
        saving(&orders).recv().unwrap();
        // It goes on, and what was saved meanwhile is not forgotten, until the log is small enough.
        orders.read(1, true);
        assert_eq!(owed(&orders), 5);
        orders.read(1, false);
        assert_eq!(owed(&orders), 0);
    }
}
