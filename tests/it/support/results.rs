//! Records what storage callbacks are told.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use checkpoint::{
    CheckpointId, SaveError, StateVersion, StorageCallback, StorageCallbackFactory, StorageResult,
    StorageResultCode,
};

use crate::support::FAIL_SAFE;

type Then = Box<dyn Fn(&Kept) + Send + Sync>;

/// A result that was kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) code: StorageResultCode,
    pub(crate) id: CheckpointId,
    pub(crate) version: Option<StateVersion>,
    pub(crate) attempts: u32,
    pub(crate) error: Option<SaveError>,
}

impl From<&StorageResult<'_>> for Kept {
    fn from(result: &StorageResult<'_>) -> Self {
        Self {
            code: result.code,
            id: result.id.to_owned(),
            version: result.version,
            attempts: result.attempts,
            error: result.error.clone(),
        }
    }
}

/// A callback for all prototypes that keeps every result; a clone is the same.
#[derive(Clone, Default)]
pub(crate) struct Results(Arc<Shared>);

#[derive(Default)]
struct Shared {
    results: Mutex<Vec<Kept>>,
    changed: Condvar,
    // Run after the result was kept.
    then: Mutex<Option<Arc<Then>>>,
}

impl Results {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Has something done with each result, in the callback.
    pub(crate) fn then(&self, then: impl Fn(&Kept) + Send + Sync + 'static) {
        *self.0.then.lock().unwrap() = Some(Arc::new(Box::new(then)));
    }

    pub(crate) fn all(&self) -> Vec<Kept> {
        self.0.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many successes and failures there were.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let all = self.all();
        let successes = all.iter().filter(|r| r.code == StorageResultCode::Success).count();
        (successes, all.len() - successes)
    }

    /// Waits for the results that are waited for.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&[Kept]) -> bool) {
        let results = self.0.results.lock().unwrap();
        let waited =
            self.0.changed.wait_timeout_while(results, FAIL_SAFE, |results| !condition(results));
        let (results, timed_out) = waited.unwrap();
        assert!(!timed_out.timed_out(), "never: {what}; there were {results:?}");
    }

    /// Fails if a version was reported twice.
    #[track_caller]
    pub(crate) fn check_once_each(&self) {
        let mut versions: Vec<(CheckpointId, StateVersion)> =
            self.all().iter().filter_map(|r| Some((r.id.clone(), r.version?))).collect();
        let reported = versions.len();
        versions.sort();
        versions.dedup();
        assert_eq!(versions.len(), reported, "a capture was reported twice");
    }
}

impl StorageCallback for Results {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        let kept = Kept::from(result);
        self.0.results.lock().unwrap().push(kept.clone());
        self.0.changed.notify_all();
        let then = self.0.then.lock().unwrap().clone();
        if let Some(then) = then {
            then(&kept);
        }
    }
}

impl StorageCallbackFactory for Results {
    fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(self.clone())
    }
}
