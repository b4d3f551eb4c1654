//! The model: what each PE must be like, whatever the keeper and the storage do.
//!
//! It is told of every change at the moment when it is made, and of every record that is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::{OnRestoreError, StateVersion};

use super::clock::SimulatedClock;
use super::content::{Stored, id_of, place_of};
use super::dice::Dice;
use super::ledger::{Content, Ledger, Trap};
use super::met::Met;
use super::removal::Removal;
use super::trace::{Trace, lock};
use super::world::World;

/// How long a PE was idle is known by a clock that only ticks move; they may be late here.
const EXPIRY_SLACK: Duration = Duration::from_secs(5);

/// A change that is not stored.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) serial: u64,
    pub(super) at: Duration,
    /// Or somebody has put another state in the place of the PE's.
    pub(super) is_event: bool,
    /// It could not be stored: there may be others behind it.
    pub(super) written_off: bool,
}

/// What is known of one PE.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    /// The serials that the next event may find; one, unless something failed half-way.
    pub(super) live: Vec<u64>,
    pub(super) poisoned: bool,
    /// Somebody has seen it since the process began.
    pub(super) is_seen: bool,
    /// A guard has it.
    pub(super) out: bool,
    /// It is to be stored again although it has not changed.
    pub(super) restated: bool,
    /// A checkpoint was asked for while a guard had it: so it is stored again, changed or not.
    pub(super) asked_while_out: bool,
    /// Another state was to be put in its place: it may be on its way still.
    pub(super) replaced: bool,
    /// It cannot be encoded as it is, or may be such a state.
    pub(super) trapped: bool,
    /// That it was removed, as long as this is not known to be stored.
    pub(super) removal: Option<Removal>,
    /// The serial of the state that was refused for good.
    pub(super) refused: Option<u64>,
    /// A capture of it was given up, and nothing newer was stored since: if it is brought back as
    /// it is stored, it is stored again, so that what was given up can never take its place.
    pub(super) in_doubt: bool,
    /// Changes that are not stored, in order.
    pub(super) unstored: Vec<Change>,
    /// Its checkpoint was said to have expired; the next event finds the factory's value.
    expired: bool,
    /// It is not what is stored, and not to be stored either before it is changed.
    pub(super) adrift: bool,
    /// The serial of what is stored and could not be restored: it is to be put aside.
    pub(super) put_aside: Option<u64>,
}

impl Subject {
    /// The serial that the next event will find, if that is certain.
    pub(super) fn certain(&self) -> Option<u64> {
        match *self.live {
            [] => Some(0),
            [serial] => Some(serial),
            _ => None,
        }
    }

    pub(super) fn may_be(&self, serial: u64) -> bool {
        if self.live.is_empty() { serial == 0 } else { self.live.contains(&serial) }
    }
}

pub(super) struct Book {
    pub(super) subjects: BTreeMap<u64, Subject>,
    /// What each change has led to; the index is its serial.
    pub(super) contents: Vec<Content>,
    /// When each was made, and how often the wall clock had been set before.
    changed_at: Vec<(Duration, u64)>,
    /// Whether a state is what a panic left, and nobody has decided to keep.
    pub(super) half_done: Vec<bool>,
    /// Whether a state cannot be encoded.
    traps: Vec<bool>,
    /// By prototype: whether a PE in which a closure panicked is restored by its next event.
    pub(super) reloads: [bool; 2],
    /// Results by id and version.
    pub(super) results: BTreeMap<(u64, StateVersion), u64>,
    /// The newest version of each PE that was acknowledged.
    pub(super) acknowledged: BTreeMap<u64, StateVersion>,
    /// The newest version of each PE that the application was told of as stored.
    pub(super) promised: BTreeMap<u64, StateVersion>,
    pub(super) results_count: u64,
    pub(super) factory_panics_percent: u64,
    /// Those that were removed or replaced since the process began: there was room for them.
    pub(super) beyond_capacity: BTreeSet<u64>,
    pub(super) on_restore_error: [OnRestoreError; 2],
    pub(super) expire_after: Option<Duration>,
    /// Whose state is being replaced: it is the one or the other.
    pub(super) replacing: Option<u64>,
    /// Whether what is done from time to time is done.
    pub(super) times_on: bool,
    /// The age of a change that is not stored, from which on no other is to be made.
    pub(super) exposure_max: Option<Duration>,
    /// How many events of a PE may not be stored.
    pub(super) exposed_events_max: Option<NonZeroU32>,
    /// When the keeper had last done all that was to be done by then.
    pub(super) ticked_at: Duration,
    pub(super) clock: Arc<SimulatedClock>,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) trace: Trace,
    dice: Dice,
}

