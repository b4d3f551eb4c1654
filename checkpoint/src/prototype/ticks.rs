//! What is done with the PEs of a prototype when time has passed.

use std::time::Duration;

use crate::capture::PeHandle;
use crate::clock::Timestamp;
use crate::prototype::entry::{Flags, Slot};
use crate::prototype::hooks::{Visit, contain};
use crate::prototype::inner::{Inner, coarse};
use crate::prototype::key::Key;
use crate::prototype::shard::{Locked, tick_step, time_to_due};
use crate::state::Checkpointable;

/// How many marks of time mode are looked at under one lock.
const PROMOTIONS_PER_LOCK: usize = 256;
/// How long a tick waits for a shard; one whose lock is held for longer is visited with the next
/// tick.
const TICK_LOCK_WAIT: Duration = Duration::from_millis(10);
/// How many PEs a periodic function runs on under one lock.
const VISITS_PER_LOCK: usize = 64;

/// What became of a visit to a PE.
#[derive(Debug, PartialEq, Eq)]
enum Visited {
    /// It was made, or is not for this PE.
    Done,
    /// It is to be made once some of what the PE did is stored.
    NotYet,
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Makes those due who have been waiting for the interval; returns when the next will have.
    pub(super) fn promote_aged(&self, now: Timestamp) -> Option<Timestamp> {
        let interval = self.triggers.interval?;
        let wait = time_to_due(interval);
        let mut next: Option<Timestamp> = None;
        for shard in 0..self.shards.len() {
            if !self.shard(shard).has_marks() {
                continue;
            }
            let due = loop {
                let Some(mut locked) = self.lock_within(shard, TICK_LOCK_WAIT) else {
                    // Somebody may be overdue in it: look again as soon as may be.
                    break Some(now);
                };
                let limit = now.since_start().checked_sub(wait).map(Timestamp::new);
                let more =
                    limit.is_some_and(|limit| locked.table().promote(limit, PROMOTIONS_PER_LOCK));
                if !more {
                    break locked.table().oldest_mark().map(|oldest| oldest.after(wait));
                }
            };
            next = next.into_iter().chain(due).min();
        }
        // If nothing is waiting, the first change that is asks for the next look.
        next.map(|next| next.max(now.after(tick_step(interval))))
    }

    /// Has those leave who had no event for too long.
    pub(super) fn evict_idle(&self, now: Timestamp) -> Option<Timestamp> {
        let Some(idle_max) = self.config.idle_max() else {
            // The coarse time must go on if anything depends on the age of events.
            let tracked = self.config.capacity().is_some() || self.config.expire_after().is_some();
            return tracked.then(|| now.after(Duration::from_millis(100)));
        };
        let steps = u32::try_from(idle_max.as_millis() / 10).unwrap_or(u32::MAX / 4).max(1);
        let limit = coarse(now).wrapping_sub(steps);
        for shard in 0..self.shards.len() {
            // Those who cannot leave go to the back of the queue: once round is enough.
            let mut left = usize::MAX;
            while left > 0 {
                let Some(mut locked) = self.lock_within(shard, TICK_LOCK_WAIT) else { break };
                let table = locked.table();
                left = left.min(table.resident);
                for _ in 0..VISITS_PER_LOCK.min(left) {
                    left -= 1;
                    match table.longest_idle(Some(limit)) {
                        Some(pe) => table.evict(pe),
                        None => {
                            left = 0;
                            break;
                        }
                    };
                }
            }
        }
        Some(now.after(tick_step(idle_max)))
    }

    /// Runs the periodic functions that are due on all resident PEs.
    pub(super) fn visit_all(&self, now: Timestamp) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        for on_time in &self.hooks.on_time {
            let mut visits = std::mem::take(&mut *on_time.left.lock());
            if now >= *on_time.next.lock() {
                // Counted from now: what was missed is not made up for.
                *on_time.next.lock() = now.after(on_time.interval);
                visits = (0..self.shards.len()).map(|shard| Visit { shard, pes: None }).collect();
            }
            let left: Vec<_> = visits
                .into_iter()
                .filter_map(|visit| self.visit_shard(visit, &*on_time.run).err())
                .collect();
            let due = match left.is_empty() {
                true => *on_time.next.lock(),
                false => now.after(TICK_LOCK_WAIT),
            };
            on_time.left.lock().extend(left);
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        next
    }

    /// Runs a periodic function on the PEs of a shard; gives back those that it is to run on
    /// later: the shard's lock is held for long, or nothing is to be changed now.
    fn visit_shard(
        &self,
        visit: Visit,
        run: &(dyn Fn(&K, &mut P) + Send + Sync),
    ) -> Result<(), Visit> {
        let shard = visit.shard;
        let mut pes = match visit.pes {
            Some(pes) => pes,
            None => {
                let Some(mut locked) = self.lock_within(shard, TICK_LOCK_WAIT) else {
                    return Err(visit);
                };
                let entries = locked.table().entries.iter();
                entries.map(|entry| entry.handle(self.hash(&entry.key))).collect()
            }
        };
        let mut held_up = Vec::new();
        while !pes.is_empty() {
            let Some(mut locked) = self.lock_within(shard, TICK_LOCK_WAIT) else {
                break;
            };
            if self.gate.is_closed() {
                return Ok(());
            }
            if self.gate.is_exposed() {
                break;
            }
            for pe in pes.drain(pes.len().saturating_sub(VISITS_PER_LOCK)..) {
                if self.visit(&mut locked, pe, run) == Visited::NotYet {
                    held_up.push(pe);
                }
            }
        }
        pes.extend(held_up);
        if pes.is_empty() { Ok(()) } else { Err(Visit { shard, pes: Some(pes) }) }
    }

    fn visit(
        &self,
        locked: &mut Locked<'_, K, P>,
        pe: PeHandle,
        run: &(dyn Fn(&K, &mut P) + Send + Sync),
    ) -> Visited {
        let table = locked.table();
        let Some(entry) = table.get_mut(pe) else { return Visited::Done };
        if entry.flags.has_any(Flags::BROKEN) {
            return Visited::Done;
        }
        let Slot::Resident(state) = &mut entry.slot else { return Visited::Done };
        if entry.flags.has(Flags::HELD_UP) {
            return Visited::NotYet;
        }
        let key = &entry.key;
        if contain(|| run(key, state)).is_err() {
            entry.flags.set(Flags::POISONED);
            table.poisoned += 1;
            return Visited::Done;
        }
        if self.triggers.stores {
            entry.count_change();
            let due = |since, count| self.is_due(since, count);
            table.mark_changed(pe, &self.triggers, || self.now(), due);
        }
        Visited::Done
    }
}
