//! PEs in trouble: a closure panicked in them, their state cannot be stored, or another one is to
//! take their place.

use std::sync::Arc;

use crate::capture::PeHandle;
use crate::clock::Timestamp;
use crate::inputs::Contained;
use crate::prototype::entry::{Arrival, Flags, HeldBack, Slot, Triggers};
use crate::prototype::inner::coarse;
use crate::prototype::requests::AskedBy;
use crate::prototype::table::Table;
use crate::save_error::SaveFailure;
use crate::wait::Signal;

/// What was in a place that was cleared.
pub(super) struct Cleared {
    /// Finished when another PE has come into it.
    pub(super) arrival: Arc<Arrival>,
    /// How many changes are lost.
    pub(super) lost: u32,
    /// Which events the PE contained.
    pub(super) contained: Contained,
}

impl<K, P> Table<K, P> {
    /// Finds out whether a closure panicked in the PE, and remembers it.
    pub(super) fn notice_panic(&mut self, pe: PeHandle) -> bool {
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return false;
        };
        if entry.flags.has(Flags::PANICKED) {
            entry.flags.clear(Flags::PANICKED);
            entry.flags.set(Flags::POISONED);
            self.poisoned += 1;
        }
        let is_poisoned = entry.flags.has(Flags::POISONED);
        if is_poisoned {
            // Who waits for it must know.
            self.let_in(pe);
        }
        is_poisoned
    }

    /// Stops counting the changes of a PE in which a closure panicked: they cannot be stored before
    /// somebody decides what becomes of it, and nobody should wait for them. Returns whether one
    /// did.
    pub(super) fn set_aside_if_poisoned(&mut self, pe: PeHandle) -> bool {
        if !self.notice_panic(pe) {
            return false;
        }
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return true;
        };
        // A capture that is in flight may come back, and is counted: this is called again then.
        if !entry.flags.has(Flags::IN_FLIGHT) {
            if entry.flags.has(Flags::DIRTY) && !entry.flags.has(Flags::STUCK) {
                entry.flags.set(Flags::STUCK);
                entry.unmarked();
                self.exposure.end(entry.generation);
                self.held_back.entry(pe.ticket).or_insert(HeldBack::Broken);
            }
            self.stirred = true;
            self.refuse_some(pe, AskedBy::Flush, &SaveFailure::Poisoned);
        }
        true
    }

    /// Lets a PE in which a closure panicked go on as it is.
    pub(super) fn forgive_panic(
        &mut self,
        pe: PeHandle,
        triggers: &Triggers,
        now: impl FnOnce() -> Timestamp,
        due: impl FnOnce(u64, u64) -> bool,
    ) {
        let Some(entry) = self.get_mut(pe).filter(|entry| entry.flags.has(Flags::POISONED)) else {
            return;
        };
        entry.flags.clear(Flags::POISONED);
        entry.count_change();
        // What the panic left is as old as this, for whatever expires.
        let now = now();
        entry.last_event = coarse(now);
        // A visit may have passed it over while it was poisoned.
        let was_due = entry.flags.has_any(Flags::DUE.and(Flags::REQUESTED));
        self.poisoned -= 1;
        if triggers.stores {
            self.mark_changed(pe, triggers, || now, due);
            if was_due {
                self.make_due(pe);
            }
        }
    }

    /// Returns what to wait for if a storage operation of the PE is unfinished, or if its removal
    /// has still to be stored: that must not be forgotten.
    pub(super) fn until_quiet(&mut self, pe: PeHandle) -> Option<Arc<Arrival>> {
        let entry = self.get_mut(pe)?;
        let is_leaving = matches!(entry.slot, Slot::Gone) && !entry.flags.has(Flags::STUCK);
        let is_busy = is_leaving || entry.flags.has(Flags::IN_FLIGHT);
        is_busy.then(|| self.quiet.entry(pe.ticket).or_insert_with(Signal::new).clone())
    }

    pub(super) fn is_quiet(&mut self, pe: PeHandle) {
        if let Some(arrival) = self.quiet.remove(&pe.ticket) {
            self.aftermath().arrivals.push((arrival, Ok(())));
        }
    }

    /// Makes room for a PE that is to come in the place of one that is there; what that one did
    /// since its last capture is dropped. A removal that is not stored yet is kept, with what the
    /// PE contained that was removed, in case that nothing comes.
    ///
    /// Only for a PE that is resident or gone, and of which nothing is in flight.
    pub(super) fn clear_place(&mut self, pe: PeHandle) -> Option<Cleared> {
        self.let_in(pe);
        let entry = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket)?;
        debug_assert!(!entry.flags.has(Flags::IN_FLIGHT), "its saves were waited for");
        let arrival = Signal::new();
        match entry.slot {
            Slot::Resident(_) => {}
            Slot::Gone => {
                entry.slot = Slot::Fetching(arrival.clone());
                return Some(Cleared { arrival, lost: 0, contained: Contained::default() });
            }
            Slot::Out { .. } | Slot::Fetching(_) => return None,
        }
        if entry.flags.has(Flags::DIRTY) && !entry.flags.has(Flags::STUCK) {
            self.exposure.end(entry.generation);
            self.stirred = true;
        }
        if entry.flags.has_any(Flags::POISONED) {
            self.poisoned -= 1;
        }
        let lost = entry.take_changes();
        // What an earlier one has lost is looked at again by the next event that has a position.
        let of_the_place = Flags::IN_DOUBT.and(Flags::LOST_EVENTS);
        // Marks in queues stay, and find nothing to do.
        entry.flags.keep(Flags::QUEUED.and(Flags::REQUESTED).and(Flags::REMOVED).and(of_the_place));
        let old = std::mem::replace(&mut entry.slot, Slot::Fetching(arrival.clone()));
        self.stuck.remove(&pe.ticket);
        self.held_back.remove(&pe.ticket);
        self.held_up.forget(pe.ticket);
        if let Slot::Resident(state) = old {
            self.resident -= 1;
            self.aftermath().dropped_states.push(state);
        }
        self.refuse_requests(pe, &SaveFailure::Withdrawn);
        let contained = self.contained_of(pe);
        let removed = self.several.removed.get(&pe.ticket).cloned();
        self.set_contained(pe, removed.unwrap_or_default());
        Some(Cleared { arrival, lost, contained })
    }

    /// Takes a PE back to its removal, which is not stored yet; nothing of it is in flight.
    pub(super) fn remove_again(&mut self, pe: PeHandle, now: impl FnOnce() -> Timestamp) {
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        if !entry.flags.has_any(Flags::DIRTY.and(Flags::IN_FLIGHT)) {
            entry.generation = self.exposure.begin(now());
            self.stirred = true;
            entry.flags.set(Flags::DIRTY);
            entry.count_change();
        }
        self.make_due(pe);
    }

    pub(super) fn stuck_reason(&self, ticket: u64) -> Option<&SaveFailure> {
        self.stuck.get(&ticket)
    }

    pub(super) fn stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Marks a PE whose state cannot be stored before it changes again.
    pub(super) fn mark_stuck(&mut self, pe: PeHandle, triggers: &Triggers, reason: SaveFailure) {
        self.write_off(pe, triggers);
        let reason = self.in_case_of_doubt(pe, &reason);
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        entry.flags.clear(Flags::DUE.and(Flags::EVICTING));
        if entry.flags.has(Flags::DIRTY) && !entry.flags.has(Flags::STUCK) {
            self.exposure.end(entry.generation);
            self.stirred = true;
        }
        entry.flags.set(Flags::DIRTY.and(Flags::STUCK));
        entry.unmarked();
        self.stuck.insert(pe.ticket, reason);
        self.held_back.insert(pe.ticket, HeldBack::Refused);
    }

    pub(super) fn forget_stuck(&mut self, ticket: u64) {
        self.stuck.remove(&ticket);
    }
}
