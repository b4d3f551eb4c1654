//! The interface between prototypes and what checkpoints them.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Weak};
use std::time::Duration;

use thiserror::Error;

use crate::capture::{CaptureBatch, CaptureProgress, Settlement};
use crate::checkpoint_id::{CheckpointId, InvalidCheckpointId};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{CheckpointingConfig, OnRestoreError};
use crate::inputs::Sources;
use crate::partition::{Partitioner, Partitioning, Sequences};
use crate::process_error::ProcessError;
use crate::prototype_index::PrototypeIndex;
use crate::random::{RandomSource, SystemRandom};
use crate::record::Compression;
#[cfg(feature = "encryption")]
use crate::record::EncryptionKeys;
use crate::restore_error::RestoreFailure;
use crate::state::SchemaDescription;
use crate::storage::{FetchVersion, StateStorage, StorageError};
use crate::sync::{AtomicU32, AtomicUsize, Ordering};
use crate::wait::Signal;

/// Checkpoints the PEs of prototypes and fetches what was stored.
///
/// Implemented by [`SafeKeeper`](crate::SafeKeeper), by
/// [`NoOpCheckpointingFramework`](crate::NoOpCheckpointingFramework), and by
/// whoever wants to do it in another way: every prototype is built over an
/// `Arc<dyn CheckpointingFramework>`.
///
/// # Contract
/// The methods are called from the threads that bring events, at the same time, never with a lock
/// of the library held. None but [`relieve`](Self::relieve) and
/// [`fetch_serialized_states`](Self::fetch_serialized_states) may wait. They never panic.
#[doc(alias = "org.apache.s4.core.ft.CheckpointingFramework")]
pub trait CheckpointingFramework: Send + Sync {
    /// Takes in a prototype, and gives it a number; [`attach`](Self::attach) follows.
    ///
    /// # Errors
    /// The name is taken, or the prototype does not fit what is stored under that name.
    fn register(&self, prototype: &NewPrototype<'_>) -> Result<Registration, RegisterError>;

    /// Gives the framework the prototype that has this number, before its first event.
    ///
    /// The framework owns it from now on: handles that are dropped lose nothing.
    fn attach(&self, index: PrototypeIndex, source: Arc<dyn CheckpointSource>);

    /// Returns whether a PE is to be checkpointed after the event that it has just handled.
    #[doc(alias = "isCheckpointable")]
    fn is_checkpointable(&self, config: &CheckpointingConfig, pe: &PeStatus) -> bool;

    /// Says that PEs of this shard are due: have [`CheckpointSource::capture`] called for it, soon,
    /// from another thread.
    #[doc(alias = "saveState")]
    fn save_state(&self, prototype: PrototypeIndex, shard: usize);

    /// Says that this shard has results to take in: have [`CheckpointSource::attend`] called for
    /// it, soon, from another thread, however full the storage is.
    fn look_after(&self, prototype: PrototypeIndex, shard: usize);

    /// Fetches a stored state and gives it to the request, now or later, from any thread.
    #[doc(alias = "fetchSerializedState")]
    fn fetch_serialized_state(&self, fetch: StateFetch);

    /// Fetches many stored states for a thread that may wait: gives those that can be read together
    /// to their requests, on this thread, and returns the others, which are fetched
    /// [one by one](Self::fetch_serialized_state) then. What is returned must not have been waited
    /// for.
    #[must_use]
    fn fetch_serialized_states(&self, fetches: Vec<StateFetch>) -> Vec<StateFetch>;

    /// Asks that [`CheckpointSource::tick`] be called at about this time, or soon after.
    fn call_at(&self, prototype: PrototypeIndex, at: Timestamp);

    /// Gives a caller who has just made a PE due the chance to help or to wait, as the overflow
    /// policy says. `Err` means that a manual request is to be refused; a trigger is never lost by
    /// it.
    ///
    /// # Errors
    /// More requests are waiting than may, and the policy is to reject.
    fn relieve(&self, caller: Caller) -> Result<(), Overloaded>;
}

/// What a framework is told of a prototype that is to be registered.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct NewPrototype<'a> {
    /// The name, which was checked.
    pub name: &'a str,
    /// The name of the key's type, which is recorded with the store.
    pub key_type: &'a str,
    /// The schema of the states.
    pub schema: &'a SchemaDescription,
    /// The configuration.
    pub config: &'a CheckpointingConfig,
}

impl NewPrototype<'_> {
    /// Refuses a policy that needs more than the storage offers.
    pub(crate) fn check_policy(
        &self,
        storage: Option<&dyn StateStorage>,
    ) -> Result<(), RegisterError> {
        let versions = storage.map_or(0, |storage| storage.capabilities().older_versions_max);
        if self.config.on_restore_error() == OnRestoreError::Previous && versions == 0 {
            let reason = "`OnRestoreError::Previous` needs a storage that keeps older versions";
            return Err(RegisterError::Unsupported { name: self.name.to_owned(), reason });
        }
        Ok(())
    }
}

