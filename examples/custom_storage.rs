//! A storage of one's own: all states in one file, which each batch replaces as a whole.
//!
//! It is no more than the contract of `StateStorage` asks for, and enough for some hundred small
//! states. The program first runs the conformance checks on it, then uses it; with `check` it runs
//! the checks alone, with their options:
//!
//! ```text
//! $ custom_storage /tmp/visits check --histories 1000 --seed 7
//! passed   …
//! $ custom_storage /tmp/visits
//! passed   …
//! visit 1
//! $ custom_storage /tmp/visits
//! passed   …
//! visit 2
//! ```
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use checkpoint::storage::conformance::{Conformance, Harness};
use checkpoint::{
    CheckpointId, CheckpointIdRef, Checkpointable, CompareAndSet, Durability, Epoch, FetchEntry,
    FetchOutcome, FetchVersion, Metadata, MetadataVersion, RecordHeader, RecordKind, SafeKeeper,
    SaveBatch, SaveOutcome, StateLimits, StateStorage, StorageCapabilities, StorageError,
    StorageErrorKind, StoredVersion, encode_state, restore_state,
};

fn main() -> anyhow::Result<ExitCode> {
    let mut args = env::args().skip(1);
    let dir = PathBuf::from(args.next().context("usage: custom_storage DIR [check …]")?);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;

    let files = Files { dir: dir.join("checked"), number: AtomicU64::new(0) };
    if args.next().is_some_and(|arg| arg == "check") {
        return Ok(Conformance::new(files).main(args));
    }
    // In a test of a storage this and the assertion are all that is needed.
    let report = Conformance::new(files).histories(5).run();
    println!("{report}");
    report.assert_passed();

    let keeper = SafeKeeper::builder(OneFileStorage::open(dir.join("state"))?).build()?;
    let visits = keeper.prototype::<(), u64>("visits").create(|()| 0).build()?;
    let visit = visits.process((), |visits| {
        *visits += 1;
        *visits
    })?;
    keeper.close(Duration::from_secs(10))?;
    println!("visit {visit}");
    Ok(ExitCode::SUCCESS)
}

/// Keeps all states in memory and in one file.
///
/// Nobody else may have the file open: unlike a storage for production use, it takes no lock.
struct OneFileStorage {
    path: PathBuf,
    content: Mutex<Content>,
}

/// What is in the file, in the encoding that states have.
#[derive(Checkpointable, Default, Clone)]
struct Content {
    /// The newest record by prototype and key. Records have checksums of their own.
    records: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    /// The last epoch that was opened, by partition.
    epochs: BTreeMap<u32, u64>,
    /// Version and value, by name.
    metadata: BTreeMap<String, (u64, Vec<u8>)>,
}

impl OneFileStorage {
    fn open(path: PathBuf) -> Result<Self, StorageError> {
        let attempted = || format!("open {}", path.display());
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, content: Mutex::default() });
            }
            Err(err) => {
                let kind = StorageErrorKind::Unavailable;
                return Err(StorageError::new(kind, attempted()).with_source(err));
            }
        };
        let mut content = Content::default();
        restore_state(&mut content, &bytes, &StateLimits::default()).map_err(|err| {
            StorageError::new(StorageErrorKind::Corrupt, attempted()).with_source(err)
        })?;
        Ok(Self { path, content: Mutex::new(content) })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Whoever panicked had changed a copy only.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `next` the content, on disk and then in memory.
    fn replace(&self, content: &mut Content, next: Content) -> Result<(), StorageError> {
        let attempted = || format!("write {}", self.path.display());
        let bytes = encode_state(&next, &StateLimits::default()).map_err(|err| {
            StorageError::new(StorageErrorKind::Full, attempted()).with_source(err)
        })?;
        replace_file(&self.path, &bytes).map_err(|err| {
            StorageError::new(StorageErrorKind::Unavailable, attempted()).with_source(err)
        })?;
        *content = next;
        Ok(())
    }
}

/// Replaces a file so that a crash at any instant leaves the old or the new one.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

impl Content {
    fn record(&self, id: CheckpointIdRef<'_>) -> Option<&Vec<u8>> {
        self.records.get(&(id.prototype.to_owned(), id.key.to_owned()))
    }

    /// Puts a record in its place, unless that would make the state older.
    fn put(&mut self, partition: u32, record: &[u8]) -> Result<(), StorageError> {
        let new = header(record)?;
        let refused = |kind| Err(StorageError::new(kind, format!("save {}", new.id)));
        let current = Epoch(self.epochs.get(&partition).copied().unwrap_or_default());
        if new.version.epoch < current {
            return refused(StorageErrorKind::Fenced { mine: new.version.epoch, current });
        }
        if let Some(stored) = self.record(new.id) {
            let current = header(stored)?.version;
            if new.version < current {
                return refused(StorageErrorKind::Stale { current });
            }
            if new.version == current {
                // Sent again after its outcome was lost: it is the same record.
                return Ok(());
            }
        }
        let id = (new.id.prototype.to_owned(), new.id.key.to_owned());
        self.records.insert(id, record.to_vec());
        Ok(())
    }
}

fn header(record: &[u8]) -> Result<RecordHeader<'_>, StorageError> {
    RecordHeader::parse(record).map_err(|err| {
        StorageError::new(StorageErrorKind::Corrupt, "read a record").with_source(err)
    })
}

