//! The bound on events of a PE that are not stored: when it is reached, no further one runs on the
//! PE before some are.

use std::borrow::Borrow;

use crate::capture::PeHandle;
use crate::prototype::entry::{Attempt, Effect, Flags, Triggers};
use crate::prototype::origin::Nowhere;
use crate::prototype::table::Table;

impl<K, P> Table<K, P> {
    /// Holds up a PE if as many of its changes are not stored as may be, or lets events in again.
    ///
    /// One that is held up is in flight, or due: that takes fewer changes.
    pub(super) fn hold_up_if_full(&mut self, pe: PeHandle, triggers: &Triggers) {
        let Some(room) = self.held_up.room(pe.ticket, triggers) else { return };
        let Some(entry) = self.get_mut(pe) else { return };
        if entry.changes() < room {
            return self.let_in(pe);
        }
        if !entry.flags.has(Flags::HELD_UP) {
            entry.flags.set(Flags::HELD_UP);
            self.held_up.count += 1;
        }
    }

    /// Lets events of a PE in, and whoever waits for that.
    pub(super) fn let_in(&mut self, pe: PeHandle) {
        let Some(entry) = self.get_mut(pe).filter(|entry| entry.flags.has(Flags::HELD_UP)) else {
            return;
        };
        entry.flags.clear(Flags::HELD_UP);
        self.not_held_up(pe.ticket);
    }

    /// Counts no more what a PE has changed so far: it could not be stored, and whatever comes next
    /// would have to wait for another try; or the PE is removed.
    pub(super) fn write_off(&mut self, pe: PeHandle, triggers: &Triggers) {
        let Some(entry) = self.get_mut(pe) else { return };
        let changes = entry.changes();
        self.held_up.write_off(pe.ticket, changes, triggers);
        self.let_in(pe);
    }

    /// Lets events in of a PE whose flag is gone.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Settlement, SettlementOutcome};
    use crate::prototype::entry::Slot;
    use crate::prototype::held_up::HeldUp;
    use crate::prototype::results::{Arrived, Handling, Mail, PutBack};
    use crate::prototype::table::Obstacle;
    use crate::prototype::table::tests::{TRIGGERS, at, capture, flags, resident, table};
    use crate::save_error::SaveFailure;

    /// Nothing is due but by the bound.
    const BOUNDED: Triggers = Triggers {
        due_after: u32::MAX,
        due_by: 4,
        exposed_events_max: Some(7),
        interval: None,
        ..TRIGGERS
    };

    /// Runs an event; says whether it got in.
    fn event(table: &mut Table<u8, u8>, pe: PeHandle, key: u8) -> bool {
        let run = |_: &mut u8, ()| Effect::Changed(());
        match table.event((pe.hash, &key), (5, Nowhere), (), run) {
            Attempt::Done(()) => {}
            Attempt::Marks((), pe) => table.mark_changed(pe, &BOUNDED, || at(0), |_, _| false),
            Attempt::NotReady(()) => return false,
        }
        true
    }

    fn fill(table: &mut Table<u8, u8>, pe: PeHandle, key: u8) -> usize {
        (0..100).take_while(|_| event(table, pe, key)).count()
    }

    fn take_in(table: &mut Table<u8, u8>, mail: Mail<u8, u8>) {
        table.take_in(mail, &BOUNDED, 9, &|| at(0), &|_, _| false);
    }

    /// Captures a PE, as `Inner::capture_one` does.
    fn begin(table: &mut Table<u8, u8>, pe: PeHandle) -> Settlement {
        let settlement = capture(table, pe);
        table.held_up.captured(pe.ticket, settlement.events, &BOUNDED);
        settlement
    }

    fn end(table: &mut Table<u8, u8>, settlement: Settlement, outcome: SettlementOutcome) {
        take_in(table, Mail::Settled(vec![Settlement { outcome, ..settlement }]));
    }

