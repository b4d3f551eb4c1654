//! Knows whether the storage stores anything at all, and who is still to be told of it.
//!
//! It only counts. Nothing is held back by it: saves are tried again as they always are, and the
//! first one that is stored ends the trouble.

use std::sync::Arc;

use crate::storage::StorageErrorKind;

/// After so many saves in a row of which nothing was stored, the storage has failed.
const FAILURES_MAX: u32 = 3;

/// Whether what a keeper gives to its storage is stored.
#[doc(alias = "StorageFailed")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavingState {
    /// It is, as far as is known: less than three attempts in a row have failed.
    Working,
    /// Of three batches in a row, or more, the storage has stored nothing. No checkpoint is
    /// acknowledged for as long as this lasts, and what changes stays in memory, dirty. Saves are
    /// tried again with growing waits; the first one that is stored ends it.
    Failing {
        /// What was wrong when it began.
        kind: StorageErrorKind,
    },
}

/// What is called when the state changes.
pub(super) type OnSavingState = Arc<dyn Fn(SavingState) + Send + Sync>;

/// Counts saves that failed as a whole.
#[derive(Debug)]
pub(super) struct SavingHealth {
    failures: u32,
    state: SavingState,
    told: SavingState,
    // One thread tells at a time, so that nobody hears of things in the wrong order.
    is_telling: bool,
}

impl Default for SavingHealth {
    fn default() -> Self {
        let (state, told) = (SavingState::Working, SavingState::Working);
        Self { failures: 0, state, told, is_telling: false }
    }
}

impl SavingHealth {
    /// Something was stored.
    pub(super) fn stored(&mut self) {
        self.failures = 0;
        self.state = SavingState::Working;
    }

    /// Of a batch nothing was stored, for these reasons.
    pub(super) fn failed(&mut self, mut kinds: impl Iterator<Item = StorageErrorKind>) {
        let Some(kind) = kinds.find(|kind| concerns_the_storage(*kind)) else { return };
        self.failures = self.failures.saturating_add(1);
        if self.failures == FAILURES_MAX {
            self.state = SavingState::Failing { kind };
        }
    }

    pub(super) fn state(&self) -> SavingState {
        self.state
    }

    /// Returns what is to be told now, by the caller. What has changed back meanwhile is not.
    pub(super) fn begin_telling(&mut self) -> Option<SavingState> {
        if self.is_telling || self.told == self.state {
            return None;
        }
        self.is_telling = true;
        self.told = self.state;
        Some(self.told)
    }

    pub(super) fn end_telling(&mut self) {
        self.is_telling = false;
    }
}

/// Whether an error says something of the storage, rather than of the one record that it befell.
fn concerns_the_storage(kind: StorageErrorKind) -> bool {
    match kind {
        StorageErrorKind::Stale { .. }
        | StorageErrorKind::TooLarge { .. }
        | StorageErrorKind::Corrupt
        | StorageErrorKind::UnsupportedVersion
        | StorageErrorKind::Conflict => false,
        StorageErrorKind::Unavailable
        | StorageErrorKind::Overloaded
        | StorageErrorKind::Full
        | StorageErrorKind::Forbidden
        | StorageErrorKind::Fenced { .. }
        | StorageErrorKind::Unreadable
        | StorageErrorKind::Locked
        | StorageErrorKind::InvalidStore
        | StorageErrorKind::Unsupported
        | StorageErrorKind::Closed
        | StorageErrorKind::Broken => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: StorageErrorKind = StorageErrorKind::Unavailable;
    const TOO_LARGE: StorageErrorKind = StorageErrorKind::TooLarge { max: 1 };
    const FAILING: SavingState = SavingState::Failing { kind: KIND };

    fn failed(health: &mut SavingHealth, times: u32) {
        for _ in 0..times {
            health.failed([TOO_LARGE, KIND].into_iter());
        }
    }

    #[test]
    fn a_storage_has_failed_after_three_failures_in_a_row_until_something_is_stored() {
        let mut health = SavingHealth::default();
        failed(&mut health, 2);
        health.stored();
        failed(&mut health, 2);
        assert_eq!(health.state(), SavingState::Working);
        failed(&mut health, 1);
        assert_eq!(health.state(), FAILING);
        // It is what was wrong when it began.
        health.failed([StorageErrorKind::Full].into_iter());
        assert_eq!(health.state(), FAILING);
        health.stored();
        assert_eq!(health.state(), SavingState::Working);
    }

    #[test]
    fn what_is_wrong_with_one_record_says_nothing_of_the_storage() {
        let mut health = SavingHealth::default();
        failed(&mut health, 2);
        for _ in 0..3 {
            health.failed([TOO_LARGE].into_iter());
        }
        assert_eq!(health.state(), SavingState::Working);
        failed(&mut health, 1);
        assert_eq!(health.state(), FAILING);
    }

    #[test]
    fn each_change_is_told_once_in_order_by_one_at_a_time() {
        let mut health = SavingHealth::default();
        assert_eq!(health.begin_telling(), None);
        failed(&mut health, 3);
        assert_eq!(health.begin_telling(), Some(FAILING));
        health.stored();
        assert_eq!(health.begin_telling(), None);
        health.end_telling();
        assert_eq!(health.begin_telling(), Some(SavingState::Working));
        failed(&mut health, 3);
        health.stored();
        health.end_telling();
        assert_eq!(health.begin_telling(), None);
    }
}
