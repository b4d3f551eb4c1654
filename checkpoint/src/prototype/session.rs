//! The fastest way to process many events: shards' locks are kept from one event to the next.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::hint::black_box;
use std::marker::PhantomData;

use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Attempt, Effect};
use crate::prototype::gate::Access;
use crate::prototype::inner::Place;
use crate::prototype::key::{AsKey, Key, KeyBytes};
use crate::prototype::origin::Nowhere;
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::shard::{Locked, Rest};
use crate::prototype::table::Bucket;
use crate::state::Checkpointable;
use crate::sync::Ordering;

/// How many events are run before PEs that became due are told of, if there are any: the locks are
/// given up for that, which is to cost little beside the events.
const EVENTS_BEFORE_RELIEF: usize = 1024;

/// For how many events after another thread wanted a shard none is held for longer than an event:
/// enough that the time for which that thread slept is little beside theirs.
const EVENTS_WHILE_CONTENDED: usize = 8192;

/// How many events are drawn at a time, if the iterator says that it has so many: their PEs are
/// looked up one behind the other before the first one runs, so that their cache misses overlap.
const DRAWN_MAX: usize = 16;

/// Processes runs of events on one thread; made by [`PePrototype::session`].
///
/// Within [`run`](Self::run), the locks of the shards that the events fall into are kept. They are
/// given up as soon as another thread waits for one, before anything is waited for, and at the end
/// of the run: between calls a session holds nothing.
pub struct Session<'a, K, P> {
    prototype: &'a PePrototype<K, P>,
    // A session belongs to its thread, whose locks it holds.
    not_send: PhantomData<*const ()>,
}

/// An event of a run could not be processed.
///
/// Those before it were; it, those in `behind`, and those that are still in the iterator, were not.
#[derive(Debug)]
pub struct RunError<E> {
    /// How many events were processed before.
    pub processed: usize,
    /// The event, to be tried again or put aside.
    pub event: E,
    /// Those behind it that had been drawn from the iterator already, in order.
    pub behind: Vec<E>,
    /// Why the event could not be processed.
    pub error: ProcessError,
}

impl<E> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a run of events stopped after {} of them", self.processed)
    }
}

impl<E: fmt::Debug> std::error::Error for RunError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Returns a session of this thread.
    #[must_use]
    pub fn session(&self) -> Session<'_, K, P> {
        Session { prototype: self, not_send: PhantomData }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Session<'_, K, P> {
    /// Runs `f` for each of the events, in order, on the PE of its key. Returns how many there
    /// were.
    ///
    /// The iterator is advanced while locks are held: it should not block. Some events are drawn
    /// ahead, if its `size_hint` says that there are so many: from a slice or a `Vec` they are
    /// processed faster than from a channel, whose next event nobody can foresee.
    ///
    /// # Errors
    /// An event could not be processed: see [`PePrototype::process`]. The run stops there; events
    /// that had been drawn ahead are in the error. To go on behind the event, pass `&mut iterator`,
    /// and those first.
    ///
    /// # Panics
    /// Panics if `f` does; the PE is then poisoned, and events that had been drawn ahead are
    /// dropped.
    ///
    /// # Examples
    /// ```
    /// use checkpoint::{InMemoryStorage, SafeKeeper};
    ///
    /// let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
    /// let sums = keeper.prototype::<u64, u64>("sum").create(|_| 0).build()?;
    /// let mut session = sums.session();
    /// session.run([(1, 10), (2, 20), (1, 30)], |sum, amount| *sum += amount)?;
    /// assert_eq!(sums.read(1, |sum| *sum)?, 40);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run<A, E>(
        &mut self,
        events: impl IntoIterator<Item = (A, E)>,
        mut f: impl FnMut(&mut P, E),
    ) -> Result<usize, RunError<(A, E)>>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        if crate::reentrancy::is_inside_shard() {
            return self.refuse(events);
        }
        let mut held = Held::new(self.prototype);
        let mut events = events.into_iter();
        let mut processed = 0;
        let mut drawn = Vec::with_capacity(DRAWN_MAX);
        loop {
            if held.contended > 0 {
                let Some((key, event)) = events.next() else { return Ok(processed) };
                if let Err((event, error)) = held.event_alone(&key, event, &mut f) {
                    let (event, behind) = ((key, event), Vec::new());
                    return Err(RunError { processed, event, behind, error });
                }
                processed += 1;
                continue;
            }
            let ahead = events.size_hint().0.clamp(1, DRAWN_MAX);
            // In four rounds, each short: a processor looks some hundred instructions ahead, and
            // overlaps the cache misses that it finds there.
            for (key, event) in events.by_ref().take(ahead) {
                drawn.push((held.place(&key), key, event));
            }
            let has_ended = drawn.len() < ahead;
            for (seen, key, _) in &mut drawn {
                held.look(seen, key);
            }
            // Nothing depends on what was read, which the compiler must not find out.
            black_box(drawn.iter().fold(0, |read, (seen, ..)| read ^ held.touch(seen)));
            let mut run = drawn.drain(..);
            while let Some((seen, key, event)) = run.next() {
                match held.event(seen, &key, event, &mut f) {
                    Ok(()) => processed += 1,
                    Err((event, error)) => {
                        let behind = run.map(|(_, key, event)| (key, event)).collect();
                        return Err(RunError { processed, event: (key, event), behind, error });
                    }
                }
            }
            drop(run);
            if has_ended {
                return Ok(processed);
            }
            held.make_way_for_others(ahead);
        }
    }

    #[cold]
    fn refuse<A, E>(
        &self,
        events: impl IntoIterator<Item = (A, E)>,
    ) -> Result<usize, RunError<(A, E)>> {
        match events.into_iter().next() {
            None => Ok(0),
            Some(event) => {
                let error = self.prototype.inner.reentrant();
                Err(RunError { processed: 0, event, behind: Vec::new(), error })
            }
        }
    }
}

