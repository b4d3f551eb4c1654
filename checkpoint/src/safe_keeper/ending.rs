//! How a keeper comes to its end.

use std::sync::Arc;

use crate::capture::Settlement;
use crate::framework::StateFetch;
use crate::prototype_index::PrototypeIndex;
use crate::safe_keeper::flush_state::FlushState;
use crate::safe_keeper::rounds::RoundDone;
use crate::save_error::SaveError;
use crate::task::{Saving, SavingResults, SavingRun};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// The threads are to end once they have nothing in hand.
    Stopped,
    /// Nobody looks at what they have in hand any more: who brings it ends it.
    Over,
}

/// What a keeper had in hand when it was stopped.
pub(super) struct Stopped {
    pub(super) waiting: Vec<(Arc<Vec<u8>>, Vec<Saving>)>,
    pub(super) with_storage: Vec<Arc<SavingRun>>,
    pub(super) reports: Vec<SavingResults>,
    pub(super) given_up: Vec<GivenUp>,
    pub(super) flushes: Vec<Arc<FlushState>>,
    pub(super) rounds: Vec<Arc<RoundDone>>,
    pub(super) fetches: Vec<StateFetch>,
}

/// A capture that was given up and reported; its PE does not know yet.
pub(super) struct GivenUp {
    pub(super) place: (PrototypeIndex, usize),
    pub(super) settlement: Settlement,
    /// What it is if the keeper closes now.
    pub(super) error: SaveError,
}
