//! The world outside the simulated process: what is stored, what is on its way, and the weather.

use std::sync::{Arc, Mutex};

use checkpoint::{
    CheckpointId, CompareAndSet, FetchEntry, SaveEntry, SaveOutcome, StorageError, StorageErrorKind,
};

use super::clock::SimulatedClock;
use super::content::{Records, Stored};
use super::dice::Dice;
use super::met::{Met, Tally};
use super::storage::error;
use super::trace::{Trace, lock};
use super::weather::Weather;

/// The world outside the process: it goes on when the process dies.
pub(super) struct World {
    pub(super) records: Records,
    pub(super) weather: Weather,
    /// Whether fetches may be answered later: not those of a thread that waits for the answer.
    pub(super) may_delay_fetches: bool,
    /// Whether answers are given at once where that is possible.
    pub(super) answers_inline: bool,
    pub(super) compare_and_set: CompareAndSet,
    /// How many versions of a state are kept, with the newest.
    pub(super) older_versions_max: usize,
    /// How many of a hundred openings of an epoch or accesses to metadata fail.
    pub(super) starts_fail_percent: u64,
    pub(super) clock: Arc<SimulatedClock>,
    /// Only calls of this process are taken.
    pub(super) living: u64,
    /// A process that does not know that another one has taken over.
    pub(super) zombie: Option<u64>,
    pub(super) late_saves: Vec<LateSave>,
    pub(super) late_fetches: Vec<FetchEntry>,
    /// Saves whose outcome was told to be unknown, and that land later.
    pub(super) late_landings: Vec<(CheckpointId, Stored)>,
    /// How often each fate was met.
    pub(super) met: Tally,
    pub(super) dice: Dice,
    pub(super) trace: Trace,
}

/// An entry whose outcome comes later.
pub(super) struct LateSave {
    pub(super) id: CheckpointId,
    pub(super) entry: SaveEntry,
    /// What is stored with the acknowledgement.
    pub(super) stored: Option<Stored>,
}

impl World {
    pub(super) fn new(clock: Arc<SimulatedClock>, dice: Dice, trace: Trace) -> Self {
        Self {
            compare_and_set: CompareAndSet::PerKey,
            older_versions_max: 2,
            starts_fail_percent: 0,
            clock,
            zombie: None,
            records: Records::new(trace.clone()),
            weather: Weather::Fine,
            may_delay_fetches: false,
            answers_inline: false,
            living: 0,
            late_saves: Vec::new(),
            late_fetches: Vec::new(),
            late_landings: Vec::new(),
            met: Tally::new(),
            dice,
            trace,
        }
    }

    /// Whatever an unknown save has still to do happens now, or never.
    pub(super) fn settle_landings(&mut self) {
        for (id, stored) in std::mem::take(&mut self.late_landings) {
            if self.dice.chance(50) {
                self.trace.add(format_args!("storage: {} of {id} lands late", stored.version));
                self.records.land(&id, stored);
            }
        }
    }

    pub(super) fn metadata_fails(&mut self, name: &str) -> Result<(), StorageError> {
        if !self.dice.chance(self.starts_fail_percent) {
            return Ok(());
        }
        self.met.count(Met::MetadataFails);
        let attempted = format!("get at metadata {name}, as planned");
        Err(StorageError::new(StorageErrorKind::Unavailable, attempted))
    }

    /// Lets the living process go on, which does not know that its partitions are another's.
    pub(super) fn take_over(&mut self) {
        self.zombie = Some(self.living);
        self.records.crash();
        self.records.offered_by_process.clear();
    }

    /// Whether this process has been taken over from.
    pub(super) fn is_zombie(&self, process: u64) -> bool {
        self.zombie == Some(process)
    }

    pub(super) fn living_process(&self) -> u64 {
        self.living
    }

    pub(super) fn end_zombie(&mut self) {
        self.zombie = None;
    }

    fn kill(&mut self) -> (Vec<LateSave>, Vec<FetchEntry>) {
        self.living += 1;
        let saves = std::mem::take(&mut self.late_saves);
        for save in &saves {
            if let Some(stored) = save.stored.clone()
                && self.dice.chance(50)
            {
                self.trace.add(format_args!("storage: {} of {} lands", stored.version, save.id));
                self.records.store(&save.id, stored);
            }
        }
        self.settle_landings();
        self.records.crash();
        (saves, std::mem::take(&mut self.late_fetches))
    }
}

/// Ends the process: what it has on its way lands or not; none of its calls gets through any more.
pub(super) fn kill(world: &Arc<Mutex<World>>) {
    let late = lock(world).kill();
    // Dropped without the lock: their outcomes are told to the dying keeper.
    drop(late);
}

/// Lets one thing happen that was put off; returns whether there was one.
pub(super) fn deliver_one(world: &Arc<Mutex<World>>) -> bool {
    enum Late {
        Save(Box<(LateSave, SaveOutcome)>),
        Fetch(FetchEntry),
    }
    let late = {
        let mut guard = lock(world);
        let world = &mut *guard;
        let (saves, fetches) = (world.late_saves.len(), world.late_fetches.len());
        if !world.late_landings.is_empty() && world.dice.chance(20) {
            let at = world.dice.index(world.late_landings.len());
            let (id, stored) = world.late_landings.swap_remove(at);
            world.trace.add(format_args!("storage: {} of {id} lands late", stored.version));
            world.met.count(Met::LandsLate);
            world.records.land(&id, stored);
        }
        if saves + fetches == 0 {
            return false;
        }
        let at = world.dice.index(saves + fetches);
        if at < saves {
            let mut late = world.late_saves.swap_remove(at);
            let fails = late.stored.is_some() && world.dice.chance(15);
            let (version, id) = (late.entry.version(), late.id.clone());
            let outcome = if fails {
                SaveOutcome::NotStored(error(StorageErrorKind::Unavailable, &id))
            } else {
                if let Some(stored) = late.stored.take() {
                    world.records.store(&id, stored);
                }
                SaveOutcome::Stored
            };
            world
                .trace
                .add(format_args!("storage: late outcome of {version} of {id}: {outcome:?}"));
            world.records.save_ends(&id);
            Late::Save(Box::new((late, outcome)))
        } else {
            let entry = world.late_fetches.swap_remove(at - saves);
            world.trace.add(format_args!("storage: late answer for {}", entry.id()));
            Late::Fetch(entry)
        }
    };
    match late {
        Late::Save(late) => {
            let (late, outcome) = *late;
            late.entry.complete(outcome);
        }
        Late::Fetch(entry) => {
            let found = lock(world).records.get(entry.id(), entry.version());
            entry.complete(Ok(found));
        }
    }
    true
}
