//! What is done with a prototype when time has passed.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::framework::CheckpointSource;

/// One tick of one prototype: makes those PEs due that have been waiting for their interval, has
/// idle ones leave, and runs periodic functions.
#[doc(alias = "org.apache.s4.core.ft.CheckpointingTask")]
pub struct CheckpointingTask {
    source: Arc<dyn CheckpointSource>,
}

impl CheckpointingTask {
    pub(crate) fn new(source: Arc<dyn CheckpointSource>) -> Self {
        Self { source }
    }

    /// Does what is due `now`, and returns when the next tick is to be.
    #[must_use]
    pub fn run(self, now: Timestamp) -> Option<Timestamp> {
        self.source.tick(now)
    }
}

impl fmt::Debug for CheckpointingTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointingTask({})", self.source.name())
    }
}
