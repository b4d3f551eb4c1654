//! Saves batches: those of all threads that come at once are written and synced together, and the
//! next ones are written meanwhile.

use std::collections::HashSet;
use std::error::Error as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use crate::record::StateVersion;
use crate::storage::directory::error::same_error;
use crate::storage::log::index::Known;
use crate::storage::log::inner::{Log, bytes_of};
use crate::storage::log::layout::id_hash;
use crate::storage::log::place::Place;
use crate::storage::log::retention::{Keep, seconds};
use crate::storage::log::segment::LiveChanges;
use crate::storage::log::tail::{SyncTurn, WriteTurn};
use crate::storage::log::writer::{
    AppendError, Appended, Begun, ToAppend, Writer, Written, batches,
};
use crate::storage::{SaveBatch, SaveEntry, SaveOutcome, StorageError, StorageErrorKind};
use crate::sync::Ordering;

/// An entry that is to be written.
struct Pending<'a> {
    /// The buffer that the record lies in.
    bytes: &'a [u8],
    id: Known<'a>,
    keep: Keep,
    entry: SaveEntry,
}

/// An entry and what became of it.
type Done = (SaveEntry, SaveOutcome);

/// What all ids of a prototype have in common. Most entries are of the same as the one before.
#[derive(Clone, Copy)]
struct Prototype<'a> {
    name: &'a str,
    number: u32,
    keep: Keep,
}

/// What has become of the batches of a commit so far.
struct Saved {
    /// In seconds.
    now: u32,
    changes: LiveChanges,
    outcomes: Vec<SaveOutcome>,
}

impl Saved {
    fn at(now: SystemTime, entries: usize) -> Self {
        let outcomes = Vec::with_capacity(entries);
        Self { now: seconds(Some(now)), changes: LiveChanges::default(), outcomes }
    }
}

