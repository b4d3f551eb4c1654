//! A prototype as its framework sees it: captures, results, the passing of time.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::{
    Capture, CaptureBatch, CaptureFailure, CaptureProgress, PeHandle, RequestSignal, Settlement,
    SettlementOutcome,
};
use crate::checkpoint_id::CheckpointIdRef;
use crate::clock::Timestamp;
use crate::config::CheckpointingConfig;
use crate::framework::{CheckpointSource, FlushMark, SourceStatus, Unsaved, UnsavedState};
use crate::prototype::entry::{Entry, Flags, Slot};
use crate::prototype::exposure::is_before;
use crate::prototype::hooks::contain;
use crate::prototype::inner::{Inner, coarse};
use crate::prototype::key::Key;
use crate::prototype::results::{Handling, Mail, PutBack};
use crate::prototype::shard::{Locked, Shard, tick_step, time_to_due};
use crate::record::{InputPositions, RecordKind, RecordMeta, RecordWriter, StateVersion};
use crate::save_error::{SaveError, SaveFailure};
use crate::state::{Checkpointable, EncodeError, EncodeErrorKind, Encoder};
use crate::storage::RecordPlace;
use crate::sync::Ordering;

/// A state that passes this under its shard's lock is encoded again without it.
const ENCODED_UNDER_LOCK_MAX: usize = 64 * 1024;
/// How many captures are made between two looks at the clock.
const CAPTURES_PER_LOOK: usize = 8;
/// How many marks of time mode are looked at under one lock.
const PROMOTIONS_PER_LOCK: usize = 256;
/// How long a tick waits for a shard; one whose lock is held for longer is visited with the next
/// tick.
const TICK_LOCK_WAIT: Duration = Duration::from_millis(10);
/// How many PEs a periodic function runs on under one lock.
const VISITS_PER_LOCK: usize = 64;

/// What is known of a capture before its state is encoded.
struct Begun {
    pe: PeHandle,
    writer: RecordWriter,
    key_bytes: usize,
    kind: RecordKind,
    version: StateVersion,
    events: u32,
    generation: u32,
    preserve: bool,
}

