//! Frees the bytes that do not count any more: what is left of some segments is written to one new
//! segment, which takes their place in the log.

use std::collections::HashSet;
use std::io;
use std::ops::Range;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::file_ops::{FileHandle, write_all};
use crate::record::RecordHeader;
use crate::storage::StorageError;
use crate::storage::directory::error::write_error;
use crate::storage::log::inner::Log;
use crate::storage::log::layout::{
    BATCH_RECORDS_MAX, BatchHead, BatchKind, Listed, SEGMENT_HEAD_BYTES, id_hash,
};
use crate::storage::log::manifest;
use crate::storage::log::place::Place;
use crate::storage::log::retention::seconds;
use crate::storage::log::scan::Found;
use crate::storage::log::segment::{LiveChanges, Segment, remove_segment, segment_path};
use crate::storage::log::tombstones::{Removals, add_hint, due_bytes_free};
use crate::sync::MutexGuard;

/// A window is compacted if at least this share of it is freed, in percent: so a log whose states
/// are overwritten again and again takes about twice the bytes that count, and each byte that is
/// saved costs at most another one that is copied.
const FREED_PERCENT_MIN: u64 = 50;
/// So many segments are made one whatever that frees: each costs an open file.
const SEGMENTS_MANY: usize = 16;
/// Segments that become one, if they are small.
const WINDOW_MAX: usize = 64;
/// So many full ones at the most: their bytes are freed only once all are read.
const WINDOW_FULL_MAX: u64 = 4;
/// Records are written in batches of about so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// What is written is made durable step by step: one sync of it all would hold up those of saves.
const SYNC_BYTES: u64 = 8 << 20;

/// Removals that had to be copied are not looked at again before this.
const REMOVALS_PAUSE_SECONDS: u32 = 60;

/// What one compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Compacted {
    pub(super) segments: u64,
    pub(super) bytes_before: u64,
    pub(super) bytes_after: u64,
}

/// Is told how many bytes were read; says whether to go on.
pub(super) type Pace<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Why a compaction was not finished. Nothing has changed.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// The pace said so.
    Ended,
    Failed(StorageError),
}

impl From<StorageError> for Unfinished {
    fn from(err: StorageError) -> Self {
        Self::Failed(err)
    }
}

/// A segment as the choice sees it.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    bytes: u64,
    /// What a segment takes that has nothing else than what counts in this one.
    needed: u64,
    /// It may be compacted.
    is_free: bool,
    removals: Removals,
}

/// Chooses the neighbours to compact: those that free the most for what has to be copied.
fn choose(candidates: &[Candidate], segment_bytes: u64) -> Option<Range<usize>> {
    let mut best: Option<(u64, Range<usize>)> = None;
    let mut hints_before = Some(0);
    for (start, first) in candidates.iter().enumerate() {
        let (mut bytes, mut needed_with_removals, mut due) = (0, 0, 0);
        let window = candidates.iter().enumerate().skip(start).take(WINDOW_MAX);
        for (at, candidate) in window.take_while(|(_, candidate)| candidate.is_free) {
            bytes += candidate.bytes;
            needed_with_removals += candidate.needed;
            due += candidate.removals.due_bytes;
            // One that is larger by itself stays so. What seems to be due may have to be copied.
            let is_too_large = needed_with_removals > segment_bytes
                || bytes > segment_bytes.saturating_mul(WINDOW_FULL_MAX);
            if is_too_large && at > start {
                break;
            }
            let needed = needed_with_removals.saturating_sub(due_bytes_free(hints_before, due));
            let freed = bytes.saturating_sub(needed);
            let many = at + 1 - start >= SEGMENTS_MANY && bytes <= segment_bytes;
            if freed * 100 < bytes * FREED_PERCENT_MIN && !many {
                continue;
            }
            // A manifest and a few syncs cost as much as copying about this.
            let gain = freed.saturating_mul(1000) / (needed + BATCH_BYTES as u64);
            if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                best = Some((gain, start..at + 1));
            }
        }
        hints_before = add_hint(hints_before, first.removals);
    }
    best.map(|(_, window)| window)
}

impl Log {
    /// Compacts the segments where that pays most, if there are any.
    pub(super) fn compact_once(&self, pace: Pace<'_>) -> Result<Option<Compacted>, Unfinished> {
        self.compact_alone(&self.compacting.lock(), pace)
    }

