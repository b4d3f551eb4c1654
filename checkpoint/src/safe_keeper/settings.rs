//! The numbers that a keeper works with, settable in code, from a file or from the environment.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::InvalidConfig;

/// What happens when more requests are waiting for a pool than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// Whoever brings the request waits for room, at most
    /// [`SafeKeeperSettings::overflow_wait_max_ms`].
    Block,
    /// The request is refused: a manual one with an error; a trigger stays marked and is met when
    /// there is room, so nothing is lost.
    Reject,
    /// Whoever brings the request does the work himself, if his thread may wait at all.
    CallerRuns,
}

/// The settings of a [`SafeKeeper`](crate::SafeKeeper).
///
/// Implements serde's traits: all keys are in snake case, and each is optional. The names are S4's;
/// the defaults that differ from S4's say why.
///
/// S4's `storageThreadKeepAliveSeconds` and its two siblings have no counterpart: a pool keeps its
/// few threads, which cost nothing while they wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SafeKeeperSettings {
    /// Threads that save. Default: 2, S4's is 1: while one waits for the disk, the other makes the
    /// next batch ready.
    #[doc(alias = "s4.checkpointing.storageMaxThreads")]
    pub storage_max_threads: NonZeroUsize,
    /// Captured states that may wait for the storage or be with it. Default: 16,384; S4's is 1000,
    /// but here a whole batch of them costs one sync.
    #[doc(alias = "s4.checkpointing.storageMaxOutstandingRequests")]
    pub storage_max_outstanding_requests: NonZeroUsize,
    /// What happens beyond. Default: `block`: states are captured later, events are not held up.
    pub storage_overflow: Overflow,
    /// Bytes of captured states that may wait for the storage or be with it. Default: 64 MiB. A
    /// single larger state is let through alone.
    pub captured_bytes_max: NonZeroUsize,

    /// Threads that encode. Default: 1, as in S4.
    #[doc(alias = "s4.checkpointing.serializationMaxThreads")]
    pub serialization_max_threads: NonZeroUsize,
    /// PEs that may be due and wait to be encoded before the overflow policy is applied. Default:
    /// 1000, as in S4.
    #[doc(alias = "s4.checkpointing.serializationMaxOutstandingRequests")]
    pub serialization_max_outstanding_requests: NonZeroUsize,
    /// What happens beyond. Default: `reject`, which defers: due PEs stay marked, each once, and
    /// are captured when there is room; a manual request gets an error.
    pub serialization_overflow: Overflow,
    /// How long a serialization thread waits for a shard's lock before it goes on to another one.
    /// Default: 1000 ms. (S4 has the parameter, and never reads it.)
    #[doc(alias = "s4.checkpointing.maxSerializationLockTime")]
    pub max_serialization_lock_time_ms: u64,
    /// How long a shard's lock is held at a time to encode states. Default: 100 µs; a single state
    /// may take longer, but not one of more than 64 KiB, which is encoded without the lock.
    pub serialization_lock_hold_us: u64,

    /// Threads that fetch. Default: 1, as in S4.
    #[doc(alias = "s4.checkpointing.fetchingMaxThreads")]
    pub fetching_max_threads: NonZeroUsize,
    /// Threads that may be started in place of those that hang in the storage. Default: 4.
    pub fetching_replacement_threads_max: usize,
    /// How long a fetch may take before its events get an error. Default: 1000 ms, as in S4.
    #[doc(alias = "s4.checkpointing.fetchingMaxWaitMs")]
    pub fetching_max_wait_ms: u64,
    /// Fetches that may wait for a thread. Default: 100, as in S4.
    #[doc(alias = "s4.checkpointing.fetchingQueueSize")]
    pub fetching_queue_size: NonZeroUsize,
    /// What happens beyond. Default: `block`, at most as long as a fetch may take. Async calls wait
    /// in the queue whatever its size: each is a future that the application holds. What is
    /// rejected is no failure of the storage, and does not switch fetching off.
    pub fetching_overflow: Overflow,
    /// Failures in a row after which fetching is switched off for a while. Default: 10, as in S4.
    #[doc(alias = "s4.checkpointing.fetchingMaxConsecutiveFailuresBeforeDisabling")]
    pub fetching_max_consecutive_failures_before_disabling: NonZeroU32,
    /// For how long. Default: 10,000 ms; S4's ten minutes make an outage of a second one of ten
    /// minutes.
    #[doc(alias = "s4.checkpointing.fetchingDisabledDurationMs")]
    pub fetching_disabled_duration_ms: u64,

    /// How often a capture is tried before it is reported as failed and a new one is made. Default:
    /// 8.
    pub save_attempts_max: NonZeroU32,
    /// The wait after the first failed attempt; each further one doubles it. Default: 10 ms.
    pub save_backoff_min_ms: u64,
    /// The longest wait between two attempts. Default: 2000 ms.
    pub save_backoff_max_ms: u64,
    /// How often it is looked how far [sources](crate::Source) need not feed again; what holds that
    /// back for so long is captured, in whatever mode. Default: 1000 ms; at least 1 ms.
    pub safe_position_interval_ms: u64,
    /// How long `block` makes a thread wait. Default: 1000 ms.
    pub overflow_wait_max_ms: u64,

    /// Where [`FileSystemBackendCheckpointingModule`](crate::FileSystemBackendCheckpointingModule)
    /// has its store; nothing else looks at it. Default: `checkpoints`, in the current directory.
    #[doc(alias = "s4.checkpointing.filesystem.storageRootPath")]
    pub filesystem_storage_root_path: PathBuf,
    /// Into how many partitions keys are divided. Recorded with the store: it can never be changed
    /// for one. Default: 16.
    pub partitions: NonZeroU32,
    /// How long a keeper that is dropped without being closed may take to store what is dirty.
    /// Default: 10,000 ms.
    pub close_on_drop_ms: u64,
    /// Whether events of the log name PEs by their ids, besides the hashes of their keys. Keys may
    /// be private, and logs go far. Default: `false`.
    pub log_keys: bool,
}

