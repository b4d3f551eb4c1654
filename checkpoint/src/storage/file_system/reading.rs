//! Reads records, ids and versions.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::record::{RecordHeader, RecordKind};
use crate::storage::directory::error::{read_error, record_error};
use crate::storage::directory::file_name::{file_name, is_file_name};
use crate::storage::directory::store::TooLong;
use crate::storage::file_system::DefaultFileSystemStateStorage;
use crate::storage::file_system::place::{
    Place, parse_shard_name, shard_name, shard_of, shard_path,
};
use crate::storage::{FetchOutcome, FetchVersion, StorageError, StorageErrorKind, StoredVersion};

impl DefaultFileSystemStateStorage {
    pub(super) fn fetch_one(&self, id: &CheckpointId, version: FetchVersion) -> FetchOutcome {
        let place = Place::of(id.as_ref());
        if !self.is_there(id, &place)? {
            return Ok(None);
        }
        let bytes = self.read_record(&place)?;
        if version == FetchVersion::Newest {
            // Damage is the keeper's to find: it checks every byte.
            return Ok(Some(bytes));
        }
        let attempted = || format!("read {}", self.directory.store.shown(&place.path()));
        let stored =
            RecordHeader::parse(&bytes).map_err(|err| record_error(attempted(), err))?.version;
        let wanted = match version {
            FetchVersion::Newest => true,
            FetchVersion::Before(limit) => stored < limit,
            FetchVersion::Exactly(exactly) => stored == exactly,
        };
        Ok(wanted.then_some(bytes))
    }

    /// Reads a whole record that is there, whatever its bytes are.
    pub(super) fn read_record(&self, place: &Place) -> Result<Vec<u8>, StorageError> {
        let path = place.path();
        let attempted = || format!("read {}", self.directory.store.shown(&path));
        match self.directory.store.read(&path, self.record_bytes_max) {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(TooLong)) => {
                let kind = StorageErrorKind::TooLarge { max: self.record_bytes_max };
                Err(StorageError::new(kind, attempted()))
            }
            // It was there, and this library never removes one.
            Err(err) => Err(read_error(attempted(), err)),
        }
    }

    /// Returns whether there is a file for the id, with nothing in it that may not be durable;
    /// `false` only if that is certain.
    fn is_there(&self, id: &CheckpointId, place: &Place) -> Result<bool, StorageError> {
        let prototype = self.prototype(&place.prototype);
        let (is_there, is_settled) = {
            let shard = prototype.shard(&self.directory.store, place.shard)?;
            (prototype.may_contain(&shard, &place.file), shard.is_settled(id.as_ref()))
        };
        if is_settled { Ok(is_there) } else { self.write_again(id, place, &prototype) }
    }

    /// What a killed process has left unsynced may be told here, and be gone with the power.
    pub(super) fn visit_ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let directory = file_name(prototype.as_bytes());
        let prototype: Arc<str> = prototype.into();
        let list = |path: &str| {
            let listed = self.directory.store.files.list(path);
            listed.map_err(|err| (err.kind(), read_error(self.list_attempt(path), err)))
        };
        let shards = match list(&directory) {
            Err((io::ErrorKind::NotFound, _)) => return self.directory.store.check_present(),
            listed => listed.map_err(|(_, err)| err)?,
        };
        // One bad file does not hide the others: it is reported when they have been visited.
        let mut first_error = None;
        for shard in shards.iter().filter(|name| parse_shard_name(name).is_some()) {
            for file in list(&shard_path(&directory, shard)).map_err(|(_, err)| err)? {
                if !is_file_name(&file) {
                    continue;
                }
                match self.id_in_file(&prototype, &directory, shard, &file) {
                    Ok(None) => {}
                    Ok(Some(id)) => {
                        if visit(id).is_break() {
                            return Ok(());
                        }
                    }
                    Err(err) => first_error = first_error.or(Some(err)),
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn list_attempt(&self, path: &str) -> String {
        format!("list {}", self.directory.store.shown(path))
    }

    /// Returns the id of the state in a file, or `None` if it is a tombstone.
    fn id_in_file(
        &self,
        prototype: &Arc<str>,
        directory: &str,
        shard: &str,
        file: &str,
    ) -> Result<Option<CheckpointId>, StorageError> {
        let path = format!("{}/{file}", shard_path(directory, shard));
        let attempted = || format!("read {}", self.directory.store.shown(&path));
        let found = self.directory.store.with_header(&path, |header| {
            let header = header.map_err(|err| record_error(attempted(), err))?;
            // The id inside decides; the place only has to agree with it. What lies elsewhere would
            // be listed, and not be found when it is fetched.
            let key = header.id.key;
            let is_place = shard_name(shard_of(key)) == shard && file_name(key) == file;
            if header.id.prototype != &**prototype || !is_place {
                let attempted = format!("{}: it has the record of another id", attempted());
                return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
            }
            if header.kind == RecordKind::Tombstone {
                return Ok(None);
            }
            let id = CheckpointId::within_limits(Arc::clone(prototype), header.id.key);
            id.map(Some).map_err(|err| {
                StorageError::new(StorageErrorKind::Corrupt, attempted()).with_source(err)
            })
        });
        found.map_err(|err| read_error(attempted(), err))?
    }

    pub(super) fn newest_version(
        &self,
        id: &CheckpointId,
    ) -> Result<Option<StoredVersion>, StorageError> {
        let place = Place::of(id.as_ref());
        if !self.is_there(id, &place)? {
            return Ok(None);
        }
        let path = place.path();
        let attempted = || format!("read {}", self.directory.store.shown(&path));
        let found = self.directory.store.with_header(&path, |header| {
            let header = header.and_then(|header| header.of(id.as_ref()));
            let header = header.map_err(|err| record_error(attempted(), err))?;
            Ok(StoredVersion {
                version: header.version,
                kind: header.kind,
                captured_at: header.captured_at,
                record_bytes: header.record_bytes() as u64,
            })
        });
        found.map_err(|err| read_error(attempted(), err))?.map(Some)
    }
}