/// A PE that is encoded without the lock.
struct Large<K, P> {
    pe: PeHandle,
    key: K,
    state: P,
    version: StateVersion,
    event_count: u64,
    last_event: u32,
    events: u32,
    generation: u32,
    preserve: bool,
    requests: Vec<Arc<RequestSignal>>,
}

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
        let mut large = Vec::new();
        let started = self.now();
        let mut progress = CaptureProgress::Drained;
        for captured in 1.. {
            if batch.is_full() {
                progress = CaptureProgress::More;
                break;
            }
            let Some(pe) = locked.table().take_due() else { break };
            if let Some(one) = self.capture_one(&mut locked, pe, started, batch) {
                large.push(one);
            }
            let look = captured % CAPTURES_PER_LOOK == 0 || !large.is_empty();
            if look && self.clock.now().since(started) > limits.lock_time {
                progress = CaptureProgress::More;
                break;
            }
        }
        if locked.table().ready.is_empty() {
            progress = CaptureProgress::Drained;
        }
        drop(locked);
        for large in large {
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

    fn abandon(&self) {
        for shard in 0..self.shards.len() {
            let mut locked = self.lock_again(shard);
            let table = locked.table();
            let requested = table.entries.iter().filter(|e| e.flags.has(Flags::REQUESTED));
            let requested: Vec<_> = requested
                .map(|e| (e.handle(self.hash(&e.key)), self.id_of_entry(&e.key)))
                .collect();
            let take = |(pe, id)| (id, table.take_requests(pe));
            let requests: Vec<_> = requested.into_iter().map(take).collect();
            drop(locked);
            for (id, requests) in requests {
                for request in requests {
                    request.finish(Err(SaveError::new(id.clone(), SaveFailure::NotAttempted)));
                }
            }
        }
    }

    fn unsaved(&self) -> Vec<Unsaved> {
        let mut unsaved = Vec::new();
        for shard in 0..self.shards.len() {
            let mut locked = self.lock_again(shard);
            let table = locked.table();
            for entry in table.entries.iter() {
                if let Some(state) = self.why_unsaved(entry, table.stuck_reason(entry.ticket)) {
                    unsaved.push(Unsaved::new(self.id_of_entry(&entry.key), state));
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
            status.coalesced += table.coalesced;
            status.stuck += table.stuck() as u64;
            status.checked_out += table.out.len() as u64;
            status.poisoned += table.poisoned as u64;
        }
        status.oldest_change = self.shards.iter().filter_map(Shard::oldest_change).min();
        status
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Captures one PE into the batch; one whose state is large is taken out for later.
    fn capture_one(
        &self,
        locked: &mut Locked<'_, K, P>,
        pe: PeHandle,
        now: Timestamp,
        batch: &mut CaptureBatch,
    ) -> Option<Large<K, P>> {
        let (shard, partition) = (locked.index(), locked.partition());
        let table = locked.table();
        let entry = table.get_mut(pe)?;
        entry.flags.clear(Flags::QUEUED);
        let broken = Flags::RUNNING.and(Flags::POISONED).and(Flags::IN_FLIGHT).and(Flags::STUCK);
        let kind = match entry.slot {
            Slot::Resident(_) => RecordKind::State,
            Slot::Gone => RecordKind::Tombstone,
            Slot::Out | Slot::Fetching(_) => return None,
        };
        if !entry.flags.has(Flags::DIRTY) || entry.flags.has_any(broken) {
            return None;
        }
        let version = match self.registration.sequences.draw(partition) {
            Ok(version) => version,
            Err(_) => {
                let reason = SaveFailure::SequenceExhausted;
                self.fail_capture(locked, pe, reason, batch);
                return None;
            }
        };
        let is_large = entry.flags.has(Flags::LARGE) && kind == RecordKind::State;
        let mut bytes = batch.take_bytes();
        let meta = self.meta(kind, partition, version, entry.event_count, entry.last_event);
        let start = bytes.len();
        let (writer, key_bytes) = self.begin_record(&mut bytes, &entry.key, &meta);
        let encoded = match &entry.slot {
            _ if is_large => Ok(Err(EncodeError::paused())),
            Slot::Resident(state) => {
                let mut encoder =
                    Encoder::new(bytes, &self.limits).pause_at(ENCODED_UNDER_LOCK_MAX);
                let result = contain(|| state.encode(&mut encoder));
                bytes = encoder.into_bytes();
                result
            }
            _ => Ok(Ok(())),
        };
        match encoded {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == EncodeErrorKind::Paused => {
                bytes.truncate(start);
                batch.give_bytes(bytes);
                return self.take_large(locked, pe, version, now);
            }
            failed => {
                bytes.truncate(start);
                batch.give_bytes(bytes);
                let reason = match failed {
                    Ok(Err(error)) => SaveFailure::Encode(Arc::new(error)),
                    _ => SaveFailure::EncodePanicked,
                };
                self.fail_capture(locked, pe, reason, batch);
                return None;
            }
        }
        let end = writer.close(&mut bytes);
        batch.give_bytes(bytes);
        let begun = Begun {
            pe,
            writer,
            key_bytes,
            kind,
            version,
            events: std::mem::take(&mut entry.since_capture),
            generation: entry.generation,
            preserve: entry.flags.has(Flags::PRESERVE),
        };
        entry.flags.clear(Flags::DIRTY.and(Flags::DUE));
        entry.flags.set(Flags::IN_FLIGHT);
        let requests = table.take_requests(pe);
        batch.push(self.finished((shard, partition), begun, end, now, requests));
        None
    }

    fn meta(
        &self,
        kind: RecordKind,
        partition: u32,
        version: StateVersion,
        event_count: u64,
        last_event: u32,
    ) -> RecordMeta<'static> {
        static NO_POSITIONS: InputPositions = InputPositions::none();
        let idle_steps = self.coarse_now().wrapping_sub(last_event);
        RecordMeta {
            kind,
            partition,
            version,
            event_count,
            captured_at: self.clock.wall(),
            idle: Duration::from_millis(10).saturating_mul(idle_steps),
            fingerprint: self.fingerprint,
            positions: &NO_POSITIONS,
        }
    }

    /// Begins a record, and says how long the key in it is.
    fn begin_record(
        &self,
        bytes: &mut Vec<u8>,
        key: &K,
        meta: &RecordMeta<'_>,
    ) -> (RecordWriter, usize) {
        key.with_key_bytes(|key| {
            let id = CheckpointIdRef { prototype: &self.name, key };
            (RecordWriter::begin(bytes, id, meta), key.len())
        })
    }

    fn finished(
        &self,
        (shard, partition): (usize, u32),
        begun: Begun,
        end: usize,
        now: Timestamp,
        requests: Vec<Arc<RequestSignal>>,
    ) -> Capture {
        let Begun { pe, writer, key_bytes, kind, version, events, generation, preserve } = begun;
        Capture {
            prototype: self.index,
            shard,
            pe,
            place: RecordPlace::new(
                writer.start()..end,
                (self.name.len(), key_bytes),
                kind,
                partition,
                version,
            ),
            writer,
            events,
            generation,
            captured_at: now,
            preserve,
            requests,
        }
    }

    /// Marks a PE whose state cannot be captured, and reports it.
    fn fail_capture(
        &self,
        locked: &mut Locked<'_, K, P>,
        pe: PeHandle,
        reason: SaveFailure,
        batch: &mut CaptureBatch,
    ) {
        let table = locked.table();
        let requests = table.take_requests(pe);
        if let Some(entry) = table.get_mut(pe) {
            let error = SaveError::new(self.id_of_entry(&entry.key), reason.clone());
            batch.fail(CaptureFailure { prototype: self.index, error, requests });
        }
        table.mark_stuck(pe, reason);
    }

    /// Takes a PE out of its slot, so that only its own key waits while it is encoded.
    fn take_large(
        &self,
        locked: &mut Locked<'_, K, P>,
        pe: PeHandle,
        version: StateVersion,
        now: Timestamp,
    ) -> Option<Large<K, P>> {
        let table = locked.table();
        let state = table.take_out(pe, now)?;
        let requests = table.take_requests(pe);
        let entry = table.get_mut(pe)?;
        let large = Large {
            pe,
            key: entry.key.clone(),
            state,
            version,
            event_count: entry.event_count,
            last_event: entry.last_event,
            events: std::mem::take(&mut entry.since_capture),
            generation: entry.generation,
            preserve: entry.flags.has(Flags::PRESERVE),
            requests,
        };
        entry.flags.clear(Flags::DIRTY.and(Flags::DUE));
        entry.flags.set(Flags::IN_FLIGHT.and(Flags::LARGE));
        Some(large)
    }

    fn capture_large(
        &self,
        shard: usize,
        large: Large<K, P>,
        now: Timestamp,
        batch: &mut CaptureBatch,
    ) {
        let partition = self.shard(shard).partition;
        let Large { pe, key, state, version, events, generation, preserve, requests, .. } = large;
        let mut bytes = batch.take_bytes();
        let start = bytes.len();
        let kind = RecordKind::State;
        let meta = self.meta(kind, partition, version, large.event_count, large.last_event);
        let (writer, key_bytes) = self.begin_record(&mut bytes, &key, &meta);
        let mut encoder = Encoder::new(bytes, &self.limits);
        let encoded = contain(|| state.encode(&mut encoder));
        bytes = encoder.into_bytes();
        let back = PutBack { pe, state, effect: Handling::Untouched };
        self.post(shard, Mail::PutBack(back));
        let reason = match encoded {
            Ok(Ok(())) => {
                let end = writer.close(&mut bytes);
                batch.give_bytes(bytes);
                let begun =
                    Begun { pe, writer, key_bytes, kind, version, events, generation, preserve };
                batch.push(self.finished((shard, partition), begun, end, now, requests));
                return;
            }
            Ok(Err(error)) => SaveFailure::Encode(Arc::new(error)),
            Err(_) => SaveFailure::EncodePanicked,
        };
        bytes.truncate(start);
        batch.give_bytes(bytes);
        let outcome = SettlementOutcome::Refused(reason.clone());
        let settlement = Settlement { pe, version, events, generation, outcome };
        self.post(shard, Mail::Settled(vec![settlement]));
        let error = SaveError::new(self.id_of_entry(&key), reason);
        batch.fail(CaptureFailure { prototype: self.index, error, requests });
    }

    /// Makes those due who have been waiting for the interval; returns when the next will have.
    fn promote_aged(&self, now: Timestamp) -> Option<Timestamp> {
        let interval = self.triggers.interval?;
        let wait = time_to_due(interval);
        let mut next: Option<Timestamp> = None;
        for shard in 0..self.shards.len() {
            if !self.shard(shard).has_marks() {
                continue;
            }
            let oldest = loop {
                let Some(mut locked) = self.lock_within(shard, TICK_LOCK_WAIT) else {
                    break Some(now);
                };
                let limit = now.since_start().checked_sub(wait).map(Timestamp::new);
                let more =
                    limit.is_some_and(|limit| locked.table().promote(limit, PROMOTIONS_PER_LOCK));
                if !more {
                    break locked.table().oldest_mark();
                }
            };
            if let Some(oldest) = oldest {
                let due = oldest.after(wait);
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        // If nothing is waiting, the first change that is asks for the next look.
        next.map(|next| next.max(now.after(tick_step(interval))))
    }

    /// Has those leave who had no event for too long.
    fn evict_idle(&self, now: Timestamp) -> Option<Timestamp> {
        let Some(idle_max) = self.config.idle_max() else {
            // The coarse time must go on if anything depends on the age of events.
            let tracked = self.config.capacity().is_some() || self.config.expire_after().is_some();
            return tracked.then(|| now.after(Duration::from_millis(100)));
        };
        let steps = u32::try_from(idle_max.as_millis() / 10).unwrap_or(u32::MAX / 4).max(1);
        let limit = coarse(now).wrapping_sub(steps);
        for shard in 0..self.shards.len() {
            // Those who cannot leave go to the back of the queue: once round is enough.
            let mut left = usize::MAX;
            while left > 0 {
                let Some(mut locked) = self.lock_within(shard, TICK_LOCK_WAIT) else { break };
                let table = locked.table();
                left = left.min(table.resident);
                for _ in 0..VISITS_PER_LOCK.min(left) {
                    left -= 1;
                    match table.longest_idle(Some(limit)) {
                        Some(pe) => table.evict(pe),
                        None => {
                            left = 0;
                            break;
                        }
                    };
                }
            }
        }
        Some(now.after(tick_step(idle_max)))
    }

    /// Runs the periodic functions that are due on all resident PEs.
    fn visit_all(&self, now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        for on_time in &self.hooks.on_time {
            let due = *on_time.next.lock();
            if now >= due {
                // Counted from now: what was missed is not made up for.
                *on_time.next.lock() = now.after(on_time.interval);
                for shard in 0..self.shards.len() {
                    self.visit_shard(shard, &*on_time.run);
                }
            }
            let due = *on_time.next.lock();
            next = Some(next.map_or(due, |next: Timestamp| next.min(due)));
        }
        next
    }

    fn visit_shard(&self, shard: usize, run: &(dyn Fn(&K, &mut P) + Send + Sync)) {
        let handles: Vec<PeHandle> = {
            let mut locked = self.lock_again(shard);
            let entries = locked.table().entries.iter();
            entries.map(|entry| entry.handle(self.hash(&entry.key))).collect()
        };
        for some in handles.chunks(VISITS_PER_LOCK) {
            let mut locked = self.lock_again(shard);
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            for pe in some {
                self.visit(&mut locked, *pe, run);
            }
        }
    }

    fn visit(
        &self,
        locked: &mut Locked<'_, K, P>,
        pe: PeHandle,
        run: &(dyn Fn(&K, &mut P) + Send + Sync),
    ) {
        let table = locked.table();
        let Some(entry) = table.get_mut(pe) else { return };
        if entry.flags.has_any(Flags::RUNNING.and(Flags::POISONED)) {
            return;
        }
        let Slot::Resident(state) = &mut entry.slot else { return };
        let key = &entry.key;
        if contain(|| run(key, state)).is_err() {
            entry.flags.set(Flags::POISONED);
            table.poisoned += 1;
            return;
        }
        if self.triggers.stores {
            entry.since_capture = entry.since_capture.saturating_add(1);
            let due = |since, count| self.is_due(since, count);
            table.mark_changed(pe, &self.triggers, || self.now(), due);
        }
    }

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
        if matches!(entry.slot, Slot::Out) && self.triggers.stores {
            return Some(UnsavedState::CheckedOut);
        }
        if entry.flags.has(Flags::IN_FLIGHT) {
            return Some(UnsavedState::InFlight);
        }
        entry.flags.has(Flags::DIRTY).then_some(UnsavedState::Waiting)
    }
}
