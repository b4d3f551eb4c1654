//! What comes back to a shard: PEs that were away, PEs that were fetched, results of captures.

use crate::capture::{PeHandle, Settlement, SettlementOutcome};
use crate::clock::Timestamp;
use crate::inputs::Contained;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Flags, HeldBack, Slot, Triggers};
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
    /// Which events it contains; nothing if that is for its place to say, where it was before.
    pub(super) contained: Option<Contained>,
    /// Whether it may have lost events that are to be fed again.
    pub(super) has_lost_events: bool,
}

impl<P> Arrived<P> {
    /// One that was made, and of which nothing is stored.
    pub(super) fn made(state: P) -> Self {
        Self {
            state,
            event_count: 0,
            durable: StateVersion::default(),
            preserve: false,
            changed: false,
            contained: None,
            has_lost_events: false,
        }
    }
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
        let mut contained = None;
        let slot = match arrived {
            Ok(arrived) => {
                // Never back to an older version: one may have been stored since it was fetched.
                entry.durable = entry.durable.max(arrived.durable);
                entry.set_event_count(arrived.event_count);
                entry.last_event = coarse_now;
                if arrived.preserve {
                    entry.flags.set(Flags::PRESERVE);
                }
                if arrived.has_lost_events {
                    entry.flags.set(Flags::LOST_EVENTS);
                }
                // It was read before what is in doubt has landed, if that ever does; once it is
                // stored as a new version, nothing older can take its place.
                changed |= entry.flags.has(Flags::IN_DOUBT);
                self.resident += 1;
                contained = arrived.contained;
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
                if let Some(contained) = contained {
                    self.set_contained(pe, contained);
                }
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
        if let SettlementOutcome::Stored = settlement.outcome {
            self.held_up.stored(pe.ticket);
        }
        self.held_up.settled(pe.ticket);
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            self.exposure.end(settlement.generation);
            return;
        };
        let removal_captured = entry.flags.has(Flags::REMOVAL_CAPTURED);
        let was_removed = entry.flags.has(Flags::REMOVED) && !removal_captured;
        entry.flags.clear(Flags::IN_FLIGHT.and(Flags::REMOVAL_CAPTURED));
        self.is_quiet(pe);
        if !self.requests.is_empty() {
            let settled = (settlement.version, &settlement.outcome);
            self.settle_joined(pe, settled, was_removed);
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
                entry.flags.clear(Flags::PRESERVE.and(Flags::IN_DOUBT));
                if !self.left_in_doubt.is_empty() {
                    self.left_in_doubt.remove(&pe.hash);
                }
                if !self.held_back.is_empty() {
                    self.held_back.remove(&pe.ticket);
                }
                if removal_captured {
                    entry.flags.clear(Flags::REMOVED);
                    self.several.forget_removed(pe.ticket);
                }
                self.exposure.end(settlement.generation);
            }
            SettlementOutcome::GaveUp(reason) => {
                let newer = entry.flags.has(Flags::DIRTY).then_some(entry.generation);
                entry.flags.set(Flags::DIRTY);
                if reason.may_be_stored() {
                    entry.flags.set(Flags::IN_DOUBT);
                }
                entry.generation = settlement.generation;
                entry.changes_again(settlement.events);
                if let Some(newer) = newer {
                    self.exposure.end(newer);
                }
                self.make_due(pe);
            }
            SettlementOutcome::Refused(reason) => {
                self.held_back.insert(pe.ticket, HeldBack::Refused);
                if reason.may_be_stored() {
                    entry.flags.set(Flags::IN_DOUBT);
                }
                entry.changes_again(settlement.events);
                self.held_up.write_off(pe.ticket, settlement.events, triggers);
                self.exposure.end(settlement.generation);
                if !entry.flags.has(Flags::DIRTY) {
                    let is_requested = entry.flags.has(Flags::REQUESTED);
                    self.mark_stuck(pe, triggers, reason);
                    if is_requested {
                        // Asked for while it was in flight: tried once more, as if asked for now.
                        self.mark_changed(pe, triggers, now, |_, _| false);
                    }
                }
            }
        }
        self.hold_up_if_full(pe, triggers);
        self.after_settling(pe, triggers);
    }

    fn after_settling(&mut self, pe: PeHandle, triggers: &Triggers) {
        let Some(entry) = self.get_mut(pe) else { return };
        if entry.flags.has_any(Flags::BROKEN) {
            // It is not captured again, and whoever waits for it must know.
            self.set_aside_if_poisoned(pe);
        }
        let due_at = self.held_up.due_at(pe.ticket, triggers);
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
                || entry.changes() >= triggers.due_after
                || due_at.is_some_and(|due_at| entry.changes() >= due_at))
        {
            self.make_due(pe);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prototype::table::tests::{
        TRIGGERS, at, capture, event, fetching, flags, made, resident, table, take_in,
    };
    use crate::save_error::SaveFailure;
    use crate::storage::{StorageError, StorageErrorKind};
    use crate::wait::Signal;

    fn closed() -> ProcessError {
        ProcessError::Closed { prototype: "p".into() }
    }

    /// Has somebody take a PE, and bring it back.
    fn lend(table: &mut Table<u8, u8>, pe: PeHandle, effect: Handling) {
        let arrival = Signal::new();
        let out = Slot::Out { since: 0, arrival: Some(arrival) };
        table.get_mut(pe).unwrap().slot = out;
        table.checked_out = 3;
        take_in(table, Mail::PutBack(PutBack { pe, state: 8, effect }));
        assert_eq!(table.checked_out, 2);
        assert_eq!(table.aftermath().arrivals.len(), 1);
        assert!(matches!(table.get_mut(pe).unwrap().slot, Slot::Resident(8)));
    }

    #[test]
    fn a_pe_that_was_lent_comes_back_as_it_was_used() {
        let mut table = table();
        let [a, b, c, d] = [1, 2, 3, 4].map(|key| resident(&mut table, key));
        lend(&mut table, a, Handling::Untouched);
        assert_eq!((flags(&mut table, a), table.poisoned), (Flags::default(), 0));
        assert_eq!(table.get_mut(a).unwrap().event_count(), 0);
        table.aftermath = None;
        lend(&mut table, b, Handling::Changed);
        assert_eq!((flags(&mut table, b), table.poisoned), (Flags::DIRTY, 0));
        assert_eq!(table.get_mut(b).unwrap().event_count(), 1);
        table.aftermath = None;
        lend(&mut table, c, Handling::Panicked);
        assert_eq!((flags(&mut table, c).has(Flags::POISONED), table.poisoned), (true, 1));
        // It was due meanwhile.
        table.aftermath = None;
        table.get_mut(d).unwrap().flags.set(Flags::DUE);
        lend(&mut table, d, Handling::Untouched);
        assert_eq!(table.ready, [d]);
    }

    #[test]
    fn what_was_fetched_takes_its_place() {
        let mut table = table();
        let [(a, arrival), (b, _), (c, _)] = [1, 2, 3].map(|key| fetching(&mut table, key));
        let durable = StateVersion::new(2, 5);
        let arrived = Arrived { event_count: 7, durable, preserve: true, ..Arrived::made(4) };
        take_in(&mut table, Mail::Arrived { pe: a, arrived: Ok(Box::new(arrived)) });
        let entry = table.get_mut(a).unwrap();
        assert!(matches!(entry.slot, Slot::Resident(4)));
        assert_eq!((entry.event_count(), entry.durable, entry.last_event), (7, durable, 9));
        assert_eq!((entry.flags, table.resident), (Flags::PRESERVE, 1));
        let arrivals = table.aftermath.take().unwrap().arrivals;
        assert!(matches!(&arrivals[..], [(told, Ok(()))] if Arc::ptr_eq(told, &arrival)));
        assert!(table.ready.is_empty());
        // It is not what is stored, or may not be.
        let arrived = Arrived { changed: true, ..made() };
        take_in(&mut table, Mail::Arrived { pe: b, arrived: Ok(Box::new(arrived)) });
        table.get_mut(c).unwrap().flags.set(Flags::IN_DOUBT);
        take_in(&mut table, Mail::Arrived { pe: c, arrived: Ok(Box::new(made())) });
        assert!(flags(&mut table, b).has(Flags::DIRTY) && flags(&mut table, c).has(Flags::DIRTY));
        assert_eq!((&table.ready, table.resident), (&[b, c].into(), 3));
    }

    #[test]
    fn nothing_becomes_due_where_nothing_is_stored() {
        let mut table = table();
        let (pe, _) = fetching(&mut table, 1);
        let arrived = Ok(Box::new(Arrived { changed: true, ..made() }));
        let triggers = Triggers { stores: false, ..TRIGGERS };
        let mail = Mail::Arrived { pe, arrived };
        table.take_in(mail, &triggers, 9, &|| at(0), &|_, _| true);
        assert_eq!((flags(&mut table, pe), table.ready.len()), (Flags::default(), 0));
    }

    #[test]
    fn a_failed_fetch_is_forgotten_but_a_removal_is_not() {
        let mut table = table();
        let [(a, _), (b, _)] = [1, 2].map(|key| fetching(&mut table, key));
        table.get_mut(b).unwrap().flags.set(Flags::REMOVED);
        for pe in [a, b] {
            take_in(&mut table, Mail::Arrived { pe, arrived: Err(closed()) });
        }
        assert!(table.get_mut(a).is_none());
        assert!(matches!(table.get_mut(b).unwrap().slot, Slot::Gone));
        let expected = Flags::REMOVED.and(Flags::DIRTY).and(Flags::DUE).and(Flags::QUEUED);
        assert_eq!(flags(&mut table, b), expected);
        let arrivals = table.aftermath.take().unwrap().arrivals;
        assert!(matches!(&arrivals[..], [(_, Err(_)), (_, Err(_))]));
    }

    #[test]
    fn what_is_stored_is_clean_and_stays_unless_it_is_to_leave() {
        let mut table = table();
        let [a, b, c] = [1, 2, 3].map(|key| resident(&mut table, key));
        for key in [1, 2, 3] {
            event(&mut table, key, at(0));
        }
        let settlements = [a, b, c].map(|pe| capture(&mut table, pe));
        table.get_mut(b).unwrap().flags.set(Flags::EVICTING);
        // Changed again, but not by so many events that it is due.
        event(&mut table, 3, at(40));
        take_in(&mut table, Mail::Settled(settlements.into()));
        assert_eq!(flags(&mut table, a), Flags::default());
        assert_eq!(table.get_mut(a).unwrap().durable, StateVersion::new(1, 1));
        assert!(table.get_mut(b).is_none());
        assert_eq!((flags(&mut table, c), table.ready.len()), (Flags::DIRTY, 0));
        assert_eq!((table.exposure.oldest(), table.resident), (Some(at(40)), 2));
        // By so many.
        let settlement = capture(&mut table, c);
        table.get_mut(c).unwrap().changes_again(2);
        table.get_mut(c).unwrap().flags.set(Flags::DIRTY);
        take_in(&mut table, Mail::Settled(vec![settlement]));
        assert_eq!(table.ready, [c]);
    }

    #[test]
    fn a_pe_that_was_asked_for_meanwhile_is_due_when_it_is_back() {
        for flag in [Flags::DUE, Flags::REQUESTED, Flags::EVICTING] {
            let mut table = table();
            let pe = resident(&mut table, 1);
            event(&mut table, 1, at(0));
            let settlement = capture(&mut table, pe);
            event(&mut table, 1, at(40));
            table.get_mut(pe).unwrap().flags.set(flag);
            take_in(&mut table, Mail::Settled(vec![settlement]));
            assert_eq!(table.ready, [pe], "{flag:?}");
        }
    }

    #[test]
    fn a_capture_that_was_given_up_leaves_the_pe_as_old_as_it_was() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        event(&mut table, 1, at(0));
        let mut settlement = capture(&mut table, pe);
        event(&mut table, 1, at(40));
        settlement.outcome = SettlementOutcome::GaveUp(SaveFailure::Unknown);
        take_in(&mut table, Mail::Settled(vec![settlement]));
        assert_eq!((table.exposure.oldest(), &table.ready), (Some(at(0)), &[pe].into()));
        assert_eq!(table.get_mut(pe).unwrap().changes(), 2);
        assert!(flags(&mut table, pe).has(Flags::DIRTY.and(Flags::IN_DOUBT)));
    }

    #[test]
    fn a_pe_in_doubt_that_could_not_be_reloaded_is_stored_by_whoever_brings_it() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        event(&mut table, 1, at(0));
        let mut settlement = capture(&mut table, pe);
        settlement.outcome = SettlementOutcome::GaveUp(SaveFailure::Unknown);
        take_in(&mut table, Mail::Settled(vec![settlement]));
        table.clear_place(pe).unwrap();
        take_in(&mut table, Mail::Arrived { pe, arrived: Err(closed()) });
        assert!(table.get_mut(pe).is_none());
        // Nor could it the next time.
        let (pe, _) = fetching(&mut table, 1);
        take_in(&mut table, Mail::Arrived { pe, arrived: Err(closed()) });
        let pe = resident(&mut table, 1);
        assert!(flags(&mut table, pe).has(Flags::DIRTY.and(Flags::IN_DOUBT)));
        assert_eq!(table.ready.back(), Some(&pe));
        let settlement = capture(&mut table, pe);
        take_in(&mut table, Mail::Settled(vec![settlement]));
        table.remove_entry(pe).unwrap();
        let pe = resident(&mut table, 1);
        assert_eq!(flags(&mut table, pe), Flags::default());
    }

    #[test]
    fn a_state_that_is_refused_waits_for_a_change() {
        let mut table = table();
        let [a, b, c] = [1, 2, 3].map(|key| resident(&mut table, key));
        for key in [1, 1, 2, 3] {
            event(&mut table, key, at(0));
        }
        let error = || Arc::new(StorageError::new(StorageErrorKind::Unsupported, "store it"));
        let mut settlements = [a, b, c].map(|pe| capture(&mut table, pe));
        for settlement in &mut settlements {
            settlement.outcome = SettlementOutcome::Refused(SaveFailure::Refused(error()));
        }
        settlements[2].outcome = SettlementOutcome::Refused(SaveFailure::MayBeStored(error()));
        // This one has changed.
        event(&mut table, 2, at(40));
        take_in(&mut table, Mail::Settled(settlements.into()));
        let expected = Flags::DIRTY.and(Flags::STUCK);
        assert_eq!(flags(&mut table, a), expected);
        assert_eq!(flags(&mut table, c), expected.and(Flags::IN_DOUBT));
        assert!(!flags(&mut table, b).has(Flags::STUCK) && table.stuck.len() == 2);
        assert_eq!((&table.ready, table.exposure.oldest()), (&[b].into(), Some(at(40))));
    }
}
