//! A source, as the program that feeds it sees it.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use crate::inputs::{Fault, PeName, SourceState, after, before};
use crate::prototype::{AsKey, Input, Key, KeyBytes, Located, Origin, PePrototype};
use crate::source::event::{Event, Fed, PlainEvent};
use crate::source::source_future::SourceFuture;
use crate::source::{PositionStore, SourceError};
use crate::state::Checkpointable;
use crate::sync::Ordering;

/// An input whose events have positions: each event is in each PE's state exactly once, whatever
/// happens; made by [`SafeKeeper::source`](crate::SafeKeeper::source).
///
/// Each checkpoint says up to which position it contains the source's events. After a crash the
/// program feeds again all events behind [`resume_from`](Self::resume_from); those that a PE
/// contains already are skipped, PE by PE. So nothing is lost and nothing counted twice, without
/// barriers or transactions: checkpoints stay uncoordinated.
///
/// # Positions
/// `u64`, up to 2^64 - 2, strictly rising from call to call: a file's offsets, a broker's. Gaps are
/// fine. The same input must have the same positions each time. One source is one ordered input: a
/// file, or one partition of a topic; a PE may be fed by several.
///
/// No two calls can have the same position: what touches several PEs is one [event](Self::event).
///
/// # Events that fail
/// An event that gets an error [holds the source back](SourceError): it can be fed again under the
/// same position, as often as one likes, or be [skipped](Self::skip). Later events of the same PE
/// are refused until then, those of other PEs go on.
///
/// # What this does not cover
/// An event that is *derived from a PE's state* and sent to another PE: when events are fed again
/// the first PE skips its event, so nothing is derived, and the second one misses it. Compute what
/// is sent from the input alone, or write it into a topic that can be read again, with a source of
/// its own. What a closure does to the world outside (a mail that it sends) may happen again, and
/// so may what is done with its result.
pub struct Source {
    pub(super) state: Arc<SourceState>,
    store: Arc<PositionStore>,
    /// Positions below have been fed.
    fed: u64,
    /// Where an event ends behind which the input is read, if nothing was fed yet.
    resumed_at: u64,
}

/// What came of an event that has a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied<R> {
    /// The closure has run, and returned this.
    Now(R),
    /// The PE contained the event already: the closure was not run.
    Before,
}

impl<R> Applied<R> {
    /// Returns what the closure returned, if it has run.
    pub fn result(self) -> Option<R> {
        match self {
            Self::Now(result) => Some(result),
            Self::Before => None,
        }
    }
}

impl Source {
    pub(crate) fn new(state: Arc<SourceState>, store: Arc<PositionStore>) -> Self {
        let resumed_at = state.safe();
        Self { state, store, fed: 0, resumed_at }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        self.state.shown()
    }

    /// Returns the position of the last event that need not be fed again: every event up to it is
    /// contained in a durable checkpoint of every PE that it touched. `None`: of no event that is
    /// known.
    ///
    /// It goes up by itself, about once a
    /// [`safe_position_interval_ms`](crate::SafeKeeperSettings::safe_position_interval_ms) (a
    /// second by default), and is durable itself. It never goes down but by
    /// [`rewind`](Self::rewind). A process that is killed before it has gone up loses nothing of
    /// what is stored, but the next one reads from the same place again.
    #[must_use]
    pub fn safe_position(&self) -> Option<u64> {
        before(self.state.safe())
    }

    /// Returns the position behind which the input is to be read: [`safe_position`](
    /// Self::safe_position), under the name under which a consumer looks for it when it starts.
    /// `None`: from the beginning.
    #[must_use]
    pub fn resume_from(&self) -> Option<u64> {
        self.safe_position()
    }

    /// Returns the same for an input that has the positions from `first` to before `end`, and says
    /// so if that cannot be the input that was fed before.
    ///
    /// # Errors
    /// The input ends before that position, or begins behind it: it was truncated, or is another.
    pub fn resume_within(&self, first: u64, end: u64) -> Result<Option<u64>, SourceError> {
        let Some(safe) = self.safe_position() else { return Ok(None) };
        if safe >= end || first > after(safe) {
            let source_name = self.name();
            return Err(SourceError::NotInInput { source_name, safe, first, end });
        }
        Ok(Some(safe))
    }

