//! A history: processes that live and die over one storage, step by step as the seed says.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::{CloseReport, NotAllStored, Pool, SafeKeeper};

use super::book::Book;
use super::clock::SimulatedClock;
use super::computer::Computer;
use super::content::PROTOTYPES;
use super::dice::Dice;
use super::met::{Met, Tally};
use super::outcome::{Outcome, Telling};
use super::process::{Done, Held, POOLS, Pending, Prototype, Surroundings, start, step};
use super::profile::{BACKOFF_MAX, FETCH_WAIT_MAX, FETCHING_PAUSE, Profile, exposed_events_max};
use super::trace::{Trace, lock};
use super::weather::Weather;
use super::world::{World, deliver_one};

pub(super) struct History {
    pub(super) dice: Dice,
    pub(super) profile: Profile,
    pub(super) around: Arc<Surroundings>,
    pub(super) keeper: Arc<SafeKeeper>,
    pub(super) pending: Vec<Pending>,
    pub(super) held: Vec<Held>,
    pub(super) met: Tally,
}

/// Runs the history of a seed, over a storage that does its worst.
pub(super) fn run(seed: u64, telling: Telling) -> Outcome {
    run_over(seed, telling, false)
}

/// Runs the history of a seed; with `on_disk`, over a storage of the product.
pub(super) fn run_over(seed: u64, telling: Telling, on_disk: bool) -> Outcome {
    let trace = Trace::telling(telling);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut history = History::new(seed, trace.clone(), on_disk);
        history.live();
        history.end()
    }));
    let met = match ran {
        Ok(met) => met,
        Err(payload) => {
            let said = payload.downcast_ref::<String>().cloned();
            let said = said.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            trace.violate(format!("a panic that was not planned: {said:?}"));
            if said.is_none() {
                resume_unwind(payload);
            }
            Tally::new()
        }
    };
    trace.outcome(met)
}

impl History {
    fn new(seed: u64, trace: Trace, on_disk: bool) -> Self {
        let mut dice = Dice::new(seed);
        let mut profile = Profile::draw(&mut dice);
        profile.exposed_events_max = exposed_events_max(seed);
        let clock = Arc::new(SimulatedClock::default());
        let computer = on_disk.then(|| Computer::new(clock.clone(), &mut dice, trace.clone()));
        if let Some(computer) = &computer {
            profile = profile.on_disk(computer.older_versions_max());
        }
        trace.add(format_args!("seed {seed}: {profile:?}"));
        let mut world = World::new(clock.clone(), dice.fork(), trace.clone());
        world.answers_inline = profile.answers_inline;
        world.compare_and_set = profile.compare_and_set;
        world.older_versions_max = profile.older_versions_max;
        world.records.versions_kept = profile.older_versions_max + 1;
        world.records.offers_max = profile.attempts_max;
        world.records.quarantined_max = profile.quarantined_max;
        world.starts_fail_percent = profile.starts_fail_percent;
        let world = Arc::new(Mutex::new(world));
        let book = Book::new(clock.clone(), world.clone(), trace.clone(), dice.fork());
        let around = Arc::new(Surroundings {
            clock,
            computer: computer.map(|computer| Arc::new(Mutex::new(computer))),
            world,
            book: Arc::new(Mutex::new(book)),
            trace,
            prototypes: Mutex::default(),
            tickets: Mutex::default(),
            dice: Mutex::new(dice.fork()),
            has_on_time: profile.on_time.is_some(),
        });
        lock(&around.book).on_restore_error = profile.on_restore_error;
        // What is done from time to time is no event as far as the age of a PE is concerned.
        lock(&around.book).expire_after =
            profile.expire_after.filter(|_| profile.on_time.is_none());
        lock(&around.book).reloads = profile.reloads;
        lock(&around.book).exposure_max = profile.exposure_max;
        lock(&around.book).exposed_events_max = profile.exposed_events_max;
        lock(&around.book).factory_panics_percent = profile.factory_panics_percent;
        let keeper = start(&around, &profile, &mut dice);
        let (pending, held, met) = (Vec::new(), Vec::new(), Tally::new());
        Self { dice, profile, around, keeper, pending, held, met }
    }

    pub(super) fn count(&mut self, what: Met) {
        self.met.count(what);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.around.trace.is_broken()
    }

    pub(super) fn trace(&self, line: impl Display) {
        self.around.trace.add(line);
    }

    pub(super) fn prototype(&self, index: usize) -> Prototype {
        lock(&self.around.prototypes)[index].clone()
    }

