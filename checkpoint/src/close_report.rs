//! What a flush and a close report.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::CheckpointOutcome;
use crate::save_error::{SaveError, SaveFailure};

/// How many ids `Display` shows of each kind.
const SHOWN_MAX: usize = 10;

/// What a flush or a close has stored, and what it has not, by id.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// Captures that were stored meanwhile.
    pub saved: u64,
    /// PEs whose changes could not be stored, and why.
    pub failed: Vec<SaveError>,
    /// PEs whose changes were not tried to be stored in time: they were still waiting, or lent out,
    /// or a closure had panicked in them.
    pub not_attempted: Vec<CheckpointId>,
    /// PEs whose changes, or some of them, may or may not be stored: the storage had been given
    /// them, and had not answered in time. So it is whatever became of later attempts, but for one
    /// that was stored.
    pub unknown: Vec<CheckpointId>,
    /// Shards that could not be looked at, because an event's closure held their locks: whether
    /// their changes are stored is not known.
    pub not_known: Vec<ShardNotKnown>,
    /// The call came from inside an event or from one of the keeper's own threads, where it would
    /// have waited for itself: nothing was done.
    pub reentrant: bool,
    /// Threads that are stuck in the storage, or in a state's `encode`; they are left behind, and
    /// the store stays locked until they come back.
    pub threads_stuck: usize,
}

/// A shard that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardNotKnown {
    /// The name of the prototype.
    pub prototype: Arc<str>,
    /// The number of the shard in it.
    pub shard: usize,
}

impl fmt::Display for ShardNotKnown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.shard, self.prototype)
    }
}

impl CloseReport {
    /// Returns whether every change is stored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.reentrant
            && self.failed.is_empty()
            && self.not_attempted.is_empty()
            && self.unknown.is_empty()
            && self.not_known.is_empty()
    }
}

impl CloseReport {
    /// The report of a call that would have waited for itself.
    pub(crate) fn reentrant() -> NotAllStored {
        NotAllStored(Self { reentrant: true, ..Self::default() })
    }

    /// Takes in the answer to a request; `None` if there was none in time.
    pub(crate) fn add(&mut self, id: &CheckpointId, outcome: Option<CheckpointOutcome>) {
        match outcome {
            Some(Ok(_)) => self.saved += 1,
            Some(Err(error)) => self.name(error),
            None => self.not_attempted.push(id.clone()),
        }
    }

    /// Names a PE that is not stored, or not for sure.
    pub(crate) fn name(&mut self, error: SaveError) {
        match error.reason() {
            reason if reason.may_be_stored() => self.unknown.push(error.id().clone()),
            SaveFailure::NotAttempted | SaveFailure::Poisoned => {
                self.not_attempted.push(error.id().clone());
            }
            _ => self.failed.push(error),
        }
    }

    pub(crate) fn into_result(self) -> Result<Self, NotAllStored> {
        if self.is_complete() { Ok(self) } else { Err(NotAllStored(self)) }
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reentrant {
            return f
                .write_str("nothing was done: the call came from inside an event or the keeper");
        }
        write!(f, "{} checkpoints stored", self.saved)?;
        list(f, "could not be stored", &self.failed)?;
        list(f, "were not tried", &self.not_attempted)?;
        list(f, "may or may not be stored", &self.unknown)?;
        list(f, "could not be looked at", &self.not_known)?;
        match self.threads_stuck {
            0 => Ok(()),
            n => write!(f, "; {n} threads are stuck in the storage"),
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, "; {} {what}: ", items.len())?;
    for (i, item) in items.iter().take(SHOWN_MAX).enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    if items.len() > SHOWN_MAX { f.write_str(", …") } else { Ok(()) }
}

/// Not every change could be stored before the deadline; the report says which.
#[derive(Debug, Clone)]
pub struct NotAllStored(pub CloseReport);

impl fmt::Display for NotAllStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not every change could be stored before the deadline: {}", self.0)
    }
}

impl Error for NotAllStored {}