    fn gave_up() -> SettlementOutcome {
        SettlementOutcome::GaveUp(SaveFailure::Unknown)
    }

    /// Who has been told so far that he may try again.
    fn told(table: &mut Table<u8, u8>) -> usize {
        table.aftermath.take().map_or(0, |aftermath| {
            assert!(aftermath.arrivals.iter().all(|(_, result)| result.is_ok()));
            aftermath.arrivals.len()
        })
    }

    fn wait(table: &mut Table<u8, u8>, pe: PeHandle, key: u8) {
        assert!(matches!(table.obstacle(pe.hash, &key), Obstacle::HeldUp(_)));
    }

    #[test]
    fn a_pe_is_due_after_half_of_the_bound_and_held_up_at_it_alone() {
        let mut table = table();
        let [a, b] = [1, 2].map(|key| resident(&mut table, key));
        for _ in 0..3 {
            assert!(event(&mut table, a, 1) && table.ready.is_empty());
        }
        assert!(event(&mut table, a, 1) && table.ready == [a]);
        assert_eq!(fill(&mut table, a, 1), 3);
        assert!(flags(&mut table, a).has(Flags::HELD_UP) && event(&mut table, b, 2));
        assert_eq!((table.held_up.count, &table.ready), (1, &[a].into()));
        let read = |_: &mut u8, ()| Effect::Unchanged(7);
        let found = table.read_held_up((a.hash, &1), 5, (), read);
        assert!(matches!(found, Attempt::Done(7)));
        table.get_mut(a).unwrap().flags.set(Flags::PANICKED);
        assert!(matches!(table.read_held_up((a.hash, &1), 5, (), read), Attempt::NotReady(())));
        assert!(matches!(table.read_held_up((a.hash, &3), 5, (), read), Attempt::NotReady(())));
    }

