//! What comes back to a shard: PEs that were away, PEs that were fetched, results of captures.

use crate::capture::{PeHandle, Settlement, SettlementOutcome};
use crate::clock::Timestamp;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Flags, Slot, Triggers};
use crate::prototype::table::Table;
use crate::record::StateVersion;

/// Something that a shard has to take in; never lost, because it waits in the shard's inbox for
/// whoever locks the shard next.
pub(super) enum Mail<K, P> {
    PutBack(PutBack<P>),
    Arrived {
        pe: PeHandle,
        arrived: Result<Box<Arrived<P>>, ProcessError>,
    },
    Settled(Vec<Settlement>),
    /// Something that is to be done with the whole shard: see `Inner::ask`.
    Errand(BoxedErrand<K, P>),
}

type BoxedErrand<K, P> = Box<dyn FnOnce(&mut Table<K, P>) + Send>;

/// A PE that somebody had.
pub(super) struct PutBack<P> {
    pub(super) pe: PeHandle,
    pub(super) state: P,
    pub(super) effect: Handling,
}

/// What was done with a PE while it was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handling {
    /// Nothing.
    Untouched,
    /// It may have been changed: this counts as one event.
    Changed,
    /// The thread panicked while it might have been changing it.
    Panicked,
}

/// A PE that was restored or made.
pub(super) struct Arrived<P> {
    pub(super) state: P,
    pub(super) event_count: u64,
    /// What it was restored from; zeros if it was made.
    pub(super) durable: StateVersion,
    /// What is stored could not be restored: put it aside before it is replaced.
    pub(super) preserve: bool,
    /// It is not what is stored as the newest version, and is to be.
    pub(super) changed: bool,
}

impl<K, P> Table<K, P> {
    pub(super) fn take_in(
        &mut self,
        mail: Mail<K, P>,
        triggers: &Triggers,
        coarse_now: u32,
        now: &dyn Fn() -> Timestamp,
        due: &dyn Fn(u64, u64) -> bool,
    ) {
        match mail {
            Mail::PutBack(back) => self.put_back(back, triggers, coarse_now, now, due),
            Mail::Arrived { pe, arrived } => {
                self.stirred = true;
                self.arrive(pe, arrived, triggers, coarse_now, now);
            }
            Mail::Settled(settlements) => {
                self.stirred = true;
                for settlement in settlements {
                    self.settle(settlement, triggers, now);
                }
            }
            Mail::Errand(errand) => {
                self.stirred = true;
                errand(self);
            }
        }
    }

