//! Another process takes over while the first one lives on, and does not know.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{CompareAndSet, NotAllStored, SafeKeeper, SaveError};

use super::content::{PROTOTYPES, owner_of, owner_of_id};
use super::history::History;
use super::met::Met;
use super::process::{POOLS, Prototype, start, step};
use super::trace::lock;
use super::world::deliver_one;

/// What a zombie writes into its PEs: nothing that anybody else writes.
const MARK: u64 = u64::MAX;

impl History {
    /// A second keeper opens the partitions. Nothing that the first one saves from then on may be
    /// stored or acknowledged, and what it could not store it must name.
    pub(super) fn take_over(&mut self) {
        if self.profile.compare_and_set != CompareAndSet::PerPartition {
            return;
        }
        self.trace("take over");
        self.count(Met::TakeOver);
        // What is under way arrives before.
        while deliver_one(&self.around.world) {}
        lock(&self.around.world).settle_landings();
        lock(&self.around.book).read_news();
        let old = self.keeper.clone();
        let prototypes = std::mem::take(&mut *lock(&self.around.prototypes));
        let tickets = std::mem::take(&mut *lock(&self.around.tickets));
        let (pending, held) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.held));
        self.around.clock.set_meanwhile(None);
        lock(&self.around.world).take_over();
        lock(&self.around.book).restart();
        self.keeper = start(&self.around, &self.profile, &mut self.dice);
        drop(pending);
        drop(held);
        let changed = self.live_on(&old, &prototypes);
        self.check_zombies_end(&old, &changed);
        drop(prototypes);
        for mut watched in tickets {
            if watched.ticket.outcome().is_none() {
                let owner = watched.was.owner;
                self.around.trace.violate(format_args!("P4: a zombie's ticket of {owner} is open"));
            }
            drop(watched.woken.poll(std::pin::Pin::new(&mut watched.ticket)));
        }
        drop(old);
        lock(&self.around.world).end_zombie();
        lock(&self.around.book).read_news();
    }

    /// The zombie goes on, beside its successor. Returns which PEs it has changed.
    fn live_on(&mut self, old: &Arc<SafeKeeper>, prototypes: &[Prototype]) -> BTreeSet<u64> {
        let mut changed = BTreeSet::new();
        for _ in 0..self.dice.between(1, 30) {
            match self.dice.below(8) {
                0 | 1 => {
                    let at = self.dice.index(PROTOTYPES.len());
                    let key = self.dice.below(self.profile.keys);
                    let event = || prototypes[at].process(key, |pe| pe.serial = MARK);
                    // Whatever it gets: only a change must be named later.
                    if let Ok(Ok(())) = catch_unwind(AssertUnwindSafe(event)) {
                        changed.insert(owner_of(at, key));
                    }
                }
                2 => self.change_one(),
                3 => {
                    let pool = self.dice.pick(&POOLS);
                    step(&self.around, &self.keeper.clone(), pool);
                }
                _ => {
                    let pool = self.dice.pick(&POOLS);
                    step(&self.around, old, pool);
                    // That was another keeper.
                    lock(&self.around.book).ticked_at = Duration::ZERO;
                }
            }
            if self.is_broken() {
                break;
            }
        }
        changed
    }

    fn check_zombies_end(&mut self, old: &SafeKeeper, changed: &BTreeSet<u64>) {
        let timeout = Duration::from_millis(self.dice.pick(&[0, 100]));
        let report = old.close(timeout);
        self.trace(format_args!("the zombie's report: {report:?}"));
        let (Ok(report) | Err(NotAllStored(report))) = report;
        let failed = report.failed.iter().map(SaveError::id);
        let named = failed.chain(&report.not_attempted).chain(&report.unknown);
        let named: BTreeSet<u64> = named.filter_map(owner_of_id).collect();
        for owner in changed {
            if !named.contains(owner) {
                self.around.trace.violate(format_args!("P8: a zombie does not name {owner}"));
            }
        }
        if !named.is_empty() {
            self.count(Met::FencedReport);
        }
    }
}
