//! How PEs leave a shard: lent to somebody, evicted, or removed for good. Who has had no event for
//! the longest time leaves first.

use std::borrow::Borrow;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::capture::{PeHandle, RequestSignal};
use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::prototype::entry::{Entry, Flags, Slot, Triggers};
use crate::prototype::recency::Look;
use crate::prototype::requests::AskedBy;
use crate::prototype::table::{Obstacle, Table};
use crate::save_error::SaveFailure;

/// What became of an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// The PE has left memory.
    Evicted,
    /// It has changes; it leaves once they are stored, unless it gets an event before.
    Storing,
    /// It was not in memory.
    NotResident,
    /// It cannot leave: somebody has it, a closure panicked in it, or its changes cannot be stored.
    Refused,
}

impl<K, P> Table<K, P> {
    /// Takes a PE out of its slot, for somebody who will put it back.
    pub(super) fn check_out<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        coarse_now: u32,
    ) -> Result<(PeHandle, P), Obstacle>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some(entry) = self.entries.find_mut(hash, |entry| entry.key.borrow() == key)
            && !entry.flags.has_any(Flags::BROKEN.and(Flags::HELD_UP))
            && let Slot::Resident(_) = entry.slot
            && let Slot::Resident(state) = std::mem::replace(&mut entry.slot, Slot::out(coarse_now))
        {
            let pe = entry.handle(hash);
            // A mark in the queue of due PEs stays: whoever takes it finds the PE out.
            entry.flags.clear(Flags::EVICTING);
            self.checked_out += 1;
            return Ok((pe, state));
        }
        Err(self.obstacle(hash, key))
    }

    /// The same by handle, for an encode that must not hold the lock.
    pub(super) fn take_out(&mut self, pe: PeHandle, coarse_now: u32) -> Option<P> {
        let entry = self.get_mut(pe)?;
        if !matches!(entry.slot, Slot::Resident(_)) {
            return None;
        }
        match std::mem::replace(&mut entry.slot, Slot::out(coarse_now)) {
            Slot::Resident(state) => {
                self.checked_out += 1;
                Some(state)
            }
            _ => None,
        }
    }

    /// Drops a PE from memory, or has it stored first.
    pub(super) fn evict(&mut self, pe: PeHandle) -> Eviction {
        let Some(entry) = self.get_mut(pe) else { return Eviction::NotResident };
        let broken = Flags::BROKEN.and(Flags::STUCK);
        match entry.slot {
            Slot::Gone | Slot::Fetching(_) => return Eviction::NotResident,
            Slot::Out { .. } => return Eviction::Refused,
            Slot::Resident(_) if entry.flags.has_any(broken) => return Eviction::Refused,
            Slot::Resident(_) => {}
        }
        if entry.is_clean() {
            if let Some(entry) = self.remove_entry(pe) {
                self.aftermath().dropped.push(entry);
            }
            return Eviction::Evicted;
        }
        entry.flags.set(Flags::EVICTING);
        if entry.flags.has(Flags::DIRTY) {
            self.make_due(pe);
        }
        Eviction::Storing
    }

    /// Drops a PE for good; the mark of that is to be stored.
    ///
    /// Only for PEs that are resident or gone already: callers wait for others.
    pub(super) fn remove(
        &mut self,
        pe: PeHandle,
        (now, triggers): (Timestamp, &Triggers),
        id: &CheckpointId,
        request: Option<Arc<RequestSignal>>,
    ) -> Option<P> {
        let contained = self.contained_of(pe);
        let entry = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket)?;
        if matches!(entry.slot, Slot::Out { .. } | Slot::Fetching(_)) {
            return None;
        }
        if !entry.flags.has(Flags::DIRTY) || entry.flags.has(Flags::STUCK) {
            entry.generation = self.exposure.begin(now);
            self.stirred = true;
        }
        let was_poisoned = entry.flags.has(Flags::POISONED);
        let broken = Flags::BROKEN.and(Flags::STUCK).and(Flags::EVICTING);
        entry.flags.clear(broken.and(Flags::REMOVAL_CAPTURED));
        entry.flags.set(Flags::DIRTY.and(Flags::REMOVED));
        entry.count_change();
        let state = match std::mem::replace(&mut entry.slot, Slot::Gone) {
            Slot::Resident(state) => Some(state),
            _ => None,
        };
        if was_poisoned {
            self.poisoned -= 1;
        }
        self.write_off(pe, triggers);
        self.several.keep_removed(pe.ticket, contained);
        if state.is_some() {
            self.resident -= 1;
            self.refuse_requests(pe, &SaveFailure::Withdrawn);
        }
        self.forget_stuck(pe.ticket);
        if let Some(request) = request {
            self.add_request(pe, id, request, AskedBy::Caller);
        }
        self.make_due(pe);
        state
    }

    /// Takes a resident PE into the queue that finds those without an event for long.
    pub(super) fn track_recency(&mut self, pe: PeHandle, last_event: u32) {
        let Some(recency) = &mut self.recency else { return };
        recency.add(pe, last_event);
        recency.tidy(self.resident, look(&self.entries));
    }

    /// Returns the resident PE without an event for the longest time, if its last was before
    /// `limit`.
    pub(super) fn longest_idle(&mut self, limit: Option<u32>) -> Option<PeHandle> {
        self.recency.as_mut()?.oldest_before(limit, look(&self.entries))
    }
}

fn look<K, P>(entries: &HashTable<Entry<K, P>>) -> impl Fn(PeHandle) -> Look + '_ {
    |pe| match entries.find(pe.hash, |entry| entry.ticket == pe.ticket) {
        Some(entry) if matches!(entry.slot, Slot::Resident(_) | Slot::Out { .. }) => {
            Look::LastEvent(entry.last_event)
        }
        _ => Look::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prototype::table::tests::{TRIGGERS, resident, table};

    #[test]
    fn the_longest_idle_pe_is_found_where_that_is_tracked() {
        let mut tracked = table();
        let [a, b] = [1, 2].map(|key| resident(&mut tracked, key));
        assert_eq!(tracked.longest_idle(None), Some(a));
        tracked.remove_entry(a);
        tracked.get_mut(b).unwrap().slot = Slot::out(0);
        assert_eq!(tracked.longest_idle(None), Some(b));
        tracked.get_mut(b).unwrap().slot = Slot::Gone;
        assert_eq!(tracked.longest_idle(None), None);
        let mut untracked = Table::new(Triggers { tracks_recency: false, ..TRIGGERS });
        resident(&mut untracked, 1);
        assert_eq!(untracked.longest_idle(None), None);
    }
}
