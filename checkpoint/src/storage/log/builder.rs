//! How a log is to be opened.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::random::RandomSource;
use crate::storage::Durability;
use crate::storage::directory::Opening;
use crate::storage::log::place::RECORD_BYTES_MAX;
use crate::storage::log::retention::{Retention, Retentions};
use crate::thread_start::{SystemThreads, ThreadStart};

const SEGMENT_BYTES: u64 = 64 << 20;
const REMOVALS_KEPT: Duration = Duration::from_secs(60 * 60);
const COMPACTION_BYTES_PER_SECOND: NonZeroU64 = match NonZeroU64::new(64 << 20) {
    Some(bytes) => bytes,
    None => unreachable!(),
};

/// Says how a [`LogStorage`](crate::LogStorage) is opened.
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct LogStorageBuilder {
    pub(super) opening: Opening,
    pub(super) record_bytes_max: u64,
    pub(super) segment_bytes: u64,
    pub(super) retentions: Retentions,
    removals_kept: Duration,
    pub(super) compaction_bytes_per_second: NonZeroU64,
    pub(super) background_compaction: bool,
    pub(super) threads: Arc<dyn ThreadStart>,
}

impl LogStorageBuilder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            opening: Opening::new(root),
            record_bytes_max: 1 << 30,
            segment_bytes: SEGMENT_BYTES,
            retentions: Retentions::default(),
            removals_kept: REMOVALS_KEPT,
            compaction_bytes_per_second: COMPACTION_BYTES_PER_SECOND,
            background_compaction: true,
            threads: Arc::new(SystemThreads),
        }
    }

    /// Refuses a directory that is no store yet, instead of creating one; the default is `false`.
    ///
    /// A program that has stored something before should set it: a wrong path or a disk that is not
    /// mounted is then an error instead of an empty beginning.
    pub fn must_exist(self, must_exist: bool) -> Self {
        Self { opening: Opening { must_exist, ..self.opening }, ..self }
    }

    /// Sets what an acknowledged save survives: [`Durability::Power`], the default, or
    /// [`Durability::Process`], which never waits for the disk.
    ///
    /// The others are refused when the log is opened.
    pub fn durability(self, durability: Durability) -> Self {
        Self { opening: Opening { durability, ..self.opening }, ..self }
    }

    /// Sets the size of the largest record in bytes; the default is 1 GiB, and the most 2 GiB.
    pub fn record_bytes_max(self, record_bytes_max: u64) -> Self {
        Self { record_bytes_max: record_bytes_max.min(u64::from(RECORD_BYTES_MAX)), ..self }
    }

    /// Sets after how many bytes the next segment is begun; the default is 64 MiB, and the most 1
    /// GiB.
    ///
    /// A segment is what is freed at once, and what is read again after a crash.
    pub fn segment_bytes(self, segment_bytes: u64) -> Self {
        Self { segment_bytes: segment_bytes.min(1 << 30), ..self }
    }

    /// Keeps so many older versions of each state besides the newest; the default is 0.
    pub fn older_versions_max(self, older_versions_max: u64) -> Self {
        self.retention(Retention::newest(older_versions_max))
    }

    /// Sets which older versions of a state are kept; the default is none.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retentions.usual = retention;
        self
    }

    /// Sets which older versions are kept of the states of one prototype.
    pub fn retention_of(mut self, prototype: impl Into<String>, retention: Retention) -> Self {
        self.retentions.special.insert(prototype.into(), retention);
        self
    }

    /// Sets for how long it is remembered that a state was removed; the default is an hour.
    ///
    /// As long as it is, nothing older that is still under way can bring the state back. No save of
    /// a keeper can be under way for longer than its call, and one PE has one at a time, so that
    /// this is for others that use the storage, and a margin. The time counts from the save, and
    /// after another opening from the capture; and a removal of which older versions are kept is
    /// kept with them.
    pub fn removals_kept(self, removals_kept: Duration) -> Self {
        Self { removals_kept, ..self }
    }

    /// Sets whether a thread of the log's own compacts it while it is used; the default is `true`.
    ///
    /// Without it the log grows until [`compact`](crate::LogStorage::compact) is called.
    pub fn background_compaction(self, background_compaction: bool) -> Self {
        Self { background_compaction, ..self }
    }

    /// Sets how many bytes a second that thread reads, to write no more than these; the default is
    /// 64 MiB.
    ///
    /// If the log has become more than twice as large as what counts in it, the thread reads the
    /// faster the larger it is.
    pub fn compaction_bytes_per_second(self, compaction_bytes_per_second: NonZeroU64) -> Self {
        Self { compaction_bytes_per_second, ..self }
    }

    /// Sets who starts that thread; the default is the system.
    pub fn threads(self, threads: Arc<dyn ThreadStart>) -> Self {
        Self { threads, ..self }
    }

    /// Sets the clock; the default is the system's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { opening: Opening { clock, ..self.opening }, ..self }
    }

    /// Sets the source of the store's random identity; the default is the system's.
    pub fn random(self, random: Arc<dyn RandomSource>) -> Self {
        Self { opening: Opening { random, ..self.opening }, ..self }
    }

    pub(super) fn removals_kept_seconds(&self) -> u32 {
        u32::try_from(self.removals_kept.as_secs()).unwrap_or(u32::MAX)
    }
}
