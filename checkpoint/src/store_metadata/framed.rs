//! Values that are framed as records, of ids that no user can have, so that they can be encrypted.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::{
    InputPositions, RecordKind, RecordMeta, RecordView, RecordWriter, Sealing, StateVersion,
    UnsealError,
};
use crate::storage::{METADATA_BYTES_MAX, StorageError, StorageErrorKind};

pub(super) fn write(
    sealing: &Sealing,
    id: CheckpointIdRef<'_>,
    content: &[u8],
) -> Result<Vec<u8>, StorageError> {
    let meta = RecordMeta {
        kind: RecordKind::State,
        partition: 0,
        version: StateVersion::default(),
        event_count: 0,
        captured_at: UNIX_EPOCH,
        idle: Duration::ZERO,
        fingerprint: 0,
        positions: &InputPositions::none(),
    };
    let (mut plain, mut sealed) = (Vec::new(), Vec::new());
    let writer = RecordWriter::begin(&mut plain, id, &meta);
    plain.extend_from_slice(content);
    writer.close(&mut plain);
    match sealing.sealer(1).seal(&plain, writer, &mut sealed) {
        Ok(_) => Ok(sealed),
        Err(error) => {
            let attempted = format!("encrypt {:?}", id.prototype);
            Err(StorageError::new(StorageErrorKind::Unavailable, attempted).with_source(error))
        }
    }
}

/// Returns what such a value holds; or why it cannot be opened, if it is one.
pub(super) fn read(
    sealing: &Sealing,
    id: CheckpointIdRef<'_>,
    bytes: &[u8],
) -> Result<Result<Vec<u8>, UnsealError>, StorageError> {
    let view = RecordView::parse(bytes).and_then(|view| view.of(id)).map_err(|error| {
        let attempted = format!("read {:?}", id.prototype);
        StorageError::new(StorageErrorKind::InvalidStore, attempted).with_source(error)
    })?;
    Ok(sealing.open(&view, METADATA_BYTES_MAX as u64).map(Cow::into_owned))
}
