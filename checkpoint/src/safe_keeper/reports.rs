//! What came of saves: judged, told to prototypes and callbacks, and tried again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::callback::StorageCallback;
use crate::capture::{CaptureFailure, SettlementOutcome};
use crate::clock::Timestamp;
use crate::prototype_index::PrototypeIndex;
use crate::safe_keeper::action::Pool;
use crate::safe_keeper::callbacks::{self, Told};
use crate::safe_keeper::ending::GivenUp;
use crate::safe_keeper::saving_health::SavingState;
use crate::safe_keeper::shared::Shared;
use crate::save_error::{SaveError, SaveFailure};
use crate::storage::{SaveOutcome, StorageError, StorageErrorKind};
use crate::task::{SaveStateTask, Saving, SavingResults};

impl Shared {
    pub(super) fn capture_failed(&self, failure: CaptureFailure) {
        self.counters.failed.add(1);
        if let Some(callback) = self.callback(failure.prototype) {
            self.tell(&*callback, self.clock.now(), &Told::NotCaptured(&failure.error));
        }
        // Answers whoever asked for it.
        drop(failure);
    }

    /// Tells everybody what came of a save, and has what failed tried again.
    pub(super) fn report(&self, mut results: SavingResults) {
        let outcomes = results.take_outcomes();
        let SavingResults { bytes, mut savings, .. } = results;
        let verdicts: Vec<_> =
            savings.iter_mut().zip(outcomes).map(|(s, outcome)| self.judge(s, outcome)).collect();
        // Dirty marks are cleared before anybody is told.
        let given_up = self.settle(&bytes, &savings, &verdicts);
        let is_stored = |verdict: &_| matches!(verdict, Some(SettlementOutcome::Stored));
        let any_stored = verdicts.iter().any(is_stored);
        {
            // Before anybody is told that something is stored: then it does not fail any more.
            let health = &mut self.core.lock().saving_health;
            match any_stored {
                true => health.stored(),
                false => {
                    let errors = savings.iter().filter_map(|saving| saving.error.as_deref());
                    health.failed(errors.map(StorageError::kind));
                }
            }
        }
        let ended = || savings.iter().zip(&verdicts).filter_map(|(s, v)| Some((s, v.as_ref()?)));
        for (saving, outcome) in ended() {
            saving.capture.answer(outcome);
        }
        self.tell_saved(&bytes, ended());
        let settled = ended().count();
        let again = savings.into_iter().zip(&verdicts);
        let again: Vec<_> = again.filter_map(|(s, v)| v.is_none().then_some(s)).collect();
        let retry = (!again.is_empty()).then(|| {
            let attempts = again.iter().map(|saving| saving.attempts).max().unwrap_or(1);
            let wait = self.retry.wait_after(attempts, self.random.next_u64());
            let at = self.clock.now().after(wait.unwrap_or(self.retry.backoff_max));
            (at, SaveStateTask::again(bytes.clone(), again))
        });
        let memory = retry.is_none().then_some(bytes);
        let late = self.core.lock().reported(settled, memory, retry, given_up, any_stored);
        if let Some((again, given_up)) = late {
            again.into_iter().for_each(|task| self.end_late(task));
            self.give_back(given_up);
        }
        self.wakers.of(Pool::Storage).notify_one();
        self.wakers.of(Pool::Serialization).notify_one();
        self.wakers.of(Pool::Timing).notify_one();
        self.tell_saving_state();
    }

    /// Tells whether the storage stores, if that is news and nobody else is telling.
    fn tell_saving_state(&self) {
        // Whoever finds somebody else telling leaves it to him: he looks again when he is done.
        loop {
            let Some(state) = self.core.lock().saving_health.begin_telling() else { return };
            match state {
                SavingState::Failing { kind } => tracing::error!(
                    target: "checkpoint",
                    // Not the error itself, which may name an id.
                    reason = ?kind,
                    "the storage fails; nothing is stored, and all changes stay in memory"
                ),
                SavingState::Working => {
                    tracing::info!(target: "checkpoint", "the storage stores again");
                }
            }
            if catch_unwind(AssertUnwindSafe(|| (self.on_saving_state)(state))).is_err() {
                self.counters.callback_panics.add(1);
                tracing::error!(target: "checkpoint", "a callback for the saving state panicked");
            }
            self.core.lock().saving_health.end_telling();
        }
    }

