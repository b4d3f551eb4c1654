//! What a store must hold: told of everything that was given to it, and of every acknowledgement.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::storage::conformance::{record, tombstone};
use checkpoint::{
    CheckpointId, Epoch, FetchOutcome, MetadataVersion, SaveOutcome, StateVersion, StorageErrorKind,
};

use crate::simulation::dice::Dice;
use crate::simulation::trace::Trace;

/// The most bytes of a state: some sectors.
const STATE_BYTES_MAX: usize = 3000;

pub(super) struct Model {
    trace: Trace,
    offered: BTreeMap<CheckpointId, BTreeMap<StateVersion, Vec<u8>>>,
    acknowledged: BTreeMap<CheckpointId, StateVersion>,
    /// Every attempt to save it was told not to have changed anything.
    refused: BTreeSet<(CheckpointId, StateVersion)>,
    /// Some attempt to save it was not told so.
    attempted: BTreeSet<(CheckpointId, StateVersion)>,
    epochs: BTreeMap<u32, Epoch>,
    sequence: u64,
    metadata: BTreeMap<String, (MetadataVersion, BTreeSet<Vec<u8>>)>,
    pub(super) acknowledgements: u64,
    /// It forgets what was removed, after some time.
    is_log: bool,
}

impl Model {
    pub(super) fn new(trace: Trace, is_log: bool) -> Self {
        Self {
            trace,
            offered: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            refused: BTreeSet::new(),
            attempted: BTreeSet::new(),
            epochs: BTreeMap::new(),
            sequence: 0,
            metadata: BTreeMap::new(),
            acknowledgements: 0,
            is_log,
        }
    }

    /// Notes that a partition was opened.
    pub(super) fn opened(&mut self, partition: u32, epoch: Epoch) {
        let before = self.epochs.insert(partition, epoch);
        if before.is_some_and(|before| before >= epoch) {
            self.trace.violate(format_args!("epoch {epoch:?} after {before:?}"));
        }
    }

    /// Makes a record that was never saved before.
    pub(super) fn draw(&mut self, dice: &mut Dice, id: &CheckpointId) -> (StateVersion, Vec<u8>) {
        self.sequence += 1;
        let epoch = self.epochs.get(&0).map_or(0, |epoch| epoch.0);
        let version = StateVersion::new(epoch, self.sequence);
        let made = if dice.chance(15) {
            tombstone(id, version)
        } else {
            let bytes = if dice.chance(60) { dice.index(100) } else { dice.index(STATE_BYTES_MAX) };
            let state: Vec<u8> = (0..bytes).map(|_| dice.next().to_le_bytes()[0]).collect();
            record(id, version, &state)
        };
        self.offered.entry(id.clone()).or_default().insert(version, made.clone());
        (version, made)
    }

    /// Whether a newer version than this was acknowledged or may be stored.
    fn may_be_stale(&self, id: &CheckpointId, version: StateVersion) -> bool {
        self.offered.get(id).is_some_and(|offered| offered.keys().next_back() > Some(&version))
    }

    /// Notes what came of a save while the power was on.
    pub(super) fn saved(&mut self, id: &CheckpointId, version: StateVersion, told: &SaveOutcome) {
        let key = (id.clone(), version);
        self.trace.add(format_args!("{version} of {id}: {told:?}"));
        match told {
            SaveOutcome::Stored => {
                self.acknowledgements += 1;
                let newest = self.acknowledged.entry(id.clone()).or_insert(version);
                *newest = version.max(*newest);
                self.attempted.insert(key);
            }
            SaveOutcome::NotStored(error) => {
                let is_stale = matches!(error.kind(), StorageErrorKind::Stale { .. });
                if is_stale && !self.may_be_stale(id, version) {
                    self.trace.violate(format_args!("{version} of {id} is refused: {error}"));
                }
                if !self.attempted.contains(&key) {
                    self.refused.insert(key);
                }
                return;
            }
            SaveOutcome::Unknown(_) => drop(self.attempted.insert(key)),
        }
        self.refused.remove(&(id.clone(), version));
    }

