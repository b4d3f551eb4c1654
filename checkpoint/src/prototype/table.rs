//! The PEs of one shard and what is known of each: the state machine under the shard's lock.
//!
//! It runs no user code but an event's closure. Whatever must not happen under the lock (the drop
//! of a PE, the waking of a waiter) is put into [`Aftermath`] for whoever unlocks.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::capture::{PeHandle, RequestSignal};
use crate::checkpoint_ticket::CheckpointOutcome;
use crate::clock::Timestamp;
use crate::inputs::SourceIndex;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Arrival, Attempt, Effect, Entry, Flags, HeldBack, Slot, Triggers};
use crate::prototype::exposure::Exposure;
use crate::prototype::held_up::HeldUp;
use crate::prototype::origin::{Nowhere, Origin, Seen};
use crate::prototype::recency::Recency;
use crate::prototype::requests::Requests;
use crate::prototype::several::Several;
use crate::record::StateVersion;
use crate::save_error::SaveFailure;
use crate::state::Checkpointable;
use crate::wait::Signal;

// In this order in memory: what every event reads first.
#[repr(C)]
pub(super) struct Table<K, P> {
    pub(super) entries: HashTable<Entry<K, P>>,
    /// Whether whoever gives the lock back has anything to do beside that.
    pub(super) stirred: bool,
    /// PEs that became due since somebody last looked.
    pub(super) became_due: usize,
    /// Due PEs, each once.
    pub(super) ready: VecDeque<PeHandle>,
    /// In time mode: who became dirty in which generation.
    aging: VecDeque<Aging>,
    /// When the first mark was made in a shard that had none: nobody looks after its marks yet.
    first_mark: Option<Timestamp>,
    pub(super) exposure: Exposure,
    /// Who asked for checkpoints, by ticket.
    pub(super) requests: HashMap<u64, Requests>,
    /// Why PEs are stuck, by ticket.
    pub(super) stuck: HashMap<u64, SaveFailure>,
    /// PEs that have changes which are not counted any more although they are not stored, by
    /// ticket.
    pub(super) held_back: HashMap<u64, HeldBack>,
    /// Hashes of PEs that were in doubt and are not here any more, because they could not be
    /// reloaded: whoever comes into their places is in doubt, until it is stored.
    pub(super) left_in_doubt: HashSet<u64>,
    pub(super) held_up: HeldUp,
    /// Who waits until no storage operation of a PE is unfinished, by ticket.
    pub(super) quiet: HashMap<u64, Arc<Arrival>>,
    pub(super) several: Several,
    pub(super) recency: Option<Recency>,
    next_ticket: u64,
    /// PEs in memory, those included that somebody has.
    pub(super) resident: usize,
    /// PEs that somebody has.
    pub(super) checked_out: usize,
    pub(super) poisoned: usize,
    /// How often a PE became due.
    pub(super) requested: u64,
    pub(super) coalesced: u64,
    /// Entries that were taken away since the lock was last given back.
    pub(super) released: usize,
    /// How much longer the queue of due PEs is since the lock was last given back.
    pub(super) due_change: isize,
    pub(super) aftermath: Option<Box<Aftermath<K, P>>>,
}

struct Aging {
    generation: u32,
    started: Timestamp,
    marks: Vec<PeHandle>,
}

/// What is to be done once the lock is released.
pub(super) struct Aftermath<K, P> {
    pub(super) arrivals: Vec<(Arc<Arrival>, Result<(), ProcessError>)>,
    pub(super) answers: Vec<(Arc<RequestSignal>, CheckpointOutcome)>,
    pub(super) dropped: Vec<Entry<K, P>>,
    pub(super) dropped_states: Vec<P>,
    /// PEs have become due in a shard that had none.
    pub(super) notify: bool,
}

impl<K, P> Default for Aftermath<K, P> {
    fn default() -> Self {
        Self {
            arrivals: Vec::new(),
            answers: Vec::new(),
            dropped: Vec::new(),
            dropped_states: Vec::new(),
            notify: false,
        }
    }
}

