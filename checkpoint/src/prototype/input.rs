//! Events that have a position, as their sources bring them to a prototype; and what of them a PE
//! has lost.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use crate::capture::PeHandle;
use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::inputs::{Contained, Ended, Older, PeName, Sources, Turn};
use crate::process_error::ProcessError;
use crate::prototype::entry::{Effect, Flags};
use crate::prototype::gate::Access;
use crate::prototype::inner::{Inner, Place};
use crate::prototype::key::{Key, KeyBytes};
use crate::prototype::origin::{Input, Origin};
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::table::Table;
use crate::restore_error::{RestoreError, RestoreFailure};
use crate::state::Checkpointable;

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Returns whether the prototype belongs to the keeper of these sources.
    #[inline(always)]
    pub(crate) fn is_fed_by(&self, sources: &Arc<Sources>) -> bool {
        Arc::ptr_eq(&self.inner.registration.sources, sources)
    }

    /// Returns where a PE is, and what it is called where its events wait for each other.
    #[inline(always)]
    pub(crate) fn locate<Q: KeyBytes + Hash + ?Sized>(&self, key: &Q) -> Located {
        let place = self.inner.place(key);
        Located { place, name: self.inner.pe_name(place.hash) }
    }

    /// Runs an event that has a position, unless the PE contains it.
    #[inline(always)]
    pub(crate) fn process_input<Q, R, O: Origin>(
        &self,
        located: Located,
        key: &Q,
        origin: O,
        f: impl FnOnce(&mut P) -> Result<R, R>,
    ) -> Result<O::Output<R>, ProcessError>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.run_from(located.place, key, (Access::Change, origin), |pe| match f(pe) {
            Ok(result) => Effect::Changed(result),
            Err(result) => Effect::Unchanged(result),
        })
    }

    /// Returns the id of a PE, for errors.
    pub(crate) fn id_of<Q: KeyBytes + ?Sized>(
        &self,
        key: &Q,
    ) -> Result<CheckpointId, ProcessError> {
        self.inner.id(key)
    }

    /// Runs a future of an event on this thread, if this thread may wait.
    pub(crate) fn drive<T>(
        &self,
        future: impl Future<Output = Result<T, ProcessError>>,
    ) -> Result<T, ProcessError> {
        self.inner.drive(future)
    }

    /// Waits until an event has come to its end.
    pub(crate) fn wait_for<Q: KeyBytes + ?Sized>(
        &self,
        key: &Q,
        ended: Arc<Ended>,
        deadline: Timestamp,
    ) -> Result<(), ProcessError> {
        self.inner.wait(key, Hindrance::Arrival(ended, None), deadline)
    }

    /// Returns until when a call that begins now may wait.
    pub(crate) fn wait_deadline(&self) -> Timestamp {
        self.inner.deadline()
    }
}

/// Where a PE is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    place: Place,
    pub(crate) name: PeName,
}

impl<K: Key, P> Inner<K, P> {
    fn pe_name(&self, hash: u64) -> PeName {
        (self.index, hash)
    }

    /// Returns what a PE is called where its events wait for each other.
    pub(super) fn name_of(&self, pe: PeHandle) -> PeName {
        self.pe_name(pe.hash)
    }

    /// Takes note that a PE has lost events that it contained, and does not contain any more: they
    /// are to be fed again, and no later ones before.
    pub(super) fn lose_events(&self, table: &mut Table<K, P>, pe: PeHandle, lost: &Contained) {
        if self.config.accepts_position_gaps() {
            return;
        }
        let left = table.contained_of(pe);
        for &(source, next) in lost.as_slice() {
            if left.of(source).is_none_or(|left| left < next)
                && let Some(source) = self.registration.sources.get(source)
                && next > source.safe()
            {
                source.lose(self.name_of(pe));
                if let Some(entry) = table.get_mut(pe) {
                    entry.flags.set(Flags::LOST_EVENTS);
                }
            }
        }
    }

