//! The segments of a log that are open to be read.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::file_ops::{FileHandle, FileOps, write_all};
use crate::storage::directory::StoreDirectory;
use crate::storage::log::damages::WrittenAt;
use crate::storage::log::hint::hint_path;
use crate::storage::log::layout::{BatchHead, SEGMENT_HEAD_BYTES, SegmentHead};
use crate::storage::log::place::Place;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};

/// The directory of segments.
pub(super) const SEGMENTS: &str = "segments";

/// In place of the size of a hint: its segment has too many records for one.
const NO_HINT: u64 = u64::MAX;

/// Returns the path of a segment.
pub(super) fn segment_path(number: u32) -> String {
    format!("{SEGMENTS}/{number:08x}")
}

/// Returns the number of the segment that has this name in its directory.
pub(super) fn parse_segment_name(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name, 16).ok()?;
    (format!("{number:08x}") == name).then_some(number)
}

/// A segment that is open to be read, from as many threads as like.
pub(super) struct Segment {
    pub(super) number: u32,
    /// Where it stands in the log.
    pub(super) order: u32,
    file: Box<dyn FileHandle>,
    live_bytes: AtomicU64,
    live_records: AtomicU64,
    // Those of the live ones that mark removals.
    tombstone_bytes: AtomicU64,
    // In seconds since 1970: from then on it may pay to look whether these are needed still.
    tombstones_due: AtomicU32,
    // 0 if there is none yet.
    hint_bytes: AtomicU64,
}

/// Removes the files of a segment.
pub(super) fn remove_segment(files: &dyn FileOps, number: u32) -> io::Result<()> {
    match files.remove_file(&hint_path(number)) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    files.remove_file(&segment_path(number))
}

impl Segment {
    pub(super) fn open(files: &dyn FileOps, number: u32, order: u32) -> io::Result<Self> {
        Ok(Self {
            number,
            order,
            file: files.open_file(&segment_path(number))?,
            live_bytes: AtomicU64::new(0),
            live_records: AtomicU64::new(0),
            tombstone_bytes: AtomicU64::new(0),
            tombstones_due: AtomicU32::new(0),
            hint_bytes: AtomicU64::new(0),
        })
    }

    /// Creates the file of a segment and writes its head; with `synced` both are durable when this
    /// returns. Returns the file to write the rest to.
    ///
    /// # Errors
    /// A file may be left that is of no use to anybody.
    pub(super) fn create(
        directory: &StoreDirectory,
        number: u32,
        order: u32,
        synced: bool,
    ) -> io::Result<(Box<dyn FileHandle>, SegmentHead, Self)> {
        let files = &*directory.store.files;
        let path = segment_path(number);
        let file = files.create_file(&path)?;
        let head = SegmentHead { number, identity: directory.identity() };
        let prepared = write_all(&*file, &head.encode())
            .and_then(|()| if synced { file.sync_data() } else { Ok(()) })
            .and_then(|()| if synced { files.sync_directory(SEGMENTS) } else { Ok(()) })
            .and_then(|()| Self::open(files, number, order));
        match prepared {
            Ok(segment) => Ok((file, head, segment)),
            Err(err) => {
                // If it stays, the next opening removes it.
                drop(files.remove_file(&path));
                Err(err)
            }
        }
    }

