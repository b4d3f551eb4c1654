//! How simulated processes end: they crash, or close their keepers; another one follows.

use std::time::Duration;

use super::history::History;
use super::met::Met;
use super::process::{Pending, start};
use super::trace::lock;
use super::world::kill;

impl History {
    /// The process dies at this very moment.
    pub(super) fn crash(&mut self) {
        self.trace("crash");
        self.count(Met::Crash);
        kill(&self.around.world);
        self.end_process(false);
    }

    pub(super) fn close(&mut self) {
        self.trace("close");
        self.count(Met::Close);
        let timeout = Duration::from_millis(self.dice.pick(&[0, 1, 1000]));
        let report = self.keeper.close(timeout);
        lock(&self.around.book).read_news();
        self.around.check_report(&report);
        if report.is_ok() {
            self.count(Met::CompleteClose);
        } else {
            self.count(Met::IncompleteClose);
        }
        self.end_process(true);
    }

    /// Nothing of the old process is heard of any more; a new one starts.
    fn end_process(&mut self, was_closed: bool) {
        let old = self.keeper.clone();
        self.around.clock.set_meanwhile(None);
        if !was_closed {
            // What its drop does.
            drop(self.keeper.close(Duration::from_secs(10)));
        }
        if self.dice.chance(50) {
            self.pending.reverse();
        }
        self.held.clear();
        for _ in 0..4 {
            let clock = &self.around.clock;
            let is_open = |pending: &mut Pending| pending.poll(clock).is_none();
            self.pending.retain_mut(|pending| !pending.woken.is_set() || is_open(pending));
        }
        for pending in self.pending.drain(..) {
            let (what, owner) = (pending.what, pending.owner);
            self.around.trace.violate(format!("{what} of {owner} never ends after the close"));
        }
        kill(&self.around.world);
        self.around.check_end(&old);
        lock(&self.around.prototypes).clear();
        lock(&self.around.book).read_news();
        drop(old);
        self.around.end_process(was_closed);
        self.keeper = start(&self.around, &self.profile, &mut self.dice);
    }
}