impl Log {
    pub(super) fn save_batch(&self, batch: SaveBatch) {
        self.waiting.lock().push(batch);
        let turn = self.tail.turn();
        // Whoever had the turn before may have taken the batch along.
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            drop(turn);
            // Whoever took it along owes for it. But if the others went on, all would save many
            // times before each has had to wait once.
            self.orders.take_turns(0);
            return;
        }
        let (done, saved_bytes) = self.commit(turn, waiting);
        // No lock is held: the receiver may call the storage again.
        for (entry, outcome) in done {
            entry.complete(outcome);
        }
        // Not before that: nobody waits for an outcome because of it.
        self.orders.take_turns(saved_bytes);
    }

    /// Saves batches, and returns what became of them and how many bytes of records were
    /// to be written.
    fn commit(
        &self,
        turn: WriteTurn<'_, Writer>,
        batches_of_all: Vec<SaveBatch>,
    ) -> (Vec<Done>, u64) {
        let taken_apart: Vec<_> = batches_of_all.into_iter().map(SaveBatch::into_parts).collect();
        let (buffers, entries_of_all): (Vec<Arc<_>>, Vec<_>) = taken_apart.into_iter().unzip();
        let now = self.clock.wall();
        let mut pending = self.pending(&buffers, entries_of_all, now);
        // If anything panics, it is given back before the outcomes are told.
        let turn = turn;
        if turn.syncing().is_some_and(|hashes| share_an_id(&hashes, &pending)) {
            // Before that is done, nobody knows what is stored of it.
            turn.wait_for_sync();
        }
        let mut done = self.sort_out(&mut pending);
        let records: Vec<_> = pending.iter().map(Pending::to_append).collect();
        let saved_bytes = records.iter().map(|record| record.range.len() as u64).sum();
        let mut saved = Saved::at(now, pending.len());
        let mut begun = false;
        let mut begin = |segment| {
            self.segments.insert(segment);
            begun = true;
        };
        let batches: Vec<_> = batches(&records).collect();
        let mut rest = &*pending;
        if let Some((last, others)) = batches.split_last() {
            // Nobody may come in between: something older of one id would lie behind the newer.
            for batch in others {
                turn.wait_for_sync();
                let mut writer = turn.lock();
                self.note_bytes(&writer);
                let appended = writer.append(&self.directory, batch, &mut begin);
                drop(writer);
                let of_batch;
                (of_batch, rest) = rest.split_at(batch.len());
                self.take_in(of_batch, appended, &mut saved);
            }
            let id_hashes = rest.iter().map(|pending| pending.id.hash).collect();
            let (appended, _sync_turn) = self.append(turn, last, id_hashes, &mut begin);
            self.take_in(rest, appended, &mut saved);
            self.segments.count(saved.changes);
        }
        drop(records);
        done.extend(pending.into_iter().map(|pending| pending.entry).zip(saved.outcomes));
        if begun {
            // The one before is full: it may be worth to look at.
            // With what was saved since: it may be more than a segment.
            let disk_bytes = self.bytes_when_begun.load(Ordering::Relaxed) + saved_bytes;
            self.orders.want(self.pressure_at(disk_bytes) >= 1.0);
        }
        (done, saved_bytes)
    }

    /// If another segment is to be begun, notes how large the log is. Who has begun one looks at
    /// that, and does not wait for the writer again, with which the next batch may be on its way.
    fn note_bytes(&self, writer: &Writer) {
        if writer.begins_segment() {
            self.bytes_when_begun.store(bytes_of(&writer.listed()), Ordering::Relaxed);
        }
    }

    /// Appends a batch. The next one is written while this is synced.
    fn append<'a>(
        &self,
        turn: WriteTurn<'a, Writer>,
        records: &[ToAppend<'_>],
        id_hashes: Vec<u64>,
        begin: Begun<'_>,
    ) -> (Result<Vec<Appended>, AppendError>, SyncTurn<'a, Writer>) {
        let written = {
            let mut writer = turn.lock();
            if writer.begins_segment() {
                drop(writer);
                turn.wait_for_sync();
                writer = turn.lock();
            }
            self.note_bytes(&writer);
            writer.write(&self.directory, records, begin)
        };
        let sync_turn = turn.begin_sync(id_hashes);
        let appended = match written.and_then(|written| self.sync(&sync_turn, written)) {
            Err(AppendError::Unknown(_)) => {
                sync_turn.lock().append_again(&self.directory, records, begin)
            }
            done => done,
        };
        (appended, sync_turn)
    }

    fn sync(
        &self,
        turn: &SyncTurn<'_, Writer>,
        written: Written,
    ) -> Result<Vec<Appended>, AppendError> {
        let to_sync = turn.lock().to_sync(&written)?;
        let synced = to_sync.sync(&self.directory);
        turn.lock().settle_batch(written, synced)
    }

    fn pending<'a>(
        &self,
        buffers: &'a [Arc<Vec<u8>>],
        entries_of_all: Vec<Vec<SaveEntry>>,
        now: SystemTime,
    ) -> Vec<Pending<'a>> {
        let mut prototype: Option<Prototype<'a>> = None;
        let mut pending = Vec::with_capacity(entries_of_all.iter().map(Vec::len).sum());
        for (bytes, entries) in buffers.iter().zip(entries_of_all) {
            pending.extend(entries.into_iter().map(|entry| {
                let id = entry.id_in(bytes);
                let of = match prototype {
                    Some(prototype) if prototype.name == id.prototype => prototype,
                    _ => *prototype.insert(Prototype {
                        name: id.prototype,
                        number: self.index.name_number(id.prototype),
                        keep: self.retentions.at(id.prototype, now),
                    }),
                };
                let id = Known { hash: id_hash(id), prototype: of.number, key: id.key };
                Pending { bytes, id, keep: of.keep, entry }
            }));
        }
        pending
    }

    /// Leaves only what is to be written, in the order in which that is to be done, and returns
    /// what becomes of the others.
    fn sort_out(&self, pending: &mut Vec<Pending<'_>>) -> Vec<Done> {
        let current = self.stored_versions(pending);
        let mut verdicts = Vec::new();
        for (at, (one, current)) in pending.iter().zip(current).enumerate() {
            match self.check(one, current) {
                Ok(true) => {}
                Ok(false) => verdicts.push((at, SaveOutcome::Stored)),
                Err(err) => verdicts.push((at, SaveOutcome::NotStored(err))),
            }
        }
        let mut done = Vec::with_capacity(pending.len());
        // Hardly ever there are any.
        for (at, outcome) in verdicts.into_iter().rev() {
            done.push((pending.swap_remove(at).entry, outcome));
        }
        // Of one id nothing older may lie behind: it would come back once the newer is forgotten.
        pending.sort_by_key(|pending| pending.entry.version());
        done
    }

    /// The newest version that is stored of each id.
    fn stored_versions(&self, pending: &[Pending<'_>]) -> Vec<Option<StateVersion>> {
        let ids: Vec<_> = pending.iter().map(|pending| pending.id).collect();
        let mut versions = vec![None; ids.len()];
        self.index.visit(&ids, &mut |at, shard| {
            if let (Some(id), Some(version)) = (ids.get(at), versions.get_mut(at)) {
                let slot = shard.find(id.hash, (id.prototype, id.key));
                *version = slot.map(|slot| shard.newest(slot).version);
            }
        });
        versions
    }

    /// Whether the record is to be written: not if it is there already.
    fn check(
        &self,
        Pending { bytes, entry, .. }: &Pending<'_>,
        current: Option<StateVersion>,
    ) -> Result<bool, StorageError> {
        self.check_writable(|| format!("save {}", entry.id_in(bytes)))?;
        self.directory.epochs.lock().check(entry, bytes)?;
        let refused = |kind| StorageError::new(kind, format!("save {}", entry.id_in(bytes)));
        if entry.range().len() as u64 > self.record_bytes_max {
            return Err(refused(StorageErrorKind::TooLarge { max: self.record_bytes_max }));
        }
        match current {
            Some(current) if current > entry.version() => {
                Err(refused(StorageErrorKind::Stale { current }))
            }
            Some(current) => Ok(current < entry.version()),
            None => Ok(true),
        }
    }

    /// Puts records that are durable into the index.
    fn take_in(
        &self,
        pending: &[Pending<'_>],
        appended: Result<Vec<Appended>, AppendError>,
        Saved { now, changes, outcomes }: &mut Saved,
    ) {
        let places = match appended {
            Ok(places) => places,
            Err(err) => {
                outcomes.extend(pending.iter().map(|pending| pending.failed(&err)));
                return;
            }
        };
        let ids: Vec<_> = pending.iter().map(|pending| pending.id).collect();
        // In the order in which the records lie in memory.
        let places = pending.iter().zip(&places);
        let places: Vec<_> =
            places.map(|(pending, at)| (self.place(pending, *at, *now), pending.keep)).collect();
        let mut newer = vec![None; ids.len()];
        self.index.visit(&ids, &mut |at, shard| {
            if let (Some(id), Some((place, keep)), Some(newer)) =
                (ids.get(at), places.get(at), newer.get_mut(at))
            {
                changes.add_place(*place);
                let dropped = &mut |dropped| changes.drop_place(dropped);
                *newer = self.index.put_into(shard, *id, *place, *keep, dropped);
            }
        });
        outcomes.extend(pending.iter().zip(newer).map(|(pending, newer)| match newer {
            None => SaveOutcome::Stored,
            // Another one of the same batch.
            Some(current) => {
                let kind = StorageErrorKind::Stale { current };
                let id = pending.entry.id_in(pending.bytes);
                SaveOutcome::NotStored(StorageError::new(kind, format!("save {id}")))
            }
        }));
    }

    fn place(&self, Pending { bytes, entry, .. }: &Pending<'_>, at: Appended, now: u32) -> Place {
        let record = entry.record_in(bytes);
        let place = Place::new(entry.version(), entry.kind(), record, (at.segment, at.offset));
        let place = place.seen_at(now);
        if place.is_tombstone()
            && let Some(segment) = self.segments.get(at.segment)
        {
            let due = place.captured_at().saturating_add(self.removals_kept_seconds);
            segment.keep_tombstones_until(due);
        }
        place
    }
}

impl<'a> Pending<'a> {
    fn to_append(&self) -> ToAppend<'a> {
        ToAppend { id_hash: self.id.hash, bytes: self.bytes, range: self.entry.range() }
    }

    fn failed(&self, err: &AppendError) -> SaveOutcome {
        let (AppendError::NotDone(cause) | AppendError::Unknown(cause)) = err;
        let id = self.entry.id_in(self.bytes);
        let mut of_this = StorageError::new(cause.kind(), format!("save {id}: {cause}"));
        if let Some(err) = cause.source().and_then(|source| source.downcast_ref()) {
            of_this = of_this.with_source(same_error(err));
        }
        match err {
            AppendError::NotDone(_) => SaveOutcome::NotStored(of_this),
            AppendError::Unknown(_) => SaveOutcome::Unknown(of_this),
        }
    }
}

/// Whether there is something in `pending` whose id has one of these hashes.
fn share_an_id(id_hashes: &[u64], pending: &[Pending<'_>]) -> bool {
    let hashes: HashSet<_, BuildHasherDefault<Hashed>> = id_hashes.iter().copied().collect();
    pending.iter().any(|pending| hashes.contains(&pending.id.hash))
}

/// Hashes what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only numbers are hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
