//! The interface between the keeper and a storage.

use std::fmt;
use std::ops::ControlFlow;
use std::time::SystemTime;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::record::{Epoch, RecordKind, StateVersion};
use crate::storage::{
    FetchEntry, FetchOutcome, Metadata, MetadataVersion, SaveBatch, StorageCapabilities,
    StorageError,
};

/// Keeps records by id.
///
/// # Contract
/// *Who calls.* A keeper's storage threads call [`save`](Self::save) and its fetching threads
/// [`fetch`](Self::fetch), several at once if it was given several; any thread may call the rest.
/// Every method can be called while others run. The keeper has at most one unfinished save per id,
/// and may fetch an id while a save of it is unfinished: the answer is then the old or the new
/// record, whole.
///
/// *Newest wins.* A record replaces the stored one of its id exactly if its [version](StateVersion)
/// is higher. The same version again is the same record, sent again after its outcome was lost: it
/// is `Stored`. A lower one is refused as [`Stale`](crate::StorageErrorKind::Stale) and changes
/// nothing. This holds for tombstones too: a tombstone is stored, and refuses what is older than
/// it.
///
/// *Completed means*: `Stored` says that the record survives what
/// [`capabilities`](Self::capabilities) declares, and that each later fetch returns it or a newer
/// one. `NotStored` says that nothing was changed. Whatever else is `Unknown`; the keeper then
/// reads back. Each entry is completed exactly once, before or after `save` returns. Entries of one
/// batch do not depend on each other: some may be stored and others not.
///
/// *Atomic*: after a crash at any instant, each id has a record that was saved for it, whole.
///
/// *Blocking*: the methods may block, save those that say otherwise. *Panics* are caught by the
/// keeper: the entries that were not completed are unknown.
///
/// No method has a default body: a wrapper that forgets to forward one does not compile.
#[doc(alias = "org.apache.s4.core.ft.StateStorage")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no storage",
    label = "no storage",
    note = "open one by `DefaultFileSystemStateStorage::open(path)?`; for tests there is \
            `InMemoryStorage::new()`",
    note = "one of your own implements `StateStorage`"
)]
pub trait StateStorage: Send + Sync {
    /// Returns what the storage promises and offers. Does not block, and never changes.
    fn capabilities(&self) -> StorageCapabilities;

    /// Stores records and completes each entry of the batch.
    #[doc(alias = "saveState")]
    fn save(&self, batch: SaveBatch);

    /// Fetches records and answers each entry.
    ///
    /// The answer is the record as it was saved, byte for byte: the keeper verifies it, so that
    /// damage that the storage does not notice is noticed.
    #[doc(alias = "fetchState")]
    fn fetch(&self, entries: Vec<FetchEntry>);

    /// Returns the newest record of `id` if that needs no blocking call, else `None`.
    ///
    /// The caller is the thread that has the event: it must not be held up.
    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome>;

    /// Returns whether a record of `id` may be stored; does not block.
    ///
    /// `false` makes the PE start anew without a fetch. It may only be said by a storage whose
    /// index is complete and that has been the only writer of the partition since its epoch was
    /// opened.
    fn may_contain(&self, id: &CheckpointId) -> bool;

    /// Tells the storage that these ids will be fetched soon. Does not block; may do nothing.
    fn prefetch(&self, ids: &[CheckpointId]);

    /// Gives `found` the newest records of some ids, each with its place in `ids`, in any order.
    ///
    /// For a program that wants many PEs at once before it goes on: it may wait for the disk, and
    /// reads what lies side by side with one call. Whatever it leaves out, for whatever reason, is
    /// fetched one by one: a storage that gains nothing by this does nothing. It should leave out
    /// what is large: all that it gives is in memory at the same time.
    fn fetch_many(&self, ids: &[CheckpointIdRef<'_>], found: &mut dyn FnMut(usize, Vec<u8>));

    /// Calls `visit` with each id of `prototype` that has a state (not a tombstone), each once,
    /// until it breaks.
    ///
    /// The one that was saved last comes first if the storage knows the order; any other order is
    /// right, too. Ids that are saved or removed meanwhile may be visited or not. `visit` may call
    /// the storage, and so may other threads that it waits for.
    ///
    /// # Errors
    /// The storage cannot be read, in whole or in part.
    #[doc(alias = "fetchStoredKeys")]
    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;

    /// Returns the versions that are kept of `id`, tombstones included, the newest first.
    ///
    /// # Errors
    /// The storage cannot be read.
    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError>;

    /// Opens a partition for writing: returns an epoch that is higher than any that was returned
    /// for it before, and durable.
    ///
    /// # Errors
    /// The epoch cannot be made durable, or another writer holds the partition.
    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError>;

    /// Returns a metadata value, or `None` if it was never put.
    ///
    /// # Errors
    /// The storage cannot be read.
    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError>;

    /// Puts a metadata value if its version is still `expected`, `None` meaning that there is none.
    ///
    /// Names have 1 to 200 bytes, values up to 1 MiB. Metadata never shows up among the ids. When
    /// this returns, the value is as durable as an acknowledged save.
    ///
    /// # Errors
    /// [`Conflict`](crate::StorageErrorKind::Conflict) if the version is another; or the storage
    /// cannot be written.
    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError>;
}

/// One version that is kept of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// The version.
    pub version: StateVersion,
    /// A state or the mark of a removal.
    pub kind: RecordKind,
    /// When it was captured.
    pub captured_at: SystemTime,
    /// The size of the whole record in bytes.
    pub record_bytes: u64,
}

impl fmt::Display for StoredVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RecordKind::State => "state",
            RecordKind::Tombstone => "tombstone",
        };
        write!(f, "{} ({kind}, {} bytes)", self.version, self.record_bytes)
    }
}