    /// The same for who sees to it that nobody else does: two might choose the same.
    pub(super) fn compact_alone(
        &self,
        _compacting: &MutexGuard<'_, ()>,
        pace: Pace<'_>,
    ) -> Result<Option<Compacted>, Unfinished> {
        let now = self.clock.wall();
        if self.retentions.by_age() {
            let mut changes = LiveChanges::default();
            let keep = |prototype: &str| self.retentions.at(prototype, now);
            self.index.expire(&keep, &mut |place| changes.drop_place(place));
            self.segments.count(changes);
        }
        let sealed = self.tail.lock().sealed().to_vec();
        let now = seconds(Some(now));
        let candidates: Vec<_> = sealed.iter().map(|listed| self.candidate(*listed, now)).collect();
        let Some(window) = choose(&candidates, self.segment_bytes) else { return Ok(None) };
        let (before, rest) = sealed.split_at_checked(window.start).unwrap_or_default();
        let sources = rest.get(..window.len()).unwrap_or_default();
        let removals = |window: Range<usize>| {
            candidates.get(window).unwrap_or_default().iter().map(|candidate| candidate.removals)
        };
        let due = removals(window.clone()).map(|removals| removals.due_bytes).sum();
        let hints_before = removals(0..window.start).fold(Some(0), add_hint);
        let removed = match before {
            [] => Removed::AllOfThem,
            _ if due_bytes_free(hints_before, due) == 0 => Removed::These(HashSet::new()),
            before => Removed::These(self.removed_for_good(before, sources)?),
        };
        let number = self.tail.lock().take_number()?;
        let written = self.write_output(number, sources, &removed, now, pace);
        let output = written.inspect_err(|_| self.discard(number))?;
        self.put_in_place(sources, output).map(Some).map_err(Unfinished::Failed)
    }

    fn candidate(&self, listed: manifest::Listed, now: u32) -> Candidate {
        let segment = self.segments.get(listed.number);
        let segment = segment.as_deref();
        Candidate {
            bytes: listed.valid_bytes.unwrap_or(0),
            needed: segment.map_or(0, Segment::needed_bytes),
            is_free: !self.damages.is_damaged(listed.number),
            removals: Removals {
                due_bytes: segment.map_or(0, |segment| segment.tombstone_bytes(now)),
                hint_bytes: segment.and_then(Segment::hint_bytes),
            },
        }
    }

    fn write_output(
        &self,
        number: u32,
        sources: &[manifest::Listed],
        removed: &Removed,
        now: u32,
        pace: Pace<'_>,
    ) -> Result<Output, Unfinished> {
        let mut output = Output::default();
        let numbers: Vec<_> = sources.iter().map(|source| source.number).collect();
        let order = sources.last().map_or(0, |source| source.order);
        let mut copy: Option<Copy> = None;
        for source in sources {
            let Some(segment) = self.segments.get(source.number) else { continue };
            let mut failed = None;
            let scanned = self.scan_segment(&segment, *source, &mut |found| {
                if failed.is_some() {
                    return;
                }
                let (header, offset, record) = match found {
                    Found::Record { header, offset, record } => (header, offset, record),
                    damage => {
                        let found = self.note_damage(&segment, damage);
                        failed.get_or_insert(Unfinished::Failed(found));
                        return;
                    }
                };
                if !pace(record.len() as u64) {
                    failed = Some(Unfinished::Ended);
                    return;
                }
                let place = self.index.find_in(header.id, header.version, &numbers);
                let is_here = |place: Place| {
                    (place.segment, u64::from(place.offset)) == (source.number, offset)
                };
                let Some(found) = place.filter(|found| is_here(found.place)) else { return };
                if found.place.is_tombstone() {
                    let until =
                        found.place.captured_at().saturating_add(self.removals_kept_seconds);
                    if found.is_alone && until <= now && removed.has(header.id) {
                        output.forgotten.push((header.id.to_owned(), found.place));
                        return;
                    }
                    output.tombstones_until = output.tombstones_until.max(Some(until));
                }
                let written = copy_of(&mut copy, self, number, order).and_then(|copy| {
                    copy.add(&header, found.place, record, self.directory.store.synced)
                });
                if let Err(err) = written {
                    let path = self.directory.store.shown(&segment_path(number));
                    let err = write_error(format!("write {path}"), err);
                    failed.get_or_insert(Unfinished::Failed(err));
                }
            });
            if let Some(unfinished) = failed {
                return Err(unfinished);
            }
            scanned?;
            output.bytes_before += source.valid_bytes.unwrap_or(0);
        }
        if let Some(copy) = copy {
            let path = self.directory.store.shown(&segment_path(number));
            let (end, segment, moves) = copy
                .finish(self.directory.store.synced)
                .map_err(|err| write_error(format!("write {path}"), err))?;
            if let Some(until) = output.tombstones_until {
                // Copying has taken its time; and not again and again.
                let now = seconds(Some(self.clock.wall()));
                let pause = self.removals_kept_seconds.max(REMOVALS_PAUSE_SECONDS);
                let usual = now.saturating_add(pause);
                segment.keep_tombstones_until(until.max(usual));
            }
            let valid_bytes = Some(end);
            let listed = manifest::Listed { number, order, valid_bytes, durable_bytes: end };
            output.written = Some(Written { listed, segment, moves });
        }
        Ok(output)
    }