impl Book {
    pub(super) fn new(
        clock: Arc<SimulatedClock>,
        world: Arc<Mutex<World>>,
        trace: Trace,
        dice: Dice,
    ) -> Self {
        Self {
            subjects: BTreeMap::new(),
            contents: vec![Ledger::new(0).content()],
            changed_at: vec![Default::default()],
            half_done: vec![false],
            traps: vec![false],
            reloads: [false; 2],
            results: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            promised: BTreeMap::new(),
            results_count: 0,
            factory_panics_percent: 0,
            beyond_capacity: BTreeSet::new(),
            on_restore_error: [OnRestoreError::Fail; 2],
            expire_after: None,
            replacing: None,
            times_on: true,
            exposure_max: None,
            exposed_events_max: None,
            ticked_at: Duration::ZERO,
            clock,
            world,
            trace,
            dice,
        }
    }

    pub(super) fn subject(&mut self, owner: u64) -> &mut Subject {
        self.subjects.entry(owner).or_default()
    }

    pub(super) fn last_serial(&self) -> u64 {
        self.contents.len() as u64 - 1
    }

    pub(super) fn stored_serial(&self, owner: u64) -> u64 {
        lock(&self.world).records.newest_serial(&id_of(owner))
    }

    /// What a PE may be that is restored now: the acknowledged version, or a newer one.
    pub(super) fn restorable(&self, owner: u64) -> Vec<u64> {
        let acknowledged = self.acknowledged.get(&owner);
        let world = lock(&self.world);
        let subject = self.subjects.get(&owner);
        if let Some(removal) = subject.and_then(|subject| subject.removal.as_ref()) {
            // What was removed must not come back; what came after may be stored without an answer.
            let versions = world.records.versions(&id_of(owner)).iter();
            let newer = versions.map(Stored::serial).filter(|serial| removal.allows(*serial));
            return newer.chain([0]).collect();
        }
        let versions = world.records.versions(&id_of(owner)).iter().enumerate();
        let newer = versions.filter(|(at, s)| *at == 0 || Some(&s.version) >= acknowledged);
        let serials: Vec<u64> = newer.map(|(_, stored)| stored.serial()).collect();
        if serials.is_empty() { vec![0] } else { serials }
    }

    /// What a PE may be that is restored after a panic: a save that was given up may land after the
    /// version before it was read.
    pub(super) fn reloadable(&self, owner: u64) -> Vec<u64> {
        let replaced = lock(&self.world).records.replaced_late(&id_of(owner));
        let mut serials = self.restorable(owner);
        serials.extend(replaced);
        serials
    }

    /// Whether a closure has panicked, and the PE may have been restored since by an event that did
    /// not get through.
    pub(super) fn may_be_reloaded(&mut self, owner: u64) -> bool {
        self.reloads[place_of(owner).0] && self.subject(owner).poisoned
    }

    /// How many PEs of a prototype may be in memory beyond its capacity.
    pub(super) fn beyond_capacity(&self, prototype: usize) -> u64 {
        self.beyond_capacity.iter().filter(|owner| place_of(**owner).0 == prototype).count() as u64
    }

    /// Whether a PE that cannot be restored starts as something else than what is stored.
    pub(super) fn may_start_otherwise(&self, owner: u64) -> bool {
        self.on_restore_error[place_of(owner).0] != OnRestoreError::Fail
    }

    /// Whether a PE may have started as this instead of what was stored.
    pub(super) fn may_start_as(&self, owner: u64, serial: u64) -> bool {
        match self.on_restore_error[place_of(owner).0] {
            OnRestoreError::StartEmpty => serial == 0,
            // The newest is what it was stored as since.
            OnRestoreError::Previous => {
                let world = lock(&self.world);
                let mut older = world.records.versions(&id_of(owner)).iter().skip(2);
                older.any(|stored| stored.serial() == serial)
            }
            _ => false,
        }
    }

    /// Whether the newest version that is stored of a PE was acknowledged.
    pub(super) fn is_acknowledged(&self, owner: u64) -> bool {
        let world = lock(&self.world);
        let newest = world.records.newest(&id_of(owner));
        newest.is_none_or(|newest| self.acknowledged.get(&owner) == Some(&newest.version))
    }

    /// Whether a state cannot be encoded.
    pub(super) fn is_trap(&self, serial: u64) -> bool {
        is_one_of(&self.traps, &[serial])
    }

    /// Whether the PE has changes that are not stored, as far as that is certain.
    pub(super) fn is_dirty(&mut self, owner: u64) -> bool {
        let stored = self.stored_serial(owner);
        if self.may_be_reloaded(owner) {
            return false;
        }
        let subject = self.subject(owner);
        subject.certain().is_some_and(|live| live != stored || subject.restated)
    }

