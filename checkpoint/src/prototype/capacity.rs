//! How many PEs are in memory at most, and who leaves so that another can come.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::config::OnFull;
use crate::process_error::ProcessError;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::leave::Eviction;
use crate::prototype::shard::Room;
use crate::state::Checkpointable;
use crate::sync::Ordering;
use crate::wait::Signal;

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    pub(super) fn full(&self, id: CheckpointId) -> ProcessError {
        let capacity = self.config.capacity().map_or(usize::MAX, NonZeroUsize::get);
        ProcessError::Full { id, capacity }
    }

    /// Reserves a place for one more PE, if there is one.
    pub(super) fn reserve(&self) -> bool {
        let Some(capacity) = self.config.capacity() else { return true };
        self.occupied
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |occupied| {
                (occupied < capacity.get()).then_some(occupied + 1)
            })
            .is_ok()
    }

    /// How many more PEs may be in memory.
    pub(super) fn room_left(&self) -> usize {
        let capacity = self.config.capacity().map_or(usize::MAX, NonZeroUsize::get);
        capacity.saturating_sub(self.occupied.load(Ordering::Relaxed))
    }

    /// Counts one more PE, whatever the capacity: one that is to be removed or replaced.
    pub(super) fn reserve_anyway(&self) {
        if self.config.capacity().is_some() {
            self.occupied.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has a PE leave that had no event for long, beginning with the shard where one is to come.
    pub(super) fn make_room(
        &self,
        shard: usize,
        id: CheckpointId,
    ) -> Result<Arc<Room>, ProcessError> {
        // Registered before anybody leaves, so that no leaving is missed.
        let room = self.room.lock().get_or_insert_with(Signal::new).clone();
        if self.room_left() > 0 {
            // Somebody has left since the caller looked; whoever else waits is to look too.
            self.room.lock().take();
            room.finish(());
            return Ok(room);
        }
        let mut storing = false;
        for step in 0..self.shards.len() {
            let mut locked = self.lock((shard + step) % self.shards.len())?;
            let table = locked.table();
            let candidates = table.resident.min(8);
            for _ in 0..candidates {
                let Some(pe) = table.longest_idle(None) else { break };
                match table.evict(pe) {
                    Eviction::Evicted => {
                        drop(locked); // Says that there is room.
                        return Ok(room);
                    }
                    Eviction::Storing => {
                        storing = true;
                        break;
                    }
                    Eviction::NotResident | Eviction::Refused => {}
                }
            }
        }
        match self.config.on_full() {
            OnFull::Block => Ok(room),
            // One that is being stored leaves in a moment: that is worth waiting for.
            OnFull::Reject if storing && self.triggers.stores => Ok(room),
            OnFull::Reject => Err(self.full(id)),
        }
    }
}
