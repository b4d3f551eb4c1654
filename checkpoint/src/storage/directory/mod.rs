//! A directory that is a store: its lock, identity, epochs and metadata, which the storages over
//! files share. Where the states lie in it is each storage's own business.
//!
//! The files are specified in `checkpoint/FORMAT.md`.

mod copies;
mod doubts;
mod epochs;
pub(in crate::storage) mod error;
pub(in crate::storage) mod file_name;
mod metadata;
mod opening;
pub(in crate::storage) mod own_records;
pub(in crate::storage) mod store;
mod verify;

use std::collections::BTreeSet;
use std::fmt;

pub(in crate::storage) use opening::{Layout, Opening};

use crate::file_ops::FileSystemDoubt;
use crate::record::Epoch;
use crate::storage::directory::doubts::StoreLock;
use crate::storage::directory::epochs::{EPOCH, Epochs};
use crate::storage::directory::error::write_error;
pub(in crate::storage) use crate::storage::directory::metadata::MetadataFile;
use crate::storage::directory::opening::IDENTITY_RECORD;
use crate::storage::directory::own_records::{Content, OwnRecord, OwnRecords};
use crate::storage::directory::store::Store;
pub(in crate::storage) use crate::storage::directory::verify::{OwnDamage, OwnFault};
use crate::storage::{StorageError, StorageErrorKind};
use crate::sync::Mutex;

/// A store that is open, and locked for as long as this is there, unless it is only read.
pub(in crate::storage) struct StoreDirectory {
    pub(in crate::storage) store: Store,
    own: OwnRecords,
    identity: u128,
    /// The own files of which opening has found one copy damaged.
    pub(in crate::storage) damaged: Vec<OwnDamage>,
    /// Lock order: whatever a storage locks of its own comes before this.
    pub(in crate::storage) epochs: Mutex<Epochs>,
    // Names of values whose last write may not be durable; also orders the writes.
    unsettled_metadata: Mutex<BTreeSet<String>>,
    /// What opening has found to speak against the file system.
    pub(in crate::storage) doubts: Vec<FileSystemDoubt>,
    // `None` if nothing is ever written. The mutex is only there because a handle is not `Sync`.
    lock: Mutex<Option<StoreLock>>,
}

impl StoreDirectory {
    pub(in crate::storage) fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        self.epochs.lock().open(&self.own, &self.store, partition)
    }

    /// The random number that names the store.
    pub(in crate::storage) fn identity(&self) -> u128 {
        self.identity
    }

    /// Reads one of the storage's own records.
    pub(in crate::storage) fn read_own(
        &self,
        record: OwnRecord<'_>,
    ) -> Result<Option<Content>, StorageError> {
        self.own.read(&self.store, record)
    }

    /// Writes one of the storage's own records again of which not both copies are there and whole.
    pub(in crate::storage) fn mend_own(&self, record: OwnRecord<'_>, content: &Content) {
        self.own.mend(&self.store, record, content);
    }

    /// Replaces one of the storage's own records, durably.
    pub(in crate::storage) fn write_own(
        &self,
        record: OwnRecord<'_>,
        number: u64,
        payload: &[u8],
    ) -> Result<(), StorageError> {
        self.own.write_or_fail(&self.store, record, number, payload)
    }

    /// Copies what is kept beside the states to a directory, to be a store like this one: its
    /// identity last.
    pub(in crate::storage) fn copy_own(
        &self,
        metadata: &[MetadataFile],
        manifest: OwnRecord<'_>,
        payload: &[u8],
        to: &Store,
    ) -> Result<(), StorageError> {
        self.own.write_or_fail(to, manifest, 0, payload)?;
        for MetadataFile { path, bytes } in metadata {
            to.replace(path, bytes).map_err(|err| {
                write_error(format!("write {}", to.shown(path)), err.into_inner())
            })?;
        }
        for record in [EPOCH, IDENTITY_RECORD] {
            let Some(Content { number, bytes, .. }) = self.read_own(record)? else {
                let attempted = format!("read {}", self.store.shown(record.path));
                return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
            };
            self.own.write_or_fail(to, record, number, &bytes)?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreDirectory")
            .field("root", &self.store.shown(""))
            .field("identity", &format_args!("{:032x}", self.identity))
            .finish_non_exhaustive()
    }
}
