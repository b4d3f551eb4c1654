//! The stores that histories have on a disk, and how they are opened.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    Clock, DefaultFileSystemStateStorage, FileOps, LogStorage, SeededRandom, StateStorage,
    StorageError,
};

use crate::simulation::dice::Dice;

/// The store that is open.
pub(in crate::simulation) enum Store {
    Files(DefaultFileSystemStateStorage),
    Log(LogStorage),
}

impl Deref for Store {
    type Target = dyn StateStorage;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Files(files) => files,
            Self::Log(log) => log,
        }
    }
}

impl Store {
    /// How many saves wait for others; `None` if the end of the log is locked.
    pub(super) fn waiting(&self) -> Option<usize> {
        match self {
            Self::Files(_) => None,
            Self::Log(log) => log.saves_waiting(),
        }
    }
}

/// How a store is opened, all through a history.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct StoreOptions {
    /// It is a log.
    pub(in crate::simulation) log: Option<LogOptions>,
    shared_sync_entries_min: usize,
    pub(in crate::simulation) has_shared_sync: bool,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct LogOptions {
    segment_bytes: u64,
    pub(in crate::simulation) older_versions_max: usize,
    /// For how long it is remembered what was removed.
    removals_kept: Duration,
}

impl LogOptions {
    pub(in crate::simulation) fn draw(dice: &mut Dice, removals_kept: Duration) -> Self {
        Self {
            segment_bytes: dice.pick(&[500, 2_000, 10_000]),
            older_versions_max: dice.pick(&[0, 0, 2]),
            removals_kept,
        }
    }
}

impl StoreOptions {
    pub(in crate::simulation) fn draw(dice: &mut Dice, log: Option<LogOptions>) -> Self {
        Self {
            log,
            shared_sync_entries_min: dice.pick(&[1, 2, 8, usize::MAX]),
            has_shared_sync: dice.chance(60),
        }
    }

    pub(in crate::simulation) fn open(
        self,
        files: Arc<dyn FileOps>,
        must_exist: bool,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Store, StorageError> {
        let random = Arc::new(SeededRandom::new(seed));
        match self.log {
            None => DefaultFileSystemStateStorage::builder("/simulated")
                .must_exist(must_exist)
                .shared_sync_entries_min(self.shared_sync_entries_min)
                .clock(clock)
                .random(random)
                .open_over(files)
                .map(Store::Files),
            Some(options) => LogStorage::builder("/simulated")
                .must_exist(must_exist)
                .segment_bytes(options.segment_bytes)
                .older_versions_max(options.older_versions_max as u64)
                .removals_kept(options.removals_kept)
                .background_compaction(false)
                .clock(clock)
                .random(random)
                .open_over(files)
                .map(Store::Log),
        }
    }
}
