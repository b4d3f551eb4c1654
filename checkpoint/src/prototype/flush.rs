//! Stores every change of one prototype's PEs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::PeHandle;
use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::{CheckpointOutcome, CheckpointTicket};
use crate::close_report::{CloseReport, NotAllStored, ShardNotKnown};
use crate::prototype::entry::{Entry, Flags};
use crate::prototype::errand::Errand;
use crate::prototype::exposure::is_before;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::pe_prototype::PePrototype;
use crate::prototype::requests::{AskedBy, Requested};
use crate::prototype::shard::Locked;
use crate::prototype::table::Table;
use crate::reentrancy;
use crate::save_error::{SaveError, SaveFailure};
use crate::state::Checkpointable;

/// How long a flush waits for a shard whose lock is held, when its deadline may have passed.
const REPORT_LOCK_WAIT: Duration = Duration::from_millis(100);

/// What a shard has to store.
#[derive(Default)]
struct Dirty {
    tickets: Vec<(PeHandle, CheckpointTicket)>,
    failed: Vec<SaveError>,
}

/// What came of a ticket; nothing if there was no answer in time.
type Waited = (PeHandle, CheckpointId, Option<CheckpointOutcome>);

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Stores every change that was made to the PEs of this prototype before this call.
    ///
    /// # Errors
    /// Not everything could be stored in time; the report says what was not. The keeper goes on
    /// trying.
    pub fn flush(&self, timeout: Duration) -> Result<CloseReport, NotAllStored> {
        if !reentrancy::may_wait() {
            return Err(CloseReport::reentrant());
        }
        let clock = &*self.inner.clock;
        let deadline = clock.now().after(timeout);
        let mut report = CloseReport::default();
        for (shard, asked) in self.inner.request_dirty().into_iter().enumerate() {
            // Until whoever has the shard's lock gives it back.
            asked.done().wait(clock, Some(deadline));
            let mut waited = Vec::new();
            for (pe, ticket) in self.inner.add_dirty(&mut report, shard, &asked) {
                let outcome = ticket.wait_timeout(deadline.since(clock.now()));
                waited.push((pe, ticket.id().clone(), outcome));
            }
            self.inner.add_waited(&mut report, shard, waited);
        }
        report.into_result()
    }

    /// Stores every change, as [`flush`](Self::flush) does, without blocking the thread.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<CloseReport, NotAllStored>> + Send + use<K, P> {
        let inner = self.inner.clone();
        async move {
            if reentrancy::is_inside_shard() {
                return Err(CloseReport::reentrant());
            }
            let deadline = inner.clock.now().after(timeout);
            let mut report = CloseReport::default();
            for (shard, asked) in inner.request_dirty().into_iter().enumerate() {
                inner.until_arrived(asked.done().clone(), deadline).await;
                let mut waited = Vec::new();
                for (pe, ticket) in inner.add_dirty(&mut report, shard, &asked) {
                    let outcome = inner.until_answered(&ticket, deadline).await;
                    waited.push((pe, ticket.id().clone(), outcome));
                }
                inner.add_waited(&mut report, shard, waited);
            }
            report.into_result()
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Asks for a checkpoint of every PE with changes, in each shard as soon as its lock is free.
    fn request_dirty(self: &Arc<Self>) -> Vec<Errand<Dirty>> {
        let request = |shard| {
            let inner = self.clone();
            self.ask(shard, move |table| inner.request_dirty_of(table))
        };
        (0..self.shards.len()).map(request).collect()
    }

    fn request_dirty_of(&self, table: &mut Table<K, P>) -> Dirty {
        let mut found = Dirty::default();
        let mut dirty = Vec::new();
        for entry in table.entries.iter() {
            let id = || self.id_of_entry(&entry.key);
            if let Some(reason) = table.stuck_reason(entry.ticket) {
                found.failed.push(SaveError::new(id(), reason.clone()));
            } else if entry.flags.has_any(Flags::DIRTY.and(Flags::IN_FLIGHT)) {
                dirty.push((entry.handle(self.hash(&entry.key)), id()));
            }
        }
        for (pe, id) in dirty {
            let (ticket, request) = CheckpointTicket::new(id, self.clock.clone());
            let requested =
                table.request(pe, ticket.id(), (&request, AskedBy::Flush), &self.triggers, || {
                    self.now()
                });
            match requested {
                Requested::Waits => found.tickets.push((pe, ticket)),
                Requested::Answered(_) => {}
                Requested::Poisoned(_) => {
                    let reason = match table.is_any(pe, Flags::MAY_BE_STORED) {
                        true => SaveFailure::Unknown,
                        false => SaveFailure::Poisoned,
                    };
                    found.failed.push(SaveError::new(ticket.id().clone(), reason));
                }
            }
        }
        found
    }

    /// Takes what a shard has answered into a report, and returns what has to be waited for.
    fn add_dirty(
        &self,
        report: &mut CloseReport,
        shard: usize,
        asked: &Errand<Dirty>,
    ) -> Vec<(PeHandle, CheckpointTicket)> {
        let Some(dirty) = asked.take() else {
            report.not_known.push(ShardNotKnown { prototype: self.name.clone(), shard });
            return Vec::new();
        };
        for error in dirty.failed {
            report.name(error);
        }
        dirty.tickets
    }

    /// Takes what came of tickets into a report. An answer is that of one capture, or there is
    /// none: the PE says whether the storage may have its changes all the same.
    fn add_waited(&self, report: &mut CloseReport, shard: usize, waited: Vec<Waited>) {
        let is_stored = |(.., outcome): &Waited| matches!(outcome, Some(Ok(_)));
        let mut locked = match waited.iter().all(is_stored) {
            true => None,
            false => self.lock_within(shard, REPORT_LOCK_WAIT),
        };
        for (pe, id, outcome) in waited {
            let doubts = match outcome {
                Some(Ok(_)) => Flags::default(),
                Some(Err(_)) => Flags::IN_DOUBT,
                None => Flags::MAY_BE_STORED,
            };
            let may_be_stored = |locked: &mut Locked<'_, K, P>| locked.table().is_any(pe, doubts);
            match locked.as_mut().is_some_and(may_be_stored) {
                true => report.unknown.push(id),
                false => report.add(&id, outcome),
            }
        }
    }
}

impl<K, P> Table<K, P> {
    /// Whether a PE has one of these flags.
    fn is_any(&mut self, pe: PeHandle, flags: Flags) -> bool {
        self.get_mut(pe).is_some_and(|entry| entry.flags.has_any(flags))
    }

    /// Makes every PE with changes due.
    pub(super) fn request_all(&mut self, hasher: impl Fn(&K) -> u64) {
        self.request_where(hasher, |_| true);
    }

    /// Makes those due that have changes from before a mark.
    pub(super) fn request_before(&mut self, cut: u32, hasher: impl Fn(&K) -> u64) {
        self.request_where(hasher, |entry| is_before(entry.generation, cut));
    }

    fn request_where(
        &mut self,
        hasher: impl Fn(&K) -> u64,
        is_wanted: impl Fn(&Entry<K, P>) -> bool,
    ) {
        let wanted: Vec<PeHandle> = self
            .entries
            .iter()
            .filter(|entry| entry.flags.has(Flags::DIRTY) && !entry.flags.has(Flags::STUCK))
            .filter(|entry| is_wanted(entry))
            .map(|entry| entry.handle(hasher(&entry.key)))
            .collect();
        for pe in wanted {
            if !self.set_aside_if_poisoned(pe) {
                self.make_due(pe);
            }
        }
    }
}
