//! A directory that is a store: its lock, identity, epochs and metadata, which the storages over
//! files share. Where the states lie in it is each storage's own business.
//!
//! The files are specified in `checkpoint/FORMAT.md`.

mod epochs;
pub(in crate::storage) mod error;
pub(in crate::storage) mod file_name;
mod metadata;
mod opening;
pub(in crate::storage) mod own_records;
pub(in crate::storage) mod store;

use std::collections::BTreeSet;
use std::fmt;

pub(in crate::storage) use opening::{Layout, Opening};

use crate::file_ops::FileHandle;
use crate::record::Epoch;
use crate::storage::directory::epochs::{EPOCH, Epochs};
use crate::storage::directory::error::{read_error, write_error};
pub(in crate::storage) use crate::storage::directory::metadata::MetadataFile;
use crate::storage::directory::own_records::{Content, OwnRecord, OwnRecords};
use crate::storage::directory::store::{IDENTITY, Store, TooLong};
use crate::storage::{StorageError, StorageErrorKind};
use crate::sync::Mutex;

/// More bytes than any of a store's own files has.
const OWN_BYTES_MAX: u64 = 2 << 20;

/// A store that is open, and locked for as long as this is there, unless it is only read.
pub(in crate::storage) struct StoreDirectory {
    pub(in crate::storage) store: Store,
    own: OwnRecords,
    identity: u128,
    /// Lock order: whatever a storage locks of its own comes before this.
    pub(in crate::storage) epochs: Mutex<Epochs>,
    // Names of values whose last write may not be durable; also orders the writes.
    unsettled_metadata: Mutex<BTreeSet<String>>,
    // `None` if nothing is ever written. The mutex is only there because a handle is not `Sync`.
    _lock: Mutex<Option<Box<dyn FileHandle>>>,
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
        for path in [EPOCH.path, IDENTITY] {
            let shown = self.store.shown(path);
            let bytes = match self.store.read(path, OWN_BYTES_MAX) {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(TooLong)) => {
                    let attempted = format!("read {shown}");
                    return Err(StorageError::new(StorageErrorKind::Corrupt, attempted));
                }
                Err(err) => return Err(read_error(format!("read {shown}"), err)),
            };
            to.replace(path, &bytes).map_err(|err| {
                write_error(format!("write {}", to.shown(path)), err.into_inner())
            })?;
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