    /// Notes a save that the end of the power has left without an outcome.
    pub(super) fn cut_off(&mut self, id: &CheckpointId, version: StateVersion) {
        self.attempted.insert((id.clone(), version));
        self.refused.remove(&(id.clone(), version));
    }

    /// Checks what a reader gets; `may_fail` says that an error makes sense.
    ///
    /// What a log has shown once is as good as acknowledged: whoever was restored from it goes on.
    pub(super) fn fetched(&mut self, id: &CheckpointId, found: &FetchOutcome, may_fail: bool) {
        let acknowledged = self.acknowledged.get(id);
        match found {
            Err(error) if !may_fail => {
                self.trace.violate(format_args!("{id} cannot be read: {error:?}"));
            }
            Err(_) => {}
            Ok(None) => {
                if let Some(version) = acknowledged
                    && !(self.is_log && self.may_be_removed(id, *version))
                {
                    self.trace.violate(format_args!("I1: {version} of {id} is gone"));
                }
            }
            Ok(Some(bytes)) => {
                let offered = self.offered.get(id).into_iter().flatten();
                let same = offered.rev().find(|(_, offered)| *offered == bytes);
                let Some((version, _)) = same else {
                    return self.trace.violate(format_args!("I2: {id} is what it never was"));
                };
                if Some(version) < acknowledged {
                    self.trace
                        .violate(format_args!("I1: {id} is {version}, {acknowledged:?} was told"));
                }
                if self.refused.contains(&(id.clone(), *version)) {
                    self.trace.violate(format_args!("{version} of {id} was told not to be stored"));
                }
                if self.is_log {
                    self.acknowledged.insert(id.clone(), *version);
                }
            }
        }
    }

    /// Whether this version or a newer one marks a removal.
    fn may_be_removed(&self, id: &CheckpointId, acknowledged: StateVersion) -> bool {
        let offered = self.offered.get(id).into_iter().flatten();
        offered
            .filter(|(version, _)| **version >= acknowledged)
            .any(|(version, bytes)| *bytes == tombstone(id, *version))
    }

    /// Checks what a reader gets of a version that is listed.
    pub(super) fn fetched_older(
        &self,
        id: &CheckpointId,
        version: StateVersion,
        found: &FetchOutcome,
    ) {
        let offered = self.offered.get(id).and_then(|offered| offered.get(&version));
        if !matches!(found, Ok(Some(bytes)) if Some(bytes) == offered) {
            self.trace.violate(format_args!("I2: {version} of {id} is listed, and {found:?}"));
        }
    }

    pub(super) fn ids(&self) -> Vec<CheckpointId> {
        self.offered.keys().cloned().collect()
    }

    /// The ids that must be listed, and those that may be: what is stored of them now.
    pub(super) fn check_listed(&self, stored: &BTreeSet<CheckpointId>, listed: &[CheckpointId]) {
        let once: BTreeSet<CheckpointId> = listed.iter().cloned().collect();
        if once.len() != listed.len() || once != *stored {
            self.trace.violate(format_args!("{listed:?} are listed, {stored:?} are stored"));
        }
    }

    pub(super) fn putting(&mut self, name: &str, bytes: &[u8]) {
        let known = self.metadata.entry(name.to_owned());
        known.or_insert((MetadataVersion(0), BTreeSet::new())).1.insert(bytes.to_vec());
    }

    pub(super) fn put(&mut self, name: &str, version: MetadataVersion) {
        if let Some((newest, _)) = self.metadata.get_mut(name) {
            if *newest >= version {
                self.trace.violate(format_args!("{version:?} of {name} after {newest:?}"));
            }
            *newest = version;
        }
    }

    /// Checks a value that is read while nothing fails.
    pub(super) fn check_metadata(&self, name: &str, found: Option<(MetadataVersion, &[u8])>) {
        let known = self.metadata.get(name);
        let is_right = match (known, found) {
            (None, found) => found.is_none(),
            (Some((newest, _)), None) => newest.0 == 0,
            (Some((newest, put)), Some((version, bytes))) => {
                version >= *newest && put.contains(bytes)
            }
        };
        if !is_right {
            self.trace.violate(format_args!("metadata {name} is {found:?}, not {known:?}"));
        }
    }
}
