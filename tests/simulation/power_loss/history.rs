//! A history of a store: lives of a process, each ended by a loss of power or a kill.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::storage::conformance::{fetch, tombstone};
use checkpoint::{
    CheckpointId, FetchVersion, FileOps, SaveBatch, StateVersion, StorageError, TestClock,
};

use super::disk::{Boot, Disk, Files};
use super::meeting::Meeting;
use super::model::Model;
use super::node::Left;
use super::store::{LogOptions, Store, StoreOptions};
use crate::simulation::dice::Dice;
use crate::simulation::met::{Met, Tally};
use crate::simulation::outcome::{Outcome, Telling};
use crate::simulation::trace::{Trace, lock};

const NAMES: [&str; 2] = ["p", "another"];
const METADATA: [&str; 2] = ["m", "n"];

/// For how long a log remembers what was removed.
const REMOVALS_KEPT: Duration = Duration::from_secs(3600);

/// A version that was given to the store, or is to be.
type Offered = (CheckpointId, StateVersion, Vec<u8>);

/// Of each entry of a batch, once it is known, whether it need not be saved again.
type Told = Arc<Mutex<Vec<Option<bool>>>>;

struct History {
    dice: Dice,
    disk: Arc<Mutex<Disk>>,
    model: Arc<Mutex<Model>>,
    trace: Trace,
    met: Tally,
    /// With how many percent of the batches each is saved in: a log treats what is often
    /// overwritten in another way than what never changes.
    ids: Vec<(CheckpointId, u64)>,
    options: StoreOptions,
    errors_percent: u64,
    /// The store was open once.
    exists: bool,
    clock: Arc<TestClock>,
}

/// Runs the history of a seed of the file system storage.
pub(in crate::simulation) fn run_files(seed: u64, telling: Telling) -> Outcome {
    run(seed, telling, None)
}

/// Runs the history of a seed of the log.
pub(in crate::simulation) fn run_log(seed: u64, telling: Telling) -> Outcome {
    let mut dice = Dice::new(seed);
    let options = LogOptions::draw(&mut dice, REMOVALS_KEPT);
    run(seed, telling, Some(options))
}

fn run(seed: u64, telling: Telling, log: Option<LogOptions>) -> Outcome {
    let trace = Trace::telling(telling);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut history = History::new(seed, trace.clone(), log);
        history.live();
        history.met
    }));
    let met = ran.unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<String>();
        trace.violate(format_args!("a panic that was not planned: {said:?}"));
        Tally::new()
    });
    trace.outcome(met)
}

impl History {
    fn new(seed: u64, trace: Trace, log: Option<LogOptions>) -> Self {
        let mut dice = Dice::new(seed);
        let disk = Disk::new(dice.fork(), trace.clone());
        let model = Arc::new(Mutex::new(Model::new(trace.clone(), log.is_some())));
        let keys = dice.between(1, 8);
        let ids = (0..keys).map(|key| {
            let name = dice.pick(&NAMES);
            // Some too long for a file's name.
            let bytes = if dice.chance(20) { vec![b'k'; 150] } else { b"k".to_vec() };
            let key = [bytes, key.to_le_bytes().to_vec()].concat();
            (CheckpointId::new(name, key).unwrap(), dice.pick(&[3, 20, 40, 80]))
        });
        Self {
            ids: ids.collect(),
            disk,
            model,
            trace,
            met: Tally::new(),
            options: StoreOptions::draw(&mut dice, log),
            errors_percent: if dice.chance(40) { dice.pick(&[1, 3, 10]) } else { 0 },
            exists: false,
            clock: Arc::new(TestClock::new()),
            dice,
        }
    }

    fn is_broken(&self) -> bool {
        self.trace.is_broken()
    }

    fn is_on(&self) -> bool {
        lock(&self.disk).is_on()
    }

    fn live(&mut self) {
        for _ in 0..self.dice.between(1, 4) {
            let most = match self.options.log {
                Some(_) => self.dice.pick(&[10, 40, 150, 150, 1000]),
                None => self.dice.pick(&[10, 40, 150]),
            };
            let off_after = self.dice.chance(80).then(|| self.dice.below(most));
            if let Some((files, storage)) = self.open(off_after, self.errors_percent) {
                self.work(&storage, &files.meeting);
                self.leave(storage);
            }
            self.end_life();
            // In a fifth of all recoveries at the least the power goes again, and again.
            while self.dice.chance(35) {
                let off_after = Some(self.dice.below(40));
                let opened = match self.open(off_after, 0) {
                    Some((_files, storage)) => {
                        self.compact(&storage, 0);
                        self.leave(storage);
                        true
                    }
                    None => false,
                };
                self.met.count(if opened { Met::PowerGoesLater } else { Met::RecoveryCutOff });
                self.end_life();
            }
            self.verify();
            if self.is_broken() {
                return;
            }
        }
    }

