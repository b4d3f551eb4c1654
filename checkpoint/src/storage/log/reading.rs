//! Reads records, and lists versions.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::checkpoint_id::CheckpointId;
use crate::record::RecordHeader;
use crate::storage::directory::error::read_error;
use crate::storage::log::damages::WrittenAt;
use crate::storage::log::inner::{Access, Log};
use crate::storage::log::layout::id_hash;
use crate::storage::log::place::Place;
use crate::storage::log::segment::{Segment, segment_path};
use crate::storage::{FetchOutcome, FetchVersion, StorageError, StorageErrorKind, StoredVersion};

/// Bytes between two records that are rather read than asked for separately.
const PREFETCH_GAP_BYTES: u64 = 64 << 10;

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
                self.check_hidden(id, at)?;
            }
            return Ok(found);
        }
    }

    /// Fails if something newer than what was written `at` is damaged.
    fn check_hidden(&self, id: &CheckpointId, at: Option<WrittenAt>) -> Result<(), StorageError> {
        match self.damages.last_of(id_hash(id.as_ref())) {
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
        let newest = ids.iter().filter_map(|id| self.index.newest(id.as_ref()));
        let mut places: Vec<_> = newest.map(|place| (place.segment, place.offset, place)).collect();
        places.sort_unstable_by_key(|(segment, offset, _)| (*segment, *offset));
        let mut places = places.into_iter().map(|(.., place)| place).peekable();
        while let Some(first) = places.next() {
            let start = u64::from(first.offset);
            let mut end = start + u64::from(first.record_bytes());
            // One request for those that lie close together.
            while let Some(next) = places.next_if(|next| {
                next.segment == first.segment && u64::from(next.offset) <= end + PREFETCH_GAP_BYTES
            }) {
                end = end.max(u64::from(next.offset) + u64::from(next.record_bytes()));
            }
            if let Some(segment) = self.segments.get(first.segment) {
                segment.prefetch(start, end - start);
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
