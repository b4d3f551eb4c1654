//! What a log goes through, the same each time: it is written, overwritten, compacted, closed and
//! opened again, and held against what it has acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::storage::conformance::{self, record, tombstone};
use checkpoint::{
    CheckpointId, FetchVersion, FileOps, LogStorage, LogStorageBuilder, MetadataVersion,
    SaveOutcome, SeededRandom, StateStorage, StateVersion, StorageError, TestClock,
};

use super::id;

const REMOVALS_KEPT: Duration = Duration::from_secs(60);
/// A few records fill one.
const SEGMENT_BYTES: u64 = 1_500;
const METADATA: &str = "m";

/// Says what to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// What has failed is done once more, and must work then.
    TryAgain,
    /// There is nobody any more to do anything.
    Over,
}

/// Nobody is there any more.
#[derive(Debug)]
pub(super) struct Over;

/// Is told each error.
type Told<'a> = &'a mut dyn FnMut(&StorageError) -> After;

/// A log in use, and all that was given to it and acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    clock: Arc<TestClock>,
    offered: BTreeMap<CheckpointId, BTreeMap<StateVersion, Vec<u8>>>,
    /// What must be there at the least: acknowledged, or seen by a reader.
    floor: BTreeMap<CheckpointId, StateVersion>,
    metadata: (u64, Vec<Vec<u8>>),
    epoch: u64,
    sequence: u64,
    /// How many saves were acknowledged.
    pub(super) acknowledged: u64,
    /// How many segments were compacted.
    pub(super) compacted: u64,
}

impl Workload {
    pub(super) fn new() -> Self {
        Self {
            clock: Arc::new(TestClock::new()),
            offered: BTreeMap::new(),
            floor: BTreeMap::new(),
            metadata: (0, Vec::new()),
            epoch: 0,
            sequence: 0,
            acknowledged: 0,
            compacted: 0,
        }
    }

    fn builder(&self, root: &str) -> LogStorageBuilder {
        LogStorage::builder(root)
            .segment_bytes(SEGMENT_BYTES)
            .older_versions_max(1)
            .removals_kept(REMOVALS_KEPT)
            .background_compaction(false)
            .clock(self.clock.clone())
            .random(Arc::new(SeededRandom::new(7)))
    }

    /// Opens the log, and its partition.
    pub(super) fn open(
        &mut self,
        root: &str,
        files: &Arc<dyn FileOps>,
        told: Told<'_>,
    ) -> Result<LogStorage, Over> {
        let builder = self.builder(root);
        let log = done(told, || builder.clone().open_over(Arc::clone(files)))?;
        let epoch = done(told, || log.open_epoch(0))?.0;
        assert!(epoch > self.epoch, "epoch {epoch} after {}", self.epoch);
        self.epoch = epoch;
        Ok(log)
    }

    /// Opens the log beside whoever writes to it.
    pub(super) fn open_read_only(
        &self,
        root: &str,
        files: &Arc<dyn FileOps>,
    ) -> Result<LogStorage, StorageError> {
        self.builder(root).open_read_only_over(Arc::clone(files))
    }

    /// Three lives of a log, with everything that there is to do.
    pub(super) fn live(
        &mut self,
        root: &str,
        files: &Arc<dyn FileOps>,
        told: Told<'_>,
    ) -> Result<(), Over> {
        let log = self.open(root, files, told)?;
        self.save(&log, &["once", "a"], 700, told)?;
        for _ in 0..4 {
            self.save(&log, &["a", "b", "c"], 200, told)?;
        }
        self.put(&log, told)?;
        self.remove(&log, "b", told)?;
        self.compact(&log, told)?;
        self.save(&log, &["a", "c"], 300, told)?;
        drop(log);

        let log = self.open(root, files, told)?;
        self.save(&log, &["d"], 2_000, told)?;
        for _ in 0..3 {
            self.save(&log, &["d", "c"], 400, told)?;
        }
        self.remove(&log, "a", told)?;
        self.compact(&log, told)?;
        self.clock.advance(REMOVALS_KEPT);
        self.save(&log, &["c", "d"], 400, told)?;
        // By now the removals can be forgotten.
        self.compact(&log, told)?;
        self.save(&log, &["b"], 100, told)?;
        self.put(&log, told)?;
        drop(log);

        let log = self.open(root, files, told)?;
        done(told, || self.look(&log))?;
        self.save(&log, &["a", "b", "c", "d"], 50, told)?;
        self.compact(&log, told)?;
        self.save(&log, &["a"], 50, told)?;
        drop(log);
        Ok(())
    }

    fn version(&mut self) -> StateVersion {
        self.sequence += 1;
        StateVersion::new(self.epoch, self.sequence)
    }

    fn offer(&mut self, id: &CheckpointId, version: StateVersion, record: &[u8]) {
        self.offered.entry(id.clone()).or_default().insert(version, record.to_vec());
    }

