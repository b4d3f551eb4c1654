//! What a shard keeps of PEs whose events are bounded that are not stored.

use std::collections::HashMap;
use std::sync::Arc;

use crate::prototype::entry::{Arrival, Triggers};
use crate::wait::Signal;

/// What is known of the PEs of a shard whose events are bounded; nothing if there is no bound.
#[derive(Default)]
pub(super) struct HeldUp {
    /// How many changes the capture that is in flight has taken with it, by ticket.
    captured: HashMap<u64, u32>,
    /// Who waits for PEs that are held up, by ticket.
    waiting: HashMap<u64, Arc<Arrival>>,
    /// How many PEs are held up.
    pub(super) count: usize,
}

impl HeldUp {
    /// A capture begins.
    pub(super) fn captured(&mut self, ticket: u64, changes: u32, triggers: &Triggers) {
        if triggers.exposed_events_max.is_some() {
            self.captured.insert(ticket, changes);
        }
    }

    /// The capture has a result, or the PE is not there any more.
    pub(super) fn settled(&mut self, ticket: u64) {
        if !self.captured.is_empty() {
            self.captured.remove(&ticket);
        }
    }

    /// With how many changes since its last capture a PE has as many as may be that are not stored.
    pub(super) fn room(&self, ticket: u64, triggers: &Triggers) -> Option<u32> {
        let max = triggers.exposed_events_max?;
        let in_flight = self.captured.get(&ticket).copied().unwrap_or_default();
        Some(max.saturating_sub(in_flight))
    }

    /// What to wait for if a PE is held up.
    pub(super) fn until_let_in(&mut self, ticket: u64) -> Arc<Arrival> {
        self.waiting.entry(ticket).or_insert_with(Signal::new).clone()
    }

    /// A PE is not held up any more: who is to be told.
    pub(super) fn let_in(&mut self, ticket: u64) -> Option<Arc<Arrival>> {
        self.count -= 1;
        self.waiting.remove(&ticket)
    }

    /// All who wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Arc<Arrival>> {
        self.waiting.drain().map(|(_, arrival)| arrival).collect()
    }
}
