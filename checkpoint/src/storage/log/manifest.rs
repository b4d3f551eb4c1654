//! The list of the segments that belong to a store, and how far each is valid.

use crate::checkpoint_id::CheckpointIdRef;
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::own_records::OwnRecord;
use crate::storage::{StorageError, StorageErrorKind};

/// The file of the list.
pub(super) const MANIFEST: &str = "manifest";
pub(super) const MANIFEST_RECORD: OwnRecord<'_> =
    OwnRecord { path: MANIFEST, id: CheckpointIdRef { prototype: "\u{1}manifest", key: b"" } };
/// Number, valid bytes and durable bytes.
const ITEM_BYTES: usize = 20;

/// A segment in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) number: u32,
    /// How much of it counts; what lies behind was never acknowledged, or is elsewhere too. `None`
    /// for the one that is being written: it counts as far as its batches are whole.
    pub(super) valid_bytes: Option<u64>,
    /// How much of it is certainly durable: what is not whole before that is damaged, and what is
    /// not whole behind it was never acknowledged, or is being written elsewhere.
    pub(super) durable_bytes: u64,
}

/// The segments of a store, in the order in which they were written; only the last one may be open.
///
/// A file that is not in it is none of the store's: it is left from a segment that was given up, or
/// not yet used.
#[derive(Debug, Clone, Default)]
pub(super) struct Manifest {
    /// Counts the changes.
    generation: u64,
    pub(super) segments: Vec<Listed>,
}

impl Manifest {
    /// Reads the list; `None` if there is none.
    pub(super) fn read(directory: &StoreDirectory) -> Result<Option<Self>, StorageError> {
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
        let rises = segments.is_sorted_by(|a, b| a.number < b.number);
        if !rises || all_but_last.iter().any(is_open) {
            return Err(damaged());
        }
        Ok(Some(Self { generation: content.number, segments }))
    }

    /// Makes `segments` the list, durably.
    ///
    /// # Errors
    /// The list on disk is the old or the new one: whoever goes on must be right with either.
    pub(super) fn replace(
        &mut self,
        directory: &StoreDirectory,
        segments: Vec<Listed>,
    ) -> Result<(), StorageError> {
        let mut bytes = Vec::with_capacity(segments.len() * ITEM_BYTES);
        for Listed { number, valid_bytes, durable_bytes } in &segments {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&valid_bytes.unwrap_or(u64::MAX).to_le_bytes());
            bytes.extend_from_slice(&durable_bytes.to_le_bytes());
        }
        let generation = self.generation + 1;
        directory.write_own(MANIFEST_RECORD, generation, &bytes)?;
        *self = Self { generation, segments };
        Ok(())
    }

    /// The number of a segment that is not there yet.
    pub(super) fn next_number(&self) -> Option<u32> {
        self.segments.last().map_or(Some(1), |last| last.number.checked_add(1))
    }
}

fn decode(item: &[u8; ITEM_BYTES]) -> Option<Listed> {
    let (number, rest) = item.split_first_chunk()?;
    let (valid_bytes, rest) = rest.split_first_chunk()?;
    let valid_bytes = u64::from_le_bytes(*valid_bytes);
    Some(Listed {
        number: u32::from_le_bytes(*number),
        valid_bytes: (valid_bytes != u64::MAX).then_some(valid_bytes),
        durable_bytes: u64::from_le_bytes(*rest.first_chunk()?),
    })
}
