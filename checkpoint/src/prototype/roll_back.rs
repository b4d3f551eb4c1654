//! Takes all PEs of a prototype back to what they were at a time.

use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::CheckpointTicket;
use crate::framework::{Caller, FetchVerdict, StateFetch};
use crate::inputs::Contained;
use crate::process_error::ProcessError;
use crate::prototype::entry::Arrival;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::restore::{Wanted, no_such_version};
use crate::record::{RecordKind, RecordView, StateVersion};
use crate::restore_error::{RestoreError, RestoreFailure};
use crate::state::Checkpointable;
use crate::storage::{FetchVersion, StorageError, StorageErrorKind};
use crate::sync::Mutex;
use crate::wait::Signal;

/// So many roll-backs are waited for together.
const AT_ONCE_MAX: usize = 256;
/// So many ids and errors are reported; all are counted.
const REPORTED_MAX: usize = 100;

/// What came of rolling back all PEs, or has come of it so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RollBack {
    /// How many PEs have an older state again.
    pub rolled_back: u64,
    /// How many were removed, because they had been removed at that time.
    pub removed: u64,
    /// How many had no later version.
    pub unchanged: u64,
    /// How many were left as they are, because no version of that time is kept: they came into
    /// being later, or what they were is not kept any more.
    pub not_kept: u64,
    /// Which those are: the first hundred.
    pub ids_not_kept: Vec<CheckpointId>,
    /// How many could not be rolled back.
    pub failed: u64,
    /// Which, and why: the first hundred.
    pub errors: Vec<(CheckpointId, Arc<dyn Error + Send + Sync>)>,
}

impl RollBack {
    fn fail(&mut self, id: CheckpointId, error: impl Error + Send + Sync + 'static) {
        self.failed += 1;
        if self.errors.len() < REPORTED_MAX {
            self.errors.push((id, Arc::new(error)));
        }
    }
}