    /// Says when a place in it was written, compared with others.
    pub(super) fn written_at(&self, offset: u32) -> WrittenAt {
        WrittenAt { order: self.order, offset, segment: self.number }
    }

    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        self.file.file_bytes()
    }

    /// Whether the file has the right head, and no less bytes than this.
    pub(super) fn may_be_whole(&self, expected: SegmentHead, bytes: u64) -> io::Result<bool> {
        let mut head = [0; SEGMENT_HEAD_BYTES];
        let read = self.read(&mut head, 0)?;
        let is_expected = head.get(..read).is_some_and(|head| *head == expected.encode());
        Ok(is_expected && self.file_bytes()? >= bytes)
    }

    /// How many bytes its hint has that was read or written, if there is one.
    pub(super) fn hint_bytes(&self) -> Option<u64> {
        match self.hint_bytes.load(Ordering::Relaxed) {
            0 | NO_HINT => None,
            bytes => Some(bytes),
        }
    }

    pub(super) fn has_hint(&self) -> bool {
        self.hint_bytes().is_some()
    }

    /// Whether one is to be written.
    pub(super) fn needs_hint(&self) -> bool {
        self.hint_bytes.load(Ordering::Relaxed) == 0
    }

    /// Says that there can be none.
    pub(super) fn have_no_hint(&self) {
        self.set_hint_bytes(NO_HINT);
    }

    pub(super) fn set_hint_bytes(&self, bytes: u64) {
        self.hint_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes of its records count.
    pub(super) fn live_bytes(&self) -> u64 {
        not_negative(&self.live_bytes)
    }

    /// How many bytes a segment has that has nothing else.
    pub(super) fn needed_bytes(&self) -> u64 {
        let records = not_negative(&self.live_records);
        let list = BatchHead::bytes_of(usize::try_from(records).unwrap_or(usize::MAX / 64));
        match records {
            0 => 0,
            _ => SEGMENT_HEAD_BYTES as u64 + list as u64 + self.live_bytes(),
        }
    }

    /// How many bytes of those mark removals of which it may be worth to look whether they are
    /// needed still.
    pub(super) fn tombstone_bytes(&self, now: u32) -> u64 {
        match self.tombstones_due.load(Ordering::Relaxed) <= now {
            true => not_negative(&self.tombstone_bytes),
            false => 0,
        }
    }

    /// Says that its removals need not be looked at before `due`.
    pub(super) fn keep_tombstones_until(&self, due: u32) {
        self.tombstones_due.fetch_max(due, Ordering::Relaxed);
    }

    /// Reads from `offset` on until the buffer is full or the file ends, and returns how much.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(free) = buffer.get_mut(filled..)
            && !free.is_empty()
        {
            match self.file.read_at(free, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(filled)
    }

    /// Says that these bytes will be read soon.
    pub(super) fn prefetch(&self, offset: u64, bytes: u64) {
        self.file.prefetch(offset, bytes);
    }

    /// Reads so many bytes if that needs no waiting for the disk; else `None`.
    pub(super) fn read_now(&self, bytes: usize, offset: u64) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; bytes];
        let read = self.file.read_at_now(&mut buffer, offset)?;
        // What is read only in part is left to those who may wait for the rest.
        Ok((read == Some(bytes)).then_some(buffer))
    }
}

/// Less than nothing is there for a moment if a record is replaced just when it was moved.
fn not_negative(bytes: &AtomicU64) -> u64 {
    u64::try_from(bytes.load(Ordering::Relaxed).cast_signed()).unwrap_or(0)
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({:08x})", self.number)
    }
}

/// All segments of a log, by number.
#[derive(Default)]
pub(super) struct Segments(Mutex<BTreeMap<u32, Arc<Segment>>>);

impl Segments {
    pub(super) fn get(&self, number: u32) -> Option<Arc<Segment>> {
        self.0.lock().get(&number).map(Arc::clone)
    }

    pub(super) fn insert(&self, segment: Segment) {
        self.0.lock().insert(segment.number, Arc::new(segment));
    }

    pub(super) fn remove(&self, number: u32) {
        self.0.lock().remove(&number);
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.0.lock().values().map(Arc::clone).collect()
    }

    /// Takes over what has changed.
    pub(super) fn count(&self, changes: LiveChanges) {
        let segments = self.0.lock();
        for Change { segment, bytes, records, tombstones } in changes.0 {
            let Some(segment) = segments.get(&segment) else { continue };
            let add = |to: &AtomicU64, (added, removed): (u64, u64)| {
                to.fetch_add(added, Ordering::Relaxed);
                to.fetch_sub(removed, Ordering::Relaxed);
            };
            add(&segment.live_bytes, bytes);
            add(&segment.live_records, records);
            add(&segment.tombstone_bytes, tombstones);
        }
    }
}

/// How many bytes of records count in which segment, more or less than before.
// By the numbers of the segments.
#[derive(Default)]
pub(super) struct LiveChanges(Vec<Change>);

/// What was added and what was removed.
#[derive(Default)]
struct Change {
    segment: u32,
    bytes: (u64, u64),
    records: (u64, u64),
    /// Bytes of those that mark removals.
    tombstones: (u64, u64),
}

impl LiveChanges {
    fn of(&mut self, segment: u32) -> &mut Change {
        let at = match self.0.binary_search_by_key(&segment, |change| change.segment) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, Change { segment, ..Change::default() });
                at
            }
        };
        match self.0.get_mut(at) {
            Some(change) => change,
            None => unreachable!("it is there"),
        }
    }

    pub(super) fn add_place(&mut self, place: Place) {
        let bytes = u64::from(place.record_bytes());
        let change = self.of(place.segment);
        change.bytes.0 += bytes;
        change.records.0 += 1;
        change.tombstones.0 += if place.is_tombstone() { bytes } else { 0 };
    }

    pub(super) fn drop_place(&mut self, place: Place) {
        let bytes = u64::from(place.record_bytes());
        let change = self.of(place.segment);
        change.bytes.1 += bytes;
        change.records.1 += 1;
        change.tombstones.1 += if place.is_tombstone() { bytes } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_those_of_segments() {
        assert_eq!(parse_segment_name("0000001f"), Some(31));
        for name in ["", "1f", "0000001F", "+000001f", "0000001f.hint", "00000000000000001"] {
            assert_eq!(parse_segment_name(name), None, "{name:?}");
        }
    }
}