/// Where a PE was seen. It may have moved since, if the lock was given back or a PE was added.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    index: Option<usize>,
    // Zero is no PE's. It stands far behind the key: reading it at the look brings in all that an
    // event needs of the entry.
    ticket: u64,
}

pub(super) enum Obstacle {
    /// Somebody else fetches it, or has it, since this coarse time.
    Wait(Arc<Arrival>, Option<u32>),
    /// It is to be fetched, by whoever finds this.
    Fetch(PeHandle, Arc<Arrival>),
    /// It is to be made anew: nothing is stored of it, as is known.
    Make(PeHandle, Arc<Arrival>),
    Poisoned(Option<StateVersion>, PeHandle),
    /// As many of its changes are not stored as may be.
    HeldUp(Arc<Arrival>),
}

impl<K, P> Table<K, P> {
    pub(super) fn new(triggers: Triggers) -> Self {
        Self {
            entries: HashTable::new(),
            ready: VecDeque::new(),
            aging: VecDeque::new(),
            first_mark: None,
            exposure: Exposure::default(),
            requests: HashMap::new(),
            stuck: HashMap::new(),
            held_back: HashMap::new(),
            left_in_doubt: HashSet::new(),
            held_up: HeldUp::default(),
            quiet: HashMap::new(),
            several: Several::default(),
            recency: triggers.tracks_recency.then(Recency::default),
            next_ticket: 1,
            resident: 0,
            checked_out: 0,
            poisoned: 0,
            requested: 0,
            coalesced: 0,
            released: 0,
            became_due: 0,
            due_change: 0,
            aftermath: None,
            stirred: true,
        }
    }