    /// Has a PE say what an older state contained, and takes note of what it has lost by that.
    pub(super) fn become_older(&self, table: &mut Table<K, P>, pe: PeHandle, older: Older) {
        table.set_contained(pe, older.contained);
        for source in &older.lost {
            source.lose(self.name_of(pe));
        }
        if !older.lost.is_empty()
            && let Some(entry) = table.get_mut(pe)
        {
            entry.flags.set(Flags::LOST_EVENTS);
        }
    }

    /// Takes note that a PE that comes into memory has lost events before it left.
    pub(super) fn recall_losses(&self, table: &mut Table<K, P>, pe: PeHandle) {
        let name = self.name_of(pe);
        if self.registration.sources.has_lost(name)
            && let Some(entry) = table.get_mut(pe)
        {
            entry.flags.set(Flags::LOST_EVENTS);
        }
    }

    /// Looks again at a PE that has lost events: maybe they are fed again by now, or are another
    /// source's.
    pub(super) fn check_lost(
        &self,
        table: &mut Table<K, P>,
        pe: PeHandle,
        input: Input,
    ) -> Result<(), ProcessError> {
        let name = self.name_of(pe);
        let source = self.registration.sources.get(input.source);
        let turn = source.as_ref().map(|source| {
            let mut events = source.events.lock();
            events.turn(input.position, name)
        });
        let Some(entry) = table.get_mut(pe) else { return Ok(()) };
        if let (Some(source), Some(Turn::Lost(from))) = (&source, turn) {
            let (id, reason) = (self.id_of_entry(&entry.key), source.gap(from, input.position));
            return Err(ProcessError::Restore(RestoreError::new(id, reason)));
        }
        // The flag stands for all sources: an event of another one may have waited for the PE since
        // before it lost anything, and would run.
        if !self.registration.sources.has_lost(name) {
            entry.flags.clear(Flags::LOST_EVENTS);
        }
        Ok(())
    }

