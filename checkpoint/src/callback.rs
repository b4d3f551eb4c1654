//! Reports the result of each storage operation to the application.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::{RecordKind, StateVersion};
use crate::save_error::SaveError;

/// Says how a storage operation ended.
#[doc(alias = "org.apache.s4.core.ft.CheckpointingFramework.StorageResultCode")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageResultCode {
    /// The state is stored.
    #[doc(alias = "SUCCESS")]
    Success,
    /// It is not, or nobody knows; the PE stays dirty.
    #[doc(alias = "FAILURE")]
    Failure,
}

/// The result of one storage operation: of one capture of one PE, however often it was attempted.
///
/// It borrows the id, so that a checkpoint that nobody asks about costs no allocation.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StorageResult<'a> {
    /// How it ended.
    pub code: StorageResultCode,
    /// The PE.
    pub id: CheckpointIdRef<'a>,
    /// A state or a removal.
    pub kind: RecordKind,
    /// The version of the capture; `None` if the state could not even be encoded.
    pub version: Option<StateVersion>,
    /// The size of the record in bytes.
    pub record_bytes: u64,
    /// The time from the capture to the result.
    pub duration: Duration,
    /// How often the storage was asked.
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<SaveError>,
}

/// Takes the results of storage operations.
///
/// Called from the threads of the storage pool, without any lock held, once for each capture. Calls
/// for different PEs may run at the same time; those for one PE come one after the other. A
/// callback may call `checkpoint()` and everything else that does not wait; what would wait returns
/// an error. A panic is caught and counted.
#[doc(alias = "org.apache.s4.core.ft.StorageCallback")]
pub trait StorageCallback: Send + Sync {
    /// Takes one result.
    #[doc(alias = "storageOperationResult")]
    fn storage_operation_result(&self, result: &StorageResult<'_>);
}

/// Makes the callback of each prototype.
#[doc(alias = "org.apache.s4.core.ft.StorageCallbackFactory")]
pub trait StorageCallbackFactory: Send + Sync {
    /// Returns the callback for all PEs of `prototype`; called once for each.
    #[doc(alias = "createStorageCallback")]
    fn create_storage_callback(&self, prototype: &str) -> Arc<dyn StorageCallback>;
}

/// Makes callbacks that write results to the log; used when no other factory is given.
///
/// Successes are events of level TRACE and failures of level WARN, of target `checkpoint`. A PE is
/// told by a hash of its key only, unless [`log_keys`](Self::log_keys) says otherwise: keys may be
/// private.
#[doc(alias = "org.apache.s4.core.ft.LoggingStorageCallbackFactory")]
#[derive(Debug, Clone, Copy, Default)]
pub struct LoggingStorageCallbackFactory {
    log_keys: bool,
}

impl LoggingStorageCallbackFactory {
    /// Returns a factory of callbacks that log no keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether ids are logged too, escaped and cut off as in every message. Default: no.
    ///
    /// The factory that a keeper has by default does as
    /// [`SafeKeeperSettings::log_keys`](crate::SafeKeeperSettings::log_keys) says.
    #[must_use]
    pub fn log_keys(self, log_keys: bool) -> Self {
        Self { log_keys }
    }
}

impl StorageCallbackFactory for LoggingStorageCallbackFactory {
    fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(LoggingStorageCallback { log_keys: self.log_keys })
    }
}

struct LoggingStorageCallback {
    log_keys: bool,
}

impl StorageCallback for LoggingStorageCallback {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        let (prototype, id) = (result.id.prototype, result.id);
        match &result.error {
            None => tracing::trace!(
                target: "checkpoint",
                prototype,
                key_hash = id.key_hash(),
                id = id.logged(self.log_keys),
                bytes = result.record_bytes,
                "checkpoint stored"
            ),
            Some(error) => tracing::warn!(
                target: "checkpoint",
                prototype,
                key_hash = id.key_hash(),
                id = id.logged(self.log_keys),
                attempts = result.attempts,
                error = %error.reason(),
                "checkpoint not stored; the state stays in memory"
            ),
        }
    }
}
