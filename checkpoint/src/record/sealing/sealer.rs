//! Seals records that were encoded.

use thiserror::Error;

use crate::record::layout::{
    AT_FLAGS, AT_PAYLOAD_BYTES, AT_SECTIONS_BYTES, CHECKSUM_BYTES, FLAG_TOMBSTONE, TAG_BYTES, array,
};
use crate::record::sealing::Sealing;
use crate::record::sealing::compression::Compressor;
#[cfg(feature = "encryption")]
use crate::record::sealing::encryption::Encryptor;
use crate::record::sealing::sections::Seals;
use crate::record::{RecordHeader, RecordKind, RecordWriter};

/// Seals records, one after the other, with what it needs for many of them.
pub(crate) struct Sealer<'a> {
    compressor: Compressor<'a>,
    #[cfg(feature = "encryption")]
    encryptor: Option<Encryptor>,
}

/// The system gives no random numbers, without which nothing can be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system gives no random numbers")]
pub(crate) struct NoRandomness;

impl Sealing {
    /// Returns what seals about so many records.
    pub(crate) fn sealer(&self, records: usize) -> Sealer<'_> {
        #[cfg(not(feature = "encryption"))]
        // Says how many nonces to draw at once.
        let _ = records;
        Sealer {
            compressor: Compressor::new(self),
            #[cfg(feature = "encryption")]
            encryptor: Encryptor::new(self, records),
        }
    }

    /// Whether a record is certainly sealed as it would be now. One that is not compressed may be
    /// one that compression does not make smaller: that shows only when it is tried.
    pub(crate) fn has_sealed(&self, header: &RecordHeader<'_>) -> bool {
        #[cfg(feature = "encryption")]
        let primary = self.keys.as_ref().map(|keys| keys.primary().id());
        #[cfg(not(feature = "encryption"))]
        let primary = None;
        let seals = header.seals();
        let is_sealed = (seals.encrypted_with(), seals.compressed_with());
        header.kind == RecordKind::Tombstone || is_sealed == (primary, self.compresses_with())
    }
}

impl Sealer<'_> {
    /// Appends a record, sealed, to `sealed`. The record is one that `writer` has begun in `plain`,
    /// its payload is there, and so are the four bytes behind it.
    pub(crate) fn seal(
        &mut self,
        plain: &[u8],
        writer: RecordWriter,
        sealed: &mut Vec<u8>,
    ) -> Result<RecordWriter, NoRandomness> {
        let (header, payload) = parts(plain, writer);
        let start = sealed.len();
        let [flags] = array(header, AT_FLAGS);
        if flags & FLAG_TOMBSTONE != 0 {
            // There is nothing to be sealed.
            sealed.extend_from_slice(plain.get(writer.start()..).unwrap_or_default());
            let writer = RecordWriter::of_parts(start, start + header.len() + CHECKSUM_BYTES);
            let end = sealed.len();
            writer.seal(sealed, end);
            return Ok(writer);
        }
        let compressed = self.compressor.compress(payload);
        let payload = match compressed {
            Some(_) => &self.compressor.compressed,
            None => payload,
        };
        #[cfg(feature = "encryption")]
        let encrypted = self.encryptor.as_mut().map(Encryptor::section).transpose()?;
        #[cfg(not(feature = "encryption"))]
        let encrypted = None;

        sealed.extend_from_slice(header);
        let added = Seals { compressed, encrypted }.append(sealed);
        let sections = u32::from_le_bytes(array(header, AT_SECTIONS_BYTES));
        let added = u32::try_from(added).unwrap_or(u32::MAX);
        put(sealed, start + AT_SECTIONS_BYTES, sections.saturating_add(added));
        let tag_bytes = if encrypted.is_some() { TAG_BYTES } else { 0 };
        // The length is authenticated too, so it stands there before the payload is encrypted.
        let length = u32::try_from(payload.len() + tag_bytes).unwrap_or(u32::MAX);
        put(sealed, start + AT_PAYLOAD_BYTES, length);
        sealed.extend_from_slice(&[0; CHECKSUM_BYTES]);
        let at = sealed.len();
        sealed.extend_from_slice(payload);
        #[cfg(feature = "encryption")]
        if let (Some(encryptor), Some(encrypted)) = (&self.encryptor, &encrypted)
            && let Some((front, payload)) = sealed.split_at_mut_checked(at)
        {
            let header = front.get(start..at - CHECKSUM_BYTES).unwrap_or_default();
            match encryptor.encrypt(encrypted, header, payload) {
                Some(tag) => sealed.extend_from_slice(&tag),
                // Nothing of it may be stored in the clear.
                None => sealed.truncate(at),
            }
        }
        let writer = RecordWriter::of_parts(start, at);
        let end = writer.close(sealed);
        writer.seal(sealed, end);
        Ok(writer)
    }

    /// Whether a record is sealed in the way of another, so that nothing is gained by storing it in
    /// the place of that.
    pub(crate) fn is_like(one: &RecordHeader<'_>, other: &RecordHeader<'_>) -> bool {
        one.seals().is_like(&other.seals())
    }

    /// Appends the header of a record that could not be sealed. It is no record: its checksums are
    /// missing, and so is the payload.
    pub(crate) fn give_up(plain: &[u8], writer: RecordWriter, sealed: &mut Vec<u8>) {
        sealed.extend_from_slice(parts(plain, writer).0);
        sealed.extend_from_slice(&[0; 2 * CHECKSUM_BYTES]);
    }
}

/// The header without its checksum, and the payload.
fn parts(plain: &[u8], writer: RecordWriter) -> (&[u8], &[u8]) {
    let (start, payload) = (writer.start(), writer.payload_start());
    let end = plain.len().saturating_sub(CHECKSUM_BYTES);
    let header = plain.get(start..payload - CHECKSUM_BYTES).unwrap_or_default();
    (header, plain.get(payload..end).unwrap_or_default())
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}
