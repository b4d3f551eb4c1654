//! A storage that keeps one file for each state.
//!
//! The layout is specified in `checkpoint/FORMAT.md`.

mod opening;
mod place;
mod prototype_directory;
mod reading;
mod saving;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

pub use opening::DefaultFileSystemStateStorageBuilder;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::file_ops::FileSystemDoubt;
use crate::record::Epoch;
use crate::storage::directory::StoreDirectory;
use crate::storage::file_system::place::Place;
use crate::storage::file_system::prototype_directory::PrototypeDirectory;
use crate::storage::{
    CompareAndSet, Durability, FetchEntry, FetchOutcome, Metadata, MetadataVersion, SaveBatch,
    StateStorage, StorageCapabilities, StorageError, StoredVersion,
};
use crate::sync::Mutex;

/// Keeps each state in a file of its own below a directory.
///
/// Simple, open to the eye and to ordinary tools, at home on any local file system and on NFS.
/// Where there are many saves a log is much faster.
///
/// # Guarantees
/// - A state is replaced by writing the new one beside it, syncing it, renaming it over the old one
///   and syncing the directory; only then is it acknowledged. So a crash or a loss of power at any
///   instant leaves the old or the new state, whole ([`Durability::Power`]).
/// - An older version never replaces a newer one, and after
///   [`open_epoch`](StateStorage::open_epoch) a former owner of the partition cannot write any
///   more.
/// - The directory has one user at a time. The lock ends with the process, however that ends. It is
///   only as good as the file system's `flock`: on NFS of all machines only where its server locks.
///   Opening looks at the kind of the file system, and tries whether what is locked can be locked
///   once more; what speaks against it is logged as a warning, and in [`doubts`](Self::doubts).
/// - A state that cannot be read is never reported as absent, nor is one whose file, directory or
///   whole store was removed while it was open.
/// - Files are readable by the owner alone. Symbolic links below the directory are not followed,
///   and a directory that everybody may write to is refused. Files that are not the store's are
///   left alone.
///
/// A removed state leaves a small file that refuses older versions of it; it stays until the id is
/// saved again. A save that failed is reported with the path, leaves the old state, and does not
/// keep later ones from succeeding. Only unix systems offer what this needs (operations relative to
/// an open directory, modes, a lock that ends with the process); elsewhere the type does not exist.
///
/// A directory is listed, and synced, when its first state is fetched or saved; from then on
/// [`may_contain`](StateStorage::may_contain) and [`fetch_now`](StateStorage::fetch_now) know what
/// is absent, at 8 to 18 bytes of memory for each state.
///
/// # Examples
/// ```
/// use checkpoint::{DefaultFileSystemStateStorage, StateStorage};
///
/// # let directory = std::env::temp_dir().join(format!("checkpoint-doc-{}", std::process::id()));
/// let storage = DefaultFileSystemStateStorage::open(&directory)?;
/// let first = storage.open_epoch(0)?;
/// drop(storage);
///
/// let storage = DefaultFileSystemStateStorage::builder(&directory).must_exist(true).open()?;
/// assert!(storage.open_epoch(0)? > first);
/// # std::fs::remove_dir_all(&directory).ok();
/// # Ok::<(), checkpoint::StorageError>(())
/// ```
#[doc(alias = "org.apache.s4.core.ft.DefaultFileSystemStateStorage")]
pub struct DefaultFileSystemStateStorage {
    directory: StoreDirectory,
    durability: Durability,
    record_bytes_max: u64,
    shared_sync_entries_min: usize,
    log_keys: bool,
    prototypes: Mutex<BTreeMap<String, Arc<PrototypeDirectory>>>,
}

impl DefaultFileSystemStateStorage {
    /// Opens the store in the directory `root`, creating it if there is none.
    ///
    /// # Errors
    /// See [`open`](DefaultFileSystemStateStorageBuilder::open) of the builder.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StorageError> {
        Self::builder(root).open()
    }

    /// Returns a builder, to set how the store in the directory `root` is opened.
    pub fn builder(root: impl Into<PathBuf>) -> DefaultFileSystemStateStorageBuilder {
        DefaultFileSystemStateStorageBuilder::new(root.into())
    }

    /// Returns what opening has found to speak against the file system that the store is on.
    #[must_use]
    pub fn doubts(&self) -> &[FileSystemDoubt] {
        &self.directory.doubts
    }

    fn prototype(&self, name: &str) -> Arc<PrototypeDirectory> {
        let mut prototypes = self.prototypes.lock();
        if let Some(prototype) = prototypes.get(name) {
            return Arc::clone(prototype);
        }
        let prototype = Arc::new(PrototypeDirectory::new(name.to_owned()));
        prototypes.insert(name.to_owned(), Arc::clone(&prototype));
        prototype
    }

    /// Returns whether there may be a file for the id, if that is known without waiting.
    fn may_contain_now(&self, id: &CheckpointId) -> Option<bool> {
        let place = Place::of(id.as_ref());
        let prototype = self.prototypes.try_lock()?.get(&place.prototype).map(Arc::clone)?;
        prototype.may_contain_now(place.shard, &place.file)
    }
}

impl StateStorage for DefaultFileSystemStateStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities::new(self.durability)
            .with_compare_and_set(CompareAndSet::PerPartition)
            .with_record_bytes_max(self.record_bytes_max)
    }

    fn save(&self, batch: SaveBatch) {
        self.save_batch(batch);
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            let outcome = self.fetch_one(entry.id(), entry.version());
            entry.complete(outcome);
        }
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        // Only absence is known without reading a file.
        (self.may_contain_now(id) == Some(false)).then_some(Ok(None))
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        // The store's lock makes this the only writer for as long as it is open.
        self.may_contain_now(id).unwrap_or(true)
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn fetch_many(&self, _ids: &[CheckpointIdRef<'_>], _found: &mut dyn FnMut(usize, Vec<u8>)) {}

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.visit_ids(prototype, visit)
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        Ok(self.newest_version(id)?.into_iter().collect())
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        self.directory.open_epoch(partition)
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        self.directory.metadata(name)
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        self.directory.put_metadata(name, expected, bytes)
    }
}

impl fmt::Debug for DefaultFileSystemStateStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultFileSystemStateStorage")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
