//! How a state gets from its shard into a batch.

use std::sync::Arc;

use crate::capture::{
    Capture, CaptureBatch, CaptureFailure, CaptureRequests, PeHandle, Settlement, SettlementOutcome,
};
use crate::checkpoint_id::CheckpointIdRef;
use crate::clock::Timestamp;
use crate::prototype::entry::{Flags, Slot};
use crate::prototype::hooks::contain;
use crate::prototype::inner::{Inner, coarse_span};
use crate::prototype::key::Key;
use crate::prototype::requests::AskedBy;
use crate::prototype::results::{Handling, Mail, PutBack};
use crate::prototype::shard::Locked;
use crate::prototype::table::Table;
use crate::record::{InputPosition, RecordKind, RecordMeta, RecordWriter, StateVersion};
use crate::save_error::{SaveError, SaveFailure};
use crate::state::{
    Checkpointable, Disorder, EncodeErrorKind, Encoder, RoundTripError, compare_decoded,
};
use crate::storage::RecordPlace;

/// A state that passes this under its shard's lock is encoded again without it.
const ENCODED_UNDER_LOCK_MAX: usize = 64 * 1024;

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

/// What came of encoding a state.
enum Encoded {
    Whole,
    /// It passed the bound, and is to be encoded without one.
    TooLargeHere,
    Failed(SaveFailure),
}

/// A PE that is encoded without the lock.
pub(super) struct Large<K, P> {
    pe: PeHandle,
    key: K,
    state: P,
    version: StateVersion,
    event_count: u64,
    last_event: u32,
    events: u32,
    generation: u32,
    preserve: bool,
    positions: Vec<InputPosition>,
    asked: CaptureRequests,
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Captures one PE into the batch; one whose state is large is taken out for later.
    pub(super) fn capture_one(
        &self,
        locked: &mut Locked<'_, K, P>,
        pe: PeHandle,
        now: Timestamp,
        batch: &mut CaptureBatch,
    ) -> Option<Large<K, P>> {
        let (shard, partition) = (locked.index(), locked.partition());
        let table = locked.table();
        // Not by a method: what stands beside the entries is needed too.
        let entry = table.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket)?;
        entry.flags.clear(Flags::QUEUED);
        if entry.flags.has_any(Flags::BROKEN) {
            table.set_aside_if_poisoned(pe);
            return None;
        }
        let broken = Flags::IN_FLIGHT.and(Flags::STUCK);
        let kind = match entry.slot {
            Slot::Resident(_) => RecordKind::State,
            Slot::Gone => RecordKind::Tombstone,
            Slot::Out { .. } | Slot::Fetching(_) => return None,
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
        let times = (entry.event_count(), entry.last_event);
        let sources = &self.registration.sources;
        let positions = table.several.take_positions(entry.said(), pe.ticket, sources);
        let meta = self.meta(kind, partition, version, times, &positions);
        let start = bytes.len();
        let (writer, key_bytes) = self.begin_record(&mut bytes, &entry.key, &meta);

        let encoded = match &entry.slot {
            _ if is_large => Encoded::TooLargeHere,
            Slot::Resident(state) => self.encode(state, &mut bytes, Some(ENCODED_UNDER_LOCK_MAX)),
            _ => Encoded::Whole,
        };
        match encoded {
            Encoded::Whole => {}
            Encoded::TooLargeHere => {
                bytes.truncate(start);
                batch.give_bytes(bytes);
                return self.take_large(locked, pe, version);
            }
            Encoded::Failed(reason) => {
                bytes.truncate(start);
                batch.give_bytes(bytes);
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
            events: entry.take_changes(),
            generation: entry.generation,
            preserve: entry.flags.has(Flags::PRESERVE),
        };
        entry.begin_flight();
        table.held_up.captured(pe.ticket, begun.events, &self.triggers);
        table.several.give_positions(positions);
        let asked = self.asked(table, pe);
        batch.push(self.finished((shard, partition), begun, end, now, asked));
        None
    }

    /// Takes those who are to be told what becomes of a capture that was just made.
    fn asked(&self, table: &mut Table<K, P>, pe: PeHandle) -> CaptureRequests {
        let requests = table.take_captured(pe);
        match table.get_mut(pe).filter(|_| !requests.is_empty()) {
            Some(entry) => CaptureRequests::new(requests, self.id_of_entry(&entry.key)),
            None => CaptureRequests::default(),
        }
    }

    /// Appends an encoded state; what is left behind by a failure is the caller's to cut off.
    fn encode(&self, state: &P, bytes: &mut Vec<u8>, bytes_max: Option<usize>) -> Encoded {
        let start = bytes.len();
        let mut encoder = Encoder::new(std::mem::take(bytes), &self.limits);
        if let Some(bytes_max) = bytes_max {
            encoder = encoder.pause_at(bytes_max);
        }
        if cfg!(debug_assertions) {
            encoder = encoder.noting_disorder();
        }
        let result = contain(|| state.encode(&mut encoder));
        let disorder;
        (*bytes, disorder) = encoder.into_parts();
        match result {
            Ok(Ok(())) => match disorder {
                Some(disorder) => self.check(bytes.get(start..).unwrap_or_default(), &disorder),
                None => Encoded::Whole,
            },
            Ok(Err(error)) if error.kind() == EncodeErrorKind::Paused => Encoded::TooLargeHere,
            Ok(Err(error)) => Encoded::Failed(SaveFailure::Encode(Arc::new(error))),
            Err(_) => Encoded::Failed(SaveFailure::EncodePanicked),
        }
    }

    /// Decodes a state again and compares, in debug builds: a hand-written `decode` that does not
    /// match its `encode` is to be found in the program's own tests, not after its first crash.
    fn check(&self, state: &[u8], disorder: &Disorder) -> Encoded {
        let failure = match contain(|| compare_decoded::<P>(state, disorder, &self.limits)) {
            Ok(Ok(())) => return Encoded::Whole,
            Ok(Err(RoundTripError::Encode(error))) => SaveFailure::Encode(Arc::new(error)),
            Ok(Err(RoundTripError::Decode(error))) => SaveFailure::NotRestorable(Arc::new(error)),
            Ok(Err(RoundTripError::Differs(difference))) => {
                SaveFailure::RestoresDifferently(Arc::new(difference))
            }
            Err(_) => SaveFailure::EncodePanicked,
        };
        Encoded::Failed(failure)
    }

    fn meta<'a>(
        &self,
        kind: RecordKind,
        partition: u32,
        version: StateVersion,
        (event_count, last_event): (u64, u32),
        positions: &'a [InputPosition],
    ) -> RecordMeta<'a> {
        RecordMeta {
            kind,
            partition,
            version,
            event_count,
            captured_at: self.clock.wall(),
            idle: coarse_span(last_event, self.coarse_now()),
            fingerprint: self.fingerprint,
            positions,
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
        asked: CaptureRequests,
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
            is_unsealed: false,
            asked,
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
        // Who asked for the capture is told of that, who holds a result of what may be stored.
        table.refuse_some(pe, AskedBy::Holder, &reason);
        let requests = table.take_requests(pe);
        if let Some(entry) = table.get_mut(pe) {
            let id = self.id_of_entry(&entry.key);
            let asked = CaptureRequests::new(requests, id.clone());
            let error = SaveError::new(id, reason.clone());
            batch.fail(CaptureFailure { prototype: self.index, error, asked });
        }
        table.mark_stuck(pe, &self.triggers, reason);
    }