/// More requests are waiting than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("more requests are waiting than may")]
pub struct Overloaded;

/// Says whether a call may make its thread wait or work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// It may: an ordinary blocking call.
    MayWait,
    /// It may not: an async call, the drop of a guard, or a thread of the keeper.
    MustNotWait,
}

/// What [`CheckpointingFramework::is_checkpointable`] is told of a PE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeStatus {
    /// Events since the last capture.
    pub events_since_capture: u64,
    /// Events in the PE's life.
    #[doc(alias = "eventCount")]
    pub event_count: u64,
}

impl PeStatus {
    pub(crate) fn new(events_since_capture: u64, event_count: u64) -> Self {
        Self { events_since_capture, event_count }
    }
}

/// What a framework gives a prototype when it takes it in.
#[derive(Clone)]
#[non_exhaustive]
pub struct Registration {
    /// The prototype's number, for all later calls.
    pub index: PrototypeIndex,
    /// Where versions come from.
    pub sequences: Arc<Sequences>,
    /// Which partition a key belongs to.
    pub(crate) partitioning: Partitioning,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn RandomSource>,
    /// Whether anything is ever stored: if not, nothing is tracked.
    pub stores: bool,
    /// Counts the PEs that are due and wait to be captured, over all prototypes.
    pub due: Arc<AtomicUsize>,
    /// The storage, for listings and versions; states are saved and fetched by the framework alone.
    ///
    /// Weak, so that a prototype's handle does not keep a closed store locked.
    pub storage: Option<Weak<dyn StateStorage>>,
    /// Whether the log may name keys, which may be private, and not only their hashes.
    pub log_keys: bool,
    /// How states are compressed, where a prototype's configuration says nothing else.
    pub compression: Compression,
    /// The sources of the PEs' events.
    pub(crate) sources: Arc<Sources>,
    /// How many threads may restore many PEs at the same time.
    pub(crate) restore_threads: NonZeroUsize,
    /// The keys that states are encrypted with.
    #[cfg(feature = "encryption")]
    pub(crate) keys: Option<EncryptionKeys>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Registration {
    /// Returns a registration over one partition whose epoch is 1, with the system's clock.
    #[must_use]
    pub fn new(index: PrototypeIndex) -> Self {
        Self {
            index,
            sequences: Arc::new(Sequences::new(NonZeroU32::MIN)),
            partitioning: Partitioning::XxHash,
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom::new()),
            stores: true,
            due: Arc::default(),
            storage: None,
            log_keys: false,
            compression: Compression::None,
            sources: Arc::default(),
            restore_threads: NonZeroUsize::MIN,
            #[cfg(feature = "encryption")]
            keys: None,
        }
    }

    /// Sets where versions come from, which is also how many partitions there are.
    #[must_use]
    pub fn with_sequences(self, sequences: Arc<Sequences>) -> Self {
        Self { sequences, ..self }
    }

    /// Sets which partition a key belongs to.
    #[must_use]
    pub fn with_partitioner(self, partitioner: Arc<dyn Partitioner>) -> Self {
        Self { partitioning: Partitioning::Custom(partitioner), ..self }
    }

    pub(crate) fn with_partitioning(self, partitioning: Partitioning) -> Self {
        Self { partitioning, ..self }
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets the source of randomness.
    #[must_use]
    pub fn with_random(self, random: Arc<dyn RandomSource>) -> Self {
        Self { random, ..self }
    }

    /// Sets the counter of due PEs.
    #[must_use]
    pub fn with_due_counter(self, due: Arc<AtomicUsize>) -> Self {
        Self { due, ..self }
    }

    /// Sets the storage.
    #[must_use]
    pub fn with_storage(self, storage: Weak<dyn StateStorage>) -> Self {
        Self { storage: Some(storage), ..self }
    }

    /// Sets whether the log may name keys.
    #[must_use]
    pub fn with_log_keys(self, log_keys: bool) -> Self {
        Self { log_keys, ..self }
    }

    /// Sets how states are compressed, where a prototype's configuration says nothing else.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    pub(crate) fn with_sources(self, sources: Arc<Sources>) -> Self {
        Self { sources, ..self }
    }

    /// Sets how many threads may restore many PEs at the same time. Default: 1, the caller's.
    #[must_use]
    pub fn with_restore_threads(self, restore_threads: NonZeroUsize) -> Self {
        Self { restore_threads, ..self }
    }

