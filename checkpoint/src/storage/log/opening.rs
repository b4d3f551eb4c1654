//! Opens a log: reads its segments, cuts off a torn end, and writes again what may not be durable.

use std::io;
use std::sync::Arc;

use crate::file_ops::FileOps;
use crate::storage::directory::error::{read_error, write_error};
use crate::storage::directory::own_records::Content;
use crate::storage::directory::store::Store;
use crate::storage::directory::{Layout, Opening, OwnDamage, StoreDirectory};
use crate::storage::log::LogStorage;
use crate::storage::log::builder::LogStorageBuilder;
use crate::storage::log::compactor::Compactor;
use crate::storage::log::hint;
use crate::storage::log::inner::{Access, CompactedSoFar, Log};
use crate::storage::log::layout::{BATCH_RECORDS_MAX, BatchHead, SEGMENT_HEAD_BYTES, SegmentHead};
use crate::storage::log::manifest::{MANIFEST, MANIFEST_RECORD, Manifest};
use crate::storage::log::orders::Orders;
use crate::storage::log::replay::Replay;
use crate::storage::log::report::{LogDamage, LogDamageKind, LogOpenReport};
use crate::storage::log::segment::{SEGMENTS, Segment, parse_segment_name};
use crate::storage::log::tail::Tail;
use crate::storage::log::writer::Writer;
use crate::storage::{StorageError, StorageErrorKind};
use crate::sync::{AtomicU64, Mutex};

pub(super) const LAYOUT: Layout = Layout {
    version: 2,
    directories: &[SEGMENTS],
    records: &[MANIFEST_RECORD],
    states: segments_in,
};

impl LogStorageBuilder {
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

    /// Opens the log to be read only, beside whoever writes to it.
    ///
    /// Nothing is locked, written or repaired, and what was stored at this moment is what is seen
    /// from now on; of what was just being saved, some that is not durable yet. Saving, opening an
    /// epoch and putting metadata fail as
    /// [`Unsupported`](StorageErrorKind::Unsupported), so that no keeper can be built over it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), but for the lock; a directory that is no store is not made one.
    pub fn open_read_only(self) -> Result<LogStorage, StorageError> {
        let must_exist = Opening { must_exist: true, ..self.opening.clone() };
        let files = must_exist.system_files()?;
        self.open_read_only_over(files)
    }

    /// Opens the log as [`open_read_only`](Self::open_read_only) does, over these file operations
    /// instead of the system's.
    ///
    /// The path is only used in messages.
    ///
    /// # Errors
    /// As for [`open_read_only`](Self::open_read_only).
    pub fn open_read_only_over(self, files: Arc<dyn FileOps>) -> Result<LogStorage, StorageError> {
        let mut directory = self.opening.clone().open_read_only(files, &LAYOUT)?;
        let mut before = None;
        loop {
            let (manifest, content) = read_manifest(&directory)?;
            let kept = (&self.retentions, self.removals_kept_seconds());
            match Replay::of(&directory, &manifest, kept, self.opening.clock.wall()) {
                Ok(replay) => {
                    directory.damaged.extend(OwnDamage::of_copy(MANIFEST, content.copies));
                    return self.start(directory, manifest, replay, Access::ReadOnly);
                }
                // Somebody may have compacted what was to be read.
                Err(_) if before != Some(manifest.generation) => {
                    before = Some(manifest.generation);
                }
                Err(err) => return Err(err),
            }
        }
    }

    /// Opens the log as [`open`](Self::open) does, over these file operations instead of the
    /// system's, for simulated or failing disks.
    ///
    /// The path is only used in messages.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_over(self, files: Arc<dyn FileOps>) -> Result<LogStorage, StorageError> {
        let mut directory = self.opening.clone().open(files, &LAYOUT)?;
        let (manifest, content) = read_manifest(&directory)?;
        remove_unlisted(&directory, &manifest)?;
        directory.mend_own(MANIFEST_RECORD, &content);
        directory.damaged.extend(OwnDamage::of_copy(MANIFEST, content.copies));
        let wall = self.opening.clock.wall();
        let kept = (&self.retentions, self.removals_kept_seconds());
        let replay = Replay::of(&directory, &manifest, kept, wall)?;
        self.start(directory, manifest, replay, Access::ReadWrite)
    }

    fn start(
        self,
        directory: StoreDirectory,
        manifest: Manifest,
        mut replay: Replay,
        access: Access,
    ) -> Result<LogStorage, StorageError> {
        let removals_kept_seconds = self.removals_kept_seconds();
        let synced = directory.store.synced;
        let mut writer = Writer::new(manifest, replay.left, self.segment_bytes, synced);
        if access == Access::ReadWrite {
            replay.write_doubtful_again(&directory, &mut writer)?;
        }
        let Replay { index, segments, damages, mut report, changes, damaged, .. } = replay;
        segments.count(changes);
        for (damage, id_hash) in report.damages.iter_mut().zip(damaged) {
            damage.id = id_hash.and_then(|id_hash| index.id_of(id_hash));
        }
        report.doubts.clone_from(&directory.doubts);
        report.damages.extend(directory.damaged.iter().cloned().map(LogDamage::from));
        report.ids = index.size().0;
        tell(&report, &directory);
        let orders = Orders::new(Arc::clone(&self.opening.clock));
        let log = Arc::new(Log {
            directory,
            access,
            clock: self.opening.clock,
            durability: self.opening.durability,
            record_bytes_max: self.record_bytes_max,
            segment_bytes: self.segment_bytes,
            removals_kept_seconds,
            compaction_bytes_per_second: self.compaction_bytes_per_second.get(),
            retentions: self.retentions,
            index,
            segments,
            damages,
            waiting: Mutex::default(),
            tail: Tail::new(writer),
            compacting: Mutex::default(),
            orders,
            bytes_when_begun: AtomicU64::default(),
            compacted: CompactedSoFar::default(),
        });
        let compactor = match self.background_compaction && access == Access::ReadWrite {
            true => Some(Compactor::start(Arc::clone(&log), &*self.threads).map_err(|err| {
                let attempted = "start the thread that compacts a log".to_owned();
                StorageError::new(StorageErrorKind::Unavailable, attempted).with_source(err)
            })?),
            false => None,
        };
        log.orders.want(false);
        Ok(LogStorage { compactor, log, report })
    }
}

