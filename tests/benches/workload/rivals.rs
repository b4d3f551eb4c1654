//! Stores that a program would keep its states in, ours among them: each saves a batch durably, by
//! one sync, and finds what it has saved.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use checkpoint::{
    CheckpointId, CheckpointIdRef, Epoch, FetchEntry, FetchOutcome, FetchVersion, InputPositions,
    LogStorage, RecordKind, RecordMeta, RecordWriter, SaveBatch, SaveOutcome, Sequence,
    StateStorage, StateVersion,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

/// A key and its state, encoded.
pub(crate) type KeyAndState<'a> = (u64, &'a [u8]);

/// A store that is open.
pub(crate) trait Rival: Sync {
    /// Returns when all states are durable. Several threads may save at once, each other keys.
    fn save(&self, batch: &mut dyn Iterator<Item = KeyAndState<'_>>);

    /// Finds a state, and returns how many bytes it has.
    fn fetch(&self, key: u64) -> Option<usize>;

    /// Reads all states, as a program must that keeps them in a map.
    fn visit(&self, visit: &mut dyn FnMut(u64, &[u8]));
}

/// Opens a store in a directory of its own.
pub(crate) type Open = fn(&Path) -> Box<dyn Rival>;

/// All of them; the first is what no store can beat.
pub(crate) const RIVALS: [(&str, Open); 4] = [
    ("bare loop", |path| Box::new(Bare::open(path))),
    ("LogStorage", |path| Box::new(Logged::open(path))),
    ("fjall", |path| Box::new(Fjall::open(path))),
    ("redb", |path| Box::new(Redb::open(path))),
];

/// Appends keys and states to a file and syncs it; what it has written cannot be found again.
pub(crate) struct Bare(File);

impl Bare {
    pub(crate) fn open(path: &Path) -> Self {
        let mut options = File::options();
        let file = options.create(true).append(true).open(path.join("bare")).unwrap();
        Self(file)
    }
}

impl Rival for Bare {
    fn save(&self, batch: &mut dyn Iterator<Item = KeyAndState<'_>>) {
        let mut bytes = Vec::new();
        for (key, state) in batch {
            bytes.extend_from_slice(&key.to_be_bytes());
            bytes.extend_from_slice(state);
        }
        (&self.0).write_all(&bytes).unwrap();
        self.0.sync_data().unwrap();
    }

    fn fetch(&self, _key: u64) -> Option<usize> {
        None
    }

    fn visit(&self, _visit: &mut dyn FnMut(u64, &[u8])) {}
}

/// The name of the prototype that the states are of.
pub(crate) const STATES: &str = "states";

/// Ours without a keeper: the records are made here.
pub(crate) struct Logged {
    pub(crate) storage: LogStorage,
    epoch: Epoch,
    sequence: AtomicU64,
    bytes_before: AtomicUsize,
}

impl Logged {
    pub(crate) fn open(path: &Path) -> Self {
        let storage = LogStorage::open(path.join("log")).unwrap();
        let epoch = storage.open_epoch(0).unwrap();
        Self { storage, epoch, sequence: AtomicU64::new(0), bytes_before: AtomicUsize::new(0) }
    }

    pub(crate) fn id(key: u64) -> CheckpointId {
        CheckpointId::new(STATES, key.to_be_bytes()).unwrap()
    }
}

impl Rival for Logged {
    fn save(&self, batch: &mut dyn Iterator<Item = KeyAndState<'_>>) {
        let mut bytes = Vec::with_capacity(self.bytes_before.load(Ordering::Relaxed));
        let positions = InputPositions::default();
        let mut records = 0;
        for (key, state) in batch {
            let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
            let meta = RecordMeta {
                kind: RecordKind::State,
                partition: 0,
                version: StateVersion { epoch: self.epoch, sequence: Sequence(sequence) },
                event_count: 0,
                captured_at: UNIX_EPOCH,
                idle: Duration::ZERO,
                fingerprint: 0,
                positions: &positions,
            };
            let key = key.to_be_bytes();
            let id = CheckpointIdRef { prototype: STATES, key: &key };
            let writer = RecordWriter::begin(&mut bytes, id, &meta);
            bytes.extend_from_slice(state);
            writer.finish(&mut bytes);
            records += 1;
        }
        self.bytes_before.store(bytes.len(), Ordering::Relaxed);
        let left = Arc::new(AtomicUsize::new(records));
        let (waits, saver) = (Arc::clone(&left), thread::current());
        let batch = SaveBatch::of_records(bytes, move |_, outcome| match outcome {
            SaveOutcome::Stored => {
                if left.fetch_sub(1, Ordering::Release) == 1 {
                    saver.unpark();
                }
            }
            other => panic!("not stored: {other:?}"),
        });
        self.storage.save(batch.unwrap());
        // Another thread may have taken it along with its own.
        while waits.load(Ordering::Acquire) > 0 {
            thread::park();
        }
    }

    fn fetch(&self, key: u64) -> Option<usize> {
        let id = Self::id(key);
        if let Some(record) = self.storage.fetch_now(&id) {
            return record.unwrap().map(|record| record.len());
        }
        // It has to be waited for.
        let (tx, rx) = mpsc::channel();
        let answer = move |outcome: FetchOutcome| tx.send(outcome).unwrap();
        self.storage.fetch(vec![FetchEntry::new(id, FetchVersion::Newest, answer)]);
        rx.recv().unwrap().unwrap().map(|record| record.len())
    }

    // A keeper restores each when its first event comes.
    fn visit(&self, _visit: &mut dyn FnMut(u64, &[u8])) {}
}

pub(crate) struct Fjall {
    database: Database,
    states: Keyspace,
}

impl Fjall {
    pub(crate) fn open(path: &Path) -> Self {
        let database = Database::builder(path.join("fjall")).open().unwrap();
        let states = database.keyspace(STATES, KeyspaceCreateOptions::default).unwrap();
        Self { database, states }
    }
}

impl Rival for Fjall {
    fn save(&self, batch: &mut dyn Iterator<Item = KeyAndState<'_>>) {
        let mut write = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, state) in batch {
            write.insert(&self.states, key.to_be_bytes(), state);
        }
        write.commit().unwrap();
    }

    fn fetch(&self, key: u64) -> Option<usize> {
        Some(self.states.get(key.to_be_bytes()).unwrap()?.len())
    }

    fn visit(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        for found in self.states.iter() {
            let (key, state) = found.into_inner().unwrap();
            visit(u64::from_be_bytes((*key).try_into().unwrap()), &state);
        }
    }
}

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new(STATES);

pub(crate) struct Redb(redb::Database);

impl Redb {
    pub(crate) fn open(path: &Path) -> Self {
        Self(redb::Database::create(path.join("redb")).unwrap())
    }
}

impl Rival for Redb {
    fn save(&self, batch: &mut dyn Iterator<Item = KeyAndState<'_>>) {
        // Committed as durably as the others by default.
        let write = self.0.begin_write().unwrap();
        let mut table = write.open_table(TABLE).unwrap();
        for (key, state) in batch {
            table.insert(key, state).unwrap();
        }
        drop(table);
        write.commit().unwrap();
    }

    fn fetch(&self, key: u64) -> Option<usize> {
        let read = self.0.begin_read().unwrap();
        let table = read.open_table(TABLE).unwrap();
        let state = table.get(key).unwrap()?;
        Some(state.value().len())
    }

    fn visit(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        let read = self.0.begin_read().unwrap();
        let table = read.open_table(TABLE).unwrap();
        for found in table.iter().unwrap() {
            let (key, state) = found.unwrap();
            visit(key.value(), state.value());
        }
    }
}
