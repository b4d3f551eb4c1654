//! Saves batches: all files written, then synced, then renamed, then their directories synced.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::sync::Arc;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::file_ops::SharedSync;
use crate::record::StateVersion;
use crate::storage::directory::error::{
    is_unsupported, read_error, record_error, same_error, write_error,
};
use crate::storage::file_system::DefaultFileSystemStateStorage;
use crate::storage::file_system::place::Place;
use crate::storage::file_system::prototype_directory::{
    DirectorySync, MayBe, PrototypeDirectory, Shard,
};
use crate::storage::{SaveBatch, SaveEntry, SaveOutcome, StorageError, StorageErrorKind};

type BoxedError = Box<dyn Error + Send + Sync>;

/// An entry whose record is in a temporary file.
struct Written {
    entry: SaveEntry,
    place: Place,
    temporary: String,
}

/// An entry whose record is where it belongs, though maybe not for good.
struct Renamed {
    entry: SaveEntry,
    place: Place,
    prototype: Arc<PrototypeDirectory>,
}

impl DefaultFileSystemStateStorage {
    pub(super) fn save_batch(&self, batch: SaveBatch) {
        let (bytes, entries) = batch.into_parts();
        let mut shared = self.begin_shared_sync(entries.len());
        let written = self.write(&bytes, entries, shared.is_none());
        let Some(written) = self.sync_written(written, &mut shared) else { return };
        let directory_sync = match shared {
            None if self.directory.store.synced => DirectorySync::Now,
            _ => DirectorySync::Elsewhere,
        };
        let mut renamed = Vec::with_capacity(written.len());
        for written in written {
            match self.rename(&bytes, &written, directory_sync) {
                Ok(prototype) => {
                    let Written { entry, place, .. } = written;
                    renamed.push(Renamed { entry, place, prototype });
                }
                Err(outcome) => {
                    self.directory.store.discard(&written.temporary);
                    written.entry.complete(outcome);
                }
            }
        }
        self.sync_renamed(&bytes, renamed, &mut shared);
    }

    fn begin_shared_sync(&self, entries: usize) -> Option<Box<dyn SharedSync>> {
        if !self.directory.store.synced || entries < self.shared_sync_entries_min {
            return None;
        }
        // Where it cannot be had, each file is synced by itself.
        self.directory.store.files.begin_shared_sync().ok().flatten()
    }

    fn write(&self, bytes: &[u8], entries: Vec<SaveEntry>, sync_each: bool) -> Vec<Written> {
        let mut written = Vec::with_capacity(entries.len());
        for entry in entries {
            let id = entry.id_in(bytes);
            let record = entry.record_in(bytes);
            let place = Place::of(id);
            if record.len() as u64 > self.record_bytes_max {
                let kind = StorageErrorKind::TooLarge { max: self.record_bytes_max };
                let err = StorageError::new(kind, format!("save {id}"));
                entry.complete(SaveOutcome::NotStored(err));
                continue;
            }
            let temporary = self.directory.store.clear_leftovers().and_then(|()| {
                self.directory
                    .store
                    .write_temporary(record, sync_each && self.directory.store.synced)
            });
            match temporary {
                Ok(temporary) => written.push(Written { entry, place, temporary }),
                Err(err) => {
                    let err = write_error(self.attempt("write", &place), err);
                    entry.complete(SaveOutcome::NotStored(err));
                }
            }
        }
        written
    }

    /// Makes the temporary files durable, if they are not yet.
    fn sync_written(
        &self,
        written: Vec<Written>,
        shared: &mut Option<Box<dyn SharedSync>>,
    ) -> Option<Vec<Written>> {
        let Some(Err(err)) = shared.as_mut().map(|shared| shared.sync()) else {
            return Some(written);
        };
        for Written { entry, place, temporary } in written {
            self.directory.store.discard(&temporary);
            let err = write_error(self.attempt("sync", &place), same_error(&err));
            entry.complete(SaveOutcome::NotStored(err));
        }
        None
    }