fn read_manifest(directory: &StoreDirectory) -> Result<(Manifest, Content), StorageError> {
    Manifest::read(directory)?.ok_or_else(|| {
        let shown = directory.store.shown("");
        let attempted = format!("open the store at {shown}: its file `{MANIFEST}` is missing");
        StorageError::new(StorageErrorKind::InvalidStore, attempted)
    })
}

/// Returns the name of a segment, if there is one: then there is a store, or was.
fn segments_in(store: &Store) -> io::Result<Option<String>> {
    let names = match store.files.list(SEGMENTS) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        listed => listed?,
    };
    Ok(names.into_iter().find(|name| parse_segment_name(name).is_some()))
}

/// Removes the files of segments that were begun and never used, or given up, and of their hints.
fn remove_unlisted(directory: &StoreDirectory, manifest: &Manifest) -> Result<(), StorageError> {
    let store = &directory.store;
    let names = store
        .files
        .list(SEGMENTS)
        .map_err(|err| read_error(format!("list {}", store.shown(SEGMENTS)), err))?;
    let newest = manifest.segments.iter().map(|listed| listed.order).max();
    let segment_of = |name: &String| parse_segment_name(hint::segment_of(name).unwrap_or(name));
    let is_listed = |number| manifest.segments.iter().any(|listed| listed.number == number);
    let unlisted: Vec<_> = names
        .iter()
        .filter_map(|name| Some((name, segment_of(name).filter(|number| !is_listed(*number))?)))
        .collect();
    // All of them first: nothing is removed if the list is an older one.
    for (name, number) in &unlisted {
        let path = format!("{SEGMENTS}/{name}");
        if newest.is_none_or(|newest| *number > newest)
            && parse_segment_name(name).is_some()
            && was_used(directory, *number)
                .map_err(|err| read_error(format!("read {}", store.shown(&path)), err))?
        {
            let attempted = format!(
                "open {}: {} was written later, and is not in it: the list is an older one",
                store.shown(MANIFEST),
                store.shown(&path)
            );
            return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
        }
    }
    for (name, _) in unlisted {
        let path = format!("{SEGMENTS}/{name}");
        store
            .files
            .remove_file(&path)
            .map_err(|err| write_error(format!("remove {}", store.shown(&path)), err))?;
    }
    Ok(())
}

/// Whether something was saved into a segment of this store. That is done only once it is in the
/// list, durably; what compaction writes before that has no batch that knows what is durable.
fn was_used(directory: &StoreDirectory, number: u32) -> io::Result<bool> {
    let head = SegmentHead { number, identity: directory.identity() };
    let at = SEGMENT_HEAD_BYTES as u64;
    let segment = Segment::open(&*directory.store.files, number, number)?;
    if !segment.may_be_whole(head, at)? {
        return Ok(false);
    }
    let mut bytes = vec![0; BatchHead::bytes_of(0)];
    segment.read(&mut bytes, at)?;
    let Some(records) = BatchHead::count_in(&bytes).filter(|n| *n <= BATCH_RECORDS_MAX) else {
        return Ok(false);
    };
    bytes.resize(BatchHead::bytes_of(records), 0);
    segment.read(&mut bytes, at)?;
    Ok(BatchHead::parse(&bytes, head.salt(), at).is_some_and(|batch| batch.synced > 0))
}

fn tell(report: &LogOpenReport, directory: &StoreDirectory) {
    let path = directory.store.shown("");
    if let Some(cut) = &report.cut {
        tracing::warn!(target: "checkpoint", path, %cut, "a log has a torn end");
    }
    // Of copies whoever read them has told.
    let is_new = |damage: &&LogDamage| damage.kind != LogDamageKind::Copy;
    for damage in report.damages.iter().filter(is_new) {
        tracing::error!(target: "checkpoint", path, %damage, "a log is damaged");
    }
}
