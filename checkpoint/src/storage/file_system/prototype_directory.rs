//! The directories of one prototype, and which file names are in them.
//!
//! A directory is listed when it is first needed, so that opening a store costs the same whatever
//! is in it. From then on the names are known: nobody else may write, as long as the store is
//! locked. It is synced then, too: a process that was killed between a rename and its sync has left
//! a file that would be gone with the power, after somebody was told of it.

use std::hash::BuildHasher;
use std::io;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::storage::directory::error::{read_error, write_error};
use crate::storage::directory::file_name::is_file_name;
use crate::storage::directory::store::Store;
use crate::storage::file_system::place::{SHARDS, shard_name, shard_path};
use crate::storage::{StorageError, StorageErrorKind};
use crate::sync::{Mutex, MutexGuard};

/// The directory of a prototype. Lock order: `own`, then a shard.
#[derive(Debug)]
pub(super) struct PrototypeDirectory {
    name: String,
    hasher: RandomState,
    own: Mutex<Own>,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Own {
    // Whether the directory was looked for, and what is in it noted in the shards.
    listed: bool,
    exists: bool,
    // Whether the root was synced since the directory is there.
    durable: bool,
}

/// One directory of files.
#[derive(Debug, Default)]
pub(super) struct Shard {
    // The hashes of the names that may be there; none before the directory was listed. Two names of
    // one hash only cost a read that finds nothing.
    names: Option<HashTable<u64>>,
    exists: bool,
    // Whether the prototype's directory was synced since this one is there.
    durable: bool,
    // Ids whose last save was renamed but maybe not made durable: they are not shown to anybody
    // until what is in their files was written again for good, or something newer was.
    unsettled: Vec<Unsettled>,
}

#[derive(Debug)]
struct Unsettled {
    id: CheckpointId,
    file: MayBe,
}

/// What is known of a file whose rename may not have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayBe {
    /// It is there, as it was before or as it was to be.
    There,
    /// There was none before.
    Absent,
}

impl PrototypeDirectory {
    pub(super) fn new(name: String) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { name, hasher: RandomState::default(), own: Mutex::default(), shards }
    }

    /// Returns a shard whose names are known, and holds it.
    pub(super) fn shard(
        &self,
        store: &Store,
        number: u8,
    ) -> Result<MutexGuard<'_, Shard>, StorageError> {
        self.list(store)?;
        let mut shard = self.shard_of(number).lock();
        if shard.names.is_none() {
            self.list_shard(store, number, &mut shard)?;
        }
        Ok(shard)
    }

    /// Looks which names are in a shard.
    pub(super) fn list_shard(
        &self,
        store: &Store,
        number: u8,
        shard: &mut Shard,
    ) -> Result<(), StorageError> {
        let path = shard_path(&self.name, &shard_name(number));
        let names = store.files.list(&path).map_err(|err| {
            // The prototype's directory says that it is there.
            read_error(format!("list {}", store.shown(&path)), err)
        })?;
        sync_listed(store, &path)?;
        let mut known = HashTable::with_capacity(names.len());
        for name in names.iter().filter(|name| is_file_name(name)) {
            let hash = self.hasher.hash_one(name.as_str());
            known.insert_unique(hash, hash, |hash| *hash);
        }
        shard.names = Some(known);
        shard.exists = true;
        Ok(())
    }

    /// The same, and the directory is there, so that a file can be put into it.
    ///
    /// With `DirectorySync::Now` it is there for good.
    pub(super) fn shard_to_write(
        &self,
        store: &Store,
        number: u8,
        sync: DirectorySync,
    ) -> Result<MutexGuard<'_, Shard>, StorageError> {
        self.list(store)?;
        {
            let mut own = self.own.lock();
            let Own { exists, durable, .. } = &mut *own;
            create(store, &self.name, exists)?;
            make_durable(store, "", sync, durable)?;
        }
        let mut shard = self.shard(store, number)?;
        let path = shard_path(&self.name, &shard_name(number));
        let Shard { exists, durable, .. } = &mut *shard;
        create(store, &path, exists)?;
        make_durable(store, &self.name, sync, durable)?;
        Ok(shard)
    }

    /// Returns whether the file may be there, if that is known without waiting for anything.
    pub(super) fn may_contain_now(&self, number: u8, file: &str) -> Option<bool> {
        let shard = self.shard_of(number).try_lock()?;
        shard.names.as_ref()?;
        Some(self.may_contain(&shard, file))
    }

    /// Returns whether the file may be there; `false` is certain.
    pub(super) fn may_contain(&self, shard: &Shard, file: &str) -> bool {
        let hash = self.hasher.hash_one(file);
        shard.names.as_ref().is_none_or(|names| names.find(hash, |known| *known == hash).is_some())
    }

    /// Notes that the file is there.
    pub(super) fn contains_from_now(&self, shard: &mut Shard, file: &str) {
        let hash = self.hasher.hash_one(file);
        if let Some(names) = &mut shard.names
            && names.find(hash, |known| *known == hash).is_none()
        {
            names.insert_unique(hash, hash, |hash| *hash);
        }
    }

    pub(super) fn shard_of(&self, number: u8) -> &Mutex<Shard> {
        match self.shards.get(usize::from(number)) {
            Some(shard) => shard,
            None => unreachable!("there is a shard for each value of a byte"),
        }
    }

    /// Looks which shards there are, once: those that are not have no names.
    fn list(&self, store: &Store) -> Result<(), StorageError> {
        let mut own = self.own.lock();
        if own.listed {
            return Ok(());
        }
        let found = match store.files.list(&self.name) {
            Ok(found) => {
                sync_listed(store, "")?;
                sync_listed(store, &self.name)?;
                own.exists = true;
                own.durable = store.synced;
                found
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                store.check_present()?;
                Vec::new()
            }
            Err(err) => return Err(read_error(format!("list {}", store.shown(&self.name)), err)),
        };
        for number in 0..=u8::MAX {
            let mut shard = self.shard_of(number).lock();
            if found.contains(&shard_name(number)) {
                shard.durable = store.synced;
            } else {
                shard.names.get_or_insert_default();
            }
        }
        own.listed = true;
        Ok(())
    }
}

