//! What the core has the threads of a keeper do.

use std::sync::Arc;

use crate::capture::CaptureLimits;
use crate::clock::Timestamp;
use crate::framework::StateFetch;
use crate::prototype_index::PrototypeIndex;
use crate::safe_keeper::ending::GivenUp;
use crate::safe_keeper::fetches::FetchCall;
use crate::safe_keeper::flush_state::FlushState;
use crate::safe_keeper::rounds::RoundStep;
use crate::safe_keeper::serializations::Slow;
use crate::task::{SaveStateTask, SavingResults};

/// The threads of a keeper, by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Encodes states.
    Serialization,
    /// Saves them, and reports the results.
    Storage,
    /// Fetches states.
    Fetching,
    /// Keeps the time.
    Timing,
}

/// What a thread is to do.
pub(super) enum Action {
    Serialize {
        number: u64,
        shards: Vec<(PrototypeIndex, usize)>,
        limits: CaptureLimits,
        bytes: Vec<u8>,
        /// Whoever keeps the time has to look at it earlier than he would.
        wakes_timing: bool,
    },
    /// These serializations take long.
    TellSlow(Vec<Slow>),
    Save(SaveStateTask),
    Report(SavingResults),
    /// These captures were given up, and their PEs have waited before they are captured again.
    GiveBack(Vec<GivenUp>),
    Fetch(FetchCall),
    Attend((PrototypeIndex, usize)),
    Tick(PrototypeIndex),
    /// These fetches have waited for too long.
    Expire(Vec<StateFetch>),
    /// So many threads that fetch hang: start others.
    Replace(usize),
    /// Whether these flushes are through, and those whose time is up.
    CheckFlushes(Vec<Arc<FlushState>>),
    /// Find out how far sources need not feed again.
    Round(RoundStep),
}

pub(super) enum Step {
    Run(Action),
    /// Nothing to do before then, unless something happens.
    Wait(Option<Timestamp>),
    Exit,
}
