//! What a shard keeps of one PE, beside its key and its state.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::PeHandle;
use crate::inputs::SourceIndex;
use crate::process_error::ProcessError;
use crate::prototype::origin::{Origin, Said};
use crate::record::StateVersion;
use crate::wait::Signal;

/// What waits for a PE that is not there yet is told: that it is, or why it will not be.
pub(super) type Arrival = Signal<Result<(), ProcessError>>;

// In this order in memory: what an event touches stands together, what it does not comes last.
#[repr(C)]
pub(super) struct Entry<K, P> {
    pub(super) key: K,
    pub(super) flags: Flags,
    /// Which source has fed it. It stands where nothing else fits.
    pub(super) source: SourceIndex,
    /// Events since `events_before` was last brought up to date.
    events: u32,
    /// The shard must be told of the event that makes `events` so many. Zero is always right.
    mark_at: u32,
    /// The coarse time of the last event.
    pub(super) last_event: u32,
    pub(super) slot: Slot<P>,
    /// The position of the next event of that source which it does not contain.
    pub(super) contained_to: u64,
    pub(super) ticket: u64,
    events_before: u64,
    /// Changes since the last capture that `events` does not count.
    other_changes: u32,
    /// The generation of the oldest change since the last capture; counted while `DIRTY` and not
    /// `STUCK`.
    pub(super) generation: u32,
    /// The newest version that is known to be stored; zeros if there is none.
    pub(super) durable: StateVersion,
}

pub(super) enum Slot<P> {
    Resident(P),
    /// A guard has it, or it is being encoded.
    Out {
        /// The coarse time when it was taken.
        since: u32,
        /// Who waits for it, if anybody does.
        arrival: Option<Arc<Arrival>>,
    },
    /// It is being fetched or made.
    Fetching(Arc<Arrival>),
    /// It was removed, and the mark of that is not stored yet.
    Gone,
}

impl<P> Slot<P> {
    /// The slot of a PE that somebody takes now.
    pub(super) fn out(coarse_now: u32) -> Self {
        Self::Out { since: coarse_now, arrival: None }
    }

    /// Whether the PE is in its place, or known to be removed: nobody has it, and nobody brings it.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Self::Resident(_) | Self::Gone)
    }
}

/// Small facts about a PE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u16);

impl Flags {
    /// An event's closure panicked, and nobody has noticed yet.
    pub(super) const PANICKED: Self = Self(1);
    /// A closure panicked.
    pub(super) const POISONED: Self = Self(1 << 1);
    /// It has changes since the last capture.
    pub(super) const DIRTY: Self = Self(1 << 2);
    /// Its changes cannot be stored before it changes again. Only together with `DIRTY`.
    pub(super) const STUCK: Self = Self(1 << 3);
    /// It is to be captured as soon as possible.
    pub(super) const DUE: Self = Self(1 << 4);
    /// It is in the queue of due PEs. Only together with `DUE`.
    pub(super) const QUEUED: Self = Self(1 << 5);
    /// A storage operation of it is unfinished.
    pub(super) const IN_FLIGHT: Self = Self(1 << 6);
    /// What is stored of it could not be restored, and is to be put aside.
    pub(super) const PRESERVE: Self = Self(1 << 7);
    /// It is to leave memory once it is stored, unless an event comes first.
    pub(super) const EVICTING: Self = Self(1 << 8);
    /// Manual requests wait for its next capture.
    pub(super) const REQUESTED: Self = Self(1 << 9);
    /// Its state is large: encode it without the shard's lock.
    pub(super) const LARGE: Self = Self(1 << 10);
    /// It was removed, and what is stored may still be older than that: it must not come back.
    pub(super) const REMOVED: Self = Self(1 << 11);
    /// What is in flight was captured after the removal. Only together with `REMOVED` and
    /// `IN_FLIGHT`.
    pub(super) const REMOVAL_CAPTURED: Self = Self(1 << 12);

    /// As many of its changes are not stored as may be: no event runs before some are.
    pub(super) const HELD_UP: Self = Self(1 << 13);

    /// A capture of it was given up that the storage may have stored or may yet store, and nothing
    /// newer was stored since.
    pub(super) const IN_DOUBT: Self = Self(1 << 14);
    /// It has lost events of a source that it contained: later ones must not run before.
    pub(super) const LOST_EVENTS: Self = Self(1 << 15);

    /// What the storage may have, or may get, is not known to be stored.
    pub(super) const MAY_BE_STORED: Self = Self::IN_FLIGHT.and(Self::IN_DOUBT);