    /// Refuses a PE that comes back older than what all sources are safe to: what it has lost would
    /// never be fed again.
    pub(super) fn check_gap(&self, mut contained: Contained) -> Result<Older, RestoreFailure> {
        let mut lost = Vec::new();
        if self.config.accepts_position_gaps() {
            return Ok(Older { contained, lost });
        }
        for source in self.registration.sources.all() {
            let contained_to = contained.of(source.index).unwrap_or(0);
            if contained_to < source.safe() {
                return Err(source.gap(contained_to, source.safe()));
            }
            if contained_to < source.floor().max(source.reached()) {
                contained.set(source.index, contained_to);
            }
            if contained_to < source.reached() {
                lost.push(source);
            }
        }
        Ok(Older { contained, lost })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::inputs::SourceIndex;
    use crate::{
        CheckpointingConfig, CheckpointingConfigBuilder, CheckpointingMode, Eviction,
        InMemoryStorage, OnExposed, Recover, SafeKeeper, SafeKeeperBuilder, Source,
    };

    const KEY: u8 = 1;

    /// A PE that two sources have fed up to position 1.
    struct World {
        _keeper: SafeKeeper,
        prototype: PePrototype<u8, u64>,
        sources: [Source; 2],
    }

    impl World {
        fn new() -> Self {
            let keeper = SafeKeeper::builder(InMemoryStorage::new());
            Self::of(keeper, CheckpointingConfig::builder(CheckpointingMode::None))
        }

        fn of(keeper: SafeKeeperBuilder, config: CheckpointingConfigBuilder) -> Self {
            let (keeper, config) = (keeper.build().unwrap(), config.build().unwrap());
            let prototype = keeper.prototype("p").config(config).create(|_| 0).build().unwrap();
            let mut sources = ["a", "b"].map(|name| keeper.source(name).unwrap());
            for source in &mut sources {
                source.process(&prototype, KEY, 1, |count: &mut u64| *count += 1).unwrap();
            }
            Self { _keeper: keeper, prototype, sources }
        }

        fn index(&self, name: &str) -> SourceIndex {
            self.prototype.inner.registration.sources.of_name(name).unwrap().index
        }

        /// The PE has contained the events of a source below `next`, and has lost what it has not
        /// any more.
        fn lose(&self, name: &str, next: u64) {
            let inner = &self.prototype.inner;
            let place = inner.place(&KEY);
            let mut locked = inner.lock_open(place.shard).unwrap();
            let table = locked.table();
            let entry = table.entries.find(place.hash, |entry| entry.key == KEY).unwrap();
            let pe = entry.handle(place.hash);
            inner.lose_events(table, pe, &Contained::one(self.index(name), next));
        }

        /// An event whose turn has come before the PE lost anything, and that has waited for the PE
        /// since. Says whether it has run.
        fn late(&self, name: &str, position: u64) -> bool {
            let source = self.index(name);
            let input = Input { source, position, floor: 0, is_behind_nothing_lost: false };
            let located = self.prototype.locate(&KEY);
            let add = |count: &mut u64| {
                *count += 1;
                Ok(())
            };
            match self.prototype.process_input(located, &KEY, input, add) {
                Ok(ran) => ran.is_some(),
                Err(ProcessError::Restore(error)) => {
                    let reason = error.reason();
                    assert!(matches!(reason, RestoreFailure::PositionGap { .. }), "{error}");
                    false
                }
                Err(error) => panic!("{error}"),
            }
        }

        fn rewind(&mut self, of: usize) {
            self.sources[of].rewind(None).unwrap();
        }
    }

    #[test]
    fn what_a_pe_has_lost_of_one_source_is_known_behind_an_event_of_another() {
        let mut world = World::new();
        world.lose("b", 3);
        for position in 2..4 {
            assert!(world.late("a", position) && !world.late("b", 2));
        }
        world.lose("a", 5);
        assert!(!world.late("a", 4) && !world.late("b", 2));
        world.rewind(0);
        assert!(world.late("a", 4) && !world.late("b", 2));
        world.rewind(1);
        assert!(world.late("b", 2) && world.late("a", 5));
    }

    #[test]
    fn what_a_pe_has_lost_is_known_when_it_is_reloaded() {
        let mut world = World::new();
        world.prototype.checkpoint(KEY).unwrap().wait().unwrap();
        world.lose("b", 3);
        let panics = || world.prototype.process(KEY, |_| panic!("planned"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        world.prototype.recover(KEY, Recover::Reload).unwrap();
        assert!(!world.late("b", 2) && world.late("a", 2));
        world.rewind(1);
        assert!(world.late("b", 2));
    }

    #[test]
    fn what_a_pe_has_lost_is_known_when_it_comes_into_memory() {
        let mut world = World::new();
        let sources = world.prototype.inner.registration.sources.clone();
        let name = world.prototype.locate(&KEY).name;
        sources.of_name("b").unwrap().lose(name);
        // The flag of the one in memory stands for what that one has lost.
        world.prototype.checkpoint(KEY).unwrap().wait().unwrap();
        assert_eq!(world.prototype.evict(KEY).unwrap(), Eviction::Evicted);
        assert!(!world.late("b", 2) && world.late("a", 2));
        world.rewind(1);
        assert!(world.late("b", 2));
    }

    /// What it has lost of another source is looked at first, and does not make room.
    #[test]
    fn a_pe_that_has_lost_events_is_held_up_as_others_are() {
        // Nothing is stored before somebody steps.
        let keeper = SafeKeeper::builder(InMemoryStorage::new()).stepped();
        let config = CheckpointingConfig::builder(CheckpointingMode::None);
        let config = config.exposed_events_max(NonZeroU32::new(3).unwrap());
        let mut world = World::of(keeper, config.on_exposed(OnExposed::Reject));
        world.lose("b", 3);
        assert!(world.late("a", 2) && !world.late("b", 2));
        let located = world.prototype.locate(&KEY);
        let input = Input {
            source: world.index("a"),
            position: 3,
            floor: 0,
            is_behind_nothing_lost: false,
        };
        let held_up = world.prototype.process_input(located, &KEY, input, |_| Ok::<_, ()>(()));
        assert!(matches!(held_up, Err(ProcessError::ExposedEvents { events_max: 3, .. })));
        let contained = Input { position: 2, ..input };
        let ran = world.prototype.process_input(located, &KEY, contained, |_| Ok::<_, ()>(()));
        assert!(matches!(ran, Ok(None)), "it needs no room");
        world.rewind(1);
    }
}
