//! What must hold after every step.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use checkpoint::{
    CheckpointId, CloseReport, NotAllStored, OnRestoreError, ProcessError, RestoreFailure,
    SafeKeeper, StorageResult, StorageResultCode,
};

use super::book::Change;
use super::content::{id_of, owner_of_id, place_of};
use super::met::Met;
use super::process::{Asked, AskedNow, Prototype, Surroundings, Watched};
use super::profile::Profile;
use super::trace::lock;

/// The largest record: a large state, its id and the header.
const RECORD_BYTES_MAX: u64 = 72_000;

impl Surroundings {
    /// The numbers that the keeper bounds are within their bounds.
    pub(super) fn check_bounds(&self, keeper: &SafeKeeper, profile: &Profile) {
        if self.clock.delays() > 0 {
            self.trace.violate("4.4: an async call, a guard or a callback has waited, or worked");
        }
        let stats = keeper.stats();
        if stats.in_flight > profile.captures_max as u64 {
            self.trace.violate(format!("P5: {} captures are in flight", stats.in_flight));
        }
        let bytes_max = profile.captured_bytes_max as u64 + RECORD_BYTES_MAX;
        if stats.in_flight_bytes > bytes_max {
            self.trace.violate(format!("P5: {} bytes are in flight", stats.in_flight_bytes));
        }
        let results = lock(&self.book).results_count;
        if stats.stored + stats.failed != results {
            let (stored, failed) = (stats.stored, stats.failed);
            self.trace.violate(format!("P4: {results} results, {stored} stored, {failed} failed"));
        }
        let statuses: Vec<_> = lock(&self.prototypes).iter().map(Prototype::status).collect();
        for (prototype, status) in statuses.iter().enumerate() {
            let Some(capacity) = profile.capacity[prototype] else { continue };
            let max = capacity as u64 + lock(&self.book).beyond_capacity(prototype);
            let resident = status.resident;
            if resident > max {
                self.trace.violate(format!("P5: {resident} PEs are in memory, and {max} may be"));
            }
        }
        let sources: u64 = statuses.iter().map(|status| status.due).sum();
        if sources != stats.due {
            self.trace.violate(format!("{sources} PEs are due, and {} counted", stats.due));
        }
    }

    /// An event that did not run got an error that makes sense.
    pub(super) fn check_error(
        &self,
        profile: &Profile,
        owner: u64,
        began: Duration,
        ran: &Arc<AtomicBool>,
        error: &ProcessError,
    ) {
        self.trace.add(format_args!("  {owner} gets {error:?}"));
        let waited = self.clock.time().saturating_sub(began);
        if let ProcessError::Restore(error) = error {
            match error.reason() {
                RestoreFailure::TimedOut { .. } => self.count(Met::FetchTimedOut),
                RestoreFailure::FetchingDisabled { .. } => self.count(Met::FetchingDisabled),
                RestoreFailure::Overloaded => self.count(Met::FetchingOverloaded),
                _ => {}
            }
        }
        self.count(match error {
            ProcessError::Poisoned { .. } => Met::PoisonedError,
            ProcessError::Busy { .. } => Met::BusyError,
            ProcessError::Full { .. } => Met::FullError,
            ProcessError::Exposed { .. } => Met::ExposedError,
            ProcessError::ExposedEvents { .. } => Met::ExposedEventsError,
            _ => Met::RestoreError,
        });
        let makes_sense = match error {
            ProcessError::Poisoned { .. } => lock(&self.book).subject(owner).poisoned,
            ProcessError::Busy { .. } => waited >= profile.wait_max,
            ProcessError::Exposed { oldest, exposure_max, .. } => {
                let in_time = profile.rejects_when_exposed || waited >= profile.wait_max;
                in_time && profile.exposure_max == Some(*exposure_max) && oldest > exposure_max
            }
            ProcessError::ExposedEvents { events_max, .. } => {
                let in_time = profile.rejects_when_exposed || waited >= profile.wait_max;
                in_time && profile.exposed_events_max == NonZeroU32::new(*events_max)
            }
            ProcessError::Full { .. } | ProcessError::Restore(_) => true,
            _ => false,
        };
        if !makes_sense {
            self.trace.violate(format!("{owner} gets {error:?} after {waited:?}"));
        }
        if ran.load(Ordering::Relaxed) {
            self.trace.violate(format!("{owner} gets {error:?}, but its event has run"));
        }
    }

