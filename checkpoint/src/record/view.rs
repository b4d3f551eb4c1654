//! Reads a record, trusting nothing before its checksum was checked.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::checkpoint_id::{CheckpointIdRef, KEY_BYTES_MAX};
use crate::record::layout::{
    AT_CAPTURED_MICROS, AT_EPOCH, AT_EVENT_COUNT, AT_FINGERPRINT, AT_FLAGS, AT_IDLE_MILLIS,
    AT_KEY_BYTES, AT_PARTITION, AT_PAYLOAD_BYTES, AT_PROTOTYPE_BYTES, AT_SECTIONS_BYTES,
    AT_SEQUENCE, AT_VERSION, CHECKSUM_BYTES, FIXED_BYTES, FLAG_TOMBSTONE, FLAGS_KNOWN,
    FORMAT_VERSION, MAGIC, POSITION_BYTES, SECTION_COMPRESSED, SECTION_ENCRYPTED,
    SECTION_HEAD_BYTES, SECTION_OPTIONAL, SECTION_POSITIONS, SECTIONS_BYTES_MAX, array,
};
use crate::record::sealing::Seals;
use crate::record::{
    InputPosition, InputPositions, RecordError, RecordErrorKind, SourceId, StateVersion,
};

/// Tells a state from the mark of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// The payload is a PE's state.
    State,
    /// The PE was removed; there is no payload.
    Tombstone,
}

/// The header of a record, its checksum verified; the payload has not been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The id of the PE.
    pub id: CheckpointIdRef<'a>,
    /// A state or the mark of a removal.
    pub kind: RecordKind,
    /// The partition that the PE belongs to.
    pub partition: u32,
    /// Orders this state among all states of the PE.
    pub version: StateVersion,
    /// How many events the PE had handled in its life.
    pub event_count: u64,
    /// When the state was captured, to the microsecond.
    pub captured_at: SystemTime,
    /// How long before that the PE handled its last event.
    pub idle: Duration,
    /// The fingerprint of the schema of the payload.
    pub fingerprint: u64,
    /// The input that the state contains.
    pub positions: InputPositions,
    sections: &'a [u8],
    header_bytes: usize,
    payload_bytes: usize,
}

/// A whole record, both checksums verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordView<'a> {
    header: RecordHeader<'a>,
    // The header's bytes but for its checksum.
    header_part: &'a [u8],
    payload: &'a [u8],
}

impl<'a> RecordHeader<'a> {
    /// Reads the header at the start of `bytes`; what follows it may be missing.
    ///
    /// # Errors
    /// The bytes are no header, are damaged, or were written by a newer library.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let fixed = bytes.get(..FIXED_BYTES).ok_or_else(|| truncated(FIXED_BYTES, bytes))?;
        if !fixed.starts_with(&MAGIC) {
            return Err(RecordError::new(RecordErrorKind::Magic, 0));
        }
        // The version comes before the checksum: another version may compute it otherwise. A
        // damaged version byte is thus told as a wrong version, which is an error all the same.
        let [found] = array(fixed, AT_VERSION);
        if found != FORMAT_VERSION {
            let kind = RecordErrorKind::UnsupportedVersion { found, max: FORMAT_VERSION };
            return Err(RecordError::new(kind, AT_VERSION));
        }
        let prototype_bytes = usize::from(u16::from_le_bytes(array(fixed, AT_PROTOTYPE_BYTES)));
        let key_bytes = bounded(fixed, AT_KEY_BYTES, KEY_BYTES_MAX)?;
        let sections_bytes = bounded(fixed, AT_SECTIONS_BYTES, SECTIONS_BYTES_MAX)?;
        let payload_bytes = bounded(fixed, AT_PAYLOAD_BYTES, usize::MAX)?;
        let crc_at = FIXED_BYTES + prototype_bytes + key_bytes + sections_bytes;
        let header_bytes = crc_at + CHECKSUM_BYTES;
        let header = bytes.get(..header_bytes).ok_or_else(|| truncated(header_bytes, bytes))?;
        let covered = header.get(..crc_at).unwrap_or_default();
        if crc32c::crc32c(covered) != u32::from_le_bytes(array(header, crc_at)) {
            return Err(RecordError::new(RecordErrorKind::HeaderChecksum, crc_at));
        }

