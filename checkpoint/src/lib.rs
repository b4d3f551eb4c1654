//! Checkpoints keyed in-memory state asynchronously and restores it lazily after a restart.

mod checkpoint_id;
mod clock;
#[cfg(unix)]
mod file_ops;
mod random;
mod record;
pub mod storage;
mod sync;
mod thread_start;

pub use checkpoint_id::{
    CheckpointId, CheckpointIdRef, InvalidCheckpointId, KEY_BYTES_MAX, PROTOTYPE_NAME_BYTES_MAX,
};
#[cfg(feature = "test-util")]
pub use clock::TestClock;
pub use clock::{Alarm, Clock, SystemClock, Timestamp};
#[cfg(unix)]
pub use file_ops::{FileHandle, FileOps, SharedSync, SystemFiles};
pub use random::{RandomSource, SeededRandom, SystemRandom};
pub use record::{
    Epoch, InputPosition, InputPositions, RecordError, RecordErrorKind, RecordHeader, RecordKind,
    RecordMeta, RecordView, RecordWriter, Sequence, SourceId, StateVersion,
};
pub use storage::{
    CompareAndSet, Durability, FetchEntry, FetchOutcome, FetchVersion, InMemoryStorage,
    METADATA_BYTES_MAX, METADATA_NAME_BYTES_MAX, Metadata, MetadataVersion, SaveBatch, SaveEntry,
    SaveOutcome, StateStorage, StorageCapabilities, StorageError, StorageErrorKind, StoredVersion,
};
#[cfg(unix)]
pub use storage::{DefaultFileSystemStateStorage, DefaultFileSystemStateStorageBuilder};
pub use thread_start::{SystemThreads, ThreadStart};
