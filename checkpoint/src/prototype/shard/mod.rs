//! The lock of a shard, and its inbox.
//!
//! What comes back to a shard (a PE that a guard had, a fetched PE, results of captures) must
//! neither be lost nor wait for the lock: its thread may hold that very lock, or another one. So it
//! is put into the inbox, and whoever holds the lock empties the inbox when he takes the lock and
//! before he gives it back. If somebody holds the lock at that moment, the framework is asked to
//! look after the shard, in case that the holder has emptied the inbox already.

mod brief;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::framework::{Caller, PeStatus};
use crate::process_error::ProcessError;
use crate::prototype::entry::Triggers;
use crate::prototype::exposure::GENERATION;
use crate::prototype::hooks::contain;
use crate::prototype::inner::Inner;
use crate::prototype::results::Mail;
use crate::prototype::table::{Aftermath, Bucket, Table};
use crate::reentrancy;
use crate::state::Checkpointable;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, fence, spin};

/// The inbox may hold something.
const MAIL: u32 = 1;
/// The gate may be shut.
const BARRED: u32 = 2;
/// Somebody waits for the lock.
const WAITER: u32 = 4;

/// No change waits to be stored.
const NO_CHANGE: u64 = u64::MAX;

// Aligned, so that two shards' locks are not in one cache line; what every event reads is in the
// first one.
#[repr(C, align(64))]
pub(super) struct Shard<K, P> {
    /// What whoever has the lock, or is about to take it, is to know; zero if there is nothing.
    /// Hints, read without a lock: [`MAIL`], [`BARRED`], and [`WAITER`] for each that waits.
    calls: AtomicU32,
    table: Mutex<Table<K, P>>,
    inbox: Mutex<Vec<Mail<K, P>>>,
    pub(super) index: usize,
    pub(super) partition: u32,
    // Copies of what the table knows, for those who must not wait for the lock.
    has_marks: AtomicBool,
    is_held_back: AtomicBool,
    settled_to: AtomicU32,
    oldest_change_nanos: AtomicU64,
}

impl<K, P> Shard<K, P> {
    pub(super) fn new(index: usize, partition: u32, triggers: Triggers) -> Self {
        Self {
            calls: AtomicU32::new(0),
            table: Mutex::new(Table::new(triggers)),
            inbox: Mutex::new(Vec::new()),
            index,
            partition,
            has_marks: AtomicBool::new(false),
            is_held_back: AtomicBool::new(false),
            settled_to: AtomicU32::new(0),
            oldest_change_nanos: AtomicU64::new(NO_CHANGE),
        }
    }

    /// Whether there may be mail, or bars, or somebody who waits.
    #[inline(always)]
    fn is_called(&self) -> bool {
        // Relaxed: who posts after this looks for the lock himself.
        self.calls.load(Ordering::Relaxed) != 0
    }

    /// Says whether the gate may be shut.
    pub(super) fn bar(&self, is_barred: bool) {
        match is_barred {
            true => self.calls.fetch_or(BARRED, Ordering::Relaxed),
            false => self.calls.fetch_and(!BARRED, Ordering::Relaxed),
        };
    }

    pub(super) fn oldest_change(&self) -> Option<Timestamp> {
        match self.oldest_change_nanos.load(Ordering::Acquire) {
            NO_CHANGE => None,
            nanos => Some(Timestamp::new(Duration::from_nanos(nanos))),
        }
    }

    /// Whether there are PEs that may become due by the passing of time.
    pub(super) fn has_marks(&self) -> bool {
        self.has_marks.load(Ordering::Relaxed)
    }

    /// Whether there are PEs with changes that are not counted any more although they are not
    /// stored.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_held_back.load(Ordering::Relaxed)
    }

    /// The first generation that may have changes which are not stored; `None` if nothing has.
    pub(super) fn settled_to(&self) -> Option<u32> {
        self.oldest_change()?;
        Some(self.settled_to.load(Ordering::Acquire))
    }
}

/// A shard whose lock is held by this thread.
pub(super) struct Locked<'a, K, P> {
    inner: &'a Inner<K, P>,
    shard: &'a Shard<K, P>,
    // Taken when the lock is given back, at the latest by the drop.
    table: Option<MutexGuard<'a, Table<K, P>>>,
    was_inside: bool,
}

