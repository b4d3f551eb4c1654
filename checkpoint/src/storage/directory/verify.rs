//! Reads a store's own files, to find what is damaged before it is needed.

use crate::checkpoint_id::CheckpointIdRef;
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::copies::Copies;
use crate::storage::directory::epochs::EPOCH;
use crate::storage::directory::metadata::{METADATA, is_metadata_of};
use crate::storage::directory::opening::IDENTITY_RECORD;
use crate::storage::directory::own_records::OwnRecord;
use crate::storage::{StorageError, StorageErrorKind};

/// What is wrong with one of the store's own files.
#[derive(Debug, Clone)]
pub(in crate::storage) struct OwnDamage {
    pub(in crate::storage) path: String,
    pub(in crate::storage) fault: OwnFault,
}

/// In which way it is wrong.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) enum OwnFault {
    /// One copy is not as it was written, within these bytes; the other one is whole.
    Copy { offset: u64, bytes: u64 },
    /// Neither copy is whole.
    Both,
    /// There is no such file.
    Missing,
    /// The system gives an error.
    Unreadable,
}

impl OwnDamage {
    /// The damage of one copy in a file, if there is any.
    pub(in crate::storage) fn of_copy(path: &str, copies: Copies) -> Option<Self> {
        match copies {
            Copies::Damaged { offset, bytes } => {
                let fault = OwnFault::Copy { offset, bytes };
                Some(Self { path: path.to_owned(), fault })
            }
            Copies::Both | Copies::One => None,
        }
    }

    /// What an error of reading a file says of it.
    ///
    /// # Errors
    /// It says nothing of the file, but that nothing can be read at all for now.
    fn of_error(path: String, err: StorageError) -> Result<Self, StorageError> {
        let fault = match err.kind() {
            StorageErrorKind::Unavailable => return Err(err),
            StorageErrorKind::Corrupt | StorageErrorKind::UnsupportedVersion => OwnFault::Both,
            // None, or something that is no file.
            StorageErrorKind::InvalidStore => OwnFault::Missing,
            _ => OwnFault::Unreadable,
        };
        Ok(Self { path, fault })
    }
}

impl StoreDirectory {
    /// Reads identity, epoch, metadata and these records of the storage's own, and returns what is
    /// wrong with them.
    ///
    /// # Errors
    /// The system lacks what reading takes, which says nothing of the files.
    pub(in crate::storage) fn verify_own(
        &self,
        records: &[OwnRecord<'_>],
    ) -> Result<Vec<OwnDamage>, StorageError> {
        let mut damages = Vec::new();
        for record in [IDENTITY_RECORD, EPOCH].iter().chain(records) {
            damages.extend(self.verify_file(record.path, |id| id == record.id)?);
        }
        match self.metadata_file_names() {
            Ok(names) => {
                for name in names {
                    let path = format!("{METADATA}/{name}");
                    damages.extend(self.verify_file(&path, |id| is_metadata_of(id, &name))?);
                }
            }
            Err(err) => damages.push(OwnDamage::of_error(METADATA.to_owned(), err)?),
        }
        Ok(damages)
    }

    fn verify_file(
        &self,
        path: &str,
        is_right: impl Fn(CheckpointIdRef<'_>) -> bool,
    ) -> Result<Option<OwnDamage>, StorageError> {
        match self.own.look(&self.store, path, is_right) {
            Ok(Some(found)) => Ok(OwnDamage::of_copy(path, found.copies)),
            Ok(None) => Ok(Some(OwnDamage { path: path.to_owned(), fault: OwnFault::Missing })),
            Err(err) => OwnDamage::of_error(path.to_owned(), err).map(Some),
        }
    }
}