    /// Ends a life by a loss of power, or by a kill that loses nothing.
    fn end_life(&mut self) {
        if self.is_on() && self.dice.chance(25) {
            self.trace.add("killed");
            return self.met.count(Met::Killed);
        }
        if !self.is_on() && self.dice.chance(25) {
            // What was not synced is still to be seen, and may yet be lost.
            self.trace.add("killed in the middle");
            return self.met.count(Met::KilledInTheMiddle);
        }
        let has_lost = lock(&self.disk).lose_power(Left::Drawn);
        self.met.count(if has_lost { Met::PowerLost } else { Met::PowerLostInVain });
    }

    /// Opens the store, which may be cut off.
    fn open(&mut self, off_after: Option<u64>, errors_percent: u64) -> Option<(Files, Arc<Store>)> {
        let has_shared_sync = self.options.has_shared_sync;
        let files = Disk::start(
            &self.disk,
            Boot { off_after, errors_percent, fails_at: None, has_shared_sync },
        );
        let (over, clock) = (Arc::new(files.clone()), self.clock.clone());
        let opened = self.options.open(over, self.exists, clock, self.dice.next());
        let storage = match opened {
            Ok(storage) => storage,
            Err(error) => {
                self.must_have_failed(&error, errors_percent);
                return None;
            }
        };
        self.exists |= self.is_on();
        match storage.open_epoch(0) {
            Ok(epoch) if self.is_on() => lock(&self.model).opened(0, epoch),
            Ok(_) => return None,
            Err(error) => {
                self.must_have_failed(&error, errors_percent);
                return None;
            }
        }
        Some((files, Arc::new(storage)))
    }

    /// An error is one of the disk's, or of the power.
    fn must_have_failed(&mut self, error: &StorageError, errors_percent: u64) {
        self.trace.add(format_args!("{error}: {:?}", std::error::Error::source(error)));
        if errors_percent == 0 && self.is_on() {
            self.trace.violate(format_args!("the store cannot be opened: {error}"));
        }
    }

    /// Lets go of a store: closes it, or dies with it.
    fn leave(&mut self, storage: Arc<Store>) {
        if self.options.log.is_some() && self.is_on() && self.dice.chance(70) {
            lock(&self.disk).end_process();
        }
        drop(storage);
    }

    /// Compacts a log, which may fail as anything may.
    fn compact(&mut self, storage: &Store, errors_percent: u64) {
        let Store::Log(log) = storage else { return };
        if self.dice.chance(50) {
            self.clock.advance(REMOVALS_KEPT);
        }
        let segments = log.stats().segments_compacted;
        match log.compact() {
            Ok(freed) => self.trace.add(format_args!("compacted: {freed} bytes are free")),
            Err(error) => self.must_have_failed(&error, errors_percent),
        }
        if log.stats().segments_compacted > segments {
            self.met.count(Met::Compacted);
        }
    }

    fn work(&mut self, storage: &Arc<Store>, meeting: &Arc<Meeting>) {
        let mut again = Vec::new();
        let most = if self.options.log.is_some() { self.dice.pick(&[12, 12, 60]) } else { 12 };
        for _ in 0..self.dice.between(1, most) {
            match self.dice.below(10) {
                0 | 1 => self.read(storage),
                2 => self.put_metadata(storage),
                3 if self.options.log.is_some() => self.compact(storage, self.errors_percent),
                _ => again = self.save(storage, meeting, again),
            }
            if !self.is_on() || self.is_broken() {
                return;
            }
        }
    }

    /// Saves a batch, and sometimes another one while the log syncs the first; returns what has
    /// failed of the first and is to be saved again.
    fn save(
        &mut self,
        storage: &Arc<Store>,
        meeting: &Arc<Meeting>,
        again: Vec<Offered>,
    ) -> Vec<Offered> {
        let again = again.into_iter().filter(|_| self.dice.chance(70)).collect();
        let mut batch = self.draw_batch(again);
        let other = (self.options.log.is_some() && self.dice.chance(20)).then(|| {
            let mut other = self.draw_batch(Vec::new());
            match self.dice.below(4) {
                // What is in both is not written twice at the same time.
                0 => {}
                1 => std::mem::swap(&mut batch, &mut other),
                _ => other.retain(|(id, ..)| !batch.iter().any(|(known, ..)| known == id)),
            }
            let saver = Arc::clone(storage);
            let (told, save) = self.saving(&other, Arc::clone(meeting));
            let waiting = Arc::clone(storage);
            meeting.at_sync(move || waiting.waiting(), move || saver.save(save));
            told
        });
        let (told, save) = self.saving(&batch, Arc::clone(meeting));
        storage.save(save);
        let have_met = meeting.end();
        if let Some(told) = other.filter(|_| have_met) {
            self.met.count(Met::BatchesOverlap);
            self.check_told(&lock(&told));
        }
        let told = lock(&told).clone();
        self.check_told(&told);
        let failed = batch.into_iter().zip(told).filter(|(_, told)| *told == Some(false));
        let failed: Vec<_> = failed.map(|(entry, _)| entry).collect();
        self.met.count(if failed.is_empty() { Met::BatchSaved } else { Met::BatchFails });
        failed
    }

