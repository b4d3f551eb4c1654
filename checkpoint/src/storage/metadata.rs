//! Small named values beside the states: the store's identity, partition count, schemas.

use crate::storage::{StorageError, StorageErrorKind};

/// Counts the writes of one metadata value; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(pub u64);

/// A metadata value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The value's version, the condition of the next write.
    pub version: MetadataVersion,
    /// The value.
    pub bytes: Vec<u8>,
}

/// The most bytes that the name of a metadata value has.
pub const METADATA_NAME_BYTES_MAX: usize = 200;
/// The most bytes that a metadata value has.
pub const METADATA_BYTES_MAX: usize = 1 << 20;

/// Checks what is to be put under a name, the same way in every storage.
pub(crate) fn check_metadata(name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    if name.is_empty() || name.len() > METADATA_NAME_BYTES_MAX {
        let found = name.len();
        let attempted = format!(
            "put metadata under a name of {found} bytes (1 to {METADATA_NAME_BYTES_MAX} are \
             possible)"
        );
        return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
    }
    if bytes.len() > METADATA_BYTES_MAX {
        let kind = StorageErrorKind::TooLarge { max: METADATA_BYTES_MAX as u64 };
        return Err(StorageError::new(kind, format!("put metadata {name:?}")));
    }
    Ok(())
}