impl<K, P> Inner<K, P> {
    /// Locks a shard for a call of the user's.
    #[inline(always)]
    pub(super) fn lock(&self, index: usize) -> Result<Locked<'_, K, P>, ProcessError> {
        if reentrancy::is_inside_shard() {
            return Err(self.reentrant());
        }
        Ok(self.lock_again(index))
    }

    /// Locks a shard for a thread that holds none, or that holds some but gives way: a session.
    #[inline(always)]
    pub(super) fn lock_again(&self, index: usize) -> Locked<'_, K, P> {
        let shard = self.shard(index);
        let mut locked = Locked::new(self, shard, self.table_of(shard));
        locked.take_in_mail();
        locked
    }

    #[inline(always)]
    fn table_of<'a>(&'a self, shard: &'a Shard<K, P>) -> MutexGuard<'a, Table<K, P>> {
        match shard.table.try_lock() {
            Some(table) => table,
            None => self.wait_for(shard),
        }
    }

    /// Locks a shard if that is possible within `wait`.
    pub(super) fn lock_within(&self, index: usize, wait: Duration) -> Option<Locked<'_, K, P>> {
        let shard = self.shard(index);
        let table = match shard.table.try_lock() {
            Some(table) => table,
            None => {
                let _waiting = self.count_waiter(shard);
                shard.table.try_lock_for(wait)?
            }
        };
        let mut locked = Locked::new(self, shard, table);
        locked.take_in_mail();
        Some(locked)
    }

    pub(super) fn try_lock_again(&self, index: usize) -> Option<Locked<'_, K, P>> {
        let shard = self.shard(index);
        let table = shard.table.try_lock()?;
        let mut locked = Locked::new(self, shard, table);
        locked.take_in_mail();
        Some(locked)
    }

    #[cold]
    #[inline(never)]
    fn wait_for<'a>(&'a self, shard: &'a Shard<K, P>) -> MutexGuard<'a, Table<K, P>> {
        if let Some(table) = spin(|| shard.table.try_lock()) {
            return table;
        }
        let _waiting = self.count_waiter(shard);
        shard.table.lock()
    }

    fn count_waiter<'a>(&'a self, shard: &'a Shard<K, P>) -> impl Drop + 'a {
        struct Waiting<'a> {
            waiters: &'a AtomicU32,
            calls: &'a AtomicU32,
        }
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.waiters.fetch_sub(1, Ordering::Relaxed);
                self.calls.fetch_sub(WAITER, Ordering::Relaxed);
            }
        }
        let waiting = Waiting { waiters: &self.waiters, calls: &shard.calls };
        self.waiters.fetch_add(1, Ordering::Relaxed);
        shard.calls.fetch_add(WAITER, Ordering::Relaxed);
        waiting
    }

    /// Gives something to a shard: at once if the lock is free; if not, it is put into the inbox,
    /// and taken in when the lock is given back.
    pub(super) fn post(&self, index: usize, mail: Mail<K, P>) {
        self.post_all(index, std::iter::once(mail));
    }

    pub(super) fn post_all(&self, index: usize, mails: impl Iterator<Item = Mail<K, P>>) {
        if let Some(mut locked) = self.try_lock_again(index) {
            return mails.for_each(|mail| locked.take_in(mail));
        }
        let shard = self.shard(index);
        shard.inbox.lock().extend(mails);
        shard.calls.fetch_or(MAIL, Ordering::Release);
        if !self.attended {
            // Pairs with the fence in `finish`: either the holder sees the mail after he has
            // unlocked, or the lock is seen free here.
            fence(Ordering::SeqCst);
        }
        match self.try_lock_again(index) {
            Some(locked) => drop(locked),
            None => self.framework.look_after(self.index, index),
        }
    }

    pub(super) fn is_due(&self, events_since_capture: u64, event_count: u64) -> bool {
        let status = PeStatus::new(events_since_capture, event_count);
        self.framework.is_checkpointable(&self.config, &status)
    }

    pub(super) fn finish(&self, rest: Rest<K, P>) {
        let Rest { index, aftermath, released, tick_from } = rest;
        if !self.attended {
            fence(Ordering::SeqCst);
            if self.shard(index).calls.load(Ordering::Relaxed) & MAIL != 0 {
                drop(self.try_lock_again(index));
            }
        }
        if released > 0 {
            self.released(released);
        }
        if let Some(changed) = tick_from {
            self.tick_for(changed);
        }
        let Some(aftermath) = aftermath else { return };
        let Aftermath { arrivals, answers, dropped, dropped_states, notify } = *aftermath;
        for (arrival, result) in arrivals {
            arrival.finish(result);
        }
        for (request, outcome) in answers {
            request.finish(outcome);
        }
        if notify {
            self.framework.save_state(self.index, index);
        }
        // The user's own code, last, and each state by itself: a panic in one `drop` must not end a
        // thread of the keeper, nor take the result of another PE's with it.
        for entry in dropped {
            self.contain_drop(entry);
        }
        for state in dropped_states {
            self.contain_drop(state);
        }
    }

    fn contain_drop<T>(&self, dropped: T) {
        if contain(|| drop(dropped)).is_err() {
            tracing::error!(target: "checkpoint", prototype = &*self.name, "a PE's drop panicked");
        }
    }

    /// Asks for a tick in time for a change that was made then: nothing else waits in its shard.
    #[cold]
    fn tick_for(&self, changed: Timestamp) {
        if let Some(interval) = self.triggers.interval {
            let due = changed.after(time_to_due(interval));
            self.framework.call_at(self.index, due);
        }
    }

    /// Lets the caller help or wait if too many PEs are due.
    pub(super) fn relieve(&self, caller: Caller) {
        let caller = if reentrancy::may_wait() { caller } else { Caller::MustNotWait };
        if self.framework.relieve(caller).is_err() {
            tracing::trace!(
                target: "checkpoint",
                "more PEs are due than may wait; they stay marked"
            );
        }
    }
}

