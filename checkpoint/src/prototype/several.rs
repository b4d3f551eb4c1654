//! What the PEs of a shard contain that several sources feed, and what is written of it.

use std::collections::HashMap;

use crate::inputs::{Contained, SourceIndex, Sources};
use crate::prototype::origin::Said;
use crate::record::InputPosition;

/// Positions of so many sources a PE keeps whether they are needed or not: a version that somebody
/// goes back to says exactly what it contains.
const KEPT_ANYWAY: usize = 4;

/// What PEs contain that several sources feed, and what captures write of it.
#[derive(Default)]
pub(super) struct Several {
    /// By ticket.
    pub(super) by_ticket: HashMap<u64, Contained>,
    /// What PEs contained when they were removed, while that is not stored yet; by ticket.
    pub(super) removed: HashMap<u64, Contained>,
    /// What a capture writes: kept so that it is allocated once.
    written: Vec<InputPosition>,
}

impl Several {
    /// Returns what a record of a PE is to say of its input, in the order of the sources' ids;
    /// forgets what needs not be said any more.
    #[inline]
    pub(super) fn take_positions(
        &mut self,
        said: Said,
        ticket: u64,
        sources: &Sources,
    ) -> Vec<InputPosition> {
        match said.source {
            SourceIndex::NONE => Vec::new(),
            _ => self.positions(said, ticket, sources),
        }
    }

    fn positions(&mut self, said: Said, ticket: u64, sources: &Sources) -> Vec<InputPosition> {
        // What is contained to nowhere has the highest number: no event has that.
        let position = |source: SourceIndex, next: u64| {
            sources
                .id(source)
                .map(|id| InputPosition { source: id, position: next.wrapping_sub(1) })
        };
        let mut positions = std::mem::take(&mut self.written);
        if said.source != SourceIndex::SEVERAL {
            positions.extend(position(said.source, said.contained_to));
        } else if let Some(contained) = self.by_ticket.get_mut(&ticket) {
            if contained.as_slice().len() > KEPT_ANYWAY {
                contained.retain(|source, next| !sources.says_nothing_new(source, next));
            }
            let said = contained.as_slice().iter();
            positions.extend(said.filter_map(|(source, next)| position(*source, *next)));
            positions.sort_unstable();
        }
        positions
    }

    /// A PE is removed that contains this.
    pub(super) fn keep_removed(&mut self, ticket: u64, contained: Contained) {
        match contained.as_slice() {
            [] => self.forget_removed(ticket),
            _ => drop(self.removed.insert(ticket, contained)),
        }
    }

    /// The removal of a PE is stored.
    pub(super) fn forget_removed(&mut self, ticket: u64) {
        if !self.removed.is_empty() {
            self.removed.remove(&ticket);
        }
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.written.capacity()
    }

    /// Keeps the memory for the next capture.
    pub(super) fn give_positions(&mut self, mut positions: Vec<InputPosition>) {
        if positions.capacity() > 0 {
            positions.clear();
            self.written = positions;
        }
    }
}
