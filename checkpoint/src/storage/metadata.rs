//! Small named values beside the states: the store's identity, partition count, schemas.

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
