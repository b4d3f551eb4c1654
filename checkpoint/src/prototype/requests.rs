//! Manual requests: who asked for a checkpoint of a PE, and is to be answered.

use std::collections::HashSet;
use std::sync::Arc;

use crate::capture::{PeHandle, RequestSignal, SettlementOutcome};
use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::process_error::ProcessError;
use crate::prototype::entry::{Entry, Flags, Slot, Triggers};
use crate::prototype::table::Table;
use crate::record::StateVersion;
use crate::save_error::{SaveError, SaveFailure};

/// Who asks for a checkpoint of a PE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskedBy {
    /// Somebody who means this PE: if a closure panics in it, the ticket waits for what becomes of
    /// it.
    Caller,
    /// A flush, which has others to wait for.
    Flush,
    /// Who holds the result of an event, which was run before: one capture that fails answers him
    /// only if no other follows.
    Holder,
}

/// The requests for one PE that have no answer yet.
pub(super) struct Requests {
    id: CheckpointId,
    /// These wait for the next capture.
    waiting: Vec<(Arc<RequestSignal>, AskedBy)>,
    /// These wait for what becomes of the capture that is in flight: it has everything that they
    /// asked for.
    joined: Vec<(Arc<RequestSignal>, AskedBy)>,
}

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
        id: &CheckpointId,
        (request, by): (&Arc<RequestSignal>, AskedBy),
        triggers: &Triggers,
        now: impl FnOnce() -> Timestamp,
    ) -> Requested {
        let Some(entry) = self.get_mut(pe) else { return Requested::Answered(None) };
        let (flags, last_durable) = (entry.flags, entry.last_durable());
        let unstored = Flags::DIRTY.and(Flags::IN_FLIGHT).and(Flags::REMOVED);
        let is_out = match entry.slot {
            // Nothing that happened before this call can be missing from what is stored, but for a
            // removal.
            Slot::Fetching(_) if !flags.has_any(unstored) => return Requested::Answered(None),
            Slot::Fetching(_) | Slot::Out { .. } => true,
            Slot::Resident(_) | Slot::Gone => false,
        };
        if flags.has_any(Flags::BROKEN) {
            return Requested::Poisoned(last_durable);
        }
        let is_dirty = flags.has(Flags::DIRTY);
        let in_flight = flags.has(Flags::IN_FLIGHT);
        if !is_dirty && !in_flight && !is_out && last_durable.is_some() {
            return Requested::Answered(last_durable);
        }
        // What is in flight has everything, unless the PE was changed meanwhile.
        if in_flight && !is_dirty && !is_out {
            self.requests_of(pe, id).joined.push((request.clone(), by));
        } else {
            self.add_request(pe, id, request.clone(), by);
            // A PE that was never stored, and one whose state was refused, count as changed.
            self.mark_changed(pe, triggers, now, |_, _| false);
            self.make_due(pe);
        }
        Requested::Waits
    }

    fn requests_of(&mut self, pe: PeHandle, id: &CheckpointId) -> &mut Requests {
        self.requests.entry(pe.ticket).or_insert_with(|| Requests {
            id: id.clone(),
            waiting: Vec::new(),
            joined: Vec::new(),
        })
    }

    pub(super) fn add_request(
        &mut self,
        pe: PeHandle,
        id: &CheckpointId,
        request: Arc<RequestSignal>,
        by: AskedBy,
    ) {
        if let Some(entry) = self.get_mut(pe) {
            entry.flags.set(Flags::REQUESTED);
            self.requests_of(pe, id).waiting.push((request, by));
        }
    }

    /// Takes the requests that a capture is to answer, which was just made.
    pub(super) fn take_captured(&mut self, pe: PeHandle) -> Vec<Arc<RequestSignal>> {
        if let Some(requests) = self.requests.get_mut(&pe.ticket) {
            let is_holder = |(_, by): &mut (_, AskedBy)| *by == AskedBy::Holder;
            let holders = requests.waiting.extract_if(.., is_holder);
            requests.joined.extend(holders);
        }
        self.take_requests(pe)
    }

    /// Takes all requests that wait for the next capture.
    pub(super) fn take_requests(&mut self, pe: PeHandle) -> Vec<Arc<RequestSignal>> {
        let Some(entry) = self.get_mut(pe).filter(|entry| entry.flags.has(Flags::REQUESTED)) else {
            return Vec::new();
        };
        entry.flags.clear(Flags::REQUESTED);
        let Some(requests) = self.requests.get_mut(&pe.ticket) else { return Vec::new() };
        let waiting = std::mem::take(&mut requests.waiting);
        if requests.joined.is_empty() {
            self.requests.remove(&pe.ticket);
        }
        waiting.into_iter().map(|(request, _)| request).collect()
    }

    /// Answers the requests that joined what was in flight, and has come to its end; of a PE that
    /// was removed meanwhile, no other capture has what they wait for.
    pub(super) fn settle_joined(
        &mut self,
        pe: PeHandle,
        (version, outcome): (StateVersion, &SettlementOutcome),
        was_removed: bool,
    ) {
        let Some(requests) = self.requests.get_mut(&pe.ticket) else { return };
        let joined = std::mem::take(&mut requests.joined);
        let id = requests.id.clone();
        if requests.waiting.is_empty() {
            self.requests.remove(&pe.ticket);
        }
        // Else nothing is captured before the next change: who holds a result does not ask for it.
        let another_follows = joined.iter().any(|(_, by)| *by != AskedBy::Holder)
            || self.get_mut(pe).is_some_and(|entry| entry.flags.has(Flags::DIRTY));
        for (request, by) in joined {
            let answer = match outcome {
                SettlementOutcome::Stored => Ok(Some(version)),
                // The keeper has ended: nobody will know.
                SettlementOutcome::GaveUp(reason @ SaveFailure::Unknown) => {
                    Err(SaveError::new(id.clone(), reason.clone()))
                }
                SettlementOutcome::GaveUp(reason) if was_removed => {
                    let reason = match reason.may_be_stored() {
                        true => SaveFailure::Unknown,
                        false => self.in_case_of_doubt(pe, &SaveFailure::Withdrawn),
                    };
                    Err(SaveError::new(id.clone(), reason))
                }
                SettlementOutcome::Refused(reason)
                    if was_removed || by == AskedBy::Holder && !another_follows =>
                {
                    Err(SaveError::new(id.clone(), self.in_case_of_doubt(pe, reason)))
                }
                // It was captured before it was asked for, and what failed may have been tried
                // before too; or it is asked for by who has the patience: the next capture
                // answers.
                SettlementOutcome::GaveUp(_) | SettlementOutcome::Refused(_) => {
                    self.add_request(pe, &id, request, by);
                    continue;
                }
            };
            self.aftermath().answers.push((request, answer));
        }
    }

    /// Answers the requests that wait for a PE's next capture: there will be none for them.
    pub(super) fn refuse_requests(&mut self, pe: PeHandle, reason: &SaveFailure) {
        let Some(id) = self.requests.get(&pe.ticket).map(|requests| requests.id.clone()) else {
            return;
        };
        let error = SaveError::new(id, self.in_case_of_doubt(pe, reason));
        for request in self.take_requests(pe) {
            self.aftermath().answers.push((request, Err(error.clone())));
        }
    }

    /// The same for those of one kind.
    pub(super) fn refuse_some(&mut self, pe: PeHandle, kind: AskedBy, reason: &SaveFailure) {
        let reason = self.in_case_of_doubt(pe, reason);
        let Some(requests) = self.requests.get_mut(&pe.ticket) else { return };
        let refused: Vec<_> = requests.waiting.extract_if(.., |(_, by)| *by == kind).collect();
        let error = SaveError::new(requests.id.clone(), reason);
        for (request, _) in refused {
            self.aftermath().answers.push((request, Err(error.clone())));
        }
    }

    /// Why what a PE contains is not stored, if it is known not to be.
    pub(super) fn in_case_of_doubt(&mut self, pe: PeHandle, reason: &SaveFailure) -> SaveFailure {
        let is_in_doubt = self.get_mut(pe).is_some_and(|entry| entry.flags.has(Flags::IN_DOUBT));
        match is_in_doubt {
            true => reason.clone().in_doubt(),
            false => reason.clone(),
        }
    }

    /// Answers everybody who waits: nothing is captured or fetched any more.
    pub(super) fn end(&mut self, closed: &ProcessError) {
        let is_doubtful = |entry: &&Entry<K, P>| entry.flags.has_any(Flags::MAY_BE_STORED);
        let doubtful = self.entries.iter().filter(is_doubtful);
        let doubtful: HashSet<u64> = doubtful.map(|entry| entry.ticket).collect();
        for (ticket, requests) in std::mem::take(&mut self.requests) {
            for (request, by) in requests.waiting.into_iter().chain(requests.joined) {
                // What a holder's event has changed may have been tried, and be stored.
                let reason = match by == AskedBy::Holder && doubtful.contains(&ticket) {
                    true => SaveFailure::Unknown,
                    false => SaveFailure::NotAttempted,
                };
                let error = SaveError::new(requests.id.clone(), reason);
                self.aftermath().answers.push((request, Err(error)));
            }
        }
        let out = self.entries.iter().filter_map(|entry| match &entry.slot {
            Slot::Out { arrival, .. } => arrival.clone(),
            Slot::Resident(_) | Slot::Fetching(_) | Slot::Gone => None,
        });
        let waits: Vec<_> = out.chain(self.quiet.drain().map(|(_, arrival)| arrival)).collect();
        let ended = waits.into_iter().map(|arrival| (arrival, Err(closed.clone())));
        self.aftermath().arrivals.extend(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint_ticket::CheckpointOutcome;
    use crate::prototype::results::Mail;
    use crate::prototype::table::tests::{
        TRIGGERS, at, capture, event, fetching, flags, resident, table, take_in,
    };
    use crate::wait::Signal;

    const STORED: StateVersion = StateVersion::new(1, 1);

    fn ask(table: &mut Table<u8, u8>, pe: PeHandle, by: AskedBy) -> Requested {
        let id = CheckpointId::new("p", [1]).unwrap();
        table.request(pe, &id, (&Signal::new(), by), &TRIGGERS, || at(0))
    }

    /// Asks for a PE that is stored and has these flags, wherever it is; says whether the request
    /// waits for the next capture, or otherwise what is answered.
    fn asked(flags: Flags, slot: Slot<u8>) -> Result<bool, Option<StateVersion>> {
        let mut table = table();
        let pe = resident(&mut table, 1);
        let entry = table.get_mut(pe).unwrap();
        (entry.durable, entry.flags, entry.slot) = (STORED, flags, slot);
        match ask(&mut table, pe, AskedBy::Caller) {
            Requested::Answered(version) => Err(version),
            Requested::Waits => Ok(table.get_mut(pe).unwrap().flags.has(Flags::REQUESTED)),
            Requested::Poisoned(_) => panic!("nothing panicked"),
        }
    }

    fn answers(table: &mut Table<u8, u8>) -> Vec<CheckpointOutcome> {
        table.aftermath().answers.drain(..).map(|(_, answer)| answer).collect()
    }

    #[test]
    fn a_request_is_answered_by_what_is_stored_or_waits_for_what_will_be() {
        let resident = || Slot::Resident(0);
        assert_eq!(asked(Flags::default(), resident()), Err(Some(STORED)));
        assert_eq!(asked(Flags::DIRTY, resident()), Ok(true));
        assert_eq!(asked(Flags::DIRTY.and(Flags::IN_FLIGHT), resident()), Ok(true));
        assert_eq!(asked(Flags::default(), Slot::out(0)), Ok(true));
        assert_eq!(asked(Flags::IN_FLIGHT, Slot::out(0)), Ok(true));
        // What is in flight has everything.
        assert_eq!(asked(Flags::IN_FLIGHT, resident()), Ok(false));
        // Nothing that happened before can be missing from what is fetched, but for a removal.
        assert_eq!(asked(Flags::default(), Slot::Fetching(Signal::new())), Err(None));
        assert_eq!(asked(Flags::REMOVED, Slot::Fetching(Signal::new())), Ok(true));
    }

    #[test]
    fn a_pe_that_was_never_stored_counts_as_changed() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        assert!(matches!(ask(&mut table, pe, AskedBy::Caller), Requested::Waits));
        assert!(flags(&mut table, pe).has(Flags::DIRTY) && table.ready == [pe]);
        assert_eq!((table.take_requests(pe).len(), table.take_requests(pe).len()), (1, 0));
        assert!(table.requests.is_empty());
    }

    #[test]
    fn a_request_that_joined_a_capture_is_answered_by_it_or_waits_for_the_next() {
        for (outcome, answered) in [
            (SettlementOutcome::Stored, true),
            (SettlementOutcome::GaveUp(SaveFailure::Unknown), true),
            (SettlementOutcome::GaveUp(SaveFailure::NotAttempted), false),
            (SettlementOutcome::Refused(SaveFailure::NotAttempted), false),
        ] {
            let mut table = table();
            let pe = resident(&mut table, 1);
            event(&mut table, 1, at(0));
            let mut settlement = capture(&mut table, pe);
            assert!(matches!(ask(&mut table, pe, AskedBy::Caller), Requested::Waits));
            settlement.outcome = outcome.clone();
            take_in(&mut table, Mail::Settled(vec![settlement]));
            let answers = answers(&mut table);
            assert_eq!(
                (answers.len(), table.requests.len()),
                match answered {
                    true => (1, 0),
                    false => (0, 1),
                }
            );
            let is_stored = matches!(outcome, SettlementOutcome::Stored);
            assert!(answers.iter().all(|answer| match answer {
                Ok(version) => is_stored && *version == Some(STORED),
                Err(_) => !is_stored,
            }));
        }
    }

    #[test]
    fn those_who_wait_for_a_pe_that_cannot_be_stored_are_told() {
        let mut table = table();
        let pe = resident(&mut table, 1);
        ask(&mut table, pe, AskedBy::Caller);
        ask(&mut table, pe, AskedBy::Flush);
        // A flush has others to wait for.
        table.refuse_some(pe, AskedBy::Flush, &SaveFailure::Poisoned);
        assert!(matches!(&answers(&mut table)[..], [Err(_)]));
        let waiting = &table.requests[&pe.ticket].waiting;
        assert!(matches!(&waiting[..], [(_, AskedBy::Caller)]));
        table.refuse_requests(pe, &SaveFailure::Unknown);
        assert!(matches!(&answers(&mut table)[..], [Err(_)]));
        assert!(!flags(&mut table, pe).has(Flags::REQUESTED));
        table.get_mut(pe).unwrap().flags.set(Flags::PANICKED);
        assert!(matches!(ask(&mut table, pe, AskedBy::Caller), Requested::Poisoned(None)));
    }

    #[test]
    fn everybody_who_waits_is_answered_in_the_end() {
        let mut table = table();
        let [a, b] = [1, 2].map(|key| resident(&mut table, key));
        fetching(&mut table, 3);
        event(&mut table, 1, at(0));
        capture(&mut table, a);
        for _ in 0..2 {
            ask(&mut table, a, AskedBy::Caller);
            event(&mut table, 1, at(0));
        }
        let out = Slot::Out { since: 0, arrival: Some(Signal::new()) };
        table.get_mut(b).unwrap().slot = out;
        table.until_quiet(a).unwrap();
        table.end(&ProcessError::Closed { prototype: "p".into() });
        assert!(matches!(&answers(&mut table)[..], [Err(_), Err(_)]));
        assert!(matches!(&table.aftermath().arrivals[..], [(_, Err(_)), (_, Err(_))]));
        assert!(table.requests.is_empty());
    }
}
