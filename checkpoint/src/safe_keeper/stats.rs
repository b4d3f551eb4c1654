//! What a keeper counts.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::framework::SourceStatus;
use crate::safe_keeper::breaker::FetchingState;
use crate::safe_keeper::saving_health::SavingState;
use crate::sync::{AtomicU64, Ordering};

/// A snapshot of what a keeper has done and has to do. Taking it costs microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeeperStats {
    /// Saves that were requested, by triggers or by hand: how often a PE became due.
    pub requested: u64,
    /// Captures that were stored.
    pub stored: u64,
    /// Bytes of the records that were stored.
    pub stored_bytes: u64,
    /// Captures that were reported as failed.
    pub failed: u64,
    /// Attempts to save beyond the first of each capture.
    pub retried: u64,
    /// Triggers that found their PE due already: they cost nothing.
    pub coalesced: u64,
    /// Batches that were given to the storage.
    pub batches: u64,
    /// Fetches that were begun.
    pub fetches: u64,
    /// Fetches that needed no call of the storage: it knew that there is nothing.
    pub fetches_known_absent: u64,
    /// Fetches that failed, for whatever reason.
    pub fetches_failed: u64,
    /// Panics of the user's callbacks.
    pub callback_panics: u64,
    /// Calls that found too many requests waiting.
    pub overflows: u64,
    /// PEs in memory.
    pub resident: u64,
    /// PEs that are due and wait to be captured.
    pub due: u64,
    /// Captured states whose result is not known yet.
    pub in_flight: u64,
    /// Bytes of captured states that are kept.
    pub in_flight_bytes: u64,
    /// Batches that wait for their next attempt after a failure.
    pub waiting_for_retry: u64,
    /// PEs whose changes cannot be stored before they change again.
    pub stuck: u64,
    /// PEs that are lent out.
    pub checked_out: u64,
    /// PEs in which a closure panicked.
    pub poisoned: u64,
    /// PEs whose events are held up: as many of them are not stored as
    /// [`exposed_events_max`](crate::CheckpointingConfigBuilder::exposed_events_max) allows.
    pub held_up: u64,
    /// Fetches that wait for a thread.
    pub fetches_queued: u64,
    /// Threads that hang in the storage with a fetch.
    pub fetches_hanging: u64,
    /// Serializations that have taken for longer than 10 s: an `encode` is slow, or does not end.
    pub serializations_slow: u64,
    /// Whether fetches go to the storage.
    pub fetching: FetchingState,
    /// Whether what is given to the storage is stored.
    pub saving: SavingState,
    /// The age of the oldest change that is not stored, to about 10 ms.
    pub oldest_change: Option<Duration>,
    /// Shards whose locks were held for too long to be looked at: what they have is not counted.
    pub shards_busy: u64,
    /// The [sources](crate::Source) that the store knows.
    pub sources: Vec<SourceStats>,
    /// PEs that hold up what the sources resume from, at most ten: they have had changes that are
    /// not stored for longer than a
    /// [`safe_position_interval_ms`](crate::SafeKeeperSettings::safe_position_interval_ms). Only if
    /// there are any, all PEs in memory are looked at for it.
    pub held_back_by: Vec<CheckpointId>,
}

impl KeeperStats {
    /// Adds what a prototype says of itself.
    pub(super) fn add(&mut self, status: &SourceStatus, now: Timestamp) {
        self.requested += status.requested;
        self.coalesced += status.coalesced;
        self.resident += status.resident;
        self.stuck += status.stuck;
        self.checked_out += status.checked_out;
        self.poisoned += status.poisoned;
        self.held_up += status.held_up;
        self.shards_busy += status.shards_busy;
        let age = status.oldest_change.map(|oldest| now.since(oldest));
        self.oldest_change = self.oldest_change.max(age);
    }
}

/// How far a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// Its name.
    pub name: Arc<str>,
    /// The position of the last event that need not be fed again.
    pub safe_position: Option<u64>,
    /// The position up to which all events are processed, stored or not.
    pub processed_to: Option<u64>,
    /// Events that are on their way.
    pub in_flight: usize,
    /// Events that have failed, and are to be fed again or skipped.
    pub failed: usize,
}

/// How much of everything there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gauges {
    pub(super) captures: usize,
    pub(super) captured_bytes: usize,
    pub(super) delayed_batches: usize,
    pub(super) fetches_queued: usize,
    pub(super) fetches_hanging: usize,
    pub(super) serializations_slow: usize,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// Counters that any thread adds to.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }
    };
}
counters!(
    stored,
    stored_bytes,
    failed,
    retried,
    batches,
    fetches,
    fetches_known_absent,
    fetches_failed,
    callback_panics,
    overflows
);

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
