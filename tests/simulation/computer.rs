//! The computer that a simulated process runs on: the store on its disk, and what is known of it.
//!
//! The power goes, operations of the disk fail, processes are killed. What was given to the store
//! is remembered, so that whatever is read from it can be judged.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::storage::conformance::fetch;
use checkpoint::{
    CheckpointId, FetchOutcome, FetchVersion, RecordKind, RecordView, SaveOutcome, StateVersion,
    StorageErrorKind,
};

use super::clock::SimulatedClock;
use super::content::{Stored, stored};
use super::dice::Dice;
use super::met::{Met, Tally};
use super::power_loss::{Boot, Disk, Left, LogOptions, Store, StoreOptions};
use super::trace::{Trace, lock};

/// For how long a log remembers what was removed: less than a history takes.
const REMOVALS_KEPT: Duration = Duration::from_secs(1);

/// What outlives the processes: the disk, and what was ever given to the store on it.
pub(super) struct Computer {
    disk: Arc<Mutex<Disk>>,
    options: StoreOptions,
    clock: Arc<SimulatedClock>,
    dice: Dice,
    trace: Trace,
    /// The store was open once.
    exists: bool,
    errors_percent: u64,
    /// How many of a hundred starts are followed by a loss of power.
    off_percent: u64,
    /// The store of the living process.
    store: Option<Arc<Store>>,
    offers: BTreeMap<(CheckpointId, StateVersion), Offer>,
    pub(super) met: Tally,
}

/// What was given to the store.
struct Offer {
    record: Vec<u8>,
    /// Some attempt was not told to have changed nothing.
    may_be_stored: bool,
    /// The last attempt has no outcome yet.
    is_open: bool,
}

impl Computer {
    pub(super) fn new(clock: Arc<SimulatedClock>, dice: &mut Dice, trace: Trace) -> Self {
        let is_log = dice.chance(50);
        let log = is_log.then(|| LogOptions::draw(dice, REMOVALS_KEPT));
        Self {
            disk: Disk::new(dice.fork(), trace.clone()),
            options: StoreOptions::draw(dice, log),
            clock,
            trace,
            exists: false,
            errors_percent: 0,
            off_percent: dice.pick(&[20, 40, 70]),
            store: None,
            offers: BTreeMap::new(),
            met: Tally::new(),
            dice: dice.fork(),
        }
    }

    /// How many older versions the store keeps.
    pub(super) fn older_versions_max(&self) -> usize {
        self.options.log.map_or(0, |log| log.older_versions_max)
    }

    pub(super) fn is_on(&self) -> bool {
        lock(&self.disk).is_on()
    }

    /// The store, as long as the process that has it lives and the power is on.
    pub(super) fn store(&self) -> Option<Arc<Store>> {
        self.store.clone().filter(|_| self.is_on())
    }

    /// From now on so many of a hundred operations of the disk fail.
    pub(super) fn set_errors_percent(&mut self, errors_percent: u64) {
        self.errors_percent = errors_percent;
        lock(&self.disk).set_errors_percent(errors_percent);
    }

    /// The disk gets better, as whoever starts tries again until it works.
    ///
    /// # Panics
    /// Nothing has failed that a start could fail by.
    pub(super) fn mend(&mut self, error: &dyn Error) {
        let source = error.source();
        assert!(self.errors_percent > 0, "P6: nothing fails, and yet: {error}: {source:?}");
        self.set_errors_percent(self.errors_percent / 2);
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&mut self) {
        self.errors_percent = 0;
        lock(&self.disk).befall(self.boot(None));
    }

    /// Draws whether the power will go, and after how many operations.
    pub(super) fn tempt(&mut self) {
        let off_after = self.draw_off_after();
        lock(&self.disk).befall(self.boot(off_after));
    }

    fn draw_off_after(&mut self) -> Option<u64> {
        let most = self.dice.pick(&[10, 40, 150, 600]);
        let off_after = self.dice.below(most);
        self.dice.chance(self.off_percent).then_some(off_after)
    }

    fn boot(&self, off_after: Option<u64>) -> Boot {
        let (errors_percent, has_shared_sync) = (self.errors_percent, self.options.has_shared_sync);
        Boot { off_after, errors_percent, fails_at: None, has_shared_sync }
    }

    /// A process opens the store. `false` if the power has gone before it had.
    pub(super) fn open(&mut self) -> bool {
        loop {
            let off_after = self.draw_off_after();
            let files = Disk::start(&self.disk, self.boot(off_after));
            let (clock, seed) = (self.clock.clone(), self.dice.next());
            let opened = self.options.open(Arc::new(files), self.exists, clock, seed);
            if !self.is_on() {
                return false;
            }
            match opened {
                Ok(store) => {
                    self.exists = true;
                    self.store = Some(Arc::new(store));
                    return true;
                }
                Err(error) => {
                    self.trace.add(format_args!("not opened: {error}"));
                    self.met.count(Met::OpeningFails);
                    self.mend(&error);
                }
            }
        }
    }

