//! Fills the index of a log that is being opened: by the hints of its segments, or by reading them.

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::RecordHeader;
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::error::read_error;
use crate::storage::directory::store::Store;
use crate::storage::log::damages::Damages;
use crate::storage::log::hint::{Hint, HintRead, hint_path};
use crate::storage::log::index::Index;
use crate::storage::log::inner::damage_of;
use crate::storage::log::layout::{BatchHead, HeadError, SegmentHead, id_hash};
use crate::storage::log::manifest::{Listed, Manifest};
use crate::storage::log::place::Place;
use crate::storage::log::report::{LogCut, LogOpenReport};
use crate::storage::log::retention::{Retentions, seconds};
use crate::storage::log::scan::{End, Found, ScanError, scan};
use crate::storage::log::segment::{LiveChanges, Segment, Segments, segment_path};
use crate::storage::log::writer::{AppendError, Left, ToAppend, Writer, batches};
use crate::storage::{StorageError, StorageErrorKind};

/// What has been read so far.
pub(super) struct Replay {
    retentions: Retentions,
    removals_kept_seconds: u32,
    now: SystemTime,
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) changes: LiveChanges,
    pub(super) damages: Damages,
    /// The hashes of the ids of those in the report.
    pub(super) damaged: Vec<Option<u64>>,
    pub(super) report: LogOpenReport,
    /// How the last segment was left.
    pub(super) left: Option<Left>,
    /// What may not be durable: of which segment, from where to where, whole batches.
    in_doubt: Vec<(u32, u64, u64)>,
}

impl Replay {
    /// Reads all segments of a list.
    pub(super) fn of(
        directory: &StoreDirectory,
        manifest: &Manifest,
        (retentions, removals_kept_seconds): (&Retentions, u32),
        now: SystemTime,
    ) -> Result<Self, StorageError> {
        let mut replay = Self::new(retentions.clone(), removals_kept_seconds, now);
        for listed in &manifest.segments {
            let end = replay.read(directory, *listed)?;
            if listed.valid_bytes.is_some() && listed.durable_bytes < end.valid_bytes {
                // Whoever was to write it again has died before it was done.
                replay.in_doubt.push((listed.number, listed.durable_bytes, end.valid_bytes));
            }
            replay.left =
                Some(Left { valid_bytes: end.valid_bytes, durable_bytes: end.valid_bytes });
            replay.report.closed = end.is_closed;
            if listed.valid_bytes.is_none() {
                replay.note_end(listed.number, end, directory.store.synced);
            }
        }
        Ok(replay)
    }

    /// Notes how the segment ends that was being written.
    fn note_end(&mut self, number: u32, end: End, synced: bool) {
        let valid_bytes = end.valid_bytes;
        if end.cut_bytes > 0 {
            self.report.cut = Some(LogCut {
                file: segment_path(number),
                offset: valid_bytes,
                bytes: end.cut_bytes,
                records: end.cut_records,
            });
        }
        if !end.is_closed && synced {
            self.in_doubt.extend(end.in_doubt_from.map(|offset| (number, offset, valid_bytes)));
            let durable_bytes = end.in_doubt_from.unwrap_or(valid_bytes);
            self.left = Some(Left { valid_bytes, durable_bytes });
        }
    }

    /// Writes again whatever may not be durable.
    pub(super) fn write_doubtful_again(
        &mut self,
        directory: &StoreDirectory,
        writer: &mut Writer,
    ) -> Result<(), StorageError> {
        for batch in std::mem::take(&mut self.in_doubt) {
            self.write_again(directory, writer, batch)?;
        }
        Ok(())
    }

    fn new(retentions: Retentions, removals_kept_seconds: u32, now: SystemTime) -> Self {
        Self {
            retentions,
            removals_kept_seconds,
            now,
            index: Index::default(),
            segments: Segments::default(),
            changes: LiveChanges::default(),
            damages: Damages::default(),
            damaged: Vec::new(),
            report: LogOpenReport::default(),
            left: None,
            in_doubt: Vec::new(),
        }
    }

    fn read(&mut self, directory: &StoreDirectory, listed: Listed) -> Result<End, StorageError> {
        let number = listed.number;
        let store = &directory.store;
        let path = segment_path(number);
        let attempted = || format!("read {}", store.shown(&path));
        let segment = Segment::open(&*store.files, number, listed.order)
            .map_err(|err| read_error(format!("open {}", store.shown(&path)), err))?;
        let head = SegmentHead { number, identity: directory.identity() };
        if let Some(valid_bytes) = self
            .read_hint(store, &segment, head, listed)
            .map_err(|err| read_error(format!("read {}", store.shown(&hint_path(number))), err))?
        {
            self.segments.insert(segment);
            return Ok(End { valid_bytes, ..End::default() });
        }
        let end = scan(&segment, head, listed, &mut |found| self.take(&segment, found));
        let end = end.map_err(|err| match err {
            ScanError::Io(err) => read_error(attempted(), err),
            ScanError::Head(HeadError::UnsupportedVersion(version)) => {
                let attempted = format!("{} of format version {version}", attempted());
                StorageError::new(StorageErrorKind::UnsupportedVersion, attempted)
            }
            ScanError::Head(HeadError::Damaged) => {
                StorageError::new(StorageErrorKind::Corrupt, attempted())
            }
        })?;
        self.report.bytes_read += end.valid_bytes;
        self.segments.insert(segment);
        Ok(end)
    }