    fn draw_batch(&mut self, mut batch: Vec<Offered>) -> Vec<Offered> {
        for (id, percent) in &self.ids {
            if self.dice.chance(*percent) && !batch.iter().any(|(known, ..)| known == id) {
                let (version, made) = lock(&self.model).draw(&mut self.dice, id);
                batch.push((id.clone(), version, made));
            }
        }
        batch
    }

    /// What saves a batch, and what will be told of each entry: whether it need not be saved again.
    fn saving(&self, batch: &[Offered], meeting: Arc<Meeting>) -> (Told, SaveBatch) {
        let records: Vec<u8> = batch.iter().flat_map(|(.., made)| made.clone()).collect();
        let told = Arc::new(Mutex::new(vec![None; batch.len()]));
        let noted = (told.clone(), self.disk.clone(), self.model.clone(), batch.to_vec());
        let receive = move |index: usize, outcome| {
            meeting.pass();
            let (told, disk, model, batch) = &noted;
            let (id, version, _) = &batch[index];
            // An acknowledgement that nobody hears is none.
            if lock(disk).is_on() {
                lock(model).saved(id, *version, &outcome);
                let is_stored = matches!(outcome, checkpoint::SaveOutcome::Stored);
                lock(told)[index] = Some(is_stored);
            } else {
                lock(model).cut_off(id, *version);
                lock(told)[index] = Some(true);
            }
        };
        (told, SaveBatch::of_records(records, receive).unwrap())
    }

    fn check_told(&self, told: &[Option<bool>]) {
        if told.contains(&None) {
            self.trace.violate("an entry has no outcome");
        }
    }

    fn read(&mut self, storage: &Store) {
        let (id, _) = self.ids[self.dice.index(self.ids.len())].clone();
        let found = fetch(&**storage, &id, FetchVersion::Newest);
        if self.is_on() {
            lock(&self.model).fetched(&id, &found, self.errors_percent > 0);
            if found.is_ok() && !storage.may_contain(&id) && !matches!(found, Ok(None)) {
                self.trace.violate(format_args!("{id} is there, and denied"));
            }
        }
    }

    fn put_metadata(&mut self, storage: &Store) {
        let name = self.dice.pick(&METADATA);
        let Ok(found) = storage.metadata(name) else { return };
        if !self.is_on() {
            return;
        }
        let bytes = vec![self.dice.next().to_le_bytes()[0]; self.dice.index(1500)];
        lock(&self.model).putting(name, &bytes);
        let put = storage.put_metadata(name, found.map(|found| found.version), &bytes);
        self.trace.add(format_args!("put {name}: {put:?}"));
        if let Ok(version) = put
            && self.is_on()
        {
            lock(&self.model).put(name, version);
            self.met.count(Met::MetadataPut);
        }
    }

    /// Opens the store with a disk that works: all of it must be as it was told.
    fn verify(&mut self) {
        let Some((files, storage)) = self.open(None, 0) else { return };
        let left = files.list("temp").unwrap();
        if !left.is_empty() {
            self.trace.violate(format_args!("temporary files are left: {left:?}"));
        }
        if let Store::Log(log) = &*storage {
            let (mut segments, listed) = (files.list("segments").unwrap(), log.stats().segments);
            segments.retain(|name| !name.ends_with(".hint"));
            if segments.len() as u64 != listed {
                self.trace.violate(format_args!("{segments:?} are there, {listed} are listed"));
            }
            let report = log.open_report();
            if !report.damages.is_empty() {
                self.trace.violate(format_args!("taken for damaged: {:?}", report.damages));
            }
        }
        let mut stored = BTreeSet::new();
        let ids = lock(&self.model).ids();
        for id in ids {
            let found = fetch(&**storage, &id, FetchVersion::Newest);
            lock(&self.model).fetched(&id, &found, false);
            if let Ok(Some(bytes)) = found {
                let newest = storage.versions(&id).unwrap();
                for older in newest.iter().skip(1) {
                    let found = fetch(&**storage, &id, FetchVersion::Exactly(older.version));
                    lock(&self.model).fetched_older(&id, older.version, &found);
                }
                let version = newest.first().map(|newest| newest.version).unwrap_or_default();
                if bytes != tombstone(&id, version) {
                    stored.insert(id);
                }
            }
        }
        let mut listed = Vec::new();
        for name in NAMES {
            let visited = storage.ids(name, &mut |id| {
                listed.push(id);
                ControlFlow::Continue(())
            });
            visited.unwrap();
        }
        lock(&self.model).check_listed(&stored, &listed);
        for name in METADATA {
            let found = storage.metadata(name).unwrap();
            let found = found.as_ref().map(|found| (found.version, &*found.bytes));
            lock(&self.model).check_metadata(name, found);
        }
        self.met.count(Met::Verified);
        let acknowledgements = std::mem::take(&mut lock(&self.model).acknowledgements);
        self.met.count_many(Met::Acknowledged, acknowledgements);
        let (errors, operations) = {
            let mut disk = lock(&self.disk);
            (std::mem::take(&mut disk.errors), std::mem::take(&mut disk.operations))
        };
        self.met.count_many(Met::FileError, errors);
        self.met.count_many(Met::FileOperation, operations);
    }
}
