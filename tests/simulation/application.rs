//! What the simulated application does: events, guards, sessions, requests, ways out of trouble.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use checkpoint::{Eviction, FetchingState, ProcessError};

use super::book::Subject;
use super::content::{PROTOTYPES, owner_of, place_of};
use super::history::History;
use super::ledger::{Trap, planned_panic};
use super::met::Met;
use super::plan::{Plan, run};
use super::process::{Asked, Done, Held, Pending};
use super::trace::lock;

/// A state of so many bytes is encoded without its shard's lock.
const LARGE: usize = 70_000;

impl History {
    pub(super) fn application_steps(&mut self) {
        let owner = self.any_owner();
        match self.dice.below(100) {
            0..30 => self.begin_event(owner),
            30..45 => self.event_now(owner),
            45..58 => self.poll_something(),
            58..63 => self.begin_guard(owner),
            63..72 => self.use_guard(),
            72..76 => self.session(),
            76..83 => self.ask(owner),
            83..88 => self.evict(owner),
            88..91 => self.remove(owner),
            91..95 => self.recover(owner),
            95..97 => self.reset(owner),
            97..99 => self.restore_version(owner),
            _ => self.drop_future(),
        }
    }

    fn any_owner(&mut self) -> u64 {
        owner_of(self.dice.index(PROTOTYPES.len()), self.dice.below(self.profile.keys))
    }

    fn any_plan(&mut self) -> Plan {
        if self.dice.chance(self.profile.panics_percent) {
            return Plan::Panic;
        }
        let traps = self.dice.chance(self.profile.traps_percent);
        let large = self.dice.chance(self.profile.large_percent);
        Plan::Change {
            filler_bytes: if large {
                LARGE
            } else {
                self.dice.index(self.profile.filler_bytes_max)
            },
            trap: if traps { self.dice.pick(&[Trap::Refuses, Trap::Panics]) } else { Trap::None },
        }
    }

    fn begin_event(&mut self, owner: u64) {
        let plan = self.any_plan();
        let (prototype, key) = place_of(owner);
        let (book, ran) = (self.around.book.clone(), Arc::new(AtomicBool::new(false)));
        let (runs, around) = (ran.clone(), self.around.clone());
        let event = self.prototype(prototype).process_async(key, move |pe| {
            runs.store(true, Ordering::Relaxed);
            around.check_reentrant(owner);
            run(&book, owner, pe, plan).unwrap_or_default();
        });
        self.trace(format_args!("begin an event of {owner}: {plan:?}"));
        let began = self.around.clock.time();
        let future = async { Done::Event(event.await) };
        self.pending.push(Pending::new(owner, "an event", began, ran, future));
        if self.dice.chance(80) {
            self.poll(self.pending.len() - 1);
        }
    }

    fn begin_guard(&mut self, owner: u64) {
        let (prototype, key) = place_of(owner);
        let guard = self.prototype(prototype).pe_async(key);
        self.trace(format_args!("begin a guard of {owner}"));
        let began = self.around.clock.time();
        let future = async { Done::Guard(guard.await) };
        self.pending.push(Pending::new(owner, "a guard", began, Arc::default(), future));
        self.poll(self.pending.len() - 1);
    }

    fn poll_something(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.dice.chance(20) {
            // Executors may poll without a reason.
            let at = self.dice.index(self.pending.len());
            self.poll(at);
        } else {
            self.poll_woken(false);
        }
    }

    fn drop_future(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let at = self.dice.index(self.pending.len());
        let pending = self.pending.swap_remove(at);
        self.trace(format_args!("drop {} of {}", pending.what, pending.owner));
        self.count(Met::DroppedFuture);
    }

    /// A call that blocks: the world goes on meanwhile.
    fn event_now(&mut self, owner: u64) {
        let plan = match self.dice.below(10) {
            0 | 1 => Plan::Read,
            2 => Plan::Fail,
            _ => self.any_plan(),
        };
        self.trace(format_args!("an event of {owner}: {plan:?}"));
        self.event(owner, plan);
    }

    pub(super) fn change_one(&mut self) {
        let owner = self.any_owner();
        self.trace(format_args!("an event of {owner}"));
        self.event(owner, Plan::Change { filler_bytes: 5, trap: Trap::None });
    }

    pub(super) fn event(&mut self, owner: u64, plan: Plan) -> bool {
        let (prototype, key) = place_of(owner);
        let prototype = self.prototype(prototype);
        let (book, ran) = (self.around.book.clone(), Arc::new(AtomicBool::new(false)));
        let began = self.around.clock.time();
        let around = &self.around;
        let result = catch_unwind(AssertUnwindSafe(|| match plan {
            Plan::Read => prototype.read(key, |pe| {
                ran.store(true, Ordering::Relaxed);
                around.check_reentrant(owner);
                lock(&book).observe(owner, pe);
            }),
            _ => prototype
                .try_process(key, |pe| {
                    ran.store(true, Ordering::Relaxed);
                    around.check_reentrant(owner);
                    run(&book, owner, pe, plan)
                })
                .map(drop),
        }));
        match result {
            Ok(Ok(())) => {
                self.count(Met::Event);
                true
            }
            Ok(Err(error)) => {
                self.around.check_error(&self.profile, owner, began, &ran, &error);
                false
            }
            Err(_planned) => {
                self.count(Met::Panic);
                true
            }
        }
    }

