//! Reads records, and lists versions.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::record::RecordHeader;
use crate::storage::directory::error::read_error;
use crate::storage::log::damages::WrittenAt;
use crate::storage::log::inner::{Access, Log};
use crate::storage::log::layout::id_hash;
use crate::storage::log::place::Place;
use crate::storage::log::segment::{Segment, segment_path};
use crate::storage::{FetchOutcome, FetchVersion, StorageError, StorageErrorKind, StoredVersion};

/// Bytes between two records that the system is rather to read than to be asked twice.
const PREFETCH_GAP_BYTES: u64 = 64 << 10;
/// The same where they have to be copied, too: as many as are copied in the time of a call.
const READ_GAP_BYTES: u64 = 4 << 10;
/// Records that are read with one call have so many bytes at most, or are one.
const READ_BYTES_MAX: u64 = 1 << 20;

/// So many bytes are read for one call; what is left is fetched one by one.
const MANY_BYTES_MAX: u64 = 4 << 20;

/// Records that lie close together in a segment.
struct Run {
    segment: u32,
    start: u64,
    end: u64,
    /// Which they are, in the order in which they lie there.
    places: Vec<(usize, Place)>,
}

/// Gathers places, each with the number of its id, into runs.
fn runs(newest: &[Option<Place>], gap_bytes: u64, bytes_max: u64) -> Vec<Run> {
    let places = newest.iter().enumerate().filter_map(|(at, place)| Some((at, (*place)?)));
    let mut places: Vec<_> = places.collect();
    places.sort_unstable_by_key(|(_, place)| (place.segment, place.offset));
    let mut runs: Vec<Run> = Vec::new();
    for (at, place) in places {
        let start = u64::from(place.offset);
        let end = start + u64::from(place.record_bytes());
        match runs.last_mut() {
            Some(run)
                if run.segment == place.segment
                    && start <= run.end.saturating_add(gap_bytes)
                    && end - run.start <= bytes_max =>
            {
                run.end = run.end.max(end);
                run.places.push((at, place));
            }
            _ => runs.push(Run { segment: place.segment, start, end, places: vec![(at, place)] }),
        }
    }
    runs
}

impl Log {
    pub(super) fn fetch_one(&self, id: &CheckpointId, version: FetchVersion) -> FetchOutcome {
        match self.find(id, version)? {
            Some((place, segment)) => self.read(place, &segment).map(Some),
            None => Ok(None),
        }
    }