    /// Runs `f` on the PE of `key` as [`PePrototype::process`] does, unless the PE contains the
    /// event at this position already.
    ///
    /// Waits for events of the PE that are before this one and still on their way. A thread that is
    /// to poll those itself must not call this meanwhile: it would wait for itself, as long as
    /// [`wait_max`](crate::CheckpointingConfigBuilder::wait_max).
    ///
    /// # Errors
    /// The position is not higher than all before (and none that failed), an earlier event of the
    /// PE has failed, or the PE cannot be had: then the event holds the source back.
    ///
    /// # Panics
    /// If `f` panics, so does this. The event counts as failed; the PE is poisoned.
    #[inline]
    pub fn process<K, P, A, R>(
        &mut self,
        prototype: &PePrototype<K, P>,
        key: A,
        position: u64,
        f: impl FnOnce(&mut P) -> R,
    ) -> Result<Applied<R>, SourceError>
    where
        K: Key + Borrow<A::Borrowed>,
        P: Checkpointable + Send + 'static,
        A: AsKey<K>,
    {
        self.run(prototype, key.as_key(), position, |input| input, |pe| Ok(f(pe)))
    }

    /// Runs `f` as [`process`](Self::process) does; if it returns an error, the PE is as it was as
    /// far as that is up to `f`, is not marked as changed, and does not contain the event: the
    /// event counts as failed.
    ///
    /// # Errors
    /// As [`process`](Self::process); the result of `f` is inside.
    pub fn try_process<K, P, A, R, E>(
        &mut self,
        prototype: &PePrototype<K, P>,
        key: A,
        position: u64,
        f: impl FnOnce(&mut P) -> Result<R, E>,
    ) -> Result<Applied<Result<R, E>>, SourceError>
    where
        K: Key + Borrow<A::Borrowed>,
        P: Checkpointable + Send + 'static,
        A: AsKey<K>,
    {
        self.run(
            prototype,
            key.as_key(),
            position,
            |input| input,
            |pe| match f(pe) {
                Ok(result) => Ok(Ok(result)),
                Err(error) => Err(Err(error)),
            },
        )
    }

    #[inline(always)]
    pub(super) fn run<K, P, Q, R, O>(
        &mut self,
        prototype: &PePrototype<K, P>,
        key: &Q,
        position: u64,
        origin: impl FnOnce(Input) -> O,
        f: impl FnOnce(&mut P) -> Result<R, R>,
    ) -> Result<Applied<R>, SourceError>
    where
        K: Key + Borrow<Q>,
        P: Checkpointable + Send + 'static,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
        O: Origin<Output<R> = Option<R>>,
    {
        let located = prototype.locate(key);
        // Whoever sees that nothing is delayed sees what it has left.
        let is_plain = position >= self.fed
            && position != u64::MAX
            && prototype.is_fed_by(&self.store.sources)
            && !self.state.is_delayed.load(Ordering::Acquire);
        if !is_plain {
            return self.run_noted(prototype, (key, located), position, origin, f);
        }
        let after_previous = self.after_previous(position);
        self.fed = position + 1;
        let event = PlainEvent::new(&self.state, (position, after_previous), located.name);
        run_event(prototype, (key, located), event, origin, f)
    }

    /// Runs an event that others may be before.
    #[cold]
    #[inline(never)]
    fn run_noted<K, P, Q, R, O>(
        &mut self,
        prototype: &PePrototype<K, P>,
        (key, located): (&Q, Located),
        position: u64,
        origin: impl FnOnce(Input) -> O,
        f: impl FnOnce(&mut P) -> Result<R, R>,
    ) -> Result<Applied<R>, SourceError>
    where
        K: Key + Borrow<Q>,
        P: Checkpointable + Send + 'static,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
        O: Origin<Output<R> = Option<R>>,
    {
        self.check_feeds(prototype)?;
        self.begin(position, vec![located.name])?;
        let event = Event::new(&*self.state, position);
        wait_for_turn(prototype, key, &event, located.name)?;
        run_event(prototype, (key, located), event, origin, f)
    }

