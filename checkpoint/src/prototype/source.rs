//! A prototype as its framework sees it: captures, results, the passing of time.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::{CaptureBatch, CaptureProgress, Settlement};
use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::config::CheckpointingConfig;
use crate::framework::{
    CheckpointSource, FlushMark, ShardMark, SourceStatus, Unsaved, UnsavedPes, UnsavedState,
};
use crate::prototype::entry::{Entry, Flags, HeldBack, Slot};
use crate::prototype::exposure::is_before;
use crate::prototype::inner::{Inner, coarse};
use crate::prototype::key::Key;
use crate::prototype::results::Mail;
use crate::prototype::shard::{Locked, Shard};
use crate::prototype::table::Table;
use crate::save_error::{SaveError, SaveFailure};
use crate::state::Checkpointable;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// How many captures are made between two looks at the clock.
const CAPTURES_PER_LOOK: usize = 8;
/// How long a shard with mail is waited for: others have work too.
const ATTEND_LOCK_WAIT: Duration = Duration::from_millis(2);
/// How long a serialization waits for a shard before it looks whether the keeper closes.
const CAPTURE_LOCK_SLICE: Duration = Duration::from_millis(50);
/// How long a count waits for shards whose locks are held.
const STATUS_LOCK_WAIT: Duration = Duration::from_millis(100);
/// How long the end of a prototype waits for a shard.
const END_LOCK_WAIT: Duration = Duration::from_millis(10);

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
        let Some(mut locked) = self.lock_to_capture(shard, limits.lock_wait) else {
            return CaptureProgress::Busy;
        };
        let mut large = None;
        if let Some(sealing) = &self.seals {
            batch.seal_by(self.index, sealing);
        }
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
        self.lock_within(shard, ATTEND_LOCK_WAIT).is_some()
    }

    fn settle(&self, shard: usize, settlements: Vec<Settlement>) {
        self.post(shard, Mail::Settled(settlements));
    }

    fn tick(&self, now: Timestamp) -> Option<Timestamp> {
        self.coarse.store(coarse(now), Ordering::Relaxed);
        let waits = self.nudge_async_waits(now);
        let aged = self.promote_aged(now);
        let idle = self.evict_idle(now);
        let exposed = self.watch_exposure(now);
        let visits = self.visit_all(now);
        [waits, aged, idle, exposed, visits].into_iter().flatten().min()
    }

    fn request_all(&self) -> FlushMark {
        FlushMark((0..self.shards.len()).map(|shard| self.request_shard(shard)).collect())
    }

    fn is_settled(&self, mark: &FlushMark) -> bool {
        let mut marks = self.shards.iter().zip(&*mark.0);
        marks.all(|(shard, mark)| mark.done.result().is_some() && is_settled_to(shard, mark))
    }

    fn mark(&self) -> FlushMark {
        let shards = 0..self.shards.len();
        FlushMark(shards.map(|shard| self.mark_shard(shard, |_| {})).collect())
    }

    fn request_marked(&self, mark: &FlushMark) {
        for (index, (shard, mark)) in self.shards.iter().zip(&*mark.0).enumerate() {
            if mark.done.result().is_some() && !is_settled_to(shard, mark) {
                let (cut, hasher) = (mark.cut.load(Ordering::Relaxed), self.key_hasher());
                // Nobody waits for it: it is looked at again anyway.
                drop(self.ask(index, move |table| table.request_before(cut, hasher)));
            }
        }
    }

    fn is_stored(&self, mark: &FlushMark) -> bool {
        // In this order: what cannot be stored any more is held back before it is settled.
        self.is_settled(mark) && !self.shards.iter().any(Shard::is_held_back)
    }

    fn not_stored(&self, mark: &FlushMark, max: usize, wait: Duration) -> Vec<CheckpointId> {
        let mut found = Vec::new();
        self.look(wait, |locked| {
            let cut = mark.0.get(locked.index()).map(|mark| mark.cut.load(Ordering::Relaxed));
            let table = locked.table();
            let unstored = Flags::DIRTY.and(Flags::IN_FLIGHT);
            let is_held = |entry: &&Entry<K, P>| {
                table.held_back.contains_key(&entry.ticket)
                    || (entry.flags.has_any(unstored)
                        && cut.is_some_and(|cut| is_before(entry.generation, cut)))
            };
            let left = max.saturating_sub(found.len());
            let ids = table.entries.iter().filter(is_held).take(left);
            found.extend(ids.map(|entry| self.id_of_entry(&entry.key)));
        });
        found
    }

    fn close(&self) {
        self.close_gate();
        if self.triggers.exposed_events_max.is_some() {
            for shard in 0..self.shards.len() {
                // Nobody waits for it: those who are woken find the gate closed.
                drop(self.ask(shard, Table::wake_held_up));
            }
        }
    }

    fn end(&self) {
        for shard in 0..self.shards.len() {
            let closed = self.closed_error();
            let ended = self.ask(shard, move |table| table.end(&closed));
            if ended.done().result().is_none() {
                // Whoever holds the lock does it, unless he had looked at the inbox for the last
                // time before: then he is about to give it back.
                drop(self.lock_within(shard, END_LOCK_WAIT));
            }
        }
        let room = self.room.lock().take();
        if let Some(room) = room {
            room.finish(());
        }
    }

    fn unsaved(&self, wait: Duration) -> UnsavedPes {
        let mut pes = Vec::new();
        let shards_not_known = self.look(wait, |locked| {
            let table = locked.table();
            for entry in table.entries.iter() {
                if let Some(state) = self.why_unsaved(entry, table.stuck_reason(entry.ticket)) {
                    let held_back = table.held_back.get(&entry.ticket);
                    let was_refused = held_back == Some(&HeldBack::Refused);
                    let may_be_stored = entry.flags.has_any(Flags::MAY_BE_STORED);
                    let id = self.id_of_entry(&entry.key);
                    pes.push(Unsaved { was_refused, may_be_stored, ..Unsaved::new(id, state) });
                }
            }
        });
        UnsavedPes { pes, shards_not_known }
    }

    fn status(&self) -> SourceStatus {
        let mut status = SourceStatus::default();
        let busy = self.look(STATUS_LOCK_WAIT, |locked| {
            let table = locked.table();
            status.resident += table.resident as u64;
            status.due += table.ready.len() as u64;
            status.requested += table.requested;
            status.coalesced += table.coalesced;
            status.stuck += table.stuck() as u64;
            status.checked_out += table.checked_out as u64;
            status.poisoned += table.poisoned as u64;
            status.held_up += table.held_up.count as u64;
        });
        status.shards_busy = busy.len() as u64;
        status.oldest_change = self.shards.iter().filter_map(Shard::oldest_change).min();
        status
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Makes every dirty PE of a shard due.
    fn request_shard(&self, shard: usize) -> ShardMark {
        let hasher = self.key_hasher();
        self.mark_shard(shard, move |table| table.request_all(hasher))
    }

    /// Marks what was changed so far in a shard, and does something with it.
    fn mark_shard(
        &self,
        shard: usize,
        then: impl FnOnce(&mut Table<K, P>) + Send + 'static,
    ) -> ShardMark {
        let (cut, checked_out) = <(Arc<AtomicU32>, Arc<AtomicUsize>)>::default();
        let clock = self.clock.clone();
        let (set_cut, set_checked_out) = (cut.clone(), checked_out.clone());
        let asked = self.ask(shard, move |table| {
            let cut = table.exposure.cut(clock.now());
            then(table);
            set_cut.store(cut, Ordering::Relaxed);
            set_checked_out.store(table.checked_out, Ordering::Relaxed);
        });
        ShardMark { done: asked.done().clone(), cut, checked_out }
    }

    /// Locks a shard for captures. In slices, so that a keeper that closes finds its threads soon.
    fn lock_to_capture(&self, shard: usize, wait: Duration) -> Option<Locked<'_, K, P>> {
        let mut left = wait;
        loop {
            let slice = left.min(CAPTURE_LOCK_SLICE);
            if let Some(locked) = self.lock_within(shard, slice) {
                return Some(locked);
            }
            left = left.saturating_sub(slice);
            if left.is_zero() || self.gate.is_closed() {
                return None;
            }
        }
    }

    fn why_unsaved(
        &self,
        entry: &Entry<K, P>,
        stuck: Option<&SaveFailure>,
    ) -> Option<UnsavedState> {
        if entry.flags.has_any(Flags::BROKEN) {
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

/// Whether everything that was changed before is stored or not counted any more.
fn is_settled_to<K, P>(shard: &Shard<K, P>, mark: &ShardMark) -> bool {
    let cut = mark.cut.load(Ordering::Relaxed);
    shard.settled_to().is_none_or(|first| !is_before(first, cut))
}