/// Who makes a new directory durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DirectorySync {
    /// It is synced in its parent at once.
    Now,
    /// A sync of the whole file system follows before anything is acknowledged, or none is wanted.
    Elsewhere,
}

/// Makes the names durable that were found in a directory, before anything is told of them.
fn sync_listed(store: &Store, path: &str) -> Result<(), StorageError> {
    if !store.synced {
        return Ok(());
    }
    store.files.sync_directory(path).map_err(|err| {
        let attempted = format!("sync the directory {}, which was listed", store.shown(path));
        StorageError::new(StorageErrorKind::Unavailable, attempted).with_source(err)
    })
}

/// Creates a directory if it is missing.
fn create(store: &Store, path: &str, exists: &mut bool) -> Result<(), StorageError> {
    if !*exists {
        match store.files.create_directory(path) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
                return Err(write_error(format!("create {}", store.shown(path)), err));
            }
            Ok(()) | Err(_) => *exists = true,
        }
    }
    Ok(())
}

/// Syncs the directory that another one is in, once in each opening of the store: who created it
/// may have died before he could.
fn make_durable(
    store: &Store,
    parent: &str,
    sync: DirectorySync,
    durable: &mut bool,
) -> Result<(), StorageError> {
    if !*durable && sync == DirectorySync::Now {
        store.files.sync_directory(parent).map_err(|err| {
            write_error(format!("sync the directory {}", store.shown(parent)), err)
        })?;
        *durable = true;
    }
    Ok(())
}

impl Shard {
    /// Returns whether it is certain what is stored of an id.
    pub(super) fn is_settled(&self, id: CheckpointIdRef<'_>) -> bool {
        self.unsettled_file(id).is_none()
    }

    /// Returns what is known of the file of an id, if it is not certain what is stored of it.
    pub(super) fn unsettled_file(&self, id: CheckpointIdRef<'_>) -> Option<MayBe> {
        let unsettled = self.unsettled.iter().find(|unsettled| unsettled.id.as_ref() == id);
        unsettled.map(|unsettled| unsettled.file)
    }

    /// Notes that it is not certain what is stored of an id.
    pub(super) fn unsettle(&mut self, id: CheckpointIdRef<'_>, file: MayBe) {
        self.settle(id);
        self.unsettled.push(Unsettled { id: id.to_owned(), file });
    }

    /// Notes that what is stored of an id is certain again.
    pub(super) fn settle(&mut self, id: CheckpointIdRef<'_>) {
        self.unsettled.retain(|unsettled| unsettled.id.as_ref() != id);
    }
}
