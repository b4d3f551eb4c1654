//! What histories have met, counted: a kind that never happened proves nothing.

use std::fmt;

macro_rules! kinds {
    ($($kind:ident,)*) => {
        /// A kind of thing that histories must meet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Met {
            $($kind,)*
        }

        impl Met {
            const ALL: &[Self] = &[$(Self::$kind,)*];
        }
    };
}

kinds! {
    // What the application does, and gets.
    Event,
    Guard,
    Session,
    Ticket,
    TicketStored,
    TicketFailed,
    Eviction,
    Removal,
    Recovery,
    Replacement,
    DroppedFuture,
    Panic,
    FactoryPanic,
    CallbackPanic,
    CallbackAsks,
    PoisonedError,
    BusyError,
    FullError,
    RestoreError,
    // What becomes of processes.
    Crash,
    Close,
    CompleteClose,
    IncompleteClose,
    Flush,
    IncompleteFlush,
    Quiet,
    // What the storage does.
    SaveStored,
    SaveAcknowledgedLater,
    SaveStoredLater,
    SaveRefused,
    SaveRefusedForGood,
    SaveUnknownStored,
    SaveUnknownLost,
    SaveUnknownLate,
    SaveDroppedStored,
    SaveDroppedLost,
    SavePanics,
    LandsLate,
    FetchAnswered,
    FetchAnsweredLater,
    FetchUnavailable,
    FetchUnreadable,
    FetchDamaged,
    FetchDropped,
    FetchPanics,
}

/// How often each kind was met.
#[derive(Clone)]
pub struct Tally([u64; Met::ALL.len()]);

impl Tally {
    pub(super) const fn new() -> Self {
        Self([0; Met::ALL.len()])
    }

    pub(super) fn count(&mut self, what: Met) {
        self.0[what as usize] += 1;
    }

    /// Adds what another history has met.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Returns the names of those that were never met.
    #[must_use]
    pub fn never_met(&self) -> Vec<String> {
        let never = Met::ALL.iter().filter(|kind| self.0[**kind as usize] == 0);
        never.map(|kind| format!("{kind:?}")).collect()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Met::ALL {
            writeln!(f, "{:>12}  {kind:?}", self.0[*kind as usize])?;
        }
        Ok(())
    }
}
