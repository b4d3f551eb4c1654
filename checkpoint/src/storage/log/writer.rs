//! Appends batches to the segment that is being written, and begins new ones.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::file_ops::{FileHandle, write_all};
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::error::write_error;
use crate::storage::log::layout::{
    BATCH_RECORDS_MAX, BatchHead, BatchKind, Listed, SEGMENT_HEAD_BYTES, SegmentHead,
};
use crate::storage::log::manifest::{self, Manifest};
use crate::storage::log::segment::{Segment, remove_segment, segment_path};
use crate::storage::{StorageError, StorageErrorKind};

/// Records are gathered into batches of up to so many bytes, or one that is larger.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// A buffer that has grown beyond this for one batch is given back.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// Records that lie one behind the other are written from where they lie if they have so many
/// bytes, and are copied behind the batch's head else, which is less than another system call.
const DIRECT_BYTES: usize = 32 << 10;

/// A record to be appended.
#[derive(Clone)]
pub(super) struct ToAppend<'a> {
    pub(super) id_hash: u64,
    /// What it lies in, others maybe beside it.
    pub(super) bytes: &'a [u8],
    pub(super) range: Range<usize>,
}

/// Where appended records lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// Why records were not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// They are not in the log.
    NotDone(StorageError),
    /// They may be found in the log when it is opened the next time.
    Unknown(StorageError),
}

impl AppendError {
    pub(super) fn into_inner(self) -> StorageError {
        match self {
            Self::NotDone(err) | Self::Unknown(err) => err,
        }
    }
}

/// Says what a segment is that has just been begun.
pub(super) type Begun<'a> = &'a mut dyn FnMut(Segment);

/// The end of the log, where it grows.
pub(super) struct Writer {
    manifest: Manifest,
    active: Option<Active>,
    /// How much counts of the manifest's last segment and how much of that is durable, if that is
    /// not the active one.
    last: Option<Left>,
    next_number: Option<u32>,
    segment_bytes: u64,
    synced: bool,
    buffer: Vec<u8>,
    /// Files to be removed as soon as the list on disk certainly does not have them.
    unlisted: Vec<u32>,
}

/// How a segment was left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) valid_bytes: u64,
    pub(super) durable_bytes: u64,
}

/// The segment that is being written.
struct Active {
    head: SegmentHead,
    salt: u32,
    file: Arc<dyn FileHandle>,
    /// Where the next batch begins: all before it is written.
    end: u64,
    /// All before this is durable, if it is to be, and counts.
    settled: u64,
    /// A write has failed: nothing is to be written behind what it left.
    is_broken: bool,
}

/// A batch that is written, and is not known to be durable.
pub(super) struct Written {
    places: Vec<Appended>,
    segment: u32,
    end: u64,
}

/// What is to be done for a batch to be durable. It takes its time, and needs no lock.
pub(super) struct ToSync {
    file: Arc<dyn FileHandle>,
    path: String,
    synced: bool,
}

impl Writer {
    /// Goes on behind the segments of `manifest`, the last of which was left so.
    pub(super) fn new(
        manifest: Manifest,
        last: Option<Left>,
        segment_bytes: u64,
        synced: bool,
    ) -> Self {
        let next_number = manifest.next_number();
        let buffer = Vec::new();
        let unlisted = Vec::new();
        Self { manifest, active: None, last, next_number, segment_bytes, synced, buffer, unlisted }
    }