    fn put_back(
        &mut self,
        back: PutBack<P>,
        triggers: &Triggers,
        coarse_now: u32,
        now: &dyn Fn() -> Timestamp,
        due: &dyn Fn(u64, u64) -> bool,
    ) {
        let pe = back.pe;
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            // Only `remove` takes entries of PEs that are out away, and it waits for them.
            self.aftermath().dropped_states.push(back.state);
            return;
        };
        let old = std::mem::replace(&mut entry.slot, Slot::Resident(back.state));
        let is_due = entry.flags.has(Flags::DUE);
        if back.effect == Handling::Panicked {
            entry.flags.set(Flags::POISONED);
            self.poisoned += 1;
        }
        if back.effect != Handling::Untouched && entry.count_event(coarse_now) {
            self.mark_changed(pe, triggers, now, due);
        }
        if is_due {
            self.make_due(pe);
        }
        self.checked_out -= 1;
        if let Slot::Out { arrival: Some(arrival), .. } = old {
            self.aftermath().arrivals.push((arrival, Ok(())));
        }
    }

    fn arrive(
        &mut self,
        pe: PeHandle,
        arrived: Result<Box<Arrived<P>>, ProcessError>,
        triggers: &Triggers,
        coarse_now: u32,
        now: &dyn Fn() -> Timestamp,
    ) {
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        // A removal that is not stored yet must not be forgotten: what it removes would come back.
        let unstored = Flags::DIRTY.and(Flags::IN_FLIGHT).and(Flags::REMOVED);
        let removed = entry.flags.has_any(unstored);
        let was_due = entry.flags.has(Flags::DUE);
        let mut changed = arrived.as_ref().is_ok_and(|arrived| arrived.changed);
        let slot = match arrived {
            Ok(arrived) => {
                // Never back to an older version: one may have been stored since it was fetched.
                entry.durable = entry.durable.max(arrived.durable);
                entry.set_event_count(arrived.event_count);
                entry.last_event = coarse_now;
                if arrived.preserve {
                    entry.flags.set(Flags::PRESERVE);
                }
                // It was read before what is in doubt has landed, if that ever does; once it is
                // stored as a new version, nothing older can take its place.
                changed |= entry.flags.has(Flags::IN_DOUBT);
                self.resident += 1;
                Ok(std::mem::replace(&mut entry.slot, Slot::Resident(arrived.state)))
            }
            // A failure is not remembered: the next event tries again.
            Err(error) if removed => {
                let old = std::mem::replace(&mut entry.slot, Slot::Gone);
                self.remove_again(pe, now);
                Err((old, error))
            }
            Err(error) => match self.remove_entry(pe) {
                Some(mut entry) => Err((std::mem::replace(&mut entry.slot, Slot::Gone), error)),
                None => return,
            },
        };
        let (old, result) = match slot {
            Ok(old) => {
                self.track_recency(pe, coarse_now);
                if changed && triggers.stores {
                    self.mark_changed(pe, triggers, now, |_, _| false);
                }
                // Whoever wanted to capture a removal while the PE was made anew has left it.
                if (changed || was_due) && triggers.stores {
                    self.make_due(pe);
                }
                (old, Ok(()))
            }
            Err((old, error)) => (old, Err(error)),
        };
        // A visit may have passed it over while it was on its way.
        if self.get_mut(pe).is_some_and(|entry| entry.flags.has(Flags::DIRTY.and(Flags::DUE))) {
            self.make_due(pe);
        }
        if let Slot::Fetching(arrival) = old {
            self.aftermath().arrivals.push((arrival, result));
        }
    }

    /// Takes the result of a capture. Whatever happened to the PE meanwhile, no change of it is
    /// forgotten.
    fn settle(&mut self, settlement: Settlement, triggers: &Triggers, now: &dyn Fn() -> Timestamp) {
        let pe = settlement.pe;
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            self.exposure.end(settlement.generation);
            return;
        };
        let removal_captured = entry.flags.has(Flags::REMOVAL_CAPTURED);
        entry.flags.clear(Flags::IN_FLIGHT.and(Flags::REMOVAL_CAPTURED));
        self.is_quiet(pe);
        if !self.requests.is_empty() {
            self.settle_joined(pe, settlement.version, &settlement.outcome);
        }
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        if settlement.was_put_aside {
            entry.flags.clear(Flags::PRESERVE);
        }
        match settlement.outcome {
            SettlementOutcome::Stored => {
                entry.durable = entry.durable.max(settlement.version);
                entry.flags.clear(Flags::PRESERVE.and(Flags::REFUSED).and(Flags::IN_DOUBT));
                if removal_captured {
                    entry.flags.clear(Flags::REMOVED);
                }
                self.exposure.end(settlement.generation);
            }
            SettlementOutcome::GaveUp(_) => {
                let newer = entry.flags.has(Flags::DIRTY).then_some(entry.generation);
                entry.flags.set(Flags::DIRTY.and(Flags::IN_DOUBT));
                entry.generation = settlement.generation;
                entry.changes_again(settlement.events);
                if let Some(newer) = newer {
                    self.exposure.end(newer);
                }
                self.make_due(pe);
            }
            SettlementOutcome::Refused(reason) => {
                entry.flags.set(Flags::REFUSED);
                entry.changes_again(settlement.events);
                self.exposure.end(settlement.generation);
                if !entry.flags.has(Flags::DIRTY) {
                    let is_requested = entry.flags.has(Flags::REQUESTED);
                    self.mark_stuck(pe, reason);
                    if is_requested {
                        // Asked for while it was in flight: tried once more, as if asked for now.
                        self.mark_changed(pe, triggers, now, |_, _| false);
                    }
                }
            }
        }
        self.after_settling(pe, triggers);
    }

    fn after_settling(&mut self, pe: PeHandle, triggers: &Triggers) {
        let Some(entry) = self.get_mut(pe) else { return };
        if entry.flags.has_any(Flags::PANICKED.and(Flags::POISONED)) {
            // It is not captured again, and whoever waits for it must know.
            self.set_aside_if_poisoned(pe);
        }
        let Some(entry) = self.get_mut(pe) else { return };
        let flags = entry.flags;
        let durable = entry.last_durable();
        if !flags.has(Flags::DIRTY) {
            // A request that came while the capture was in flight is met by it: nothing changed
            // since.
            for request in self.take_requests(pe) {
                self.aftermath().answers.push((request, Ok(durable)));
            }
            let Some(entry) = self.get_mut(pe) else { return };
            entry.flags.clear(Flags::DUE);
            let leaves = match entry.slot {
                Slot::Gone => true,
                Slot::Resident(_) => flags.has(Flags::EVICTING) && entry.is_clean(),
                Slot::Out { .. } | Slot::Fetching(_) => false,
            };
            if leaves && let Some(entry) = self.remove_entry(pe) {
                self.aftermath().dropped.push(entry);
            }
        } else if !flags.has(Flags::STUCK)
            && (flags.has_any(Flags::DUE.and(Flags::REQUESTED).and(Flags::EVICTING))
                || entry.changes() >= triggers.due_after)
        {
            self.make_due(pe);
        }
    }
}
