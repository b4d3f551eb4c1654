//! Sorts the errors of file operations and of damaged records into those of a storage.

use std::io;

use rustix::io::Errno;

use crate::record::{RecordError, RecordErrorKind};
use crate::storage::{StorageError, StorageErrorKind};

/// The error of a failed attempt to write.
pub(in crate::storage) fn write_error(attempted: String, err: io::Error) -> StorageError {
    let kind = kind_of(&err).unwrap_or(StorageErrorKind::Unavailable);
    StorageError::new(kind, attempted).with_source(err)
}

/// The error of a failed attempt to read: never taken for "there is none".
pub(in crate::storage) fn read_error(attempted: String, err: io::Error) -> StorageError {
    let kind = kind_of(&err).unwrap_or(StorageErrorKind::Unreadable);
    StorageError::new(kind, attempted).with_source(err)
}

/// The error of a file whose bytes are not what they should be.
pub(in crate::storage) fn record_error(attempted: String, err: RecordError) -> StorageError {
    let kind = if is_unsupported(&err) {
        StorageErrorKind::UnsupportedVersion
    } else {
        StorageErrorKind::Corrupt
    };
    StorageError::new(kind, attempted).with_source(err)
}

/// Returns whether a newer library wrote the bytes, as far as can be told.
pub(in crate::storage) fn is_unsupported(err: &RecordError) -> bool {
    matches!(
        err.kind(),
        RecordErrorKind::UnsupportedVersion { .. } | RecordErrorKind::UnsupportedFeature { .. }
    )
}

/// Returns the same error once more, for the next entry that it befell.
pub(in crate::storage) fn same_error(err: &io::Error) -> io::Error {
    match err.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(err.kind(), err.to_string()),
    }
}

fn kind_of(err: &io::Error) -> Option<StorageErrorKind> {
    match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            return Some(StorageErrorKind::Full);
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            return Some(StorageErrorKind::Forbidden);
        }
        // What was there when the store was opened is gone, or a link or a mount is in its place.
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::CrossesDevices
        | io::ErrorKind::InvalidInput => return Some(StorageErrorKind::InvalidStore),
        io::ErrorKind::OutOfMemory => return Some(StorageErrorKind::Unavailable),
        _ => {}
    }
    match Errno::from_io_error(err)? {
        Errno::LOOP | Errno::MLINK => Some(StorageErrorKind::InvalidStore),
        Errno::MFILE | Errno::NFILE => Some(StorageErrorKind::Unavailable),
        _ => None,
    }
}