    /// Runs `f` as [`process`](Self::process) does, without blocking the thread.
    ///
    /// The event counts as fed when this returns, and is processed when the future is polled, in
    /// whatever order futures are: those of one PE run in the order in which they were made.
    /// Many can be on their way. The future borrows nothing of the source, and can be sent to
    /// another thread: so one thread can read an input, and others process it.
    ///
    /// # Errors
    /// As [`process`](Self::process). If the future is dropped before it is ready, the event has
    /// failed, or was processed.
    pub fn process_async<K, P, A, R, F>(
        &mut self,
        prototype: &PePrototype<K, P>,
        key: A,
        position: u64,
        f: F,
    ) -> SourceFuture<K, P, F, R>
    where
        K: Key + Borrow<A::Borrowed>,
        P: Checkpointable + Send + 'static,
        A: AsKey<K>,
        F: FnOnce(&mut P) -> R,
    {
        let key = key.as_key();
        let pe = prototype.locate(key).name;
        let begun = self.check_feeds(prototype);
        match begun.and_then(|()| self.begin(position, vec![pe])) {
            Err(error) => SourceFuture::refused(error),
            Ok(()) => {
                let event = Event::new(self.state.clone(), position);
                let call = prototype.input_call(key.to_owned(), f, |f: F, pe| Ok(f(pe)));
                SourceFuture::new(event, pe, call)
            }
        }
    }

    /// Takes note of an event: one that is fed again, that others are before, or that is to be
    /// processed later.
    #[cold]
    #[inline(never)]
    pub(super) fn begin(&mut self, position: u64, pes: Vec<PeName>) -> Result<(), SourceError> {
        let source_name = self.name();
        if position == u64::MAX {
            return Err(SourceError::TooHigh { source_name, position });
        }
        let mut events = self.state.events.lock();
        if position >= self.fed && !events.is_open(position) {
            events.begin(position, self.after_previous(position), pes);
            self.fed = position + 1;
        } else {
            events.again(position, pes).map_err(|fault| match fault {
                Fault::Running => {
                    let attempted = format!("feed position {position} of source `{source_name}`");
                    SourceError::Running { attempted, position }
                }
                Fault::NotFailed => {
                    let fed = before(self.fed).unwrap_or(0);
                    SourceError::NotRising { source_name, position, fed }
                }
            })?;
        }
        self.state.publish(&events);
        Ok(())
    }

    /// Returns where the event ends that is fed before one: what is safe, if there is none. What
    /// an earlier process has fed may be higher.
    #[inline(always)]
    fn after_previous(&self, position: u64) -> u64 {
        self.fed.max(self.resumed_at).min(position)
    }

    /// Looks whether the prototype belongs to the keeper of this source.
    pub(super) fn check_feeds<K, P>(&self, prototype: &PePrototype<K, P>) -> Result<(), SourceError>
    where
        K: Key,
        P: Checkpointable + Send + 'static,
    {
        if prototype.is_fed_by(&self.store.sources) {
            return Ok(());
        }
        let prototype = prototype.name().into();
        Err(SourceError::OtherKeeper { source_name: self.name(), prototype })
    }

    /// Gives up an event that has failed: it is not fed again while this process lives. Until the
    /// source is safe behind it, a crash forgets that.
    ///
    /// # Errors
    /// No event at this position has failed, or it is being processed.
    pub fn skip(&mut self, position: u64) -> Result<(), SourceError> {
        let mut events = self.state.events.lock();
        let skipped = events.skip(position);
        if skipped.is_ok() {
            self.state.publish(&events);
        }
        skipped.map_err(|fault| match fault {
            Fault::Running => {
                let attempted = format!("skip position {position} of source `{}`", self.name());
                SourceError::Running { attempted, position }
            }
            Fault::NotFailed => SourceError::NotFailed { source_name: self.name(), position },
        })
    }

