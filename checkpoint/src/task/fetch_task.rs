//! One fetch: some records are asked of the storage.

use std::fmt;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::storage::{FetchEntry, FetchOutcome, FetchVersion, StateStorage, UNKNOWN_VERSION};

/// One fetch: asks the storage for some records; the answers may come later.
#[doc(alias = "org.apache.s4.core.ft.FetchTask")]
pub struct FetchTask {
    wanted: Vec<(FetchNumber, CheckpointId, FetchVersion)>,
}

/// Numbers the fetches of a keeper.
pub(crate) type FetchNumber = u64;

/// Takes the answers to fetches, from any thread; a second answer to one fetch has no effect.
pub(crate) trait FetchAnswers: Send + Sync {
    fn answered(&self, fetch: FetchNumber, outcome: FetchOutcome);
}

impl FetchTask {
    pub(crate) fn new(wanted: Vec<(FetchNumber, CheckpointId, FetchVersion)>) -> Self {
        Self { wanted }
    }

    pub(crate) fn run(self, storage: &dyn StateStorage, answers: &Arc<dyn FetchAnswers>) {
        let entry = |(number, id, version): (FetchNumber, CheckpointId, FetchVersion)| {
            let version = match known_version(storage, &id, version) {
                Ok(version) => version,
                Err(outcome) => {
                    answers.answered(number, outcome);
                    return None;
                }
            };
            let answers = answers.clone();
            Some(FetchEntry::new(id, version, move |outcome| answers.answered(number, outcome)))
        };
        let entries: Vec<_> = self.wanted.into_iter().filter_map(entry).collect();
        if !entries.is_empty() {
            storage.fetch(entries);
        }
    }
}

/// Finds out what comes before a newest version that cannot be read.
fn known_version(
    storage: &dyn StateStorage,
    id: &CheckpointId,
    version: FetchVersion,
) -> Result<FetchVersion, FetchOutcome> {
    if version != FetchVersion::Before(UNKNOWN_VERSION) {
        return Ok(version);
    }
    let versions = storage.versions(id).map_err(Err)?;
    match versions.get(1) {
        Some(previous) => Ok(FetchVersion::Exactly(previous.version)),
        None => Err(Ok(None)),
    }
}

impl fmt::Debug for FetchTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FetchTask({} records)", self.wanted.len())
    }
}
