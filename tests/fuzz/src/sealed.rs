//! Makes checksums right: without it a fuzzer would never get behind them.

// The length of the fixed part of a record in format version 1, from FORMAT.md.
const FIXED_BYTES: usize = 68;

/// Returns the bytes with the checksums that they would have as a record, where the lengths in them
/// leave room for those.
#[must_use]
pub fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at + size)?.iter().rev();
        Some(bytes.fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    let header_end = FIXED_BYTES + number(6, 2)? + number(8, 4)? + number(20, 4)?;
    let end = header_end + 4 + number(16, 4)?;
    let mut sealed = bytes.to_vec();
    let crc = crc32c::crc32c(bytes.get(..header_end)?);
    sealed.get_mut(header_end..header_end + 4)?.copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(sealed.get(..end)?);
    sealed.get_mut(end..end + 4)?.copy_from_slice(&crc.to_le_bytes());
    Some(sealed)
}