    /// Puts a file where it belongs, unless something newer is there.
    fn rename(
        &self,
        bytes: &[u8],
        written: &Written,
        directory_sync: DirectorySync,
    ) -> Result<Arc<PrototypeDirectory>, SaveOutcome> {
        let Written { entry, place, temporary } = written;
        let prototype = self.prototype(&place.prototype);
        let mut shard = prototype
            .shard_to_write(&self.directory.store, place.shard, directory_sync)
            .map_err(SaveOutcome::NotStored)?;
        let id = entry.id_in(bytes);
        self.settle_absent(id, place, &prototype, &mut shard).map_err(SaveOutcome::NotStored)?;
        if prototype.may_contain(&shard, &place.file) {
            self.check_replaceable(bytes, entry, place).map_err(SaveOutcome::NotStored)?;
        }
        // Held over the rename, so that an epoch that is opened meanwhile fences it or comes after.
        let epochs = self.directory.epochs.lock();
        epochs.check(entry, bytes).map_err(SaveOutcome::NotStored)?;
        let path = place.path();
        match self.directory.store.files.rename(temporary, &path) {
            Ok(()) => {
                prototype.contains_from_now(&mut shard, &place.file);
                drop(shard);
                Ok(prototype)
            }
            Err(err) => Err(self.failed_rename(bytes, entry, place, &prototype, &mut shard, err)),
        }
    }