        let [flags] = array(fixed, AT_FLAGS);
        if flags & !FLAGS_KNOWN != 0 {
            let found = u16::from(flags & !FLAGS_KNOWN);
            let kind = RecordErrorKind::UnsupportedFeature { found };
            return Err(RecordError::new(kind, AT_FLAGS));
        }
        let inconsistent = |at| RecordError::new(RecordErrorKind::Header, at);
        let variable = covered.get(FIXED_BYTES..).unwrap_or_default();
        let (prototype, rest) =
            variable.split_at_checked(prototype_bytes).ok_or(inconsistent(AT_PROTOTYPE_BYTES))?;
        let (key, sections) = rest.split_at_checked(key_bytes).ok_or(inconsistent(AT_KEY_BYTES))?;
        let prototype = std::str::from_utf8(prototype).map_err(|_| inconsistent(FIXED_BYTES))?;
        let kind = match flags & FLAG_TOMBSTONE {
            0 => RecordKind::State,
            _ if payload_bytes == 0 => RecordKind::Tombstone,
            _ => return Err(inconsistent(AT_PAYLOAD_BYTES)),
        };
        let captured = Duration::from_micros(u64::from_le_bytes(array(fixed, AT_CAPTURED_MICROS)));
        let sections_at = crc_at - sections_bytes;
        let (positions, seals) = parse_sections(sections, sections_at)?;
        if kind == RecordKind::Tombstone && !seals.is_none() {
            // There is nothing to be sealed.
            return Err(inconsistent(sections_at));
        }
        Ok(Self {
            id: CheckpointIdRef { prototype, key },
            kind,
            partition: u32::from_le_bytes(array(fixed, AT_PARTITION)),
            version: StateVersion::new(
                u64::from_le_bytes(array(fixed, AT_EPOCH)),
                u64::from_le_bytes(array(fixed, AT_SEQUENCE)),
            ),
            event_count: u64::from_le_bytes(array(fixed, AT_EVENT_COUNT)),
            captured_at: UNIX_EPOCH
                .checked_add(captured)
                .ok_or(inconsistent(AT_CAPTURED_MICROS))?,
            idle: Duration::from_millis(u64::from(u32::from_le_bytes(array(
                fixed,
                AT_IDLE_MILLIS,
            )))),
            fingerprint: u64::from_le_bytes(array(fixed, AT_FINGERPRINT)),
            positions,
            sections,
            header_bytes,
            payload_bytes,
        })
    }

    /// Reads the header of a record that must lie whole at the start of `bytes`.
    pub(crate) fn parse_of_whole(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let header = Self::parse(bytes)?;
        let record_bytes = header.record_bytes();
        if bytes.len() < record_bytes { Err(truncated(record_bytes, bytes)) } else { Ok(header) }
    }

    /// Checks that the record is one of `id` and returns its header.
    pub(crate) fn of(self, id: CheckpointIdRef<'_>) -> Result<Self, RecordError> {
        if self.id == id {
            Ok(self)
        } else {
            Err(RecordError::new(RecordErrorKind::WrongId, FIXED_BYTES))
        }
    }

    pub(super) fn seals(&self) -> Seals {
        Seals::of(self.sections)
    }

    /// Returns the id of the key that the payload is encrypted with, if it is.
    #[must_use]
    pub fn encryption_key_id(&self) -> Option<u32> {
        self.seals().encrypted_with()
    }

    /// Returns whether the payload is compressed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.seals().compressed.is_some()
    }

    /// Returns where in the record the prototype's name lies.
    pub(crate) fn prototype_place(&self) -> Range<usize> {
        FIXED_BYTES..FIXED_BYTES + self.id.prototype.len()
    }

    /// Returns where in the record the key lies.
    pub(crate) fn key_place(&self) -> Range<usize> {
        let start = self.prototype_place().end;
        start..start + self.id.key.len()
    }

    /// Returns how many bytes the header has, its checksum included.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// Returns how many bytes the whole record has, header, payload and checksums.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.header_bytes.saturating_add(self.payload_bytes).saturating_add(CHECKSUM_BYTES)
    }
}

/// Returns when a record was captured, in whole seconds since 1970; 0 if the bytes are none. For
/// records that are known to be intact.
pub(crate) fn captured_seconds(record: &[u8]) -> u32 {
    let micros = record.get(AT_CAPTURED_MICROS..).and_then(|rest| rest.first_chunk());
    let micros = micros.map_or(0, |micros| u64::from_le_bytes(*micros));
    u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX)
}

/// Returns whether the checksum of a record holds; nothing else is looked at. For records that were
/// made by this process.
pub(crate) fn is_intact(record: &[u8]) -> bool {
    record
        .split_last_chunk()
        .is_some_and(|(covered, crc)| crc32c::crc32c(covered) == u32::from_le_bytes(*crc))
}

