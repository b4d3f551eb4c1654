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
    /// How many changes that are not stored do not count, by ticket: they could not be, or a PE
    /// made them that was removed.
    written_off: HashMap<u64, u32>,
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

    /// The capture has a result.
    pub(super) fn settled(&mut self, ticket: u64) {
        if !self.captured.is_empty() {
            self.captured.remove(&ticket);
        }
    }

    /// What the capture has taken with it is stored.
    pub(super) fn stored(&mut self, ticket: u64) {
        let captured = self.captured.get(&ticket).copied().unwrap_or_default();
        if let Some(changes) = self.written_off.remove(&ticket).filter(|all| *all > captured) {
            self.written_off.insert(ticket, changes - captured);
        }
    }

    /// So many changes of a PE do not count; what is in flight of it does not either.
    pub(super) fn write_off(&mut self, ticket: u64, changes: u32, triggers: &Triggers) {
        if triggers.exposed_events_max.is_some() {
            self.captured.remove(&ticket);
            self.written_off.insert(ticket, changes);
        }
    }

    /// The PE is not there any more, or another one in its place.
    pub(super) fn forget(&mut self, ticket: u64) {
        if !self.written_off.is_empty() {
            self.written_off.remove(&ticket);
        }
    }

    /// With how many changes since its last capture a PE has as many as may be that are not stored.
    pub(super) fn room(&self, ticket: u64, triggers: &Triggers) -> Option<u32> {
        let max = triggers.exposed_events_max?;
        let (captured, written_off) = self.of(ticket);
        Some(max.saturating_add(written_off).saturating_sub(captured))
    }

    /// With how many it is due.
    pub(super) fn due_at(&self, ticket: u64, triggers: &Triggers) -> Option<u32> {
        triggers.exposed_events_max?;
        let (captured, written_off) = self.of(ticket);
        Some(triggers.due_by.saturating_add(written_off.saturating_sub(captured)))
    }

    fn of(&self, ticket: u64) -> (u32, u32) {
        let of = |changes: &HashMap<u64, u32>| changes.get(&ticket).copied().unwrap_or_default();
        (of(&self.captured), of(&self.written_off))
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