    /// A factory makes a PE.
    pub(super) fn make(&mut self, owner: u64) -> Option<Ledger> {
        let percent = self.factory_panics_percent;
        if self.dice.chance(percent) {
            lock(&self.world).met.count(Met::FactoryPanic);
            self.trace.add(format_args!("the factory panics for {owner}"));
            return None;
        }
        Some(Ledger::new(owner))
    }

    /// Somebody sees the state of a PE: it must be the one that it has.
    pub(super) fn observe(&mut self, owner: u64, ledger: &Ledger) {
        let stored = self.stored_serial(owner);
        let reloads = self.reloads[place_of(owner).0];
        let restorable = self.restorable(owner);
        let reloadable = self.reloadable(owner);
        let may_fail = self.may_start_otherwise(owner);
        let subject = self.subjects.entry(owner).or_default();
        let starts_otherwise = may_fail || subject.expired;
        let trace = &self.trace;
        if subject.out {
            trace.violate(format!("{owner} is in two places"));
        }
        if subject.poisoned {
            if !reloads {
                trace.violate(format!("an event ran on {owner}, in which a closure had panicked"));
            }
            subject.poisoned = false;
            subject.live = reloadable;
            subject.restated = false;
            subject.unstored.clear();
        }
        let serial = ledger.serial;
        let mut others = Vec::new();
        let may_be_adrift = subject.adrift || subject.live.len() > 1 && starts_otherwise;
        if may_be_adrift && serial != stored && subject.may_be(serial) {
            others = subject.live.iter().copied().filter(|live| *live != serial).collect();
        } else if !subject.may_be(serial) {
            others = self.unexpected(owner, serial, &restorable);
        }
        let subject = self.subjects.entry(owner).or_default();
        let trace = &self.trace;
        if others.is_empty() && !subject.may_be(serial) {
            trace.violate(format!(
                "P1: {owner} is seen as of {serial}, expected is one of {:?}; stored is {stored}",
                subject.live
            ));
        }
        if subject.live.len() > 1 {
            subject.unstored.retain(|change| change.serial <= serial && change.serial > stored);
        }
        subject.live = vec![serial];
        subject.is_seen = true;
        subject.adrift = !others.is_empty();
        if others.is_empty() && serial == stored {
            subject.put_aside = None;
        }
        if !others.is_empty() {
            // As long as it is not changed, it may leave and come back as what is stored.
            subject.live.extend(others);
            subject.live.dedup();
            subject.unstored.clear();
            subject.restated = false;
        }
        subject.trapped = is_one_of(&self.traps, &subject.live);
        subject.expired = false;
        let content = ledger.content();
        let is_sound = match usize::try_from(serial).ok().and_then(|at| self.contents.get(at)) {
            _ if serial == 0 => content == Ledger::new(owner).content(),
            Some(known) => *known == content,
            None => false,
        };
        if !is_sound {
            trace.violate(format!("{owner} is no state that it ever had: {content:?}"));
        }
    }

    /// What a PE that is not what it was may become again, if it may be this now.
    fn unexpected(&mut self, owner: u64, serial: u64, restorable: &[u64]) -> Vec<u64> {
        let policy = self.on_restore_error[place_of(owner).0];
        let mut world = lock(&self.world);
        let versions = world.records.versions(&id_of(owner)).iter();
        let stored: Vec<u64> = versions.map(Stored::serial).collect();
        let subject = self.subjects.entry(owner).or_default();
        let met = match policy {
            _ if serial == 0 && subject.expired => Met::Expired,
            OnRestoreError::StartEmpty if serial == 0 => Met::StartedEmpty,
            OnRestoreError::Previous if stored.contains(&serial) => Met::StartedFromPrevious,
            _ => return Vec::new(),
        };
        if met != Met::Expired {
            subject.put_aside = stored.first().copied().filter(|stored| *stored > 0);
        }
        world.met.count(met);
        let mut others: Vec<u64> = restorable.iter().copied().chain(stored).collect();
        others.extend(subject.live.iter().copied());
        others.push(0);
        others.retain(|other| *other != serial);
        others
    }

