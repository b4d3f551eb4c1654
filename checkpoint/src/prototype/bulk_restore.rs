//! Brings many PEs into memory before their events come.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::entry::Arrival;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::state::Checkpointable;
use crate::storage::{StateStorage, StorageError, StorageErrorKind};

/// So many are on their way at the same time.
const AT_ONCE_MAX: usize = 256;
/// So many errors are reported, one for each PE; all are counted.
const ERRORS_MAX: usize = 100;

/// What came of bringing many PEs into memory, or has come of it so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BulkRestore {
    /// How many PEs have come.
    pub restored: u64,
    /// How many were there.
    pub resident: u64,
    /// How many cannot be restored. Each goes as its prototype's
    /// [`OnRestoreError`](crate::OnRestoreError) says, as with its first event.
    pub failed: u64,
    /// Why: the first hundred.
    pub errors: Vec<ProcessError>,
    /// Whether it ended because as many PEs are in memory as the
    /// [`capacity`](crate::CheckpointingConfigBuilder::capacity) allows.
    pub is_full: bool,
    // Some had to be waited for.
    is_cold: bool,
}

/// A PE that is on its way.
struct OnItsWay<K> {
    key: K,
    arrival: Arc<Arrival>,
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Brings all stored PEs into memory, those with the latest checkpoints first if the storage
    /// knows their order, as [`LogStorage`](crate::LogStorage) does.
    ///
    /// PEs restore themselves with their first events; this is for a program that would rather wait
    /// at its start. Events go on meanwhile. Up to 256 PEs are on their way at the same time, and
    /// nobody leaves for those who come. `progress` is told after each 256.
    ///
    /// # Errors
    /// The storage cannot list its ids, the keeper is closed, or the call came from inside an
    /// event. PEs that have come until then stay. What is wrong with single PEs is in the result.
    ///
    /// # Examples
    /// ```
    /// use checkpoint::{Checkpointable, InMemoryStorage, SafeKeeper, StorageError};
    ///
    /// #[derive(Checkpointable, Default)]
    /// struct Account {
    ///     cents: i64,
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
    /// let accounts = keeper
    ///     .prototype::<String, Account>("account")
    ///     .create(|_| Account::default())
    ///     .build()?;
    /// let report = accounts.restore_all(|so_far| println!("{} restored", so_far.restored))?;
    /// assert_eq!(report.failed, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore_all(
        &self,
        progress: impl FnMut(&BulkRestore),
    ) -> Result<BulkRestore, StorageError> {
        self.restore_hottest(u64::MAX, progress)
    }

    /// Brings up to `count` stored PEs into memory, as [`restore_all`](Self::restore_all) does:
    /// those with the latest checkpoints. Those that are in memory count.
    ///
    /// # Errors
    /// As [`restore_all`](Self::restore_all).
    pub fn restore_hottest(
        &self,
        count: u64,
        mut progress: impl FnMut(&BulkRestore),
    ) -> Result<BulkRestore, StorageError> {
        let inner = &self.inner;
        let Some(storage) = inner.storage() else {
            return Err(inner.not_restored(inner.closed_error()));
        };
        let mut report = BulkRestore::default();
        let mut ids = Vec::new();
        let mut left = count;
        let mut ended = None;
        let listed = storage.ids(&inner.name, &mut |id| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            ids.push(id);
            if ids.len() < AT_ONCE_MAX {
                return ControlFlow::Continue(());
            }
            ended = inner.restore_some(&*storage, &mut ids, &mut report).err();
            progress(&report);
            match ended.is_some() || report.is_full {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        // Also if the list is not complete: that may be because of one of them.
        if ended.is_none() && !report.is_full {
            ended = inner.restore_some(&*storage, &mut ids, &mut report).err();
            progress(&report);
        }
        match ended {
            Some(error) => Err(inner.not_restored(error)),
            None => listed.map(|()| report),
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    fn not_restored(&self, error: ProcessError) -> StorageError {
        let kind = match error {
            ProcessError::Closed { .. } => StorageErrorKind::Closed,
            _ => StorageErrorKind::Unsupported,
        };
        StorageError::new(kind, format!("restore the PEs of `{}`", self.name)).with_source(error)
    }

    /// Brings these into memory, and waits until they are there.
    fn restore_some(
        self: &Arc<Self>,
        storage: &dyn StateStorage,
        ids: &mut Vec<CheckpointId>,
        report: &mut BulkRestore,
    ) -> Result<(), ProcessError> {
        if report.is_cold {
            storage.prefetch(ids);
        }
        let mut coming = Vec::with_capacity(ids.len());
        for id in ids.drain(..) {
            let Ok(key) = K::from_key_bytes(id.key()) else {
                // It was stored by a program with keys of another type; no event can ask for it.
                report.failed += 1;
                continue;
            };
            match self.begin_restore(&key)? {
                Begun::Resident => report.resident += 1,
                Begun::Full => {
                    report.is_full = true;
                    break;
                }
                Begun::Coming(arrival) => coming.push(OnItsWay { key, arrival }),
            }
        }
        report.is_cold = coming.iter().any(|one| one.arrival.result().is_none());
        let deadline = self.deadline();
        for OnItsWay { key, arrival } in coming {
            match self.wait(&key, Hindrance::Arrival(arrival, None), deadline) {
                Ok(()) => report.restored += 1,
                Err(error @ (ProcessError::Closed { .. } | ProcessError::Reentrant { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    report.failed += 1;
                    if report.errors.len() < ERRORS_MAX {
                        report.errors.push(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sees to it that a PE comes that is not there.
    fn begin_restore(self: &Arc<Self>, key: &K) -> Result<Begun, ProcessError> {
        let place = self.place(key);
        let mut locked = self.lock_open(place.shard)?;
        let table = locked.table();
        if table.entries.find(place.hash, |entry| entry.key == *key).is_some() {
            return Ok(Begun::Resident);
        }
        if !self.has_room() {
            return Ok(Begun::Full);
        }
        let obstacle = table.obstacle(place.hash, key);
        match self.overcome(place, key, obstacle, locked, Caller::MustNotWait) {
            Ok(Hindrance::Arrival(arrival, _)) => Ok(Begun::Coming(arrival)),
            // Somebody else took the last place.
            Ok(Hindrance::Room(_) | Hindrance::Exposure(_)) | Err(ProcessError::Full { .. }) => {
                Ok(Begun::Full)
            }
            Err(error) => Err(error),
        }
    }
}

/// What became of an attempt to have a PE come.
enum Begun {
    /// It is there, or has just been removed, or is on its way already.
    Resident,
    Coming(Arc<Arrival>),
    Full,
}