    /// Runs an event if its PE is there: `run` gets the PE and the input.
    #[inline(always)]
    pub(super) fn event<Q, R, I, O: Origin>(
        &mut self,
        (hash, key): (u64, &Q),
        (coarse_now, origin): (u32, O),
        input: I,
        run: impl FnOnce(&mut P, I) -> Effect<R>,
    ) -> Attempt<O::Output<R>, I>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(entry) = self.entries.find_mut(hash, |entry| entry.key.borrow() == key) else {
            return Attempt::NotReady(input);
        };
        match origin.look(entry.said()) {
            Seen::New => entry.event(hash, (coarse_now, origin), input, run).map(O::output),
            Seen::Contained => Attempt::Done(O::contained()),
            Seen::Lost => Attempt::NotReady(input),
            Seen::Elsewhere => {
                let pe = entry.handle(hash);
                self.event_of_several(pe, (coarse_now, origin), input, run)
            }
        }
    }

    /// Looks where a PE is, for [`event_at`](Self::event_at).
    #[inline(always)]
    pub(super) fn look<Q>(&self, (hash, key): (u64, &Q)) -> Bucket
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut ticket = 0;
        let index = self.entries.find_bucket_index(hash, |entry| {
            let is_it = entry.key.borrow() == key;
            if is_it {
                ticket = entry.ticket;
            }
            is_it
        });
        Bucket { index, ticket }
    }

    /// Brings what a PE has on the heap into the processor's cache.
    #[inline(always)]
    pub(super) fn touch(&self, bucket: Bucket) -> u8
    where
        P: Checkpointable,
    {
        match bucket.index.and_then(|index| self.entries.get_bucket(index)) {
            Some(Entry { slot: Slot::Resident(pe), .. }) => P::touch(pe),
            _ => 0,
        }
    }

    /// Runs an event on a PE that was seen in this place, wherever it is now.
    #[inline(always)]
    pub(super) fn event_at<Q, R, I>(
        &mut self,
        bucket: Bucket,
        (hash, key): (u64, &Q),
        coarse_now: u32,
        input: I,
        run: impl FnOnce(&mut P, I) -> Effect<R>,
    ) -> Attempt<R, I>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some(index) = bucket.index
            && let Some(entry) = self.entries.get_bucket_mut(index)
            && entry.ticket == bucket.ticket
        {
            return entry.event(hash, (coarse_now, Nowhere), input, run);
        }
        self.event((hash, key), (coarse_now, Nowhere), input, run)
    }

    /// Takes note of a change of a PE whose counters are up to date, and makes it due if it is.
    #[cold]
    pub(super) fn mark_changed(
        &mut self,
        pe: PeHandle,
        triggers: &Triggers,
        now: impl FnOnce() -> Timestamp,
        due: impl FnOnce(u64, u64) -> bool,
    ) {
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        entry.flags.clear(Flags::EVICTING);
        let room = self.held_up.room(pe.ticket, triggers);
        let due_at = self.held_up.due_at(pe.ticket, triggers);
        entry.marked(room.into_iter().chain(due_at).fold(triggers.due_after, u32::min));
        if !triggers.stores {
            // Nothing takes changes away: they are not to come up again.
            entry.take_changes();
            return entry.marked(u32::MAX);
        }
        if !entry.flags.has(Flags::DIRTY) || entry.flags.has(Flags::STUCK) {
            if entry.flags.has(Flags::STUCK) {
                entry.flags.clear(Flags::STUCK);
                self.stuck.remove(&pe.ticket);
            }
            let now = now();
            entry.flags.set(Flags::DIRTY);
            entry.generation = self.exposure.begin(now);
            self.stirred = true;
            if triggers.interval.is_some() {
                let generation = entry.generation;
                match self.aging.back_mut().filter(|aging| aging.generation == generation) {
                    // A PE that is stored and changed again within a generation is marked again:
                    // the marks are bounded by the captures that one generation has time for.
                    Some(aging) => aging.marks.push(pe),
                    None => {
                        if self.aging.is_empty() {
                            self.first_mark = Some(now);
                        }
                        self.aging.push_back(Aging { generation, started: now, marks: vec![pe] });
                    }
                }
            }
        }
        let changes = entry.changes();
        let is_due = changes >= triggers.due_after && due(u64::from(changes), entry.event_count());
        if is_due || due_at.is_some_and(|due_at| changes >= due_at) {
            if entry.flags.has(Flags::DUE) {
                self.coalesced += 1;
            }
            self.make_due(pe);
        }
        if room.is_some_and(|room| changes >= room) {
            self.hold_up_if_full(pe, triggers);
        }
    }

    /// Puts a PE into the queue of those to be captured, once.
    pub(super) fn make_due(&mut self, pe: PeHandle) {
        let Some(entry) = self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket) else {
            return;
        };
        entry.flags.set(Flags::DUE);
        // Who is in flight or out is queued when it is back.
        let elsewhere = Flags::QUEUED.and(Flags::IN_FLIGHT);
        if !entry.flags.has_any(elsewhere) && matches!(entry.slot, Slot::Resident(_) | Slot::Gone) {
            entry.flags.set(Flags::QUEUED);
            let was_empty = self.ready.is_empty();
            self.ready.push_back(pe);
            self.became_due += 1;
            self.due_change += 1;
            self.requested += 1;
            self.stirred = true;
            if was_empty {
                self.aftermath().notify = true;
            }
        }
    }

    /// Takes the PE that has been due for the longest time.
    pub(super) fn take_due(&mut self) -> Option<PeHandle> {
        let pe = self.ready.pop_front()?;
        self.due_change -= 1;
        self.stirred = true;
        Some(pe)
    }

    /// Says why an event cannot run, and prepares that it can later.
    #[inline(never)]
    pub(super) fn obstacle<Q>(&mut self, hash: u64, key: &Q) -> Obstacle
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.entries.find_mut(hash, |entry| entry.key.borrow() == key) {
            // Nothing known of it; the caller inserts a placeholder.
            None => {
                let (pe, arrival) = self.new_place(hash);
                Obstacle::Fetch(pe, arrival)
            }
            Some(entry) => {
                let handle = entry.handle(hash);
                let is_poisoned = self.notice_panic(handle);
                let Some(entry) = self.get_mut(handle) else { unreachable!("it was found") };
                match &mut entry.slot {
                    Slot::Resident(_) if is_poisoned => {
                        Obstacle::Poisoned(entry.last_durable(), handle)
                    }
                    Slot::Resident(_) => {
                        debug_assert!(entry.flags.has(Flags::HELD_UP), "nothing is in the way");
                        Obstacle::HeldUp(self.held_up.until_let_in(handle.ticket))
                    }
                    Slot::Fetching(arrival) => Obstacle::Wait(arrival.clone(), None),
                    Slot::Gone => {
                        let arrival = Signal::new();
                        entry.slot = Slot::Fetching(arrival.clone());
                        Obstacle::Make(handle, arrival)
                    }
                    Slot::Out { since, arrival } => {
                        let arrival = arrival.get_or_insert_with(Signal::new).clone();
                        Obstacle::Wait(arrival, Some(*since))
                    }
                }
            }
        }
    }

    /// What [`insert_placeholder`](Self::insert_placeholder) is to be given for a PE of which
    /// nothing is known.
    pub(super) fn new_place(&self, hash: u64) -> (PeHandle, Arc<Arrival>) {
        (PeHandle { hash, ticket: self.next_ticket }, Signal::new())
    }

    /// Inserts the placeholder that [`obstacle`](Self::obstacle) asked for.
    pub(super) fn insert_placeholder(
        &mut self,
        key: K,
        pe: PeHandle,
        arrival: Arc<Arrival>,
        hasher: impl Fn(&K) -> u64,
    ) {
        debug_assert_eq!(pe.ticket, self.next_ticket, "the lock was released in between");
        self.next_ticket += 1;
        let mut entry = Entry::fetching(key, pe.ticket, arrival);
        if !self.left_in_doubt.is_empty() && self.left_in_doubt.contains(&pe.hash) {
            entry.flags.set(Flags::IN_DOUBT);
        }
        self.entries.insert_unique(pe.hash, entry, |entry| hasher(&entry.key));
    }

    pub(super) fn get_mut(&mut self, pe: PeHandle) -> Option<&mut Entry<K, P>> {
        self.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket)
    }

    /// Takes an entry out for good; what belongs to it goes too.
    pub(super) fn remove_entry(&mut self, pe: PeHandle) -> Option<Entry<K, P>> {
        let found = self.entries.find_entry(pe.hash, |entry| entry.ticket == pe.ticket);
        let (entry, _) = found.ok()?.remove();
        self.released += 1;
        self.stirred = true;
        if entry.flags.has(Flags::DIRTY) && !entry.flags.has(Flags::STUCK) {
            self.exposure.end(entry.generation);
            self.stirred = true;
        }
        if entry.flags.has_any(Flags::POISONED) {
            self.poisoned -= 1;
        }
        if matches!(entry.slot, Slot::Resident(_) | Slot::Out { .. }) {
            self.resident -= 1;
        }
        if matches!(entry.slot, Slot::Out { .. }) {
            self.checked_out -= 1;
        }
        if entry.flags.has(Flags::HELD_UP) {
            self.not_held_up(pe.ticket);
        }
        if entry.flags.has(Flags::IN_DOUBT) {
            self.left_in_doubt.insert(pe.hash);
        }
        self.held_up.forget(pe.ticket);
        self.stuck.remove(&pe.ticket);
        self.held_back.remove(&pe.ticket);
        self.requests.remove(&pe.ticket);
        self.several.forget_removed(pe.ticket);
        if entry.source == SourceIndex::SEVERAL {
            self.several.by_ticket.remove(&pe.ticket);
        }
        Some(entry)
    }

    /// Whether giving the lock back is all there is to do.
    pub(super) fn is_calm(&self) -> bool {
        self.aftermath.is_none()
            && self.released == 0
            && self.due_change == 0
            && !self.exposure.has_moved()
    }

    pub(super) fn aftermath(&mut self) -> &mut Aftermath<K, P> {
        self.stirred = true;
        self.aftermath.get_or_insert_default()
    }

    /// Makes those due whose first change was made before `limit`, `max` marks at the most.
    ///
    /// Returns whether there may be more.
    pub(super) fn promote(&mut self, limit: Timestamp, max: usize) -> bool {
        self.stirred = true;
        for _ in 0..max {
            let Some(aging) = self.aging.front_mut().filter(|aging| aging.started <= limit) else {
                return false;
            };
            let generation = aging.generation;
            let Some(pe) = aging.marks.pop() else {
                self.aging.pop_front();
                continue;
            };
            let wanted = |entry: &&mut Entry<K, P>| {
                entry.generation == generation
                    && entry.flags.has(Flags::DIRTY)
                    && !entry.flags.has_any(Flags::STUCK.and(Flags::DUE))
            };
            if self.get_mut(pe).filter(wanted).is_some() {
                self.make_due(pe);
            }
        }
        true
    }

    pub(super) fn take_first_mark(&mut self) -> Option<Timestamp> {
        self.first_mark.take()
    }

    /// Returns when the oldest mark was made.
    pub(super) fn oldest_mark(&self) -> Option<Timestamp> {
        self.aging.front().map(|aging| aging.started)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::{Settlement, SettlementOutcome};
    use crate::prototype::exposure::is_before;
    use crate::prototype::results::{Arrived, Mail};

    /// A PE is due after two events, or after a second.
    pub(in crate::prototype) const TRIGGERS: Triggers = Triggers {
        due_after: 2,
        due_by: u32::MAX,
        exposed_events_max: None,
        interval: Some(Duration::from_secs(1)),
        stores: true,
        tracks_recency: true,
    };
    /// The hash of all keys: nothing but keys and tickets tells the PEs apart.
    const HASH: u64 = 7;

    pub(in crate::prototype) fn at(millis: u64) -> Timestamp {
        Timestamp::new(Duration::from_millis(millis))
    }

    pub(in crate::prototype) fn table() -> Table<u8, u8> {
        Table::new(TRIGGERS)
    }

    pub(in crate::prototype) fn take_in(table: &mut Table<u8, u8>, mail: Mail<u8, u8>) {
        table.take_in(mail, &TRIGGERS, 9, &|| at(0), &|_, _| true);
    }

    /// A PE that is on its way.
    pub(in crate::prototype) fn fetching(
        table: &mut Table<u8, u8>,
        key: u8,
    ) -> (PeHandle, Arc<Arrival>) {
        let Obstacle::Fetch(pe, arrival) = table.obstacle(HASH, &key) else {
            panic!("{key} is known")
        };
        table.insert_placeholder(key, pe, arrival.clone(), |_| HASH);
        (pe, arrival)
    }

    /// What was fetched: a PE of which nothing is stored.
    pub(in crate::prototype) fn made() -> Arrived<u8> {
        Arrived { state: 0, event_count: 0, ..Arrived::made(0) }
    }

    pub(in crate::prototype) fn resident(table: &mut Table<u8, u8>, key: u8) -> PeHandle {
        let (pe, _) = fetching(table, key);
        take_in(table, Mail::Arrived { pe, arrived: Ok(Box::new(made())) });
        table.aftermath = None;
        pe
    }

    /// An event at this time.
    pub(in crate::prototype) fn event(table: &mut Table<u8, u8>, key: u8, now: Timestamp) {
        let attempt = table.event((HASH, &key), (5, Nowhere), 1, |state, n| {
            *state += n;
            Effect::Changed(())
        });
        match attempt {
            Attempt::Done(()) => {}
            Attempt::Marks((), pe) => table.mark_changed(pe, &TRIGGERS, || now, |_, _| true),
            Attempt::NotReady(_) => panic!("{key} is not there"),
        }
    }

    pub(in crate::prototype) fn flags(table: &mut Table<u8, u8>, pe: PeHandle) -> Flags {
        table.get_mut(pe).unwrap().flags
    }

    /// Captures a PE, and returns the settlement that says that it was stored.
    pub(in crate::prototype) fn capture(table: &mut Table<u8, u8>, pe: PeHandle) -> Settlement {
        table.ready.retain(|due| *due != pe);
        let entry = table.get_mut(pe).unwrap();
        entry.flags.clear(Flags::QUEUED);
        let (events, generation) = (entry.take_changes(), entry.generation);
        entry.begin_flight();
        let (version, outcome) = (StateVersion::new(1, 1), SettlementOutcome::Stored);
        Settlement { pe, version, events, generation, was_put_aside: false, outcome }
    }

    #[test]
    fn pes_whose_keys_have_the_same_hash_are_kept_apart() {
        let mut table = table();
        let [a, b] = [1, 2].map(|key| resident(&mut table, key));
        assert_ne!(a.ticket, b.ticket);
        event(&mut table, 2, at(0));
        let add = |table: &mut Table<u8, u8>, key: u8, bucket: Bucket| {
            let run = |state: &mut u8, n| {
                *state += n;
                Effect::Unchanged(*state)
            };
            match table.event_at(bucket, (HASH, &key), 5, 10, run) {
                Attempt::Done(state) => state,
                Attempt::Marks(..) | Attempt::NotReady(_) => panic!("{key} is not as it was"),
            }
        };
        let [of_a, of_b] = [1, 2].map(|key: u8| table.look((HASH, &key)));
        assert!(of_a.index.is_some() && of_a.ticket == a.ticket && of_b.ticket == b.ticket);
        assert_eq!((add(&mut table, 1, of_a), add(&mut table, 2, of_b)), (10, 11));
        // It was seen where another one is now, or nowhere.
        let moved = Bucket { index: of_b.index, ticket: a.ticket };
        assert_eq!(add(&mut table, 1, moved), 20);
        assert_eq!(add(&mut table, 1, Bucket::default()), 30);
        assert_eq!(table.remove_entry(b).unwrap().key, 2);
        assert_eq!(table.get_mut(a).unwrap().key, 1);
        assert!(table.get_mut(b).is_none() && table.remove_entry(b).is_none());
    }

    #[test]
    fn what_a_pe_has_on_the_heap_is_read() {
        let mut table = Table::new(TRIGGERS);
        let Obstacle::Fetch(pe, arrival) = table.obstacle(HASH, &1_u8) else { panic!("no PE yet") };
        table.insert_placeholder(1, pe, arrival, |_| HASH);
        let bucket = table.look((HASH, &1));
        assert_eq!(table.touch(bucket), 0);
        table.get_mut(pe).unwrap().slot = Slot::Resident(vec![77_u8]);
        assert_eq!(table.touch(bucket), 77);
    }

    #[test]
    fn a_pe_is_due_after_so_many_events_and_is_queued_once() {
        let mut table = table();
        let [a, b] = [1, 2].map(|key| resident(&mut table, key));
        event(&mut table, 1, at(0));
        assert!(table.ready.is_empty() && flags(&mut table, a) == Flags::DIRTY);
        event(&mut table, 1, at(0));
        assert_eq!((&table.ready, table.coalesced), (&VecDeque::from([a]), 0));
        assert_eq!((table.became_due, table.due_change, table.requested), (1, 1, 1));
        // The shard had none, which somebody must be told once.
        assert!(table.aftermath.take().is_some_and(|aftermath| aftermath.notify));
        event(&mut table, 1, at(0));
        event(&mut table, 1, at(0));
        event(&mut table, 2, at(0));
        event(&mut table, 2, at(0));
        assert!(table.aftermath.is_none());
        assert_eq!((&table.ready, table.coalesced), (&VecDeque::from([a, b]), 2));
        assert_eq!((table.became_due, table.due_change, table.requested), (2, 2, 2));
        assert_eq!((table.take_due(), table.due_change), (Some(a), 1));
    }

    #[test]
    fn whoever_decides_when_a_pe_is_due_may_say_that_it_is_not() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        table.get_mut(pe).unwrap().changes_again(2);
        table.mark_changed(pe, &TRIGGERS, || at(0), |_, _| false);
        assert!(table.ready.is_empty());
        table.mark_changed(pe, &TRIGGERS, || at(0), |changes, _| changes == 2);
        assert_eq!(table.ready, [pe]);
    }

    #[test]
    fn a_pe_that_is_elsewhere_is_queued_later() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        event(&mut table, 1, at(0));
        capture(&mut table, pe);
        table.make_due(pe);
        assert!(table.ready.is_empty() && flags(&mut table, pe).has(Flags::DUE));
        table.get_mut(pe).unwrap().flags.clear(Flags::IN_FLIGHT);
        table.get_mut(pe).unwrap().slot = Slot::out(0);
        table.make_due(pe);
        assert!(table.ready.is_empty());
        table.get_mut(pe).unwrap().slot = Slot::Gone;
        table.make_due(pe);
        assert_eq!(table.ready, [pe]);
    }

    #[test]
    fn a_change_has_the_time_of_the_first_since_the_last_capture() {
        let mut table = table();
        let [a, b] = [1, 2].map(|key| resident(&mut table, key));
        assert_eq!(table.take_first_mark(), None);
        event(&mut table, 1, at(0));
        event(&mut table, 1, at(50));
        event(&mut table, 2, at(5));
        assert_eq!((table.exposure.oldest(), table.oldest_mark()), (Some(at(0)), Some(at(0))));
        assert_eq!((table.take_first_mark(), table.take_first_mark()), (Some(at(0)), None));
        // Both in one generation, and so in one place.
        assert_eq!(table.aging.len(), 1);
        // What could not be stored may be after a change, and is counted again.
        table.mark_stuck(a, &TRIGGERS, SaveFailure::Unknown);
        table.mark_stuck(b, &TRIGGERS, SaveFailure::Unknown);
        assert_eq!(table.exposure.oldest(), None);
        table.get_mut(a).unwrap().flags.set(Flags::EVICTING);
        event(&mut table, 1, at(70));
        assert_eq!((table.exposure.oldest(), table.stuck.len()), (Some(at(70)), 1));
        assert!(!flags(&mut table, a).has_any(Flags::STUCK.and(Flags::EVICTING)));
    }

    #[test]
    fn nothing_is_tracked_where_nothing_is_stored() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        table.get_mut(pe).unwrap().count_change();
        let triggers = Triggers { stores: false, ..TRIGGERS };
        table.mark_changed(pe, &triggers, || at(0), |_, _| true);
        assert_eq!((flags(&mut table, pe), table.exposure.oldest()), (Flags::default(), None));
        assert_eq!(table.get_mut(pe).unwrap().changes(), 0);
    }

    #[test]
    fn those_become_due_whose_first_change_is_old_enough() {
        let mut table = table();
        let pes: Vec<_> = (1..=6).map(|key| resident(&mut table, key)).collect();
        for key in 1..=5 {
            event(&mut table, key, at(0));
        }
        event(&mut table, 6, at(50));
        // One is captured, one captured and changed again, one is stuck.
        capture(&mut table, pes[2]);
        capture(&mut table, pes[3]);
        event(&mut table, 4, at(50));
        table.mark_stuck(pes[4], &TRIGGERS, SaveFailure::Unknown);
        assert!(!table.promote(at(0), 100));
        table.ready.make_contiguous().sort_unstable_by_key(|pe| pe.ticket);
        assert_eq!(table.ready, &pes[..2]);
        assert_eq!(table.oldest_mark(), Some(at(50)));
        assert!(!table.promote(at(49), 100));
        assert_eq!(table.ready, &pes[..2]);
        // So many at a time.
        assert!(table.promote(at(50), 1));
        assert!(!table.promote(at(50), 100));
        assert_eq!(table.ready, [pes[0], pes[1], pes[5]]);
        assert_eq!(table.oldest_mark(), None);
        assert!(flags(&mut table, pes[3]).has(Flags::DUE), "queued when it is back");
    }

    #[test]
    fn an_entry_takes_with_it_what_was_counted_for_it() {
        let mut table = table();
        let pes: Vec<_> = (1..=5).map(|key| resident(&mut table, key)).collect();
        event(&mut table, 1, at(0));
        event(&mut table, 2, at(20));
        event(&mut table, 3, at(0));
        table.mark_stuck(pes[2], &TRIGGERS, SaveFailure::Unknown);
        table.get_mut(pes[3]).unwrap().flags.set(Flags::POISONED);
        table.get_mut(pes[4]).unwrap().slot = Slot::out(0);
        (table.poisoned, table.checked_out) = (3, 3);
        // Neither a stuck PE nor a clean one is counted among those with changes.
        for at_end in [2, 3, 4] {
            table.remove_entry(pes[at_end]);
        }
        assert_eq!((table.exposure.oldest(), table.stuck.len()), (Some(at(0)), 0));
        assert_eq!((table.poisoned, table.checked_out, table.resident), (2, 2, 2));
        table.remove_entry(pes[0]);
        assert_eq!((table.exposure.oldest(), table.released), (Some(at(20)), 4));
        let (fetching, _) = fetching(&mut table, 9);
        table.remove_entry(fetching);
        assert_eq!((table.poisoned, table.checked_out, table.resident), (2, 2, 1));
    }

    #[test]
    fn a_lock_is_given_back_at_once_if_nothing_has_happened() {
        let mut table = table();
        assert!(table.is_calm());
        table.aftermath();
        assert!(!table.is_calm());
        table.aftermath = None;
        table.released = 1;
        assert!(!table.is_calm());
        table.released = 0;
        table.due_change = -1;
        assert!(!table.is_calm());
        table.due_change = 0;
        table.exposure.begin(at(0));
        assert!(!table.is_calm());
        table.exposure.take_moved();
        assert!(table.is_calm());
    }

    #[test]
    fn an_event_that_cannot_run_is_told_what_to_wait_for() {
        let mut table = table();
        let (_, arrival) = fetching(&mut table, 1);
        let wait = table.obstacle(HASH, &1);
        assert!(matches!(wait, Obstacle::Wait(same, None) if Arc::ptr_eq(&same, &arrival)));
        let [a, b, c] = [2, 3, 4].map(|key| resident(&mut table, key));
        table.get_mut(a).unwrap().slot = Slot::out(6);
        assert!(matches!(table.obstacle(HASH, &2), Obstacle::Wait(_, Some(6))));
        table.get_mut(b).unwrap().slot = Slot::Gone;
        assert!(matches!(table.obstacle(HASH, &3), Obstacle::Make(pe, _) if pe == b));
        assert!(matches!(table.obstacle(HASH, &3), Obstacle::Wait(_, None)));
        table.get_mut(c).unwrap().flags.set(Flags::PANICKED);
        for _ in 0..2 {
            assert!(matches!(table.obstacle(HASH, &4), Obstacle::Poisoned(None, pe) if pe == c));
            assert_eq!((flags(&mut table, c), table.poisoned), (Flags::POISONED, 1));
        }
    }

    #[test]
    fn a_flush_wants_all_that_have_changes_and_can_be_stored() {
        let mut table = table();
        let pes: Vec<_> = (1..=4).map(|key| resident(&mut table, key)).collect();
        event(&mut table, 1, at(0));
        event(&mut table, 2, at(20));
        event(&mut table, 3, at(20));
        table.mark_stuck(pes[1], &TRIGGERS, SaveFailure::Unknown);
        table.get_mut(pes[2]).unwrap().flags.set(Flags::PANICKED);
        let cut = table.exposure.cut(at(20));
        table.request_all(|_| HASH);
        assert_eq!((&table.ready, cut), (&VecDeque::from([pes[0]]), 2));
        assert!(is_before(table.exposure.first(), cut));
        // A closure panicked in it: nobody waits for it.
        assert!(flags(&mut table, pes[2]).has(Flags::POISONED.and(Flags::STUCK)));
    }
}