    /// The process has ended: it has closed the store, or died.
    pub(super) fn end_process(&mut self, has_closed: bool) {
        if !has_closed {
            lock(&self.disk).end_process();
        }
        // Which closes it, if it still can.
        self.store = None;
        lock(&self.disk).end_process();
        if self.dice.chance(30) {
            // In the middle of an operation, if the power was to go with that.
            self.trace.add("only killed: what was not synced is there, and stays so");
            lock(&self.disk).lose_power(Left::All);
            return self.met.count(Met::Killed);
        }
        let has_lost = lock(&self.disk).lose_power(Left::Drawn);
        self.met.count(if has_lost { Met::PowerLost } else { Met::PowerLostInVain });
    }

    /// What is to be saved.
    pub(super) fn offer(&mut self, id: &CheckpointId, version: StateVersion, record: &[u8]) {
        let key = (id.clone(), version);
        let new = Offer { record: record.to_vec(), may_be_stored: false, is_open: true };
        self.offers.entry(key).or_insert(new).is_open = true;
    }

    /// What came of it while the power was on.
    pub(super) fn answered(
        &mut self,
        id: &CheckpointId,
        version: StateVersion,
        told: &SaveOutcome,
    ) {
        self.trace.add(format_args!("storage: {version} of {id}: {told:?}"));
        let is_newest = self.offers_of(id).next_back().is_none_or(|(newest, _)| newest <= version);
        if let Some(offer) = self.offers.get_mut(&(id.clone(), version)) {
            offer.is_open = false;
            offer.may_be_stored |= !matches!(told, SaveOutcome::NotStored(_));
        }
        if let SaveOutcome::NotStored(error) | SaveOutcome::Unknown(error) = told {
            let is_stale = matches!(error.kind(), StorageErrorKind::Stale { .. });
            if is_stale && is_newest || self.errors_percent == 0 && !is_stale {
                self.trace.violate(format_args!("{version} of {id} is not saved: {error}"));
            }
        }
    }

    fn offers_of(
        &self,
        id: &CheckpointId,
    ) -> impl DoubleEndedIterator<Item = (StateVersion, &Offer)> {
        let (first, last) = (StateVersion::new(0, 0), StateVersion::new(u64::MAX, u64::MAX));
        let of = self.offers.range((id.clone(), first)..=(id.clone(), last));
        of.map(|((_, version), offer)| (*version, offer))
    }

    /// Judges what is read while the process lives; `newest` is what is known to be stored. Returns
    /// what is stored against all expectation.
    pub(super) fn judge(
        &self,
        id: &CheckpointId,
        asked: FetchVersion,
        found: &FetchOutcome,
        newest: Option<&Stored>,
    ) -> Option<Stored> {
        match found {
            Err(error) => {
                if self.errors_percent == 0 {
                    self.trace.violate(format_args!("{id} cannot be read: {error:?}"));
                }
            }
            Ok(None) => {
                let is_gone = newest.is_some_and(|newest| !self.is_forgotten(newest));
                if asked == FetchVersion::Newest && is_gone {
                    self.trace.violate(format_args!("P6: {id} is gone, {newest:?} is stored"));
                }
            }
            Ok(Some(bytes)) => {
                let found = self.recognise(id, bytes)?;
                let newest = newest.map(|newest| newest.version);
                if Some(found.version) > newest {
                    return Some(found);
                }
                if asked == FetchVersion::Newest && Some(found.version) < newest {
                    let version = found.version;
                    self.trace.violate(format_args!("P2: {id} is {version}, stored is {newest:?}"));
                }
            }
        }
        None
    }

    /// Whether a log may have forgotten that this was removed.
    fn is_forgotten(&self, newest: &Stored) -> bool {
        self.options.log.is_some() && newest.kind == RecordKind::Tombstone
    }

    /// Reads a record that was found under an id: one that was saved for it.
    fn recognise(&self, id: &CheckpointId, bytes: &[u8]) -> Option<Stored> {
        let version = RecordView::parse(bytes).ok().map(|view| view.header().version);
        let offer = version.and_then(|version| self.offers.get(&(id.clone(), version)));
        let Some(offer) = offer.filter(|offer| offer.record == bytes) else {
            self.trace.violate(format_args!("P6: {id} is what it never was: {version:?}"));
            return None;
        };
        if !offer.may_be_stored && !offer.is_open {
            self.trace.violate(format_args!("{version:?} of {id} was told not to be stored"));
        }
        stored(id, bytes)
    }

