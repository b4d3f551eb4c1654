//! The list of the segments that belong to a store, and how far each is valid.

use std::collections::BTreeSet;

use crate::checkpoint_id::CheckpointIdRef;
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::own_records::{Content, OwnRecord};
use crate::storage::{StorageError, StorageErrorKind};

/// The file of the list.
pub(super) const MANIFEST: &str = "manifest";
pub(super) const MANIFEST_RECORD: OwnRecord<'_> =
    OwnRecord { path: MANIFEST, id: CheckpointIdRef { prototype: "\u{1}manifest", key: b"" } };
/// Number, order, valid bytes and durable bytes.
const ITEM_BYTES: usize = 24;

/// A segment in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    /// Names its file; never used twice.
    pub(super) number: u32,
    /// Where it stands in the log: what has a higher order was written later. One that took the
    /// place of others by compaction has the order of the last of them.
    pub(super) order: u32,
    /// How much of it counts; what lies behind was never acknowledged, or is elsewhere too. `None`
    /// for the one that is being written: it counts as far as its batches are whole.
    pub(super) valid_bytes: Option<u64>,
    /// How much of it is certainly durable: what is not whole before that is damaged, and what is
    /// not whole behind it was never acknowledged, or is being written elsewhere.
    pub(super) durable_bytes: u64,
}

/// The segments of a store, in rising order; only the last one may be open.
///
/// A file that is not in it is none of the store's: it is left from a segment that was given up, or
/// not yet used.
#[derive(Debug, Clone, Default)]
pub(super) struct Manifest {
    /// Rises with each change, and is no less than any number that was taken until then.
    pub(super) generation: u64,
    pub(super) segments: Vec<Listed>,
}

impl Manifest {
    /// Reads the list, and returns it with what its file has; `None` if there is none.
    pub(super) fn read(
        directory: &StoreDirectory,
    ) -> Result<Option<(Self, Content)>, StorageError> {
        let Some(content) = directory.read_own(MANIFEST_RECORD)? else { return Ok(None) };
        let damaged = || {
            let attempted = format!("read {}", directory.store.shown(MANIFEST));
            StorageError::new(StorageErrorKind::Corrupt, attempted)
        };
        let (items, rest) = content.bytes.as_chunks::<ITEM_BYTES>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        let segments: Vec<_> = items.iter().filter_map(decode).collect();
        let is_open = |listed: &Listed| listed.valid_bytes.is_none();
        let all_but_last = segments.split_last().map_or(&[][..], |(_, others)| others);
        let rises = segments.is_sorted_by(|a, b| a.order < b.order);
        let numbers: BTreeSet<_> = segments.iter().map(|listed| listed.number).collect();
        if !rises || numbers.len() < segments.len() || all_but_last.iter().any(is_open) {
            return Err(damaged());
        }
        Ok(Some((Self { generation: content.number, segments }, content)))
    }

    /// Makes `segments` the list, durably.
    ///
    /// # Errors
    /// The list on disk is the old or the new one: whoever goes on must be right with either.
    pub(super) fn replace(
        &mut self,
        directory: &StoreDirectory,
        segments: Vec<Listed>,
        numbers_taken_to: u64,
    ) -> Result<(), StorageError> {
        // It rises with each change, and is no less than any number that is taken.
        let generation = numbers_taken_to.max(self.generation + 1);
        directory.write_own(MANIFEST_RECORD, generation, &encode(&segments))?;
        *self = Self { generation, segments };
        Ok(())
    }

    /// The number of a segment that is not there yet; it is its order, too.
    pub(super) fn next_number(&self) -> Option<u32> {
        let used = self.segments.iter().flat_map(|listed| [listed.number, listed.order]);
        // One that is not in the list any more has been there, too.
        let used = u64::from(used.max().unwrap_or(0)).max(self.generation);
        u32::try_from(used + 1).ok()
    }
}

/// The payload of a list.
pub(super) fn encode(segments: &[Listed]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segments.len() * ITEM_BYTES);
    for Listed { number, order, valid_bytes, durable_bytes } in segments {
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&order.to_le_bytes());
        bytes.extend_from_slice(&valid_bytes.unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend_from_slice(&durable_bytes.to_le_bytes());
    }
    bytes
}

fn decode(item: &[u8; ITEM_BYTES]) -> Option<Listed> {
    let (number, rest) = item.split_first_chunk()?;
    let (order, rest) = rest.split_first_chunk()?;
    let (valid_bytes, rest) = rest.split_first_chunk()?;
    let valid_bytes = u64::from_le_bytes(*valid_bytes);
    Some(Listed {
        number: u32::from_le_bytes(*number),
        order: u32::from_le_bytes(*order),
        valid_bytes: (valid_bytes != u64::MAX).then_some(valid_bytes),
        durable_bytes: u64::from_le_bytes(*rest.first_chunk()?),
    })
}
