//! Storages over files are crashed by a disk in memory that loses what was not synced, and those
//! that sync too little, or trust a sync too much, are found.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use checkpoint::storage::conformance::{
    CheckReport, Conformance, CrashHarness, Harness, Report, Verdict,
};
use checkpoint::{
    DefaultFileSystemStateStorage, Durability, FileHandle, FileOps, LogStorage, SharedSync,
    StateStorage, StorageError,
};
use checkpoint_tests::Backend;
use checkpoint_tests::simulation::{Fate, Left, Machine};

const ROOT: &str = "/simulated";

/// What is wrong with a storage's way to sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// Acknowledges what is not synced yet.
    TellsBeforeSyncing,
    /// Does not make the names of files durable.
    ForgetsTheDirectory,
    /// Syncs again after a failure, and believes that.
    TrustsASecondSync,
}

/// A machine, and how a storage on it is opened.
struct Crashing {
    backend: Backend,
    durability: Durability,
    flaw: Option<Flaw>,
    machine: Mutex<Machine>,
}

impl Crashing {
    fn new(backend: Backend, flaw: Option<Flaw>) -> Self {
        let machine = Mutex::new(Machine::new(0));
        Self { backend, durability: Durability::Power, flaw, machine }
    }

    fn open(&self) -> Result<Arc<dyn StateStorage>, StorageError> {
        let files = self.machine.lock().unwrap().start(Fate::default());
        let files: Arc<dyn FileOps> = match self.flaw {
            Some(flaw) => Arc::new(Flawed { files, flaw }),
            None => files,
        };
        Ok(match self.backend {
            Backend::Files => {
                let builder = DefaultFileSystemStateStorage::builder(ROOT);
                Arc::new(builder.durability(self.durability).open_over(files)?)
            }
            Backend::Log => {
                let builder = LogStorage::builder(ROOT).segment_bytes(5_000);
                let builder = builder.durability(self.durability).record_bytes_max(2 << 20);
                Arc::new(builder.open_over(files)?)
            }
        })
    }
}

impl Harness for Crashing {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        *self.machine.lock().unwrap() = Machine::new(1);
        self.open().unwrap()
    }

    fn reopen(&self, storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        drop(storage);
        Some(self.open().unwrap())
    }
}

impl CrashHarness for Crashing {
    fn trouble(&self, seed: u64) {
        let off_after = (!seed.is_multiple_of(3)).then_some(seed / 8 % 60);
        let errors_percent = [0, 0, 5, 15][usize::try_from(seed / 512 % 4).unwrap()];
        let fate = Fate { off_after, errors_percent, ..Fate::default() };
        self.machine.lock().unwrap().befall(fate);
    }

    fn crash_and_reopen(&self, storage: Arc<dyn StateStorage>, seed: u64) -> Arc<dyn StateStorage> {
        let left = [Left::All, Left::Synced, Left::Drawn, Left::Drawn];
        let left = left[usize::try_from(seed % 4).unwrap()];
        self.machine.lock().unwrap().crash(left);
        drop(storage);
        self.open().unwrap()
    }
}

/// File operations of which some do less than they say.
#[derive(Debug)]
struct Flawed {
    files: Arc<dyn FileOps>,
    flaw: Flaw,
}

impl FileOps for Flawed {
    fn create_directory(&self, path: &str) -> io::Result<()> {
        self.files.create_directory(path)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.files.list(directory)
    }

    fn mode(&self, path: &str) -> io::Result<u32> {
        self.files.mode(path)
    }

    fn create_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        let file = self.files.create_file(path)?;
        Ok(Box::new(FlawedFile { file, flaw: self.flaw }))
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        self.files.open_file(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn link_out(&self, path: &str, to: &Path) -> io::Result<()> {
        self.files.link_out(path, to)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.files.remove_file(path)
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        match self.flaw {
            Flaw::ForgetsTheDirectory => Ok(()),
            _ => self.files.sync_directory(path),
        }
    }

    fn begin_shared_sync(&self) -> io::Result<Option<Box<dyn SharedSync>>> {
        self.files.begin_shared_sync()
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn FileHandle>>> {
        self.files.try_lock(path)
    }

    fn doubtful_kind(&self) -> Option<&'static str> {
        self.files.doubtful_kind()
    }
}

#[derive(Debug)]
struct FlawedFile {
    file: Box<dyn FileHandle>,
    flaw: Flaw,
}

impl FileHandle for FlawedFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.file.read_at_now(buffer, offset)
    }

    fn prefetch(&self, offset: u64, bytes: u64) {
        self.file.prefetch(offset, bytes);
    }

    fn file_bytes(&self) -> io::Result<u64> {
        self.file.file_bytes()
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.flaw {
            Flaw::TellsBeforeSyncing => Ok(()),
            Flaw::TrustsASecondSync => self.file.sync_data().or_else(|_| self.file.sync_data()),
            Flaw::ForgetsTheDirectory => self.file.sync_data(),
        }
    }
}

fn run(harness: Crashing) -> Report {
    Conformance::crashing(harness).only("survive_crashes").run()
}

fn run_crashes(harness: Crashing, seed: u64) -> Report {
    Conformance::crashing(harness).only("survives_crashes").seed(seed).run()
}

#[test]
fn storages_over_files_survive_crashes() {
    for backend in Backend::ALL {
        run(Crashing::new(backend, None)).assert_passed();
        for seed in 0..20 {
            run_crashes(Crashing::new(backend, None), seed).assert_passed();
        }
    }
}

#[test]
fn storages_over_a_disk_in_memory_conform() {
    for backend in Backend::ALL {
        Conformance::crashing(Crashing::new(backend, None)).run().assert_passed();
    }
}

#[test]
fn a_storage_that_syncs_too_little_or_trusts_too_much_is_found() {
    for backend in Backend::ALL {
        for flaw in [Flaw::TellsBeforeSyncing, Flaw::ForgetsTheDirectory, Flaw::TrustsASecondSync] {
            let found = (0..20).find(|seed| {
                let report = run_crashes(Crashing::new(backend, Some(flaw)), *seed);
                report.failures().next().is_some()
            });
            assert!(found.is_some(), "{backend:?} that {flaw:?} passes");
        }
    }
}

#[test]
fn what_does_not_say_that_it_survives_is_not_crashed() {
    let harness = Crashing { durability: Durability::Process, ..Crashing::new(Backend::Log, None) };
    let report = run_crashes(harness, 1);
    let verdicts: Vec<_> = report.checks().iter().map(CheckReport::verdict).collect();
    assert!(matches!(verdicts[..], [Verdict::Skipped(_)]), "{report}");
}
