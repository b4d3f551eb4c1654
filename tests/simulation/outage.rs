//! Histories of a keeper over a store on a disk: the power goes while it works, and while it
//! starts again.

use std::error::Error;

use super::history::History;
use super::met::Met;
use super::outcome::{Outcome, Telling};
use super::plan::Plan;
use super::process::Surroundings;
use super::trace::lock;
use super::weather::Weather;
use super::world::kill;

/// Runs the history of a seed over the storages of the product, on a disk that loses power.
pub(super) fn run(seed: u64, telling: Telling) -> Outcome {
    super::history::run_over(seed, telling, true)
}

impl Surroundings {
    /// Whether the computer is on, if there is one that may be off.
    pub(super) fn is_on(&self) -> bool {
        self.computer.as_ref().is_none_or(|computer| lock(computer).is_on())
    }

    /// Whether a start that has failed like this is tried again: not while the power is off.
    pub(super) fn may_start_again(&self, error: &dyn Error) -> bool {
        let is_on = self.is_on();
        if let Some(computer) = self.computer.as_ref().filter(|_| is_on) {
            lock(computer).mend(error);
        }
        is_on
    }

    /// What the store has now is what there is: the process has ended. `has_closed` says how.
    pub(super) fn end_process(&self, has_closed: bool) {
        if let Some(computer) = &self.computer {
            lock(computer).end_process(has_closed);
            let promised = lock(&self.book).promised();
            let found = lock(computer).look(&promised);
            lock(&self.world).records.begin_with(found);
        }
        let mut book = lock(&self.book);
        book.read_news();
        book.restart();
    }

    /// The power has gone while a process was starting.
    pub(super) fn start_is_cut_off(&self) {
        self.trace.add("cut off while it starts");
        self.count(Met::RecoveryCutOff);
        kill(&self.world);
        lock(&self.prototypes).clear();
        self.end_process(false);
    }
}

impl History {
    /// The power has gone, if it has, and the computer starts again.
    pub(super) fn end_outage(&mut self) {
        if !self.around.is_on() {
            self.trace("the power has gone");
            self.count(Met::PowerGoesLater);
            self.crash();
            self.rely();
        }
    }

    /// Somebody relies at once on what a crash has left: looks at it, is told that everything is
    /// stored, and then the power goes.
    pub(super) fn rely(&mut self) {
        if self.around.computer.is_none() || !self.dice.chance(25) {
            return;
        }
        self.trace("rely on what is left");
        let owners: Vec<u64> = lock(&self.around.book).subjects.keys().copied().collect();
        for owner in owners {
            self.event(owner, Plan::Read);
        }
        drop(self.flush_now());
        self.check();
        self.crash();
    }

    /// From now on the storage works.
    pub(super) fn calm(&mut self) {
        lock(&self.around.world).weather = Weather::Fine;
        if let Some(computer) = &self.around.computer {
            lock(computer).calm();
        }
    }

    /// What was calm need not stay so.
    pub(super) fn tempt(&mut self) {
        if let Some(computer) = &self.around.computer {
            lock(computer).tempt();
        }
    }

    pub(super) fn compact(&mut self) {
        if let Some(computer) = &self.around.computer {
            lock(computer).compact();
        }
    }

    /// The disk fails more often, or less.
    pub(super) fn change_disk(&mut self, is_bad: bool) {
        let errors_percent = if is_bad { self.dice.pick(&[1, 3, 10, 30]) } else { 0 };
        self.trace(format_args!("{errors_percent} of 100 file operations fail"));
        if let Some(computer) = &self.around.computer {
            lock(computer).set_errors_percent(errors_percent);
        }
    }
}
