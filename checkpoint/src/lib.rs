//! Checkpoints keyed in-memory state asynchronously and restores it lazily after a restart.
//!
//! A program keeps one object per key in memory: a *processing element*, or PE. What changes is
//! encoded and stored in the background; after a crash, an upgrade or a restart a PE is restored by
//! the first event of its key. It re-creates the fault-tolerance package of Apache S4
//! (`org.apache.s4.core.ft`).
//!
//! ```
//! use std::time::Duration;
//!
//! use checkpoint::{
//!     Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, SafeKeeper,
//! };
//!
//! #[derive(Checkpointable, Default)]
//! struct WordCount {
//!     count: u64,
//!     #[transient] // Not stored; keeps whatever the factory gave it.
//!     listeners: Vec<std::sync::mpsc::Sender<u64>>,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let storage = InMemoryStorage::new();
//! let build = || {
//!     let keeper = SafeKeeper::builder(storage.clone()).build()?;
//!     let mode = CheckpointingMode::EventCount(100.try_into()?);
//!     let words = keeper
//!         .prototype::<String, WordCount>("word-count")
//!         .config(CheckpointingConfig::builder(mode).build()?)
//!         .create(|_word| WordCount::default())
//!         .build()?;
//!     Ok::<_, Box<dyn std::error::Error>>((keeper, words))
//! };
//!
//! let (keeper, words) = build()?;
//! words.process("alice", |pe| pe.count += 1)?;
//! keeper.close(Duration::from_secs(10))?; // Everything is stored, or the error names what is not.
//!
//! let (_keeper, words) = build()?; // As after a restart.
//! let count = words.process("alice", |pe| {
//!     pe.count += 1;
//!     pe.count
//! })?;
//! assert_eq!(count, 2);
//! # Ok(())
//! # }
//! ```
//!
//! # A tour
//!
//! In the order in which one meets them:
//!
//! - [`derive@Checkpointable`] makes a type one that can be stored; the
//!   [trait](trait@Checkpointable) says what that means, [`encode_state`] and [`restore_state`] do
//!   it by hand.
//! - [`SafeKeeper`] coordinates everything; [`SafeKeeperBuilder`] and [`SafeKeeperSettings`] say
//!   how, [`FileSystemBackendCheckpointingModule`] does it in one step, from a file of settings if
//!   you like.
//! - [`PePrototype`] has the PEs of one kind, by [`Key`]. Events come in by
//!   [`process`](PePrototype::process), [`try_process`](PePrototype::try_process) and
//!   [`read`](PePrototype::read), by a [`Session`] for runs of events, by a [`PeGuard`] for long
//!   work, and by the async twins of each.
//! - [`CheckpointingConfig`] says per prototype when PEs are checkpointed ([`CheckpointingMode`]),
//!   and what happens when one cannot be restored, panics, expires, or there are too many.
//! - [`Source`] is an input whose events have positions: none is lost or counted twice by a crash.
//!   A [`Pending`] is a result that is released when the state it came from is durable. The guide
//!   [Surviving a crash, step by step](guide::surviving_a_crash) shows both at work.
//! - [`CheckpointTicket`], [`StorageCallback`], [`CloseReport`] and [`KeeperStats`] tell what
//!   became of checkpoints; [`ProcessError`], [`RestoreError`] and [`SaveError`] what went wrong.
//! - [`LogStorage`] is the storage to begin with; [`storage`] holds the interface [`StateStorage`],
//!   the other storages that come with the library, and the checks for those of others. What they
//!   keep is a record: [`RecordView`] reads one. Its payload may be compressed ([`Compression`])
//!   and encrypted, over every storage.
//! - [`CheckpointingFramework`] is what prototypes are built over: [`SafeKeeper::framework`],
//!   [`NoOpCheckpointingFramework`], or one of your own. [`task`] holds the steps of the work.
//!
//! # Guarantees
//!
//! - *Never silently empty.* A PE starts with the factory's value only if the storage said that
//!   there is no checkpoint. If it failed or took too long, the event gets an error and can be
//!   tried again, unless the prototype has another [`OnRestoreError`]; what would then be
//!   overwritten is put aside first.
//! - *Newest wins.* Each capture has a [`StateVersion`], the writer's epoch and a sequence number.
//!   An older one never replaces a newer one.
//! - *Dirty until durable.* A PE counts as stored only when the storage has acknowledged the very
//!   version that was captured. Failed saves are tried again with growing waits, without another
//!   event.
//! - *One result* for each capture reaches the [`StorageCallback`], whatever panics or ends
//!   meanwhile.
//! - *Complete or not at all.* A crash at any instant leaves a PE at its last acknowledged version
//!   or a newer one, whole; a restore that fails leaves the instance as it was.
//! - *A changed byte is noticed* before the program sees it.
//! - *Exactly once, on state.* An event that comes from a [`Source`] is in the state of its PE
//!   exactly once, however often the process ends and its input is read again.
//! - *Closing* stores everything that has changed, or says by id what it could not.
//!
//! - *A missing key is no missing state.* A PE whose record is encrypted with a key that the keeper
//!   does not have gets an error that names the key, under every [`OnRestoreError`].
//!
//! What survives a loss of power is up to the storage, which declares it: [`Durability`].
//!
//! # What is not guaranteed
//!
//! - What changed after the last checkpoint of a PE is lost by a crash.
//! - PEs are checkpointed each on its own: there is no consistent cut over several.
//! - Events are not delivered, and are not read again by themselves: a [`Source`] says from where
//!   on to read them, and sees to it that none is in a state twice. It does not cover events that
//!   are derived from one PE's state and sent to another, nor what a closure does to the world
//!   outside.
//! - A store belongs to one process at a time. One over files sees to that by a lock of the file
//!   system, which is no protection where that does not lock, or not for all machines: on network
//!   file systems, FUSE, overlays of containers and the like, one writer and durability are not
//!   promised. Opening warns of it: see `FileSystemDoubt`.
//! - State whose stored fields have changed since is refused with an error that names the
//!   differences; it is not migrated.
//! - A PE that is lent out ([`PeGuard`]) cannot be checkpointed meanwhile.
//!
//! # What is assumed
//!
//! Of a disk and its file system: what a sync has reported as done is durable; a sector of 512
//! bytes is written whole or not at all, in any order; bytes outside of a write do not change; a
//! rename is atomic. Of everybody else: an older copy of a state that somebody puts in the place of
//! a newer one is a valid state, and nothing tells it from one. Nothing helps against a disk that
//! lies about its syncs, nor against a hostile process of the same user. No clock has to be right:
//! what is newer is decided by epochs and sequence numbers, how long something may take by a clock
//! that only goes forward, and only what expires goes by the time of day.
//!
//! # When a queue is full
//!
//! | bound | what happens there |
//! |---|---|
//! | PEs that are due ([`serialization_max_outstanding_requests`](SafeKeeperSettings::serialization_max_outstanding_requests)) | They stay marked where they are, each once, and cost no queue. By default events go on, and a manual request gets an error; [`Overflow`] says otherwise. |
//! | captured states ([`storage_max_outstanding_requests`](SafeKeeperSettings::storage_max_outstanding_requests), [`captured_bytes_max`](SafeKeeperSettings::captured_bytes_max)) | No more are captured: later, and then newer, states are. |
//! | fetches ([`fetching_queue_size`](SafeKeeperSettings::fetching_queue_size)) | The event waits for a place as long as it would wait for a fetch, or gets an error at once. |
//! | failed fetches in a row ([`fetching_max_consecutive_failures_before_disabling`](SafeKeeperSettings::fetching_max_consecutive_failures_before_disabling)) | Events that need a restore get an error at once for a while; then one fetch tries whether the storage is well again. |
//! | saves in a row of which nothing was stored (three) | [`KeeperStats::saving`] says [`Failing`](SavingState::Failing), and [`on_saving_state`](SafeKeeperBuilder::on_saving_state) and the log tell it. Events go on, nothing is acknowledged, and saves are tried again until one is stored. |
//! | PEs in memory ([`capacity`](CheckpointingConfigBuilder::capacity)) | The one that was idle for longest is stored and leaves; if none can, [`OnFull`] says what the event gets. |
//! | age of a change that is not stored ([`exposure_max`](CheckpointingConfigBuilder::exposure_max)) | Events that would change more wait or get an error, as [`OnExposed`] says. By default there is no bound, and the age is in the statistics. |
//! | events of a PE that are not stored ([`exposed_events_max`](CheckpointingConfigBuilder::exposed_events_max)) | Further events of this PE, and of no other, wait or get an error, as [`OnExposed`] says, until some are stored. By default there is no bound. |
//! | waiting for one PE ([`wait_max`](CheckpointingConfigBuilder::wait_max)) | The event gets [`ProcessError::Busy`]. |
//!
//! Calls from the keeper's own threads, from inside an event and from async code never wait for
//! room.
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `derive` | yes | `#[derive(Checkpointable)]` |
//! | `uuid` | | `Uuid` in states and as a key |
//! | `chrono`, `bytes`, `smol_str`, `indexmap` | | their types in states |
//! | `lz4`, `zstd` | | states [compressed](SafeKeeperBuilder::compression) in what is stored; `zstd` builds C code |
//! | `encryption` | | states [encrypted](SafeKeeperBuilder#method.encryption) in what is stored, and keys that can be changed |
//! | `test-util` | | `storage::conformance`, a clock that is set by hand, a keeper that is stepped by hand |
//!
//! # Platforms
//!
//! Linux is what is tested. Other unixes have all of it too, but sync each file by itself. Where
//! there is no unix, the file system storage with its module and `OsString` in states are missing,
//! because they rest on what only unix has: operations below an open directory, modes, locks that
//! end with the process, the bytes of an `OsString`. Nothing else needs unix.
//!
//! # For those who know Apache S4
//!
//! The types have S4's names; the search of this documentation knows S4's full names and those of
//! its methods and parameters.
//!
//! | S4 | here |
//! |---|---|
//! | `ProcessingElement` | a type with `#[derive(Checkpointable)]`, and [`PePrototype`] |
//! | `transient` | `#[transient]` |
//! | `checkpoint()`, `onTime()`, `onRemove()` | [`PePrototype::checkpoint`], [`on_time`](PrototypeBuilderWithFactory::on_time), [`on_remove`](PrototypeBuilderWithFactory::on_remove) |
//! | `CheckpointingFramework`: `saveState`, `fetchSerializedState`, `isCheckpointable` | [`CheckpointingFramework`]: [`save_state`](CheckpointingFramework::save_state), [`fetch_serialized_state`](CheckpointingFramework::fetch_serialized_state), [`is_checkpointable`](CheckpointingFramework::is_checkpointable) |
//! | `StateStorage`: `saveState`, `fetchState`, `fetchStoredKeys` | [`StateStorage`]: [`save`](StateStorage::save), [`fetch`](StateStorage::fetch), [`ids`](StateStorage::ids) |
//! | `CheckpointingConfig.CheckpointingMode` | [`CheckpointingMode`], with `EventCountOrTime` added |
//! | `StorageCallback`, `StorageCallbackFactory`, `LoggingStorageCallbackFactory`, `StorageResultCode` | the same |
//! | `SerializeTask`, `SaveStateTask`, `FetchTask`, `CheckpointingTask` | the same, in [`task`] |
//! | `DefaultFileSystemStateStorage`, `FileSystemBackendCheckpointingModule` | the same |
//! | `s4.checkpointing.fetchingMaxWaitMs` and its siblings | the fields of [`SafeKeeperSettings`], in snake case |