    /// Looks what is on the disk, and whether all that was promised is: by a copy, as the process
    /// that opens it next would find it. The newest version of each id comes first.
    pub(super) fn look(
        &mut self,
        promised: &BTreeMap<CheckpointId, StateVersion>,
    ) -> BTreeMap<CheckpointId, Vec<Stored>> {
        let mut all = BTreeMap::new();
        if !self.exists {
            return all;
        }
        let copy = Arc::new(Mutex::new(lock(&self.disk).copied(self.dice.fork())));
        let files = Disk::start(&copy, Boot { errors_percent: 0, ..self.boot(None) });
        let (clock, seed) = (self.clock.clone(), self.dice.next());
        let store = match self.options.open(Arc::new(files), true, clock, seed) {
            Ok(store) => store,
            Err(error) => {
                let source = error.source();
                panic!("P6: the store cannot be opened any more: {error} {source:?}");
            }
        };
        if let Store::Log(log) = &store {
            let damages = &log.open_report().damages;
            if !damages.is_empty() {
                self.trace.violate(format_args!("P6: taken for damaged: {damages:?}"));
            }
        }
        let mut ids: Vec<CheckpointId> = self.offers.keys().map(|(id, _)| id.clone()).collect();
        ids.dedup();
        for id in ids {
            let versions = self.versions(&store, &id);
            self.check_promise(&id, promised.get(&id).copied(), versions.first());
            all.insert(id, versions);
        }
        // What is told of a version that the end of the process has left open is told to nobody.
        for offer in self.offers.values_mut().filter(|offer| offer.is_open) {
            (offer.is_open, offer.may_be_stored) = (false, true);
        }
        self.met.count(Met::Verified);
        all
    }

    fn versions(&self, store: &Store, id: &CheckpointId) -> Vec<Stored> {
        let newest = match fetch(&**store, id, FetchVersion::Newest) {
            Ok(newest) => newest,
            Err(error) => {
                self.trace.violate(format_args!("P6: {id} cannot be read: {error:?}"));
                None
            }
        };
        let newest = newest.and_then(|newest| self.recognise(id, &newest));
        let listed = store.versions(id).unwrap_or_default();
        if listed.first().map(|listed| listed.version) != newest.as_ref().map(|one| one.version) {
            self.trace.violate(format_args!("{listed:?} are listed of {id}, {newest:?} is found"));
        }
        let older = listed.iter().skip(1).filter_map(|older| {
            match fetch(&**store, id, FetchVersion::Exactly(older.version)) {
                Ok(Some(bytes)) => self.recognise(id, &bytes),
                other => {
                    self.trace.violate(format_args!("{older:?} of {id} is listed: {other:?}"));
                    None
                }
            }
        });
        newest.into_iter().chain(older).collect()
    }

    /// Whatever the application was promised is there, or something newer.
    fn check_promise(
        &mut self,
        id: &CheckpointId,
        promised: Option<StateVersion>,
        found: Option<&Stored>,
    ) {
        let version = found.map(|found| found.version);
        let Some(promised) = promised else {
            return self.met.count_many(Met::FoundUnpromised, version.is_some().into());
        };
        // It may have been forgotten that this one or a newer one marks a removal.
        let is_forgotten = version.is_none() && {
            let of = self.offers_of(id).filter(|(version, _)| *version >= promised);
            let mut newer = of.filter_map(|(_, offer)| stored(id, &offer.record));
            newer.any(|newer| self.is_forgotten(&newer))
        };
        if version < Some(promised) && !is_forgotten {
            self.trace.violate(format_args!("P6: {id} is {version:?}, {promised} was promised"));
        }
        let is_removed = found.is_none_or(|found| found.kind == RecordKind::Tombstone);
        self.met.count(match version {
            _ if is_removed => Met::RemovedIsRemoved,
            Some(version) if version > promised => Met::FoundNewer,
            _ => Met::FoundAsPromised,
        });
    }

    /// Compacts a log, which may fail as anything may.
    pub(super) fn compact(&mut self) {
        let Some(store) = self.store() else { return };
        let Store::Log(log) = &*store else { return };
        let segments = log.stats().segments_compacted;
        let compacted = log.compact();
        self.trace.add(format_args!("compacted: {compacted:?}"));
        if compacted.is_err() && self.is_on() && self.errors_percent == 0 {
            self.trace.violate(format_args!("a log is not compacted: {compacted:?}"));
        }
        if log.stats().segments_compacted > segments {
            self.met.count(Met::Compacted);
        }
    }

    /// What was met, with what the disk has counted.
    pub(super) fn take_met(&mut self) -> Tally {
        let mut met = std::mem::take(&mut self.met);
        let disk = lock(&self.disk);
        met.count_many(Met::FileError, disk.errors);
        met.count_many(Met::FileOperation, disk.operations);
        met
    }
}
