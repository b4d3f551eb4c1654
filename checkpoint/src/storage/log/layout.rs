//! The bytes of a segment: its head, and the batches behind it.
//!
//! Specified in `checkpoint/FORMAT.md`. Nothing here reads or writes a file.

use crate::checkpoint_id::CheckpointIdRef;

const SEGMENT_MAGIC: [u8; 4] = [0x89, b'C', b'K', b'S'];
const FORMAT_VERSION: u8 = 1;
/// Bytes in front of the first batch.
pub(super) const SEGMENT_HEAD_BYTES: usize = 64;
const AT_SEGMENT_VERSION: usize = 4;
const AT_NUMBER: usize = 8;
const AT_IDENTITY: usize = 16;
const AT_SEGMENT_CHECKSUM: usize = 60;

/// Begins a batch. What is read over a damaged place goes on where this is found again.
pub(super) const BATCH_MAGIC: [u8; 4] = [0x89, b'C', b'K', b'B'];
const BATCH_FIXED_BYTES: usize = 40;
const AT_KIND: usize = 4;
const AT_COUNT: usize = 8;
const AT_OFFSET: usize = 16;
const AT_SYNCED: usize = 24;
const AT_RECORDS_BYTES: usize = 32;
/// For each record: the hash of its id and its length.
const LISTED_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
/// More records would make a head that is too long to be believed.
pub(super) const BATCH_RECORDS_MAX: usize = 1 << 20;

/// Returns the hash by which the log knows an id.
///
/// It is written to disk, so that a record whose own bytes are damaged can be told from others.
pub(super) fn id_hash(id: CheckpointIdRef<'_>) -> u64 {
    key_hash(id.key, name_seed(id.prototype))
}

/// The part of it that all ids of a prototype have in common.
pub(super) fn name_seed(prototype: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(prototype.as_bytes())
}

/// The hash of an id of the prototype that has this seed.
pub(super) fn key_hash(key: &[u8], name_seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key, name_seed)
}

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) number: u32,
    /// Of the store that the segment belongs to.
    pub(super) identity: u128,
}

/// Why bytes are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadError {
    Damaged,
    /// A newer library wrote it.
    UnsupportedVersion(u8),
}

impl SegmentHead {
    pub(super) fn encode(self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut bytes = [0; SEGMENT_HEAD_BYTES];
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, AT_SEGMENT_VERSION, &[FORMAT_VERSION]);
        put(&mut bytes, AT_NUMBER, &u64::from(self.number).to_le_bytes());
        put(&mut bytes, AT_IDENTITY, &self.identity.to_le_bytes());
        let checksum = crc32c::crc32c(bytes.get(..AT_SEGMENT_CHECKSUM).unwrap_or_default());
        put(&mut bytes, AT_SEGMENT_CHECKSUM, &checksum.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        let bytes = bytes.first_chunk::<SEGMENT_HEAD_BYTES>().ok_or(HeadError::Damaged)?;
        if !bytes.starts_with(&SEGMENT_MAGIC) {
            return Err(HeadError::Damaged);
        }
        match u8::from_le_bytes(array(bytes, AT_SEGMENT_VERSION)) {
            FORMAT_VERSION => {}
            found => {
                // One that is right but for this byte is of this version, and damaged.
                let mut of_this = *bytes;
                put(&mut of_this, AT_SEGMENT_VERSION, &[FORMAT_VERSION]);
                return Err(match is_intact(&of_this) {
                    true => HeadError::Damaged,
                    false => HeadError::UnsupportedVersion(found),
                });
            }
        }
        if !is_intact(bytes) {
            return Err(HeadError::Damaged);
        }
        let number = u32::try_from(u64::from_le_bytes(array(bytes, AT_NUMBER)));
        Ok(Self {
            number: number.map_err(|_| HeadError::Damaged)?,
            identity: u128::from_le_bytes(array(bytes, AT_IDENTITY)),
        })
    }

    /// What the checksums of the segment's batches go on from: a batch that was left in a place by
    /// another segment, or another store, does not pass for one of this.
    ///
    /// It is the checksum of the head; that of the head together with its checksum would be the
    /// same for all.
    pub(super) fn salt(self) -> u32 {
        u32::from_le_bytes(array(&self.encode(), AT_SEGMENT_CHECKSUM))
    }
}

/// Whether the checksum of a segment's head holds.
fn is_intact(head: &[u8; SEGMENT_HEAD_BYTES]) -> bool {
    let covered = head.get(..AT_SEGMENT_CHECKSUM).unwrap_or_default();
    crc32c::crc32c(covered) == u32::from_le_bytes(array(head, AT_SEGMENT_CHECKSUM))
}

/// What a batch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// It brings records.
    Records,
    /// The store was closed in good order; nothing follows.
    End,
}

/// One record of a batch, as its head lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id_hash: u64,
    pub(super) record_bytes: u32,
}

/// The head of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) kind: BatchKind,
    /// Where in the segment the batch begins.
    pub(super) offset: u64,
    /// Up to where the segment was known to be durable when the batch was written: damage before
    /// that is none of a torn write.
    pub(super) synced: u64,
    pub(super) listed: Vec<Listed>,
}

impl BatchHead {
    /// How many bytes the head of a batch of so many records has.
    pub(super) const fn bytes_of(records: usize) -> usize {
        BATCH_FIXED_BYTES + records * LISTED_BYTES + CHECKSUM_BYTES
    }

    pub(super) fn head_bytes(&self) -> usize {
        Self::bytes_of(self.listed.len())
    }

    pub(super) fn records_bytes(&self) -> u64 {
        self.listed.iter().map(|listed| u64::from(listed.record_bytes)).sum()
    }

