//! The sources that a keeper knows, each with the number that PEs name it by in memory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::inputs::contained::Contained;
use crate::inputs::events::{Ended, InputEvents};
use crate::inputs::{PeName, before};
use crate::record::SourceId;
use crate::restore_error::RestoreFailure;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};

/// Names a source in memory: small, because each PE has one beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceIndex(u16);

impl SourceIndex {
    /// No source has fed the PE.
    pub(crate) const NONE: Self = Self(0);
    /// Several have: which, stands elsewhere.
    pub(crate) const SEVERAL: Self = Self(u16::MAX);

    #[cfg(test)]
    pub(crate) const fn new(number: u16) -> Self {
        Self(number)
    }
}

/// So many sources a keeper can know.
const SOURCES_MAX: usize = u16::MAX as usize - 1;

/// More sources than a keeper can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManySources;

/// What is stored of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: Arc<str>,
    pub(crate) id: SourceId,
    /// All events below are contained in what is stored.
    pub(crate) safe: u64,
    /// The highest that `safe` ever was: whatever is said of a PE, it contains what was below,
    /// unless it has come back older.
    pub(crate) floor: u64,
}

/// Is told of the last position that is safe.
pub(crate) type OnSafePosition = Arc<dyn Fn(u64) + Send + Sync>;

/// One source.
pub(crate) struct SourceState {
    pub(crate) index: SourceIndex,
    pub(crate) id: SourceId,
    /// Not known of one that only records speak of.
    pub(crate) name: Option<Arc<str>>,
    /// All events below are through: written by whoever feeds, and while something is delayed by
    /// whoever changes that.
    pub(crate) completed: AtomicU64,
    /// PEs have lost events from here on; the highest number if none has. Apart from `completed`,
    /// which is written without a look at it.
    lost_from: AtomicU64,
    /// How many sources have such PEs, of all of the keeper.
    losing: Arc<AtomicUsize>,
    safe: AtomicU64,
    floor: AtomicU64,
    /// How often it was rewound.
    pub(crate) rewinds: AtomicU64,
    /// Who is told that more is safe.
    pub(crate) told: Mutex<Option<OnSafePosition>>,
    /// Whether somebody feeds it.
    pub(crate) is_open: AtomicBool,
    /// Whether `events` has anything: then an event must look there first.
    pub(crate) is_delayed: AtomicBool,
    /// Events that are not through yet.
    pub(crate) events: Mutex<InputEvents>,
}

impl SourceState {
    fn new(
        index: SourceIndex,
        id: SourceId,
        known: Option<&Known>,
        losing: Arc<AtomicUsize>,
    ) -> Self {
        let (safe, floor) = known.map_or((0, 0), |known| (known.safe, known.floor));
        Self {
            index,
            id,
            name: known.map(|known| known.name.clone()),
            completed: AtomicU64::new(safe),
            lost_from: AtomicU64::new(u64::MAX),
            losing,
            rewinds: AtomicU64::new(0),
            told: Mutex::new(None),
            safe: AtomicU64::new(safe),
            floor: AtomicU64::new(floor),
            is_open: AtomicBool::new(false),
            is_delayed: AtomicBool::new(false),
            events: Mutex::default(),
        }
    }

    /// All events below are contained in what is stored, durably so.
    #[inline]
    pub(crate) fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    /// Every PE contains the events below, but for those that have come back older and say so.
    #[inline]
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Takes what has become durable.
    pub(crate) fn became_safe(&self, safe: u64) {
        self.floor.fetch_max(safe, Ordering::AcqRel);
        self.safe.store(safe, Ordering::Release);
    }

    /// Whether a PE that contains everything below `next` need not say so any more.
    fn says_nothing_new(&self, next: u64) -> bool {
        // Not while events are fed again: then what is missing would be taken as contained.
        next <= self.safe() && self.safe() == self.floor()
    }

    /// What errors name it by.
    pub(crate) fn shown(&self) -> Arc<str> {
        self.name.clone().unwrap_or_else(|| format!("#{:016x}", self.id.0).into())
    }

    /// Why a PE is refused that contains the events below `contained_to`: others below `to`, or
    /// below what is safe, would be missing from it for ever.
    pub(crate) fn gap(&self, contained_to: u64, to: u64) -> RestoreFailure {
        let (from, to) = (before(contained_to), before(to.max(self.safe())));
        RestoreFailure::PositionGap { source: self.shown(), from, to }
    }

    /// A PE has lost events that are not known to be stored: they are to be fed again.
    pub(crate) fn lose(&self, pe: PeName) {
        let mut events = self.events.lock();
        events.lose(pe, self.safe());
        self.publish_losses(&events);
    }

