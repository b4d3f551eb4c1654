//! Checkpoints keyed in-memory state asynchronously and restores it lazily after a restart.

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
mod partition;
mod process_error;
mod prototype;
mod quarantine;
mod random;
mod record;
mod reentrancy;
mod restore_error;
mod safe_keeper;
mod save_error;
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
pub use close_report::{CloseReport, NotAllStored};
pub use config::{
    CheckpointingConfig, CheckpointingConfigBuilder, CheckpointingMode, InvalidConfig, OnFull,
    OnPanic, OnRestoreError,
};
#[cfg(unix)]
pub use file_ops::{FileHandle, FileOps, SharedSync, SystemFiles};
pub use framework::{
    Caller, CheckpointSource, CheckpointingFramework, FetchVerdict, FlushMark, NewPrototype,
    NoOpCheckpointingFramework, Overloaded, PeStatus, PrototypeIndex, RegisterError, Registration,
    SourceStatus, StateFetch, Unsaved, UnsavedState,
};
pub use partition::{Partitioner, SequenceExhausted, Sequences, XxHashPartitioner};
pub use process_error::ProcessError;
pub use prototype::{
    AsKey, Eviction, Key, KeyBytes, NotAKey, PartitionKey, PeGuard, PePrototype, PrototypeBuilder,
    PrototypeBuilderWithFactory, Recover, Recovered, RunError, Session,
};
pub use quarantine::Quarantined;
pub use random::{RandomSource, SeededRandom, SystemRandom};
pub use record::{
    Epoch, InputPosition, InputPositions, RecordError, RecordErrorKind, RecordHeader, RecordKind,
    RecordMeta, RecordView, RecordWriter, Sequence, SourceId, StateVersion,
};
pub use restore_error::{RestoreError, RestoreFailure};
pub use safe_keeper::{
    BuildError, FetchingState, KeeperStats, Overflow, Pool, SafeKeeper, SafeKeeperBuilder,
    SafeKeeperSettings,
};
#[cfg(unix)]
pub use safe_keeper::{FileSystemBackendCheckpointingModule, ModuleError};
pub use save_error::{SaveError, SaveFailure};
pub use state::{
    Checkpointable, DecodeError, DecodeErrorKind, Decoder, ElementSize, EncodeError,
    EncodeErrorKind, Encoder, Rebuild, Schema, SchemaDescription, SchemaDifference, SchemaField,
    SchemaLink, SchemaVariant, StateLimits, decode_state, encode_state, restore_state,
};
pub use storage::{
    CompareAndSet, Durability, FetchEntry, FetchOutcome, FetchVersion, InMemoryStorage,
    METADATA_BYTES_MAX, METADATA_NAME_BYTES_MAX, Metadata, MetadataVersion, SaveBatch, SaveEntry,
    SaveOutcome, StateStorage, StorageCapabilities, StorageError, StorageErrorKind, StoredVersion,
};
#[cfg(unix)]
pub use storage::{DefaultFileSystemStateStorage, DefaultFileSystemStateStorageBuilder};
pub use thread_start::{SystemThreads, ThreadStart};

#[doc(hidden)]
pub use state::generated as __private;