    /// The newest record, if it is known without waiting for the disk.
    pub(super) fn fetch_one_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        let (place, segment) = match self.find(id, FetchVersion::Newest) {
            Ok(Some(found)) => found,
            Ok(None) => return Some(Ok(None)),
            Err(err) => return Some(Err(err)),
        };
        let read = segment.read_now(place.record_bytes() as usize, u64::from(place.offset));
        // An error is for those to tell who can wait: they try again.
        read.ok().flatten().map(|bytes| Ok(Some(bytes)))
    }

    /// Whether there is anything of an id, or may be.
    pub(super) fn may_contain(&self, id: &CheckpointId) -> bool {
        // A reader is not told of what its writer stores meanwhile.
        self.access == Access::ReadOnly || !matches!(self.find(id, FetchVersion::Newest), Ok(None))
    }

    /// Where a version is, if there is one.
    ///
    /// Fails if a damaged record may be a newer one than what was found as the newest.
    fn find(
        &self,
        id: &CheckpointId,
        version: FetchVersion,
    ) -> Result<Option<(Place, Arc<Segment>)>, StorageError> {
        let mut missing = None;
        loop {
            let place = self.index.find(id.as_ref(), version);
            let segment = place.and_then(|place| self.segments.get(place.segment));
            if let (Some(place), None) = (place, &segment) {
                if missing == Some(place) {
                    let path = self.directory.store.shown(&segment_path(place.segment));
                    let attempted = format!("find {path}, where {id} is to be");
                    return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
                }
                // It was moved between the two.
                missing = Some(place);
                continue;
            }
            let found = place.zip(segment);
            if version == FetchVersion::Newest {
                let at = found.as_ref().map(|(place, segment)| segment.written_at(place.offset));
                self.check_hidden(id.as_ref(), at)?;
            }
            return Ok(found);
        }
    }

    /// Fails if something newer than what was written `at` is damaged.
    fn check_hidden(
        &self,
        id: CheckpointIdRef<'_>,
        at: Option<WrittenAt>,
    ) -> Result<(), StorageError> {
        match self.damages.last_of(id_hash(id)) {
            Some(damaged) if at < Some(damaged) => {
                let path = self.directory.store.shown(&segment_path(damaged.segment));
                let at = damaged.offset;
                let attempted = format!("fetch {id}: {path} is damaged at byte {at}");
                Err(StorageError::new(StorageErrorKind::Corrupt, attempted))
            }
            _ => Ok(()),
        }
    }

    /// Reads a record, whatever its bytes are: the keeper checks them.
    fn read(&self, place: Place, segment: &Segment) -> Result<Vec<u8>, StorageError> {
        let attempted = || {
            let path = self.directory.store.shown(&segment_path(place.segment));
            format!("read {path}, byte {}", place.offset)
        };
        let mut bytes = vec![0; place.record_bytes() as usize];
        let read = segment
            .read(&mut bytes, u64::from(place.offset))
            .map_err(|err| read_error(attempted(), err))?;
        if read < bytes.len() {
            return Err(StorageError::new(StorageErrorKind::Corrupt, attempted()));
        }
        Ok(bytes)
    }

    /// Calls `visit` with the ids of a prototype, the one that was saved last first. Says whether
    /// it has broken off.
    pub(super) fn visit_ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let segments = self.segments.all();
        let orders: HashMap<u32, u32> =
            segments.iter().map(|segment| (segment.number, segment.order)).collect();
        // One that has just been begun is the last.
        let order = |segment: u32| orders.get(&segment).copied().unwrap_or(u32::MAX);
        let mut flow = ControlFlow::Continue(());
        self.index.visit_ids(prototype, &order, &mut |id| {
            flow = visit(id);
            flow
        });
        flow
    }

    /// Has the system read the newest records of these ids into memory.
    pub(super) fn prefetch(&self, ids: &[CheckpointId]) {
        let ids: Vec<_> = ids.iter().map(CheckpointId::as_ref).collect();
        for run in runs(&self.index.newest_of(&ids), PREFETCH_GAP_BYTES, u64::MAX) {
            if let Some(segment) = self.segments.get(run.segment) {
                segment.prefetch(run.start, run.end - run.start);
            }
        }
    }

    /// Reads the newest records of these ids, with one call those that lie close together. Leaves
    /// out those of which there is nothing, or that cannot be read, for whatever reason, and what
    /// would take too much memory.
    pub(super) fn fetch_many(
        &self,
        ids: &[CheckpointIdRef<'_>],
        found: &mut dyn FnMut(usize, Vec<u8>),
    ) {
        let runs = runs(&self.index.newest_of(ids), READ_GAP_BYTES, READ_BYTES_MAX);
        if runs.len() > 1 {
            // The disk works on all of them while the first is waited for.
            for run in &runs {
                if let Some(segment) = self.segments.get(run.segment) {
                    segment.prefetch(run.start, run.end - run.start);
                }
            }
        }
        let mut bytes = Vec::new();
        let mut left = MANY_BYTES_MAX;
        for run in runs {
            let Some(rest) = left.checked_sub(run.end - run.start) else { continue };
            // It may have been moved since.
            let Some(segment) = self.segments.get(run.segment) else { continue };
            left = rest;
            bytes.resize(usize::try_from(run.end - run.start).unwrap_or(0), 0);
            let Ok(read) = segment.read(&mut bytes, run.start) else { continue };
            bytes.truncate(read);
            for (at, place) in run.places {
                let start = u64::from(place.offset) - run.start;
                let record = bytes
                    .get(usize::try_from(start).unwrap_or(usize::MAX)..)
                    .and_then(|rest| rest.get(..place.record_bytes() as usize));
                let Some((record, id)) = record.zip(ids.get(at)) else { continue };
                if self.check_hidden(*id, Some(segment.written_at(place.offset))).is_ok() {
                    found(at, record.to_vec());
                }
            }
        }
    }

    pub(super) fn list_versions(
        &self,
        id: &CheckpointId,
    ) -> Result<Vec<StoredVersion>, StorageError> {
        let mut listed = Vec::new();
        for place in self.index.all(id.as_ref()) {
            // It may be kept no longer by now.
            let Some((place, segment)) = self.find(id, FetchVersion::Exactly(place.version))?
            else {
                continue;
            };
            let bytes = self.read(place, &segment)?;
            let header = RecordHeader::parse(&bytes).and_then(|header| header.of(id.as_ref()));
            // A version that is damaged is one all the same: whoever fetches it will notice.
            let captured_at = match header {
                Ok(header) => header.captured_at,
                Err(_) => SystemTime::UNIX_EPOCH + Duration::from_secs(place.captured_at().into()),
            };
            listed.push(StoredVersion {
                version: place.version,
                kind: place.kind(),
                captured_at,
                record_bytes: u64::from(place.record_bytes()),
            });
        }
        Ok(listed)
    }
}