    /// Gives shards the results of their captures, but for those that were given up: they would be
    /// captured and given to the storage again at once. Those are returned, with the time until
    /// which they wait.
    fn settle(
        &self,
        bytes: &[u8],
        savings: &[Saving],
        verdicts: &[Option<SettlementOutcome>],
    ) -> Option<(Timestamp, Vec<GivenUp>)> {
        let place = |saving: &Saving| (saving.capture.prototype, saving.capture.shard());
        let mut given_up = Vec::new();
        let mut attempts = 0;
        let mut verdicts = verdicts.iter();
        // A batch is captured shard after shard.
        for of_shard in savings.chunk_by(|a, b| place(a) == place(b)) {
            let mut settlements = Vec::with_capacity(of_shard.len());
            for (saving, verdict) in of_shard.iter().zip(verdicts.by_ref()) {
                let Some(outcome) = verdict else { continue };
                let settlement = saving.settlement(outcome.clone());
                if let SettlementOutcome::GaveUp(reason) = outcome {
                    let id = saving.capture.id(bytes).to_owned();
                    let error = SaveError::new(id, reason.clone());
                    given_up.push(GivenUp { place: place(saving), settlement, error });
                    attempts = saving.attempts.max(attempts);
                } else {
                    settlements.push(settlement);
                }
            }
            if let Some(saving) = of_shard.first().filter(|_| !settlements.is_empty())
                && let Some(source) = self.source(saving.capture.prototype)
            {
                source.settle(saving.capture.shard(), settlements);
            }
        }
        (!given_up.is_empty()).then(|| {
            let wait = self.retry.wait(attempts, self.random.next_u64());
            (self.clock.now().after(wait), given_up)
        })
    }

    /// Decides what an outcome means for a capture; `None` if it is to be tried again.
    fn judge(&self, saving: &mut Saving, outcome: SaveOutcome) -> Option<SettlementOutcome> {
        let (error, unknown) = match outcome {
            SaveOutcome::Stored => return Some(SettlementOutcome::Stored),
            SaveOutcome::NotStored(error) => (error, false),
            SaveOutcome::Unknown(error) => (error, true),
        };
        let permanent = !unknown && !error.kind().is_transient();
        let error = Arc::new(error);
        saving.error = Some(error.clone());
        if permanent {
            // Not the error itself, which names the id.
            if let StorageErrorKind::Fenced { mine, current } = error.kind() {
                tracing::error!(
                    target: "checkpoint",
                    epoch = mine.0,
                    taken_over_by = current.0,
                    "another writer has taken over"
                );
            }
            // What it refuses now it may have stored before.
            let reason = match saving.may_be_stored {
                true => SaveFailure::MayBeStored(error),
                false => SaveFailure::Refused(error),
            };
            return Some(SettlementOutcome::Refused(reason));
        }
        saving.may_be_stored |= unknown;
        match self.retry.wait_after(saving.attempts, 0) {
            Some(_) => None,
            None => Some(SettlementOutcome::GaveUp(match saving.may_be_stored {
                true => SaveFailure::NotAnswered(error),
                false => SaveFailure::GaveUp(error),
            })),
        }
    }

