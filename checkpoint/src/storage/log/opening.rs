//! Opens a log: reads its segments, cuts off a torn end, and writes again what may not be durable.

use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::Clock;
use crate::file_ops::FileOps;
use crate::random::RandomSource;
use crate::record::RecordHeader;
use crate::storage::directory::error::{read_error, write_error};
use crate::storage::directory::store::Store;
use crate::storage::directory::{Layout, Opening, StoreDirectory};
use crate::storage::log::LogStorage;
use crate::storage::log::compactor::Compactor;
use crate::storage::log::damages::Damages;
use crate::storage::log::index::{Index, Place, RECORD_BYTES_MAX};
use crate::storage::log::inner::{CompactedSoFar, Log, damage_of};
use crate::storage::log::layout::{BatchHead, HeadError, SegmentHead, id_hash};
use crate::storage::log::manifest::{Listed, MANIFEST, MANIFEST_RECORD, Manifest};
use crate::storage::log::report::{LogCut, LogOpenReport};
use crate::storage::log::retention::{Retention, Retentions, seconds};
use crate::storage::log::scan::{End, Found, ScanError, scan};
use crate::storage::log::segment::{
    LiveChanges, SEGMENTS, Segment, Segments, parse_segment_name, segment_path,
};
use crate::storage::log::writer::{AppendError, Left, ToAppend, Writer, batches};
use crate::storage::{Durability, StorageError, StorageErrorKind};
use crate::sync::Mutex;
use crate::thread_start::{SystemThreads, ThreadStart};

const SEGMENT_BYTES: u64 = 64 << 20;
const REMOVALS_KEPT: Duration = Duration::from_secs(60 * 60);
const COMPACTION_BYTES_PER_SECOND: NonZeroU64 = match NonZeroU64::new(64 << 20) {
    Some(bytes) => bytes,
    None => unreachable!(),
};

const LAYOUT: Layout = Layout {
    version: 2,
    directories: &[SEGMENTS],
    records: &[MANIFEST_RECORD],
    states: segments_in,
};

/// Says how a [`LogStorage`] is opened.
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct LogStorageBuilder {
    opening: Opening,
    record_bytes_max: u64,
    segment_bytes: u64,
    retentions: Retentions,
    removals_kept: Duration,
    compaction_bytes_per_second: NonZeroU64,
    background_compaction: bool,
    threads: Arc<dyn ThreadStart>,
}

