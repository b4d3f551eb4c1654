//! What the simulated application does with PEs that it does not want as they are: it removes them,
//! decides what becomes of those in which a closure panicked, and puts other states in their place.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use checkpoint::{CheckpointTicket, ProcessError, Recover, Recovered};

use super::content::{id_of, place_of};
use super::history::History;
use super::met::Met;
use super::plan::Plan;
use super::process::Asked;
use super::trace::lock;

impl History {
    pub(super) fn remove(&mut self, owner: u64) {
        let (prototype, key) = place_of(owner);
        self.trace(format_args!("remove {owner}"));
        let began = self.around.clock.time();
        lock(&self.around.book).beyond_capacity.insert(owner);
        lock(&self.around.book).times_on = false;
        let removed = self.prototype(prototype).remove(key);
        lock(&self.around.book).times_on = true;
        match removed {
            Ok(ticket) => self.removed(owner, ticket),
            Err(error) => {
                self.around.check_error(&self.profile, owner, began, &Arc::default(), &error);
            }
        }
    }

    fn removed(&mut self, owner: u64, ticket: CheckpointTicket) {
        self.count(Met::Removal);
        lock(&self.around.book).remove(owner);
        let was = self.around.asked_now(owner);
        self.around.watch(was, ticket, Asked::Removal);
    }

    pub(super) fn recover(&mut self, owner: u64) {
        let (prototype, key) = place_of(owner);
        if !lock(&self.around.book).subject(owner).poisoned {
            return;
        }
        let reloads = self.profile.reloads[prototype];
        let prototype = self.prototype(prototype);
        let how = self.dice.pick(&[Recover::Reload, Recover::Keep, Recover::Remove]);
        if how == Recover::Reload && (reloads || self.event(owner, Plan::Read)) {
            return;
        }
        self.trace(format_args!("recover {owner}: {how:?}"));
        self.count(Met::Recovery);
        let began = self.around.clock.time();
        lock(&self.around.book).times_on = false;
        let recovered = prototype.recover(key, how);
        lock(&self.around.book).times_on = true;
        match recovered {
            Ok(Recovered::Kept) => lock(&self.around.book).keep(owner),
            Ok(Recovered::Reloaded { .. }) => self.set_back(owner),
            Ok(Recovered::Removed(ticket)) => self.removed(owner, ticket),
            Ok(_) if reloads => {} // An event that nobody waits for any more has begun it.
            Ok(other) => self.around.trace.violate(format!("{owner} is poisoned: {other:?}")),
            Err(error) => {
                // It may have begun all the same: then the PE is what is stored of it.
                let mut read = pin!(prototype.read_async(key, |_| ()));
                let found = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                let is_poisoned = matches!(found, Poll::Ready(Err(ProcessError::Poisoned { .. })));
                if how == Recover::Reload && !is_poisoned {
                    self.set_back(owner);
                }
                self.around.check_error(&self.profile, owner, began, &Arc::default(), &error);
            }
        }
    }

    /// The PE is what is stored of it.
    fn set_back(&mut self, owner: u64) {
        let mut book = lock(&self.around.book);
        book.read_news();
        let reloadable = book.reloadable(owner);
        book.set(owner, reloadable, false);
    }

    pub(super) fn reset(&mut self, owner: u64) {
        self.replace(owner, 0, |history| {
            let (prototype, key) = place_of(owner);
            history.trace(format_args!("reset {owner}"));
            history.prototype(prototype).reset(key)
        });
    }

    pub(super) fn restore_version(&mut self, owner: u64) {
        let versions: Vec<_> = lock(&self.around.world)
            .records
            .versions(&id_of(owner))
            .iter()
            .map(|stored| (stored.version, stored.serial()))
            .collect();
        if versions.is_empty() {
            return;
        }
        let (version, serial) = self.dice.pick(&versions);
        self.replace(owner, serial, |history| {
            let (prototype, key) = place_of(owner);
            history.trace(format_args!("restore {version} of {owner}"));
            history.prototype(prototype).restore_version(key, version)
        });
    }

    fn replace(
        &mut self,
        owner: u64,
        serial: u64,
        call: impl FnOnce(&mut Self) -> Result<CheckpointTicket, ProcessError>,
    ) {
        if lock(&self.around.book).subject(owner).poisoned {
            return;
        }
        self.count(Met::Replacement);
        lock(&self.around.book).subject(owner).replaced = true;
        lock(&self.around.book).beyond_capacity.insert(owner);
        let newest = |history: &Self| {
            let world = lock(&history.around.world);
            world.records.newest(&id_of(owner)).map(|newest| newest.version)
        };
        let before = newest(self);
        let began = self.around.clock.time();
        let last_serial = lock(&self.around.book).last_serial();
        // What would be done from time to time could meet either state.
        lock(&self.around.book).times_on = false;
        lock(&self.around.book).replacing = Some(owner);
        let called = call(self);
        lock(&self.around.book).replacing = None;
        lock(&self.around.book).times_on = true;
        match called {
            Ok(ticket) => {
                let mut book = lock(&self.around.book);
                book.read_news();
                book.set(owner, vec![serial], true);
                if let Some(removal) = &mut book.subject(owner).removal {
                    removal.reinstate(serial);
                }
                drop(book);
                if newest(self) > before && lock(&self.around.book).stored_serial(owner) == serial {
                    lock(&self.around.book).set(owner, vec![serial], false);
                }
                let mut was = self.around.asked_now(owner);
                was.last_serial = last_serial;
                self.around.watch(was, ticket, Asked::Checkpoint);
            }
            Err(error) => {
                let mut book = lock(&self.around.book);
                book.read_news();
                let mut live = book.restorable(owner);
                live.extend(book.subject(owner).live.clone());
                live.extend([0, serial]);
                live.sort_unstable();
                live.dedup();
                book.set(owner, live, false);
                if let Some(removal) = &mut book.subject(owner).removal {
                    removal.maybe_reinstate(serial);
                }
                drop(book);
                self.around.check_error(&self.profile, owner, began, &Arc::default(), &error);
            }
        }
    }
}