    /// Whether a PE has lost events that are still to be fed again.
    fn has_lost(&self, pe: PeName) -> bool {
        self.lost_from.load(Ordering::Acquire) != u64::MAX && self.events.lock().has_lost(pe)
    }

    /// All events below are through, and in their PEs.
    pub(crate) fn reached(&self) -> u64 {
        let lost_from = self.lost_from.load(Ordering::Acquire);
        self.completed.load(Ordering::Acquire).min(lost_from)
    }

    /// Changes what is not through, and tells whoever waits for it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut InputEvents) -> Option<Arc<Ended>>) {
        let ended = {
            let mut events = self.events.lock();
            let ended = change(&mut events);
            self.publish(&events);
            ended
        };
        if let Some(ended) = ended {
            ended.finish(Ok(()));
        }
    }

    /// Says up to where all is through, after a change of what is not.
    pub(crate) fn publish(&self, events: &InputEvents) {
        self.completed.store(events.completed(), Ordering::Release);
        self.publish_losses(events);
    }

    fn publish_losses(&self, events: &InputEvents) {
        let lost_from = events.lost_from();
        // Written under the lock of the events only.
        match (self.lost_from.load(Ordering::Relaxed), lost_from) {
            (u64::MAX, u64::MAX) => {}
            // Both pair with the load in `Sources::has_lost`.
            (u64::MAX, _) => {
                self.losing.fetch_add(1, Ordering::AcqRel);
            }
            (_, u64::MAX) => {
                self.losing.fetch_sub(1, Ordering::AcqRel);
            }
            (_, _) => {}
        }
        self.lost_from.store(lost_from, Ordering::Release);
        // Last: who sees that nothing is delayed goes on from there.
        self.is_delayed.store(!events.is_empty(), Ordering::Release);
    }

    /// Nobody is told any more: what is told may hold what it is told by.
    pub(crate) fn forget_told(&self) {
        let told = self.told.lock().take();
        // The user's code, and with no lock held.
        drop(told);
    }

    pub(crate) fn known(&self) -> Option<Known> {
        let name = self.name.clone()?;
        Some(Known { name, id: self.id, safe: self.safe(), floor: self.floor() })
    }
}

/// A state that is not the newest of its PE.
pub(crate) struct Older {
    /// Which events it contains.
    pub(crate) contained: Contained,
    /// The sources of which it may have lost events that need be fed again.
    pub(crate) lost: Vec<Arc<SourceState>>,
}

/// All sources of a keeper.
#[derive(Default)]
pub(crate) struct Sources {
    table: Mutex<Table>,
    /// How many of them have PEs that have lost events. Each keeps it up to date itself.
    losing: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Table {
    /// The first has the number 1.
    all: Vec<Arc<SourceState>>,
    by_id: HashMap<SourceId, SourceIndex>,
}

impl Table {
    fn get(&self, index: SourceIndex) -> Option<&Arc<SourceState>> {
        self.all.get(usize::from(index.0).checked_sub(1)?)
    }

    fn add(
        &mut self,
        id: SourceId,
        known: Option<&Known>,
        losing: &Arc<AtomicUsize>,
    ) -> Result<&Arc<SourceState>, TooManySources> {
        let number = self.all.len() + 1;
        let index = u16::try_from(number).ok().filter(|_| number <= SOURCES_MAX);
        let index = SourceIndex(index.ok_or(TooManySources)?);
        self.by_id.insert(id, index);
        self.all.push(Arc::new(SourceState::new(index, id, known, losing.clone())));
        self.all.last().ok_or(TooManySources)
    }
}

impl Sources {
    /// The sources that the store knows.
    pub(crate) fn new(known: &[Known]) -> Result<Self, TooManySources> {
        let sources = Self::default();
        for known in known {
            sources.add(known)?;
        }
        Ok(sources)
    }

    /// Returns the number of a source that a record names.
    pub(crate) fn number(&self, id: SourceId) -> Result<SourceIndex, TooManySources> {
        let mut table = self.table.lock();
        if let Some(index) = table.by_id.get(&id) {
            return Ok(*index);
        }
        table.add(id, None, &self.losing).map(|source| source.index)
    }

    pub(crate) fn get(&self, index: SourceIndex) -> Option<Arc<SourceState>> {
        self.table.lock().get(index).cloned()
    }

    /// Returns what a record names a source by.
    pub(crate) fn id(&self, index: SourceIndex) -> Option<SourceId> {
        self.table.lock().get(index).map(|source| source.id)
    }

    /// Whether a PE need not say any more how much of a source it contains.
    pub(crate) fn says_nothing_new(&self, index: SourceIndex, next: u64) -> bool {
        self.table.lock().get(index).is_some_and(|source| source.says_nothing_new(next))
    }