    /// A closure panicked, noticed or not.
    pub(super) const BROKEN: Self = Self::PANICKED.and(Self::POISONED);

    #[inline(always)]
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[inline(always)]
    pub(super) fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[inline(always)]
    pub(super) fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    #[inline(always)]
    pub(super) fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(super) fn keep(&mut self, others: Self) {
        self.0 &= others.0;
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why changes are not counted any more that are not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// They were refused, or could not be captured.
    Refused,
    /// A closure panicked.
    Broken,
}

/// What the table needs to know of its prototype for each event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Triggers {
    /// A PE is due after so many events since the last capture, if its framework says so.
    pub(super) due_after: u32,
    /// It is due after so many, whoever says what.
    pub(super) due_by: u32,
    /// How many changes of a PE may not be stored.
    pub(super) exposed_events_max: Option<u32>,
    pub(super) interval: Option<Duration>,
    /// Whether changes are tracked at all.
    pub(super) stores: bool,
    /// Whether the PEs without an event for long must be found.
    pub(super) tracks_recency: bool,
}

/// What came of an attempt to run an event.
pub(super) enum Attempt<R, I> {
    Done(R),
    /// The same, and the shard is to take note of the change.
    Marks(R, PeHandle),
    /// The PE is not there, or not in order; the closure was not run on this input.
    NotReady(I),
}

impl<R, I> Attempt<R, I> {
    #[inline(always)]
    pub(super) fn map<S>(self, of: impl FnOnce(R) -> S) -> Attempt<S, I> {
        match self {
            Self::Done(result) => Attempt::Done(of(result)),
            Self::Marks(result, pe) => Attempt::Marks(of(result), pe),
            Self::NotReady(input) => Attempt::NotReady(input),
        }
    }
}

/// Marks a PE when it is dropped, which only a panic of its closure does.
struct Unwinding<'a>(&'a mut Flags);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        self.0.set(Flags::PANICKED);
    }
}

/// What an event's closure says of the change that it made.
pub(super) enum Effect<R> {
    Changed(R),
    Unchanged(R),
}

impl<K, P> Entry<K, P> {
    /// The place of a PE that is on its way.
    pub(super) fn fetching(key: K, ticket: u64, arrival: Arc<Arrival>) -> Self {
        Self {
            key,
            flags: Flags::default(),
            source: SourceIndex::NONE,
            events: 0,
            mark_at: 0,
            last_event: 0,
            slot: Slot::Fetching(arrival),
            contained_to: 0,
            ticket,
            events_before: 0,
            other_changes: 0,
            generation: 0,
            durable: StateVersion::default(),
        }
    }

    pub(super) fn handle(&self, hash: u64) -> PeHandle {
        PeHandle { hash, ticket: self.ticket }
    }

    /// What it says of the events that it contains.
    #[inline(always)]
    pub(super) fn said(&self) -> Said {
        let is_broken = self.flags.has_any(Flags::BROKEN);
        Said {
            is_in_order: matches!(self.slot, Slot::Resident(_)) && !is_broken,
            has_lost_events: self.flags.has(Flags::LOST_EVENTS),
            source: self.source,
            contained_to: self.contained_to,
        }
    }

    /// Runs an event, if nothing is in its way.
    #[inline(always)]
    pub(super) fn event<R, I>(
        &mut self,
        hash: u64,
        at: (u32, impl Origin),
        input: I,
        run: impl FnOnce(&mut P, I) -> Effect<R>,
    ) -> Attempt<R, I> {
        self.event_unless(Flags::BROKEN.and(Flags::HELD_UP), hash, at, input, run)
    }

    /// Runs an event, if the PE is there and has none of these flags.
    #[inline(always)]
    pub(super) fn event_unless<R, I>(
        &mut self,
        barred: Flags,
        hash: u64,
        (coarse_now, origin): (u32, impl Origin),
        input: I,
        run: impl FnOnce(&mut P, I) -> Effect<R>,
    ) -> Attempt<R, I> {
        let Slot::Resident(pe) = &mut self.slot else { return Attempt::NotReady(input) };
        if self.flags.has_any(barred) {
            return Attempt::NotReady(input);
        }
        // Only if the closure panics: whoever comes next finds the PE poisoned.
        let unwinding = Unwinding(&mut self.flags);
        let effect = run(pe, input);
        std::mem::forget(unwinding);
        let result = match effect {
            Effect::Changed(result) => result,
            Effect::Unchanged(result) => return Attempt::Done(result),
        };
        origin.put(&mut self.source, &mut self.contained_to);
        match self.count_event(coarse_now) {
            true => Attempt::Marks(result, self.handle(hash)),
            false => Attempt::Done(result),
        }
    }