    /// Looks whether a rename that failed was done all the same.
    fn failed_rename(
        &self,
        bytes: &[u8],
        entry: &SaveEntry,
        place: &Place,
        prototype: &PrototypeDirectory,
        shard: &mut Shard,
        err: io::Error,
    ) -> SaveOutcome {
        let found = self.directory.store.with_header(&place.path(), |header| {
            header.is_ok_and(|header| header.version == entry.version())
        });
        let err = write_error(self.attempt("rename a file to", place), err);
        match found {
            Ok(false) => SaveOutcome::NotStored(err),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                SaveOutcome::NotStored(err)
            }
            found @ (Ok(true) | Err(_)) => {
                let was_there = prototype.may_contain(shard, &place.file);
                let file = if found.is_ok() || was_there { MayBe::There } else { MayBe::Absent };
                prototype.contains_from_now(shard, &place.file);
                shard.unsettle(entry.id_in(bytes), file);
                SaveOutcome::Unknown(err)
            }
        }
    }

    /// Looks whether there is a file, if a rename that failed has left that open.
    fn settle_absent(
        &self,
        id: CheckpointIdRef<'_>,
        place: &Place,
        prototype: &PrototypeDirectory,
        shard: &mut Shard,
    ) -> Result<(), StorageError> {
        if shard.unsettled_file(id) != Some(MayBe::Absent) {
            return Ok(());
        }
        match self.directory.store.files.open_file(&place.path()) {
            Ok(_) => shard.unsettle(id, MayBe::There),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // Which fails if the store itself is gone.
                prototype.list_shard(&self.directory.store, place.shard, shard)?;
                shard.settle(id);
            }
            Err(err) => return Err(read_error(self.attempt("read", place), err)),
        }
        Ok(())
    }

    /// Checks that what is stored may be replaced: an older version of the same id, or the same one
    /// (which is written again: who wrote it may have died before it was durable), or damage.
    fn check_replaceable(
        &self,
        bytes: &[u8],
        entry: &SaveEntry,
        place: &Place,
    ) -> Result<(), StorageError> {
        enum Found {
            Version(StateVersion),
            OtherId,
            Refused(StorageError),
            Damaged,
        }
        let id = entry.id_in(bytes);
        let path = place.path();
        let found = self.directory.store.with_header(&path, |header| match header {
            Ok(header) if header.id == id => Found::Version(header.version),
            Ok(_) => Found::OtherId,
            Err(err) if is_unsupported(&err) => {
                Found::Refused(record_error(format!("save {id}"), err))
            }
            Err(_) => Found::Damaged,
        });
        match found.map_err(|err| read_error(self.attempt("read", place), err))? {
            Found::Version(current) if current > entry.version() => {
                let kind = StorageErrorKind::Stale { current };
                Err(StorageError::new(kind, format!("save {id}")))
            }
            Found::Version(_) => Ok(()),
            Found::OtherId => {
                let attempted = format!(
                    "save {id}: {} has the record of another id",
                    self.directory.store.shown(&path)
                );
                Err(StorageError::new(StorageErrorKind::InvalidStore, attempted))
            }
            Found::Refused(err) => Err(err),
            // The keeper saves over what it could not read only if it was told to.
            Found::Damaged => {
                // No path: a file is named after its key.
                tracing::warn!(
                    target: "checkpoint",
                    prototype = id.prototype,
                    key_hash = id.key_hash(),
                    id = id.logged(self.log_keys),
                    "a damaged checkpoint is replaced"
                );
                Ok(())
            }
        }
    }

    /// Makes the renames durable and completes the entries.
    fn sync_renamed(
        &self,
        bytes: &[u8],
        renamed: Vec<Renamed>,
        shared: &mut Option<Box<dyn SharedSync>>,
    ) {
        if renamed.is_empty() {
            return;
        }
        let mut failed_all = None;
        let mut failed = Vec::new();
        match shared {
            _ if !self.directory.store.synced => {}
            Some(shared) => failed_all = shared.sync().err(),
            None => {
                let directories: BTreeSet<_> =
                    renamed.iter().map(|renamed| renamed.place.directory()).collect();
                for directory in directories {
                    if let Err(err) = self.directory.store.files.sync_directory(&directory) {
                        failed.push((directory, err));
                    }
                }
            }
        }
        for Renamed { entry, place, prototype } in renamed {
            let id = entry.id_in(bytes);
            let directory = place.directory();
            let err = failed_all
                .as_ref()
                .or_else(|| failed.iter().find(|(of, _)| *of == directory).map(|(_, err)| err));
            let outcome = {
                let mut shard = prototype.shard_of(place.shard).lock();
                match err {
                    None => {
                        shard.settle(id);
                        SaveOutcome::Stored
                    }
                    Some(err) => {
                        shard.unsettle(id, MayBe::There);
                        let attempted = self.attempt("sync the directory of", &place);
                        SaveOutcome::Unknown(write_error(attempted, same_error(err)))
                    }
                }
            };
            entry.complete(outcome);
        }
    }

    /// Writes again what is stored of an id whose last save may not be durable, if there is a file
    /// after all, which is returned.
    ///
    /// The file is written anew: a sync that has failed once proves nothing when it is tried again.
    pub(super) fn write_again(
        &self,
        id: &CheckpointId,
        place: &Place,
        prototype: &PrototypeDirectory,
    ) -> Result<bool, StorageError> {
        let sync =
            if self.directory.store.synced { DirectorySync::Now } else { DirectorySync::Elsewhere };
        let attempted = || format!("fetch {id}, whose last save may not be durable");
        let unavailable = |err: BoxedError| {
            StorageError::new(StorageErrorKind::Unavailable, attempted()).with_source(err)
        };
        // Held until it is done, so that nothing newer is replaced.
        let mut shard = prototype
            .shard_to_write(&self.directory.store, place.shard, sync)
            .map_err(|err| unavailable(err.into()))?;
        self.settle_absent(id.as_ref(), place, prototype, &mut shard)?;
        if !shard.is_settled(id.as_ref()) {
            let bytes = self.read_record(place)?;
            let replaced = self.directory.store.replace(&place.path(), &bytes);
            replaced.map_err(|err| unavailable(err.into_inner().into()))?;
            shard.settle(id.as_ref());
        }
        Ok(prototype.may_contain(&shard, &place.file))
    }

    fn attempt(&self, what: &str, place: &Place) -> String {
        format!("{what} {}", self.directory.store.shown(&place.path()))
    }
}
