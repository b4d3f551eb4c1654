//! What was put aside because it could not be restored: listed and discarded.

use std::ops::ControlFlow;

use crate::partition::SequenceExhausted;
use crate::quarantine::{Quarantined, quarantine_name};
use crate::safe_keeper::SafeKeeper;
use crate::storage::{StorageError, StorageErrorKind};
use crate::task::save_and_wait;

impl SafeKeeper {
    /// Returns the checkpoints of a prototype that were put aside because they could not be
    /// restored.
    ///
    /// # Errors
    /// The storage cannot be read, or the keeper is closed.
    pub fn quarantined(&self, prototype: &str) -> Result<Vec<Quarantined>, StorageError> {
        let attempted = || format!("list the quarantine of {prototype}");
        let storage = self.shared.storage();
        let storage =
            storage.ok_or_else(|| StorageError::new(StorageErrorKind::Closed, attempted()))?;
        let mut quarantined = Vec::new();
        storage.ids(&quarantine_name(prototype), &mut |id| {
            quarantined.extend(Quarantined::from_id(&id));
            ControlFlow::Continue(())
        })?;
        quarantined.sort_by(|a, b| (&a.id, a.replaced_by).cmp(&(&b.id, b.replaced_by)));
        Ok(quarantined)
    }

    /// Forgets a checkpoint that was put aside: it cannot be restored any more.
    ///
    /// # Errors
    /// The storage cannot be written, or the keeper is closed.
    pub fn discard_quarantined(&self, quarantined: &Quarantined) -> Result<(), StorageError> {
        let attempted = || format!("discard what was put aside of {}", quarantined.id);
        let storage = self.shared.storage();
        let storage =
            storage.ok_or_else(|| StorageError::new(StorageErrorKind::Closed, attempted()))?;
        // It was put aside with a version of the PE's partition, which its key may have named: at
        // the latest there the next version is newer.
        let newer = |partition| match self.shared.sequences.draw(partition) {
            Ok(version) if version <= quarantined.replaced_by => None,
            drawn => Some(drawn.map(|version| (partition, version))),
        };
        let drawn = (0..self.partitions()).find_map(newer).unwrap_or(Err(SequenceExhausted));
        let (partition, version) = drawn.map_err(|error| {
            StorageError::new(StorageErrorKind::Unsupported, attempted()).with_source(error)
        })?;
        let removal = quarantined.removal(partition, version, self.shared.clock.wall());
        let removal = removal.map_err(|error| {
            StorageError::new(StorageErrorKind::Unsupported, attempted()).with_source(error)
        })?;
        save_and_wait(&*storage, removal).map_err(|error| {
            error.unwrap_or_else(|| StorageError::new(StorageErrorKind::Broken, attempted()))
        })
    }
}
