//! What the PEs of a shard say of the events that they contain.

use std::borrow::Borrow;

use crate::capture::PeHandle;
use crate::inputs::{Contained, SourceIndex};
use crate::prototype::entry::{Attempt, Effect, Entry, Flags, Slot};
use crate::prototype::origin::{Input, Nowhere, Origin, Seen};
use crate::prototype::table::Table;

impl<K, P> Table<K, P> {
    /// Returns what a PE contains, of however many sources.
    pub(super) fn contained(&self, entry: &Entry<K, P>) -> Contained {
        match entry.source {
            SourceIndex::NONE => Contained::default(),
            SourceIndex::SEVERAL => {
                self.several.by_ticket.get(&entry.ticket).cloned().unwrap_or_default()
            }
            source => Contained::one(source, entry.contained_to),
        }
    }

    /// The same, of the PE that this is the handle of.
    pub(super) fn contained_of(&self, pe: PeHandle) -> Contained {
        let entry = self.entries.find(pe.hash, |entry| entry.ticket == pe.ticket);
        entry.map(|entry| self.contained(entry)).unwrap_or_default()
    }

    /// Says what a PE contains.
    pub(super) fn set_contained(&mut self, pe: PeHandle, contained: Contained) {
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        if entry.source == SourceIndex::SEVERAL {
            self.several.by_ticket.remove(&pe.ticket);
        }
        match *contained.as_slice() {
            [] => (entry.source, entry.contained_to) = (SourceIndex::NONE, 0),
            [(source, next)] => (entry.source, entry.contained_to) = (source, next),
            _ => {
                (entry.source, entry.contained_to) = (SourceIndex::SEVERAL, 0);
                self.several.by_ticket.insert(pe.ticket, contained);
            }
        }
    }