const fn nonzero(n: usize) -> NonZeroUsize {
    match NonZeroUsize::new(n) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

const fn nonzero32(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

impl Default for SafeKeeperSettings {
    fn default() -> Self {
        Self {
            storage_max_threads: nonzero(2),
            storage_max_outstanding_requests: nonzero(16384),
            storage_overflow: Overflow::Block,
            captured_bytes_max: nonzero(64 << 20),
            serialization_max_threads: NonZeroUsize::MIN,
            serialization_max_outstanding_requests: nonzero(1000),
            serialization_overflow: Overflow::Reject,
            max_serialization_lock_time_ms: 1000,
            serialization_lock_hold_us: 100,
            fetching_max_threads: NonZeroUsize::MIN,
            fetching_replacement_threads_max: 4,
            fetching_max_wait_ms: 1000,
            fetching_queue_size: nonzero(100),
            fetching_overflow: Overflow::Block,
            fetching_max_consecutive_failures_before_disabling: nonzero32(10),
            fetching_disabled_duration_ms: 10_000,
            save_attempts_max: nonzero32(8),
            save_backoff_min_ms: 10,
            save_backoff_max_ms: 2000,
            safe_position_interval_ms: 1000,
            overflow_wait_max_ms: 1000,
            filesystem_storage_root_path: "checkpoints".into(),
            partitions: nonzero32(16),
            close_on_drop_ms: 10_000,
            log_keys: false,
        }
    }
}

/// The most threads that a pool may have.
const THREADS_MAX: u64 = 256;
/// The most partitions.
const PARTITIONS_MAX: u64 = 4096;

impl SafeKeeperSettings {
    /// Checks what a single value cannot say.
    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        let range = |name, value: u64, min, max| match value {
            value if value < min || value > max => {
                Err(InvalidConfig::OutOfRange { name, value, min, max })
            }
            _ => Ok(()),
        };
        let threads = |name, value: NonZeroUsize| range(name, value.get() as u64, 1, THREADS_MAX);
        threads("storage_max_threads", self.storage_max_threads)?;
        threads("serialization_max_threads", self.serialization_max_threads)?;
        threads("fetching_max_threads", self.fetching_max_threads)?;
        let replacements = self.fetching_replacement_threads_max as u64;
        range("fetching_replacement_threads_max", replacements, 0, THREADS_MAX)?;
        range("fetching_max_wait_ms", self.fetching_max_wait_ms, 1, u64::MAX)?;
        range("save_backoff_min_ms", self.save_backoff_min_ms, 1, self.save_backoff_max_ms)?;
        range("safe_position_interval_ms", self.safe_position_interval_ms, 1, u64::MAX)?;
        range("partitions", u64::from(self.partitions.get()), 1, PARTITIONS_MAX)
    }

    pub(super) fn fetching_max_wait(&self) -> Duration {
        Duration::from_millis(self.fetching_max_wait_ms)
    }

    pub(super) fn safe_position_interval(&self) -> Duration {
        Duration::from_millis(self.safe_position_interval_ms)
    }

    /// A fetch that takes so long is taken as hanging, and no reason for others to wait.
    pub(super) fn fetching_hung_after(&self) -> Duration {
        self.fetching_max_wait() / 4
    }
}