    /// Appends records and makes them durable, with all that was written before.
    ///
    /// After a failure nothing is ever written behind what it left, nor synced again: the records
    /// are written once more to a new segment, and that failing too, whoever comes next begins one.
    pub(super) fn append(
        &mut self,
        directory: &StoreDirectory,
        records: &[ToAppend<'_>],
        begun: Begun<'_>,
    ) -> Result<Vec<Appended>, AppendError> {
        match self.append_once(directory, records, begun) {
            Err(AppendError::Unknown(_)) => self.append_again(directory, records, begun),
            done => done,
        }
    }

    /// Appends records of which the first attempt has failed.
    pub(super) fn append_again(
        &mut self,
        directory: &StoreDirectory,
        records: &[ToAppend<'_>],
        begun: Begun<'_>,
    ) -> Result<Vec<Appended>, AppendError> {
        // The first attempt may have left the batch whole, whatever becomes of this one.
        self.append_once(directory, records, begun)
            .map_err(|err| AppendError::Unknown(err.into_inner()))
    }

    fn append_once(
        &mut self,
        directory: &StoreDirectory,
        records: &[ToAppend<'_>],
        begun: Begun<'_>,
    ) -> Result<Vec<Appended>, AppendError> {
        let written = self.write(directory, records, begun)?;
        let synced = self.to_sync(&written)?.sync(directory);
        self.settle_batch(written, synced)
    }

    /// Whether the next batch will be the first one of a segment: that is only begun once all of
    /// the one before is durable, or known not to be.
    pub(super) fn begins_segment(&self) -> bool {
        !self.active.as_ref().is_some_and(|active| active.has_room(self.segment_bytes))
    }

    /// Writes records to the end of the log, and does not wait until they are durable.
    ///
    /// # Errors
    /// After [`AppendError::Unknown`] nothing is written to this segment any more.
    pub(super) fn write(
        &mut self,
        directory: &StoreDirectory,
        records: &[ToAppend<'_>],
        begun: Begun<'_>,
    ) -> Result<Written, AppendError> {
        if self.begins_segment() {
            self.seal_active();
            self.active = Some(self.begin(directory, begun).map_err(AppendError::NotDone)?);
        }
        let listed = records.iter().map(|to| Listed {
            id_hash: to.id_hash,
            // The caller has checked the length.
            record_bytes: u32::try_from(to.range.len()).unwrap_or(u32::MAX),
        });
        self.write_batch(directory, BatchKind::Records, listed.collect(), records)
    }

    fn write_batch(
        &mut self,
        directory: &StoreDirectory,
        kind: BatchKind,
        listed: Vec<Listed>,
        records: &[ToAppend<'_>],
    ) -> Result<Written, AppendError> {
        let Some(active) = &mut self.active else { unreachable!("there is one") };
        let synced = if self.synced { active.settled } else { 0 };
        let head = BatchHead { kind, offset: active.end, synced, listed };
        self.buffer.clear();
        head.encode(active.salt, &mut self.buffer);
        // Also if the file panics: nobody knows then what it has written.
        active.is_broken = true;
        if let Err(err) = write_records(&*active.file, &mut self.buffer, records) {
            let path = directory.store.shown(&segment_path(active.head.number));
            // Most likely not all of it is there; but an error is no proof of that.
            return Err(given_up(write_error(format!("write {path}"), err)));
        }
        active.is_broken = false;
        active.end = head.end();
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        let segment = active.head.number;
        let at = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        let places = head.places().map(|(offset, _)| Appended { segment, offset: at(offset) });
        Ok(Written { places: places.collect(), segment, end: head.end() })
    }

    /// What makes a batch durable.
    ///
    /// # Errors
    /// Its segment was given up since it was written, as the batch before is not durable.
    pub(super) fn to_sync(&self, written: &Written) -> Result<ToSync, AppendError> {
        let path = segment_path(written.segment);
        match &self.active {
            Some(active) if active.has(written) => {
                Ok(ToSync { file: Arc::clone(&active.file), path, synced: self.synced })
            }
            _ => {
                let attempted = format!("sync {path}, which was given up");
                let err = StorageError::new(StorageErrorKind::Unavailable, attempted);
                Err(AppendError::Unknown(err))
            }
        }
    }

    /// Takes over what became of the sync of a batch, and returns where its records are.
    ///
    /// After a failure its segment is given up, with all that is behind what was durable before.
    pub(super) fn settle_batch(
        &mut self,
        written: Written,
        synced: Result<(), StorageError>,
    ) -> Result<Vec<Appended>, AppendError> {
        match (self.active.as_mut().filter(|active| active.has(&written)), synced) {
            // One that was written again behind this one may have been settled, and this with it.
            (Some(active), Ok(())) => active.settled = active.settled.max(written.end),
            (Some(_), Err(err)) => {
                self.seal_active();
                return Err(given_up(err));
            }
            (None, _) => unreachable!("only who syncs gives a segment up"),
        }
        Ok(written.places)
    }

    /// Leaves the segment that is being written; the next manifest says how much of it counts.
    pub(super) fn seal_active(&mut self) {
        if let Some(Active { settled, .. }) = self.active.take() {
            self.last = Some(Left { valid_bytes: settled, durable_bytes: settled });
        }
    }

    /// Creates a segment and puts it into the manifest.
    fn begin(
        &mut self,
        directory: &StoreDirectory,
        begun: Begun<'_>,
    ) -> Result<Active, StorageError> {
        let number = self.take_number()?;
        let created = Segment::create(directory, number, number, self.synced);
        let (file, head, segment) = created.map_err(|err| {
            let path = directory.store.shown(&segment_path(number));
            write_error(format!("begin {path}"), err)
        })?;
        let mut segments = self.manifest.segments.clone();
        if let Some(last) = segments.last_mut() {
            // Else nothing was written to it, or it is left already.
            if let Some(left) = self.last {
                last.valid_bytes = Some(left.valid_bytes);
                last.durable_bytes = left.durable_bytes;
            }
        }
        let order = number;
        segments.push(manifest::Listed { number, order, valid_bytes: None, durable_bytes: 0 });
        if let Err(err) = self.replace_manifest(directory, segments) {
            self.unlisted.push(number);
            return Err(err);
        }
        self.last = None;
        begun(segment);
        let end = SEGMENT_HEAD_BYTES as u64;
        let (file, salt) = (file.into(), head.salt());
        Ok(Active { head, salt, file, end, settled: end, is_broken: false })
    }

    /// Returns the number of the next segment.
    pub(super) fn take_number(&mut self) -> Result<u32, StorageError> {
        let Some(number) = self.next_number else {
            let attempted = "begin a segment: all numbers are used".to_owned();
            return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
        };
        // Also after a failure: the file of this number may be there.
        self.next_number = number.checked_add(1);
        Ok(number)
    }

    fn replace_manifest(
        &mut self,
        directory: &StoreDirectory,
        segments: Vec<manifest::Listed>,
    ) -> Result<(), StorageError> {
        let taken_to = self.next_number.map_or(u32::MAX, |next| next.saturating_sub(1));
        self.manifest.replace(directory, segments, taken_to.into())?;
        let files = &directory.store.files;
        // Not before the list on disk is certainly one that does not have them.
        for number in std::mem::take(&mut self.unlisted) {
            let path = segment_path(number);
            match remove_segment(&**files, number) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    let path = directory.store.shown(&path);
                    tracing::warn!(
                        target: "checkpoint",
                        path,
                        error = %err,
                        "a segment stays that is not needed"
                    );
                    self.unlisted.push(number);
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The segments that are not written any more, in the order of the log.
    pub(super) fn sealed(&self) -> &[manifest::Listed] {
        // How the last one was left is not in the list before there is another.
        self.manifest.segments.split_last().map_or(&[], |(_, sealed)| sealed)
    }

    /// All segments, and how much of each counts.
    pub(super) fn listed(&self) -> Vec<manifest::Listed> {
        let mut segments = self.manifest.segments.clone();
        let active = self.active.as_ref().map(|active| active.settled);
        let left = self.last.map(|left| left.valid_bytes);
        if let (Some(last), Some(valid_bytes)) = (segments.last_mut(), active.or(left)) {
            last.valid_bytes = Some(valid_bytes);
            last.durable_bytes = valid_bytes;
        }
        segments
    }

    /// Puts a segment in the place of others, durably, or nothing.
    ///
    /// # Errors
    /// The list on disk has the ones or the other. The former are used on; the latter is removed
    /// as soon as that is certain.
    pub(super) fn put_in_place(
        &mut self,
        directory: &StoreDirectory,
        sources: &[u32],
        output: Option<manifest::Listed>,
    ) -> Result<(), StorageError> {
        let mut segments = self.manifest.segments.clone();
        segments.retain(|listed| !sources.contains(&listed.number));
        segments.extend(output);
        segments.sort_by_key(|listed| listed.order);
        let replaced = self.replace_manifest(directory, segments);
        if replaced.is_err() {
            self.unlisted.extend(output.map(|output| output.number));
        }
        replaced
    }

    /// Has the files of segments removed with the next list that is written.
    pub(super) fn remove_later(&mut self, numbers: impl IntoIterator<Item = u32>) {
        self.unlisted.extend(numbers);
    }

    /// Says that a segment counts up to `valid_bytes`, and that this is durable: what lies behind
    /// is elsewhere.
    pub(super) fn settle(
        &mut self,
        directory: &StoreDirectory,
        number: u32,
        valid_bytes: u64,
    ) -> Result<(), StorageError> {
        let mut segments = self.manifest.segments.clone();
        for listed in segments.iter_mut().filter(|listed| listed.number == number) {
            listed.valid_bytes = Some(valid_bytes);
            listed.durable_bytes = valid_bytes;
        }
        self.replace_manifest(directory, segments)
    }

    /// Marks the end of the log, so that the next opening need not doubt its last batches.
    pub(super) fn close(&mut self, directory: &StoreDirectory) -> Result<(), StorageError> {
        if self.active.as_ref().is_some_and(|active| !active.is_broken) {
            let written = self.write_batch(directory, BatchKind::End, Vec::new(), &[]);
            let synced = written.and_then(|written| {
                let synced = self.to_sync(&written)?.sync(directory);
                self.settle_batch(written, synced)
            });
            synced.map_err(AppendError::into_inner)?;
        }
        self.seal_active();
        Ok(())
    }
}

impl Active {
    fn has_room(&self, segment_bytes: u64) -> bool {
        !self.is_broken && self.end < segment_bytes
    }

    fn has(&self, written: &Written) -> bool {
        self.head.number == written.segment
    }
}

impl ToSync {
    pub(super) fn sync(&self, directory: &StoreDirectory) -> Result<(), StorageError> {
        let shown = || directory.store.shown(&self.path);
        if self.synced {
            self.file.sync_data().map_err(|err| write_error(format!("sync {}", shown()), err))?;
        }
        // An open file takes bytes also when it was removed, and then nobody finds them.
        let found = directory.store.files.mode(&self.path);
        found.map(drop).map_err(|err| write_error(format!("find {}", shown()), err))
    }
}

/// What was to be in a segment to which nothing is written any more.
fn given_up(err: StorageError) -> AppendError {
    tracing::warn!(
        target: "checkpoint",
        error = %err,
        "a segment is given up, and what is not durable of it written to another one"
    );
    AppendError::Unknown(err)
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // States never reach a log.
        f.debug_struct("Writer").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

/// Writes what is in the buffer, and the records behind it.
fn write_records(
    file: &dyn FileHandle,
    buffer: &mut Vec<u8>,
    mut records: &[ToAppend<'_>],
) -> io::Result<()> {
    while let Some((first, mut rest)) = records.split_first() {
        let Range { start, mut end } = first.range;
        while let Some((next, others)) = rest.split_first()
            && std::ptr::eq(next.bytes, first.bytes)
            && next.range.start == end
        {
            end = next.range.end;
            rest = others;
        }
        records = rest;
        let run = first.bytes.get(start..end).unwrap_or_default();
        if run.len() < DIRECT_BYTES {
            buffer.extend_from_slice(run);
        } else {
            write_all(file, buffer)?;
            buffer.clear();
            write_all(file, run)?;
        }
    }
    write_all(file, buffer)
}

/// Cuts records into runs that are each one batch.
pub(super) fn batches<'a, 'b>(
    mut records: &'b [ToAppend<'a>],
) -> impl Iterator<Item = &'b [ToAppend<'a>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let fits = records.iter().take(BATCH_RECORDS_MAX).take_while(|to| {
            bytes = bytes.saturating_add(to.range.len());
            bytes <= BATCH_BYTES_MAX
        });
        let count = fits.count().max(1);
        let (batch, rest) = records.split_at_checked(count)?;
        records = rest;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::file_ops::SystemFiles;
    use crate::storage::directory::Opening;
    use crate::storage::log::opening::LAYOUT;

    fn writer(root: &Path) -> (StoreDirectory, Writer) {
        let files = Arc::new(SystemFiles::open_or_create(root).unwrap());
        let directory = Opening::new(root.to_owned()).open(files, &LAYOUT).unwrap();
        let (manifest, _) = Manifest::read(&directory).unwrap().unwrap();
        (directory, Writer::new(manifest, None, 1 << 20, true))
    }

    #[test]
    fn what_is_written_again_behind_a_batch_that_is_not_synced_yet_counts() {
        let root = std::env::temp_dir().join(format!("checkpoint-writer-{}", std::process::id()));
        let (directory, mut writer) = writer(&root);
        let bytes = [7; 100];
        let records = [ToAppend { id_hash: 1, bytes: &bytes, range: 0..100 }];
        let begun: Begun<'_> = &mut |_| {};
        let first = writer.write(&directory, &records, begun).unwrap();
        let second = writer.write(&directory, &records, begun).unwrap();
        let failed = StorageError::new(StorageErrorKind::Unavailable, "sync");
        assert!(writer.settle_batch(first, Err(failed)).is_err());
        writer.append_again(&directory, &records, begun).unwrap();
        // Another thread comes before the second is written again.
        let third = writer.write(&directory, &records, begun).unwrap();
        assert!(writer.to_sync(&second).is_err());
        writer.append_again(&directory, &records, begun).unwrap();
        let counts = |writer: &Writer| writer.listed().last().and_then(|last| last.valid_bytes);
        let before = counts(&writer);
        writer.settle_batch(third, Ok(())).unwrap();
        assert_eq!(counts(&writer), before);
        std::fs::remove_dir_all(root).unwrap();
    }
}