    /// Takes a PE out of its slot, so that only its own key waits while it is encoded.
    fn take_large(
        &self,
        locked: &mut Locked<'_, K, P>,
        pe: PeHandle,
        version: StateVersion,
    ) -> Option<Large<K, P>> {
        let table = locked.table();
        // Before the PE leaves its place: the clone is the user's code.
        let key = table.get_mut(pe)?.key.clone();
        let state = table.take_out(pe, self.coarse_now())?;
        let asked = self.asked(table, pe);
        let entry = table.entries.find_mut(pe.hash, |entry| entry.ticket == pe.ticket)?;
        let sources = &self.registration.sources;
        let positions = table.several.take_positions(entry.said(), pe.ticket, sources);
        let large = Large {
            pe,
            key,
            state,
            version,
            event_count: entry.event_count(),
            last_event: entry.last_event,
            events: entry.take_changes(),
            generation: entry.generation,
            preserve: entry.flags.has(Flags::PRESERVE),
            positions,
            asked,
        };
        entry.begin_flight();
        entry.flags.set(Flags::LARGE);
        table.held_up.captured(pe.ticket, large.events, &self.triggers);
        Some(large)
    }

    pub(super) fn capture_large(
        &self,
        shard: usize,
        large: Large<K, P>,
        now: Timestamp,
        batch: &mut CaptureBatch,
    ) {
        let partition = self.shard(shard).partition;
        let Large { pe, key, state, version, events, generation, preserve, asked, .. } = large;
        let mut bytes = batch.take_bytes();
        let start = bytes.len();
        let kind = RecordKind::State;
        let times = (large.event_count, large.last_event);
        let meta = self.meta(kind, partition, version, times, &large.positions);
        let (writer, key_bytes) = self.begin_record(&mut bytes, &key, &meta);
        let encoded = self.encode(&state, &mut bytes, None);
        let back = PutBack { pe, state, effect: Handling::Untouched };
        self.post(shard, Mail::PutBack(back));
        let reason = match encoded {
            Encoded::Whole => {
                let end = writer.close(&mut bytes);
                batch.give_bytes(bytes);
                let begun =
                    Begun { pe, writer, key_bytes, kind, version, events, generation, preserve };
                batch.push(self.finished((shard, partition), begun, end, now, asked));
                return;
            }
            Encoded::TooLargeHere => unreachable!("only what is bounded can be too large for it"),
            Encoded::Failed(reason) => reason,
        };
        bytes.truncate(start);
        batch.give_bytes(bytes);
        let outcome = SettlementOutcome::Refused(reason.clone());
        let was_put_aside = false;
        let settlement = Settlement { pe, version, events, generation, was_put_aside, outcome };
        self.post(shard, Mail::Settled(vec![settlement]));
        let error = SaveError::new(self.id_of_entry(&key), reason);
        batch.fail(CaptureFailure { prototype: self.index, error, asked });
    }
}
