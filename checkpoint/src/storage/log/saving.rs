//! Saves batches: those of all threads that come at once are written and synced together.

use std::sync::Arc;
use std::time::SystemTime;

use crate::storage::log::index::Place;
use crate::storage::log::inner::Log;
use crate::storage::log::retention::seconds;
use crate::storage::log::segment::LiveChanges;
use crate::storage::log::writer::{AppendError, Appended, ToAppend, Writer, batches};
use crate::storage::{SaveBatch, SaveEntry, SaveOutcome, StorageError, StorageErrorKind};

/// An entry and the buffer that its record lies in.
struct Pending {
    bytes: Arc<Vec<u8>>,
    entry: SaveEntry,
}

/// An entry and what became of it.
type Done = (SaveEntry, SaveOutcome);

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
        let mut done = Vec::new();
        let mut pending = Vec::new();
        let mut changes = LiveChanges::default();
        let now = self.clock.wall();
        let mut begun = false;
        for batch in batches_of_all {
            let (bytes, entries) = batch.into_parts();
            for entry in entries {
                match self.check(&bytes, &entry) {
                    Ok(true) => pending.push(Pending { bytes: Arc::clone(&bytes), entry }),
                    Ok(false) => done.push((entry, SaveOutcome::Stored)),
                    Err(err) => done.push((entry, SaveOutcome::NotStored(err))),
                }
            }
        }
        // Of one id nothing older may lie behind: it would come back once the newer is forgotten.
        pending.sort_by_key(|pending| pending.entry.version());
        let records: Vec<_> = pending.iter().map(Pending::to_append).collect();
        let mut outcomes = Vec::with_capacity(records.len());
        for batch in batches(&records) {
            let first = outcomes.len();
            let appended = writer.append(&self.directory, batch, &mut |segment| {
                self.segments.insert(segment);
                begun = true;
            });
            match appended {
                Ok(places) => {
                    for (pending, at) in pending.iter().skip(first).zip(places) {
                        outcomes.push(self.take_in(pending, at, now, &mut changes));
                    }
                }
                Err(err) => {
                    let (is_known, err) = match err {
                        AppendError::NotDone(err) => (true, err),
                        AppendError::Unknown(err) => (false, err),
                    };
                    outcomes.extend(batch.iter().map(|to| {
                        let err = StorageError::new(err.kind(), format!("save {}: {err}", to.id));
                        match is_known {
                            true => SaveOutcome::NotStored(err),
                            false => SaveOutcome::Unknown(err),
                        }
                    }));
                }
            }
        }
        drop(records);
        self.segments.count(changes);
        if begun {
            // The one before is full: it may be worth to look at.
            self.orders.want();
        }
        done.extend(pending.into_iter().map(|pending| pending.entry).zip(outcomes));
        done
    }

    /// Whether the record is to be written: not if it is there already.
    fn check(&self, bytes: &[u8], entry: &SaveEntry) -> Result<bool, StorageError> {
        let id = entry.id_in(bytes);
        self.check_writable(|| format!("save {id}"))?;
        self.directory.epochs.lock().check(entry, bytes)?;
        if entry.record_in(bytes).len() as u64 > self.record_bytes_max {
            let kind = StorageErrorKind::TooLarge { max: self.record_bytes_max };
            return Err(StorageError::new(kind, format!("save {id}")));
        }
        match self.index.newest(id).map(|place| place.version) {
            Some(current) if current > entry.version() => {
                let kind = StorageErrorKind::Stale { current };
                Err(StorageError::new(kind, format!("save {id}")))
            }
            Some(current) => Ok(current < entry.version()),
            None => Ok(true),
        }
    }

    /// Puts a record that is durable into the index.
    fn take_in(
        &self,
        pending: &Pending,
        at: Appended,
        now: SystemTime,
        changes: &mut LiveChanges,
    ) -> SaveOutcome {
        let Pending { bytes, entry } = pending;
        let id = entry.id_in(bytes);
        let record = entry.record_in(bytes);
        let place = Place::new(entry.version(), entry.kind(), record, (at.segment, at.offset));
        let place = place.seen_at(seconds(Some(now)));
        if place.is_tombstone()
            && let Some(segment) = self.segments.get(at.segment)
        {
            let due = place.captured_at().saturating_add(self.removals_kept_seconds);
            segment.keep_tombstones_until(due);
        }
        match self.put(id, place, self.retentions.at(id.prototype, now), changes) {
            // Another one of the same batch.
            Some(current) => {
                let kind = StorageErrorKind::Stale { current };
                SaveOutcome::NotStored(StorageError::new(kind, format!("save {id}")))
            }
            None => SaveOutcome::Stored,
        }
    }
}

impl Pending {
    fn to_append(&self) -> ToAppend<'_> {
        ToAppend { id: self.entry.id_in(&self.bytes), record: self.entry.record_in(&self.bytes) }
    }
}
