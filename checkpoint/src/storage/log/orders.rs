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
    // Changes under the lock only, and is a hint without it, which spares most saves the lock.
    is_behind: AtomicBool,
}

/// How a sleep has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slept {
    /// It has lasted for as long as it was to.
    Enough,
    /// There is another order, which may have changed how long that is.
    Ordered,
    /// Everything is over.
    Ended,
}

/// What the thread does that compacts, for those who might wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reader {
    /// There is none, or it waits for others itself: nobody waits for it.
    #[default]
    Away,
    /// It compacts nothing, but looks whether it is to as soon as there is an order.
    Ready,
    /// It looks what is to be compacted, or compacts that.
    Reading,
}

#[derive(Default)]
struct State {
    /// How often there was a reason to look what is to be compacted.
    wanted: u64,
    looked: u64,
    is_ending: bool,
    reader: Reader,
    /// So many bytes are to be read before more is saved.
    owed_bytes: u64,
}

impl State {
    /// Whether something is read, or will be.
    fn is_worth_waiting(&self) -> bool {
        let is_reading = match self.reader {
            Reader::Away => false,
            Reader::Ready => self.wanted != self.looked,
            Reader::Reading => true,
        };
        is_reading && !self.is_ending
    }
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

    /// There may be something to compact, or the log may be too large.
    pub(super) fn want(&self, is_behind: bool) {
        let mut state = self.state.lock();
        state.wanted += 1;
        if is_behind {
            self.is_behind.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// How many orders there were so far.
    pub(super) fn wanted(&self) -> u64 {
        self.state.lock().wanted
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
        let looked = self.state.lock().looked;
        let slept = self.sleep_until(self.clock.now().after(time), looked);
        let mut state = self.state.lock();
        state.looked = state.wanted;
        slept != Slept::Ended
    }

    /// Lets time pass until then, or until there are more than so many orders: whoever knew of as
    /// many when he decided how long it is to be misses none.
    pub(super) fn sleep_until(&self, until: Timestamp, wanted: u64) -> Slept {
        let mut state = self.state.lock();
        loop {
            if state.is_ending {
                return Slept::Ended;
            }
            if self.clock.now() >= until {
                return Slept::Enough;
            }
            if state.wanted != wanted {
                return Slept::Ordered;
            }
            self.wait_until(&self.changed, &mut state, until);
        }
    }

    fn wait_until(&self, changed: &Condvar, state: &mut MutexGuard<'_, State>, until: Timestamp) {
        match self.clock.sleep_until(until) {
            Some(time) => {
                changed.wait_for(state, time);
            }
            // The time is moved by hand: that notifies, too.
            None => changed.wait(state),
        }
    }

    /// So much was read in order to compact it; and the log was too large still, or was not, when
    /// there were so many orders.
    pub(super) fn read(&self, bytes: u64, is_behind: bool, wanted: u64) {
        let mut state = self.state.lock();
        // Another order may be because it is too large again.
        let is_behind = is_behind || state.wanted != wanted;
        self.pay(&mut state, bytes, is_behind);
    }

    fn pay(&self, state: &mut State, bytes: u64, is_behind: bool) {
        state.owed_bytes = if is_behind { state.owed_bytes.saturating_sub(bytes) } else { 0 };
        self.is_behind.store(is_behind, Ordering::Relaxed);
        if state.owed_bytes == 0 {
            self.paid.notify_all();
        }
    }

    /// Says what the thread does now.
    pub(super) fn be(&self, reader: Reader) {
        let mut state = self.state.lock();
        state.reader = reader;
        if reader == Reader::Ready && state.wanted == state.looked {
            // There was nothing to compact, or it cannot be: nothing is owed for that.
            self.pay(&mut state, 0, false);
        }
        self.paid.notify_all();
    }

    /// So much was saved. If the log is too large, waits until as much is freed, or a moment.
    pub(super) fn take_turns(&self, saved_bytes: u64) {
        if !self.is_behind.load(Ordering::Relaxed) {
            return;
        }
        let owed_bytes = saved_bytes.saturating_mul(READ_PER_SAVED);
        let mut state = self.state.lock();
        // Who is not behind any more sleeps, and wakes nobody whose debt comes after that.
        if !self.is_behind.load(Ordering::Relaxed) {
            return;
        }
        state.owed_bytes = state.owed_bytes.saturating_add(owed_bytes);
        let until = self.clock.now().after(TURN_MAX);
        while state.owed_bytes > 0 && state.is_worth_waiting() && self.clock.now() < until {
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
            // The test may have failed.
            let _over = told.send(());
        };
        assert!(Builder::new().spawn(save).is_ok());
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
        orders.be(Reader::Reading);
        orders.read(1, false, orders.wanted());
        // Nothing is owed.
        saving(&orders).recv().unwrap();
        orders.read(1, true, orders.wanted());
        let saving = saving(&orders);
        until(|| owed(&orders) == 2);
        orders.read(1, true, orders.wanted());
        assert_waits(&saving);
        orders.read(1, true, orders.wanted());
        saving.recv().unwrap();
    }

    #[test]
    fn nobody_waits_longer_than_a_moment_or_for_what_stands_still() {
        let clock = Arc::new(TestClock::new());
        let orders = Orders::new(clock.clone());
        orders.be(Reader::Reading);
        orders.read(1, true, orders.wanted());
        let held_up = saving(&orders);
        until(|| owed(&orders) == 2);
        clock.advance(TURN_MAX / 2);
        assert_waits(&held_up);
        clock.advance(TURN_MAX / 2);
        held_up.recv().unwrap();
        let held_up = saving(&orders);
        until(|| owed(&orders) == 4);
        assert_waits(&held_up);
        // Another compacts, or is not to be disturbed.
        orders.be(Reader::Away);
        held_up.recv().unwrap();
        saving(&orders).recv().unwrap();
        // It goes on, and what was saved meanwhile is not forgotten, until the log is small enough.
        orders.be(Reader::Reading);
        orders.read(1, true, orders.wanted());
        assert_eq!(owed(&orders), 5);
        orders.read(1, false, orders.wanted());
        assert_eq!(owed(&orders), 0);
    }

    #[test]
    fn who_has_made_the_log_too_large_waits_until_it_was_looked_what_there_is_to_do() {
        let orders = Orders::new(Arc::new(TestClock::new()));
        orders.be(Reader::Ready);
        orders.want(true);
        let held_up = saving(&orders);
        until(|| owed(&orders) == 2);
        assert_waits(&held_up);
        assert!(orders.wait(Duration::MAX));
        orders.be(Reader::Reading);
        assert_waits(&held_up);
        // There is nothing.
        orders.be(Reader::Ready);
        held_up.recv().unwrap();
        saving(&orders).recv().unwrap();
    }

    #[test]
    fn no_order_is_missed_by_who_begins_to_sleep() {
        let orders = Orders::new(Arc::new(TestClock::new()));
        let known = orders.wanted();
        orders.want(false);
        let later = Timestamp::default().after(Duration::MAX);
        assert_eq!(orders.sleep_until(later, known), Slept::Ordered);
        assert_eq!(orders.sleep_until(Timestamp::default(), known), Slept::Enough);
        orders.end();
        assert_eq!(orders.sleep_until(later, orders.wanted()), Slept::Ended);
    }
}

#[cfg(all(test, loom))]
mod interleavings {
    use super::*;
    use crate::clock::TestClock;
    use crate::interleavings::steps::every_order;
    use crate::sync::thread::Builder;

    /// Keeps its pace as the thread does that compacts: it is asked how large the log is, and
    /// sleeps, for ever, where that is not too large.
    fn compact(orders: &Orders, is_too_large: &AtomicBool) {
        let never = Timestamp::default().after(Duration::MAX);
        loop {
            let wanted = orders.wanted();
            let is_behind = is_too_large.swap(false, Ordering::SeqCst);
            orders.read(1, is_behind, wanted);
            let until = if is_behind { Timestamp::default() } else { never };
            if orders.sleep_until(until, wanted) == Slept::Ended {
                return;
            }
        }
    }

    #[test]
    fn who_saves_goes_on_when_nobody_is_behind_any_more() {
        every_order(3, || {
            let orders = Orders::new(Arc::new(TestClock::new()));
            let is_too_large = Arc::new(AtomicBool::new(false));
            orders.be(Reader::Reading);
            // The log was too large, and is not when it is looked next.
            orders.read(0, true, orders.wanted());
            let (of_thread, size) = (Arc::clone(&orders), Arc::clone(&is_too_large));
            let compacts = Builder::new().spawn(move || compact(&of_thread, &size)).unwrap();
            orders.take_turns(1);
            // It becomes so again.
            is_too_large.store(true, Ordering::SeqCst);
            orders.want(true);
            orders.take_turns(1);
            orders.end();
            compacts.join().unwrap();
        });
    }
}
