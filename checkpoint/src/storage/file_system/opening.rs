//! Opens a store, or creates one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::file_ops::FileOps;
use crate::random::RandomSource;
use crate::storage::directory::file_name::is_file_name;
use crate::storage::directory::store::Store;
use crate::storage::directory::{Layout, Opening};
use crate::storage::file_system::DefaultFileSystemStateStorage;
use crate::storage::{Durability, StorageError};
use crate::sync::Mutex;

const RECORD_BYTES_MAX: u64 = 1 << 30;
const SHARED_SYNC_ENTRIES_MIN: usize = 8;

/// Directories of prototypes are made when they are needed.
const LAYOUT: Layout =
    Layout { version: 1, directories: &[], records: &[], states: directory_of_a_prototype };

/// Says how a [`DefaultFileSystemStateStorage`] is opened.
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct DefaultFileSystemStateStorageBuilder {
    opening: Opening,
    record_bytes_max: u64,
    shared_sync_entries_min: usize,
    log_keys: bool,
}

impl DefaultFileSystemStateStorageBuilder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            opening: Opening::new(root),
            record_bytes_max: RECORD_BYTES_MAX,
            shared_sync_entries_min: SHARED_SYNC_ENTRIES_MIN,
            log_keys: false,
        }
    }

    /// Refuses a directory that is no store yet, instead of creating one; the default is `false`.
    ///
    /// A program that has stored something before should set it: a wrong path or a disk that is not
    /// mounted is then an error instead of an empty beginning.
    pub fn must_exist(self, must_exist: bool) -> Self {
        Self { opening: Opening { must_exist, ..self.opening }, ..self }
    }

    /// Sets what an acknowledged save survives: [`Durability::Power`], the default, or
    /// [`Durability::Process`], which never waits for the disk.
    ///
    /// The others are refused when the store is opened.
    pub fn durability(self, durability: Durability) -> Self {
        Self { opening: Opening { durability, ..self.opening }, ..self }
    }

    /// Sets the size of the largest record in bytes; the default is 1 GiB.
    ///
    /// Larger ones are neither saved nor read.
    pub fn record_bytes_max(self, record_bytes_max: u64) -> Self {
        Self { record_bytes_max, ..self }
    }

    /// Sets from how many entries on a batch is made durable by one sync of the whole file system,
    /// where there is a reliable one (Linux 5.8, ext4, XFS, btrfs); the default is 8.
    ///
    /// Smaller batches sync each file. One sync of the file system is several times faster for a
    /// batch, but also waits for what other programs have written to it: on a disk that is shared
    /// with a heavy writer set it to `usize::MAX`.
    pub fn shared_sync_entries_min(self, shared_sync_entries_min: usize) -> Self {
        Self { shared_sync_entries_min, ..self }
    }

    /// Sets whether the log names the ids of damaged states that are replaced, besides the hashes
    /// of their keys; the default is `false`, because keys may be private.
    pub fn log_keys(self, log_keys: bool) -> Self {
        Self { log_keys, ..self }
    }

    /// Sets the clock; the default is the system's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { opening: Opening { clock, ..self.opening }, ..self }
    }

    /// Sets the source of the store's random identity; the default is the system's.
    pub fn random(self, random: Arc<dyn RandomSource>) -> Self {
        Self { opening: Opening { random, ..self.opening }, ..self }
    }

    /// Opens the store, creating it if there is none.
    ///
    /// # Errors
    /// [`Locked`] if it is open already, here or in another process; [`Forbidden`] if everybody may
    /// write to the directory or this process may not; [`InvalidStore`] if there is none and there
    /// must be one, if parts of it are missing, or if the path is a symbolic link;
    /// [`UnsupportedVersion`] if a newer library wrote it.
    ///
    /// [`Locked`]: crate::StorageErrorKind::Locked
    /// [`Forbidden`]: crate::StorageErrorKind::Forbidden
    /// [`InvalidStore`]: crate::StorageErrorKind::InvalidStore
    /// [`UnsupportedVersion`]: crate::StorageErrorKind::UnsupportedVersion
    pub fn open(self) -> Result<DefaultFileSystemStateStorage, StorageError> {
        let files = self.opening.system_files()?;
        self.open_over(files)
    }

    /// The same over these file operations instead of the system's, for simulated or failing disks.
    ///
    /// The path is only used in messages.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_over(
        self,
        files: Arc<dyn FileOps>,
    ) -> Result<DefaultFileSystemStateStorage, StorageError> {
        let durability = self.opening.durability;
        Ok(DefaultFileSystemStateStorage {
            directory: self.opening.open(files, &LAYOUT)?,
            durability,
            record_bytes_max: self.record_bytes_max,
            shared_sync_entries_min: self.shared_sync_entries_min,
            log_keys: self.log_keys,
            prototypes: Mutex::new(BTreeMap::new()),
        })
    }
}

fn directory_of_a_prototype(store: &Store) -> io::Result<Option<String>> {
    Ok(store.files.list("")?.into_iter().find(|name| is_file_name(name)))
}
