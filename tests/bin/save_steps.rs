//! Opens a file system store and saves in every way there is, all on one thread, so that the n-th
//! system call of a run is the n-th of the next.
//!
//! Argument: the directory. Prints `tried KEY EPOCH SEQUENCE .` before a record is saved, and
//! `stored`, `failed` or `unknown` in place of `tried` after it; the same of the key `metadata`,
//! whose sequence is its version. What was not stored is tried once more, and must be then.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, DefaultFileSystemStateStorage, SaveOutcome, StateStorage, StateVersion,
};

/// Few enough for syncs of their own.
const FEW: &[&str] = &["a", "b"];
/// Enough for a shared one, where the file system has it; some are new to the store.
const MANY: &[&str] = &["c", "d", "e", "f", "g", "new1", "new2", "new3"];
const REMOVED: &[&str] = &["b"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("usage: save_steps DIRECTORY")?;
    let storage = match DefaultFileSystemStateStorage::open(&root) {
        Ok(storage) => storage,
        Err(err) => {
            print(&format!("not open: {err}"))?;
            DefaultFileSystemStateStorage::open(&root)?
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
    Ok(())
}

fn payload(id: &CheckpointId, version: StateVersion) -> Vec<u8> {
    format!("{id} {version}").into_bytes().repeat(20)
}

struct Steps {
    storage: DefaultFileSystemStateStorage,
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
        let outcomes = conformance::save(&self.storage, &records);
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