    /// Most of the history, then a quiet end.
    fn live(&mut self) {
        for _ in 0..self.profile.steps {
            match self.dice.below(1000) {
                0..6 => {
                    self.crash();
                    self.rely();
                }
                6..12 => self.close(),
                12..20 => {
                    self.quiet_down();
                    self.tempt();
                }
                20..26 => self.flush(),
                26..60 => self.change_weather(),
                60..64 => self.take_over(),
                64..70 => self.set_clock(),
                70..90 if self.around.computer.is_some() => self.compact(),
                _ if self.dice.chance(self.profile.keeper_percent) => self.keeper_steps(),
                _ => self.application_steps(),
            }
            self.check();
            self.end_outage();
            if self.is_broken() {
                return;
            }
        }
    }

    /// Ends the history: everything that can be stored is, and is found again.
    fn end(mut self) -> Tally {
        let ends: [fn(&mut Self); 7] = [
            Self::quiet_down,
            Self::steady,
            Self::flush_all,
            Self::read_all,
            Self::close,
            Self::read_all,
            Self::close,
        ];
        for end in ends {
            if self.is_broken() {
                break;
            }
            end(&mut self);
            self.check();
        }
        self.around.clock.set_meanwhile(None);
        self.pending.clear();
        self.held.clear();
        lock(&self.around.prototypes).clear();
        self.met.add(&lock(&self.around.world).met);
        if let Some(computer) = &self.around.computer {
            self.met.add(&lock(computer).take_met());
        }
        self.met
    }

    pub(super) fn check(&mut self) {
        lock(&self.around.book).read_news();
        self.around.check_bounds(&self.keeper, &self.profile);
        self.around.check_tickets();
    }

    fn change_weather(&mut self) {
        let bad = self.dice.chance(self.profile.bad_weather_percent);
        if self.around.computer.is_some() {
            return self.change_disk(bad);
        }
        let weather = if bad { self.dice.pick(Weather::ALL) } else { Weather::Fine };
        self.trace(format_args!("weather: {weather:?}"));
        lock(&self.around.world).weather = weather;
    }

    /// Somebody sets the wall clock.
    fn set_clock(&mut self) {
        let ahead = self.dice.pick(&[0, 0, 7, 4000, -4000, 400_000_000, -400_000_000]);
        self.trace(format_args!("the wall clock is {ahead} s ahead"));
        self.count(Met::ClockJump);
        self.around.clock.set_wall_ahead(ahead);
    }