    /// Sets the keys that states are encrypted with.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn with_encryption(self, keys: EncryptionKeys) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// Says that nothing is ever stored.
    #[must_use]
    pub fn storing_nothing(self) -> Self {
        Self { stores: false, ..self }
    }
}

/// Why a prototype was not taken in.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another prototype of this framework has the name.
    #[error("cannot build prototype `{name}`: another prototype of this keeper has that name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name cannot be one.
    #[error("cannot build prototype `{name}`: this cannot be a name")]
    InvalidName {
        /// The name.
        name: String,
        /// Why.
        #[source]
        error: InvalidCheckpointId,
    },
    /// The store has keys of another type under this name.
    #[error(
        "cannot build prototype `{name}`: the store has its keys as {stored}, not as {wanted}; \
         use that key type, another name, or another store"
    )]
    KeyType {
        /// The name.
        name: String,
        /// The key type in the store.
        stored: String,
        /// The prototype's key type.
        wanted: String,
    },
    /// The configuration asks for what the storage cannot do.
    #[error("cannot build prototype `{name}`: {reason}")]
    Unsupported {
        /// The name.
        name: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The storage failed.
    #[error("cannot build prototype `{name}`: the storage failed")]
    Storage {
        /// The name.
        name: String,
        /// Why.
        #[source]
        error: StorageError,
    },
    /// The framework is closed.
    #[error("cannot build prototype `{name}`: the keeper is closed")]
    Closed {
        /// The name.
        name: String,
    },
}

/// What a framework sees of a prototype.
///
/// The methods may be called from any thread, at the same time.
pub trait CheckpointSource: Send + Sync {
    /// Returns the prototype's name.
    fn name(&self) -> &str;

    /// Returns the configuration.
    fn config(&self) -> &CheckpointingConfig;

    /// Returns how many shards there are.
    fn shards(&self) -> usize;

    /// Takes in results, then captures states of due PEs of a shard until the batch is full or none
    /// is left. Locks the shard, for a bounded time.
    fn capture(&self, shard: usize, batch: &mut CaptureBatch) -> CaptureProgress;

    /// Takes in the results that wait for a shard. Locks it, for a bounded time; returns whether it
    /// could. If not, let other work go first, and call it again.
    fn attend(&self, shard: usize) -> bool;

    /// Takes the results of captures of this shard. Never waits.
    fn settle(&self, shard: usize, settlements: Vec<Settlement>);

    /// Does what is due by time, and returns when the next thing is.
    fn tick(&self, now: Timestamp) -> Option<Timestamp>;

    /// Makes every dirty PE due, so that [`is_settled`](Self::is_settled) of the mark that is
    /// returned becomes true once all that was changed before is stored.
    ///
    /// Never waits: in a shard whose lock is held this is done when it is given back, and
    /// [`save_state`](CheckpointingFramework::save_state) is called after it.
    fn request_all(&self) -> FlushMark;

    /// Returns whether every change before the mark is stored, or cannot be before its PE changes
    /// again.
    fn is_settled(&self, mark: &FlushMark) -> bool;

    /// Marks what was changed so far, and makes nothing due.
    ///
    /// Never waits, as [`request_all`](Self::request_all).
    fn mark(&self) -> FlushMark;

    /// Makes the PEs due that have changes from before the mark, as far as the mark is made.
    fn request_marked(&self, mark: &FlushMark);

    /// Returns whether every change before the mark is stored. Unlike
    /// [`is_settled`](Self::is_settled), one that cannot be stored is waited for.
    fn is_stored(&self, mark: &FlushMark) -> bool;

    /// Returns PEs that have changes from before the mark, at most `max`. Waits `wait` altogether
    /// for shards whose locks are held.
    fn not_stored(&self, mark: &FlushMark, max: usize, wait: Duration) -> Vec<CheckpointId>;

    /// Lets no event in any more.
    fn close(&self);

    /// Answers whoever still waits: nothing is captured or fetched any more. Called once, after
    /// [`close`](Self::close) and after the last result.
    ///
    /// Does not wait for a shard whose lock is held for long: there it is done when the lock is
    /// given back.
    fn end(&self);

    /// Returns the PEs that have changes that are not stored, and why. Waits `wait` altogether for
    /// shards whose locks are held, and says which it could not look at.
    fn unsaved(&self, wait: Duration) -> UnsavedPes;

    /// Returns what the prototype counts.
    fn status(&self) -> SourceStatus;
}

/// Marks a point in the changes of a prototype.
#[derive(Clone)]
pub struct FlushMark(pub(crate) Arc<[ShardMark]>);

