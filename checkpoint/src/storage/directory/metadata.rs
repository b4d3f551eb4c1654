//! The metadata of a store: one small file for each value.

use crate::checkpoint_id::CheckpointIdRef;
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::error::write_error;
use crate::storage::directory::file_name::file_name;
use crate::storage::directory::own_records::{Content, OwnRecord};
use crate::storage::directory::store::ReplaceError;
use crate::storage::metadata::check_metadata;
use crate::storage::{Metadata, MetadataVersion, StorageError, StorageErrorKind};

/// The directory of metadata.
pub(in crate::storage) const METADATA: &str = "meta";
const PROTOTYPE: &str = "\u{1}metadata";

impl StoreDirectory {
    pub(in crate::storage) fn metadata(
        &self,
        name: &str,
    ) -> Result<Option<Metadata>, StorageError> {
        let mut unsettled = self.unsettled_metadata.lock();
        let found = self.read_metadata_file(name)?;
        if unsettled.contains(name) {
            // Maybe not durable: it is made so before anybody relies on it.
            if let Some(Content { number, bytes }) = &found {
                self.write_metadata_file(name, *number, bytes).map_err(|err| {
                    write_error(format!("settle metadata {name:?}"), err.into_inner())
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
                Err(write_error(attempted(), err.into_inner()))
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

fn metadata_path(name: &str) -> String {
    format!("{METADATA}/{}", file_name(name.as_bytes()))
}

fn own_record<'a>(path: &'a str, name: &'a str) -> OwnRecord<'a> {
    OwnRecord { path, id: CheckpointIdRef { prototype: PROTOTYPE, key: name.as_bytes() } }
}
