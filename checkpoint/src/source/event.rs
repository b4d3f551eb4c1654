//! An event of a source, from when it is fed until it has come to its end.

use std::ops::Deref;
use std::sync::Arc;

use crate::checkpoint_id::CheckpointId;
use crate::inputs::{Ended, InputEvents, PeName, SourceState, Turn};
use crate::process_error::ProcessError;
use crate::prototype::Input;
use crate::restore_error::RestoreError;
use crate::source::SourceError;
use crate::sync::Ordering;

/// An event that was fed.
pub(super) trait Fed {
    fn input(&self) -> Input;
    /// Every PE that it touches contains it.
    fn finish(self);
    fn failed(&self, error: ProcessError) -> SourceError;
}

/// One that nothing is before, and that was not taken note of: it runs at once. If this is dropped,
/// it has failed.
pub(super) struct PlainEvent<'a> {
    state: &'a SourceState,
    position: u64,
    /// Right behind the event that was fed before this one.
    after_previous: u64,
    pe: PeName,
}

impl<'a> PlainEvent<'a> {
    #[inline(always)]
    pub(super) fn new(
        state: &'a SourceState,
        (position, after_previous): (u64, u64),
        pe: PeName,
    ) -> Self {
        Self { state, position, after_previous, pe }
    }
}

impl Fed for PlainEvent<'_> {
    #[inline(always)]
    fn input(&self) -> Input {
        input(self.state, self.position)
    }

    #[inline(always)]
    fn finish(self) {
        self.state.completed.store(self.position + 1, Ordering::Release);
        // Not a flag that the drop looks at: that costs each event.
        std::mem::forget(self);
    }

    #[cold]
    fn failed(&self, error: ProcessError) -> SourceError {
        failed(self.state, self.position, error)
    }
}

impl Drop for PlainEvent<'_> {
    #[cold]
    fn drop(&mut self) {
        let (position, pe) = (self.position, self.pe);
        self.state.change(|events: &mut InputEvents| {
            events.begin(position, self.after_previous, vec![pe]);
            events.failed(position)
        });
    }
}

/// One that was taken note of, and has not come to its end: if this is dropped, it has failed.
pub(super) struct Event<S: Deref<Target = SourceState>> {
    state: S,
    position: u64,
    has_ended: bool,
}

impl<S: Deref<Target = SourceState>> Event<S> {
    pub(super) fn new(state: S, position: u64) -> Self {
        Self { state, position, has_ended: false }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
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
                let error = RestoreError::new(id, self.state.gap(from, position));
                Err(self.failed(ProcessError::Restore(error)))
            }
        }
    }
}

impl<S: Deref<Target = SourceState>> Fed for Event<S> {
    fn input(&self) -> Input {
        input(&self.state, self.position)
    }

    fn finish(mut self) {
        self.has_ended = true;
        self.state.change(|events| events.done(self.position));
    }

    fn failed(&self, error: ProcessError) -> SourceError {
        failed(&self.state, self.position, error)
    }
}

impl<S: Deref<Target = SourceState>> Drop for Event<S> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.state.change(|events| events.failed(self.position));
        }
    }
}

#[inline(always)]
fn input(state: &SourceState, position: u64) -> Input {
    let (source, floor) = (state.index, state.floor());
    Input { source, position, floor, is_behind_nothing_lost: false }
}

fn failed(state: &SourceState, position: u64, error: ProcessError) -> SourceError {
    SourceError::Process { source_name: state.shown(), position, error }
}

/// What may end an event.
pub(super) enum Failure {
    Process(ProcessError),
    Source(SourceError),
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        Self::Process(error)
    }
}

impl Failure {
    /// Returns the error of the event that it has ended.
    pub(super) fn of<S: Deref<Target = SourceState>>(self, event: &Event<S>) -> SourceError {
        match self {
            Self::Process(error) => event.failed(error),
            Self::Source(error) => error,
        }
    }
}
