//! Puts together what a storage callback is told.

use std::time::Duration;

use crate::callback::{StorageResult, StorageResultCode};
use crate::capture::SettlementOutcome;
use crate::checkpoint_id::CheckpointIdRef;
use crate::clock::Timestamp;
use crate::record::RecordKind;
use crate::save_error::SaveError;
use crate::task::Saving;

/// What there is to be told.
pub(super) enum Told<'a> {
    /// A state could not be captured.
    NotCaptured(&'a SaveError),
    /// A capture has come to its end.
    Saved { saving: &'a Saving, id: CheckpointIdRef<'a>, outcome: &'a SettlementOutcome },
}

pub(super) fn result<'a>(told: &Told<'a>, now: Timestamp) -> StorageResult<'a> {
    match told {
        Told::NotCaptured(error) => StorageResult {
            code: StorageResultCode::Failure,
            id: error.id().as_ref(),
            kind: RecordKind::State,
            version: None,
            record_bytes: 0,
            duration: Duration::ZERO,
            attempts: 0,
            error: Some((*error).clone()),
        },
        Told::Saved { saving, id, outcome } => {
            let capture = &saving.capture;
            let error = match outcome {
                SettlementOutcome::Stored => None,
                SettlementOutcome::GaveUp(reason) | SettlementOutcome::Refused(reason) => {
                    Some(SaveError::new((*id).to_owned(), reason.clone()))
                }
            };
            StorageResult {
                code: match error {
                    None => StorageResultCode::Success,
                    Some(_) => StorageResultCode::Failure,
                },
                id: *id,
                kind: capture.kind(),
                version: Some(capture.version()),
                record_bytes: capture.place.record.len() as u64,
                duration: now.since(capture.captured_at),
                attempts: saving.attempts,
                error,
            }
        }
    }
}
