//! What came of saves: judged, told to prototypes and callbacks, and tried again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::capture::{CaptureFailure, Settlement, SettlementOutcome};
use crate::checkpoint_id::CheckpointId;
use crate::framework::PrototypeIndex;
use crate::safe_keeper::callbacks::{self, Told};
use crate::safe_keeper::core::{GivenUp, Pool};
use crate::safe_keeper::shared::Shared;
use crate::save_error::{SaveError, SaveFailure};
use crate::storage::{SaveOutcome, StorageErrorKind};
use crate::task::{SaveStateTask, Saving, SavingResults};

impl Shared {
    pub(super) fn capture_failed(&self, failure: CaptureFailure) {
        self.counters.failed.add(1);
        let CaptureFailure { prototype, error, requests } = failure;
        self.tell(prototype, &Told::NotCaptured(&error));
        for request in requests {
            request.finish(Err(error.clone()));
        }
    }

    /// Tells everybody what came of a save, and has what failed tried again.
    pub(super) fn report(&self, results: SavingResults) {
        let SavingResults { bytes, results } = results;
        let mut again = Vec::new();
        // In order, so that the same results lead to the same history.
        let mut settlements: BTreeMap<(PrototypeIndex, usize), Vec<Settlement>> = BTreeMap::new();
        let mut given_up = Vec::new();
        let mut attempts_given_up = 0;
        let mut told = Vec::with_capacity(results.len());
        for (mut saving, outcome) in results {
            let outcome = match self.judge(&mut saving, outcome) {
                Some(outcome) => outcome,
                None => {
                    again.push(saving);
                    continue;
                }
            };
            let capture = &saving.capture;
            let id = capture.id(&bytes).to_owned();
            let settlement = capture.settlement(outcome.clone());
            let place = (capture.prototype, capture.shard());
            match &outcome {
                // It would be captured and given to the storage again at once.
                SettlementOutcome::GaveUp(reason) => {
                    let error = SaveError::new(id.clone(), reason.clone());
                    given_up.push(GivenUp { place, settlement, error });
                    attempts_given_up = saving.attempts.max(attempts_given_up);
                }
                SettlementOutcome::Stored | SettlementOutcome::Refused(_) => {
                    settlements.entry(place).or_default().push(settlement);
                }
            }
            told.push((saving, id, outcome));
        }
        // Dirty marks are cleared before anybody is told.
        for ((index, shard), settlements) in settlements {
            if let Some(source) = self.source(index) {
                source.settle(shard, settlements);
            }
        }
        let any_stored = told.iter().any(|(.., o)| matches!(o, SettlementOutcome::Stored));
        let settled = told.len();
        for (saving, id, outcome) in &told {
            saving.capture.answer(id, outcome);
        }
        for (saving, id, outcome) in &told {
            self.tell(saving.capture.prototype, &Told::Saved { saving, id, outcome });
        }
        drop(told);
        let retry = (!again.is_empty()).then(|| {
            let attempts = again.iter().map(|saving| saving.attempts).max().unwrap_or(1);
            let wait = self.retry.wait_after(attempts, self.random.next_u64());
            let at = self.clock.now().after(wait.unwrap_or(self.retry.backoff_max));
            (at, SaveStateTask::again(bytes.clone(), again))
        });
        let given_up = (!given_up.is_empty()).then(|| {
            let wait = self.retry.wait(attempts_given_up, self.random.next_u64());
            (self.clock.now().after(wait), given_up)
        });
        let memory = retry.is_none().then_some(bytes);
        self.core.lock().reported(settled, memory, retry, given_up, any_stored);
        self.wakers.of(Pool::Storage).notify_one();
        self.wakers.of(Pool::Serialization).notify_one();
        self.wakers.of(Pool::Timing).notify_one();
    }

    /// Decides what an outcome means for a capture; `None` if it is to be tried again.
    pub(super) fn judge(
        &self,
        saving: &mut Saving,
        outcome: SaveOutcome,
    ) -> Option<SettlementOutcome> {
        let (error, unknown) = match outcome {
            SaveOutcome::Stored => return Some(SettlementOutcome::Stored),
            SaveOutcome::NotStored(error) => (error, false),
            SaveOutcome::Unknown(error) => (error, true),
        };
        let permanent = !unknown && !error.kind().is_transient();
        let fenced = matches!(error.kind(), StorageErrorKind::Fenced { .. });
        let error = Arc::new(error);
        saving.error = Some(error.clone());
        if permanent {
            if fenced {
                tracing::error!(target: "checkpoint", %error, "another writer has taken over");
            }
            return Some(SettlementOutcome::Refused(SaveFailure::Refused(error)));
        }
        saving.may_be_stored |= unknown;
        match self.retry.wait_after(saving.attempts, 0) {
            Some(_) => None,
            None => Some(SettlementOutcome::GaveUp(SaveFailure::GaveUp(error))),
        }
    }

    /// Reports one result to the prototype's callback.
    pub(super) fn tell(&self, index: PrototypeIndex, told: &Told<'_>) {
        match told {
            Told::NotCaptured(_) => {}
            Told::Saved { saving, outcome: SettlementOutcome::Stored, .. } => {
                self.counters.stored.add(1);
                self.counters.stored_bytes.add(saving.capture.place.record.len() as u64);
            }
            Told::Saved { .. } => self.counters.failed.add(1),
        }
        let callback = self.prototypes.lock().get(index.0).map(|p| p.callback.clone());
        let Some(callback) = callback else { return };
        let result = callbacks::result(told, self.clock.now());
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

    /// Ends a capture of a keeper that is closing.
    pub(super) fn ended(&self, saving: &Saving, id: &CheckpointId, outcome: &SettlementOutcome) {
        let capture = &saving.capture;
        let settlement = capture.settlement(outcome.clone());
        if let Some(source) = self.source(capture.prototype) {
            source.settle(capture.shard(), vec![settlement]);
        }
        capture.answer(id, outcome);
        self.tell(capture.prototype, &Told::Saved { saving, id, outcome });
    }
}

/// How a capture ends that a closing keeper has in hand.
pub(super) fn withdrawn(
    bytes: &[u8],
    saving: &Saving,
    with_storage: bool,
) -> (CheckpointId, SettlementOutcome) {
    let id = saving.capture.id(bytes).to_owned();
    let reason = match &saving.error {
        _ if with_storage || saving.may_be_stored => SaveFailure::Unknown,
        Some(error) => SaveFailure::GaveUp(error.clone()),
        None => SaveFailure::NotAttempted,
    };
    (id, SettlementOutcome::GaveUp(reason))
}
