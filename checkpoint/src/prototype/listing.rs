//! Which PEs there are.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::checkpoint_id::CheckpointId;
use crate::framework::{CheckpointSource, SourceStatus};
use crate::process_error::ProcessError;
use crate::prototype::entry::{Flags, Slot};
use crate::prototype::inner::{coarse, coarse_span};
use crate::prototype::key::{Key, NotAKey};
use crate::prototype::pe_prototype::PePrototype;
use crate::state::Checkpointable;
use crate::storage::{StorageError, StorageErrorKind};

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Returns how many PEs are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.status().resident).unwrap_or(usize::MAX)
    }

    /// Returns whether no PE is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what the prototype counts.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        CheckpointSource::status(&*self.inner)
    }

    /// Returns the ids of all PEs, those in memory and those that are only stored, in order.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn ids(&self) -> Result<Vec<CheckpointId>, StorageError> {
        let attempted = || format!("list the ids of `{}`", self.inner.name);
        let reentrant = |error| {
            StorageError::new(StorageErrorKind::Unsupported, attempted()).with_source(error)
        };
        let mut ids = BTreeSet::new();
        if let Some(storage) = self.inner.storage() {
            storage.ids(&self.inner.name, &mut |id| {
                ids.insert(id);
                ControlFlow::Continue(())
            })?;
        }
        for shard in 0..self.inner.shards.len() {
            let mut locked = self.inner.lock(shard).map_err(reentrant)?;
            for entry in locked.table().entries.iter() {
                let id = self.inner.id_of_entry(&entry.key);
                match entry.slot {
                    Slot::Gone => ids.remove(&id),
                    Slot::Resident(_) | Slot::Out { .. } => ids.insert(id),
                    Slot::Fetching(_) => false,
                };
            }
        }
        Ok(ids.into_iter().collect())
    }

    /// Returns the keys of all PEs, those in memory and those that are only stored.
    ///
    /// # Errors
    /// The storage cannot be read, or has bytes that are no key of this type.
    pub fn keys(&self) -> Result<Vec<K>, StorageError> {
        let key = |id: CheckpointId| {
            K::from_key_bytes(id.key()).map_err(|error: NotAKey| {
                let attempted = format!("read the key of {id}");
                StorageError::new(StorageErrorKind::InvalidStore, attempted).with_source(error)
            })
        };
        self.ids()?.into_iter().map(key).collect()
    }

    /// Returns the PEs that somebody has had for at least `age`, and for how long.
    ///
    /// A PE that is lent out cannot be checkpointed: a guard that is held for long, or was
    /// forgotten, is worth knowing.
    #[must_use]
    pub fn checked_out(&self, age: Duration) -> Vec<(CheckpointId, Duration)> {
        let now = coarse(self.inner.now());
        let mut found = Vec::new();
        // A shard whose lock is held for long is left out rather than waited for.
        self.inner.look(Duration::from_millis(100), |locked| {
            let table = locked.table();
            for entry in table.entries.iter() {
                let Slot::Out { since, .. } = &entry.slot else { continue };
                let out = coarse_span(*since, now);
                if out >= age {
                    found.push((self.inner.id_of_entry(&entry.key), out));
                }
            }
        });
        found
    }

    /// Calls `f` with each PE that is in memory and not lent out, in any order.
    ///
    /// A shard's lock is held while `f` runs on its PEs: it should be short, and must not call the
    /// library.
    ///
    /// # Errors
    /// The call came from inside an event.
    pub fn for_each(&self, mut f: impl FnMut(&K, &P)) -> Result<(), ProcessError> {
        for shard in 0..self.inner.shards.len() {
            let mut locked = self.inner.lock(shard)?;
            for entry in locked.table().entries.iter() {
                if let Slot::Resident(state) = &entry.slot
                    && !entry.flags.has_any(Flags::BROKEN)
                {
                    f(&entry.key, state);
                }
            }
        }
        Ok(())
    }
}