    /// Counts results, and reports each to its prototype's callback.
    pub(super) fn tell_saved<'a>(
        &self,
        bytes: &[u8],
        ended: impl Iterator<Item = (&'a Saving, &'a SettlementOutcome)>,
    ) {
        let (mut stored, mut stored_bytes, mut failed) = (0, 0, 0);
        let mut callback = None;
        let now = self.clock.now();
        for (saving, outcome) in ended {
            match outcome {
                SettlementOutcome::Stored => {
                    stored += 1;
                    stored_bytes += saving.capture.place.record.len() as u64;
                }
                SettlementOutcome::GaveUp(_) | SettlementOutcome::Refused(_) => failed += 1,
            }
            let prototype = saving.capture.prototype;
            if callback.as_ref().is_none_or(|(of, _)| *of != prototype) {
                callback = self.callback(prototype).map(|callback| (prototype, callback));
            }
            if let Some((_, callback)) = &callback {
                let id = saving.capture.id(bytes);
                self.tell(&**callback, now, &Told::Saved { saving, id, outcome });
            }
        }
        self.counters.stored.add(stored);
        self.counters.stored_bytes.add(stored_bytes);
        self.counters.failed.add(failed);
    }

    fn callback(&self, index: PrototypeIndex) -> Option<Arc<dyn StorageCallback>> {
        self.prototypes.lock().get(index.0).map(|prototype| prototype.callback.clone())
    }

    fn tell(&self, callback: &dyn StorageCallback, now: Timestamp, told: &Told<'_>) {
        let result = callbacks::result(told, now);
        if catch_unwind(AssertUnwindSafe(|| callback.storage_operation_result(&result))).is_err() {
            self.counters.callback_panics.add(1);
            tracing::error!(target: "checkpoint", "a storage callback panicked");
        }
    }

    /// Tells prototypes of captures that were given up: they are to be made again.
    pub(super) fn give_back(&self, given_up: Vec<GivenUp>) {
        for GivenUp { place: (index, shard), settlement, .. } in given_up {
            if let Some(source) = self.source(index) {
                source.settle(shard, vec![settlement]);
            }
        }
    }

    /// Ends captures of which the storage has said something when nobody was to report it any more.
    pub(super) fn end_results(&self, mut results: SavingResults) {
        let outcomes = results.take_outcomes();
        for (saving, outcome) in results.savings.into_iter().zip(outcomes) {
            self.end_saving(&results.bytes, saving, Some(outcome), false);
        }
    }

    /// Ends a capture that a closing keeper has in hand, by what the storage has said of it, or
    /// without; returns how.
    pub(super) fn end_saving(
        &self,
        bytes: &[u8],
        mut saving: Saving,
        outcome: Option<SaveOutcome>,
        with_storage: bool,
    ) -> SettlementOutcome {
        let ended = outcome.and_then(|outcome| self.judge(&mut saving, outcome));
        let outcome = ended.unwrap_or_else(|| withdrawn(&saving, with_storage));
        self.ended(bytes, &saving, &outcome);
        outcome
    }

    /// Ends captures that were made when nothing was saved any more.
    pub(super) fn end_late(&self, task: SaveStateTask) {
        let (bytes, savings) = task.into_parts();
        for saving in savings {
            let outcome = withdrawn(&saving, false);
            self.ended(&bytes, &saving, &outcome);
        }
    }

    /// Ends a capture of a keeper that is closing.
    fn ended(&self, bytes: &[u8], saving: &Saving, outcome: &SettlementOutcome) {
        let capture = &saving.capture;
        let settlement = saving.settlement(outcome.clone());
        if let Some(source) = self.source(capture.prototype) {
            source.settle(capture.shard(), vec![settlement]);
        }
        capture.answer(outcome);
        self.tell_saved(bytes, std::iter::once((saving, outcome)));
    }
}

/// How a capture ends that a closing keeper has in hand.
fn withdrawn(saving: &Saving, with_storage: bool) -> SettlementOutcome {
    SettlementOutcome::GaveUp(match &saving.error {
        _ if with_storage || saving.may_be_stored => SaveFailure::Unknown,
        Some(error) => SaveFailure::GaveUp(error.clone()),
        None => SaveFailure::NotAttempted,
    })
}
