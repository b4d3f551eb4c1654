//! A prototype as its framework sees it: captures, results, the passing of time.

use std::time::Duration;

use crate::capture::{CaptureBatch, CaptureProgress, Settlement};
use crate::clock::Timestamp;
use crate::config::CheckpointingConfig;
use crate::framework::{CheckpointSource, FlushMark, SourceStatus, Unsaved, UnsavedState};
use crate::prototype::entry::{Entry, Flags, Slot};
use crate::prototype::exposure::is_before;
use crate::prototype::inner::{Inner, coarse};
use crate::prototype::key::Key;
use crate::prototype::results::Mail;
use crate::prototype::shard::Shard;
use crate::prototype::ticks::TICK_LOCK_WAIT;
use crate::save_error::{SaveError, SaveFailure};
use crate::state::Checkpointable;
use crate::sync::Ordering;

/// How many captures are made between two looks at the clock.
const CAPTURES_PER_LOOK: usize = 8;

impl<K: Key, P: Checkpointable + Send + 'static> CheckpointSource for Inner<K, P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> &CheckpointingConfig {
        &self.config
    }

    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn capture(&self, shard: usize, batch: &mut CaptureBatch) -> CaptureProgress {
        let limits = *batch.limits();
        let Some(mut locked) = self.lock_within(shard, limits.lock_wait) else {
            return CaptureProgress::Busy;
        };
        let mut large = None;
        let started = self.now();
        let mut progress = CaptureProgress::Drained;
        for captured in 1.. {
            if batch.is_full() {
                progress = CaptureProgress::More;
                break;
            }
            let Some(pe) = locked.table().take_due() else { break };
            large = self.capture_one(&mut locked, pe, started, batch);
            // One at a time: how large it is will only be known when it is in the batch.
            if large.is_some() {
                progress = CaptureProgress::More;
                break;
            }
            if captured % CAPTURES_PER_LOOK == 0
                && self.clock.now().since(started) > limits.lock_time
            {
                progress = CaptureProgress::More;
                break;
            }
        }
        if locked.table().ready.is_empty() {
            progress = CaptureProgress::Drained;
        }
        drop(locked);
        if let Some(large) = large {
            self.capture_large(shard, large, started, batch);
        }
        progress
    }

    fn attend(&self, shard: usize) -> bool {
        self.lock_within(shard, TICK_LOCK_WAIT).is_some()
    }

    fn settle(&self, shard: usize, settlements: Vec<Settlement>) {
        self.post(shard, Mail::Settled(settlements));
    }

    fn tick(&self, now: Timestamp) -> Option<Timestamp> {
        self.coarse.store(coarse(now), Ordering::Relaxed);
        let waits = self.nudge_async_waits(now);
        let aged = self.promote_aged(now);
        let idle = self.evict_idle(now);
        let visits = self.visit_all(now);
        [waits, aged, idle, visits].into_iter().flatten().min()
    }

    fn request_all(&self) -> FlushMark {
        let hasher = |key: &K| self.hash(key);
        let request = |shard| self.lock_again(shard).table().request_all(self.now(), hasher);
        FlushMark((0..self.shards.len()).map(request).collect())
    }

    fn is_settled(&self, mark: &FlushMark) -> bool {
        self.shards.iter().zip(&mark.0).all(|(shard, mark)| match shard.settled_to() {
            None => true,
            Some(first) => !is_before(first, *mark),
        })
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn end(&self) {
        for shard in 0..self.shards.len() {
            let mut locked = self.lock_again(shard);
            let hasher = |key: &K| self.hash(key);
            let id = |key: &K| self.id_of_entry(key);
            locked.table().end(&self.closed_error(), hasher, id);
        }
        let room = self.room.lock().take();
        if let Some(room) = room {
            room.finish(());
        }
    }

    fn unsaved(&self) -> Vec<Unsaved> {
        let mut unsaved = Vec::new();
        for shard in 0..self.shards.len() {
            let mut locked = self.lock_again(shard);
            let table = locked.table();
            for entry in table.entries.iter() {
                if let Some(state) = self.why_unsaved(entry, table.stuck_reason(entry.ticket)) {
                    let was_refused = entry.flags.has(Flags::REFUSED);
                    let id = self.id_of_entry(&entry.key);
                    unsaved.push(Unsaved::new(id, state, was_refused));
                }
            }
        }
        unsaved
    }

    fn status(&self) -> SourceStatus {
        let mut status = SourceStatus::default();
        for shard in 0..self.shards.len() {
            // A shard whose lock is held for long is left out rather than waited for.
            let Some(mut locked) = self.lock_within(shard, Duration::from_millis(100)) else {
                continue;
            };
            let table = locked.table();
            status.resident += table.resident as u64;
            status.due += table.ready.len() as u64;
            status.requested += table.requested;
            status.coalesced += table.coalesced;
            status.stuck += table.stuck() as u64;
            status.checked_out += table.checked_out as u64;
            status.poisoned += table.poisoned as u64;
        }
        status.oldest_change = self.shards.iter().filter_map(Shard::oldest_change).min();
        status
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    fn why_unsaved(
        &self,
        entry: &Entry<K, P>,
        stuck: Option<&SaveFailure>,
    ) -> Option<UnsavedState> {
        if entry.flags.has_any(Flags::POISONED.and(Flags::RUNNING)) {
            return Some(UnsavedState::Poisoned);
        }
        if let Some(reason) = stuck {
            let id = self.id_of_entry(&entry.key);
            return Some(UnsavedState::Failed(SaveError::new(id, reason.clone())));
        }
        if matches!(entry.slot, Slot::Out { .. }) && self.triggers.stores {
            return Some(UnsavedState::CheckedOut);
        }
        if entry.flags.has(Flags::IN_FLIGHT) {
            return Some(UnsavedState::InFlight);
        }
        entry.flags.has(Flags::DIRTY).then_some(UnsavedState::Waiting)
    }
}
