//! Stores every change of one prototype's PEs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::PeHandle;
use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::CheckpointTicket;
use crate::close_report::{CloseReport, NotAllStored, ShardNotKnown};
use crate::prototype::entry::{Entry, Flags};
use crate::prototype::errand::Errand;
use crate::prototype::exposure::is_before;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::pe_prototype::PePrototype;
use crate::prototype::requests::{AskedBy, Requested};
use crate::prototype::table::Table;
use crate::reentrancy;
use crate::save_error::SaveError;
use crate::state::Checkpointable;

/// What a shard has to store.
#[derive(Default)]
struct Dirty {
    tickets: Vec<CheckpointTicket>,
    failed: Vec<SaveError>,
    poisoned: Vec<CheckpointId>,
}

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
            for ticket in self.inner.add_dirty(&mut report, shard, &asked) {
                let outcome = ticket.wait_timeout(deadline.since(clock.now()));
                report.add(ticket.id(), outcome);
            }
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
                for ticket in inner.add_dirty(&mut report, shard, &asked) {
                    let outcome = inner.until_answered(&ticket, deadline).await;
                    report.add(ticket.id(), outcome);
                }
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
                Requested::Waits => found.tickets.push(ticket),
                Requested::Answered(_) => {}
                Requested::Poisoned(_) => found.poisoned.push(ticket.id().clone()),
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
    ) -> Vec<CheckpointTicket> {
        let Some(dirty) = asked.take() else {
            report.not_known.push(ShardNotKnown { prototype: self.name.clone(), shard });
            return Vec::new();
        };
        for error in dirty.failed {
            report.name(error);
        }
        report.not_attempted.extend(dirty.poisoned);
        dirty.tickets
    }
}

impl<K, P> Table<K, P> {
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
