//! Saves batches: those of all threads that come at once are written and synced together.

use std::error::Error as _;
use std::sync::Arc;

use crate::record::StateVersion;
use crate::storage::directory::error::same_error;
use crate::storage::log::index::Known;
use crate::storage::log::inner::Log;
use crate::storage::log::layout::id_hash;
use crate::storage::log::place::Place;
use crate::storage::log::retention::{Keep, seconds};
use crate::storage::log::segment::LiveChanges;
use crate::storage::log::writer::{AppendError, Appended, ToAppend, Writer, batches};
use crate::storage::{SaveBatch, SaveEntry, SaveOutcome, StorageError, StorageErrorKind};

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

impl Log {
    pub(super) fn save_batch(&self, batch: SaveBatch) {
        self.waiting.lock().push(batch);
        let done = {
            let mut writer = self.writer.lock();
            // Whoever had the writer before may have taken the batch along.
            let waiting = std::mem::take(&mut *self.waiting.lock());
            self.commit(&mut writer, waiting)
        };
        // No lock is held: the receiver may call the storage again.
        for (entry, outcome) in done {
            entry.complete(outcome);
        }
    }

    fn commit(&self, writer: &mut Writer, batches_of_all: Vec<SaveBatch>) -> Vec<Done> {
        let taken_apart: Vec<_> = batches_of_all.into_iter().map(SaveBatch::into_parts).collect();
        let entries = taken_apart.iter().map(|(_, entries)| entries.len()).sum();
        let (buffers, entries_of_all): (Vec<Arc<_>>, Vec<_>) = taken_apart.into_iter().unzip();
        let mut done = Vec::with_capacity(entries);
        let mut changes = LiveChanges::default();
        let now = self.clock.wall();
        let mut begun = false;
        let mut prototype: Option<Prototype<'_>> = None;
        let mut all = Vec::with_capacity(entries);
        for (bytes, entries) in buffers.iter().zip(entries_of_all) {
            all.extend(entries.into_iter().map(|entry| {
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
        let mut pending = all;
        let current = self.stored_versions(&pending);
        let mut verdicts = Vec::new();
        for (at, (one, current)) in pending.iter().zip(current).enumerate() {
            match self.check(one, current) {
                Ok(true) => {}
                Ok(false) => verdicts.push((at, SaveOutcome::Stored)),
                Err(err) => verdicts.push((at, SaveOutcome::NotStored(err))),
            }
        }
        // Hardly ever there are any.
        for (at, outcome) in verdicts.into_iter().rev() {
            done.push((pending.swap_remove(at).entry, outcome));
        }
        // Of one id nothing older may lie behind: it would come back once the newer is forgotten.
        pending.sort_by_key(|pending| pending.entry.version());
        let records: Vec<_> = pending.iter().map(Pending::to_append).collect();
        let mut outcomes = Vec::with_capacity(pending.len());
        for batch in batches(&records) {
            let first = outcomes.len();
            let of_batch = pending.get(first..first + batch.len()).unwrap_or_default();
            let appended = writer.append(&self.directory, batch, &mut |segment| {
                self.segments.insert(segment);
                begun = true;
            });
            match appended {
                Ok(places) => {
                    let now = seconds(Some(now));
                    self.take_in(of_batch, &places, now, &mut changes, &mut outcomes);
                }
                Err(err) => outcomes.extend(of_batch.iter().map(|pending| pending.failed(&err))),
            }
        }
        drop(records);
        done.extend(pending.into_iter().map(|pending| pending.entry).zip(outcomes));
        self.segments.count(changes);
        if begun {
            // The one before is full: it may be worth to look at.
            self.orders.want();
        }
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
        places: &[Appended],
        now: u32,
        changes: &mut LiveChanges,
        outcomes: &mut Vec<SaveOutcome>,
    ) {
        let ids: Vec<_> = pending.iter().map(|pending| pending.id).collect();
        let places = pending.iter().zip(places);
        // In the order in which the records lie in memory.
        let places: Vec<_> =
            places.map(|(pending, at)| (self.place(pending, *at, now), pending.keep)).collect();
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
