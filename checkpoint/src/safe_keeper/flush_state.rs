//! A flush on its way: what it waits for.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::framework::{CheckpointSource, FlushMark};
use crate::wait::Signal;

/// A flush that somebody waits for.
pub(super) struct FlushState {
    pub(super) marks: Vec<(Arc<dyn CheckpointSource>, FlushMark)>,
    pub(super) deadline: Timestamp,
    /// Whether everything was stored in time.
    pub(super) done: Arc<Signal<bool>>,
    /// PEs that are lent out are waited for too.
    pub(super) waits_for_guards: bool,
}

impl FlushState {
    /// Whether everything that was changed before is stored, or cannot be.
    pub(super) fn is_settled(&self) -> bool {
        self.marks.iter().all(|(source, mark)| source.is_settled(mark))
    }

    /// Whether somebody had a PE when this began.
    pub(super) fn is_any_checked_out(&self) -> bool {
        self.marks.iter().any(|(_, mark)| mark.is_any_checked_out())
    }

    /// The same flush, of everything that was changed until now.
    pub(super) fn marked_again(&self) -> Self {
        let mark =
            |(source, _): &(Arc<dyn CheckpointSource>, _)| (source.clone(), source.request_all());
        Self {
            marks: self.marks.iter().map(mark).collect(),
            deadline: self.deadline,
            done: self.done.clone(),
            waits_for_guards: self.waits_for_guards,
        }
    }
}
