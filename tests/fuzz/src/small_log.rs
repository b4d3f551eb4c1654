//! A log over files in memory, so small that a few states fill a segment.

use std::sync::Arc;

use checkpoint::{CheckpointId, LogStorage, SeededRandom, StorageError};

use crate::MemoryFiles;

/// Opens the log in these files, creating it if there is none.
///
/// # Errors
/// Those of the storage.
pub fn open_log(files: &MemoryFiles) -> Result<LogStorage, StorageError> {
    LogStorage::builder("root")
        .segment_bytes(400)
        .older_versions_max(1)
        .background_compaction(false)
        .random(Arc::new(SeededRandom::new(1)))
        .open_over(Arc::new(files.clone()))
}

/// Returns the id of a key of the log's only prototype.
///
/// # Panics
/// The key is too long for one.
#[must_use]
pub fn log_id(key: &str) -> CheckpointId {
    match CheckpointId::new("p", key) {
        Ok(id) => id,
        Err(err) => panic!("{err}"),
    }
}
