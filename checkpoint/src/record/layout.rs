//! The numbers of the byte layout, shared by the writer and the reader.

pub(super) const MAGIC: [u8; 4] = [0x89, b'C', b'K', b'P'];
pub(super) const FORMAT_VERSION: u8 = 1;

pub(super) const FLAG_TOMBSTONE: u8 = 1;
pub(super) const FLAGS_KNOWN: u8 = FLAG_TOMBSTONE;

/// Bytes in front of the prototype's name.
pub(crate) const FIXED_BYTES: usize = 68;
/// A CRC-32C stands behind the header and another behind the payload.
pub(super) const CHECKSUM_BYTES: usize = 4;

// Offsets of the fixed fields. Numbers are little-endian.
pub(super) const AT_VERSION: usize = 4;
pub(super) const AT_FLAGS: usize = 5;
pub(super) const AT_PROTOTYPE_BYTES: usize = 6; // u16
pub(super) const AT_KEY_BYTES: usize = 8; // u32
pub(super) const AT_PARTITION: usize = 12; // u32
pub(super) const AT_PAYLOAD_BYTES: usize = 16; // u32
pub(super) const AT_SECTIONS_BYTES: usize = 20; // u32
pub(super) const AT_EPOCH: usize = 24; // u64
pub(super) const AT_SEQUENCE: usize = 32; // u64
pub(super) const AT_EVENT_COUNT: usize = 40; // u64
pub(super) const AT_CAPTURED_MICROS: usize = 48; // u64
pub(super) const AT_FINGERPRINT: usize = 56; // u64
pub(super) const AT_IDLE_MILLIS: usize = 64; // u32

/// A section begins with its type (u16) and the length of what follows (u32).
pub(super) const SECTION_HEAD_BYTES: usize = 6;
/// Types from here up may be skipped by a reader that does not know them.
pub(super) const SECTION_OPTIONAL: u16 = 0x8000;
pub(super) const SECTION_POSITIONS: u16 = 1;
pub(super) const SECTION_COMPRESSED: u16 = 2;
pub(super) const SECTION_ENCRYPTED: u16 = 3;
pub(super) const POSITION_BYTES: usize = 16;
/// Method and three zeros, raw bytes (u32).
pub(super) const COMPRESSED_BYTES: usize = 8;
/// The same, and the dictionary (u64).
pub(super) const COMPRESSED_WITH_DICTIONARY_BYTES: usize = 16;
/// Method and three zeros, key (u32), nonce.
pub(super) const ENCRYPTED_BYTES: usize = 32;
pub(super) const NONCE_BYTES: usize = 24;
/// Stands behind an encrypted payload.
pub(super) const TAG_BYTES: usize = 16;

/// Sections can never need more: a bound for hostile lengths.
pub(super) const SECTIONS_BYTES_MAX: usize = 1 << 20;

/// The `N` bytes at `at`; zeros where there are none, which callers have ruled out.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}
