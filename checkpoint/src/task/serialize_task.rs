//! One serialization: due PEs of some shards are encoded into one batch.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::{CaptureBatch, CaptureFailure, CaptureLimits, CaptureProgress};
use crate::framework::CheckpointSource;
use crate::prototype_index::PrototypeIndex;
use crate::task::SaveStateTask;

/// How long a shard's lock is waited for while others are waiting to be visited.
const BRIEF_LOCK_WAIT: Duration = Duration::from_millis(2);

/// One serialization: encodes due PEs, shard after shard, until the batch is full.
#[doc(alias = "org.apache.s4.core.ft.SerializeTask")]
pub struct SerializeTask {
    shards: Vec<(PrototypeIndex, Arc<dyn CheckpointSource>, usize)>,
    limits: CaptureLimits,
    // The memory of an old batch.
    bytes: Vec<u8>,
}

/// What came of a serialization.
pub(crate) struct Serialized {
    /// The captured states, to be saved; `None` if there are none.
    pub(crate) save: Option<SaveStateTask>,
    /// Memory that was not needed.
    pub(crate) unused: Option<Vec<u8>>,
    pub(crate) failures: Vec<CaptureFailure>,
    /// Shards that are to be visited again.
    pub(crate) again: Vec<(PrototypeIndex, usize)>,
}

impl SerializeTask {
    pub(crate) fn new(
        shards: Vec<(PrototypeIndex, Arc<dyn CheckpointSource>, usize)>,
        limits: CaptureLimits,
        bytes: Vec<u8>,
    ) -> Self {
        Self { shards, limits, bytes }
    }

    pub(crate) fn run(self) -> Serialized {
        let mut limits = self.limits;
        if self.shards.len() > 1 {
            // A shard that is held for long must not hold up the others; it is visited again.
            limits.lock_wait = limits.lock_wait.min(BRIEF_LOCK_WAIT);
        }
        let mut batch = CaptureBatch::reusing(limits, self.bytes);
        let mut again = Vec::new();
        let mut had_a_turn = Vec::new();
        for (index, source, shard) in self.shards {
            if batch.is_full() {
                again.push((index, shard));
                continue;
            }
            match source.capture(shard, &mut batch) {
                CaptureProgress::Drained => {}
                CaptureProgress::More | CaptureProgress::Busy => had_a_turn.push((index, shard)),
            }
        }
        // Those that had no turn come first: a shard that could fill every batch must not keep the
        // others from ever being stored.
        again.append(&mut had_a_turn);
        // Outside all locks: the checksums need a look at every byte.
        batch.seal();
        let (bytes, captures, failures) = batch.into_parts();
        match captures.is_empty() {
            true => Serialized { save: None, unused: Some(bytes), failures, again },
            false => {
                let save = Some(SaveStateTask::new(bytes, captures));
                Serialized { save, unused: None, failures, again }
            }
        }
    }
}

impl fmt::Debug for SerializeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerializeTask({} shards)", self.shards.len())
    }
}
