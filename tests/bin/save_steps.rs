//! Opens a store over files and saves in every way there is, all on one thread, so that the n-th
//! system call of a run is the n-th of the next. A log has tiny segments, and is compacted.
//!
//! Arguments: `files` or `log`, the directory. Prints `tried KEY EPOCH SEQUENCE .` before a record
//! is saved, and `stored`, `failed` or `unknown` in place of `tried` after it; the same of the key
//! `metadata`, whose sequence is its version. What was not stored is tried once more, and must be
//! then.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::ops::Deref;

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, DefaultFileSystemStateStorage, LogStorage, SaveOutcome, StateStorage,
    StateVersion, StorageError,
};
use checkpoint_tests::Backend;

/// Few enough for syncs of their own.
const FEW: &[&str] = &["a", "b"];
/// Enough for a shared one, where the file system has it; some are new to the store.
const MANY: &[&str] = &["c", "d", "e", "f", "g", "new1", "new2", "new3"];
const REMOVED: &[&str] = &["b"];
/// Two batches fill a segment.
const SEGMENT_BYTES: u64 = 1_000;

/// The store that is open.
enum Store {
    Files(DefaultFileSystemStateStorage),
    Log(LogStorage),
}

impl Store {
    fn open(backend: Backend, root: &str) -> Result<Self, StorageError> {
        match backend {
            Backend::Files => DefaultFileSystemStateStorage::open(root).map(Self::Files),
            Backend::Log => {
                let builder = LogStorage::builder(root).segment_bytes(SEGMENT_BYTES);
                builder.background_compaction(false).open().map(Self::Log)
            }
        }
    }

    /// Compacts it, if it is a log.
    fn compact(&self) -> Result<(), StorageError> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Log(log) => log.compact().map(drop),
        }
    }
}

impl Deref for Store {
    type Target = dyn StateStorage;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Files(files) => files,
            Self::Log(log) => log,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: save_steps files|log DIRECTORY";
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [backend, root] = arguments.as_slice() else { return Err(usage.into()) };
    let backend = Backend::named(backend).ok_or(usage)?;
    let storage = match Store::open(backend, root) {
        Ok(storage) => storage,
        Err(err) => {
            print(&format!("not open: {err}"))?;
            Store::open(backend, root)?
        }
    };
    let epoch = match storage.open_epoch(0) {
        Ok(epoch) => epoch.0,
        Err(_) => storage.open_epoch(0)?.0,
    };
    let mut steps = Steps { storage, epoch, sequence: 0 };
    steps.save_all(FEW, |id, version| conformance::record(id, version, &payload(id, version)))?;
    steps.save_all(MANY, |id, version| conformance::record(id, version, &payload(id, version)))?;
    steps.save_all(REMOVED, conformance::tombstone)?;
    if steps.put().is_err() {
        steps.put()?;
    }
    steps.overwrite(backend)
}

fn payload(id: &CheckpointId, version: StateVersion) -> Vec<u8> {
    format!("{id} {version}").into_bytes().repeat(20)
}

struct Steps {
    storage: Store,
    epoch: u64,
    sequence: u64,
}

impl Steps {
    fn save_all(
        &mut self,
        keys: &[&str],
        record: impl Fn(&CheckpointId, StateVersion) -> Vec<u8>,
    ) -> Result<(), Box<dyn Error>> {
        let failed = self.save(keys, &record)?;
        let failed: Vec<_> = failed.keys().copied().collect();
        match self.save(&failed, &record)?.pop_first() {
            None => Ok(()),
            Some((key, outcome)) => Err(format!("{key}: {outcome:?} again").into()),
        }
    }

    /// Saves one batch; returns what is not stored.
    fn save<'k>(
        &mut self,
        keys: &[&'k str],
        record: &impl Fn(&CheckpointId, StateVersion) -> Vec<u8>,
    ) -> Result<BTreeMap<&'k str, SaveOutcome>, Box<dyn Error>> {
        let mut records = Vec::new();
        let first = self.sequence + 1;
        for key in keys {
            self.sequence += 1;
            let version = StateVersion::new(self.epoch, self.sequence);
            print(&format!("tried {key} {} {} .", self.epoch, self.sequence))?;
            records.push(record(&CheckpointId::new("p", *key)?, version));
        }
        let outcomes = conformance::save(&*self.storage, &records);
        let mut failed = BTreeMap::new();
        for ((key, sequence), outcome) in keys.iter().zip(first..).zip(outcomes) {
            let what = match outcome {
                SaveOutcome::Stored => "stored",
                SaveOutcome::NotStored(_) => "failed",
                SaveOutcome::Unknown(_) => "unknown",
            };
            print(&format!("{what} {key} {} {sequence} .", self.epoch))?;
            if what != "stored" {
                failed.insert(*key, outcome);
            }
        }
        Ok(failed)
    }

    /// Overwrites some of a log until it pays to compact it, does so, and goes on.
    fn overwrite(&mut self, backend: Backend) -> Result<(), Box<dyn Error>> {
        if backend == Backend::Files {
            return Ok(());
        }
        let state =
            |id: &CheckpointId, version| conformance::record(id, version, &payload(id, version));
        for _ in 0..2 {
            self.save_all(FEW, state)?;
        }
        if self.storage.compact().is_err() {
            self.storage.compact()?;
        }
        self.save_all(FEW, state)
    }

    fn put(&self) -> Result<(), Box<dyn Error>> {
        let expected = self.storage.metadata("m")?.map(|found| found.version);
        let next = expected.map_or(1, |version| version.0 + 1);
        print(&format!("tried metadata 0 {next} ."))?;
        let version = self.storage.put_metadata("m", expected, format!("{next}").as_bytes())?;
        print(&format!("stored metadata 0 {} .", version.0))?;
        Ok(())
    }
}

/// One system call for each line, so that what is printed has its place among the others.
fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