    fn keeper_steps(&mut self) {
        for _ in 0..self.dice.between(1, 4) {
            match self.dice.below(10) {
                0 => {
                    deliver_one(&self.around.world);
                }
                1 => {
                    let most = self.dice.pick(&[2_000, 20_000, 150_000]);
                    let by = Duration::from_micros(self.dice.below(most));
                    self.advance(by);
                }
                _ => {
                    let pool = self.dice.pick(&POOLS);
                    step(&self.around, &self.keeper, pool);
                }
            }
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.around.clock.advance(by);
        self.trace(format_args!("{by:?} later"));
    }

    /// Polls one of the futures that were woken, or all of them.
    pub(super) fn poll_woken(&mut self, all: bool) {
        loop {
            let woken: Vec<usize> =
                (0..self.pending.len()).filter(|at| self.pending[*at].woken.is_set()).collect();
            if woken.is_empty() {
                return;
            }
            let at = self.dice.pick(&woken);
            self.poll(at);
            if !all || self.is_broken() {
                return;
            }
        }
    }

    /// Polls a future and takes in what comes of it.
    pub(super) fn poll(&mut self, at: usize) {
        let Some(done) = self.pending[at].poll(&self.around.clock) else {
            let (what, owner) = (self.pending[at].what, self.pending[at].owner);
            return self.trace(format_args!("{what} of {owner} waits"));
        };
        let Pending { owner, what, began, ran, .. } = self.pending.remove(at);
        self.trace(format_args!("{what} of {owner} ends"));
        match done {
            Done::Event(Ok(())) | Done::Panicked => {}
            Done::Guard(Ok(guard)) => {
                let mut book = lock(&self.around.book);
                book.observe(owner, &guard);
                book.subject(owner).out = true;
                drop(book);
                self.held.push(Held { owner, guard, changed: None });
                self.count(Met::Guard);
            }
            Done::Event(Err(error)) | Done::Guard(Err(error)) => {
                self.around.check_error(&self.profile, owner, began, &ran, &error);
            }
        }
    }

    /// Lets the keeper do what it can without time passing.
    pub(super) fn run_until_idle(&mut self) {
        for _ in 0..2000 {
            let mut stepped = false;
            let first = self.dice.index(POOLS.len());
            for at in 0..POOLS.len() {
                let pool = POOLS[(first + at) % POOLS.len()];
                stepped |= step(&self.around, &self.keeper, pool);
            }
            stepped |= deliver_one(&self.around.world);
            self.poll_woken(true);
            if !stepped || self.is_broken() {
                return;
            }
        }
        self.around.trace.violate("the keeper never rests");
    }

    /// Whoever waits gets an answer in time, whatever the weather.
    fn check_waits(&mut self) {
        // Serialization threads have the ticks, too.
        let pools = [Pool::Timing, Pool::Serialization];
        let idle = (0..2000).any(|_| {
            let stepped = pools.map(|pool| step(&self.around, &self.keeper, pool));
            stepped == [false; 2]
        });
        if !idle {
            self.around.trace.violate("time never comes to an end");
        }
        self.poll_woken(true);
        let longest = self.profile.wait_max + FETCH_WAIT_MAX;
        let now = self.around.clock.time();
        for pending in &self.pending {
            let waited = now.saturating_sub(pending.polled.unwrap_or(now));
            if waited > longest {
                let (what, owner) = (pending.what, pending.owner);
                self.around.trace.violate(format!("P5: {what} of {owner} waits for {waited:?}"));
            }
        }
    }

    /// The storage works again, and time passes: whatever is to be stored by itself must be.
    fn quiet_down(&mut self) {
        if self.around.computer.is_some() {
            // Or the power might go.
            self.calm();
        }
        self.check_waits();
        self.trace("quiet");
        lock(&self.around.book).times_on = false;
        self.count(Met::Quiet);
        self.calm();
        while let Some(held) = self.held.pop() {
            self.give_back(held, false);
        }
        let longest = self.profile.modes.iter().filter_map(|mode| mode.interval()).max();
        let longest = longest.unwrap_or_default() + self.profile.wait_max + FETCH_WAIT_MAX;
        let end = self.around.clock.time() + longest + 2 * BACKOFF_MAX + FETCHING_PAUSE;
        // One after the other puts aside what it replaces.
        let end = if self.profile.quarantined_max == 1 { end + 8 * BACKOFF_MAX } else { end };
        while self.around.clock.time() < end && !self.is_broken() {
            self.empty_quarantine();
            self.run_until_idle();
            // Guards that waited for their PEs.
            while let Some(held) = self.held.pop() {
                self.give_back(held, false);
            }
            let by = Duration::from_micros(self.dice.between(20_000, 120_000));
            self.advance(by);
        }
        self.run_until_idle();
        while let Some(held) = self.held.pop() {
            self.give_back(held, false);
        }
        self.run_until_idle();
        self.check();
        if self.is_broken() {
            return;
        }
        for pending in &self.pending {
            let (what, owner) = (pending.what, pending.owner);
            let woken = pending.woken.is_set();
            self.around.trace.violate(format!("{what} of {owner} never ends; woken: {woken}"));
        }
        lock(&self.around.world).settle_landings();
        lock(&self.around.book).read_news();
        self.around.check_quiet(&self.keeper, &self.profile);
        lock(&self.around.book).times_on = true;
    }

    /// Nothing can be put aside any more once there is so much, and what needs it waits.
    fn empty_quarantine(&mut self) {
        if self.profile.quarantined_max > 1 {
            return;
        }
        for name in PROTOTYPES {
            for quarantined in self.keeper.quarantined(name).unwrap() {
                self.count(Met::Discarded);
                self.trace(format_args!("discard {quarantined:?}"));
                self.keeper.discard_quarantined(&quarantined).unwrap();
            }
        }
    }

    /// With a storage that works all the time, no change is at risk for longer than promised.
    fn steady(&mut self) {
        self.trace("steady");
        for subject in lock(&self.around.book).subjects.values_mut() {
            subject.unstored.clear();
        }
        for _ in 0..40 {
            let by = Duration::from_micros(self.dice.below(3000));
            for _ in 0..self.dice.below(4) {
                self.change_one();
            }
            self.advance(by);
            self.run_until_idle();
            self.around.check_exposure(&self.profile, by + Duration::from_millis(3));
            if self.is_broken() {
                return;
            }
        }
    }

    /// The storage works: whatever can be stored must be.
    fn flush_all(&mut self) {
        self.calm();
        let report = self.flush_now();
        self.around.check_complete(&self.profile, &report);
    }

    fn flush(&mut self) {
        // It was looked at: nothing more is expected of this one.
        drop(self.flush_now());
    }

    pub(super) fn flush_now(&mut self) -> Result<CloseReport, NotAllStored> {
        self.trace("flush");
        self.count(Met::Flush);
        // What is changed meanwhile need not be stored by it.
        lock(&self.around.book).times_on = false;
        let report = self.keeper.flush(Duration::from_millis(100));
        lock(&self.around.book).times_on = true;
        if report.is_err() {
            self.count(Met::IncompleteFlush);
        }
        lock(&self.around.book).read_news();
        self.around.check_report(&report);
        report
    }
}
