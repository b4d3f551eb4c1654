//! Manual requests: who asked for a checkpoint of a PE, and is to be answered.

use std::sync::Arc;

use crate::capture::{PeHandle, RequestSignal};
use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Entry, Flags, Slot, Triggers};
use crate::prototype::table::Table;
use crate::record::StateVersion;
use crate::save_error::{SaveError, SaveFailure};

/// What came of a manual request.
pub(super) enum Requested {
    /// There is nothing to be stored: this version is.
    Answered(Option<StateVersion>),
    /// It is answered when the capture is settled.
    Waits,
    Poisoned(Option<StateVersion>),
}

impl<K, P> Table<K, P> {
    /// Has a PE captured for a manual request.
    pub(super) fn request(
        &mut self,
        pe: PeHandle,
        request: &Arc<RequestSignal>,
        triggers: &Triggers,
        now: impl FnOnce() -> Timestamp,
    ) -> Requested {
        let Some(entry) = self.get_mut(pe) else { return Requested::Answered(None) };
        let (flags, last_durable) = (entry.flags, entry.last_durable());
        let is_out = match entry.slot {
            // Nothing that happened before this call can be missing from what is stored.
            Slot::Fetching(_) => return Requested::Answered(None),
            Slot::Out { .. } => true,
            Slot::Resident(_) | Slot::Gone => false,
        };
        if flags.has_any(Flags::POISONED.and(Flags::RUNNING)) {
            return Requested::Poisoned(last_durable);
        }
        let is_dirty = flags.has(Flags::DIRTY);
        let in_flight = flags.has(Flags::IN_FLIGHT);
        if !is_dirty && !in_flight && !is_out && last_durable.is_some() {
            return Requested::Answered(last_durable);
        }
        self.add_request(pe, request.clone());
        // What is in flight has everything, unless the PE was changed meanwhile.
        if is_dirty || !in_flight || is_out {
            // A PE that was never stored, and one whose state was refused, count as changed.
            self.mark_changed(pe, triggers, now, |_, _| false);
            self.make_due(pe);
        }
        Requested::Waits
    }

    pub(super) fn add_request(&mut self, pe: PeHandle, request: Arc<RequestSignal>) {
        if let Some(entry) = self.get_mut(pe) {
            entry.flags.set(Flags::REQUESTED);
            self.requests.entry(pe.ticket).or_default().push(request);
        }
    }

    pub(super) fn take_requests(&mut self, pe: PeHandle) -> Vec<Arc<RequestSignal>> {
        if let Some(entry) = self.get_mut(pe)
            && entry.flags.has(Flags::REQUESTED)
        {
            entry.flags.clear(Flags::REQUESTED);
            return self.requests.remove(&pe.ticket).unwrap_or_default();
        }
        Vec::new()
    }

    /// Answers the requests of a PE whose state will not be stored any more.
    pub(super) fn withdraw_requests(&mut self, pe: PeHandle, id: &CheckpointId) {
        for request in self.take_requests(pe) {
            let error = SaveError::new(id.clone(), SaveFailure::Withdrawn);
            self.aftermath().answers.push((request, Err(error)));
        }
    }

    /// Answers everybody who waits: nothing is captured or fetched any more.
    pub(super) fn end(
        &mut self,
        closed: &ProcessError,
        hasher: impl Fn(&K) -> u64,
        id: impl Fn(&K) -> CheckpointId,
    ) {
        let is_requested = |entry: &&Entry<K, P>| entry.flags.has(Flags::REQUESTED);
        let requested = self.entries.iter().filter(is_requested);
        let requested: Vec<_> =
            requested.map(|entry| (entry.handle(hasher(&entry.key)), id(&entry.key))).collect();
        for (pe, id) in requested {
            for request in self.take_requests(pe) {
                let error = SaveError::new(id.clone(), SaveFailure::NotAttempted);
                self.aftermath().answers.push((request, Err(error)));
            }
        }
        let out = self.entries.iter().filter_map(|entry| match &entry.slot {
            Slot::Out { arrival, .. } => arrival.clone(),
            Slot::Resident(_) | Slot::Fetching(_) | Slot::Gone => None,
        });
        let waits: Vec<_> = out.chain(self.quiet.drain().map(|(_, arrival)| arrival)).collect();
        let ended = waits.into_iter().map(|arrival| (arrival, Err(closed.clone())));
        let ended: Vec<_> = ended.collect();
        self.aftermath().arrivals.extend(ended);
    }
}
