//! The epochs of the partitions, drawn from one counter that is kept with the store.

use std::collections::BTreeMap;

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::Epoch;
use crate::storage::directory::own_records::{OwnRecord, OwnRecords};
use crate::storage::directory::store::Store;
use crate::storage::{SaveEntry, StorageError, StorageErrorKind};

pub(in crate::storage) const EPOCH: OwnRecord<'_> =
    OwnRecord { path: "epoch", id: CheckpointIdRef { prototype: "\u{1}epoch", key: b"" } };

/// The epochs that were opened since the store was.
#[derive(Debug)]
pub(in crate::storage) struct Epochs {
    // Drawn when the store was opened: what a partition that is opened for the first time gets.
    of_this_opening: Epoch,
    // The highest one that was drawn, durably.
    last: Epoch,
    opened: BTreeMap<u32, Epoch>,
}

impl Epochs {
    /// Draws the epoch of this opening.
    pub(in crate::storage) fn draw_first(
        own: &OwnRecords,
        store: &Store,
        last: u64,
    ) -> Result<Self, StorageError> {
        let first = draw(own, store, Epoch(last))?;
        Ok(Self { of_this_opening: first, last: first, opened: BTreeMap::new() })
    }

    /// Those of a store that is only read: `last` was the last one that was drawn.
    pub(in crate::storage) fn only_read(last: u64) -> Self {
        Self { of_this_opening: Epoch(last), last: Epoch(last), opened: BTreeMap::new() }
    }

    /// Opens a partition.
    pub(in crate::storage) fn open(
        &mut self,
        own: &OwnRecords,
        store: &Store,
        partition: u32,
    ) -> Result<Epoch, StorageError> {
        let epoch = if self.opened.contains_key(&partition) {
            self.last = draw(own, store, self.last)?;
            self.last
        } else {
            self.of_this_opening
        };
        self.opened.insert(partition, epoch);
        Ok(epoch)
    }

    /// Returns an error if the partition was opened again since the entry's writer did.
    pub(in crate::storage) fn check(
        &self,
        entry: &SaveEntry,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let mine = entry.version().epoch;
        match self.opened.get(&entry.partition()) {
            Some(&current) if mine < current => {
                let kind = StorageErrorKind::Fenced { mine, current };
                Err(StorageError::new(kind, format!("save {}", entry.id_in(bytes))))
            }
            _ => Ok(()),
        }
    }
}

/// Makes the next epoch durable. If that fails it was given to nobody, and may be drawn again.
fn draw(own: &OwnRecords, store: &Store, last: Epoch) -> Result<Epoch, StorageError> {
    let Some(next) = last.0.checked_add(1) else {
        let attempted = format!("draw an epoch after {}", last.0);
        return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
    };
    own.write_or_fail(store, EPOCH, next, &[])?;
    Ok(Epoch(next))
}
