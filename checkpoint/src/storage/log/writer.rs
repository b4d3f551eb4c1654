//! Appends batches to the segment that is being written, and begins new ones.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointIdRef;
use crate::file_ops::{FileHandle, write_all};
use crate::storage::directory::StoreDirectory;
use crate::storage::directory::error::write_error;
use crate::storage::log::layout::{
    BATCH_RECORDS_MAX, BatchHead, BatchKind, Listed, SEGMENT_HEAD_BYTES, SegmentHead, id_hash,
};
use crate::storage::log::manifest::{self, Manifest};
use crate::storage::log::segment::{SEGMENTS, Segment, segment_path};
use crate::storage::{StorageError, StorageErrorKind};

/// Records are gathered into batches of up to so many bytes, or one that is larger.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// A buffer that has grown beyond this for one batch is given back.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// A record to be appended.
#[derive(Clone, Copy)]
pub(super) struct ToAppend<'a> {
    pub(super) id: CheckpointIdRef<'a>,
    pub(super) record: &'a [u8],
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
pub(super) type Begun<'a> = &'a mut dyn FnMut(Arc<Segment>);

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
    file: Box<dyn FileHandle>,
    /// Where the next batch begins: all before it is written, and durable if it is to be.
    end: u64,
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
        Self { manifest, active: None, last, next_number, segment_bytes, synced, buffer }
    }

    /// Appends records and makes them durable.
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
            Err(AppendError::Unknown(first)) => {
                tracing::warn!(
                    target: "checkpoint",
                    error = %first,
                    "a segment is given up, and its last batch written to another one"
                );
                // The first attempt may have left the batch whole, whatever becomes of this one.
                self.append_once(directory, records, begun)
                    .map_err(|err| AppendError::Unknown(err.into_inner()))
            }
            done => done,
        }
    }

    fn append_once(
        &mut self,
        directory: &StoreDirectory,
        records: &[ToAppend<'_>],
        begun: Begun<'_>,
    ) -> Result<Vec<Appended>, AppendError> {
        let needed = records.iter().map(|to| to.record.len() as u64).sum::<u64>();
        let active = match self.active.take() {
            Some(active) if active.end < self.segment_bytes => active,
            full => {
                self.seal(full);
                self.begin(directory, begun).map_err(AppendError::NotDone)?
            }
        };
        let listed = records.iter().map(|to| Listed {
            id_hash: id_hash(to.id),
            // The caller has checked the length.
            record_bytes: u32::try_from(to.record.len()).unwrap_or(u32::MAX),
        });
        let head = BatchHead {
            kind: BatchKind::Records,
            offset: active.end,
            synced: if self.synced { active.end } else { 0 },
            listed: listed.collect(),
        };
        self.buffer.clear();
        self.buffer.reserve(head.head_bytes() + usize::try_from(needed).unwrap_or(0));
        head.encode(active.salt, &mut self.buffer);
        for to in records {
            self.buffer.extend_from_slice(to.record);
        }
        let places = head.places().map(|(offset, _)| Appended {
            segment: active.head.number,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        });
        let places = places.collect();
        self.write(directory, active, head.end())?;
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        Ok(places)
    }

    /// Writes what is in the buffer to the end of `active`, which is given up if that fails.
    fn write(
        &mut self,
        directory: &StoreDirectory,
        mut active: Active,
        end: u64,
    ) -> Result<(), AppendError> {
        let path = segment_path(active.head.number);
        if let Err(err) = write_all(&mut *active.file, &self.buffer) {
            let err = write_error(format!("write {}", directory.store.shown(&path)), err);
            self.seal(Some(active));
            // Not all of it is there, so that it is none.
            return Err(AppendError::NotDone(err));
        }
        if self.synced
            && let Err(err) = active.file.sync_data()
        {
            let err = write_error(format!("sync {}", directory.store.shown(&path)), err);
            self.seal(Some(active));
            return Err(AppendError::Unknown(err));
        }
        active.end = end;
        self.active = Some(active);
        Ok(())
    }

    /// Leaves a segment; the next manifest says how much of it counts.
    fn seal(&mut self, active: Option<Active>) {
        if let Some(active) = active {
            self.last = Some(Left { valid_bytes: active.end, durable_bytes: active.end });
        }
    }

    /// Creates a segment and puts it into the manifest.
    fn begin(
        &mut self,
        directory: &StoreDirectory,
        begun: Begun<'_>,
    ) -> Result<Active, StorageError> {
        let store = &directory.store;
        let Some(number) = self.next_number else {
            let attempted = "begin a segment: all numbers are used".to_owned();
            return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
        };
        let path = segment_path(number);
        let failed =
            |what: &str, err: io::Error| write_error(format!("{what} {}", store.shown(&path)), err);
        // Also after a failure: the file of this number may be there.
        self.next_number = number.checked_add(1);
        let mut file = store.files.create_file(&path).map_err(|err| failed("create", err))?;
        let head = SegmentHead { number, identity: directory.identity() };
        let prepared = write_all(&mut *file, &head.encode())
            .and_then(|()| if self.synced { file.sync_data() } else { Ok(()) })
            .and_then(|()| match self.synced {
                true => store.files.sync_directory(SEGMENTS),
                false => Ok(()),
            })
            .and_then(|()| Segment::open(&*store.files, number));
        let segment = prepared.map_err(|err| {
            // Of no use to anybody; if it stays, the next opening removes it.
            drop(store.files.remove_file(&path));
            failed("begin", err)
        })?;
        let mut segments = self.manifest.segments.clone();
        if let Some(last) = segments.last_mut() {
            // Else nothing was written to it, or it is left already.
            if let Some(left) = self.last {
                last.valid_bytes = Some(left.valid_bytes);
                last.durable_bytes = left.durable_bytes;
            }
        }
        segments.push(manifest::Listed { number, valid_bytes: None, durable_bytes: 0 });
        self.manifest.replace(directory, segments)?;
        self.last = None;
        begun(Arc::new(segment));
        let end = SEGMENT_HEAD_BYTES as u64;
        Ok(Active { salt: head.salt(), head, file, end })
    }

    /// Takes what lies in a segment from `valid_bytes` on out of the log: it is elsewhere, durably.
    pub(super) fn shorten(
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
        self.manifest.replace(directory, segments)
    }

    /// Marks the end of the log, so that the next opening need not doubt its last batch.
    pub(super) fn close(&mut self, directory: &StoreDirectory) -> Result<(), StorageError> {
        let Some(active) = self.active.take() else { return Ok(()) };
        let synced = if self.synced { active.end } else { 0 };
        let offset = active.end;
        let head = BatchHead { kind: BatchKind::End, offset, synced, listed: Vec::new() };
        self.buffer.clear();
        head.encode(active.salt, &mut self.buffer);
        let written = self.write(directory, active, head.end()).map_err(AppendError::into_inner);
        self.seal_active();
        written
    }

    fn seal_active(&mut self) {
        let active = self.active.take();
        self.seal(active);
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // States never reach a log.
        f.debug_struct("Writer").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

/// Cuts records into runs that are each one batch.
pub(super) fn batches<'a, 'b>(
    mut records: &'b [ToAppend<'a>],
) -> impl Iterator<Item = &'b [ToAppend<'a>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let fits = records.iter().take(BATCH_RECORDS_MAX).take_while(|to| {
            bytes = bytes.saturating_add(to.record.len());
            bytes <= BATCH_BYTES_MAX
        });
        let count = fits.count().max(1);
        let (batch, rest) = records.split_at_checked(count)?;
        records = rest;
        Some(batch)
    })
}
