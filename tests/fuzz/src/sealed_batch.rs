//! Makes the checksums of a log's batches right.

// From FORMAT.md: the head of a segment, and of a batch.
const AT_SEGMENT_CHECKSUM: usize = 60;
const BATCH_FIXED_BYTES: usize = 40;
const AT_COUNT: usize = 8;
const AT_OFFSET: usize = 16;
const LISTED_BYTES: usize = 12;
const MAGIC: [u8; 4] = [0x89, b'C', b'K', b'B'];

/// Returns the bytes of a segment in which a batch's head begins at `at`, of as many records as
/// the bytes there say, where there is room for it.
pub fn sealed_batch(segment: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut sealed = segment.to_vec();
    let salt = segment.get(..AT_SEGMENT_CHECKSUM).map(crc32c::crc32c)?;
    let head = sealed.get_mut(at..)?;
    head.get_mut(..4)?.copy_from_slice(&MAGIC);
    head.get_mut(AT_OFFSET..AT_OFFSET + 8)?.copy_from_slice(&(at as u64).to_le_bytes());
    let count = head.get(AT_COUNT..AT_COUNT + 4)?.first_chunk::<4>()?;
    let covered = BATCH_FIXED_BYTES + u32::from_le_bytes(*count) as usize * LISTED_BYTES;
    let checksum = crc32c::crc32c_append(salt, head.get(..covered)?);
    head.get_mut(covered..covered + 4)?.copy_from_slice(&checksum.to_le_bytes());
    Some(sealed)
}