    /// Where the batch ends.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.head_bytes() as u64 + self.records_bytes()
    }

    /// Where each record lies in the segment.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, Listed)> + '_ {
        let mut at = self.offset + self.head_bytes() as u64;
        self.listed.iter().map(move |listed| {
            let start = at;
            at += u64::from(listed.record_bytes);
            (start, *listed)
        })
    }

    /// Appends the head to `bytes`.
    pub(super) fn encode(&self, salt: u32, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        let mut fixed = [0; BATCH_FIXED_BYTES];
        put(&mut fixed, 0, &BATCH_MAGIC);
        let kind = match self.kind {
            BatchKind::Records => 0,
            BatchKind::End => 1,
        };
        put(&mut fixed, AT_KIND, &[kind]);
        let count = u32::try_from(self.listed.len()).unwrap_or(u32::MAX);
        put(&mut fixed, AT_COUNT, &count.to_le_bytes());
        put(&mut fixed, AT_OFFSET, &self.offset.to_le_bytes());
        put(&mut fixed, AT_SYNCED, &self.synced.to_le_bytes());
        put(&mut fixed, AT_RECORDS_BYTES, &self.records_bytes().to_le_bytes());
        bytes.extend_from_slice(&fixed);
        for listed in &self.listed {
            bytes.extend_from_slice(&listed.id_hash.to_le_bytes());
            bytes.extend_from_slice(&listed.record_bytes.to_le_bytes());
        }
        let covered = bytes.get(start..).unwrap_or_default();
        let checksum = crc32c::crc32c_append(salt, covered);
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }

    /// How many records a head says that it lists, before anything of it is believed.
    pub(super) fn count_in(bytes: &[u8]) -> Option<usize> {
        let fixed = bytes.first_chunk::<BATCH_FIXED_BYTES>()?;
        usize::try_from(u32::from_le_bytes(array(fixed, AT_COUNT))).ok()
    }

    /// Reads the head of the batch that begins at `offset` of a segment, which `bytes` begins with.
    ///
    /// `None` if there is none, or not all of it.
    pub(super) fn parse(bytes: &[u8], salt: u32, offset: u64) -> Option<Self> {
        let fixed = bytes.first_chunk::<BATCH_FIXED_BYTES>()?;
        if !fixed.starts_with(&BATCH_MAGIC) || u64::from_le_bytes(array(fixed, AT_OFFSET)) != offset
        {
            return None;
        }
        let count = usize::try_from(u32::from_le_bytes(array(fixed, AT_COUNT))).ok()?;
        if count > BATCH_RECORDS_MAX {
            return None;
        }
        let (covered, behind) = bytes.split_at_checked(BATCH_FIXED_BYTES + count * LISTED_BYTES)?;
        let checksum = u32::from_le_bytes(*behind.first_chunk()?);
        if crc32c::crc32c_append(salt, covered) != checksum {
            return None;
        }
        let kind = match array(fixed, AT_KIND) {
            [0] => BatchKind::Records,
            [1] => BatchKind::End,
            _ => return None,
        };
        let listed = covered.get(BATCH_FIXED_BYTES..)?.as_chunks::<LISTED_BYTES>().0;
        let listed = listed.iter().map(|listed| Listed {
            id_hash: u64::from_le_bytes(array(listed, 0)),
            record_bytes: u32::from_le_bytes(array(listed, 8)),
        });
        let synced = u64::from_le_bytes(array(fixed, AT_SYNCED));
        Some(Self { kind, offset, synced, listed: listed.collect() })
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// The `N` bytes at `at`; zeros where there are none, which callers have ruled out.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> BatchHead {
        let listed = [(7, 100), (u64::MAX, 1)];
        let listed = listed.map(|(id_hash, record_bytes)| Listed { id_hash, record_bytes });
        BatchHead { kind: BatchKind::Records, offset: 640, synced: 64, listed: listed.to_vec() }
    }

    #[test]
    fn a_head_that_was_written_is_read() {
        let head = SegmentHead { number: 9, identity: 1 << 100 };
        assert_eq!(SegmentHead::parse(&head.encode()), Ok(head));
        let mut bytes = Vec::new();
        batch().encode(head.salt(), &mut bytes);
        assert_eq!(bytes.len(), batch().head_bytes());
        assert_eq!(BatchHead::parse(&bytes, head.salt(), 640), Some(batch()));
        assert_eq!(batch().end(), 640 + bytes.len() as u64 + 101);
    }

    #[test]
    fn every_changed_byte_of_a_head_is_noticed() {
        let head = SegmentHead { number: 9, identity: 5 };
        for at in 0..SEGMENT_HEAD_BYTES {
            for by in 1..=255 {
                let mut bytes = head.encode();
                bytes[at] ^= by;
                assert!(SegmentHead::parse(&bytes).is_err(), "byte {at} changed by {by}");
            }
        }
        let mut bytes = Vec::new();
        batch().encode(head.salt(), &mut bytes);
        for at in 0..bytes.len() {
            for by in 1..=255 {
                let mut bytes = bytes.clone();
                bytes[at] ^= by;
                assert_eq!(BatchHead::parse(&bytes, head.salt(), 640), None, "byte {at} by {by}");
            }
        }
    }

    #[test]
    fn a_batch_of_another_segment_or_place_is_none() {
        let head = SegmentHead { number: 9, identity: 5 };
        let mut bytes = Vec::new();
        batch().encode(head.salt(), &mut bytes);
        let others = [SegmentHead { number: 8, ..head }, SegmentHead { identity: 6, ..head }];
        for other in others {
            assert_eq!(BatchHead::parse(&bytes, other.salt(), 640), None);
        }
        assert_eq!(BatchHead::parse(&bytes, head.salt(), 641), None);
        assert_eq!(BatchHead::parse(bytes.split_last().unwrap().1, head.salt(), 640), None);
    }
}
