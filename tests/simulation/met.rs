//! What histories have met, counted: a kind that never happened proves nothing.

macro_rules! kinds {
    ($($(#[$docs:meta])* $group:ident { $($kind:ident,)* })*) => {
        /// A kind of thing that histories must meet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Met {
            $($($kind,)*)*
        }

        impl Met {
            const COUNT: usize = [$($(Self::$kind,)*)*].len();
            $($(#[$docs])* pub(super) const $group: &[Self] = &[$(Self::$kind,)*];)*
        }
    };
}

kinds! {
    /// What histories of a keeper must meet: what the application does and gets, and what becomes
    /// of processes.
    APPLICATION {
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
    OnTime,
    StartedEmpty,
    ClockJump,
    CallbackPanic,
    CallbackAsks,
    PoisonedError,
    BusyError,
    FullError,
    ExposedError,
    ExposedEventsError,
    RestoreError,
    FetchTimedOut,
    FetchingDisabled,
    FetchingOverloaded,
    Crash,
    Close,
    CompleteClose,
    IncompleteClose,
    Flush,
    IncompleteFlush,
    Quiet,
    MetadataFails,
    QuarantineSaved,
    Discarded,
    }
    /// What those over a simulated storage must meet as well.
    KEEPER {
    Expired,
    StartedFromPrevious,
    EpochFails,
    TakeOver,
    FencedSave,
    FencedReport,
    ReplacementThread,
    NoThread,
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
    SaveHangs,
    LandsLate,
    FetchAnswered,
    FetchAnsweredLater,
    FetchUnavailable,
    FetchUnreadable,
    FetchDamaged,
    FetchDropped,
    FetchPanics,
    FetchHangs,
    }
    /// What histories of a store on a disk that loses power must meet.
    POWER_LOSS {
    Acknowledged,
    BatchSaved,
    BatchFails,
    MetadataPut,
    FileOperation,
    FileError,
    PowerLost,
    PowerLostInVain,
    PowerGoesLater,
    RecoveryCutOff,
    Killed,
    Verified,
    }
    /// What those of a store without a keeper must meet as well.
    STORE {
    KilledInTheMiddle,
    }
    /// What those of a keeper over such a store must meet as well.
    RECOVERY {
    OpeningFails,
    FoundAsPromised,
    FoundNewer,
    FoundUnpromised,
    FoundAfterAll,
    RemovedIsRemoved,
    FellBack,
    }
    /// What those of a log must meet as well.
    LOG {
    Compacted,
    }
    /// And those of a log without a keeper.
    STORE_LOG {
    BatchesOverlap,
    }
}

/// How often each kind was met.
#[derive(Clone)]
pub(super) struct Tally([u64; Met::COUNT]);

impl Tally {
    pub(super) const fn new() -> Self {
        Self([0; Met::COUNT])
    }

    pub(super) fn count(&mut self, what: Met) {
        self.count_many(what, 1);
    }

    pub(super) fn count_many(&mut self, what: Met, count: u64) {
        self.0[what as usize] += count;
    }

    pub(super) fn of(&self, what: Met) -> u64 {
        self.0[what as usize]
    }

    /// Adds what another history has met.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