    /// Inside of an event nobody gets in anywhere, and nothing waits for itself (rule 5): here with
    /// a PE of another prototype, whose lock nobody has.
    pub(super) fn check_reentrant(&self, owner: u64) {
        let (prototype, key) = place_of(owner);
        let another = lock(&self.prototypes).get(1 - prototype).cloned();
        // None of a process that another one has taken over from.
        let Some(another) = another else { return };
        let mut event = pin!(another.read_async(key, |_| ()));
        let polled = event.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if !matches!(polled, Poll::Ready(Err(ProcessError::Reentrant { .. }))) {
            self.trace.violate(format!("4.5: from inside an event of {owner}: {polled:?}"));
        }
    }

    /// Tickets that are answered have the answer that they must have.
    pub(super) fn check_tickets(&self) {
        let mut tickets = lock(&self.tickets);
        let answered = tickets.extract_if(.., |watched| watched.ticket.outcome().is_some());
        let answered: Vec<Watched> = answered.collect();
        drop(tickets);
        for watched in answered {
            let Watched { ticket, asked, was, woken } = watched;
            let AskedNow { owner, live, was_dirty, last_serial } = was;
            let outcome = ticket.outcome();
            self.trace.add(format_args!("the ticket of {owner} is answered: {outcome:?}"));
            let is_stored = matches!(outcome, Some(Ok(_)));
            self.count(if is_stored { Met::TicketStored } else { Met::TicketFailed });
            if !woken.is_set() {
                self.trace.violate(format!("whoever waits for the ticket of {owner} sleeps on"));
            }
            let version = match outcome {
                Some(Ok(Some(version))) => {
                    lock(&self.book).promise(owner, version);
                    version
                }
                Some(Ok(None)) if was_dirty => {
                    self.trace.violate(format!("{owner} was dirty, and its ticket says nothing"));
                    continue;
                }
                _ => continue,
            };
            let id = id_of(owner);
            let stored = lock(&self.world).records.ever_stored.get(&(id, version)).copied();
            let covers = match (stored, asked, live) {
                (None, ..) => false,
                // A removal, or a PE that began anew after it.
                (Some(0), ..) => true,
                (Some(serial), ..) if serial > last_serial => true,
                (Some(serial), Asked::Checkpoint, Some(live)) => serial == live,
                (Some(_), Asked::Checkpoint, None) => true,
                (Some(_), Asked::Removal, _) => false,
            };
            if !covers {
                self.trace.violate(format!(
                    "P4: the ticket of {owner} for {asked:?} of {live:?} says {version}, which \
                     has {stored:?}"
                ));
            }
        }
    }

    /// A flush or a close names what is not stored, and nothing else.
    pub(super) fn check_report(&self, report: &Result<CloseReport, NotAllStored>) {
        self.trace.add(format_args!("report: {report:?}"));
        let is_ok = report.is_ok();
        let (Ok(report) | Err(NotAllStored(report))) = report;
        if is_ok != report.is_complete() {
            self.trace.violate("P8: the report contradicts itself");
        }
        let failed = report.failed.iter().map(checkpoint::SaveError::id);
        let untried: Vec<&CheckpointId> = failed.chain(&report.not_attempted).collect();
        let mut named = BTreeSet::new();
        for id in untried.iter().copied().chain(&report.unknown) {
            if !named.insert(owner_of_id(id)) {
                self.trace.violate(format!("P8: {id} is named twice"));
            }
        }
        let mut book = lock(&self.book);
        if is_ok && self.is_on() {
            book.promise_what_was_seen();
        }
        let owners: Vec<u64> = book.subjects.keys().copied().collect();
        let policies = book.on_restore_error;
        for owner in owners {
            let stored = book.stored_serial(owner);
            let is_dirty = book.is_dirty(owner);
            let is_acknowledged = book.is_acknowledged(owner);
            let subject = book.subject(owner);
            if is_dirty && !named.contains(&Some(owner)) {
                let live = &subject.live;
                self.trace.violate(format!(
                    "P8: {owner} is {live:?}, stored as of {stored}, and not named"
                ));
            }
            let may_be_named = is_dirty
                || subject.poisoned
                || subject.out
                || subject.trapped
                || subject.replaced
                || subject.asked_while_out
                || self.has_on_time
                || policies[place_of(owner).0] != OnRestoreError::Fail
                || subject.certain().is_none_or(|live| live == 0)
                || subject.refused.is_some()
                || !is_acknowledged;
            if !may_be_named && untried.iter().any(|id| owner_of_id(id) == Some(owner)) {
                self.trace.violate(format!("P8: {owner} is stored, and named as if it were not"));
            }
        }
    }

