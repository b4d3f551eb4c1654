//! The metadata of a store: one small file for each value.

use crate::checkpoint_id::CheckpointIdRef;
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::copies::mended;
use crate::storage::directory::error::{read_error, write_error};
use crate::storage::directory::file_name::{file_name, is_file_name};
use crate::storage::directory::own_records::{Content, OwnRecord};
use crate::storage::directory::store::{ReplaceError, TooLong};
use crate::storage::metadata::check_metadata;
use crate::storage::{Metadata, MetadataVersion, StorageError, StorageErrorKind};

/// The directory of metadata.
pub(in crate::storage) const METADATA: &str = "meta";
/// More bytes than a file has of one value.
const FILE_BYTES_MAX: u64 = 4 << 20;
const PROTOTYPE: &str = "\u{1}metadata";

/// A file that holds one value.
pub(in crate::storage) struct MetadataFile {
    pub(in crate::storage) path: String,
    pub(in crate::storage) bytes: Vec<u8>,
}

impl StoreDirectory {
    /// The names of the files of all values.
    pub(super) fn metadata_file_names(&self) -> Result<Vec<String>, StorageError> {
        let listed = self.store.files.list(METADATA);
        let mut names = listed
            .map_err(|err| read_error(format!("list {}", self.store.shown(METADATA)), err))?;
        names.retain(|name| is_file_name(name));
        Ok(names)
    }

    /// Reads the files of all values, as they were at one moment.
    pub(in crate::storage) fn metadata_files(&self) -> Result<Vec<MetadataFile>, StorageError> {
        let _nothing_changes = self.unsettled_metadata.lock();
        let shown = |path: &str| format!("read {}", self.store.shown(path));
        let mut files = Vec::new();
        for name in self.metadata_file_names()? {
            let path = format!("{METADATA}/{name}");
            match self.store.read(&path, FILE_BYTES_MAX) {
                Ok(Ok(bytes)) => files.push(MetadataFile { path, bytes: mended(bytes) }),
                Ok(Err(TooLong)) => {
                    return Err(StorageError::new(StorageErrorKind::Corrupt, shown(&path)));
                }
                Err(err) => return Err(read_error(shown(&path), err)),
            }
        }
        Ok(files)
    }

    pub(in crate::storage) fn metadata(
        &self,
        name: &str,
    ) -> Result<Option<Metadata>, StorageError> {
        let mut unsettled = self.unsettled_metadata.lock();
        let found = self.read_metadata_file(name)?;
        let may_write = self.lock.lock().is_some();
        if let Some(found) = found.as_ref().filter(|_| may_write) {
            let path = metadata_path(name);
            self.mend_own(own_record(&path, name), found);
        }
        if unsettled.contains(name) {
            // Maybe not durable: it is made so before anybody relies on it.
            if let Some(Content { number, bytes, .. }) = &found {
                self.write_metadata_file(name, *number, bytes).map_err(|err| {
                    let path = self.store.shown(&metadata_path(name));
                    write_error(format!("settle metadata {name:?} in {path}"), err.into_inner())
                })?;
            }
            unsettled.remove(name);
        }
        Ok(found
            .map(|found| Metadata { version: MetadataVersion(found.number), bytes: found.bytes }))
    }

    pub(in crate::storage) fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        check_metadata(name, bytes)?;
        // Held all the way: what is read is what is replaced.
        let mut unsettled = self.unsettled_metadata.lock();
        let found = match self.read_metadata_file(name)? {
            Some(found) => Some(found.number),
            None => {
                self.store.check_present()?;
                None
            }
        };
        let attempted = || format!("put metadata {name:?}");
        if found != expected.map(|version| version.0) {
            return Err(StorageError::new(StorageErrorKind::Conflict, attempted()));
        }
        let Some(next) = found.unwrap_or(0).checked_add(1) else {
            return Err(StorageError::new(StorageErrorKind::Unsupported, attempted()));
        };
        match self.write_metadata_file(name, next, bytes) {
            Ok(()) => {
                unsettled.remove(name);
                Ok(MetadataVersion(next))
            }
            Err(err) => {
                if let ReplaceError::Unknown(_) = err {
                    unsettled.insert(name.to_owned());
                }
                let path = self.store.shown(&metadata_path(name));
                Err(write_error(format!("{} in {path}", attempted()), err.into_inner()))
            }
        }
    }

    fn read_metadata_file(&self, name: &str) -> Result<Option<Content>, StorageError> {
        let path = metadata_path(name);
        self.own.read(&self.store, own_record(&path, name))
    }

    fn write_metadata_file(
        &self,
        name: &str,
        number: u64,
        bytes: &[u8],
    ) -> Result<(), ReplaceError> {
        let path = metadata_path(name);
        self.own.write(&self.store, own_record(&path, name), number, bytes)
    }
}

/// Whether the value of this id is the one that a file of this name has.
pub(super) fn is_metadata_of(id: CheckpointIdRef<'_>, name: &str) -> bool {
    id.prototype == PROTOTYPE && file_name(id.key) == name
}

fn metadata_path(name: &str) -> String {
    format!("{METADATA}/{}", file_name(name.as_bytes()))
}

fn own_record<'a>(path: &'a str, name: &'a str) -> OwnRecord<'a> {
    OwnRecord { path, id: CheckpointIdRef { prototype: PROTOTYPE, key: name.as_bytes() } }
}