    /// Goes back: the events behind `position` are fed again, all of them for `None`. Durable when
    /// this returns.
    ///
    /// This is the way out of a [`PositionGap`](crate::RestoreFailure::PositionGap). PEs that
    /// contain the events skip them. Nothing else ever makes
    /// [`safe_position`](Self::safe_position) go down.
    ///
    /// # Errors
    /// The position is ahead of all that was fed, events of the source are being processed, or the
    /// storage failed: nothing is changed then.
    pub fn rewind(&mut self, position: Option<u64>) -> Result<(), SourceError> {
        let to = position.map_or(0, after);
        let reached = self.state.completed.load(Ordering::Acquire).max(self.state.safe());
        if position == Some(u64::MAX) || to > self.fed.max(reached) {
            let (source_name, position) = (self.name(), position.unwrap_or(0));
            return Err(SourceError::NotBack { source_name, position });
        }
        {
            let events = self.state.events.lock();
            if events.counts().0 > 0 {
                let attempted = format!("rewind source `{}`", self.name());
                return Err(SourceError::Running { attempted, position: events.completed() });
            }
        }
        self.store.rewind(&self.state, to)?;
        let mut events = self.state.events.lock();
        // Nothing began meanwhile: that needs this source.
        let rewound = events.rewind(to);
        debug_assert_eq!(rewound, Ok(()), "events began without their source");
        self.state.publish(&events);
        (self.fed, self.resumed_at) = (to, to);
        Ok(())
    }

    /// Has `told` called with [`safe_position`](Self::safe_position) whenever it has gone up: for
    /// brokers that want an acknowledgement. It is durable by then.
    ///
    /// Called by a thread of the storage pool, with no lock held. It must not wait for the keeper,
    /// and should be short. A panic is caught and logged.
    pub fn on_safe_position(&mut self, told: impl Fn(u64) + Send + Sync + 'static) {
        let old = self.state.told.lock().replace(Arc::new(told));
        // The user's code, and with no lock held.
        drop(old);
        if self.store.is_closed() {
            self.state.forget_told();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.state.is_open.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name())
            .field("safe_position", &self.safe_position())
            .finish_non_exhaustive()
    }
}

/// Waits until no event of the PE is before this one.
fn wait_for_turn<K, P, Q>(
    prototype: &PePrototype<K, P>,
    key: &Q,
    event: &Event<&SourceState>,
    pe: PeName,
) -> Result<(), SourceError>
where
    K: Key,
    P: Checkpointable + Send + 'static,
    Q: KeyBytes + ?Sized,
{
    let deadline = prototype.wait_deadline();
    while let Some(ended) = event.turn(pe, || prototype.id_of(key))? {
        let waited = prototype.wait_for(key, ended, deadline);
        waited.map_err(|error| event.failed(error))?;
    }
    Ok(())
}

/// Runs an event whose turn it is.
#[inline(always)]
fn run_event<K, P, Q, R, O>(
    prototype: &PePrototype<K, P>,
    (key, located): (&Q, Located),
    event: impl Fed,
    origin: impl FnOnce(Input) -> O,
    f: impl FnOnce(&mut P) -> Result<R, R>,
) -> Result<Applied<R>, SourceError>
where
    K: Key + Borrow<Q>,
    P: Checkpointable + Send + 'static,
    Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    O: Origin<Output<R> = Option<R>>,
{
    let mut has_failed = false;
    let ran = prototype.process_input(located, key, origin(event.input()), |pe| {
        let result = f(pe);
        has_failed = result.is_err();
        result
    });
    match ran {
        Ok(result) => {
            if !has_failed {
                event.finish();
            }
            Ok(result.map_or(Applied::Before, Applied::Now))
        }
        Err(error) => Err(event.failed(error)),
    }
}