    pub(crate) fn all(&self) -> Vec<Arc<SourceState>> {
        self.table.lock().all.clone()
    }

    pub(crate) fn is_any(&self) -> bool {
        !self.table.lock().all.is_empty()
    }

    /// Whether a PE has lost events of any of them that are still to be fed again.
    pub(crate) fn has_lost(&self, pe: PeName) -> bool {
        // Each restore asks, and almost never has anything been lost: that is to cost nothing.
        self.losing.load(Ordering::Acquire) > 0
            && self.all().iter().any(|source| source.has_lost(pe))
    }

    /// What a PE contains of which nothing is known but that all that was fed is over for it.
    pub(crate) fn reached(&self) -> Contained {
        let mut contained = Contained::default();
        for source in self.all().iter().filter(|source| source.reached() > source.floor()) {
            contained.set(source.index, source.reached());
        }
        contained
    }

    /// Returns the source of this name, if it is known.
    pub(crate) fn of_name(&self, name: &str) -> Option<Arc<SourceState>> {
        let table = self.table.lock();
        table.all.iter().find(|source| source.name.as_deref() == Some(name)).cloned()
    }

    /// Takes in a source that the store has just learned of.
    pub(crate) fn add(&self, known: &Known) -> Result<Arc<SourceState>, TooManySources> {
        let mut table = self.table.lock();
        table.add(known.id, Some(known), &self.losing).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, id: u64, safe: u64, floor: u64) -> Known {
        Known { name: name.into(), id: SourceId(id), safe, floor }
    }

    #[test]
    fn sources_have_numbers_from_one_on() {
        let sources = Sources::new(&[known("a", 70, 5, 9)]).unwrap();
        let a = sources.of_name("a").unwrap();
        assert_eq!((a.index, a.safe(), a.floor()), (SourceIndex(1), 5, 9));
        assert_eq!(sources.number(SourceId(70)), Ok(SourceIndex(1)));
        assert_eq!(sources.number(SourceId(71)), Ok(SourceIndex(2)));
        assert_eq!(sources.number(SourceId(71)), Ok(SourceIndex(2)));
        let b = sources.add(&known("b", 72, 0, 0)).unwrap();
        assert_eq!((b.index, sources.id(b.index)), (SourceIndex(3), Some(SourceId(72))));
        assert!(sources.get(SourceIndex::NONE).is_none());
        assert!(sources.get(SourceIndex::SEVERAL).is_none());
        assert_eq!(sources.all().len(), 3);
        assert_eq!(a.known(), Some(known("a", 70, 5, 9)));
        assert_eq!(sources.get(SourceIndex(2)).unwrap().known(), None);
    }

    #[test]
    fn there_is_an_end_of_numbers() {
        let sources = Sources::default();
        for id in 0..u64::from(u16::MAX) - 1 {
            sources.number(SourceId(id)).unwrap();
        }
        assert_eq!(sources.number(SourceId(u64::MAX)), Err(TooManySources));
        assert_eq!(sources.number(SourceId(5)), Ok(SourceIndex(6)));
    }

    #[test]
    fn while_no_pe_has_lost_events_no_source_is_looked_at() {
        let pe = |hash| (crate::prototype_index::PrototypeIndex(0), hash);
        let sources = Sources::new(&[known("a", 1, 3, 3), known("b", 2, 5, 5)]).unwrap();
        let [a, b] = ["a", "b"].map(|name| sources.of_name(name).unwrap());
        let losing = || sources.losing.load(Ordering::Acquire);
        assert_eq!((losing(), sources.has_lost(pe(1))), (0, false));
        for _ in 0..2 {
            a.lose(pe(1));
            b.lose(pe(2));
        }
        let has_lost = || [1, 2, 3].map(|hash| sources.has_lost(pe(hash)));
        assert_eq!((losing(), has_lost()), (2, [true, true, false]));
        for (source, to, left) in [(&a, 4, 2), (&a, 3, 1), (&b, 0, 0), (&b, 0, 0)] {
            source.change(|events| {
                events.rewind(to).unwrap();
                None
            });
            assert_eq!(losing(), left);
        }
        assert_eq!(has_lost(), [false; 3]);
    }

    #[test]
    fn what_is_safe_may_go_down_and_the_floor_does_not() {
        let sources = Sources::new(&[known("a", 1, 0, 0)]).unwrap();
        let a = sources.of_name("a").unwrap();
        a.became_safe(10);
        assert_eq!((a.safe(), a.floor()), (10, 10));
        assert!(sources.says_nothing_new(a.index, 10) && !sources.says_nothing_new(a.index, 11));
        a.became_safe(4);
        assert_eq!((a.safe(), a.floor()), (4, 10));
        assert!(!sources.says_nothing_new(a.index, 3));
    }
}