    /// Looks at every PE.
    pub(super) fn read_all(&mut self) {
        self.trace("read all");
        self.calm();
        let owners: Vec<u64> = lock(&self.around.book).subjects.keys().copied().collect();
        let panics = std::mem::take(&mut lock(&self.around.book).factory_panics_percent);
        for owner in owners {
            // Some wait for others to leave; those who cannot leave are in the way for ever.
            let is_read = (0..10).any(|_| {
                self.run_until_idle();
                let is_over = self.is_broken() || self.event(owner, Plan::Read);
                if !is_over {
                    self.until_fetching();
                }
                is_over
            });
            let stays = |subject: &Subject| {
                subject.poisoned || subject.trapped || subject.refused.is_some()
            };
            // Those before it may have to stay.
            let is_full = self.profile.quarantined_max == 1 || self.profile.on_time.is_some();
            if !is_read && !is_full && !lock(&self.around.book).subjects.values().any(stays) {
                self.around.trace.violate(format!("{owner} cannot be read"));
            }
        }
        lock(&self.around.book).factory_panics_percent = panics;
    }

    /// Lets time pass while fetching is switched off.
    fn until_fetching(&self) {
        if self.keeper.stats().fetching == FetchingState::Disabled {
            self.around.clock.advance(Duration::from_secs(1));
        }
    }

    fn session(&mut self) {
        let prototype = self.dice.index(PROTOTYPES.len());
        let count = self.dice.between(1, 6);
        let events: Vec<(u64, (u64, Plan))> = (0..count)
            .map(|_| {
                let key = self.dice.below(self.profile.keys);
                (key, (owner_of(prototype, key), self.any_plan()))
            })
            .collect();
        self.trace(format_args!("a session: {events:?}"));
        self.count(Met::Session);
        let handle = self.prototype(prototype);
        let book = self.around.book.clone();
        let began = self.around.clock.time();
        let mut ran = 0;
        let around = &self.around;
        let result = catch_unwind(AssertUnwindSafe(|| {
            handle.session().run(events, |pe, (owner, plan)| {
                ran += 1;
                around.check_reentrant(owner);
                run(&book, owner, pe, plan).unwrap_or_default();
            })
        }));
        match result {
            Ok(Ok(processed)) if processed == ran => {}
            Ok(Ok(processed)) => {
                self.around.trace.violate(format!("{ran} events ran, {processed} are told"));
            }
            Ok(Err(stopped)) => {
                if stopped.processed != ran {
                    self.around.trace.violate(format!("{ran} events ran: {stopped:?}"));
                }
                let (owner, _) = stopped.event.1;
                let ran = Arc::default();
                self.around.check_error(&self.profile, owner, began, &ran, &stopped.error);
            }
            Err(_planned) => self.count(Met::Panic),
        }
    }

    fn use_guard(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.dice.index(self.held.len());
        if self.dice.chance(40) && self.held[at].changed.is_none() {
            let Plan::Change { filler_bytes, trap } = self.any_plan() else { return };
            let held = &mut self.held[at];
            let mut book = lock(&self.around.book);
            book.change(held.owner, &mut held.guard, filler_bytes, trap);
            held.changed = Some(book.last_serial());
        } else {
            let held = self.held.swap_remove(at);
            let panics = self.dice.chance(self.profile.panics_percent);
            self.give_back(held, panics);
        }
    }

    /// Drops a guard, maybe because of a panic.
    pub(super) fn give_back(&mut self, held: Held, panics: bool) {
        let Held { owner, mut guard, changed } = held;
        self.trace(format_args!("give {owner} back; panics: {panics}"));
        let now = self.around.clock.time();
        {
            let mut book = lock(&self.around.book);
            if panics {
                book.change(owner, &mut guard, 3, Trap::None);
                book.poison(owner);
            }
            let subject = book.subject(owner);
            subject.out = false;
            for change in &mut subject.unstored {
                if changed.is_some_and(|changed| change.serial >= changed) {
                    change.at = now;
                }
            }
        }
        if panics {
            let unwound = catch_unwind(AssertUnwindSafe(move || {
                let _guard = guard;
                planned_panic()
            }));
            drop(unwound);
        } else {
            self.around.clock.in_brief(|| drop(guard));
        }
    }

    fn ask(&mut self, owner: u64) {
        let (prototype, key) = place_of(owner);
        self.trace(format_args!("ask for a checkpoint of {owner}"));
        self.count(Met::Ticket);
        // Before the call: it may do the work itself.
        let was = self.around.asked_now(owner);
        match self.prototype(prototype).checkpoint(key) {
            Ok(ticket) => self.around.watch(was, ticket, Asked::Checkpoint),
            Err(ProcessError::Poisoned { .. })
                if lock(&self.around.book).subject(owner).poisoned => {}
            Err(error) => self.around.trace.violate(format!("no ticket of {owner}: {error}")),
        }
    }

    fn evict(&mut self, owner: u64) {
        let (prototype, key) = place_of(owner);
        let result = self.prototype(prototype).evict(key);
        self.trace(format_args!("evict {owner}: {result:?}"));
        lock(&self.around.book).read_news();
        let is_dirty = lock(&self.around.book).is_dirty(owner);
        let is_out = lock(&self.around.book).subject(owner).out;
        match result {
            Ok(Eviction::Evicted) if is_dirty || is_out => {
                self.around.trace.violate(format!("{owner} left memory, and is not stored"));
            }
            Ok(Eviction::Evicted) => self.count(Met::Eviction),
            Ok(_) => {}
            Err(error) => self.around.trace.violate(format!("no eviction of {owner}: {error}")),
        }
    }
}