impl StateStorage for OneFileStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities::new(Durability::Power)
            .with_compare_and_set(CompareAndSet::PerPartition)
    }

    fn save(&self, batch: SaveBatch) {
        let (bytes, entries) = batch.into_parts();
        let mut content = self.content();
        let mut next = content.clone();
        let mut put = Vec::new();
        let mut outcomes = Vec::new();
        for entry in entries {
            match next.put(entry.partition(), entry.record_in(&bytes)) {
                Ok(()) => put.push(entry),
                Err(err) => outcomes.push((entry, SaveOutcome::NotStored(err))),
            }
        }
        let replaced = self.replace(&mut content, next);
        drop(content);
        for entry in put {
            let outcome = match &replaced {
                Ok(()) => SaveOutcome::Stored,
                // The new file may be in place all the same, if only the last sync failed.
                Err(err) => SaveOutcome::Unknown(
                    StorageError::new(err.kind(), err.attempted()).with_source(err.to_string()),
                ),
            };
            outcomes.push((entry, outcome));
        }
        // No lock is held: the keeper may call the storage again.
        for (entry, outcome) in outcomes {
            entry.complete(outcome);
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            let record = self.content().record(entry.id().as_ref()).cloned();
            let outcome = match entry.version() {
                FetchVersion::Newest => Ok(record),
                wanted => record.map_or(Ok(None), |record| {
                    let found = header(&record)?.version;
                    let is_wanted = match wanted {
                        FetchVersion::Newest => true,
                        FetchVersion::Before(limit) => found < limit,
                        FetchVersion::Exactly(version) => found == version,
                    };
                    Ok(is_wanted.then_some(record))
                }),
            };
            entry.complete(outcome);
        }
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        // A save in progress holds the lock while it writes: then the answer is left to `fetch`.
        let content = self.content.try_lock().ok()?;
        Some(Ok(content.record(id.as_ref()).cloned()))
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        self.content.try_lock().map_or(true, |content| content.record(id.as_ref()).is_some())
    }

    fn prefetch(&self, _ids: &[CheckpointId]) {}

    fn fetch_many(&self, _ids: &[CheckpointIdRef<'_>], _found: &mut dyn FnMut(usize, Vec<u8>)) {}

    fn ids(
        &self,
        prototype: &str,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut ids = Vec::new();
        for record in self.content().records.values() {
            let header = header(record)?;
            if header.id.prototype == prototype && header.kind == RecordKind::State {
                ids.push(header.id.to_owned());
            }
        }
        for id in ids {
            if visit(id).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn versions(&self, id: &CheckpointId) -> Result<Vec<StoredVersion>, StorageError> {
        let content = self.content();
        let Some(record) = content.record(id.as_ref()) else { return Ok(Vec::new()) };
        let RecordHeader { version, kind, captured_at, .. } = header(record)?;
        let record_bytes = record.len() as u64;
        Ok(vec![StoredVersion { version, kind, captured_at, record_bytes }])
    }

    fn open_epoch(&self, partition: u32) -> Result<Epoch, StorageError> {
        let mut content = self.content();
        let mut next = content.clone();
        let epoch = next.epochs.entry(partition).or_default();
        *epoch += 1;
        let epoch = Epoch(*epoch);
        self.replace(&mut content, next)?;
        Ok(epoch)
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, StorageError> {
        let found = self.content().metadata.get(name).cloned();
        Ok(found.map(|(version, bytes)| Metadata { version: MetadataVersion(version), bytes }))
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        let attempted = format!("put metadata {name:?}");
        if name.is_empty() || name.len() > checkpoint::METADATA_NAME_BYTES_MAX {
            return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
        }
        if bytes.len() > checkpoint::METADATA_BYTES_MAX {
            let max = checkpoint::METADATA_BYTES_MAX as u64;
            return Err(StorageError::new(StorageErrorKind::TooLarge { max }, attempted));
        }
        let mut content = self.content();
        let found = content.metadata.get(name).map(|(version, _)| MetadataVersion(*version));
        if found != expected {
            return Err(StorageError::new(StorageErrorKind::Conflict, attempted));
        }
        let version = MetadataVersion(found.map_or(1, |version| version.0 + 1));
        let mut next = content.clone();
        next.metadata.insert(name.to_owned(), (version.0, bytes.to_vec()));
        self.replace(&mut content, next)?;
        Ok(version)
    }
}

/// Gives each conformance check a file of its own.
struct Files {
    dir: PathBuf,
    number: AtomicU64,
}

impl Files {
    fn open(&self) -> Arc<dyn StateStorage> {
        let number = self.number.load(Ordering::Relaxed);
        match OneFileStorage::open(self.dir.join(number.to_string())) {
            Ok(storage) => Arc::new(storage),
            Err(err) => panic!("{err}"),
        }
    }
}

impl Harness for Files {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        if self.number.fetch_add(1, Ordering::Relaxed) == 0 {
            // What a former run left is of no use; most often there is nothing.
            drop(fs::remove_dir_all(&self.dir));
            fs::create_dir_all(&self.dir).unwrap_or_else(|err| panic!("{err}"));
        }
        self.open()
    }

    fn reopen(&self, storage: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        drop(storage);
        Some(self.open())
    }
}