/// Where the PE of an event was seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    place: Place,
    bucket: Bucket,
}

/// The shards that a run holds.
struct Held<'a, K, P> {
    prototype: &'a PePrototype<K, P>,
    shards: Vec<Option<Locked<'a, K, P>>>,
    became_due: usize,
    /// Events since what became due was last told of.
    events: usize,
    /// For so many events no shard is held from one event to the next: another thread wanted one
    /// that this run held.
    contended: usize,
}

impl<'a, K: Key, P: Checkpointable + Send + 'static> Held<'a, K, P> {
    fn new(prototype: &'a PePrototype<K, P>) -> Self {
        let shards = prototype.inner.shards.iter().map(|_| None).collect();
        Self { prototype, shards, became_due: 0, events: 0, contended: 0 }
    }

    /// Locks the shard of an event.
    #[inline(always)]
    fn place<A>(&mut self, key: &A) -> Seen
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let place = self.prototype.inner.place(key.as_key());
        if !self.holds(place.shard) {
            self.lock(place.shard);
        }
        Seen { place, bucket: Bucket::default() }
    }

    /// Looks where the PE of an event is.
    #[inline(always)]
    fn look<A>(&mut self, seen: &mut Seen, key: &A)
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        if let Some(Some(locked)) = self.shards.get_mut(seen.place.shard) {
            seen.bucket = locked.table().look((seen.place.hash, key.as_key()));
        }
    }

    /// Brings what the PE of an event has on the heap into the cache.
    #[inline(always)]
    fn touch(&self, seen: &Seen) -> u8 {
        match self.shards.get(seen.place.shard) {
            Some(Some(locked)) => locked.touch(seen.bucket),
            _ => 0,
        }
    }

    #[inline(always)]
    fn holds(&self, shard: usize) -> bool {
        matches!(self.shards.get(shard), Some(Some(_)))
    }

    #[inline(always)]
    fn event<A, E>(
        &mut self,
        Seen { place, bucket }: Seen,
        key: &A,
        event: E,
        f: &mut impl FnMut(&mut P, E),
    ) -> Result<(), (E, ProcessError)>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let inner = &*self.prototype.inner;
        if !self.holds(place.shard) {
            // An event between the look and this one had to wait, and gave up all shards.
            self.lock(place.shard);
        }
        let Some(Some(locked)) = self.shards.get_mut(place.shard) else {
            unreachable!("the shard was locked just now");
        };
        if !inner.gate.is_open() {
            match inner.barred(Access::Change) {
                Ok(None) => {}
                Ok(Some(hindrance)) => {
                    let rests = self.unlock();
                    return self.event_behind(place, key.as_key(), event, f, Ok(hindrance), rests);
                }
                Err(error) => return Err((event, error)),
            }
        }
        let place_in_table = (place.hash, key.as_key());
        let (table, coarse_now) = (locked.table(), inner.coarse_now());
        let run = |pe: &mut P, event| {
            f(pe, event);
            Effect::Changed(())
        };
        match table.event_at(bucket, place_in_table, coarse_now, event, run) {
            Attempt::Done(()) => Ok(()),
            Attempt::Marks((), pe) => {
                let due = |since, count| inner.is_due(since, count);
                table.mark_changed(pe, &inner.triggers, || inner.now(), due);
                self.became_due += std::mem::take(&mut table.became_due);
                Ok(())
            }
            Attempt::NotReady(event) => self.event_later(place, key.as_key(), event, f),
        }
    }

    /// Locks a shard. While waiting for it none is held: two sessions cannot wait for each other.
    #[cold]
    #[inline(never)]
    fn lock(&mut self, shard: usize) {
        let inner = &*self.prototype.inner;
        let locked = match inner.try_lock_again(shard) {
            Some(locked) => locked,
            None => {
                self.release();
                self.contended = EVENTS_WHILE_CONTENDED;
                inner.lock_again(shard)
            }
        };
        if let Some(held) = self.shards.get_mut(shard) {
            *held = Some(locked.of_session());
        }
    }

    /// Runs an event whose PE was not ready.
    #[cold]
    #[inline(never)]
    fn event_later<Q, E>(
        &mut self,
        place: Place,
        key: &Q,
        event: E,
        f: &mut impl FnMut(&mut P, E),
    ) -> Result<(), (E, ProcessError)>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let Some(mut locked) = self.shards.get_mut(place.shard).and_then(Option::take) else {
            unreachable!("the shard was locked just now");
        };
        let obstacle = locked.table().obstacle(place.hash, key);
        // Nothing is waited for while a shard is held; this one is given up by `overcome`, and what
        // else comes with giving up the others waits for that.
        let rests = self.unlock();
        let inner = &self.prototype.inner;
        let hindrance = inner.overcome(place, key, obstacle, locked, Caller::MayWait);
        self.event_behind(place, key, event, f, hindrance, rests)
    }

    /// Waits for what is in the way of an event, and runs it. No shard is held any more.
    #[cold]
    #[inline(never)]
    fn event_behind<Q, E>(
        &mut self,
        place: Place,
        key: &Q,
        event: E,
        f: &mut impl FnMut(&mut P, E),
        hindrance: Result<Hindrance, ProcessError>,
        rests: Vec<Rest<K, P>>,
    ) -> Result<(), (E, ProcessError)>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.finish(rests);
        once(event, f, |run| {
            self.prototype.run_later(place, key, run, (Access::Change, Nowhere), hindrance?)
        })
    }

    /// Runs an event while others want the shards, of which none is held: as `process` does.
    #[inline(always)]
    fn event_alone<A, E>(
        &mut self,
        key: &A,
        event: E,
        f: &mut impl FnMut(&mut P, E),
    ) -> Result<(), (E, ProcessError)>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        self.contended -= 1;
        once(event, f, |run| self.prototype.run(key.as_key(), Access::Change, run))
    }

    /// Lets others have the shards, and the keeper have its way, if they need it; called after each
    /// few events.
    #[inline(always)]
    fn make_way_for_others(&mut self, events: usize) {
        self.events += events;
        let wanted = self.prototype.inner.waiters.load(Ordering::Relaxed) > 0;
        if wanted || self.contended > 0 || self.events >= EVENTS_BEFORE_RELIEF {
            self.make_way(wanted);
        }
    }

    #[cold]
    #[inline(never)]
    fn make_way(&mut self, wanted: bool) {
        let reports = self.events >= EVENTS_BEFORE_RELIEF && self.became_due > 0;
        if wanted {
            self.contended = EVENTS_WHILE_CONTENDED;
        }
        if self.contended > 0 || reports {
            self.release();
        }
        if self.events >= EVENTS_BEFORE_RELIEF {
            self.events = 0;
        }
        if reports {
            self.became_due = 0;
            self.prototype.inner.relieve(Caller::MayWait);
        }
    }
}