    /// With a storage that works, a flush leaves nothing behind that can be stored.
    pub(super) fn check_complete(
        &self,
        profile: &Profile,
        report: &Result<CloseReport, NotAllStored>,
    ) {
        let Err(NotAllStored(report)) = report else { return };
        if profile.quarantined_max == 1 {
            return; // What is to be put aside waits until there is room.
        }
        let failed = report.failed.iter().map(checkpoint::SaveError::id);
        let mut book = lock(&self.book);
        for id in failed.chain(&report.not_attempted).chain(&report.unknown) {
            let Some(owner) = owner_of_id(id) else { continue };
            let subject = book.subject(owner);
            let exempt = subject.poisoned
                || subject.trapped
                || subject.out
                || subject.refused.is_some() && subject.refused == subject.certain();
            if !exempt {
                self.trace.violate(format!("P8: {owner} can be stored, and a flush does not"));
            }
        }
    }

    /// What a keeper is told that was taken over from: nothing of what it saves is stored any more.
    pub(super) fn check_zombie(&self, result: &StorageResult<'_>) {
        self.trace.add(format_args!("a zombie's result: {:?} of {}", result.code, result.id));
        let Some(version) = result.version else { return };
        let world = lock(&self.world);
        let is_stored = world.records.ever_stored.contains_key(&(result.id.to_owned(), version));
        drop(world);
        if result.code == StorageResultCode::Success && !is_stored {
            self.trace.violate(format_args!("P11: a zombie is told {result:?}"));
        }
    }

    /// After the end of a process nothing is left without an answer.
    pub(super) fn check_end(&self, keeper: &SafeKeeper) {
        self.check_tickets();
        for watched in lock(&self.tickets).drain(..) {
            self.trace.violate(format!("P4: a ticket of {} was never answered", watched.was.owner));
        }
        let book = lock(&self.book);
        let offered = {
            let mut world = lock(&self.world);
            std::mem::take(&mut world.records.offered_by_process)
        };
        for (id, version) in offered {
            let Some(owner) = owner_of_id(&id) else { continue };
            let results = book.results_of(owner, version);
            if results != 1 {
                self.trace.violate(format!("P4: {results} results of {version} of {owner}"));
            }
        }
        let stats = keeper.stats();
        if stats.stored + stats.failed != book.results_count {
            let results = book.results_count;
            self.trace.violate(format!("P4: {results} results, and the keeper counts {stats:?}"));
        }
    }

    /// With a storage that works, and after enough time: nothing that is to be stored by itself is
    /// not.
    pub(super) fn check_quiet(&self, keeper: &SafeKeeper, profile: &Profile) {
        let stats = keeper.stats();
        let idle = stats.in_flight == 0
            && stats.in_flight_bytes == 0
            && stats.waiting_for_retry == 0
            && stats.due == 0
            && stats.fetches_queued == 0
            && stats.fetches_hanging == 0;
        if !idle {
            self.trace.violate(format!("nothing is to be done, and the keeper has {stats:?}"));
        }
        let mut book = lock(&self.book);
        let owners: Vec<u64> = book.subjects.keys().copied().collect();
        for owner in owners {
            let mode = profile.modes[place_of(owner).0];
            let is_dirty = book.is_dirty(owner);
            let subject = book.subject(owner);
            let exempt = subject.poisoned
                || subject.trapped
                || subject.refused.is_some() && subject.refused == subject.certain();
            if exempt || !is_dirty {
                continue;
            }
            let events = subject.unstored.iter().filter(|change| change.is_event);
            let (count, live) = (events.count() as u64, subject.live.clone());
            if mode.interval().is_some() {
                self.trace.violate(format!("P3: {owner} is {live:?}, and is never stored"));
            }
            if mode.event_count().is_some_and(|n| count >= n.get()) {
                self.trace.violate(format!("P3: {count} changes of {owner} are never stored"));
            }
        }
        let book = &mut *book;
        for watched in lock(&self.tickets).iter() {
            let subject = book.subjects.entry(watched.was.owner).or_default();
            if !subject.poisoned {
                self.trace
                    .violate(format!("P4: a ticket of {} is never answered", watched.was.owner));
            }
        }
    }

    /// While the storage works, no change is older than the time in which it is to be due and what
    /// the clock's steps allow for.
    pub(super) fn check_exposure(&self, profile: &Profile, slack: Duration) {
        if profile.quarantined_max == 1 {
            return; // What is to be put aside waits until there is room.
        }
        let now = self.clock.time();
        let mut book = lock(&self.book);
        for (owner, subject) in &mut book.subjects {
            let interval = profile.modes[place_of(*owner).0].interval();
            let bound = profile.exposure_max.map(|exposure| exposure / 2);
            let Some(interval) = interval.into_iter().chain(bound).min() else { continue };
            if subject.poisoned || subject.out || subject.trapped || subject.certain().is_none() {
                continue;
            }
            let Some(Change { serial, at, .. }) = subject.unstored.first() else { continue };
            let age = now.saturating_sub(*at);
            if age > interval + slack {
                self.trace.violate(format!(
                    "P9: the change {serial} of {owner} is not stored after {age:?}"
                ));
            }
        }
    }
}