    /// Takes the records of a segment from its hint, and returns how much of the segment counts.
    /// `None` if it is to be read itself.
    fn read_hint(
        &mut self,
        store: &Store,
        segment: &Segment,
        head: SegmentHead,
        listed: Listed,
    ) -> io::Result<Option<u64>> {
        let Some(valid_bytes) = listed.valid_bytes else { return Ok(None) };
        if listed.durable_bytes != valid_bytes || !segment.may_be_whole(head, valid_bytes)? {
            return Ok(None);
        }
        let hint = match Hint::read(store, head, valid_bytes) {
            HintRead::Found(hint) => hint,
            HintRead::Missing => return Ok(None),
            HintRead::Unusable => {
                let path = store.shown(&hint_path(segment.number));
                tracing::warn!(target: "checkpoint", path, "a hint is of no use; it is made anew");
                self.report.hints_unusable += 1;
                return Ok(None);
            }
        };
        hint.visit(&mut |id, record| self.put(segment, id, record.place(segment.number)));
        segment.set_hint_bytes(hint.bytes());
        self.report.hints_used += 1;
        self.report.bytes_read += hint.bytes();
        Ok(Some(valid_bytes))
    }

    fn put(&mut self, segment: &Segment, id: CheckpointIdRef<'_>, place: Place) {
        let place = place.found_at(seconds(Some(self.now)));
        self.keep_removal(segment, place);
        let keep = self.retentions.at(id.prototype, self.now);
        let changes = &mut self.changes;
        changes.add_place(place);
        self.index.put(id, place, keep, &mut |dropped| changes.drop_place(dropped));
    }

    /// If it is the mark of a removal, its segment has one that is needed for some time.
    fn keep_removal(&self, segment: &Segment, place: Place) {
        if place.is_tombstone() {
            let due = place.captured_at().saturating_add(self.removals_kept_seconds);
            segment.keep_tombstones_until(due);
        }
    }

    fn take(&mut self, segment: &Segment, found: Found<'_>) {
        if let Found::Record { header, offset, record } = found {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            let at = (segment.number, offset);
            self.put(segment, header.id, Place::new(header.version, header.kind, record, at));
        } else if let Some((damage, at, id_hash)) = damage_of(segment, found) {
            self.report.damages.push(damage.clone());
            self.damaged.push(id_hash);
            self.damages.add(damage, at, id_hash);
        }
    }

    /// Writes the last batches of a log that was not closed to a new segment: whoever wrote them
    /// may have died before they were durable, or been told that they are not, and a sync that has
    /// failed once proves nothing when it is tried again.
    fn write_again(
        &mut self,
        directory: &StoreDirectory,
        writer: &mut Writer,
        (number, until_doubt, until): (u32, u64, u64),
    ) -> Result<(), StorageError> {
        let path = segment_path(number);
        let attempted = || format!("read {}", directory.store.shown(&path));
        let Some(segment) = self.segments.get(number) else { return Ok(()) };
        let mut bytes = vec![0; usize::try_from(until - until_doubt).unwrap_or(0)];
        let read =
            segment.read(&mut bytes, until_doubt).map_err(|err| read_error(attempted(), err))?;
        bytes.truncate(read);
        let mut moving = Vec::new();
        let whole_bytes = visit_records(&bytes, &mut |header, range| {
            let offset = u32::try_from(until_doubt + range.start as u64).unwrap_or(u32::MAX);
            let record = bytes.get(range.clone()).unwrap_or_default();
            let place = Place::new(header.version, header.kind, record, (number, offset));
            moving.push((header.id.to_owned(), place, range));
        });
        let records: Vec<_> = moving
            .iter()
            .map(|(id, _, range)| ToAppend {
                id_hash: id_hash(id.as_ref()),
                bytes: &bytes,
                range: range.clone(),
            })
            .collect();
        let mut begun = Vec::new();
        let mut appended = Vec::new();
        for batch in batches(&records) {
            let places = writer.append(directory, batch, &mut |segment| begun.push(segment));
            appended.extend(places.map_err(AppendError::into_inner)?);
        }
        for segment in begun {
            self.segments.insert(segment);
        }
        for ((id, from, _), to) in moving.iter().zip(appended) {
            if let Some(segment) = self.segments.get(to.segment) {
                self.keep_removal(&segment, from.found_at(seconds(Some(self.now))));
            }
            let to = (to.segment, to.offset);
            if let Some((old, new)) =
                self.index.moved(id_hash(id.as_ref()), (from.segment, from.offset), to)
            {
                self.changes.drop_place(old);
                self.changes.add_place(new);
            }
        }
        // If not all of it could be read, it stays, and what is damaged of it stays so.
        let is_whole = whole_bytes as u64 == until - until_doubt;
        writer.settle(directory, number, if is_whole { until_doubt } else { until })
    }
}

/// Visits the records of batches that lie one behind the other, with their places, and returns how
/// many bytes of them could be read.
fn visit_records(bytes: &[u8], visit: &mut dyn FnMut(RecordHeader<'_>, Range<usize>)) -> usize {
    let mut at = 0;
    // They were checked when the segment was scanned.
    while let Some(records) = bytes.get(at..).and_then(BatchHead::count_in) {
        at += BatchHead::bytes_of(records);
        for _ in 0..records {
            let rest = bytes.get(at..).unwrap_or_default();
            let Ok(header) = RecordHeader::parse_of_whole(rest) else { return at };
            let range = at..at + header.record_bytes();
            at = range.end;
            visit(header, range);
        }
    }
    at
}
