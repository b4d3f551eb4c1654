//! A store whose writers die, and what it must have in it all the same.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use checkpoint::{
    CheckpointId, Epoch, FetchEntry, FetchVersion, RecordView, StateLimits, StateStorage,
    StateVersion, restore_state,
};
use checkpoint_tests::{Account, Backend};

use crate::processes::writer::Acknowledged;

/// How many captured states a writer has with its storage at most.
pub(crate) const OUTSTANDING_MAX: usize = 64;
const KEYS: u64 = 1000;

/// What was acknowledged of a store, and what was found in it.
pub(crate) struct Store {
    backend: Backend,
    root: PathBuf,
    versions: BTreeMap<u64, StateVersion>,
    // All events up to these are stored: by an acknowledgement, or because they were seen there.
    positions: BTreeMap<u64, u64>,
    epoch: Epoch,
    /// How many acknowledgements there were.
    pub(crate) acknowledged: u64,
}

impl Store {
    pub(crate) fn new(backend: Backend, root: PathBuf) -> Self {
        Self {
            backend,
            root,
            versions: BTreeMap::new(),
            positions: BTreeMap::new(),
            epoch: Epoch(0),
            acknowledged: 0,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// Returns how many segments of a log were made by compaction: they have the order of another
    /// one, whose place they took.
    pub(crate) fn compacted_segments(&self) -> u64 {
        let Ok(manifest) = fs::read(self.root.join("manifest")) else { return 0 };
        let (manifest, _copy) = RecordView::parse_prefix(&manifest).unwrap();
        let listed = manifest.payload().as_chunks::<24>().0;
        listed.iter().filter(|segment| segment[..4] != segment[4..8]).count() as u64
    }

    /// Notes what a writer has acknowledged.
    pub(crate) fn note(&mut self, acknowledged: &[Acknowledged]) {
        self.acknowledged += acknowledged.len() as u64;
        for entry in acknowledged {
            match *entry {
                Acknowledged::Version(key, version) => {
                    let highest = self.versions.entry(key).or_insert(version);
                    *highest = version.max(*highest);
                }
                Acknowledged::Position(key, position) => self.reached(key, position),
            }
        }
    }

    fn reached(&mut self, key: u64, position: u64) {
        let highest = self.positions.entry(key).or_insert(position);
        *highest = position.max(*highest);
    }

    /// Returns how many temporary files lie about.
    pub(crate) fn temporary_files(&self) -> usize {
        // There is no such directory before the store was created.
        fs::read_dir(self.root.join("temp")).map_or(0, Iterator::count)
    }

    /// Checks that a dead writer left no more temporary files than it had saves under way (A11).
    #[track_caller]
    pub(crate) fn check_leftovers(&self, context: &str) {
        let found = self.temporary_files();
        // One more: the store's own records are written in the same way.
        assert!(found <= OUTSTANDING_MAX + 1, "{context}: {found} temporary files");
    }

    /// Opens the store, and checks that every account is whole and has what was acknowledged.
    #[track_caller]
    pub(crate) fn check(&mut self, context: &str) {
        let storage = self
            .backend
            .open_at_rest(&self.root)
            .unwrap_or_else(|err| panic!("{context}: not open: {err}: {:?}", err.source()));
        assert_eq!(self.temporary_files(), 0, "{context}: not swept");
        for (key, outcome) in fetch_all(&*storage) {
            let fetched = outcome.unwrap_or_else(|err| panic!("{context}: {key}: {err}"));
            let expected = self.versions.get(&key).copied();
            let Some(bytes) = fetched else {
                assert_eq!(expected, None, "{context}: {key} is gone");
                assert_eq!(self.positions.get(&key).copied().unwrap_or(0), 0, "{context}: {key}");
                continue;
            };
            let (version, account) =
                parse(key, &bytes).unwrap_or_else(|what| panic!("{context}: {key}: {what}"));
            assert!(Some(version) >= expected, "{context}: {key}: {version}, not {expected:?}");
            account.check(key).unwrap_or_else(|what| panic!("{context}: {what}"));
            let (found, held) = (account.position(), self.positions.get(&key).copied());
            assert!(Some(found) >= held, "{context}: {key}: at {found}, not {held:?}");
            self.versions.insert(key, version);
            self.reached(key, found);
        }
        let epoch = storage.open_epoch(0).unwrap();
        let highest = self.versions.values().map(|version| version.epoch).max().unwrap_or_default();
        assert!(epoch > highest && epoch > self.epoch, "{context}: epoch {} again", epoch.0);
        self.epoch = epoch;
    }
}

fn fetch_all(storage: &dyn StateStorage) -> Vec<(u64, checkpoint::FetchOutcome)> {
    let (tx, rx) = mpsc::channel();
    let entries = (0..KEYS).map(|key| {
        let tx = tx.clone();
        let id = CheckpointId::new("account", key.to_be_bytes()).unwrap();
        FetchEntry::new(id, FetchVersion::Newest, move |outcome| tx.send((key, outcome)).unwrap())
    });
    storage.fetch(entries.collect());
    drop(tx);
    let all: Vec<_> = rx.into_iter().collect();
    assert_eq!(all.len() as u64, KEYS);
    all
}

fn parse(key: u64, bytes: &[u8]) -> Result<(StateVersion, Account), Box<dyn Error>> {
    let id = CheckpointId::new("account", key.to_be_bytes())?;
    let record = RecordView::parse(bytes)?.of(id.as_ref())?;
    let mut account = Account::new(0);
    restore_state(&mut account, record.payload(), &StateLimits::default())?;
    Ok((record.header().version, account))
}
