//! Reads records, and lists versions.

use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::record::RecordHeader;
use crate::storage::directory::error::{read_error, record_error};
use crate::storage::log::LogStorage;
use crate::storage::log::index::Place;
use crate::storage::log::layout::id_hash;
use crate::storage::log::segment::{Segment, segment_path};
use crate::storage::{FetchOutcome, FetchVersion, StorageError, StorageErrorKind, StoredVersion};

impl LogStorage {
    pub(super) fn fetch_one(&self, id: &CheckpointId, version: FetchVersion) -> FetchOutcome {
        let place = self.index.find(id.as_ref(), version);
        if version == FetchVersion::Newest {
            self.check_hidden(id, place)?;
        }
        let Some(place) = place else { return Ok(None) };
        self.read(place).map(Some)
    }

    /// The newest record, if it is known without waiting for the disk.
    pub(super) fn fetch_one_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        let place = self.index.newest(id.as_ref());
        if let Err(err) = self.check_hidden(id, place) {
            return Some(Err(err));
        }
        let Some(place) = place else { return Some(Ok(None)) };
        let segment = self.segment(place)?;
        let read = segment.read_now(place.record_bytes() as usize, u64::from(place.offset));
        // An error is for those to tell who can wait: they try again.
        read.ok().flatten().map(|bytes| Ok(Some(bytes)))
    }

    /// Fails if a damaged record may be a newer one of the id than the one at `place`.
    pub(super) fn check_hidden(
        &self,
        id: &CheckpointId,
        place: Option<Place>,
    ) -> Result<(), StorageError> {
        let written_at = place.map(Place::written_at);
        let of_id = self.damaged.lock().get(&id_hash(id.as_ref())).copied();
        match of_id.max(self.unknown_damage) {
            Some(damaged) if written_at < Some(damaged) => {
                let (segment, offset) = damaged;
                let path = self.directory.store.shown(&segment_path(segment));
                let attempted = format!("fetch {id}: {path} is damaged at byte {offset}");
                Err(StorageError::new(StorageErrorKind::Corrupt, attempted))
            }
            _ => Ok(()),
        }
    }

    fn segment(&self, place: Place) -> Option<Arc<Segment>> {
        self.segments.lock().get(&place.segment).map(Arc::clone)
    }

    /// Reads a record, whatever its bytes are: the keeper checks them.
    fn read(&self, place: Place) -> Result<Vec<u8>, StorageError> {
        let attempted = || {
            let path = self.directory.store.shown(&segment_path(place.segment));
            format!("read {path}, byte {}", place.offset)
        };
        let Some(segment) = self.segment(place) else {
            return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted()));
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

    pub(super) fn list_versions(
        &self,
        id: &CheckpointId,
    ) -> Result<Vec<StoredVersion>, StorageError> {
        let places = self.index.all(id.as_ref());
        let listed = places.into_iter().map(|place| {
            let bytes = self.read(place)?;
            let header = RecordHeader::parse(&bytes)
                .and_then(|header| header.of(id.as_ref()))
                .map_err(|err| record_error(format!("list the versions of {id}"), err))?;
            Ok(StoredVersion {
                version: place.version,
                kind: place.kind(),
                captured_at: header.captured_at,
                record_bytes: u64::from(place.record_bytes()),
            })
        });
        listed.collect()
    }
}
