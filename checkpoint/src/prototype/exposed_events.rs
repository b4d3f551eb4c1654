//! The bound on events of a PE that are not stored: when it is reached, no further one runs on the
//! PE before some are.

use std::borrow::Borrow;

use crate::capture::PeHandle;
use crate::prototype::entry::{Attempt, Effect, Flags, HeldBack, Triggers};
use crate::prototype::origin::Nowhere;
use crate::prototype::table::Table;

impl<K, P> Table<K, P> {
    /// Holds up a PE if as many of its changes are not stored as may be, or lets events in again.
    pub(super) fn hold_up_if_full(&mut self, pe: PeHandle, triggers: &Triggers) {
        let Some(room) = self.held_up.room(pe.ticket, triggers) else { return };
        // What could not be stored would have every further event wait for another try.
        let is_refused = self.held_back.get(&pe.ticket) == Some(&HeldBack::Refused);
        let Some(entry) = self.get_mut(pe) else { return };
        let is_unstored = entry.flags.has_any(Flags::DIRTY.and(Flags::IN_FLIGHT));
        let is_broken = entry.flags.has_any(Flags::BROKEN);
        if entry.changes() < room || !is_unstored || is_refused || is_broken {
            return self.let_in(pe);
        }
        let is_dirty = entry.flags.has(Flags::DIRTY);
        if !entry.flags.has(Flags::HELD_UP) {
            entry.flags.set(Flags::HELD_UP);
            self.held_up.count += 1;
        }
        if is_dirty {
            self.make_due(pe);
        }
    }

    /// Lets events of a PE in, and whoever waits for that.
    pub(super) fn let_in(&mut self, pe: PeHandle) {
        let Some(entry) = self.get_mut(pe).filter(|entry| entry.flags.has(Flags::HELD_UP)) else {
            return;
        };
        entry.flags.clear(Flags::HELD_UP);
        // The next change finds out whether there is room for another.
        entry.unmarked();
        self.not_held_up(pe.ticket);
    }

    /// The same for one whose flag is gone.
    pub(super) fn not_held_up(&mut self, ticket: u64) {
        if let Some(arrival) = self.held_up.let_in(ticket) {
            self.aftermath().arrivals.push((arrival, Ok(())));
        }
    }

    /// Has whoever waits try again, and find that there is nothing to wait for any more.
    pub(super) fn wake_held_up(&mut self) {
        let woken = self.held_up.take_waiting().into_iter().map(|arrival| (arrival, Ok(())));
        self.aftermath().arrivals.extend(woken);
    }

    /// Looks at a PE that is held up, for which there is no reason to wait.
    pub(super) fn read_held_up<Q, R, I>(
        &mut self,
        (hash, key): (u64, &Q),
        coarse_now: u32,
        input: I,
        run: impl FnOnce(&mut P, I) -> Effect<R>,
    ) -> Attempt<R, I>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.entries.find_mut(hash, |entry| entry.key.borrow() == key) {
            Some(entry) => {
                entry.event_unless(Flags::BROKEN, hash, (coarse_now, Nowhere), input, run)
            }
            None => Attempt::NotReady(input),
        }
    }
}
