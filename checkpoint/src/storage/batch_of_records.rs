//! Makes a batch of records that are there already, for storages around storages and for tests.
//!
//! The keeper encodes its batches in place instead and needs none of this.

use std::ops::Range;
use std::sync::Arc;

use crate::record::{RecordError, RecordHeader};
use crate::storage::save_batch::{Completion, RecordPlace, SaveReceiver};
use crate::storage::{SaveBatch, SaveEntry, SaveOutcome};

impl SaveBatch {
    /// Returns a batch of the records that lie one behind the other in `bytes`.
    ///
    /// `completed` is told the index and the outcome of each record, once each, from any thread. It
    /// is how a storage around another passes on records that it has changed, and how a test saves.
    ///
    /// # Errors
    /// The bytes are not made of whole records: a header is damaged, or the last record is cut off.
    /// Payloads are not looked at.
    ///
    /// # Examples
    /// ```
    /// use checkpoint::{InMemoryStorage, SaveBatch, StateStorage};
    ///
    /// let batch = SaveBatch::of_records(Vec::new(), |index, outcome| {
    ///     println!("record {index}: {outcome:?}");
    /// })?;
    /// InMemoryStorage::new().save(batch);
    /// # Ok::<(), checkpoint::RecordError>(())
    /// ```
    pub fn of_records(
        bytes: Vec<u8>,
        completed: impl Fn(usize, SaveOutcome) + Send + Sync + 'static,
    ) -> Result<Self, RecordError> {
        let places = places(&bytes)?;
        let receiver: Arc<dyn SaveReceiver> = Arc::new(Told(completed));
        let entries = places.into_iter().enumerate().map(|(index, place)| {
            SaveEntry::new(place, Completion::new(Arc::clone(&receiver), index))
        });
        let entries = entries.collect();
        Ok(Self::new(Arc::new(bytes), entries))
    }
}

struct Told<F>(F);

impl<F: Fn(usize, SaveOutcome) + Send + Sync> SaveReceiver for Told<F> {
    fn completed(&self, index: usize, outcome: SaveOutcome) {
        (self.0)(index, outcome);
    }
}

fn places(bytes: &[u8]) -> Result<Vec<RecordPlace>, RecordError> {
    let mut places = Vec::new();
    let mut start = 0;
    while let Some(rest) = bytes.get(start..)
        && !rest.is_empty()
    {
        let header = RecordHeader::parse_of_whole(rest)?;
        let behind = |range: Range<usize>| start + range.start..start + range.end;
        places.push(RecordPlace {
            record: behind(0..header.record_bytes()),
            prototype: behind(header.prototype_place()),
            key: behind(header.key_place()),
            kind: header.kind,
            partition: header.partition,
            version: header.version,
        });
        start += header.record_bytes();
    }
    Ok(places)
}