impl LogStorageBuilder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            opening: Opening::new(root),
            record_bytes_max: 1 << 30,
            segment_bytes: SEGMENT_BYTES,
            retentions: Retentions::default(),
            removals_kept: REMOVALS_KEPT,
            compaction_bytes_per_second: COMPACTION_BYTES_PER_SECOND,
            background_compaction: true,
            threads: Arc::new(SystemThreads),
        }
    }

    /// Refuses a directory that is no store yet, instead of creating one; the default is `false`.
    ///
    /// A program that has stored something before should set it: a wrong path or a disk that is not
    /// mounted is then an error instead of an empty beginning.
    pub fn must_exist(self, must_exist: bool) -> Self {
        Self { opening: Opening { must_exist, ..self.opening }, ..self }
    }

    /// Sets what an acknowledged save survives: [`Durability::Power`], the default, or
    /// [`Durability::Process`], which never waits for the disk.
    ///
    /// The others are refused when the log is opened.
    pub fn durability(self, durability: Durability) -> Self {
        Self { opening: Opening { durability, ..self.opening }, ..self }
    }

    /// Sets the size of the largest record in bytes; the default is 1 GiB, and the most 2 GiB.
    pub fn record_bytes_max(self, record_bytes_max: u64) -> Self {
        Self { record_bytes_max: record_bytes_max.min(u64::from(RECORD_BYTES_MAX)), ..self }
    }

    /// Sets after how many bytes the next segment is begun; the default is 64 MiB, and the most 1
    /// GiB.
    ///
    /// A segment is what is freed at once, and what is read again after a crash.
    pub fn segment_bytes(self, segment_bytes: u64) -> Self {
        Self { segment_bytes: segment_bytes.min(1 << 30), ..self }
    }

    /// Keeps so many older versions of each state besides the newest; the default is 0.
    pub fn older_versions_max(self, older_versions_max: u64) -> Self {
        self.retention(Retention::newest(older_versions_max))
    }

    /// Sets which older versions of a state are kept; the default is none.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retentions.usual = retention;
        self
    }

    /// Sets which older versions are kept of the states of one prototype.
    pub fn retention_of(mut self, prototype: impl Into<String>, retention: Retention) -> Self {
        self.retentions.special.insert(prototype.into(), retention);
        self
    }

    /// Sets for how long it is remembered that a state was removed; the default is an hour.
    ///
    /// As long as it is, nothing older that is still under way can bring the state back. No save of
    /// a keeper can be under way for longer than its call, and one PE has one at a time, so that
    /// this is for others that use the storage, and a margin. The time counts from the opening for
    /// what was removed before, and a removal of which older versions are kept is kept with them.
    pub fn removals_kept(self, removals_kept: Duration) -> Self {
        Self { removals_kept, ..self }
    }

    /// Sets whether a thread of the log's own compacts it while it is used; the default is `true`.
    ///
    /// Without it the log grows until [`compact`](LogStorage::compact) is called.
    pub fn background_compaction(self, background_compaction: bool) -> Self {
        Self { background_compaction, ..self }
    }

    /// Sets how many bytes a second that thread copies; the default is 64 MiB.
    ///
    /// If the log grows faster than that, and has become several times as large as what counts in
    /// it, the thread copies as fast as it can.
    pub fn compaction_bytes_per_second(self, compaction_bytes_per_second: NonZeroU64) -> Self {
        Self { compaction_bytes_per_second, ..self }
    }

    /// Sets who starts that thread; the default is the system.
    pub fn threads(self, threads: Arc<dyn ThreadStart>) -> Self {
        Self { threads, ..self }
    }

    /// Sets the clock; the default is the system's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { opening: Opening { clock, ..self.opening }, ..self }
    }

    /// Sets the source of the store's random identity; the default is the system's.
    pub fn random(self, random: Arc<dyn RandomSource>) -> Self {
        Self { opening: Opening { random, ..self.opening }, ..self }
    }

    /// Opens the log, creating it if there is none.
    ///
    /// # Errors
    /// [`Locked`](StorageErrorKind::Locked) if it is open already, here or in another process;
    /// [`Forbidden`](StorageErrorKind::Forbidden) if everybody may write to the directory or this
    /// process may not; [`InvalidStore`](StorageErrorKind::InvalidStore) if there is none and there
    /// must be one, if files of it are missing, or if the path is a symbolic link;
    /// [`UnsupportedVersion`](StorageErrorKind::UnsupportedVersion) if a newer library wrote it.
    pub fn open(self) -> Result<LogStorage, StorageError> {
        let files = self.opening.system_files()?;
        self.open_over(files)
    }

    /// The same over these file operations instead of the system's, for simulated or failing disks.
    ///
    /// The path is only used in messages.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_over(self, files: Arc<dyn FileOps>) -> Result<LogStorage, StorageError> {
        let durability = self.opening.durability;
        let clock = Arc::clone(&self.opening.clock);
        let directory = self.opening.open(files, &LAYOUT)?;
        let Some(manifest) = Manifest::read(&directory)? else {
            let attempted = format!(
                "open the store at {}: its file `{MANIFEST}` is missing",
                directory.store.shown("")
            );
            return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
        };
        remove_unlisted(&directory, &manifest)?;
        let mut reading = Reading::new(&self.retentions, clock.wall());
        let mut last = None;
        let mut in_doubt = Vec::new();
        for listed in &manifest.segments {
            let end = reading.read(&directory, *listed)?;
            if listed.valid_bytes.is_some() && listed.durable_bytes < end.valid_bytes {
                // Whoever was to write it again has died before it was done.
                in_doubt.push((listed.number, listed.durable_bytes, end.valid_bytes));
            }
            last = Some((listed.number, end, listed.valid_bytes.is_none()));
        }
        let mut left = None;
        if let Some((number, end, was_open)) = last {
            let valid_bytes = end.valid_bytes;
            left = Some(Left { valid_bytes, durable_bytes: valid_bytes });
            reading.report.closed = end.is_closed;
            if was_open && end.cut_bytes > 0 {
                reading.report.cut = Some(LogCut {
                    file: segment_path(number),
                    offset: end.valid_bytes,
                    bytes: end.cut_bytes,
                    records: end.cut_records,
                });
            }
            if was_open && !end.is_closed && directory.store.synced {
                in_doubt.extend(end.last_batch.map(|offset| (number, offset, valid_bytes)));
                let durable_bytes = end.last_batch.unwrap_or(valid_bytes);
                left = Some(Left { valid_bytes, durable_bytes });
            }
        }
        let mut writer = Writer::new(manifest, left, self.segment_bytes, directory.store.synced);
        for batch in in_doubt {
            reading.write_again(&directory, &mut writer, batch)?;
        }
        let Reading { index, segments, damages, mut report, changes, damaged, .. } = reading;
        segments.count(changes);
        for (damage, id_hash) in report.damages.iter_mut().zip(damaged) {
            damage.id = id_hash.and_then(|id_hash| index.id_of(id_hash));
        }
        report.ids = index.size().0;
        tell(&report, &directory);
        let removals_kept_seconds = self.removals_kept.as_secs();
        let log = Arc::new(Log {
            directory,
            clock,
            durability,
            record_bytes_max: self.record_bytes_max,
            segment_bytes: self.segment_bytes,
            removals_kept_seconds: u32::try_from(removals_kept_seconds).unwrap_or(u32::MAX),
            compaction_bytes_per_second: self.compaction_bytes_per_second.get(),
            retentions: self.retentions,
            index,
            segments,
            damages,
            waiting: Mutex::default(),
            writer: Mutex::new(writer),
            compacting: Mutex::default(),
            orders: Arc::default(),
            compacted: CompactedSoFar::default(),
        });
        let compactor = match self.background_compaction {
            true => Some(Compactor::start(Arc::clone(&log), &*self.threads).map_err(|err| {
                let attempted = "start the thread that compacts a log".to_owned();
                StorageError::new(StorageErrorKind::Unavailable, attempted).with_source(err)
            })?),
            false => None,
        };
        log.orders.want();
        Ok(LogStorage { compactor, log, report })
    }
}