/// Hands an event to a way of running it, and gives it back if it was not run.
#[inline(always)]
fn once<P, E>(
    event: E,
    f: &mut impl FnMut(&mut P, E),
    way: impl FnOnce(&mut dyn FnMut(&mut P) -> Effect<()>) -> Result<(), ProcessError>,
) -> Result<(), (E, ProcessError)> {
    // Taken by the closure when it runs.
    let mut event = Some(event);
    let mut run = |pe: &mut P| match event.take() {
        Some(event) => {
            f(pe, event);
            Effect::Changed(())
        }
        None => unreachable!("an event runs once"),
    };
    match (way(&mut run), event) {
        (Err(error), Some(event)) => Err((event, error)),
        _ => Ok(()),
    }
}

impl<K, P> Held<'_, K, P> {
    fn release(&mut self) {
        // First all locks, then what else is to be done: that may be the user's code, which may
        // want one.
        let rests = self.unlock();
        self.finish(rests);
    }

    fn unlock(&mut self) -> Vec<Rest<K, P>> {
        self.shards.iter_mut().filter_map(|held| held.take().and_then(Locked::unlock)).collect()
    }

    fn finish(&self, rests: Vec<Rest<K, P>>) {
        for rest in rests {
            self.prototype.inner.finish(rest);
        }
    }
}

impl<K, P> Drop for Held<'_, K, P> {
    fn drop(&mut self) {
        self.release();
    }
}