    /// Saves new states of these keys in one batch.
    pub(super) fn save(
        &mut self,
        log: &LogStorage,
        keys: &[&str],
        bytes: usize,
        told: Told<'_>,
    ) -> Result<(), Over> {
        let batch = keys.iter().map(|key| {
            let (id, version) = (id(key), self.version());
            let record = record(&id, version, &vec![version.sequence.0.to_le_bytes()[0]; bytes]);
            self.offer(&id, version, &record);
            (id, version, record)
        });
        let batch: Vec<_> = batch.collect();
        self.save_batch(log, batch, told)
    }

    fn remove(&mut self, log: &LogStorage, key: &str, told: Told<'_>) -> Result<(), Over> {
        let (id, version) = (id(key), self.version());
        let record = tombstone(&id, version);
        self.offer(&id, version, &record);
        self.save_batch(log, vec![(id, version, record)], told)
    }

    fn save_batch(
        &mut self,
        log: &LogStorage,
        mut batch: Vec<(CheckpointId, StateVersion, Vec<u8>)>,
        told: Told<'_>,
    ) -> Result<(), Over> {
        for attempt in 0.. {
            let records: Vec<_> = batch.iter().map(|(.., record)| record.clone()).collect();
            let outcomes = conformance::save(log, &records);
            let mut left = Vec::new();
            for (entry, outcome) in batch.into_iter().zip(outcomes) {
                match outcome {
                    SaveOutcome::Stored => {
                        self.acknowledged += 1;
                        self.floor.insert(entry.0, entry.1);
                    }
                    SaveOutcome::NotStored(err) | SaveOutcome::Unknown(err) => {
                        if told(&err) == After::Over {
                            return Err(Over);
                        }
                        assert_eq!(attempt, 0, "it fails again: {err}");
                        left.push(entry);
                    }
                }
            }
            if left.is_empty() {
                break;
            }
            // Nothing that was acknowledged is hidden meanwhile.
            self.check(log);
            batch = left;
        }
        Ok(())
    }

    fn put(&mut self, log: &LogStorage, told: Told<'_>) -> Result<(), Over> {
        let bytes = self.version().sequence.0.to_le_bytes().to_vec();
        self.metadata.1.push(bytes.clone());
        let MetadataVersion(put) = done(told, || {
            let expected = log.metadata(METADATA)?.map(|found| found.version);
            log.put_metadata(METADATA, expected, &bytes)
        })?;
        assert!(put > self.metadata.0);
        self.metadata.0 = put;
        Ok(())
    }

    fn compact(&mut self, log: &LogStorage, told: Told<'_>) -> Result<(), Over> {
        done(told, || log.compact())?;
        self.compacted += log.stats().segments_compacted;
        Ok(())
    }

    /// Checks that everything acknowledged is there, or something newer that was saved.
    #[track_caller]
    pub(super) fn check(&self, log: &LogStorage) {
        self.look(log).unwrap_or_else(|err| panic!("it cannot be read: {err}"));
    }

    #[track_caller]
    fn look(&self, log: &LogStorage) -> Result<(), StorageError> {
        for (id, offered) in &self.offered {
            let floor = self.floor.get(id);
            match conformance::fetch(log, id, FetchVersion::Newest)? {
                Some(bytes) => {
                    let known = offered.iter().rev().find(|(_, offered)| **offered == bytes);
                    let Some((version, _)) = known else { panic!("{id} is what it never was") };
                    assert!(Some(version) >= floor, "{id} is {version}, {floor:?} was told");
                }
                // What was removed may be forgotten.
                None => {
                    let may_be_gone = |floor: &StateVersion| {
                        let newer = offered.range(floor..);
                        newer.into_iter().any(|(at, bytes)| *bytes == tombstone(id, *at))
                    };
                    assert!(floor.is_none_or(may_be_gone), "{floor:?} of {id} is gone");
                }
            }
        }
        match log.metadata(METADATA)? {
            Some(found) => {
                assert!(
                    found.version.0 >= self.metadata.0 && self.metadata.1.contains(&found.bytes)
                );
            }
            None => assert_eq!(self.metadata.0, 0, "the metadata is gone"),
        }
        Ok(())
    }

    /// The same, of a log that was just opened: whoever sees it now must see it from now on.
    #[track_caller]
    pub(super) fn check_opened(&mut self, log: &LogStorage, files: &dyn FileOps) {
        self.check(log);
        assert_eq!(log.open_report().damages, []);
        let mut there = files.list("segments").unwrap();
        there.retain(|name| !name.ends_with(".hint"));
        let listed = log.stats().segments;
        assert_eq!(there.len() as u64, listed, "{there:?}");
        assert_eq!(files.list("temp").unwrap(), Vec::<String>::new());
        let ids: Vec<_> = self.offered.keys().cloned().collect();
        for id in ids {
            if let Some(newest) = log.versions(&id).unwrap().first() {
                self.floor.insert(id, newest.version);
            }
        }
    }
}

/// Does something that may fail once.
fn done<T>(
    told: Told<'_>,
    mut attempt: impl FnMut() -> Result<T, StorageError>,
) -> Result<T, Over> {
    match attempt() {
        Ok(done) => Ok(done),
        Err(err) if told(&err) == After::Over => Err(Over),
        Err(_) => match attempt() {
            Ok(done) => Ok(done),
            Err(err) if told(&err) == After::Over => Err(Over),
            Err(err) => panic!("it fails again: {err}"),
        },
    }
}
