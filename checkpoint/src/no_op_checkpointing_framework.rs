//! The framework that checkpoints nothing.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::CheckpointingConfig;
use crate::framework::{
    Caller, CheckpointSource, CheckpointingFramework, NewPrototype, Overloaded, PeStatus,
    RegisterError, Registration, StateFetch,
};
use crate::prototype_index::PrototypeIndex;
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// Checkpoints nothing and restores nothing: every PE starts with the factory's value.
///
/// It has no thread. What is timed (`on_time` functions, PEs that leave because they are idle, the
/// deadlines of futures that wait) happens in [`tick`](Self::tick), which whoever needs it calls. A
/// PE that leaves is lost, as everything here that leaves memory.
#[doc(alias = "org.apache.s4.core.ft.NoOpCheckpointingFramework")]
pub struct NoOpCheckpointingFramework {
    clock: Arc<dyn Clock>,
    /// Those whose handles are gone are gone too: nothing of them can be lost.
    sources: Mutex<Vec<Weak<dyn CheckpointSource>>>,
    prototypes: AtomicUsize,
}

impl NoOpCheckpointingFramework {
    /// Returns a framework that does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// Returns a framework that does nothing, by this clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, sources: Mutex::default(), prototypes: AtomicUsize::new(0) }
    }

    /// Does what is due by now in all prototypes, and returns when the next thing is; there may be
    /// something before that if it only begins to wait after this call.
    pub fn tick(&self) -> Option<Timestamp> {
        let sources: Vec<_> = {
            let mut sources = self.sources.lock();
            sources.retain(|source| source.strong_count() > 0);
            sources.iter().filter_map(Weak::upgrade).collect()
        };
        let now = self.clock.now();
        sources.iter().filter_map(|source| source.tick(now)).min()
    }
}

impl Default for NoOpCheckpointingFramework {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for NoOpCheckpointingFramework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoOpCheckpointingFramework").finish_non_exhaustive()
    }
}

impl CheckpointingFramework for NoOpCheckpointingFramework {
    fn register(&self, _: &NewPrototype<'_>) -> Result<Registration, RegisterError> {
        let index = self.prototypes.fetch_add(1, Ordering::Relaxed);
        let registration = Registration::new(PrototypeIndex(index)).with_clock(self.clock.clone());
        Ok(registration.storing_nothing())
    }

    fn attach(&self, _: PrototypeIndex, source: Arc<dyn CheckpointSource>) {
        self.sources.lock().push(Arc::downgrade(&source));
    }

    fn is_checkpointable(&self, _: &CheckpointingConfig, _: &PeStatus) -> bool {
        false
    }

    fn save_state(&self, _: PrototypeIndex, _: usize) {}

    fn look_after(&self, _: PrototypeIndex, _: usize) {}

    fn fetch_serialized_state(&self, fetch: StateFetch) {
        fetch.decide(Ok(None));
    }

    fn fetch_serialized_states(&self, fetches: Vec<StateFetch>) -> Vec<StateFetch> {
        fetches
    }

    fn call_at(&self, _: PrototypeIndex, _: Timestamp) {}

    fn relieve(&self, _: Caller) -> Result<(), Overloaded> {
        Ok(())
    }
}