impl<'a> RecordView<'a> {
    /// Reads the record that is exactly `bytes`.
    ///
    /// # Errors
    /// The bytes are no record, are damaged, are followed by others, or were written by a newer
    /// library.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (record, rest) = Self::parse_prefix(bytes)?;
        match rest.len() {
            0 => Ok(record),
            found => {
                let at = bytes.len() - found;
                Err(RecordError::new(RecordErrorKind::TrailingBytes { found }, at))
            }
        }
    }

    /// Reads the record at the start of `bytes` and returns it with the bytes behind it.
    ///
    /// # Errors
    /// The bytes do not begin with a record, are damaged, or were written by a newer library.
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RecordError> {
        let header = RecordHeader::parse(bytes)?;
        let record_bytes = header.record_bytes();
        let (record, rest) =
            bytes.split_at_checked(record_bytes).ok_or_else(|| truncated(record_bytes, bytes))?;
        let crc_at = record_bytes - CHECKSUM_BYTES;
        let covered = record.get(..crc_at).unwrap_or_default();
        if crc32c::crc32c(covered) != u32::from_le_bytes(array(record, crc_at)) {
            return Err(RecordError::new(RecordErrorKind::Checksum, crc_at));
        }
        let payload = covered.get(header.header_bytes..).unwrap_or_default();
        let header_part = covered.get(..header.header_bytes - CHECKSUM_BYTES).unwrap_or_default();
        Ok((Self { header, header_part, payload }, rest))
    }

    /// Checks that the record is one of `id` and returns it.
    ///
    /// # Errors
    /// The record belongs to another id: it lies in the wrong place.
    pub fn of(self, id: CheckpointIdRef<'_>) -> Result<Self, RecordError> {
        Ok(Self { header: self.header.of(id)?, ..self })
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> &RecordHeader<'a> {
        &self.header
    }

    /// Returns the header's bytes but for its checksum: what an encrypted payload belongs to.
    #[cfg(feature = "encryption")]
    pub(super) fn header_part(&self) -> &'a [u8] {
        self.header_part
    }

    /// Returns the payload as it is stored: the encoded state, which may be
    /// [compressed](RecordHeader::is_compressed) or
    /// [encrypted](RecordHeader::encryption_key_id), or nothing if the record marks a removal.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

fn parse_sections(
    mut rest: &[u8],
    mut offset: usize,
) -> Result<(InputPositions, Seals), RecordError> {
    let mut positions = InputPositions::default();
    let mut seals = Seals::default();
    while !rest.is_empty() {
        let inconsistent = || RecordError::new(RecordErrorKind::Header, offset);
        let (head, behind) = rest.split_at_checked(SECTION_HEAD_BYTES).ok_or_else(inconsistent)?;
        let section = u16::from_le_bytes(array(head, 0));
        let length = usize::try_from(u32::from_le_bytes(array(head, 2))).unwrap_or(usize::MAX);
        let (body, behind) = behind.split_at_checked(length).ok_or_else(inconsistent)?;
        match section {
            SECTION_POSITIONS if body.len().is_multiple_of(POSITION_BYTES) => {
                positions = body.as_chunks::<POSITION_BYTES>().0.iter().map(position).collect();
            }
            SECTION_POSITIONS => return Err(inconsistent()),
            SECTION_COMPRESSED | SECTION_ENCRYPTED => {
                if !seals.take_in(section, body) {
                    return Err(inconsistent());
                }
            }
            SECTION_OPTIONAL.. => {}
            found => {
                let kind = RecordErrorKind::UnsupportedFeature { found };
                return Err(RecordError::new(kind, offset));
            }
        }
        offset += SECTION_HEAD_BYTES + length;
        rest = behind;
    }
    Ok((positions, seals))
}

fn position(bytes: &[u8; POSITION_BYTES]) -> InputPosition {
    InputPosition {
        source: SourceId(u64::from_le_bytes(array(bytes, 0))),
        position: u64::from_le_bytes(array(bytes, 8)),
    }
}

fn truncated(needed: usize, bytes: &[u8]) -> RecordError {
    let kind = RecordErrorKind::Truncated { needed, found: bytes.len() };
    RecordError::new(kind, bytes.len())
}