/// Returns the name of a segment, if there is one: then there is a store, or was.
fn segments_in(store: &Store) -> io::Result<Option<String>> {
    let names = match store.files.list(SEGMENTS) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        listed => listed?,
    };
    Ok(names.into_iter().find(|name| parse_segment_name(name).is_some()))
}

/// Removes the files of segments that were begun and never used, or given up.
fn remove_unlisted(directory: &StoreDirectory, manifest: &Manifest) -> Result<(), StorageError> {
    let store = &directory.store;
    let names = store
        .files
        .list(SEGMENTS)
        .map_err(|err| read_error(format!("list {}", store.shown(SEGMENTS)), err))?;
    for number in names.iter().filter_map(|name| parse_segment_name(name)) {
        if manifest.segments.iter().all(|listed| listed.number != number) {
            let path = segment_path(number);
            store
                .files
                .remove_file(&path)
                .map_err(|err| write_error(format!("remove {}", store.shown(&path)), err))?;
        }
    }
    Ok(())
}

fn tell(report: &LogOpenReport, directory: &StoreDirectory) {
    let path = directory.store.shown("");
    if let Some(cut) = &report.cut {
        tracing::warn!(target: "checkpoint", path, %cut, "a log has a torn end");
    }
    for damage in &report.damages {
        tracing::error!(target: "checkpoint", path, %damage, "a log is damaged");
    }
}

/// What has been read so far.
struct Reading<'a> {
    retentions: &'a Retentions,
    now: SystemTime,
    index: Index,
    segments: Segments,
    changes: LiveChanges,
    damages: Damages,
    // The hashes of the ids of those in the report.
    damaged: Vec<Option<u64>>,
    report: LogOpenReport,
}

impl<'a> Reading<'a> {
    fn new(retentions: &'a Retentions, now: SystemTime) -> Self {
        Self {
            retentions,
            now,
            index: Index::default(),
            segments: Segments::default(),
            changes: LiveChanges::default(),
            damages: Damages::default(),
            damaged: Vec::new(),
            report: LogOpenReport::default(),
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

    fn take(&mut self, segment: &Segment, found: Found<'_>) {
        if let Found::Record { header, offset, record } = found {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            let at = (segment.number, offset);
            let place = Place::new(header.version, header.kind, record, at);
            let place = place.seen_at(seconds(Some(self.now)));
            let keep = self.retentions.at(header.id.prototype, self.now);
            let changes = &mut self.changes;
            changes.add_place(place);
            self.index.put(header.id, place, keep, &mut |dropped| changes.drop_place(dropped));
        } else if let Some((damage, at, id_hash)) = damage_of(segment, found) {
            self.report.damages.push(damage.clone());
            self.damaged.push(id_hash);
            self.damages.add(damage, at, id_hash);
        }
    }

    /// Writes the last batch of a log that was not closed to a new segment: whoever wrote it may
    /// have died before it was durable, or been told that it is not, and a sync that has failed
    /// once proves nothing when it is tried again.
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
        let mut at = BatchHead::count_in(&bytes).map_or(0, BatchHead::bytes_of);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Ok(header) = RecordHeader::parse_of_whole(rest) else { break };
            let Some(record) = rest.get(..header.record_bytes()) else { break };
            let offset = u32::try_from(until_doubt + at as u64).unwrap_or(u32::MAX);
            let place = Place::new(header.version, header.kind, record, (number, offset));
            moving.push((header.id.to_owned(), place, at..at + record.len()));
            at += record.len();
        }
        let records: Vec<_> = moving
            .iter()
            .map(|(id, _, range)| ToAppend {
                id: id.as_ref(),
                record: bytes.get(range.clone()).unwrap_or_default(),
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
            let to = (to.segment, to.offset);
            if let Some((old, new)) =
                self.index.moved(id_hash(id.as_ref()), (from.segment, from.offset), to)
            {
                self.changes.drop_place(old);
                self.changes.add_place(new);
            }
        }
        // If not all of it could be read, it stays, and what is damaged of it stays so.
        let is_whole = at as u64 == until - until_doubt;
        writer.settle(directory, number, if is_whole { until_doubt } else { until })
    }
}