    /// Makes the output part of the log instead of the sources.
    fn put_in_place(
        &self,
        sources: &[manifest::Listed],
        output: Output,
    ) -> Result<Compacted, StorageError> {
        let numbers: Vec<_> = sources.iter().map(|source| source.number).collect();
        let listed = output.written.as_ref().map(|written| written.listed);
        self.tail.lock().put_in_place(&self.directory, &numbers, listed)?;
        let mut changes = LiveChanges::default();
        // From here on nothing may fail: the sources are none of the log's any more.
        if let Some(Written { listed, segment, moves }) = output.written {
            self.segments.insert(segment);
            for Move { id_hash, from, to_offset } in moves {
                // Unless it was replaced meanwhile.
                let to = (listed.number, to_offset);
                if let Some((old, new)) = self.index.moved(id_hash, from, to) {
                    changes.drop_place(old);
                    changes.add_place(new);
                }
            }
        }
        for (id, place) in output.forgotten {
            if self.index.forget(id.as_ref(), place) {
                changes.drop_place(place);
            }
        }
        self.segments.count(changes);
        for number in &numbers {
            // Who found a place there before looks again.
            self.segments.remove(*number);
            self.discard(*number);
        }
        let compacted = Compacted {
            segments: sources.len() as u64,
            bytes_before: output.bytes_before,
            bytes_after: listed.and_then(|listed| listed.valid_bytes).unwrap_or(0),
        };
        self.compacted.count(compacted);
        Ok(compacted)
    }

    /// Removes the file of a segment that is none of the log's.
    fn discard(&self, number: u32) {
        match remove_segment(&*self.directory.store.files, number) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                self.tail.lock().remove_later([number]);
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Of which ids nothing is left but a removal.
enum Removed {
    /// Of all that have a removal which counts alone: nothing lies before.
    AllOfThem,
    /// By the hashes.
    These(HashSet<u64>),
}

impl Removed {
    fn has(&self, id: CheckpointIdRef<'_>) -> bool {
        match self {
            Self::AllOfThem => true,
            Self::These(hashes) => hashes.contains(&id_hash(id)),
        }
    }
}

/// What is to take the place of the sources.
#[derive(Default)]
struct Output {
    bytes_before: u64,
    /// Nothing of them may be left.
    written: Option<Written>,
    forgotten: Vec<(CheckpointId, Place)>,
    /// When the last of the removals it has may be forgotten.
    tombstones_until: Option<u32>,
}

struct Written {
    listed: manifest::Listed,
    segment: Segment,
    moves: Vec<Move>,
}

/// Where a record was, and where in the new segment it is.
struct Move {
    id_hash: u64,
    from: (u32, u32),
    to_offset: u32,
}

/// A segment that is being written.
struct Copy {
    file: Box<dyn FileHandle>,
    segment: Segment,
    salt: u32,
    end: u64,
    synced_to: u64,
    listed: Vec<Listed>,
    records: Vec<u8>,
    moves: Vec<Move>,
}

/// The segment that is being written, begun if it was not.
fn copy_of<'a>(
    copy: &'a mut Option<Copy>,
    log: &Log,
    number: u32,
    order: u32,
) -> io::Result<&'a mut Copy> {
    match copy {
        Some(copy) => Ok(copy),
        None => {
            let synced = log.directory.store.synced;
            let (file, head, segment) = Segment::create(&log.directory, number, order, synced)?;
            let end = SEGMENT_HEAD_BYTES as u64;
            let (listed, records, moves) = (Vec::new(), Vec::new(), Vec::new());
            let salt = head.salt();
            let synced_to = end;
            Ok(copy.insert(Copy { file, segment, salt, end, synced_to, listed, records, moves }))
        }
    }
}

