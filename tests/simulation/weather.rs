//! How the simulated storage behaves: what goes wrong, and how often.

use super::dice::Dice;
use super::met::Met;

/// What becomes of one entry of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SaveFate {
    /// Stored, and acknowledged at once.
    Stored,
    /// Stored now, acknowledged later.
    AcknowledgedLater,
    /// Stored later, at the moment of the acknowledgement.
    StoredLater,
    /// Refused, for now.
    Refused,
    /// Refused for good.
    RefusedForGood,
    /// The outcome is unknown; it was stored.
    UnknownStored,
    /// The outcome is unknown; it was not stored.
    UnknownLost,
    /// The outcome is unknown; it is stored a while later.
    UnknownLate,
    /// The entry is dropped without an outcome, stored or not.
    DroppedStored,
    DroppedLost,
    /// The call does not return for a while; then it is stored.
    Hangs,
    /// The storage panics; whatever is left of the batch is dropped.
    Panics,
}

/// What becomes of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FetchFate {
    Answered,
    AnsweredLater,
    Unavailable,
    Unreadable,
    /// The answer has a damaged byte.
    Damaged,
    Dropped,
    /// The call does not return for a while; then it is answered.
    Hangs,
    Panics,
}

impl SaveFate {
    pub(super) fn met(self) -> Met {
        match self {
            Self::Stored => Met::SaveStored,
            Self::AcknowledgedLater => Met::SaveAcknowledgedLater,
            Self::StoredLater => Met::SaveStoredLater,
            Self::Refused => Met::SaveRefused,
            Self::RefusedForGood => Met::SaveRefusedForGood,
            Self::UnknownStored => Met::SaveUnknownStored,
            Self::UnknownLost => Met::SaveUnknownLost,
            Self::UnknownLate => Met::SaveUnknownLate,
            Self::DroppedStored => Met::SaveDroppedStored,
            Self::DroppedLost => Met::SaveDroppedLost,
            Self::Panics => Met::SavePanics,
            Self::Hangs => Met::SaveHangs,
        }
    }
}

impl FetchFate {
    pub(super) fn met(self) -> Met {
        match self {
            Self::Answered => Met::FetchAnswered,
            Self::AnsweredLater => Met::FetchAnsweredLater,
            Self::Unavailable => Met::FetchUnavailable,
            Self::Unreadable => Met::FetchUnreadable,
            Self::Damaged => Met::FetchDamaged,
            Self::Dropped => Met::FetchDropped,
            Self::Panics => Met::FetchPanics,
            Self::Hangs => Met::FetchHangs,
        }
    }
}

/// How often each fate is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fine,
    /// Everything works, slowly.
    Slow,
    /// A bit of everything.
    Flaky,
    /// Nothing can be saved.
    SavesFail,
    /// Answers get lost.
    AnswersLost,
    /// Nothing can be read.
    FetchesFail,
    /// Saves are refused for good.
    Refusing,
}

impl Weather {
    pub(super) const ALL: &[Self] = &[
        Self::Fine,
        Self::Slow,
        Self::Flaky,
        Self::Flaky,
        Self::SavesFail,
        Self::AnswersLost,
        Self::FetchesFail,
        Self::Refusing,
    ];

    pub(super) fn save(self, dice: &mut Dice) -> SaveFate {
        use SaveFate as F;
        let slow = [(2, F::Stored), (6, F::AcknowledgedLater), (6, F::StoredLater), (1, F::Hangs)];
        match self {
            Self::Fine | Self::FetchesFail => F::Stored,
            Self::Slow => dice.weighted(&slow),
            Self::Flaky => dice.weighted(&[
                (40, F::Stored),
                (10, F::AcknowledgedLater),
                (10, F::StoredLater),
                (12, F::Refused),
                (2, F::RefusedForGood),
                (5, F::UnknownStored),
                (5, F::UnknownLost),
                (4, F::UnknownLate),
                (4, F::DroppedStored),
                (4, F::DroppedLost),
                (4, F::Panics),
                (2, F::Hangs),
            ]),
            Self::SavesFail => dice.weighted(&[(9, F::Refused), (1, F::UnknownLost)]),
            Self::AnswersLost => dice.weighted(&[
                (2, F::UnknownStored),
                (2, F::UnknownLost),
                (2, F::UnknownLate),
                (1, F::DroppedStored),
                (1, F::DroppedLost),
                (1, F::Panics),
                (1, F::Stored),
            ]),
            Self::Refusing => dice.weighted(&[(1, F::RefusedForGood), (1, F::Stored)]),
        }
    }

    pub(super) fn fetch(self, dice: &mut Dice) -> FetchFate {
        use FetchFate as F;
        match self {
            Self::Fine | Self::SavesFail | Self::Refusing => F::Answered,
            Self::Slow => dice.weighted(&[(4, F::Answered), (16, F::AnsweredLater), (2, F::Hangs)]),
            Self::Flaky => dice.weighted(&[
                (50, F::Answered),
                (25, F::AnsweredLater),
                (8, F::Unavailable),
                (5, F::Unreadable),
                (4, F::Damaged),
                (4, F::Dropped),
                (4, F::Panics),
            ]),
            Self::FetchesFail | Self::AnswersLost => dice.weighted(&[
                (3, F::Unavailable),
                (2, F::Unreadable),
                (2, F::Damaged),
                (1, F::Dropped),
                (1, F::Panics),
                (2, F::AnsweredLater),
                (1, F::Answered),
            ]),
        }
    }
}