impl<'a, K, P> Locked<'a, K, P> {
    #[inline(always)]
    fn new(
        inner: &'a Inner<K, P>,
        shard: &'a Shard<K, P>,
        table: MutexGuard<'a, Table<K, P>>,
    ) -> Self {
        let was_inside = reentrancy::set_inside_shard(true);
        Self { inner, shard, table: Some(table), was_inside }
    }

    #[inline(always)]
    pub(super) fn table(&mut self) -> &mut Table<K, P> {
        match &mut self.table {
            Some(table) => table,
            None => unreachable!("the lock is held until the drop"),
        }
    }

    /// See [`Table::touch`].
    #[inline(always)]
    pub(super) fn touch(&self, bucket: Bucket) -> u8
    where
        P: Checkpointable,
    {
        self.table.as_ref().map_or(0, |table| table.touch(bucket))
    }

    #[inline(always)]
    pub(super) fn take_in_mail(&mut self) {
        // Relaxed: who posts after this looks for the lock himself.
        if self.shard.calls.load(Ordering::Relaxed) & MAIL != 0 {
            self.empty_inbox();
        }
    }

    #[cold]
    #[inline(never)]
    fn empty_inbox(&mut self) {
        let mail = {
            let mut inbox = self.shard.inbox.lock();
            self.shard.calls.fetch_and(!MAIL, Ordering::Relaxed);
            std::mem::take(&mut *inbox)
        };
        for mail in mail {
            self.take_in(mail);
        }
    }

    fn take_in(&mut self, mail: Mail<K, P>) {
        let inner = self.inner;
        let closing = inner.gate.is_closed();
        let table = self.table();
        if closing && matches!(mail, Mail::PutBack(_)) {
            // Somebody closes and waits for this: the framework is to look.
            table.aftermath().notify = true;
        }
        let due = |since, count| inner.is_due(since, count);
        let coarse_now = inner.coarse_now();
        table.take_in(mail, &inner.triggers, coarse_now, &|| inner.clock.now(), &due);
    }

    /// Marks the lock as one of a session, which gives up all its locks before it does anything
    /// else: whichever goes last says that this thread is outside.
    pub(super) fn of_session(mut self) -> Self {
        self.was_inside = false;
        self
    }

    pub(super) fn partition(&self) -> u32 {
        self.shard.partition
    }

    pub(super) fn index(&self) -> usize {
        self.shard.index
    }
}

impl<K, P> Drop for Locked<'_, K, P> {
    fn drop(&mut self) {
        if !self.unlock_calm() {
            self.unlock_stirred();
        }
    }
}

