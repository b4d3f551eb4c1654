//! Saves batches: those of all threads that come at once are written and synced together.

use std::sync::Arc;

use crate::storage::log::LogStorage;
use crate::storage::log::index::Place;
use crate::storage::log::writer::{AppendError, ToAppend, Writer, batches};
use crate::storage::{SaveBatch, SaveEntry, SaveOutcome, StorageError, StorageErrorKind};

/// An entry and the buffer that its record lies in.
struct Pending {
    bytes: Arc<Vec<u8>>,
    entry: SaveEntry,
}

/// An entry and what became of it.
type Done = (SaveEntry, SaveOutcome);

impl LogStorage {
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
        let records: Vec<_> = pending.iter().map(Pending::to_append).collect();
        let mut outcomes = Vec::with_capacity(records.len());
        for batch in batches(&records) {
            let first = outcomes.len();
            let appended = writer.append(&self.directory, batch, &mut |segment| {
                self.segments.lock().insert(segment.number, segment);
            });
            match appended {
                Ok(places) => {
                    for (pending, at) in pending.iter().skip(first).zip(places) {
                        outcomes.push(self.take_in(pending, at.segment, at.offset));
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
        done.extend(pending.into_iter().map(|pending| pending.entry).zip(outcomes));
        done
    }

    /// Whether the record is to be written: not if it is there already.
    fn check(&self, bytes: &[u8], entry: &SaveEntry) -> Result<bool, StorageError> {
        let id = entry.id_in(bytes);
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
    fn take_in(&self, pending: &Pending, segment: u32, offset: u32) -> SaveOutcome {
        let Pending { bytes, entry } = pending;
        let id = entry.id_in(bytes);
        let record_bytes = u32::try_from(entry.record_in(bytes).len()).unwrap_or(u32::MAX);
        let place = Place::new(entry.version(), entry.kind(), segment, offset, record_bytes);
        let older_max = usize::try_from(self.older_versions_max).unwrap_or(usize::MAX);
        let put = self.index.put(id, place, older_max);
        match put.newer {
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