    /// Counts an event. Returns whether its shard must be told: it is the first change since the PE
    /// was captured, or the one that makes it due.
    #[inline(always)]
    pub(super) fn count_event(&mut self, coarse_now: u32) -> bool {
        // Never beyond the highest number: at the latest there the shard is told, and `marked`
        // begins anew.
        self.events = self.events.wrapping_add(1);
        self.last_event = coarse_now;
        self.events >= self.mark_at
    }

    /// Counts a change that is no event.
    pub(super) fn count_change(&mut self) {
        self.changes_again(1);
    }

    /// Counts changes again that a capture had taken with it.
    pub(super) fn changes_again(&mut self, changes: u32) {
        self.other_changes = self.other_changes.saturating_add(changes);
        self.mark_at = 0;
    }

    /// Its shard knows of all changes so far; it is to be told of the one that makes the PE due.
    pub(super) fn marked(&mut self, due_after: u32) {
        if self.events == u32::MAX {
            self.fold();
        }
        self.mark_at = due_after.saturating_sub(self.other_changes);
    }

    /// Its shard must be told of the next change.
    pub(super) fn unmarked(&mut self) {
        self.mark_at = 0;
    }

    /// Changes since the last capture; at most `u32::MAX`.
    pub(super) fn changes(&self) -> u32 {
        self.other_changes.saturating_add(self.events)
    }

    /// Events in the PE's life.
    pub(super) fn event_count(&self) -> u64 {
        self.events_before.saturating_add(u64::from(self.events))
    }

    /// Says how many events there were before it came into memory.
    pub(super) fn set_event_count(&mut self, events: u64) {
        self.fold();
        self.events_before = events;
    }

    /// Begins to count changes anew, and returns how many there were.
    pub(super) fn take_changes(&mut self) -> u32 {
        self.fold();
        std::mem::take(&mut self.other_changes)
    }

    fn fold(&mut self) {
        self.other_changes = self.changes();
        self.events_before = self.event_count();
        self.events = 0;
        self.mark_at = 0;
    }

    pub(super) fn last_durable(&self) -> Option<StateVersion> {
        (self.durable != StateVersion::default()).then_some(self.durable)
    }

    /// Marks it as captured, with all changes so far.
    pub(super) fn begin_flight(&mut self) {
        self.flags.clear(Flags::DIRTY.and(Flags::DUE));
        self.unmarked();
        self.flags.set(Flags::IN_FLIGHT);
        if self.flags.has(Flags::REMOVED) {
            self.flags.set(Flags::REMOVAL_CAPTURED);
        }
    }