impl Copy {
    fn add(
        &mut self,
        header: &RecordHeader<'_>,
        place: Place,
        record: &[u8],
        synced: bool,
    ) -> io::Result<()> {
        let id_hash = id_hash(header.id);
        self.listed.push(Listed { id_hash, record_bytes: place.record_bytes() });
        // It will be known where it goes once the batch is whole.
        self.moves.push(Move { id_hash, from: (place.segment, place.offset), to_offset: 0 });
        self.records.extend_from_slice(record);
        if self.records.len() >= BATCH_BYTES || self.listed.len() >= BATCH_RECORDS_MAX {
            self.write_batch(synced)?;
        }
        Ok(())
    }

    fn write_batch(&mut self, synced: bool) -> io::Result<()> {
        let listed = std::mem::take(&mut self.listed);
        // Nothing of it counts before all of it is durable: the list of segments says so.
        let head = BatchHead { kind: BatchKind::Records, offset: self.end, synced: 0, listed };
        let mut bytes = Vec::new();
        head.encode(self.salt, &mut bytes);
        if u32::try_from(head.end()).is_err() {
            // No place in the index could say where they are.
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let first = self.moves.len() - head.listed.len();
        for (moved, (offset, _)) in self.moves.iter_mut().skip(first).zip(head.places()) {
            moved.to_offset = u32::try_from(offset).unwrap_or(u32::MAX);
        }
        write_all(&*self.file, &bytes)?;
        write_all(&*self.file, &self.records)?;
        self.end = head.end();
        self.records.clear();
        if synced && self.end - self.synced_to >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced_to = self.end;
        }
        Ok(())
    }

    fn finish(mut self, synced: bool) -> io::Result<(u64, Segment, Vec<Move>)> {
        if !self.listed.is_empty() {
            self.write_batch(synced)?;
        }
        if synced && self.synced_to < self.end {
            self.file.sync_data()?;
        }
        Ok((self.end, self.segment, self.moves))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(bytes: u64, needed: u64) -> Candidate {
        let removals = Removals { due_bytes: 0, hint_bytes: None };
        Candidate { bytes, needed, is_free: true, removals }
    }

    #[test]
    fn neighbours_of_which_little_is_needed_are_chosen() {
        let full = candidate(100 << 20, 90 << 20);
        let half = candidate(100 << 20, 40 << 20);
        let empty = candidate(100 << 20, 0);
        let segment_bytes = 100 << 20;
        assert_eq!(choose(&[full, full], segment_bytes), None);
        assert_eq!(choose(&[full, half, full], segment_bytes), Some(1..2));
        assert_eq!(choose(&[full, half, empty, empty, full], segment_bytes), Some(2..4));
        // Damage between them parts them, and is left alone.
        let damaged = Candidate { is_free: false, ..empty };
        assert_eq!(choose(&[half, damaged, half, half], segment_bytes), Some(2..4));
        assert_eq!(choose(&[damaged], segment_bytes), None);
        // One that is larger than a segment is compacted by itself.
        assert_eq!(choose(&[candidate(900 << 20, 300 << 20)], segment_bytes), Some(0..1));
    }

    #[test]
    fn removals_count_as_freed_where_it_is_cheap_to_know_that_nothing_lies_before() {
        let segment_bytes = 100 << 20;
        let cold = |hint_bytes| Candidate {
            removals: Removals { due_bytes: 0, hint_bytes },
            ..candidate(100 << 20, 99 << 20)
        };
        let removed = Candidate {
            removals: Removals { due_bytes: 10 << 20, hint_bytes: Some(1) },
            ..candidate(12 << 20, 11 << 20)
        };
        assert_eq!(choose(&[removed, cold(None)], segment_bytes), Some(0..1));
        assert_eq!(choose(&[cold(Some(20 << 20)), removed], segment_bytes), Some(1..2));
        let several = [cold(Some(20 << 20)), removed, removed];
        assert_eq!(choose(&several, segment_bytes), Some(1..3));
        assert_eq!(choose(&[cold(Some(81 << 20)), removed], segment_bytes), None);
        assert_eq!(choose(&[cold(None), removed], segment_bytes), None);
    }

    #[test]
    fn many_small_segments_become_one() {
        let small = candidate(1000, 1000);
        assert_eq!(choose(&[small; SEGMENTS_MANY - 1], 1 << 20), None);
        assert_eq!(choose(&[small; SEGMENTS_MANY], 1 << 20), Some(0..SEGMENTS_MANY));
        assert_eq!(choose(&[small; SEGMENTS_MANY], 10_000), None);
    }
}