/// Marks a point in the changes of a shard.
pub(crate) struct ShardMark {
    /// Finished once the shard could be looked at; what follows is set before.
    pub(crate) done: Arc<Signal<Result<(), ProcessError>>>,
    /// What was changed before is of a generation before this.
    pub(crate) cut: Arc<AtomicU32>,
    /// How many PEs somebody had at this point.
    pub(crate) checked_out: Arc<AtomicUsize>,
}

impl FlushMark {
    /// Whether all shards could be looked at.
    pub(crate) fn is_set(&self) -> bool {
        self.0.iter().all(|mark| mark.done.result().is_some())
    }

    /// Whether somebody had a PE at this point, as far as all shards could be looked at.
    pub(crate) fn is_any_checked_out(&self) -> bool {
        // Relaxed: written before `done`, under its lock.
        self.0.iter().any(|shard| shard.checked_out.load(Ordering::Relaxed) > 0)
    }
}

impl fmt::Debug for FlushMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlushMark({} shards)", self.0.len())
    }
}

/// The PEs of a prototype with changes that are not stored.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct UnsavedPes {
    /// The PEs.
    pub pes: Vec<Unsaved>,
    /// Shards that could not be looked at, because somebody has held their locks: what their PEs
    /// have is not known.
    pub shards_not_known: Vec<usize>,
}

/// A PE with changes that are not stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unsaved {
    /// The PE.
    pub id: CheckpointId,
    /// Why the changes are not stored.
    pub state: UnsavedState,
    /// An attempt to store it was refused since it was last stored: its changes may be older than a
    /// flush that is through.
    pub was_refused: bool,
    /// The storage may have what it has been given of the changes, or may be given them just now.
    pub may_be_stored: bool,
}

/// Why changes are not stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UnsavedState {
    /// It was not yet tried.
    Waiting,
    /// A guard has the PE.
    CheckedOut,
    /// It is being stored.
    InFlight,
    /// It failed, and is not tried again before the PE changes.
    Failed(crate::save_error::SaveError),
    /// A closure panicked in the PE.
    Poisoned,
}

impl Unsaved {
    pub(crate) fn new(id: CheckpointId, state: UnsavedState) -> Self {
        Self { id, state, was_refused: false, may_be_stored: false }
    }
}

/// What a prototype counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SourceStatus {
    /// PEs in memory.
    pub resident: u64,
    /// PEs that are due and wait to be captured.
    pub due: u64,
    /// Saves that were requested, by triggers or by hand: how often a PE became due.
    pub requested: u64,
    /// Triggers that found their PE due already.
    pub coalesced: u64,
    /// PEs whose changes cannot be stored before they change again.
    pub stuck: u64,
    /// PEs that guards have.
    pub checked_out: u64,
    /// PEs in which a closure panicked.
    pub poisoned: u64,
    /// PEs of which as many events are not stored as may be.
    pub held_up: u64,
    /// When the oldest change that is not stored was made, to about 10 ms.
    pub oldest_change: Option<Timestamp>,
    /// Shards whose locks were held for too long to be looked at: what they have is not counted.
    pub shards_busy: u64,
}

/// Asks a framework for a stored state.
pub struct StateFetch {
    pub(crate) id: CheckpointId,
    pub(crate) version: FetchVersion,
    pub(crate) caller: Caller,
    // Taken by the verdict.
    pub(crate) verdict: Option<Box<dyn FnOnce(FetchVerdict) + Send>>,
}

/// The answer to a [`StateFetch`]: the record, that there is none, or why that is not known.
pub type FetchVerdict = Result<Option<Vec<u8>>, RestoreFailure>;

impl StateFetch {
    pub(crate) fn new(
        id: CheckpointId,
        version: FetchVersion,
        caller: Caller,
        verdict: impl FnOnce(FetchVerdict) + Send + 'static,
    ) -> Self {
        Self { id, version, caller, verdict: Some(Box::new(verdict)) }
    }

    /// Returns the id of the PE.
    #[must_use]
    pub fn id(&self) -> &CheckpointId {
        &self.id
    }

    /// Returns which version is wanted.
    #[must_use]
    pub fn version(&self) -> FetchVersion {
        self.version
    }

    /// Returns whether the calling thread may wait.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Gives the verdict; the PE's waiting events go on.
    pub fn decide(mut self, verdict: FetchVerdict) {
        if let Some(decide) = self.verdict.take() {
            decide(verdict);
        }
    }
}

impl Drop for StateFetch {
    fn drop(&mut self) {
        // A request that is dropped must not leave events waiting for ever.
        if let Some(decide) = self.verdict.take() {
            decide(Err(RestoreFailure::Closed));
        }
    }
}

impl fmt::Debug for StateFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFetch").field("id", &self.id).field("version", &self.version).finish()
    }
}
