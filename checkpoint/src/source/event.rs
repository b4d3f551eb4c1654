//! An event of a source, from when it is fed until it has come to its end.

use std::ops::Deref;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::inputs::{Ended, InputEvents, PeName, SourceState, Turn, before};
use crate::process_error::ProcessError;
use crate::prototype::Input;
use crate::restore_error::{RestoreError, RestoreFailure};
use crate::source::SourceError;
use crate::sync::Ordering;

/// An event that has not come to its end: if this is dropped, it has failed.
pub(super) struct Event<S: Deref<Target = SourceState>> {
    state: S,
    position: u64,
    /// Of one that nothing was noted of: there was nothing before it, and it runs at once.
    plain: Option<PeName>,
    has_ended: bool,
}

impl<S: Deref<Target = SourceState>> Event<S> {
    /// One that nothing is before.
    #[inline(always)]
    pub(super) fn plain(state: S, position: u64, pe: PeName) -> Self {
        Self { state, position, plain: Some(pe), has_ended: false }
    }

    /// One that was taken note of.
    pub(super) fn noted(state: S, position: u64) -> Self {
        Self { state, position, plain: None, has_ended: false }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    #[inline(always)]
    pub(super) fn input(&self) -> Input {
        let floor = self.state.floor();
        Input { source: self.state.index, position: self.position, floor }
    }

    /// Every PE that it touches contains it.
    #[inline(always)]
    pub(super) fn finish(mut self) {
        match self.plain {
            Some(_) => self.state.completed.store(self.position + 1, Ordering::Release),
            None => self.state.change(|events| events.done(self.position)),
        }
        self.has_ended = true;
    }

    #[cold]
    fn fail(&self) {
        let (position, plain) = (self.position, self.plain);
        self.state.change(|events: &mut InputEvents| {
            if let Some(pe) = plain {
                events.begin(position, vec![pe]);
            }
            events.failed(position)
        });
    }

    /// Says what must come to its end before the event may run on a PE; an error if nothing will
    /// help.
    pub(super) fn turn(
        &self,
        pe: PeName,
        id: impl FnOnce() -> Result<CheckpointId, ProcessError>,
    ) -> Result<Option<Arc<Ended>>, SourceError> {
        let turn = self.state.events.lock().turn(self.position, pe);
        let position = self.position;
        match turn {
            Turn::Now => Ok(None),
            Turn::After(ended) => Ok(Some(ended)),
            Turn::Behind(earlier) => {
                let id = id().map_err(|error| self.failed(error))?;
                Err(SourceError::Behind { source_name: self.state.shown(), position, id, earlier })
            }
            Turn::Lost(from) => {
                let id = id().map_err(|error| self.failed(error))?;
                let reason = RestoreFailure::PositionGap {
                    source: self.state.shown(),
                    from: before(from),
                    to: before(position),
                };
                Err(self.failed(ProcessError::Restore(RestoreError::new(id, reason))))
            }
        }
    }

    pub(super) fn failed(&self, error: ProcessError) -> SourceError {
        let (source_name, position) = (self.state.shown(), self.position);
        SourceError::Process { source_name, position, error }
    }
}

impl<S: Deref<Target = SourceState>> Drop for Event<S> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.has_ended {
            self.fail();
        }
    }
}