impl<K, P> Locked<'_, K, P> {
    /// Gives the lock back and does what must be done then.
    #[cold]
    #[inline(never)]
    fn unlock_stirred(&mut self) {
        self.take_in_mail();
        let rest = self.give_back();
        self.inner.finish(rest);
    }

    /// Gives the lock back if there is nothing else to do, or if it was given back before.
    #[inline(always)]
    fn unlock_calm(&mut self) -> bool {
        let Some(table) = &self.table else { return true };
        debug_assert!(table.stirred || table.is_calm(), "a change that must not be overlooked");
        if self.shard.is_called() || table.stirred {
            return false;
        }
        reentrancy::set_inside_shard(self.was_inside);
        self.table = None;
        true
    }

    /// Gives the lock back; what must be done then is left to the caller, who may have other locks.
    pub(super) fn unlock(mut self) -> Option<Rest<K, P>> {
        if self.unlock_calm() {
            return None;
        }
        self.take_in_mail();
        Some(self.give_back())
    }

    fn give_back(&mut self) -> Rest<K, P> {
        let (inner, shard) = (self.inner, self.shard);
        let table = self.table();
        // What nobody looks after is looked at each time.
        table.stirred = !inner.attended;
        let aftermath = table.aftermath.take();
        let released = std::mem::take(&mut table.released);
        let due_change = std::mem::take(&mut table.due_change);
        let tick_from = table.take_first_mark();
        shard.has_marks.store(table.oldest_mark().is_some(), Ordering::Relaxed);
        shard.is_held_back.store(!table.held_back.is_empty(), Ordering::Relaxed);
        if table.exposure.take_moved() {
            let oldest = table.exposure.oldest();
            let nanos = oldest.map_or(NO_CHANGE, |oldest| {
                u64::try_from(oldest.since_start().as_nanos()).unwrap_or(NO_CHANGE - 1)
            });
            // After `is_held_back`: who sees that a change is not counted sees why.
            shard.settled_to.store(table.exposure.first(), Ordering::Release);
            shard.oldest_change_nanos.store(nanos, Ordering::Release);
        }
        match due_change {
            0 => {}
            more @ 1.. => {
                inner.registration.due.fetch_add(more.unsigned_abs(), Ordering::Relaxed);
            }
            less => {
                inner.registration.due.fetch_sub(less.unsigned_abs(), Ordering::Relaxed);
            }
        }
        reentrancy::set_inside_shard(self.was_inside);
        if let Some(table) = self.table.take() {
            // If somebody waits, he is to have it before this thread can take it again.
            match shard.calls.load(Ordering::Relaxed) {
                WAITER.. => MutexGuard::unlock_fair(table),
                _ => drop(table),
            }
        }
        Rest { index: shard.index, aftermath, released, tick_from }
    }
}

/// What is to be done once no lock is held any more.
pub(super) struct Rest<K, P> {
    index: usize,
    aftermath: Option<Box<Aftermath<K, P>>>,
    released: usize,
    tick_from: Option<Timestamp>,
}

/// How long after its first change a PE is made due in time mode: earlier than the interval by the
/// exactness of a change's time, and by that of the ticks.
pub(super) fn time_to_due(interval: Duration) -> Duration {
    interval.saturating_sub(GENERATION).saturating_sub(tick_step(interval))
}

/// How often it is looked whether somebody's time has come.
pub(super) fn tick_step(interval: Duration) -> Duration {
    (interval / 16).clamp(Duration::from_millis(1), Duration::from_millis(100))
}

/// What waits for room is told that there may be some.
pub(super) type Room = crate::wait::Signal<()>;

impl<K, P> Inner<K, P> {
    /// Counts entries that have left, and tells those who wait for room.
    fn released(&self, entries: usize) {
        if self.config.capacity().is_some() {
            self.occupied.fetch_sub(entries, Ordering::Relaxed);
            let room: Option<Arc<Room>> = self.room.lock().take();
            if let Some(room) = room {
                room.finish(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pe_is_due_before_its_time_by_what_times_are_exact_to() {
        for (interval, step, due) in
            [(5, 1, 0), (160, 10, 140), (800, 50, 740), (1_600, 100, 1_490), (60_000, 100, 59_890)]
        {
            let [interval, step, due] = [interval, step, due].map(Duration::from_millis);
            assert_eq!((tick_step(interval), time_to_due(interval)), (step, due));
        }
    }
}
