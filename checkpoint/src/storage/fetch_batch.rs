//! Asks a storage for records, and takes the answers.

use std::fmt;

use crate::checkpoint_id::CheckpointId;
use crate::record::StateVersion;
use crate::storage::{StorageError, StorageErrorKind};

/// The answer to a fetch: the record's bytes as they were saved, or that there is no such record.
///
/// "There is none" is only said if the storage knows it. A tombstone is a record and is returned.
pub type FetchOutcome = Result<Option<Vec<u8>>, StorageError>;

/// Stands for the newest version where that cannot be read: `Before` it is the one that came
/// before.
pub(crate) const UNKNOWN_VERSION: StateVersion = StateVersion::new(u64::MAX, u64::MAX);

/// Above every version that is ever drawn: `Before` it is the newest that the storage has, also if
/// it knows that another one was newer and is damaged.
pub(crate) const NEWEST_WHOLE: StateVersion = StateVersion::new(u64::MAX, u64::MAX - 1);

/// Which version of a state is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchVersion {
    /// The newest.
    Newest,
    /// The newest that is older than this one, which needs a storage that keeps older versions.
    Before(StateVersion),
    /// This very one.
    Exactly(StateVersion),
}

/// Asks for one record.
///
/// A storage answers each entry once, whenever it likes and from any thread.
pub struct FetchEntry {
    id: CheckpointId,
    version: FetchVersion,
    // Taken by the answer.
    answer: Option<Box<dyn FnOnce(FetchOutcome) + Send>>,
}

impl FetchEntry {
    /// Returns a request whose answer is given to `answer`.
    pub fn new(
        id: CheckpointId,
        version: FetchVersion,
        answer: impl FnOnce(FetchOutcome) + Send + 'static,
    ) -> Self {
        Self { id, version, answer: Some(Box::new(answer)) }
    }

    /// Returns the id of the wanted record.
    #[must_use]
    pub fn id(&self) -> &CheckpointId {
        &self.id
    }

    /// Returns which version is wanted.
    #[must_use]
    pub fn version(&self) -> FetchVersion {
        self.version
    }

    /// Answers the request.
    ///
    /// A request that is dropped instead is answered with an error.
    pub fn complete(mut self, outcome: FetchOutcome) {
        if let Some(answer) = self.answer.take() {
            answer(outcome);
        }
    }
}

impl Drop for FetchEntry {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            let attempted = format!("fetch {}, which the storage dropped unanswered", self.id);
            answer(Err(StorageError::new(StorageErrorKind::Broken, attempted)));
        }
    }
}

impl fmt::Debug for FetchEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchEntry").field("id", &self.id).field("version", &self.version).finish()
    }
}
