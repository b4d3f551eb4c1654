//! The fastest way to process many events: shards' locks are kept from one event to the next.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::key::{AsKey, Key};
use crate::prototype::pe_prototype::PePrototype;
use crate::prototype::shard::{Locked, Rest};
use crate::prototype::table::{Attempt, Effect};
use crate::state::Checkpointable;
use crate::sync::Ordering;

/// How many events are run before room is made for the keeper, if it needs any.
const EVENTS_BEFORE_RELIEF: u32 = 64;

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
/// Those before it were; it, and those behind it in the iterator, were not.
#[derive(Debug)]
pub struct RunError<E> {
    /// How many events were processed before.
    pub processed: usize,
    /// The event, to be tried again or put aside.
    pub event: E,
    /// Why it could not be processed.
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
    /// The iterator is advanced while locks are held: it should not block. Pass `&mut iterator` to
    /// go on after an error.
    ///
    /// # Errors
    /// An event could not be processed: see [`PePrototype::process`]. The run stops there.
    ///
    /// # Panics
    /// Panics if `f` does; the PE is then poisoned.
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
        let mut processed = 0;
        for (key, event) in events {
            // Taken by the closure when it runs.
            let mut event = Some(event);
            let result = held.event(&key, |pe| match event.take() {
                Some(event) => f(pe, event),
                None => unreachable!("an event runs once"),
            });
            match (result, event) {
                (Err(error), Some(event)) => {
                    return Err(RunError { processed, event: (key, event), error });
                }
                _ => processed += 1,
            }
        }
        Ok(processed)
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
                Err(RunError { processed: 0, event, error })
            }
        }
    }
}

/// The shards that a run holds.
struct Held<'a, K, P> {
    prototype: &'a PePrototype<K, P>,
    shards: Vec<Option<Locked<'a, K, P>>>,
    became_due: u32,
    events: u32,
}

impl<'a, K: Key, P: Checkpointable + Send + 'static> Held<'a, K, P> {
    fn new(prototype: &'a PePrototype<K, P>) -> Self {
        let shards = prototype.inner.shards.iter().map(|_| None).collect();
        Self { prototype, shards, became_due: 0, events: 0 }
    }

    #[inline]
    fn event<A>(&mut self, key: &A, f: impl FnOnce(&mut P)) -> Result<(), ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let inner = &self.prototype.inner;
        let key = key.as_key();
        let place = inner.place(key);
        self.events += 1;
        if inner.waiters.load(Ordering::Relaxed) > 0 || self.events >= EVENTS_BEFORE_RELIEF {
            self.make_way();
        }
        let Some(held) = self.shards.get_mut(place.shard) else {
            unreachable!("a place is one of the prototype's shards");
        };
        if held.is_none() {
            // While waiting for one shard none is held: two sessions cannot wait for each other.
            match inner.try_lock_again(place.shard) {
                Some(locked) => *held = Some(locked.of_session()),
                None => {
                    self.release();
                    let locked = inner.lock_again(place.shard).of_session();
                    if let Some(held) = self.shards.get_mut(place.shard) {
                        *held = Some(locked);
                    }
                }
            }
        }
        let Some(locked) = self.shards.get_mut(place.shard).and_then(Option::as_mut) else {
            unreachable!("the shard was locked just now");
        };
        if inner.closed.load(Ordering::Relaxed) {
            return Err(inner.closed_error());
        }
        let table = locked.table();
        let attempt = table.event(
            (place.hash, key),
            &inner.triggers,
            inner.coarse_now(),
            || inner.now(),
            |since, count| inner.is_due(since, count),
            |pe| {
                f(pe);
                Effect::Changed(())
            },
        );
        match attempt {
            Attempt::Done(()) | Attempt::Unchanged(()) => {
                if table.became_due > 0 {
                    table.became_due = 0;
                    self.became_due += 1;
                }
                Ok(())
            }
            Attempt::Obstacle(run, obstacle) => {
                let Some(locked) = self.shards.get_mut(place.shard).and_then(Option::take) else {
                    unreachable!("the shard was locked just now");
                };
                // Nothing is waited for while a shard is held; this one is given up by `overcome`,
                // and what else comes with giving up the others waits for that.
                let rests = self.unlock();
                let hindrance = inner.overcome(place, key, obstacle, locked, Caller::MayWait);
                self.finish(rests);
                self.prototype.run_later(place, key, run, hindrance?)
            }
        }
    }

    /// Lets others have the shards, and the keeper have its way, if they need it.
    #[cold]
    fn make_way(&mut self) {
        self.events = 0;
        let inner = &self.prototype.inner;
        if inner.waiters.load(Ordering::Relaxed) > 0 || self.became_due > 0 {
            self.release();
        }
        if std::mem::take(&mut self.became_due) > 0 {
            inner.relieve(Caller::MayWait);
        }
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
        self.shards.iter_mut().filter_map(|held| held.take().map(Locked::unlock)).collect()
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