    /// Whether nothing of it would be lost if it left memory now.
    pub(super) fn is_clean(&self) -> bool {
        let busy = Flags::DIRTY.and(Flags::IN_FLIGHT).and(Flags::REQUESTED);
        !self.flags.has_any(busy.and(Flags::BROKEN))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::prototype::origin::Nowhere;

    fn resident(state: u8) -> Entry<u8, u8> {
        let mut entry = Entry::fetching(1, 7, Signal::new());
        entry.slot = Slot::Resident(state);
        entry
    }

    fn add(entry: &mut Entry<u8, u8>) -> Attempt<u8, u8> {
        entry.event(0, (5, Nowhere), 3, |state, n| {
            *state += n;
            Effect::Changed(*state)
        })
    }

    #[test]
    fn a_shard_is_told_of_the_first_change_and_of_the_one_that_makes_due() {
        let mut entry = resident(0);
        assert!(matches!(add(&mut entry), Attempt::Marks(3, PeHandle { hash: 0, ticket: 7 })));
        assert_eq!(entry.last_event, 5);
        entry.marked(3);
        assert!(matches!(add(&mut entry), Attempt::Done(6)));
        assert!(matches!(add(&mut entry), Attempt::Marks(9, _)));
        // And of each that follows, until it is captured.
        entry.marked(3);
        assert!(matches!(add(&mut entry), Attempt::Marks(12, _)));
        assert_eq!((entry.changes(), entry.event_count()), (4, 4));
        // What its shard knew of counts no more.
        entry.marked(100);
        entry.unmarked();
        assert!(matches!(add(&mut entry), Attempt::Marks(..)));
    }

    #[test]
    fn each_flag_is_a_bit_of_its_own() {
        let first = [Flags::PANICKED, Flags::POISONED, Flags::DIRTY, Flags::STUCK, Flags::DUE];
        let then = [Flags::QUEUED, Flags::IN_FLIGHT, Flags::PRESERVE, Flags::EVICTING];
        let last = [Flags::REQUESTED, Flags::LARGE, Flags::REMOVED, Flags::REMOVAL_CAPTURED];
        let mut seen = Flags::default();
        for flag in first.into_iter().chain(then).chain(last).chain([
            Flags::HELD_UP,
            Flags::IN_DOUBT,
            Flags::LOST_EVENTS,
        ]) {
            assert!(flag != Flags::default() && !seen.has_any(flag), "{flag:?}");
            seen = seen.and(flag).and(flag);
            assert!(seen.has(flag));
        }
    }

    #[test]
    fn a_capture_takes_changes_and_a_failed_one_gives_them_back() {
        let mut entry = resident(0);
        entry.set_event_count(10);
        add(&mut entry);
        entry.marked(100);
        add(&mut entry);
        entry.count_change();
        assert_eq!((entry.changes(), entry.event_count()), (3, 12));
        assert_eq!(entry.take_changes(), 3);
        assert_eq!((entry.changes(), entry.event_count()), (0, 12));
        assert!(matches!(add(&mut entry), Attempt::Marks(..)), "the first since the capture");
        entry.changes_again(3);
        assert_eq!((entry.changes(), entry.event_count()), (4, 13));
        // What is counted otherwise is nearer to being due.
        entry.marked(6);
        assert!(matches!(add(&mut entry), Attempt::Done(_)));
        assert!(matches!(add(&mut entry), Attempt::Marks(..)));
    }

    #[test]
    fn counts_stand_still_at_their_end() {
        let mut entry = resident(0);
        entry.set_event_count(u64::MAX - 1);
        add(&mut entry);
        add(&mut entry);
        assert_eq!((entry.changes(), entry.event_count()), (2, u64::MAX));
        entry.changes_again(u32::MAX);
        assert_eq!(entry.changes(), u32::MAX);
        // Nothing wraps in the part that each event counts.
        entry.events = u32::MAX - 1;
        entry.mark_at = u32::MAX;
        assert!(matches!(add(&mut entry), Attempt::Marks(..)));
        entry.marked(u32::MAX);
        assert_eq!((entry.events, entry.changes(), entry.event_count()), (0, u32::MAX, u64::MAX));
    }

    #[test]
    fn nothing_runs_on_a_pe_that_is_not_in_order() {
        let mut entry = resident(0);
        let unchanged = entry.event(0, (5, Nowhere), 3, |_, n| Effect::Unchanged(n));
        assert!(matches!(unchanged, Attempt::Done(3)));
        assert_eq!((entry.event_count(), entry.last_event), (0, 0));
        let panics =
            || entry.event(0, (5, Nowhere), (), |_, ()| -> Effect<()> { panic!("planned") });
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert!(entry.flags.has(Flags::PANICKED) && !entry.is_clean());
        assert!(matches!(add(&mut entry), Attempt::NotReady(3)));
        entry.flags.clear(Flags::PANICKED);
        entry.flags.set(Flags::POISONED);
        assert!(matches!(add(&mut entry), Attempt::NotReady(3)));
        entry.flags.clear(Flags::POISONED);
        entry.slot = Slot::out(9);
        assert!(matches!(add(&mut entry), Attempt::NotReady(3)) && !entry.slot.is_here());
        entry.slot = Slot::Gone;
        assert!(matches!(add(&mut entry), Attempt::NotReady(3)) && entry.slot.is_here());
    }

    #[test]
    fn a_pe_is_clean_when_nothing_of_it_would_be_lost() {
        let mut entry = resident(0);
        assert!(entry.is_clean());
        for flag in [Flags::DIRTY, Flags::IN_FLIGHT, Flags::REQUESTED, Flags::POISONED] {
            entry.flags.set(flag);
            assert!(!entry.is_clean() && entry.flags.has(flag) && entry.flags.has_any(flag));
            entry.flags.clear(flag);
        }
        assert_eq!(entry.flags, Flags::default());
        entry.flags.set(Flags::DIRTY.and(Flags::DUE).and(Flags::REMOVED));
        entry.begin_flight();
        let expected = Flags::IN_FLIGHT.and(Flags::REMOVED).and(Flags::REMOVAL_CAPTURED);
        assert_eq!(entry.flags, expected);
        entry.flags.keep(Flags::REMOVED);
        assert_eq!(entry.flags, Flags::REMOVED);
        assert_eq!(entry.last_durable(), None);
        entry.durable = StateVersion::new(1, 2);
        assert_eq!(entry.last_durable(), Some(StateVersion::new(1, 2)));
    }
}
