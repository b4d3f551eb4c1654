//! The PEs of one shard and what is known of each: the state machine under the shard's lock.
//!
//! It runs no user code but an event's closure. Whatever must not happen under the lock (the drop
//! of a PE, the waking of a waiter) is put into [`Aftermath`] for whoever unlocks.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::capture::{PeHandle, RequestSignal};
use crate::checkpoint_ticket::CheckpointOutcome;
use crate::clock::Timestamp;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Arrival, Attempt, Effect, Entry, Flags, Slot, Triggers};
use crate::prototype::exposure::Exposure;
use crate::prototype::recency::{Look, Recency};
use crate::prototype::requests::Requests;
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
    /// Who waits until no storage operation of a PE is unfinished, by ticket.
    pub(super) quiet: HashMap<u64, Arc<Arrival>>,
    recency: Option<Recency>,
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
            quiet: HashMap::new(),
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
    pub(super) fn event<Q, R, I>(
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
            Some(entry) => entry.event(hash, coarse_now, input, run),
            None => Attempt::NotReady(input),
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
            return entry.event(hash, coarse_now, input, run);
        }
        self.event((hash, key), coarse_now, input, run)
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
        entry.marked(triggers.due_after);
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
        if entry.changes() >= triggers.due_after
            && due(u64::from(entry.changes()), entry.event_count())
        {
            if entry.flags.has(Flags::DUE) {
                self.coalesced += 1;
            }
            self.make_due(pe);
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
            None => Obstacle::Fetch(PeHandle { hash, ticket: self.next_ticket }, Signal::new()),
            Some(entry) => {
                if entry.flags.has(Flags::PANICKED) {
                    entry.flags.clear(Flags::PANICKED);
                    entry.flags.set(Flags::POISONED);
                    self.poisoned += 1;
                }
                let handle = entry.handle(hash);
                match &mut entry.slot {
                    Slot::Resident(_) => Obstacle::Poisoned(entry.last_durable(), handle),
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
        let entry = Entry::fetching(key, pe.ticket, arrival);
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
        self.stuck.remove(&pe.ticket);
        self.requests.remove(&pe.ticket);
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

    /// Makes every PE with changes due, and returns the mark that those changes are before.
    pub(super) fn request_all(&mut self, now: Timestamp, hasher: impl Fn(&K) -> u64) -> u32 {
        let cut = self.exposure.cut(now);
        let wanted: Vec<PeHandle> = self
            .entries
            .iter()
            .filter(|entry| entry.flags.has(Flags::DIRTY) && !entry.flags.has(Flags::STUCK))
            .map(|entry| entry.handle(hasher(&entry.key)))
            .collect();
        for pe in wanted {
            if !self.set_aside_if_poisoned(pe) {
                self.make_due(pe);
            }
        }
        cut
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
