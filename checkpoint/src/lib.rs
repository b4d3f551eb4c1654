//! Checkpoints keyed in-memory state asynchronously and restores it lazily after a restart.

mod checkpoint_id;
mod clock;
mod random;
mod record;
mod state;
pub mod storage;
mod sync;
mod thread_start;

pub use checkpoint_id::{
    CheckpointId, CheckpointIdRef, InvalidCheckpointId, KEY_BYTES_MAX, PROTOTYPE_NAME_BYTES_MAX,
};
#[cfg(feature = "test-util")]
pub use clock::TestClock;
pub use clock::{Alarm, Clock, SystemClock, Timestamp};
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
pub use thread_start::{SystemThreads, ThreadStart};
#[cfg(feature = "derive")]
pub use checkpoint_derive::Checkpointable;
pub use state::{
    Checkpointable, DecodeError, DecodeErrorKind, Decoder, ElementSize, EncodeError,
    EncodeErrorKind, Encoder, Rebuild, Schema, SchemaDescription, SchemaDifference, SchemaField,
    SchemaLink, SchemaVariant, StateLimits, decode_state, encode_state, restore_state,
};

#[doc(hidden)]
pub use state::generated as __private;