fn bounded(fixed: &[u8], at: usize, max: usize) -> Result<usize, RecordError> {
    let length = usize::try_from(u32::from_le_bytes(array(fixed, at))).unwrap_or(usize::MAX);
    if length > max {
        // Before the checksum: a hostile length must not even be added up.
        return Err(RecordError::new(RecordErrorKind::HeaderChecksum, at));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordMeta, RecordWriter};

    const VERSION: StateVersion = StateVersion::new(2, 17);
    const CAPTURED: Duration = Duration::from_micros(1_767_225_600_123_456);

    /// A record behind three other bytes.
    fn written(id: CheckpointIdRef<'_>, positions: &[(u64, u64)], payload: &[u8]) -> Vec<u8> {
        let positions = positions.iter();
        let position = |&(source, position)| InputPosition { source: SourceId(source), position };
        let meta = RecordMeta {
            kind: RecordKind::State,
            partition: 3,
            version: VERSION,
            event_count: 100,
            captured_at: UNIX_EPOCH + CAPTURED,
            idle: Duration::from_millis(250),
            fingerprint: 0x0123_4567_89AB_CDEF,
            positions: &positions.map(position).collect::<Vec<_>>(),
        };
        let mut bytes = vec![1, 2, 3];
        let writer = RecordWriter::begin(&mut bytes, id, &meta);
        assert_eq!((writer.start(), writer.payload_start()), (3, bytes.len()));
        bytes.extend_from_slice(payload);
        writer.finish(&mut bytes);
        bytes
    }

    #[test]
    fn a_record_says_where_its_parts_are_and_what_it_was_written_with() {
        let key = [7; KEY_BYTES_MAX];
        for (id, positions, payload) in [
            (CheckpointIdRef { prototype: "pe", key: b"" }, &[][..], &b"a state"[..]),
            (CheckpointIdRef { prototype: "prototype", key: b"key" }, &[(1, 10), (5, 9)], b""),
            (CheckpointIdRef { prototype: "p", key: &key }, &[(1, u64::MAX)], b"a state"),
        ] {
            let bytes = written(id, positions, payload);
            let record = &bytes[3..];
            let view = RecordView::parse(record).unwrap();
            let header = view.header();
            assert_eq!((header.id, header.kind, view.payload()), (id, RecordKind::State, payload));
            assert_eq!((header.partition, header.version.to_string()), (3, "2.17".to_owned()));
            assert_eq!((header.event_count, header.fingerprint), (100, 0x0123_4567_89AB_CDEF));
            assert_eq!(header.captured_at, UNIX_EPOCH + CAPTURED);
            assert_eq!(header.idle, Duration::from_millis(250));
            for &(source, position) in positions {
                assert_eq!(header.positions.of(SourceId(source)), Some(position));
            }
            assert_eq!(header.positions.as_slice().len(), positions.len());
            assert_eq!((header.encryption_key_id(), header.is_compressed()), (None, false));

            assert_eq!(&record[header.prototype_place()], id.prototype.as_bytes());
            assert_eq!(&record[header.key_place()], id.key);
            assert_eq!(header.record_bytes(), record.len());
            assert_eq!(header.header_bytes() + payload.len() + CHECKSUM_BYTES, record.len());
        }
    }

    #[test]
    fn what_is_known_to_be_intact_is_looked_at_in_part() {
        let id = CheckpointIdRef { prototype: "pe", key: b"key" };
        let bytes = written(id, &[], b"a state");
        let record = &bytes[3..];
        assert_eq!((captured_seconds(record), captured_seconds(&[])), (1_767_225_600, 0));
        assert!(is_intact(record) && !is_intact(&record[1..]) && !is_intact(&[]));
        assert!(RecordHeader::parse_of_whole(record).is_ok());
        assert!(RecordHeader::parse_of_whole(&[record, b"more"].concat()).is_ok());
        let cut = &record[..record.len() - 1];
        assert!(RecordHeader::parse(cut).is_ok());
        let kind = RecordErrorKind::Truncated { needed: record.len(), found: cut.len() };
        assert_eq!(RecordHeader::parse_of_whole(cut), Err(RecordError::new(kind, cut.len())));
    }

    #[test]
    fn a_damaged_byte_is_told_by_the_checksum_that_does_not_match() {
        let id = CheckpointIdRef { prototype: "pe", key: b"key" };
        let bytes = written(id, &[(1, 2)], b"a state");
        let record = &bytes[3..];
        let header_bytes = RecordHeader::parse(record).unwrap().header_bytes();
        for at in AT_EPOCH..record.len() {
            let mut damaged = record.to_vec();
            damaged[at] ^= 0x10;
            let (kind, crc_at) = match at < header_bytes {
                true => (RecordErrorKind::HeaderChecksum, header_bytes - CHECKSUM_BYTES),
                false => (RecordErrorKind::Checksum, record.len() - CHECKSUM_BYTES),
            };
            let error = RecordView::parse(&damaged).unwrap_err();
            assert_eq!((error.kind(), error.offset()), (kind, crc_at), "byte {at}");
        }
        let found = 4;
        let error = RecordView::parse(&[record, b"more"].concat()).unwrap_err();
        let kind = RecordErrorKind::TrailingBytes { found };
        assert_eq!((error.kind(), error.offset()), (kind, record.len()));
        assert!(error.to_string().starts_with("4 bytes"), "{error}");
    }
}
