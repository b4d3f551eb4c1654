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
use crate::storage::StorageError;
use crate::storage::directory::epochs::Epochs;
use crate::storage::directory::own_records::{Content, OwnRecord, OwnRecords};
use crate::storage::directory::store::Store;
use crate::sync::Mutex;

/// A store that is open, and locked for as long as this is there.
pub(in crate::storage) struct StoreDirectory {
    pub(in crate::storage) store: Store,
    own: OwnRecords,
    identity: u128,
    /// Lock order: whatever a storage locks of its own comes before this.
    pub(in crate::storage) epochs: Mutex<Epochs>,
    // Names of values whose last write may not be durable; also orders the writes.
    unsettled_metadata: Mutex<BTreeSet<String>>,
    // The mutex is only there because a handle is not `Sync`.
    _lock: Mutex<Box<dyn FileHandle>>,
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
}

impl fmt::Debug for StoreDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreDirectory")
            .field("root", &self.store.shown(""))
            .field("identity", &format_args!("{:032x}", self.identity))
            .finish_non_exhaustive()
    }
}