    #[test]
    fn what_is_captured_counts_until_it_is_stored() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        for _ in 0..5 {
            assert!(event(&mut table, pe, 1));
        }
        let captured = begin(&mut table, pe);
        // Fewer than those with which it would be due.
        assert_eq!(fill(&mut table, pe, 1), 2);
        wait(&mut table, pe, 1);
        wait(&mut table, pe, 1);
        // One that was given up is with those that are not captured, and is due again.
        end(&mut table, captured, gave_up());
        assert_eq!((table.held_up.count, told(&mut table), &table.ready), (1, 0, &[pe].into()));
        let captured = begin(&mut table, pe);
        assert_eq!((captured.events, fill(&mut table, pe, 1)), (7, 0));
        end(&mut table, captured, SettlementOutcome::Stored);
        // Both wait for the same.
        assert_eq!((table.held_up.count, told(&mut table)), (0, 1));
        assert_eq!((fill(&mut table, pe, 1), fill(&mut table, pe, 1)), (7, 0));
    }

    #[test]
    fn a_pe_that_was_due_while_it_was_captured_is_due_again() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        for more in [3, 4] {
            event(&mut table, pe, 1);
            let captured = begin(&mut table, pe);
            for _ in 0..more {
                assert!(event(&mut table, pe, 1));
            }
            assert!(table.ready.is_empty());
            table.get_mut(pe).unwrap().flags.clear(Flags::DUE);
            end(&mut table, captured, SettlementOutcome::Stored);
            assert_eq!(table.ready.len(), more / 4, "four are half of the bound");
            let captured = begin(&mut table, pe);
            end(&mut table, captured, SettlementOutcome::Stored);
        }
    }

    #[test]
    fn what_cannot_be_stored_is_not_waited_for_and_what_comes_next_is() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        let refused = || SettlementOutcome::Refused(SaveFailure::EncodePanicked);
        assert_eq!(fill(&mut table, pe, 1), 7);
        wait(&mut table, pe, 1);
        for _ in 0..2 {
            let captured = begin(&mut table, pe);
            end(&mut table, captured, refused());
            assert_eq!((table.held_up.count, told(&mut table)), (0, 1));
            // As many again until it is known whether they can be, and it is due after half.
            for _ in 0..3 {
                assert!(event(&mut table, pe, 1) && table.ready.is_empty());
            }
            assert!(event(&mut table, pe, 1) && table.ready == [pe]);
            assert_eq!(fill(&mut table, pe, 1), 3);
            wait(&mut table, pe, 1);
        }
        // Those that came while it was in flight have still to be tried.
        let captured = begin(&mut table, pe);
        assert_eq!(fill(&mut table, pe, 1), 0);
        end(&mut table, captured, refused());
        assert_eq!(fill(&mut table, pe, 1), 7);
        let captured = begin(&mut table, pe);
        end(&mut table, captured, SettlementOutcome::Stored);
        assert_eq!(fill(&mut table, pe, 1), 7);
        // The same where it fails before anything is in flight.
        told(&mut table);
        wait(&mut table, pe, 1);
        table.mark_stuck(pe, &BOUNDED, SaveFailure::EncodePanicked);
        assert_eq!((table.held_up.count, told(&mut table), fill(&mut table, pe, 1)), (0, 1, 7));
    }

    #[test]
    fn what_comes_while_a_state_is_refused_is_bounded() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        event(&mut table, pe, 1);
        let captured = begin(&mut table, pe);
        assert_eq!(fill(&mut table, pe, 1), 6);
        let refused = SettlementOutcome::Refused(SaveFailure::EncodePanicked);
        end(&mut table, captured, refused);
        assert_eq!(fill(&mut table, pe, 1), 1, "one could not be stored, six are not yet");
    }

    #[test]
    fn who_waits_is_told_when_the_pe_leaves_its_place() {
        let mut table = table();
        let pes = [1, 2, 3, 4, 5].map(|key| resident(&mut table, key));
        for (pe, key) in pes.iter().zip(1..) {
            assert_eq!(fill(&mut table, *pe, key), 7);
            wait(&mut table, *pe, key);
        }
        told(&mut table);
        let [poisoned, found, removed, cleared, gone] = pes;
        table.get_mut(poisoned).unwrap().flags.set(Flags::PANICKED);
        assert!(table.set_aside_if_poisoned(poisoned));
        assert_eq!((table.held_up.count, told(&mut table)), (4, 1));
        table.get_mut(found).unwrap().flags.set(Flags::PANICKED);
        assert!(matches!(table.obstacle(found.hash, &2), Obstacle::Poisoned(None, _)));
        assert_eq!((table.held_up.count, told(&mut table)), (3, 1));
        remove(&mut table, removed);
        assert_eq!((table.held_up.count, told(&mut table)), (2, 1));
        table.clear_place(cleared).unwrap();
        assert_eq!((table.held_up.count, told(&mut table)), (1, 1));
        table.remove_entry(gone).unwrap();
        assert_eq!((table.held_up.count, told(&mut table)), (0, 1));
        table.let_in(removed);
        assert_eq!((table.held_up.count, told(&mut table)), (0, 0));
    }

    #[test]
    fn what_was_written_off_is_forgotten_with_the_pe() {
        let mut table = table();
        let [replaced, gone] = [1, 2].map(|key| resident(&mut table, key));
        for (pe, key) in [(replaced, 1), (gone, 2)] {
            assert_eq!(fill(&mut table, pe, key), 7);
            table.mark_stuck(pe, &BOUNDED, SaveFailure::EncodePanicked);
            assert_eq!(table.held_up.room(pe.ticket, &BOUNDED), Some(14));
        }
        table.clear_place(replaced).unwrap();
        table.remove_entry(gone).unwrap();
        for pe in [replaced, gone] {
            assert_eq!(table.held_up.room(pe.ticket, &BOUNDED), Some(7));
        }
    }

    fn remove(table: &mut Table<u8, u8>, pe: PeHandle) {
        let id = crate::CheckpointId::new("p", [2]).unwrap();
        table.remove(pe, (at(0), &BOUNDED), &id, None);
    }

    #[test]
    fn what_was_removed_takes_no_room_from_what_is_made_anew() {
        for is_in_flight in [false, true] {
            let mut table = table();
            let pe = resident(&mut table, 1);
            for _ in 0..3 {
                event(&mut table, pe, 1);
            }
            let captured = is_in_flight.then(|| begin(&mut table, pe));
            event(&mut table, pe, 1);
            remove(&mut table, pe);
            assert!(matches!(table.obstacle(pe.hash, &1), Obstacle::Make(..)));
            let made = Box::new(Arrived::made(0));
            take_in(&mut table, Mail::Arrived { pe, arrived: Ok(made) });
            if let Some(captured) = captured {
                assert_eq!(fill(&mut table, pe, 1), 7);
                end(&mut table, captured, SettlementOutcome::Stored);
                assert_eq!(fill(&mut table, pe, 1), 0);
                let captured = begin(&mut table, pe);
                end(&mut table, captured, SettlementOutcome::Stored);
            }
            assert_eq!(fill(&mut table, pe, 1), 7);
        }
    }

    #[test]
    fn at_the_end_all_are_told() {
        let mut table = table();
        let pes = [1, 2].map(|key| resident(&mut table, key));
        for (pe, key) in pes.iter().zip(1..) {
            fill(&mut table, *pe, key);
            wait(&mut table, *pe, key);
        }
        told(&mut table);
        table.wake_held_up();
        assert_eq!((table.held_up.count, told(&mut table)), (2, 2));
    }

    #[test]
    fn a_guard_is_an_event_and_a_held_up_pe_is_not_lent() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        for _ in 0..7 {
            let (lent, state) = table.check_out(pe.hash, &1, 5).unwrap_or_else(|_| panic!("full"));
            assert!(matches!(table.get_mut(lent).unwrap().slot, Slot::Out { .. }));
            take_in(&mut table, Mail::PutBack(PutBack { pe, state, effect: Handling::Changed }));
        }
        assert!(matches!(table.check_out(pe.hash, &1, 5), Err(Obstacle::HeldUp(_))));
        assert!(flags(&mut table, pe).has(Flags::HELD_UP));
    }

    #[test]
    fn without_a_bound_nothing_is_kept() {
        let mut held_up = HeldUp::default();
        held_up.captured(1, 3, &TRIGGERS);
        held_up.write_off(1, 3, &TRIGGERS);
        assert_eq!((held_up.room(1, &TRIGGERS), held_up.due_at(1, &TRIGGERS)), (None, None));
        assert_eq!((held_up.room(1, &BOUNDED), held_up.due_at(1, &BOUNDED)), (Some(7), Some(4)));
        held_up.captured(1, 3, &BOUNDED);
        assert_eq!((held_up.room(1, &BOUNDED), held_up.due_at(1, &BOUNDED)), (Some(4), Some(4)));
        held_up.settled(1);
        held_up.write_off(1, 5, &BOUNDED);
        assert_eq!((held_up.room(1, &BOUNDED), held_up.due_at(1, &BOUNDED)), (Some(12), Some(9)));
        // All of it is in what was captured, and a part of it stored.
        held_up.captured(1, 4, &BOUNDED);
        assert_eq!((held_up.room(1, &BOUNDED), held_up.due_at(1, &BOUNDED)), (Some(8), Some(5)));
        held_up.stored(1);
        held_up.settled(1);
        assert_eq!((held_up.room(1, &BOUNDED), held_up.due_at(1, &BOUNDED)), (Some(8), Some(5)));
        held_up.forget(1);
        assert_eq!((held_up.room(1, &BOUNDED), held_up.due_at(1, &BOUNDED)), (Some(7), Some(4)));
    }
}