    /// A checkpoint is said to have expired.
    pub(super) fn expire(&mut self, owner: u64) {
        let now = (self.clock.time(), self.clock.jumps());
        let expire_after = self.expire_after.unwrap_or_default();
        self.trace.add(format_args!("  {owner} expires"));
        let stored = self.stored_serial(owner);
        let subject = self.subjects.entry(owner).or_default();
        // The last change that is stored: what came after it is lost or not told apart. A clock
        // that was set since makes it older or younger.
        let at = usize::try_from(stored).ok().and_then(|at| self.changed_at.get(at));
        let at = at.filter(|(_, jumps)| stored > 0 && *jumps == now.1);
        let age = at.map(|(at, _)| now.0.saturating_sub(*at));
        if age.is_some_and(|age| age + EXPIRY_SLACK < expire_after) {
            self.trace.violate(format_args!("{owner} expires after {age:?}"));
        }
        subject.expired = true;
        if !subject.may_be(0) {
            // The event that has met this need not get through.
            subject.live.push(0);
        }
        // What has expired may be overwritten.
        subject.put_aside = None;
    }

    /// Changes a PE that was observed.
    pub(super) fn change(&mut self, owner: u64, ledger: &mut Ledger, bytes: usize, trap: Trap) {
        let serial = self.contents.len() as u64;
        ledger.change(serial, bytes, trap);
        self.contents.push(ledger.content());
        self.half_done.push(false);
        self.traps.push(trap != Trap::None);
        let now = self.clock.time();
        self.changed_at.push((now, self.clock.jumps()));
        let subject = self.subject(owner);
        subject.live = vec![serial];
        subject.trapped = trap != Trap::None;
        subject.unstored.push(Change { serial, at: now, is_event: true, written_off: false });
        subject.adrift = false;
        self.trace.add(format_args!("  {owner} changes to {serial}"));
    }

    /// Notes that what a closure has changed is what a panic left.
    pub(super) fn poison(&mut self, owner: u64) {
        let serial = self.last_serial();
        *self.half_done.last_mut().unwrap() = true;
        self.subject(owner).poisoned = true;
        self.trace.add(format_args!("  {owner} is poisoned at {serial}"));
    }

    /// The application goes on with what a panic left.
    pub(super) fn keep(&mut self, owner: u64) {
        let now = self.clock.time();
        let subject = self.subjects.entry(owner).or_default();
        subject.poisoned = false;
        subject.restated = true;
        for change in &mut subject.unstored {
            // Before, nothing of it was to be stored.
            change.at = now;
        }
        for serial in &subject.live {
            self.half_done[usize::try_from(*serial).unwrap()] = false;
            if !subject.unstored.iter().any(|change| change.serial == *serial) {
                subject.unstored.push(Change {
                    serial: *serial,
                    at: now,
                    is_event: true,
                    written_off: false,
                });
            }
        }
    }

    /// The PE is now one of these, whatever it was.
    pub(super) fn set(&mut self, owner: u64, live: Vec<u64>, restated: bool) {
        let now = self.clock.time();
        self.trace.add(format_args!("  {owner} is now one of {live:?}"));
        let serial = live.iter().copied().max().unwrap_or_default();
        let trapped = is_one_of(&self.traps, &live);
        let subject = self.subject(owner);
        let refused = subject.refused.filter(|_| !restated);
        let (out, replaced, removal) = (subject.out, subject.replaced, subject.removal.take());
        let (expired, is_seen, in_doubt) = (subject.expired, subject.is_seen, subject.in_doubt);
        let change =
            restated.then_some(Change { serial, at: now, is_event: false, written_off: false });
        let unstored = change.into_iter().collect();
        *subject = Subject {
            live,
            restated,
            unstored,
            out,
            removal,
            replaced,
            trapped,
            refused,
            expired,
            is_seen,
            in_doubt,
            ..Subject::default()
        };
    }

    /// The PE was removed.
    pub(super) fn remove(&mut self, owner: u64) {
        self.set(owner, vec![0], true);
        let last_serial = self.last_serial();
        self.subject(owner).removal = Some(Removal::after(last_serial));
    }

    /// The process has died or was closed: what is stored is what there is.
    pub(super) fn restart(&mut self) {
        let owners: Vec<u64> = self.subjects.keys().copied().collect();
        for owner in owners {
            let stored = self.stored_serial(owner);
            let subject = Subject { live: vec![stored], ..Subject::default() };
            let before = self.subjects.insert(owner, subject);
            if before.and_then(|before| before.certain()).is_some_and(|live| live > stored) {
                lock(&self.world).met.count(Met::FellBack);
            }
        }
        self.results_count = 0;
        self.beyond_capacity.clear();
    }
}

/// Whether one of these serials is marked.
fn is_one_of(marks: &[bool], serials: &[u64]) -> bool {
    let is_marked =
        |serial: &u64| usize::try_from(*serial).ok().and_then(|at| marks.get(at)) == Some(&true);
    serials.iter().any(is_marked)
}
