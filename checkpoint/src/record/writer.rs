//! Writes a record around a payload that is encoded in place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::layout::{
    AT_CAPTURED_MICROS, AT_EPOCH, AT_EVENT_COUNT, AT_FINGERPRINT, AT_FLAGS, AT_IDLE_MILLIS,
    AT_KEY_BYTES, AT_PARTITION, AT_PAYLOAD_BYTES, AT_PROTOTYPE_BYTES, AT_SECTIONS_BYTES,
    AT_SEQUENCE, AT_VERSION, CHECKSUM_BYTES, FIXED_BYTES, FLAG_TOMBSTONE, FORMAT_VERSION, MAGIC,
    POSITION_BYTES, SECTION_HEAD_BYTES, SECTION_POSITIONS,
};
use crate::record::{InputPosition, RecordKind, StateVersion};

/// What a record says beside its id and its payload.
#[derive(Debug, Clone)]
pub struct RecordMeta<'a> {
    /// A state or the mark of a removal.
    pub kind: RecordKind,
    /// The partition that the PE belongs to.
    pub partition: u32,
    /// Orders this state among all states of the PE.
    pub version: StateVersion,
    /// How many events the PE has handled in its life.
    pub event_count: u64,
    /// When the state was captured. Information only: nothing is ordered by it.
    pub captured_at: SystemTime,
    /// How long before that the PE handled its last event.
    pub idle: Duration,
    /// The fingerprint of the schema of the payload.
    pub fingerprint: u64,
    /// The input that the state contains, in rising order of the source.
    pub positions: &'a [InputPosition],
}

/// Writes one record to the end of a buffer.
///
/// [`begin`](Self::begin) writes the header, then the caller appends the payload to the same
/// buffer, then [`finish`](Self::finish) patches the lengths and computes both checksums. Between
/// the two steps the bytes are no valid record.
#[derive(Debug, Clone, Copy)]
#[must_use = "a record is none before it is finished"]
pub struct RecordWriter {
    start: usize,
    payload: usize,
}

impl RecordWriter {
    /// Appends the header to `bytes`.
    ///
    /// The id must have been checked: a name of at most 200 bytes, a key of at most 65,536.
    pub fn begin(bytes: &mut Vec<u8>, id: CheckpointIdRef<'_>, meta: &RecordMeta<'_>) -> Self {
        let start = bytes.len();
        let mut fixed = [0; FIXED_BYTES];
        let mut put = |at: usize, field: &[u8]| {
            if let Some(place) = fixed.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        };
        let flags = match meta.kind {
            RecordKind::State => 0,
            RecordKind::Tombstone => FLAG_TOMBSTONE,
        };
        let positions = meta.positions;
        let sections_bytes = match positions.len() {
            0 => 0,
            n => SECTION_HEAD_BYTES + n * POSITION_BYTES,
        };
        put(0, &MAGIC);
        put(AT_VERSION, &[FORMAT_VERSION]);
        put(AT_FLAGS, &[flags]);
        put(AT_PROTOTYPE_BYTES, &saturating_u16(id.prototype.len()).to_le_bytes());
        put(AT_KEY_BYTES, &saturating_u32(id.key.len()).to_le_bytes());
        put(AT_PARTITION, &meta.partition.to_le_bytes());
        put(AT_SECTIONS_BYTES, &saturating_u32(sections_bytes).to_le_bytes());
        put(AT_EPOCH, &meta.version.epoch.0.to_le_bytes());
        put(AT_SEQUENCE, &meta.version.sequence.0.to_le_bytes());
        put(AT_EVENT_COUNT, &meta.event_count.to_le_bytes());
        put(AT_CAPTURED_MICROS, &micros(meta.captured_at).to_le_bytes());
        put(AT_FINGERPRINT, &meta.fingerprint.to_le_bytes());
        let idle = u32::try_from(meta.idle.as_millis()).unwrap_or(u32::MAX);
        put(AT_IDLE_MILLIS, &idle.to_le_bytes());

        bytes.extend_from_slice(&fixed);
        bytes.extend_from_slice(id.prototype.as_bytes());
        bytes.extend_from_slice(id.key);
        if !positions.is_empty() {
            let length = saturating_u32(positions.len() * POSITION_BYTES);
            bytes.extend_from_slice(&SECTION_POSITIONS.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
            for position in positions {
                bytes.extend_from_slice(&position.source.0.to_le_bytes());
                bytes.extend_from_slice(&position.position.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&[0; CHECKSUM_BYTES]);
        Self { start, payload: bytes.len() }
    }

    /// The writer of a record whose header and payload begin at these offsets.
    pub(super) fn of_parts(start: usize, payload: usize) -> Self {
        Self { start, payload }
    }

    /// Returns the offset in the buffer where the record begins.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Returns the offset in the buffer where the payload begins.
    #[must_use]
    pub fn payload_start(&self) -> usize {
        self.payload
    }

    /// Ends the record of which the payload ends where `bytes` ends.
    pub fn finish(self, bytes: &mut Vec<u8>) {
        let end = self.close(bytes);
        self.seal(bytes, end);
    }

    /// Ends a record in the middle of a buffer; the four bytes behind the payload are there for it.
    pub(crate) fn seal(self, bytes: &mut [u8], end: usize) {
        let Some(record) = bytes.get_mut(self.start..end) else { return };
        let header_bytes = self.payload - self.start;
        let payload_bytes = record.len().saturating_sub(header_bytes + CHECKSUM_BYTES);
        let place = AT_PAYLOAD_BYTES..AT_PAYLOAD_BYTES + 4;
        put(record, place, saturating_u32(payload_bytes));
        let crc_at = header_bytes - CHECKSUM_BYTES;
        let header_crc = crc32c::crc32c(record.get(..crc_at).unwrap_or_default());
        put(record, crc_at..header_bytes, header_crc);
        let end = header_bytes + payload_bytes;
        // Goes on from the header's checksum: no byte is read twice.
        let crc = crc32c::crc32c_append(header_crc, record.get(crc_at..end).unwrap_or_default());
        put(record, end..end + CHECKSUM_BYTES, crc);
    }

    /// Leaves room for the checksum behind the payload, which [`seal`](Self::seal) fills in, and
    /// returns where the record ends.
    pub(crate) fn close(self, bytes: &mut Vec<u8>) -> usize {
        bytes.extend_from_slice(&[0; CHECKSUM_BYTES]);
        bytes.len()
    }
}

fn put(record: &mut [u8], place: std::ops::Range<usize>, number: u32) {
    if let Some(place) = record.get_mut(place) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

// The lengths are bounded long before (name 200 bytes, key 64 KiB, state `state_bytes_max`): a
// length that does not fit makes a record that no reader accepts, never one that is read wrongly.
fn saturating_u16(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn saturating_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