    /// Returns a PE that is there, and has lost events.
    pub(super) fn has_lost_events<Q>(&self, hash: u64, key: &Q) -> Option<PeHandle>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let entry = self.entries.find(hash, |entry| entry.key.borrow() == key)?;
        let is_here = matches!(entry.slot, Slot::Resident(_));
        let is_broken = entry.flags.has_any(Flags::BROKEN);
        (is_here && !is_broken && entry.flags.has(Flags::LOST_EVENTS)).then(|| entry.handle(hash))
    }

    /// Runs an event of a PE that is there, and that another source has fed too.
    #[cold]
    pub(super) fn event_of_several<R, I, O: Origin>(
        &mut self,
        pe: PeHandle,
        (coarse_now, origin): (u32, O),
        input: I,
        run: impl FnOnce(&mut P, I) -> Effect<R>,
    ) -> Attempt<O::Output<R>, I> {
        let Some(at) = origin.input() else { unreachable!("only positions stand elsewhere") };
        if self.look_elsewhere(pe, at) == Seen::Contained {
            return Attempt::Done(O::contained());
        }
        let Some(entry) = self.get_mut(pe) else { return Attempt::NotReady(input) };
        let mut is_changed = false;
        let attempt = entry.event(pe.hash, (coarse_now, Nowhere), input, |state, input| {
            let effect = run(state, input);
            is_changed = matches!(effect, Effect::Changed(_));
            effect
        });
        if is_changed {
            self.contains_elsewhere(pe, at);
        }
        attempt.map(O::output)
    }

    /// Looks whether a PE contains an event that another source has fed, too.
    fn look_elsewhere(&self, pe: PeHandle, input: Input) -> Seen {
        let Some(entry) = self.entries.find(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return Seen::New;
        };
        let contained_to = match entry.source {
            SourceIndex::SEVERAL => {
                self.several.by_ticket.get(&pe.ticket).and_then(|of| of.of(input.source))
            }
            _ => None,
        };
        match input.position < contained_to.unwrap_or(input.floor) {
            true => Seen::Contained,
            false => Seen::New,
        }
    }

    /// Takes note that one of several sources has fed a PE.
    fn contains_elsewhere(&mut self, pe: PeHandle, input: Input) {
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        if entry.source != SourceIndex::SEVERAL {
            let first = Contained::one(entry.source, entry.contained_to);
            self.several.by_ticket.insert(pe.ticket, first);
            entry.source = SourceIndex::SEVERAL;
        }
        if let Some(contained) = self.several.by_ticket.get_mut(&pe.ticket) {
            contained.set(input.source, input.position + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint_id::CheckpointId;
    use crate::inputs::Sources;
    use crate::prototype::results::Mail;
    use crate::prototype::table::Obstacle;
    use crate::prototype::table::tests::{
        TRIGGERS, at, capture, fetching, made, resident, table, take_in,
    };
    use crate::record::InputPosition;

    const FLOOR: u64 = 10;

    fn input(source: u16, position: u64) -> Input {
        let source = SourceIndex::new(source);
        Input { source, position, floor: FLOOR, is_behind_nothing_lost: false }
    }

    /// Feeds a PE; says whether the event has run.
    fn feed(table: &mut Table<u8, u8>, key: u8, input: Input) -> Option<()> {
        let run = |state: &mut u8, n| {
            *state += n;
            Effect::Changed(())
        };
        match table.event((7, &key), (5, input), 1, run) {
            Attempt::Done(ran) | Attempt::Marks(ran, _) => ran,
            Attempt::NotReady(_) => panic!("{key} is not there"),
        }
    }

    fn state(table: &mut Table<u8, u8>, pe: PeHandle) -> u8 {
        match table.get_mut(pe).unwrap().slot {
            Slot::Resident(state) => state,
            _ => panic!("it is not there"),
        }
    }

    fn said(table: &Table<u8, u8>, pe: PeHandle) -> Vec<(SourceIndex, u64)> {
        let entry = table.entries.find(pe.hash, |entry| entry.ticket == pe.ticket).unwrap();
        table.contained(entry).as_slice().to_vec()
    }

    #[test]
    fn an_event_runs_unless_the_pe_contains_it() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        // Of a source that the PE says nothing of, it contains what all PEs contain.
        assert_eq!(feed(&mut table, 1, input(1, FLOOR - 1)), None);
        assert_eq!(said(&table, pe), []);
        for (position, runs) in [(FLOOR, true), (FLOOR, false), (14, true), (13, false), (15, true)]
        {
            assert_eq!(feed(&mut table, 1, input(1, position)).is_some(), runs, "{position}");
        }
        assert_eq!((state(&mut table, pe), said(&table, pe)), (3, vec![(SourceIndex::new(1), 16)]));
    }

    #[test]
    fn several_sources_feed_a_pe() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        for (source, position, runs) in [
            (1, 20, true),
            (2, 5, false),
            (2, 30, true),
            (1, 20, false),
            (3, 10, true),
            (2, 30, false),
        ] {
            let ran = feed(&mut table, 1, input(source, position)).is_some();
            assert_eq!(ran, runs, "{position} of {source}");
        }
        let of = |n, next| (SourceIndex::new(n), next);
        assert_eq!(
            (state(&mut table, pe), said(&table, pe)),
            (3, vec![of(1, 21), of(2, 31), of(3, 11)])
        );
        assert_eq!(table.several.by_ticket.len(), 1);
        table.remove_entry(pe).unwrap();
        assert_eq!(table.several.by_ticket.len(), 0);
    }

    #[test]
    fn what_did_not_change_the_pe_is_not_contained() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        for (source, others) in [(1, 0), (2, 1)] {
            let run = |_: &mut u8, ()| Effect::Unchanged(());
            let attempt = table.event((7, &1), (5, input(source, 50)), (), run);
            assert!(matches!(attempt, Attempt::Done(Some(()))));
            assert_eq!(said(&table, pe).len(), others);
            assert!(feed(&mut table, 1, input(source, 50)).is_some());
        }
    }

    #[test]
    fn nothing_is_concluded_from_a_pe_that_is_not_there() {
        let mut table = table();
        let (pe, _) = fetching(&mut table, 1);
        let run = |_: &mut u8, ()| Effect::Changed(());
        let attempt = table.event((7, &1), (5, input(1, 0)), (), run);
        assert!(matches!(attempt, Attempt::NotReady(())));
        let contained = Some(Contained::one(SourceIndex::new(1), 40));
        let arrived = Ok(Box::new(crate::prototype::results::Arrived { contained, ..made() }));
        take_in(&mut table, Mail::Arrived { pe, arrived });
        assert_eq!(feed(&mut table, 1, input(1, 39)), None);
        assert_eq!(feed(&mut table, 1, input(1, 40)), Some(()));
        // A place that is cleared says nothing any more; one that was removed from says the same.
        let settled = capture(&mut table, pe);
        take_in(&mut table, Mail::Settled(vec![settled]));
        let cleared = table.clear_place(pe).unwrap();
        assert_eq!(cleared.contained.as_slice(), [(SourceIndex::new(1), 41)]);
        assert_eq!(said(&table, pe), []);
    }

    #[test]
    fn what_a_removed_pe_contained_is_kept_until_its_removal_is_stored() {
        let id = CheckpointId::new("p", "k").unwrap();
        let mut table = table();
        let pe = resident(&mut table, 1);
        feed(&mut table, 1, input(1, 20));
        table.remove(pe, (at(0), &TRIGGERS), &id, None).unwrap();
        let removal = capture(&mut table, pe);
        // Made anew meanwhile.
        assert!(matches!(table.obstacle(pe.hash, &1), Obstacle::Make(..)));
        take_in(&mut table, Mail::Arrived { pe, arrived: Ok(Box::new(made())) });
        feed(&mut table, 1, input(1, 21));
        assert_eq!(said(&table, pe), [(SourceIndex::new(1), 22)]);
        assert_eq!(table.several.removed[&pe.ticket], Contained::one(SourceIndex::new(1), 21));
        take_in(&mut table, Mail::Settled(vec![removal]));
        assert!(table.several.removed.is_empty());
        // One that contains nothing has nothing to be kept, and one that leaves leaves nothing.
        for (key, position) in [(2, FLOOR - 1), (3, FLOOR)] {
            let pe = resident(&mut table, key);
            feed(&mut table, key, input(1, position));
            table.remove(pe, (at(0), &TRIGGERS), &id, None).unwrap();
            assert_eq!(table.several.removed.len(), usize::from(position == FLOOR));
            table.remove_entry(pe).unwrap();
            assert!(table.several.removed.is_empty());
        }
    }

    #[test]
    fn a_record_says_what_is_contained_and_forgets_what_needs_not_be_said() {
        let known = |id, safe| crate::inputs::Known {
            name: id_name(id),
            id: crate::record::SourceId(id),
            safe,
            floor: safe,
        };
        let sources = Sources::new(&[90, 80, 70, 60, 50].map(|id| known(id, 25))).unwrap();
        let mut table = table();
        let pe = resident(&mut table, 1);
        assert_eq!(take(&mut table, pe, &sources), []);
        feed(&mut table, 1, input(1, 20));
        let position =
            |source, position| InputPosition { source: crate::record::SourceId(source), position };
        assert_eq!(take(&mut table, pe, &sources), [position(90, 20)]);
        for (source, at) in [(2, 24), (3, 25), (4, 26)] {
            feed(&mut table, 1, input(source, at));
        }
        let four = [position(60, 26), position(70, 25), position(80, 24), position(90, 20)];
        assert_eq!(take(&mut table, pe, &sources), four);
        // With so many, those go that say no more than what holds of every PE.
        feed(&mut table, 1, input(5, 27));
        let left = [position(50, 27), position(60, 26), position(70, 25)];
        let taken = take(&mut table, pe, &sources);
        assert_eq!(taken, left);
        assert_eq!(said(&table, pe).len(), 3);
        table.several.give_positions(taken);
        assert!(table.several.kept() >= 3);
    }

    fn take(table: &mut Table<u8, u8>, pe: PeHandle, sources: &Sources) -> Vec<InputPosition> {
        let said = table.get_mut(pe).unwrap().said();
        table.several.take_positions(said, pe.ticket, sources)
    }

    fn id_name(id: u64) -> std::sync::Arc<str> {
        format!("source {id}").into()
    }
}