/// What a PE was at the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Version,
    Removed,
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Takes each PE, in memory or not, back to the newest version that was captured at `time` or
    /// before, as a new version: durable when this returns, and itself something that can be rolled
    /// back.
    ///
    /// All changes are stored first, so that those since `time` can be got back by
    /// [`restore_version`](Self::restore_version) for as long as the storage keeps them. Which
    /// versions there are to go back to is the storage's [`Retention`](crate::Retention). PEs that
    /// were removed since then are not in the list of PEs, and stay removed;
    /// [`restore_version`](Self::restore_version) brings them back one by one. PEs that get events
    /// meanwhile go on from either state: a roll-back of all at one moment needs the events to be
    /// held back. Events of [sources](crate::Source) since `time` are to be fed again, also to PEs
    /// that had been removed then: [rewind](crate::Source::rewind) the sources before, or get a
    /// [`PositionGap`](crate::RestoreFailure::PositionGap) for each PE that contains one.
    /// `progress` is told after each 256 PEs.
    ///
    /// # Errors
    /// The storage keeps no older versions, not all changes could be stored, or the PEs cannot be
    /// listed; nothing has been rolled back then. What is wrong with single PEs is in the result.
    pub fn roll_back_all(
        &self,
        time: SystemTime,
        mut progress: impl FnMut(&RollBack),
    ) -> Result<RollBack, StorageError> {
        let attempted = || format!("roll back the PEs of `{}`", self.name());
        let storage = self.inner.storage();
        let kept = storage.map_or(0, |storage| storage.capabilities().older_versions_max);
        if kept == 0 {
            let attempted = format!("{}: the storage keeps no older versions", attempted());
            return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
        }
        self.flush(self.inner.config.wait_max()).map_err(|error| {
            StorageError::new(StorageErrorKind::Unavailable, attempted()).with_source(error)
        })?;
        let mut report = RollBack::default();
        let mut asked = Vec::new();
        for (at, id) in self.ids()?.into_iter().enumerate() {
            self.begin_roll_back(id, time, &mut report, &mut asked);
            if (at + 1).is_multiple_of(AT_ONCE_MAX) {
                self.settle(&mut report, &mut asked);
                progress(&report);
            }
        }
        self.settle(&mut report, &mut asked);
        progress(&report);
        Ok(report)
    }

    /// Counts what has become durable and what has not; where more PEs are in memory than may be,
    /// those that have come for this leave again.
    fn settle(&self, report: &mut RollBack, asked: &mut Vec<(Target, CheckpointTicket)>) {
        for (target, ticket) in asked.drain(..) {
            let id = ticket.id().clone();
            match (ticket.wait(), target) {
                (Ok(_), Target::Version) => report.rolled_back += 1,
                (Ok(_), Target::Removed) => report.removed += 1,
                (Err(error), _) => {
                    report.fail(id, error);
                    continue;
                }
            }
            if self.inner.room_left() == 0
                && let Ok(key) = K::from_key_bytes(id.key())
            {
                // One that is in use again by now stays.
                let _stays = self.inner.evict(&key);
            }
        }
    }

    /// Asks for the version of that time, if that is not the newest.
    fn begin_roll_back(
        &self,
        id: CheckpointId,
        time: SystemTime,
        report: &mut RollBack,
        asked: &mut Vec<(Target, CheckpointTicket)>,
    ) {
        let key = match K::from_key_bytes(id.key()) {
            Ok(key) => key,
            Err(error) => return report.fail(id, error),
        };
        let versions = match self.versions_of(&id) {
            Ok(versions) => versions,
            Err(error) => return report.fail(id, error),
        };
        // The newest one of that time.
        let found = versions.iter().position(|version| version.captured_at <= time);
        let Some((at, version)) = found.and_then(|at| Some((at, versions.get(at)?))) else {
            report.not_kept += 1;
            if report.ids_not_kept.len() < REPORTED_MAX {
                report.ids_not_kept.push(id);
            }
            return;
        };
        if at == 0 {
            report.unchanged += 1;
            return;
        }
        let (target, ticket) = match version.kind {
            RecordKind::State => {
                let wanted = Wanted::Version(version.version);
                let replaced = self.inner.clone().replace_async(key, wanted);
                (Target::Version, self.inner.drive(replaced))
            }
            RecordKind::Tombstone => {
                let removed = self.inner.clone().remove_again_as(key, version.version);
                (Target::Removed, self.inner.drive(removed))
            }
        };
        match ticket {
            Ok(ticket) => asked.push((target, ticket)),
            Err(error) => report.fail(id, error),
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Removes a PE as it was removed under this version before: it contains what it contained then
    /// and no more, as one that gets an older state back.
    async fn remove_again_as(
        self: Arc<Self>,
        key: K,
        version: StateVersion,
    ) -> Result<CheckpointTicket, ProcessError> {
        if !self.registration.sources.is_any() {
            return self.remove_async(key).await;
        }
        let id = self.id(&key)?;
        let deadline = self.deadline();
        let said = Arc::new(Mutex::new(None));
        let arrival: Arc<Arrival> = Signal::new();
        let (inner, told, arrived) = (self.clone(), said.clone(), arrival.clone());
        let of = id.clone();
        let decide = move |verdict| {
            arrived.finish(match inner.said_when_removed(&of, version, verdict) {
                Ok(contained) => {
                    *told.lock() = Some(contained);
                    Ok(())
                }
                Err(RestoreFailure::Closed) => Err(inner.closed_error()),
                Err(reason) => Err(ProcessError::Restore(RestoreError::new(of, reason))),
            });
        };
        let wanted = FetchVersion::Exactly(version);
        let fetch = StateFetch::new(id, wanted, Caller::MustNotWait, decide);
        self.framework.fetch_serialized_state(fetch);
        self.wait_async(&key, Hindrance::Arrival(arrival, None), deadline).await?;
        let said = said.lock().take();
        self.remove_saying(key, said).await
    }

    /// What a PE said of the events that it contained when it was removed.
    fn said_when_removed(
        &self,
        id: &CheckpointId,
        version: StateVersion,
        verdict: FetchVerdict,
    ) -> Result<Contained, RestoreFailure> {
        let Some(record) = verdict? else {
            let missing = no_such_version(id, Wanted::Version(version));
            return Err(RestoreFailure::Storage(Arc::new(missing)));
        };
        let damaged = |error| RestoreFailure::Record(Arc::new(error));
        let view = RecordView::parse(&record).and_then(|view| view.of(id.as_ref()));
        self.said_by(view.map_err(damaged)?.header())
    }
}