mod callback;
mod capture;
mod checkpoint_id;
mod checkpoint_ticket;
mod clock;
mod close_report;
mod config;
#[cfg(unix)]
mod file_ops;
mod framework;
#[cfg(any(doc, doctest))]
pub mod guide;
mod inputs;
#[cfg(all(test, any(loom, shuttle)))]
mod interleavings;
mod no_op_checkpointing_framework;
mod partition;
mod pending;
mod process_error;
mod prototype;
mod prototype_index;
mod quarantine;
mod random;
mod record;
mod reentrancy;
mod restore_error;
mod safe_keeper;
mod save_error;
mod source;
mod state;
pub mod storage;
mod store_metadata;
mod sync;
pub mod task;
mod thread_start;
mod wait;

pub use callback::{
    LoggingStorageCallbackFactory, StorageCallback, StorageCallbackFactory, StorageResult,
    StorageResultCode,
};
pub use capture::{
    Capture, CaptureBatch, CaptureLimits, CaptureProgress, PeHandle, Settlement, SettlementOutcome,
};
#[cfg(feature = "derive")]
#[doc = include_str!("state/derive.md")]
pub use checkpoint_derive::Checkpointable;
pub use checkpoint_id::{
    CheckpointId, CheckpointIdRef, InvalidCheckpointId, KEY_BYTES_MAX, PROTOTYPE_NAME_BYTES_MAX,
};
pub use checkpoint_ticket::{CheckpointOutcome, CheckpointTicket};
#[cfg(feature = "test-util")]
pub use clock::TestClock;
pub use clock::{Alarm, Clock, SystemClock, Timestamp};
pub use close_report::{CloseReport, NotAllStored, ShardNotKnown};
pub use config::{
    CheckpointingConfig, CheckpointingConfigBuilder, CheckpointingMode, InvalidConfig, OnExposed,
    OnFull, OnPanic, OnRestoreError,
};
#[cfg(unix)]
pub use file_ops::{FileHandle, FileOps, FileSystemDoubt, SharedSync, SystemFiles};
pub use framework::{
    Caller, CheckpointSource, CheckpointingFramework, FetchVerdict, FlushMark, NewPrototype,
    Overloaded, PeStatus, RegisterError, Registration, SourceStatus, StateFetch, Unsaved,
    UnsavedPes, UnsavedState,
};
pub use no_op_checkpointing_framework::NoOpCheckpointingFramework;
pub use partition::{Partitioner, SequenceExhausted, Sequences, XxHashPartitioner};
pub use pending::Pending;
pub use process_error::ProcessError;
pub use prototype::{
    AsKey, BulkRestore, Eviction, Key, KeyBytes, NotAKey, PartitionKey, PeGuard, PeGuardFuture,
    PePrototype, PendingFuture, ProcessFuture, PrototypeBuilder, PrototypeBuilderWithFactory,
    Recover, Recovered, RewriteError, RewriteFailure, RewriteReport, RollBack, RunError, Session,
};
pub use prototype_index::PrototypeIndex;
pub use quarantine::Quarantined;
pub use random::{RandomSource, SeededRandom, SystemRandom};
pub use record::{
    Compression, Epoch, InputPosition, InputPositions, RecordError, RecordErrorKind, RecordHeader,
    RecordKind, RecordMeta, RecordView, RecordWriter, Sequence, SourceId, StateVersion,
    UnsealError,
};
#[cfg(feature = "zstd")]
pub use record::{DICTIONARY_BYTES_MAX, InvalidDictionary, ZstdDictionary};
#[cfg(feature = "encryption")]
pub use record::{EncryptionKey, EncryptionKeys};
pub use restore_error::{RestoreError, RestoreFailure};
pub use safe_keeper::{
    BuildError, FetchingState, KeeperStats, Overflow, Pool, SafeKeeper, SafeKeeperBuilder,
    SafeKeeperSettings, SavingState, SourceStats,
};
#[cfg(unix)]
pub use safe_keeper::{FileSystemBackendCheckpointingModule, ModuleError};
pub use save_error::{SaveError, SaveFailure};
pub use source::{
    Applied, Source, SourceError, SourceEvent, SourceEventFuture, SourceEventPendingFuture,
    SourceFuture, SourcePendingFuture,
};
pub use state::{
    Checkpointable, DecodeError, DecodeErrorKind, Decoder, ElementSize, EncodeError,
    EncodeErrorKind, Encoder, Rebuild, RoundTripError, Schema, SchemaDescription, SchemaDifference,
    SchemaField, SchemaLink, SchemaVariant, StateDifference, StateLimits, check_round_trip,
    decode_state, encode_state, restore_state,
};
pub use storage::{
    CompareAndSet, Durability, FetchEntry, FetchOutcome, FetchVersion, InMemoryStorage,
    METADATA_BYTES_MAX, METADATA_NAME_BYTES_MAX, Metadata, MetadataVersion, SaveBatch, SaveEntry,
    SaveOutcome, StateStorage, StorageCapabilities, StorageError, StorageErrorKind, StoredVersion,
};
#[cfg(unix)]
pub use storage::{
    DefaultFileSystemStateStorage, DefaultFileSystemStateStorageBuilder, LogBackup, LogCut,
    LogDamage, LogDamageKind, LogOpenReport, LogProgress, LogStats, LogStorage, LogStorageBuilder,
    LogVerifyReport, Retention,
};
pub use thread_start::{SystemThreads, ThreadStart};

#[doc(hidden)]
pub use state::generated as __private;
