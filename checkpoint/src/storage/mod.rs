//! Where states are kept: the interface of a storage, and the storages that come with the library.
//!
//! A storage keeps opaque records (see [`RecordView`](crate::RecordView)) by id. It never looks at
//! a payload, starts no policy of its own, and knows nothing of prototypes or keepers.

mod batch_of_records;
mod capabilities;
#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(unix)]
mod directory;
mod error;
mod fetch_batch;
#[cfg(unix)]
mod file_system;
mod in_memory;
#[cfg(unix)]
mod log;
mod metadata;
mod save_batch;
mod state_storage;

pub use capabilities::{CompareAndSet, Durability, StorageCapabilities};
pub use error::{StorageError, StorageErrorKind};
pub use fetch_batch::{FetchEntry, FetchOutcome, FetchVersion};
pub(crate) use fetch_batch::{NEWEST_WHOLE, UNKNOWN_VERSION};
#[cfg(unix)]
pub use file_system::{DefaultFileSystemStateStorage, DefaultFileSystemStateStorageBuilder};
pub use in_memory::InMemoryStorage;
#[cfg(unix)]
pub use log::{
    LogBackup, LogCut, LogDamage, LogDamageKind, LogOpenReport, LogProgress, LogStats, LogStorage,
    LogStorageBuilder, LogVerifyReport, Retention,
};
pub use metadata::{METADATA_BYTES_MAX, METADATA_NAME_BYTES_MAX, Metadata, MetadataVersion};
pub(crate) use save_batch::{Completion, RecordPlace, SaveReceiver};
pub use save_batch::{SaveBatch, SaveEntry, SaveOutcome};
pub use state_storage::{StateStorage, StoredVersion};
